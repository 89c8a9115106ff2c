"""One drill from bare machines to the verdict, in steps that may run in different processes."""

from __future__ import annotations

import datetime
import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bed import nodes, services
from bed.__main__ import build
from bed.recipes import host_architecture
from hands import forwarded, load, node_name

from .protected import Protected, Timed, acknowledged, numbers, settle, writing

LOG_ROWS = 500_000
WRITER = "drill"
KEEPER = r"^backup_host :"
RESTORE = r"^backup : Restore \|"
LIVING = ("public.quotes", "public.ingest_records")
"""Tables that are written into until the machine is lost: compared record by record."""

VERIFY = "Look at the node and into its containers"
SPARSE_SLACK = 1 << 20
"""So much more or less of the disk may a file take: preallocation, and other sizes of blocks."""


@dataclass(frozen=True)
class Size:
    """How much data the node has.

    :ivar rows: of 1.4 kB each. The files' bytes are without the sparse one's.
    :ivar log_rows: rows that are written after the base backup, so that the log is long which is to be replayed.
    :ivar load_seconds: from the end of the backup to the loss; with the backup's own more than any loss may be old, so
        that a job that shipped nothing would be seen.
    """

    rows: int = 720_000
    files: int = 10_000
    file_bytes: int = 1 << 30
    sparse: int = 2 << 30
    log_rows: int = 0
    load_seconds: float = 75.0
    files_minutes: int = 1

    @property
    def files_goal(self) -> float:
        """Age in seconds that a lost acknowledged record in a file may have: the interval, and half a minute."""
        return self.files_minutes * 60.0 + 30.0


SMALL = Size(rows=20_000, files=300, file_bytes=20 << 20, sparse=64 << 20, load_seconds=8.0, files_minutes=2)
LEAD_SECONDS = 5.0
"""Of writing before the backup begins, so that it holds some of it."""

GOALS = {
    "archive": {"database": 70.0, "interval": 60.0},
    "stream": {"database": 5.0, "interval": 0.0},
}
"""Age in seconds that a lost acknowledged row may have; archive's interval and ten seconds for its run."""

RTO_RATIO = 1.5
TIME = "RTO "
"""How the sentence begins that says that it took too long."""


class Drill:
    """A folder with the inventory, the journal and what was seen before and after; `state.json` has the figures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / "load.journal"
        self.protected: Protected | None = None

    # --- what is kept between steps

    def read(self, name: str) -> Any:  # noqa: ANN401 (JSON)
        return json.loads((self.folder / f"{name}.json").read_text())

    def keep(self, name: str, what: object) -> None:
        (self.folder / f"{name}.json").write_text(json.dumps(what, indent=1, sort_keys=True) + "\n")

    def note(self, **figures: object) -> None:
        """Add figures to those of the drill."""
        known = self.read("figures") if (self.folder / "figures.json").is_file() else {}
        self.keep("figures", {**known, **figures})

    @property
    def site(self) -> Protected:
        if self.protected is None:
            self.protected = Protected.found(self.folder)
        return self.protected

    # --- steps

    def create(self, mode: str, size: Size, keeper_disk: int = 0, **variables: object) -> None:
        """A bare node, a bare machine for its backups, and an inventory of both.

        :param keeper_disk: GiB of a disk of its own for the backups; 0 for none.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        parts = bed_parts()
        for letter in ("a", "k"):
            for node in nodes.everyone():
                if node.name == node_name(letter):
                    nodes.down(node)
        keeper = nodes.up(nodes.plan(node_name("k"), data_disk=keeper_disk, data_path="/srv"), parts)
        begun = time.monotonic()
        node = nodes.up(nodes.plan(node_name("a"), oci_firewall=True, outward=False), parts)
        self.note(mode=mode, size=asdict(size), fresh_machine_seconds=round(time.monotonic() - begun, 2))
        self.protected = Protected.make(
            node, keeper, self.folder, mode, **{"backup_files_minutes": size.files_minutes, **variables})

    def converge(self) -> None:
        """The first provision."""
        begun = ticks()
        run = self.site.first_start()
        (self.folder / "first.log").write_text(run.output)
        run.ok()
        # The machine of the backups is set up but once; the node that comes after finds it so.
        self.note(fresh_provision_seconds=round(run.seconds - run.spent(KEEPER), 1), keeper_seconds=run.spent(KEEPER),
                  fresh_stolen=stolen(begun, ticks()))

    def fill(self) -> None:
        """The node's data, and what there is to be compared."""
        size = Size(**self.read("figures")["size"])
        begun = time.monotonic()
        self.site.fill_files(size.files, size.file_bytes, size.sparse)
        stored = self.site.fill_database(size.rows)
        filled = time.monotonic()
        self.keep("files_before", self.site.files())
        tables = self.site.tables()
        self.note(fill_seconds=round(filled - begun, 1), database_bytes=stored, tables_before=tables)

    def back_up(self) -> None:
        """Everything, now."""
        self.note(log_from=self.site.log_position(), backup_seconds=self.site.backup())

    def lose(self) -> None:
        """Write, have a backup meanwhile, go on, and lose the machine in the midst of it."""
        size = Size(**self.read("figures")["size"])
        with writing(self.site, self.journal, WRITER) as process:
            time.sleep(LEAD_SECONDS)
            self.back_up()
            saved = time.monotonic()
            if size.log_rows:
                self.site.fill_database(size.log_rows, "drill_log")
                self.note(tables_before=self.site.tables())
            time.sleep(max(0.0, saved + size.load_seconds - time.monotonic()))
            assert process.poll() is None, "the load has ended before the machine was lost"
            self.keep("quotes_before", self.site.quotes())
            self.note(log_bytes=self.site.log_position() - self.read("figures")["log_from"])
            at = self.site.cut()
        self.lost(at)

    def lost(self, at: float) -> None:
        """Note when the machine was lost, and when the newest backup of its files began (epoch)."""
        self.note(killed=at, files_saved=self.site.snapshots("files")[-1]["at"])

    def recover(self, **machine: Any) -> None:  # noqa: ANN401 (what nodes.plan takes)
        """Another machine, and the one command."""
        parts = bed_parts()
        before = ticks()
        up = self.site.renew(parts, **machine)
        begun = time.time()
        run = self.site.play()
        ended = time.time()
        (self.folder / "recover.log").write_text(run.output)
        killed = self.read("figures")["killed"]
        self.note(machine_seconds=up, provision_seconds=run.seconds, rto_seconds=round(ended - killed, 1),
                  unaccounted_seconds=round(begun - killed - up, 1), phases=phases(run, up), status=run.status,
                  stolen=stolen(before, ticks()))
        run.ok()
        # Of the one that was restored: not the newest there is, when the node's end cut that off.
        told = run.results["backup : Restore | Bring back what the backups hold"]["points"]
        self.note(files_saved=told["files_time"])

    def replace(self) -> None:
        """Lose the machine, and at once have another: the clock runs in between."""
        self.lose()
        self.recover()

    def compare(self) -> dict[str, Any]:
        """Everything that was there before with what is there now; returns the result, goals and all."""
        settle(self.site)
        figures = self.read("figures")
        before, after = self.read("files_before"), self.site.files()
        self.keep("files_after", after)
        files = differences_of(before, after)
        tables = self.site.tables()
        other = {name: {"before": was, "after": tables.get(name)} for name, was in figures["tables_before"].items()
                 if name not in LIVING and tables.get(name) != was}
        result: dict[str, Any] = {
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "mode": figures["mode"],
            "database_bytes": figures["database_bytes"], "files": figures["size"]["files"],
            "file_bytes": figures["size"]["file_bytes"], "backup_seconds": figures["backup_seconds"],
            "log_bytes": figures.get("log_bytes"), "files_goal_seconds": Size(**figures["size"]).files_goal,
            "rto": rto_of(figures), "rpo": self._rpo(figures),
            "compared": {"entries": len(before), "entries_that_differ": files[:20], "tables": len(tables),
                         "tables_that_differ": other},
        }
        result["missed"] = missed(result)
        self.keep("result", result)
        return result

    def _rpo(self, figures: dict[str, Any]) -> dict[str, Any]:
        killed = figures["killed"]
        known = acknowledged(self.journal)
        with forwarded(self.site.site) as url:
            done = load("check", "--url", url, "--journal", self.journal, "--json")
        checked: dict[str, Any] = json.loads(done.stdout) if done.stdout.strip() else {
            "stores": {}, "said": done.stderr}
        found: dict[str, Any] = {"acknowledged": len(known), "load_seconds": round(
            max(known.values(), default=0) - min(known.values(), default=0), 1), "said": checked.get("said", "")}
        for name, store in checked["stores"].items():
            lost = numbers(store["lost"])
            oldest = min((known[number] for number in lost), default=None)
            found[name] = {
                "missing": len(lost), "age_seconds": round(max(0.0, killed - oldest), 2) if oldest else 0.0,
                "saved_and_missing": sum(known[number] < figures["files_saved"] for number in lost),
                "saved": sum(at < figures["files_saved"] for at in known.values()),
                "beyond_acknowledged": store["present_not_acknowledged"], "duplicated": store["duplicated"],
                "damaged": store["damaged"], "conflicts": store["conflicts"], "content": store["content"]}
        was, now = self.read("quotes_before"), self.site.quotes()
        gone = [at for name, at in was.items() if name not in now]
        found["quotes"] = {"before": len(was), "missing": len(gone),
                           "age_seconds": round(max(0.0, killed - min(gone)), 2) if gone else 0.0}
        return found

    def destroy(self) -> None:
        """Take the machines away."""
        for letter in ("a", "b", "c", "d", "k"):
            for node in nodes.everyone():
                if node.name == node_name(letter):
                    nodes.down(node)


def bed_parts() -> dict[str, Path]:
    """Everything built, mirror and registry up."""
    paths = build()
    services.up(paths, host_architecture())
    return paths


def phases(run: Timed, machine: float) -> dict[str, float]:
    """From the kill to the verdict, in seconds: machine, install, fetch, place, observer, verify."""
    restore, restored = run.at(RESTORE), run.after(RESTORE)
    verify = run.at(VERIFY)
    if restore is None or restored is None or verify is None:
        return {"machine": machine, "provision": run.seconds}
    module: dict[str, float] = next(
        (about["seconds"] for name, about in run.results.items() if "seconds" in about and "Restore |" in name), {})
    fetch = round(float(module.get("fetch", restored - restore)), 1)
    return {"machine": machine, "until_restore": round(restore, 1), "fetch": fetch,
            "decide_and_place": round(restored - restore - fetch, 1), "observer": round(verify - restored, 1),
            "verify": round(run.seconds - verify, 1)}


def ticks() -> list[int]:
    """What this machine's processors have done since its boot, as the kernel counts it."""
    return [int(word) for word in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]]


def stolen(before: list[int], after: list[int]) -> float:
    """The part of the processors' time between two counts that others of the same host had: a drill that was slow then
    says little of what is drilled."""
    spent = [now - then for then, now in zip(before, after, strict=True)]
    return round(spent[7] / max(1, sum(spent)), 3)


def rto_of(figures: dict[str, Any]) -> dict[str, Any]:
    """How long it took, by phase, beside a fresh provision of the same run."""
    copied = figures["phases"].get("fetch", 0.0)
    fresh = figures["fresh_provision_seconds"]
    limit = RTO_RATIO * fresh + copied
    return {"seconds": figures["rto_seconds"], "phases": figures["phases"], "fresh_provision_seconds": fresh,
            "fresh_machine_seconds": figures["fresh_machine_seconds"], "keeper_seconds": figures["keeper_seconds"],
            "ratio": round(figures["rto_seconds"] / fresh, 2),
            "ratio_without_copying": round((figures["rto_seconds"] - copied) / fresh, 2), "limit": round(limit, 1),
            "stolen": {"fresh_provision": figures.get("fresh_stolen"), "recovery": figures.get("stolen")}}


def differences_of(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """In what files differ; nothing when they are equal."""
    found = [f"{path}: missing" for path in sorted(before.keys() - after.keys())]
    found += [f"{path}: new" for path in sorted(after.keys() - before.keys())]
    for path in sorted(before.keys() & after.keys()):
        was, now = dict(before[path]), dict(after[path])
        # How many blocks an inode takes is the file system's own affair; that holes stay holes is not.
        disk = [one.pop("allocated", 0) for one in (was, now)]
        found += [f"{path}: {name} {was.get(name)!r} -> {now.get(name)!r}" for name in was.keys() | now.keys()
                  if was.get(name) != now.get(name)]
        if abs(disk[0] - disk[1]) > SPARSE_SLACK:
            found.append(f"{path}: takes {disk[0]} -> {disk[1]} bytes of the disk")
    return found


def missed(result: dict[str, Any]) -> list[str]:
    """Which goals of issue 7 were missed, in sentences."""
    rto, rpo, compared = result["rto"], result["rpo"], result["compared"]
    found = []
    if rto["seconds"] > rto["limit"]:
        found.append(f"{TIME}{rto['seconds']} s, and the goal is {rto['limit']} s")
    if compared["entries_that_differ"]:
        found.append(f"files differ: {compared['entries_that_differ'][:5]}")
    if compared["tables_that_differ"]:
        found.append(f"tables differ: {compared['tables_that_differ']}")
    goal = GOALS[result["mode"]]["database"]
    for store, limit in (("postgresql", goal), ("jsonl", result["files_goal_seconds"])):
        if store not in rpo:
            found.append(f"{store} could not be compared: {rpo['said']}")
            continue
        one = rpo[store]
        if one["age_seconds"] > limit:
            found.append(f"{store}: {one['missing']} acknowledged records are missing, the oldest"
                         f" {one['age_seconds']} s old; the goal is {limit} s")
        if one["damaged"] or one["conflicts"] or one["content"] != "same":
            found.append(f"{store}: {one}")
        if one["duplicated"]:
            found.append(f"{store}: {one['duplicated']} records are there twice")
    saved = rpo.get("jsonl", {})
    if saved.get("saved_and_missing"):
        found.append(f"jsonl: {saved['saved_and_missing']} records are missing that were acknowledged before the newest"
                     " backup of the files")
    if saved and not saved["saved"]:
        found.append("jsonl: no record was acknowledged before the newest backup of the files, so nothing was shown")
    if result["mode"] == "stream" and rpo.get("postgresql", {}).get("missing"):
        found.append("a row is missing that was acknowledged with the receiver in step")
    if rpo["quotes"]["age_seconds"] > goal:
        found.append(f"quotes: {rpo['quotes']}")
    return found


def percentile(values: list[float], part: float) -> float:
    """The value that ``part`` of them do not exceed; of few values a whole one."""
    ranked = sorted(values)
    return ranked[max(0, -(-int(part * 100 * len(ranked)) // 100) - 1)]


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """n of n, and p50 and p95 of times and losses."""
    def both(values: list[float]) -> dict[str, float]:
        return {"p50": percentile(values, 0.5), "p95": percentile(values, 0.95)}

    whole = [one for one in results if "rto" in one]
    return {
        "n": len(results), "good": sum(not one["missed"] for one in results),
        **({"rto_seconds": both([one["rto"]["seconds"] for one in whole]),
            "rto_ratio": both([one["rto"]["ratio"] for one in whole]),
            "database_rpo_seconds": both([one["rpo"]["postgresql"]["age_seconds"] for one in whole]),
            "files_rpo_seconds": both([one["rpo"]["jsonl"]["age_seconds"] for one in whole])} if whole else {}),
    }
