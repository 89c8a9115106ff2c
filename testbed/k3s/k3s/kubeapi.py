"""A few requests to the API server without a client library and without starting kubectl."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import tempfile
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


class ApiError(Exception):
    """An answer outside 2xx."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message or f"{status} {reason}")
        self.status = status
        self.reason = reason


@dataclass
class Api:
    """A client with a certificate, a bearer token or neither."""

    url: str
    ca_file: str = ""
    ca_data: str = ""
    certificate: str = ""
    key: str = ""
    token: str = ""
    timeout: float = 10.0

    def _context(self) -> ssl.SSLContext:
        if not self.ca_file and not self.ca_data:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        context = ssl.create_default_context(cafile=self.ca_file or None, cadata=self.ca_data or None)
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key)
        return context

    def raw(
        self, method: str, path: str, body: bytes | None = None, content_type: str = "application/json"
    ) -> tuple[int, str, bytes]:
        """One request; errors of the connection are OSError or http.client.HTTPException."""
        parts = urlsplit(self.url)
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port or 443, timeout=self.timeout, context=self._context()
        )
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = content_type
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.reason, answer.read()
        finally:
            connection.close()

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Any:
        """One request with JSON both ways."""
        data = None if body is None else json.dumps(body).encode()
        status, reason, answer = self.raw(method, path, data, content_type)
        try:
            document = json.loads(answer) if answer else {}
        except ValueError:
            document = {}
        if not 200 <= status < 300:
            raise ApiError(status, reason, document.get("message", "") if isinstance(document, dict) else "")
        return document

    def get(self, path: str) -> Any:
        """Read an object or a list."""
        return self.request("GET", path)

    def post(self, path: str, body: Any) -> Any:
        """Create an object."""
        return self.request("POST", path, body)

    def merge_patch(self, path: str, body: Any) -> Any:
        """Change single fields of an object."""
        return self.request("PATCH", path, body, "application/merge-patch+json")

    def apply(self, path: str, body: Any, manager: str = "k3s-supervisor") -> Any:
        """Server-side apply; JSON is YAML."""
        return self.request(
            "PATCH", f"{path}?fieldManager={manager}&force=true", body, "application/apply-patch+yaml"
        )

    def ready(self, path: str = "/readyz") -> bool:
        """Whether the server answers `ok`; a connection that fails means "not yet"."""
        try:
            return self.raw("GET", path)[0] == 200
        except (OSError, http.client.HTTPException):
            return False


def server_certificate_verifies(url: str, ca: bytes) -> bool:
    """Whether the server at `url` shows a certificate of this CA."""
    fd, name = tempfile.mkstemp()
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(ca)
        Api(url, ca_file=name).raw("GET", "/livez")
        return True
    except (OSError, http.client.HTTPException):
        return False
    finally:
        os.unlink(name)
