"""Sealing: what is sealed opens, only what changed is sealed, nothing is shown, and what is missing is refused."""

from __future__ import annotations

import base64
import datetime
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

sys.path.append(str(Path(__file__).resolve().parents[2] / "module_utils"))
sys.path.append(str(Path(__file__).resolve().parents[2] / "testbed" / "observer" / "src"))

from sealing.inventory import Plan, prepare
from sealing.private import SealingError, Vault
from sealing.sealed import (
    KEY_BITS,
    SealingKey,
    Wanted,
    docker_config,
    read_certificate,
    reseal,
)

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
VALUES = {"DB_USER": "observer", "DB_PASSWORD": "한글 'quoted\" {{ braces }} \\n $HOME"}


def small_key() -> SealingKey:
    return SealingKey(rsa.generate_private_key(public_exponent=65537, key_size=2048))


@pytest.fixture(scope="module")
def key() -> SealingKey:
    return small_key()


@pytest.fixture(autouse=True)
def quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that these tests make in this process are small; the playbook's are not."""
    monkeypatch.setattr("sealing.sealed.KEY_BITS", 2048)


def wanted(namespace: str = "observer-prod", name: str = "observer-secrets", **values: str) -> Wanted:
    return Wanted(namespace, name, "Opaque", values or VALUES)


def opened(private: rsa.RSAPrivateKey, sealed: str, label: str) -> str:
    """Open a value as the controller does: its format, written down here a second time."""
    data = base64.b64decode(sealed, validate=True)
    length = int.from_bytes(data[:2], "big")
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label.encode())
    session_key = private.decrypt(data[2:2 + length], oaep)
    return AESGCM(session_key).decrypt(bytes(12), data[2 + length:], None).decode()


def encrypted(text: str) -> dict[str, str]:
    data: dict[str, str] = yaml.safe_load(text)["spec"]["encryptedData"]
    return data


# --- format -------------------------------------------------------------------------------------


def test_what_is_sealed_opens_under_its_own_name_alone(key: SealingKey) -> None:
    sealed = reseal(wanted(), None, key)

    assert sealed.changes == ["spec.encryptedData.DB_USER", "spec.encryptedData.DB_PASSWORD"]
    found = encrypted(sealed.text)
    label = "observer-prod/observer-secrets"
    assert {name: opened(key.private, value, label) for name, value in found.items()} == VALUES
    for other in ("observer-staging/observer-secrets", "observer-prod/observer-secret", ""):
        with pytest.raises((ValueError, InvalidTag)):
            opened(key.private, found["DB_USER"], other)
    assert not any(value in sealed.text for value in VALUES.values() if value != "observer")


def test_only_the_sealed_secret_has_the_fingerprints(key: SealingKey) -> None:
    document = yaml.safe_load(reseal(wanted(), None, key).text)

    assert set(document["metadata"]["annotations"]) == {f"observer-node/hmac.{name}" for name in VALUES}
    assert document["spec"]["template"] == {
        "metadata": {"name": "observer-secrets", "namespace": "observer-prod"}, "type": "Opaque"}


def test_an_unchanged_file_stays_to_the_byte(key: SealingKey) -> None:
    first = reseal(wanted(), None, key).text
    again = reseal(wanted(), first, SealingKey.from_pem(key.pem()))
    assert (again.text, again.changes) == (first, [])


def test_only_what_changed_is_sealed_anew(key: SealingKey) -> None:
    before = encrypted(first := reseal(wanted(A="1", B="2", C="3"), None, key).text)
    sealed = reseal(wanted(A="1", B="changed", D="new"), first, key)
    after = encrypted(sealed.text)

    assert sealed.changes == [f"spec.encryptedData.{name}" for name in ("B", "D", "C")]
    assert after["A"] == before["A"] and after["B"] != before["B"] and list(after) == ["A", "B", "D"]
    assert "hmac.C" not in sealed.text
    assert opened(key.private, after["B"], "observer-prod/observer-secrets") == "changed"


def test_values_may_not_swap_their_keys(key: SealingKey) -> None:
    first = reseal(wanted(A="1", B="2"), None, key).text
    assert len(reseal(wanted(A="2", B="1"), first, key).changes) == 2


@pytest.mark.parametrize("other", [wanted(namespace="observer-staging"), wanted(name="other")])
def test_another_place_is_sealed_for_anew(key: SealingKey, other: Wanted) -> None:
    assert len(reseal(other, reseal(wanted(), None, key).text, key).changes) == len(VALUES)


def test_another_key_seals_everything_anew(key: SealingKey) -> None:
    other = small_key()
    sealed = reseal(wanted(), reseal(wanted(), None, key).text, other)
    assert len(sealed.changes) == len(VALUES)
    assert opened(other.private, encrypted(sealed.text)["DB_USER"], "observer-prod/observer-secrets") == "observer"


def test_a_ciphertext_that_was_exchanged_by_hand_is_sealed_anew(key: SealingKey) -> None:
    """Even one that opens: it could be an older value."""
    old = encrypted(reseal(wanted(A="old", B="2"), None, key).text)
    first = reseal(wanted(A="1", B="2"), None, key).text
    sealed = reseal(wanted(A="1", B="2"), first.replace(encrypted(first)["A"], old["A"]), key)
    assert sealed.changes == ["spec.encryptedData.A"]


def test_a_value_that_comes_back_is_not_recognisable(key: SealingKey) -> None:
    first = reseal(wanted(A="1"), None, key).text
    back = reseal(wanted(A="1"), reseal(wanted(A="2"), first, key).text, key).text
    annotations = [yaml.safe_load(text)["metadata"]["annotations"] for text in (first, back)]
    assert annotations[0] != annotations[1]


def test_an_edit_around_the_values_is_put_back_without_sealing(key: SealingKey) -> None:
    first = reseal(wanted(), None, key).text
    sealed = reseal(wanted(), first.replace("type: Opaque", "type: other"), key)
    assert (sealed.text, sealed.changes) == (first, ["content"])


@pytest.mark.parametrize("text", [
    "", "<<<<<<< HEAD\n: :\n", "- a list\n", "spec: text\n", "metadata: {annotations: 1}",
])
def test_a_file_that_is_none_of_ours_is_written_anew(key: SealingKey, text: str) -> None:
    sealed = reseal(wanted(), text, key)
    assert len(sealed.changes) == len(VALUES)
    assert list(encrypted(sealed.text)) == list(VALUES)


def test_docker_config() -> None:
    config = json.loads(docker_config("ghcr.io", "operator", "token"))
    assert config == {"auths": {"ghcr.io": {
        "username": "operator", "password": "token", "auth": base64.b64encode(b"operator:token").decode()}}}


# --- the key pair -------------------------------------------------------------------------------


def test_the_key_pair_is_as_the_controller_makes_it(key: SealingKey) -> None:
    certificate = read_certificate(key.certificate("sealed-secret/observer-prod", NOW))

    assert KEY_BITS == 4096
    assert key.pem().startswith("-----BEGIN RSA PRIVATE KEY-----\n")
    assert key.belongs_to(certificate) and not small_key().belongs_to(certificate)
    assert certificate.subject == certificate.issuer
    assert certificate.subject.rfc4514_string() == "CN=sealed-secret/observer-prod"
    assert certificate.not_valid_before_utc == NOW
    assert certificate.not_valid_after_utc == NOW + datetime.timedelta(days=3650)
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    certificate.verify_directly_issued_by(certificate)
    for text in ("text", key.certificate("x", NOW)):
        with pytest.raises(ValueError, match=r"^not a private key in PEM without a password$"):
            SealingKey.from_pem(text)
    with pytest.raises(ValueError, match=r"^not a certificate in PEM$"):
        read_certificate(key.pem())


# --- an inventory, in this process --------------------------------------------------------------

GIVEN: dict[str, object] = {
    "vault_db_user": "observer", "vault_db_password": "pass-in-the-vault", "vault_ghcr_username": "operator",
    "vault_ghcr_token": "token-in-the-vault", "vault_k3s_token": "k3s-in-the-vault",
}


class Inventory:
    """A vault with two Secrets to be made of it. The working folder is its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.vault = Vault([("default", VaultSecret(b"password"))])
        self.arguments: dict[str, Any] = {
            "values_file": "vault.yml", "key_file": "vault_sealing.yml", "certificate": "sealing.crt",
            "folder": "sealed-secrets", "namespace": "observer-prod", "encrypted": True, "made": None,
            "secrets": [
                {"name": "observer-secrets", "registry": None, "values": {
                    "DB_USER": "vault_db_user", "DB_PASSWORD": "vault_db_password",
                    "POSTGRES_PASSWORD": "vault_db_password"},
                 "optional": {"variable": "vault_observer_optional", "keys": "PG[A-Z]+|KIWOOM_[A-Z0-9_]+"}},
                {"name": "ghcr-secret", "values": None, "optional": None, "registry": {
                    "host": "ghcr.io", "username": "vault_ghcr_username", "password": "vault_ghcr_token"}},
            ],
            "other_variables": ["vault_k3s_token"], "unread_variables": ["vault_backup_password"],
        }
        # As Ansible hands over a path.
        for name in ("values_file", "key_file", "certificate", "folder"):
            self.arguments[name] = str(folder / self.arguments[name])

    def give(self, text: str | None = None, /, **changed: object) -> None:
        values = {name: value for name, value in {**GIVEN, **changed}.items() if value is not None}
        self.store("vault.yml", text if text is not None else yaml.safe_dump(values))

    def store(self, name: str, text: str, password: bytes = b"password") -> None:
        (self.folder / name).write_bytes(VaultLib([("default", VaultSecret(password))]).encrypt(text))

    def plan(self) -> Plan:
        return prepare(self.arguments, self.vault)

    def run(self) -> list[str]:
        """Write what differs. What a run changes is what was said before."""
        plan = self.plan()
        before = self.files()
        again = self.plan()
        assert again.changes == plan.changes and self.files() == before
        for step in plan.steps:
            step()
        return plan.changes

    def refusal(self) -> tuple[str, str]:
        """Message and remedy; nothing is written."""
        before = self.files()
        with pytest.raises(SealingError) as caught:
            self.plan()
        assert self.files() == before
        assert "in-the-vault" not in f"{caught.value} {caught.value.remedy}"
        return str(caught.value), caught.value.remedy

    def files(self) -> dict[str, tuple[bytes, int]]:
        return {str(path.relative_to(self.folder)): (path.read_bytes(), path.stat().st_mtime_ns)
                for path in sorted(self.folder.rglob("*")) if path.is_file()}

    def mode(self, name: str) -> int:
        return stat.S_IMODE((self.folder / name).stat().st_mode)

    def value(self, secret: str, name: str) -> str:
        vault = VaultLib([("default", VaultSecret(b"password"))])
        text = vault.decrypt((self.folder / "vault_sealing.yml").read_bytes())
        private = SealingKey.from_pem(yaml.safe_load(text)["vault_sealing_key"]).private
        sealed = (self.folder / "sealed-secrets" / f"{secret}.yaml").read_text()
        return opened(private, encrypted(sealed)[name], f"observer-prod/{secret}")


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inventory:
    monkeypatch.chdir(tmp_path)
    found = Inventory(tmp_path)
    found.give()
    return found


def test_an_inventory_from_nothing_to_a_change(inventory: Inventory) -> None:
    os.umask(0o077)
    assert inventory.run() == [
        "vault_sealing.yml: vault_sealing_key", "sealing.crt: content",
        "sealed-secrets/observer-secrets.yaml: spec.encryptedData.DB_USER",
        "sealed-secrets/observer-secrets.yaml: spec.encryptedData.DB_PASSWORD",
        "sealed-secrets/observer-secrets.yaml: spec.encryptedData.POSTGRES_PASSWORD",
        "sealed-secrets/ghcr-secret.yaml: spec.encryptedData..dockerconfigjson",
    ]
    os.umask(0o022)
    assert inventory.value("observer-secrets", "POSTGRES_PASSWORD") == "pass-in-the-vault"
    assert json.loads(inventory.value("ghcr-secret", ".dockerconfigjson"))["auths"]["ghcr.io"]["username"] == "operator"
    assert inventory.mode("vault_sealing.yml") == 0o600
    assert {inventory.mode(name) for name in ("sealing.crt", "sealed-secrets/observer-secrets.yaml")} == {0o644}
    files = inventory.files()
    assert sorted(files) == ["sealed-secrets/ghcr-secret.yaml", "sealed-secrets/observer-secrets.yaml", "sealing.crt",
                             "vault.yml", "vault_sealing.yml"]
    assert files["vault_sealing.yml"][0].startswith(b"$ANSIBLE_VAULT;1.1;AES256\n")
    assert not any(b"in-the-vault" in content or b"PRIVATE" in content for content, _ in files.values())

    assert inventory.run() == [] and inventory.files() == files

    inventory.give(vault_db_password="another-in-the-vault", vault_observer_optional={"PGHOST": "postgres"})
    assert inventory.run() == [f"sealed-secrets/observer-secrets.yaml: spec.encryptedData.{name}"
                               for name in ("DB_PASSWORD", "POSTGRES_PASSWORD", "PGHOST")]
    assert inventory.files()["sealed-secrets/ghcr-secret.yaml"] == files["sealed-secrets/ghcr-secret.yaml"]
    assert inventory.value("observer-secrets", "PGHOST") == "postgres"

    inventory.give(vault_db_password="another-in-the-vault")
    assert inventory.run() == ["sealed-secrets/observer-secrets.yaml: spec.encryptedData.PGHOST"]


def test_text_is_sealed_as_it_is_written(inventory: Inventory) -> None:
    inventory.give(vault_db_password="{{ 1 + 1 }} #\"' \\")
    inventory.run()
    assert inventory.value("observer-secrets", "DB_PASSWORD") == "{{ 1 + 1 }} #\"' \\"
    inventory.give(yaml.safe_dump(GIVEN) + "vault_db_password: !unsafe '{{ 1 + 2 }}'\n")
    inventory.run()
    assert inventory.value("observer-secrets", "DB_PASSWORD") == "{{ 1 + 2 }}"


def test_the_key_is_encrypted_with_what_opens_the_values(inventory: Inventory) -> None:
    """Not with the first of several vault passwords."""
    inventory.vault = Vault([("other", VaultSecret(b"other")), ("prod", VaultSecret(b"password"))])
    inventory.run()
    assert (inventory.folder / "vault_sealing.yml").read_text().startswith("$ANSIBLE_VAULT;1.2;AES256;prod\n")
    assert inventory.value("observer-secrets", "DB_USER") == "observer"


def test_a_lost_certificate_is_made_for_the_same_key(inventory: Inventory) -> None:
    inventory.run()
    before = inventory.files()
    (inventory.folder / "sealing.crt").unlink()
    assert inventory.run() == ["sealing.crt: content"]
    assert {**inventory.files(), "sealing.crt": None} == {**before, "sealing.crt": None}
    assert inventory.run() == []


@pytest.mark.parametrize(("changed", "reason"), [
    ({"vault_db_user": None}, "vault_db_user is missing"),
    ({"vault_k3s_token": None}, "vault_k3s_token is missing"),
    ({"vault_ghcr_token": None, "vault_db_user": None}, "vault_db_user is missing; vault_ghcr_token is missing"),
    ({"vault_db_password": ""}, "vault_db_password is empty"),
    ({"vault_db_password": "  "}, "vault_db_password is empty"),
    ({"vault_db_password": 12345}, "vault_db_password is not text: put it in quotes"),
    ({"vault_db_password": True}, "vault_db_password is not text: put it in quotes"),
    ({"vault_db_password": ["in-the-vault"]}, "vault_db_password is not text"),
    ({"vault_db_password": "in-the-vault\n"}, "vault_db_password begins or ends with a space or a line break"),
    ({"vault_db_password": "in-the-vault\nx"},
     "vault_db_password has a line break or another control character inside"),
    ({"vault_k3s_token": "in-the-vault{{"},
     "vault_k3s_token has {{, {% or {# inside, which Ansible takes for a template"),
    ({"vault_ghcr_username": "in-the-vault:x"}, "vault_ghcr_username has a colon inside"),
    ({"vault_db_pasword": "in-the-vault"}, "vault_db_pasword is not known (is it vault_db_password?)"),
    ({"something": "in-the-vault"}, "something is not known"),
    ({"vault_observer_optional": "in-the-vault"}, "vault_observer_optional is not a set of `KEY: value` lines"),
    ({"vault_observer_optional": {"PGPORT": 5432}}, "vault_observer_optional.PGPORT is not text: put it in quotes"),
    ({"vault_observer_optional": {"DB_USER": "x"}},
     "vault_observer_optional.DB_USER is not a key of the form PG[A-Z]+|KIWOOM_[A-Z0-9_]+"),
])
def test_a_wrong_value_is_refused(inventory: Inventory, changed: Mapping[str, object], reason: str) -> None:
    inventory.give(**changed)
    assert inventory.refusal() == (
        f"vault.yml: {reason}", "mend it with `ansible-vault edit vault.yml`, then run again")


def test_a_wrong_file_is_refused(inventory: Inventory) -> None:
    (inventory.folder / "vault.yml").unlink()
    assert inventory.refusal() == (
        "vault.yml is missing",
        "type `install -m 600 vault.yml.example vault.yml`, fill it in, and type `ansible-vault encrypt vault.yml`")
    (inventory.folder / "vault.yml").write_text(yaml.safe_dump(GIVEN))
    assert inventory.refusal() == (
        "vault.yml is not encrypted", "type `ansible-vault encrypt vault.yml` before anything else")
    for text in ("vault_db_user: in-the-vault: x\n", "in-the-vault\n", "a: !vault |\n  in-the-vault\n"):
        inventory.give(text)
        assert inventory.refusal() == (
            "vault.yml is not YAML with `name: value` lines",
            "mend it with `ansible-vault edit vault.yml`, then run again")


def test_a_wrong_password_is_refused(inventory: Inventory) -> None:
    inventory.vault = Vault([])
    assert inventory.refusal() == ("vault.yml is encrypted and no vault password was given",
                                   "add --vault-password-file FILE or --ask-vault-pass to the command")
    inventory.vault = Vault([("default", VaultSecret(b"wrong"))])
    assert inventory.refusal()[0] == "the vault password does not open vault.yml"


def test_half_a_key_pair_is_refused(inventory: Inventory, key: SealingKey) -> None:
    inventory.run()
    (inventory.folder / "vault_sealing.yml").unlink()
    assert inventory.refusal() == (
        "sealing.crt is there, but vault_sealing.yml with its private half is not",
        "restore vault_sealing.yml; only if it is lost for good, remove sealing.crt, so that a new pair is made and"
        " everything is sealed anew")

    restore = "restore vault_sealing.yml and sealing.crt as they were committed together"
    inventory.store("vault_sealing.yml", "other: in-the-vault\n")
    assert inventory.refusal() == ("vault_sealing.yml has no vault_sealing_key", restore)
    inventory.store("vault_sealing.yml", "vault_sealing_key: in-the-vault\n")
    assert inventory.refusal() == (
        "vault_sealing_key in vault_sealing.yml is not a private key in PEM without a password", restore)
    inventory.store("vault_sealing.yml", json.dumps({"vault_sealing_key": key.pem()}))
    assert inventory.refusal() == ("sealing.crt does not belong to vault_sealing_key", restore)
    (inventory.folder / "vault_sealing.yml").write_text(json.dumps({"vault_sealing_key": key.pem()}))
    assert inventory.refusal()[0] == "vault_sealing.yml is not encrypted"

    again = "remove sealing.crt and run again: it is made anew for the same key"
    inventory.store("vault_sealing.yml", json.dumps({"vault_sealing_key": key.pem()}))
    (inventory.folder / "sealing.crt").write_text(key.certificate("x", NOW - datetime.timedelta(days=3651)))
    assert inventory.refusal() == ("sealing.crt ended on 2026-11-20", again)
    (inventory.folder / "sealing.crt").write_text("text")
    assert inventory.refusal() == ("sealing.crt is not a certificate in PEM", again)


def test_made_values_are_made_once(inventory: Inventory) -> None:
    """As for the local node: no vault, nothing to fill in, nothing that others can read."""
    private = inventory.folder / "private"
    password = inventory.folder / "password"
    inventory.arguments.update(
        encrypted=False, values_file=str(private / "vault.yml"), key_file=str(private / "vault_sealing.yml"),
        certificate=str(private / "sealing.crt"), folder=str(private / "sealed"),
        made={"random": ["vault_db_password", "vault_k3s_token"], "read": {"vault_ghcr_token": str(password)},
              "fixed": {"vault_db_user": "observer", "vault_ghcr_username": "observer-pull"}, "remedy": "do this"})
    assert inventory.refusal() == ("password is missing: vault_ghcr_token is read from there", "do this")

    password.write_text("first\n")
    assert inventory.run()[:5] == [f"private/vault.yml: {name}" for name in (
        "vault_db_password", "vault_k3s_token", "vault_db_user", "vault_ghcr_username", "vault_ghcr_token")]
    first = yaml.safe_load((private / "vault.yml").read_text())
    assert len(first["vault_db_password"]) == 48 and first["vault_db_password"] != first["vault_k3s_token"]
    assert [inventory.mode(name) for name in ("private", "private/vault.yml", "private/vault_sealing.yml")] == [
        0o700, 0o600, 0o600]
    assert inventory.run() == []

    password.write_text("second\n")
    (private / "vault.yml").chmod(0o644)
    (private / "vault_sealing.yml").chmod(0o640)
    assert inventory.run() == ["private/vault.yml: vault_ghcr_token", "private/vault.yml: mode",
                               "private/vault_sealing.yml: mode",
                               "private/sealed/ghcr-secret.yaml: spec.encryptedData..dockerconfigjson"]
    assert yaml.safe_load((private / "vault.yml").read_text()) == {**first, "vault_ghcr_token": "second"}
    assert [inventory.mode(f"private/{name}") for name in ("vault.yml", "vault_sealing.yml")] == [0o600, 0o600]
    assert inventory.run() == []

    private.chmod(0o755)
    assert inventory.refusal() == ("private holds secrets and is open to other users", "type `chmod 700 private`")


def test_a_folder_that_cannot_be_written(inventory: Inventory) -> None:
    inventory.run()
    shutil.rmtree(inventory.folder / "sealed-secrets")
    (inventory.folder / "sealed-secrets").write_text("in the way")
    message, remedy = inventory.refusal()
    assert message == "sealed-secrets/observer-secrets.yaml cannot be read: Not a directory"
    assert remedy == "mend or remove sealed-secrets/observer-secrets.yaml, then run again"


# --- the playbook -------------------------------------------------------------------------------


class Project:
    """A copy of what the playbook needs, with inventories of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("ansible.cfg", "playbooks/secrets.yml", "playbooks/vars_plugins", "library/sealed_values.py",
                     "plugins/action/sealed_values.py", "module_utils/sealing", "inventories"):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            ignored = shutil.ignore_patterns("__pycache__", "vault*.yml", "sealing.crt")
            _ = shutil.copytree(ROOT / name, target, ignore=ignored) if (ROOT / name).is_dir() else shutil.copy(
                ROOT / name, target)
        (folder / "site.yml").write_text(
            "- hosts: localhost\n  gather_facts: false\n  tasks:\n    - name: Read what a role needs\n"
            "      ansible.builtin.assert:\n        that: vault_k3s_token is string and 'RSA PRIVATE KEY' in"
            " vault_sealing_key and 'BEGIN CERTIFICATE' in secrets_certificate\n")
        for name in ("right", "wrong"):
            (folder / name).write_text(f"{name}\n")
        self.group_vars = folder / "inventories/prod/group_vars/all"
        self.sealed = folder / "manifests/overlays/production/sealed-secrets"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        self.environment.update(
            ANSIBLE_HOME=str(folder / ".ansible"), ANSIBLE_LOCAL_TEMP=str(folder / "tmp"), TMPDIR=str(folder / "tmp"),
            XDG_STATE_HOME=str(folder / "state"), ANSIBLE_STDOUT_CALLBACK="ansible.posix.json", NO_COLOR="1")
        (folder / "tmp").mkdir()

    def call(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([BIN / words[0], *words[1:]], cwd=self.folder, env={**self.environment, **environment},
                              text=True, check=False, capture_output=True)

    def play(self, *arguments: str, inventory: str = "prod", playbook: str = "playbooks/secrets.yml") -> dict[str, Any]:
        """The result of the playbook's one task."""
        done = self.call("ansible-playbook", playbook, "-i", f"inventories/{inventory}", *arguments)
        assert done.stdout.startswith("{"), done.stdout + done.stderr
        result: dict[str, Any] = json.loads(done.stdout)["plays"][0]["tasks"][0]["hosts"]["localhost"]
        assert (done.returncode == 0) == (not result.get("failed")), done.stdout + done.stderr
        return result

    def error(self, *arguments: str) -> str:
        """Ansible's one line when it does not even start a task."""
        done = self.call("ansible-playbook", "playbooks/secrets.yml", "-i", "inventories/prod", *arguments)
        assert done.returncode != 0
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        assert len(lines) == 1, done.stdout + done.stderr
        return lines[0].removeprefix("[ERROR]: ")

    def fill_in(self, **changed: str) -> dict[str, str]:
        """The example, filled in and encrypted as its first lines say."""
        vault = self.group_vars / "vault.yml"
        values = yaml.safe_load((self.group_vars / "vault.yml.example").read_text())
        values = {name: changed.get(name) or value or f"{name}-in-the-vault" for name, value in values.items()}
        vault.write_text(yaml.safe_dump(values))
        assert self.call("ansible-vault", "encrypt", "--vault-password-file", "right", str(vault)).returncode == 0
        return values

    def files(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in sorted(self.folder.rglob("*"))
                if path.is_file() and ".ansible" not in path.parts}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


PASSWORD = ("--vault-password-file", "right")


def test_the_playbook_refuses_before_it_writes(project: Project) -> None:
    before = project.files()
    name = "inventories/prod/group_vars/all/vault.yml"
    result = project.play(*PASSWORD)
    assert result["msg"] == f"{name} is missing"
    assert result["remedy"] == (
        f"type `install -m 600 {name}.example {name}`, fill it in, and type `ansible-vault encrypt {name}`")
    assert project.files() == before

    # The example as it is: every value that has to be filled in is asked for.
    shutil.copy(project.group_vars / "vault.yml.example", project.group_vars / "vault.yml")
    assert project.error(*PASSWORD) == (
        f"{name} is not encrypted: type `ansible-vault encrypt {name}` before anything else")
    project.call("ansible-vault", "encrypt", *PASSWORD, name)
    example = yaml.safe_load((project.group_vars / "vault.yml.example").read_text())
    # The role backup asks for its own, where there are backups.
    empty = {f"{name} is empty" for name, value in example.items() if not value and not name.startswith("vault_backup")}
    assert set(project.play(*PASSWORD)["msg"].removeprefix(f"{name}: ").split("; ")) == empty

    assert project.error() == (f"{name} is encrypted and no vault password was given:"
                               " add --vault-password-file FILE or --ask-vault-pass to the command")
    assert project.error("--vault-password-file", "wrong") == (
        f"the vault password does not open {name}: give the password that it was encrypted with,"
        " by --vault-password-file FILE or --ask-vault-pass")
    assert project.files().keys() - before.keys() == {name}


def test_the_playbook_checks_runs_and_changes_nothing(project: Project) -> None:
    project.fill_in()
    before = project.files()
    predicted = project.play(*PASSWORD, "--check", "--diff")
    assert project.files() == before
    made = project.play(*PASSWORD)
    assert made["changed"] and predicted["changed"] and made["changes"] == predicted["changes"]
    assert made["changes"][:2] == ["inventories/prod/group_vars/all/vault_sealing.yml: vault_sealing_key",
                                   "inventories/prod/group_vars/all/sealing.crt: content"]
    keys = {change.rpartition("spec.encryptedData.")[2] for change in made["changes"][2:]}
    assert keys == {"DB_USER", "DB_PASSWORD", "KIS_APP_KEY", "KIS_APP_SECRET", "KIS_HTS_ID", "POSTGRES_USER",
                    "POSTGRES_PASSWORD", "POSTGRES_DB", ".dockerconfigjson"}
    certificate = x509.load_pem_x509_certificate((project.group_vars / "sealing.crt").read_bytes())
    public = certificate.public_key()
    assert isinstance(public, rsa.RSAPublicKey) and public.key_size == 4096
    assert sorted(path.name for path in project.sealed.iterdir()) == ["ghcr-secret.yaml", "observer-secrets.yaml"]

    after = project.files()
    again = project.play(*PASSWORD)
    assert (again["changed"], again["changes"]) == (False, []) and project.files() == after
    assert not project.play(*PASSWORD, playbook="site.yml").get("failed")


def test_nothing_secret_is_shown_or_left_behind(project: Project) -> None:
    values = project.fill_in()
    done = project.call("ansible-playbook", "playbooks/secrets.yml", "-i", "inventories/prod", *PASSWORD, "-vvv",
                        "--diff", ANSIBLE_STDOUT_CALLBACK="default", ANSIBLE_KEEP_REMOTE_FILES="1")
    assert done.returncode == 0 and "observer-secrets.yaml: spec.encryptedData.DB_PASSWORD" in done.stdout
    key = project.call("ansible-vault", "view", *PASSWORD, str(project.group_vars / "vault_sealing.yml")).stdout
    secrets = [value for value in values.values() if value != "observer"] + [key.splitlines()[5].strip()]
    assert len(secrets) == 9 and len(secrets[-1]) == 64
    for secret in secrets:
        assert secret not in done.stdout + done.stderr
        assert [name for name, content in project.files().items() if secret.encode() in content] == []


def test_the_local_inventory_makes_its_own(project: Project) -> None:
    from observer.kis_client import KisSettings, request_token  # type: ignore[import-not-found]

    state = project.folder / "state/observer-node"
    state.mkdir(parents=True)
    missing = project.play(inventory="local")["msg"]
    assert missing.endswith(f"{state}/bed.json is missing: start the local node with `make up`")
    (state / "password").write_text("of-the-registry\n")
    (state / "bed.json").write_text(json.dumps(
        {"registry_user": "observer-pull", "registry_password_file": str(state / "password")}))
    before = project.play(inventory="local", playbook="site.yml")["msg"]
    assert f"{state}/local-secrets/vault.yml is missing: type `ansible-playbook playbooks/secrets.yml" in before

    predicted = project.play("--check", inventory="local")
    assert not (state / "local-secrets").exists()
    assert project.play(inventory="local")["changes"] == predicted["changes"] and len(predicted["changes"]) == 20
    assert project.play(inventory="local")["changes"] == []
    assert not project.play(inventory="local", playbook="site.yml").get("failed")
    values = yaml.safe_load((state / "local-secrets/vault.yml").read_text())
    assert request_token(KisSettings(
        values["vault_kis_app_key"], values["vault_kis_app_secret"], values["vault_kis_hts_id"], "")).value
    assert not list((project.folder / "manifests").glob("**/*"))


# --- what is committed --------------------------------------------------------------------------


def leaks(root: Path) -> Iterator[str]:
    """Tracked files that give a secret away: plain vaults, private keys."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        path = root / name
        if not path.is_file():
            continue
        content = path.read_bytes()
        if re.fullmatch(r"vault.*\.ya?ml", path.name) and not content.startswith(b"$ANSIBLE_VAULT;"):
            yield name
        if re.search(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{16}", content):
            yield name


def test_no_plain_secret_is_committed(tmp_path: Path, key: SealingKey) -> None:
    assert list(leaks(ROOT)) == []

    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    files = {"inventories/prod/group_vars/all/vault.yml": "vault_db_password: plain\n", "some.txt": key.pem(),
             "fine/vault.yml": "$ANSIBLE_VAULT;1.1;AES256\n00\n", "vault.yml.example": "vault_db_password: ''\n"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    assert set(leaks(tmp_path)) == {"inventories/prod/group_vars/all/vault.yml", "some.txt"}


@pytest.mark.parametrize(("name", "overlay"), [("prod", "production"), ("staging", "staging"), ("local", "local")])
def test_names_that_are_written_twice(name: str, overlay: str) -> None:
    """A value is sealed for the namespace that the overlay and the role use, and the database has one name."""
    inventory = ROOT / "inventories" / name / "group_vars"
    own = yaml.safe_load((inventory / "all/secrets.yml").read_text())
    assert own["secrets_namespace"] == yaml.safe_load((inventory / "observer.yml").read_text())["observer_namespace"]
    kustomization = yaml.safe_load((ROOT / "manifests/overlays" / overlay / "kustomization.yaml").read_text())
    assert own["secrets_namespace"] == kustomization["namespace"]
    config = yaml.safe_load((ROOT / "manifests/base/configmaps/observer-config.yaml").read_text())
    example = inventory / "all/vault.yml.example"
    values = yaml.safe_load(example.read_text()) if example.is_file() else own["secrets_made"]["fixed"]
    assert values["vault_db_name"] == config["data"]["DB_NAME"]


def test_the_examples_are_the_same_but_for_the_inventory() -> None:
    texts = [(ROOT / f"inventories/{name}/group_vars/all/vault.yml.example").read_text().replace(name, "X")
             for name in ("prod", "staging")]
    assert texts[0] == texts[1]
