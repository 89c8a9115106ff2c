"""`python -m qts.warm`: exits with 0 once the ledger is read (the startup probe)."""

import sys

from qts.places import orders

sys.exit(0 if orders().is_dir() else 1)
