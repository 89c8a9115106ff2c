#!/usr/bin/python
"""Settings, modules and swap of the running kernel."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_settings
short_description: Bring the running kernel in line with what its files say
description:
  - Loads kernel modules, writes kernel settings (sysctls) and ends the use of swap. The files that do the same at
    boot are not written here, but for the lines of swap in C(/etc/fstab), which are commented out.
  - The running values are compared, so a value that was changed by hand is found and mended although its file is
    right.
options:
  modules:
    description: Modules that have to be there, loaded or built in.
    type: list
    elements: str
    default: []
  sysctls:
    description: Settings by name, such as V(net.ipv4.ip_forward), with their values.
    type: dict
    default: {}
  swap:
    description: Whether swap may be used. V(true) leaves it as it is.
    type: bool
    default: true
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
notes:
  - In a container swap is left alone, because what the kernel shows there belongs to the machine around it. Its
    C(/etc/fstab) is mended all the same.
author: observer-node
"""

EXAMPLES = r"""
- name: Bring the running kernel in line
  kernel_settings:
    modules: [br_netfilter, overlay]
    sysctls: {net.bridge.bridge-nf-call-iptables: 1, vm.overcommit_memory: 1}
    swap: false
"""

RETURN = r"""
changes:
  description: One line a changed thing, the same in check mode as in the run after it.
  returned: always
  type: list
  elements: str
  sample: ["kernel module br_netfilter: loaded", "sysctl kernel.panic: value", "swap /swap.img: off",
           "/etc/fstab: swap line of /swap.img"]
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule


class CannotError(Exception):
    """Something that cannot be brought in line, with what to do about it."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class Step(NamedTuple):
    """One difference.

    :ivar line: how the result names it.
    :ivar before: what is there, ``after`` what is wanted, for the diff.
    :ivar make: mends it.
    """

    line: str
    before: str
    after: str
    make: Callable[[], None]


def run(*words: str) -> None:
    """:raises CannotError: with the command's own words."""
    line = " ".join(words)
    program = shutil.which(words[0], path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if not program:
        raise CannotError(f"the node has no {words[0]}", "on the node: apt-get install kmod util-linux")
    done = subprocess.run([program, *words[1:]], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotError(f"`{line}` failed: {done.stderr.strip()}",
                          f"look on the node why `{line}` fails, and run again")


def is_loaded(name: str, root: Path) -> bool:
    """Whether a module is loaded or part of the kernel. Names with ``-`` and ``_`` are the same module."""
    module = name.replace("-", "_")
    if (root / "sys/module" / module).exists():
        return True
    index = root / "lib/modules" / os.uname().release / "modules.builtin"
    if not index.is_file():
        return False
    return any(Path(line).name.partition(".")[0].replace("-", "_") == module
               for line in index.read_text().splitlines())


def load_modules(modules: list[str], root: Path) -> list[Step]:
    """Steps for the modules that are missing."""
    return [Step(f"kernel module {name}: loaded", "missing", "loaded", partial(run, "modprobe", "--", name))
            for name in modules if not is_loaded(name, root)]


def set_values(sysctls: dict[str, Any], root: Path, *, modules_come: bool) -> list[Step]:
    """Steps for the values that differ.

    :param modules_come: modules are loaded first, and a setting that is not there yet comes with one of them.
    :raises CannotError: the kernel has no such setting.
    """
    steps = []
    for name, value in sysctls.items():
        path = root / "proc/sys" / name.replace(".", "/")
        wanted = " ".join(str(value).split())
        if path.is_file():
            found = " ".join(path.read_text().split())
        elif modules_come:
            found = "missing"
        else:
            raise CannotError(f"the kernel has no setting {name}",
                              f"remove {name}, or name the module that it comes with")
        if found != wanted:
            steps.append(Step(f"sysctl {name}: value", found, wanted,
                              partial(write_value, name, path, wanted)))
    return steps


def write_value(name: str, path: Path, value: str) -> None:
    """:raises CannotError: with the kernel's reason."""
    try:
        path.write_text(f"{value}\n")
    except OSError as error:
        raise CannotError(f"sysctl {name} cannot be set to {value}: {error.strerror}",
                          f"try `sysctl -w {name}='{value}'` on the node, and correct the value") from error


def end_swap(root: Path) -> list[Step]:
    """Steps for swap that is in use and for the lines that would bring it back at boot."""
    steps = []
    swaps = root / "proc/swaps"
    in_container = (root / "run/systemd/container").exists()
    if swaps.is_file() and not in_container:
        for line in swaps.read_text().splitlines()[1:]:
            # The kernel writes a blank in a name as \040.
            name = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), line.split()[0])
            steps.append(Step(f"swap {name}: off", "in use", "off", partial(run, "swapoff", "--", name)))
    fstab = root / "etc/fstab"
    if fstab.is_file():
        for line in fstab.read_text().splitlines():
            if is_swap(line):
                steps.append(Step(f"/etc/fstab: swap line of {line.split()[0]}", line, f"# {line}",
                                  partial(comment_out, fstab, line)))
    return steps


def is_swap(line: str) -> bool:
    """Whether a line of fstab brings swap."""
    fields = line.split()
    return len(fields) > 2 and not fields[0].startswith("#") and fields[2] == "swap"


def comment_out(fstab: Path, line: str) -> None:
    """Put ``#`` before a line; the file is replaced whole, with its owner and mode, because the node boots by it."""
    lines = [f"# {text}" if text == line else text for text in fstab.read_text().splitlines()]
    found = fstab.stat()
    handle, temporary = tempfile.mkstemp(prefix=".fstab-", dir=fstab.parent)
    with os.fdopen(handle, "w") as file:
        os.fchown(file.fileno(), found.st_uid, found.st_gid)
        os.fchmod(file.fileno(), found.st_mode & 0o7777)
        file.write("".join(f"{text}\n" for text in lines))
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, fstab)


def differences(modules: list[str], sysctls: dict[str, Any], *, swap: bool, root: Path) -> list[Step]:
    """Everything that differs, in the order in which it is mended. Nothing is changed.

    :param root: ``/``, or a folder that stands for it.
    :raises CannotError: a setting that no kernel has.
    """
    missing = load_modules(modules, root)
    return [*missing, *set_values(sysctls, root, modules_come=bool(missing)), *([] if swap else end_swap(root))]


def main() -> None:
    """Compare, and mend what differs."""
    module = AnsibleModule(
        argument_spec={
            "modules": {"type": "list", "elements": "str", "default": []},
            "sysctls": {"type": "dict", "default": {}},
            "swap": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    done: list[str] = []
    try:
        steps = differences(module.params["modules"], module.params["sysctls"], swap=module.params["swap"],
                            root=Path("/"))
        for step in steps:
            if not module.check_mode:
                step.make()
            done.append(step.line)
    except CannotError as error:
        module.fail_json(msg=str(error), remedy=error.remedy, changed=bool(done), changes=done)
    module.exit_json(changed=bool(done), changes=done, diff=[
        {"before_header": step.line, "before": f"{step.before}\n",
         "after_header": step.line, "after": f"{step.after}\n"} for step in steps])


if __name__ == "__main__":
    main()
