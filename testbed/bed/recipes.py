"""What the bed is made of, and how each part is built from package registries alone.

Every part is a :class:`Step`: its key is a digest over its own sources and versions and the keys of
what it needs, so a part is built again exactly when something that it is made of changed.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import inspect
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

import yaml

from . import oci, settings
from .cache import Cache, digest
from .emulation import emulated
from .errors import BedError
from .oci import Image, write_archive
from .progress import Progress
from .shell import run

GO = settings.TESTBED / "go"
IMAGES = settings.TESTBED / "images"

def _code(*functions: Callable[..., object]) -> str:
    """The source of functions that decide what is in a part: a change of theirs makes another part."""
    return digest(*(inspect.getsource(function) for function in functions))


PAUSE_IMAGE = "docker.io/rancher/mirrored-pause:3.6"
COREDNS_IMAGE = f"docker.io/rancher/mirrored-coredns-coredns:{settings.COREDNS_VERSION}"
LOCAL_PATH_IMAGE = f"docker.io/rancher/local-path-provisioner:{settings.LOCAL_PATH_VERSION}"
HELPER_IMAGE = "docker.io/rancher/mirrored-library-busybox:1.36.1"
BUSYBOX_IMAGE = "docker.io/library/busybox:1.36.1"
SEALED_SECRETS_IMAGE = f"docker.io/bitnami/sealed-secrets-controller:{settings.SEALED_SECRETS_VERSION}"
POSTGRES_IMAGE = "docker.io/library/postgres:15"
PYTHON_IMAGE = "docker.io/library/python:3.11-slim"
NODE_IMAGE = "localhost/observer-node/node"
SERVICES_IMAGE = "localhost/observer-node/services"

NODE_PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "libpam-systemd", "openssh-server", "python3", "python3-apt", "sudo",
    "iproute2", "iptables", "nftables", "iptables-persistent", "netfilter-persistent", "kmod", "procps", "ethtool",
    "e2fsprogs", "cron", "less", "ca-certificates", "curl", "zstd", "openssl", "tzdata", "rsync", "lsb-release",
    "iputils-ping", "netcat-openbsd",
)

MACHINE_PACKAGES = (*NODE_PACKAGES, "udev", "busybox-static", "initramfs-tools", "dbus-user-session",
                    "systemd-timesyncd")
"""And the kernel, whose package is named after the architecture."""

Build = Callable[[Path, "Parts"], None]


class Parts:
    """The finished parts that a step may use: ``parts["kube"]`` is a folder."""

    def __init__(self, paths: dict[str, Path]) -> None:
        self._paths = paths

    def __getitem__(self, name: str) -> Path:
        return self._paths[name]


@dataclass(frozen=True)
class Step:
    """One part.

    :param seconds: what it takes cold on two cores; only for the estimate of the time left.
    :param lane: steps of one lane run one after the other. Go builds use all cores by themselves, so
        a second lane fills their gaps with what waits for the network.
    :param inputs: values and paths that the part is made of.
    :param emulated: the architecture whose programs are run to build it, when that is not this machine's.
    """

    name: str
    seconds: float
    lane: str
    build: Build
    inputs: tuple[object, ...] = ()
    needs: tuple[str, ...] = ()
    emulated: str | None = None


@dataclass
class Graph:
    """All steps of one architecture."""

    steps: dict[str, Step] = field(default_factory=dict)

    def add(self, step: Step) -> None:
        missing = [need for need in step.needs if need not in self.steps]
        if missing:
            raise ValueError(f"{step.name} needs {missing}, which come later")
        self.steps[step.name] = step

    def key(self, name: str) -> str:
        step = self.steps[name]
        return digest(step.name, _code(step.build), *step.inputs, *(self.key(need) for need in step.needs))

    def closure(self, names: Iterable[str]) -> list[str]:
        """The steps that ``names`` need, themselves included, in building order."""
        wanted: set[str] = set()

        def visit(name: str) -> None:
            if name not in wanted:
                wanted.add(name)
                for need in self.steps[name].needs:
                    visit(need)

        for name in names:
            visit(name)
        return [name for name in self.steps if name in wanted]

    def make(self, names: Iterable[str], cache: Cache, title: str = "build") -> dict[str, Path]:
        """Have the parts, built where they are not cached. Returns name -> folder.

        :raises BedError: a step failed; nothing of it is kept, finished ones stay.
        """
        order = self.closure(names)
        keys = {name: self.key(name) for name in order}
        paths = {name: cache.path(name, keys[name]) for name in order}
        missing = [name for name in order if not paths[name].is_dir()]
        if missing:
            self._make_missing(missing, keys, paths, cache, title)
        for path in paths.values():
            os.utime(path)
        return paths

    def _make_missing(
        self, missing: list[str], keys: dict[str, str], paths: dict[str, Path], cache: Cache, title: str
    ) -> None:
        progress = Progress(title, {name: self.steps[name].seconds for name in missing})
        waiting = list(missing)
        running: dict[Future[None], str] = {}

        def work(name: str) -> None:
            foreign = self.steps[name].emulated
            with progress.step(name), emulated(foreign) if foreign else contextlib.nullcontext():
                cache.get(name, keys[name], lambda scratch: self.steps[name].build(scratch, Parts(paths)))

        with ThreadPoolExecutor(max_workers=2) as pool:
            try:
                while waiting or running:
                    busy = {self.steps[name].lane for name in running.values()}
                    for name in list(waiting):
                        step = self.steps[name]
                        if step.lane in busy or any(not paths[need].is_dir() for need in step.needs):
                            continue
                        busy.add(step.lane)
                        waiting.remove(name)
                        running[pool.submit(work, name)] = name
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for finished in done:
                        name = running.pop(finished)
                        try:
                            finished.result()
                        except BedError as error:
                            raise BedError(f"building {name} failed: {error}") from error
            except BaseException:
                waiting.clear()
                pool.shutdown(wait=False, cancel_futures=True)
                raise


# --- Go -----------------------------------------------------------------------------------------


def _go_environment(architecture: str, cgo: bool) -> dict[str, str]:
    environment = {
        **os.environ, "GOOS": "linux", "GOARCH": architecture, "CGO_ENABLED": "1" if cgo else "0",
        "GOFLAGS": "-mod=readonly", "GOWORK": "off",
    }
    if cgo and architecture != host_architecture():
        environment["CC"] = {"arm64": "aarch64-linux-gnu-gcc", "amd64": "x86_64-linux-gnu-gcc"}[architecture]
    return environment


def go_build(
    module: str, package: str, output: Path, architecture: str, *, ldflags: str = "", tags: str = "",
    static_cgo: bool = False,
) -> None:
    """Build one program of a module under ``testbed/go``; its ``go.sum`` pins everything.

    :param static_cgo: link with a C compiler, but without shared libraries (SQLite needs C).
    """
    link = f"-s -w {ldflags}" + (" -linkmode=external -extldflags=-static" if static_cgo else "")
    argv: list[str | Path] = ["go", "build", "-trimpath", "-buildvcs=false", "-ldflags", link]
    if tags:
        argv += ["-tags", tags]
    log = output.with_name(f".{output.name}.log")
    run([*argv, "-o", output, package], cwd=GO / module, env=_go_environment(architecture, static_cgo), log=log)
    log.unlink()


def module_folder(module: str, path: str) -> Path:
    """Where the module cache has a dependency's source (for files such as a chart)."""
    run(["go", "mod", "download", path], cwd=GO / module)
    return Path(run(["go", "list", "-m", "-f", "{{.Dir}}", path], cwd=GO / module).strip())


def go_version() -> str:
    """The compiler, e.g. ``go1.26.8``: part of every key of a Go step."""
    return run(["go", "env", "GOVERSION"]).strip()


def host_architecture() -> str:
    """Go's name of this machine's architecture."""
    machine = platform.machine()
    for name, kernel in settings.ARCHITECTURES.items():
        if machine == kernel:
            return name
    raise BedError(f"architecture {machine} is not supported: use an x86_64 or aarch64 machine")


# --- Debian -------------------------------------------------------------------------------------


def debian(
    output: Path, packages: Iterable[str], *, architecture: str, variant: str = "minbase",
    hooks: Iterable[str] = (), excludes: Iterable[str] = (), options: Iterable[str] = (),
) -> None:
    """Make a root file system from Debian's packages, as a tar file or (``variant='extract'``) a folder."""
    argv: list[str | Path] = [
        "mmdebstrap", f"--variant={variant}", f"--architectures={architecture}", f"--include={','.join(packages)}",
        "--aptopt=Acquire::Retries \"3\"", "--aptopt=Apt::Install-Recommends \"false\"",
    ]
    for path in ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*", *excludes):
        argv.append(f"--dpkgopt=path-exclude={path}")
    argv += [*hooks, *options]
    log = output.with_name(f".{output.name}.log")
    try:
        run([*argv, settings.DEBIAN_SUITE, output], log=log)
    except BedError as error:
        # The log goes with the scratch folder; its cause is in the message.
        raise BedError(f"{error}\nCheck that this machine reaches Debian's registry (`apt-get update`).") from error
    log.unlink()


def packages_of(rootfs: Path) -> str:
    """The recorded package versions of an image made by :func:`debian`."""
    with tarfile.open(rootfs) as archive:
        member = archive.extractfile("./usr/share/observer-node/packages")
        if member is None:
            raise BedError(f"{rootfs} has no record of its packages")
        return member.read().decode()


# --- the parts ----------------------------------------------------------------------------------


def graph(architecture: str) -> Graph:
    """The steps for one architecture."""
    arch = architecture
    steps = Graph()
    go = (go_version(), arch, _code(go_build, _go_environment))
    suite = (settings.DEBIAN_SUITE, arch, _code(debian))
    archive = (Path(oci.__file__), _code(_write_images, compress))

    def build_kube(out: Path, _: Parts) -> None:
        version = "k8s.io/component-base/version"
        minor = settings.KUBERNETES_VERSION.split(".")[1]
        go_build("kube", ".", out / "kube", arch, ldflags=(
            f"-X {version}.gitVersion={settings.K3S_VERSION} -X {version}.gitMajor=1"
            f" -X {version}.gitMinor={minor} -X {version}.gitTreeState=clean"
        ))

    steps.add(Step("kube", 330, "go", build_kube, (GO / "kube", settings.K3S_VERSION, *go)))

    def build_kine(out: Path, _: Parts) -> None:
        go_build("kine", "github.com/k3s-io/kine", out / "kine", arch, tags="netgo osusergo", static_cgo=True)

    steps.add(Step("kine", 100, "go", build_kine, (GO / "kine", *go)))

    def build_coredns(out: Path, _: Parts) -> None:
        go_build("coredns", "github.com/coredns/coredns", out / "coredns", arch)

    steps.add(Step("coredns", 85, "go", build_coredns, (GO / "coredns", *go)))

    def build_local_path(out: Path, _: Parts) -> None:
        go_build("local-path", "github.com/rancher/local-path-provisioner", out / "local-path-provisioner", arch)

    steps.add(Step("local-path", 60, "go", build_local_path, (GO / "local-path", *go)))

    def build_sealed_secrets(out: Path, _: Parts) -> None:
        version = f"-X main.VERSION={settings.SEALED_SECRETS_VERSION}"
        commands = "github.com/bitnami-labs/sealed-secrets/cmd"
        go_build("sealed-secrets", f"{commands}/controller", out / "controller", arch, ldflags=version)
        go_build("sealed-secrets", f"{commands}/kubeseal", out / "kubeseal", arch, ldflags=version)

    steps.add(Step("sealed-secrets", 70, "go", build_sealed_secrets, (
        GO / "sealed-secrets", settings.SEALED_SECRETS_VERSION, *go,
    )))

    steps.add(Step("sealed-secrets-manifests", 40, "go", _build_sealed_secrets_manifests, (
        GO / "chart", GO / "sealed-secrets", settings.SEALED_SECRETS_VERSION, go[0],
    )))

    def build_pause(out: Path, _: Parts) -> None:
        go_build("pause", ".", out / "pause", arch)

    steps.add(Step("pause", 5, "go", build_pause, (GO / "pause", *go)))

    def build_runtime(out: Path, _: Parts) -> None:
        _extract_runtime(out, arch)

    steps.add(Step("runtime", 8, "debian", build_runtime, (*suite, _code(_extract_runtime))))

    def build_busybox(out: Path, _: Parts) -> None:
        _extract_busybox(out, arch)

    steps.add(Step("busybox", 8, "debian", build_busybox, (
        *suite, BUSYBOX_APPLETS, _code(_extract_busybox))))

    def build_restic(out: Path, _: Parts) -> None:
        _extract_restic(out, arch)

    steps.add(Step("restic", 15, "debian", build_restic, (
        settings.RESTIC_SUITE, settings.RESTIC_VERSION, arch, _code(_extract_restic, _record_extracted))))

    def build_k3s(out: Path, parts: Parts) -> None:
        _pack_k3s(out, parts, arch)

    steps.add(Step("k3s", 25, "debian", build_k3s, (
        settings.TESTBED / "k3s" / "k3s", settings.TESTBED / "k3s" / "manifests", settings.TESTBED / "k3s" / "pack.py",
        settings.K3S_VERSION, PAUSE_IMAGE, yaml.__version__, go[0], _code(_pack_k3s),
    ), ("kube", "kine", "runtime")))

    def build_airgap(out: Path, parts: Parts) -> None:
        _airgap_images(out, parts, arch)

    steps.add(Step("airgap-images", 15, "debian", build_airgap, (
        PAUSE_IMAGE, COREDNS_IMAGE, LOCAL_PATH_IMAGE, HELPER_IMAGE, arch, *archive, _code(_airgap_images),
    ), ("pause", "coredns", "local-path", "busybox")))

    # Root file systems that run maintainer scripts need the architecture itself or its emulator, which is some
    # ten times slower.
    foreign = arch if arch != host_architecture() else None
    slower = 10 if foreign else 1

    def build_postgres(out: Path, _: Parts) -> None:
        here = IMAGES / "postgres"
        debian(
            out / "rootfs.tar",
            ["postgresql-15", "postgresql-client-15", "locales", "xz-utils", "zstd", "gzip"], architecture=arch,
            hooks=(f"--essential-hook={here}/essential.sh \"$1\"", f"--customize-hook={here}/customize.sh \"$1\""),
            excludes=("/usr/lib/postgresql/15/lib/bitcode/*",),
        )
        (out / "packages").write_text(packages_of(out / "rootfs.tar"))

    steps.add(Step("postgres", 35 * slower, "debian", build_postgres, (IMAGES / "postgres", *suite),
                   emulated=foreign))

    def build_node_images(out: Path, parts: Parts) -> None:
        _node_images(out, parts, arch)

    steps.add(Step("node-images", 25, "debian", build_node_images, (
        SEALED_SECRETS_IMAGE, POSTGRES_IMAGE, BUSYBOX_IMAGE, arch, *archive, _code(_node_images),
    ), ("postgres", "sealed-secrets", "busybox")))

    def build_node(out: Path, _: Parts) -> None:
        here = IMAGES / "node"
        debian(out / "rootfs.tar", NODE_PACKAGES, architecture=arch,
               hooks=(f"--customize-hook={here}/customize.sh \"$1\"",))
        (out / "packages").write_text(packages_of(out / "rootfs.tar"))

    if not foreign:
        steps.add(Step("node", 40, "debian", build_node, (
            IMAGES / "node" / "customize.sh", NODE_PACKAGES, *suite)))

    def build_machine(out: Path, _: Parts) -> None:
        _machine(out, arch)

    steps.add(Step("machine", 50 * slower, "debian", build_machine, (
        IMAGES / "machine", IMAGES / "node" / "customize.sh", MACHINE_PACKAGES, *suite, _code(_machine)),
        emulated=foreign))

    def build_services(out: Path, _: Parts) -> None:
        here = IMAGES / "services"
        debian(out / "rootfs.tar", ["docker-registry", "apache2-utils", "python3", "ca-certificates"],
               architecture=arch, hooks=(f"--customize-hook={here}/customize.sh \"$1\"",))
        (out / "packages").write_text(packages_of(out / "rootfs.tar"))

    if not foreign:
        steps.add(Step("services", 25, "debian", build_services, (IMAGES / "services", *suite)))

    def build_python(out: Path, _: Parts) -> None:
        here = IMAGES / "python"
        debian(out / "rootfs.tar", ["python3", "python3-venv", "python3-pip", "tzdata", "ca-certificates"],
               architecture=arch, hooks=(f"--customize-hook={here}/customize.sh \"$1\"",))
        (out / "packages").write_text(packages_of(out / "rootfs.tar"))

    steps.add(Step("python", 25 * slower, "debian", build_python, (IMAGES / "python", *suite), emulated=foreign))

    observer = settings.TESTBED / "observer"

    def build_observer(out: Path, parts: Parts) -> None:
        _observer_images(out, parts, arch)

    steps.add(Step("observer", 45 * slower, "debian", build_observer, (
        observer / "src", observer / "docker", observer / "requirements.txt", observer / "migrations",
        settings.OBSERVER_BUILDS, settings.OBSERVER_REPOSITORY, arch, _code(_observer_images),
    ), ("python",), emulated=foreign))

    return steps


def _build_sealed_secrets_manifests(out: Path, _: Parts) -> None:
    """The release's ``controller.yaml`` and chart, from the helm folder of the Go module."""
    chart = module_folder("sealed-secrets", "github.com/bitnami-labs/sealed-secrets") / "helm" / "sealed-secrets"
    go_build("chart", ".", out / ".chart", host_architecture())
    values = out / ".values.yaml"
    # The names that the release's controller.yaml has; the chart's default is one version behind.
    values.write_text(
        "fullnameOverride: sealed-secrets-controller\n"
        f"image: {{tag: {settings.SEALED_SECRETS_VERSION}}}\n"
    )
    manifest = run([
        out / ".chart", "-release", "sealed-secrets", "-namespace", "kube-system", "-values", values, chart,
    ])
    if SEALED_SECRETS_IMAGE not in manifest:
        raise BedError(f"the rendered sealed-secrets manifest does not use {SEALED_SECRETS_IMAGE}")
    (out / "controller.yaml").write_text(manifest)
    version = re.search(r"^version: *(\S+)", (chart / "Chart.yaml").read_text(), re.M)
    if version is None:
        raise BedError(f"{chart}/Chart.yaml names no version")
    with gzip.GzipFile(out / f"sealed-secrets-{version[1]}.tgz", "wb", mtime=0) as packed, \
            tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(chart.rglob("*")):
            entry = archive.gettarinfo(path, f"sealed-secrets/{path.relative_to(chart)}")
            entry.uid = entry.gid = entry.mtime = 0
            entry.uname = entry.gname = "root"
            entry.mode |= 0o200
            if path.is_file():
                with path.open("rb") as handle:
                    archive.addfile(entry, handle)
            else:
                archive.addfile(entry)
    (out / ".chart").unlink()
    values.unlink()


def _machine(out: Path, arch: str) -> None:
    """A disk for an emulator, with the kernel and initrd that it is started with."""
    machine, node = IMAGES / "machine", IMAGES / "node"
    rootfs = out / "root.tar"
    debian(rootfs, (*MACHINE_PACKAGES, f"linux-image-cloud-{arch}"), architecture=arch, hooks=(
        f"--essential-hook={machine}/essential.sh \"$1\"", f"--customize-hook={node}/customize.sh \"$1\"",
        f"--customize-hook={machine}/customize.sh \"$1\""))
    (out / "packages").write_text(packages_of(rootfs))
    root, raw = out / "root", out / "disk.raw"
    root.mkdir()
    run(["tar", "--extract", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--file", rootfs, "-C", root])
    for name in ("vmlinuz", "initrd.img"):
        shutil.copy(next((root / "boot").glob(f"{name}-*")), out / name.partition(".")[0])
    run(["mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", root, raw, f"{settings.MACHINE_DISK_GIB}G"])
    run(["qemu-img", "convert", "-O", "qcow2", raw, out / "disk.qcow2"])
    shutil.rmtree(root)
    raw.unlink()
    rootfs.unlink()


def _extract_runtime(out: Path, arch: str) -> None:
    """containerd, runc and the CNI plugins as K3s carries them, from Debian's packages, not installed."""
    debian(out / "root", ["containerd", "runc", "containernetworking-plugins"], architecture=arch, variant="extract",
           options=("--skip=cleanup/apt",))
    (out / "bin" / "cni").mkdir(parents=True)
    root = out / "root" / "usr"
    for source in (root / "bin/containerd", root / "bin/containerd-shim-runc-v2", root / "bin/ctr", root / "sbin/runc"):
        shutil.copy(source, out / "bin")
    for plugin in ("bridge", "host-local", "loopback", "portmap", "bandwidth", "firewall"):
        shutil.copy(root / "lib" / "cni" / plugin, out / "bin" / "cni")
    _record_extracted(out, {"containerd", "runc", "containernetworking-plugins"})
    shutil.rmtree(out / "root")


def _record_extracted(out: Path, wanted: set[str]) -> None:
    """Write down the versions of extracted packages: they are in no dpkg database, only in file names."""
    names = [path.name.split("_") for path in (out / "root/var/cache/apt/archives").glob("*.deb")]
    record = sorted(f"{name}\t{unquote(version)}" for name, version, *_ in names if name in wanted)
    if len(record) != len(wanted):
        raise BedError(f"cannot tell the versions of {wanted} from {names}")
    (out / "packages").write_text("\n".join(record) + "\n")


def _extract_busybox(out: Path, arch: str) -> None:
    """A root file system of busybox alone: the provisioner's helper and a tool for tests."""
    debian(out / "root", ["busybox-static"], architecture=arch, variant="extract", options=("--skip=cleanup/apt",))
    _record_extracted(out, {"busybox-static"})
    tree = out / "rootfs"
    for folder in ("bin", "etc", "tmp", "root", "var", "dev", "proc", "sys", "home", "usr"):
        (tree / folder).mkdir(parents=True)
    (tree / "tmp").chmod(0o1777)
    binary = next(path for path in (out / "root/bin/busybox", out / "root/usr/bin/busybox") if path.is_file())
    shutil.copy(binary, tree / "bin" / "busybox")
    # The list of applets is the same on every architecture; the host's own busybox can say it only
    # for the host's, so the names are fixed.
    for applet in BUSYBOX_APPLETS:
        (tree / "bin" / applet).symlink_to("busybox")
    (tree / "etc" / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"
    )
    (tree / "etc" / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
    shutil.rmtree(out / "root")


def _extract_restic(out: Path, arch: str) -> None:
    """``restic_<version>_linux_<arch>.bz2``: the release's file, from the package of a later Debian.

    That of the nodes' own Debian is too old to tell its failures apart, and the Go module proxy has none. It is linked
    to the C library, which the release's is not; any Debian or Ubuntu that this project supports has a later one.
    """
    run(["mmdebstrap", "--variant=extract", f"--architectures={arch}", "--include=restic", "--skip=cleanup/apt",
         "--aptopt=Acquire::Retries \"3\"", "--aptopt=Apt::Install-Recommends \"false\"",
         settings.RESTIC_SUITE, out / "root"], log=out / ".log")
    (out / ".log").unlink()
    _record_extracted(out, {"restic"})
    version = (out / "packages").read_text().split()[1]
    if not version.startswith(f"{settings.RESTIC_VERSION}-"):
        raise BedError(f"Debian {settings.RESTIC_SUITE} has restic {version}, not {settings.RESTIC_VERSION}")
    # The level of a block is all that this format varies by: the same file each time.
    packed = bz2.compress((out / "root/usr/bin/restic").read_bytes(), 9)
    (out / f"restic_{settings.RESTIC_VERSION}_linux_{arch}.bz2").write_bytes(packed)
    shutil.rmtree(out / "root")


BUSYBOX_APPLETS = (
    "[", "ash", "awk", "base64", "basename", "cat", "chgrp", "chmod", "chown", "cp", "cut", "date", "dd", "df",
    "dirname", "du", "echo", "egrep", "env", "expr", "false", "fgrep", "find", "free", "grep", "gunzip", "gzip",
    "head", "hostname", "httpd", "id", "ip", "kill", "ln", "ls", "md5sum", "mkdir", "mkfifo", "mktemp", "mount",
    "mv", "nc", "netstat", "nslookup", "ping", "printf", "ps", "pwd", "readlink", "realpath", "rm", "rmdir", "sed",
    "seq", "sh", "sha256sum", "sleep", "sort", "stat", "sync", "tail", "tar", "tee", "test", "timeout", "top",
    "touch", "tr", "true", "tty", "umount", "uname", "uniq", "uptime", "vi", "wc", "wget", "which", "whoami",
    "xargs", "yes",
)


def _pack_k3s(out: Path, parts: Parts, arch: str) -> None:
    """The one file ``k3s`` (``k3s-arm64``)."""
    payload = out / ".payload"
    shutil.copytree(parts["runtime"] / "bin", payload / "bin")
    shutil.copy(parts["kube"] / "kube", payload / "bin")
    shutil.copy(parts["kine"] / "kine", payload / "bin")
    packages = (parts["runtime"] / "packages").read_text().splitlines()
    (payload / "k3s.json").write_text(json.dumps({"images": {"pause": PAUSE_IMAGE}, "packages": packages}))
    name = "k3s" if arch == "amd64" else f"k3s-{arch}"
    # This interpreter has PyYAML, which goes into the file: a bare node has none.
    run([sys.executable, settings.TESTBED / "k3s" / "pack.py", payload, out / name, "--version", settings.K3S_VERSION,
         "--go-version", go_version()])
    shutil.rmtree(payload)


def compress(source: Path, target: Path) -> None:
    """zstd on all cores; the source goes."""
    run(["zstd", "-10", "-T0", "--quiet", "--force", "--rm", source, "-o", target])


def _airgap_images(out: Path, parts: Parts, arch: str) -> None:
    """``k3s-airgap-images-<arch>.tar.zst``: what the system pods of K3s need, and nothing else."""
    def binary(part: str, name: str, target: str) -> Path:
        tree = out / f".{name}"
        (tree / target).parent.mkdir(parents=True)
        shutil.copy(parts[part] / name, tree / target)
        return tree

    provisioner = out / ".local-path-provisioner"
    shutil.copytree(parts["busybox"] / "rootfs", provisioner, symlinks=True)
    shutil.copy(parts["local-path"] / "local-path-provisioner", provisioner / "bin")
    path = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    label = {"Labels": {"observer-node.packages": (parts["busybox"] / "packages").read_text()}}
    images = [
        Image(PAUSE_IMAGE, binary("pause", "pause", "pause"), arch,
              {"Entrypoint": ["/pause"], "User": "65535:65535", "Env": path}),
        Image(COREDNS_IMAGE, binary("coredns", "coredns", "coredns"), arch,
              {"Entrypoint": ["/coredns"], "ExposedPorts": {"53/tcp": {}, "53/udp": {}}, "Env": path}),
        Image(LOCAL_PATH_IMAGE, provisioner, arch,
              {"Entrypoint": ["/bin/local-path-provisioner"], "Env": path, **label}),
        Image(HELPER_IMAGE, parts["busybox"] / "rootfs", arch, {"Cmd": ["sh"], "Env": path, **label}),
    ]
    _write_images(images, out, f"k3s-airgap-images-{arch}.tar.zst")
    # K3s publishes the list beside the archive, without the registry's default prefix resolved.
    (out / "k3s-images.txt").write_text("".join(f"{image.name}\n" for image in images))


def _node_images(out: Path, parts: Parts, arch: str) -> None:
    """``observer-node-images-<arch>.tar.zst``: what this project runs beside K3s' own pods, and a shell."""
    controller = out / ".controller"
    (controller / "usr/local/bin").mkdir(parents=True)
    (controller / "tmp").mkdir(mode=0o1777)
    (controller / "tmp").chmod(0o1777)
    shutil.copy(parts["sealed-secrets"] / "controller", controller / "usr/local/bin/controller")
    postgres = {
        "Entrypoint": ["docker-entrypoint.sh"], "Cmd": ["postgres"], "StopSignal": "SIGINT",
        "ExposedPorts": {"5432/tcp": {}}, "Volumes": {"/var/lib/postgresql/data": {}},
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin",
                "LANG=en_US.utf8", "PG_MAJOR=15", "PGDATA=/var/lib/postgresql/data"],
        "Labels": {"observer-node.packages": (parts["postgres"] / "packages").read_text()},
    }
    images = [
        Image(SEALED_SECRETS_IMAGE, controller, arch, {
            "Entrypoint": ["controller"], "User": "1001", "ExposedPorts": {"8080/tcp": {}},
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
        }),
        Image(POSTGRES_IMAGE, parts["postgres"] / "rootfs.tar", arch, postgres),
        Image(BUSYBOX_IMAGE, parts["busybox"] / "rootfs", arch, {
            "Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Labels": {"observer-node.packages": (parts["busybox"] / "packages").read_text()},
        }),
    ]
    _write_images(images, out, f"observer-node-images-{arch}.tar.zst")


def _write_images(images: list[Image], out: Path, name: str) -> None:
    scratch = out / ".scratch"
    scratch.mkdir()
    digests = write_archive(images, out / ".images.tar", scratch)
    compress(out / ".images.tar", out / name)
    (out / "digests.json").write_text(json.dumps(digests, indent=2) + "\n")
    for leftover in out.iterdir():
        if leftover.is_dir() and leftover.name.startswith("."):
            shutil.rmtree(leftover)


def _python() -> str:
    """The machine's own Python: this project's environment has no pip, and may be the first on the PATH."""
    elsewhere = [folder for folder in os.environ.get("PATH", "").split(os.pathsep)
                 if Path(folder) != Path(sys.prefix) / "bin"]
    return shutil.which("python3", path=os.pathsep.join(elsewhere)) or "python3"


def _observer_images(out: Path, parts: Parts, arch: str) -> None:
    """The app's builds, by ``podman build`` from its own Dockerfile on the local Python image."""
    from .podman import Podman

    context = out / ".context"
    source = settings.TESTBED / "observer"
    shutil.copytree(source, context, ignore=shutil.ignore_patterns("tests", "__pycache__", ".*_cache", "wheels"))
    run([_python(), "-m", "pip", "download", "--quiet", "--require-hashes", "--only-binary=:all:", "--no-deps",
         "--python-version", "3.11", "--implementation", "cp",
         "--platform", f"manylinux2014_{settings.ARCHITECTURES[arch]}",
         "--platform", f"manylinux_2_17_{settings.ARCHITECTURES[arch]}",
         "--platform", f"manylinux_2_28_{settings.ARCHITECTURES[arch]}",
         "-r", source / "requirements.txt", "-d", context / "wheels"])
    podman = Podman.open(arch if arch != host_architecture() else None)
    podman.load_rootfs(parts["python"] / "rootfs.tar", "localhost/observer-node/python", alias=PYTHON_IMAGE)
    names = []
    for tag, variant in settings.OBSERVER_BUILDS.items():
        name = f"{settings.OBSERVER_REPOSITORY}:{tag}"
        podman.run("build", "--quiet", *podman.platform, "--pull=never", "--network=none", "--layers",
                   "--build-arg", f"IMAGE_TAG={tag}", "--build-arg", f"BUILD_VARIANT={variant}", "--timestamp=0",
                   "--format=docker", "--tag", name, "-f", str(context / "docker" / "Dockerfile"), str(context))
        names.append(name)
    podman.run("save", "--quiet", "--multi-image-archive", "--format=docker-archive",
               "--output", str(out / "images.tar"), *names)
    shutil.rmtree(context)


# --- the release mirror -------------------------------------------------------------------------


def release_path(repository: str, version: str, asset: str = "") -> str:
    """The path of a GitHub release asset, as the real URL has it (``+`` is ``%2B`` there)."""
    return f"{repository}/releases/download/{quote(version, safe='')}/{asset}"


def mirror(paths: dict[str, Path], architecture: str, target: Path) -> None:
    """Lay out release assets under ``target`` as the projects' own release pages do.

    Only the part of the URL before the repository differs from the real one.
    """
    k3s = target / "k3s-io/k3s/releases/download" / settings.K3S_VERSION
    k3s.mkdir(parents=True, exist_ok=True)
    name = "k3s" if architecture == "amd64" else f"k3s-{architecture}"
    airgap = f"k3s-airgap-images-{architecture}.tar.zst"
    place(paths["k3s"] / name, k3s / name)
    place(paths["airgap-images"] / airgap, k3s / airgap)
    place(paths["airgap-images"] / "k3s-images.txt", k3s / "k3s-images.txt")
    # Like the real list it names more than a node downloads.
    _checksums(k3s / f"sha256sum-{architecture}.txt", [k3s / airgap, k3s / "k3s-images.txt", k3s / name])

    seal = target / "bitnami-labs/sealed-secrets/releases/download" / f"v{settings.SEALED_SECRETS_VERSION}"
    seal.mkdir(parents=True, exist_ok=True)
    for source in paths["sealed-secrets-manifests"].iterdir():
        place(source, seal / source.name)
    kubeseal = seal / f"kubeseal-{settings.SEALED_SECRETS_VERSION}-linux-{architecture}.tar.gz"
    scratch = kubeseal.with_name(f".{kubeseal.name}")
    with gzip.GzipFile(scratch, "wb", compresslevel=6, mtime=0) as packed, \
            tarfile.open(fileobj=packed, mode="w") as archive:
        entry = archive.gettarinfo(paths["sealed-secrets"] / "kubeseal", "kubeseal")
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = "root"
        with (paths["sealed-secrets"] / "kubeseal").open("rb") as handle:
            archive.addfile(entry, handle)
    scratch.rename(kubeseal)
    _checksums(seal / f"sealed-secrets_{settings.SEALED_SECRETS_VERSION}_checksums.txt",
               sorted(path for path in seal.iterdir() if not path.name.startswith(".") and path.suffix != ".txt"))

    restic = target / "restic/restic/releases/download" / f"v{settings.RESTIC_VERSION}"
    restic.mkdir(parents=True, exist_ok=True)
    name = f"restic_{settings.RESTIC_VERSION}_linux_{architecture}.bz2"
    place(paths["restic"] / name, restic / name)
    # The real list names all architectures; here it names what there is.
    _checksums(restic / "SHA256SUMS", sorted(restic.glob("*.bz2")))

    if "node-images" in paths:
        own = target / "observer-node"
        own.mkdir(parents=True, exist_ok=True)
        images = f"observer-node-images-{architecture}.tar.zst"
        place(paths["node-images"] / images, own / images)
        _checksums(own / f"sha256sum-{architecture}.txt", [own / images])


def place(source: Path, target: Path) -> None:
    """A hard link where possible: the mirror costs no disk."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _checksums(target: Path, files: Iterable[Path]) -> None:
    lines = subprocess.run(["sha256sum", *[path.name for path in files]], cwd=target.parent, check=True,
                           capture_output=True, text=True).stdout
    target.write_text(lines)
