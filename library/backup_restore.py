#!/usr/bin/python
"""Decides what becomes of a node's data, and brings it back from its backups."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_restore
short_description: Restore a node's data from its backups, or refuse
description:
  - With O(phase=provision), on a node without data, restores everything that the repository of O(hostname)'s inventory
    holds; keeps what is there on a node that has data; and refuses when neither is certain. Nothing starts empty unless
    O(first_start) says so for this very node, and nothing that has data is overwritten.
  - Everything is fetched below C(.restoring) in the folder of the volumes, checked, and renamed as the last act. What
    an interrupted run has left is continued or begun again.
  - The database is a base backup with its WAL beside it, and recovers when its pod starts. O(phase=complete) waits for
    that, sees that it got as far as it had to, and takes the recovery's settings away.
  - O(phase=part) restores single parts of a node that runs. What is there is kept aside under another name.
  - Reads V(/etc/observer-node/backup/settings.json), which the role backup writes.
options:
  phase:
    description:
      - V(decide) decides, and makes the node the repository's writer. V(provision) does so, too, and restores, before
        workloads exist. V(complete) is called after they were started.
      - V(part) fetches O(parts), stops the workloads, puts the parts in place, and starts the workloads.
    type: str
    choices: [decide, provision, complete, part]
    required: true
  hostname:
    description: The inventory's name of the node.
    type: str
    default: ""
  first_start:
    description: The name of the node that starts with what it has, O(hostname) or it is of no effect.
    type: str
    default: ""
  to:
    description: >-
      Time to restore to, such as V(2026-11-22 03:00:00+09:00); a time zone has to be in it. Empty, the newest.
    type: str
    default: ""
  without:
    description: >-
      Snapshots that are not used, by the beginning of their id. V(missing-wal) has the database restored up to where
      its log has a gap.
    type: list
    elements: str
    default: []
  parts:
    description: >-
      Claims, V(config) for the folder of settings; V(all) alone for everything. With O(phase=complete), what a run
      restored.
    type: list
    elements: str
    default: []
  twin:
    description: >-
      With O(phase=part), the node is another one than that of the backups, whose own goes on: a backup that is being
      made is left alone, and the database gets the password that this node's containers have. What an earlier restore
      kept aside is deleted.
    type: bool
    default: false
  leave_out:
    description: Folders of which nothing is brought along, with O(phase=part), as C(<claim>/<folder>).
    type: list
    elements: str
    default: []
  wait:
    description: >-
      Longest wait, in seconds, for a repository that does not answer; with O(phase=complete) for the database.
    type: int
    default: 600
  namespace:
    description: Namespace of the claims. This and the following are for a check on a node that has no settings yet.
    type: str
    default: ""
  storage:
    description: Folder of the volumes.
    type: path
    default: /opt/local-path-provisioner
  config:
    description: Folder of the app's settings.
    type: path
    default: ""
  claims:
    description: By claim, V(files) or V(database).
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    details: On a node that has no restic yet the repository is not asked; a warning says so.
  diff_mode: {support: none}
author: observer-node
"""

EXAMPLES = r"""
- name: Bring back what the backups hold
  backup_restore:
    phase: provision
    hostname: "{{ inventory_hostname }}"
    first_start: "{{ backup_first_start }}"

- name: Undo a mistake in the database
  backup_restore:
    phase: part
    parts: [observer-db-pvc]
    to: 2026-11-22 03:00:00+09:00
"""

RETURN = r"""
changes:
  description: One line a part that was restored, the same in check mode as in the run after it.
  returned: always
  type: list
  elements: str
  sample: ["observer-db-pvc: restored from the backup"]
decision:
  description: V(start), V(restore), V(keep).
  returned: for V(decide) and V(provision)
  type: str
epoch:
  description: >-
    Under which the node writes to the repository; 0 when it does not yet, or when that is not certain. Its keys are
    good for it alone.
  returned: for V(decide) and V(provision), when the repository was asked
  type: int
parts:
  description: What is restored.
  returned: always
  type: list
  elements: str
points:
  description: Snapshots that were restored, where the WAL begins and ends, and where the database's new timeline began.
  returned: when something was restored
  type: dict
kept:
  description: By part, where what was in its place is kept.
  returned: for V(part)
  type: dict
restored:
  description: What was brought back, and as of when.
  returned: for V(complete) and V(part), when something was restored
  type: list
  elements: str
seconds:
  description: How long fetching and placing took.
  returned: when something was restored
  type: dict
remedy:
  description: What to do about it.
  returned: failure
  type: str
"""

import os
import re
import shutil
import time
from dataclasses import replace
from datetime import datetime
from typing import Any

from ansible.module_utils.backup import decide, jobs, restore, settings, state, workloads
from ansible.module_utils.backup.database import Database
from ansible.module_utils.backup.problems import Absent, BackupProblem, Damaged, Unknown
from ansible.module_utils.backup.restic import Repository
from ansible.module_utils.basic import AnsibleModule

WRITER = "{}: writes the backups from now on"


def main() -> None:
    """Look, decide, do."""
    module = AnsibleModule(argument_spec={
        "phase": {"choices": ["decide", "provision", "complete", "part"], "required": True},
        "hostname": {"type": "str", "default": ""},
        "first_start": {"type": "str", "default": ""},
        "to": {"type": "str", "default": ""},
        "without": {"type": "list", "elements": "str", "default": []},
        "parts": {"type": "list", "elements": "str", "default": []},
        "twin": {"type": "bool", "default": False},
        "leave_out": {"type": "list", "elements": "str", "default": []},
        "wait": {"type": "int", "default": 600},
        "namespace": {"type": "str", "default": ""},
        "storage": {"type": "path", "default": "/opt/local-path-provisioner"},
        "config": {"type": "path", "default": ""},
        "claims": {"type": "dict", "default": {}},
    }, supports_check_mode=True)
    try:
        found = {"decide": provision, "provision": provision, "complete": complete,
                 "part": part}[module.params["phase"]](module)
    except BackupProblem as problem:
        module.fail_json(msg=sentence(problem.what), remedy=problem.remedy)
    except settings.SettingsError as error:
        module.fail_json(msg=sentence(str(error)), remedy="Run site.yml, whose role backup writes it.")
    module.exit_json(changed=bool(found["changes"]), **found)


def sentence(text: str) -> str:
    """Names of variables and files stay as they are written."""
    return f"{text if set('_/') & set(text.split(' ')[0]) else text[:1].upper() + text[1:]}."


def lines(parts: list[str]) -> list[str]:
    return [f"{part}: restored from the backup" for part in parts]


def wish_of(given: dict[str, Any]) -> decide.Wish:
    """:raises BackupProblem: the time is none."""
    to = None
    if given["to"]:
        try:
            text = re.sub(r" ?(Z|UTC)$", "+00:00", given["to"].strip())
            at = datetime.fromisoformat(re.sub(r" ?([+-]\d\d):?(\d\d)?$",
                                               lambda match: f"{match[1]}:{match[2] or '00'}", text))
        except ValueError:
            at = None
        if at is None or at.tzinfo is None:
            raise Unknown(f"backup_restore_to is {given['to']}, which is no time with a time zone",
                          "Write it like 2026-11-22T03:00:00+09:00, or with Z at its end for UTC.")
        to = at.timestamp()
        if to > time.time():
            raise Unknown(f"backup_restore_to is {given['to']}, which has not been yet", "Name a time before now.")
    return decide.Wish(given["first_start"], to, tuple(one.strip() for one in given["without"] if one.strip()))


def provision(module: AnsibleModule) -> dict[str, Any]:
    """What a provision does: all of it, or nothing."""
    given, wish = module.params, wish_of(module.params)
    only = given["phase"] == "decide"
    if module.check_mode and not (os.path.exists(settings.SETTINGS) and os.path.exists(settings.RESTIC)):
        return unasked(module, wish, only)
    ours = settings.load()
    repository = Repository(ours)
    here = restore.look(ours.storage, ours.namespace, ours.claims, ours.config_folder, ours.epoch)
    found, there = restore.decided(here, repository, wish, given["hostname"], 0 if module.check_mode else given["wait"])
    if isinstance(found, decide.Refuse):
        raise restore.Refused(found.what, found.remedy)
    for said in found.said if isinstance(found, (decide.Keep, decide.Restore)) and only else ():
        module.warn(said)
    goes_on = isinstance(found, decide.Restore) and (found.goes_on or found.points is None)
    if goes_on:
        there = restore.gather(repository, wish, records_too=False)
    looked = there.problem is None or isinstance(there.problem, Absent)
    if isinstance(found, decide.Keep) and there.problem is not None and not looked \
            and given["first_start"] != given["hostname"]:
        # A reset has forgotten whether it was.
        forgotten = ours.epoch and not os.path.exists(f"{settings.STATE_FOLDER}/state.json")
        if state.handed_over() or forgotten:
            raise restore.Refused(
                f"{given['hostname']} has {'handed its work over' if not forgotten else 'been reset'}, and whether"
                f" another machine has taken its place is not known: {there.problem.what}", there.problem.remedy)
    # Said of a database that was begun anew: what is saved of it follows on nothing before.
    anew = given["first_start"] == given["hostname"] and jobs.begun_anew(ours, here.system)
    writes = not goes_on and looked and (not ours.epoch or anew or jobs.stale(ours, there.snapshots))
    if writes and not module.check_mode:
        # From here on no other machine writes: its data is what is kept or restored.
        begin(module, ours, repository, first=not there.snapshots)
        ours = settings.load()
    # Who could not look is let in to nothing: another machine may have taken over.
    epoch = ours.epoch if looked and not (goes_on and jobs.stale(ours, there.snapshots)) else 0
    changes = [WRITER.format(given["hostname"])] if writes and (only or not module.check_mode) else []
    if not isinstance(found, decide.Restore) or only:
        name = type(found).__name__.lower()
        return {"changes": changes, "decision": name, "parts": list(getattr(found, "parts", ())), "epoch": epoch}
    parts = list(found.parts)
    result = {"changes": [*changes, *lines(parts)], "decision": "restore", "parts": parts, "epoch": epoch}
    if module.check_mode:
        return result
    if goes_on or found.points is None:
        restore.finish_placing()
        return result
    restorer = restore.Restorer(ours, repository, there, found.points, parts, wish)
    restorer.refuse()
    return {**result, **fetched_and_placed(restorer)}


def unasked(module: AnsibleModule, wish: decide.Wish, only: bool) -> dict[str, Any]:
    """What a run would do on a node that cannot ask the repository yet, if that holds what it should."""
    given = module.params
    here = restore.look(given["storage"], given["namespace"], given["claims"], given["config"], 0)
    # A reset leaves it.
    epoch = int(settings.read_json(settings.EPOCH).get("epoch") or 0) if os.path.exists(settings.EPOCH) else 0
    changes = [WRITER.format(given["hostname"])] if only and not epoch else []
    kept = any(is_ == decide.DATA for name, is_ in here.parts.items() if name != decide.CONFIG)
    parts: list[str] = []
    if kept and epoch:
        parts = sorted(name for name, is_ in here.parts.items() if is_ == decide.ABSENT)
    elif not kept and wish.first_start != given["hostname"]:
        parts = sorted(name for name, is_ in here.parts.items() if is_ != decide.DATA)
        if only:
            module.warn("What the repository holds was not looked at: this node has no restic yet.")
    decision = "restore" if parts else "keep" if kept else "start"
    return {"changes": changes if only else lines(parts), "decision": decision, "parts": parts, "epoch": epoch}


def begin(module: AnsibleModule, ours: settings.Settings, repository: Repository, *, first: bool) -> None:
    """Be the repository's writer. One of which a part cannot be read is restored from all the same."""
    try:
        jobs.begin(replace(ours, epoch=0, writer=""), repository, first=first, after=ours.epoch)
    except (Damaged, Unknown) as problem:
        module.warn(f"{sentence(problem.what)} No backups are made until that is mended. {problem.remedy}")


def fetched_and_placed(restorer: restore.Restorer) -> dict[str, Any]:
    began = time.monotonic()
    restorer.fetch()
    fetched = time.monotonic()
    restorer.place()
    return {"points": restorer.told, "seconds": {"fetch": round(fetched - began, 1),
                                                 "place": round(time.monotonic() - fetched, 1)}}


def complete(module: AnsibleModule) -> dict[str, Any]:
    """What is left when the database has recovered."""
    given = module.params
    name = next((claim for claim, role in given["claims"].items() if role == settings.DATABASE_ROLE), "")
    if module.check_mode:
        due = name in given["parts"] or restore.placed()
        return {"changes": [f"{name}: recovery ended"] if due else [], "parts": []}
    ours = settings.load() if restore.placed() else None
    told = restore.complete(ours, wait=given["wait"]) if ours else {}
    if told:
        jobs.accept_database()
    ended = {"points": told, "restored": restore.told_of()} if told else {}
    return {"changes": [f"{name}: recovery ended"] if told else [], "parts": [], **ended}


def part(module: AnsibleModule) -> dict[str, Any]:
    """Single parts, on a node that runs."""
    given, wish = module.params, wish_of(module.params)
    ours = settings.load()
    repository = Repository(ours)
    known = restore.parts_of(ours.claims, ours.config_folder)
    parts = known if given["parts"] == ["all"] else list(dict.fromkeys(given["parts"]))
    if not parts or set(parts) - set(known):
        raise Unknown(f"there is no {' and no '.join(sorted(set(parts) - set(known))) or 'part named'} to be restored",
                      f"Name some of {', '.join(known)}.")
    running = workloads.Workloads(ours.namespace)
    running.jobs_ended()
    there = restore.gather(repository, wish)
    problem = there.problem or decide.foreign(there)
    if problem:
        raise problem
    points = decide.choose(there, wish)
    if points is None:
        raise Absent("the repository holds no complete backup of that time, beside those of backup_restore_without",
                     "See `restic snapshots` (docs/node-loss.md, by hand), and name another time.")
    # A twin's own node goes on: one that is being made is not whole yet.
    said = () if given["twin"] else decide.cut_off(there, wish, points)
    if isinstance(said, decide.Refuse):
        raise restore.Refused(said.what, said.remedy)
    for one in said:
        module.warn(one)
    result: dict[str, Any] = {"changes": lines(parts), "parts": parts}
    if module.check_mode:
        return result
    restorer = restore.Restorer(ours, repository, there, points, parts, wish, aside=True,
                                leave_out=given["leave_out"])
    restorer.refuse_room()
    began = time.monotonic()
    try:
        restorer.fetch()
        if given["twin"]:
            restore.forget_aside(ours)
    except BackupProblem:
        if given["twin"]:
            # Nobody would come back for it, and it is another node's.
            shutil.rmtree(restorer.root, ignore_errors=True)
        raise
    fetched = time.monotonic()
    # Timers first: a job that is killed leaves what nobody knows to be whole.
    running.stop(keep=lambda one: not one.endswith(".timer"))
    running.jobs_ended()
    # A database recovers when it runs, also one that somebody has switched off.
    running.stop(needed=[ours.database.workload] if restorer.database in parts else [])
    restorer.released()
    restorer.place()
    placed = time.monotonic()
    if restorer.database in parts:
        running.start([ours.database.workload])
        result["points"] = {**restorer.told, **restore.complete(ours, wait=restore.RECOVERY_SECONDS)}
        jobs.accept_database()
        if given["twin"]:
            Database(ours).take_password()
    else:
        restore.complete(ours)
        result["points"] = restorer.told
    # A base backup of the new timeline, without which a restore would have to go through the old one.
    running.start(again=["observer-backup-base.service"] if restorer.database in parts else [])
    kept = restore.kept_aside()
    return {**result, "kept": kept, "restored": restore.told_of(), "seconds": {
        "fetch": round(fetched - began, 1), "place": round(placed - fetched, 1),
        "start": round(time.monotonic() - placed, 1)}}


if __name__ == "__main__":
    main()
