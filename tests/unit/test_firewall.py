"""The module `firewall`, and the program that does the same at boot, on real tables in their own namespaces."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ansible.module_utils
import pytest

from modules import ROOT, run

ansible.module_utils.__path__.append(str(ROOT / "module_utils"))
from ansible.module_utils import node_firewall  # noqa: E402 - found through the line above

PROGRAM = ROOT / "module_utils/node_firewall.py"
OCI_RULES = (ROOT / "testbed/images/node/rules.v4").read_text()
SETTINGS: dict[str, Any] = {
    "pod_cidr": "10.42.0.0/16", "service_cidr": "10.43.0.0/16", "pod_interfaces": ["cni0", "flannel+"],
    "closed_tcp_ports": ["2379-2381", "6443", "10250"], "closed_udp_ports": ["8472"], "port_range": "30000-32767",
    "trusted_sources": [], "link_local_dns": ["169.254.169.254"],
}
TRUSTING = {**SETTINGS, "trusted_sources": ["192.0.2.2", "2001:db8::2"]}

KUBERNETES = """\
*nat
:KUBE-NODEPORTS - [0:0]
-A PREROUTING -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p tcp -m tcp --dport 30080 -j MARK --set-xmark 0x4000/0x4000
-A KUBE-NODEPORTS -p tcp -m tcp --dport 30080 -j DNAT --to-destination 10.42.0.2:8080
-A KUBE-NODEPORTS -d 10.43.0.7/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.42.0.2:8080
-A KUBE-NODEPORTS -d 10.43.0.1/32 -p tcp -m tcp --dport 443 -j DNAT --to-destination 192.0.2.1:6443
-A KUBE-NODEPORTS -d 192.0.2.1/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.42.0.2:8080
COMMIT
*filter
:KUBE-ROUTER-FORWARD - [0:0]
:KUBE-FORWARD - [0:0]
:FLANNEL-FWD - [0:0]
-I FORWARD 1 -j KUBE-FORWARD
-I FORWARD 1 -j KUBE-ROUTER-FORWARD
-I INPUT 1 -j KUBE-FORWARD
-A FORWARD -j FLANNEL-FWD
-A KUBE-ROUTER-FORWARD -s 10.42.0.2/32 -p tcp -m tcp --dport 9999 -j REJECT --reject-with icmp-port-unreachable
-A KUBE-ROUTER-FORWARD -d 10.42.0.2/32 -j ACCEPT
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FLANNEL-FWD -s 10.42.0.0/16 -j ACCEPT
-A FLANNEL-FWD -d 10.42.0.0/16 -j ACCEPT
COMMIT
"""
"""What kube-proxy, kube-router and flannel put there, as far as it decides about a packet: a NodePort whose traffic is
accepted by its mark, a policy that accepts whatever goes to a pod, and a hostPort."""

EVERYTHING = [
    "iptables mangle OBSERVER-NODE-CLOSED: rules",
    "iptables mangle PREROUTING: jump to OBSERVER-NODE-CLOSED",
    "iptables mangle FORWARD: jump to OBSERVER-NODE-CLOSED",
    "iptables filter OBSERVER-NODE-INPUT: rules",
    "iptables filter OBSERVER-NODE-FORWARD: rules",
    "iptables filter INPUT: jump to OBSERVER-NODE-INPUT",
    "iptables filter FORWARD: jump to OBSERVER-NODE-FORWARD",
    "ip6tables mangle OBSERVER-NODE-CLOSED: rules",
    "ip6tables mangle PREROUTING: jump to OBSERVER-NODE-CLOSED",
    "ip6tables mangle FORWARD: jump to OBSERVER-NODE-CLOSED",
]

ASK = """
import json, modules, sys
import ansible.module_utils
ansible.module_utils.__path__.append(sys.argv[1])
for line in sys.stdin:
    print(json.dumps([modules.run("firewall", check=check, **settings) for check, settings in json.loads(line)]),
          flush=True)
"""

LISTEN = """
import selectors, socket, sys
asked = selectors.DefaultSelector()
for port in map(int, sys.argv[1:]):
    server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    asked.register(server, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in asked.select():
        key.fileobj.accept()[0].close()
"""


class Net:
    """A network namespace with its own mounts, and others inside it by name."""

    def __init__(self, path: str) -> None:
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": f"{ROOT}/tests/unit"}
        self.keeper = subprocess.Popen(["unshare", "--net", "--mount", "sleep", "infinity"])
        self.started: list[subprocess.Popen[Any]] = [self.keeper]
        self.asked: subprocess.Popen[str] | None = None
        while Path(f"/proc/{self.keeper.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
            time.sleep(0.01)
        self("mount -t tmpfs none /run; mkdir /run/netns; ip link set lo up")

    def words(self, *words: str) -> list[str]:
        return ["nsenter", f"--target={self.keeper.pid}", "--net", "--mount", "--", *words]

    def __call__(self, line: str, given: str = "") -> str:
        """What a shell line prints."""
        done = subprocess.run(self.words("sh", "-ec", line), input=given, capture_output=True, text=True, check=False,
                              env=self.environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, *asked: tuple[bool, dict[str, Any]]) -> list[dict[str, Any]]:
        """Results of the module, once in check mode or not with each of the settings."""
        if not self.asked:
            self.asked = subprocess.Popen(self.words(sys.executable, "-c", ASK, str(ROOT / "module_utils")), text=True,
                                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.environment)
            self.started.append(self.asked)
        assert self.asked.stdin and self.asked.stdout
        self.asked.stdin.write(json.dumps(asked) + "\n")
        self.asked.stdin.flush()
        return list(json.loads(self.asked.stdout.readline()))

    def apply(self, settings: dict[str, Any] = SETTINGS) -> list[str]:
        """Check, run, check: the first two agree and the third finds nothing. Returns the changes."""
        predicted, done, after = self.ask((True, settings), (False, settings), (True, settings))
        assert predicted["changes"] == done["changes"], "check mode promised something else"
        assert predicted["changed"] == done["changed"] == bool(done["changes"])
        assert after["changes"] == []
        return list(done["changes"])

    def saved(self, table: str, program: str = "iptables") -> list[str]:
        """Rules, and chains without their counters."""
        return [line.split(" [")[0] for line in self(f"{program}-save -t {table}").splitlines()
                if line[0] in ":-"]

    def rules(self, chain: str, table: str = "filter") -> list[str]:
        return [line.removeprefix(f"-A {chain} ") for line in self.saved(table) if line.startswith(f"-A {chain} ")]

    def listen(self, where: str, *numbers: int) -> None:
        inside = ["ip", "netns", "exec", where] if where else []
        server = subprocess.Popen(self.words(*inside, sys.executable, "-c", LISTEN, *map(str, numbers)),
                                  stdout=subprocess.PIPE, env=self.environment)
        self.started.append(server)
        assert server.stdout and server.stdout.readline() == b"ready\n"

    def reached(self, where: str, *places: str) -> list[str]:
        """Which of ``address/port`` answer a TCP connection from a namespace; asked all at once."""
        inside = f"ip netns exec {where} " if where else ""
        line = "; ".join(f"(timeout 1 {inside}bash -c '</dev/tcp/{place}' 2>/dev/null && echo {place}) &"
                         for place in places)
        return sorted(self(f"{line} wait".replace("; (", " ("), "").splitlines(), key=list(places).index)

    def close(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()


@pytest.fixture(scope="module", params=["nft", "legacy"])
def programs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A search path on which ``iptables`` is of one kind."""
    folder = tmp_path_factory.mktemp(request.param)
    real = shutil.which(f"xtables-{request.param}-multi", path="/usr/sbin:/sbin")
    assert real, f"iptables has no kind {request.param} here"
    for family in ("iptables", "ip6tables"):
        for name in (family, f"{family}-save", f"{family}-restore"):
            (folder / name).symlink_to(real)
    return f"{folder}:{os.environ['PATH']}:/usr/sbin:/sbin"


@pytest.fixture
def net(programs: str) -> Iterator[Net]:
    """An empty network namespace, with each kind of iptables."""
    made = Net(programs)
    yield made
    made.close()


@pytest.fixture(scope="module")
def nft() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


@pytest.fixture
def one(nft: str) -> Iterator[Net]:
    """An empty network namespace, with the machine's own iptables."""
    made = Net(nft)
    yield made
    made.close()


# --- the module ---------------------------------------------------------------------------------


@pytest.mark.parametrize("image", ["oci", "open"])
def test_check_run_check_run(net: Net, image: str) -> None:
    if image == "oci":
        net("iptables-restore", OCI_RULES)
    before = net.saved("filter")
    assert net.apply() == EVERYTHING
    assert net.ask((False, SETTINGS))[0]["changed"] is False
    assert [line for line in net.saved("filter") if "OBSERVER-NODE" not in line] == before
    assert net.apply(TRUSTING) == [
        "iptables mangle OBSERVER-NODE-CLOSED: rules", "iptables filter OBSERVER-NODE-INPUT: rules",
        "iptables filter OBSERVER-NODE-FORWARD: rules", "ip6tables mangle OBSERVER-NODE-CLOSED: rules",
        "ip6tables filter OBSERVER-NODE-INPUT: rules", "ip6tables filter INPUT: jump to OBSERVER-NODE-INPUT"]
    assert net.apply()[-1] == "ip6tables filter OBSERVER-NODE-INPUT: removed"
    assert "OBSERVER" not in str(net.saved("filter", "ip6tables"))


def test_diff_shows_rules_and_places(one: Net) -> None:
    diff = one.ask((False, SETTINGS))[0]["diff"]
    assert "iptables filter OBSERVER-NODE-INPUT -s 10.42.0.0/16 -i cni0 -j ACCEPT\n" in diff[0]["after"]
    assert [part["before"] for part in diff] == ["", ""]
    one("iptables -D FORWARD 1; iptables -A FORWARD -j DROP; iptables -A FORWARD -j OBSERVER-NODE-FORWARD")
    diff = one.ask((True, SETTINGS))[0]["diff"]
    assert "iptables filter FORWARD -j OBSERVER-NODE-FORWARD  (at the wrong place)\n" in diff[0]["before"]
    assert "wrong place" not in diff[0]["after"] and len(diff) == 1


FORWARD_JUMP = "iptables filter FORWARD: jump to OBSERVER-NODE-FORWARD"
EDITS = {
    "jump removed": ("-D FORWARD -j OBSERVER-NODE-FORWARD", [FORWARD_JUMP]),
    "jump doubled": ("-I FORWARD -j OBSERVER-NODE-FORWARD", [FORWARD_JUMP]),
    "jump before the policies": (
        "-D FORWARD -j OBSERVER-NODE-FORWARD; -I FORWARD -j OBSERVER-NODE-FORWARD", [FORWARD_JUMP]),
    "jump behind the REJECT": (
        "-D FORWARD -j OBSERVER-NODE-FORWARD; -A FORWARD -j OBSERVER-NODE-FORWARD", [FORWARD_JUMP]),
    "jump with a condition": (
        "-D FORWARD -j OBSERVER-NODE-FORWARD; -I FORWARD 3 -p tcp -j OBSERVER-NODE-FORWARD", [FORWARD_JUMP]),
    "jump from INPUT removed": (
        "-D INPUT -j OBSERVER-NODE-INPUT", ["iptables filter INPUT: jump to OBSERVER-NODE-INPUT"]),
    "rule removed": ("-D OBSERVER-NODE-FORWARD 1", ["iptables filter OBSERVER-NODE-FORWARD: rules"]),
    "rule added": ("-A OBSERVER-NODE-INPUT -j ACCEPT", ["iptables filter OBSERVER-NODE-INPUT: rules"]),
    "port opened": ("-t mangle -I OBSERVER-NODE-CLOSED -p tcp --dport 6443 -j ACCEPT",
                    ["iptables mangle OBSERVER-NODE-CLOSED: rules"]),
    "closing not first": ("-t mangle -I PREROUTING -p tcp --dport 6443 -j ACCEPT",
                          ["iptables mangle PREROUTING: jump to OBSERVER-NODE-CLOSED"]),
    "chain gone": ("-D INPUT -j OBSERVER-NODE-INPUT; -F OBSERVER-NODE-INPUT; -X OBSERVER-NODE-INPUT",
                   ["iptables filter OBSERVER-NODE-INPUT: rules",
                    "iptables filter INPUT: jump to OBSERVER-NODE-INPUT"]),
    "a stranger's policy behind ours": (
        "-N STRANGER; -I FORWARD 4 -s 10.42.0.9 -j STRANGER", [FORWARD_JUMP]),
    "a stranger's refusal behind ours": ("-I FORWARD 4 -s 10.42.0.9 -j DROP", [FORWARD_JUMP]),
    "a stranger's jump on top": ("-N STRANGER; -I FORWARD -j STRANGER", []),
    "a comment of words that look like a target": (
        "-I FORWARD 4 -m comment --comment '-j DROP' -s 10.42.0.9 -j ACCEPT", []),
}


@pytest.fixture
def with_kubernetes(one: Net) -> Net:
    """OCI's rules, ours, and then Kubernetes', in the order of a boot."""
    one("iptables-restore", OCI_RULES)
    one.apply()
    one("iptables-restore --noflush", KUBERNETES)
    assert one.apply() == [], "Kubernetes' start is not a change of ours"
    return one


def test_each_hand_edit_is_named_and_mended(with_kubernetes: Net) -> None:
    net = with_kubernetes
    ours = ["-j KUBE-ROUTER-FORWARD", "-j KUBE-FORWARD", "-j OBSERVER-NODE-FORWARD",
            "-j REJECT --reject-with icmp-host-prohibited", "-j FLANNEL-FWD"]
    assert net.rules("FORWARD") == ours
    whole = net("iptables-save | sed 's/\\[.*//; /^#/d'")
    for name, (edits, expected) in EDITS.items():
        net("".join(f"iptables {edit.strip()};" for edit in edits.split(";")))
        assert net.apply() == expected, name
        net("iptables -S FORWARD | sed -n '/10.42.0.9/s/^-A/iptables -D/p; /-j STRANGER/s/^-A/iptables -D/p' | sh;"
            "iptables -X STRANGER 2>/dev/null || true")
        net("iptables -t mangle -D PREROUTING -p tcp --dport 6443 -j ACCEPT 2>/dev/null || true")
        assert net("iptables-save | sed 's/\\[.*//; /^#/d'") == whole, name


def test_after_a_flush_of_everything(with_kubernetes: Net) -> None:
    with_kubernetes("for table in filter mangle; do iptables -t $table -F; iptables -t $table -X; done")
    assert with_kubernetes.apply() == [line for line in EVERYTHING if line.startswith("iptables ")]


def test_closing_rule_of_another_kind(one: Net) -> None:
    """A policy that drops, and a last rule with a comment."""
    one("iptables -P FORWARD DROP; iptables -A INPUT -m comment --comment 'the end' -j DROP")
    one.apply()
    assert one.rules("INPUT") == ["-j OBSERVER-NODE-INPUT", '-m comment --comment "the end" -j DROP']
    assert one.rules("FORWARD") == ["-j OBSERVER-NODE-FORWARD"]


# --- what packets do ----------------------------------------------------------------------------


@pytest.fixture(params=["oci", "open"])
def world(request: pytest.FixtureRequest, one: Net) -> Net:
    """A node at 192.0.2.1 with a pod at 10.42.0.2, and beside it a machine that routes everything over the node."""
    one("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.default.accept_dad=0")
    for name in ("outside", "pod"):
        one(f"ip netns add {name}; ip link add {name} type veth peer name eth0 netns {name};"
            f"ip netns exec {name} ip link set lo up; ip netns exec {name} ip link set eth0 up; ip link set {name} up")
    one("ip address add 192.0.2.1/24 dev outside; ip address add 2001:db8::1/64 dev outside nodad;"
        "ip netns exec outside ip address add 192.0.2.2/24 dev eth0;"
        "ip netns exec outside ip address add 192.0.2.3/24 dev eth0;"
        "ip netns exec outside ip address add 2001:db8::2/64 dev eth0 nodad;"
        "ip netns exec outside ip route add default via 192.0.2.1;"
        "ip netns exec outside ip address add 169.254.0.2/32 dev lo;"
        "ip netns exec outside ip address add 169.254.169.254/32 dev lo; ip route add 169.254.0.0/16 via 192.0.2.2;"
        "ip link add cni0 type bridge; ip link set pod master cni0; ip link set cni0 up;"
        "ip address add 10.42.0.1/24 dev cni0; ip netns exec pod ip address add 10.42.0.2/24 dev eth0;"
        "ip netns exec pod ip route add default via 10.42.0.1")
    if request.param == "oci":
        one("iptables-restore", OCI_RULES)
    one("iptables-restore --noflush", KUBERNETES)
    one.listen("", 22, 6443, 10250, 5000)
    one.listen("pod", 8080)
    one.listen("outside", 443, 53, 3260, 9999)
    return one


OUTSIDE = ["192.0.2.1/22", "192.0.2.1/6443", "192.0.2.1/10250", "192.0.2.1/30080", "192.0.2.1/80", "10.42.0.2/8080",
           "10.43.0.7/80", "10.43.0.1/443", "2001:db8::1/22", "2001:db8::1/6443", "2001:db8::1/10250"]
POD = ["10.43.0.1/443", "192.0.2.1/10250", "192.0.2.2/443", "169.254.169.254/53", "169.254.0.2/3260", "192.0.2.2/9999"]


def test_pods_get_through_and_nothing_else_does(world: Net, request: pytest.FixtureRequest) -> None:
    oci = "oci" in request.node.name
    open_before = world.reached("outside", *OUTSIDE)
    assert {"192.0.2.1/30080", "192.0.2.1/80", "10.42.0.2/8080", "2001:db8::1/6443"} <= set(open_before), \
        "the world is not as open as it has to be for this test to mean something"
    if oci:
        assert world.reached("pod", *POD) == [], "OCI's rules do not stop pods"
    world.apply()
    assert world.reached("outside", *OUTSIDE) == ["192.0.2.1/22", "2001:db8::1/22"]
    # The last two: the target of the boot volume, and what a policy forbids.
    assert world.reached("pod", *POD) == POD[:-2]
    assert world.reached("", "192.0.2.1/6443", "10.42.0.2/8080", "::1/10250") == [
        "192.0.2.1/6443", "10.42.0.2/8080", "::1/10250"], "the node itself"
    assert world.reached("outside", "192.0.2.1/5000") == ([] if oci else ["192.0.2.1/5000"]), \
        "a port that is nobody's business was opened or closed"


def test_trusted_sources_reach_what_is_closed(world: Net) -> None:
    world.apply(TRUSTING)
    assert world.reached("outside", *OUTSIDE) == OUTSIDE
    world("ip netns exec outside ip address del 192.0.2.2/24 dev eth0")
    # Deleting the first address of a network deletes the others.
    world("ip netns exec outside ip address add 192.0.2.3/24 dev eth0 2>/dev/null || true;"
          "ip netns exec outside ip route replace default via 192.0.2.1")
    assert world.reached("outside", *OUTSIDE[:8]) == ["192.0.2.1/22"]


def test_an_address_of_a_pod_counts_only_where_pods_are(world: Net) -> None:
    """On the way in anybody can write any address; here the node even has a way back to it."""
    world.apply()
    world("ip netns exec outside ip address add 10.42.7.7/32 dev lo; ip route add 10.42.7.7 via 192.0.2.2;"
          "ip netns exec outside ip route replace default via 192.0.2.1 src 10.42.7.7")
    assert world.reached("outside", "10.42.0.2/8080", "10.43.0.7/80", "10.43.0.1/443") == []


# --- the program --------------------------------------------------------------------------------


def test_program_does_the_same_at_boot(one: Net, tmp_path: Path) -> None:
    one("iptables-restore", OCI_RULES)
    settings = tmp_path / "firewall.json"
    settings.write_text(json.dumps(SETTINGS))
    assert one(f"{sys.executable} -I {PROGRAM} {settings}").splitlines() == EVERYTHING
    assert one(f"{sys.executable} -I {PROGRAM} {settings}") == ""
    assert one.apply() == []


def test_program_says_what_is_wrong(tmp_path: Path) -> None:
    settings = tmp_path / "firewall.json"
    for text, words in (("", "cannot be read"), ("{}", "cannot be read: 'port_range'"),
                        (json.dumps({**SETTINGS, "pod_cidr": "pods"}), "pod_cidr: 'pods' does not appear to be")):
        settings.write_text(text)
        done = subprocess.run([sys.executable, "-I", PROGRAM, settings], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and words in done.stderr
        assert done.stderr.startswith("observer-firewall: ") and done.stderr.count("\n") == 1


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("option", "value", "message"), [
    ("pod_cidr", "10.42.0.1/16", "pod_cidr: 10.42.0.1/16 has host bits set"),
    ("pod_cidr", "fd00::/64", "pod_cidr: fd00::/64 cannot be used"),
    ("service_cidr", "services", "service_cidr: 'services' does not appear to be an IPv4 or IPv6 network"),
    ("trusted_sources", ["0.0.0.0/0"], "trusted_sources: 0.0.0.0/0 cannot be used"),
    ("closed_tcp_ports", ["70000"], "closed_tcp_ports: '70000' is neither a port nor a range of ports"),
    ("closed_udp_ports", ["9-8"], "closed_udp_ports: '9-8' is neither a port nor a range of ports"),
    ("port_range", "", "port_range: '' is neither a port nor a range of ports"),
    ("pod_interfaces", ["eth0; reboot"], "pod_interfaces: 'eth0; reboot' is not the name of an interface"),
])
def test_refused_settings(option: str, value: object, message: str) -> None:
    for check in (True, False):
        result = run("firewall", check=check, **{**SETTINGS, option: value})
        assert result["failed"] and result["msg"] == f"firewall: {message}"
        assert result["remedy"].startswith("give ")


def test_without_iptables_everything_is_announced_and_nothing_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_firewall, "SEARCH_PATH", "/nonexistent")
    assert run("firewall", check=True, **SETTINGS)["changes"] == EVERYTHING
    refused = run("firewall", **SETTINGS)
    assert refused["msg"] == "firewall: the node has no iptables-restore"
    assert refused["remedy"] == "on the node: apt-get install iptables"


def test_a_kernel_that_does_not_take_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every run would report the same changes for ever."""
    tried = []

    def deaf(program: str, *arguments: str, given: str = "") -> str:
        tried.append(program)
        return ""

    monkeypatch.setattr(node_firewall, "run", deaf)
    result = run("firewall", **SETTINGS)
    assert result["msg"].startswith("firewall: still different after it was put in place: iptables mangle")
    assert "another program" in result["remedy"]
    assert tried.count("iptables-restore") == node_firewall.ATTEMPTS


def test_a_rule_that_arrives_meanwhile(one: Net) -> None:
    """Kubernetes writes a jump between our look and our edit, so that the number of our place is off by one."""
    one("iptables-restore", OCI_RULES)
    one("iptables -N KUBE-FORWARD")
    script = """
import sys; sys.path.insert(0, sys.argv[1])
import json, subprocess, node_firewall as engine
real, meanwhile = engine.run, [["iptables", "-I", "FORWARD", "-j", "KUBE-FORWARD"]]
def late(program, *arguments, given=""):
    if program == "iptables-restore" and meanwhile:
        subprocess.run(meanwhile.pop(), check=True)
    return real(program, *arguments, given=given)
engine.run = late
settings = engine.Settings.read(json.load(sys.stdin))
engine.apply(settings, engine.look(settings))
"""
    one(f"{sys.executable} -c '{script}' {PROGRAM.parent}", json.dumps(SETTINGS))
    assert one.rules("FORWARD") == ["-j KUBE-FORWARD", "-j OBSERVER-NODE-FORWARD",
                                    "-j REJECT --reject-with icmp-host-prohibited"]


def test_many_ports_fit_into_rules() -> None:
    many: Callable[[int], list[str]] = lambda count: node_firewall.multiports([str(n) for n in range(1, count + 1)])  # noqa: E731
    assert [len(rule.split(",")) for rule in many(31)] == [15, 15, 1]
    assert node_firewall.multiports(["1:2"] * 8) == ["1:2,1:2,1:2,1:2,1:2,1:2,1:2", "1:2"]
    assert many(0) == []
