"""Emulated machines: what can be said of them without an emulator."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bed import emulation, machines, nodes, services, settings
from bed.errors import BedError
from bed.machines import Machine


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # A path that a socket's name may have.
    monkeypatch.setattr(services, "state", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def machine(state: Path) -> Machine:
    machine = Machine("m1", "m1", "10.89.53.250", oci_firewall=True, outward=False)
    machine.folder.mkdir(parents=True)
    (machine.folder / "machine.json").write_text(json.dumps(machine.__dict__))
    return machine


def test_it_is_found_again_and_is_no_container_node(machine: Machine) -> None:
    assert machines.find("m1") == machine
    assert nodes.everyone() == []
    with pytest.raises(BedError, match=r"no emulated machine named m2 \(there are: m1\)"):
        machines.find("m2")


def test_ssh_reaches_it_by_a_file_of_its_own(machine: Machine) -> None:
    assert str(machine.ssh_config) in nodes.ssh_argv(machine)
    assert nodes.ssh_argv(nodes.Node("n1", "n1", "10.89.53.11"))[2] != str(machine.ssh_config)


def test_its_address_is_none_that_a_node_may_be_given(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machines._free_address() == "10.89.53.251"
    monkeypatch.setattr(machines, "LAST_ADDRESS", 250)
    with pytest.raises(BedError, match="machine-down"):
        machines._free_address()


def test_a_process_of_somebody_else_is_not_the_emulator(machine: Machine) -> None:
    (machine.folder / "pid").write_text("1")
    assert machines.pid(machine) is None and machines.status(machine) == "off"


def test_the_interface_is_one_of_the_bed_and_short_enough(machine: Machine) -> None:
    assert machine.tap.startswith(settings.BRIDGE) and len(machine.tap) <= 15


def test_only_the_disk_that_snapshots_are_in_is_writable(machine: Machine) -> None:
    drives = [word for word in machines._emulator(machine) if word.startswith("if=none")]
    assert [("readonly=on" in drive, "qcow2" in drive) for drive in drives] == [(False, True), (True, False)]


@pytest.fixture
def answers(machine: Machine) -> Iterator[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """An emulator that says what it is told to, and what it was asked."""
    says: list[dict[str, Any]] = []
    asked: list[dict[str, Any]] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(machine.folder / "qmp"))
    listener.listen()

    def serve() -> None:
        link, _ = listener.accept()
        with link, link.makefile("rw") as lines:
            print(json.dumps({"QMP": {}}), file=lines, flush=True)
            for line in lines:
                asked.append(json.loads(line))
                if asked[-1]["execute"] == "qmp_capabilities":
                    print(json.dumps({"return": {}}), file=lines, flush=True)
                    continue
                for one in says:
                    print(json.dumps(one), file=lines, flush=True)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield says, asked
    listener.close()


Answers = tuple[list[dict[str, Any]], list[dict[str, Any]]]


def test_events_between_question_and_answer_are_passed_over(machine: Machine, answers: Answers) -> None:
    says, asked = answers
    says += [{"event": "STOP"}, {"event": "RESUME"}, {"return": ""}]
    machines.save(machine, "bare")
    assert asked[-1]["arguments"] == {"command-line": "savevm bare"}


def test_what_the_monitor_says_is_a_refusal(machine: Machine, answers: Answers) -> None:
    answers[0].append({"return": "Error: No block device can accept snapshots\r\n"})
    with pytest.raises(BedError, match="refused `savevm bare`: Error: No block device"):
        machines.save(machine, "bare")


def test_a_refused_command_says_why(machine: Machine, answers: Answers) -> None:
    answers[0].append({"error": {"desc": "Device 'nic0' not found"}})
    with pytest.raises(BedError, match="refused set_link: Device 'nic0' not found"):
        machines.set_cable(machine, False)


def test_an_emulator_that_is_gone_is_said(machine: Machine) -> None:
    with pytest.raises(BedError, match="does not answer"):
        machines.set_cable(machine, True)


# --- programs of another architecture -----------------------------------------------------------


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine whose kernel hands nothing to emulators; what was run on it."""
    calls: list[str] = []
    binfmt = tmp_path / "binfmt"
    binfmt.mkdir()

    def run(argv: list[object]) -> str:
        line = " ".join(map(str, argv))
        calls.append(line)
        if line.startswith("mount"):
            (binfmt / "register").touch()
        elif "--enable" in line:
            (binfmt / "qemu-aarch64").write_text("enabled\n")
        elif "--disable" in line:
            (binfmt / "qemu-aarch64").unlink()
        elif line.startswith("umount"):
            (binfmt / "register").unlink()
        return ""

    monkeypatch.setattr(emulation, "BINFMT", binfmt)
    monkeypatch.setattr(emulation, "run", run)
    monkeypatch.setattr(settings, "folders", lambda: settings.Folders(tmp_path / "cache", tmp_path / "state"))
    return calls


def verbs(calls: list[str]) -> list[str]:
    return [line.split()[0].replace("update-binfmts", line.split()[1]) for line in calls]


def test_the_machine_is_as_it_was_afterwards(host: list[str]) -> None:
    with emulation.emulated("arm64"):
        assert verbs(host) == ["mount", "--enable"]
    assert verbs(host) == ["mount", "--enable", "--disable", "umount"]


def test_what_was_there_before_stays(host: list[str]) -> None:
    (emulation.BINFMT / "register").touch()
    (emulation.BINFMT / "qemu-aarch64").write_text("enabled\n")
    with emulation.emulated("arm64"):
        pass
    assert host == []


def test_the_last_of_two_builds_puts_it_back(host: list[str]) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def other() -> None:
        with emulation.emulated("arm64"):
            inside.set()
            go_on.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(10)
    with emulation.emulated("arm64"):
        pass
    assert verbs(host) == ["mount", "--enable"]
    go_on.set()
    thread.join()
    assert verbs(host)[2:] == ["--disable", "umount"]


def test_a_build_that_was_killed_does_not_keep_it(host: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "run" / "emulation-arm64"
    folder.mkdir(parents=True)
    # No process has this number: it is beyond the kernel's largest.
    (folder / "user-99999999-1").touch()
    with emulation.emulated("arm64"):
        pass
    assert verbs(host)[-2:] == ["--disable", "umount"]
