"""Every fault of seed 000's order of diagnosis, caused on a running node, is named with its layer and what to type."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from faults import FAULTS, NS, Fault, recovered

from hands import ANSIBLE, ROOT, Run, Site

PLAYBOOK = "playbooks/diagnose.yml"
NAMED = re.compile(r"^ +(FAULT-\d\d) \[(\w+)\] ", re.MULTILINE)
TYPED = re.compile(r"^ +type +(\S.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def running(site: Site) -> Iterator[Site]:
    """Observer, provisioned and ready."""
    site.play(playbook="playbooks/provision.yml").ok()
    recovered(site)
    yield site
    # Whatever a failed test has left is put right for those that come after.
    site.play(playbook="playbooks/provision.yml").ok()


@pytest.fixture(scope="module")
def secrets(running: Site) -> list[str]:
    """Values that nobody may ever see: those of the vault, and those that the cluster has."""
    state = running.folder.parent / "state" / "observer-node"
    vault = yaml.safe_load((state / "local-secrets" / "vault.yml").read_text())
    values = [str(value) for name, value in vault.items()
              if re.search(r"password|token|app_key|app_secret|sealing", name)]
    bed = json.loads((state / "bed.json").read_text())
    values.append(Path(bed["registry_password_file"]).read_text().strip())
    kept = running.get(f"-n {NS} secret observer-secrets")["data"]
    values += [kept["DB_PASSWORD"], kept["KIS_APP_SECRET"]]
    assert len(values) >= 6
    return [value for value in values if len(value) > 8]


def diagnosed(site: Site, secrets: list[str], *arguments: str) -> Run:
    """A run, in which no secret is seen, nothing is changed, and whose report is one screen."""
    run = site.play(*arguments, playbook=PLAYBOOK)
    seen = run.output + json.dumps(run.record)
    assert not [len(value) for value in secrets if value in seen], "a secret is in the output"
    assert "Traceback" not in run.output and "[WARNING]" not in run.output, run.output
    assert run.changes == []
    return run


def test_a_healthy_system_has_no_fault(running: Site, secrets: list[str]) -> None:
    run = diagnosed(running, secrets).ok()
    assert re.search(r"^runs +no fault$", run.output, re.MULTILINE), run.output
    assert run.output.count(": well") == 4
    assert not NAMED.search(run.output)


def test_all_facts_of_a_run_hold_no_secret(running: Site, secrets: list[str]) -> None:
    run = running.play("-vvv", playbook=PLAYBOOK).ok()
    assert '"environment"' in run.output and '"secrets"' in run.output
    assert not [len(value) for value in secrets if value in run.output]


QUICK = {"a claim is pending", "a variable is missing", "the database's host is wrong", "a folder has the wrong owner",
         "K3s is down", "host of the database and Service"}
"""Faults that `make test` causes; `make test-all` causes every one."""


@pytest.mark.parametrize("fault", [
    pytest.param(fault, id=fault.name.replace(" ", "_"), marks=() if fault.name in QUICK else pytest.mark.long)
    for fault in FAULTS])
def test_a_fault_is_named(running: Site, secrets: list[str], fault: Fault) -> None:
    with fault.caused(running):
        run = diagnosed(running, secrets)
        print(run.output)
        commands = TYPED.findall(run.output)
        for command in commands:
            said = running.ssh(command)
            print(f"$ {command}\n{said}")
            assert said.strip(), f"{command} says nothing"
            assert not [len(value) for value in secrets if value in said]
    assert run.status != 0
    named = NAMED.findall(run.output)
    assert sorted(named) == sorted((one.code, one.layer) for one in fault.expected)
    text = " ".join(run.output.split())
    for one in fault.expected:
        assert one.subject in text.split(f"{one.code} [{one.layer}] ")[1][:200]
    assert len(commands) == len(fault.expected)
    # One message at the end, too.
    paragraph = text.rpartition("Failed in Diagnose")[2]
    assert all(one.code in paragraph for one in fault.expected) and "What to do:" in paragraph
    screen = run.output.split("Say what is at fault\n", 1)[1].split("  failed\n", 1)[0].splitlines()
    assert len(screen) <= 20
    assert all(len(line) <= 80 for line in screen if not re.match(r" +(type|log in) ", line))


def test_a_machine_that_does_not_answer(running: Site, secrets: list[str]) -> None:
    run = diagnosed(running, secrets, "-e", "ansible_port=2")
    assert run.status != 0
    assert NAMED.findall(run.output) == [("FAULT-01", "node")]
    (command,) = TYPED.findall(run.output)
    words = shlex.split(command)
    assert words[:3] == ["ansible", "-i", str(running.folder)] and words[-1] == running.node.name
    # As it is typed, with the right port, it says that the machine is back.
    done = subprocess.run([str(Path(ANSIBLE).with_name("ansible")), *words[1:]], cwd=ROOT, check=False, text=True,
                          capture_output=True, env=running.env(ANSIBLE_STDOUT_CALLBACK="ansible.builtin.default"))
    assert "pong" in done.stdout, done.stdout + done.stderr


def test_afterwards_there_is_no_fault(running: Site, secrets: list[str]) -> None:
    recovered(running)
    assert "no fault" in diagnosed(running, secrets).ok().output
