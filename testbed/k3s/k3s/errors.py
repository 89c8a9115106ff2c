"""The exceptions that end a run, each with the exit code that K3s would give."""

from __future__ import annotations


class Fatal(Exception):
    """An error that K3s reports with logrus.Fatal; exit code 1 (cmd/k3s/main.go)."""

    code = 1


class UsageError(Fatal):
    """An option that the command line does not have or cannot parse (urfave/cli)."""


class NotImitated(Exception):
    """Something that K3s does and this stand-in does not; exit code 2, so that a test sees the gap."""

    code = 2

    def __init__(self, what: str) -> None:
        super().__init__(f"stand-in: {what} is not imitated")


class ExitWith(Exception):
    """Print a message on stderr and leave with a code (urfave/cli's ExitError)."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code
