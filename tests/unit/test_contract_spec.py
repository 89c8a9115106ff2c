"""Contracts and their schema: what is broken is named by its line, and the three contracts hold (issue 5)."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from contract.codes import CODES
from contract.documents import load_documents
from contract.model import SEVERITIES, ContractError, Kind, Layer
from contract.spec import ITEMS, Contract, load_contract

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = ROOT / "contracts"
SCHEMA = CONTRACTS / "contract.schema.json"
RIGHT = (CONTRACTS / "observer.yml").read_text(encoding="utf-8")
NAMES = ("observer", "observer-phase0", "qts")


def refusal(tmp_path: Path, content: str | bytes) -> ContractError:
    """How a contract of this content is refused."""
    path = tmp_path / "broken.yml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ContractError) as caught:
        load_contract(path, "broken.yml")
    return caught.value


# --- one thing is wrong, and its line is named ------------------------------------------------------

BROKEN: dict[str, tuple[str, str, str]] = {
    # What is replaced, by what, and what the message has to say. The line is that of «...», which is taken out again.
    "no such format": ("apiVersion: observer-node/v1", "«apiVersion: observer-node/v2»", "observer-node/v1"),
    "unknown section": ("\nlayers:", "\n«layer: {}»\nlayers:", "'layer' was unexpected"),
    "section of another name": ("\npaths:\n", "\n«folders:»\n", "'folders' was unexpected.*1 more"),
    "missing section": ("apiVersion: observer-node/v1\n", "", "'apiVersion' is a required property"),
    "name of no kind": ("  name: observer\n", "  «name: Observer App»\n", "Observer App"),
    "title without English": ("title: {en: Observer (KIS market data), ko:", "«title: {ko:»", "'en' is a required"),
    "title in another language": ("title: {en: O", "«title: {fr: Bonjour, en: O»", "'fr' was unexpected"),
    "unknown layer": ("  node: {repository: observer-node", "  «nodes: {repository: observer-node»", "nodes"),
    "layer without files": ("image: {repository: prj_obs, files: [docker/Dockerfile]}",
                            "«image: {repository: prj_obs}»", "'files' is a required"),
    "files that are no list": ("files: [docker/Dockerfile]", "«files: docker/Dockerfile»", "not of type 'array'"),
    "unknown item": ("  volumes: {authority:", "  «volume: {authority:»", "'volume' was unexpected"),
    "no authority": ("  ports: {authority: [app, deployment, config, image]}", "  «ports: {}»", "'authority' is a req"),
    "authority that is no layer": ("ports: {authority: [app,", "«ports: {authority: [application,»", "'application'"),
    "authority twice": ("ports: {authority: [app,", "«ports: {authority: [deployment,»", "non-unique"),
    "number of a fixed contract": ("  - number: 1\n", "  - «number: one»\n", "not of type 'integer'"),
    "fixed contract without effect": (
        "    broken: {en: the pod cannot start, ko: 'Pod 시작 불가 (optional: false)'}\n", "",
        "'broken' is a required"),
    "port out of range": ("number: 8000, variable: SERVICE_PORT", "«number: 70000, variable: SERVICE_PORT»", "70000"),
    "port as text": ("httpGet: {path: /health, port: 8000}", "«httpGet: {path: /health, port: http}»", "'http'"),
    "port zero": ("ports: {http: {port: 8000}}", "«ports: {http: {port: 0}}»", "0 is less than"),
    "route that is no path": ("routes: [/health, /ready]", "«routes: [/health, ready]»", "'ready'"),
    "yes or no": ("creates_folders: false", "«creates_folders: never»", "not of type 'boolean'"),
    "user without group": ("user: {uid: 1000, gid: 1000}", "«user: {uid: 1000}»", "'gid' is a required"),
    "negative uid": ("user: {uid: 1000,", "«user: {uid: -1,»", "-1 is less than"),
    "relative path": ("data: {path: /opt/platform", "«data: {path: opt/platform»", "does not match"),
    "variable of no kind": ("variable: OBSERVER_DATA_DIR", "«variable: OBSERVER-DATA-DIR»", "OBSERVER-DATA-DIR"),
    "path without variable": ("    variable: OBSERVER_RUNTIME_ROOT\n", "", "'variable' is a required"),
    "image of a path": ("function: data_dir, image: folder", "«function: data_dir, image: yes»", "True|'folder'"),
    "unknown kind of workload": ("    kind: StatefulSet", "    «kind: StatefullSet»", "StatefullSet"),
    "replicas as text": ("replicas: 1  # CF-7", "«replicas: '1'»  # CF-7", "not of type 'integer'"),
    "half a replica": ("replicas: 1  # CF-7", "«replicas: 1.5»  # CF-7", "1.5 is not of type 'integer'"),
    "unknown strategy": ("strategy: Recreate", "«strategy: Rolling»", "'Rolling' is not one of"),
    "misspelt setting": ("    terminationGracePeriodSeconds: 60", "    «terminationGraceSeconds: 60»",
                         "'terminationGraceSeconds' was unexpected"),
    "container without image": ("        image: docker.io/library/postgres\n", "", "'image' is a required"),
    "tag that is no expression": (r"tags: ['15(\.\d+)?(-\w+)?']", "«tags: ['15(']»", "is not a 'regex'"),
    "tags that are empty": (r"tags: ['15(\.\d+)?(-\w+)?']", "«tags: []»", "should be non-empty|too short"),
    "security context as text": ("          runAsNonRoot: true\n          readOnly",
                                 "          «runAsNonRoot: 'true'»\n          readOnly", "not of type 'boolean'"),
    "unknown permission": ("          readOnlyRootFilesystem: true", "          «readOnlyRootFileSystem: true»",
                           "'readOnlyRootFileSystem' was unexpected"),
    "capabilities that are no list": ("capabilities: {drop: [ALL]}", "«capabilities: {drop: ALL}»", "type 'array'"),
    "memory of no unit": ("limits: {memory: 2Gi", "«limits: {memory: 2GB»", "2GB"),
    "cpu as a number": ("cpu: 1000m}", "«cpu: 1}»", "1 is not of type 'string'"),
    "mount that is no path": ("          /opt/platform/runtime/observer/data: {source", "          «data: {source»",
                              "'data' does not match"),
    "mount without source": ("/tmp: {source: tmp}", "«/tmp: {}»", "'source' is a required"),
    "source of no kind": ("LOG_LEVEL: {source: [ConfigMap/observer-config]",
                          "«LOG_LEVEL: {source: [configmap/observer-config]»", "configmap/observer-config"),
    "source that is no list": ("POSTGRES_DB: {source: [Secret/observer-secrets]}",
                               "«POSTGRES_DB: {source: Secret/observer-secrets}»", "not of type 'array'"),
    "value that is no text": ("PYTHONUNBUFFERED: {source: [ConfigMap/observer-config, manifest], value: '1'}",
                              "«PYTHONUNBUFFERED: {source: [ConfigMap/observer-config, manifest], value: 1}»",
                              "1 is not of type 'string'"),
    "variable of no name": ("          DB_NAME: {", "          «DB-NAME: {»", "'DB-NAME' does not match"),
    "pattern that is none": ("DB_NAME: {source: [ConfigMap/observer-config]}",
                             "«DB_NAME: {source: [ConfigMap/observer-config], pattern: '[a-z'}»", "is not a 'regex'"),
    "volume of no type": ("  tmp: {type: emptyDir}", "  «tmp: {type: nfs}»", "nfs"),
    "volume without type": ("  tmp: {type: emptyDir}", "  «tmp: {}»", "'type' is a required"),
    "volume with too much": ("  tmp: {type: emptyDir}", "  «tmp: {type: emptyDir, params: {}}»",
                             "'params' was unexpected"),
    "folder of a node that is no path": ("    params: {path: /opt/platform/runtime/observer/config",
                                         "    «params: {path: config»", "'config' does not match"),
    "folder of a node of no type": ("type: DirectoryOrCreate}", "«type: 1}»", "1 is not of type 'string'"),
    "claim without size": ("params: {storage: 1Gi, accessModes", "«params: {accessModes»", "'storage' is a required"),
    "size of no unit": ("params: {storage: 1Gi", "«params: {storage: 1»", "1 is not of type|'1' does not match"),
    "protocol": ("targetPort: 8000, protocol: TCP", "«targetPort: 8000, protocol: HTTP»", "'HTTP' is not one of"),
    "service without ports": ("  observer: {workload: observer, ports: {http: {port: 8000, targetPort: 8000, "
                              "protocol: TCP}}}", "  «observer: {workload: observer}»", "'ports' is a required"),
    "secret without keys": ("ghcr-secret: {type: kubernetes.io/dockerconfigjson, required: [.dockerconfigjson],",
                            "«ghcr-secret: {type: kubernetes.io/dockerconfigjson,»", "'required' is a required"),
    "config maps by name": ("configMaps: [observer-config]", "«configMaps: observer-config»", "not of type 'array'"),
    "mode in decimal": ("mode: '0755'", "«mode: '755'»", "'755' does not match"),
    "namespace": ("namespace: observer-prod,", "«namespace: Observer_Prod,»", "Observer_Prod"),
    "waiver without owner": ("    owner: operator\n", "", "'owner' is a required"),
    "waiver without end": ("    expires: 2027-12-31", "    «expires: never»", "'never' is not a 'date'"),
    "waiver until a month": ("    expires: 2027-12-31", "    «expires: '2027-12'»", "is not a 'date'"),
    "waivers by code": ("waivers:\n  - code: VOL-10", "waivers:\n  - «code: 10»", "not of type 'string'"),
    # Not what the schema says, but what YAML says.
    "key twice": ("  ghcr-secret: {type", "  «observer-secrets: {required: []}»\n  ghcr-secret: {type",
                  "observer-secrets again, first on line"),
    "no YAML": ("configMaps: [observer-config]", "«configMaps: [observer-config]]»", "is not YAML"),
    "tab": ("  timezone: Asia/Seoul", "\t«timezone: Asia/Seoul»", "is not YAML"),
    "unknown alias": ("configMaps: [observer-config]", "«configMaps: *maps»", "alias"),
    "a day that there is not": ("    expires: 2027-12-31", "    «expires: 2027-13-45»", "month must be|not YAML"),
    # Contradictions: each part is right by itself.
    "container that is none": ("  container: observer\n", "  «container: collector»\n", "collector"),
    "path's variable": ("variable: OBSERVER_LOG_DIR", "«variable: OBSERVER_LOGS»", "OBSERVER_LOGS is no variable"),
    "path without volume": ("path: /opt/platform/runtime/observer/logs/system",
                            "«path: /etc/observer»", "/etc/observer is under no volume"),
    "mount of nothing": ("/tmp: {source: tmp}", "«/tmp: {source: scratch}»", "scratch is none of the resources"),
    "unknown ConfigMap": ("LOG_FORMAT: {source: [ConfigMap/observer-config]",
                          "«LOG_FORMAT: {source: [ConfigMap/observer]»", "ConfigMap/observer is in neither"),
    "unknown Secret": ("DB_PASSWORD: {source: [Secret/observer-secrets]}",
                       "«DB_PASSWORD: {source: [Secret/observer-secret]}»", "Secret/observer-secret is in neither"),
    "key that no Secret has": ("          KIS_APP_KEY: {source", "          «KIS_API_KEY: {source»", "KIS_API_KEY"),
    "port that nobody sets": ("port: {number: 8000, variable: SERVICE_PORT}",
                              "«port: {number: 8000, variable: PORT}»", "PORT is no variable of container"),
    "pull Secret of nobody": ("imagePullSecrets: [ghcr-secret]", "«imagePullSecrets: [ghcr]»", "ghcr is none of the"),
    "volume of an unknown ConfigMap": ("  tmp: {type: emptyDir}", "  «tmp: {type: configMap, params: {name: scripts}}»",
                                       "scripts is in neither"),
    "waiver of no code": ("  - code: VOL-10", "  - «code: VOL-99»", "VOL-99 is no code"),
    "service of nothing": ("postgres: {workload: postgres,", "«postgres: {workload: database,»", "database is none of"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_named_by_its_line(tmp_path: Path, case: str) -> None:
    old, new, words = BROKEN[case]
    assert old in RIGHT, "the contract has changed: the case breaks nothing"
    at = RIGHT.index(old)
    before, mark, _ = (RIGHT[:at] + new).partition("«")
    broken = RIGHT.replace(old, new.replace("«", "").replace("»", ""), 1)
    error = refusal(tmp_path, broken)
    assert re.search(words, str(error)), str(error)
    assert error.remedy
    assert error.place and error.place.file == "broken.yml"
    assert str(error).startswith(f"broken.yml:{error.place.line}")
    if mark:
        assert error.place.line == before.count("\n") + 1, str(error)
    else:
        # Something is not there: the line is that of what it should be in, so not below the change.
        assert error.place.line <= before.count("\n") + 2, str(error)


NO_CONTRACTS: dict[str, tuple[str | bytes, int | None, str]] = {
    "empty": ("", None, "has 0 documents"),
    "comments only": ("# Later.\n---\n", None, "has 0 documents"),
    "two": ("---\n{}\n---\n{}\n", None, "has 2 documents"),
    "list": ("---\n- apiVersion: observer-node/v1\n", 2, "not of type 'object'"),
    "text": ("---\nobserver\n", 2, "not of type 'object'"),
    "nothing in it": ("---\n{}\n", 2, "'apiVersion' is a required property.*6 more"),
    "manifest": ("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n", 2, "'observer-node/v1' was expected"),
    "section that is a list": (RIGHT.replace("\nservices:\n", "\nservices:\n  []\nx:\n"), None, "services|'x' was"),
    "key that is no text": (RIGHT.replace("  DB_HOST: {", "  1: {"), None, "'1' does not match"),
    "no text": (b"apiVersion: \xff\xfe\xfd\n", 1, "is no text"),
    "null characters": (b"apiVersion: \0\0\0\0\n", 1, "is no text"),
    "too deep": ("a: " + "[" * 200 + "]" * 200, 1, "nested deeper"),
    "explosion": ("a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{key}: &{key} [{', '.join(f'*{last}' for _ in range(9))}]\n" for last, key in zip("abcdefgh", "bcdefghi",
                                                                                         strict=True)), None, "values"),
    "itself": ("a: &a\n  b: *a\n", None, "contains itself"),
}


@pytest.mark.parametrize("case", NO_CONTRACTS)
def test_what_is_no_contract_is_refused(tmp_path: Path, case: str) -> None:
    content, line, words = NO_CONTRACTS[case]
    error = refusal(tmp_path, content)
    assert re.search(words, str(error)), str(error)
    assert error.remedy and error.place and error.place.file == "broken.yml"
    assert line is None or error.place.line == line
    assert len(str(error)) < 500


def test_a_file_that_is_not_there_and_a_folder(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none.yml", "is not there"), (tmp_path, "is no file")):
        with pytest.raises(ContractError, match=words):
            load_contract(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_other_unicode_files_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "contract.yml"
    path.write_bytes(RIGHT.encode(encoding))
    assert load_contract(path).title["ko"] == "Observer (KIS 실시간 시세 수집)"


# --- what is right ----------------------------------------------------------------------------------


@pytest.fixture(params=NAMES)
def contract(request: pytest.FixtureRequest) -> Contract:
    return load_contract(CONTRACTS / f"{request.param}.yml", f"contracts/{request.param}.yml")


def test_the_contracts_hold_what_they_say(contract: Contract) -> None:
    assert set(contract.authority) == set(ITEMS)
    assert {Layer.APP, Layer.IMAGE, Layer.CONFIG, Layer.DEPLOYMENT} <= set(contract.layers)
    assert contract.app_container.name == contract.app.container
    lines = Path(ROOT, contract.file).read_text().splitlines()
    for name in contract.paths:
        assert lines[contract.place("paths", name).line - 1].startswith(f"  {name}:")
    for waiver in contract.waivers:
        assert waiver.owner and len(waiver.reason) > 20
    assert {"en", "ko"} == set(contract.title) and all(set(one.title) == {"en", "ko"} for one in contract.fixed)


def test_the_same_four_contracts_are_fixed_in_both_of_observer() -> None:
    now, then = (load_contract(CONTRACTS / f"{name}.yml") for name in NAMES[:2])
    assert [one.number for one in now.fixed] == [1, 2, 3, 4]
    assert [(one.number, one.clauses, one.title) for one in now.fixed] == \
        [(one.number, one.clauses, one.title) for one in then.fixed]
    assert {name: folder.path for name, folder in now.paths.items()} == \
        {name: folder.path for name, folder in then.paths.items()}
    assert len([one for one in then.paths.values() if not one.optional]) == 7
    given = [one.name for one in then.app_container.variables.values()
             if "ConfigMap/observer-config" in one.sources and not one.optional]
    assert len(given) == 15  # the table of seed 001 1-2, whatever its heading says


def test_the_second_app_shares_no_name_with_the_first() -> None:
    observer, qts = (load_contract(CONTRACTS / f"{name}.yml") for name in ("observer", "qts"))

    def names(contract: Contract) -> set[str]:
        return {*contract.workloads, *contract.services, *contract.config_maps, *contract.secrets, *contract.resources,
                *(folder.path for folder in contract.paths.values()), *contract.app_container.variables,
                *(container.name for _, container in contract.containers())}

    assert names(observer) & names(qts) == set()
    assert observer.app.uid != qts.app.uid and observer.app.port != qts.app.port


def test_the_schema_is_one_and_describes_itself() -> None:
    schema = json.loads(SCHEMA.read_text())
    importlib.import_module("jsonschema").Draft202012Validator.check_schema(schema)
    page = (ROOT / "docs/contract.md").read_text()
    for section in schema["properties"]:
        assert f"`{section}`" in page, f"docs/contract.md does not explain {section}"


# --- docs -------------------------------------------------------------------------------------------


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("finding_pages", ROOT / "tools/finding_pages.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_findings_is_up_to_date() -> None:
    assert tool().main(["--check"]) == 0, "run tools/finding_pages.py"


def test_the_page_has_every_code_in_both_languages() -> None:
    page = tool().page()
    for code in CODES.values():
        part = page.partition(f"\n### {code.code}\n")[2].partition("\n### ")[0]
        assert code.title["en"] in part and code.title["ko"] in part
        assert re.search(r"^- [^→]+→ [^→]+$", part, re.MULTILINE) and re.search("[가-힣]", part)
        assert f"[{code.code}](#{code.code.lower()})" in page
        assert code.kind in Kind and code.severity in SEVERITIES
    assert not re.search(r"\{\w+\}", page)


def test_a_page_that_differs_is_told_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "findings.md"
    assert tool().main(["--check", "--page", str(page)]) == 1
    assert "run tools/finding_pages.py" in capsys.readouterr().err
    assert not page.exists()
    assert tool().main(["--page", str(page)]) == 0
    assert tool().main(["--check", "--page", str(page)]) == 0
    page.write_text(page.read_text() + "\n")
    assert tool().main(["--check", "--page", str(page)]) == 1


def example() -> str:
    """The contract that docs/contract.md shows."""
    return (ROOT / "docs/contract.md").read_text().partition("```yaml\n")[2].partition("```")[0]


def test_the_example_of_the_docs_is_that_of_the_second_app() -> None:
    """What docs/contract.md shows stands so in contracts/qts.yml."""
    shown = load_documents(example(), "docs/contract.md")[0].body
    whole = load_documents((CONTRACTS / "qts.yml").read_text(), "contracts/qts.yml")[0].body

    def inside(part: object, of: object, where: str) -> None:
        if isinstance(part, dict) and isinstance(of, dict):
            for key, value in part.items():
                assert key in of, f"{where}.{key}"
                inside(value, of[key], f"{where}.{key}")
        else:
            assert part == of, where

    inside(shown, whole, "")
