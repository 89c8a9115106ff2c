"""A client for the API server of the node it runs on: it only reads, and says why there is no answer."""

from __future__ import annotations

import base64
import binascii
import calendar
import contextlib
import http.client
import json
import os
import re
import ssl
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

KUBECONFIG = "/etc/rancher/k3s/k3s.yaml"
K3S_TLS = "/var/lib/rancher/k3s/server/tls"
LOCAL_SERVER = "https://127.0.0.1:6443"

SECONDS = 6.0
"""Longest silence of the API server within one call."""

MOST_BYTES = 64 * 1024 * 1024
MOST_ERROR = 65536
MOST_WORDS = 400
"""Characters of a problem."""

EXPIRED, NOT_YET = 10, 9
"""Numbers that OpenSSL gives when a certificate is past its end, or before its beginning."""

VALIDITY = re.compile(rb"\x30.(?:\x17\x0d(\d{12})|\x18\x0f(\d{14}))Z(?:\x17\x0d(\d{12})|\x18\x0f(\d{14}))Z", re.S)
"""The two times of a certificate in DER: UTCTime until 2049, GeneralizedTime after."""


class ApiProblem(Exception):
    """No answer, or not the one that was asked for.

    ``kind`` is ``none`` (no K3s server here), ``refused``, ``timeout``, ``certificate``, ``unauthorized``,
    ``forbidden``, ``missing``, ``status`` or ``broken``; the text says it in words. ``server`` is true when there was
    an answer at all. ``whole`` is the text without a cut: whoever takes secrets out of it begins with that.
    """

    def __init__(self, kind: str, why: str, server: bool = False) -> None:
        super().__init__(why[:MOST_WORDS])
        self.whole = why
        self.kind = kind
        self.server = server


class Access(NamedTuple):
    """Where the API server is, and what to show it. Empty certificates: plain HTTP."""

    server: str
    authority: bytes
    certificate: bytes
    key: bytes


def find_access(kubeconfig: str = KUBECONFIG, tls: str = K3S_TLS) -> Access:
    """What K3s wrote for its administrator, or the files that it was made of.

    :raises ApiProblem: there is neither, or they cannot be read.
    """
    with contextlib.suppress(FileNotFoundError):
        return of_kubeconfig(readable(kubeconfig).decode(errors="replace"), kubeconfig)
    try:
        parts = [readable(f"{tls}/{name}") for name in ("server-ca.crt", "client-admin.crt", "client-admin.key")]
    except FileNotFoundError as error:
        raise ApiProblem("none", f"there is no K3s server on this node: neither {kubeconfig} nor {error.filename} "
                         "is there") from None
    return Access(LOCAL_SERVER, *parts)


def readable(path: str) -> bytes:
    """:raises FileNotFoundError: there is no such file. :raises ApiProblem: it cannot be read."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ApiProblem("none", f"{path} cannot be read: {error.strerror}") from None


def of_kubeconfig(text: str, name: str) -> Access:
    """K3s writes one cluster and one user, so the first of each field is the right one."""
    def field(key: str) -> str:
        match = re.search(rf"^[ -]*{key}:[ \t]*[\"']?([^\s\"']+)", text, re.M)
        return match[1] if match else ""

    server = field("server")
    if not server:
        raise ApiProblem("none", f"{name} names no server")
    try:
        return Access(server, *(base64.b64decode(field(key), validate=True) for key in (
            "certificate-authority-data", "client-certificate-data", "client-key-data")))
    except (binascii.Error, ValueError):
        raise ApiProblem("none", f"{name} has certificates that are no base64") from None


def validity(certificate: bytes) -> tuple[float, float] | None:
    """When a certificate (PEM or DER, the first of a chain) begins and ends, as epochs; None where nothing says it."""
    if b"-----BEGIN" in certificate:
        match = re.search(rb"-----BEGIN CERTIFICATE-----(.+?)-----END", certificate, re.S)
        try:
            certificate = base64.b64decode(match[1]) if match else b""
        except binascii.Error:
            return None
    found = VALIDITY.search(certificate)
    if not found:
        return None
    begin, end = found[1] or found[2], found[3] or found[4]
    return moment(begin.decode()), moment(end.decode())


def moment(digits: str) -> float:
    """A time of a certificate; two digits of a year are of 1950 to 2049."""
    if len(digits) == 12:
        digits = ("19" if digits[0] >= "5" else "20") + digits
    return float(calendar.timegm(time.strptime(digits, "%Y%m%d%H%M%S")))


def date(epoch: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(epoch))


def span(times: tuple[float, float] | None, now: float) -> str:
    """What is wrong with a certificate's time, in words; nothing when it is valid now."""
    if times and now > times[1]:
        return f"expired on {date(times[1])}"
    return f"is not valid before {date(times[0])}" if times and now < times[0] else ""


class Api:
    """One keep-alive connection.

    :param access: left out, that of this node's K3s, looked for when it is first needed.
    :ivar calls: requests that were sent.
    """

    def __init__(self, access: Access | None = None, seconds: float = SECONDS) -> None:
        self.calls = 0
        self.seconds = seconds
        self._access = access
        self._connection: http.client.HTTPConnection | None = None

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """An object, or a list of them. :raises ApiProblem: as ``text``."""
        try:
            found = json.loads(self.text(path, **query))
        except ValueError:
            raise ApiProblem("broken", f"{path}: the API server answers what is no JSON", True) from None
        return found if isinstance(found, dict) else {}

    def items(self, path: str, **query: str) -> list[dict[str, Any]]:
        """The objects of a list. :raises ApiProblem: as ``text``."""
        return [one for one in self.get(path, **query).get("items") or [] if isinstance(one, dict)]

    def text(self, path: str, **query: str) -> str:
        """The body of an answer.

        :raises ApiProblem: there is no answer, or it is an error.
        """
        target = f"{path}?{urlencode(query)}" if query else path
        fresh = self._connection is None
        try:
            status, body = self._send(target)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            self.close()
            if fresh:
                raise self._problem(error) from None
            try:  # The server may have ended an idle connection.
                status, body = self._send(target)
            except (OSError, http.client.HTTPException) as again:
                self.close()
                raise self._problem(again) from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._problem(error) from None
        if status == 200:
            return body.decode(errors="replace")
        said = body[:MOST_ERROR].decode(errors="replace")
        with contextlib.suppress(ValueError, AttributeError):
            said = str(json.loads(body).get("message") or said)
        if status == 401:
            wrong = span(validity(self.access.certificate), time.time())
            raise ApiProblem("unauthorized", "the API server does not know who asks (401 Unauthorized)"
                             + (f": the client certificate {wrong}" if wrong else ""), True)
        kind = {403: "forbidden", 404: "missing"}.get(status, "status")
        raise ApiProblem(kind, f"{path}: {status}: {' '.join(said.split())}", True)

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None

    @property
    def access(self) -> Access:
        """:raises ApiProblem: there is no K3s server here."""
        if self._access is None:
            self._access = find_access()
        return self._access

    def _send(self, target: str) -> tuple[int, bytes]:
        connection = self._connection or self._connect()
        self._connection = connection
        self.calls += 1
        connection.request("GET", target, headers={"Accept": "application/json", "User-Agent": "observer-node"})
        answer = connection.getresponse()
        return answer.status, answer.read(MOST_BYTES)

    def _connect(self) -> http.client.HTTPConnection:
        where = urlsplit(self.access.server)
        if where.scheme == "http":
            return http.client.HTTPConnection(where.hostname or "", where.port, timeout=self.seconds)
        return http.client.HTTPSConnection(where.hostname or "", where.port or 443, timeout=self.seconds,
                                           context=self._context())

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(cadata=self.access.authority.decode())
            # The ssl module takes files only; this one is in no folder, and gone with its descriptor.
            with os.fdopen(os.memfd_create("client"), "wb") as file:
                file.write(self.access.certificate + b"\n" + self.access.key)
                file.flush()
                context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
        except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
            raise ApiProblem("none", f"the certificates of K3s' administrator cannot be used: {error}") from None
        return context

    def _problem(self, error: Exception) -> ApiProblem:
        where = urlsplit(self.access.server).netloc
        if isinstance(error, ssl.SSLCertVerificationError):
            wrong = span(self._served(), time.time()) if error.verify_code in (EXPIRED, NOT_YET) else ""
            return ApiProblem("certificate", f"the certificate of {where} "
                              + (wrong or f"is not accepted: {error.verify_message}"), True)
        if isinstance(error, TimeoutError):
            return ApiProblem("timeout", f"{where} did not answer within {self.seconds:g} s")
        if isinstance(error, ConnectionRefusedError):
            return ApiProblem("refused", f"nothing listens on {where} (connection refused)")
        if isinstance(error, ssl.SSLError):
            wrong = span(validity(self.access.certificate), time.time())
            return ApiProblem("certificate", f"{where} refuses the connection: "
                              + (f"the client certificate {wrong}" if wrong else str(error.reason or error)), True)
        return ApiProblem("broken", f"{where}: {type(error).__name__}: {error}")

    def _served(self) -> tuple[float, float] | None:
        """When the certificate that the server shows begins and ends."""
        where = urlsplit(self.access.server)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing but its dates is read
        connection = http.client.HTTPSConnection(where.hostname or "", where.port or 443, timeout=self.seconds,
                                                 context=context)
        try:
            connection.connect()
            shown = connection.sock.getpeercert(binary_form=True)
            return validity(shown or b"")
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
