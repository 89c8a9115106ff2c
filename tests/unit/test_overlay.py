"""The action overlay: what it returns, and each of its refusals by its exact words."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
NAMESPACE = "observer-prod"
REQUIRED = {
    "observer-secrets": ["DB_USER", "DB_PASSWORD", "KIS_APP_KEY", "POSTGRES_DB", "POSTGRES_PASSWORD", "POSTGRES_USER"],
    "ghcr-secret": [".dockerconfigjson"],
}
POLICY = [r"build-\d{8}-\d{6}", r"v\d+\.\d+\.\d+"]
SEAL = "ansible-playbook playbooks/secrets.yml -i inventories/prod"


def plugin() -> ModuleType:
    """``plugins/action/overlay.py`` under a name of its own: its twin in ``library/`` has the same."""
    spec = importlib.util.spec_from_file_location("overlay_action", ROOT / "plugins" / "action" / "overlay.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


ACTION = plugin()
KUSTOMIZE: list[str] = ACTION.kustomize_command("", os.environ)


def sealed(name: str, keys: list[str], namespace: str = NAMESPACE) -> dict[str, Any]:
    """A SealedSecret in the form that kubeseal writes."""
    return {
        "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"encryptedData": {key: f"AgB{key}" for key in keys},
                 "template": {"metadata": {"name": name, "namespace": namespace}}},
    }


class Checkout:
    """A copy of the manifests, free to be spoilt, with sealed secrets beside the production overlay."""

    def __init__(self, folder: Path) -> None:
        self.manifests = folder / "manifests"
        shutil.copytree(ROOT / "manifests", self.manifests)
        self.overlay = self.manifests / "overlays" / "production"
        self.kustomization = self.overlay / "kustomization.yaml"
        self.sealed = self.overlay / "sealed-secrets"
        self.sealed.mkdir()
        for name, keys in REQUIRED.items():
            self.seal(f"{name}.yaml", sealed(name, keys))
        self.wanted = ACTION.Wanted(
            path=self.overlay, namespace=NAMESPACE, image="ghcr.io/tawbury/observer", tag_policy=POLICY,
            required_keys=REQUIRED, sealed_secrets_dir=self.sealed, seal=SEAL)

    def seal(self, file: str, *documents: dict[str, Any]) -> None:
        (self.sealed / file).write_text(yaml.safe_dump_all(documents))

    def edit(self, file: str, before: str, after: str) -> Checkout:
        path = self.manifests / file
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after, 1))
        return self

    def tag(self, tag: str) -> None:
        self.edit("overlays/production/kustomization.yaml", "build-20260205-142425", tag)

    def patch(self, kind: str, operation: str) -> None:
        """Add a JSON patch to the overlay."""
        with self.kustomization.open("a") as file:
            file.write(f"  - target: {{kind: {kind}}}\n    patch: '[{operation}]'\n")

    def objects(self, **changes: object) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = ACTION.overlay(replace(self.wanted, **changes), KUSTOMIZE)
        return found


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """As if the operator stood in the folder above, so that messages have short paths."""
    monkeypatch.chdir(tmp_path)
    return Checkout(tmp_path)


def one(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    found = [item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1
    return found[0]


# --- what is returned ---------------------------------------------------------------------------


def test_what_others_need_comes_first(checkout: Checkout) -> None:
    kinds = [item["kind"] for item in checkout.objects()]
    assert list(dict.fromkeys(kinds)) == [
        "Namespace", "ServiceAccount", "ConfigMap", "SealedSecret", "PersistentVolumeClaim", "Service", "NetworkPolicy",
        "PodDisruptionBudget", "StatefulSet", "Deployment"]


def test_sealed_secrets_are_added_and_no_secret_is(checkout: Checkout) -> None:
    objects = checkout.objects()
    assert one(objects, "SealedSecret", "observer-secrets")["spec"]["encryptedData"]["DB_USER"] == "AgBDB_USER"
    assert one(objects, "SealedSecret", "ghcr-secret")["metadata"]["namespace"] == NAMESPACE
    assert "Secret" not in {item["kind"] for item in objects}
    assert all(item["metadata"].get("namespace") == NAMESPACE for item in objects if item["kind"] != "Namespace")


def test_sealed_secrets_that_the_overlay_lists_are_taken_from_there(checkout: Checkout) -> None:
    checkout.edit("overlays/production/kustomization.yaml", "  - ../../base\n",
                  "  - ../../base\n  - sealed-secrets/observer-secrets.yaml\n  - sealed-secrets/ghcr-secret.yaml\n")
    for folder in (checkout.sealed, None):
        labels = one(checkout.objects(sealed_secrets_dir=folder), "SealedSecret", "ghcr-secret")["metadata"]["labels"]
        assert labels == {"environment": "production"}


def test_a_sealed_secret_written_by_a_shell_of_windows(checkout: Checkout) -> None:
    file = checkout.sealed / "ghcr-secret.yaml"
    file.write_bytes(file.read_text().replace("\n", "\r\n").encode("utf-16"))
    assert file.read_bytes()[:2] == b"\xff\xfe"
    assert one(checkout.objects(), "SealedSecret", "ghcr-secret")["spec"]["encryptedData"]


def test_what_has_to_become_ready(checkout: Checkout) -> None:
    found = ACTION.targets(checkout.objects())
    assert {target["namespace"] for target in found} == {NAMESPACE}
    assert sorted((target["kind"], target["name"]) for target in found) == [
        ("Deployment", "observer"), ("PersistentVolumeClaim", "observer-data-pvc"),
        ("PersistentVolumeClaim", "observer-db-pvc"), ("PersistentVolumeClaim", "observer-logs-pvc"),
        ("PersistentVolumeClaim", "observer-universe-pvc"), ("SealedSecret", "ghcr-secret"),
        ("SealedSecret", "observer-secrets"), ("StatefulSet", "postgres")]


def test_what_is_restarted_with_its_settings(checkout: Checkout) -> None:
    observer = {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": NAMESPACE, "name": "observer"}
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": NAMESPACE, "name": "observer-config"}
    assert ACTION.restarts(checkout.objects()) == [{"workload": observer, "after": [settings]}]
    # By one of its keys no pod is restarted: others of them are not its business.
    by_key = checkout.objects()
    for item in by_key:
        if item["kind"] == "Deployment":
            container = item["spec"]["template"]["spec"]["containers"][0]
            reference = {"name": "observer-config", "key": "UNIVERSE"}
            container |= {"envFrom": [], "env": [{"name": "UNIVERSE", "valueFrom": {"configMapKeyRef": reference}}]}
    assert ACTION.restarts(by_key) == []
    # One that is not the overlay's own is not changed by it either.
    others = [item for item in checkout.objects() if item["kind"] != "ConfigMap"]
    assert ACTION.restarts(others) == []


def test_a_namespace_is_made_where_the_overlay_brings_none(checkout: Checkout) -> None:
    checkout.edit("overlays/production/kustomization.yaml", "  - ../../base/namespaces\n", "")
    assert checkout.objects()[0] == {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}


@pytest.mark.parametrize(("spoil", "changed"), [
    (lambda checkout: checkout.edit("base/configmaps/observer-config.yaml", "INFO", "DEBUG"), {"observer"}),
    (lambda checkout: checkout.seal("observer-secrets.yaml", sealed(
        "observer-secrets", [*REQUIRED["observer-secrets"], "KIS_HTS_ID"])), {"observer"}),
    (lambda checkout: checkout.edit("overlays/production/sealed-secrets/observer-secrets.yaml", "AgBPOSTGRES_PASSWORD",
                                    "AgBanother"), {"observer", "postgres"}),
    (lambda checkout: checkout.seal("ghcr-secret.yaml", sealed("ghcr-secret", [".dockerconfigjson", "x"])), set()),
    (lambda checkout: checkout.edit("base/services/observer-svc.yaml", "  labels: {app: observer}",
                                    "  labels: {app: observer, a: b}"), set()),
])
def test_a_changed_setting_replaces_the_pods_that_read_it(
    checkout: Checkout, spoil: Callable[[Checkout], None], changed: set[str],
) -> None:
    def digests() -> dict[str, str]:
        objects = checkout.objects()
        return {name: one(objects, kind, name)["spec"]["template"]["metadata"]["annotations"]["observer-node/config"]
                for kind, name in (("Deployment", "observer"), ("StatefulSet", "postgres"))}

    before = digests()
    assert digests() == before
    spoil(checkout)
    assert {name for name, digest in digests().items() if digest != before[name]} == changed


# --- what is refused ----------------------------------------------------------------------------


O = "manifests/overlays/production"  # noqa: E741 (the tables below are wide)
TAGS = (f"Set newTag in {O}/kustomization.yaml to a build's own tag, which observer_tag_policy allows: "
        r"build-\d{8}-\d{6} or v\d+\.\d+\.\d+.")
ENVIRONMENT = ("Set observer_overlay and observer_namespace to the same environment, or `namespace: observer-prod`"
               f" in {O}/kustomization.yaml.")
KEEP = "Keep one SealedSecret a file there, named after it, and nothing else."
MOVED = f"Remove the file and type `{SEAL}`: a SealedSecret cannot be moved or renamed."
RUNS = "Deployment observer runs ghcr.io/tawbury/observer"


def correct(file: str) -> str:
    return (f"Correct {O}/kustomization.yaml or the file it names; `{' '.join(KUSTOMIZE)} {O}` shows all of the"
            f" message.").replace("the file it names", file)


def unnamed(it: Checkout) -> Checkout:
    """Only the Namespace itself is still called as it should be."""
    it.edit(f"{O[10:]}/kustomization.yaml", "namespace: observer-prod\n", "")
    return it.edit("base/namespaces/observer.yaml", "name: observer  ", "name: observer-prod  ")


REFUSED: list[tuple[str, Callable[[Checkout], object], str, str]] = [
    ("no overlay", lambda it: shutil.rmtree(it.overlay), f"There is no overlay {O}.",
     "Set observer_overlay to one of local, staging, or observer_manifests to the folder that has overlays/."),
    ("no manifests", lambda it: shutil.rmtree(it.manifests), f"There is no overlay {O}.",
     "Set observer_manifests to the folder that has overlays/."),
    ("no kustomization", lambda it: it.kustomization.unlink(), f"Overlay {O} has no kustomization.yaml.",
     f"Restore {O}/kustomization.yaml (git checkout)."),
    ("a listed file is missing", lambda it: (it.manifests / "base/services/postgres.yaml").unlink(),
     f"Overlay {O} cannot be rendered: 'services/postgres.yaml': evalsymlink failure on"
     " '{tmp}/manifests/base/services/postgres.yaml' : lstat {tmp}/manifests/base/services/postgres.yaml:"
     " no such file or directory.", correct("the file it names")),
    ("broken YAML", lambda it: it.edit("base/services/postgres.yaml", "ports:", "ports: ["),
     f"Overlay {O} cannot be rendered: 'services/postgres.yaml': MalformedYAMLError: yaml: line 10: did not find"
     " expected node content in File: services/postgres.yaml.", correct("the file it names")),
    ("a misspelt field", lambda it: it.edit(f"{O[10:]}/kustomization.yaml", "namespace:", "namespaec:"),
     f'Overlay {O} cannot be rendered: invalid Kustomization: json: unknown field "namespaec".',
     correct("the file it names")),
    ("latest", lambda it: it.tag("latest"), f"{RUNS}:latest: latest is another build every time.", TAGS),
    ("a commit's tag", lambda it: it.tag("sha-3523d81"),
     f"{RUNS}:sha-3523d81: observer_tag_policy forbids tag sha-3523d81 here.", TAGS),
    ("more than a tag", lambda it: it.tag("build-20260205-142425-x"),
     f"{RUNS}:build-20260205-142425-x: observer_tag_policy forbids tag build-20260205-142425-x here.", TAGS),
    ("no tag", lambda it: it.edit(f"{O[10:]}/kustomization.yaml", "name: ghcr.io", "name: example.com"),
     f"{RUNS}, which has no tag, and that means latest.", TAGS),
    ("a digest and no tag", lambda it: it.edit(
        f"{O[10:]}/kustomization.yaml", "newTag: build-20260205-142425", f"digest: sha256:{'a' * 64}"),
     f"{RUNS}@sha256:{'a' * 64}, which has no tag, and that means latest.", TAGS),
    ("another image's latest", lambda it: it.edit("base/statefulsets/postgres.yaml", "postgres:15", "postgres:latest"),
     "StatefulSet postgres runs docker.io/library/postgres:latest: latest is another build every time.", TAGS),
    ("a tool without a tag, from a registry with a port", lambda it: it.patch(
        "Deployment", '{"op": "add", "path": "/spec/template/spec/initContainers",'
        ' "value": [{"name": "x", "image": "registry:5000/tool"}]}'),
     "Deployment observer runs registry:5000/tool, which has no tag, and that means latest.", TAGS),
    ("a plain secret", lambda it: it.kustomization.open("a").write(
        "secretGenerator: [{name: observer-secrets, literals: [A=b], options: {disableNameSuffixHash: true}}]\n"),
     "The overlay renders Secret observer-secrets in plain text.",
     "Take it (or its secretGenerator) out of the kustomization and give its values to the vault, from where they are"
     " sealed."),
    ("another namespace", lambda it: it.edit(f"{O[10:]}/kustomization.yaml", "observer-prod", "observer-local"),
     f"Overlay {O} makes Namespace observer-local, and observer_namespace is observer-prod.", ENVIRONMENT),
    ("objects elsewhere", lambda it: unnamed(it).edit("base/kustomization.yaml", "kind:", "namespace: default\nkind:"),
     f"Overlay {O} puts ServiceAccount observer into namespace default, and observer_namespace is observer-prod.",
     ENVIRONMENT),
    ("no namespace", lambda it: unnamed(it),
     f"Overlay {O} puts ServiceAccount observer into no namespace.", ENVIRONMENT),
    ("a secret that is not sealed", lambda it: (it.sealed / "observer-secrets.yaml").unlink(),
     f"SealedSecret observer-secrets is missing: there is no {O}/sealed-secrets/observer-secrets.yaml.",
     f"Type `{SEAL}`, which seals it from the vault."),
    ("nothing is sealed", lambda it: shutil.rmtree(it.sealed),
     f"SealedSecret observer-secrets is missing: there is no {O}/sealed-secrets/observer-secrets.yaml.",
     f"Type `{SEAL}`, which seals it from the vault."),
    ("missing keys", lambda it: it.seal("observer-secrets.yaml", sealed(
        "observer-secrets", [key for key in REQUIRED["observer-secrets"] if key not in ("KIS_APP_KEY", "DB_USER")])),
     f"SealedSecret observer-secrets in {O}/sealed-secrets/observer-secrets.yaml lacks DB_USER, KIS_APP_KEY.",
     f"Put the missing values into the vault and type `{SEAL}`."),
    ("sealed for another namespace", lambda it: it.seal("ghcr-secret.yaml", sealed(
        "ghcr-secret", [".dockerconfigjson"], "observer-staging")),
     f"SealedSecret in {O}/sealed-secrets/ghcr-secret.yaml was sealed for observer-staging/ghcr-secret and is needed as"
     " observer-prod/ghcr-secret.", MOVED),
    ("sealed for another name", lambda it: it.seal("ghcr-secret.yaml", sealed("obs-ghcr", [".dockerconfigjson"])),
     f"SealedSecret in {O}/sealed-secrets/ghcr-secret.yaml was sealed for observer-prod/obs-ghcr and is needed as"
     " observer-prod/ghcr-secret.", MOVED),
    ("renamed by hand", lambda it: it.seal("ghcr-secret.yaml", {
        **sealed("obs-ghcr", [".dockerconfigjson"]), "metadata": {"name": "ghcr-secret"}}),
     f"SealedSecret in {O}/sealed-secrets/ghcr-secret.yaml was sealed for observer-prod/obs-ghcr and is needed as"
     " observer-prod/ghcr-secret.", MOVED),
    ("a plain secret in the folder", lambda it: it.seal("ghcr-secret.yaml", {"kind": "Secret"}),
     f"{O}/sealed-secrets/ghcr-secret.yaml holds a plain Secret, which anybody can read.",
     "Remove the file, change the values it gave away, and seal them."),
    ("two in a file", lambda it: it.seal("ghcr-secret.yaml", sealed("ghcr-secret", []), sealed("other", [])),
     f"{O}/sealed-secrets/ghcr-secret.yaml does not hold one SealedSecret.", KEEP),
    ("no YAML", lambda it: (it.sealed / "ghcr-secret.yaml").write_text("a: [\n"),
     f"{O}/sealed-secrets/ghcr-secret.yaml cannot be read: while parsing a flow node did not find expected node content"
     f' in "<byte string>", line 2, column 1.', "Restore the file, or remove it and seal again."),
]


@pytest.mark.parametrize(("spoil", "message", "remedy"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(
    checkout: Checkout, tmp_path: Path, spoil: Callable[[Checkout], object], message: str, remedy: str,
) -> None:
    checkout.objects()
    spoil(checkout)
    with pytest.raises(ACTION.RefusalError) as refusal:
        checkout.objects()
    assert str(refusal.value) == message.replace("{tmp}", str(tmp_path))
    assert refusal.value.remedy == remedy
    assert "AgB" not in str(refusal.value)


def test_a_commits_tag_where_the_policy_has_it(checkout: Checkout) -> None:
    checkout.tag("sha-3523d81")
    template = one(checkout.objects(tag_policy=[*POLICY, "sha-[0-9a-f]{7,40}"]), "Deployment", "observer")["spec"]
    assert template["template"]["spec"]["containers"][0]["image"] == "ghcr.io/tawbury/observer:sha-3523d81"


@pytest.mark.parametrize("tag", ["v1.2.3", "build-20260206-090000"])
def test_tags_of_releases(checkout: Checkout, tag: str) -> None:
    checkout.tag(tag)
    assert checkout.objects()


def test_a_policy_that_is_no_pattern(checkout: Checkout) -> None:
    with pytest.raises(ACTION.RefusalError) as refusal:
        checkout.objects(tag_policy=["v("])
    assert str(refusal.value) == ("observer_tag_policy: v( is no regular expression: missing ), unterminated subpattern"
                                  " at position 1.")


# --- which kustomize ----------------------------------------------------------------------------


def program(path: Path, script: str = "exit 0") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_which_kustomize_is_taken(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PATH": str(tmp_path / "bin")}
    with pytest.raises(ACTION.RefusalError) as refusal:
        ACTION.kustomize_command("", environment)
    assert str(refusal.value) == "There is no kustomize and no kubectl on this machine to render the manifests with."
    assert refusal.value.remedy == "Type `make tools`, or install kustomize 5 or later."

    kubectl = program(tmp_path / "bin" / "kubectl")
    assert ACTION.kustomize_command("", environment) == [str(kubectl), "kustomize"]
    on_path = program(tmp_path / "bin" / "kustomize")
    assert ACTION.kustomize_command("", environment) == [str(on_path), "build"]
    tools = tmp_path / ".cache" / "observer-node" / "tools"
    program(tools / "kustomize-v5.8.2" / "kustomize")
    newest = program(tools / "kustomize-v5.10.0" / "kustomize")
    assert ACTION.kustomize_command("", environment) == [str(newest), "build"]
    assert ACTION.kustomize_command(str(kubectl), environment) == [str(kubectl), "kustomize"]
    with pytest.raises(ACTION.RefusalError) as refusal:
        ACTION.kustomize_command("/opt/kustomize", environment)
    assert str(refusal.value) == "observer_kustomize is /opt/kustomize, and that is no program."


@pytest.mark.parametrize(("name", "version"), [
    ("kustomize", "{Version:kustomize/v3.5.4 GitCommit:x}"), ("kustomize", "v4.5.7"),
    ("kubectl", "Client Version: v1.24.1\\nKustomize Version: v4.5.4"),
])
def test_a_kustomize_that_is_too_old(checkout: Checkout, tmp_path: Path, name: str, version: str) -> None:
    script = f'[ "$1" = version ] && printf "{version}\\n" && exit 0; echo "Error: unknown field labels" >&2; exit 1'
    command = ACTION.kustomize_command(str(program(tmp_path / name, script)), os.environ)
    with pytest.raises(ACTION.RefusalError) as refusal:
        ACTION.overlay(checkout.wanted, command)
    assert str(refusal.value) == f"Overlay {O} cannot be rendered: unknown field labels."
    major = version.split(".")[-3 if version[0] != "{" else 0][-1]
    assert refusal.value.remedy == (f"{command[0]} is kustomize {major}: type `make tools`, or install kustomize 5 or"
                                    " later.")


def test_kubectl_renders_the_same(checkout: Checkout) -> None:
    kubectl = shutil.which("kubectl")
    if not kubectl:
        pytest.skip("no kubectl on this machine")
    assert ACTION.overlay(checkout.wanted, [kubectl, "kustomize"]) == checkout.objects()


# --- as a task ----------------------------------------------------------------------------------


def play(checkout: Checkout, *arguments: str) -> dict[str, Any]:
    """Result of the task ``overlay`` in a play of its own."""
    folder = checkout.manifests.parent
    (folder / "hosts.yml").write_text("all:\n  hosts:\n    n1:\n")
    (folder / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "become": True, "tasks": [
        {"name": "Render", "overlay": {
            "path": str(checkout.overlay), "namespace": NAMESPACE, "tag_policy": POLICY, "required_keys": REQUIRED,
            "sealed_secrets_dir": str(checkout.sealed)}}]}]))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    environment.update(ANSIBLE_ACTION_PLUGINS=str(ROOT / "plugins/action"), ANSIBLE_LIBRARY=str(ROOT / "library"),
                       ANSIBLE_HOME=str(folder / ".ansible"), ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
    done = subprocess.run([BIN / "ansible-playbook", "-i", "hosts.yml", "play.yml", *arguments], cwd=folder,
                          env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)["plays"][0]["tasks"][-1]["hosts"]["n1"]
    return result


def test_the_action_needs_no_host_and_changes_nothing(checkout: Checkout) -> None:
    for arguments in ((), ("--check",)):
        result = play(checkout, *arguments)
        assert result["changed"] is False and result["objects"] == checkout.objects()
        assert result["path"] == str(checkout.overlay) and len(result["targets"]) == 8
        assert [item["workload"]["name"] for item in result["restarts"]] == ["observer"]


def test_the_action_refuses_with_a_remedy(checkout: Checkout) -> None:
    (checkout.sealed / "ghcr-secret.yaml").unlink()
    result = play(checkout)
    assert result["failed"] and result["msg"] == (
        f"SealedSecret ghcr-secret is missing: there is no {O}/sealed-secrets/ghcr-secret.yaml.")
    assert result["remedy"] == (
        "Type `ansible-playbook playbooks/secrets.yml -i hosts.yml`, which seals it from the vault.")
