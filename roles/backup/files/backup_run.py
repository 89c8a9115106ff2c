"""What the units observer-backup-* run: one job of the backups."""

import sys
from pathlib import Path

# -I leaves this file's own folder out.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from backup.run import main

raise SystemExit(main())
