"""The light client against a real TLS server on the loopback, and kubeconfigs."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kube.client import ApiError, Client, Kubeconfig, KubeError, Unreachable


@dataclass(frozen=True)
class Authority:
    """A certificate authority and what it signs."""

    name: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def certificate(self, common_name: str, key: ec.EllipticCurvePrivateKey, *, authority: bool = False) -> str:
        now = datetime.datetime.now(datetime.UTC)
        names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in (common_name, self.name)]
        builder = (
            x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1]).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    def own(self) -> str:
        return self.certificate(self.name, self.key, authority=True)

    def pair(self, common_name: str) -> tuple[str, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
        return self.certificate(common_name, key), text.decode()


class Handler(BaseHTTPRequestHandler):
    """Says who asked, or what the path tells it to; hangs up after each answer to /once."""

    protocol_version = "HTTP/1.1"
    asked = False

    def do_GET(self) -> None:
        peer = self.connection.getpeercert()
        name = dict(part[0] for part in peer["subject"])["commonName"]
        status, body = 200, json.dumps({"name": name, "port": self.client_address[1]}).encode()
        if self.path.startswith("/missing"):
            status, body = 404, json.dumps({"message": "no such thing", "reason": "NotFound", "details": {
                "kind": "things", "causes": [{"field": "spec.a", "message": "is immutable"}]}}).encode()
        elif self.path.startswith("/text"):
            status, body = 500, b"something broke"
        elif self.path.startswith("/busy") and not Handler.asked:
            Handler.asked = True
            status, body = 503, b"try later"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if self.path.startswith("/once"):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("cluster")


@pytest.fixture(scope="module")
def config(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubeconfig]:
    """A kubeconfig of a server that wants a client certificate of the authority."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "ca").write_text(authority.own())
    (folder / "server").write_text("".join(authority.pair("server")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server")
    context.load_verify_locations(folder / "ca")
    context.verify_mode = ssl.CERT_REQUIRED
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    certificate, key = authority.pair("somebody")
    yield Kubeconfig(f"https://127.0.0.1:{server.server_address[1]}", "node", authority.own(), certificate, key)
    server.shutdown()


def test_one_connection_is_kept(config: Kubeconfig) -> None:
    client = Client(config)
    answers = [client.request("GET", "/a") for _ in range(3)]
    assert answers[0]["name"] == "somebody"
    assert len({answer["port"] for answer in answers}) == 1
    assert client.another().request("GET", "/a")["port"] != answers[0]["port"]


def test_a_connection_that_the_server_closed_is_opened_again(config: Kubeconfig) -> None:
    client = Client(config)
    first, second = client.request("GET", "/once"), client.request("GET", "/once")
    assert first["port"] != second["port"]


def test_an_error_keeps_what_the_server_says(config: Kubeconfig) -> None:
    with pytest.raises(ApiError, match="no such thing") as caught:
        Client(config).request("GET", "/missing")
    error = caught.value
    assert (error.status, error.reason, error.kind) == (404, "NotFound", "things")
    assert error.causes == [("spec.a", "is immutable")]
    with pytest.raises(ApiError, match="something broke"):
        Client(config).request("GET", "/text")


def test_a_server_that_is_busy_is_asked_again(config: Kubeconfig) -> None:
    assert Client(config).request("GET", "/busy")["name"] == "somebody"
    assert Handler.asked


def test_get_of_nothing(config: Kubeconfig) -> None:
    client = Client(config)
    assert client.get("/missing") is None
    assert client.items("/missing") == []


def test_a_certificate_of_another_cluster_is_not_accepted(config: Kubeconfig) -> None:
    with pytest.raises(Unreachable, match="shows a certificate that node does not vouch for"):
        Client(replace(config, authority=Authority("cluster").own())).request("GET", "/a")


def test_nobody_at_the_other_end(config: Kubeconfig) -> None:
    with pytest.raises(Unreachable, match="Nothing listens at https://127") as caught:
        Client(replace(config, server="https://127.0.0.1:1")).request("GET", "/a")
    assert "cluster_access" in caught.value.remedy


def test_damaged_certificates_are_named(config: Kubeconfig) -> None:
    with pytest.raises(KubeError, match="certificates in the kubeconfig of node cannot be used"):
        Client(replace(config, key=config.key[:60]))


def test_no_key_is_left_behind(config: Kubeconfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    Client(config)
    with pytest.raises(KubeError):
        Client(replace(config, key="damaged"))
    assert list(tmp_path.iterdir()) == []


def test_a_kubeconfig_reads_back_as_it_was_written(config: Kubeconfig) -> None:
    assert Kubeconfig.parse(config.text(), "it") == config


def test_k3s_own_kubeconfig_is_read() -> None:
    def data(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    text = yaml.safe_dump({
        "apiVersion": "v1", "kind": "Config", "current-context": "default", "preferences": {},
        "clusters": [{"name": "default", "cluster": {
            "server": "https://127.0.0.1:6443", "certificate-authority-data": data("ca")}}],
        "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
        "users": [{"name": "default", "user": {
            "client-certificate-data": data("certificate"), "client-key-data": data("key")}}],
    })
    assert Kubeconfig.parse(text, "it") == Kubeconfig("https://127.0.0.1:6443", "default", "ca", "certificate", "key")


@pytest.mark.parametrize("text", ["", "a: [", "clusters: []", "current-context: x\ncontexts: []\n"])
def test_what_is_no_kubeconfig_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "k"
    path.write_text(text)
    with pytest.raises(KubeError, match="is not a kubeconfig with certificates in it"):
        Kubeconfig.load(path)


def test_a_missing_kubeconfig_says_what_writes_it(tmp_path: Path) -> None:
    with pytest.raises(KubeError, match="cannot be read: No such file or directory") as caught:
        Kubeconfig.load(tmp_path / "k")
    assert "cluster_access" in caught.value.remedy
