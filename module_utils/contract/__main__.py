"""``python -m contract check``: the engine as a command."""

from .cli import command

command()
