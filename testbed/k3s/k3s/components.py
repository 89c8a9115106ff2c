"""The arguments and configuration files of every component, as pure functions of the settings.

K3s builds a map of defaults and lets `kubelet-arg` and its like replace single keys
(pkg/daemons/control/server.go, pkg/daemons/agent/agent_linux.go, pkg/util/args.go GetArgs). Nothing
here touches the machine, so each argument can be tested.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from .settings import SOCKET, Settings


def merge_args(defaults: Mapping[str, str], extra: Sequence[str]) -> list[str]:
    """Defaults overridden by key; `key+=v` appends to a default and `key-=v` goes before it."""
    remaining = dict(defaults)
    multiple: dict[str, list[str]] = {}
    for word in extra:
        argument, equals, value = word.removeprefix("--").partition("=")
        value = value if equals else "true"
        key = argument.rstrip("-+")
        initial = [remaining[key]] if key in remaining else []
        existing = multiple.get(key, [])
        if argument.endswith("+"):
            values = [*initial, *existing, value]
        elif argument.endswith("-"):
            values = [value, *initial, *existing]
        else:
            values = [*existing, value]
        remaining.pop(key, None)
        multiple[key] = values
    multiple.update({key: [value] for key, value in remaining.items()})
    return [f"--{key}={value}" for key in sorted(multiple) for value in multiple[key]]


def _logging(settings: Settings) -> dict[str, str]:
    found = {"v": str(settings.v)} if settings.v else {}
    if settings.vmodule:
        found["vmodule"] = settings.vmodule
    return found


def kine(settings: Settings) -> list[str]:
    """kine on a Unix socket, as embedded in K3s. Its metrics port is off: K3s does not open it either."""
    parameters = "_journal=WAL&cache=shared&_busy_timeout=30000&_txlock=immediate"
    return [
        "kine",
        f"--endpoint=sqlite://{settings.paths.database}?{parameters}",
        f"--listen-address=unix://{settings.paths.kine_socket}",
        "--metrics-bind-address=0",
    ]


def kube_apiserver(settings: Settings) -> list[str]:
    """The API server on the port of K3s; certificates under K3s' names."""
    paths = settings.paths
    issuer = f"https://kubernetes.default.svc.{settings.cluster_domain}"
    defaults = {
        **_logging(settings),
        "advertise-address": settings.advertise_address or settings.node_ip,
        "allow-privileged": "true",
        "api-audiences": f"{issuer},k3s",
        "authorization-mode": "Node,RBAC",
        "bind-address": settings.bind_address or "0.0.0.0",
        "cert-dir": paths.tls("temporary-certs"),
        "client-ca-file": paths.tls("client-ca.crt"),
        "enable-admission-plugins": "NodeRestriction",
        "enable-bootstrap-token-auth": "true",
        "etcd-servers": f"unix://{paths.kine_socket}",
        "kubelet-certificate-authority": paths.tls("server-ca.crt"),
        "kubelet-client-certificate": paths.tls("client-kube-apiserver.crt"),
        "kubelet-client-key": paths.tls("client-kube-apiserver.key"),
        "kubelet-preferred-address-types": "InternalIP,ExternalIP,Hostname",
        "profiling": "false",
        "proxy-client-cert-file": paths.tls("client-auth-proxy.crt"),
        "proxy-client-key-file": paths.tls("client-auth-proxy.key"),
        "requestheader-allowed-names": "system:auth-proxy",
        "requestheader-client-ca-file": paths.tls("request-header-ca.crt"),
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-username-headers": "X-Remote-User",
        "secure-port": str(settings.https_port),
        "service-account-issuer": issuer,
        "service-account-key-file": paths.tls("service.key"),
        "service-account-signing-key-file": paths.tls("service.key"),
        "service-cluster-ip-range": ",".join(settings.service_cidr),
        "service-node-port-range": settings.node_port_range,
        "storage-backend": "etcd3",
        "tls-cert-file": paths.tls("serving-kube-apiserver.crt"),
        "tls-private-key-file": paths.tls("serving-kube-apiserver.key"),
        "token-auth-file": paths.cred("agent-tokens.csv"),
    }
    if settings.secrets_encryption:
        defaults["encryption-provider-config"] = paths.encryption_config
        defaults["encryption-provider-config-automatic-reload"] = "true"
    return ["kube-apiserver", *merge_args(defaults, settings.kube_apiserver_args)]


def kube_controller_manager(settings: Settings) -> list[str]:
    """Allocates the nodes' address ranges and signs the agents' requests."""
    paths = settings.paths
    kubeconfig = paths.cred("controller.kubeconfig")
    client = (paths.tls("client-ca.nochain.crt"), paths.tls("client-ca.key"))
    serving = (paths.tls("server-ca.nochain.crt"), paths.tls("server-ca.key"))
    defaults = {
        **_logging(settings),
        "allocate-node-cidrs": "true",
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "bind-address": "127.0.0.1",
        "cert-dir": paths.tls("kube-controller-manager"),
        "cluster-cidr": ",".join(settings.cluster_cidr),
        "configure-cloud-routes": "false",
        "controllers": "*,tokencleaner,-service-lb-controller,-node-route-controller",
        "kubeconfig": kubeconfig,
        "leader-elect": "false",
        "profiling": "false",
        "root-ca-file": paths.tls("server-ca.crt"),
        "secure-port": "10257",
        "service-account-private-key-file": paths.tls("service.key"),
        "service-cluster-ip-range": ",".join(settings.service_cidr),
        "use-service-account-credentials": "true",
    }
    for signer, (certificate, key) in (
        ("kube-apiserver-client", client),
        ("kubelet-client", client),
        ("kubelet-serving", serving),
        ("legacy-unknown", client),
    ):
        defaults[f"cluster-signing-{signer}-cert-file"] = certificate
        defaults[f"cluster-signing-{signer}-key-file"] = key
    return ["kube-controller-manager", *merge_args(defaults, settings.kube_controller_manager_args)]


def kube_scheduler(settings: Settings) -> list[str]:
    """One scheduler, so no leader election."""
    kubeconfig = settings.paths.cred("scheduler.kubeconfig")
    defaults = {
        **_logging(settings),
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "bind-address": "127.0.0.1",
        "cert-dir": settings.paths.tls("kube-scheduler"),
        "kubeconfig": kubeconfig,
        "leader-elect": "false",
        "profiling": "false",
        "secure-port": "10259",
    }
    return ["kube-scheduler", *merge_args(defaults, settings.kube_scheduler_args)]


def kubelet_config(settings: Settings) -> str:
    """`00-k3s-defaults.conf`, the drop-in that K3s owns. JSON is YAML, and K3s' names stay the same."""
    paths = settings.paths
    config: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True, "cacheTTL": "2m0s"},
            "x509": {"clientCAFile": paths.agent("client-ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "systemd" if settings.systemd else "cgroupfs",
        "clusterDNS": settings.cluster_dns,
        "clusterDomain": settings.cluster_domain,
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "evictionHard": {"imagefs.available": "5%", "nodefs.available": "5%"},
        "evictionMinimumReclaim": {"imagefs.available": "10%", "nodefs.available": "10%"},
        "failSwapOn": False,
        "healthzBindAddress": "127.0.0.1",
        "protectKernelDefaults": settings.protect_kernel_defaults,
        "resolvConf": settings.resolv_conf,
        "serializeImagePulls": False,
        "staticPodPath": paths.agent("pod-manifests"),
        "tlsCertFile": paths.agent("serving-kubelet.crt"),
        "tlsPrivateKeyFile": paths.agent("serving-kubelet.key"),
    }
    if not settings.may_raise_limits:
        config["oomScoreAdj"] = 0
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def kubelet(settings: Settings) -> list[str]:
    """What the kubelet takes as arguments; the rest is in its drop-in directory."""
    paths = settings.paths
    defaults = {
        **_logging(settings),
        "config-dir": paths.agent("etc", "kubelet.conf.d"),
        "hostname-override": settings.node_name,
        "kubeconfig": paths.agent("kubelet.kubeconfig"),
        "node-ip": ",".join(settings.node_ips),
        "node-labels": ",".join(settings.node_labels),
        "read-only-port": "0",
    }
    if settings.node_taints:
        defaults["register-with-taints"] = ",".join(settings.node_taints)
    return ["kubelet", *merge_args(defaults, settings.kubelet_args)]


def kube_proxy(settings: Settings) -> list[str]:
    """kube-proxy leaves conntrack alone; containers may not set it (kubeProxyArgs)."""
    defaults = {
        **_logging(settings),
        "cluster-cidr": ",".join(settings.cluster_cidr),
        "conntrack-max-per-core": "0",
        "conntrack-min": "0",
        "conntrack-tcp-timeout-close-wait": "0s",
        "conntrack-tcp-timeout-established": "0s",
        "healthz-bind-address": "127.0.0.1",
        "hostname-override": settings.node_name,
        "kubeconfig": settings.paths.agent("kubeproxy.kubeconfig"),
        "proxy-mode": "iptables",
    }
    if not settings.may_raise_limits:
        defaults["oom-score-adj"] = "0"
    return ["kube-proxy", *merge_args(defaults, settings.kube_proxy_args)]


def network(settings: Settings) -> list[str]:
    """The component that stands in for flannel and the network policy controller."""
    argv = [
        "network",
        "--kubeconfig",
        settings.paths.agent("k3scontroller.kubeconfig"),
        "--node-name",
        settings.node_name,
        "--cni-conf-dir",
        settings.paths.cni_conf,
        "--cluster-cidr",
        ",".join(settings.cluster_cidr),
    ]
    if settings.flannel_backend == "none":
        argv.append("--no-cni")
    if settings.disable_network_policy:
        argv.append("--no-network-policy")
    return argv


def containerd(settings: Settings) -> list[str]:
    """containerd with its state under /run, as in K3s."""
    paths = settings.paths
    return [
        "containerd",
        "-c",
        paths.agent("etc", "containerd", "config.toml"),
        "-a",
        SOCKET,
        "--state",
        os.path.dirname(SOCKET),
        "--root",
        paths.agent("containerd"),
    ]


def containerd_config(settings: Settings, registry_auth: str = "") -> str:
    """containerd 1.6's config.toml (pkg/agent/templates/templates_linux.go, version 2)."""
    paths = settings.paths
    systemd = "true" if settings.systemd else "false"
    restrict = "false" if settings.may_raise_limits else "true"
    cni_conf = "/etc/cni/net.d" if settings.flannel_backend == "none" else paths.cni_conf
    cni_bin = "/opt/cni/bin" if settings.flannel_backend == "none" else paths.cni_bin
    lines = [
        "# File generated by k3s. DO NOT EDIT.",
        "version = 2",
        f"root = {json.dumps(paths.agent('containerd'))}",
        f"state = {json.dumps(os.path.dirname(SOCKET))}",
        'disabled_plugins = ["io.containerd.internal.v1.opt"]',
        "",
        "[grpc]",
        f"  address = {json.dumps(SOCKET)}",
        "",
        '[plugins."io.containerd.grpc.v1.cri"]',
        '  stream_server_address = "127.0.0.1"',
        '  stream_server_port = "10010"',
        "  enable_selinux = false",
        "  enable_unprivileged_ports = true",
        "  enable_unprivileged_icmp = true",
        f"  device_ownership_from_security_context = {'true' if settings.nonroot_devices else 'false'}",
        f"  restrict_oom_score_adj = {restrict}",
        f"  sandbox_image = {json.dumps(settings.image(settings.pause_image))}",
        "",
        '[plugins."io.containerd.grpc.v1.cri".containerd]',
        f"  snapshotter = {json.dumps(settings.snapshotter)}",
        "  disable_snapshot_annotations = true",
        '  default_runtime_name = "runc"',
        "",
        '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]',
        '  runtime_type = "io.containerd.runc.v2"',
        "",
        '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]',
        f"  SystemdCgroup = {systemd}",
        "",
        '[plugins."io.containerd.grpc.v1.cri".cni]',
        f"  bin_dir = {json.dumps(cni_bin)}",
        f"  conf_dir = {json.dumps(cni_conf)}",
        "",
        '[plugins."io.containerd.grpc.v1.cri".registry]',
        f"  config_path = {json.dumps(paths.agent('etc', 'containerd', 'certs.d'))}",
        "",
    ]
    return "\n".join(lines) + (registry_auth + "\n" if registry_auth else "")


def crictl_config() -> str:
    """The file that tells crictl where containerd is."""
    return f"runtime-endpoint: unix://{SOCKET}\n"


def kubeconfig(url: str, ca: str, certificate: str, key: str) -> str:
    """A kubeconfig for a component, with paths (pkg/daemons/control/deps KubeConfig)."""
    return _kubeconfig(
        url,
        "local",
        "user",
        "Default",
        [("certificate-authority", ca)],
        [("client-certificate", certificate), ("client-key", key)],
    )


def admin_kubeconfig(url: str, ca: bytes, certificate: bytes, key: bytes) -> str:
    """The kubeconfig for people: everything inside, all names `default`."""
    import base64

    def text(data: bytes) -> str:
        return base64.b64encode(data).decode()

    return _kubeconfig(
        url,
        "default",
        "default",
        "default",
        [("certificate-authority-data", text(ca))],
        [("client-certificate-data", text(certificate)), ("client-key-data", text(key))],
    )


def _kubeconfig(
    url: str,
    cluster: str,
    user: str,
    context: str,
    trust: Sequence[tuple[str, str]],
    identity: Sequence[tuple[str, str]],
) -> str:
    lines = ["apiVersion: v1", "clusters:", "- cluster:"]
    lines += [f"    {key}: {value}" for key, value in trust]
    lines += [
        f"    server: {url}",
        f"  name: {cluster}",
        "contexts:",
        "- context:",
        f"    cluster: {cluster}",
        f"    user: {user}",
        f"  name: {context}",
        f"current-context: {context}",
        "kind: Config",
        "preferences: {}",
        "users:",
        f"- name: {user}",
        "  user:",
    ]
    lines += [f"    {key}: {value}" for key, value in identity]
    return "\n".join(lines) + "\n"
