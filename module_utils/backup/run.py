"""The jobs by their names, for systemd and for whoever is on the node.

    python3 -I /usr/local/lib/observer-node/backup_run.py JOB

``files``, ``base``, ``wal``, ``check`` and ``rehearse`` do that and record how it went; ``stream`` and ``archive``
last; ``stream-off`` has no commit wait any more; ``state`` judges anew and tells, with ``--wait SECONDS`` when all is
well or that much later; ``begin`` makes this node the repository's writer.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Sequence

from . import jobs, state, stream
from . import settings as given
from .files import write_file
from .problems import BackupProblem

PING_SECONDS = 300.0
AGAIN = 2.0
PINGED = f"{given.WORK}/pinged"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one job; an exit status. 0: done, 1: failed, and the state says why."""
    parser = argparse.ArgumentParser(prog="backup_run.py", description="Run one job of the backups.")
    parser.add_argument("job", choices=[*jobs.JOBS, "archive", "begin", "rehearse", "state",
                                        "stream", "stream-off"])
    parser.add_argument("--first", action="store_true", help="begin: there is nothing yet, and that is right")
    parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="state: until all is well")
    words = parser.parse_args(argv)
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    try:
        settings = given.load()
    except given.SettingsError as error:
        print(f"{error}. Run site.yml.")
        return 1
    if words.job in jobs.JOBS:
        status = jobs.run(words.job, settings)
        if words.job == given.FILES and settings.epoch and (
                not jobs.has_base_of_epoch(settings) or state.failed(given.BASE)):
            # Not before the night's: without one nothing can be restored.
            subprocess.run(["systemctl", "start", "--no-block", "observer-backup-base.service"], check=False)
        return status
    if words.job == "begin":
        return begin(settings, first=words.first)
    if words.job == "state":
        return judge(settings, words.wait)
    if words.job == "archive":
        return archive(settings)
    if words.job in ("stream", "stream-off"):
        return stream.run(settings) if words.job == "stream" else stream.off(settings)
    # Here, since nothing compiled is kept: the job that runs each minute need not read it.
    from . import rehearse
    return jobs.run("rehearse", settings, job=lambda now, _: rehearse.run(now))


def archive(settings: given.Settings) -> int:
    """Receive WAL until it ends. Whether it does is judged when WAL is shipped."""
    try:
        # Of the other mode: nobody would answer a commit that waits.
        stream.off(settings)
        return jobs.archive(settings)
    except (BackupProblem, OSError) as problem:
        print(f"no WAL is received: {problem}")
        return 1


def begin(settings: given.Settings, *, first: bool) -> int:
    """Make this node the writer unless it is, and say which jobs are due."""
    had = settings.epoch
    try:
        if not had:
            settings = jobs.begin(settings, first=first)
        state.expect(settings)
    except BackupProblem as problem:
        print(f"{problem.what}. {problem.remedy}")
        return 1
    if had:
        print(f"unchanged: writer {settings.epoch} of {settings.identity}")
        return 0
    print(f"begun: writer {settings.epoch} of {settings.identity}")
    return 0


def judge(settings: given.Settings, wait: float = 0.0) -> int:
    """Judge the backups anew, since a job that does not run says nothing; ping while all is well.

    :param wait: for so many seconds, while all is not: a job that is due each minute may have failed for what is over.
    """
    ends = time.monotonic() + wait
    while True:
        with state.changing():
            pass
        verdict, wrong = state.verdict()
        if verdict == state.OK or time.monotonic() >= ends:
            break
        time.sleep(AGAIN)
    if verdict == state.OK:
        ping(settings.ping_url)
    print("the backups are good" if verdict == state.OK else "; ".join(wrong))
    return 0


def ping(url: str, every: float = PING_SECONDS) -> None:
    """Ask a URL, so that whoever waits for it knows that all is well."""
    if not url:
        return
    with contextlib.suppress(OSError, ValueError), open(PINGED, encoding="utf-8") as file:
        if time.time() - float(json.load(file)) < every - 5:
            return
    try:
        with urllib.request.urlopen(url, timeout=20):
            write_file(PINGED, json.dumps(time.time()), 0o600)
    except (OSError, ValueError) as error:
        # Its address may be a secret.
        print(f"the ping failed: {type(error).__name__}")
