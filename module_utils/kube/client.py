"""A kubeconfig with a client certificate, and one keep-alive connection to the API server that it names."""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import os
import ssl
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import yaml

Object = dict[str, Any]
"""A Kubernetes object, or part of one, as JSON gives it."""

SECONDS = 10.0
"""Longest silence of the API server within one request."""

BUSY = (429, 503)
BUSY_SECONDS = 10.0

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class KubeError(Exception):
    """What ends an action: one sentence that says what is wrong, and one that says what to do."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class Unreachable(KubeError):
    """No answer from the API server, or not from the right one."""


class ApiError(KubeError):
    """The API server refused a request.

    ``status`` is the HTTP status, ``reason`` Kubernetes' word for it (``NotFound``, ``Invalid``), ``causes`` are the
    fields that it names, each with its message.
    """

    def __init__(self, status: int, document: Object) -> None:
        super().__init__(str(document.get("message") or f"HTTP status {status}"))
        self.status = status
        self.reason = str(document.get("reason") or "")
        details = document.get("details") or {}
        self.kind = str(details.get("kind") or "")
        self.causes: list[tuple[str, str]] = [
            (str(cause.get("field") or ""), str(cause.get("message") or "")) for cause in details.get("causes") or []
        ]


@dataclass(frozen=True)
class Kubeconfig:
    """The current context of a kubeconfig: where the API is, whom to trust and as whom to come (PEM)."""

    server: str
    cluster: str
    authority: str
    certificate: str
    key: str

    @classmethod
    def parse(cls, text: str | bytes, name: str) -> Kubeconfig:
        """Read a kubeconfig that holds its certificates itself, as K3s writes it.

        :param name: what to call it in an error.
        :raises KubeError: it is no such kubeconfig.
        """
        try:
            document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            context = _named(document["contexts"], document["current-context"])["context"]
            cluster = _named(document["clusters"], context["cluster"])["cluster"]
            user = _named(document["users"], context["user"])["user"]
            return cls(
                server=str(cluster["server"]), cluster=str(context["cluster"]),
                authority=_decoded(cluster["certificate-authority-data"]),
                certificate=_decoded(user["client-certificate-data"]), key=_decoded(user["client-key-data"]),
            )
        except (yaml.YAMLError, KeyError, TypeError, StopIteration, binascii.Error, UnicodeDecodeError) as error:
            raise KubeError(
                f"{name} is not a kubeconfig with certificates in it, as K3s writes it.",
                "Remove the file and run the play again: it is made anew from the node's.",
            ) from error

    @classmethod
    def load(cls, path: Path) -> Kubeconfig:
        """:raises KubeError: the file cannot be read or is no kubeconfig with certificates."""
        try:
            return cls.parse(path.read_bytes(), str(path))
        except OSError as error:
            raise KubeError(
                f"The kubeconfig {path} cannot be read: {error.strerror}.",
                "Run the action cluster_access first; it writes that file.",
            ) from error

    def text(self) -> str:
        """The kubeconfig as a file's content; contains the private key."""
        def data(pem: str) -> str:
            return base64.b64encode(pem.encode()).decode()

        return yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "observer-node",
            "clusters": [{"name": self.cluster, "cluster": {
                "server": self.server, "certificate-authority-data": data(self.authority)}}],
            "contexts": [{"name": "observer-node", "context": {"cluster": self.cluster, "user": "observer-node"}}],
            "users": [{"name": "observer-node", "user": {
                "client-certificate-data": data(self.certificate), "client-key-data": data(self.key)}}],
        }, sort_keys=False)


def _named(items: list[Object], name: str) -> Object:
    return next(item for item in items if item["name"] == name)


def _decoded(data: str) -> str:
    return base64.b64decode(data, validate=True).decode("ascii")


class Client:
    """One connection to an API server. Not for use by two threads at once.

    Requests raise :class:`ApiError` for an answer that is no success and :class:`Unreachable` for none.
    """

    def __init__(self, config: Kubeconfig, seconds: float = SECONDS) -> None:
        self.config = config
        self._context = _tls(config)
        address = urlsplit(config.server)
        self._connection = http.client.HTTPSConnection(
            address.hostname or "", address.port, context=self._context, timeout=seconds
        )
        self._kinds: dict[str, dict[str, Object]] = {}

    def another(self) -> Client:
        """A second connection to the same server, for another thread."""
        copy = object.__new__(Client)
        copy.config, copy._context, copy._kinds = self.config, self._context, self._kinds
        old = self._connection
        copy._connection = http.client.HTTPSConnection(
            old.host, old.port, context=self._context, timeout=old.timeout
        )
        return copy

    def close(self) -> None:
        self._connection.close()

    def send(
        self, method: str, path: str, query: Mapping[str, str | int] | None = None, body: object = None,
        content_type: str = "application/json",
    ) -> tuple[int, bytes]:
        """Send one request and return the status and the body of whatever answer came.

        A connection that the server closed meanwhile is opened anew, once: every request of this project has the
        same end when it is made twice.
        """
        url = f"{path}?{urlencode(query)}" if query else path
        data = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json", "User-Agent": "observer-node"}
        if data is not None:
            headers["Content-Type"] = content_type
        fresh = self._connection.sock is None
        while True:
            try:
                self._connection.request(method, url, body=data, headers=headers)
                answer = self._connection.getresponse()
                return answer.status, answer.read()
            except ssl.SSLCertVerificationError as error:
                self._connection.close()
                raise Unreachable(
                    f"{self.config.server} shows a certificate that {self.config.cluster} does not vouch for: "
                    f"{error.verify_message}.",
                    "Run the play again; when it stays, compare the node with the inventory: it may be another one.",
                ) from error
            except ConnectionRefusedError as error:
                raise Unreachable(
                    f"Nothing listens at {self.config.server}: the SSH connection that forwarded it to"
                    f" {self.config.cluster} has ended.",
                    "Run the play again; the action cluster_access has to come at most a minute before.",
                ) from error
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                if fresh:
                    raise Unreachable(
                        f"The Kubernetes API at {self.config.server} ({self.config.cluster}) does not answer: "
                        f"{str(error) or type(error).__name__}.",
                        "Look at the service on the node: `systemctl status k3s`, `journalctl -u k3s`.",
                    ) from error
                fresh = True

    def request(
        self, method: str, path: str, query: Mapping[str, str | int] | None = None, body: object = None,
        content_type: str = "application/json",
    ) -> Object:
        """Send one request and return the JSON object that came back.

        An API server that has just started, or has too much to do, is asked again.
        """
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            status, answer = self.send(method, path, query, body, content_type)
            if status not in BUSY or time.monotonic() > deadline:
                break
            time.sleep(0.3)
        try:
            document = json.loads(answer) if answer else {}
        except ValueError:
            document = {"message": answer.decode(errors="replace").strip()}
        if status >= 400:
            raise ApiError(status, document if isinstance(document, dict) else {})
        result: Object = document
        return result

    def get(self, path: str, query: Mapping[str, str | int] | None = None) -> Object | None:
        """The object at a path, or nothing when there is none."""
        try:
            return self.request("GET", path, query)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def items(self, path: str, query: Mapping[str, str | int] | None = None) -> list[Object]:
        """The objects of a collection."""
        found: list[Object] = (self.get(path, query) or {}).get("items") or []
        return found

    def resource(self, api_version: str, kind: str) -> Object | None:
        """What the server says of a kind (``name`` is its plural, ``namespaced``), or nothing when it has none.

        Answers are kept, refusals are not: a CustomResourceDefinition may come about in between.
        """
        if kind not in self._kinds.get(api_version, {}):
            found = self.get(_group(api_version)) or {}
            self._kinds[api_version] = {
                entry["kind"]: entry for entry in found.get("resources") or [] if "/" not in entry["name"]
            }
        return self._kinds[api_version].get(kind)

    def path(self, item: Object) -> str | None:
        """The path of an object, or nothing when the server does not know its kind.

        :raises KubeError: a namespaced object has no namespace.
        """
        entry = self.resource(item["apiVersion"], item["kind"])
        if entry is None:
            return None
        path = _group(item["apiVersion"])
        metadata = item["metadata"]
        if entry["namespaced"]:
            if not metadata.get("namespace"):
                raise KubeError(f"{item['kind']} {metadata['name']}: its namespace is missing.",
                                "Name it in metadata.namespace.")
            path += f"/namespaces/{quote(metadata['namespace'])}"
        return f"{path}/{entry['name']}/{quote(metadata['name'])}"


def _group(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _tls(config: Kubeconfig) -> ssl.SSLContext:
    """Trust the cluster's own authority only, and come with the client certificate."""
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cadata=config.authority)
        # Python takes a client certificate from a file only. This one can be read by nobody else and goes at once.
        descriptor, name = tempfile.mkstemp(prefix="observer-node-")
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{config.certificate.rstrip()}\n{config.key.rstrip()}\n")
            context.load_cert_chain(name)
        finally:
            Path(name).unlink()
    except (ssl.SSLError, ValueError) as error:
        raise KubeError(
            f"The certificates in the kubeconfig of {config.cluster} cannot be used: {error}.",
            "Remove the kubeconfig and run the play again: it is made anew from the node's.",
        ) from error
    return context
