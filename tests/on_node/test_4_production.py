"""An operator's first day with ``inventories/prod``: vault, sealing, the run, an agent; and what is refused on the way.

The inventories are the checkout's own, completed as docs/runbook.md says, in a copy. What only the test bed needs is
taken from ``inventories/local``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from bed import local, nodes, services
from bed.recipes import host_architecture
from conftest import fresh
from hands import ANSIBLE, ROOT, Run, Site, differences, node_name, sampled, wait_for

PASSWORD = "the-password-of-the-vault"
FILLED_IN = {
    "vault_db_password": "a-password-of-the-database", "vault_kis_app_key": "PS-key-of-the-operator-0123456789-01",
    "vault_kis_app_secret": "a-secret-of-the-operator", "vault_kis_hts_id": "operator",
    "vault_k3s_token": "a-token-of-the-cluster-0123456789abcdef",
    "vault_backup_password": "a-password-of-the-repository",
}


def status() -> str:
    """What git says of the checkout, and a digest of what is not committed."""
    words = ["git", "-C", str(ROOT)]
    return "".join(subprocess.run([*words, *more], check=True, text=True, capture_output=True).stdout
                   for more in (["status", "--porcelain", "--", "manifests", "inventories"],
                                ["diff", "--", "manifests", "inventories"]))


def variables(site: Site) -> Path:
    return site.folder / "group_vars" / "observer.yml"


def private(site: Site, name: str) -> Path:
    return site.folder / "group_vars" / "all" / name


def manifests(site: Site) -> Path:
    return site.folder.parents[1] / "manifests"


def change(path: Path, old: str, new: str) -> None:
    """Edit a file by a regular expression that has to be found."""
    text, count = re.subn(old, new, path.read_text())
    assert count, f"{old} is not in {path}"
    path.write_text(text)


def completed(name: str, node: nodes.Node, folder: Path) -> Site:
    """``inventories/<name>`` in a copy with the manifests beside it, filled in for a node; the vault is still missing.

    :param folder: becomes what the checkout is for an operator.
    """
    shutil.copytree(ROOT / "manifests", folder / "manifests", dirs_exist_ok=True)
    inventory = folder / "inventories" / name
    shutil.copytree(ROOT / "inventories" / name, inventory)
    password = folder / "vault-password"
    password.write_text(PASSWORD + "\n")
    password.chmod(0o600)
    state = folder / "state" / "observer-node"
    state.mkdir(parents=True)
    shutil.copy(local.describe(), state / "bed.json")
    site = Site(node, inventory, {"ANSIBLE_VAULT_PASSWORD_FILE": str(password), "XDG_STATE_HOME": str(state.parent)})
    change(inventory / "hosts.yml", r"ansible_host: \S+", f"ansible_host: {node.address}")
    # As for a checkout of a deployment repository.
    private(site, "manifests.yml").write_text(yaml.safe_dump({"observer_manifests": str(folder / "manifests")}))

    ssh = services.state() / "ssh"
    bed = yaml.safe_load((ROOT / "inventories/local/group_vars/observer.yml").read_text())
    said = yaml.safe_load(variables(site).read_text())
    variables(site).write_text(yaml.safe_dump({
        **said,
        **{key: value for key, value in bed.items() if key.startswith(("k3s_", "__local_")) and key not in said},
        # The release is the bed's own build, so its checksums are others.
        "k3s_checksums": said["k3s_checksums"] | json.loads(local.describe().read_text())["k3s_checksums"],
        # What the bed's archives have.
        "local_path_image": "docker.io/rancher/local-path-provisioner:v0.0.30",
        "local_path_helper_image": "docker.io/rancher/mirrored-library-busybox:1.36.1",
        "node_storage_free_gib": 4,
        "backup_off": "these tests save nothing",
        "ansible_ssh_private_key_file": str(ssh / "id_ed25519"),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={ssh / 'known_hosts'} -o IdentitiesOnly=yes",
    }))
    return site


def fill_in_the_vault(site: Site) -> Path:
    """``vault.yml`` from its example, as its first lines say."""
    vault = private(site, "vault.yml")
    shutil.copy(private(site, "vault.yml.example"), vault)
    vault.chmod(0o600)
    access = services.registry()
    text = vault.read_text()
    for name, value in {**FILLED_IN, "vault_ghcr_username": access.user, "vault_ghcr_token": access.password()}.items():
        assert f'{name}: ""' in text
        text = text.replace(f'{name}: ""', f"{name}: {json.dumps(value)}")
    assert '""' not in text
    vault.write_text(text)
    return vault


def encrypt(site: Site, vault: Path) -> None:
    subprocess.run([str(Path(ANSIBLE).with_name("ansible-vault")), "encrypt", str(vault)], cwd=ROOT, check=True,
                   env=site.env(), capture_output=True)


@pytest.fixture(scope="module")
def checkout_unchanged() -> Iterator[None]:
    """Nothing of all this is written into the checkout."""
    before = status()
    yield
    assert status() == before


@pytest.fixture(scope="module")
def production(
    parts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, checkout_unchanged: None,
) -> Iterator[Site]:
    """A bare node with OCI's rules, ``inventories/prod`` filled in for it, and what was sealed."""
    node = fresh(node_name("p"), parts, oci_firewall=True)
    site = completed("prod", node, tmp_path_factory.mktemp("prod"))
    encrypt(site, fill_in_the_vault(site))
    made = site.play(playbook="playbooks/secrets.yml").ok()
    assert [Path(change.partition(": ")[2].rpartition(": ")[0]).name for change in made.changes] == [
        "vault_sealing.yml", "sealing.crt", *["observer-secrets.yaml"] * 8, "ghcr-secret.yaml"]
    yield site
    if not os.environ.get("KEEP_NODES"):
        nodes.down(node)


@pytest.fixture(scope="module")
def second(parts: dict[str, Path]) -> Iterator[nodes.Node]:
    """Another bare machine beside it."""
    node = fresh(node_name("q"), parts, oci_firewall=True)
    yield node
    if not os.environ.get("KEEP_NODES"):
        nodes.down(node)


@pytest.fixture(scope="module")
def untouched(production: Site) -> dict[str, list[str]]:
    """The bare node before anything was tried on it."""
    return production.snapshot()


@pytest.fixture
def copy(production: Site, untouched: dict[str, list[str]], tmp_path: Path) -> Site:
    """What the operator has, free to be spoilt."""
    folder = tmp_path / "copy"
    shutil.copytree(production.folder.parents[1], folder)
    site = replace(production, folder=folder / "inventories" / "prod",
                   environment={"ANSIBLE_VAULT_PASSWORD_FILE": str(folder / "vault-password")})
    private(site, "manifests.yml").write_text(yaml.safe_dump({"observer_manifests": str(manifests(site))}))
    return site


# --- refused on a bare node, in the order in which an operator could meet it -----------------------


def no_password(site: Site) -> None:
    site.environment.clear()


def wrong_password(site: Site) -> None:
    Path(site.environment["ANSIBLE_VAULT_PASSWORD_FILE"]).write_text("not-the-password\n")


def unknown_host_key(site: Site) -> None:
    change(variables(site), r"UserKnownHostsFile=\S+", "UserKnownHostsFile=/dev/null")
    # A connection that is open already was checked when it was made.
    site.environment["ANSIBLE_SSH_CONTROL_PATH_DIR"] = str(site.folder.parents[1] / "connections")


def two_servers(site: Site) -> None:
    change(site.folder / "hosts.yml", "( +)obs-prod-arm:", r"\1another: {ansible_host: 203.0.113.11}\n\1obs-prod-arm:")


def another_certificate(site: Site) -> None:
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "/dev/null", "-subj",
                    "/CN=another", "-days", "9", "-out", private(site, "sealing.crt")], check=True, capture_output=True)


def no_checksum(site: Site) -> None:
    """As in the checkout: the operator has not filled it in."""
    own = yaml.safe_load((ROOT / "inventories/prod/group_vars/observer.yml").read_text())
    said = yaml.safe_load(variables(site).read_text())
    del said["k3s_release_url"]
    variables(site).write_text(yaml.safe_dump({**said, "k3s_checksums": own["k3s_checksums"]}))


def tag(name: str) -> Callable[[Site], None]:
    return lambda site: change(
        manifests(site) / "overlays/production/kustomization.yaml", "newTag: .*", f"newTag: {name}")


def without(name: str) -> Callable[[Site], None]:
    return lambda site: private(site, name).unlink()


def plain_vault(site: Site) -> None:
    fill_in_the_vault(site)


ARCHITECTURE = host_architecture()
BINARY = "k3s" if ARCHITECTURE == "amd64" else f"k3s-{ARCHITECTURE}"
RELEASE = "https://github.com/k3s-io/k3s/releases/download/v1.34.3%2Bk3s1"

REFUSED: dict[str, tuple[Callable[[Site], None], tuple[str, ...]]] = {
    "no vault password": (no_password, (
        "{private}/vault.yml is encrypted and no vault password was given: add --vault-password-file FILE or"
        " --ask-vault-pass to the command",)),
    "a wrong vault password": (wrong_password, ("the vault password does not open {private}/vault.yml",)),
    "no repository for backups, and no word why": (
        lambda site: change(variables(site), "backup_off: .*", "backup_off: ''"), (
            "backup_repository is empty, so nothing would survive this node: set it in the inventory, or say in"
            " backup_off why there are to be no backups",)),
    "a vault that is not encrypted": (plain_vault, (
        "{private}/vault.yml is not encrypted: type `ansible-vault encrypt {private}/vault.yml`",)),
    "no vault": (without("vault.yml"), ("{private}/vault.yml is missing or has no vault_k3s_token",)),
    "no sealing key": (without("vault_sealing.yml"), (
        "{private}/vault_sealing.yml is missing: type `ansible-playbook playbooks/secrets.yml -i inventories/prod",)),
    "no certificate": (without("sealing.crt"), ("{private}/sealing.crt is missing: type `ansible-playbook",)),
    "another certificate": (another_certificate, ("sealed_secrets_certificate does not belong to sealed_secrets_key",)),
    "an unknown host key": (unknown_host_key, ("the host cannot be reached: Host key verification failed",)),
    "two servers": (two_servers, ("k3s_servers has another and obs-prod-arm", "move the others to k3s_agents")),
    "no checksum of K3s": (no_checksum, (
        f"k3s_checksums has no SHA-256 for {BINARY}: take it from {RELEASE}/sha256sum-{ARCHITECTURE}.txt and write it"
        " where the inventory sets k3s_checksums, {inventory}/group_vars/observer.yml",)),
    "latest": (tag("latest"), ("ghcr.io/tawbury/observer:latest: latest is another build every time",
                               "Set newTag in {manifests}/overlays/production/kustomization.yaml")),
    "a tag for debugging": (tag("sha-0123abc"), ("observer_tag_policy forbids tag sha-0123abc here",)),
    "a SealedSecret that is not there": (
        lambda site: (manifests(site) / "overlays/production/sealed-secrets/ghcr-secret.yaml").unlink(),
        ("SealedSecret ghcr-secret is missing", "ansible-playbook playbooks/secrets.yml -i {inventory}")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(copy: Site, name: str) -> None:
    """One paragraph, in these words, and no change before it."""
    spoil, words = REFUSED[name]
    spoil(copy)
    run = copy.play()
    said = " ".join(run.output.split())
    assert run.status != 0 and "Traceback" not in said
    for word in words:
        text = word.format(private=private(copy, "x").parent, inventory=copy.folder, manifests=manifests(copy))
        assert text in said, f"{text}\nis not in:\n{run.output}"
    assert run.changes == []
    assert not any(value in run.output for value in FILLED_IN.values() if len(value) > 8)


def test_staging_is_planned(second: nodes.Node, tmp_path: Path, checkout_unchanged: None) -> None:
    """``inventories/staging`` seals, renders and passes every check on a bare node."""
    site = completed("staging", second, tmp_path)
    before = site.snapshot()
    encrypt(site, fill_in_the_vault(site))
    site.play(playbook="playbooks/secrets.yml").ok()
    planned = site.play("--check").ok()
    assert "observer: Deployment observer-staging/observer: created" in planned.changes
    assert differences(before, site.snapshot()) == {}


def test_nothing_was_changed_until_here(production: Site, untouched: dict[str, list[str]]) -> None:
    assert differences(untouched, production.snapshot()) == {}


# --- the run ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def first(production: Site, untouched: dict[str, list[str]]) -> tuple[Run, list[str]]:
    """The first run, and every command line that there was meanwhile."""
    with sampled(production.node) as lines:
        run = production.play().ok()
    return run, lines


@pytest.fixture(scope="module")
def provisioned(first: tuple[Run, list[str]]) -> Run:
    return first[0]


def running(site: Site) -> dict[str, str]:
    """Pods with the node that each runs on and how often its containers were restarted."""
    return {pod["metadata"]["name"]: f"{pod['spec']['nodeName']} {pod['metadata']['uid']} "
            f"{sum(status['restartCount'] for status in pod['status']['containerStatuses'])}"
            for pod in site.get("pods -A")["items"]}


def test_it_is_production(production: Site, provisioned: Run) -> None:
    found = production.get("nodes")["items"]
    assert [node["metadata"]["name"] for node in found] == ["obs-prod-arm"]
    images = {container["image"] for pod in production.get("-n observer-prod pods")["items"]
              for container in pod["spec"]["containers"]}
    assert images == {"docker.io/library/postgres:15", "ghcr.io/tawbury/observer:build-20260205-142425"}


def test_no_secret_is_seen_while_it_is_made(production: Site, first: tuple[Run, list[str]]) -> None:
    run, lines = first
    seen = [run.output, json.dumps(run.record), *lines,
            production.ssh("sudo sh -c 'journalctl --no-pager -b; cat /var/lib/observer-node/*'")]
    assert len(lines) > 100
    for name, value in {**FILLED_IN, "the registry's": services.registry().password(), "the vault's": PASSWORD}.items():
        # The login at the broker is a plain word, which a path could have.
        if name != "vault_kis_hts_id":
            assert not [len(text) for text in seen if value in text], name


def test_it_is_reached_as_the_card_says(production: Site, provisioned: Run) -> None:
    """The very line of the card, but for the local port, which a local node may have."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = re.search(r"ssh -t -L .*?18000:8000", re.sub(r"\\\n\s+", "", provisioned.output), re.DOTALL)
    assert found, provisioned.output
    ssh, _, *words = found[0].replace("18000:127.0.0.1", f"{port}:127.0.0.1").split()
    said = yaml.safe_load(variables(production).read_text())
    options = said["ansible_ssh_common_args"].split()
    process = subprocess.Popen([ssh, "-tt", "-i", said["ansible_ssh_private_key_file"], *options, *words],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answer(f"http://127.0.0.1:{port}/health") == 200, "/health", 30)
        assert answer(f"http://127.0.0.1:{port}/ready") == 200
    finally:
        process.terminate()
        process.wait()
    wait_for(lambda: "kubectl" not in production.ssh("ps -eo comm="), "the end of the forward on the node", 10)


def answer(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=3) as page:
            return int(page.status)
    except (urllib.error.URLError, OSError):
        return 0


def test_a_second_run_changes_nothing(production: Site, provisioned: Run) -> None:
    before = running(production)
    again = production.play().ok()
    assert again.changes == []
    assert again.executed <= 35
    assert running(production) == before


def test_a_tag_alone_goes_by_the_same_checks(production: Site, provisioned: Run) -> None:
    assert production.play("--tags", "k3s").ok().changes == []
    refused = production.play("--tags", "observer", "-e", "vault_k3s_token=another-token-than-the-first")
    assert "k3s_token is not the token that the node's datastore was made with" in " ".join(refused.output.split())


# --- a further node -----------------------------------------------------------------------------------


def open_from(node: nodes.Node | None, address: str, port: int) -> bool:
    """Whether a port answers, asked from a node or from this machine, a stranger to the cluster."""
    code = (f"import socket\nwith socket.socket() as s:\n s.settimeout(1)\n"
            f" print(s.connect_ex(('{address}', {port})) == 0)")
    if node:
        return nodes.ssh(node, "python3 -", stdin=code).strip() == "True"
    return subprocess.run(["python3", "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "True"


@pytest.fixture(scope="module")
def lonely(production: Site, provisioned: Run, second: nodes.Node) -> Run:
    """A run in which the new host is told a wrong address of the server."""
    assert not open_from(second, production.node.address, 6443)
    hosts = production.folder / "hosts.yml"
    change(hosts, "k3s_agents: {}", "k3s_agents:\n          hosts:\n            obs-prod-arm-2:\n"
                                    f"              ansible_host: {second.address}\n              ansible_user: ubuntu")
    text = hosts.read_text()
    change(hosts, "obs-prod-arm:\n", "obs-prod-arm:\n              provision_node_address: 10.89.53.250\n")
    run = production.play()
    hosts.write_text(text)
    return run


def test_an_agent_that_cannot_reach_its_server_says_so(lonely: Run) -> None:
    said = " ".join(lonely.output.split())
    assert lonely.status != 0
    assert ("k3s_server_url is https://10.89.53.250:6443, and nothing answers there from obs-prod-arm-2: set it to an"
            " address of the server that this node can reach, and let TCP 6443, TCP 10250 and UDP 8472 through"
            " between the nodes") in said
    assert not any(change.startswith("k3s: k3s-agent.service") for change in lonely.changes)


@pytest.fixture(scope="module")
def joined(production: Site, lonely: Run) -> tuple[dict[str, str], Run]:
    """All that an operator does: a host in ``k3s_agents``. With the pods from before."""
    before = running(production)
    return before, production.play().ok()


def test_an_agent_joins(production: Site, joined: tuple[dict[str, str], Run]) -> None:
    assert "k3s: k3s-agent.service: started" in joined[1].changes
    ready = {node["metadata"]["name"]: condition["status"] for node in production.get("nodes")["items"]
             for condition in node["status"]["conditions"] if condition["type"] == "Ready"}
    assert ready == {"obs-prod-arm": "True", "obs-prod-arm-2": "True"}
    # Nothing of what ran was moved or restarted, K3s itself included.
    assert running(production).items() >= joined[0].items()
    assert not any("restarted" in change for change in joined[1].changes)


def test_a_second_run_with_an_agent_changes_nothing(production: Site, joined: tuple[dict[str, str], Run]) -> None:
    assert production.play().ok().changes == []


ASK = """nslookup observer.observer-prod.svc.cluster.local &&
nc -w 3 kubernetes.default.svc.cluster.local 443 </dev/null"""


def test_pods_of_the_agent_reach_the_cluster(production: Site, joined: tuple[dict[str, str], Run]) -> None:
    """DNS and the API, both of which are on the server, past OCI's rules on both nodes."""
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "namespace": "default"},
        "spec": {"nodeName": "obs-prod-arm-2", "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
                 "containers": [{"name": "probe", "image": "docker.io/rancher/mirrored-library-busybox:1.36.1",
                                 "command": ["sh", "-c", ASK]}]},
    }
    production.kubectl("apply -f -", stdin=json.dumps(pod))
    phase = wait_for(lambda: re.search("Succeeded|Failed", production.get("pod probe")["status"]["phase"]), "the pod")
    assert isinstance(phase, re.Match) and phase[0] == "Succeeded", production.kubectl("logs probe")
    production.kubectl("delete pod probe --wait=false")


def test_both_nodes_are_closed_to_strangers(
    production: Site, second: nodes.Node, joined: tuple[dict[str, str], Run],
) -> None:
    assert open_from(second, production.node.address, 6443)
    for address in (production.node.address, second.address):
        assert open_from(None, address, 22)
        for port in (6443, 10250):
            assert not open_from(None, address, port), f"{address}:{port}"


# --- the living system of two machines --------------------------------------------------------------


AGENT = "obs-prod-arm-2"


def verified(site: Site, *arguments: str) -> tuple[Run, dict[str, Any]]:
    """A verification, and the report that it has kept."""
    run = site.play(*arguments, playbook="playbooks/verify.yml")
    state = Path(site.environment["XDG_STATE_HOME"]) / "observer-node/reports"
    latest = max((path for path in state.glob("*/*/report.json") if not path.parent.is_symlink()),
                 key=lambda path: path.stat().st_mtime_ns)
    report: dict[str, Any] = json.loads(latest.read_text())
    return run, report


def told(report: dict[str, Any]) -> list[str]:
    return [f"{one['code']} {one['subject']}: {one['message']['en']}" for one in report["findings"]]


def test_both_machines_are_verified(production: Site, joined: tuple[dict[str, str], Run]) -> None:
    """With the pods deleted under it (Step 5)."""
    run, report = verified(production, "-e", "verify_persistence=observer-prod")
    assert report["status"] == 0, told(report)
    run.ok()
    assert [one["path"] for one in report["places"] if one["kind"] == "node"] == ["obs-prod-arm", AGENT]
    assert report["facts"]["persistence"]["lost"] == []


def test_what_nobody_declared_on_the_agent_is_told(
    production: Site, second: nodes.Node, joined: tuple[dict[str, str], Run],
) -> None:
    nodes.ssh(second, "echo '* * * * * root true' | sudo tee /etc/cron.d/nobodys")
    try:
        _, report = verified(production)
        assert [one for one in report["findings"] if one["code"] == "DRIFT-08" and AGENT in json.dumps(one)
                and "/etc/cron.d/nobodys" in json.dumps(one)], told(report)
    finally:
        nodes.ssh(second, "sudo rm /etc/cron.d/nobodys")


def test_an_agent_at_fault_is_named(
    production: Site, second: nodes.Node, joined: tuple[dict[str, str], Run],
) -> None:
    assert "no fault" in production.play(playbook="playbooks/diagnose.yml").ok().output
    nodes.ssh(second, "sudo systemctl stop k3s-agent")
    try:
        run = production.play(playbook="playbooks/diagnose.yml")
        assert run.status != 0
        assert AGENT in run.output and "k3s-agent" in run.output, run.output
        assert len(re.findall(r"^ +FAULT-[0-9]{2} [[]", run.output, re.MULTILINE)) == 1, run.output
    finally:
        nodes.ssh(second, "sudo systemctl start k3s-agent")
    wait_for(lambda: all(condition["status"] == "True" for node in production.get("nodes")["items"]
                         for condition in node["status"]["conditions"] if condition["type"] == "Ready"), "the agent")


def test_an_agent_that_does_not_answer_is_no_pass(
    production: Site, second: nodes.Node, joined: tuple[dict[str, str], Run],
) -> None:
    hosts = production.folder / "hosts.yml"
    text = hosts.read_text()
    # Nothing listens there.
    change(hosts, f"ansible_host: {second.address}", f"ansible_host: {second.address}\n              ansible_port: 2")
    try:
        run, report = verified(production)
        assert run.status != 0 and report["status"] != 0
        assert report["counts"]["unchecked"] >= 1
        assert any(one["kind"] == "unchecked" and AGENT in json.dumps(one) for one in report["findings"]), told(report)
        assert AGENT in run.output
        run = production.play(playbook="playbooks/diagnose.yml")
        assert run.status != 0 and re.search(rf"^ +FAULT-01 [[]node[]] .*{AGENT}", run.output, re.MULTILINE), run.output
    finally:
        hosts.write_text(text)
    run, report = verified(production)
    assert report["status"] == 0, told(report)


def test_an_agent_is_reset_alone(production: Site, second: nodes.Node, joined: tuple[dict[str, str], Run]) -> None:
    """It leaves the cluster, which goes on."""
    words = ("--limit", AGENT, "-e", "reset_confirm=obs-prod-arm")
    planned = production.play(*words, "--check", playbook="playbooks/reset.yml").ok()
    run = production.play(*words, playbook="playbooks/reset.yml").ok()
    assert run.changes == planned.changes
    assert {f"Agents: Node {AGENT}: drained", f"Agents: Node {AGENT}: removed", "Agents: k3s-agent.service: removed",
            f"Agents: Secret kube-system/{AGENT}.node-password.k3s: removed"} <= set(run.changes)
    assert [node["metadata"]["name"] for node in production.get("nodes")["items"]] == ["obs-prod-arm"]
    assert nodes.ssh(second, "ls /usr/local/bin; sudo ls /var/lib/rancher 2>/dev/null || true") == ""
    assert production.play(*words, playbook="playbooks/reset.yml").ok().changes == []
