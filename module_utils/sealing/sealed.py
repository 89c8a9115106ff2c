"""Sealing as the sealed-secrets controller opens it: key pair, certificate, SealedSecret files. No Ansible here.

What is sealed is bound to a namespace and a name (scope "strict"). A value that has not changed keeps its
ciphertext, so that git shows what did change; that is known by a fingerprint of value and ciphertext together,
keyed with the sealing key: without the key it tells nothing, not even that an old value came back.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BITS = 4096
"""What the controller makes for itself."""

VALID_DAYS = 3650
"""The controller's own certificates live as long."""

FINGERPRINT = "observer-node/hmac."
"""What an annotation's name begins with; the key of the value follows."""

HEADER = """\
---
# yamllint disable rule:line-length
# Written by playbooks/secrets.yml: only what changed is sealed anew. Change the value in the vault, not here.
"""


@dataclass(frozen=True)
class SealingKey:
    """The private half. Its text form is PEM, as in the Secret that the controller makes."""

    private: rsa.RSAPrivateKey

    @classmethod
    def generate(cls) -> SealingKey:
        return cls(rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS))

    @classmethod
    def from_pem(cls, text: str) -> SealingKey:
        """:raises ValueError: when the text is no RSA private key in PEM without a password."""
        try:
            private = serialization.load_pem_private_key(text.encode(), password=None)
        except (ValueError, TypeError):
            # The library's own words could quote what it was given.
            raise ValueError("not a private key in PEM without a password") from None
        if not isinstance(private, rsa.RSAPrivateKey):
            raise ValueError("not an RSA key")
        return cls(private)

    def pem(self) -> str:
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption(),
        ).decode()

    def certificate(self, common_name: str, now: datetime.datetime) -> str:
        """A self-signed certificate in PEM, valid for :data:`VALID_DAYS` from `now`."""
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
        certificate = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now).not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.private, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    def belongs_to(self, certificate: x509.Certificate) -> bool:
        return certificate.public_key() == self.private.public_key()

    def fingerprint_key(self) -> bytes:
        """A key of its own for fingerprints: the private key is used for nothing but opening."""
        secret = self.private.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return HKDF(hashes.SHA256(), 32, salt=None, info=b"observer-node fingerprint").derive(secret)


def read_certificate(text: str) -> x509.Certificate:
    """:raises ValueError: when the text is no certificate in PEM."""
    try:
        return x509.load_pem_x509_certificate(text.encode())
    except ValueError:
        raise ValueError("not a certificate in PEM") from None


def docker_config(registry: str, username: str, password: str) -> str:
    """The value of ``.dockerconfigjson`` for images named ``registry/...``; always the same text for the same input."""
    entry = {"username": username, "password": password, "auth": _base64(f"{username}:{password}".encode())}
    return json.dumps({"auths": {registry: entry}}, separators=(",", ":"))


@dataclass(frozen=True)
class Wanted:
    """A Secret as it has to come out of its SealedSecret."""

    namespace: str
    name: str
    type: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class Sealed:
    """A SealedSecret file.

    :ivar text: what belongs into the file.
    :ivar changes: what of it differs from the file that is there: keys under ``spec.encryptedData``, or ``content``
        when only something around them does.
    """

    text: str
    changes: list[str]


def seal(key: rsa.RSAPublicKey, namespace: str, name: str, value: str) -> str:
    """Encrypt a value for one Secret alone, in the controller's format, base64."""
    session_key = os.urandom(32)
    label = f"{namespace}/{name}".encode()
    wrapped = key.encrypt(session_key, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label))
    # The nonce is zero by format: a session key encrypts one value.
    body = AESGCM(session_key).encrypt(bytes(12), value.encode(), None)
    return _base64(len(wrapped).to_bytes(2, "big") + wrapped + body)


def reseal(wanted: Wanted, existing: str | None, key: SealingKey) -> Sealed:
    """Seal what changed, keep the ciphertext of what did not.

    :param existing: the file as it is; None when there is none.
    """
    document = _document(existing)
    before = _strings(document, "spec", "encryptedData")
    annotations = _strings(document, "metadata", "annotations")
    secret = key.fingerprint_key()
    kept = {
        name: before[name] for name, value in wanted.values.items()
        if name in before and hmac.compare_digest(
            annotations.get(FINGERPRINT + name, "").encode(),
            _fingerprint(secret, wanted, name, value, before[name]).encode(),
        )
    }
    changes = [f"spec.encryptedData.{name}" for name in {**wanted.values, **before} if name not in kept]
    public = key.private.public_key()
    data = {
        name: kept.get(name) or seal(public, wanted.namespace, wanted.name, value)
        for name, value in wanted.values.items()
    }
    text = _render(wanted, data, {
        FINGERPRINT + name: _fingerprint(secret, wanted, name, wanted.values[name], part) for name, part in data.items()
    })
    if not changes and text != existing:
        changes = ["content"]
    return Sealed(text, changes)


def _render(wanted: Wanted, data: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    return HEADER + yaml.safe_dump({
        "apiVersion": "bitnami.com/v1alpha1",
        "kind": "SealedSecret",
        # The annotations are not under spec.template: what is there goes into the Secret.
        "metadata": {"name": wanted.name, "namespace": wanted.namespace, "annotations": dict(annotations)},
        "spec": {
            "encryptedData": dict(data),
            "template": {"metadata": {"name": wanted.name, "namespace": wanted.namespace}, "type": wanted.type},
        },
    }, sort_keys=False, width=10_000)


def _fingerprint(secret: bytes, wanted: Wanted, name: str, value: str, sealed: str) -> str:
    """Bound to the ciphertext as well: one that was exchanged by hand is sealed anew."""
    parts = json.dumps([wanted.namespace, wanted.name, name, value, sealed]).encode()
    return hmac.new(secret, parts, hashlib.sha256).hexdigest()


def _document(text: str | None) -> object:
    """The file's content; nothing when it is no YAML, for then all of it is written anew."""
    try:
        return yaml.safe_load(text or "")
    except yaml.YAMLError:
        return None


def _strings(document: object, *path: str) -> dict[str, str]:
    """What is text under a path of keys; empty when there is no such place."""
    found = document
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        return {}
    return {str(key): value for key, value in found.items() if isinstance(value, str)}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
