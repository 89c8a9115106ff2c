"""The node password: a node proves with it that it is the one that joined under its name.

The file is `/etc/rancher/node/password`, its hash the immutable Secret `<node>.node-password.k3s`
(pkg/nodepassword/nodepassword.go, pkg/authenticator/hash/scrypt.go). A rebuilt node with the same
name and a restored datastore is refused until that Secret is deleted; so it is here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets

from .files import read_text, write_atomic
from .kubeapi import Api, ApiError

FILE = "/etc/rancher/node/password"
REJECTED = (
    "Node password rejected, duplicate hostname or contents of '{path}' may not match server node-passwd "
    "entry, try enabling a unique node name with the --with-node-id flag"
)
_SECRETS = "/api/v1/namespaces/kube-system/secrets"


class Rejected(Exception):
    """The password does not match the Secret."""


def rejected_text(path: str = FILE) -> str:
    """The message for a password that does not match."""
    return REJECTED.format(path=path)


def ensure_file(path: str = FILE) -> str:
    """The node's password; made at the first start, readable by root only."""
    password = read_text(path)
    if not password:
        password = secrets.token_hex(16)
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        write_atomic(path, password + "\n", 0o600)
    return password


def create_hash(password: str) -> str:
    """The format of K3s: `$1:<salt>:<logN>:<r>:<p>:<base64 of the key>`."""
    salt = secrets.token_bytes(8)
    return _hash(password, salt, 15, 8, 1)


def _hash(password: str, salt: bytes, log_n: int, r: int, p: int) -> str:
    key = hashlib.scrypt(password.encode(), salt=salt, n=1 << log_n, r=r, p=p, maxmem=128 << 20, dklen=64)
    return f"$1:{salt.hex()}:{log_n}:{r}:{p}:{base64.b64encode(key).decode().rstrip('=')}"


def verify_hash(stored: str, password: str) -> bool:
    """Whether a stored hash is of this password; a damaged hash is of none."""
    try:
        kind, salt, log_n, r, p, _ = stored.split(":", 5)
        if kind != "$1" or not 1 <= int(log_n) <= 20:
            return False
        computed = _hash(password, bytes.fromhex(salt), int(log_n), int(r), int(p))
    except ValueError:
        return False
    return hmac.compare_digest(computed, stored.rstrip("="))


def secret_name(node: str) -> str:
    """The name of the node's Secret."""
    return f"{node}.node-password.k3s".lower()


def ensure_secret(api: Api, node: str, password: str) -> None:
    """Create the node's Secret, or check the password against it; Rejected when it does not match."""
    for _ in range(2):
        try:
            secret = api.get(f"{_SECRETS}/{secret_name(node)}")
        except ApiError as error:
            if error.status != 404:
                raise
        else:
            stored = base64.b64decode((secret.get("data") or {}).get("hash", "")).decode(errors="replace")
            if not verify_hash(stored, password):
                raise Rejected(rejected_text())
            return
        try:
            api.post(
                _SECRETS,
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "immutable": True,
                    "type": "Opaque",
                    "metadata": {"name": secret_name(node), "namespace": "kube-system"},
                    "data": {"hash": base64.b64encode(create_hash(password).encode()).decode()},
                },
            )
            return
        except ApiError as error:
            if error.status != 409:  # someone else was first: check against that one
                raise
