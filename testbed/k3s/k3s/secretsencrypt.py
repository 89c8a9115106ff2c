"""The configuration for encrypting Secrets in the datastore, and what `secrets-encrypt status` says.

Names of keys and files follow pkg/secretsencrypt and pkg/daemons/control/deps/deps.go. The file is
made once and used as it is: a new key would make every stored Secret unreadable.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from typing import Any

from .errors import Fatal
from .files import write_atomic

PROVIDERS = {"aescbc": "AES-CBC", "secretbox": "XSalsa20-POLY1305"}


def check_provider(name: str) -> None:
    """Refuse a provider that K3s does not have."""
    if name not in PROVIDERS:
        raise Fatal(f"secrets-encryption-provider {name} is invalid, must be one of aescbc, secretbox")


def ensure(config: str, state: str, provider: str) -> None:
    """Write the encryption configuration unless there is one, and the state file beside it."""
    if not os.path.exists(config):
        key = {"name": f"{provider}key", "secret": base64.b64encode(secrets.token_bytes(32)).decode()}
        document = {
            "kind": "EncryptionConfiguration",
            "apiVersion": "apiserver.config.k8s.io/v1",
            "resources": [
                {"resources": ["secrets"], "providers": [{provider: {"keys": [key]}}, {"identity": {}}]}
            ],
        }
        write_atomic(config, json.dumps(document), 0o600)
    if not os.path.exists(state):
        with open(config, "rb") as stream:
            write_atomic(state, f"start-{hashlib.sha256(stream.read()).hexdigest()}", 0o600)


def status(config: str, state: str) -> dict[str, Any]:
    """The same fields as K3s' EncryptionState (pkg/server/handlers/secrets-encrypt.go)."""
    try:
        with open(config, encoding="utf-8") as stream:
            providers = json.load(stream)["resources"][0]["providers"]
    except FileNotFoundError:
        return {"stage": "", "activekey": ""}
    with open(config, "rb") as raw:
        digest = hashlib.sha256(raw.read()).hexdigest()
    recorded = ""
    if os.path.exists(state):
        with open(state, encoding="utf-8") as stream:
            recorded = stream.read().strip()
    stage, _, stamp = recorded.rpartition("-")
    names = [
        (kind, key["name"])
        for item in providers
        for kind, body in item.items()
        if kind in PROVIDERS
        for key in body["keys"]
    ]
    keys = [f"{PROVIDERS[kind]} {name}" for kind, name in names]
    enabled = "identity" not in providers[0]
    found: dict[str, Any] = {
        "stage": stage or "start",
        "activekey": keys[0] if enabled and keys else "",
        "enable": enabled,
    }
    if stamp in ("", digest):
        found["hashmatch"] = True
    else:
        found["hasherror"] = "hash does not match between this server and its record"
    inactive = keys[1:] if enabled else keys
    if inactive:
        found["inactivekeys"] = inactive
    return found


def table(found: dict[str, Any]) -> str:
    """The text of `k3s secrets-encrypt status`."""
    if "enable" not in found:
        return "Encryption Status: Disabled, no configuration file found\n"
    hashes = "All hashes match" if found.get("hashmatch") else found.get("hasherror", "")
    lines = [
        f"Encryption Status: {'Enabled' if found['enable'] else 'Disabled'}",
        f"Current Rotation Stage: {found['stage']}",
        f"Server Encryption Hashes: {hashes}",
        "",
    ]
    rows = [("Active", "Key Type", "Name"), ("------", "--------", "----")]
    if found["activekey"]:
        kind, _, name = found["activekey"].rpartition(" ")
        rows.append((" *", kind, name))
    for key in found.get("inactivekeys", []):
        kind, _, name = key.rpartition(" ")
        rows.append(("", kind, name))
    widths = [max(len(row[column]) for row in rows) + 2 for column in (0, 1)]
    lines += [f"{row[0]:<{widths[0]}}{row[1]:<{widths[1]}}{row[2]}" for row in rows]
    return "\n".join(lines) + "\n\n"
