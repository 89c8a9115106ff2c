import base64
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k3s import certs, join, nodepassword, server
from k3s.kubeapi import ApiError
from k3s.settings import Paths, Settings

CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


class FakeApi:
    """Enough of the API for the approver: requests, Secrets, nodes, one ConfigMap."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.log: list[tuple[str, str, Any]] = []

    def get(self, path: str) -> Any:
        plain = path.partition("?")[0]
        if plain in (CSRS, "/api/v1/nodes"):
            return {"items": [item for key, item in self.objects.items() if key.startswith(plain + "/")]}
        if plain not in self.objects:
            raise ApiError(404, "Not Found", "")
        return self.objects[plain]

    def post(self, path: str, body: Any) -> Any:
        self.objects[f"{path}/{body['metadata']['name']}"] = body
        return body

    def merge_patch(self, path: str, body: Any) -> Any:
        self.log.append(("patch", path.partition("?")[0], body))
        return self.objects[path.partition("?")[0]]

    def request(self, method: str, path: str, body: Any = None) -> Any:
        self.log.append((method, path, body))
        return body


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


def add(
    api: FakeApi,
    tmp_path: Path,
    name: str,
    *,
    node: str = "n2",
    wanted: str = "client-kubelet",
    password: str = "pw",
    signer: str = "",
    common_name: str = "",
    groups: tuple[str, ...] = ("k3s:agent",),
) -> None:
    key = tmp_path / "key"
    if not key.exists():
        key.write_bytes(certs.new_key())
    cn, organizations = join.expected_subject(join.SIGNERS[wanted], node, wanted)
    pem = certs.request(str(key), common_name or cn, organizations)
    api.objects[f"{CSRS}/{name}"] = {
        "metadata": {
            "name": name,
            "labels": {join.LABEL: "true", "k3s.io/certificate": wanted},
            "annotations": {join.NODE_ANNOTATION: node, join.PASSWORD_ANNOTATION: password},
        },
        "spec": {
            "request": base64.b64encode(pem).decode(),
            "signerName": signer or join.SIGNERS[wanted],
            "groups": list(groups),
        },
    }


def decisions(api: FakeApi) -> dict[str, tuple[str, str]]:
    found = {}
    for method, path, body in api.log:
        if method == "PUT":
            condition = body["status"]["conditions"][0]
            found[path.split("/")[-2]] = (condition["type"], condition["message"])
    return found


def test_first_join_creates_the_secret_and_hides_the_password(api: FakeApi, tmp_path: Path) -> None:
    add(api, tmp_path, "a")
    join.Approver(api).scan()  # type: ignore[arg-type]
    assert decisions(api)["a"][0] == "Approved"
    assert "/api/v1/namespaces/kube-system/secrets/n2.node-password.k3s" in api.objects
    assert api.log[-1] == (
        "patch",
        f"{CSRS}/a",
        {"metadata": {"annotations": {join.PASSWORD_ANNOTATION: None}}},
    )


def test_a_decision_that_failed_half_way_is_made_again_with_the_password(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(api, tmp_path, "a")
    seen = []

    def breaks(_api: object, node: str, password: str) -> None:
        seen.append((node, password))
        if len(seen) == 1:
            raise ConnectionError("the API is away")

    monkeypatch.setattr(nodepassword, "ensure_secret", breaks)
    with pytest.raises(ConnectionError):
        join.Approver(api).scan()  # type: ignore[arg-type]
    join.Approver(api).scan()  # type: ignore[arg-type]
    assert len(set(seen)) == 1 and seen[0][1]
    assert decisions(api)["a"][0] == "Approved"


def test_wrong_password_is_denied_with_k3s_message(api: FakeApi, tmp_path: Path) -> None:
    nodepassword.ensure_secret(api, "n2", "right")  # type: ignore[arg-type]
    add(api, tmp_path, "a", password="wrong")
    join.Approver(api).scan()  # type: ignore[arg-type]
    kind, message = decisions(api)["a"]
    assert kind == "Denied"
    assert message == nodepassword.rejected_text()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"groups": ("system:authenticated",)}, "not a request of an agent"),
        ({"node": "Bad_Name"}, "invalid node name 'Bad_Name'"),
        ({"common_name": "system:node:other"}, "the request is not for this node"),
        ({"wanted": "client-kube-proxy", "common_name": "system:admin"}, "the request is not for this node"),
        ({"password": ""}, "node password not set"),
        ({"signer": "kubernetes.io/legacy-unknown"}, "unexpected signer kubernetes.io/legacy-unknown"),
    ],
)
def test_what_is_denied(api: FakeApi, tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    add(api, tmp_path, "a", **change)
    join.Approver(api).scan()  # type: ignore[arg-type]
    assert decisions(api)["a"] == ("Denied", reason)
    assert not any("secrets" in key for key in api.objects)


def test_decided_requests_are_left_alone(api: FakeApi, tmp_path: Path) -> None:
    add(api, tmp_path, "a")
    api.objects[f"{CSRS}/a"]["status"] = {"conditions": [{"type": "Approved"}]}
    del api.objects[f"{CSRS}/a"]["metadata"]["annotations"][join.PASSWORD_ANNOTATION]
    join.Approver(api).scan()  # type: ignore[arg-type]
    assert api.log == []


def test_node_hosts(api: FakeApi) -> None:
    join.node_hosts(api)  # type: ignore[arg-type]  # no CoreDNS: nothing happens
    path = "/api/v1/namespaces/kube-system/configmaps/coredns"
    api.objects[path] = {"data": {"Corefile": "x"}}
    api.objects["/api/v1/nodes/n1"] = {
        "metadata": {"name": "n1"},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": "10.0.0.5"},
                {"type": "Hostname", "address": "n1"},
            ]
        },
    }
    join.node_hosts(api)  # type: ignore[arg-type]
    assert api.log == [("patch", path, {"data": {"NodeHosts": "10.0.0.5 n1\n"}})]
    api.objects[path]["data"]["NodeHosts"] = "10.0.0.5 n1\n"
    join.node_hosts(api)  # type: ignore[arg-type]
    assert len(api.log) == 1


def test_label_node(api: FakeApi, make: Callable[..., Settings]) -> None:
    made = make("--node-external-ip=1.2.3.4")
    assert not join.label_node(api, made, server=True)  # type: ignore[arg-type]
    api.objects["/api/v1/nodes/n1"] = {"metadata": {"labels": {}}}
    assert join.label_node(api, made, server=True)  # type: ignore[arg-type]
    metadata = api.log[0][2]["metadata"]
    assert metadata["labels"] == {"node-role.kubernetes.io/control-plane": "true"}
    assert metadata["annotations"]["k3s.io/external-ip"] == "1.2.3.4"
    api.objects["/api/v1/nodes/n1"]["metadata"].update(metadata)
    assert join.label_node(api, made, server=True)  # type: ignore[arg-type]
    assert len(api.log) == 1


def test_controllers_survive_errors(
    make: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopping = threading.Event()
    rounds = []

    def wait(seconds: float) -> bool:
        rounds.append(seconds)
        return len(rounds) > 2

    monkeypatch.setattr(stopping, "wait", wait)

    class Broken:
        def get(self, path: str) -> Any:
            raise ConnectionRefusedError("refused")

    join.controllers(Broken(), make(), stopping)  # type: ignore[arg-type]
    assert capsys.readouterr().err.count("controllers: refused") == 2


def test_agents_may_use_either_token() -> None:
    lines = join.agent_tokens("server-pw", "agent-pw").splitlines()
    assert len(lines) == 2
    assert all(line.endswith(',node,node,"k3s:agent"') for line in lines)
    assert "pw" not in "".join(line.split(",")[0] for line in lines)
    assert len(join.agent_tokens("same", "same").splitlines()) == 1


def test_token_files_of_a_server(make: Callable[..., Settings]) -> None:
    made = make("--token=server-pw", "--agent-token=agent-pw")
    server.issue_certificates(made)
    server.write_tokens(made, "server-pw")
    paths: Paths = made.paths
    assert Path(paths.server("token")).read_text().endswith("::server:server-pw\n")
    assert Path(paths.server("agent-token")).read_text().endswith("::node:agent-pw\n")
    assert Path(paths.cred("passwd")).stat().st_mode & 0o777 == 0o600
    made.agent_token = ""
    server.write_tokens(made, "server-pw")
    assert Path(paths.server("agent-token")).resolve() == Path(paths.server("token"))


def test_admin_kubeconfig(
    make: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CONFIG_DIR", str(tmp_path / "etc"))
    made = make()
    server.write_admin_kubeconfig(made)
    standard = tmp_path / "etc" / "k3s.yaml"
    assert standard.stat().st_mode & 0o777 == 0o600
    assert "server: https://127.0.0.1:6443" in standard.read_text()
    other = tmp_path / "other.yaml"
    made = make(f"--write-kubeconfig={other}", "--write-kubeconfig-mode=644")
    server.write_admin_kubeconfig(made)
    assert other.stat().st_mode & 0o777 == 0o644
    assert standard.readlink() == other
    made = make("--write-kubeconfig-mode=640")
    server.write_admin_kubeconfig(made)
    assert not standard.is_symlink()
    assert standard.stat().st_mode & 0o777 == 0o640
