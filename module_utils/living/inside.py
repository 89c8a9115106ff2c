"""What a container's process can do, tried from within: write, be refused, resolve, connect, answer (seed 001, Steps
3, 4 and 6).

A child enters the container's mount, network, UTS and IPC namespaces and becomes what the process is there: groups,
ids, capabilities, no new privileges. (Its seccomp filter and AppArmor profile are not taken on: neither decides about
writing, connecting or resolving in what Kubernetes applies by default.) From then on not one line of code of the
container is run and no module is loaded from its file system; psql alone is, as the container's own user, in a process
namespace of its own, in which it sees and signals nobody, neither the node's processes nor the container's, without new
privileges and with little memory, time and room for its answer.

Whatever a probe makes is removed again, also when its time is over. Only the standard library, Python 3.10.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import ipaddress
import json
import os
import random
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any, NoReturn

PROBE = ".observer-node-probe-"
"""What the names of probes begin with."""

ANSWER_LIMIT = 1 << 20
"""Bytes that a child may answer with: it lives in somebody else's file system."""

BODY_LIMIT = 16384
"""Characters of a page, and bytes of what psql says. Whoever takes secrets out of them cuts them to size."""

STEP_SECONDS = 3.0
"""For one connection, one page or one question to a name server. A healthy one takes a hundredth of that."""

GRACE_SECONDS = 1.0
"""Between asking a child to end, so that it removes its probe, and killing it."""

CLONE_NEWPID = 0x20000000
LIMITS = {resource.RLIMIT_CPU: 6, resource.RLIMIT_AS: 1 << 30, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0,
          resource.RLIMIT_NOFILE: 64, resource.RLIMIT_NPROC: 64}
"""Of psql: it reads from a socket, and writes an answer of one line."""

NAMESPACES = ("ipc", "uts", "net", "mnt")
"""The last one changes what files are seen, /proc among them."""

PR_SET_KEEPCAPS, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 8, 24, 38
CAPABILITY_VERSION = 0x20080522
LAST_CAPABILITY = 63


Job = tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, str]]
"""A container, its tasks, its variables."""


class OutOfTimeError(Exception):
    """The parent has no more time for this child."""


def probe(container: Mapping[str, Any], tasks: Mapping[str, Any], environment: Mapping[str, str],
          seconds: float = 10.0) -> dict[str, Any]:
    """Do tasks in one container; see :func:`probe_all`."""
    return next(iter(probe_all([(container, tasks, environment)], seconds)))


def probe_all(jobs: list[Job], seconds: float = 10.0) -> Iterator[dict[str, Any]]:
    """Do tasks in several containers at the same time.

    :param jobs: for each a container (ContainerFacts: ``pid``, ``uids``, ``gids``, ``groups``, ``capabilities``), its
        tasks and its variables, of which only names of users and databases are used. Tasks:

        writes      paths of folders in which a file is made, flushed, read back and removed
        refusals    paths of folders in which making one has to fail
        paths       paths whose real path in there is told
        http        ``[{"port": 8000, "path": "/health"}]`` on 127.0.0.1
        names       names to resolve by the container's /etc/hosts and /etc/resolv.conf
        connects    ``host:port`` to connect to
        postgres    ``{"program": path of psql in the container}``
    :param seconds: after which a child is ended.
    :returns: ``inside`` of ContainerFacts for each, as far as the child came; ``why`` says what ended it early.
    """
    started = [(start(*job, seconds), time.monotonic() + seconds) for job in jobs]
    for (pid, pipe), deadline in started:
        yield collect(pid, pipe, deadline)


def start(container: Mapping[str, Any], tasks: Mapping[str, Any], environment: Mapping[str, str], seconds: float,
          ) -> tuple[int, int]:
    """Fork the child; its pid and the end of the pipe from which its answer is read."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    os.close(reading)
    child(container, tasks, environment, writing, seconds)


def child(container: Mapping[str, Any], tasks: Mapping[str, Any], environment: Mapping[str, str], writing: int,
          seconds: float) -> NoReturn:
    """The child's whole life. It leaves by ``_exit``, because nothing of its parent's is its own to clean up."""
    try:
        for number in (signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, end_early)
        # Should its parent be gone by then, it ends all the same.
        signal.setitimer(signal.ITIMER_REAL, seconds + GRACE_SECONDS)
        if tasks.get("postgres"):
            # For psql. Not the container's own, where it could be left behind as a child of the database: a server that
            # sees a child that it does not know end badly takes it for a crash of its own, and restarts.
            call(ctypes.CDLL(None, use_errno=True).unshare, CLONE_NEWPID)
        enter(container)
        # A module that is loaded late would come from the container's files.
        sys.path[:], sys.meta_path[:], sys.path_hooks[:] = [], [], []
        for part in parts(tasks, environment):
            os.write(writing, json.dumps(part).encode() + b"\n")
    except OutOfTimeError:
        pass
    except BaseException as error:  # whatever it is, it is told, and this process must not go on as its parent would
        with contextlib.suppress(OSError):
            os.write(writing, json.dumps({"why": why(error)}).encode() + b"\n")
    finally:
        os._exit(0)


def end_early(_number: int, _frame: FrameType | None) -> NoReturn:
    """Leaves what is being done, by way of its cleaning up."""
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    raise OutOfTimeError


def collect(pid: int, pipe: int, deadline: float) -> dict[str, Any]:
    """Read a child's answer until it ends or its time is over, and see it off."""
    try:
        read, ended = gathered(pipe, deadline, ANSWER_LIMIT)
    finally:
        os.close(pipe)
    see_off(pid, in_time=ended)
    found: dict[str, Any] = {}
    for line in read.split(b"\n"):
        try:
            part = json.loads(line or b"{}")
        except ValueError:
            continue  # cut off in the middle
        for name, value in part.items():
            if isinstance(value, dict) and isinstance(found.get(name), dict):
                found[name].update(value)
            else:
                found[name] = value
    return found if ended else {**found, "why": "no answer in time"}


def gathered(pipe: int, deadline: float, limit: int) -> tuple[bytes, bool]:
    """What comes out of a pipe until a time of the monotonic clock, so many bytes at most; and whether it has ended."""
    read, ended = bytearray(), False
    while not ended and len(read) < limit:
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            break
        got = os.read(pipe, 65536)
        read += got
        ended = not got
    return bytes(read), ended


def see_off(pid: int, *, in_time: bool) -> None:
    """Wait for a child that ends; one that does not is asked to, and killed when it has not cleaned up by then. One
    that even so does not end hangs in the kernel, on a disk that is gone: it is left to itself."""
    for number in (0,) if in_time else (signal.SIGTERM, signal.SIGKILL):
        if number:
            os.kill(pid, number)
        ends = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < ends:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
            time.sleep(0.005)


def why(error: BaseException) -> str:
    """An error as the kernel names it, and in words."""
    if isinstance(error, TimeoutError):
        return "ETIMEDOUT Connection timed out"
    if isinstance(error, OSError) and error.errno:
        return f"{errno.errorcode.get(error.errno, error.errno)} {error.strerror}"
    return str(error) or type(error).__name__


# --- becoming the process -----------------------------------------------------------------------


def enter(container: Mapping[str, Any]) -> None:
    """Enter the namespaces of a container's process and have no more rights than it.

    :raises OSError: the process has ended, or this one is not root.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    pid = int(container["pid"])
    opened = [os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in NAMESPACES]
    for descriptor in opened:
        call(libc.setns, descriptor, 0)
        os.close(descriptor)
    os.chdir("/")
    capabilities = container["capabilities"]
    for number in range(LAST_CAPABILITY + 1):
        if not capabilities["bounding"] >> number & 1 and libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0:
            if ctypes.get_errno() != errno.EINVAL:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            break  # the kernel knows no more of them
    os.setgroups(container["groups"])
    os.setresgid(*container["gids"][:3])
    # Changing the user clears the capabilities unless they are to be kept until they are set below.
    call(libc.prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setresuid(*container["uids"][:3])
    effective, permitted = capabilities["effective"], capabilities["permitted"]
    low = 0xFFFFFFFF
    header = struct.pack("Ii", CAPABILITY_VERSION, 0)
    sets = struct.pack("6I", effective & low, permitted & low, 0, effective >> 32, permitted >> 32, 0)
    call(libc.capset, header, sets)
    call(libc.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def call(function: Callable[..., int], *arguments: object) -> None:
    """A function of the C library that tells of failure by -1 and errno.

    :raises OSError: it failed.
    """
    if function(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


# --- what is tried ------------------------------------------------------------------------------


def parts(tasks: Mapping[str, Any], environment: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Every answer as soon as it is there, so that a task that hangs does not take the others with it: what is most
    likely to hang comes last."""
    for path in tasks.get("writes", ()):
        yield {"writes": {path: write(path)}}
    for path in tasks.get("refusals", ()):
        yield {"refusals": {path: refusal(path)}}
    for path in tasks.get("paths", ()):
        yield {"paths": {path: os.path.realpath(path)}}
    for page in tasks.get("http", ()):
        yield {"http": {page["path"]: get(int(page["port"]), page["path"])}}
    resolved: dict[str, dict[str, Any]] = {}
    for name in tasks.get("names", ()):
        resolved[name] = resolve(name)
        yield {"names": {name: resolved[name]}}
    for address in tasks.get("connects", ()):
        host = address.rpartition(":")[0]
        yield {"connects": {address: connect(address, resolved.get(host) or resolve(host))}}
    if tasks.get("postgres"):
        yield {"postgres": postgres(tasks["postgres"]["program"], environment)}


def new_name(folder: str) -> str:
    return f"{folder.rstrip('/')}/{PROBE}{random.SystemRandom().getrandbits(64):016x}"


def write(folder: str) -> dict[str, Any]:
    """Make a file in a folder, flush it to the disk, read it back, remove it."""
    begun, path, said = time.monotonic(), new_name(folder), os.urandom(64)
    try:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                if os.write(descriptor, said) != len(said):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(descriptor)
                if os.pread(descriptor, len(said) + 1, 0) != said:
                    raise OSError(errno.EIO, "what is read is not what was written")
            finally:
                os.close(descriptor)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)
    except OSError as error:
        return {"ok": False, "why": why(error), "seconds": round(time.monotonic() - begun, 4)}
    return {"ok": True, "why": "", "seconds": round(time.monotonic() - begun, 4)}


def refusal(folder: str) -> dict[str, Any]:
    """Whether making a file in a folder is refused. A folder that is not there refuses, too."""
    found = write(folder)
    return {"refused": not found["ok"], "why": found["why"]}


def get(port: int, path: str) -> dict[str, Any]:
    """A page of 127.0.0.1, by HTTP/1.0, so that the server ends the connection."""
    begun = time.monotonic()

    def took() -> float:
        return round(time.monotonic() - begun, 4)

    read = bytearray()
    try:
        with open_link("127.0.0.1", port) as link:
            link.sendall(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            while len(read) < 65536:
                left = begun + STEP_SECONDS - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                link.settimeout(left)
                got = link.recv(65536)
                if not got:
                    break
                read += got
    except OSError as error:
        if not read:
            return {"status": None, "body": "", "seconds": took(), "why": why(error)}
    head, _, body = bytes(read).partition(b"\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return {"status": None, "body": "", "seconds": took(), "why": "the answer is no HTTP"}
    return {"status": int(words[1]), "body": body.decode("utf-8", "replace")[:BODY_LIMIT], "seconds": took(), "why": ""}


def open_link(host: str, port: int) -> socket.socket:
    """A connection to an address; names are not resolved here.

    :raises OSError: refused, or not within the time of a step.
    """
    link = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        link.settimeout(STEP_SECONDS)
        link.connect((host, port))
    except BaseException:
        link.close()
        raise
    return link


def connect(address: str, resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Connect by TCP to ``host:port`` and close at once."""
    begun = time.monotonic()
    reason = resolved["why"] or "no address"
    for host in resolved["addresses"]:
        try:
            open_link(host, int(address.rpartition(":")[2])).close()
        except (OSError, ValueError, OverflowError) as error:
            reason = why(error)
        else:
            return {"ok": True, "why": "", "seconds": round(time.monotonic() - begun, 4)}
    return {"ok": False, "why": reason, "seconds": round(time.monotonic() - begun, 4)}


# --- names, without the C library: it would load modules of the container ------------------------


def resolve(name: str) -> dict[str, Any]:
    """IPv4 addresses of a name, by the container's own /etc/hosts and /etc/resolv.conf, search list included."""
    try:
        return {"addresses": [str(ipaddress.ip_address(name))], "why": ""}
    except ValueError:
        pass
    try:
        with open("/etc/hosts", encoding="utf-8", errors="replace") as file:
            known = [words[0] for line in file if name in (words := line.partition("#")[0].split())[1:]]
    except OSError:
        known = []
    if known:
        return {"addresses": known, "why": ""}
    try:
        with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
            servers, search, dots = resolver(file.read())
    except OSError as error:
        return {"addresses": [], "why": f"/etc/resolv.conf: {why(error)}"}
    reason = "NXDOMAIN"
    for full in candidates(name, search, dots):
        addresses, said = ask(full, servers)
        if addresses:
            return {"addresses": addresses, "why": ""}
        if said not in ("NXDOMAIN", "no address"):
            if full == name and search:
                # The cluster has denied the name; that the world outside cannot be asked is no news about it.
                continue
            # A server that does not answer would not answer for the rest of the list, either.
            return {"addresses": [], "why": said}
        reason = said if said == "no address" else reason
    return {"addresses": [], "why": reason}


def resolver(text: str) -> tuple[list[str], list[str], int]:
    """Servers, search list and ``ndots`` of a resolv.conf."""
    servers: list[str] = []
    search: list[str] = []
    dots = 1
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = words[1:]
        elif words[0] == "options":
            for word in words[1:]:
                if word.startswith("ndots:") and word[6:].isdigit():
                    dots = int(word[6:])
    return servers[:3] or ["127.0.0.1"], search, dots


def candidates(name: str, search: list[str], dots: int) -> list[str]:
    """The names that are asked for, in order."""
    if name.endswith("."):
        return [name[:-1]]
    longer = [f"{name}.{domain}".rstrip(".") for domain in search]
    return [name, *longer] if name.count(".") >= dots else [*longer, name]


def ask(name: str, servers: list[str]) -> tuple[list[str], str]:
    """A name's IPv4 addresses from the first server that answers, or why there are none."""
    reason = "no name server"
    try:
        number, question = query(name)
    except ValueError as error:
        return [], str(error)
    for server in servers:
        try:
            family = socket.AF_INET6 if ":" in server else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as link:
                link.settimeout(STEP_SECONDS / 2)
                link.connect((server, 53))
                # Once more, because a datagram may be lost.
                for last in (False, True):
                    link.send(question)
                    try:
                        return answer(link.recv(4096), number)
                    except TimeoutError:
                        if last:
                            raise
        except TimeoutError:
            reason = f"name server {server} does not answer"
        except (OSError, ValueError, IndexError, struct.error) as error:
            reason = f"name server {server}: {why(error)}"
    return [], reason


def query(name: str) -> tuple[int, bytes]:
    """Number and bytes of a question for the A records of a name (RFC 1035, 4.1).

    :raises ValueError: it cannot be a name.
    """
    labels = [label.encode("ascii", "strict") for label in name.split(".")]
    if not all(0 < len(label) < 64 for label in labels) or len(name) > 253:
        raise ValueError(f"{name!r} is no name")
    number = random.SystemRandom().getrandbits(16)
    body = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return number, struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + body + struct.pack("!2H", 1, 1)


def answer(message: bytes, number: int) -> tuple[list[str], str]:
    """Addresses of an answer, or why it has none.

    :raises ValueError, IndexError, struct.error: it is none, or it is broken.
    """
    answered, flags, questions, records = struct.unpack_from("!4H", message)
    if answered != number or not flags & 0x8000:
        raise ValueError("the answer is to something else")
    code = flags & 15
    if code:
        return [], {2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}.get(code, f"error {code}")
    at = 12
    for _ in range(questions):
        at = skip(message, at) + 4
    addresses = []
    for _ in range(records):
        at = skip(message, at)
        kind, _, _, length = struct.unpack_from("!2HIH", message, at)
        at += 10
        if kind == 1 and length == 4:
            addresses.append(".".join(map(str, message[at:at + 4])))
        at += length
    return addresses, "" if addresses else "no address"


def skip(message: bytes, at: int) -> int:
    """Where a name in a message ends."""
    while message[at]:
        if message[at] >= 0xC0:
            return at + 2
        at += message[at] + 1
    return at + 1


# --- PostgreSQL ---------------------------------------------------------------------------------

QUESTION = ("SELECT current_setting('server_version'), pg_database_size(current_database()),"
            " current_setting('data_checksums'), pg_is_in_recovery()")


def postgres(program: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What the database says of itself through its socket, asked by the container's own psql.

    Names of user and database come from a Secret, so they go by variables: arguments are for everybody to read. No
    password is given: the image lets its own user in by the socket.
    """
    found = {"ready": False, "why": "", "version": "", "size_bytes": None, "checksums": None, "recovery": None}
    user = environment.get("POSTGRES_USER") or "postgres"
    variables = {
        "PGUSER": user, "PGDATABASE": environment.get("POSTGRES_DB") or user, "PGCONNECT_TIMEOUT": "3",
        "PGOPTIONS": "-c statement_timeout=3000", "PGAPPNAME": "observer-node", "PATH": os.path.dirname(program),
        "LC_ALL": "C", "PSQL_HISTORY": "/dev/null", "HOME": "/nonexistent",
    }
    variables.update((name, environment[name]) for name in ("PGHOST", "PGPORT", "LD_LIBRARY_PATH")
                     if name in environment)
    process = None
    try:
        process = subprocess.Popen([program, "-XAtqw", "-F", "\t", "-c", QUESTION], env=variables, cwd="/",
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   preexec_fn=confine)
        assert process.stdout is not None
        said, ended = gathered(process.stdout.fileno(), time.monotonic() + STEP_SECONDS * 2, BODY_LIMIT)
        if not ended:
            return {**found, "why": "psql does not end its answer" if said else "psql does not answer in time"}
        code = process.wait(timeout=STEP_SECONDS)
    except subprocess.SubprocessError:
        return {**found, "why": "psql does not end in time"}
    except OSError as error:
        return {**found, "why": f"{program}: {why(error)}"}
    finally:
        if process and process.poll() is None:
            process.kill()
            process.wait()
    text = said.decode("utf-8", "replace")
    rows = [line.split("\t") for line in text.splitlines()]
    words = next((row for row in rows if len(row) == 4 and row[0].strip() and row[1].isdigit()), None)
    if code or words is None:
        return {**found, "why": " ".join(text.split()) or f"psql ended with {code}"}
    return {"ready": True, "why": "", "version": words[0].split()[0], "size_bytes": int(words[1]),
            "checksums": words[2] == "on", "recovery": words[3] == "t"}


def confine() -> None:
    """What psql gets of the node."""
    for kind, most in LIMITS.items():
        _, hard = resource.getrlimit(kind)
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (limit, limit))
