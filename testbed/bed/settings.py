"""Pinned versions, addresses and names of the test bed. One place, so that nothing is pinned twice."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

TESTBED = ROOT / "testbed"

# --- versions -----------------------------------------------------------------------------------

K3S_VERSION = "v1.34.3+k3s1"
"""What the seeds pin (seed 001, 2-1) and what the stand-in answers as."""

KUBERNETES_VERSION = "1.34.3"
LOCAL_PATH_VERSION = "v0.0.30"
"""The newest that the Go module proxy serves. Production pins a later one: a declared difference."""

SEALED_SECRETS_VERSION = "0.36.0"
COREDNS_VERSION = "1.12.0"
DEBIAN_SUITE = "bookworm"
RESTIC_VERSION = "0.18.0"
RESTIC_SUITE = "trixie"
"""Where Debian has that version; its program runs on what the nodes are."""

OBSERVER_REPOSITORY = "ghcr.io/tawbury/observer"
"""Seed 000, 4.1."""

OBSERVER_BUILDS = {
    # tag: variant. Tags have the form that production accepts (seed 000, 4.2).
    "build-20260205-142425": "normal",  # the tag that seed 001, 1-1 verified
    "build-20260206-090000": "normal",
    "build-20260206-093000": "crash",
    "build-20260206-094500": "never-ready",
}

ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Debian's and Go's name of each architecture -> the kernel's."""

MACHINE_DISK_GIB = 12
"""What an emulated machine's disk is to itself; on this machine it takes what is written to it."""

# --- network ------------------------------------------------------------------------------------

SUBNET = "10.89.53.0/24"
BRIDGE = "obsbed0"
GATEWAY = "10.89.53.1"
MIRROR_ADDRESS = "10.89.53.2"
REGISTRY_ADDRESS = "10.89.53.3"
REGISTRY_PORT = 5000
REGISTRY_USER = "observer-pull"
FIRST_NODE_ADDRESS = 11
"""Nodes take 10.89.53.11 and up unless told otherwise."""



def mac_address(address: str) -> str:
    """A hardware address that belongs to an IPv4 address.

    A machine made again under its old address would else be unreachable for up to a minute: its
    neighbours, the host among them, remember the old one.
    """
    return "0a:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))


# --- folders ------------------------------------------------------------------------------------


def _xdg(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / default) / "observer-node"


@dataclass(frozen=True)
class Folders:
    """Where the bed keeps things. All outside the checkout."""

    cache: Path
    state: Path

    @property
    def artifacts(self) -> Path:
        return self.cache / "artifacts"

    @property
    def storage(self) -> Path:
        """podman's storage of the bed alone, so that no image or container of the user is touched."""
        return self.cache / "containers"

    @property
    def runroot(self) -> Path:
        return Path("/run/observer-node")


def folders() -> Folders:
    """The folders of this user, after XDG_CACHE_HOME and XDG_STATE_HOME."""
    return Folders(cache=_xdg("XDG_CACHE_HOME", ".cache"), state=_xdg("XDG_STATE_HOME", ".local/state"))
