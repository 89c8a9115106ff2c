from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from k3s import manifests

ROOT = Path(__file__).resolve().parents[1]


class Kubectl:
    """Records calls; `fail` makes the next ones fail."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.fail = ""

    def __call__(self, argv: Sequence[str]) -> tuple[int, str]:
        self.calls.append([argv[0], Path(argv[-1]).name])
        return (1, self.fail) if self.fail else (0, "")


@pytest.fixture
def kubectl() -> Kubectl:
    return Kubectl()


def deployer(base: Path, kubectl: Kubectl, *disabled: str) -> manifests.Deployer:
    return manifests.Deployer(str(base), disabled, kubectl)


def test_applies_once_and_after_changes(tmp_path: Path, kubectl: Kubectl) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.yaml").write_text("a: 1\n")
    (tmp_path / "sub" / "b.JSON").write_text("{}")
    (tmp_path / "c.txt").write_text("no")
    (tmp_path / ".d.yaml").write_text("a: 1\n")
    (tmp_path / "empty.yaml").write_text("---\n# nothing\n")
    watch = deployer(tmp_path, kubectl)
    watch.scan()
    watch.scan()
    assert kubectl.calls == [["apply", "a.yaml"], ["apply", "b.JSON"]]
    (tmp_path / "a.yaml").write_text("a: 22\n")
    watch.scan()
    assert kubectl.calls[2:] == [["apply", "a.yaml"]]


def test_a_deleted_file_deletes_nothing_and_comes_back(tmp_path: Path, kubectl: Kubectl) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\n")
    watch = deployer(tmp_path, kubectl)
    watch.scan()
    path.unlink()
    watch.scan()
    assert kubectl.calls == [["apply", "a.yaml"]]
    path.write_text("a: 1\n")
    watch.scan()
    assert len(kubectl.calls) == 2


def test_skip_freezes_a_file(tmp_path: Path, kubectl: Kubectl) -> None:
    (tmp_path / "a.yaml").write_text("a: 1\n")
    (tmp_path / "a.yaml.skip").touch()
    watch = deployer(tmp_path, kubectl)
    watch.scan()
    assert kubectl.calls == []
    (tmp_path / "a.yaml.skip").unlink()
    watch.scan()
    assert kubectl.calls == [["apply", "a.yaml"]]


def test_disabled_files_go_with_their_objects(tmp_path: Path, kubectl: Kubectl) -> None:
    (tmp_path / "local-storage.yaml").write_text("a: 1\n")
    (tmp_path / "local-storage.yaml.skip").touch()  # disable comes first
    (tmp_path / "traefik").mkdir()
    (tmp_path / "traefik" / "x.yml").write_text("a: 1\n")
    (tmp_path / "keep.yaml").write_text("a: 1\n")
    watch = deployer(tmp_path, kubectl, "local-storage", "traefik")
    watch.scan()
    assert sorted(kubectl.calls) == [
        ["apply", "keep.yaml"],
        ["delete", "local-storage.yaml"],
        ["delete", "x.yml"],
    ]
    assert not (tmp_path / "local-storage.yaml").exists()
    assert not (tmp_path / "traefik" / "x.yml").exists()


def test_failed_delete_keeps_the_file(tmp_path: Path, kubectl: Kubectl) -> None:
    (tmp_path / "coredns.yaml").write_text("a: 1\n")
    kubectl.fail = "connection refused"
    deployer(tmp_path, kubectl, "coredns").scan()
    assert (tmp_path / "coredns.yaml").exists()


def test_bad_names_are_refused(tmp_path: Path, kubectl: Kubectl, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my_file.yaml").write_text("a: 1\n")
    deployer(tmp_path, kubectl).scan()
    assert kubectl.calls == []
    shown = capsys.readouterr().err
    assert "level=error" in shown
    assert (
        f"Failed to process config: failed to process {tmp_path}/my_file.yaml: Addon.k3s.cattle.io" in shown
    )
    assert manifests.invalid_name("my-file") == ""
    assert manifests.invalid_name("My") != ""


def test_failures_are_tried_again_with_growing_pauses(tmp_path: Path, kubectl: Kubectl) -> None:
    now = 0.0
    (tmp_path / "a.yaml").write_text("a: 1\n")
    watch = manifests.Deployer(str(tmp_path), (), kubectl, clock=lambda: now)
    kubectl.fail = "no matches for kind"
    tries = []
    while now < 40:
        before = len(kubectl.calls)
        watch.scan()
        if len(kubectl.calls) > before:
            tries.append(now)
        now += 1.0
    assert tries == [0.0, 2.0, 6.0, 14.0, 29.0]
    kubectl.fail = ""
    (tmp_path / "a.yaml").write_text("a: fixed\n")
    watch.scan()
    assert watch.applied
    assert not watch.failed


def test_packaged_manifests(tmp_path: Path) -> None:
    values = {
        "CLUSTER_DNS": "10.43.0.10",
        "CLUSTER_DNS_LIST": "[10.43.0.10]",
        "CLUSTER_DNS_IPFAMILYPOLICY": "SingleStack",
        "CLUSTER_DOMAIN": "cluster.local",
        "DEFAULT_LOCAL_STORAGE_PATH": "/s",
        "SYSTEM_DEFAULT_REGISTRY": "reg:5000/",
    }
    manifests.stage(str(ROOT / "manifests"), str(tmp_path), values, ["coredns"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["local-storage.yaml", "rolebindings.yaml"]
    manifests.stage(str(ROOT / "manifests"), str(tmp_path), values, [])
    objects = {}
    for path in tmp_path.iterdir():
        text = path.read_text()
        assert "%{" not in text
        for document in yaml.safe_load_all(text):
            objects[document["kind"], document["metadata"]["name"]] = document
    storage = objects["StorageClass", "local-path"]
    assert storage["metadata"]["annotations"] == {
        "defaultVolumeType": "local",
        "storageclass.kubernetes.io/is-default-class": "true",
    }
    assert (storage["volumeBindingMode"], storage["reclaimPolicy"]) == ("WaitForFirstConsumer", "Delete")
    for key in (
        ("ServiceAccount", "local-path-provisioner-service-account"),
        ("ClusterRole", "local-path-provisioner-role"),
        ("ClusterRoleBinding", "local-path-provisioner-bind"),
        ("Deployment", "local-path-provisioner"),
        ("ConfigMap", "local-path-config"),
        ("Deployment", "coredns"),
        ("ConfigMap", "coredns"),
    ):
        assert key in objects
    assert objects["Service", "kube-dns"]["spec"]["clusterIP"] == "10.43.0.10"
    container = objects["Deployment", "coredns"]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "reg:5000/rancher/mirrored-coredns-coredns:1.12.0"
    config = objects["ConfigMap", "local-path-config"]["data"]
    assert '"paths": ["/s"]' in config["config.json"]
    assert yaml.safe_load(config["helperPod.yaml"])["spec"]["containers"][0]["image"] == (
        "reg:5000/rancher/mirrored-library-busybox:1.36.1"
    )


def test_staging_writes_over_edits(tmp_path: Path) -> None:
    values: dict[str, str] = {}
    manifests.stage(str(ROOT / "manifests"), str(tmp_path), values, [])
    (tmp_path / "local-storage.yaml").write_text("edited")
    manifests.stage(str(ROOT / "manifests"), str(tmp_path), values, [])
    assert (tmp_path / "local-storage.yaml").read_text() != "edited"


def test_links_to_directories_are_followed_once(tmp_path: Path, kubectl: Kubectl) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.yaml").write_text("a: 1\n")
    base = tmp_path / "base"
    base.mkdir()
    (base / "link").symlink_to(outside)
    deployer(base, kubectl).scan()
    assert kubectl.calls == [["apply", "a.yaml"]]
