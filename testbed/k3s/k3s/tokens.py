"""Join tokens: the formats, their checks and the files under `server/`.

Format and messages follow pkg/clientaccess/token.go and pkg/util/token.go.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

from .errors import Fatal

PREFIX = "K10"
_BOOTSTRAP = re.compile(r"[a-z0-9]{6}\.[a-z0-9]{16}")

NORMALIZE = (
    "failed to normalize server token; must be in format K10<CA-HASH>::<USERNAME>:<PASSWORD> or <PASSWORD>"
)


@dataclass(frozen=True)
class Token:
    """A token taken apart. A kubeadm-style `id.secret` has `bootstrap` and no password."""

    ca_hash: str = ""
    username: str = ""
    password: str = ""
    bootstrap: str = ""


def parse(text: str) -> Token:
    """Take a token apart; a bare password is a token without hash and user."""
    if not text:
        raise Fatal("token must not be empty")
    if not text.startswith(PREFIX):
        if _BOOTSTRAP.fullmatch(text):
            return Token(bootstrap=text)
        return Token(password=text)
    ca_hash, colons, credentials = text[len(PREFIX) :].partition("::")
    if not colons:
        ca_hash, credentials = "", ca_hash
    if ca_hash and len(ca_hash) != 64:
        raise Fatal("invalid token CA hash length")
    if _BOOTSTRAP.fullmatch(credentials):
        return Token(ca_hash, bootstrap=credentials)
    username, colon, password = credentials.partition(":")
    if not colon or not password:
        raise Fatal("invalid token format")
    return Token(ca_hash, username, password)


def server_password(text: str) -> str:
    """The password of a server token. Bootstrap tokens are for agents only (k3s-io/k3s#7389)."""
    try:
        token = parse(text)
    except Fatal:
        raise Fatal(NORMALIZE) from None
    if token.bootstrap:
        raise Fatal(NORMALIZE)
    return token.password


def ca_hash(pem: bytes) -> str:
    """The hash that a token carries: of the literal file when it holds one certificate.

    A file with a chain is hashed by the DER of its last certificate, the root, so that the
    intermediates can be renewed without new tokens.
    """
    blocks = re.findall(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", pem, re.DOTALL)
    if len(blocks) > 1:
        import base64

        return hashlib.sha256(base64.b64decode(b"".join(blocks[-1].split()))).hexdigest()
    return hashlib.sha256(pem).hexdigest()


def check_ca(token: Token, pem: bytes) -> None:
    """Refuse a token that names another CA than the cluster's."""
    found = ca_hash(pem)
    if token.ca_hash and token.ca_hash != found:
        raise Fatal(
            f"token CA hash does not match the Cluster CA certificate hash: {token.ca_hash} != {found}"
        )


def secure(username: str, password: str, ca_pem: bytes) -> str:
    """The long form that K3s writes to `server/token`."""
    return f"{PREFIX}{ca_hash(ca_pem)}::{username}:{password}"


def generate() -> str:
    """A kubeadm-style bootstrap token, what `k3s token generate` prints."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"

    def word(length: int) -> str:
        return "".join(secrets.choice(letters) for _ in range(length))

    return f"{word(6)}.{word(16)}"


def random_password() -> str:
    """What K3s makes when no token is given (pkg/util Random(16))."""
    return secrets.token_hex(16)


def bearer(password: str) -> str:
    """The bearer token that an agent shows to the API server in place of K3s' basic auth.

    It is derived, so that any password fits a header and a CSV file, and so that the file of the API
    server does not hold the password that opens the bootstrap data.
    """
    return hashlib.sha256(b"k3s agent credential\0" + password.encode()).hexdigest()
