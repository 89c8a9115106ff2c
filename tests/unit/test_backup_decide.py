"""What a provision does about a node's data, case by case."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from backup.decide import (
    ABSENT,
    CONFIG,
    DATA,
    EMPTY,
    PLACED,
    Here,
    Keep,
    Points,
    Refuse,
    Restore,
    Start,
    There,
    Wish,
    choose,
    decide,
)
from backup.problems import Absent, Damaged, HostKeyChanged, Locked, Revoked, Unknown, Unreachable, WrongPassword
from backup.restic import Snapshot

ME, NOW = "tests/ns", 1_000_000.0
FOLDERS = ("/s/pvc-1_ns_data", "/c")


def snapshot(name: str, kind: str, ago: float, epoch: int = 1, host: str = ME) -> Snapshot:
    paths = FOLDERS if kind == "files" else (f"/{kind}",)
    return Snapshot(name * 8, NOW - ago, kind, epoch, "w", host, (), paths)


def record(**good: str) -> dict[str, Any]:
    return {"good": {kind: {"id": name * 8} for kind, name in good.items()}}


IDENTITY = snapshot("i", "identity", 9000)
OLD_FILES, OLD_BASE = snapshot("a", "files", 5000), snapshot("b", "base", 4900)
FILES, BASE = snapshot("c", "files", 100), snapshot("d", "base", 200)
ALL = (IDENTITY, OLD_FILES, OLD_BASE, BASE, FILES)
RECORDS = (record(files="a"), record(files="a", base="b"), record(files="a", base="d"), record(files="c", base="d"))
FULL = There(ME, ALL, RECORDS)

BARE = Here({"data": ABSENT, "db": ABSENT, CONFIG: EMPTY}, "db")
EMPTIES = Here({"data": EMPTY, "db": EMPTY, CONFIG: EMPTY}, "db")
MINE = Here({"data": DATA, "db": DATA, CONFIG: DATA}, "db", NOW, 1)
UNKNOWN_AGE = Here({"data": DATA, "db": DATA, CONFIG: DATA}, "db", NOW, 0)


def broken(problem: Exception) -> There:
    assert isinstance(problem, (Absent, Damaged, HostKeyChanged, Locked, Revoked, Unknown, Unreachable, WrongPassword))
    return There(ME, problem=problem)


def say(wish: Wish = Wish(), here: Here = BARE, there: There = FULL, hostname: str = "n") -> Any:  # noqa: ANN401, B008
    return decide(here, there, wish, hostname)


@pytest.mark.parametrize(("here", "there", "wish", "wanted"), [
    # A new node whose backups are there.
    (BARE, FULL, Wish(), Restore(("config", "data", "db"), Points(FILES, BASE))),
    (EMPTIES, FULL, Wish(), Restore(("config", "data", "db"), Points(FILES, BASE))),
    # Of kind identity there was one alone, and it is gone.
    (BARE, There(ME, (FILES, BASE), RECORDS), Wish(), Restore(("config", "data", "db"), Points(FILES, BASE))),
    (Here({"data": ABSENT, "db": ABSENT, CONFIG: DATA}, "db"), FULL, Wish(),
     Restore(("data", "db"), Points(FILES, BASE))),
    (BARE, FULL, Wish(to=NOW - 1000), Restore(("config", "data", "db"), Points(OLD_FILES, OLD_BASE))),
    (BARE, FULL, Wish(without=("cccccc",)), Restore(("config", "data", "db"), Points(OLD_FILES, BASE))),
    (BARE, FULL, Wish(without=("c", "d")), Restore(("config", "data", "db"), Points(OLD_FILES, OLD_BASE))),
    # The node before had a clock that was ahead, or wrote once more after it was taken over from.
    (BARE, There(ME, (IDENTITY, dataclasses.replace(OLD_FILES, time=NOW + 9000), OLD_BASE, snapshot(
        "e", "files", 300, 2), snapshot("f", "base", 400, 2)), (*RECORDS, record(files="e", base="f"))), Wish(),
     Restore(("config", "data", "db"), Points(snapshot("e", "files", 300, 2), snapshot("f", "base", 400, 2)))),
    # A first start, said.
    (BARE, broken(Absent("none")), Wish("n"), Start()),
    (BARE, There(ME, (IDENTITY,)), Wish("n"), Start()),
    (BARE, There(ME, (IDENTITY, FILES), (record(files="c"),)), Wish("n"), Start()),
    # A node with data keeps it.
    (MINE, FULL, Wish(), Keep()),
    (MINE, FULL, Wish("n"), Keep()),
    (UNKNOWN_AGE, FULL, Wish(), Keep()),
    (dataclasses.replace(UNKNOWN_AGE, system=2), There(ME, ALL, ({"system": 2}, *RECORDS)), Wish(), Keep()),
    (dataclasses.replace(UNKNOWN_AGE, system=2), There(ME, ALL, ({"system": 1}, *RECORDS)), Wish("n"), Keep()),
    (Here({"data": DATA, "db": DATA}, "db", NOW - 9000, 0), FULL, Wish("n"), Keep()),
    (Here({"data": EMPTY, "db": DATA, CONFIG: EMPTY}, "db", NOW, 1), FULL, Wish(), Keep()),
    # What a node has lost of it comes back; the rest is kept.
    (Here({"data": DATA, "db": ABSENT, CONFIG: DATA}, "db", NOW, 1), FULL, Wish(),
     Restore(("db",), Points(FILES, BASE))),
    # A database that is there and empty would begin anew.
    (Here({"data": DATA, "db": EMPTY, CONFIG: DATA}, "db", NOW, 1), FULL, Wish(),
     Restore(("db",), Points(FILES, BASE))),
    (Here({"data": DATA, "db": EMPTY, CONFIG: DATA}, "db", NOW, 0), FULL, Wish("n"),
     Restore(("db",), Points(FILES, BASE))),
    (Here({"data": DATA, "db": EMPTY, CONFIG: DATA}, "db", NOW, 1), There(ME, (IDENTITY, FILES), (record(files="c"),)),
     Wish(), Keep()),
    # What has begun to be put in place is put in place.
    (Here({"data": PLACED, "db": ABSENT, CONFIG: EMPTY}, "db"), broken(WrongPassword("x")), Wish(),
     Restore(("config", "data", "db"), None, goes_on=True)),
])
def test_what_is_done(here: Here, there: There, wish: Wish, wanted: object) -> None:
    assert decide(here, there, wish, "n") == wanted


@pytest.mark.parametrize(("here", "there", "wish", "what", "remedy"), [
    (BARE, broken(Absent("there is no repository at /r")), Wish(), "no repository at /r", "backup_first_start=n"),
    (BARE, There(ME, (IDENTITY,)), Wish(), "no complete backup of tests/ns, and n has no data", "backup_first_start=n"),
    (BARE, There(ME, (IDENTITY,)), Wish("m"), "says m, and this is n", "backup_first_start=n"),
    (BARE, broken(WrongPassword("backup_password does not open /r")), Wish(), "backup_password", "vault_backup_pass"),
    (BARE, broken(WrongPassword("backup_password does not open /r")), Wish("n"), "backup_password", "vault_backup_pas"),
    (BARE, broken(Unknown("restic ended with 1")), Wish("n"), "restic ended with 1", "journal"),
    (BARE, broken(Damaged("/r is damaged")), Wish("n"), "damaged", "restore from another"),
    (BARE, broken(Revoked("/r does not let this node in")), Wish(), "let this node in", "site.yml"),
    (BARE, There(ME, (snapshot("i", "identity", 1, host="other/ns"),)), Wish("n"), "is of other/ns", "backup_identity"),
    (BARE, FULL, Wish("n"), "n is to start empty, and there are backups", "Leave backup_first_start out"),
    (BARE, FULL, Wish(to=NOW - 8000), "no complete backup of", "backup_restore_to"),
    (BARE, There(ME, ALL, RECORDS, ('Ignoring "cccccccc": damaged',)), Wish(), "cannot be read, and it may be the new",
     "backup_restore_without=cccccccc"),
    # Jobs have failed for some time.
    (BARE, There(ME, (*ALL, snapshot("e", "files", 50)), RECORDS[:3]), Wish(),
     "files, eeeeeeee of .* is not known to be whole", "backup_restore_without=cccccccc,eeeeeeee"),
    (BARE, There(ME, (*ALL[:-1], snapshot("f", "files", -2 * 86400)), RECORDS[:3]), Wish(),
     "files, ffffffff of .* is not known to be whole", "backup_restore_without=ffffffff"),
    (Here({"data": ABSENT, "more": ABSENT, "db": ABSENT}, "db"), FULL, Wish(), "no volume more", "without=cccc"),
    (MINE, broken(WrongPassword("backup_password does not open /r")), Wish(), "backup_password", "vault_backup_passw"),
    (MINE, There(ME, (snapshot("i", "identity", 1, host="other/ns"),)), Wish(), "is of other/ns", "backup_identity"),
    # The old node, back from the dead.
    (MINE, There(ME, (*ALL, snapshot("e", "record", 50, epoch=2)), RECORDS), Wish(), "another machine has taken over",
     "Take this machine down"),
    (MINE, broken(Revoked("/r does not let this node in")), Wish(), "may have taken over from n", "without --limit"),
    (MINE, broken(HostKeyChanged("/r has another key")), Wish(), "may have taken over from n", "without --limit"),
    # Of an age that cannot be compared.
    (UNKNOWN_AGE, broken(Locked("/r is locked")), Wish(), "is locked", "half an hour"),
    (UNKNOWN_AGE, broken(Damaged("/r is damaged")), Wish(), "is damaged", "another snapshot"),
    # Begun anew without backups; it is newer than they are.
    (dataclasses.replace(UNKNOWN_AGE, system=2), There(ME, ALL, ({"system": 1}, *RECORDS)), Wish(), "was begun anew",
     "backup_first_start=n"),
    # A disk of last year.
    (Here({"data": DATA, "db": DATA}, "db", NOW - 9000, 0), FULL, Wish(), "nothing was overwritten",
     "backup_first_start=n"),
])
def test_what_is_refused(here: Here, there: There, wish: Wish, what: str, remedy: str) -> None:
    found = decide(here, there, wish, "n")
    assert isinstance(found, Refuse)
    assert re.search(what, found.what), found
    assert remedy in found.remedy, found


def test_a_backup_that_the_nodes_end_has_cut_off_is_left_out_and_said() -> None:
    """The node was lost between a backup and its record, as happens; nobody has to be asked about that."""
    found = decide(BARE, There(ME, ALL, RECORDS[:3]), Wish(), "n")
    assert isinstance(found, Restore) and found.points == Points(OLD_FILES, BASE)
    said, = found.said
    assert said.startswith("The newest backup of files, cccccccc of ") and "The one before, of" in said
    # With the one before of the database nothing is lost: its log goes on from there.
    found = decide(BARE, There(ME, ALL, RECORDS[:2]), Wish(), "n")
    assert isinstance(found, Restore) and found.points == Points(OLD_FILES, OLD_BASE) and len(found.said) == 2
    found = decide(BARE, There(ME, ALL, RECORDS[:3]), Wish(to=NOW), "n")
    assert isinstance(found, Restore) and found.points == Points(OLD_FILES, BASE) and not found.said
    # It was due an hour before: why was none made?
    found = decide(BARE, There(ME, ALL, RECORDS[:3], intervals={"files": 600.0}), Wish(), "n")
    assert isinstance(found, Refuse) and "is not known to be whole" in found.what
    # What cannot be read may be its record.
    found = decide(BARE, There(ME, ALL, RECORDS[:3], ("record 12345678: damaged",)), Wish(without=("12345678",)), "n")
    assert isinstance(found, Refuse) and "is not known to be whole" in found.what


@pytest.mark.parametrize("problem", [Unreachable("it does not answer"), Locked("it is locked")])
def test_what_may_pass_is_waited_for(problem: Unreachable | Locked) -> None:
    found = decide(BARE, There(ME, problem=problem), Wish(), "n")
    assert isinstance(found, Refuse) and found.waits
    kept = decide(MINE, There(ME, problem=problem), Wish(), "n")
    assert isinstance(kept, Keep) and "not looked at" in kept.said[0]


def test_never_empty_unless_it_was_said() -> None:
    """Over all that a repository can be: without the node's own name nothing starts, and with data nothing is restored
    over it."""
    theres = [FULL, There(ME), There(ME, (IDENTITY,)), There(ME, ALL), There(ME, ALL, RECORDS, ("Ignoring",)),
              *(broken(kind("x")) for kind in (Absent, Damaged, Locked, Revoked, Unknown, Unreachable, WrongPassword))]
    for there in theres:
        for wish in (Wish(), Wish("another"), Wish(to=NOW), Wish(without=("c",))):
            assert not isinstance(decide(BARE, there, wish, "n"), Start)
            assert not isinstance(decide(EMPTIES, there, wish, "n"), (Start, Keep))
        for wish in (Wish(), Wish("n"), Wish("n", NOW)):
            found = decide(MINE, there, wish, "n")
            assert not isinstance(found, (Start, Restore))


@pytest.mark.parametrize("there", [There(ME, (IDENTITY,)), There(ME, problem=Absent("no repository at x"))])
def test_an_emptied_repository_is_refused_until_it_is_said(there: There) -> None:
    """As one whose disk is not mounted: a second one in its place would hide the first."""
    found = decide(MINE, there, Wish(), "n")
    assert isinstance(found, Refuse) and not found.waits
    assert "has written to it under epoch" in found.what and "-e backup_first_start=n" in found.remedy
    assert isinstance(decide(MINE, there, Wish("n"), "n"), Keep)


def test_a_base_backup_has_to_have_ended() -> None:
    """One that began seconds before the time that is restored to could not be recovered to it."""
    assert choose(FULL, Wish(to=BASE.time + 30)) == Points(OLD_FILES, OLD_BASE)
    assert choose(FULL, Wish(to=BASE.time + 150)) == Points(FILES, BASE)
    good = {"base": {"id": BASE.id, "time": BASE.time + 1000}, "files": {"id": OLD_FILES.id}}
    long = There(ME, (IDENTITY, OLD_FILES, BASE), ({"good": good},))
    assert choose(long, Wish(to=BASE.time + 900)) is None
    assert choose(long, Wish(to=BASE.time + 1000)) == Points(OLD_FILES, BASE)
