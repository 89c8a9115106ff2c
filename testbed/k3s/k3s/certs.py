"""Certificates, made with the openssl command under the names that K3s uses.

pkg/daemons/control/deps/deps.go is the model: CAs live ten years and are never touched once they
exist; leaves live 365 days and are issued again when less than 120 are left, when they do not match
their key or their CA, or when a name is missing. A key and its certificate are written beside their
targets and renamed together: a crash or a missing address at boot must not leave a new key with an
old certificate, which is what a node cannot recover from by itself.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from . import log
from .errors import Fatal
from .files import read, write_atomic

CA_DAYS = 3650
LEAF_DAYS = 365
RENEW_DAYS = 120


@dataclass(frozen=True)
class Leaf:
    """A certificate that must exist: `sans` entries look like `DNS:name` or `IP:address`."""

    crt: str
    key: str
    ca_crt: str
    ca_key: str
    common_name: str
    organizations: tuple[str, ...] = ()
    usage: str = "clientAuth"
    sans: tuple[str, ...] = ()


def openssl(*argv: str, data: bytes | None = None, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    """Run the openssl command; Fatal with its words when it fails and `check` is set."""
    result = subprocess.run(["openssl", *argv], input=data, capture_output=True, check=False)
    if check and result.returncode:
        raise Fatal(f"openssl {argv[0]} failed: {result.stderr.decode(errors='replace').strip()}")
    return result


def new_key() -> bytes:
    """An EC key in the form that K3s writes."""
    return openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout").stdout


def subject(common_name: str, organizations: Sequence[str] = ()) -> str:
    """A subject in the form of the `-subj` option."""

    def escape(text: str) -> str:
        return text.replace("\\", "\\\\").replace("/", "\\/")

    return "".join(f"/O={escape(item)}" for item in organizations) + f"/CN={escape(common_name)}"


def san_entries(names: Sequence[str]) -> tuple[str, ...]:
    """`DNS:` and `IP:` entries for names and addresses, each once, in order."""
    import ipaddress

    entries = []
    for name in names:
        try:
            entry = f"IP:{ipaddress.ip_address(name)}"
        except ValueError:
            entry = f"DNS:{name}"
        if name and entry not in entries:
            entries.append(entry)
    return tuple(entries)


def ensure_ca(crt: str, key: str, common_name: str) -> None:
    """Make a self-signed CA unless there is one.

    The certificate is written last, so a key alone was never used: a power cut came between the two, and
    it is made again. A certificate alone is an error: a new one would be a silent new CA.
    """
    have_crt, have_key = os.path.exists(crt), os.path.exists(key)
    if have_crt and have_key:
        if not _pair_matches(crt, key):
            raise Fatal(f"{crt} does not match {key}")
        return
    if have_crt:
        raise Fatal(f"{crt} and {key} must both exist or both be missing")
    private = new_key()
    name = f"{common_name}@{int(time.time())}"
    write_atomic(key, private, 0o600)
    try:
        certificate = openssl(
            "req",
            "-new",
            "-x509",
            "-key",
            key,
            "-days",
            str(CA_DAYS),
            "-sha256",
            "-subj",
            subject(name),
            "-addext",
            "keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign",
        ).stdout
        write_atomic(crt, certificate, 0o644)
    except BaseException:
        os.unlink(key)
        raise


def ensure_service_key(path: str) -> None:
    """The RSA key that signs the tokens of service accounts."""
    if not os.path.exists(path):
        write_atomic(path, openssl("genrsa", "-traditional", "2048").stdout, 0o600)


def first_certificate(pem: bytes) -> bytes:
    """The signing certificate of a chain: the signers of kube-controller-manager take no chains."""
    found = re.search(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", pem, re.DOTALL)
    return found.group(0) if found else pem


def _pair_matches(crt: str, key: str) -> bool:
    public = openssl("x509", "-in", crt, "-noout", "-pubkey", check=False)
    private = openssl("pkey", "-in", key, "-pubout", check=False)
    return public.returncode == 0 and private.returncode == 0 and public.stdout == private.stdout


def why_issue(leaf: Leaf) -> str:
    """Why a leaf has to be issued, or an empty string when it can stay."""
    if not os.path.exists(leaf.crt) or not os.path.exists(leaf.key):
        return "it is missing"
    if not _pair_matches(leaf.crt, leaf.key):
        return "it does not match its key"
    if openssl(
        "verify", "-partial_chain", "-no_check_time", "-CAfile", leaf.ca_crt, leaf.crt, check=False
    ).returncode:
        return "it is not from this CA"
    text = openssl(
        "x509",
        "-in",
        leaf.crt,
        "-noout",
        "-checkend",
        str(RENEW_DAYS * 86400),
        "-subject",
        "-nameopt",
        "RFC2253",
        "-ext",
        "subjectAltName",
        check=False,
    )
    if text.returncode:
        return f"it has less than {RENEW_DAYS} days left"
    shown = text.stdout.decode(errors="replace")
    present = {item.strip().replace("IP Address:", "IP:") for item in re.split(r"[,\n]", shown)}
    missing = [san for san in leaf.sans if _shown(san) not in present]
    if missing:
        return f"it lacks {', '.join(missing)}"
    named = re.search(r"(?:^subject=|,)CN=((?:\\.|[^,\\])*)", shown.partition("\n")[0])
    if named is None or re.sub(r"\\(.)", r"\1", named[1]) != leaf.common_name:
        return "it is for another name"
    return ""


def _shown(san: str) -> str:
    """openssl prints IPv6 addresses in its own way: eight groups in upper case."""
    kind, _, value = san.partition(":")
    if kind == "IP" and ":" in value:
        import ipaddress

        groups = ipaddress.ip_address(value).exploded.split(":")
        return "IP:" + ":".join(group.lstrip("0").upper() or "0" for group in groups)
    return san


def openssl_with_pipe(argv: Sequence[str], data: bytes, piped: bytes) -> bytes:
    """Run openssl with `data` on its input and a second, short text through a pipe.

    `{fd}` in an argument is the pipe's number. Arguments and environment of a process can be read by
    others, a pipe cannot.
    """
    reader, writer = os.pipe()
    try:
        os.write(writer, piped)
        os.close(writer)
        result = subprocess.run(
            ["openssl", *(word.replace("{fd}", str(reader)) for word in argv)],
            input=data,
            capture_output=True,
            pass_fds=(reader,),
            check=False,
        )
    finally:
        os.close(reader)
    if result.returncode:
        raise Fatal(f"openssl {argv[0]} failed: {result.stderr.decode(errors='replace').strip()}")
    return result.stdout


def sign(request: bytes, ca_crt: str, ca_key: str, usage: str, sans: Sequence[str]) -> bytes:
    """Sign a request with exactly these extensions; what the request itself asks for is ignored."""
    lines = [
        "[v3]",
        "basicConstraints=critical,CA:FALSE",
        "keyUsage=critical,digitalSignature,keyEncipherment",
        f"extendedKeyUsage={usage}",
    ]
    if sans:
        lines.append("subjectAltName=" + ",".join(sans))
    extensions = "\n".join(lines).encode() + b"\n"
    argv = ["x509", "-req", "-sha256", "-days", str(LEAF_DAYS), "-CA", ca_crt, "-CAkey", ca_key]
    argv += ["-set_serial", f"0x{secrets.token_hex(8)}", "-extensions", "v3", "-extfile", "/dev/fd/{fd}"]
    return openssl_with_pipe(argv, request, extensions)


def request(key: str, common_name: str, organizations: Sequence[str] = (), sans: Sequence[str] = ()) -> bytes:
    """A certificate request for an existing key."""
    argv = ["req", "-new", "-sha256", "-key", key, "-subj", subject(common_name, organizations)]
    if sans:
        argv += ["-addext", "subjectAltName=" + ",".join(sans)]
    return openssl(*argv).stdout


def ensure_leaf(leaf: Leaf) -> bool:
    """Issue the leaf when needed; True when a new pair was written.

    An existing key stays when it can be used, as in K3s: only the certificate is new then.
    """
    reason = why_issue(leaf)
    if not reason:
        return False
    log.info(f"certificate {leaf.crt} is issued: {reason}")
    keep = reason not in ("it does not match its key",) and _usable(leaf.key)
    private = (read(leaf.key) if keep else None) or new_key()
    temporary = leaf.key + ".new"
    write_atomic(temporary, private, 0o600)
    try:
        certificate = sign(
            request(temporary, leaf.common_name, leaf.organizations),
            leaf.ca_crt,
            leaf.ca_key,
            leaf.usage,
            leaf.sans,
        )
        chain = read(leaf.ca_crt) or b""
        write_atomic(leaf.crt + ".new", certificate + chain, 0o644)
        os.rename(temporary, leaf.key)
        os.rename(leaf.crt + ".new", leaf.crt)
    except BaseException:
        for name in (temporary, leaf.crt + ".new"):
            if os.path.exists(name):
                os.unlink(name)
        raise
    return True


def _usable(key: str) -> bool:
    return os.path.exists(key) and openssl("pkey", "-in", key, "-noout", check=False).returncode == 0


def expiry(path: str) -> tuple[str, float]:
    """Subject and end (seconds since 1970) of a certificate file."""
    import calendar

    text = openssl(
        "x509", "-in", path, "-noout", "-enddate", "-subject", "-nameopt", "RFC2253"
    ).stdout.decode()
    end = re.search(r"notAfter=(.*)", text)
    name = re.search(r"subject=(.*)", text)
    assert end is not None
    moment = time.strptime(end.group(1).strip(), "%b %d %H:%M:%S %Y GMT")
    return (name.group(1).strip() if name else ""), float(calendar.timegm(moment))
