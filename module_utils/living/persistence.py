"""Seed 001's Step 5: the pods are deleted while they work, and what is there before and after is compared."""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import os
import re
import stat
import subprocess
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple, TypeVar

from .cluster import decoded
from .drift_node import opened
from .redact import Redaction, is_secret, secret_values
from .volumes import path_of

KUBECTL = ("/usr/local/bin/k3s", "kubectl")
HASHED = 64 * 1024 * 1024
"""Bytes at a file's beginning that are compared; of a longer file also the last of what was there."""

LOAD_SECONDS = 2.0
POLL = 0.3
AGAIN_SECONDS = 20.0
"""For pages and rows after the pods are ready: a Service learns of new pods a little later than their conditions."""

COUNT_SECONDS = 600.0
"""For the rows of all tables; ``statement_timeout`` is for one."""

MOST = 100
"""Names of files of a kind that are told; of more, how many there are."""

MOVES_LOOKED_AT = 2000
"""Files that are read to find where the content of others has gone."""

BODY_CHARACTERS = 500
TRANSIENT = re.compile(r"\.(pid|lock|lck|tmp|temp|swp|part)$")
"""What a program makes for as long as it runs."""

ROTATED = re.compile(r"(?P<log>.*\.(?:log|jsonl))[.-][\w.:-]+$")
COUNT_ROWS = r"""SET statement_timeout = '120s';
SELECT schemaname || '.' || relname, '-' FROM pg_stat_user_tables WHERE schemaname !~ '^pg_temp' ORDER BY 1;
\set ON_ERROR_STOP 0
SELECT format('SELECT %L, count(*) FROM %I.%I;', schemaname || '.' || relname, schemaname, relname)
  FROM pg_stat_user_tables WHERE schemaname !~ '^pg_temp' ORDER BY 1 \gexec
"""
"""First every table, then the rows of each: one that takes too long, or has gone meanwhile, keeps no other from being
counted. Tables in ``pg_temp_*`` are other sessions', who alone can read them."""

PSQL = ('export PGUSER="${POSTGRES_USER:-postgres}"; export PGDATABASE="${POSTGRES_DB:-$PGUSER}"; '
        'exec psql -X -q -At -F " " -v ON_ERROR_STOP=1')
"""By variables, because arguments are for everybody to read and the names come from a Secret."""


Answer = TypeVar("Answer")


class PersistenceError(Exception):
    """Something could not be asked or done; one sentence without secrets."""


class File(NamedTuple):
    """A file as it was: its size in bytes, the SHA-256 of what was compared of it, and its inode."""

    size: int
    digest: str
    inode: int


class Kubectl:
    """``kubectl`` of the node, with one namespace. ``redaction`` takes secrets out of what it complains of."""

    def __init__(self, namespace: str, program: Sequence[str] = KUBECTL) -> None:
        self.program = [*program, "--namespace", namespace]
        self.redaction = Redaction()

    def run(self, *words: str, stdin: str | None = None, seconds: float = 60.0) -> str:
        """:raises PersistenceError: it failed, with the last line of what it said."""
        try:
            done = subprocess.run([*self.program, *words], check=False, text=True, timeout=seconds, errors="replace",
                                  capture_output=True, input=stdin or "")
        except subprocess.TimeoutExpired:
            raise PersistenceError(f"kubectl {words[0]}: no answer within {seconds:g} s") from None
        except OSError as error:
            raise PersistenceError(f"kubectl {words[0]}: {error}") from error
        if done.returncode:
            said = self.redaction.text(done.stderr).strip().splitlines() or ["it failed"]
            raise PersistenceError(f"kubectl {words[0]}: {said[-1][:BODY_CHARACTERS]}")
        return done.stdout

    def items(self, kind: str) -> list[dict[str, Any]]:
        """:raises PersistenceError: as ``run``, or the answer is no list of objects."""
        try:
            found: list[dict[str, Any]] = json.loads(self.run("get", kind, "--output", "json"))["items"]
        except (ValueError, KeyError, TypeError):
            raise PersistenceError(f"kubectl get {kind}: the answer is no list of objects") from None
        return found


def owned(pod: Mapping[str, Any], workload: str) -> bool:
    """Whether a pod is of a workload (``Deployment/observer``)."""
    kind, _, name = workload.partition("/")
    for owner in pod["metadata"].get("ownerReferences", []):
        made = owner["name"].rpartition("-")[0] if owner["kind"] == "ReplicaSet" else owner["name"]
        if made == name and owner["kind"] == {"Deployment": "ReplicaSet"}.get(kind, kind):
            return True
    return False


def stays(pod: Mapping[str, Any]) -> bool:
    """Whether a pod is to go on: Kubernetes keeps evicted ones as witnesses, and others end."""
    return pod["status"].get("phase") not in ("Failed", "Succeeded") and "deletionTimestamp" not in pod["metadata"]


def ready(pod: Mapping[str, Any]) -> bool:
    conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and stays(pod)


def redaction_of(secrets: Iterable[dict[str, Any]], pods: Sequence[Mapping[str, Any]], public: Iterable[str],
                 ) -> Redaction:
    """Of the values of Secrets, and of plain variables of pods that are secret by name."""
    words = [*public, *(pod["metadata"]["name"] for pod in pods)]
    plain = {one["value"] for pod in pods for part in ("containers", "initContainers")
             for container in pod["spec"].get(part) or () for one in container.get("env") or ()
             if one.get("value") and is_secret(one["name"])}
    return Redaction([*plain, *(value for one in secrets for value in secret_values(decoded(one), words))])


def folders(kubectl: Kubectl, claims: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """The folders of the claims on this node, and other ones, by the name to tell them by.

    :raises PersistenceError: a claim has no volume, or its folder is not on this node.
    """
    volumes = {one["metadata"]["name"]: one for one in kubectl.items("persistentvolumes")}
    bound = {one["metadata"]["name"]: one["spec"].get("volumeName", "") for one in kubectl.items("pvc")}
    found = {}
    for claim in claims:
        volume = volumes.get(bound.get(claim, ""))
        if volume is None:
            raise PersistenceError(f"claim {claim} is bound to no volume")
        path = path_of(volume)
        if not os.path.isdir(path):
            raise PersistenceError(f"the folder of claim {claim}, {path or 'unknown'}, is not on this node")
        found[claim] = path
    found.update({path: path for path in others if os.path.isdir(path)})
    return found


def listing(top: str, unread: list[str], called: str) -> dict[str, File]:
    """Every file below a folder, which is ``called`` so. What vanishes meanwhile was not there; what cannot be read is
    told in ``unread``."""
    found: dict[str, File] = {}
    for name, status in files_below(top, unread, called):
        try:
            found[name] = File(status.st_size, digest(os.path.join(top, name), status.st_size), status.st_ino)
        except FileNotFoundError:
            continue
        except OSError as error:
            unread.append(f"{called}/{name}: {error.strerror or error}")
    return found


def files_below(top: str, unread: list[str], called: str) -> Iterator[tuple[str, os.stat_result]]:
    """Regular files below a folder, named from there."""
    def failed(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            name = os.path.normpath(os.path.join(called, os.path.relpath(error.filename or top, top)))
            unread.append(f"{name}: {error.strerror or error}")

    for folder, _, names in os.walk(top, onerror=failed):
        for name in names:
            path = os.path.join(folder, name)
            try:
                status = os.lstat(path)
            except OSError as error:
                failed(error)
                continue
            if stat.S_ISREG(status.st_mode):
                yield os.path.relpath(path, top), status


def digest(path: str, size: int) -> str:
    """SHA-256 of the first ``size`` bytes of a file, or of the two ends of them when they are many."""
    with opened(path, follow=False) as file:
        return summed(file, size)


def summed(file: IO[bytes] | gzip.GzipFile, size: int) -> str:
    found = hashlib.sha256()
    for start, length in ((0, min(size, HASHED)), (max(size - HASHED, HASHED), max(0, min(HASHED, size - HASHED)))):
        file.seek(start)
        while length > 0 and (block := file.read(min(length, 1 << 20))):
            found.update(block)
            length -= len(block)
    return found.hexdigest()


def compared(before: Mapping[str, File], top: str, appended: Callable[[str], bool], unread: list[str], called: str,
             ) -> tuple[list[str], list[str]]:
    """What of ``before`` (``listing``) is lost, and what was written anew or taken away meanwhile.

    Content that stands under another name now (a log that was rotated, packed or not) is not lost. Of the rest, a file
    that only grows has lost something when what was there is not its beginning any more. Any other may be replaced by
    whoever owns it, and is lost when it is gone or empty - what is made for a while only (``.pid``) never is, nor what
    was empty, nor the oldest of the logs that were rotated meanwhile.
    """
    lost, rewritten = [], []
    changed: dict[str, int | None] = {}
    for name, was in before.items():
        path = os.path.join(top, name)
        try:
            status = os.lstat(path)
            size = status.st_size if stat.S_ISREG(status.st_mode) else None
            if size is None or size < was.size or digest(path, was.size) != was.digest:
                changed[name] = size
        except FileNotFoundError:
            changed[name] = None
        except OSError as error:
            unread.append(f"{called}/{name}: {error.strerror or error}")
    moved = moves(before, changed, top) if changed else set()
    for name, size in changed.items():
        was = before[name]
        if name in moved:
            continue
        told = f"{called}/{name}"
        rotated = ROTATED.match(name)
        if size is None and (not was.size or TRANSIENT.search(name) or (rotated and rotated["log"] in moved)):
            rewritten.append(f"{told}: gone")
        elif size is None:
            lost.append(f"{told}: gone")
        elif appended(name):
            lost.append(f"{told}: {'shorter' if size < was.size else 'changed'}")
        elif was.size and not size:
            lost.append(f"{told}: empty")
        else:
            rewritten.append(f"{told}: {f'{size} bytes, {was.size} before' if size < was.size else 'changed'}")
    return lost, rewritten


def moves(before: Mapping[str, File], changed: Mapping[str, int | None], top: str) -> set[str]:
    """Of the files that changed, those whose content stands under another name: in a file that is new or has changed,
    too, and either is the same one (its inode) or has the same beginning of its name."""
    fresh: dict[str | int, list[str]] = {}
    for name, status in files_below(top, [], ""):
        if name not in before or name in changed:
            fresh.setdefault(status.st_ino, []).append(name)
            fresh.setdefault(stem(name), []).append(name)
    found, left = set(), MOVES_LOOKED_AT
    for name in changed:
        was = before[name]
        for other in dict.fromkeys([*fresh.get(was.inode, ()), *fresh.get(stem(name), ())]):
            # An empty file has no content to be found elsewhere.
            if other == name or not was.size or left <= 0:
                continue
            left -= 1
            if holds(os.path.join(top, other), was):
                found.add(name)
                break
    return found


def stem(name: str) -> str:
    """Beginning of a name, which a file keeps that is rotated: ``app`` of ``logs/app-2026.log.gz``."""
    return re.split("[.-]", os.path.basename(name).lstrip("."), maxsplit=1)[0]


def holds(path: str, was: File) -> bool:
    """Whether a file, packed or not, begins with what another one was."""
    try:
        with opened(path, follow=False) as file:
            if not path.endswith(".gz"):
                return os.fstat(file.fileno()).st_size >= was.size and summed(file, was.size) == was.digest
            with gzip.GzipFile(fileobj=file) as unpacked:
                return summed(unpacked, was.size) == was.digest
    except (OSError, EOFError, zlib.error):
        return False


def rows(kubectl: Kubectl, pod: str) -> dict[str, int | None]:
    """Rows of every table of the database; None of one that could not be counted.

    :raises PersistenceError: nobody answers.
    """
    said = kubectl.run("exec", "--stdin", pod, "--", "sh", "-c", PSQL, stdin=COUNT_ROWS, seconds=COUNT_SECONDS)
    found: dict[str, int | None] = {}
    for table, blank, count in (line.rpartition(" ") for line in said.splitlines()):
        if blank and (count == "-" or count.isdigit()):
            found[table] = int(count) if count.isdigit() else found.get(table)
    return found


def persistence(
    *, namespace: str, workloads: Sequence[str], claims: Sequence[str], others: Sequence[str] = (), database: str = "",
    service: str = "", pages: Sequence[str] = (), timeout: float = 180.0, kubectl: Kubectl | None = None,
) -> dict[str, Any]:
    """Delete the pods of the workloads and compare what is there, before and after.

    :param workloads: ``Deployment/observer``; all their pods are deleted at once.
    :param claims: whose volumes are compared. Of a database's own files only its rows are: it writes them as it likes.
    :param others: further folders of the node that are compared.
    :param database: the workload that is PostgreSQL 15 (``StatefulSet/postgres``); its rows are counted.
    :param service: Service and port (``observer:8000``) of which ``pages`` are asked after the pods are ready again.
    :param timeout: seconds in which all pods have to be ready again.
    :returns: ``deleted`` and ``started`` pods, ``seconds`` from the deletion to all ready (None: they were not),
        ``files_before``, ``files_after``, ``bytes_before``, ``lost``, ``rewritten`` (at most ``MOST`` names each) and
        ``lost_count``, ``rewritten_count``, ``rows_before``, ``rows_after`` (None: nobody answered),
        ``bytes_per_second`` written before the deletion, ``health`` (what each page said), ``failed`` (sentences:
        what did not come back), ``unread`` (sentences: what could not be compared) and ``date`` (seconds since 1970).
    :raises PersistenceError: it could not be done, and nothing was deleted.
    """
    kubectl = kubectl or Kubectl(namespace)
    known = kubectl.items("pods")
    kubectl.redaction = redaction_of(
        kubectl.items("secrets"), known, [namespace, *workloads, *claims, *others, service, *pages])
    pods = {workload: [pod for pod in known if owned(pod, workload) and stays(pod)] for workload in workloads}
    for workload, mine in pods.items():
        if not mine or not all(map(ready, mine)):
            raise PersistenceError(f"the pods of {workload} are not ready, so nothing is deleted")
    places = folders(kubectl, claims, others)
    skipped = database_folders(pods.get(database, []), places)
    places = {name: path for name, path in places.items() if name not in skipped}
    failed: list[str] = []
    unread: list[str] = []
    rate = growth(places.values(), LOAD_SECONDS)
    before = {name: listing(path, unread, name) for name, path in places.items()}
    rows_before = rows(kubectl, pods[database][0]["metadata"]["name"]) if database else {}
    uids = {pod["metadata"]["uid"]: pod["metadata"]["name"] for mine in pods.values() for pod in mine}
    started, date = time.monotonic(), time.time()
    delete(kubectl, uids, failed)
    wanted = {workload: len(mine) for workload, mine in pods.items()}
    after = wait(kubectl, wanted, set(uids), started + timeout, failed)
    seconds = None if failed else round(time.monotonic() - started, 1)
    # Whatever else fails from here on: what is lost is told.
    changes = [compared(before[name], path, lambda file: file.endswith((".jsonl", ".log")), unread, name)
               for name, path in places.items()]
    # What has not come back in time is not waited for again.
    until = time.monotonic() + (0 if failed else AGAIN_SECONDS)
    rows_after = rows_again(kubectl, database, after, until, unread) if database else {}
    rows_before, rows_after, fewer = rows_compared(rows_before, rows_after, unread)
    lost = sorted([*(one for gone, _ in changes for one in gone), *fewer])
    rewritten = sorted(one for _, replaced in changes for one in replaced)
    health = answers(kubectl, f"/api/v1/namespaces/{namespace}/services/{service}/proxy", pages, until, failed)
    return {
        "deleted": sorted(uids.values()), "started": sorted(
            pod["metadata"]["name"] for mine in after.values() for pod in mine), "seconds": seconds, "date": date,
        "files_before": sum(map(len, before.values())),
        "files_after": sum(len(files) for path in places.values() for _, _, files in os.walk(path)),
        "bytes_before": sum(file.size for files in before.values() for file in files.values()),
        "rows_before": rows_before, "rows_after": rows_after, "bytes_per_second": rate, "health": health,
        "lost_count": len(lost), "rewritten_count": len(rewritten), **kubectl.redaction.whole({
            "lost": lost[:MOST], "rewritten": rewritten[:MOST], "failed": failed, "unread": unread[:MOST]}),
    }


def rows_again(kubectl: Kubectl, database: str, pods: Mapping[str, Sequence[Mapping[str, Any]]], until: float,
               unread: list[str]) -> dict[str, int | None] | None:
    """The rows after the deletion; None, and told in ``unread``, when nobody answers."""
    name = next((pod["metadata"]["name"] for pod in pods.get(database, ())), "")
    try:
        if name:
            return again(lambda: rows(kubectl, name), until)
        unread.append(f"rows of {database}: its pod is not ready")
    except PersistenceError as error:
        unread.append(f"rows of {database}: {error}")
    return None


def rows_compared(before: Mapping[str, int | None], after: Mapping[str, int | None] | None, unread: list[str],
                  ) -> tuple[dict[str, int | None], dict[str, int | None] | None, list[str]]:
    """Both without the tables that could not be counted, which are told in ``unread``, and what is lost."""
    if after is None:
        return dict(before), None, []
    unknown = {table for of in (before, after) for table, count in of.items() if count is None} & set(before)
    unread += [f"rows of table {table}: not counted in time" for table in sorted(unknown)]
    lost = []
    for table, count in before.items():
        if table not in after:
            lost.append(f"table {table}: gone")
        elif table not in unknown and (now := after[table] or 0) < (count or 0):
            lost.append(f"table {table}: {count} rows, {now} after")
    kept = ({table: count for table, count in of.items() if table not in unknown} for of in (before, after))
    return next(kept), next(kept), lost


def answers(kubectl: Kubectl, address: str, pages: Iterable[str], until: float, failed: list[str]) -> dict[str, str]:
    """What each page says, through the Service; ``failed`` says which do not answer."""
    said = {}
    for page in pages:
        try:
            body = again(functools.partial(kubectl.run, "get", "--raw", f"{address}{page}"), until)
            said[page] = kubectl.redaction.text(body)[:BODY_CHARACTERS]
        except PersistenceError as error:
            failed.append(f"{page} does not answer: {error}")
    return said


def database_folders(pods: Iterable[Mapping[str, Any]], places: Mapping[str, str]) -> set[str]:
    """The claims of the database's pods."""
    mounted = {volume["persistentVolumeClaim"]["claimName"] for pod in pods for volume in pod["spec"].get("volumes", [])
               if "persistentVolumeClaim" in volume}
    return mounted & set(places)


def growth(tops: Iterable[str], seconds: float) -> float:
    """Bytes a second that are being written below folders."""
    def size() -> int:
        return sum(file_size(os.path.join(folder, name)) for top in places for folder, _, files in os.walk(top)
                   for name in files)

    places = list(tops)
    first, began = size(), time.monotonic()
    time.sleep(seconds)
    return round(max(0, size() - first) / (time.monotonic() - began), 1)


def file_size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def delete(kubectl: Kubectl, uids: Mapping[str, str], failed: list[str]) -> None:
    """Delete pods.

    :raises PersistenceError: none of them was deleted. When it is not known, or only some were, ``failed`` says so.
    """
    try:
        kubectl.run("delete", "pods", *uids.values(), "--wait=false", "--ignore-not-found")
    except PersistenceError as error:
        try:
            there = {pod["metadata"]["uid"] for pod in kubectl.items("pods") if stays(pod)}
        except PersistenceError:
            there = set()
        if there >= set(uids):
            raise
        failed.append(str(error))


def wait(kubectl: Kubectl, wanted: Mapping[str, int], old: set[str], deadline: float, failed: list[str],
         ) -> dict[str, list[dict[str, Any]]]:
    """Wait until every workload has as many new pods ready as it had; ``failed`` says which have not in time.

    :returns: the new pods that are ready, by workload.
    """
    new: dict[str, list[dict[str, Any]]] = {workload: [] for workload in wanted}
    while True:
        why = ""
        try:
            pods = [pod for pod in kubectl.items("pods") if pod["metadata"]["uid"] not in old]
            new = {workload: [pod for pod in pods if owned(pod, workload) and ready(pod)] for workload in wanted}
        except PersistenceError as error:  # the API may have a bad moment, too
            why = f" ({error})"
        late = ", ".join(sorted(workload for workload, count in wanted.items() if len(new[workload]) < count))
        if not late:
            return new
        if time.monotonic() > deadline:
            failed.append(f"the pods of {late} were not ready again in time{why}")
            return new
        time.sleep(POLL)


def again(ask: Callable[[], Answer], until: float) -> Answer:
    """Ask until there is an answer, or the time is over. :raises PersistenceError: as the last time."""
    while True:
        try:
            return ask()
        except PersistenceError:
            if time.monotonic() > until:
                raise
            time.sleep(POLL)
