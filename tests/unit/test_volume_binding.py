"""Which claim gets which volume or folder back, and what is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kube.binding import Claim, Decision, Plan, claims_of, living, unbound
from kube.client import KubeError
from living.volumes import measured

_SPEC = importlib.util.spec_from_file_location(
    "volume_binding_action", Path(__file__).resolve().parents[2] / "plugins/action/volume_binding.py")
assert _SPEC and _SPEC.loader
volume_binding = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(volume_binding)

STORAGE = "/opt/local-path-provisioner"
DB = Claim("space", "db", "10Gi", ("ReadWriteOnce",))
DATA = Claim("space", "data", "20Gi", ("ReadWriteOnce",))


def volume(name: str, claim: str = "space/db", *, node: str = "here", path: str = "", uid: str | None = "old",
           capacity: str = "10Gi") -> dict[str, Any]:
    namespace, _, called = claim.partition("/")
    reference = {"namespace": namespace, "name": called, **({"uid": uid, "resourceVersion": "7"} if uid else {})}
    return {"metadata": {"name": name}, "spec": {
        "claimRef": reference, "capacity": {"storage": capacity}, "accessModes": ["ReadWriteOnce"],
        "local": {"path": path or f"{STORAGE}/{name}_{namespace}_{called}"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}}}}


def folder(name: str, files: int | None = 3) -> dict[str, Any]:
    return {"path": f"{STORAGE}/{name}", "files": files, "bytes": files and 4096 * files,
            "newest": 1_700_000_000.0 if files else None}


def claim(name: str, *, volume: str = "", uid: str = "new") -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": uid}, "spec": {"volumeName": volume} if volume else {}}


def decided(
    *volumes: dict[str, Any], folders: list[dict[str, Any]] | None = None, live: list[dict[str, Any]] | None = None,
    picks: dict[str, str] | None = None, declared: list[Claim] | None = None,
) -> Plan:
    return Decision(living(live or []), living(volumes), folders or [], picks or {}, "here", STORAGE,
                    "local-path").plan(declared or [DB])


def refused(*volumes: dict[str, Any], **more: Any) -> tuple[str, str]:  # noqa: ANN401
    with pytest.raises(KubeError) as caught:
        decided(*volumes, **more)
    return str(caught.value), caught.value.remedy


def test_nothing_there_is_left_to_the_provisioner() -> None:
    assert decided() == Plan()


def test_a_released_volume_is_made_free() -> None:
    plan = decided(volume("pvc-1"), folders=[folder("pvc-1_space_db")])
    assert [str(one) for one in plan.bindings] == ["PersistentVolume pvc-1: free for claim space/db"]
    assert plan.bindings[0].patch == [
        {"op": "test", "path": "/spec/claimRef/uid", "value": "old"}, {"op": "remove", "path": "/spec/claimRef/uid"},
        {"op": "remove", "path": "/spec/claimRef/resourceVersion"}]


def test_one_that_is_free_already_is_left_alone() -> None:
    assert decided(volume("pvc-1", uid=None), folders=[folder("pvc-1_space_db")]).bindings == []


def test_one_that_is_being_bound_is_left_alone() -> None:
    plan = decided(volume("pvc-1", uid="new"), volume("pvc-0"), live=[claim("db")],
                   folders=[folder("pvc-1_space_db", 0), folder("pvc-0_space_db", 0)])
    assert plan.bindings == []


def test_a_folder_that_is_just_being_made_is_left_alone() -> None:
    folders = [folder("pvc-new_space_db", 0)]
    assert decided(live=[claim("db")], folders=folders).bindings == []
    assert len(decided(folders=folders).bindings) == 1


def test_a_claim_that_grew_gets_a_volume_that_is_large_enough() -> None:
    plan = decided(volume("pvc-1", capacity="9765625Ki"), folders=[folder("pvc-1_space_db")])
    assert plan.bindings[0].words == "free for claim space/db, spec.capacity.storage"
    assert {"op": "replace", "path": "/spec/capacity/storage", "value": "10Gi"} in plan.bindings[0].patch
    larger = decided(volume("pvc-1", capacity="11Gi", uid=None), folders=[folder("pvc-1_space_db")])
    assert larger.bindings == []


def test_a_volume_of_other_modes_gets_the_claims() -> None:
    other = Claim("space", "db", "1Gi", ("ReadWriteOncePod",))
    plan = decided(volume("pvc-1", uid=None), folders=[folder("pvc-1_space_db")], declared=[other])
    assert plan.bindings[0].words == "spec.accessModes"


def test_a_folder_without_a_volume_gets_one_as_the_provisioner_makes_it() -> None:
    plan = decided(folders=[folder("pvc-1_space_db")])
    made = plan.bindings[0].made
    assert made and made["metadata"] == {"name": "pvc-1", "annotations": {
        "local.path.provisioner/selected-node": "here", "pv.kubernetes.io/provisioned-by": "rancher.io/local-path"}}
    spec = made["spec"]
    assert spec["local"] == {"path": f"{STORAGE}/pvc-1_space_db"}
    assert spec["claimRef"] == {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "space", "name": "db"}
    assert (spec["capacity"], spec["accessModes"]) == ({"storage": "10Gi"}, ["ReadWriteOnce"])
    assert (spec["persistentVolumeReclaimPolicy"], spec["storageClassName"]) == ("Retain", "local-path")
    assert spec["nodeAffinity"] == volume("pvc-1")["spec"]["nodeAffinity"]


def test_a_folder_whose_name_is_no_volumes_gets_a_volume_with_a_name_of_its_own() -> None:
    names = [decided(folders=[folder(f"{name}_space_db")]).bindings[0].volume for name in ("Copy of it", "a_b")]
    assert all(name.startswith("pvc-") for name in names) and len(set(names)) == 2
    taken = decided(volume("pvc-1", "space/other", path="/srv/elsewhere"), folders=[folder("pvc-1_space_db")])
    assert taken.bindings[0].volume != "pvc-1"


@pytest.mark.parametrize("name", ["pvc-1_other_db", "pvc-1_space_db.removing", "pvc-1_space_other-db"])
def test_a_folder_of_something_else_is_none(name: str) -> None:
    """The node is only asked for folders with the right end; what it says beside that changes nothing."""
    assert decided(folders=[folder(name)]).bindings == []


def test_a_folder_that_another_claims_volume_uses_is_none() -> None:
    other = volume("pvc-1", "space/other", path=f"{STORAGE}/pvc-1_space_db/")
    assert decided(other, folders=[folder("pvc-1_space_db")]).bindings == []


def test_a_volume_whose_folder_is_gone_is_told_of() -> None:
    plan = decided(volume("pvc-1"))
    assert plan.bindings == []
    assert plan.said == [f"PersistentVolume pvc-1 was claim space/db's, and its folder {STORAGE}/pvc-1_space_db is not"
                         " there."]


def test_a_volume_that_is_being_deleted_leaves_its_folder() -> None:
    going = volume("pvc-1")
    going["metadata"]["deletionTimestamp"] = "2026-11-22T00:00:00Z"
    plan = decided(going, folders=[folder("pvc-1_space_db")])
    assert plan.bindings[0].made


def test_two_with_data_are_refused_with_what_is_in_them() -> None:
    message, remedy = refused(volume("pvc-1"), folders=[folder("pvc-1_space_db"), folder("pvc-2_space_db", 1)])
    assert message == (
        f"2 folders could be claim space/db's: {STORAGE}/pvc-1_space_db (PersistentVolume pvc-1, 3 files, 0.0 MiB,"
        f" newest change 2023-11-14 22:13:20 UTC) and {STORAGE}/pvc-2_space_db (no PersistentVolume, 1 file, 0.0 MiB,"
        " newest change 2023-11-14 22:13:20 UTC). Nothing was changed.")
    assert remedy.endswith("observer_volumes: {db: pvc-2_space_db}")


def test_all_claims_in_doubt_are_named_and_none_is_bound() -> None:
    message, remedy = refused(declared=[DB, DATA], folders=[
        folder(f"pvc-{number}_space_{name}") for number in (1, 2) for name in ("db", "data")])
    assert "claim space/db's" in message and "claim space/data's" in message
    assert remedy.endswith("{db: pvc-2_space_db, data: pvc-2_space_data}")


def test_what_could_not_be_counted_is_not_taken_for_empty() -> None:
    message, _ = refused(folders=[folder("pvc-1_space_db"), folder("pvc-2_space_db", None)])
    assert "too much to be counted" in message


def test_an_empty_folder_beside_one_with_data_is_no_candidate() -> None:
    plan = decided(volume("pvc-1"), folders=[folder("pvc-1_space_db", 0), folder("pvc-2_space_db")])
    assert plan.bindings[0].volume == "pvc-2"
    assert plan.said == [f"{STORAGE}/pvc-1_space_db is empty: claim space/db gets {STORAGE}/pvc-2_space_db."]


def test_of_empty_ones_a_volume_comes_first() -> None:
    plan = decided(volume("pvc-9"), folders=[folder("pvc-1_space_db", 0), folder("pvc-9_space_db", 0)])
    assert [one.volume for one in plan.bindings] == ["pvc-9"]


def test_a_volume_of_another_node_is_not_passed_over() -> None:
    message, _ = refused(volume("pvc-1", node="there"))
    assert f"is {STORAGE}/pvc-1_space_db (PersistentVolume pvc-1, on node there)" in message
    message, _ = refused(volume("pvc-1", node="there"), folders=[folder("pvc-2_space_db")])
    assert message.startswith("2 folders")
    assert decided(volume("pvc-1", node="there"), picks={"db": "pvc-1"}).bindings[0].volume == "pvc-1"


@pytest.mark.parametrize("pick", ["pvc-2_space_db", f"{STORAGE}/pvc-2_space_db/", "pvc-2"])
def test_a_pick_decides(pick: str) -> None:
    folders = [folder("pvc-1_space_db"), folder("pvc-2_space_db")]
    assert decided(volume("pvc-1"), volume("pvc-2"), folders=folders, picks={"db": pick}).bindings[0].volume == "pvc-2"


def test_a_pick_may_be_of_another_name() -> None:
    plan = decided(folders=[folder("pvc-1_space_db"), folder("restored")], picks={"db": "restored"})
    made = plan.bindings[0].made
    assert made and made["spec"]["local"]["path"] == f"{STORAGE}/restored"


@pytest.mark.parametrize(("picks", "words"), [
    ({"db": "pvc-3_space_db"}, f"the folder pvc-3_space_db, and {STORAGE} has no such folder"),
    ({"bd": "pvc-1_space_db"}, "observer_volumes has bd, and no such claim is declared"),
    ({"db": "pvc-9_space_other"}, "is PersistentVolume pvc-9 of claim space/other"),
])
def test_a_pick_that_cannot_be_is_refused(picks: dict[str, str], words: str) -> None:
    message, _ = refused(volume("pvc-1"), volume("pvc-9", "space/other"), picks=picks,
                         folders=[folder("pvc-1_space_db"), folder("pvc-9_space_other")])
    assert words in message


def test_a_pick_against_a_reservation_is_refused() -> None:
    message, remedy = refused(volume("pvc-1", uid=None), picks={"db": "pvc-2_space_db"},
                              folders=[folder("pvc-1_space_db"), folder("pvc-2_space_db")])
    assert "PersistentVolume pvc-1 is already reserved" in message and "kubectl delete pv pvc-1" in remedy


def test_a_pick_of_a_bound_claim_is_right_or_refused() -> None:
    bound = {"live": [claim("db", volume="pvc-1")], "picks": {"db": "pvc-1_space_db"}}
    assert decided(volume("pvc-1", uid="new"), **bound).bindings == []  # type: ignore[arg-type]
    message, _ = refused(volume("pvc-1", uid="new"), live=[claim("db", volume="pvc-1")], picks={"db": "pvc-2"})
    assert f"but it is bound to {STORAGE}/pvc-1_space_db" in message


def test_the_claims_of_an_overlay() -> None:
    def declared(name: str, space: str = "space", **spec: Any) -> dict[str, Any]:  # noqa: ANN401
        return {"kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": space}, "spec": {
            "resources": {"requests": {"storage": "1Gi"}}, "accessModes": ["ReadWriteOnce"], **spec}}

    workload = {"kind": "StatefulSet", "metadata": {"name": "pg", "namespace": "space"}, "spec": {
        "replicas": 2, "volumeClaimTemplates": [declared("store", "")]}}
    found = claims_of([
        declared("a"), declared("b", "other"), declared("c", storageClassName="local-path"),
        declared("d", storageClassName="nfs"), declared("e", volumeName="v"), declared("f", selector={}), workload,
        declared("g", selector={"matchLabels": {"a": "b"}}),
    ], "space", "local-path")
    assert [one.name for one in found] == ["a", "c", "f", "store-pg-0", "store-pg-1"]
    assert unbound(found[:2], living([claim("a", volume="v"), claim("c")])) == found[1:2]


def test_the_look_at_the_node(tmp_path: Path) -> None:
    for name in ("pvc-1_space_db", "pvc-2_space_db", "pvc-3_other_db", "restored"):
        (tmp_path / name).mkdir()
    (tmp_path / "pvc-1_space_db" / "one").write_text("one")
    (tmp_path / "pvc-4_space_db").write_text("no folder")
    (tmp_path / "pvc-5_space_db").symlink_to(tmp_path / "restored")
    paths = [str(tmp_path / name) for name in ("pvc-1_space_db", "pvc-9_space_db")]
    found = measured(str(tmp_path), ["_space_db"], paths, ["restored"])
    assert {Path(one["path"]).name: one["files"] for one in found} == {
        "pvc-1_space_db": 1, "pvc-2_space_db": 0, "pvc-5_space_db": 0, "restored": 0}
    assert measured(str(tmp_path / "none"), ["_space_db"], [], []) == []
    with pytest.raises(NotADirectoryError):
        measured(str(tmp_path / "pvc-4_space_db"), ["_space_db"], [], [])


class Api:
    """Answers of an API server, and what it was asked."""

    def __init__(self, claims: list[dict[str, Any]], *volumes: dict[str, Any], ending: bool = False) -> None:
        self.claims, self.volumes, self.ending = claims, list(volumes), ending
        self.asked: list[str] = []

    def get(self, path: str) -> dict[str, Any]:
        self.asked.append(path)
        return {"metadata": {"name": "space", **({"deletionTimestamp": "now"} if self.ending else {})}}

    def items(self, path: str) -> list[dict[str, Any]]:
        self.asked.append(path)
        return self.volumes if path.endswith("persistentvolumes") else self.claims


def settled(api: Api, *, check: bool = True, pick: dict[str, str] | None = None) -> Any:  # noqa: ANN401
    action = object.__new__(volume_binding.ActionModule)
    action.given = {"namespace": "space", "timeout": 0, "pick": pick or {}}
    action._task = SimpleNamespace(check_mode=check)
    return action._settled(api, [DB])


def test_a_healthy_system_is_asked_two_questions() -> None:
    api = Api([claim("db", volume="pvc-1")])
    assert settled(api)[1] == {}
    assert api.asked == ["/api/v1/namespaces/space", "/api/v1/namespaces/space/persistentvolumeclaims"]


def test_with_a_namespace_go_its_claims() -> None:
    """Those of a namespace that is being deleted may look alive; a real run waits for them."""
    api = Api([claim("db", volume="pvc-1")], volume("pvc-1"), ending=True)
    live, volumes = settled(api)
    assert live == {} and set(volumes) == {"pvc-1"}
    with pytest.raises(KubeError, match="PersistentVolumeClaim db of namespace space: being deleted"):
        settled(api, check=False)
    going = claim("db", volume="pvc-1")
    going["metadata"]["deletionTimestamp"] = "now"
    with pytest.raises(KubeError, match="PersistentVolumeClaim db"):
        settled(Api([going]), check=False)
