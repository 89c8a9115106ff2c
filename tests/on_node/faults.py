"""Faults of a living system, caused for real and undone: what `playbooks/diagnose.yml` has to find (seed 000 6).

Every fault is a context manager of a `Site`. When it has been entered, the fault shows; when it has been left, Observer
is ready again. The clock is never set: a node may share it with its host.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from bed.errors import BedError
from hands import Site, wait_for

NS = "observer-local"
STORAGE = "/opt/local-path-provisioner"
SETTINGS = "/opt/platform/runtime/observer/config"
TLS = "/var/lib/rancher/k3s/server/tls"
IMAGE = "ghcr.io/tawbury/observer"

CAUSED: list[str] = []
"""Faults that are caused together and not yet undone."""

Cause = Callable[[Site], AbstractContextManager[None]]


@dataclass(frozen=True)
class Expected:
    """What a diagnosis has to name: ``subject`` is a part of the fault's subject."""

    code: str
    layer: str
    subject: str


@dataclass(frozen=True)
class Fault:
    """One or more causes at once, and their verdicts."""

    name: str
    causes: tuple[Cause, ...]
    expected: tuple[Expected, ...]

    @contextmanager
    def caused(self, site: Site) -> Iterator[None]:
        """All of it, and undone in the other order."""
        with ExitStack() as stack:
            for cause in self.causes:
                CAUSED.append(self.name)
                stack.callback(CAUSED.pop)
                stack.enter_context(cause(site))
            yield


# --- what faults are made of -----------------------------------------------------------------------


def patch(site: Site, what: str, change: object, kind: str = "merge", namespace: str = NS) -> None:
    site.kubectl(f"-n {namespace} patch {what} --type={kind} -p {shlex.quote(json.dumps(change))}")


def renew(site: Site, app: str = "observer") -> None:
    """End the pod, so that a new one starts with what is there now."""
    site.kubectl(f"-n {NS} delete pod -l app={app} --grace-period=1 --ignore-not-found")


def scale(site: Site, replicas: int, what: str = "deployment/observer", namespace: str = NS) -> None:
    site.kubectl(f"-n {namespace} scale {what} --replicas={replicas}")


def pods(site: Site, app: str = "observer") -> list[dict[str, Any]]:
    """The pods that are not about to go."""
    return [pod for pod in site.get(f"-n {NS} pods -l app={app}")["items"]
            if "deletionTimestamp" not in pod["metadata"]]


def gone(site: Site, app: str = "observer") -> None:
    """Wait until there is no pod."""
    wait_for(lambda: not site.get(f"-n {NS} pods -l app={app}")["items"], f"the end of {app}", 80)


def says(site: Site, words: str, app: str = "observer") -> Callable[[], bool]:
    """Whether the state of a pod's containers has the words."""
    return lambda: any(words in json.dumps(pod.get("status", {}).get("containerStatuses")) for pod in pods(site, app))


def ready(pod: dict[str, Any]) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))


def unready(site: Site) -> Callable[[], bool]:
    """Whether Observer's container runs and is not ready."""
    def question() -> bool:
        return any(status.get("state", {}).get("running") and not ready(pod)
                   for pod in pods(site) for status in pod["status"].get("containerStatuses", []))
    return question


def recovered(site: Site, seconds: float = 120) -> None:
    """Wait until both pods are ready and the Service answers; with another fault still there, not at all."""
    if len(CAUSED) > 1:
        return

    def question() -> bool:
        found = site.get(f"-n {NS} pods")["items"]
        return ({pod["metadata"]["labels"]["app"] for pod in found} == {"observer", "postgres"} and len(found) == 2
                and all(ready(pod) and "deletionTimestamp" not in pod["metadata"] for pod in found)
                and "ready" in site.kubectl(f"get --raw /api/v1/namespaces/{NS}/services/observer:8000/proxy/ready"))
    wait_for(question, "Observer's recovery", seconds)


def volume(site: Site, claim: str) -> str:
    """The folder of a claim."""
    name = site.get(f"-n {NS} pvc {claim}")["spec"]["volumeName"]
    found: str = site.get(f"pv {name}")["spec"]["local"]["path"]
    return found


# --- the faults ------------------------------------------------------------------------------------


@contextmanager
def pending_claim(site: Site) -> Iterator[None]:
    """A claim with a StorageClass that does not exist."""
    claim = site.get(f"-n {NS} pvc observer-universe-pvc")
    name = claim["spec"]["volumeName"]
    metadata = {"name": "observer-universe-pvc", "namespace": NS, "labels": claim["metadata"]["labels"]}
    kept = {key: claim["spec"][key] for key in ("accessModes", "resources")}

    def replace(reference: dict[str, str] | None, how: str, **spec: str) -> None:
        scale(site, 0)
        renew(site)
        gone(site)
        site.kubectl(f"-n {NS} delete pvc observer-universe-pvc")
        # The volume is kept; it is nobody's, or the new claim's.
        patch(site, f"pv {name}", {"spec": {"claimRef": None}})
        if reference:
            patch(site, f"pv {name}", {"spec": {"claimRef": reference}})
        site.kubectl(how, stdin=json.dumps({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": {**kept, **spec}}))
        scale(site, 1)

    replace(None, "create -f -", storageClassName="fast")
    try:
        wait_for(lambda: any("not found" in event["message"] for event in site.get(
            f"-n {NS} events --field-selector=involvedObject.kind=PersistentVolumeClaim,reason=ProvisioningFailed",
        )["items"]) and pods(site), "the pending claim")
        yield
    finally:
        # As it was made: what a claim was made with cannot be changed, so it has to be what git has.
        replace({"namespace": NS, "name": "observer-universe-pvc"},
                "apply --server-side --field-manager=observer-node -f -")
        recovered(site)


@contextmanager
def no_provisioner(site: Site) -> Iterator[None]:
    """A new claim, and nothing that makes its volume."""
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "more", "namespace": NS},
             "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}
    user = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "more", "namespace": NS}, "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": "docker.io/library/busybox:1.36.1", "command": ["sleep", "3600"],
                        "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "more"}}]}}
    scale(site, 0, "deployment/local-path-provisioner", "kube-system")
    try:
        wait_for(lambda: not site.get("-n kube-system pods -l app=local-path-provisioner")["items"], "its end", 60)
        for item in (claim, user):
            site.kubectl("create -f -", stdin=json.dumps(item))
        wait_for(lambda: site.get(f"-n {NS} pvc more")["status"]["phase"] == "Pending", "the claim")
        yield
    finally:
        site.kubectl(f"-n {NS} delete pod more --ignore-not-found --grace-period=0 --force")
        site.kubectl(f"-n {NS} delete pvc more --ignore-not-found")
        scale(site, 1, "deployment/local-path-provisioner", "kube-system")
        site.kubectl("-n kube-system rollout status deployment/local-path-provisioner")
        recovered(site)


@contextmanager
def wrong_password(site: Site) -> Iterator[None]:
    """The registry's password is another one, and the image has to be pulled."""
    secret = site.get(f"-n {NS} secret ghcr-secret")["data"]
    content = json.loads(base64.b64decode(secret[".dockerconfigjson"]))
    (login,) = content["auths"].values()
    login["password"] = "wrong"
    login["auth"] = base64.b64encode(f"{login['username']}:wrong".encode()).decode()
    patch(site, "secret ghcr-secret", {"data": {
        ".dockerconfigjson": base64.b64encode(json.dumps(content).encode()).decode()}})
    try:
        scale(site, 0)
        renew(site)
        gone(site)
        site.ssh("sudo k3s ctr images ls -q name~=tawbury/observer | xargs -r sudo k3s ctr images rm --sync")
        scale(site, 1)
        wait_for(says(site, "ErrImagePull"), "the refused pull")
        yield
    finally:
        # Not through a patch, whose text is an argument of a process.
        site.kubectl(f"-n {NS} patch secret ghcr-secret --type=merge --patch-file=/dev/stdin",
                     stdin=json.dumps({"data": secret}))
        renew(site)
        recovered(site)


@contextmanager
def tag(site: Site, name: str, shown: Callable[[], bool]) -> Iterator[None]:
    """Another build of Observer."""
    before = site.get(f"-n {NS} deployment observer")["spec"]["template"]["spec"]["containers"][0]["image"]
    site.kubectl(f"-n {NS} set image deployment/observer observer={IMAGE}:{name}")
    renew(site)
    try:
        wait_for(shown, f"what {name} does")
        yield
    finally:
        site.kubectl(f"-n {NS} set image deployment/observer observer={before}")
        renew(site)
        recovered(site)


def missing_tag(site: Site) -> AbstractContextManager[None]:
    """A tag that the registry does not have."""
    return tag(site, "build-20991231-235959", says(site, "not found"))


def crashing_build(site: Site) -> AbstractContextManager[None]:
    """A build that ends by itself."""
    return tag(site, "build-20260206-093000", says(site, "CrashLoopBackOff"))


def unready_build(site: Site) -> AbstractContextManager[None]:
    """A build that lives and is never ready."""
    return tag(site, "build-20260206-094500", unready(site))


@contextmanager
def setting(site: Site, change: dict[str, str | None], shown: Callable[[], bool]) -> Iterator[None]:
    """Another observer-config, and a pod that starts with it."""
    before = site.get(f"-n {NS} configmap observer-config")["data"]
    patch(site, "configmap observer-config", {"data": change})
    renew(site)
    try:
        wait_for(shown, f"what {', '.join(change)} does")
        yield
    finally:
        patch(site, "configmap observer-config", {"data": {name: before[name] for name in change}})
        renew(site)
        recovered(site)


def missing_variable(site: Site) -> AbstractContextManager[None]:
    """A variable without which the app ends."""
    return setting(site, {"DB_NAME": None}, says(site, "CrashLoopBackOff"))


def wrong_database_host(site: Site) -> AbstractContextManager[None]:
    """A database host that does not exist."""
    return setting(site, {"DB_HOST": "postgress"}, unready(site))


@contextmanager
def wrong_group(site: Site) -> Iterator[None]:
    """No fsGroup, and volumes as the provisioner makes them: the app cannot write."""
    folders = [volume(site, f"observer-{name}-pvc") for name in ("data", "logs", "universe")]
    groups = site.ssh(f"sudo stat -c '%u:%g %a %n' {' '.join(folders)}").splitlines()
    scale(site, 0)
    renew(site)
    gone(site)
    patch(site, "deployment observer", {"spec": {"template": {"spec": {"securityContext": {"fsGroup": None}}}}})
    site.ssh(f"sudo chown 0:0 {' '.join(folders)}")
    scale(site, 1)
    try:
        wait_for(unready(site), "the refused writing")
        yield
    finally:
        for line in groups:
            owner, mode, path = line.split()
            site.ssh(f"sudo chown {owner} {path}; sudo chmod {mode} {path}")
        patch(site, "deployment observer", {"spec": {"template": {"spec": {"securityContext": {"fsGroup": 1000}}}}})
        renew(site)
        recovered(site)


@contextmanager
def unopened_secret(site: Site) -> Iterator[None]:
    """A SealedSecret that was sealed for another cluster, whose Secret is not there."""
    sealed = site.get(f"-n {NS} sealedsecret observer-secrets")["spec"]["encryptedData"]
    patch(site, "sealedsecret observer-secrets", {"spec": {"encryptedData": {"DB_PASSWORD": "AgBy" + "A" * 600}}})
    try:
        wait_for(lambda: "no key could decrypt" in json.dumps(
            site.get(f"-n {NS} sealedsecret observer-secrets").get("status")), "the controller's refusal")
        site.kubectl(f"-n {NS} delete secret observer-secrets")
        renew(site)
        wait_for(says(site, "CreateContainerConfigError"), "the pod without its Secret")
        yield
    finally:
        patch(site, "sealedsecret observer-secrets", {"spec": {"encryptedData": sealed}})
        wait_for(lambda: site.get(f"-n {NS} secret observer-secrets"), "the Secret")
        renew(site)
        recovered(site)


@contextmanager
def no_endpoints(site: Site) -> Iterator[None]:
    """A Service that selects no pod."""
    patch(site, "service observer", {"spec": {"selector": {"app": "observr"}}})
    try:
        wait_for(lambda: not any(part.get("addresses") for part in site.get(
            f"-n {NS} endpoints observer").get("subsets", [])), "the lost endpoints")
        yield
    finally:
        patch(site, "service observer", {"spec": {"selector": {"app": "observer"}}})
        recovered(site)


@contextmanager
def full_disk(site: Site) -> Iterator[None]:
    """A small file system below the volumes, without a byte left, and a PostgreSQL that starts on it."""
    scale(site, 0)
    scale(site, 0, "statefulset/postgres")
    for app in ("observer", "postgres"):
        renew(site, app)
    for app in ("observer", "postgres"):
        gone(site, app)
    try:
        site.ssh("sudo mkdir -p /mnt/small && sudo mount -t tmpfs -o size=256m,mode=0755 small /mnt/small"
                 f" && sudo cp -a {STORAGE}/. /mnt/small/ && sudo mount --bind /mnt/small {STORAGE}")
        scale(site, 1)
        wait_for(lambda: any(pod["status"].get("containerStatuses", [{}])[0].get("state", {}).get("running")
                             for pod in pods(site)), "Observer's start", 30)
        site.ssh(f"sudo sh -c 'cat /dev/zero > {STORAGE}/filler' 2>/dev/null; sudo df {STORAGE}")
        scale(site, 1, "statefulset/postgres")
        wait_for(says(site, "CrashLoopBackOff", "postgres"), "PostgreSQL's refusal")
        yield
    finally:
        scale(site, 0)
        scale(site, 0, "statefulset/postgres")
        for app in ("observer", "postgres"):
            renew(site, app)
        for app in ("observer", "postgres"):
            gone(site, app)
        site.ssh(f"sudo umount {STORAGE}; sudo umount /mnt/small; sudo rmdir /mnt/small")
        scale(site, 1, "statefulset/postgres")
        scale(site, 1)
        recovered(site)


@contextmanager
def wrong_owner(site: Site) -> Iterator[None]:
    """The folder of settings is root's alone."""
    site.ssh(f"sudo chown root:root {SETTINGS} && sudo chmod 0750 {SETTINGS}")
    try:
        yield
    finally:
        site.ssh(f"sudo chown 1000:1000 {SETTINGS} && sudo chmod 0755 {SETTINGS}")
        with_api = site.ssh("systemctl is-active k3s || true").strip() == "active"
        if with_api:
            recovered(site)


@contextmanager
def firewall(site: Site) -> Iterator[None]:
    """A rule before all others that rejects what is forwarded, as an OCI image's own does."""
    rule = "FORWARD -j REJECT --reject-with icmp-host-prohibited"
    site.ssh(f"sudo iptables -I {rule}")
    try:
        wait_for(unready(site), "the broken connection")
        yield
    finally:
        site.ssh(f"sudo iptables -D {rule}")
        recovered(site)


@contextmanager
def no_k3s(site: Site) -> Iterator[None]:
    """K3s was stopped; the pods live on."""
    site.ssh("sudo systemctl stop k3s")
    try:
        yield
    finally:
        site.ssh("sudo systemctl start k3s", timeout=180)
        recovered(site)


EXPIRED = f"""
set -e
cd "$(mktemp -d)"
cat > ca.conf <<END
[ca]
default_ca = it
[it]
database = index
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
copy_extensions = copyall
unique_subject = no
[any]
commonName = supplied
organizationName = optional
END
: > index
echo 1000 > serial
openssl x509 -x509toreq -copy_extensions copyall -in {TLS}/serving-kube-apiserver.crt \
    -signkey {TLS}/serving-kube-apiserver.key -out request
openssl ca -batch -notext -config ca.conf -cert {TLS}/server-ca.crt -keyfile {TLS}/server-ca.key -in request \
    -startdate 20240101000000Z -enddate 20250101000000Z -out new.crt
cp -p {TLS}/serving-kube-apiserver.crt {TLS}/kept.crt
cat new.crt {TLS}/server-ca.crt > {TLS}/serving-kube-apiserver.crt
"""


@contextmanager
def expired_certificate(site: Site) -> Iterator[None]:
    """The API serves a certificate of the cluster's own CA that is over."""
    site.ssh("sudo sh", stdin=EXPIRED)
    try:
        def refused() -> bool:
            try:
                site.kubectl("get --raw /version")
            except BedError as error:
                return "expired" in str(error)
            return False
        wait_for(refused, "the expired certificate", 90)
        yield
    finally:
        site.ssh(f"sudo mv {TLS}/kept.crt {TLS}/serving-kube-apiserver.crt")
        wait_for(lambda: site.kubectl("get --raw /version"), "the API", 90)
        recovered(site)


# --- all of them -----------------------------------------------------------------------------------

CLAIM = Expected("FAULT-09", "deployment", f"PersistentVolumeClaim {NS}/observer-universe-pvc")
PROVISIONER = Expected("FAULT-10", "cluster", "Deployment kube-system/local-path-provisioner")
PASSWORD = Expected("FAULT-16", "config", f"Secret {NS}/ghcr-secret")
TAG = Expected("FAULT-17", "deployment", f"Deployment {NS}/observer")
CRASH = Expected("FAULT-21", "app", f"Deployment {NS}/observer")
NEVER = Expected("FAULT-24", "app", f"Pod {NS}/observer-")
VARIABLE = Expected("FAULT-19", "config", f"ConfigMap {NS}/observer-config lacks DB_NAME")
GROUP = Expected("FAULT-25", "deployment", f"Deployment {NS}/observer runs with fsGroup")
DATABASE = Expected("FAULT-27", "config", f"ConfigMap {NS}/observer-config says DB_HOST")
SEALED = Expected("FAULT-14", "config", f"SealedSecret {NS}/observer-secrets")
SERVICE = Expected("FAULT-31", "deployment", f"Service {NS}/observer")
DISK = Expected("FAULT-05", "node", STORAGE)
OWNER = Expected("FAULT-07", "node", SETTINGS)
FIREWALL = Expected("FAULT-06", "node", "iptables FORWARD")
K3S = Expected("FAULT-02", "cluster", "k3s.service")
CERTIFICATE = Expected("FAULT-03", "cluster", f"{TLS}/serving-kube-apiserver.crt")

FAULTS = (
    Fault("a claim is pending", (pending_claim,), (CLAIM,)),
    Fault("nothing makes volumes", (no_provisioner,), (PROVISIONER,)),
    Fault("the registry's password is wrong", (wrong_password,), (PASSWORD,)),
    Fault("the tag is missing", (missing_tag,), (TAG,)),
    Fault("the build crashes", (crashing_build,), (CRASH,)),
    Fault("the build is never ready", (unready_build,), (NEVER,)),
    Fault("a variable is missing", (missing_variable,), (VARIABLE,)),
    Fault("fsGroup is wrong", (wrong_group,), (GROUP,)),
    Fault("the database's host is wrong", (wrong_database_host,), (DATABASE,)),
    Fault("a SealedSecret cannot be opened", (unopened_secret,), (SEALED,)),
    Fault("a Service has no endpoints", (no_endpoints,), (SERVICE,)),
    Fault("the disk is full", (full_disk,), (DISK,)),
    Fault("a folder has the wrong owner", (wrong_owner,), (OWNER,)),
    Fault("the firewall eats pod traffic", (firewall,), (FIREWALL,)),
    Fault("K3s is down", (no_k3s,), (K3S,)),
    Fault("a certificate has expired", (expired_certificate,), (CERTIFICATE,)),
    Fault("host of the database and Service", (wrong_database_host, no_endpoints), (DATABASE, SERVICE)),
    Fault("owner of a folder and K3s", (wrong_owner, no_k3s), (OWNER, K3S)),
    Fault("firewall and variable", (firewall, missing_variable), (FIREWALL, VARIABLE)),
)
