#!/usr/bin/python
"""Hands a node's work over to a machine that comes after it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_move
short_description: Stop a node's work for good, with all that it has written in its backups
description:
  - Stops the app while its database still runs, saves the files, waits until the last of the database's log has left
    the node, and writes a record that says up to where. No machine takes over with less than that. Then it stops the
    database and the jobs of the backups, which no longer start by themselves.
  - Refuses, with nothing stopped, when the backups are not good, or are such that another machine would not be restored
    from them. What goes wrong before the record is written has everything started again.
  - K3s goes on, with its workloads at no pods. The role observer gives them their pods back, and the role backup
    switches its jobs on, as long as no other machine has taken over.
  - Reads V(/etc/observer-node/backup/settings.json), which the role backup writes.
options: {}
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: observer-node
"""

EXAMPLES = r"""
- name: Hand over
  backup_move: {}
"""

RETURN = r"""
changes:
  description: What was stopped, one line each, the same in check mode as in the run after it.
  returned: always
  type: list
  elements: str
  sample: ["deployment/observer: stopped", "observer-backup-files.timer: stopped and disabled", "obs-prod: handed over"]
handed:
  description:
    - What was handed over. C(position) is up to where the database's log has left the node (C(lsn), C(timeline),
      C(at)), C(stopped) when the app was, C(files) when its files were saved after that, C(at) when that was recorded;
      each as seconds since 1970.
    - In check mode it is empty when nothing was handed over before.
  returned: success
  type: dict
remedy:
  description: What to do about it.
  returned: failure
  type: str
"""

from ansible.module_utils.backup import move, settings
from ansible.module_utils.backup.problems import BackupProblem
from ansible.module_utils.backup.restic import Repository
from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Look, refuse, do."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    try:
        ours = settings.load()
        mover = move.Mover(ours, Repository(ours))
        handed = mover.moved()
        if not handed:
            mover.refuse()
        changes = mover.plan()
        if changes and not module.check_mode:
            handed = mover.hand_over()
    except BackupProblem as problem:
        module.fail_json(msg=sentence(problem.what), remedy=problem.remedy)
    except settings.SettingsError as error:
        module.fail_json(msg=sentence(str(error)), remedy="Run site.yml, whose role backup writes it.")
    module.exit_json(changed=bool(changes), changes=changes, handed=handed)


def sentence(text: str) -> str:
    """Names of variables and files stay as they are written."""
    return f"{text if set('_/') & set(text.split(' ')[0]) else text[:1].upper() + text[1:]}."


if __name__ == "__main__":
    main()
