"""Puts the host keys of machines into ``~/.ssh/known_hosts``, in the place of those that they had.

    make host-key ADDRESS=203.0.113.10        # python3 tools/host_key.py 203.0.113.10

The fingerprint is taken from whoever runs it, out of the machine's console, and compared here: it is not shown before,
for what is only to be nodded at is nodded at. Nothing is changed before all machines were asked and all their keys
confirmed. It needs OpenSSH and no package.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import termios
from collections.abc import Sequence
from pathlib import Path

KIND = "ssh-ed25519"
PLACE = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:-]*")
"""A name or an address, and nothing that OpenSSH would take for an option or a pattern."""
FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}(?![A-Za-z0-9+/])")
BESIDE = re.compile(r"\((?!ED25519\))\w[\w-]*\)\s*$|(BEGIN|END) SSH HOST KEY")
"""Lines of a console that may be pasted along: other kinds of keys, and what is around the list."""
SECONDS = 10
SHOWN = "~/.ssh/known_hosts"


class HostKeyError(Exception):
    """Why nothing was changed."""


def said_by(*argv: str) -> subprocess.CompletedProcess[str]:
    """A program of OpenSSH at its end."""
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)


def fetched(address: str, port: int) -> str:
    """The key that a machine shows, as known_hosts has it. :raises HostKeyError: it shows none."""
    done = said_by("ssh-keyscan", "-T", str(SECONDS), "-t", "ed25519", "-p", str(port), "--", address)
    for line in done.stdout.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[1] == KIND:
            with contextlib.suppress(binascii.Error):
                base64.b64decode(fields[2], validate=True)
                return fields[2]
    if "SSH-" in done.stdout + done.stderr:
        raise HostKeyError(f"{address} has no ed25519 host key")
    raise HostKeyError(f"no SSH server answers at {address}, port {port}: start the machine, wait until it has started,"
                       " or let TCP 22 in")


def fingerprint(key: str) -> str:
    """As `ssh-keygen -l` and a machine's console show it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(base64.b64decode(key)).digest()).decode().rstrip("=")


def confirm(address: str, key: str) -> None:
    """Have the fingerprint typed. :raises HostKeyError: it was not, or it is another."""
    print(f"{address}: paste the line with (ED25519) of the fingerprints in its console, and Enter:", flush=True)
    for line in sys.stdin:
        found = FINGERPRINT.search(line)
        if BESIDE.search(line.strip()):
            continue
        if found and found[0] == fingerprint(key):
            return
        if found:
            raise HostKeyError(f"{address} shows {fingerprint(key)}, and the console says {found[0]}: another machine"
                               " answers there, or the console is another one's")
        break
    raise HostKeyError(f"no fingerprint was given for {address}: it begins with SHA256: and has 43 characters more")


def entry(address: str, port: int) -> str:
    """How known_hosts names a machine."""
    return address.lower() if port == 22 else f"[{address.lower()}]:{port}"


def known(file: Path, name: str, key: str) -> bool:
    """Whether this very key is there for the machine; also where names are hashed."""
    if not file.is_file():
        return False
    done = said_by("ssh-keygen", "-F", name, "-f", str(file))
    return any(line.split()[1:3] == [KIND, key] for line in done.stdout.splitlines())


def replace(file: Path, keys: dict[str, str]) -> None:
    """Put keys in the place of all that the machines had, at once or not at all. :raises HostKeyError: it cannot be."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = file.resolve()
    with tempfile.TemporaryDirectory(dir=file.parent, prefix="known_hosts-") as folder:
        new = Path(folder) / "new"
        if file.is_file():
            shutil.copy(file, new)
        else:
            new.touch(mode=0o600)
        for name in keys:
            done = said_by("ssh-keygen", "-R", name, "-f", str(new))
            if done.returncode:
                said = " ".join(done.stderr.replace(str(new), str(file)).split())
                raise HostKeyError(f"ssh-keygen cannot read {file}: {said}")
        old = new.read_bytes()
        with new.open("a") as lines:
            lines.write("\n" if old and not old.endswith(b"\n") else "")
            lines.writelines(f"{name} {KIND} {key}\n" for name, key in keys.items())
            lines.flush()
            os.fsync(lines.fileno())
        new.replace(file)


def add(addresses: Sequence[str], port: int, file: Path) -> None:
    """Fetch, have confirmed, and keep the keys of machines. :raises HostKeyError: nothing was changed."""
    for address in addresses:
        if not PLACE.fullmatch(address):
            raise HostKeyError(f"{address} is no address")
    keys = {address: fetched(address, port) for address in addresses}
    new = {address: key for address, key in keys.items() if not known(file, entry(address, port), key)}
    for address, key in new.items():
        confirm(address, key)
    if new:
        replace(file, {entry(address, port): key for address, key in new.items()})
    for address in addresses:
        print(f"{address}: the same; its key is in {SHOWN} now" if address in new else
              f"{address}: its key was in {SHOWN} already")


def main(arguments: Sequence[str]) -> int:
    """0 when all keys are in place, 1 when nothing was changed."""
    parser = argparse.ArgumentParser(description="Put host keys into ~/.ssh/known_hosts once they were confirmed.")
    parser.add_argument("address", nargs="+", help="a machine's")
    parser.add_argument("--port", type=int, default=22)
    given = parser.parse_args(arguments)
    try:
        add(list(dict.fromkeys(given.address)), given.port, Path(SHOWN).expanduser())
    except (HostKeyError, OSError) as error:
        print(f"error: {error}. Nothing was changed.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nerror: interrupted. Nothing was changed.", file=sys.stderr)
        return 1
    finally:
        if sys.stdin.isatty():
            # What was pasted beside it is no command for the shell.
            termios.tcflush(sys.stdin, termios.TCIFLUSH)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
