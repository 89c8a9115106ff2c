"""A machine's host key goes into known_hosts when its fingerprint was given, and else nothing changes there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "host_key.py"
ADDRESS = "203.0.113.10"


def made(folder: Path, kind: str = "ed25519") -> tuple[str, str]:
    """A new host key as known_hosts has it, and its fingerprint by OpenSSH."""
    file = folder / f"key-{len(list(folder.iterdir()))}"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "root@obs", "-f", str(file)], check=True)
    said = subprocess.run(["ssh-keygen", "-lf", str(file)], check=True, capture_output=True, text=True).stdout
    return " ".join(file.with_suffix(".pub").read_text().split()[:2]), said.strip()


class Desk:
    """An operator's home, where ssh-keyscan finds the machines that a test sets up."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / ".ssh" / "known_hosts"
        self.file.parent.mkdir(mode=0o700)
        self.programs, self.network = folder / "bin", folder / "network"
        self.programs.mkdir()
        self.network.mkdir()
        scan = self.programs / "ssh-keyscan"
        scan.write_text(f'#!/bin/sh\nfor last; do :; done\ncat "{self.network}/$last" 2>/dev/null || exit 1\n')
        scan.chmod(0o755)

    def machine(self, key: str, address: str = ADDRESS) -> None:
        (self.network / address).write_text(f"{address} {key}\n")

    def run(self, *arguments: str, say: str = "", real: bool = False) -> subprocess.CompletedProcess[str]:
        path = os.environ["PATH"] if real else f"{self.programs}:{os.environ['PATH']}"
        return subprocess.run([sys.executable, str(TOOL), *arguments], input=say, capture_output=True, text=True,
                              check=False, env={"PATH": path, "HOME": str(self.file.parent.parent)})

    def found(self, name: str = ADDRESS) -> list[str]:
        """The keys that OpenSSH finds for a machine."""
        said = subprocess.run(["ssh-keygen", "-F", name, "-f", str(self.file)], check=False, capture_output=True,
                              text=True).stdout
        return [" ".join(line.split()[1:3]) for line in said.splitlines() if not line.startswith("#")]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "home").mkdir()
    return Desk(tmp_path / "home")


@pytest.mark.parametrize("hashed", [False, True])
def test_the_new_key_takes_the_place_of_all_that_the_machine_had(desk: Desk, tmp_path: Path, hashed: bool) -> None:
    other, (key, said) = made(tmp_path)[0], made(tmp_path)
    kept = f"198.51.100.7 {other}"
    desk.file.write_text(f"{ADDRESS} {made(tmp_path)[0]}\n{kept}\n{ADDRESS} {made(tmp_path, 'ecdsa')[0]}")
    desk.file.chmod(0o640)
    if hashed:
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(desk.file)], check=True, capture_output=True)
        desk.file.with_suffix(".old").unlink()
    assert len(desk.found()) == 2
    desk.machine(key)
    done = desk.run(ADDRESS, say=f"{said}\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"{ADDRESS}: the same; its key is in ~/.ssh/known_hosts now\n")
    assert desk.found() == [key] and desk.found("198.51.100.7") == [other]
    assert hashed or desk.file.read_text() == f"{kept}\n{ADDRESS} {key}\n"
    assert desk.file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in desk.file.parent.iterdir()] == ["known_hosts"]


def test_the_fingerprint_is_not_shown_before_it_is_given(desk: Desk, tmp_path: Path) -> None:
    key, said = made(tmp_path)
    desk.machine(key)
    assert "SHA256:" not in desk.run(ADDRESS, say=said).stdout


def test_a_first_key_makes_the_folder_and_the_file_for_their_owner_alone(desk: Desk, tmp_path: Path) -> None:
    key, said = made(tmp_path)
    desk.machine(key)
    desk.file.parent.rmdir()
    assert desk.run(ADDRESS, say=said).returncode == 0
    assert desk.file.read_text() == f"{ADDRESS} {key}\n"
    assert (desk.file.stat().st_mode & 0o777, desk.file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_all_of_a_consoles_list_may_be_pasted(desk: Desk, tmp_path: Path) -> None:
    (key, said), ecdsa = made(tmp_path), made(tmp_path, "ecdsa")[1]
    desk.machine(key)
    pasted = ["-----BEGIN SSH HOST KEY FINGERPRINTS-----", ecdsa, f"<14>Nov 22 03:00:01 cloud-init: {said}", "-----END"]
    assert desk.run(ADDRESS, say="\n".join(pasted)).returncode == 0


def test_a_key_that_is_known_already_is_not_asked_for(desk: Desk, tmp_path: Path) -> None:
    key, said = made(tmp_path)
    desk.machine(key)
    desk.file.write_text(f"{ADDRESS} {key}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(desk.file)], check=True, capture_output=True)
    before = desk.file.read_bytes()
    done = desk.run(ADDRESS)
    assert (done.returncode, done.stdout) == (0, f"{ADDRESS}: its key was in ~/.ssh/known_hosts already\n")
    assert desk.file.read_bytes() == before
    assert said not in done.stdout


def test_a_link_stays_a_link(desk: Desk, tmp_path: Path) -> None:
    key, said = made(tmp_path)
    desk.machine(key)
    (tmp_path / "elsewhere").write_text("")
    desk.file.symlink_to(tmp_path / "elsewhere")
    assert desk.run(ADDRESS, say=said).returncode == 0
    assert desk.file.is_symlink() and (tmp_path / "elsewhere").read_text() == f"{ADDRESS} {key}\n"


@pytest.mark.parametrize(("say", "error"), [
    ("yes\n", "no fingerprint was given"),
    ("", "no fingerprint was given"),
    ("SHA256:abc\n", "no fingerprint was given"),
    ("another", "another machine answers there, or the console is another one's"),
    ("ecdsa", "no fingerprint was given"),
])
def test_without_the_fingerprint_nothing_changes(desk: Desk, tmp_path: Path, say: str, error: str) -> None:
    desk.file.write_text(before := f"{ADDRESS} {made(tmp_path)[0]}\n")
    desk.machine(made(tmp_path)[0])
    said = made(tmp_path, "ed25519" if say == "another" else "ecdsa")[1] if say in ("another", "ecdsa") else say
    done = desk.run(ADDRESS, say=said)
    assert done.returncode == 1 and desk.file.read_text() == before
    assert error in done.stderr and done.stderr.startswith("error: ") and done.stderr.endswith("Nothing was changed.\n")
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in desk.file.parent.iterdir()] == ["known_hosts"]


def test_of_several_machines_all_are_kept_or_none(desk: Desk, tmp_path: Path) -> None:
    (one, said_one), (two, said_two) = made(tmp_path), made(tmp_path)
    desk.machine(one)
    done = desk.run(ADDRESS, "198.51.100.7", say=f"{said_one}\n{said_two}\n")
    # Nothing is asked before all have answered.
    assert done.returncode == 1 and done.stdout == "" and "no SSH server answers at 198.51.100.7" in done.stderr
    desk.machine(two, "198.51.100.7")
    assert desk.run(ADDRESS, "198.51.100.7", say=f"{said_one}\n{said_one}\n").returncode == 1
    assert not desk.file.exists()
    assert desk.run(ADDRESS, "198.51.100.7", say=f"{said_one}\n{said_two}\n").returncode == 0
    assert (desk.found(), desk.found("198.51.100.7")) == ([one], [two])


def test_a_file_that_is_not_understood_stays(desk: Desk, tmp_path: Path) -> None:
    key, said = made(tmp_path)
    desk.machine(key)
    desk.file.write_text("no host key at all\n")
    done = desk.run(ADDRESS, say=said)
    assert done.returncode == 1 and f"ssh-keygen cannot read {desk.file}" in done.stderr
    assert desk.file.read_text() == "no host key at all\n"


@pytest.mark.parametrize("address", ["-oProxyCommand=x", "a b", "*", "a,b", ""])
def test_what_is_no_address_is_refused(desk: Desk, address: str) -> None:
    assert desk.run("--", address).returncode == 1


def test_a_port_that_nobody_listens_on_is_told(desk: Desk) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
        done = desk.run("--port", str(port), "127.0.0.1", real=True)
    assert done.returncode == 1 and done.stderr == (
        f"error: no SSH server answers at 127.0.0.1, port {port}: start the machine, wait until it has started, or let"
        " TCP 22 in. Nothing was changed.\n")
