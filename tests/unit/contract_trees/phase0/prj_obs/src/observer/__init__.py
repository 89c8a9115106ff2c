"""Observer: KIS market data."""

import os

__version__ = "1.4.2"

STANDALONE = os.environ.get("OBSERVER_STANDALONE", "1") == "1"
