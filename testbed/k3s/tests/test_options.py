from collections.abc import Callable
from pathlib import Path

import pytest

from k3s import config, options
from k3s.errors import Fatal, UsageError

Parse = Callable[..., options.Parsed]


def test_forms_of_an_option(parse: Parse) -> None:
    for words in (["--node-name", "a"], ["--node-name=a"], ["-node-name=a"], ["-node-name", "a"]):
        assert parse(*words).text("node-name") == "a"


def test_aliases_and_kinds(parse: Parse) -> None:
    found = parse("-t", "x", "-v=3", "-o", "/k", "-d", "/d", "-i", "10.0.0.1", "--etcd-s3-timeout", "1m30s")
    assert found.text("token") == "x"
    assert found.number("v") == 3
    assert found.text("write-kubeconfig") == "/k"
    assert found.text("data-dir") == "/d"
    assert found.items("node-ip") == ["10.0.0.1"]
    assert found.values["etcd-s3-timeout"] == 90.0


def test_booleans(parse: Parse) -> None:
    assert parse("--debug").flag("debug")
    assert not parse("--debug=false").flag("debug")
    assert parse().flag("tls-san-security")
    found = parse("--debug", "false")  # as in Go: a bool takes no word, so the options end here
    assert found.flag("debug")
    assert found.rest == ["false"]
    with pytest.raises(UsageError, match='invalid boolean value "x" for -debug: parse error'):
        parse("--debug=x")


def test_lists_repeat_and_split_only_where_k3s_does(parse: Parse) -> None:
    found = parse(
        "--kubelet-arg", "a=1,2", "--kubelet-arg=b=3", "--disable", "traefik,servicelb", "--disable=coredns"
    )
    assert found.items("kubelet-arg") == ["a=1,2", "b=3"]
    assert found.items("disable", split=True) == ["traefik", "servicelb", "coredns"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nope"], "flag provided but not defined: -nope"),
        (["-x=1"], "flag provided but not defined: -x"),
        (["--token"], "flag needs an argument: -token"),
        (["--https-listen-port", "x"], 'invalid value "x" for flag -https-listen-port: parse error'),
        (["--etcd-s3-timeout=5"], 'invalid value "5" for flag -etcd-s3-timeout: parse error'),
        (["---x"], "bad flag syntax: ---x"),
    ],
)
def test_usage_errors(parse: Parse, words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(*words)
    assert str(error.value) == message


def test_environment_only_for_options_that_are_not_given(parse: Parse) -> None:
    env = {"K3S_TOKEN": "env", "K3S_NODE_NAME": "envnode"}
    found = parse("--token=cli", env=env)
    assert found.text("token") == "cli"
    assert found.text("node-name") == "envnode"


def test_server_options_are_not_for_agents(parse: Parse) -> None:
    with pytest.raises(UsageError, match="flag provided but not defined: -cluster-cidr"):
        parse("--cluster-cidr=10.0.0.0/8", command="agent")


def test_names_are_unique_within_a_command() -> None:
    for command in ("server", "agent"):
        names = [name for o in options.OPTIONS if o.scope in (options.BOTH, command) for name in o.names()]
        assert len(names) == len(set(names))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def expand(path: Path, *args: str, command: str = "server") -> list[str]:
    return config.expand(args, options.for_command(command), {"K3S_CONFIG_FILE": str(path)})


def test_files_merge_in_order(tmp_path: Path) -> None:
    base = tmp_path / "config.yaml"
    write(base, "token: a\nnode-label: [x=1]\ndisable: traefik\ndebug: true\nv: 2\n")
    write(tmp_path / "config.yaml.d" / "10-a.yaml", "token: b\nnode-label+: [y=2]\ndisable+:\n- servicelb\n")
    write(tmp_path / "config.yaml.d" / "20-b.YML", "node-label+: z=3\ntls-san+: [s]\n")
    write(tmp_path / "config.yaml.d" / "30-c.txt", "token: never\n")
    assert expand(base) == [
        "--token=b",
        "--node-label=x=1",
        "--node-label=y=2",
        "--node-label=z=3",
        "--disable=traefik",
        "--disable=servicelb",
        "--debug=true",
        "-v=2",
        "--tls-san=s",
    ]


def test_without_plus_the_later_file_replaces(tmp_path: Path) -> None:
    base = tmp_path / "config.yaml"
    write(base, "node-label: [x=1]\n")
    write(tmp_path / "config.yaml.d" / "a.yaml", "node-label+: [y=2]\n")
    write(tmp_path / "config.yaml.d" / "b.yaml", "node-label: [z=3]\n")
    assert expand(base) == ["--node-label=z=3"]


def test_command_line_wins_and_replaces_lists(tmp_path: Path, parse: Parse) -> None:
    base = tmp_path / "config.yaml"
    write(base, "token: file\nnode-label: [x=1]\nkubelet-arg: [a=1]\n")
    args = expand(base, "--token=cli", "--node-label=y=2")
    found = parse(*args)
    assert found.text("token") == "cli"
    assert found.items("node-label") == ["y=2"]
    assert found.items("kubelet-arg") == ["a=1"]


def test_file_beats_environment(tmp_path: Path, parse: Parse) -> None:
    base = tmp_path / "config.yaml"
    write(base, "token: file\n")
    assert parse(*expand(base), env={"K3S_TOKEN": "env"}).text("token") == "file"


def test_unknown_key_of_a_file_is_skipped_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "config.yaml"
    write(base, "nope: 1\ncluster-cidr: 10.0.0.0/8\n")
    assert expand(base, command="agent") == []
    shown = capsys.readouterr().err
    assert "level=warning" in shown
    assert "Unknown flag --nope found in config.yaml, skipping" in shown
    assert "Unknown flag --cluster-cidr found in config.yaml, skipping" in shown


def test_drop_ins_alone_and_no_file_at_all(tmp_path: Path) -> None:
    base = tmp_path / "config.yaml"
    assert expand(base) == []
    write(tmp_path / "config.yaml.d" / "a.yaml", "token: x\n")
    assert expand(base) == ["--token=x"]


def test_broken_file_is_fatal(tmp_path: Path) -> None:
    base = tmp_path / "config.yaml"
    write(base, "a: [\n")
    with pytest.raises(Fatal, match="failed to parse config"):
        expand(base)
    write(base, "- a\n")
    with pytest.raises(Fatal, match="cannot unmarshal"):
        expand(base)


def test_which_file(tmp_path: Path) -> None:
    assert config.find_file(["-c", "/x"], {}) == "/x"
    assert config.find_file(["--config=/y"], {}) == "/y"
    assert config.find_file(["--config=/y"], {"K3S_CONFIG_FILE": "/z"}) == "/z"
    assert config.find_file([], {}) == "/etc/rancher/k3s/config.yaml"


def test_find_value_reads_drop_ins(tmp_path: Path) -> None:
    base = tmp_path / "config.yaml"
    write(base, "data-dir: /a\n")
    write(tmp_path / "config.yaml.d" / "b.yaml", "data-dir: /b\n")
    assert config.find_value([], "data-dir", {"K3S_CONFIG_FILE": str(base)}) == "/b"
