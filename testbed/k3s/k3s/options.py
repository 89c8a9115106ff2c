"""Every option of `k3s server` and `k3s agent`, and a parser with the rules of urfave/cli.

One table serves the parser, the check of configuration files and README.md, so none of the three can
claim an option that the others lack. Names and kinds follow pkg/cli/cmds/{server,agent,log,config}.go.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .errors import UsageError

Value = str | int | bool | float | list[str]

BOTH, SERVER, AGENT = "server and agent", "server", "agent"


@dataclass(frozen=True)
class Option:
    """One option: `effect` is empty when K3s accepts it and the stand-in does nothing with it."""

    name: str
    kind: str = "str"
    scope: str = SERVER
    effect: str = ""
    refused: str = ""
    aliases: tuple[str, ...] = ()
    env: str = ""
    default: str = ""

    def names(self) -> tuple[str, ...]:
        """The name and its aliases."""
        return (self.name, *self.aliases)

    def initial(self) -> Value:
        """The value when the option is not given."""
        if self.kind == "list":
            return []
        return convert(self, self.default) if self.default else {"bool": False, "int": 0}.get(self.kind, "")


def _o(
    name: str,
    kind: str = "str",
    effect: str = "",
    *,
    scope: str = SERVER,
    refused: str = "",
    alias: str = "",
    env: str = "",
    default: str = "",
) -> Option:
    return Option(name, kind, scope, effect, refused, tuple(alias.split()), env, default)


_ETCD_ONLY = "etcd is not imitated; on SQLite K3s ignores it too"
_NO_ADDRESS = "one flat network without overlay stands in for flannel"

OPTIONS: tuple[Option, ...] = (
    # configuration and logging
    _o(
        "config",
        effect="the configuration file; `<file>.d/*.yaml` is merged after it",
        scope=BOTH,
        alias="c",
        env="K3S_CONFIG_FILE",
        default="/etc/rancher/k3s/config.yaml",
    ),
    _o("debug", "bool", "debug log lines of the launcher", scope=BOTH, env="K3S_DEBUG"),
    _o("v", "int", "`--v` of every Kubernetes component", scope=BOTH, default="0"),
    _o("vmodule", effect="`--vmodule` of every Kubernetes component", scope=BOTH),
    _o("log", effect="log to this file", scope=BOTH, alias="l"),
    _o("alsologtostderr", "bool", "with `log`: log to stderr too", scope=BOTH),
    # listener
    _o("bind-address", effect="`--bind-address` of kube-apiserver, host of the kubeconfig"),
    _o("https-listen-port", "int", "`--secure-port` of kube-apiserver", default="6443"),
    _o("supervisor-port", "int"),
    _o("apiserver-port", "int"),
    _o("apiserver-bind-address"),
    _o("advertise-address", effect="`--advertise-address` of kube-apiserver, a name in its certificate"),
    _o("advertise-port", "int"),
    _o("tls-san", "list", "names in the certificate of kube-apiserver"),
    _o("tls-san-security", "bool", default="true"),
    # data and networking
    _o("data-dir", effect="the state directory", scope=BOTH, alias="d"),
    _o("cluster-cidr", "list", "pod addresses (10.42.0.0/16)"),
    _o("service-cidr", "list", "service addresses (10.43.0.0/16)"),
    _o(
        "service-node-port-range",
        effect="`--service-node-port-range` of kube-apiserver",
        default="30000-32767",
    ),
    _o("cluster-dns", "list", "address of the kube-dns Service (10.43.0.10)"),
    _o("cluster-domain", effect="domain of the cluster", default="cluster.local"),
    _o(
        "flannel-backend",
        effect="`none`: no CNI configuration is written; the other valid values are accepted, " + _NO_ADDRESS,
        default="vxlan",
    ),
    _o("flannel-ipv6-masq", "bool"),
    _o("flannel-external-ip", "bool"),
    _o("egress-selector-mode", effect="the value is checked; there is no egress selector", default="agent"),
    _o("servicelb-namespace", default="kube-system"),
    # client
    _o("write-kubeconfig", effect="where the admin kubeconfig goes", alias="o", env="K3S_KUBECONFIG_OUTPUT"),
    _o("write-kubeconfig-mode", effect="mode of the admin kubeconfig (0600)", env="K3S_KUBECONFIG_MODE"),
    _o("write-kubeconfig-group", effect="group of the admin kubeconfig", env="K3S_KUBECONFIG_GROUP"),
    _o("helm-job-image"),
    # cluster
    _o(
        "token",
        effect="the join token; it also encrypts the bootstrap data",
        scope=BOTH,
        alias="t",
        env="K3S_TOKEN",
    ),
    _o("token-file", effect="file with the token", scope=BOTH, env="K3S_TOKEN_FILE"),
    _o("agent-token", effect="the token that agents join with", env="K3S_AGENT_TOKEN"),
    _o("agent-token-file", effect="file with the agents' token", env="K3S_AGENT_TOKEN_FILE"),
    _o(
        "server",
        effect="agent: the server to join",
        refused="server: joining a second server is not imitated",
        scope=BOTH,
        alias="s",
        env="K3S_URL",
    ),
    _o("cluster-init", "bool", refused="embedded etcd is not imitated", env="K3S_CLUSTER_INIT"),
    _o("cluster-reset", "bool", refused="embedded etcd is not imitated", env="K3S_CLUSTER_RESET"),
    _o("cluster-reset-restore-path", refused="without cluster-reset as K3s does, with it as not imitated"),
    # arguments of the components
    _o("kube-apiserver-arg", "list", "arguments of kube-apiserver"),
    _o("etcd-arg", "list"),
    _o(
        "kube-controller-manager-arg",
        "list",
        "arguments of kube-controller-manager",
        alias="kube-controller-arg",
    ),
    _o("kube-scheduler-arg", "list", "arguments of kube-scheduler"),
    _o("kube-cloud-controller-manager-arg", "list", alias="kube-cloud-controller-arg"),
    _o("helm-controller-arg", "list"),
    # datastore
    _o(
        "datastore-endpoint",
        effect="empty or `sqlite`: the default",
        refused="any other datastore is not imitated",
        env="K3S_DATASTORE_ENDPOINT",
    ),
    _o("datastore-cafile", env="K3S_DATASTORE_CAFILE"),
    _o("datastore-certfile", env="K3S_DATASTORE_CERTFILE"),
    _o("datastore-keyfile", env="K3S_DATASTORE_KEYFILE"),
    _o("kine-tls", "bool"),
    _o("etcd-expose-metrics", "bool"),
    _o("etcd-disable-snapshots", "bool"),
    _o("etcd-snapshot-name", default="etcd-snapshot"),
    _o("etcd-snapshot-schedule-cron", default="0 */12 * * *"),
    _o("etcd-snapshot-reconcile-interval", "duration", default="10m"),
    _o("etcd-snapshot-retention", "int", default="5"),
    _o("etcd-snapshot-dir"),
    _o("etcd-snapshot-compress", "bool"),
    _o("etcd-s3", "bool"),
    _o("etcd-s3-endpoint", default="s3.amazonaws.com"),
    _o("etcd-s3-endpoint-ca"),
    _o("etcd-s3-skip-ssl-verify", "bool"),
    _o("etcd-s3-access-key", env="AWS_ACCESS_KEY_ID"),
    _o("etcd-s3-secret-key", env="AWS_SECRET_ACCESS_KEY"),
    _o("etcd-s3-session-token", env="AWS_SESSION_TOKEN"),
    _o("etcd-s3-bucket"),
    _o("etcd-s3-bucket-lookup-type", default="auto"),
    _o("etcd-s3-region", default="us-east-1"),
    _o("etcd-s3-folder"),
    _o("etcd-s3-retention", "int", default="5"),
    _o("etcd-s3-proxy"),
    _o("etcd-s3-config-secret"),
    _o("etcd-s3-insecure", "bool"),
    _o("etcd-s3-timeout", "duration", default="5m"),
    # storage and components
    _o("default-local-storage-path", effect="directory of local-path volumes (`<data-dir>/storage`)"),
    _o("disable", "list", "the packaged component's file and objects are removed"),
    _o("disable-scheduler", "bool", "no kube-scheduler"),
    _o("disable-cloud-controller", "bool"),
    _o("disable-kube-proxy", "bool", "no kube-proxy"),
    _o("disable-network-policy", "bool", "NetworkPolicy is not enforced"),
    _o("disable-helm-controller", "bool"),
    _o("disable-apiserver", "bool", refused="a server without an API server is not imitated"),
    _o("disable-controller-manager", "bool", "no kube-controller-manager"),
    _o("disable-etcd", "bool", refused="as K3s does; otherwise a server without a datastore is not imitated"),
    _o("disable-agent", "bool", refused="a server without a node is not imitated"),
    _o("embedded-registry", "bool"),
    _o("supervisor-metrics", "bool"),
    # node
    _o("node-name", effect="name of the node", scope=BOTH, env="K3S_NODE_NAME"),
    _o("with-node-id", "bool", "`/etc/rancher/node/id` is appended to the name", scope=BOTH),
    _o("node-label", "list", "labels at registration", scope=BOTH),
    _o("node-taint", "list", "taints at registration", scope=BOTH),
    _o("node-ip", "list", "address of the node", scope=BOTH, alias="i"),
    _o(
        "node-external-ip",
        "list",
        "advertised address, name in certificates, annotation `k3s.io/external-ip`",
        scope=BOTH,
    ),
    _o("node-internal-dns", "list", "name in the certificate of the kubelet", scope=BOTH),
    _o("node-external-dns", "list", "name in the certificate of the kubelet", scope=BOTH),
    _o("resolv-conf", effect="`resolvConf` of the kubelet", scope=BOTH, env="K3S_RESOLV_CONF"),
    _o("flannel-iface", effect="its address is the node's when `node-ip` is not given", scope=BOTH),
    _o("flannel-conf", scope=BOTH),
    _o("flannel-cni-conf", scope=BOTH),
    _o("vpn-auth", scope=BOTH, env="K3S_VPN_AUTH"),
    _o("vpn-auth-file", scope=BOTH, env="K3S_VPN_AUTH_FILE"),
    _o("kubelet-arg", "list", "arguments of the kubelet", scope=BOTH),
    _o("kube-proxy-arg", "list", "arguments of kube-proxy", scope=BOTH),
    _o("image-credential-provider-bin-dir", scope=BOTH, default="/var/lib/rancher/credentialprovider/bin"),
    _o(
        "image-credential-provider-config",
        scope=BOTH,
        default="/var/lib/rancher/credentialprovider/config.yaml",
    ),
    _o("protect-kernel-defaults", "bool", "`protectKernelDefaults` of the kubelet", scope=BOTH),
    _o("selinux", "bool", scope=BOTH, env="K3S_SELINUX"),
    _o("lb-server-port", "int", scope=BOTH, env="K3S_LB_SERVER_PORT", default="6444"),
    # runtime
    _o("docker", "bool", refused="another container runtime is not imitated", scope=BOTH),
    _o("container-runtime-endpoint", refused="another container runtime is not imitated", scope=BOTH),
    _o("default-runtime", scope=BOTH),
    _o("image-service-endpoint", scope=BOTH),
    _o(
        "disable-default-registry-endpoint",
        "bool",
        "mirrors are not followed by the registry itself",
        scope=BOTH,
    ),
    _o("nonroot-devices", "bool", "`device_ownership_from_security_context` of containerd", scope=BOTH),
    _o("pause-image", effect="sandbox image", scope=BOTH),
    _o("snapshotter", effect="snapshotter of containerd", scope=BOTH, default="overlayfs"),
    _o(
        "private-registry",
        effect="path of registries.yaml",
        scope=BOTH,
        default="/etc/rancher/k3s/registries.yaml",
    ),
    _o(
        "system-default-registry",
        effect="prefix of the system images; agents get it from the server",
        env="K3S_SYSTEM_DEFAULT_REGISTRY",
    ),
    _o("airgap-extra-registry", "list", scope=BOTH),
    # security and experiments
    _o("secrets-encryption", "bool", "Secrets are encrypted in the datastore"),
    _o("secrets-encryption-provider", effect="`aescbc` or `secretbox`", default="aescbc"),
    _o("enable-pprof", "bool", scope=BOTH),
    _o("rootless", "bool", refused="rootless operation is not imitated", scope=BOTH),
    _o("prefer-bundled-bin", "bool", scope=BOTH),
)


def for_command(command: str) -> dict[str, Option]:
    """All names (aliases too) that `k3s <command>` knows."""
    return {name: option for option in OPTIONS if option.scope in (BOTH, command) for name in option.names()}


_TRUE = {"1", "t", "T", "TRUE", "true", "True"}
_FALSE = {"0", "f", "F", "FALSE", "false", "False"}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")


def convert(option: Option, text: str) -> Value:
    """Turn text into the option's type, with the messages of Go's flag package."""
    if option.kind == "bool":
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
        raise UsageError(f'invalid boolean value "{text}" for -{option.name}: parse error')
    if option.kind == "int":
        try:
            return int(text, 0)
        except ValueError:
            raise UsageError(f'invalid value "{text}" for flag -{option.name}: parse error') from None
    if option.kind == "duration":
        if text != "0" and not re.fullmatch(rf"(?:{_DURATION.pattern})+", text):
            raise UsageError(f'invalid value "{text}" for flag -{option.name}: parse error')
        unit = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
        return sum(float(number) * unit[name] for number, name in _DURATION.findall(text))
    return text


@dataclass
class Parsed:
    """Values by option name, the names that were given, and what follows the options."""

    values: dict[str, Value] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)
    rest: list[str] = field(default_factory=list)

    def text(self, name: str) -> str:
        """A string option."""
        return str(self.values[name])

    def flag(self, name: str) -> bool:
        """A boolean option."""
        return bool(self.values[name])

    def number(self, name: str) -> int:
        """An integer option."""
        return int(str(self.values[name]))

    def items(self, name: str, split: bool = False) -> list[str]:
        """A repeated option. K3s splits some of them at commas (pkg/util SplitStringSlice)."""
        value = self.values[name]
        assert isinstance(value, list)
        if not split:
            return list(value)
        return [part.strip() for item in value for part in item.split(",") if part.strip()]


def parse(
    options: Mapping[str, Option], args: Sequence[str], environ: Mapping[str, str] | None = None
) -> Parsed:
    """Parse like Go's flag package: one or two dashes, `x v` or `x=v`, stop at the first other word.

    Environment variables count only for options that are not given at all, as in urfave/cli; a value
    from a configuration file is an argument, so it wins over the environment.
    """
    environ = os.environ if environ is None else environ
    parsed = Parsed()
    rest = list(args)
    while rest:
        word = rest[0]
        if len(word) < 2 or not word.startswith("-"):
            break
        rest.pop(0)
        if word == "--":
            break
        name, equals, text = word.removeprefix("-").removeprefix("-").partition("=")
        if not name or name.startswith("-"):
            raise UsageError(f"bad flag syntax: {word}")
        option = options.get(name)
        if option is None:
            raise UsageError(f"flag provided but not defined: -{name}")
        if not equals:
            if option.kind == "bool":
                text = "true"
            elif rest:
                text = rest.pop(0)
            else:
                raise UsageError(f"flag needs an argument: -{name}")
        value = convert(option, text)
        parsed.given.add(option.name)
        if option.kind == "list":
            previous = parsed.values.setdefault(option.name, [])
            assert isinstance(previous, list)
            previous.append(str(value))
        else:
            parsed.values[option.name] = value
    parsed.rest = rest
    for option in set(options.values()):
        if option.name in parsed.given:
            continue
        text = environ.get(option.env, "") if option.env else ""
        if text:
            parsed.given.add(option.name)
            value = convert(option, text)
            parsed.values[option.name] = [str(value)] if option.kind == "list" else value
        else:
            parsed.values[option.name] = option.initial()
    return parsed
