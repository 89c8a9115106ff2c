"""The findings of seed 001, from the tree that its tables describe, each as it is worded there; and a second app."""

from __future__ import annotations

import datetime
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from contract.app import load_app
from contract.codes import sentence
from contract.dockerfile import load_dockerfile
from contract.engine import check
from contract.facts import AppFacts, ImageFacts, ManifestFacts
from contract.hygiene import check_repository
from contract.manifests import load_manifests
from contract.model import Finding, Kind, Report, Severity
from contract.spec import Contract, load_contract

ROOT = Path(__file__).resolve().parents[2]
TREES = Path(__file__).with_name("contract_trees")
VERIFIED = datetime.datetime(2026, 2, 6, 10, 30, tzinfo=datetime.UTC)
"""When phase 0 was verified: 2026-02-06 19:30 KST."""

OBSERVER = "infra/k8s/base/deployments/observer.yaml"
POSTGRES = "infra/k8s/base/statefulsets/postgres.yaml"
PLAIN = "infra/k8s/base/secrets/observer-prod-plain.yaml"
KUBECONFIG = "infra/k8s/base/secrets/obs-prod.yaml"
GUIDE = "docs/KUBECTL_AND_ARGOCD_SETUP.md"
PERSISTENCE = "docs/PERSISTENCE_AND_HOSTPATH.md"
HAND_MADE = ("DB_USER", "DB_PASSWORD", "KIS_APP_KEY", "KIS_APP_SECRET")
"""The keys of observer-secrets that were there (seed 001 1-2)."""


def secret_manifest(name: str, keys: tuple[str, ...]) -> str:
    """A plain Secret. It is made here and not kept in a file: a checkout of this project shall hold none."""
    lines = "".join(f"  {key}: not-{key.lower().replace('_', '-')}-but-a-test\n" for key in keys)
    return (f"---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  namespace: observer-prod\ntype: Opaque\n"
            f"stringData:\n{lines}")


def kubeconfig() -> str:
    """What K3s writes, with a key that opens nothing."""
    certificate, key = ("LS0tLS1CRUdJTiB" + word * 16 for word in ("bm90IHJlYWwg", "YSB0ZXN0IGtl"))
    return ("---\napiVersion: v1\nkind: Config\nclusters:\n  - name: obs-prod\n    cluster:\n"
            "      server: https://203.0.113.10:6443\nusers:\n  - name: admin\n    user:\n"
            f"      client-certificate-data: {certificate}\n      client-key-data: {key}\n"
            "contexts:\n  - name: obs-prod\n    context: {cluster: obs-prod, user: admin}\n")


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-c", "user.name=operator", "-c", "user.email=operator@example.net", "-c",
                    "commit.gpgsign=false", *words], cwd=folder, check=True, capture_output=True)


@dataclass(frozen=True)
class PhaseZero:
    """What phase 0 looked at: the app, its image's Dockerfile, the rendered overlay, and the deployment's checkout."""

    app: AppFacts
    image: ImageFacts
    manifests: ManifestFacts
    repository: Path
    secret: ManifestFacts
    """observer-secrets as it was made by hand in the cluster."""

    def report(self, contract: Contract, *, hygiene: bool = True, by_hand: bool = False) -> Report:
        """What a check finds; ``by_hand``: with the Secret that was made by hand."""
        manifests = self.manifests
        if by_hand:
            manifests = replace(manifests, objects=(*manifests.objects, *self.secret.objects))
        found, unchecked = check_repository(self.repository, contract) if hygiene else ([], [])
        assert not unchecked
        return check(contract, app=self.app, images=[self.image], manifests=manifests, more=found, now=VERIFIED)


@pytest.fixture(scope="module")
def phase0(tmp_path_factory: pytest.TempPathFactory) -> PhaseZero:
    folder = tmp_path_factory.mktemp("phase0")
    repository = folder / "deployment"
    shutil.copytree(TREES / "phase0/deployment", repository)
    (repository / PLAIN).parent.mkdir()
    (repository / PLAIN).write_text(secret_manifest("observer-secrets", HAND_MADE))
    (repository / KUBECONFIG).write_text(kubeconfig())
    by_hand = folder / "observer-secrets.yaml"
    by_hand.write_text(secret_manifest("observer-secrets", HAND_MADE))
    git(repository, "init", "--quiet")
    # They came in before .gitignore knew of them.
    git(repository, "add", "--force", ".")
    git(repository, "commit", "--quiet", "-m", "Deployment of Observer")
    app = TREES / "phase0/prj_obs"
    return PhaseZero(
        load_app(app), load_dockerfile(app, "docker/Dockerfile"),
        load_manifests(repository / "infra/k8s/overlays/production", root=repository), repository,
        load_manifests(by_hand, root=folder))


@pytest.fixture(scope="module")
def now() -> Contract:
    """The contract of today."""
    return load_contract(ROOT / "contracts/observer.yml", "contracts/observer.yml")


@pytest.fixture(scope="module")
def then() -> Contract:
    """The contract of phase 0."""
    return load_contract(ROOT / "contracts/observer-phase0.yml", "contracts/observer-phase0.yml")


@pytest.fixture(scope="module")
def report(phase0: PhaseZero, now: Contract) -> Report:
    """Phase 0 as its repositories were, by the contract of today."""
    return phase0.report(now)


@pytest.fixture(scope="module")
def report_then(phase0: PhaseZero, then: Contract) -> Report:
    return phase0.report(then)


def of(report: Report, code: str) -> list[Finding]:
    return [one for one in report.findings if one.code == code]


def korean(finding: Finding) -> str:
    return " ".join(sentence(finding, part, "ko") for part in ("title", "message", "remedy"))


def english(finding: Finding) -> str:
    return " ".join(sentence(finding, part, "en") for part in ("title", "message", "remedy"))


def places(finding: Finding, role: str) -> set[str]:
    return {str(one.place) for one in finding.related if one.role == role}


# --- CF-1 -------------------------------------------------------------------------------------------


def test_cf1_the_name_of_the_secret(report: Report, now: Contract) -> None:
    found = next(one for one in of(report, "SEC-02") if one.expected == "observer-secrets")
    assert (found.severity, found.kind) == (Severity.CRITICAL, Kind.VIOLATION)
    assert now.layers[found.layer].repository == "deployment"
    # "observer.yaml:52-53", "postgres.yaml:56-57"
    assert places(found, "consumed here") == {f"{OBSERVER}:53", f"{POSTGRES}:57"}
    for number, lines in ((52, OBSERVER), (56, POSTGRES)):
        text = (TREES / "phase0/deployment" / lines).read_text().splitlines()
        assert "secretRef:" in text[number - 1] and "name: observer-secrets" in text[number]
    words = korean(found)
    assert "SealedSecret → Secret 이름 불일치" in words and "CF-1" in words
    for name in ("obs-db-secret", "obs-kis-secret", "obs-kiwoom-secret", "observer-secrets"):
        assert name in words and name in english(found)
    assert "생성" in words and "참조" in words


def test_cf1_the_three_that_no_workload_takes(report: Report) -> None:
    found = of(report, "SEC-10")
    assert [one.actual for one in found] == ["obs-db-secret", "obs-kis-secret", "obs-kiwoom-secret"]
    for one in found:
        assert (one.severity, one.kind) == (Severity.LOW, Kind.DRIFT)
        name = one.actual.removesuffix("-secret")
        assert one.place and one.place.file == f"infra/k8s/base/sealed-secrets/{name}-sealed-secret.yaml"
        assert "참조하는 워크로드가 없다" in korean(one)  # "워크로드에서 미참조"


def test_cf1_breaks_the_third_contract_alone(report_then: Report) -> None:
    assert [one["holds"] for one in report_then.facts["fixed"]] == [True, True, False, True]


def test_the_secret_by_hand_makes_all_four_hold(phase0: PhaseZero, then: Contract) -> None:
    """"[x] 존재 확인 완료 (수동 생성, 4 keys)": what the cluster had."""
    report = phase0.report(then, hygiene=False, by_hand=True)
    assert [one["holds"] for one in report.facts["fixed"]] == [True] * 4
    assert not of(report, "SEC-02") or all(one.waiver for one in of(report, "SEC-02"))
    assert not of(report, "SEC-03")


# --- CF-2 and the keys that were not there ----------------------------------------------------------


def test_missing_keys(phase0: PhaseZero, now: Contract) -> None:
    """"미존재: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, KIS_HTS_ID"."""
    report = phase0.report(now, hygiene=False, by_hand=True)
    found = of(report, "SEC-03")
    assert {one.expected for one in found} == {"POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB", "KIS_HTS_ID"}
    for one in found:
        assert (one.severity, one.kind, one.clause) == (Severity.HIGH, Kind.VIOLATION, "secrets.observer-secrets")
        assert "observer-prod/observer-secrets" in one.subject
        assert "키 누락" in korean(one) and one.expected in korean(one) and one.expected in english(one)
    # PGHOST and its like were not there either, and nobody needs them.
    assert not any("PG" in one.expected.replace("POSTGRES", "") for one in found)


def test_cf2_the_guide(report: Report) -> None:
    """"수동 생성 가이드에 KIS_APP_KEY, KIS_APP_SECRET, KIS_HTS_ID 누락"."""
    guide, = of(report, "REPO-07")
    assert guide.severity is Severity.HIGH and guide.place and guide.place.file == GUIDE
    assert "수동 생성 가이드에 KIS_APP_KEY, KIS_APP_SECRET, KIS_HTS_ID 누락" in korean(guide)
    assert "CF-2" in korean(guide)


def test_cf2_a_secret_made_by_the_guide(phase0: PhaseZero, now: Contract, tmp_path: Path) -> None:
    """"수동 생성 가이드에 KIS_APP_KEY, KIS_APP_SECRET, KIS_HTS_ID 누락"."""
    guide = (TREES / "phase0/deployment/docs/KUBECTL_AND_ARGOCD_SETUP.md").read_text()
    keys = tuple(re.findall(r"--from-literal=(\w+)=", guide))
    path = tmp_path / "observer-secrets.yaml"
    path.write_text(secret_manifest("observer-secrets", keys))
    made = load_manifests(path, root=tmp_path)
    manifests = replace(phase0.manifests, objects=(*phase0.manifests.objects, *made.objects))
    report = check(now, manifests=manifests, now=VERIFIED)
    assert {one.expected for one in of(report, "SEC-03")} == {"KIS_APP_KEY", "KIS_APP_SECRET", "KIS_HTS_ID"}
    assert all("CF-2" in korean(one) and one.severity is Severity.HIGH for one in of(report, "SEC-03"))


# --- CF-3 -------------------------------------------------------------------------------------------


def test_cf3_plain_secrets_in_git(report: Report, now: Contract) -> None:
    plain, = of(report, "REPO-01")
    config, = of(report, "REPO-02")
    assert plain.place and plain.place.file == PLAIN and config.place and config.place.file == KUBECONFIG
    for one in (plain, config):
        assert (one.severity, one.kind) == (Severity.HIGH, Kind.VIOLATION)
        assert now.layers[one.layer].repository == "deployment"
        assert "Git에 커밋됨" in korean(one) and "CF-3" in korean(one) and "git rm --cached" in english(one)
    assert "평문 Secret" in korean(plain) and "kubeconfig" in korean(config)
    for key in ("KIS_APP_KEY", "KIS_APP_SECRET", "DB_PASSWORD"):  # 1-4
        assert key in korean(plain)


def test_cf3_no_value_of_a_secret_is_in_a_report(report: Report) -> None:
    shown = " ".join([str(report), *map(korean, report.findings), *map(english, report.findings)])
    assert "but-a-test" not in shown and "bm90IHJlYWwg" not in shown and "YSB0ZXN0IGtl" not in shown


def test_cf3_history_keeps_what_was_taken_out(phase0: PhaseZero, now: Contract, tmp_path: Path) -> None:
    """"Git 히스토리에 이미 커밋된 평문 Secret/kubeconfig는 .gitignore로 제거되지 않음"."""
    copy = tmp_path / "deployment"
    shutil.copytree(phase0.repository, copy)
    git(copy, "rm", "--quiet", "--cached", PLAIN, KUBECONFIG)
    git(copy, "commit", "--quiet", "-m", "No longer tracked")
    found, _ = check_repository(copy, now)
    codes = {one.code for one in found}
    assert not codes & {"REPO-01", "REPO-02"}
    kept = [one for one in found if one.code == "REPO-03"]
    assert {one.place.file for one in kept if one.place} == {PLAIN, KUBECONFIG}
    assert all("히스토리" in sentence(one, "message", "ko") + sentence(one, "title", "ko") for one in kept)


# --- CF-4 -------------------------------------------------------------------------------------------


def test_cf4_a_folder_of_the_node_is_waived(report: Report, report_then: Report) -> None:
    for one in (report, report_then):
        found, = of(one, "VOL-10")
        assert (found.severity, found.kind, found.actual) == (
            Severity.MEDIUM, Kind.VIOLATION, "/opt/platform/runtime/observer/config")
        assert found.place and found.place.file == OBSERVER
        assert "PVC가 아닌 hostPath" in korean(found) and "DirectoryOrCreate" in korean(found)
        assert "observer-config" in korean(found) and "CF-4" in korean(found)
        assert found.waiver and found.waiver.owner and "CF-4" in found.waiver.reason


# --- CF-5 -------------------------------------------------------------------------------------------


def test_cf5_mkdir_is_no_violation(report: Report, now: Contract) -> None:
    found = of(report, "PERM-05")
    assert {one.place.file for one in found if one.place} == {
        "src/observer/paths.py", "src/observer/deployment_paths.py"}
    for one in found:
        assert (one.severity, one.kind) == (Severity.LOW, Kind.DRIFT)
        assert now.layers[one.layer].repository == "prj_obs"
        assert "mkdir" in one.actual
        for words in ("\"앱: mkdir 금지\" 원칙과 불일치하나", "readOnlyRootFilesystem 환경에서 try/except로", "무력화",
                      "실행 계약 위반은 아님", "CF-5"):
            assert words in korean(one)
        line = (TREES / "phase0/prj_obs" / one.place.file).read_text().splitlines()[one.place.line - 1] \
            if one.place else ""
        assert ".mkdir(" in line
    assert not of(report, "PERM-04")


# --- CF-6 -------------------------------------------------------------------------------------------


def test_cf6_a_document_names_another_path(report: Report, now: Contract) -> None:
    found = [one for one in of(report, "REPO-04") if one.place and one.place.file == PERSISTENCE]
    outdated = [one for one in found if one.actual == "/app/logs"]
    assert outdated and outdated[0].place and outdated[0].place.line == 3
    for one in outdated:
        assert (one.severity, one.kind) == (Severity.MEDIUM, Kind.VIOLATION)
        assert now.layers[one.layer].repository == "deployment"
        assert "불일치" in korean(one) and "/app/logs" in korean(one) and "CF-6" in korean(one)
        assert "/opt/platform/runtime/observer" in korean(one) and "/app/logs" in english(one)


def test_cf6_is_all_that_its_own_contract_finds_in_the_documents(report_then: Report) -> None:
    assert {one.actual for one in of(report_then, "REPO-04")} == {"/app/logs"}


# --- CF-7 -------------------------------------------------------------------------------------------


def test_cf7_two_replicas_on_one_node(report: Report, report_then: Report) -> None:
    for one in (report, report_then):
        found, = of(one, "VOL-11")
        assert (found.severity, found.actual) == (Severity.LOW, "2")
        assert str(found.place) == "infra/k8s/overlays/production/patches/observer.yaml:7"
        assert "RWO PVC" in korean(found) and "2 replicas 조합이 암묵적으로 단일 노드를 전제" in korean(found)
        assert "CF-7" in korean(found) and "2 replicas" in english(found) and "one node" in english(found)
        assert {place.partition(":")[0] for place in places(found, "shared")} == {
            f"infra/k8s/base/pvc/observer-{name}-pvc.yaml" for name in ("data", "logs", "universe")}


# --- the whole --------------------------------------------------------------------------------------


def test_phase0_by_its_own_contract_has_what_the_report_lists_and_nothing_else(report_then: Report) -> None:
    open_findings = {(one.code, one.place.file if one.place else "") for one in report_then.findings if not one.waiver}
    assert open_findings == {
        ("SEC-02", OBSERVER),  # CF-1
        ("REPO-07", GUIDE),  # CF-2
        ("REPO-01", PLAIN), ("REPO-02", KUBECONFIG),  # CF-3
        ("PERM-05", "src/observer/paths.py"), ("PERM-05", "src/observer/deployment_paths.py"),  # CF-5
        ("REPO-04", PERSISTENCE),  # CF-6
        ("VOL-11", "infra/k8s/overlays/production/patches/observer.yaml"),  # CF-7
    }
    assert sorted(one.code for one in report_then.findings if one.waiver) == ["SEC-02", "VOL-10", "VOL-12"]


def test_the_seven_paths_and_the_database_agree(report_then: Report) -> None:
    """Seed 001 3-1: "3계층 간 경로 계약 일치 확인됨", and the address of the database."""
    clauses = {clause.name: clause for clause in report_then.clauses}
    for name in ("data", "logs", "config", "universe", "system_log", "maintenance_log", "token_cache"):
        assert not clauses[f"paths.{name}"].findings
    for name in ("environment.DB_HOST", "environment.DB_PORT", "ports.postgres"):
        assert not clauses[name].findings


def test_what_changed_since_phase_0_is_told_too(report: Report) -> None:
    """The priorities of phase 1 (seed 001, end) are what today's contract asks for."""
    probe = next(one for one in of(report, "PORT-07") if "readiness" in one.clause)
    assert (probe.expected, probe.actual) == ("GET :8000/ready", "GET :8000/health")
    settings = {(one.values["field"], one.expected, one.actual) for one in of(report, "WORK-03")
                if "Deployment" in one.subject}
    assert {("replicas", "1", "2"), ("strategy", "Recreate", "RollingUpdate")} <= settings
    assert report.status == 1


def test_nothing_could_not_be_checked(report: Report, report_then: Report) -> None:
    for one in (report, report_then):
        assert not [finding for finding in one.findings if finding.kind is Kind.UNCHECKED]


# --- a second app -----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["live", "paper"])
def qts(request: pytest.FixtureRequest) -> Iterator[tuple[ManifestFacts, str]]:
    root = TREES / "qts/manifests"
    yield load_manifests(root / "overlays" / request.param, root=root), request.param


def test_the_second_app_is_clean(qts: tuple[ManifestFacts, str]) -> None:
    app = TREES / "qts/app"
    report = check(load_contract(ROOT / "contracts/qts.yml"), app=load_app(app), manifests=qts[0],
                   images=[load_dockerfile(app, "Containerfile")], now=VERIFIED)
    assert [(one.code, str(one.place), english(one)) for one in report.findings] == []
    assert report.status == 0 and len(report.clauses) > 50


BREAKS: dict[str, tuple[str, str, str, str, str]] = {
    # The file, what stands there, what is put there instead; the finding and its layer.
    "a path of the app": ("app/src/qts/places.py", 'STATE / "ledger"', 'STATE / "books"', "PATH-01", "app"),
    "a mkdir": ("app/src/qts/ops.py", "    app = web.Application()",
                "    places.audit().mkdir(); app = web.Application()", "PERM-04", "app"),
    "the port of the app": ("app/src/qts/settings.py", "OPS_PORT = 9400", "OPS_PORT = 9401", "PORT-01", "app"),
    "an endpoint": ("app/src/qts/ops.py", '"/readyz"', '"/ready"', "PORT-09", "app"),
    "an undeclared variable": ("app/src/qts/__main__.py", "    serve()",
                               '    import os; os.environ["QTS_VERBOSE"]; serve()', "ENV-05", "app"),
    "a secret in the example": ("app/config/.env.example", "BROKER_ACCOUNT=", "BROKER_ACCOUNT=12345678-01", "ENV-09",
                                "app"),
    "the user of the image": ("app/Containerfile", "USER trader:quant", "USER root", "PERM-02", "image"),
    "an owner in the image": ("app/Containerfile", "chown -R trader:quant", "chown -R 10002:10010", "PERM-03", "image"),
    "a path of the image": ("app/Containerfile", "QTS_AUDIT /srv/qts/audit", "QTS_AUDIT /srv/audit", "PATH-04",
                            "image"),
    "an operating value": ("manifests/base/settings.env", "QTS_LEDGER=/srv/qts/ledger", "QTS_LEDGER=/srv/ledger",
                           "PATH-06", "config"),
    "a value that is not allowed": ("manifests/overlays/live/kustomization.yaml", "QTS_MODE=live", "QTS_MODE=real",
                                    "ENV-02", "config"),
    "the namespace of a seal": ("manifests/overlays/live/sealed/secrets.yaml", "{name: qts-store, namespace: qts-live}",
                                "{name: qts-store, namespace: qts-paper}", "SEC-08", "config"),
    "a key that nobody knows": ("manifests/overlays/live/sealed/secrets.yaml", "    tls.crt:", "    ca.crt:", "SEC-09",
                                "config"),
    "two that trade": ("manifests/base/trader.yaml", "replicas: 1", "replicas: 2", "WORK-03", "deployment"),
    "a mount that can be written": ("manifests/base/trader.yaml", "mountPath: /etc/qts/tls, readOnly: true",
                                    "mountPath: /etc/qts/tls", "VOL-04", "deployment"),
    "the size of a claim template": ("manifests/base/trader.yaml", "storage: 50Gi", "storage: 5Gi", "VOL-06",
                                     "deployment"),
    "the tag": ("manifests/overlays/live/kustomization.yaml", "newTag: r2026.02.3", "newTag: dev-0a1b2c3d", "IMG-02",
                "deployment"),
    "the node": ("manifests/overlays/live/kustomization.yaml", "kubernetes.io/hostname: trade-1",
                 "kubernetes.io/hostname: trade-2", "WORK-06", "deployment"),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> list[Finding]:
    """What is found once everything in BREAKS is broken at once; each edit stays within its line. Each place is looked
    at by itself: together they would be told of once only, at the layer that wins."""
    root = tmp_path_factory.mktemp("broken") / "qts"
    shutil.copytree(TREES / "qts", root)
    for file, old, new, _, _ in BREAKS.values():
        text = (root / file).read_text()
        assert old in text, (file, old)
        (root / file).write_text(text.replace(old, new, 1))
    contract = load_contract(ROOT / "contracts/qts.yml")
    manifests = load_manifests(root / "manifests/overlays/live", root=root / "manifests")
    reports = [check(contract, app=load_app(root / "app"), now=VERIFIED),
               check(contract, manifests=manifests, now=VERIFIED),
               check(contract, images=[load_dockerfile(root / "app", "Containerfile")], now=VERIFIED)]
    return [one for report in reports for one in report.findings]


@pytest.mark.parametrize("case", BREAKS)
def test_the_second_app_can_be_broken(case: str, broken: list[Finding]) -> None:
    """A check that finds nothing has to be able to find something."""
    file, old, _, code, layer = BREAKS[case]
    # Of a port that a constant has, the line that falls back to it is named.
    old = 'os.getenv("QTS_OPS_PORT")' if case == "the port of the app" else old
    text = (TREES / "qts" / file).read_text()
    inner, line = file.partition("/")[2], text[: text.index(old)].count("\n") + 1
    found = [(one.layer.value, str(one.place)) for one in broken if one.code == code]
    assert (layer, f"{inner}:{line}") in found


def test_the_engine_knows_no_app() -> None:
    """No name of a contract stands in the engine."""
    names = set()
    for path in (ROOT / "contracts").glob("*.yml"):
        contract = load_contract(path)
        names |= {*contract.secrets, *contract.config_maps, *(one.path for one in contract.paths.values()),
                  *(one.variable for one in contract.paths.values()), *contract.resources, *(
                      environment.namespace for environment in contract.environments.values())}
    # `tmp` and `run` are words of everybody.
    named = re.compile("|".join(re.escape(name) for name in sorted(names) if re.search(r"[-_/]", name)))
    for path in (ROOT / "module_utils/contract").rglob("*.py"):
        code = re.sub(r'"""[\s\S]*?"""|#.*', "", path.read_text())
        assert not named.search(code), path
