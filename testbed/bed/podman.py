"""podman with a storage, a configuration and networks of the bed's own.

Nothing of the user's containers, images or settings is seen or touched.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import settings
from .cache import lock
from .shell import run, succeeds

CONTAINERS_CONF = """\
# Written by the test bed; used through CONTAINERS_CONF for its own containers only.
[containers]
# Raising limits needs CAP_SYS_RESOURCE, which a machine for tests may lack.
default_ulimits = []
cgroups = "enabled"
[engine]
# crun refuses hybrid cgroups; there may be no journald on the host.
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "cni"
"""


@dataclass(frozen=True)
class Podman:
    """One handle on the bed's podman.

    :ivar foreign: the architecture of its images where that is not this machine's. They have a storage of their own:
        an image has the same name on every architecture.
    """

    storage: Path
    runroot: Path
    configuration: Path
    foreign: str | None = None

    CGROUP = "/observer-node"
    """Parent of all cgroups of the bed; podman's default is shared with the user's own containers."""

    @property
    def cgroup(self) -> tuple[str, ...]:
        return ("--cgroup-parent", self.CGROUP)

    @classmethod
    def open(cls, foreign: str | None = None) -> Podman:
        """Write the configuration when it is not there, and return the handle."""
        folders = settings.folders()
        configuration = folders.state / "podman"
        (configuration / "networks").mkdir(parents=True, exist_ok=True)
        conf = configuration / "containers.conf"
        if not conf.is_file() or conf.read_text() != CONTAINERS_CONF:
            conf.write_text(CONTAINERS_CONF)
        storage = folders.storage.with_name(f"{folders.storage.name}-{foreign}") if foreign else folders.storage
        storage.mkdir(parents=True, exist_ok=True)
        return cls(storage, folders.runroot / foreign if foreign else folders.runroot, configuration, foreign)

    def argv(self, *words: str) -> list[str]:
        return [
            "podman", "--root", str(self.storage), "--runroot", str(self.runroot),
            "--tmpdir", str(self.runroot / "tmp"), "--network-config-dir", str(self.configuration / "networks"),
            *words,
        ]

    @property
    def platform(self) -> tuple[str, ...]:
        """Options of ``import`` and ``build``."""
        return ("--arch", self.foreign) if self.foreign else ()

    def environment(self) -> dict[str, str]:
        return {**os.environ, "CONTAINERS_CONF": str(self.configuration / "containers.conf")}

    def run(self, *words: str, stdin: str | None = None, timeout: float | None = None) -> str:
        return run(self.argv(*words), env=self.environment(), stdin=stdin, timeout=timeout)

    def succeeds(self, *words: str) -> bool:
        return succeeds(self.argv(*words), env=self.environment())

    def inspect(self, container: str) -> dict[str, Any] | None:
        """``podman inspect`` of a container; None when there is none of this name."""
        if not self.succeeds("container", "exists", container):
            return None
        found: list[dict[str, Any]] = json.loads(self.run("container", "inspect", container))
        return found[0]

    def load_rootfs(self, rootfs: Path, repository: str, *, changes: tuple[str, ...] = (), alias: str = "") -> str:
        """Import a root file system as an image unless that very one is there.

        :param alias: a second full name for it.
        :returns: the image's full name; its tag is the artifact's key, so a changed artifact is another image.
        """
        tag = rootfs.parent.name.rsplit("-", 1)[-1]
        keyed = f"{repository}:{tag}"
        with lock(self.storage / f".import-{tag}.lock"):
            if not self.succeeds("image", "exists", keyed):
                words = [word for change in changes for word in ("--change", change)]
                self.run("import", "--quiet", *self.platform, *words, str(rootfs), keyed)
            if alias:
                self.run("tag", keyed, alias)
        return keyed
