"""The module `kernel_settings`: on folders that stand for the root, and once on this kernel where that harms nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modules import ROOT, load

module = load("kernel_settings")

SWAPS = """\
Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority
/swap.img                               file\t\t2097148\t\t0\t\t-2
/mnt/a\\040disk/swap                     file\t\t1048572\t\t12\t\t-3
"""
FSTAB = """\
# /etc/fstab
UUID=1234 / ext4 defaults 0 1
/swap.img\tnone\tswap\tsw\t0\t0
#/old.img none swap sw 0 0
tmpfs /var/swap tmpfs defaults 0 0
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine: two settings, one module loaded and one built in, swap in use and in fstab."""
    for name, text in {
        "proc/sys/kernel/panic": "0\n", "proc/sys/net/ipv4/ip_local_port_range": "32768\t60999\n",
        "proc/swaps": SWAPS, "etc/fstab": FSTAB, "sys/module/br_netfilter/initstate": "live\n",
        f"lib/modules/{os.uname().release}/modules.builtin": "kernel/fs/overlayfs/overlay.ko\nkernel/ip-set.ko.zst\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def lines(root: Path, modules: list[str], sysctls: dict[str, Any], *, swap: bool) -> list[str]:
    return [step.line for step in module.differences(modules, sysctls, swap=swap, root=root)]


def mend(root: Path, sysctls: dict[str, Any], *, swap: bool) -> None:
    for step in module.differences([], sysctls, swap=swap, root=root):
        if not step.line.startswith("swap "):  # it would be this machine's
            step.make()


def test_values_that_differ_are_named_and_written(root: Path) -> None:
    sysctls = {"kernel.panic": 10, "net.ipv4.ip_local_port_range": "32768 60999"}
    assert lines(root, [], sysctls, swap=True) == ["sysctl kernel.panic: value"]
    mend(root, sysctls, swap=True)
    assert (root / "proc/sys/kernel/panic").read_text() == "10\n"
    assert lines(root, [], sysctls, swap=True) == []


def test_modules_loaded_built_in_and_missing(root: Path) -> None:
    assert lines(root, ["br_netfilter", "overlay", "ip_set", "br-netfilter", "vxlan"], {}, swap=True) == [
        "kernel module vxlan: loaded"]


def test_a_setting_that_comes_with_a_module_is_announced(root: Path) -> None:
    """After loading it may have the wanted value by itself; check mode cannot know, so the run says it too."""
    (root / "sys/module/br_netfilter/initstate").unlink()
    (root / "sys/module/br_netfilter").rmdir()
    wanted = {"net.bridge.bridge-nf-call-iptables": 1}
    assert lines(root, ["br_netfilter"], wanted, swap=True) == [
        "kernel module br_netfilter: loaded", "sysctl net.bridge.bridge-nf-call-iptables: value"]


def test_an_unknown_setting_is_refused(root: Path) -> None:
    with pytest.raises(module.CannotError, match=r"the kernel has no setting kernel\.panick") as refused:
        lines(root, [], {"kernel.panick": 1}, swap=True)
    assert "kernel.panick" in refused.value.remedy


def test_swap_and_its_lines(root: Path) -> None:
    assert lines(root, [], {}, swap=True) == []
    expected = ["swap /swap.img: off", "swap /mnt/a disk/swap: off", "/etc/fstab: swap line of /swap.img"]
    assert lines(root, [], {}, swap=False) == expected
    (root / "etc/fstab").chmod(0o640)
    mend(root, {}, swap=False)
    assert (root / "etc/fstab").read_text() == FSTAB.replace("/swap.img\t", "# /swap.img\t")
    assert (root / "etc/fstab").stat().st_mode & 0o777 == 0o640
    assert lines(root, [], {}, swap=False) == expected[:2]


def test_in_a_container_swap_is_somebody_elses(root: Path) -> None:
    (root / "run/systemd").mkdir(parents=True)
    (root / "run/systemd/container").write_text("podman\n")
    assert lines(root, [], {}, swap=False) == ["/etc/fstab: swap line of /swap.img"]


ON_THIS_KERNEL = """
import json, modules, sys
wanted = {"sysctls": {"net.ipv4.conf.lo.log_martians": 1, "net.ipv4.conf.lo.rp_filter": 2}}
results = [modules.run("kernel_settings", check=check, **wanted) for check in (True, False, True, False)]
broken = [modules.run("kernel_settings", sysctls={"net.ipv4.ip_default_ttl": "many"}),
          modules.run("kernel_settings", modules=["no_such_module"])]
print(json.dumps([results, broken]))
"""


def test_check_run_check_run_on_a_kernel() -> None:
    """Settings of the network are a namespace's own."""
    done = subprocess.run(["unshare", "--net", sys.executable, "-c", ON_THIS_KERNEL], capture_output=True, text=True,
                          check=True, env={**os.environ, "PYTHONPATH": f"{ROOT}/tests/unit"})
    results, broken = json.loads(done.stdout)
    expected = ["sysctl net.ipv4.conf.lo.log_martians: value", "sysctl net.ipv4.conf.lo.rp_filter: value"]
    assert [result["changes"] for result in results] == [expected, expected, [], []]
    assert [result["changed"] for result in results] == [True, True, False, False]
    assert results[0]["diff"][0] == {"before_header": expected[0], "after_header": expected[0],
                                     "before": "0\n", "after": "1\n"}
    assert broken[0]["msg"] == "sysctl net.ipv4.ip_default_ttl cannot be set to many: Invalid argument"
    assert "sysctl -w" in broken[0]["remedy"] and broken[0]["changes"] == []
    assert broken[1]["msg"].startswith(("`modprobe -- no_such_module` failed: ", "the node has no modprobe"))
