"""The command line of the test bed: ``python -m bed`` with ``testbed`` on the module path."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import local, machines, nodes, preflight, services, settings
from .cache import Cache
from .errors import BedError
from .progress import duration
from .recipes import graph, host_architecture
from .shell import run

NODE_PARTS = ("node", "services", "k3s", "airgap-images", "node-images", "sealed-secrets", "sealed-secrets-manifests",
              "observer", "restic")
MIRROR_PARTS = ("k3s", "airgap-images", "sealed-secrets", "sealed-secrets-manifests", "restic")
MACHINE_PARTS = (*MIRROR_PARTS, "node-images", "observer", "machine")


def build(architecture: str | None = None) -> dict[str, Path]:
    """Have every part of an architecture (the host's unless named) and return their folders."""
    host = host_architecture()
    architecture = architecture or host
    preflight.check()
    preflight.install_packages(cross=architecture != host)
    cache = Cache(settings.folders().artifacts)
    parts = NODE_PARTS if architecture == host else MIRROR_PARTS
    paths = graph(architecture).make(parts, cache, f"build {architecture}")
    cache.prune(paths.values())
    return paths


def build_machine(architecture: str = "arm64") -> dict[str, Path]:
    """Have what an emulated machine is made of and downloads, served by the mirror and the registry.

    :raises BedError: also when this machine has that architecture itself; nobody has tried that yet.
    """
    if architecture == host_architecture():
        raise BedError(f"this machine is {architecture} itself: use `make node`, which needs no emulator")
    preflight.check()
    preflight.check_emulation()
    preflight.install_packages(cross=True, emulation=True)
    cache = Cache(settings.folders().artifacts)
    paths = graph(architecture).make(MACHINE_PARTS, cache, f"build {architecture}")
    services.add(paths, architecture)
    return paths


def command_check(_: argparse.Namespace) -> None:
    preflight.check()
    print("this machine can run the test bed")


def command_setup(_: argparse.Namespace) -> None:
    preflight.check()
    preflight.install_packages()


def command_build(arguments: argparse.Namespace) -> None:
    started = time.monotonic()
    architecture = arguments.arch or host_architecture()
    paths = build(architecture)
    target = services.publish(paths, architecture)
    print(f"built in {duration(time.monotonic() - started)}; release mirror: {target}")
    for path in sorted(target.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            print(f"  {path.stat().st_size / 1e6:8.1f} MB  {path.relative_to(target)}")


def command_up(_: argparse.Namespace) -> dict[str, Path]:
    paths = build()
    services.up(paths, host_architecture())
    return paths


def command_node(arguments: argparse.Namespace) -> None:
    action = arguments.action
    if action == "up":
        preflight.check()
        node = nodes.plan(
            arguments.name, hostname=arguments.hostname, address=arguments.address,
            oci_firewall=arguments.oci_firewall, outward=not arguments.no_outward, data_disk=arguments.data_disk,
            data_path=arguments.data_path,
        )
        paths = command_up(arguments)
        started = time.monotonic()
        node = nodes.up(node, paths)
        seconds = time.monotonic() - started
        config = services.state() / "ssh" / "config"
        print(f"node {node.name} at {node.address} is up after {seconds:.1f} s, bare")
        print(f"  log in:        ssh -F {config} {node.name}")
        print(f"  mirror:        {services.mirror_url()}/k3s-io/k3s/releases/download/"
              f"{settings.K3S_VERSION.replace('+', '%2B')}/")
        print(f"  registry:      {services.registry().endpoint} as {settings.REGISTRY_USER}, password in "
              f"{services.registry().password_file}")
        print(f"  take it away:  make node-down NAME={node.name}    everything: make down")
        return
    if action == "list":
        for node in nodes.everyone():
            print(f"{node.name}\t{node.address}\t{node.hostname}\t{nodes.status(node)}")
        return
    node = nodes.find(arguments.name)
    if action == "down":
        nodes.down(node)
        print(f"node {node.name} is gone")
    elif action == "stop":
        nodes.stop(node)
        print(f"node {node.name} is off")
    elif action == "cut":
        nodes.cut(node)
        print(f"node {node.name}: power cut")
    elif action == "start":
        # After a restart of the host the mirror and the registry are off too.
        command_up(arguments)
        print(f"node {node.name} is up after {nodes.start(node):.1f} s")
    elif action == "reboot":
        print(f"node {node.name} is up again after {nodes.reboot(node):.1f} s")
    elif action == "ssh":
        os.execvp("ssh", [*nodes.ssh_argv(node), *arguments.command])


def command_machine(arguments: argparse.Namespace) -> None:
    action = arguments.action
    if action == "list":
        for machine in machines.everyone():
            kept = ", ".join(machines.snapshots(machine)) or "none"
            print(f"{machine.name}\t{machine.address}\t{machines.status(machine)}\tsnapshots: {kept}")
        return
    if action == "up":
        machine = machines.plan(arguments.name, oci_firewall=arguments.oci_firewall, outward=arguments.outward)
        command_up(arguments)
        paths = build_machine()
        started = time.monotonic()
        machine = machines.up(machine, paths)
        machines.save(machine, "bare")
        print(f"machine {machine.name} at {machine.address} is up after {time.monotonic() - started:.0f} s, bare "
              "(snapshot `bare`)")
        print(f"  log in:        ssh -F {machine.ssh_config} {machine.name}")
        print(f"  provision it:  make machine-site NAME={machine.name}")
        return
    machine = machines.find(arguments.name)
    if action == "down":
        machines.down(machine)
        print(f"machine {machine.name} is gone")
    elif action == "stop":
        machines.stop(machine)
        print(f"machine {machine.name} is off")
    elif action == "cut":
        machines.cut(machine)
        print(f"machine {machine.name}: power cut")
    elif action == "start":
        command_up(arguments)
        print(f"machine {machine.name} is up after {machines.start(machine):.1f} s")
    elif action == "reboot":
        print(f"machine {machine.name} is up again after {machines.reboot(machine):.1f} s")
    elif action == "save":
        print(f"machine {machine.name}: snapshot {arguments.snapshot} in "
              f"{machines.save(machine, arguments.snapshot):.1f} s")
    elif action == "resume":
        print(f"machine {machine.name} goes on from {arguments.snapshot} after "
              f"{machines.resume(machine, arguments.snapshot):.1f} s")
    elif action == "site":
        raise SystemExit(local.provision(machine))
    elif action == "ssh":
        os.execvp("ssh", [*nodes.ssh_argv(machine), *arguments.command])


def command_local(arguments: argparse.Namespace) -> None:
    status = local.up(command_up(arguments))
    if status:
        raise SystemExit(status)


def command_describe(_: argparse.Namespace) -> None:
    print(local.describe())


def command_down(_: argparse.Namespace) -> None:
    local.stop_forward()
    for machine in machines.everyone():
        machines.down(machine)
        print(f"machine {machine.name} is gone")
    for node in nodes.everyone():
        nodes.down(node)
        print(f"node {node.name} is gone")
    restored = services.down()
    if restored:
        print(f"put back on this machine: {', '.join(restored)}")
    print("the test bed is down; caches stay (make clean-cache)")


def command_clean_cache(_: argparse.Namespace) -> None:
    if nodes.everyone() or machines.everyone():
        raise BedError("nodes run from the cache; take them away first: make down")
    services.down()
    folder = settings.folders().cache
    for mount in _mounts_under(folder):
        run(["umount", mount])
    shutil.rmtree(folder, ignore_errors=True)
    print(f"removed {folder}")


def _mounts_under(folder: Path) -> list[str]:
    found = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return [mount for mount in reversed(found) if mount.startswith(f"{folder}/")]


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="bed", description="Local nodes that a role cannot tell from bare machines.")
    commands = top.add_subparsers(dest="verb", required=True)
    check = commands.add_parser("check", help="look whether this machine can run the bed")
    check.set_defaults(run=command_check)
    setup = commands.add_parser("setup", help="install missing Debian packages")
    setup.set_defaults(run=command_setup)
    built = commands.add_parser("build", help="build the release mirror and all images")
    built.add_argument("--arch", choices=sorted(settings.ARCHITECTURES))
    built.set_defaults(run=command_build)
    commands.add_parser("up", help="build, and start mirror and registry").set_defaults(run=command_up)
    commands.add_parser("local", help="the local node, provisioned").set_defaults(run=command_local)
    commands.add_parser("describe", help="write what inventories/local reads").set_defaults(run=command_describe)
    commands.add_parser("down", help="take nodes, services and networks away").set_defaults(run=command_down)
    commands.add_parser("clean-cache", help="remove everything built").set_defaults(run=command_clean_cache)

    node = commands.add_parser("node", help="bring nodes up, take them away, cut their power")
    actions = node.add_subparsers(dest="action", required=True)
    bring = actions.add_parser("up", help="a new bare node")
    bring.add_argument("name")
    bring.add_argument("--hostname", help="default: its name")
    bring.add_argument("--address", help=f"in {settings.SUBNET}; default: the next free one")
    bring.add_argument("--oci-firewall", action="store_true", help="start with an OCI image's iptables rules")
    bring.add_argument("--no-outward", action="store_true", help="nothing beyond the bed's network is reachable")
    bring.add_argument("--data-disk", type=int, default=0, metavar="GIB", help="a data disk of this size")
    bring.add_argument("--data-path", default="/srv/data", help="where the data disk is mounted")
    for action, text in (("down", "take it away with its disks"), ("stop", "shut it down"), ("start", "switch it on"),
                         ("cut", "cut its power"), ("reboot", "shut it down and start it")):
        actions.add_parser(action, help=text).add_argument("name")
    actions.add_parser("list", help="all nodes")
    shell = actions.add_parser("ssh", help="log in, or run a command")
    shell.add_argument("name")
    shell.add_argument("command", nargs=argparse.REMAINDER)
    node.set_defaults(run=command_node)

    machine = commands.add_parser("machine", help="the same with an emulated machine, and its snapshots")
    actions = machine.add_subparsers(dest="action", required=True)
    bring = actions.add_parser("up", help="a new bare machine; its snapshot is `bare`")
    bring.add_argument("name")
    bring.add_argument("--oci-firewall", action="store_true", help="start with an OCI image's iptables rules")
    bring.add_argument("--outward", action="store_true", help="let it reach beyond the bed's network")
    for action, text in (("down", "take it away with its disk"), ("stop", "shut it down"), ("start", "boot it"),
                         ("cut", "cut its power"), ("reboot", "reboot it"), ("site", "run site.yml on it")):
        actions.add_parser(action, help=text).add_argument("name")
    for action, text in (("save", "keep it as it is under a name"), ("resume", "go on from what was kept")):
        keep = actions.add_parser(action, help=text)
        keep.add_argument("name")
        keep.add_argument("snapshot")
    actions.add_parser("list", help="all machines and their snapshots")
    shell = actions.add_parser("ssh", help="log in, or run a command")
    shell.add_argument("name")
    shell.add_argument("command", nargs=argparse.REMAINDER)
    machine.set_defaults(run=command_machine)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    # So that what is cleaned up on the way out is cleaned up when CI cancels, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if arguments.verb not in ("check", "setup") and os.geteuid() != 0:
            preflight.check()
        arguments.run(arguments)
    except BedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was finished stays in the cache", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
