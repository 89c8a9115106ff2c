"""The program ``execution-contract``, and ``python -m contract``."""

import gc
import sys


def command() -> None:
    """Run it and end the process."""
    # Nothing that a check loads is garbage before it ends. To look for cycles in it, and to take it apart at the end,
    # would take a sixth of the whole time.
    gc.disable()
    from .cli import main

    status = main(sys.argv[1:])
    gc.freeze()
    sys.exit(status)


if __name__ == "__main__":
    command()
