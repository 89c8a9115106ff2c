"""What is made of findings: waivers, one layer for what several say, exit status, clauses; and references."""

from __future__ import annotations

import copy
import datetime
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from contract_edits import CONTAINER, SETTINGS, changed, edited, in_turn, put
from contract_inputs import NOW, SAID, Checker, Edit, kustomization

from contract.checks import finding
from contract.codes import CODES, sentence
from contract.engine import check, names_of_clauses
from contract.facts import AppFacts, EnvRead, Example, ImageFacts, KubeObject, ManifestFacts, PathFunction, Unchecked
from contract.facts import Literal as Value
from contract.manifests import load_manifests
from contract.model import SEVERITIES, Finding, Kind, Layer, Place, Report
from contract.spec import Contract, load_contract

DATA = SAID["paths"]["data"]["path"]


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Checker:
    return Checker(tmp_path_factory.mktemp("right"))


def contract_with(folder: Path, **parts: Any) -> Contract:  # noqa: ANN401
    """Observer's contract with other parts."""
    path = folder / "contract.yml"
    path.write_text(yaml.safe_dump({**SAID, **parts}, allow_unicode=True, sort_keys=False))
    return load_contract(path, "contract.yml")


def in_manifest(kind: str, name: str, path: tuple[str | int, ...], value: object) -> Edit:
    file, _, text = changed(kind, name, put(path, value))
    return Edit({file: text})


def codes(found: Sequence[Finding], *prefixes: str) -> list[str]:
    return [one.code for one in found if one.code.startswith(prefixes or ("",))]


# --- waivers ----------------------------------------------------------------------------------------


def waiver(**fields: object) -> dict[str, object]:
    return {"code": "VOL-10", "subject": "*observer-config*", "owner": "operator", "reason": "CF-4",
            "expires": "2026-06-30", **fields}


@pytest.fixture
def waived(checker: Checker, tmp_path: Path) -> Iterator[Any]:
    """What is right, under other waivers and at other times."""
    right = checker.contract
    checker.report(Edit())

    def report(*waivers: Mapping[str, object], now: datetime.datetime = NOW, **parts: bool) -> Report:
        contract = contract_with(tmp_path, waivers=list(waivers))
        return check(contract, app=checker.app if parts.get("app", True) else None,
                     images=[checker.dockerfile, checker.image] if parts.get("images", True) else [],
                     manifests=checker.manifests["production"] if parts.get("manifests", True) else None, now=now)

    yield report
    checker.contract = right


def test_a_waiver_covers_a_finding_that_stays_to_be_seen(waived: Any) -> None:  # noqa: ANN401
    report = waived(waiver())
    assert [(one.code, one.waiver.owner) for one in report.findings] == [("VOL-10", "operator")]
    assert report.status == 0
    assert report.findings[0].waiver.place.file == "contract.yml"


def test_without_a_waiver_the_finding_counts(waived: Any) -> None:  # noqa: ANN401
    report = waived()
    assert codes(report.findings) == ["VOL-10"]
    assert report.status == 1


@pytest.mark.parametrize(("day", "status"), [("2026-06-29", 0), ("2026-06-30", 0), ("2026-07-01", 1)])
def test_a_waiver_holds_to_the_end_of_its_last_day(waived: Any, day: str, status: int) -> None:  # noqa: ANN401
    now = datetime.datetime.fromisoformat(f"{day}T23:59:00+00:00")
    assert waived(waiver(), now=now).status == status


def test_an_expired_waiver_is_told_of_with_what_it_covered(waived: Any) -> None:  # noqa: ANN401
    report = waived(waiver(expires="2025-12-31"))
    assert sorted(codes(report.findings)) == ["CHECK-02", "VOL-10"]
    expired = next(one for one in report.findings if one.code == "CHECK-02")
    assert expired.place is not None and expired.place.file == "contract.yml" and expired.place.line > 1
    assert "expired on 2025-12-31" in sentence(expired, "message", "en")
    assert not any(one.waiver for one in report.findings)
    assert report.status == 1


def test_another_waiver_takes_the_place_of_an_expired_one(waived: Any) -> None:  # noqa: ANN401
    report = waived(waiver(expires="2025-12-31"), waiver(owner="somebody"))
    assert [one.waiver.owner for one in report.findings if one.code == "VOL-10"] == ["somebody"]
    assert "CHECK-02" in codes(report.findings)


@pytest.mark.parametrize("fields", [{"code": "VOL-09"}, {"subject": "*postgres*"}, {"code": "IMG-*"}])
def test_a_waiver_that_covers_nothing_is_drift(waived: Any, fields: dict[str, str]) -> None:  # noqa: ANN401
    report = waived(waiver(), waiver(**fields))
    assert codes(report.findings) == ["CHECK-03", "VOL-10"]
    assert report.findings[0].kind is Kind.DRIFT
    assert report.status == 3


def test_nothing_is_said_of_a_waiver_whose_layers_are_not_looked_at(waived: Any) -> None:  # noqa: ANN401
    unused = waiver(), waiver(code="PATH-04"), waiver(code="ENV-09")
    assert codes(waived(*unused, manifests=False).findings) == []
    assert codes(waived(*unused, app=False).findings) == ["VOL-10"]
    assert codes(waived(*unused).findings, "CHECK") == ["CHECK-03", "CHECK-03"]


def test_patterns_of_a_waiver(waived: Any) -> None:  # noqa: ANN401
    assert waived(waiver(code="VOL-1?", subject="Deployment */observer observer-config")).status == 0
    assert waived(waiver(subject="Deployment observer-staging/*")).status == 1


# --- one layer for what several say -----------------------------------------------------------------


def merged(contract: Contract, **parts: Any) -> list[Finding]:  # noqa: ANN401
    return [one for one in check(contract, now=NOW, **parts).findings if not one.waiver]


def app_with(default: str) -> AppFacts:
    """An app that has its data elsewhere, and nothing else."""
    place = Place("src/paths.py", 20)
    return AppFacts(reads=[EnvRead("OBSERVER_DATA_DIR", default, place)],
                    paths={"data_dir": PathFunction("data_dir", default, ("OBSERVER_DATA_DIR",), place)},
                    examples={"OBSERVER_DATA_DIR": Example("OBSERVER_DATA_DIR", default, None, None,
                                                           Place(".env.example", 3))}, files=["src/paths.py"])


def image_with(value: str) -> ImageFacts:
    return ImageFacts(environment={"OBSERVER_DATA_DIR": Value(value, Place("docker/Dockerfile", 9))})


def data_in(found: Sequence[Finding]) -> list[Finding]:
    return [one for one in found if one.clause == "paths.data" and CODES[one.code].alike]


def test_the_layer_that_wins_is_named_and_the_others_with_it(checker: Checker) -> None:
    file, _, text = changed(*SETTINGS, put(("data", "OBSERVER_DATA_DIR"), "/app/data"))
    checker.report(Edit())
    checker.write(file, text)
    manifests = checker.load_manifests("production")
    checker.write(file, changed(*SETTINGS, lambda _: None)[2])
    wrong = {"app": app_with("/srv/a"), "images": [image_with("/srv/b")], "manifests": manifests}
    [one] = data_in(merged(checker.contract, **wrong))
    assert (one.code, one.layer, one.actual) == ("PATH-06", Layer.CONFIG, "/app/data")
    assert {(related.role, str(related.place)) for related in one.related[1:]} == {
        ("also /srv/b here (image)", "docker/Dockerfile:9"), ("also /srv/a here (app)", "src/paths.py:20"),
        ("also /srv/a here (app)", ".env.example:3")}
    # Once the first is mended, the next one is found.
    [one] = data_in(merged(checker.contract, **{**wrong, "manifests": checker.manifests["production"]}))
    assert (one.code, one.layer) == ("PATH-04", Layer.IMAGE)
    [one] = data_in(merged(checker.contract, app=app_with("/srv/a"), images=[image_with(DATA)]))
    assert (one.code, one.layer) == ("PATH-01", Layer.APP)
    assert data_in(merged(checker.contract, app=app_with(DATA), images=[image_with(DATA)])) == []


def test_the_contract_says_which_layer_wins(tmp_path: Path) -> None:
    items = {**SAID["items"], "paths": {"authority": ["app", "image", "config", "deployment"]}}
    contract = contract_with(tmp_path, items=items)
    [one] = data_in(merged(contract, app=app_with("/srv/a"), images=[image_with("/srv/b")]))
    assert (one.code, one.layer) == ("PATH-01", Layer.APP)


def test_findings_that_are_not_alike_stay_apart(checker: Checker) -> None:
    report = checker.report(Edit({**in_manifest("Deployment", "observer", (*CONTAINER, "volumeMounts", 0, "mountPath"),
                                                "/data").files}))
    assert {"VOL-01", "VOL-03", "PATH-07"} <= set(codes(report.findings))


# --- status, order, clauses -------------------------------------------------------------------------


def made(code: str, **fields: Any) -> Finding:  # noqa: ANN401
    return finding(code, "check.test", Layer.NODE, Place("x", 1), "something", **fields)


@pytest.mark.parametrize(("more", "status"), [
    ((), 0), (("EXT-01",), 0), (("ENV-04",), 3), (("ENV-04", "CHECK-01"), 4), (("CHECK-01", "PORT-02"), 1),
    (("EXT-01", "ENV-04"), 3), (("PORT-02",), 1),
])
def test_the_status_tells_violation_drift_and_could_not_check_apart(
    checker: Checker, more: Sequence[str], status: int
) -> None:
    checker.report(Edit())
    report = check(checker.contract, app=checker.app, images=[checker.dockerfile, checker.image],
                   manifests=checker.manifests["production"], more=[made(code) for code in more], now=NOW)
    assert report.status == status


def test_the_worst_comes_first_and_what_is_waived_last(checker: Checker) -> None:
    edits = [in_manifest(*SETTINGS, ("data", "DB_HOST"), "localhost"),
             in_manifest("Deployment", "observer", ("spec", "replicas"), 2)]
    report = checker.report(Edit({file: text for edit in edits for file, text in edit.files.items()}))
    again = checker.report(Edit({file: text for edit in edits for file, text in edit.files.items()}))
    assert report.findings == again.findings
    order = [(one.waiver is not None, SEVERITIES.index(one.severity)) for one in report.findings]
    assert order == sorted(order)
    assert report.findings[-1].code == "VOL-10"


def test_the_same_is_told_of_once(checker: Checker) -> None:
    same = [made("PORT-02"), made("PORT-02"), made("PORT-02", actual=1)]
    found = check(checker.contract, more=same, now=NOW).findings
    assert [one.actual for one in found] == ["", "1"]
    twice = checker.report(in_manifest("Deployment", "observer", (*CONTAINER, "image"), "other:latest"))
    places = [(one.code, one.clause, one.place, one.subject, one.actual) for one in twice.findings]
    assert len(places) == len(set(places))


def test_every_clause_is_in_the_report_with_the_layers_that_were_looked_at(checker: Checker) -> None:
    names = {name for name, _ in names_of_clauses(checker.contract)}
    whole = {one.name: one for one in checker.report(Edit()).clauses}
    assert names <= set(whole)
    assert whole["paths.data"].layers == (Layer.APP, Layer.IMAGE, Layer.CONFIG, Layer.DEPLOYMENT)
    assert all(one.layers for one in whole.values())
    alone = {one.name: one for one in check(checker.contract, app=checker.app, now=NOW).clauses}
    assert alone["paths.data"].layers == (Layer.APP,)
    assert alone["volumes.observer-data-pvc"].layers == ()
    assert alone["ports.app/health"].layers == (Layer.APP,)


def test_a_clause_has_the_numbers_of_its_findings(checker: Checker) -> None:
    report = checker.report(in_manifest(*SETTINGS, ("data", "DB_HOST"), "localhost"))
    [clause] = [one for one in report.clauses if one.findings and one.name == "environment.DB_HOST"]
    assert [report.findings[number].code for number in clause.findings] == ["ENV-02"]
    assert all(report.findings[number].clause == one.name for one in report.clauses for number in one.findings)


@pytest.mark.parametrize(("edit", "broken"), [
    (Edit(), None),
    (in_manifest(*SETTINGS, ("data", "OBSERVER_LOG_DIR"), "/app/logs"), 1),
    (in_manifest(*SETTINGS, ("data", "DB_PORT"), "5433"), 2),
    (in_manifest("Service", "postgres", ("spec", "ports", 0, "port"), 5433), 2),
    (in_manifest("Deployment", "observer", (*CONTAINER, "envFrom", 1, "secretRef", "name"), "obs-kis-secret"), 3),
    (in_manifest("Deployment", "observer", (*CONTAINER, "securityContext", "runAsUser"), 0), 4),
])
def test_the_four_that_may_never_change(checker: Checker, edit: Edit, broken: int | None) -> None:
    fixed = checker.report(edit).facts["fixed"]
    assert [one["number"] for one in fixed] == [1, 2, 3, 4]
    assert [one["number"] for one in fixed if not one["holds"]] == ([broken] if broken else [])


# --- several replicas (CF-7) ------------------------------------------------------------------------


def test_two_replicas_share_what_one_node_has(checker: Checker) -> None:
    report = checker.report(in_manifest("Deployment", "observer", ("spec", "replicas"), 2))
    [one] = [one for one in report.findings if one.code == "VOL-11"]
    assert one.place == Place("manifests/base/deployments/observer.yaml", 9)
    assert "RWO PVC observer-data-pvc" in one.values["source"]
    assert f"hostPath {SAID['resources']['observer-config']['params']['path']}" in one.values["source"]
    assert {str(related.place.file) for related in one.related if related.place} >= {
        "manifests/base/pvc/observer-data-pvc.yaml"}
    assert "takes for granted that there is one node" in sentence(one, "message", "en")


SHARED = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: web:1
          volumeMounts: [{name: shared, mountPath: /shared}]
      volumes: [{name: shared, persistentVolumeClaim: {claimName: shared}}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: shared}
spec:
  accessModes: [MODE]
  resources: {requests: {storage: 1Gi}}
"""


@pytest.mark.parametrize(("mode", "found"), [
    ("ReadWriteMany", []), ("ReadOnlyMany", []), ("ReadWriteOnce", ["VOL-11", "VOL-12"]),
    ("ReadWriteOncePod", ["VOL-11", "VOL-12"]),
])
def test_storage_of_several_nodes_may_be_shared(
    checker: Checker, tmp_path: Path, mode: str, found: list[str]
) -> None:
    assert sorted(codes(plain(checker.contract, tmp_path, SHARED.replace("MODE", mode)), "VOL-11", "VOL-12")) == found


def test_an_update_that_first_stops_the_old_pod_shares_nothing(checker: Checker, tmp_path: Path) -> None:
    text = SHARED.replace("MODE", "ReadWriteOnce").replace("replicas: 3", "replicas: 1")
    assert codes(plain(checker.contract, tmp_path, text), "VOL-12") == ["VOL-12"]
    for strategy in ("{type: Recreate}", "{rollingUpdate: {maxSurge: 0, maxUnavailable: 1}}",
                     "{rollingUpdate: {maxSurge: 0%}}"):
        other = text.replace("spec:\n  replicas", f"spec:\n  strategy: {strategy}\n  replicas", 1)
        assert codes(plain(checker.contract, tmp_path, other), "VOL-12") == []


# --- references -------------------------------------------------------------------------------------


def plain(contract: Contract, folder: Path, text: str) -> Sequence[Finding]:
    """What is found of a file of manifests."""
    path = folder / "all.yaml"
    path.write_text(textwrap.dedent(text))
    return check(contract, manifests=load_manifests(path, root=folder), now=NOW).findings


WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, tier: front}}
    spec:
      containers:
        - name: web
          image: web:1
          ports: [{name: http, containerPort: 8080}]
MORE
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {MODE: fast}
---
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: shop}
stringData: {TOKEN: x}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: shop}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: files, namespace: shop}
spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}
"""
"""A workload of nobody's contract, with everything that it may refer to. MORE is of its pod."""


def pod(text: str) -> str:
    """The workload with more in its pod, or beside its container's ports."""
    return WEB.replace("MORE", textwrap.indent(textwrap.dedent(text).strip("\n"), " " * 6))


def container(text: str) -> str:
    """The workload with more in its container."""
    return WEB.replace("MORE", textwrap.indent(textwrap.dedent(text).strip("\n"), " " * 10))


def beside(text: str) -> str:
    """The workload and another object. A line that has to be found ends with the code."""
    return pod("") + "---\n" + textwrap.dedent(text).lstrip("\n")


REFERENCES: dict[str, str] = {
    # A ServiceAccount, a ConfigMap, a Secret, a claim, a Service, a target or a Role that is not there.
    "an account": pod("serviceAccountName: shop  # REF-01"),
    "the account": pod("serviceAccountName: web"),
    "the default account": pod("serviceAccountName: default"),
    "a ConfigMap taken whole": container("""
            envFrom:
              - configMapRef:
                  name: setting  # REF-01
        """),
    "the ConfigMap taken whole": container("envFrom: [{configMapRef: {name: settings}}]"),
    "an optional ConfigMap": container("envFrom: [{configMapRef: {name: setting, optional: true}}]"),
    "a ConfigMap of one key": container("""
            env:
              - name: MODE
                valueFrom:
                  configMapKeyRef:
                    name: setting  # REF-01
                    key: MODE
        """),
    "a Secret taken whole": container("""
            envFrom:
              - secretRef:
                  name: key  # REF-01
        """),
    "the Secret taken whole": container("envFrom: [{secretRef: {name: keys}}]"),
    "an optional Secret": container("envFrom: [{secretRef: {name: key, optional: true}}]"),
    "a ConfigMap as a volume": pod("""
            volumeMounts: [{name: settings, mountPath: /settings}]
        volumes:
          - name: settings
            configMap:
              name: setting  # REF-01
        """),
    "the ConfigMap of the cluster as a volume": pod("""
            volumeMounts: [{name: ca, mountPath: /ca}]
        volumes: [{name: ca, configMap: {name: kube-root-ca.crt}}]
        """),
    "a ConfigMap in a projected volume": pod("""
            volumeMounts: [{name: all, mountPath: /all}]
        volumes:
          - name: all
            projected:
              sources:
                - configMap:
                    name: setting  # REF-01
        """),
    "a claim": pod("""
            volumeMounts: [{name: files, mountPath: /files}]
        volumes:
          - name: files
            persistentVolumeClaim:
              claimName: file  # REF-01
        """),
    "the claim": pod("""
            volumeMounts: [{name: files, mountPath: /files}]
        volumes: [{name: files, persistentVolumeClaim: {claimName: files}}]
        """),
    "the Service of a StatefulSet": beside("""
        apiVersion: apps/v1
        kind: StatefulSet
        metadata: {name: store, namespace: shop}
        spec:
          serviceName: store  # REF-01
          selector: {matchLabels: {app: store}}
          template:
            metadata: {labels: {app: store}}
            spec: {containers: [{name: store, image: 'store:1'}]}
        """),
    "the Service of an Ingress": beside("""
        apiVersion: networking.k8s.io/v1
        kind: Ingress
        metadata: {name: web, namespace: shop}
        spec:
          rules:
            - http:
                paths:
                  - path: /
                    backend:
                      service:
                        name: shop  # REF-01
                        port: {number: 80}
        """),
    "the target of a scaler": beside("""
        apiVersion: autoscaling/v2
        kind: HorizontalPodAutoscaler
        metadata: {name: web, namespace: shop}
        spec:
          scaleTargetRef:
            kind: Deployment
            name: shop  # REF-01
        """),
    "the right target of a scaler": beside("""
        apiVersion: autoscaling/v2
        kind: HorizontalPodAutoscaler
        metadata: {name: web, namespace: shop}
        spec: {scaleTargetRef: {kind: Deployment, name: web}}
        """),
    "the Role of a binding": beside("""
        apiVersion: rbac.authorization.k8s.io/v1
        kind: RoleBinding
        metadata: {name: web, namespace: shop}
        roleRef:
          kind: Role
          name: reader  # REF-01
        subjects: [{kind: ServiceAccount, name: web}]
        """),
    "a ClusterRole of a binding": beside("""
        apiVersion: rbac.authorization.k8s.io/v1
        kind: RoleBinding
        metadata: {name: web, namespace: shop}
        roleRef: {kind: ClusterRole, name: view}
        subjects: [{kind: ServiceAccount, name: web}]
        """),
    "of another namespace": container("envFrom: [{configMapRef: {name: settings}}]").replace(
        "kind: ConfigMap\nmetadata: {name: settings, namespace: shop}",
        "kind: ConfigMap\nmetadata: {name: settings, namespace: other}").replace(
        "[{configMapRef: {name: settings}}]", "[{configMapRef: {name: settings}}]  # REF-01"),

    # A key that is not there.
    "a key of a ConfigMap": container("""
            env:
              - name: MODE
                valueFrom:
                  configMapKeyRef:
                    name: settings
                    key: MODES  # REF-02
        """),
    "an optional key of a ConfigMap": container("""
            env: [{name: MODE, valueFrom: {configMapKeyRef: {name: settings, key: MODES, optional: true}}}]
        """),
    "a key of a Secret": container("""
            env:
              - name: TOKEN
                valueFrom:
                  secretKeyRef:
                    name: keys
                    key: TOKENS  # REF-02
        """),
    "the key of a Secret": container("env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: keys, key: TOKEN}}}]"),
    "a key of a volume": pod("""
            volumeMounts: [{name: settings, mountPath: /settings}]
        volumes:
          - name: settings
            configMap:
              name: settings
              items:
                - {key: MODE, path: mode}
                - key: MODES  # REF-02
                  path: modes
        """),

    # A selector of nothing.
    "a Service of nothing": beside("""
        apiVersion: v1
        kind: Service
        metadata: {name: back, namespace: shop}
        spec:
          selector:
            app: web
            tier: back  # REF-03
          ports: [{port: 80}]
        """),
    "a Service of labels that no pod has together": beside("""
        apiVersion: v1
        kind: Service
        metadata: {name: back, namespace: shop}
        spec:
          selector:  # REF-03
            app: web
            tier: back
          ports: [{port: 80}]
        ---
        apiVersion: v1
        kind: Pod
        metadata: {name: back, namespace: shop, labels: {app: back, tier: back}}
        spec: {containers: [{name: back, image: 'back:1'}]}
        """),
    "a Service of some labels": beside("""
        apiVersion: v1
        kind: Service
        metadata: {name: front, namespace: shop}
        spec: {selector: {tier: front}, ports: [{port: 80, targetPort: http}]}
        """),
    "a Service without a selector": beside("""
        apiVersion: v1
        kind: Service
        metadata: {name: outside, namespace: shop}
        spec: {ports: [{port: 80}]}
        """),
    "a Service of a name outside": beside("""
        apiVersion: v1
        kind: Service
        metadata: {name: outside, namespace: shop}
        spec: {type: ExternalName, externalName: example.com}
        """),
    "a budget of nothing": beside("""
        apiVersion: policy/v1
        kind: PodDisruptionBudget
        metadata: {name: web, namespace: shop}
        spec:
          selector:
            matchLabels:
              app: shop  # REF-03
        """),
    "a policy of nothing": beside("""
        apiVersion: networking.k8s.io/v1
        kind: NetworkPolicy
        metadata: {name: web, namespace: shop}
        spec:
          podSelector:
            matchLabels:
              app: shop  # REF-03
        """),
    "a policy of everything": beside("""
        apiVersion: networking.k8s.io/v1
        kind: NetworkPolicy
        metadata: {name: web, namespace: shop}
        spec: {podSelector: {}}
        """),

    # A port that is not there.
    "a port of a Service": beside("""
        apiVersion: v1
        kind: Service
        metadata: {name: admin, namespace: shop}
        spec:
          selector: {app: web}
          ports:
            - port: 81
              targetPort: admin  # REF-04
        """),
    "a port of a Service by its number": beside("""
        apiVersion: v1
        kind: Service
        metadata: {name: admin, namespace: shop}
        spec: {selector: {app: web}, ports: [{port: 81, targetPort: 9901}]}
        """),
    "a port of an Ingress": beside("""
        apiVersion: networking.k8s.io/v1
        kind: Ingress
        metadata: {name: web, namespace: shop}
        spec:
          rules:
            - http:
                paths:
                  - path: /
                    backend:
                      service:
                        name: web
                        port: {number: 8080}  # REF-04
        """),
    "a port of an Ingress by its name": beside("""
        apiVersion: networking.k8s.io/v1
        kind: Ingress
        metadata: {name: web, namespace: shop}
        spec: {rules: [{http: {paths: [{path: /, backend: {service: {name: web, port: {name: http}}}}]}}]}
        """),

    # Volumes.
    "a mount": container("""
            volumeMounts:
              - name: files  # REF-05
                mountPath: /files
        """),
    "a mount of a claim template": beside("""
        apiVersion: apps/v1
        kind: StatefulSet
        metadata: {name: store, namespace: shop}
        spec:
          serviceName: web
          selector: {matchLabels: {app: store}}
          template:
            metadata: {labels: {app: store}}
            spec:
              containers: [{name: store, image: 'store:1', volumeMounts: [{name: files, mountPath: /files}]}]
          volumeClaimTemplates: [{metadata: {name: files}, spec: {resources: {requests: {storage: 1Gi}}}}]
        """),
    "a volume": pod("""
        volumes:
          - name: files  # REF-08
            emptyDir: {}
        """),
    "a volume of an init container": pod("""
        initContainers: [{name: first, image: 'first:1', volumeMounts: [{name: files, mountPath: /files}]}]
        volumes: [{name: files, emptyDir: {}}]
        """),

    # Its own pods.
    "own labels": beside("""
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: back, namespace: shop}
        spec:
          selector: {matchLabels: {app: back}}
          template:
            metadata:
              labels:
                app: backend  # REF-06
            spec: {containers: [{name: back, image: 'back:1'}]}
        """),
    "a label that is not there": beside("""
        apiVersion: apps/v1
        kind: DaemonSet
        metadata: {name: back, namespace: shop}
        spec:
          selector: {matchLabels: {app: back, tier: back}}
          template:
            metadata:
              labels: {app: back}  # REF-06
            spec: {containers: [{name: back, image: 'back:1'}]}
        """),
    "more labels than the selector": beside("""
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: back, namespace: shop}
        spec:
          selector: {matchLabels: {app: back}}
          template:
            metadata: {labels: {app: back, tier: back}}
            spec: {containers: [{name: back, image: 'back:1'}]}
        """),

    # The same again.
    "an object again": beside("""
        apiVersion: v1
        kind: ConfigMap
        metadata:
          name: settings  # REF-07
          namespace: shop
        """),
    "a name in another namespace": beside("""
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: settings, namespace: other}
        """),
    "a name of another group": beside("""
        apiVersion: serving.knative.dev/v1
        kind: Service
        metadata: {name: web, namespace: shop}
        spec: {}
        """),
}
"""Manifests whose lines with a code have that finding, and no other reference is wrong."""


@pytest.mark.parametrize("case", REFERENCES)
def test_a_reference(case: str, checker: Checker, tmp_path: Path) -> None:
    found = plain(checker.contract, tmp_path, REFERENCES[case])
    wanted = {(code[1], number) for number, line in enumerate(textwrap.dedent(REFERENCES[case]).splitlines(), 1)
              if (code := re.search(r"# (REF-\d\d)$", line))}
    assert {(one.code, one.place.line) for one in found if one.clause == "references" and one.place} == wanted


def test_every_code_of_a_reference_has_a_manifest_that_breaks_it() -> None:
    assert {code for text in REFERENCES.values() for code in re.findall(r"REF-\d\d", text)} == {
        code for code in CODES if code.startswith("REF-")}


# --- what is never told, and what cannot be ---------------------------------------------------------


@pytest.mark.parametrize("edit", [
    in_manifest(*SETTINGS, ("data", "DB_PASSWORD"), "hunter2-in-plain"),
    in_manifest(*SETTINGS, ("data", "DB_PASSWORD"), 8241907355),
    in_manifest("Deployment", "observer", (*CONTAINER, "env", 4), {"name": "DB_PASSWORD", "value": "hunter2-in-plain"}),
    in_manifest("Deployment", "observer", (*CONTAINER, "env", 4), {"name": "DB_PASSWORD", "value": 8241907355}),
    Edit({**in_manifest(*SETTINGS, ("data", "DB_PASSWORD"), "hunter2-in-plain").files, **in_manifest(
        "Deployment", "observer", (*CONTAINER, "env", 4), {"name": "DB_PASSWORD", "value": "8241907355"}).files}),
    in_manifest("StatefulSet", "postgres", (*CONTAINER, "env", 1), {
        "name": "POSTGRES_PASSWORD", "value": "hunter2-in-plain"}),
    Edit({"app/.env.example": edited("app/.env.example", "DB_PASSWORD=  ", "DB_PASSWORD=hunter2-in-plain  ")[0]}),
    Edit({"app/.env.example": edited("app/.env.example", "DB_PASSWORD=  ", "DB_PASSWORD=8241907355  ")[0],
          "app/src/observer/realtime_writer.py": edited(
              "app/src/observer/realtime_writer.py", '"DB_PASSWORD", ""', '"DB_PASSWORD", "hunter2-in-plain"')[0]}),
    Edit({"app/docker/Dockerfile": edited("app/docker/Dockerfile", "    TZ=Asia/Seoul \\\n",
                                          "    TZ=Asia/Seoul \\\n    DB_PASSWORD=hunter2-in-plain \\\n")[0]}),
])
def test_no_value_of_a_secret_is_told(checker: Checker, edit: Edit) -> None:
    found = checker.report(edit).findings
    assert "ENV-09" in codes(found)
    for one in found:
        assert not {"hunter2-in-plain", "8241907355"} & set(re.findall(r"[\w-]+", repr(one)))


@pytest.mark.parametrize(("about", "told"), [
    ("", True), ("data_dir", True), ("OBSERVER_DATA_DIR", True), ("LOG_LEVEL", True), (DATA, True),
    ("quotes_file", False), ("LD_PRELOAD", False),
])
def test_only_what_the_contract_asks_for_is_told_of_as_not_resolved(
    checker: Checker, about: str, told: bool
) -> None:
    doubt = Unchecked(Place("src/paths.py", 4), "depends on the day", about)
    report = check(checker.contract, app=replace(checker.app, unchecked=[doubt]), now=NOW)
    assert codes(report.findings) == (["CHECK-01"] if told else [])
    assert report.status == (4 if told else 0)


def test_what_the_manifests_leave_open_is_told(checker: Checker) -> None:
    doubt = Unchecked(Place("chart/templates/x.yaml", 4), "is a template", "whatever")
    facts = ManifestFacts((), Place("chart"), [doubt])
    assert "CHECK-01" in codes(check(checker.contract, manifests=facts, now=NOW).findings)


def test_an_overlay_without_anything_lacks_everything(checker: Checker) -> None:
    report = check(checker.contract, manifests=ManifestFacts((), Place(kustomization(), 1)), now=NOW)
    assert set(codes(report.findings)) == {"WORK-01", "PORT-04", "VOL-05", "SEC-02", "CHECK-03"}
    assert {one.place for one in report.findings if one.code != "CHECK-03"} == {Place(kustomization(), 1)}


ODD: Sequence[Any] = (None, "text", "", 7, -1, 1.5, True, [], [[]], [None, 3, "x", {}], {}, {"a": {"b": 1}},
                      {"name": None}, {"name": [1]}, [{"name": {"a": 1}}])
"""What stands nowhere in a right manifest."""


def fields(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401
    """Paths of all parts of a value."""
    yield at
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from fields(item, (*at, key))


def test_whatever_stands_in_a_field_is_no_error(checker: Checker) -> None:
    """Nothing of a manifest is what it ought to be: that is a finding or nothing, and never an end."""
    checker.report(Edit())
    right = [dict(item.body) for item in checker.manifests["production"].objects]
    right += [body for text in REFERENCES.values() for body in list(yaml.safe_load_all(text))[6:]]
    for number, body in enumerate(right):
        for path in fields(body):
            # Loaders refuse objects without kind, apiVersion and metadata.
            if path and path[0] not in {"kind", "apiVersion", "metadata"}:
                for value in in_turn(path, ODD):
                    broken = copy.deepcopy(body)
                    put(path, value)(broken)
                    objects = [KubeObject(one, lambda _: Place("all.yaml", 1)) for one in right]
                    objects[number] = KubeObject(broken, lambda _: Place("all.yaml", 1))
                    check(checker.contract, app=checker.app, manifests=ManifestFacts(objects, Place("all.yaml")),
                          now=NOW)
