#!/usr/bin/python3 -I
"""What a node may do on the backup host with its database's WAL: the forced command of its key there.

    observer-receiver --folder /srv/observer-wal/NAME --epoch N [--floor-hours H] [--end]

with one of these in SSH_ORIGINAL_COMMAND. A *generation* is the life of one replication slot and is named after it; it
is an encrypted folder (gocryptfs) of its own. The key comes with the session and is never stored here.

- ``receive SLOT PORT``: standard input is a line with the key, a line with the database's password, then at least a
  byte each :data:`SILENCE` seconds; its end ends the session. Streams WAL through the socket ``run/.s.PGSQL.PORT``.
- ``list all``: the generations, oldest first, and their segments, from the names alone.
- ``list SLOT FIRST``: reads a line with the key; the segments of one generation from FIRST on with their SHA-256.
- ``fetch SLOT FIRST``: reads a line with the key; the same segments as a tar, whose last member ``manifest.json`` has
  their sizes and SHA-256. Without it the tar is not whole.
- ``prune SLOT FIRST``: deletes generations before SLOT, and segments before FIRST in it, that nobody wrote to for
  ``--floor-hours``.

A newer session ends the one before it, and once an epoch was there, no older one is received. Epoch 0 is a node that
has not begun to write: it may only read. ``--end`` ends the session there is, when its key is let in no more. Each
refusal is one line on standard error, ``observer-receiver: ...``, and an exit status of its own.
One file with nothing but the standard library: it is all that the backup host gets.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import glob
import hashlib
import io
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from typing import Any, NoReturn

USAGE, WRONG_KEY, ABSENT, FAILED, FULL, UNREADABLE, TAKEN_OVER = 64, 65, 66, 70, 73, 74, 77

SLOT = re.compile(r"observer_e([0-9]{1,6})_([0-9]{8}t[0-9]{6})")
SEGMENT = re.compile(r"[0-9A-F]{24}")
FILE = re.compile(r"[0-9A-F]{24}(\.partial)?|[0-9A-F]{8}\.history")
MANIFEST = "manifest.json"

SILENCE = 30.0
"""Seconds without a byte from the node after which its session is over: at rest there is no key in any process."""
LINE_SECONDS, LINE_BYTES = 20.0, 400
END_SECONDS = 3.0
"""How long a session that has to go has for an orderly end."""
MOUNT_SECONDS = 20.0
TELL_SECONDS = 60.0
TRIES = 5
"""Reads of a segment that is being written: a half written block does not decrypt."""

# gocryptfs: a header a file and an overhead a block.
HEADER, PLAIN_BLOCK, CIPHER_BLOCK = 18, 4096, 4128


class Refusal(Exception):
    """Why a session does not go on: exit status and sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def main(arguments: list[str] | None = None) -> int:
    """Do what the session asks for; the exit status."""
    parser = argparse.ArgumentParser(prog="observer-receiver")
    parser.add_argument("--folder", required=True)
    parser.add_argument("--epoch", type=int, required=True)
    parser.add_argument("--floor-hours", type=float, default=168.0)
    parser.add_argument("--end", action="store_true")
    given = parser.parse_args(arguments)
    os.umask(0o077)
    with contextlib.suppress(PermissionError):  # sshd has made it a leader already
        os.setsid()
    try:
        if given.end:
            tell({"ended": House(given.folder, given.epoch).end_any()})
            return 0
        return run(House(given.folder, given.epoch), os.environ.get("SSH_ORIGINAL_COMMAND", ""), given.floor_hours)
    except Refusal as refusal:
        status, sentence = refusal.status, str(refusal)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        status, sentence = (FULL, "the disk is full") if full else (FAILED, str(error))
    with contextlib.suppress(OSError):
        print(f"observer-receiver: {sentence}", file=sys.stderr, flush=True)
    return status


def run(house: House, asked: str, floor_hours: float) -> int:
    """:raises Refusal: not one of the four, or it cannot be done."""
    words = asked.split(" ")
    verb, rest = words[0], words[1:]
    position = r"[0-9A-F]{24}"
    forms = {"receive": (SLOT.pattern, "[2-4][0-9]{4}"), "fetch": (SLOT.pattern, position),
             "prune": (SLOT.pattern, position),
             "list": ("all",) if rest == ["all"] else (SLOT.pattern, position)}
    form = forms.get(verb)
    if form is None or len(form) != len(rest) or not all(map(re.fullmatch, form, rest)):
        raise Refusal(USAGE, "ask for: receive SLOT PORT, list all, list SLOT FIRST, fetch SLOT FIRST, "
                             "or prune SLOT FIRST")
    if verb == "receive":
        return receive(house, rest[0], rest[1], line("key"), line("password"))
    if rest == ["all"]:
        tell({"epoch": house.present_epoch(), "generations": [house.outline(slot) for slot in house.generations()]})
    elif verb == "prune":
        tell(house.prune(rest[0], rest[1], floor_hours * 3600))
    else:
        with house.view(rest[0], line("key")) as folder:
            if verb == "list":
                tell({"slot": rest[0], "segments": [described(name, content)
                                                    for name, content in contents(folder, rest[1])]})
            else:
                hand_out(folder, rest[1], sys.stdout.buffer)
    return 0


# --- the folder of one identity ---------------------------------------------------------------------


class House:
    """What the backup host has of one identity.

    :param epoch: of the key with which this session came.
    """

    def __init__(self, folder: str, epoch: int) -> None:
        self.folder, self.epoch = folder.rstrip("/"), epoch
        self.run, self.mount = f"{self.folder}/run", f"{self.folder}/mnt"
        os.makedirs(self.run, mode=0o700, exist_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One session at a time changes who holds the folder."""
        with open(f"{self.folder}/lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def present_epoch(self) -> int:
        try:
            with open(f"{self.folder}/epoch", encoding="ascii") as file:
                return int(file.read())
        except FileNotFoundError:
            return 0
        except ValueError:
            # Better nobody writes than two.
            raise Refusal(FAILED, f"{self.folder}/epoch is no number") from None

    def admit(self) -> None:
        """:raises Refusal: a newer epoch's node has taken over, or this one may only read."""
        present = self.present_epoch()
        if not self.epoch:
            raise Refusal(TAKEN_OVER, "this key may only read: its node has not begun to write")
        if self.epoch < present:
            raise Refusal(TAKEN_OVER, f"this key is of epoch {self.epoch}; a node of epoch {present} has taken over")

    def end_any(self) -> bool:
        """End the session there is; whether there was one."""
        with self.locked():
            session = self.session()
            if session:
                self.end(session)
                self.unmount(self.mount)
            return session is not None

    def begin(self, slot: str, port: str) -> None:
        """End the session that there is and be the session. :raises Refusal: the epoch is an older one."""
        with self.locked():
            self.admit()
            if session := self.session():
                self.end(session)
            self.unmount(self.mount)
            for stale in glob.glob(f"{self.run}/.s.PGSQL.*"):
                if not stale.endswith(f".{port}"):
                    os.unlink(stale)
            if self.epoch > self.present_epoch():
                write(f"{self.folder}/epoch", f"{self.epoch}\n")
            write(f"{self.run}/session", json.dumps({"pid": os.getpid(), "started": started(os.getpid()), "slot": slot,
                                                     "port": port, "epoch": self.epoch}))

    def leave(self, port: str) -> None:
        """Clear up after this session. Without the lock, which a newer session holds while it waits for this: until
        this process has ended, the mount is its own."""
        session = self.session()
        if session and session["pid"] == os.getpid():
            self.unmount(self.mount)
            os.unlink(f"{self.run}/session")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.run}/.s.PGSQL.{port}")

    def session(self) -> dict[str, Any] | None:
        """The session whose process still lives."""
        try:
            with open(f"{self.run}/session", encoding="ascii") as file:
                found: dict[str, Any] = json.load(file)
        except (FileNotFoundError, ValueError):
            return None
        return found if started(found["pid"]) == found["started"] else None

    def end(self, session: dict[str, Any]) -> None:
        """An orderly end, or any end: a frozen session has to go as well."""
        pid = int(session["pid"])
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + END_SECONDS
        while started(pid) == session["started"]:
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                deadline += 3600
            time.sleep(0.05)
        # What it left behind when it was killed: its children are in its group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)

    def unmount(self, place: str) -> None:
        """Nothing is asked of the mount itself: with a frozen process behind it that would wait for ever."""
        for force in ("-u", "-uz"):
            if not mounted(place):
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(["fusermount3", force, place], check=False, timeout=5, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    # --- generations ---

    def generations(self) -> list[str]:
        """Oldest first."""
        return sorted((name for name in os.listdir(self.folder) if SLOT.fullmatch(name)), key=age_of)

    def outline(self, slot: str) -> dict[str, Any]:
        found = []
        for name in segments(f"{self.folder}/{slot}"):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(f"{self.folder}/{slot}/{name}")
                found.append({"name": name, "size": plain_size(status.st_size), "written": status.st_mtime})
        return {"slot": slot, "segments": found}

    def keep(self, slot: str) -> str:
        """The encrypted folder of a generation; made when it is missing. :raises Refusal: a later one is there."""
        newer = [name for name in self.generations() if age_of(name) > age_of(slot)]
        if newer:
            raise Refusal(TAKEN_OVER, f"{newer[-1]} is there, which is newer than {slot}")
        os.makedirs(f"{self.folder}/{slot}", mode=0o700, exist_ok=True)
        return f"{self.folder}/{slot}"

    @contextlib.contextmanager
    def view(self, slot: str, key: str) -> Iterator[str]:
        """A generation, decrypted, for reading, at a place of this process' own."""
        if slot not in self.generations():
            raise Refusal(ABSENT, f"there is no {slot} here")
        for left in glob.glob(f"{self.folder}/view-*"):
            if not started(int(left.rpartition("-")[2])):
                self.unmount(left)
                with contextlib.suppress(OSError):
                    os.rmdir(left)
        place = f"{self.folder}/view-{os.getpid()}"
        os.makedirs(place, mode=0o700)
        vault = Vault(f"{self.folder}/{slot}", place, key, "-ro")
        try:
            vault.open()
            yield place
        finally:
            self.unmount(place)
            vault.close()
            with contextlib.suppress(OSError):
                os.rmdir(place)

    def prune(self, slot: str, first: str, floor: float) -> dict[str, Any]:
        """Delete what is before ``first`` in ``slot``. What was written within ``floor`` seconds stays whatever is
        asked for: whoever owns the node cannot take the last days away."""
        with self.locked():
            self.admit()
            if slot not in self.generations():
                raise Refusal(ABSENT, f"there is no {slot} here")
            session, now = self.session(), time.time()
            deleted, young = 0, 0
            for name in self.generations():
                folder = f"{self.folder}/{name}"
                older = age_of(name) < age_of(slot)
                if age_of(name) > age_of(slot) or (older and session and session["slot"] == name):
                    continue
                names = segments(folder)
                gone = [one for one in names if older or (SEGMENT.fullmatch(one) and one[8:] < first[8:])]
                kept = [one for one in gone if now - os.stat(f"{folder}/{one}").st_mtime < floor]
                young += len(kept)
                if older and not kept and now - os.stat(folder).st_mtime >= floor:
                    shutil.rmtree(folder)
                    deleted += len(gone)
                elif not older:
                    for one in set(gone) - set(kept):
                        os.unlink(f"{folder}/{one}")
                        deleted += 1
            return {"deleted": deleted, "young": young}


def age_of(slot: str) -> tuple[int, str]:
    found = SLOT.fullmatch(slot)
    assert found
    return int(found[1]), found[2]


def segments(folder: str) -> list[str]:
    """Names of WAL in a folder in their order, a part of a segment only where the whole is missing."""
    names = {name for name in os.listdir(folder) if FILE.fullmatch(name)}
    return sorted(name for name in names if name.partition(".partial")[0] == name or name[:24] not in names)


def plain_size(stored: int) -> int:
    """Bytes of a file whose encrypted form has ``stored`` bytes."""
    if stored <= HEADER:
        return 0
    return stored - HEADER - -(-(stored - HEADER) // CIPHER_BLOCK) * (CIPHER_BLOCK - PLAIN_BLOCK)


class Vault:
    """An encrypted folder, open at a place while this lives."""

    def __init__(self, cipher: str, place: str, key: str, *options: str) -> None:
        self.cipher, self.place, self.key, self.options = cipher, place, key, options
        self.process: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """:raises Refusal: the key is another, or it cannot be opened."""
        os.makedirs(self.place, mode=0o700, exist_ok=True)
        if not os.path.exists(f"{self.cipher}/gocryptfs.conf"):
            if "-ro" in self.options or os.listdir(self.cipher):
                raise Refusal(UNREADABLE, f"{self.cipher}/gocryptfs.conf is missing")
            self._begin("-init", "-plaintextnames", self.cipher)
            self._wait(lambda: False)
        # As a child, so that it goes with the session; the background form would be on its own.
        self._begin("-fg", "-nosyslog", *self.options, self.cipher, self.place)
        self._wait(lambda: mounted(self.place))

    def _begin(self, *words: str) -> None:
        reader, writer = os.pipe()
        self.process = subprocess.Popen(["gocryptfs", "-q", "-passfile", f"/dev/fd/{reader}", *words],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        pass_fds=[reader])
        os.close(reader)
        with os.fdopen(writer, "w") as file, contextlib.suppress(BrokenPipeError):
            file.write(self.key + "\n")

    def _wait(self, done: Any) -> None:  # noqa: ANN401
        assert self.process
        deadline = time.monotonic() + MOUNT_SECONDS
        while not done():
            status = self.process.poll()
            if status == 0:
                return
            if status is not None:
                assert self.process.stdout
                said = " ".join(self.process.stdout.read().decode(errors="replace").split())[-200:]
                if status == 12:
                    raise Refusal(WRONG_KEY, f"the key is not that of {os.path.basename(self.cipher)}")
                raise Refusal(FULL if "no space left" in said else UNREADABLE, f"gocryptfs: {said} ({status})")
            if time.monotonic() > deadline:
                self.close()
                raise Refusal(FAILED, f"gocryptfs did not open {self.cipher} in {MOUNT_SECONDS:.0f} s")
            time.sleep(0.02)

    def close(self) -> None:
        """After the unmount gocryptfs ends by itself."""
        if self.process:
            try:
                self.process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


# --- receiving --------------------------------------------------------------------------------------


def receive(house: House, slot: str, port: str, key: str, password: str) -> int:
    """Stream until the session, or the stream, ends. The exit status is 0 when the node ended it."""
    ended = Ended()
    house.begin(slot, port)
    vault = Vault(house.keep(slot), house.mount, key)
    stream: subprocess.Popen[bytes] | None = None
    try:
        vault.open()
        mend(house.mount)
        stream = subprocess.Popen(
            [program("pg_receivewal"), "-d", f"host={house.run} port={port} user=observer_receiver connect_timeout=5 "
             "application_name=observer_receiver gssencmode=disable",
             "-D", house.mount, "-S", slot, "--synchronous", "--no-loop", "--no-password", "-s", "1", "-v"],
            stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), stderr=sys.stderr.fileno(),
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "PGPASSWORD": password, "LC_ALL": "C"})
        return follow(stream, house.folder, ended)
    finally:
        ended.deaf()
        if stream:
            stop(stream)
        house.leave(port)
        vault.close()


def mend(folder: str) -> None:
    """Take away a part of a segment that was not yet made to its full size when the last receiver was killed, or when
    the disk was full: nothing was written to it, and with it the receiver does not start."""
    sizes = {name: os.stat(f"{folder}/{name}").st_size for name in segments(folder)}
    whole_size = max((size for name, size in sizes.items() if SEGMENT.fullmatch(name)), default=0)
    for name, size in sizes.items():
        right = size in (0, whole_size) if whole_size else size == 0 or (size >= 1 << 20 and not size & (size - 1))
        if name.endswith(".partial") and not right:
            os.unlink(f"{folder}/{name}")


def follow(stream: subprocess.Popen[bytes], folder: str, ended: Ended) -> int:
    """Wait for an end, and tell the free bytes of the disk now and then."""
    heard, told = time.monotonic(), -TELL_SECONDS
    while True:
        status = stream.poll()
        if status is not None:
            disk = os.statvfs(folder)
            if disk.f_bavail * disk.f_frsize < 32 << 20:
                raise Refusal(FULL, "the disk is full")
            raise Refusal(FAILED, f"pg_receivewal ended with {status}")
        now = time.monotonic()
        if ended.signal:
            raise Refusal(FAILED, "a newer session, or somebody here, has ended this one")
        if now - told >= TELL_SECONDS:
            disk = os.statvfs(folder)
            tell({"free": disk.f_bavail * disk.f_frsize, "size": disk.f_blocks * disk.f_frsize})
            told = now
        if select.select([0], [], [], 0.2)[0]:
            if not os.read(0, 4096):
                return 0
            heard = time.monotonic()
        elif now - heard > SILENCE:
            raise Refusal(FAILED, f"nothing was heard from the node for {SILENCE:.0f} s")


class Ended:
    """Whether a signal has asked for the end."""

    def __init__(self) -> None:
        self.signal = 0
        for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(one, self._note)

    def _note(self, number: int, _frame: object) -> None:
        self.signal = number

    def deaf(self) -> None:
        """From here on it ends in its own order."""
        for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
            signal.signal(one, signal.SIG_IGN)


def stop(stream: subprocess.Popen[bytes]) -> None:
    if stream.poll() is None:
        stream.send_signal(signal.SIGINT)
        try:
            stream.wait(END_SECONDS - 1)
        except subprocess.TimeoutExpired:
            stream.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                stream.wait(END_SECONDS)


def program(name: str) -> str:
    """The newest of Debian's; the name alone where it lies elsewhere."""
    found = glob.glob(f"/usr/lib/postgresql/*/bin/{name}")
    return max(found, key=lambda path: int(path.split("/")[4])) if found else name


# --- handing out ------------------------------------------------------------------------------------


def contents(folder: str, first: str) -> Iterator[tuple[str, bytes]]:
    """Segments from ``first`` on and all history files, each read whole. :raises Refusal: one cannot be read."""
    for name in segments(folder):
        if SEGMENT.match(name) and name[8:24] < first[8:]:
            continue
        yield name, whole(folder, name)


def whole(folder: str, name: str) -> bytes:
    for left in reversed(range(TRIES)):
        for form in (name, name[:24]):
            try:
                with open(f"{folder}/{form}", "rb") as file:
                    content = file.read()
                    if len(content) == os.fstat(file.fileno()).st_size:
                        return content
            except FileNotFoundError:
                # It was a part a moment ago and is a whole segment now.
                continue
            except OSError as error:
                if not left or not name.endswith(".partial"):
                    raise Refusal(UNREADABLE, f"{name} cannot be read: {error.strerror}; it is damaged") from error
        time.sleep(0.2)
    raise Refusal(UNREADABLE, f"{name} cannot be read whole")


def described(name: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def hand_out(folder: str, first: str, out: Any) -> None:  # noqa: ANN401
    """Write the tar. The manifest comes last: a tar that was cut off has none."""
    manifest = []
    with tarfile.open(fileobj=out, mode="w|") as tar:
        for name, content in contents(folder, first):
            manifest.append(described(name, content))
            add(tar, name, content)
        add(tar, MANIFEST, json.dumps({"segments": manifest}).encode())
    out.flush()


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o600
    tar.addfile(member, io.BytesIO(content))


# --- small things -----------------------------------------------------------------------------------


def line(what: str) -> str:
    """A line of standard input, byte by byte: what follows it is not ours to take."""
    found, deadline = b"", time.monotonic() + LINE_SECONDS
    while len(found) < LINE_BYTES:
        if not select.select([0], [], [], max(0.0, deadline - time.monotonic()))[0]:
            break
        byte = os.read(0, 1)
        if byte == b"\n" and found:
            return found.decode(errors="replace")
        if byte in (b"", b"\n"):
            break
        found += byte
    raise Refusal(USAGE, f"standard input has no line with the {what}")


def tell(what: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(what), flush=True)


def write(path: str, text: str) -> None:
    """A file at once or not at all, on the disk when this returns."""
    with open(f"{path}.new", "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{path}.new", path)


def started(pid: int) -> int:
    """When a process started, in ticks since boot; 0 when it is gone or only waits to be buried."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def mounted(place: str) -> bool:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return any(row.split()[4] == place for row in file)


def _entry() -> NoReturn:
    sys.exit(main())


if __name__ == "__main__":
    _entry()
