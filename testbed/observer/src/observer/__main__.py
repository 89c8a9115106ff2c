"""`python -m observer`."""

from __future__ import annotations

import signal
import sys

# As PID 1 the process would ignore SIGTERM until a handler exists; imports take a moment.
signal.signal(signal.SIGTERM, lambda _signal, _frame: sys.exit(0))

from observer.main import main  # noqa: E402

main()
