"""The repository, through restic."""

from __future__ import annotations

import calendar
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from . import settings as given
from .problems import (
    Absent,
    BackupProblem,
    Damaged,
    Foreign,
    Full,
    HostKeyChanged,
    Incomplete,
    Locked,
    Revoked,
    Unknown,
    Unreachable,
    WrongPassword,
)
from .settings import Settings

MARK = "observer-node"
WAIT_FOR_LOCK = "2m"
READING = ("snapshots", "dump", "ls", "restore")
"""What can be done beside somebody's lock: the worst that a prune meanwhile makes of it is an error."""
SECONDS = 180.0
"""Longest time for a look at the repository. A backend that does not answer is tried by restic for a quarter of an
hour, and all that time nobody would be told."""
SCHEMA = 1

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@dataclass(frozen=True)
class Snapshot:
    """One snapshot. ``id`` is whole; ``time`` is epoch; ``host`` is the identity; ``bytes`` is what restic read;
    ``zone`` is by how many seconds the clock of who wrote it is ahead of UTC."""

    id: str
    time: float
    kind: str
    epoch: int
    writer: str
    host: str
    tags: tuple[str, ...]
    paths: tuple[str, ...]
    bytes: int = 0
    zone: int = 0

    @property
    def order(self) -> tuple[int, float, str]:
        """What is newer is greater: who took over later has the newer ones, whatever the clock of the node before."""
        return self.epoch, self.time, self.id


@dataclass(frozen=True)
class Summary:
    """What a backup did. Bytes; ``stored`` is what it added to the repository; ``seconds`` is how long it took;
    ``vanished`` are files that were there when it began to read their folder and not when it came to them."""

    snapshot: str
    files: int
    bytes: int
    added: int
    stored: int
    seconds: float
    vanished: tuple[str, ...] = ()


def of_another(snapshots: Sequence[Snapshot], identity: str) -> Foreign | None:
    """Why snapshots are not all of an identity; None when they are."""
    others = sorted({one.host for one in snapshots} - {identity})
    if not others:
        return None
    return Foreign(f"the repository is of {' and '.join(others)}, and backup_identity is {identity}")


class Repository:
    """A node's repository. What goes wrong is a :class:`BackupProblem`."""

    def __init__(
        self, settings: Settings, run: Run = subprocess.run, program: str = given.RESTIC, cache: str = given.CACHE,
        lock: str = WAIT_FOR_LOCK, seconds: float = SECONDS,
    ) -> None:
        self.settings, self._run, self._program, self._cache, self._lock = settings, run, program, cache, lock
        self._seconds = seconds

    # --- looking

    def of(self, settings: Settings) -> Repository:
        """The same repository with other settings of this node."""
        return Repository(settings, self._run, self._program, self._cache, self._lock, self._seconds)

    def snapshots(self, kind: str | None = None, *, every: bool = False) -> tuple[list[Snapshot], list[str]]:
        """Snapshots of a kind (or all of ours), the oldest first, and what restic said of those it cannot read.

        :param every: others than this project's, too.
        """
        tags = [] if every else ["--tag", MARK if kind is None else f"{MARK},kind={kind}"]
        done = self._call(["snapshots", "--json", *tags], seconds=self._seconds)
        warnings = [line for line in _lines(done.stderr) if _UNREADABLE.search(line) and not _TRIES.search(line)]
        found = [_snapshot(one) for one in _json(done.stdout, list)]
        return sorted(found, key=lambda one: one.order), warnings

    def require_identity(self, snapshots: Sequence[Snapshot]) -> None:
        """Refuse a repository that is not this identity's. Each snapshot says whose it is: that of kind ``identity``
        may be damaged, and is no more than the first.

        :param snapshots: all of it.
        :raises Foreign: one says another identity, or there is none that could say.
        """
        wanted = self.settings.identity
        if found := of_another(snapshots, wanted):
            raise found
        if not snapshots:
            raise Foreign(f"the repository does not say whose it is, and backup_identity is {wanted}")

    def read_json(self, snapshot: str, path: str) -> dict[str, Any]:
        """A small JSON file out of a snapshot."""
        done = self._call(["dump", snapshot, f"/{path.lstrip('/')}"], seconds=self._seconds)
        found: dict[str, Any] = _json(done.stdout, dict)
        return found

    @contextmanager
    def dump(self, snapshot: str, path: str) -> Iterator[IO[bytes]]:
        """A file of a snapshot as a stream. What was wrong is raised at the end: use nothing of it before."""
        words = self._argv(["dump", snapshot, f"/{path.lstrip('/')}"], self._lock)
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=self._environment()) as process:
            assert process.stdout is not None and process.stderr is not None
            try:
                yield process.stdout
            except BaseException:
                process.kill()
                raise
            # One that was not read to its end would wait for ever.
            while process.stdout.read(1 << 20):
                pass
            said = process.stderr.read()
            if process.wait():
                raise self._problem(process.returncode, said)

    def listing(self, snapshot: str, folder: str = "") -> list[dict[str, Any]]:
        """Files of a snapshot as restic's `ls --json` tells them (path, type, size, mtime, mode, uid, gid)."""
        done = self._call(["ls", "--json", snapshot, *([folder] if folder else [])])
        return [node for line in _lines(done.stdout)
                if (node := json.loads(line)).get("message_type", node.get("struct_type")) == "node"]

    def version(self) -> str:
        """restic's own version, such as 0.18.0."""
        done = self._call(["version"], lock=False, seconds=self._seconds)
        match = re.match(r"restic (\S+)", done.stdout.decode("utf-8", "replace"))
        if match is None:
            raise Unknown(f"{self._program} does not say its version")
        return match[1]

    # --- writing

    def init(self) -> None:
        """Make the repository."""
        self._call(["init"], seconds=self._seconds)

    def backup(
        self, paths: Sequence[str], kind: str, exclude: Sequence[str] = (), there: Sequence[Snapshot] | None = None,
    ) -> Summary:
        """Save folders and files.

        :param there: all of the repository, of which the newest of these paths is what it is compared with. Else restic
            looks for that itself, and fails at any snapshot that is damaged.
        :raises Incomplete: a path is not there, or something below could not be read; what vanished meanwhile does not
            count.
        """
        for path in paths:
            # restic leaves out what is not there and says that all is well.
            if not os.path.lexists(path):
                raise Incomplete(f"{path} is to be saved and is not there")
        options = [word for pattern in exclude for word in ("--exclude", pattern)]
        if there is not None:
            before = [one.id for one in there if one.kind == kind and set(one.paths) == set(paths)]
            options += ["--parent", before[-1]] if before else ["--force"]
        return self._backup([*options, "--", *paths], kind)

    def backup_command(self, argv: Sequence[str], filename: str, kind: str) -> Summary:
        """Save what a command prints, when it ends well, and else nothing."""
        # It would be compared with one before, and any that is damaged would end it.
        return self._backup(["--force", "--stdin-filename", filename, "--stdin-from-command", "--", *argv], kind)

    def backup_text(self, text: str, filename: str, kind: str) -> Summary:
        """Save a text, which must not be empty."""
        return self._backup(["--stdin", "--stdin-filename", filename], kind, text.encode())

    def restore(
        self, snapshot: str, target: str, include: Sequence[str] | None = None, sparse: bool = True,
    ) -> None:
        """Restore a snapshot (its whole id) below a folder. Until this returns nothing there is to be used."""
        options = [word for path in include or () for word in ("--include", path)]
        self._call(["restore", snapshot, "--target", target, *options, *(["--sparse"] if sparse else [])])

    def check(self, subset: str = "", wait: str = "") -> None:
        """Check the repository's structure, and a part of its data such as ``5%`` by reading it.

        :param wait: for whoever writes, as restic has it; empty as everything does.
        :raises Damaged: what is stored is not what was written.
        """
        try:
            self._call(["check", *([f"--read-data-subset={subset}"] if subset else [])], wait=wait)
        except Unknown as problem:
            raise Damaged(f"restic check is not content: {problem.what}") from problem

    def unlock(self) -> None:
        """Take away locks that dead processes of this machine have left."""
        self._call(["unlock"], lock=False, seconds=self._seconds)

    # --- inner

    def _tags(self, kind: str) -> str:
        return f"{MARK},kind={kind},epoch={self.settings.epoch},writer={self.settings.writer}"

    def _backup(self, arguments: Sequence[str], kind: str, text: bytes | None = None) -> Summary:
        # Without --force restic looks for a parent among snapshots of this host and these paths.
        words = ["backup", "--json", "--host", self.settings.identity, "--tag", self._tags(kind), *arguments]
        done = self._call(words, text, also=(3,))
        messages = [json.loads(line) for line in _lines(done.stdout) if line.startswith("{")]
        said = [json.loads(line) for line in _lines(done.stderr) if line.startswith("{")]
        summary = next((one for one in messages if one.get("message_type") == "summary"), None)
        if summary is None or not summary.get("snapshot_id"):
            raise Unknown(f"restic made no snapshot of kind {kind}")
        items = sorted({str(one.get("item")) for one in [*messages, *said] if one.get("message_type") == "error"})
        bad = [item for item in items if os.path.lexists(item)]
        if bad or (done.returncode == 3 and text is not None):
            raise Incomplete(f"{len(bad)} of the files to be saved could not be read, among them"
                             f" {' and '.join(bad[:3])}" if bad else "there was nothing to save")
        return Summary(str(summary["snapshot_id"]), int(summary.get("total_files_processed", 0)),
                       int(summary.get("total_bytes_processed", 0)), int(summary.get("data_added", 0)),
                       int(summary.get("data_added_packed", summary.get("data_added", 0))),
                       float(summary.get("total_duration", 0.0)), tuple(items))

    def _argv(self, words: Sequence[str], wait: str) -> list[str]:
        options = [word for option in self.settings.options for word in ("-o", option)]
        return [self._program, "--password-file", self.settings.password_file, "--cache-dir", self._cache, "--quiet",
                *options, *(["--retry-lock", wait] if wait else []), *words]

    def _environment(self) -> dict[str, str]:
        # Not among the arguments, which everybody sees: an address may have a password in it.
        return {**os.environ, "LC_ALL": "C", "RESTIC_REPOSITORY": self.settings.repository, **self._secrets()}

    def _secrets(self) -> dict[str, str]:
        path = self.settings.environment_file
        if not path or not os.path.exists(path):
            return {}
        return {str(key): str(value) for key, value in given.read_json(path).items()}

    def _call(self, words: Sequence[str], text: bytes | None = None, also: Sequence[int] = (),
              lock: bool = True, seconds: float | None = None,
              wait: str = "") -> subprocess.CompletedProcess[bytes]:
        given_input: Mapping[str, Any] = {"stdin": subprocess.DEVNULL} if text is None else {"input": text}
        try:
            done = self._run(self._argv(words, (wait or self._lock) if lock else ""), capture_output=True, check=False,
                             env=self._environment(),
                             timeout=seconds, **given_input)
        except subprocess.TimeoutExpired as error:
            said = self._clean((error.stderr or b"").decode("utf-8", "replace"))
            found = problem(1, said, self.settings.repository_name)
            raise found if not isinstance(found, Unknown) else Unreachable(
                f"{self.settings.repository_name} did not answer within {error.timeout:.0f} s") from error
        except OSError as error:
            raise Unknown(f"{self._program} does not run: {error.strerror}",
                          "Run site.yml, which installs restic.") from error
        if done.returncode and done.returncode not in also:
            found = self._problem(done.returncode, done.stderr or b"")
            if not lock or not isinstance(found, Locked):
                raise found
            # A machine that died may have left it. What is dead for half an hour goes; who only reads needs not wait.
            self.unlock()
            reads = ["--no-lock"] if words[0] in READING else []
            return self._call([*reads, *words], text, also, lock=False, seconds=seconds)
        return done

    def _problem(self, code: int, said: bytes) -> BackupProblem:
        return problem(code, self._clean(said.decode("utf-8", "replace")), self.settings.repository_name)

    def _clean(self, text: str) -> str:
        for secret in sorted(self._secrets().values(), key=len, reverse=True):
            if len(secret) > 3:
                text = text.replace(secret, "***")
        return _USER_OF_URL.sub("//***@", text)


_NOTICE = re.compile(r"NOTICE: Config file .* not found")
_UNREADABLE = re.compile(r"^Ignoring\b|load snapshot|<snapshot/")
_TRIES = re.compile(r"retrying after|successful after")
"""What went well at last. What is said of locks, or by ssh, is said of no snapshot."""

_USER_OF_URL = re.compile(r"//[^/\s@]+@")

_BY_TEXT: tuple[tuple[type[BackupProblem], str, str], ...] = (
    (HostKeyChanged, r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED",
     "{repository} shows another host key than the one that is pinned in /etc/observer-node/backup/known_hosts"),
    (Revoked, r"Permission denied \(|Access ?Denied|InvalidAccessKeyId|SignatureDoesNotMatch|401 Unauthorized",
     "{repository} does not let this node in"),
    (WrongPassword, r"wrong password or no key found", "backup_password does not open {repository}"),
    (Full, r"no space left on device|[Dd]isk quota exceeded|refusing to overwrite in append-only mode|507 Insufficient",
     "there is no room left in {repository}"),
    (Damaged, r"ciphertext verification failed|invalid data returned|is damaged|not found in index|unexpected EOF"
              r"|repository contains errors|id .{0,20} not found|tree .{0,80} (?:not found|is not)"
              r"|load .* returned error",
     "{repository} is damaged: {line}"),
    (Unreachable, r"No route to host|Connection refused|timed out|Could not resolve|Network is unreachable"
                  r"|Connection (?:reset|closed)|no such host|i/o timeout|Temporary failure in name resolution"
                  r"|Broken pipe|connection refused|exit status 255",
     "{repository} does not answer: {line}"),
    (Absent, r"Is there a repository at the following location|repository does not exist",
     "there is no repository at {repository}"),
)
_BY_CODE: Mapping[int, tuple[type[BackupProblem], str]] = {
    10: (Absent, "there is no repository at {repository}"),
    11: (Locked, "{repository} is locked by another restic: {line}"),
    12: (WrongPassword, "backup_password does not open {repository}"),
}


def problem(code: int, said: str, repository: str) -> BackupProblem:
    """What restic's end means. Codes say it for few cases; for the others its text does, and what nobody knows stops.

    :param said: its standard error, without secrets.
    :param repository: the repository's name for people.
    """
    lines = [line for line in said.splitlines() if line.strip() and not _NOTICE.search(line)]
    for kind, pattern, sentence in _BY_TEXT if code not in _BY_CODE else ():
        hit = next((line for line in lines if re.search(pattern, line)), None)
        if hit is not None:
            return kind(sentence.format(repository=repository, line=_sentence(hit)))
    if code in _BY_CODE:
        known, sentence = _BY_CODE[code]
        return known(sentence.format(repository=repository, line=_sentence(lines[-1] if lines else "")))
    return Unknown(f"restic ended with {code}: {_sentence(lines[-1]) if lines else 'it said nothing'}")


def _sentence(line: str) -> str:
    """A line of restic's, which may be JSON, for a sentence."""
    if line.startswith("{"):
        try:
            found = json.loads(line)
            error = found.get("error")
            line = str(found.get("message") or (error.get("message") if isinstance(error, dict) else error) or line)
        except ValueError:
            pass
    return re.sub(r"^(?:Fatal|rclone|ssh): ", "", line.strip())[:300]


def _snapshot(one: Mapping[str, Any]) -> Snapshot:
    tags = tuple(str(tag) for tag in one.get("tags") or ())
    said = dict(tag.partition("=")[::2] for tag in tags)
    number = said.get("epoch", "")
    return Snapshot(str(one["id"]), moment(str(one["time"])), said.get("kind", ""),
                    int(number) if number.isdigit() else 0, said.get("writer", ""), str(one.get("hostname", "")), tags,
                    tuple(str(path) for path in one.get("paths") or ()),
                    int((one.get("summary") or {}).get("total_bytes_processed", 0)), zone(str(one["time"])))


def moment(text: str) -> float:
    """Epoch of restic's time, such as 2026-11-22T01:02:03.123456789Z or with +09:00."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", text)
    if match is None:
        raise Unknown(f"restic's time {text[:60]} is none")
    return calendar.timegm(time.strptime(match[1], "%Y-%m-%dT%H:%M:%S")) + float(match[2] or 0) - zone(text)


def zone(text: str) -> int:
    """By how many seconds the zone of restic's time is ahead of UTC."""
    hours = text[-6:]
    return 0 if text.endswith("Z") else (int(hours[1:3]) * 3600 + int(hours[4:6]) * 60) * (-1 if hours[0] == "-" else 1)


def _lines(said: bytes | None) -> list[str]:
    return [line for line in (said or b"").decode("utf-8", "replace").splitlines() if line.strip()]


def _json(said: bytes, kind: type) -> Any:  # noqa: ANN401 (a list or a dict, as asked for)
    try:
        found = json.loads(said or b"null")
    except ValueError as error:
        raise Damaged("the repository answered with what is no JSON") from error
    if found is None and kind is list:
        return []
    if not isinstance(found, kind):
        raise Damaged("the repository answered with other JSON than was asked for")
    return found
