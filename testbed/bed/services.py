"""What stands around the nodes: their network, the release mirror and the image registry."""

from __future__ import annotations

import base64
import inspect
import json
import os
import secrets
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import settings
from .cache import digest, lock
from .errors import BedError
from .podman import Podman
from .recipes import SERVICES_IMAGE, host_architecture, mirror
from .shell import run, succeeds

NETWORK = "observer-node"
MIRROR = "observer-node-mirror"
REGISTRY = "observer-node-registry"
CHAIN = "OBSERVER-NODE"
"""Our own iptables chains; the one with ``-IN`` is for what nodes send to this machine itself."""

SHARED_SYSCTLS = ("vm", "kernel", "fs", "dev", "net/ipv4/ip_forward", "net/bridge")
"""Settings that a privileged container shares with its host, or that the bed's network needs. A node's
systemd and kubelet write some, and so do roles; what differs is put back when the bed goes."""

VOLATILE_SYSCTLS = (
    "kernel/random/", "kernel/ns_last_pid", "kernel/pty/nr", "kernel/tainted", "kernel/hostname", "kernel/domainname",
    "fs/file-nr", "fs/inode-", "fs/dentry-state", "fs/aio-nr", "fs/quota/", "vm/stat_refresh", "vm/drop_caches",
    "vm/compact_memory", "kernel/sched_domain", "fs/binfmt_misc",
)
"""What the kernel counts by itself, what belongs to a namespace, and what acts when it is written."""


@dataclass(frozen=True)
class Registry:
    """The image registry as a node sees it.

    :ivar password_file: readable by root alone; the password is in no argument and no output.
    """

    endpoint: str
    user: str
    password_file: Path
    ca_file: Path

    def password(self) -> str:
        return self.password_file.read_text().strip()

    def docker_config(self, host: str = "ghcr.io") -> str:
        """The content of a ``kubernetes.io/dockerconfigjson`` Secret for images named ``host/...``."""
        entry = {"username": self.user, "password": self.password(), "auth": self.basic_credentials()}
        return json.dumps({"auths": {host: entry}})

    def basic_credentials(self) -> str:
        """What follows ``Basic`` in an Authorization header."""
        return base64.b64encode(f"{self.user}:{self.password()}".encode()).decode()


def state() -> Path:
    path = settings.folders().state
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def registry() -> Registry:
    folder = state() / "registry"
    return Registry(
        endpoint=f"https://{settings.REGISTRY_ADDRESS}:{settings.REGISTRY_PORT}", user=settings.REGISTRY_USER,
        password_file=folder / "password", ca_file=folder / "tls" / "ca.crt",
    )


def endpoint(architecture: str) -> str:
    """Where the app's images of an architecture are pulled from.

    Those of another architecture than this machine's have the same names and tags under a path of their own: the
    registry is laid out as one registry for each.
    """
    own = registry().endpoint
    return own if architecture == host_architecture() else f"{own}/v2/{architecture}"


def mirror_url() -> str:
    return f"http://{settings.MIRROR_ADDRESS}"


def releases() -> str:
    """Where nodes download releases from: the mirror, or what ``RELEASES`` names (``https://github.com``)."""
    return (os.environ.get("RELEASES") or mirror_url()).rstrip("/")


def up(paths: Mapping[str, Path], architecture: str) -> None:
    """Start network, mirror and registry, and push the app's images. Fast when all is there."""
    with lock(state() / "services.lock"):
        podman = Podman.open()
        _remember_sysctls()
        network(podman)
        image = podman.load_rootfs(paths["services"] / "rootfs.tar", SERVICES_IMAGE)
        _mirror(podman, image, publish(paths, architecture))
        _registry(podman, image)
        _push(podman, paths)
        _prune_images(podman, paths)


def add(paths: Mapping[str, Path], architecture: str) -> None:
    """Serve the parts of another architecture as well; what :func:`up` started is running."""
    with lock(state() / "services.lock"):
        publish(paths, architecture)
        _push(Podman.open(architecture), paths)


def _prune_images(podman: Podman, paths: Mapping[str, Path]) -> None:
    """Remove images of artifacts that are no longer current. One that a node still runs from stays."""
    current = {path.name.rsplit("-", 1)[-1] for path in paths.values()}
    for line in podman.run("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines():
        name, _, tag = line.rpartition(":")
        if name.startswith("localhost/observer-node/") and tag not in current:
            podman.succeeds("rmi", line)
    podman.run("image", "prune", "--force")


def network(podman: Podman) -> None:
    """The nodes' network and the rules that let it out. Idempotent."""
    # Written by hand: `podman network create` has no word for the bridge's name with this backend, and a
    # name of our own is how a node's traffic and what is left of it are told from anybody else's.
    network = {
        "cniVersion": "0.4.0", "name": NETWORK, "plugins": [
            {
                "type": "bridge", "bridge": settings.BRIDGE, "isGateway": True, "hairpinMode": True,
                "capabilities": {"ips": True, "mac": True},
                "ipam": {
                    # Not in /var/lib/cni, where it would outlive the bed.
                    "type": "host-local", "dataDir": str(podman.runroot / "cni"), "routes": [{"dst": "0.0.0.0/0"}],
                    "ranges": [[{"subnet": settings.SUBNET, "gateway": settings.GATEWAY}]],
                },
            },
        ],
    }
    path = podman.configuration / "networks" / f"{NETWORK}.conflist"
    text = json.dumps(network, indent=2) + "\n"
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)
    _firewall()


def _running(podman: Podman, name: str, key: str) -> bool:
    """True when the container runs and is the one of this key; else it is removed."""
    found = podman.inspect(name)
    right = found and found["State"]["Running"] and found["Config"]["Labels"].get("observer-node.key") == key
    # A container whose processes were killed from outside is still "running" in the books.
    if right and podman.succeeds("exec", name, "true"):
        return True
    if found:
        podman.run("rm", "--force", "--time", "1", "--volumes", name)
    return False


def publish(paths: Mapping[str, Path], architecture: str) -> Path:
    """Lay out the release mirror for an architecture unless it is. Returns its folder."""
    tree = settings.folders().cache / "mirror"
    key = digest(inspect.getsource(mirror), sorted(path.name for path in paths.values()))
    stamp = tree / f".{architecture}"
    with lock(settings.folders().cache / "mirror.lock"):
        if not stamp.is_file() or stamp.read_text() != key:
            mirror(dict(paths), architecture, tree)
            stamp.write_text(key)
    return tree


def _mirror(podman: Podman, image: str, tree: Path) -> None:
    key = digest(image)
    if not _running(podman, MIRROR, key):
        podman.run("run", "--detach", *podman.cgroup, "--name", MIRROR,
                   "--network", NETWORK, "--ip", settings.MIRROR_ADDRESS,
                   "--mac-address", settings.mac_address(settings.MIRROR_ADDRESS),
                   "--label", f"observer-node.key={key}", "--read-only", "--cap-drop=ALL",
                   "--cap-add=NET_BIND_SERVICE", "--volume", f"{tree}:/srv:ro", "--stop-signal=SIGKILL", image,
                   "python3", "-m", "http.server", "--directory", "/srv", "80")
    _wait("the release mirror", mirror_url() + "/")


def _registry(podman: Podman, image: str) -> None:
    folder = state() / "registry"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    access = registry()
    if not access.password_file.is_file():
        _write_private(access.password_file, secrets.token_urlsafe(24) + "\n")
    if not (folder / "htpasswd").is_file():
        line = podman.run("run", "--rm", *podman.cgroup, "--interactive", "--network=none", image,
                          "htpasswd", "-niB", access.user, stdin=access.password() + "\n")
        _write_private(folder / "htpasswd", line)
    _certificates(folder / "tls")
    (folder / "config.yml").write_text(
        "version: 0.1\n"
        "log: {level: warn}\n"
        "storage: {filesystem: {rootdirectory: /srv/data}, delete: {enabled: true}}\n"
        f"http: {{addr: ':{settings.REGISTRY_PORT}', tls: {{certificate: /srv/tls/registry.crt,"
        " key: /srv/tls/registry.key}}\n"
        "auth: {htpasswd: {realm: observer-node, path: /srv/htpasswd}}\n"
    )
    key = digest(image, folder / "config.yml", folder / "htpasswd", folder / "tls")
    if not _running(podman, REGISTRY, key):
        podman.run("run", "--detach", *podman.cgroup, "--name", REGISTRY,
                   "--network", NETWORK, "--ip", settings.REGISTRY_ADDRESS,
                   "--mac-address", settings.mac_address(settings.REGISTRY_ADDRESS),
                   "--label", f"observer-node.key={key}", "--read-only", "--tmpfs", "/tmp", "--volume",
                   f"{folder}:/srv", image, "docker-registry", "serve", "/srv/config.yml")
    _wait("the image registry", access.endpoint + "/v2/", access)


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)


def _certificates(folder: Path) -> None:
    """A CA and the registry's certificate, made once for this machine."""
    if (folder / "registry.crt").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    elliptic = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    run(["openssl", "req", "-x509", *elliptic, "-keyout", folder / "ca.key", "-out", folder / "ca.crt", "-days", "3650",
         "-subj", "/CN=observer-node test bed CA"])
    run(["openssl", "req", *elliptic, "-keyout", folder / "registry.key", "-out", folder / "registry.csr",
         "-subj", "/CN=observer-node registry"])
    extensions = folder / "registry.ext"
    extensions.write_text(f"subjectAltName=IP:{settings.REGISTRY_ADDRESS}\n")
    run(["openssl", "x509", "-req", "-in", folder / "registry.csr", "-CA", folder / "ca.crt", "-CAkey",
         folder / "ca.key", "-CAcreateserial", "-days", "3650", "-extfile", extensions,
         "-out", folder / "registry.crt.new"])
    (folder / "registry.crt.new").rename(folder / "registry.crt")


def _push(podman: Podman, paths: Mapping[str, Path]) -> None:
    """Put the app's builds into the registry, once per artifact."""
    folder = state() / "registry"
    stamp = folder / "data" / f".pushed-{paths['observer'].name}"
    if stamp.is_file():
        return
    access = registry()
    host = access.endpoint.removeprefix("https://")
    login = folder / "push.json"
    _write_private(login, access.docker_config(host))
    trust = folder / "trust"
    trust.mkdir(exist_ok=True)
    shutil.copy(access.ca_file, trust / "ca.crt")
    try:
        podman.run("load", "--quiet", "--input", str(paths["observer"] / "images.tar"))
        for tag in settings.OBSERVER_BUILDS:
            repository = settings.OBSERVER_REPOSITORY.split("/", 1)[1]
            if podman.foreign:
                repository = f"{podman.foreign}/{repository}"
            podman.run("push", "--quiet", "--authfile", str(login), "--cert-dir", str(trust),
                       f"{settings.OBSERVER_REPOSITORY}:{tag}", f"docker://{host}/{repository}:{tag}")
    finally:
        login.unlink()
    stamp.touch()


def _wait(what: str, url: str, access: Registry | None = None, seconds: float = 20) -> None:
    context = ssl.create_default_context(cafile=str(access.ca_file)) if access else None
    request = urllib.request.Request(url)
    if access:
        request.add_header("Authorization", f"Basic {access.basic_credentials()}")
    # No proxy: the address is on this machine.
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if context:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    opener = urllib.request.build_opener(*handlers)
    deadline = time.monotonic() + seconds
    while True:
        try:
            with opener.open(request, timeout=2):
                return
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise BedError(f"{what} does not answer at {url}: {error}; try `make down` and again") from error
        time.sleep(0.1)


# --- the host, and leaving it as it was ---------------------------------------------------------


def _remember_sysctls() -> None:
    path = state() / "sysctls.json"
    if path.is_file():
        return
    path.write_text(json.dumps(shared_sysctls(), indent=2) + "\n")


def shared_sysctls() -> dict[str, str]:
    """All settings of :data:`SHARED_SYSCTLS` with their values now; names as paths under ``/proc/sys``."""
    root = Path("/proc/sys")
    values = {}
    for start in SHARED_SYSCTLS:
        top = root / start
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            name = str(path.relative_to(root))
            if not path.is_file() or name.startswith(VOLATILE_SYSCTLS) or not path.stat().st_mode & 0o200:
                continue
            try:
                values[name] = path.read_text(errors="replace").strip()
            except OSError:
                continue
    return values


def _restore_sysctls() -> list[str]:
    path = state() / "sysctls.json"
    if not path.is_file():
        return []
    changed = []
    for name, value in json.loads(path.read_text()).items():
        setting = Path("/proc/sys") / name
        try:
            if setting.read_text().strip() != value:
                setting.write_text(value)
                changed.append(name.replace("/", "."))
        except OSError:
            continue
    path.unlink()
    return changed


_FORWARD = (
    ("-i", settings.BRIDGE, "-o", settings.BRIDGE, "-j", "ACCEPT"),
    ("-s", settings.SUBNET, "-j", "ACCEPT"),
    ("-d", settings.SUBNET, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"),
)
_MASQUERADE = (("-s", settings.SUBNET, "!", "-d", settings.SUBNET, "-j", "MASQUERADE"),)


def _iptables(*words: str) -> None:
    run(["iptables", "-w", *words])


def _has(*words: str) -> bool:
    return succeeds(["iptables", "-w", *words])


def _hooks() -> tuple[tuple[str, str, str, tuple[tuple[str, ...], ...]], ...]:
    """Table, chain that calls ours, our chain, its standing rules."""
    return (
        ("filter", "FORWARD", CHAIN, _FORWARD),
        ("filter", "INPUT", f"{CHAIN}-IN", ()),
        ("nat", "POSTROUTING", CHAIN, _MASQUERADE),
    )


def _firewall() -> None:
    """Forwarding and masquerading for the bed's network, in chains of our own and nowhere else.

    podman's own plugins would leave chains behind, and those of a container that was killed for ever.
    """
    for table, hook, chain, rules in _hooks():
        if not _has("-t", table, "-n", "-L", chain):
            _iptables("-t", table, "-N", chain)
        for rule in rules:
            if not _has("-t", table, "-C", chain, *rule):
                _iptables("-t", table, "-A", chain, *rule)
        if not _has("-t", table, "-C", hook, "-j", chain):
            _iptables("-t", table, "-I", hook, "1", "-j", chain)


def _remove_firewall() -> None:
    for table, hook, chain, _ in _hooks():
        if _has("-t", table, "-n", "-L", chain):
            while _has("-t", table, "-D", hook, "-j", chain):
                pass
            _iptables("-t", table, "-F", chain)
            _iptables("-t", table, "-X", chain)


def _outward(address: str) -> tuple[str, ...]:
    return ("-s", address, "!", "-d", settings.SUBNET, "-j", "REJECT", "--reject-with", "icmp-net-unreachable")


def block_outward(address: str) -> None:
    """Refuse what a node sends beyond the bed's network, this machine's other addresses included."""
    for chain in (CHAIN, f"{CHAIN}-IN"):
        if not _has("-C", chain, *_outward(address)):
            _iptables("-I", chain, "1", *_outward(address))


def unblock_outward(address: str) -> None:
    """Take :func:`block_outward` back."""
    for chain in (CHAIN, f"{CHAIN}-IN"):
        while _has("-D", chain, *_outward(address)):
            pass


def down() -> list[str]:
    """Take away what :func:`up` and the nodes made on this machine; caches stay. Returns what was put back."""
    podman = Podman.open()
    for name in (MIRROR, REGISTRY):
        if podman.inspect(name):
            podman.run("rm", "--force", "--time", "1", "--volumes", name)
    if succeeds(["ip", "link", "show", settings.BRIDGE]):
        run(["ip", "link", "delete", settings.BRIDGE])
    _remove_firewall()
    for group in (*Path("/sys/fs/cgroup").glob(f"*{podman.CGROUP}"), Path(f"/sys/fs/cgroup{podman.CGROUP}")):
        for inner in sorted(group.rglob("*/"), reverse=True):
            inner.rmdir()
        if group.is_dir():
            group.rmdir()
    restored = _restore_sysctls()
    shutil.rmtree(settings.folders().state, ignore_errors=True)
    shutil.rmtree(settings.folders().runroot, ignore_errors=True)
    return restored
