import json
from collections.abc import Callable
from pathlib import Path

import pytest

from k3s import components, host, secretsencrypt, server, settings
from k3s.errors import Fatal

Make = Callable[..., settings.Settings]


def test_merge_args_replaces_by_key() -> None:
    defaults = {"a": "1", "b": "2", "c": "3"}
    assert components.merge_args(defaults, ["b=9", "--d=4", "e"]) == [
        "--a=1",
        "--b=9",
        "--c=3",
        "--d=4",
        "--e=true",
    ]
    assert defaults == {"a": "1", "b": "2", "c": "3"}


def test_merge_args_repeats_appends_and_prepends() -> None:
    assert components.merge_args({"a": "1"}, ["a=2", "a=3"]) == ["--a=2", "--a=3"]
    assert components.merge_args({"a": "1"}, ["a+=2", "a+=3"]) == ["--a=1", "--a=2", "--a=3"]
    assert components.merge_args({"a": "1"}, ["a-=0"]) == ["--a=0", "--a=1"]
    assert components.merge_args({}, ["a=b=c"]) == ["--a=b=c"]


def test_apiserver(make: Make) -> None:
    made = make(
        "--secrets-encryption",
        "--https-listen-port=7443",
        "--service-cidr=10.9.0.0/16",
        "--kube-apiserver-arg=profiling=true",
        "--kube-apiserver-arg=audit-log-path=/x",
        "-v=4",
    )
    argv = components.kube_apiserver(made)
    assert argv[0] == "kube-apiserver"
    for word in (
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--secure-port=7443",
        "--service-cluster-ip-range=10.9.0.0/16",
        "--profiling=true",
        "--audit-log-path=/x",
        "--v=4",
        "--advertise-address=10.0.0.5",
        f"--etcd-servers=unix://{made.paths.kine_socket}",
        f"--encryption-provider-config={made.paths.encryption_config}",
    ):
        assert word in argv
    assert sum(word.startswith("--profiling") for word in argv) == 1
    assert not any("encryption" in word for word in components.kube_apiserver(make()))


def test_controller_manager_and_scheduler(make: Make) -> None:
    made = make("--kube-controller-manager-arg=node-monitor-grace-period=16s", "--cluster-cidr=10.1.0.0/16")
    argv = components.kube_controller_manager(made)
    for word in (
        "--allocate-node-cidrs=true",
        "--cluster-cidr=10.1.0.0/16",
        "--node-monitor-grace-period=16s",
        f"--cluster-signing-kubelet-client-cert-file={made.paths.tls('client-ca.nochain.crt')}",
        f"--cluster-signing-kubelet-serving-key-file={made.paths.tls('server-ca.key')}",
    ):
        assert word in argv
    assert "--config=/s" in components.kube_scheduler(make("--kube-scheduler-arg=config=/s"))


def test_kine(make: Make) -> None:
    made = make()
    argv = components.kine(made)
    assert argv[1].startswith(f"--endpoint=sqlite://{made.paths.database}?_journal=WAL&")
    assert f"--listen-address=unix://{made.paths.kine_socket}" in argv


def test_kubelet(make: Make) -> None:
    made = make(
        "--node-label=a=b",
        "--node-label=c=d",
        "--node-taint=k=v:NoSchedule",
        "--kubelet-arg=max-pods=50",
        "--kubelet-arg=read-only-port=1",
        "--protect-kernel-defaults",
        "--cluster-dns=10.43.0.99",
    )
    argv = components.kubelet(made)
    for word in (
        "--node-labels=a=b,c=d",
        "--register-with-taints=k=v:NoSchedule",
        "--max-pods=50",
        "--read-only-port=1",
        "--hostname-override=n1",
        "--node-ip=10.0.0.5",
        f"--config-dir={made.paths.agent('etc', 'kubelet.conf.d')}",
    ):
        assert word in argv
    config = json.loads(components.kubelet_config(made))
    assert config["evictionHard"] == {"imagefs.available": "5%", "nodefs.available": "5%"}
    assert config["clusterDNS"] == ["10.43.0.99"]
    assert config["protectKernelDefaults"] is True
    assert config["failSwapOn"] is False
    assert config["cgroupDriver"] == "cgroupfs"
    assert "oomScoreAdj" not in config


def test_what_depends_on_the_machine(make: Make) -> None:
    made = make()
    made.may_raise_limits, made.systemd = False, True
    config = json.loads(components.kubelet_config(made))
    assert config["oomScoreAdj"] == 0
    assert config["cgroupDriver"] == "systemd"
    assert "--oom-score-adj=0" in components.kube_proxy(made)
    toml = components.containerd_config(made)
    assert "restrict_oom_score_adj = true" in toml
    assert "SystemdCgroup = true" in toml
    assert "restrict_oom_score_adj = false" in components.containerd_config(make())


def test_containerd_config(make: Make) -> None:
    import tomllib

    made = make("--pause-image=r/pause:1", "--system-default-registry=reg:5000", "--snapshotter=native")
    found = tomllib.loads(components.containerd_config(made, '[plugins."x"]\n  y = 1\n'))
    assert found["version"] == 2
    cri = found["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["sandbox_image"] == "reg:5000/r/pause:1"
    assert cri["containerd"]["snapshotter"] == "native"
    assert cri["cni"] == {"bin_dir": made.paths.cni_bin, "conf_dir": made.paths.cni_conf}
    assert cri["registry"]["config_path"].endswith("/agent/etc/containerd/certs.d")
    assert found["plugins"]["x"]["y"] == 1
    default = tomllib.loads(components.containerd_config(make("--flannel-backend=none")))
    cri = default["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["sandbox_image"] == "rancher/mirrored-pause:3.6"
    assert cri["cni"] == {"bin_dir": "/opt/cni/bin", "conf_dir": "/etc/cni/net.d"}


def test_network(make: Make) -> None:
    argv = components.network(make())
    assert argv[0] == "network"
    assert "--no-network-policy" not in argv
    assert "--no-cni" not in argv
    argv = components.network(make("--flannel-backend=none", "--disable-network-policy"))
    assert argv[-2:] == ["--no-cni", "--no-network-policy"]


def test_kube_proxy(make: Make) -> None:
    argv = components.kube_proxy(make("--kube-proxy-arg=proxy-mode=nftables"))
    assert "--proxy-mode=nftables" in argv
    assert "--conntrack-max-per-core=0" in argv
    assert not any(word.startswith("--oom-score-adj") for word in argv)


def test_kubeconfigs() -> None:
    import yaml

    found = yaml.safe_load(components.admin_kubeconfig("https://127.0.0.1:6443", b"ca", b"crt", b"key"))
    assert found["clusters"][0]["name"] == found["users"][0]["name"] == found["current-context"] == "default"
    assert found["clusters"][0]["cluster"] == {
        "server": "https://127.0.0.1:6443",
        "certificate-authority-data": "Y2E=",
    }
    assert yaml.safe_load(components.kubeconfig("u", "ca", "c", "k"))["users"][0]["user"] == {
        "client-certificate": "c",
        "client-key": "k",
    }


def test_settings_of_names_and_addresses(make: Make, tmp_path: Path) -> None:
    made = make("--service-cidr=10.96.0.0/12", "--bind-address=10.0.0.5")
    assert made.cluster_dns == ["10.96.0.10"]
    assert made.service_ip == "10.96.0.1"
    assert made.api_url == "https://10.0.0.5:6443"
    assert make().api_url == "https://127.0.0.1:6443"
    name = settings.node_name("N1", True, str(tmp_path))
    assert name == settings.node_name("n1", True, str(tmp_path))
    assert name.startswith("n1-")
    assert len(name) == len("n1-") + 8


def test_token_files(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_text("fromfile\n")
    assert make("--token=x", f"--token-file={path}").token == "fromfile"
    with pytest.raises(Fatal, match=r"open /nonexistent: No such file or directory"):
        make("--token-file=/nonexistent")


def test_leaves_carry_every_name(make: Make) -> None:
    made = make("--tls-san=a.example,b.example", "--tls-san=10.0.0.9", "--node-external-ip=1.2.3.4")
    made.advertise_address = "1.2.3.4"
    found = {leaf.crt.rsplit("/", 1)[-1]: leaf for leaf in server.leaves(made)}
    serving = found["serving-kube-apiserver.crt"]
    for san in (
        "DNS:a.example",
        "DNS:b.example",
        "IP:10.0.0.9",
        "IP:10.0.0.5",
        "IP:10.43.0.1",
        "DNS:n1",
        "IP:1.2.3.4",
        "DNS:kubernetes.default.svc.cluster.local",
        "IP:127.0.0.1",
    ):
        assert san in serving.sans
    assert len(set(serving.sans)) == len(serving.sans)
    assert found["client-kubelet.crt"].common_name == "system:node:n1"
    assert found["client-admin.crt"].organizations == ("system:masters",)


def test_secrets_encryption(tmp_path: Path) -> None:
    config, state = str(tmp_path / "c"), str(tmp_path / "s")
    assert secretsencrypt.table(secretsencrypt.status(config, state)) == (
        "Encryption Status: Disabled, no configuration file found\n"
    )
    secretsencrypt.ensure(config, state, "secretbox")
    before = Path(config).read_bytes()
    secretsencrypt.ensure(config, state, "aescbc")
    assert Path(config).read_bytes() == before
    assert Path(config).stat().st_mode & 0o777 == 0o600
    assert secretsencrypt.table(secretsencrypt.status(config, state)) == (
        "Encryption Status: Enabled\n"
        "Current Rotation Stage: start\n"
        "Server Encryption Hashes: All hashes match\n"
        "\n"
        "Active  Key Type           Name\n"
        "------  --------           ----\n"
        " *      XSalsa20-POLY1305  secretboxkey\n\n"
    )


def test_resolv_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.resolv_conf("/given", "/unused") == "/given"
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("search x\nnameserver 10.0.0.1\n")
    bad.write_text("nameserver 127.0.0.53\n")
    assert host._usable_resolv_conf(str(good))
    assert not host._usable_resolv_conf(str(bad))
    monkeypatch.setattr(host, "_usable_resolv_conf", lambda path: False)
    made = tmp_path / "etc" / "resolv.conf"
    assert host.resolv_conf("", str(made)) == str(made)
    assert made.read_text() == "nameserver 8.8.8.8\n"


def test_capability(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("CapEff:\t000001ffffffffff\n")
    assert host.may_raise_limits(str(status))
    status.write_text(f"CapEff:\t{0x1FFFFFFFFFF & ~(1 << 24):016x}\n")
    assert not host.may_raise_limits(str(status))
