"""Seed 001's Step 5: the pods are deleted while they work, and what is there before and after is compared."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

KUBECTL = ("/usr/local/bin/k3s", "kubectl")
HASHED = 64 * 1024 * 1024
"""Bytes at a file's beginning that are compared; of a longer file also the last of what was there."""

LOAD_SECONDS = 2.0
POLL = 0.3
COUNT_ROWS = (
    "SELECT format('SELECT %L, count(*) FROM %I.%I;', schemaname || '.' || relname, schemaname, relname)"
    " FROM pg_stat_user_tables ORDER BY 1 \\gexec\n"
)
PSQL = 'exec psql -X -q -At -F " " -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB"'


class PersistenceError(Exception):
    """The step could not be done; one sentence. ``deleted``: whether pods were deleted by then."""

    def __init__(self, message: str, *, deleted: bool = False) -> None:
        super().__init__(message)
        self.deleted = deleted


class File(NamedTuple):
    """A file as it was: its size in bytes and the SHA-256 of what was compared of it."""

    size: int
    digest: str


class Kubectl:
    """``kubectl`` of the node, with one namespace."""

    def __init__(self, namespace: str, program: Sequence[str] = KUBECTL) -> None:
        self.program = [*program, "--namespace", namespace]

    def run(self, *words: str, stdin: str | None = None, seconds: float = 60.0) -> str:
        """:raises PersistenceError: it failed, with the last line of what it said."""
        try:
            done = subprocess.run([*self.program, *words], check=False, text=True, timeout=seconds,
                                  capture_output=True, input=stdin or "")
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PersistenceError(f"kubectl {words[0]}: {error}") from error
        if done.returncode:
            raise PersistenceError(f"kubectl {words[0]}: {(done.stderr.strip().splitlines() or ['it failed'])[-1]}")
        return done.stdout

    def items(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("get", kind, "--output", "json"))["items"]
        return found


def owned(pod: Mapping[str, Any], workload: str) -> bool:
    """Whether a pod is of a workload (``Deployment/observer``)."""
    kind, _, name = workload.partition("/")
    for owner in pod["metadata"].get("ownerReferences", []):
        made = owner["name"].rpartition("-")[0] if owner["kind"] == "ReplicaSet" else owner["name"]
        if made == name and owner["kind"] == {"Deployment": "ReplicaSet"}.get(kind, kind):
            return True
    return False


def ready(pod: Mapping[str, Any]) -> bool:
    conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def folders(kubectl: Kubectl, claims: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """The folders of the claims on this node, and other ones, by the name to tell them by.

    :raises PersistenceError: a claim has no volume, or its folder is not on this node.
    """
    volumes = {one["metadata"]["name"]: one["spec"] for one in kubectl.items("persistentvolumes")}
    bound = {one["metadata"]["name"]: one["spec"].get("volumeName", "") for one in kubectl.items("pvc")}
    found = {}
    for claim in claims:
        spec = volumes.get(bound.get(claim, ""))
        if spec is None:
            raise PersistenceError(f"claim {claim} is bound to no volume")
        path = (spec.get("local") or spec.get("hostPath") or {}).get("path", "")
        if not os.path.isdir(path):
            raise PersistenceError(f"the folder of claim {claim}, {path or 'unknown'}, is not on this node")
        found[claim] = path
    found.update({path: path for path in others if os.path.isdir(path)})
    return found


def listing(top: str, skip: Sequence[str] = ()) -> dict[str, File]:
    """Every file below a folder. What vanishes meanwhile was not there."""
    found: dict[str, File] = {}
    for folder, names, files in os.walk(top):
        names[:] = [name for name in names if os.path.join(folder, name) not in skip]
        for name in files:
            path = os.path.join(folder, name)
            try:
                if stat.S_ISREG(os.lstat(path).st_mode):
                    size = os.lstat(path).st_size
                    found[os.path.relpath(path, top)] = File(size, digest(path, size))
            except FileNotFoundError:
                continue
    return found


def digest(path: str, size: int) -> str:
    """SHA-256 of the first ``size`` bytes of a file, or of the two ends of them when they are many."""
    summed = hashlib.sha256()
    with open(path, "rb") as file:
        for start, length in ((0, min(size, HASHED)), (max(size - HASHED, HASHED), max(0, min(HASHED, size - HASHED)))):
            file.seek(start)
            while length > 0 and (block := file.read(min(length, 1 << 20))):
                summed.update(block)
                length -= len(block)
    return summed.hexdigest()


def compared(before: Mapping[str, File], top: str, appended: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    """What of ``before`` is lost, and what was written anew meanwhile.

    A file that only grows has lost something when what was there is not its beginning any more. Any other may be
    replaced by whoever owns it, and is lost when it is gone or empty.
    """
    lost, rewritten = [], []
    for name, was in before.items():
        path = os.path.join(top, name)
        try:
            size = os.stat(path).st_size
        except FileNotFoundError:
            lost.append(f"{name}: gone")
            continue
        if size >= was.size and digest(path, was.size) == was.digest:
            continue
        if appended(name):
            lost.append(f"{name}: {'shorter' if size < was.size else 'changed'}")
        elif was.size and not size:
            lost.append(f"{name}: empty")
        else:
            rewritten.append(name)
    return lost, rewritten


def rows(kubectl: Kubectl, pod: str) -> dict[str, int]:
    """Rows of every table of the database."""
    said = kubectl.run("exec", "--stdin", pod, "--", "sh", "-c", PSQL, stdin=COUNT_ROWS)
    pairs = [line.rpartition(" ") for line in said.splitlines() if line]
    return {table: int(count) for table, _, count in pairs if count.isdigit()}


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
    :returns: ``deleted`` and ``started`` pods, ``seconds`` from the deletion to all ready, ``files_before``,
        ``files_after``, ``bytes_before``, ``lost``, ``rewritten``, ``rows_before``, ``rows_after``,
        ``bytes_per_second`` written before the deletion, ``health`` (what each page said) and ``date`` (seconds since
        1970).
    :raises PersistenceError: it could not be done; says whether pods were deleted by then.
    """
    kubectl = kubectl or Kubectl(namespace)
    pods = {workload: [pod for pod in kubectl.items("pods") if owned(pod, workload)] for workload in workloads}
    for workload, mine in pods.items():
        if not mine or not all(map(ready, mine)):
            raise PersistenceError(f"the pods of {workload} are not ready, so nothing is deleted")
    places = folders(kubectl, claims, others)
    database_pod = pods[database][0]["metadata"]["name"] if database else ""
    skipped = database_folders(pods.get(database, []), places)
    places = {name: path for name, path in places.items() if name not in skipped}
    rate = growth(places.values())
    before = {name: listing(path) for name, path in places.items()}
    rows_before = rows(kubectl, database_pod) if database else {}
    names = [pod["metadata"]["name"] for mine in pods.values() for pod in mine]
    uids = {pod["metadata"]["uid"] for mine in pods.values() for pod in mine}
    started = time.monotonic()
    date = time.time()
    kubectl.run("delete", "pods", *names, "--wait=false")
    try:
        after = wait(kubectl, {workload: len(mine) for workload, mine in pods.items()}, uids, started + timeout)
        seconds = time.monotonic() - started
        lost, rewritten, files_after = [], [], 0
        for name, path in places.items():
            gone, replaced = compared(before[name], path, lambda file: file.endswith((".jsonl", ".log")))
            lost += [f"{name}/{one}" for one in gone]
            rewritten += [f"{name}/{one}" for one in replaced]
            files_after += sum(len(files) for _, _, files in os.walk(path))
        rows_after = rows(kubectl, database_pod) if database else {}
        said = {page: kubectl.run("get", "--raw", f"/api/v1/namespaces/{namespace}/services/{service}/proxy{page}")
                for page in pages}
    except PersistenceError as error:
        raise PersistenceError(str(error), deleted=True) from error
    lost += [f"table {table}: {count} rows, {rows_after.get(table, 0)} after" for table, count in rows_before.items()
             if rows_after.get(table, 0) < count]
    return {
        "deleted": names, "started": after, "seconds": round(seconds, 1), "date": date,
        "files_before": sum(map(len, before.values())), "files_after": files_after,
        "bytes_before": sum(file.size for files in before.values() for file in files.values()),
        "lost": sorted(lost), "rewritten": sorted(rewritten), "rows_before": rows_before, "rows_after": rows_after,
        "bytes_per_second": rate, "health": said,
    }


def database_folders(pods: Iterable[Mapping[str, Any]], places: Mapping[str, str]) -> set[str]:
    """The claims of the database's pods."""
    mounted = {volume["persistentVolumeClaim"]["claimName"] for pod in pods for volume in pod["spec"].get("volumes", [])
               if "persistentVolumeClaim" in volume}
    return mounted & set(places)


def growth(tops: Iterable[str], seconds: float = LOAD_SECONDS) -> float:
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
    except FileNotFoundError:
        return 0


def wait(kubectl: Kubectl, wanted: Mapping[str, int], old: set[str], deadline: float) -> list[str]:
    """Wait until every workload has as many new pods ready as it had. Returns their names."""
    while True:
        pods = [pod for pod in kubectl.items("pods") if pod["metadata"]["uid"] not in old]
        new = {workload: [pod for pod in pods if owned(pod, workload) and ready(pod)] for workload in wanted}
        if all(len(new[workload]) >= count for workload, count in wanted.items()):
            return sorted(pod["metadata"]["name"] for mine in new.values() for pod in mine)
        if time.monotonic() > deadline:
            late = ", ".join(sorted(workload for workload, count in wanted.items() if len(new[workload]) < count))
            raise PersistenceError(f"the pods of {late} were not ready again in time")
        time.sleep(POLL)
