"""The ways in to the engine: the command, the pytest plugin of the installed package, and the modules."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
APP = ROOT / "testbed" / "observer"
KEYS = {
    "observer-secrets": ["DB_USER", "DB_PASSWORD", "KIS_APP_KEY", "KIS_APP_SECRET", "KIS_HTS_ID", "POSTGRES_USER",
                         "POSTGRES_PASSWORD", "POSTGRES_DB"],
    "ghcr-secret": [".dockerconfigjson"],
}


def sealed(folder: Path) -> Path:
    """A folder of SealedSecrets as playbooks/secrets.yml writes them for production, of nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, keys in KEYS.items():
        metadata = {"name": name, "namespace": "observer-prod"}
        kind = "kubernetes.io/dockerconfigjson" if name == "ghcr-secret" else "Opaque"
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({
            "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": metadata,
            "spec": {"encryptedData": dict.fromkeys(keys, "AgBy"), "template": {"metadata": metadata, "type": kind}}}))
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of the app and the manifests that tests may break."""
    folder = tmp_path_factory.mktemp("ways")
    shutil.copytree(APP, folder / "app", ignore=shutil.ignore_patterns(".*_cache", "__pycache__"))
    shutil.copytree(ROOT / "manifests", folder / "manifests")
    shutil.copytree(ROOT / "contracts", folder / "contracts")
    sealed(folder / "sealed")
    return folder


def command(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "contract", *map(str, arguments)], cwd=folder, text=True, check=False,
                          capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT / "module_utils")})


def check(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return command(folder, "check", "--contract", "contracts/observer.yml", *arguments)


MANIFESTS = ("--manifests", "manifests/overlays/production", "--with", "sealed")


def test_our_own_app_and_manifests_are_clean(place: Path) -> None:
    done = check(place, "--app", "app", *MANIFESTS, "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert [(one["code"], bool(one["waiver"])) for one in report["findings"]] == [("VOL-10", True)]


@pytest.mark.parametrize(("overlay", "namespace"), [("staging", "observer-staging"), ("local", "observer-local")])
def test_the_other_overlays_are_clean(place: Path, tmp_path: Path, overlay: str, namespace: str) -> None:
    folder = sealed(tmp_path / "sealed")
    for path in folder.iterdir():
        path.write_text(path.read_text().replace("observer-prod", namespace))
    done = check(place, "--manifests", f"manifests/overlays/{overlay}", "--with", folder)
    assert done.returncode == 0, done.stdout


def test_exit_statuses(place: Path, tmp_path: Path) -> None:
    broken = tmp_path / "manifests"
    shutil.copytree(place / "manifests", broken)
    overlay = ("--manifests", broken / "overlays/production", "--with", "sealed")
    config = broken / "base/configmaps/observer-config.yaml"
    right = config.read_text()
    config.write_text(right + '  NOBODY_KNOWS: "1"\n')
    assert check(place, *overlay).returncode == 3  # drift
    config.write_text(right.replace("DB_HOST: postgres", "DB_HOST: postgresql"))
    done = check(place, *overlay)
    assert done.returncode == 1
    line = 1 + next(number for number, text in enumerate(right.splitlines()) if "DB_HOST: postgres" in text)
    assert f"configmaps/observer-config.yaml:{line}" in done.stdout
    config.write_text("a: [\n")
    done = check(place, *overlay)
    assert done.returncode == 2
    assert "observer-config.yaml" in done.stderr and done.stderr.startswith("error: ") and done.stdout == ""
    source = tmp_path / "app"
    shutil.copytree(place / "app", source)
    paths = source / "src/observer/paths.py"
    paths.write_text(paths.read_text().replace('os.environ.get("OBSERVER_DATA_DIR")', "os.environ.get(str(object()))"))
    assert check(place, "--app", source).returncode in (1, 4)
    assert check(place).returncode == 2
    assert check(place, "--app", "app", "--output", "text").returncode == 2


def test_places_are_named_from_a_common_root(place: Path, tmp_path: Path) -> None:
    """So that annotations of one repository with everything in it land on their lines."""
    app = tmp_path / "services" / "app"
    shutil.copytree(place / "app", app)
    dockerfile = app / "docker/Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("EXPOSE 8000", "EXPOSE 9000"))
    done = check(place, "--app", app, "--root", tmp_path, "--format", "github")
    line = 1 + next(number for number, text in enumerate(dockerfile.read_text().splitlines()) if "EXPOSE" in text)
    assert f"file=services/app/docker/Dockerfile,line={line}" in done.stdout, done.stdout


def test_a_report_can_be_rendered_again(place: Path, tmp_path: Path) -> None:
    outputs = {kind: tmp_path / f"report.{kind}" for kind in ("json", "html", "markdown", "junit", "sarif", "github")}
    wanted = [part for kind, path in outputs.items() for part in ("--output", f"{kind}={path}")]
    done = check(place, *MANIFESTS, *wanted)
    assert done.returncode == 0, done.stderr
    for kind, path in outputs.items():
        assert path.stat().st_size > 0 or kind == "github"
    again = command(tmp_path, "render", outputs["json"], "--format", "html")
    assert again.returncode == 0 and again.stdout.strip() == outputs["html"].read_text().strip()
    korean = command(tmp_path, "render", outputs["json"], "--language", "ko")
    assert "계약" in korean.stdout
    assert command(tmp_path, "render", outputs["html"]).returncode == 2


# --- the installed package ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built and installed as another repository would."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    shutil.copytree(ROOT / "module_utils", source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    tools = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "observer-node", "tools")
    uv = max(tools.glob("uv-*/bin/uv"))
    subprocess.run([uv, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target",
                    folder / "site", source], check=True)
    return folder / "site"


def run_pytest(app: Path, installed: Path, settings: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (app / "pytest.ini").write_text(f"[pytest]\ntestpaths = own\n{settings}")
    (app / "own").mkdir(exist_ok=True)
    (app / "own" / "test_own.py").write_text("def test_own(): pass\n")
    return subprocess.run([sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *arguments], cwd=app,
                          text=True, capture_output=True, check=False, env={**os.environ, "PYTHONPATH": str(installed)})


def test_the_plugin_fails_with_the_line_to_mend(place: Path, installed: Path, tmp_path: Path) -> None:
    app = tmp_path / "app"
    shutil.copytree(place / "app", app)
    settings = f"contract_file = {place}/contracts/observer.yml\ncontract_app = .\n"
    done = run_pytest(app, installed, settings)
    assert done.returncode == 0, done.stdout
    source = app / "src/observer/paths.py"
    right = source.read_text()
    source.write_text(right.replace('runtime_root() / "data"', 'runtime_root() / "date"'))
    line = 1 + next(number for number, text in enumerate(right.splitlines()) if 'runtime_root() / "data"' in text)
    done = run_pytest(app, installed, settings)
    assert done.returncode == 1
    assert "PATH-01" in done.stdout and "paths.data" in done.stdout
    assert f"src/observer/paths.py:{line}" in done.stdout
    assert "Traceback" not in done.stdout
    done = run_pytest(app, installed, settings + "contract_language = ko\n")
    assert "기본값" in done.stdout


def test_the_plugin_shows_waivers_and_says_what_cannot_be_read(place: Path, installed: Path, tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    settings = (f"contract_file = {place}/contracts/observer.yml\ncontract_manifests = {place}/manifests/overlays/"
                f"production\ncontract_with = {place}/sealed\n")
    done = run_pytest(app, installed, settings)
    assert done.returncode == 0 and "VOL-10 waived by operator" in done.stdout, done.stdout
    done = run_pytest(app, installed, "contract_file = none.yml\ncontract_app = .\n")
    assert done.returncode == 1 and "none.yml is not there" in done.stdout
    assert run_pytest(app, installed, "").returncode == 0


# --- the modules ----------------------------------------------------------------------------------


def play(folder: Path, tasks: list[dict[str, Any]], *arguments: str) -> list[dict[str, Any]]:
    """Results of the tasks."""
    (folder / "play.yml").write_text(yaml.safe_dump([{
        "hosts": "localhost", "connection": "local", "gather_facts": False,
        "tasks": [{"ignore_errors": True, **task} for task in tasks]}]))
    done = subprocess.run([BIN / "ansible-playbook", "play.yml", *arguments], cwd=folder, text=True, check=False,
                          capture_output=True, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                                                    "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"})
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    return [task["hosts"]["localhost"] for task in json.loads(done.stdout)["plays"][0]["tasks"]]


@pytest.mark.parametrize("mode", [[], ["--check"]])
def test_modules(place: Path, tmp_path: Path, mode: list[str]) -> None:
    contract = str(ROOT / "contracts/observer.yml")
    manifests = {"contract": contract, "path": str(ROOT / "manifests/overlays/production")}
    app, fine, broken, unreadable, shown = play(tmp_path, [
        {"contract_app": {"contract": contract, "path": str(place / "app")}},
        {"contract_manifests": {**manifests, "beside": [str(place / "sealed")]}, "register": "fine"},
        {"contract_manifests": manifests},
        {"contract_image": {"contract": contract, "path": str(tmp_path / "none.tar")}},
        {"ansible.builtin.debug": {"msg": "{{ fine.report | contract_render('markdown', 'ko') }}"}},
    ], *mode)
    assert not app.get("failed") and app["status"] == 0 and not app["changed"]
    assert not fine.get("failed") and not fine["changed"] and fine["clauses"] > 60
    assert [one["code"] for one in fine["findings"]] == ["VOL-10"]
    assert broken["failed"] and not broken["changed"] and "SEC-02" in broken["msg"] and broken["remedy"]
    assert {one["code"] for one in broken["findings"] if not one["waiver"]} == {"SEC-02"}
    assert unreadable["failed"] and "none.tar" in unreadable["msg"] and unreadable["remedy"]
    assert "계약" in shown["msg"]


def test_waivers_expire_by_the_clock_that_is_given() -> None:
    from contract.run import Request, run

    request = Request(contract=ROOT / "contracts/observer.yml", manifests=ROOT / "manifests/overlays/production")
    later = run(request, datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC))
    assert "CHECK-02" in {one.code for one in later.findings}
