"""K3s on a node without asking Kubernetes: its unit, version, API and certificates.

Works when K3s is down, and when it was never installed. Only the standard library, Python 3.10.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from .redact import Redaction

BINARY = "/usr/local/bin/k3s"
DATA = "/var/lib/rancher/k3s"
CONFIG = "/etc/rancher/k3s/config.yaml"
UNITS = {"k3s.service": "server", "k3s-agent.service": "agent"}
API = ("127.0.0.1", 6443)
"""Of a server. An agent has to reach the one that its settings name."""

API_SECONDS = 3.0
LOG_LINES = 20
LOG_WIDTH = 400

TELLING = re.compile(r"level=(error|fatal)|\b[EF]\d{4} \d\d:\d\d|\b(panic|fatal|error|failed|refused|denied|expired"
                     r"|no space left)\b", re.IGNORECASE)
"""Lines of the journal that say what went wrong."""

TOKENS = ("/etc/rancher/k3s/token", f"{DATA}/server/token", f"{DATA}/server/agent-token")
TOKEN = re.compile(r"K10[0-9a-f]{16,}(::[^\s\"']+)?")


def collect(redaction: Redaction, errors: list[dict[str, str]], root: str = "/") -> dict[str, Any]:
    """``k3s`` of NodeFacts.

    :param redaction: of what must not be in the log's lines; tokens of K3s' form are taken out besides.
    """
    binary, units = f"{root.rstrip('/')}{BINARY}", show(errors)
    installed = os.access(binary, os.X_OK)
    name = next((name for name, one in units.items() if one.get("LoadState") == "loaded"), "")
    unit = units.get(name, {})
    role = UNITS.get(name, "")
    found: dict[str, Any] = {
        "installed": installed, "role": role, "version": version(binary, errors) if installed else "",
        "active": unit.get("ActiveState", ""), "sub": unit.get("SubState", ""),
        "enabled": unit.get("UnitFileState", ""), "since": since(unit.get("ActiveEnterTimestampMonotonic", "")),
        "restarts": int(unit.get("NRestarts") or 0), "log": [],
        "api": api(*address(role, f"{root.rstrip('/')}{CONFIG}")) if role else {
            "answers": False, "why": "K3s is not installed"},
        "node_name": setting("node-name", f"{root.rstrip('/')}{CONFIG}") or socket.gethostname().lower(),
    }
    if role and (found["sub"] != "running" or found["restarts"] or not found["api"]["answers"]):
        found["log"] = log(name, redaction, errors)
    return found


def run(argv: list[str], seconds: float = 5.0) -> str:
    """What a program prints.

    :raises OSError, subprocess.SubprocessError: it is not there, fails, or does not end in time.
    """
    done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, check=True, timeout=seconds,
                          env={**os.environ, "LC_ALL": "C"})
    return done.stdout.decode("utf-8", "replace")


def show(errors: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    """What systemd says of K3s' units."""
    wanted = "Id,LoadState,ActiveState,SubState,UnitFileState,NRestarts,ActiveEnterTimestampMonotonic"
    try:
        text = run(["systemctl", "show", *UNITS, f"--property={wanted}"])
    except (OSError, subprocess.SubprocessError) as error:
        errors.append({"about": "systemctl show k3s", "why": str(error)})
        return {}
    units = (dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.split("\n\n"))
    return {unit["Id"]: unit for unit in units if "Id" in unit}


def since(microseconds: str) -> float | None:
    """Epoch of a moment that systemd gives in microseconds of the monotonic clock; 0 means never."""
    if not microseconds.isdigit() or microseconds == "0":
        return None
    return round(time.time() - time.monotonic() + int(microseconds) / 1e6, 2)


def version(binary: str, errors: list[dict[str, str]]) -> str:
    try:
        words = run([binary, "--version"]).split()
    except (OSError, subprocess.SubprocessError) as error:
        errors.append({"about": binary, "why": str(error)})
        return ""
    return next((word for word in words if re.fullmatch(r"v\d+\.\d+\S*", word)), "")


def setting(name: str, config: str) -> str:
    """A setting of K3s that is a plain text; empty when it is not there."""
    try:
        with open(config, encoding="utf-8", errors="replace") as file:
            match = re.search(rf"^{name}:\s*[\"']?([^\s\"'#]+)", file.read(), re.MULTILINE)
    except OSError:
        return ""
    return match[1] if match else ""


def address(role: str, config: str = CONFIG) -> tuple[str, int]:
    """Where the node finds the API."""
    found = urlsplit(setting("server", config)) if role == "agent" else None
    return (found.hostname, found.port or API[1]) if found and found.hostname else API


def tokens() -> set[str]:
    """The cluster's tokens, to be kept out of the log's lines."""
    found = set()
    for path in TOKENS:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                whole = file.read().strip()
        except OSError:
            continue
        found |= {whole, whole.rpartition(":")[2]}
    return found - {""}


def log(unit: str, redaction: Redaction, errors: list[dict[str, str]]) -> list[str]:
    """The last telling lines of the unit's journal, without secrets; when none tells, simply the last ones."""
    try:
        text = run(["journalctl", "-u", unit, "-n", "400", "-o", "cat", "--no-pager"])
    except (OSError, subprocess.SubprocessError) as error:
        errors.append({"about": f"journal of {unit}", "why": str(error)})
        return []
    lines = TOKEN.sub("***", redaction.text(text)).splitlines()
    telling = [line for line in lines if TELLING.search(line)]
    return [line[:LOG_WIDTH] for line in (telling or lines)[-LOG_LINES:]]


def api(host: str, port: int) -> dict[str, Any]:
    """Whether the API answers. Without a certificate of a client it refuses, which is an answer."""
    try:
        with connection(host, port) as link:
            link.sendall(b"GET /readyz HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
            head = link.recv(256).split(None, 2)
    except (OSError, ssl.SSLError) as error:
        return {"answers": False, "why": f"{host}:{port}: {getattr(error, 'strerror', None) or error}"}
    status = head[1].decode("ascii", "replace") if len(head) > 1 and head[0].startswith(b"HTTP/") else ""
    # 500 and above is an API that has not come up, or has lost its datastore.
    if status[:1] in ("2", "4"):
        return {"answers": True, "why": ""}
    said = f"status {status}" if status else "the answer is no HTTP"
    return {"answers": False, "why": f"{host}:{port}: {said}"}


def connection(host: str, port: int) -> ssl.SSLSocket:
    """TLS to whoever answers there: what it serves is to be looked at, not trusted.

    :raises OSError: nobody answers.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    plain = socket.create_connection((host, port), API_SECONDS)
    try:
        return context.wrap_socket(plain)
    except BaseException:
        plain.close()
        raise


# --- certificates -------------------------------------------------------------------------------


def certificates(role: str, errors: list[dict[str, str]], data: str = DATA) -> list[dict[str, Any]]:
    """``certificates`` of NodeFacts: of the files of server and agent, and of what the API serves."""
    found = []
    for path in certificate_files(data):
        try:
            found.append({"file": path, **decode(path), "served": False})
        except (OSError, ValueError, AttributeError) as error:
            errors.append({"about": path, "why": str(error)})
    if role:
        try:
            host, port = address(role)
            with connection(host, port) as link:
                served = link.getpeercert(True) or b""
            found.append({"file": f"{host}:{port}", **decode_served(served), "served": True})
        except (OSError, ValueError, AttributeError):
            pass  # that the API does not answer is said elsewhere
    return found


def certificate_files(data: str = DATA) -> Iterator[str]:
    """Certificates of the server (with folders below) and of the agent."""
    for folder in (f"{data}/server/tls", f"{data}/agent"):
        try:
            yield from sorted(entry.path for entry in os.scandir(folder) if entry.name.endswith(".crt"))
            if folder.endswith("tls"):
                for inner in sorted(entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)):
                    # temporary-certs are K3s' own self-signed ones, renewed at every start.
                    if not inner.endswith("/temporary-certs"):
                        yield from sorted(entry.path for entry in os.scandir(inner) if entry.name.endswith(".crt"))
        except OSError:
            continue


def decode(path: str) -> dict[str, Any]:
    """Subject, issuer and validity of the first certificate of a PEM file.

    The standard library decodes certificates of peers that it has verified, and this one for its own tests; no other
    way needs neither a parser nor a program.

    :raises OSError, ValueError: there is none that can be read.
    """
    with open(path, "rb") as file:
        if b"BEGIN CERTIFICATE" not in file.read():
            raise ValueError("it holds no certificate")
    found = getattr(ssl, "_ssl")._test_decode_cert(path)  # noqa: B009 - mypy knows no such name
    return {"subject": named(found["subject"]), "issuer": named(found["issuer"]),
            "not_before": float(ssl.cert_time_to_seconds(found["notBefore"])),
            "not_after": float(ssl.cert_time_to_seconds(found["notAfter"]))}


def decode_served(served: bytes) -> dict[str, Any]:
    """The same of what a server showed, by way of a file that is in memory only."""
    descriptor = os.memfd_create("certificate")
    try:
        os.write(descriptor, ssl.DER_cert_to_PEM_cert(served).encode())
        return decode(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def named(name: Iterable[Iterable[tuple[str, str]]]) -> str:
    """A distinguished name in one line; the common name alone where that is all."""
    pairs = [pair for group in name for pair in group]
    return ", ".join(value if key == "commonName" else f"{key}={value}" for key, value in pairs)
