"""What observer-watch.service runs: how this node stands, written to /var/lib/observer-node."""

from living.watch import main

raise SystemExit(main())
