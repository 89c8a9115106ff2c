"""The one error type that the command line turns into one clear line."""


class BedError(Exception):
    """Something the operator can mend. The message says what is wrong and what to do."""
