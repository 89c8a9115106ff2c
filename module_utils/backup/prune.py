#!/usr/bin/python3 -I
"""Forget old snapshots of a repository where it lies, and check it: what a node may not do.

    sudo -u obackup observer-prune --repository FOLDER --keep within=2d --keep within_daily=1m < PASSWORD

The password comes by standard input and is not kept. One file with nothing but the standard library: the backup host
has no more. Exit status 0: done, and standard output says in JSON what there is; else standard error says why not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

RESTIC = "/usr/local/bin/restic"
KINDS = ("files", "base", "wal", "record")
"""What grows old. That whose repository it is never does."""

FUTURE_SECONDS = 3600.0


class Refusal(Exception):
    """Why nothing was forgotten, in one sentence."""


def main(argv: Sequence[str] | None = None, program: str = RESTIC) -> int:
    """Forget, check, and say what there is."""
    parser = argparse.ArgumentParser(prog="observer-prune", description="Forget old snapshots of a repository.")
    parser.add_argument("--repository", required=True)
    parser.add_argument("--keep", action="append", default=[], help="such as within=2d; without one nothing goes")
    parser.add_argument("--cache", default="")
    parser.add_argument("--dry-run", action="store_true", help="say what there is, and forget nothing")
    words = parser.parse_args(argv)
    password = sys.stdin.readline().rstrip("\n")
    keep = [word for one in words.keep for word in (f"--keep-{one.partition('=')[0].replace('_', '-')}",
                                                    one.partition("=")[2])]
    try:
        call = caller(program, words.repository, password, words.cache)
        # Those that dead machines have left, half an hour old: a prune would wait for them for ever.
        call("unlock")
        before = json.loads(call("snapshots", "--json") or "[]")
        size = folder_bytes(words.repository)
        if keep and not words.dry_run:
            forget(call, before, keep)
        after = json.loads(call("snapshots", "--json") or "[]")
    except Refusal as refusal:
        print(f"observer-prune: {refusal}", file=sys.stderr)
        return 1
    print(json.dumps({"snapshots": len(after), "forgotten": len(before) - len(after), "kinds": counts(after),
                      "newest": newest(after), "bytes": folder_bytes(words.repository), "bytes_before": size}))
    return 0


def forget(call: Any, snapshots: Sequence[dict[str, Any]], keep: Sequence[str]) -> None:  # noqa: ANN401
    """Forget what is older than is kept, and take away what only that needed.

    :raises Refusal: a snapshot is of the future. Ages count from the newest one: one that somebody dates a year ahead
        would push all others out.
    """
    limit = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + FUTURE_SECONDS))
    ahead = [one["short_id"] for one in snapshots if utc(str(one["time"])) > limit]
    if ahead:
        raise Refusal(f"snapshots are of the future, so nothing is forgotten: {' and '.join(ahead[:5])}."
                      " Correct the clock of the node, or forget them by name.")
    for kind in KINDS:
        # By host alone: else each node's and each command's would be a group of its own, and never grow old.
        call("forget", "--group-by", "host", "--tag", f"observer-node,kind={kind}", *keep)
    call("prune", "--max-unused", "10%")
    call("check")


def caller(program: str, repository: str, password: str, cache: str) -> Any:  # noqa: ANN401
    """A function that calls restic on the repository."""
    def call(*words: str) -> str:
        # /dev/stdin would be read once only: the variable is seen by this user's processes and no others.
        done = subprocess.run(
            [program, "--repo", repository, "--quiet", "--retry-lock", "2m",
             *(["--cache-dir", cache] if cache else ["--no-cache"]), *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            env={**os.environ, "RESTIC_PASSWORD": password, "LC_ALL": "C"})
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise Refusal(f"restic {words[0]} ended with {done.returncode}: {(lines or ['it said nothing'])[-1]}")
        return done.stdout
    return call


def utc(text: str) -> str:
    """restic's time in UTC, to the second, so that it sorts."""
    import datetime  # only here

    head, _, rest = text.partition(".")
    zone = rest.lstrip("0123456789") if rest else ""
    moment = datetime.datetime.fromisoformat((head + zone).replace("Z", "+00:00"))
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")


def kind_of(one: dict[str, Any]) -> str:
    return next((tag[5:] for tag in one.get("tags") or [] if tag.startswith("kind=")), "other")


def counts(snapshots: Sequence[dict[str, Any]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in snapshots:
        found[kind_of(one)] = found.get(kind_of(one), 0) + 1
    return found


def newest(snapshots: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The time of each kind's newest snapshot, in UTC."""
    found: dict[str, str] = {}
    for one in snapshots:
        found[kind_of(one)] = max(found.get(kind_of(one), ""), utc(str(one["time"])))
    return found


def folder_bytes(folder: str) -> int:
    """What the files below a folder have in bytes."""
    return sum(os.lstat(os.path.join(place, name)).st_size for place, _, names in os.walk(folder) for name in names)


if __name__ == "__main__":
    raise SystemExit(main())
