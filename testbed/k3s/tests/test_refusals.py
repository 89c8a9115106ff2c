"""Every refusal that README lists has its message checked; this file has those of the command line."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from k3s import agent, cli, host, options, server, settings
from k3s.errors import Fatal, NotImitated

Parse = Callable[..., options.Parsed]
ROOT = Path(__file__).resolve().parents[1]


def run(*args: str, name: str = "k3s") -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, without the machine's configuration."""
    env = {"PATH": os.environ["PATH"], "K3S_CONFIG_FILE": "/nonexistent", "PYTHONPATH": str(ROOT)}
    code = f"import sys; from k3s.cli import main; sys.exit(main([{name!r}, *sys.argv[1:]]))"
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, env=env, check=False
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--cluster-reset-restore-path=/x"],
            "invalid flag use; --cluster-reset required with --cluster-reset-restore-path",
        ),
        (["--disable-etcd"], "invalid flag use; --server is required with --disable-etcd"),
        (
            ["--datastore-endpoint=test", "--disable-apiserver"],
            "invalid flag use; cannot use --disable-apiserver with --datastore-endpoint",
        ),
        (
            ["--datastore-endpoint=test", "--disable-etcd", "--server=https://s"],
            "invalid flag use; cannot use --disable-etcd with --datastore-endpoint",
        ),
        (
            ["--cluster-reset", "--server=https://s"],
            "cannot perform cluster-reset while server URL is set - remove server from "
            "configuration before resetting",
        ),
        (
            ["--disable=local-strage"],
            "unknown disable item local-strage (valid items: coredns, servicelb, traefik, "
            "local-storage, metrics-server, runtimes)",
        ),
        (["--flannel-backend=nope"], "Cannot configure unknown flannel backend 'nope'"),
        (["--egress-selector-mode=nope"], "invalid egress-selector-mode nope"),
        (["--cluster-cidr=nope"], "invalid cluster-cidr nope: invalid CIDR address: nope"),
        (["--service-cidr=1.2.3.4/99"], "invalid service-cidr 1.2.3.4/99: invalid CIDR address: 1.2.3.4/99"),
        (["--cluster-dns=nope"], "invalid cluster-dns address nope"),
        (["--service-node-port-range=5"], "invalid port range 5"),
        (
            ["--secrets-encryption-provider=nope"],
            "secrets-encryption-provider nope is invalid, must be one of aescbc, secretbox",
        ),
    ],
)
def test_server(parse: Parse, words: list[str], message: str) -> None:
    with pytest.raises(Fatal) as error:
        settings.check_server(parse(*words))
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--cluster-init"], "--cluster-init (embedded etcd)"),
        (["--cluster-reset"], "--cluster-reset (embedded etcd)"),
        (["--datastore-endpoint=mysql://x"], "--datastore-endpoint other than sqlite"),
        (["--datastore-endpoint=sqlite:///x"], "--datastore-endpoint with a path"),
        (["--server=https://s"], "a server that joins another server (--server)"),
        (["--disable-apiserver"], "--disable-apiserver"),
        (["--disable-agent"], "--disable-agent"),
        (["--docker"], "--docker"),
        (["--rootless"], "--rootless"),
        (["--container-runtime-endpoint=/x"], "--container-runtime-endpoint"),
    ],
)
def test_not_imitated(parse: Parse, words: list[str], what: str) -> None:
    with pytest.raises(NotImitated) as error:
        settings.check_server(parse(*words))
    assert str(error.value) == f"stand-in: {what} is not imitated"


def test_what_is_valid_passes(parse: Parse) -> None:
    settings.check_server(
        parse(
            "--disable=traefik,servicelb,metrics-server",
            "--datastore-endpoint=sqlite",
            "--flannel-backend=host-gw",
            "--cluster-cidr=10.1.0.0/16",
        )
    )


def test_agent_needs_server_and_token(parse: Parse) -> None:
    with pytest.raises(Fatal, match=r"^--token is required$"):
        settings.check_agent(parse("--server=https://s", command="agent"), has_certificate=False)
    with pytest.raises(Fatal, match=r"^--server is required$"):
        settings.check_agent(parse("--token=x", command="agent"), has_certificate=False)
    with pytest.raises(Fatal, match="only https:// URLs are supported, invalid scheme: http://s"):
        settings.check_agent(parse("--token=x", "--server=http://s", command="agent"), has_certificate=False)
    settings.check_agent(parse("--server=https://s", command="agent"), has_certificate=True)


def test_server_needs_root(parse: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    with pytest.raises(Fatal) as error:
        server.run(parse())
    assert str(error.value) == "server must run as root, or with --rootless and/or --disable-agent"


def test_bootstrap_token_is_no_server_token(
    parse: Parse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    with pytest.raises(Fatal, match="failed to normalize server token; must be in format"):
        server.run(parse("--data-dir", str(tmp_path), "--token=abcdef.0123456789abcdef"))


def test_no_default_route(tmp_path: Path) -> None:
    table = tmp_path / "route"
    table.write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t0000000A\t0\t1\t0\t0\t0\t00FFFFFF\n"
    )
    with pytest.raises(Fatal) as error:
        host.default_interface(str(table))
    assert str(error.value) == 'no default routes found in "/proc/net/route" or "/proc/net/ipv6_route"'
    table.write_text(
        table.read_text() + "eth1\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\n"
        "eth2\t00000000\t0100000A\t0003\t0\t0\t50\t00000000\n"
    )
    assert host.default_interface(str(table)) == "eth2"


def test_unknown_option_and_command() -> None:
    refused = run("server", "--nope")
    assert refused.returncode == 1
    assert "Incorrect Usage: flag provided but not defined: -nope" in refused.stderr
    assert 'level=fatal msg="Error: flag provided but not defined: -nope"' in refused.stderr
    unknown = run("frobnicate")
    assert (unknown.returncode, unknown.stderr) == (3, "No help topic for 'frobnicate'\n")


def test_what_is_not_imitated_exits_with_2() -> None:
    for words in (
        ["check-config"],
        ["token", "rotate"],
        ["secrets-encrypt", "rotate-keys"],
        ["certificate", "rotate"],
        ["completion"],
        ["server", "--cluster-init"],
    ):
        refused = run(*words)
        assert refused.returncode == 2, words
        assert refused.stderr.startswith("stand-in: ")
        assert refused.stderr.endswith(" is not imitated\n")


def test_version_and_help() -> None:
    lines = run("--version").stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("k3s version v")
    assert "(standin-" in lines[0]
    assert lines[1].startswith("go version go")
    assert run("-v").stdout.splitlines() == lines
    assert "server" in run("help").stdout
    assert "--write-kubeconfig-mode" in run("server", "--help").stdout


def test_token_generate_makes_a_bootstrap_token() -> None:
    import re

    assert re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}\n", run("token", "generate").stdout)


def test_etcd_snapshot(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    refused = run("etcd-snapshot", "ls", "--server", "https://127.0.0.1:1")
    assert refused.returncode == 1
    assert "connect: connection refused" in refused.stderr
    monkeypatch.setattr(cli, "_require_server", lambda args: None)
    for words in (["save"], ["ls"], ["prune"], ["delete", "x"], []):
        assert cli.main(["k3s", "etcd-snapshot", *words]) == 1
        assert 'msg="Error: see server log for details: etcd datastore disabled"' in capsys.readouterr().err


def test_messages_of_a_failed_join() -> None:
    level, text = agent.describe(
        Fatal("token CA hash does not match the Cluster CA certificate hash: a != b"), "https://s:1"
    )
    assert (level, text) == (
        "error",
        "Failed to validate connection to cluster at https://s:1: token CA hash does not match "
        "the Cluster CA certificate hash: a != b",
    )
    level, text = agent.describe(
        Fatal("failed to retrieve configuration from server: u: 401 Unauthorized"), "https://s:1"
    )
    assert (level, text) == (
        "info",
        "Waiting to retrieve agent configuration; server is not ready: failed to retrieve "
        "configuration from server: u: 401 Unauthorized",
    )


def test_unreadable_kubeconfig(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: True)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    env: dict[str, str] = {}
    cli._kubectl_environment(env)
    assert env["KUBECONFIG"] == "/etc/rancher/k3s/k3s.yaml"
    assert (
        "Unable to read /etc/rancher/k3s/k3s.yaml, please start server with --write-kubeconfig-mode or "
        "--write-kubeconfig-group to modify kube config permissions" in capsys.readouterr().err
    )
