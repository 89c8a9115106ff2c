"""``python -m contract check``: the engine as a command."""

import sys

from .cli import main

sys.exit(main(sys.argv[1:]))
