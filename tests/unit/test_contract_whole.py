"""What only shows on whole manifests: secrets that no report repeats, and objects that the contract does not name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from test_contract_ways import ROOT, sealed

from contract.model import ContractError, Finding, Report
from contract.report import render
from contract.run import Request, run

SECRET = "hunter2secret"
FORMATS = ("text", "markdown", "html", "junit", "sarif", "github", "json")
DEPLOYMENT = "base/deployments/observer.yaml"
Check = Callable[..., Report]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Check production's overlay after edits: by file what is replaced by what, and manifests that are applied too."""
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    sealed(tmp_path / "beside")

    def checked(edits: dict[str, tuple[str, str]], beside: dict[str, str] | None = None) -> Report:
        for name, (old, new) in edits.items():
            path = tmp_path / "manifests" / name
            assert old in path.read_text(), old
            path.write_text(path.read_text().replace(old, new))
        for name, text in (beside or {}).items():
            (tmp_path / "beside" / name).write_text(text)
        return run(Request(contract=ROOT / "contracts/observer.yml", root=tmp_path, extra=[tmp_path / "beside"],
                           manifests=tmp_path / "manifests/overlays/production"))

    return checked


def codes(report: Report) -> set[str]:
    return {one.code for one in report.findings if not one.waiver}


def one(report: Report, code: str) -> Finding:
    return next(found for found in report.findings if found.code == code)


ENV = "            - {name: TZ, value: Asia/Seoul}\n"


@pytest.mark.parametrize("edits", [
    {DEPLOYMENT: (ENV, f'{ENV}            - {{name: DB_PASSWORD, value: {SECRET}}}\n'
                       '            - {name: LOG_LEVEL, value: "x$(DB_PASSWORD)"}\n')},
    {DEPLOYMENT: (ENV, f"{ENV}            - {{name: PGPASSWORD, value: other-{SECRET}}}\n"),
     "base/configmaps/observer-config.yaml": ("  LOG_LEVEL: INFO\n", f"  LOG_LEVEL: INFO\n  PGPASSWORD: {SECRET}\n")},
    {"base/configmaps/observer-config.yaml": ("DB_HOST: postgres", f"DB_HOST: postgres://user:{SECRET}@postgres")},
])
def test_no_rendering_repeats_a_secret(check: Check, edits: dict[str, tuple[str, str]]) -> None:
    report = check(edits)
    assert codes(report)
    for kind in FORMATS:
        assert SECRET not in render(report, kind, "en"), kind
    assert "***" in json.dumps([(found.expected, found.actual) for found in report.findings])


@pytest.mark.parametrize(("place", "added"), [
    ("labels:\n", f"secretGenerator:\n  - {{name: s, literals: [{SECRET}]}}\nlabels:\n"),
    ("patches:\n", f"patches:\n  - target: {{kind: Secret}}\n    patch: |-\n      stringData: {{A: {SECRET}}}\n"
                   "      kind: Secret\n"),
])
def test_what_a_program_complains_of_is_not_repeated(check: Check, place: str, added: str) -> None:
    with pytest.raises(ContractError) as caught:
        check({"overlays/production/kustomization.yaml": (place, added)})
    assert SECRET not in str(caught.value) + caught.value.remedy
    assert "kustomization.yaml" in str(caught.value)


def test_a_plain_value_in_the_template_of_a_seal(check: Check, tmp_path: Path) -> None:
    seal = (tmp_path / "beside/observer-secrets.yaml")
    text = seal.read_text().replace("    DB_PASSWORD: AgBy\n", "")
    assert "DB_PASSWORD" not in text
    plain = text.replace("  template:\n", f"  template:\n    data:\n      DB_PASSWORD: {SECRET}\n")
    found = one(check({}, {seal.name: plain}), "SEC-06")
    assert found.place and found.place.line == 1 + plain.splitlines().index(f"      DB_PASSWORD: {SECRET}")
    put_together = text.replace("  template:\n", '  template:\n    data:\n      DB_PASSWORD: "{{ .DB_USER }}"\n')
    assert codes(check({}, {seal.name: put_together})) == set()


@pytest.mark.parametrize("name", ["a.yaml", "z.yaml"])
def test_a_plain_secret_beside_its_seal(check: Check, name: str) -> None:
    report = check({}, {name: "apiVersion: v1\nkind: Secret\nmetadata: {name: observer-secrets, namespace: "
                              f"observer-prod}}\nstringData: {{DB_PASSWORD: {SECRET}}}\n"})
    assert codes(report) == {"SEC-06"}
    assert one(report, "SEC-06").place and str(one(report, "SEC-06").place).startswith(f"beside/{name}")


OTHER = """apiVersion: apps/v1
kind: {kind}
metadata: {{name: other, namespace: observer-prod}}
spec:
  replicas: 1
  strategy: {{type: Recreate}}
  selector: {{matchLabels: {{app: other}}}}
  template:
    metadata: {{labels: {{app: other}}}}
    spec:
      containers: [{{name: main, image: "{image}", volumeMounts: [{{name: v, mountPath: /v}}]}}]
      volumes: [{{name: v, {volume}}}]
"""


@pytest.mark.parametrize(("edits", "beside", "code", "file"), [
    ({DEPLOYMENT: ("      containers:\n", "      initContainers:\n")}, "", "WORK-02", DEPLOYMENT),
    ({DEPLOYMENT: ("        - name: observer-config\n          hostPath", "        - name: extra\n          secret: "
                   "{secretName: observer-secrets, items: [{key: NOPE, path: a}]}\n        - name: observer-config\n"
                   "          hostPath")}, "", "REF-02", DEPLOYMENT),
    ({DEPLOYMENT: ("    matchLabels: {app: observer}\n  template",
                   "    matchExpressions: [{key: app, operator: In, values: [other]}]\n  template")}, "", "REF-06",
     DEPLOYMENT),
    ({}, OTHER.format(kind="Deployment", image="a:1", volume="persistentVolumeClaim: {claimName: observer-data-pvc}"),
     "VOL-14", "beside/other.yaml"),
    ({}, OTHER.format(kind="Deployment", image="ghcr.io/tawbury/observer:latest", volume="emptyDir: {}"), "IMG-03",
     "beside/other.yaml"),
    ({}, OTHER.format(kind="Deployment", image="busybox", volume="emptyDir: {}"), "IMG-03", "beside/other.yaml"),
    ({}, "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: o, namespace: observer-prod}\n"
         "spec: {scaleTargetRef: {kind: Deployment, name: observer}, maxReplicas: 5}\n", "VOL-11",
     "beside/other.yaml"),
    ({DEPLOYMENT: ("      containers:\n", "      containers:\n        - {name: side, image: 'a:1', ports: "
                   "[{name: http, containerPort: 9999}]}\n")}, "", "PORT-06", "base/services/observer-svc.yaml"),
    ({DEPLOYMENT: ("      containers:\n", "      initContainers: [{name: side, image: 'a:1', volumeMounts: [{name: "
                   "observer-data, mountPath: /x}]}]\n      containers:\n")}, "", "VOL-03", DEPLOYMENT),
])
def test_what_the_contract_does_not_name_is_looked_at(
    check: Check, edits: dict[str, tuple[str, str]], beside: str, code: str, file: str
) -> None:
    report = check(edits, {"other.yaml": beside} if beside else {})
    assert code in codes(report)
    assert any(found.code == code and found.place and found.place.file.endswith(file) for found in report.findings)


def test_a_claim_template_wins_over_the_claim_of_its_name(check: Check) -> None:
    report = check({"base/statefulsets/postgres.yaml": (
        "        - name: postgres-data\n          persistentVolumeClaim: {claimName: observer-db-pvc}\n", ""),
        "base/kustomization.yaml": ("  - statefulsets/postgres.yaml\n", "  - statefulsets/postgres.yaml\n")}, {})
    assert "REF-05" in codes(report)
    report = check({"base/statefulsets/postgres.yaml": (
        "  serviceName: postgres-headless\n", "  serviceName: postgres-headless\n  volumeClaimTemplates:\n"
        "    - metadata: {name: observer-db-pvc}\n      spec: {accessModes: [ReadWriteOnce], resources: {requests: "
        "{storage: 1Gi}}}\n")})
    found = one(report, "VOL-06")
    assert found.actual == "1Gi" and found.place and found.place.file.endswith("statefulsets/postgres.yaml")


@pytest.mark.parametrize("hook", ["exec: {command: [sleep, '5']}", "exec: {command: [sh, -c, sleep 5]}"])
def test_a_pause_by_a_program_is_a_pause(check: Check, hook: str) -> None:
    assert codes(check({DEPLOYMENT: ("preStop: {sleep: {seconds: 5}}", f"preStop: {{{hook}}}")})) == set()


def test_what_belongs_to_manifests_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="no manifests"):
        run(Request(contract=ROOT / "contracts/observer.yml", app=ROOT / "testbed/observer", extra=[tmp_path]))
