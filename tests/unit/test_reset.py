"""What a reset deletes, and above all what it does not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from living import reset
from living.reset import Cluster, Reset, ResetError, Step, carry_out, cleaned

STORAGE, CONFIG = "/opt/local-path-provisioner", "/opt/platform/config"
UUID = "pvc-4ed7c524-31db-4a0e-90aa-885517b84388"
VOLUMES = (f"{UUID}_space_db", f"{UUID[:-1]}9_space_logs", f"{UUID}_other_db", "copy_space_db", "my_old_backup")

Node = Callable[..., Reset]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """A node below a folder, on which K3s was, with volumes and settings."""
    for path in (*reset.LIVING, *reset.SETTINGS, CONFIG, *(f"{STORAGE}/{name}" for name in VOLUMES)):
        (tmp_path / path[1:]).mkdir(parents=True)
        (tmp_path / path[1:] / "file").write_text(path)
    programs = tmp_path / "usr/local/bin"
    programs.mkdir(parents=True)
    (programs / "k3s").write_text("k3s")
    (programs / "kubectl").symlink_to("k3s")
    (programs / "ctr").symlink_to("/usr/bin/ctr")
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    (units / "k3s.service").write_text("[Service]")

    def command(words: list[str], *_: object, **__: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(reset, "command", command)
    monkeypatch.setattr(Reset, "stop_containers", lambda _: None)

    def made(*data: str, storage: str = STORAGE, config: str = CONFIG) -> Reset:
        return Reset(storage, config, data, "space", ["/var/lib/metrics/ours.prom"], 1, str(tmp_path))

    return made


def mounted(monkeypatch: pytest.MonkeyPatch, *targets: Path) -> None:
    monkeypatch.setattr(reset, "mounted", lambda: [{"target": str(target)} for target in targets])


def left(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / STORAGE[1:]).iterdir())


def test_all_of_k3s_goes_and_all_data_stays(node: Node, tmp_path: Path) -> None:
    planned = carry_out(node().steps(), check=True)
    assert carry_out(node().steps(), check=False) == planned
    assert planned == [
        "k3s.service: removed", *(f"{path}: removed" for path in (
            *reset.LIVING, "/usr/local/bin/kubectl", "/usr/local/bin/k3s", *reset.SETTINGS))]
    assert not any((tmp_path / path[1:]).exists() for path in (*reset.LIVING, *reset.SETTINGS))
    # Another's program of this name stays.
    assert [path.name for path in (tmp_path / "usr/local/bin").iterdir()] == ["ctr"]
    assert left(tmp_path) == sorted(VOLUMES) and (tmp_path / CONFIG[1:] / "file").read_text() == CONFIG
    assert carry_out(node().steps(), check=False) == []


def test_backups_go_with_their_secrets_and_the_epoch_stays(node: Node, tmp_path: Path) -> None:
    units = tmp_path / "etc/systemd/system"
    for name in ("observer-backup-files.service", "observer-backup-files.timer", "observer-backup-stream.service"):
        (units / name).write_text("[Service]")
    (units / "observer-backup-stream.service.d").mkdir()  # somebody's own
    memory = (tmp_path / reset.EPOCH[1:]).parent
    memory.mkdir(parents=True)
    (memory / "stopped.json").write_text("{}")
    (memory / "epoch.json").write_text("1")
    (memory / "restore.json").write_text("{}")
    assert not any("restore.json" in one for one in carry_out(node().steps(), check=True))
    (memory.parent / "state.json").write_text("{}")
    planned = carry_out(node("all").steps(), check=True)
    assert carry_out(node("all").steps(), check=False) == planned
    assert [one for one in planned if "backup" in one] == [
        "observer-backup-files.timer: removed", "observer-backup-files.service: removed",
        "observer-backup-stream.service: removed", "/etc/observer-node/backup: removed",
        "/var/lib/observer-node/backup/state.json: removed", "/var/lib/observer-node/backup/work/stopped.json: removed",
        f"{reset.RESTORE}: removed"]
    assert [str(path.relative_to(tmp_path)) for path in (tmp_path / "var/lib/observer-node").rglob("*")
            if path.is_file()] == ["var/lib/observer-node/backup/work/epoch.json"]
    assert carry_out(node("all").steps(), check=False) == []


def test_a_link_to_a_unit_that_is_gone_goes(node: Node, tmp_path: Path) -> None:
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    (wants / "k3s-agent.service").symlink_to("/etc/systemd/system/k3s-agent.service")
    assert "k3s-agent.service: removed" in carry_out(node().steps(), check=False)
    assert list(wants.iterdir()) == []


def test_a_unit_that_systemd_has_in_mind_goes(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = "Id=k3s.service\nActiveState=failed\n\nId=k3s-agent.service\nActiveState=inactive\n"
    monkeypatch.setattr(reset, "command", lambda *words, **_: subprocess.CompletedProcess(words, 0, said, ""))
    bare = Reset(STORAGE, CONFIG, [], "space")
    assert bare.known_units() == {"k3s.service"}


def test_what_stays_is_told(node: Node) -> None:
    assert node("db", "config").kept() == [f"{STORAGE}/{name}" for name in sorted(VOLUMES) if name not in (
        f"{UUID}_space_db", "copy_space_db")]


@pytest.mark.parametrize(("data", "gone"), [
    (("db",), {f"{UUID}_space_db", "copy_space_db"}),
    (("logs", "db"), {f"{UUID}_space_db", f"{UUID[:-1]}9_space_logs", "copy_space_db"}),
    # What an operator has put there is no volume, whatever is named.
    (("all",), {*VOLUMES} - {"my_old_backup"}),
    (("b", "space", "backup", "*", ".."), set()),
])
def test_only_the_volumes_that_are_named_go(node: Node, tmp_path: Path, data: tuple[str, ...], gone: set[str]) -> None:
    node(*data).refuse()
    changes = carry_out(node(*data).steps(), check=False)
    assert {line for line in changes if line.endswith("with its data")} == {
        f"{STORAGE}/{name}: removed, with its data" for name in gone}
    assert left(tmp_path) == sorted({*VOLUMES} - gone)
    assert (tmp_path / CONFIG[1:] / "file").exists()
    assert carry_out(node(*data).steps(), check=True) == []


def test_settings_go_by_name_alone(node: Node, tmp_path: Path) -> None:
    carry_out(node("config").steps(), check=False)
    assert not (tmp_path / CONFIG[1:]).exists() and (tmp_path / CONFIG[1:]).parent.exists()
    assert left(tmp_path) == sorted(VOLUMES)


def test_a_claim_without_a_folder_is_told(node: Node) -> None:
    assert node("db", "dbb", "all", "config").missing() == ["dbb"]


def test_what_an_interrupted_run_has_left_is_finished(node: Node, tmp_path: Path) -> None:
    """A volume that is half deleted must not be taken for one."""
    storage = tmp_path / STORAGE[1:]
    (storage / f"{UUID}_space_db").rename(storage / f"{UUID}_space_db.removing")
    (tmp_path / "var/lib/rancher").rename(tmp_path / "var/lib/rancher.removing")
    changes = carry_out(node("db").steps(), check=False)
    assert f"{STORAGE}/{UUID}_space_db.removing: removed, with its data" in changes
    assert "/var/lib/rancher: removed" in changes
    assert not (tmp_path / "var/lib/rancher.removing").exists()
    assert carry_out(node("db").steps(), check=True) == []


def test_nothing_is_deleted_while_data_is_mounted_in_it(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the kubelet mounts volumes, and nothing can unmount it."""
    mounted(monkeypatch, tmp_path / "var/lib/kubelet/pods/a/volumes/db")
    with pytest.raises(ResetError) as caught:
        carry_out(node().steps(), check=False)
    assert "is mounted and cannot be unmounted" in str(caught.value)
    assert (tmp_path / "var/lib/kubelet/file").exists()
    assert "/run/k3s: removed" in caught.value.changes and "/var/lib/kubelet: removed" not in caught.value.changes


def test_a_link_is_not_followed(node: Node, tmp_path: Path) -> None:
    elsewhere = tmp_path / "srv/data"
    elsewhere.mkdir(parents=True)
    (elsewhere / "kept").write_text("kept")
    (tmp_path / "var/lib/kubelet/link").symlink_to(elsewhere)
    (tmp_path / STORAGE[1:] / f"{UUID}_space_link").symlink_to(elsewhere)
    (tmp_path / STORAGE[1:] / f"{UUID}_space_db" / "link").symlink_to(elsewhere)
    carry_out(node("db").steps(), check=False)
    assert (elsewhere / "kept").exists()
    with pytest.raises(ResetError, match="which is a link"):
        node("link").refuse()


def test_a_disk_in_a_volume_is_refused(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / STORAGE[1:] / f"{UUID}_space_db" / "disk"
    mounted(monkeypatch, disk)
    with pytest.raises(ResetError, match=f"{disk} is mounted there"):
        node("db").refuse()
    node("logs").refuse()


def test_data_in_a_folder_that_goes_is_refused(node: Node, tmp_path: Path) -> None:
    for path in ("/var/lib/rancher/volumes", "/var/lib/kubelet/config", "/var/lib"):
        (tmp_path / path[1:]).mkdir(parents=True, exist_ok=True)
    with pytest.raises(ResetError, match="local_path_folder is /var/lib/rancher/volumes, and a reset deletes /var/lib"):
        node(storage="/var/lib/rancher/volumes").refuse()
    with pytest.raises(ResetError, match="local_path_folder is /var/lib, "):
        node(storage="/var/lib").refuse()
    with pytest.raises(ResetError, match="config_dir_path"):
        node(config="/var/lib/kubelet/config").refuse()
    (tmp_path / "srv").symlink_to(tmp_path / "var/lib/rancher/volumes")
    with pytest.raises(ResetError, match="local_path_folder"):
        node(storage="/srv").refuse()


def test_volumes_of_k3s_own_provisioner_are_refused(node: Node, tmp_path: Path) -> None:
    packaged = tmp_path / reset.PACKAGED_VOLUMES[1:]
    packaged.mkdir(parents=True)
    node().refuse()
    (packaged / "volume").mkdir()
    with pytest.raises(ResetError, match="holds volumes"):
        node().refuse()


def test_the_sockets_of_another_containerd_stay(node: Node, tmp_path: Path) -> None:
    sockets = tmp_path / "run/containerd"
    sockets.mkdir()
    assert "/run/containerd: removed" in carry_out(node().steps(), check=True)
    (sockets / "containerd.sock").touch()
    assert "/run/containerd: removed" not in carry_out(node().steps(), check=True)


def test_what_was_done_before_a_failure_is_told(tmp_path: Path) -> None:
    def fail() -> None:
        (tmp_path / "none").unlink()

    with pytest.raises(ResetError, match=r"second: .*No such file") as caught:
        carry_out([Step("first: removed", lambda: None), Step("second: removed", fail)], check=False)
    assert caught.value.changes == ["first: removed"]


def test_a_bare_node_has_nothing(tmp_path: Path) -> None:
    bare = Reset(STORAGE, CONFIG, ["all", "config"], "space", ["/var/lib/metrics"], 1, str(tmp_path))
    bare.refuse()
    assert (list(bare.steps()), bare.kept(), bare.missing()) == ([], [], [])


FILTER = """# Generated by iptables-save
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [1:2]
:KUBE-FORWARD - [0:0]
:FLANNEL-FWD - [0:0]
:MY-KUBE - [0:0]
:OBSERVER-NODE-FORWARD - [0:0]
-A INPUT -p tcp --dport 22 -j ACCEPT
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -j OBSERVER-NODE-FORWARD
-A FORWARD -m comment --comment "KUBE-ROUTER rule to explicitly ACCEPT" -m mark --mark 0x20000/0x20000 -j ACCEPT
-A FORWARD -j MY-KUBE
-A KUBE-FORWARD -j ACCEPT
-A OBSERVER-NODE-FORWARD -s 10.42.0.0/16 -i flannel+ -j ACCEPT
COMMIT
*nat
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -s 10.0.0.0/8 -j MASQUERADE
COMMIT
"""


def test_only_k3s_part_of_the_packet_filter_goes() -> None:
    assert cleaned(FILTER).splitlines() == [
        "*filter", ":KUBE-FORWARD - [0:0]", ":FLANNEL-FWD - [0:0]",
        '-D FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',
        '-D FORWARD -m comment --comment "KUBE-ROUTER rule to explicitly ACCEPT" -m mark --mark 0x20000/0x20000'
        " -j ACCEPT",
        "-X KUBE-FORWARD", "-X FLANNEL-FWD", "COMMIT"]
    assert cleaned("*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n") == ""


@pytest.mark.parametrize("script", ["exec sleep 60", "trap '' TERM; while :; do sleep 0.05; done"])
def test_a_process_is_asked_and_then_ended(tmp_path: Path, script: str) -> None:
    process = subprocess.Popen(["sh", "-c", script])

    def living() -> list[int]:
        return [process.pid] if process.poll() is None else []

    Reset(STORAGE, CONFIG, [], "space", root=str(tmp_path)).end(living, 0.5)
    assert process.returncode and process.returncode < 0


SCALED = {"items": [
    {"kind": "Deployment", "metadata": {"name": "app"}, "spec": {"replicas": 1}},
    {"kind": "Deployment", "metadata": {"name": "off"}, "spec": {"replicas": 0}},
    {"kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {}}]}
NODES = {"items": [{"metadata": {"name": "one"}, "spec": {}}, {"metadata": {"name": "two"}, "spec": {
    "unschedulable": True}}]}
SECRETS = {"items": [{"metadata": {"name": "one.node-password.k3s"}}]}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What kubectl was told to do, of a cluster whose last pod goes when it is looked at a second time."""
    asked: list[str] = []
    pod = {"metadata": {"ownerReferences": [{}]}, "status": {"phase": "Running"}}
    pods = [{"items": [pod]}, {"items": [{"metadata": {}, "status": {"phase": "Running"}}]}]
    found = {"deployments,statefulsets": SCALED, "nodes": NODES, "secrets": SECRETS}

    def command(words: list[str], *_: object, **__: object) -> subprocess.CompletedProcess[str]:
        line = " ".join(words[2:])
        if words[2] == "get":
            answer = pods.pop(0) if words[3] == "pods" else found[words[3]]
            return subprocess.CompletedProcess(words, 0, json.dumps(answer), "")
        asked.append(line)
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(reset, "command", command)
    return asked


def test_workloads_are_stopped_and_their_pods_waited_for(asked: list[str]) -> None:
    steps = Cluster().stopping("space", 30)
    assert [one.words for one in steps] == ["Deployment space/app: stopped", "StatefulSet space/db: stopped"]
    assert carry_out(steps, check=True) and asked == []
    carry_out(steps, check=False)
    assert asked == ["-n space scale deployment/app --replicas=0", "-n space scale statefulset/db --replicas=0"]


def test_a_job_that_saves_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    files, stream = "observer-backup-files.service x activating start y", "observer-backup-stream.service x active r y"
    listed = iter([f"observer-backup-files.timer x active w y\n{files}\n{stream}", files, ""])
    asked: list[str] = []

    def command(words: list[str], *_: object, **__: object) -> subprocess.CompletedProcess[str]:
        if words[1] == "list-units":
            return subprocess.CompletedProcess(words, 0, next(listed), "")
        asked.append(" ".join(words[2:]))
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(reset, "command", command)
    assert carry_out(reset.backups_stop(), check=False) == ["backups: stopped"]
    units = "observer-backup-files.timer observer-backup-files.service observer-backup-stream.service"
    assert asked == ["stop observer-backup-files.timer", f"stop {units}"] and next(listed, None) is None


def test_a_node_leaves_with_its_password(asked: list[str]) -> None:
    cluster = Cluster()
    assert [one.words for one in cluster.drains("one", 30)] == ["Node one: drained"]
    assert cluster.drains("two", 30) == [] == cluster.drains("none", 30)
    steps = cluster.forgets("one")
    assert [one.words for one in steps] == ["Node one: removed", "Secret kube-system/one.node-password.k3s: removed"]
    carry_out(steps, check=False)
    assert asked == ["-n kube-system delete node one --ignore-not-found",
                     "-n kube-system delete secret one.node-password.k3s --ignore-not-found"]
    assert [one.words for one in cluster.forgets("two")] == ["Node two: removed"]
