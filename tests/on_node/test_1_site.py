"""The life of one node: a plan, the run, a second run that changes nothing, hand edits, a reboot."""

from __future__ import annotations

import base64
import json
import re
import shlex
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from bed import nodes, settings
from hands import Run, Site, differences, wait_for

NAMESPACE = "observer-local"


@pytest.fixture(scope="module")
def planned(site: Site) -> Run:
    """Check mode on the bare node."""
    before = site.snapshot()
    run = site.play("--check", "--diff").ok()
    assert differences(before, site.snapshot()) == {}
    return run


@pytest.fixture(scope="module")
def provisioned(site: Site, planned: Run) -> Run:
    """The first real run."""
    return site.play().ok()


def serving(site: Site) -> bool:
    """Whether Observer answers `/ready` through its Service, from the node."""
    address = site.get(f"-n {NAMESPACE} service observer")["spec"]["clusterIP"]
    return "200" in site.ssh(f"curl -s -o /dev/null -w '%{{http_code}}' --max-time 3 http://{address}:8000/ready")


def running(site: Site) -> dict[str, Any]:
    """What must not change when nothing is changed: processes, pods and their restarts."""
    pods = site.get("pods -A")["items"]
    return {
        "k3s": site.ssh("systemctl show k3s.service --property ExecMainPID --value").strip(),
        "pods": {pod["metadata"]["uid"]: sum(status["restartCount"] for status in pod["status"]["containerStatuses"])
                 for pod in pods},
    }


def declared(site: Site) -> dict[str, list[str]]:
    """A snapshot without what a living cluster writes by itself."""
    found = site.snapshot()
    living = (r"/(opt/local-path-provisioner/|var/lib/(rancher|kubelet|cni|observer-node)|"
              r"opt/platform/runtime/observer/config/)")
    return {**found, "files": [line for line in found["files"] if not re.match(living, line)],
            # It may be looking just now.
            "units": [line for line in found["units"] if not line.startswith("observer-watch.service")],
            "firewall": [line for line in found["firewall"] if "OBSERVER" in line], "processes": []}


def test_the_plan_on_a_bare_node_is_exactly_what_the_run_then_changes(planned: Run, provisioned: Run) -> None:
    # Where it says the same, the order may differ: what a new kind or namespace is needed for waits for it.
    assert sorted(planned.changes) == sorted(provisioned.changes)
    assert len(planned.changes) > 40
    assert planned.record["check_mode"] is True


def test_it_serves(site: Site, provisioned: Run) -> None:
    assert serving(site)


def test_the_closing_card(provisioned: Run) -> None:
    lines = provisioned.output.rstrip().splitlines()
    card = lines[max(number for number, line in enumerate(lines) if line.startswith("Done in ")):]
    assert len(card) <= 25
    # A path or an address is never broken, whatever its length.
    assert all(len(line) <= 80 or len(line.split()) <= 2 for line in card)
    text = " ".join(" ".join(card).split())
    for words in ("observer:build-20260205-142425 and postgres:15", f"in namespace {NAMESPACE} on obs-local",
                  "K3s v1.34.3+k3s1", "curl http://127.0.0.1:18000/health", "KUBECONFIG=", "next"):
        assert words in text, text


def test_no_secret_is_seen_anywhere(site: Site, provisioned: Run) -> None:
    secrets = json.loads(site.kubectl(f"-n {NAMESPACE} get secret observer-secrets -o json"))["data"]
    token = site.ssh("sudo cat /etc/rancher/k3s/token").strip()
    loud = site.play("-vvv", "--diff", environment={"ANSIBLE_STDOUT_CALLBACK": "operator"}).ok()
    values = [base64.b64decode(value).decode() for key, value in secrets.items() if re.search("PASSWORD|SECRET", key)]
    pull = json.loads(base64.b64decode(site.get(f"-n {NAMESPACE} secret ghcr-secret")["data"][".dockerconfigjson"]))
    values += [next(iter(pull["auths"].values()))["password"]]
    key = (site.folder.parent / "state/observer-node/local-secrets/vault_sealing.yml").read_text()
    values += [line.strip() for line in key.splitlines() if len(line.strip()) == 64][5:7]
    values += [yaml.safe_load(site.ssh("sudo cat /etc/rancher/k3s/k3s.yaml"))["users"][0]["user"]["client-key-data"]]
    assert len(values) >= 6
    for value in [token, *values]:
        assert len(value) >= 8
        for text in (provisioned.output, json.dumps(provisioned.record), loud.output):
            assert value not in text
    world = site.ssh("sudo find /etc /opt /var/lib/rancher -xdev -type f -perm -o+r -size -100k 2>/dev/null"
                     f" | sudo xargs -r -d '\\n' grep -lsF -f <(echo '{token}') || true")
    assert world.strip() == ""


def test_a_second_run_changes_nothing_and_needs_no_network(site: Site, provisioned: Run) -> None:
    before = (running(site), declared(site))
    away = [settings.MIRROR_ADDRESS, settings.REGISTRY_ADDRESS]
    for address in away:
        site.ssh(f"sudo ip route add unreachable {address}")
    try:
        again = site.play().ok()
        traced = site.play(prefix=("strace", "--follow-forks", "--quiet=all", "--trace=connect",
                                   "--output", str(site.folder.parent / "trace"))).ok()
    finally:
        for address in away:
            site.ssh(f"sudo ip route delete unreachable {address}")
    assert again.changes == traced.changes == []
    assert again.executed <= 35
    assert running(site) == before[0]
    assert differences(before[1], declared(site)) == {}
    trace = (site.folder.parent / "trace").read_text()
    reached = set(re.findall(r'sin6?_port=htons\((\d+)\).*?inet_addr\("([^"]+)"\)', trace))
    assert {address for _, address in reached} <= {"127.0.0.1", site.node.address}, reached
    assert "AF_INET6" not in trace


def test_a_plan_on_a_converged_node_is_empty(site: Site, provisioned: Run) -> None:
    assert site.play("--check", "--diff").ok().changes == []


def edit(command: str) -> Callable[[Site], str]:
    return lambda site: site.ssh(f"sudo sh -c {shlex.quote(command)}")


def kubectl(line: str) -> Callable[[Site], str]:
    return lambda site: site.kubectl(line)


K3S = "/etc/rancher/k3s"
IMAGES = "/var/lib/rancher/k3s/agent/images/k3s-airgap-images-amd64.tar.zst"

SETTING = "-p '{\"data\":{\"LOG_LEVEL\":\"DEBUG\"}}'"
SETTING_TOO_MANY = "-p '{\"data\":{\"MINE\":\"1\"}}'"

Edits = dict[str, tuple[Callable[[Site], str], list[str]]]
"""What is edited by hand, and exactly what the next run reports."""

MACHINE: Edits = {
    "marker": (edit("echo > /etc/observer-node/node.json"), ["node: /etc/observer-node/node.json: content"]),
    "time zone": (edit("ln -sf /usr/share/zoneinfo/UTC /etc/localtime"), ["node: /etc/localtime: target"]),
    "time zone's name": (edit("echo UTC > /etc/timezone"), ["node: /etc/timezone: content"]),
    "modules": (edit("rm /etc/modules-load.d/observer-node.conf"),
                ["node: /etc/modules-load.d/observer-node.conf: created"]),
    "settings file": (edit("sed -i s/1024/128/ /etc/sysctl.d/zz-observer-node.conf"),
                      ["node: /etc/sysctl.d/zz-observer-node.conf: content"]),
    "settings file's owner": (edit("chown 1000 /etc/sysctl.d/zz-observer-node.conf"),
                              ["node: /etc/sysctl.d/zz-observer-node.conf: owner 1000:0 to 0:0"]),
    "live setting": (edit("sysctl -qw net.ipv4.ip_forward=0"), ["node: sysctl net.ipv4.ip_forward: value"]),
    "firewall settings": (edit("chmod 666 /etc/observer-node/firewall.json"),
                          ["node: /etc/observer-node/firewall.json: mode 0666 to 0644"]),
    "firewall program": (edit("echo '# mine' >> /etc/observer-node/firewall.py"),
                         ["node: /etc/observer-node/firewall.py: content"]),
    "firewall unit": (edit("systemctl disable --quiet observer-firewall.service"),
                      ["node: observer-firewall.service: enabled"]),
    "firewall jump": (edit("iptables -D FORWARD -j OBSERVER-NODE-FORWARD"),
                      ["node: iptables filter FORWARD: jump to OBSERVER-NODE-FORWARD"]),
    "firewall rule": (edit("iptables -I OBSERVER-NODE-FORWARD -s 192.0.2.1 -j ACCEPT"),
                      ["node: iptables filter OBSERVER-NODE-FORWARD: rules"]),
    "closed ports": (edit("iptables -t mangle -F OBSERVER-NODE-CLOSED"),
                     ["node: iptables mangle OBSERVER-NODE-CLOSED: rules"]),
}
RESTARTING: Edits = {
    "K3s' settings": (edit(f"echo 'debug: true' >> {K3S}/config.yaml"),
                      [f"k3s: {K3S}/config.yaml: content", "k3s: k3s.service: restarted"]),
    "K3s' registries": (edit(f"rm {K3S}/registries.yaml"),
                        [f"k3s: {K3S}/registries.yaml: created", "k3s: k3s.service: restarted"]),
    "registry's CA": (edit(f"rm {K3S}/registry-ca.crt"),
                      [f"k3s: {K3S}/registry-ca.crt: created", "k3s: k3s.service: restarted"]),
    "unit": (edit("sed -i /TasksMax/d /etc/systemd/system/k3s.service"),
             ["k3s: /etc/systemd/system/k3s.service: content", "k3s: k3s.service: restarted"]),
    "binary": (edit("echo >> /usr/local/bin/k3s.new; cat /usr/local/bin/k3s >> /usr/local/bin/k3s.new;"
                    " chmod 755 /usr/local/bin/k3s.new; mv /usr/local/bin/k3s.new /usr/local/bin/k3s"),
               ["k3s: RELEASE/k3s: downloaded", "k3s: /usr/local/bin/k3s: installed", "k3s: k3s.service: restarted"]),
}
CALM: Edits = {
    "K3s' settings, readable": (edit(f"chmod 644 {K3S}/config.yaml"),
                                [f"k3s: {K3S}/config.yaml: mode 0644 to 0600"]),
    "token file": (edit(f"echo other > {K3S}/token"), [f"k3s: {K3S}/token: content"]),
    "unit at boot": (edit("systemctl disable --quiet k3s.service"), ["k3s: k3s.service: enabled"]),
    "command": (edit("ln -sf /bin/true /usr/local/bin/crictl"), ["k3s: /usr/local/bin/crictl: target"]),
    "binary's rights": (edit("chown 1000 /usr/local/bin/k3s; chmod 700 /usr/local/bin/k3s"),
                        ["k3s: /usr/local/bin/k3s: mode 0700 to 0755",
                         "k3s: /usr/local/bin/k3s: owner 1000:0 to 0:0"]),
    "images": (edit(f"rm {IMAGES}"),
               ["k3s: RELEASE/k3s-airgap-images-amd64.tar.zst: downloaded", f"k3s: {IMAGES}: installed"]),
    "volumes' folder": (edit("chmod 755 /opt/local-path-provisioner"),
                        ["local_path: /opt/local-path-provisioner: mode 0755 to 0700"]),
    "config folder": (edit("chown root:root /opt/platform/runtime/observer/config"),
                      ["config_dir: /opt/platform/runtime/observer/config: owner 0:0 to 1000:1000"]),
}
STOPPED: Edits = {"service": (edit("systemctl stop k3s.service"), ["k3s: k3s.service: started"])}
OBJECTS: Edits = {
    "StorageClass": (kubectl("delete storageclass local-path"), ["local_path: StorageClass local-path: created"]),
    "provisioner": (kubectl("-n kube-system scale deployment local-path-provisioner --replicas=0"),
                    ["local_path: Deployment kube-system/local-path-provisioner: spec.replicas"]),
    "provisioner's rights": (kubectl("label clusterrole local-path-provisioner-role mine=yes"),
                             ["local_path: ClusterRole local-path-provisioner-role: metadata.labels.mine"]),
    "sealed-secrets' Service": (kubectl("-n sealed-secrets delete service sealed-secrets-controller"),
                                ["sealed_secrets: Service sealed-secrets/sealed-secrets-controller: created"]),
    "namespace": (kubectl(f"label namespace {NAMESPACE} --overwrite environment=other"),
                  [f"observer: Namespace {NAMESPACE}: metadata.labels.environment"]),
    # A pod that was started since, such as the second replica, has the edited value until it is started anew.
    "a setting": (kubectl(f"-n {NAMESPACE} patch configmap observer-config {SETTING}"),
                  [f"observer: ConfigMap {NAMESPACE}/observer-config: data.LOG_LEVEL",
                   f"observer: Deployment {NAMESPACE}/observer: restarted"]),
    "replicas": (kubectl(f"-n {NAMESPACE} scale deployment observer --replicas=2"),
                 [f"observer: Deployment {NAMESPACE}/observer: spec.replicas"]),
    "NetworkPolicy": (kubectl(f"-n {NAMESPACE} delete networkpolicy default-deny"),
                      [f"observer: NetworkPolicy {NAMESPACE}/default-deny: created"]),
    "SealedSecret": (kubectl(f"-n {NAMESPACE} delete sealedsecret ghcr-secret"),
                     [f"observer: SealedSecret {NAMESPACE}/ghcr-secret: created"]),
    "disruption budget": (kubectl(f"-n {NAMESPACE} delete poddisruptionbudget observer"),
                          [f"observer: PodDisruptionBudget {NAMESPACE}/observer: created"]),
}
ADDED: Edits = {
    "a setting too many": (kubectl(f"-n {NAMESPACE} patch configmap observer-config {SETTING_TOO_MANY}"),
                           [f"observer: ConfigMap {NAMESPACE}/observer-config: data.MINE"]),
    "an environment variable too many": (
        kubectl(f"-n {NAMESPACE} set env deployment/observer MINE=1"),
        [f"observer: Deployment {NAMESPACE}/observer: spec.template.spec.containers[observer].env[MINE]"]),
    "database": (kubectl(f"-n {NAMESPACE} delete statefulset postgres --cascade=orphan"),
                 [f"observer: StatefulSet {NAMESPACE}/postgres: created"]),
    "Service": (kubectl(f"-n {NAMESPACE} patch service observer --type json -p"
                        " '[{\"op\":\"replace\",\"path\":\"/spec/ports/0/port\",\"value\":8001}]'"),
                [f"observer: Service {NAMESPACE}/observer: spec.ports[http].port"]),
}


@pytest.mark.parametrize("group", [MACHINE, RESTARTING, CALM, STOPPED, OBJECTS, ADDED],
                         ids=["machine", "restarting", "calm", "stopped", "objects", "added"])
def test_hand_edits_are_reported_exactly_and_mended(site: Site, provisioned: Run, group: Edits) -> None:
    """All edits of a group at once: the report has the lines of each, and not one more."""
    bed = json.loads((site.folder.parent / "state" / "observer-node" / "bed.json").read_text())
    release = f"{bed['releases']}/k3s-io/k3s/releases/download/v1.34.3%2Bk3s1"
    expected = sorted({line.replace("RELEASE", release) for _, lines in group.values() for line in lines})
    for act, _ in group.values():
        act(site)
    planned = site.play("--check").ok()
    mended = site.play().ok()
    # Which of them the controller passed over is chance: `test_a_sealed_secret_that_was_passed_over_is_opened`.
    assert sorted(change for change in mended.changes if "shown to its controller" not in change) == expected
    if group is not STOPPED:
        # Of a cluster that is not running nothing can be known.
        assert sorted(planned.changes) == expected
    assert site.play().ok().changes == []
    assert serving(site)


def test_a_sealed_secret_that_was_passed_over_is_opened(site: Site, provisioned: Run) -> None:
    """Deleted and made anew while the controller cannot watch, as after a restart of K3s, it is the same to it."""
    name, controller = f"-n {NAMESPACE} ghcr-secret", "-n sealed-secrets"
    address = site.kubectl(f"{controller} get pods -o jsonpath={{.items[0].status.podIP}}").strip()
    rule = f"INPUT -s {address} -p tcp --dport 6443 -j REJECT --reject-with tcp-reset"
    site.ssh(f"sudo iptables -I {rule}")
    try:
        site.ssh("sudo systemctl restart k3s.service")
        wait_for(lambda: site.ssh("sudo kubectl get --raw /readyz || true").endswith("ok"), "K3s", 90)
        made = site.get(f"sealedsecret {name}")
        made["metadata"] = {key: made["metadata"][key] for key in ("name", "namespace", "annotations", "labels")
                            if key in made["metadata"]}
        del made["status"]
        # A Secret that goes meanwhile makes the controller crash, and it opens everything when it starts: so the Secret
        # stays, and is given to the controller to be managed.
        site.kubectl(f"delete sealedsecret --cascade=orphan {name}")
        site.kubectl(f"annotate secret {name} sealedsecrets.bitnami.com/managed=true")
        site.kubectl("apply --server-side --field-manager=observer-node -f -", stdin=json.dumps(made))
        since = site.ssh("date -u +%FT%TZ").strip()
    finally:
        site.ssh(f"sudo iptables -D {rule}")

    def passed_over() -> bool:
        log = site.kubectl(f"{controller} logs deployment/sealed-secrets-controller --since-time={since}").splitlines()
        return any("update suppressed" in line and f"{NAMESPACE}/ghcr-secret" in line for line in log)

    wait_for(passed_over, "the controller to pass it over", 120)
    assert "status" not in site.get(f"sealedsecret {name}")
    assert site.play().ok().changes == [
        f"observer: SealedSecret {NAMESPACE}/ghcr-secret: shown to its controller again"]
    secret, sealed = site.get(f"secret {name}"), site.get(f"sealedsecret {name}")
    assert [owner["uid"] for owner in secret["metadata"]["ownerReferences"]] == [sealed["metadata"]["uid"]]
    assert site.play().ok().changes == []


def link_local(site: Site) -> tuple[str, str]:
    """The interface of the bed's network on a node, and its link-local IPv6 address; empty when it has none."""
    lines = [line.split()[1:4] for line in site.ssh("ip -oneline address show").splitlines()]
    interface = next(name for name, _, address in lines if address.partition("/")[0] == site.node.address)
    return interface, next((address.partition("/")[0] for name, _, address in lines
                            if name == interface and address.startswith("fe80:")), "")


def closed(site: Site, bare: Site) -> None:
    """Probed from another host: ssh answers, nothing of Kubernetes does; by IPv6 too when the two reach each other."""
    site.kubectl(f"-n {NAMESPACE} create service nodeport probe --tcp=8000:8000 --node-port=30999")
    site.kubectl(f"-n {NAMESPACE} set selector service probe app=observer")
    try:
        def opened(address: str, port: int) -> bool:
            return "open" in bare.ssh(
                f"timeout 3 bash -c '</dev/tcp/{address}/{port}' 2>/dev/null && echo open || echo closed")
        addresses = [site.node.address]
        assert opened(site.node.address, 22)
        (_, inside), (interface, _) = link_local(site), link_local(bare)
        if inside and opened(f"{inside}%{interface}", 22):
            addresses.append(f"{inside}%{interface}")
        print(f"probed: {', '.join(addresses)}")
        for address in addresses:
            for port in (6443, 10250, 10256, 30999, 8000, 5432, 6444):
                assert not opened(address, port), (address, port)
    finally:
        site.kubectl(f"-n {NAMESPACE} delete service probe")


def test_closed_from_outside(site: Site, bare: Site, provisioned: Run) -> None:
    closed(site, bare)


def test_a_reboot_brings_everything_back_without_ansible(site: Site, bare: Site, provisioned: Run) -> None:
    rules = site.ssh("sudo iptables -S InstanceServices")
    started = time.monotonic()
    nodes.reboot(site.node)
    wait_for(lambda: serving(site), "Observer after a reboot", 180)
    print(f"serves {time.monotonic() - started:.0f} s after the reboot was asked for")
    assert site.ssh("sudo iptables -S InstanceServices") == rules
    closed(site, bare)
    assert site.play("--check").ok().changes == []


def test_another_client_sees_the_same(site: Site, provisioned: Run) -> None:
    site.play(playbook="tests/on_node/second_opinion.yml").ok()
