"""Why a backup's job stops: each is one sentence and a remedy, and never holds a secret."""

from __future__ import annotations

from collections.abc import Sequence


class BackupProblem(Exception):
    """Something that stops a job.

    :ivar kind: its name, for programs.
    :ivar what: one sentence.
    :ivar remedy: what to type or edit.
    """

    remedy = "Read the job's journal: journalctl -u 'observer-backup-*' -n 50"

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy or type(self).remedy

    @property
    def kind(self) -> str:
        return type(self).__name__


class Absent(BackupProblem):
    """There is no repository where one is expected."""

    remedy = "Correct backup_repository; a first start is said with -e backup_first_start=<the node's inventory name>."


class WrongPassword(BackupProblem):
    """The repository's password is another."""

    remedy = "Put the repository's password into the vault as vault_backup_password."


class Locked(BackupProblem):
    """Another restic holds the repository alone, for longer than was waited."""

    remedy = "Wait for the prune or check that runs; a lock that a dead machine has left goes after half an hour."


class Unreachable(BackupProblem):
    """The backup host or the store does not answer."""

    remedy = "See that the backup host runs and that the node reaches it; jobs go on by themselves."


class Revoked(BackupProblem):
    """The backup host or the store no longer lets this node in."""

    remedy = "If this node is to write again, run site.yml for it; if another took over, take this one down."


class HostKeyChanged(BackupProblem):
    """The backup host shows another key than the one that is pinned."""

    remedy = "If the backup host was made anew, run site.yml; if not, somebody stands between."


class Damaged(BackupProblem):
    """What is stored cannot be read as it was written."""

    remedy = "See what is damaged: `restic check --read-data` (docs/node-loss.md, by hand); restore from another" \
             " snapshot."

    @classmethod
    def of_all(cls, warnings: Sequence[str]) -> Damaged:
        """Not one snapshot can be read.

        :param warnings: what restic said of them.
        """
        return cls(f"no snapshot of the repository can be read: {warnings[0][:200]}",
                   "See what is damaged: `restic check --read-data` (docs/node-loss.md, by hand). For a new repository"
                   " beside it, give backup_identity another value.")


class Full(BackupProblem):
    """There is no room where the repository is."""

    remedy = "Make room on the backup host, or let it prune: playbooks/backup.yml"


class Foreign(BackupProblem):
    """The repository is of another inventory, or of nobody."""

    remedy = "Set backup_repository to this inventory's repository, or backup_identity to what it was made with."


class TakenOver(BackupProblem):
    """Another node has begun to write since."""

    remedy = "Take this machine down; the other one is the node now."


class Incomplete(BackupProblem):
    """What was to be saved could not be read whole."""

    remedy = "Read the job's journal for the files' names, mend them and start the job again."


class DatabaseDown(BackupProblem):
    """The database does not run, or does not answer."""

    remedy = "On the node: kubectl get pods -A; playbooks/diagnose.yml says what is wrong."


class Unknown(BackupProblem):
    """What no other says. Nothing goes on after it."""
