"""What the machine must have, checked before anything is changed; each refusal says what to do."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import settings
from .cache import lock
from .errors import BedError
from .recipes import host_architecture
from .shell import run, succeeds

GO_AT_LEAST = (1, 26)
MEMORY_GIB = 6
DISK_GIB = 25

PROGRAMS = {
    # program: Debian package
    "podman": "podman", "runc": "runc", "mmdebstrap": "mmdebstrap", "zstd": "zstd", "openssl": "openssl",
    "iptables": "iptables", "losetup": "mount", "mkfs.ext4": "e2fsprogs", "ssh": "openssh-client", "ip": "iproute2",
    "gcc": "gcc", "pg_ctl": "postgresql-15", "curl": "curl", "strace": "strace", "faketime": "faketime",
}
FILES = {
    "/usr/lib/cni/bridge": "containernetworking-plugins", "/usr/include/stdlib.h": "libc6-dev",
    "/etc/containers/policy.json": "golang-github-containers-image",
}
CROSS_PROGRAMS = {"aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu", "arch-test": "arch-test"}
CROSS_FILES = {"/usr/aarch64-linux-gnu/include/stdlib.h": "libc6-dev-arm64-cross"}
EMULATION_PROGRAMS = {
    "qemu-system-aarch64": "qemu-system-arm", "qemu-img": "qemu-utils", "qemu-aarch64-static": "qemu-user-static",
    "update-binfmts": "binfmt-support", "mke2fs": "e2fsprogs", "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "arch-test": "arch-test",
}


def check() -> None:
    """:raises BedError: with every problem found, one a line, each with its remedy."""
    problems = [*_root(), *_architecture(), *_go(), *_memory(), *_disk(), *_cgroups(), *_subnet()]
    if problems:
        raise BedError("this machine cannot run the test bed:\n" + "\n".join(f"  - {line}" for line in problems))


def _root() -> list[str]:
    if os.geteuid() != 0:
        return ["needs root (containers with systemd, loop devices, iptables): run it with sudo"]
    return []


def _architecture() -> list[str]:
    try:
        host_architecture()
    except BedError as error:
        return [str(error)]
    return []


def _go() -> list[str]:
    wanted = ".".join(map(str, GO_AT_LEAST))
    remedy = f"install Go {wanted} or later (https://go.dev/dl) and put it on PATH"
    if not shutil.which("go"):
        return [f"no Go: {remedy}"]
    version = run(["go", "env", "GOVERSION"])
    found = re.match(r"go(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < GO_AT_LEAST:
        return [f"{version.strip()} is too old: {remedy}"]
    return []


def _memory() -> list[str]:
    meminfo = Path("/proc/meminfo").read_text()
    found = re.search(r"MemAvailable: +(\d+) kB", meminfo)
    available = int(found[1]) / 1024**2 if found else 0.0
    if available < MEMORY_GIB:
        return [f"{available:.1f} GiB of memory are available, {MEMORY_GIB} are needed: end other programs"]
    return []


def _disk() -> list[str]:
    problems = []
    folder = settings.folders().cache
    probe = folder
    while not probe.exists():
        probe = probe.parent
    free = shutil.disk_usage(probe).free / 1024**3
    # What is built already needs no more room.
    built = any((folder / "artifacts").glob("k3s-*")) if (folder / "artifacts").is_dir() else False
    if free < (8 if built else DISK_GIB):
        problems.append(
            f"{free:.0f} GiB are free for {folder}, {DISK_GIB} are needed: make room, or set XDG_CACHE_HOME"
        )
    return problems


def _cgroups() -> list[str]:
    mounts = Path("/proc/mounts").read_text()
    if Path("/sys/fs/cgroup/cgroup.controllers").is_file():
        return []
    missing = [name for name in ("cpu", "memory", "pids", "devices", "freezer")
               if not re.search(rf"^cgroup /sys/fs/cgroup/\S* cgroup \S*\b{name}\b", mounts, re.M)]
    if missing:
        return [f"no cgroup controller for {', '.join(missing)}: mount the unified hierarchy on /sys/fs/cgroup"]
    return []


def _subnet() -> list[str]:
    """The bed's network must not be somebody else's."""
    if not shutil.which("ip"):
        return []
    ours = ipaddress.ip_network(settings.SUBNET)
    for route in json.loads(run(["ip", "-json", "-4", "route", "show"]) or "[]"):
        if route.get("dst") in (None, "default") or route.get("dev") == settings.BRIDGE:
            continue
        if ipaddress.ip_network(route["dst"], strict=False).overlaps(ours):
            return [f"route {route['dst']} dev {route.get('dev')} overlaps {settings.SUBNET}: change SUBNET in "
                    "testbed/bed/settings.py"]
    return []


def check_emulation() -> None:
    """What an emulated machine needs beyond :func:`check`.

    :raises BedError: with the problem and its remedy.
    """
    if not Path("/dev/net/tun").exists():
        raise BedError("this machine has no /dev/net/tun, through which an emulated machine is on the nodes' network: "
                       "`modprobe tun`, or take a machine whose kernel has it")


def missing_packages(cross: bool = False, emulation: bool = False) -> list[str]:
    """Debian packages that the bed needs and this machine lacks."""
    programs = {**PROGRAMS, **(CROSS_PROGRAMS if cross else {}), **(EMULATION_PROGRAMS if emulation else {})}
    files = {**FILES, **(CROSS_FILES if cross else {})}
    search = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/lib/postgresql/15/bin"
    missing = {package for program, package in programs.items() if not shutil.which(program, path=search)}
    missing |= {package for path, package in files.items() if not Path(path).exists()}
    return sorted(missing)


def install_packages(cross: bool = False, emulation: bool = False) -> list[str]:
    """Install what is missing with apt. Returns the packages.

    :raises BedError: this is no Debian, or apt failed.
    """
    missing = missing_packages(cross, emulation)
    if not missing:
        return []
    if not shutil.which("apt-get"):
        raise BedError(f"install these (Debian's names): {' '.join(missing)}")
    print(f"[setup] installing Debian packages: {' '.join(missing)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with lock(settings.folders().cache / "apt.lock"), _no_services():
        install = ["apt-get", "install", "--yes", "--no-install-recommends", "--quiet", "-o",
                   "DPkg::Lock::Timeout=300", *missing]
        if not succeeds(install, env=environment):
            run(["apt-get", "update", "--quiet"], env=environment)
            run(install, env=environment)
    return missing


POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# Written by the observer-node test bed while it installs packages.\nexit 101\n"


@contextmanager
def _no_services() -> Iterator[None]:
    """Keep packages from starting services: a database server for tests must not run one of its own.

    Only a policy of our own is written and removed, one that an interrupted run left behind included.
    """
    ours = not POLICY.exists() or POLICY.read_text() == POLICY_TEXT
    if ours:
        POLICY.write_text(POLICY_TEXT)
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)
