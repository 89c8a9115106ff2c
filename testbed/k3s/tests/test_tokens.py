import base64
import hashlib

import pytest

from k3s import nodepassword, tokens
from k3s.errors import Fatal
from k3s.kubeapi import ApiError

PEM = b"-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n"


def test_forms() -> None:
    digest = "a" * 64
    assert tokens.parse("secret") == tokens.Token(password="secret")
    assert tokens.parse("se:cr:et") == tokens.Token(password="se:cr:et")
    assert tokens.parse(f"K10{digest}::server:se:cret") == tokens.Token(digest, "server", "se:cret")
    assert tokens.parse("K10server:x") == tokens.Token("", "server", "x")
    assert tokens.parse("abcdef.0123456789abcdef").bootstrap == "abcdef.0123456789abcdef"
    assert tokens.parse(f"K10{digest}::abcdef.0123456789abcdef").bootstrap


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "token must not be empty"),
        ("K10abc::server:x", "invalid token CA hash length"),
        (f"K10{'a' * 64}::server", "invalid token format"),
        (f"K10{'a' * 64}::server:", "invalid token format"),
    ],
)
def test_malformed(text: str, message: str) -> None:
    with pytest.raises(Fatal) as error:
        tokens.parse(text)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "text", ["abcdef.0123456789abcdef", f"K10{'a' * 64}::abcdef.0123456789abcdef", "K10abc::x:y"]
)
def test_what_is_no_server_token(text: str) -> None:
    with pytest.raises(Fatal) as error:
        tokens.server_password(text)
    assert str(error.value) == (
        "failed to normalize server token; must be in format "
        "K10<CA-HASH>::<USERNAME>:<PASSWORD> or <PASSWORD>"
    )


def test_secure_form_round_trip() -> None:
    text = tokens.secure("server", "pw", PEM)
    assert text == f"K10{hashlib.sha256(PEM).hexdigest()}::server:pw"
    tokens.check_ca(tokens.parse(text), PEM)
    assert tokens.server_password(text) == "pw"


def test_other_ca_is_refused() -> None:
    token = tokens.parse(f"K10{'0' * 64}::server:pw")
    with pytest.raises(Fatal) as error:
        tokens.check_ca(token, PEM)
    assert str(error.value) == (
        f"token CA hash does not match the Cluster CA certificate hash: {'0' * 64} != {tokens.ca_hash(PEM)}"
    )


def test_a_chain_is_hashed_by_its_root() -> None:
    root = b"-----BEGIN CERTIFICATE-----\nYg==\n-----END CERTIFICATE-----\n"
    assert tokens.ca_hash(PEM + root) == hashlib.sha256(b"b").hexdigest()


def test_bearer_does_not_show_the_password() -> None:
    assert "secret" not in tokens.bearer("secret")
    assert tokens.bearer("a") != tokens.bearer("b")


class FakeApi:
    def __init__(self) -> None:
        self.objects: dict[str, dict[str, object]] = {}

    def get(self, path: str) -> dict[str, object]:
        if path not in self.objects:
            raise ApiError(404, "Not Found", "")
        return self.objects[path]

    def post(self, path: str, body: dict[str, dict[str, str]]) -> None:
        self.objects[f"{path}/{body['metadata']['name']}"] = body  # type: ignore[assignment]


def test_node_password_secret() -> None:
    api = FakeApi()
    nodepassword.ensure_secret(api, "N1", "right")  # type: ignore[arg-type]
    path = "/api/v1/namespaces/kube-system/secrets/n1.node-password.k3s"
    secret = api.objects[path]
    assert secret["immutable"] is True
    nodepassword.ensure_secret(api, "N1", "right")  # type: ignore[arg-type]
    with pytest.raises(nodepassword.Rejected) as error:
        nodepassword.ensure_secret(api, "N1", "wrong")  # type: ignore[arg-type]
    assert str(error.value) == (
        "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may "
        "not match server node-passwd entry, try enabling a unique node name with the --with-node-id flag"
    )
    assert api.objects[path] is secret


def test_hash_format() -> None:
    stored = nodepassword.create_hash("pw")
    kind, salt, log_n, r, p, key = stored.split(":")
    assert (kind, log_n, r, p) == ("$1", "15", "8", "1")
    assert len(bytes.fromhex(salt)) == 8
    assert len(base64.b64decode(key + "==")) == 64
    assert nodepassword.verify_hash(stored, "pw")
    assert not nodepassword.verify_hash(stored, "other")
    assert not nodepassword.verify_hash("garbage", "pw")
    assert not nodepassword.verify_hash("$1:zz:15:8:1:x", "pw")
