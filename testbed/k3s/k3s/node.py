"""What a server and an agent have in common: containerd, images, kubelet, kube-proxy, network."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time

from . import components, host, images, log, nodepassword, payload, registries
from .errors import Fatal
from .files import write_atomic
from .process import Supervisor
from .settings import SOCKET, Settings

ROUTE_SECONDS = 15
ADDRESS_SECONDS = 120


def prepare_machine(settings: Settings, supervisor: Supervisor) -> None:
    """Wait for an address and make the machine ready. Certificates come after this, never before: a
    node that starts before its network would issue them for the wrong address."""

    def found() -> bool:
        settings.node_ips = host.node_addresses(settings.node_ip_option, settings.interface)
        return bool(settings.node_ips)

    started = time.monotonic()

    def ready() -> bool:
        if found():
            return True
        waited = time.monotonic() - started
        # At boot the network may still be coming. After that it is K3s' refusal; systemd tries again.
        if waited > ROUTE_SECONDS:
            host.default_interface()
        if waited > ADDRESS_SECONDS:
            raise Fatal("unable to select an IP from default routes")
        return False

    if not found():
        log.info("Waiting for an address on the interface of the default route")
        supervisor.wait(ready, "an address on the interface of the default route")
    settings.systemd = host.systemd_cgroups()
    settings.may_raise_limits = host.may_raise_limits()
    paths = settings.paths
    os.makedirs(paths.agent(), mode=0o700, exist_ok=True)
    for directory in (
        paths.images,
        paths.agent("etc", "containerd"),
        paths.agent("etc", "kubelet.conf.d"),
        paths.cni_conf,
        paths.agent("pod-manifests"),
        os.path.dirname(SOCKET),
    ):
        os.makedirs(directory, exist_ok=True)
    settings.resolv_conf = host.resolv_conf(settings.resolv_conf, paths.agent("etc", "resolv.conf"))
    host.share_mounts()
    host.sysctls()


def start_containerd(settings: Settings, supervisor: Supervisor, directory: str) -> None:
    """Write containerd's configuration and start it."""
    paths = settings.paths
    payload.link_cni(directory, paths.cni_bin)
    data = registries.load(settings.private_registry)
    registries.write(
        paths.agent("etc", "containerd", "certs.d"), registries.hosts(data, settings.no_default_endpoint)
    )
    write_atomic(
        paths.agent("etc", "containerd", "config.toml"),
        components.containerd_config(settings, registries.auth_toml(data)),
        0o600,
    )
    write_atomic(paths.agent("etc", "crictl.yaml"), components.crictl_config(), 0o644)
    log_file = paths.agent("containerd", "containerd.log")
    log.info(f"Logging containerd to {log_file}")
    supervisor.start(components.containerd(settings), log_file=log_file)


def containerd_ready() -> bool:
    """Whether containerd accepts connections."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(SOCKET)
        except OSError:
            return False
    return True


class ImageImport:
    """The import at start, in a thread of its own so that the API server can start meanwhile."""

    def __init__(self, settings: Settings, supervisor: Supervisor) -> None:
        env = {**supervisor.env, "CRI_CONFIG_FILE": settings.paths.agent("etc", "crictl.yaml")}
        importer = images.ctr_importer(self._find("ctr", env), self._find("crictl", env), SOCKET, env)
        self.images = images.Images(settings.paths.images, importer)
        self.supervisor = supervisor
        self.done = threading.Event()

    @staticmethod
    def _find(name: str, env: dict[str, str]) -> str:
        return shutil.which(name, path=env["PATH"]) or name

    def start(self) -> None:
        """Begin the import; `done` is set at its end."""
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self.images.import_all()
        except OSError as error:
            log.error(f"Unable to import images in {self.images.directory}: {error}")
        finally:
            self.done.set()
            self.supervisor.changed.set()

    def watch(self) -> None:
        """From now on look for new files."""
        threading.Thread(target=self.images.watch, args=(self.supervisor.stopping,), daemon=True).start()


def write_kubeconfigs(settings: Settings) -> None:
    """The kubeconfigs of the node's components."""
    paths = settings.paths
    for name, certificate in (
        ("kubelet", "client-kubelet"),
        ("kubeproxy", "client-kube-proxy"),
        ("k3scontroller", "client-k3s-controller"),
    ):
        write_atomic(
            paths.agent(f"{name}.kubeconfig"),
            components.kubeconfig(
                settings.api_url,
                paths.agent("server-ca.crt"),
                paths.agent(f"{certificate}.crt"),
                paths.agent(f"{certificate}.key"),
            ),
        )


def start_node(settings: Settings, supervisor: Supervisor) -> None:
    """Start the kubelet and what a node runs beside it."""
    write_kubeconfigs(settings)
    write_atomic(
        settings.paths.agent("etc", "kubelet.conf.d", "00-k3s-defaults.conf"),
        components.kubelet_config(settings),
        0o600,
    )
    supervisor.start(components.kubelet(settings))
    if not settings.disable_kube_proxy:
        supervisor.start(components.kube_proxy(settings))
    supervisor.start(components.network(settings))
    supervisor.check()


def node_password() -> str:
    """The password of this node."""
    return nodepassword.ensure_file()
