#!/usr/bin/python
"""Takes volumes away that no claim uses any more, after their data was saved."""

from __future__ import annotations

DOCUMENTATION = r"""
module: volume_prune
short_description: Remove Released volumes by name, after a backup that holds them
description:
  - Saves the folder of each volume into the repository of the node's backups, as a snapshot of the kind C(released),
    and only then removes the PersistentVolume and its folder. Nothing prunes such a snapshot.
  - All volumes are looked at first. One that is not Released, that something uses, or whose folder is not on this node
    keeps the others from being removed, too.
  - A volume whose PersistentVolume is gone already, by an interrupted run, is known by its folder.
  - Reads V(/etc/observer-node/backup/settings.json), which the role backup writes.
options:
  volumes:
    description: Names of PersistentVolumes.
    type: list
    elements: str
    required: true
  storage:
    description: Folder of the volumes.
    type: path
    default: /opt/local-path-provisioner
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: observer-node
"""

EXAMPLES = r"""
- name: Remove what an older claim has left
  volume_prune:
    volumes: [pvc-1f90ee32-e9f5-4351-b56e-942e7e776821]
"""

RETURN = r"""
changes:
  description: One line a volume that was removed, the same in check mode as in the run after it.
  returned: always
  type: list
  elements: str
  sample: ["pvc-1f90ee32-e9f5-4351-b56e-942e7e776821: saved and removed"]
saved:
  description: By volume, the snapshot that holds it.
  returned: always, empty in check mode
  type: dict
remedy:
  description: What to do about it.
  returned: failure
  type: str
"""

import json
import os
import shutil
from typing import NamedTuple

from ansible.module_utils.backup import jobs, restore, settings, workloads
from ansible.module_utils.backup.problems import BackupProblem, Unknown
from ansible.module_utils.backup.restic import Repository
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.living.reset import ASIDE
from ansible.module_utils.living.volumes import path_of

KIND = "released"


class Volume(NamedTuple):
    """A volume that is to go. ``listed``: there still is a PersistentVolume."""

    name: str
    path: str
    listed: bool


def main() -> None:
    """Look at all of them, then save and remove one after the other."""
    module = AnsibleModule(argument_spec={
        "volumes": {"type": "list", "elements": "str", "required": True},
        "storage": {"type": "path", "default": "/opt/local-path-provisioner"},
    }, supports_check_mode=True)
    names = list(dict.fromkeys(module.params["volumes"]))
    changes: list[str] = []
    saved: dict[str, str] = {}
    try:
        ours = settings.load()
        found = look(names, module.params["storage"], workloads.Workloads(ours.namespace))
        repository = Repository(ours)
        for volume in found:
            if not module.check_mode:
                saved[volume.name] = save_and_remove(volume, ours, repository, workloads.Workloads(ours.namespace))
            changes.append(f"{volume.name}: saved and removed")
    except BackupProblem as problem:
        module.fail_json(msg=f"{problem.what}.", remedy=problem.remedy, changes=changes, saved=saved)
    except settings.SettingsError as error:
        module.fail_json(msg=f"{error}.", remedy="Without backups no volume is removed: delete it by hand, if it is"
                                                 " really not needed.", changes=changes, saved=saved)
    module.exit_json(changed=bool(changes), changes=changes, saved=saved)


def look(names: list[str], storage: str, cluster: workloads.Workloads) -> list[Volume]:
    """What is to go.

    :raises BackupProblem: one of them may not, or cannot be looked at.
    """
    have = {one["metadata"]["name"]: one for one in json.loads(
        cluster.call(["kubectl", "get", "persistentvolumes", "--output", "json"]))["items"]}
    used = {path_of(one): name for name, one in have.items()}
    found = []
    for name in names:
        if name not in have:
            found.append(left(name, storage, used))
            continue
        phase, claim = have[name]["status"].get("phase", "unknown"), have[name]["spec"].get("claimRef") or {}
        if phase != "Released":
            raise restore.Refused(f"{name} is {phase}, of {claim.get('namespace', '')}/{claim.get('name', '')};"
                                  " nothing was removed", "Only Released volumes go: kubectl get persistentvolumes")
        path = path_of(have[name])
        if os.path.dirname(path) != storage.rstrip("/") or os.path.islink(path):
            raise restore.Refused(f"{name} has its data in {path or 'no folder'}, and not right below {storage};"
                                  " nothing was removed", "See to it by hand.")
        if not os.path.isdir(path):
            raise restore.Refused(f"{path}, the folder of {name}, is not on this node; nothing was removed",
                                  "It is on another node, or gone: kubectl describe persistentvolume says where.")
        found.append(Volume(name, path, True))
    for volume in found:
        if restore.busy(volume.path):
            raise restore.Refused(f"{volume.path} is in use by a pod; nothing was removed",
                                  "Stop what uses it, and run again.")
    return found


def left(name: str, storage: str, used: dict[str, str]) -> Volume:
    """A volume of which an interrupted run has left the folder."""
    try:
        folders = sorted(one for one in os.listdir(storage) if one.startswith(f"{name}_") and ".before-" not in one)
    except OSError as error:
        raise Unknown(f"{storage} cannot be read: {error.strerror}") from error
    path = f"{storage.rstrip('/')}/{folders[0]}" if folders else ""
    if path in used:
        raise restore.Refused(f"{path} is the folder of {used[path]}; nothing was removed",
                              "Name volumes as kubectl get persistentvolumes does.")
    if len(folders) != 1 or os.path.islink(path):
        raise restore.Refused(f"there is no volume {name}; nothing was removed",
                              "Name those that are Released: kubectl get persistentvolumes")
    return Volume(name, path, False)


def save_and_remove(volume: Volume, ours: settings.Settings, repository: Repository,
                    cluster: workloads.Workloads) -> str:
    """The snapshot that holds the volume, which is no more.

    :raises BackupProblem: it could not be saved, and is still there; or not be removed.
    """
    path = volume.path
    snapshot = ""
    if not path.endswith(ASIDE):
        with jobs.writing(ours, repository, KIND) as seen:
            snapshot = repository.backup([path], KIND, there=seen.snapshots).snapshot
    try:
        if volume.listed:
            cluster.call(["kubectl", "delete", "persistentvolume", volume.name, "--wait=true", "--timeout=60s"])
        if not path.endswith(ASIDE):
            os.rename(path, path + ASIDE)
            path += ASIDE
        shutil.rmtree(path)
    except OSError as error:
        raise Unknown(f"{path} could not be removed: {error.strerror}", "See why, and run again.") from error
    return snapshot


if __name__ == "__main__":
    main()
