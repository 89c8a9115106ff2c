"""How an agent joins: the server's side and the agent's side.

K3s has an own HTTP endpoint (the supervisor) that hands certificates to nodes that know the token and
the node password (pkg/server/handlers, pkg/agent/config/config.go). The stand-in has no such
endpoint; it uses what Kubernetes has. The CA and the cluster's settings are in ConfigMaps. The token
becomes a bearer token that may only create certificate requests and read one back. The requests carry
the node password; the server's approver takes it out, checks it against the node's Secret and approves
or denies; kube-controller-manager signs. Refusals and their messages are K3s'.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from . import certs, log, nodepassword, tokens
from .errors import Fatal
from .files import read, write_atomic
from .kubeapi import Api, ApiError, server_certificate_verifies
from .settings import Settings

GROUP = "k3s:agent"
USER = "node"
LABEL = "k3s.io/agent-join"
PASSWORD_ANNOTATION = "k3s.io/node-password"
NODE_ANNOTATION = "k3s.io/node-name"
_CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
_PUBLIC = "/api/v1/namespaces/kube-public/configmaps/k3s-cluster"
_CONFIG = "/api/v1/namespaces/kube-system/configmaps/k3s-agent-config"
_SHARED = (
    "cluster_cidr",
    "service_cidr",
    "cluster_dns",
    "cluster_domain",
    "flannel_backend",
    "disable_kube_proxy",
    "disable_network_policy",
    "system_default_registry",
)

SIGNERS = {
    "client-kubelet": "kubernetes.io/kube-apiserver-client-kubelet",
    "serving-kubelet": "kubernetes.io/kubelet-serving",
    "client-kube-proxy": "kubernetes.io/kube-apiserver-client",
    "client-k3s-controller": "kubernetes.io/kube-apiserver-client",
}


# The server's side


def agent_tokens(server_password: str, agent_password: str) -> str:
    """The token file of the API server: the agents' token, and the server's, which agents may use too."""
    passwords = dict.fromkeys((agent_password, server_password))
    return "".join(f'{tokens.bearer(password)},{USER},{USER},"{GROUP}"\n' for password in passwords)


def publish(api: Api, settings: Settings) -> None:
    """Write the ConfigMaps that agents read: one for everyone, one for those with a token."""
    paths = settings.paths
    public = {
        "server-ca.crt": (read(paths.tls("server-ca.crt")) or b"").decode(),
        "client-ca.crt": (read(paths.tls("client-ca.crt")) or b"").decode(),
    }
    private = {"config.json": json.dumps({name: getattr(settings, name) for name in _SHARED}, sort_keys=True)}
    for path, namespace, name, data in (
        (_PUBLIC, "kube-public", "k3s-cluster", public),
        (_CONFIG, "kube-system", "k3s-agent-config", private),
    ):
        api.apply(
            path,
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": namespace},
                "data": data,
            },
        )


_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


def expected_subject(signer: str, node: str, wanted: str) -> tuple[str, tuple[str, ...]]:
    """Common name and organizations that a request of this kind must have."""
    if signer == SIGNERS["client-kube-proxy"]:
        return ("system:kube-proxy" if wanted == "client-kube-proxy" else "system:k3s-controller"), ()
    return f"system:node:{node}", ("system:nodes",)


def request_subject(pem: bytes) -> tuple[str, tuple[str, ...]]:
    """Common name and organizations of a certificate request."""
    text = certs.openssl("req", "-noout", "-subject", "-nameopt", "sep_multiline,utf8", data=pem, check=False)
    lines = [line.strip() for line in text.stdout.decode(errors="replace").splitlines()]
    name = [line[3:] for line in lines if line.startswith("CN=")]
    return (name[0] if len(name) == 1 else ""), tuple(line[2:] for line in lines if line.startswith("O="))


class Approver:
    """Decides the requests of agents. Everything else in the API's list of requests is left alone."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def scan(self) -> None:
        """Decide every request that has no decision yet, then take the passwords out.

        In this order: a request whose decision failed half-way is decided again with its password. One
        that lost it first would be judged by an empty one.
        """
        listed = self.api.get(f"{_CSRS}?labelSelector={LABEL}%3Dtrue")
        for item in listed.get("items", []):
            metadata = item["metadata"]
            if not (item.get("status") or {}).get("conditions"):
                self._decide(item)
            if (metadata.get("annotations") or {}).get(PASSWORD_ANNOTATION):
                path = f"{_CSRS}/{metadata['name']}"
                self.api.merge_patch(path, {"metadata": {"annotations": {PASSWORD_ANNOTATION: None}}})

    def _decide(self, item: dict[str, Any]) -> None:
        metadata, spec = item["metadata"], item["spec"]
        annotations = metadata.get("annotations") or {}
        path = f"{_CSRS}/{metadata['name']}"
        problem = self.problem(
            spec,
            annotations.get(NODE_ANNOTATION, ""),
            annotations.get(PASSWORD_ANNOTATION, ""),
            metadata.get("labels", {}).get("k3s.io/certificate", ""),
        )
        kind, reason = ("Denied", "NodePassword") if problem else ("Approved", "NodePasswordVerified")
        item["status"] = {
            "conditions": [
                {
                    "type": kind,
                    "status": "True",
                    "reason": reason,
                    "message": problem or "approved by the k3s stand-in",
                }
            ]
        }
        self.api.request("PUT", f"{path}/approval", item)
        log.info(
            f"certificate request {metadata['name']} of node {annotations.get(NODE_ANNOTATION, '')}: "
            f"{problem or 'approved'}"
        )

    def problem(self, spec: dict[str, Any], node: str, password: str, wanted: str) -> str:
        """Why a request is denied, or an empty string."""
        if GROUP not in spec.get("groups", []):
            return "not a request of an agent"
        if not _NODE_NAME.fullmatch(node):
            return f"invalid node name {node!r}"
        signer = spec.get("signerName", "")
        if wanted not in SIGNERS or SIGNERS[wanted] != signer:
            return f"unexpected signer {signer}"
        if request_subject(base64.b64decode(spec["request"])) != expected_subject(signer, node, wanted):
            return "the request is not for this node"
        if not password:
            return "node password not set"
        try:
            nodepassword.ensure_secret(self.api, node, password)
        except nodepassword.Rejected as error:
            return str(error)
        return ""


def node_hosts(api: Api) -> None:
    """Fill `NodeHosts` of CoreDNS with the nodes, as K3s' node controller does (pkg/node/controller.go)."""
    path = "/api/v1/namespaces/kube-system/configmaps/coredns"
    try:
        config = api.get(path)
    except ApiError as error:
        if error.status == 404:
            return
        raise
    lines = []
    for node in api.get("/api/v1/nodes").get("items", []):
        for address in node.get("status", {}).get("addresses", []):
            if address["type"] == "InternalIP":
                lines.append(f"{address['address']} {node['metadata']['name']}")
    text = "".join(line + "\n" for line in sorted(lines))
    if (config.get("data") or {}).get("NodeHosts") != text:
        api.merge_patch(path + "?fieldManager=k3s-supervisor", {"data": {"NodeHosts": text}})


def label_node(api: Api, settings: Settings, server: bool) -> bool:
    """Set what the kubelet may not set itself; True when the node is there and has it."""
    path = f"/api/v1/nodes/{settings.node_name}"
    try:
        node = api.get(path)
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    labels = {"node-role.kubernetes.io/control-plane": "true"} if server else {}
    annotations = {"k3s.io/hostname": settings.node_name, "k3s.io/internal-ip": ",".join(settings.node_ips)}
    if settings.node_external_ips:
        annotations["k3s.io/external-ip"] = ",".join(settings.node_external_ips)
    metadata = node["metadata"]
    if any(
        (metadata.get(kind) or {}).get(key) != value
        for kind, wanted in (("labels", labels), ("annotations", annotations))
        for key, value in wanted.items()
    ):
        api.merge_patch(path, {"metadata": {"labels": labels, "annotations": annotations}})
    return True


def controllers(api: Api, settings: Settings, stopping: threading.Event) -> None:
    """The loop of the server: requests of agents each second, the rest every five."""
    approver = Approver(api)
    labelled, count = False, 0
    while not stopping.wait(1.0):
        try:
            approver.scan()
            if count % 5 == 0 or not labelled:
                labelled = label_node(api, settings, server=True)
                node_hosts(api)
        except (OSError, http.client.HTTPException, ApiError, Fatal, ValueError, KeyError) as error:
            log.warning(f"controllers: {error}")
        count += 1


# The agent's side


def fetch_ca(url: str) -> tuple[bytes, bytes]:
    """Server CA and client CA, taken over a connection that is not verified yet."""
    data = Api(url).get(_PUBLIC).get("data", {})
    return data.get("server-ca.crt", "").encode(), data.get("client-ca.crt", "").encode()


def validate(settings: Settings, token: tokens.Token) -> tuple[bytes, bytes]:
    """The CAs, checked against the token and the server's own certificate (ParseAndValidateToken)."""
    url = settings.server_url
    try:
        server_ca, client_ca = fetch_ca(url)
    except (OSError, http.client.HTTPException, ApiError) as error:
        raise Fatal(f'failed to get CA certs: Get "{url}/cacerts": {error}') from error
    if not server_ca:
        raise Fatal(f'failed to get CA certs: Get "{url}/cacerts": no certificate')
    if not server_certificate_verifies(url, server_ca):
        raise Fatal("CA cert validation failed: certificate signed by unknown authority")
    if token.ca_hash:
        tokens.check_ca(token, server_ca)
    else:
        log.warning(
            "Cluster CA certificate is not trusted by the host CA bundle, but the token does not include "
            "a CA hash. Use the full token from the server's node-token file to enable Cluster CA validation."
        )
    return server_ca, client_ca


def fetch_config(api: Api, settings: Settings) -> None:
    """The cluster's settings; 401 here means that the token is wrong."""
    try:
        data = api.get(_CONFIG).get("data", {})
    except ApiError as error:
        raise Fatal(
            "failed to retrieve configuration from server: "
            f"{settings.server_url}/v1-k3s/config: {error.status} {error.reason}"
        ) from error
    for name, value in json.loads(data["config.json"]).items():
        if name in _SHARED:
            setattr(settings, name, value)


def obtain(
    api: Api,
    settings: Settings,
    wanted: str,
    password: str,
    sans: tuple[str, ...] = (),
    sleep: Callable[[float], None] = time.sleep,
    attempts: int = 60,
) -> None:
    """Get one certificate of this node: make a request, wait for the decision, store the pair."""
    paths, signer = settings.paths, SIGNERS[wanted]
    key = paths.agent(f"{wanted}.key")
    if read(key) is None:
        write_atomic(key, certs.new_key(), 0o600)
    name, organizations = expected_subject(signer, settings.node_name, wanted)
    pem = certs.request(key, name, organizations, sans)
    usage = "server auth" if wanted == "serving-kubelet" else "client auth"
    made = api.post(
        _CSRS,
        {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {
                "generateName": f"k3s-{wanted}-",
                "labels": {LABEL: "true", "k3s.io/certificate": wanted},
                "annotations": {NODE_ANNOTATION: settings.node_name, PASSWORD_ANNOTATION: password},
            },
            "spec": {
                "request": base64.b64encode(pem).decode(),
                "signerName": signer,
                "usages": ["digital signature", usage],
            },
        },
    )
    for _ in range(attempts):
        found = api.get(f"{_CSRS}/{made['metadata']['name']}")
        status = found.get("status") or {}
        if status.get("certificate"):
            write_atomic(paths.agent(f"{wanted}.crt"), base64.b64decode(status["certificate"]), 0o644)
            return
        for condition in status.get("conditions", []):
            if condition["type"] in ("Denied", "Failed"):
                raise Fatal(
                    condition.get("message") or f"certificate request was {condition['type'].lower()}"
                )
        sleep(1.0)
    raise Fatal(f"{os.path.basename(key)}: the server has not decided about the certificate request")


def valid_for(settings: Settings, wanted: str) -> bool:
    """Whether the agent's stored certificate can still be used, so that a restart needs no new one."""
    paths = settings.paths
    crt, key = paths.agent(f"{wanted}.crt"), paths.agent(f"{wanted}.key")
    ca = paths.agent("server-ca.crt" if wanted == "serving-kubelet" else "client-ca.crt")
    name, _ = expected_subject(SIGNERS[wanted], settings.node_name, wanted)
    sans = serving_sans(settings) if wanted == "serving-kubelet" else ()
    return not certs.why_issue(certs.Leaf(crt, key, ca, "", name, sans=sans))


def serving_sans(settings: Settings) -> tuple[str, ...]:
    """The names of the kubelet's serving certificate (ServingKubeletCert)."""
    return certs.san_entries(
        [
            settings.node_name,
            "localhost",
            "127.0.0.1",
            *settings.node_ips,
            *settings.node_external_ips,
            *settings.node_dns,
        ]
    )


def join_once(settings: Settings, password: str, sleep: Callable[[float], None] = time.sleep) -> None:
    """One attempt to get everything from the server; Fatal carries the message for the log."""
    paths = settings.paths
    token = tokens.parse(settings.token)
    server_ca, client_ca = validate(settings, token)
    write_atomic(paths.agent("server-ca.crt"), server_ca, 0o644)
    write_atomic(paths.agent("client-ca.crt"), client_ca, 0o644)
    api = Api(settings.server_url, ca_file=paths.agent("server-ca.crt"), token=tokens.bearer(token.password))
    fetch_config(api, settings)
    for wanted in SIGNERS:
        # The kubelet's certificate is asked for at each start: that is when the node proves its password.
        if wanted == "client-kubelet" or not valid_for(settings, wanted):
            obtain(
                api,
                settings,
                wanted,
                password,
                serving_sans(settings) if wanted == "serving-kubelet" else (),
                sleep,
            )
