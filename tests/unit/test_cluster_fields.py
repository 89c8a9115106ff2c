"""Whose a field is, where two objects differ, what is shown of it: all that needs no API server."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kube.client import KubeError
from kube.fields import comparable, differences, foreign, overlaid, taken_over, without
from kube.objects import Change, Objects, declared, diff, shortened, title

US = "observer-node"
RESTARTED = "kubectl.kubernetes.io/restartedAt"


def entry(manager: str, fields: dict[str, Any], operation: str = "Update", subresource: str = "") -> dict[str, Any]:
    found = {"manager": manager, "operation": operation, "apiVersion": "apps/v1", "time": "2026-01-01T00:00:00Z",
             "fieldsType": "FieldsV1", "fieldsV1": fields}
    return {**found, "subresource": subresource} if subresource else found


def container(*env: str) -> dict[str, Any]:
    inside: dict[str, Any] = {f'k:{{"name":"{name}"}}': {".": {}, "f:name": {}, "f:value": {}} for name in env}
    return {"f:spec": {"f:template": {"f:spec": {"f:containers": {
        'k:{"name":"app"}': {".": {}, "f:name": {}, "f:env": inside}}}}}}


@pytest.fixture
def item() -> dict[str, Any]:
    """A Deployment as the API server gives it. Somebody has added a variable, a label and a time of restart."""
    ours = container("A") | {"f:metadata": {"f:labels": {"f:app": {}}}}
    theirs = container("B")
    theirs["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"app"}']["f:env"]["."] = {}
    theirs["f:spec"]["f:template"]["f:metadata"] = {"f:annotations": {".": {}, f"f:{RESTARTED}": {}}}
    theirs["f:metadata"] = {"f:labels": {"f:hand": {}}, "f:ownerReferences": {}, "f:finalizers": {".": {}}}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "observer", "namespace": "n", "resourceVersion": "7", "uid": "u", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "observer", "hand": "made"},
            "managedFields": [
                entry(US, ours, "Apply"), entry("kubectl-edit", theirs),
                entry("kube-controller-manager", {"f:metadata": {"f:annotations": {"f:revision": {}}}}),
                entry("kubectl-edit", {"f:status": {"f:replicas": {}}}, subresource="status"),
            ],
        },
        "spec": {"template": {
            "metadata": {"annotations": {RESTARTED: "now"}},
            "spec": {"containers": [
                {"name": "app", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            ]},
        }},
        "status": {"replicas": 1},
    }


def test_what_somebody_added_is_found(item: dict[str, Any]) -> None:
    found = foreign(item, US)
    assert found["f:metadata"] == {"f:labels": {"f:hand": {}}}
    assert set(found["f:spec"]["f:template"]) == {"f:spec"}, "a restart by kubectl is nobody's edit"


def test_what_is_ours_or_a_controllers_is_not_found(item: dict[str, Any]) -> None:
    item["metadata"]["managedFields"] = [
        each for each in item["metadata"]["managedFields"] if each["manager"] != "kubectl-edit"
    ]
    assert foreign(item, US) == {}


def test_what_is_owned_together_is_not_found(item: dict[str, Any]) -> None:
    item["metadata"]["managedFields"] = [entry(US, container("A"), "Apply"), entry("kubectl-edit", container("A"))]
    assert foreign(item, US) == {}


def test_what_we_did_not_declare_is_found_even_under_our_name(item: dict[str, Any]) -> None:
    item["metadata"]["managedFields"] = [entry(US, container("A"), "Apply"), entry(US, container("B"))]
    assert foreign(item, US) != {}


def test_a_scale_by_hand_is_found(item: dict[str, Any]) -> None:
    item["metadata"]["managedFields"] = [entry("kubectl", {"f:spec": {"f:replicas": {}}}, subresource="scale")]
    assert foreign(item, US) == {"f:spec": {"f:replicas": {}}}


def test_the_volume_of_a_claim_stays() -> None:
    claim = {"metadata": {"managedFields": [entry("restore", {"f:spec": {"f:volumeName": {}}})]}}
    assert foreign(claim, US) == {}


def test_without_takes_out_just_those_fields(item: dict[str, Any]) -> None:
    before = copy.deepcopy(item)
    bare = without(item, foreign(item, US))
    assert item == before
    assert bare["metadata"]["labels"] == {"app": "observer"}
    assert bare["spec"]["template"]["spec"]["containers"] == [{"name": "app", "env": [{"name": "A", "value": "1"}]}]
    assert bare["spec"]["template"]["metadata"] == {"annotations": {RESTARTED: "now"}}


def test_without_takes_a_list_that_is_only_theirs() -> None:
    item = {"spec": {"args": ["a"], "set": ["x", "y"]}}
    fields: dict[str, Any] = {"f:spec": {"f:args": {".": {}, "i:0": {}}, "f:set": {'v:"y"': {}}, "f:gone": {}}}
    assert without(item, fields) == {"spec": {"set": ["x"]}}


def test_taken_over_fields_are_ours_and_nobody_elses(item: dict[str, Any]) -> None:
    item["metadata"]["managedFields"] = taken_over(item, US, "apps/v1", "2026-02-02T00:00:00Z")
    assert foreign(item, US) == {}
    own, theirs, controller, status = item["metadata"]["managedFields"]
    assert own["fieldsV1"]["f:metadata"]["f:labels"] == {"f:app": {}, "f:hand": {}}
    assert theirs["fieldsV1"]["f:metadata"] == {"f:ownerReferences": {}, "f:finalizers": {".": {}}}
    annotations = theirs["fieldsV1"]["f:spec"]["f:template"]["f:metadata"]["f:annotations"]
    assert set(annotations) == {f"f:{RESTARTED}"} | (set(annotations) & {"."})
    assert (controller["manager"], status["subresource"]) == ("kube-controller-manager", "status")


def test_an_object_that_was_never_ours_is_taken_over(item: dict[str, Any]) -> None:
    item["metadata"]["managedFields"] = [entry("kubectl-create", {"f:data": {"f:a": {}}})]
    (own,) = taken_over(item, US, "v1", "2026-02-02T00:00:00Z")
    assert (own["manager"], own["operation"], own["fieldsV1"]) == (US, "Apply", {"f:data": {"f:a": {}}})


def test_comparable_leaves_out_what_is_the_servers(item: dict[str, Any]) -> None:
    found = comparable(item)
    assert set(found) == {"apiVersion", "kind", "metadata", "spec"}
    assert set(found["metadata"]) == {"name", "namespace", "labels"}


@pytest.mark.parametrize(("before", "after", "paths"), [
    ({"spec": {"replicas": 1}}, {"spec": {"replicas": 2}}, ["spec.replicas"]),
    ({"data": {}}, {"data": {"config.json": "x", "a": "y"}}, ["data.a", "data[config.json]"]),
    ({"metadata": {"labels": {"a": "b"}}}, {"metadata": {}}, ["metadata.labels.a"]),
    ({"c": [{"name": "a", "v": 1}]}, {"c": [{"name": "a", "v": 2}, {"name": "b"}]}, ["c[a].v", "c[b]"]),
    ({"c": [{"name": "a"}, {"name": "b"}]}, {"c": [{"name": "b"}, {"name": "a"}]}, ["c"]),
    ({"p": [{"containerPort": 80}]}, {"p": [{"containerPort": 81}]}, ["p[80]", "p[81]"]),
    ({"l": [1, 2]}, {"l": [2, 1]}, ["l"]),
    ({"l": []}, {"l": [{"name": "a"}]}, ["l[a]"]),
    ({"from": [{"podSelector": {}}]}, {"from": [{"namespaceSelector": {}}]}, ["from"]),
    ({}, {"emptyDir": {}}, ["emptyDir"]),
    ({"a": {"b": 1}}, {"a": {"b": 1}}, []),
])
def test_differences(before: dict[str, Any], after: dict[str, Any], paths: list[str]) -> None:
    found = sorted(differences(before, after))
    assert found == paths


def test_overlaid_keeps_what_only_the_live_object_has() -> None:
    live = {"a": 1, "c": [{"name": "x", "default": True, "v": 1}, {"name": "gone"}]}
    assert overlaid(live, {"c": [{"name": "x", "v": 2}, {"name": "new"}]}) == {
        "a": 1, "c": [{"name": "x", "default": True, "v": 2}, {"name": "new"}]}


def test_titles_and_paths_in_words() -> None:
    assert title({"kind": "Service", "metadata": {"name": "a", "namespace": "n"}}) == "Service n/a"
    assert title({"kind": "StorageClass", "metadata": {"name": "a"}}) == "StorageClass a"
    assert shortened(["a", "b"]) == "a, b"
    assert shortened(list("abcdefg")) == "a, b, c, d, e and 2 more"


def test_declared_secrets_are_sent_as_data() -> None:
    secret = declared({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "status": {},
                       "data": {"a": "YQ=="}, "stringData": {"b": "b"}})
    assert secret == {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
                      "data": {"a": "YQ==", "b": "Yg=="}}


def test_an_object_that_is_none_is_refused() -> None:
    with pytest.raises(KubeError, match=r"lacks apiVersion, kind or metadata\.name: it has kind, metadata"):
        declared({"kind": "Secret", "metadata": {}})


def test_without_a_cluster_all_is_to_be_created_and_namespaces_first() -> None:
    objects = [{"apiVersion": "v1", "kind": kind, "metadata": {"name": kind.lower(), "namespace": "n"}}
               for kind in ("Secret", "ConfigMap")]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}
    assert list(map(str, Objects.plan_without_cluster([*objects, namespace]))) == [
        "Namespace n: created", "Secret n/secret: created", "ConfigMap n/configmap: created"]


def test_a_diff_shows_no_secret() -> None:
    def secret(value: str) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Secret", "data": {"same": "c2FtZQ==", "other": value}, "metadata": {
            "name": "s", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": value}}}

    shown = diff(Change("apply", secret("bmV3"), secret("b2xk"), secret("bmV3"), ["data.other"]))
    assert "other: (hidden, old value)" in shown["before"] and "other: (hidden, new value)" in shown["after"]
    assert "same: (hidden)" in shown["before"] and "same: (hidden)" in shown["after"]
    text = str(shown)
    assert not any(value in text for value in ("bmV3", "b2xk", "c2FtZQ"))


def test_a_diff_shows_the_beginning_of_a_sealed_value() -> None:
    sealed = {"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": {"name": "s"},
              "spec": {"encryptedData": {"a": "AgBy" + "x" * 600}}}
    assert "a: AgByxxxxxxxx... (604 characters)" in diff(Change("create", sealed, after=sealed))["after"]
