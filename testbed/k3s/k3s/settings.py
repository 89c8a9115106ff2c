"""The settings of one node: checked options, turned into values and paths.

Checks and their messages follow pkg/cli/server/server.go and pkg/cli/agent/agent.go.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from dataclasses import dataclass, field

from . import secretsencrypt
from .errors import Fatal, NotImitated
from .files import read_text, write_atomic
from .options import Parsed

PACKAGED = (
    "coredns",
    "servicelb",
    "traefik",
    "local-storage",
    "metrics-server",
    "runtimes",
    "ccm",
    "rolebindings",
)
FLANNEL_BACKENDS = ("none", "vxlan", "host-gw", "wireguard-native")
DEFAULT_DATA_DIR = "/var/lib/rancher/k3s"
CONFIG_DIR = "/etc/rancher/k3s"
NODE_DIR = "/etc/rancher/node"
SOCKET = "/run/k3s/containerd/containerd.sock"
PAUSE_IMAGE = "rancher/mirrored-pause:3.6"


@dataclass(frozen=True)
class Paths:
    """Where K3s keeps its files under the data directory."""

    data_dir: str

    def server(self, *parts: str) -> str:
        """A path below `server`."""
        return os.path.join(self.data_dir, "server", *parts)

    def agent(self, *parts: str) -> str:
        """A path below `agent`."""
        return os.path.join(self.data_dir, "agent", *parts)

    def tls(self, name: str) -> str:
        """A file in `server/tls`."""
        return self.server("tls", name)

    def cred(self, name: str) -> str:
        """A file in `server/cred`."""
        return self.server("cred", name)

    @property
    def database(self) -> str:
        """The SQLite file."""
        return self.server("db", "state.db")

    @property
    def kine_socket(self) -> str:
        """Where kine listens."""
        return self.server("kine.sock")

    @property
    def manifests(self) -> str:
        """The auto-deploy directory."""
        return self.server("manifests")

    @property
    def images(self) -> str:
        """The directory of images to import."""
        return self.agent("images")

    @property
    def cni_bin(self) -> str:
        """CNI plugins under a path that stays the same when the payload changes."""
        return os.path.join(self.data_dir, "data", "cni")

    @property
    def cni_conf(self) -> str:
        """Where the network component writes the CNI configuration."""
        return self.agent("etc", "cni", "net.d")

    @property
    def encryption_config(self) -> str:
        """The API server's keys for Secrets."""
        return self.cred("encryption-config.json")

    @property
    def encryption_state(self) -> str:
        """K3s' record of the stage of a key rotation."""
        return self.cred("encryption-state.json")

    def bootstrap(self, encrypted: bool) -> dict[str, str]:
        """The files of the bootstrap data by the names that K3s gives them (ControlRuntimeBootstrap)."""
        found = {
            "ServerCA": self.tls("server-ca.crt"),
            "ServerCAKey": self.tls("server-ca.key"),
            "ClientCA": self.tls("client-ca.crt"),
            "ClientCAKey": self.tls("client-ca.key"),
            "RequestHeaderCA": self.tls("request-header-ca.crt"),
            "RequestHeaderCAKey": self.tls("request-header-ca.key"),
            "ServiceKey": self.tls("service.key"),
        }
        if encrypted:
            found["EncryptionConfig"] = self.encryption_config
            found["EncryptionHash"] = self.encryption_state
        return found


@dataclass
class Settings:
    """Everything that a component's arguments depend on."""

    paths: Paths
    bin_dir: str = ""
    systemd: bool = False
    may_raise_limits: bool = True
    # node
    node_name: str = ""
    node_ips: list[str] = field(default_factory=list)
    node_external_ips: list[str] = field(default_factory=list)
    node_dns: list[str] = field(default_factory=list)
    node_labels: list[str] = field(default_factory=list)
    node_taints: list[str] = field(default_factory=list)
    node_ip_option: list[str] = field(default_factory=list)
    interface: str = ""
    resolv_conf: str = ""
    protect_kernel_defaults: bool = False
    kubelet_args: list[str] = field(default_factory=list)
    kube_proxy_args: list[str] = field(default_factory=list)
    pause_image: str = PAUSE_IMAGE
    snapshotter: str = "overlayfs"
    nonroot_devices: bool = False
    private_registry: str = f"{CONFIG_DIR}/registries.yaml"
    no_default_endpoint: bool = False
    v: int = 0
    vmodule: str = ""
    debug: bool = False
    # cluster
    server_url: str = ""
    token: str = ""
    agent_token: str = ""
    cluster_cidr: list[str] = field(default_factory=lambda: ["10.42.0.0/16"])
    service_cidr: list[str] = field(default_factory=lambda: ["10.43.0.0/16"])
    cluster_dns: list[str] = field(default_factory=list)
    cluster_domain: str = "cluster.local"
    flannel_backend: str = "vxlan"
    disable_kube_proxy: bool = False
    disable_network_policy: bool = False
    system_default_registry: str = ""
    # server
    https_port: int = 6443
    bind_address: str = ""
    advertise_address: str = ""
    node_port_range: str = "30000-32767"
    tls_sans: list[str] = field(default_factory=list)
    kube_apiserver_args: list[str] = field(default_factory=list)
    kube_controller_manager_args: list[str] = field(default_factory=list)
    kube_scheduler_args: list[str] = field(default_factory=list)
    disable_scheduler: bool = False
    disable_controller_manager: bool = False
    disable: list[str] = field(default_factory=list)
    secrets_encryption: bool = False
    encryption_provider: str = "aescbc"
    kubeconfig: str = ""
    kubeconfig_mode: str = ""
    kubeconfig_group: str = ""
    local_storage_path: str = ""

    @property
    def node_ip(self) -> str:
        """The first address of the node."""
        return self.node_ips[0] if self.node_ips else ""

    @property
    def api_url(self) -> str:
        """Where this node's components reach the API server."""
        return self.server_url or f"https://{self.loopback}:{self.https_port}"

    @property
    def loopback(self) -> str:
        """The address of the kubeconfig: the bind address when one is given (BindAddressOrLoopback)."""
        if self.bind_address in ("", "0.0.0.0", "::"):
            return "127.0.0.1"
        return f"[{self.bind_address}]" if ":" in self.bind_address else self.bind_address

    @property
    def service_ip(self) -> str:
        """The first Service address: the one of `kubernetes.default`."""
        return str(ipaddress.ip_network(self.service_cidr[0], strict=False)[1])

    def image(self, name: str) -> str:
        """A system image under the default registry of the cluster, when one is set."""
        registry = self.system_default_registry
        return f"{registry}/{name}" if registry and not name.startswith(registry) else name


def resolve_data_dir(given: str) -> str:
    """An absolute data directory; not root means the home directory (pkg/datadir)."""
    if given:
        return os.path.abspath(given)
    if os.getuid() == 0:
        return DEFAULT_DATA_DIR
    return os.path.expanduser("~/.rancher/k3s")


def check_server(options: Parsed) -> None:
    """The refusals of `k3s server`: first those of K3s in its order, then what is not imitated."""
    if options.text("cluster-reset-restore-path") and not options.flag("cluster-reset"):
        raise Fatal("invalid flag use; --cluster-reset required with --cluster-reset-restore-path")
    if options.flag("disable-etcd") and not options.text("server"):
        raise Fatal("invalid flag use; --server is required with --disable-etcd")
    endpoint = options.text("datastore-endpoint")
    if endpoint and options.flag("disable-apiserver"):
        raise Fatal("invalid flag use; cannot use --disable-apiserver with --datastore-endpoint")
    if endpoint and options.flag("disable-etcd"):
        raise Fatal("invalid flag use; cannot use --disable-etcd with --datastore-endpoint")
    if options.flag("cluster-reset") and options.text("server"):
        raise Fatal(
            "cannot perform cluster-reset while server URL is set - remove server from configuration "
            "before resetting"
        )
    for name in ("cluster-cidr", "service-cidr"):
        for item in options.items(name, split=True):
            try:
                ipaddress.ip_network(item, strict=False)
            except ValueError:
                raise Fatal(f"invalid {name} {item}: invalid CIDR address: {item}") from None
    low, dash, high = options.text("service-node-port-range").partition("-")
    if not (dash and low.isdigit() and high.isdigit() and int(low) <= int(high) < 65536):
        raise Fatal(f"invalid port range {options.text('service-node-port-range')}")
    for item in options.items("cluster-dns", split=True):
        try:
            ipaddress.ip_address(item)
        except ValueError:
            raise Fatal(f"invalid cluster-dns address {item}") from None
    mode = options.text("egress-selector-mode")
    if mode not in ("agent", "cluster", "pod", "disabled"):
        raise Fatal(f"invalid egress-selector-mode {mode}")
    if options.text("flannel-backend") not in FLANNEL_BACKENDS:
        raise Fatal(f"Cannot configure unknown flannel backend '{options.text('flannel-backend')}'")
    secretsencrypt.check_provider(options.text("secrets-encryption-provider"))
    for item in options.items("disable", split=True):
        if item not in PACKAGED:
            raise Fatal(f"unknown disable item {item} (valid items: {', '.join(PACKAGED[:6])})")
    for flag in ("cluster-init", "cluster-reset"):
        if options.flag(flag):
            raise NotImitated(f"--{flag} (embedded etcd)")
    if endpoint and endpoint != "sqlite" and not endpoint.startswith("sqlite://"):
        raise NotImitated("--datastore-endpoint other than sqlite")
    if endpoint.startswith("sqlite://"):
        raise NotImitated("--datastore-endpoint with a path")
    for flag in ("disable-etcd", "disable-apiserver", "disable-agent"):
        if options.flag(flag):
            raise NotImitated(f"--{flag}")
    if options.text("server"):
        raise NotImitated("a server that joins another server (--server)")
    _check_runtime(options)


def check_agent(options: Parsed, has_certificate: bool) -> None:
    """The refusals of `k3s agent` (pkg/cli/agent/agent.go)."""
    if not options.text("token") and not options.text("token-file") and not has_certificate:
        raise Fatal("--token is required")
    url = options.text("server")
    if not url:
        raise Fatal("--server is required")
    if not url.startswith("https://"):
        raise Fatal(f"only https:// URLs are supported, invalid scheme: {url}")
    _check_runtime(options)


def _check_runtime(options: Parsed) -> None:
    for flag in ("docker", "rootless"):
        if options.flag(flag):
            raise NotImitated(f"--{flag}")
    if options.text("container-runtime-endpoint"):
        raise NotImitated("--container-runtime-endpoint")


def token_of(options: Parsed, name: str) -> str:
    """A token from its option or its file; the file wins (pkg/cli/server/server.go)."""
    path = options.text(f"{name}-file")
    if not path:
        return options.text(name)
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read().strip()
    except OSError as error:
        raise Fatal(f"open {path}: {error.strerror or error}") from error


def node_name(given: str, with_id: bool, node_dir: str = NODE_DIR) -> str:
    """The node's name: given or the host's, in lower case, with the node's id when asked for."""
    name = (given or socket.gethostname()).lower()
    if not with_id:
        return name
    path = os.path.join(node_dir, "id")
    identity = read_text(path)
    if not identity:
        identity = secrets.token_hex(4)
        write_atomic(path, identity + "\n", 0o644)
    return f"{name}-{identity}"


def build(options: Parsed, server: bool) -> Settings:
    """Settings of a checked command line; the node's address and the payload come later."""
    settings = Settings(Paths(resolve_data_dir(options.text("data-dir"))))
    settings.node_name = node_name(options.text("node-name"), options.flag("with-node-id"))
    settings.node_ip_option = options.items("node-ip", split=True)
    settings.interface = options.text("flannel-iface")
    settings.node_external_ips = options.items("node-external-ip", split=True)
    settings.node_dns = [
        *options.items("node-internal-dns", split=True),
        *options.items("node-external-dns", split=True),
    ]
    settings.node_labels = options.items("node-label")
    settings.node_taints = options.items("node-taint")
    settings.resolv_conf = options.text("resolv-conf")
    settings.protect_kernel_defaults = options.flag("protect-kernel-defaults")
    settings.kubelet_args = options.items("kubelet-arg")
    settings.kube_proxy_args = options.items("kube-proxy-arg")
    settings.pause_image = options.text("pause-image") or PAUSE_IMAGE
    settings.snapshotter = options.text("snapshotter")
    settings.nonroot_devices = options.flag("nonroot-devices")
    settings.private_registry = options.text("private-registry")
    settings.no_default_endpoint = options.flag("disable-default-registry-endpoint")
    settings.v, settings.vmodule = options.number("v"), options.text("vmodule")
    settings.debug = options.flag("debug")
    settings.token = token_of(options, "token")
    if not server:
        settings.server_url = options.text("server").rstrip("/")
        return settings
    settings.agent_token = token_of(options, "agent-token")
    settings.cluster_cidr = options.items("cluster-cidr", split=True) or settings.cluster_cidr
    settings.service_cidr = options.items("service-cidr", split=True) or settings.service_cidr
    first = ipaddress.ip_network(settings.service_cidr[0], strict=False)
    settings.cluster_dns = options.items("cluster-dns", split=True) or [str(first[10])]
    settings.cluster_domain = options.text("cluster-domain")
    settings.flannel_backend = options.text("flannel-backend")
    settings.disable_kube_proxy = options.flag("disable-kube-proxy")
    settings.disable_network_policy = options.flag("disable-network-policy")
    settings.system_default_registry = options.text("system-default-registry")
    settings.https_port = options.number("https-listen-port")
    settings.bind_address = options.text("bind-address")
    settings.advertise_address = options.text("advertise-address")
    settings.node_port_range = options.text("service-node-port-range")
    settings.tls_sans = options.items("tls-san", split=True)
    settings.kube_apiserver_args = options.items("kube-apiserver-arg")
    settings.kube_controller_manager_args = options.items("kube-controller-manager-arg")
    settings.kube_scheduler_args = options.items("kube-scheduler-arg")
    settings.disable_scheduler = options.flag("disable-scheduler")
    settings.disable_controller_manager = options.flag("disable-controller-manager")
    settings.disable = options.items("disable", split=True)
    settings.secrets_encryption = options.flag("secrets-encryption")
    settings.encryption_provider = options.text("secrets-encryption-provider")
    settings.kubeconfig = options.text("write-kubeconfig")
    settings.kubeconfig_mode = options.text("write-kubeconfig-mode")
    settings.kubeconfig_group = options.text("write-kubeconfig-group")
    settings.local_storage_path = options.text("default-local-storage-path") or os.path.join(
        settings.paths.data_dir, "storage"
    )
    return settings
