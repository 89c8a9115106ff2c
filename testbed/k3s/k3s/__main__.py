"""Entry of `python3 -m k3s` and, through the packed file's own `__main__`, of the binary."""

from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv))
