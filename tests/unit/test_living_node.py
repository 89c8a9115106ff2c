"""Looking at a node and into its containers: processes that are really there, namespaces that are really entered."""

from __future__ import annotations

import base64
import copy
import datetime
import functools
import json
import os
import re
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from socket import create_server
from typing import Any

import node_firewall
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from contract.codes import CODES, sentence
from contract.living.node import JOURNEYS, check_node, quantity, request
from contract.model import Finding, Kind, Layer
from contract.spec import Contract, load_contract
from living import containers, firewall, inside, k3s, node, volumes
from living.redact import Redaction

ROOT = Path(__file__).resolve().parents[2]
POD = "515dd816-897e-45b7-87cb-d854a159e04a"
ID, OTHER = "a" * 64, "b" * 64
GIB = 1024**3
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="entering namespaces takes root")

# --- /proc --------------------------------------------------------------------------------------

STATUS = """Name:\tpython3
PPid:\t{parent}
Uid:\t1000\t1000\t1000\t1000
Gid:\t1000\t1000\t1000\t1000
Groups:\t1000 2000
CapInh:\t0000000000000000
CapPrm:\t0000000000000400
CapEff:\t0000000000000400
CapBnd:\t0000000000000400
NoNewPrivs:\t1
"""
MOUNTS = """1 0 0:70 / / ro,relatime - overlay overlay rw
2 1 0:70 /opt/store/pvc-1_ns_data\\040x /data rw,relatime - overlay overlay rw
3 1 254:0 /kubelet/pods/515dd816-897e/containers/observer/de22 /dev/termination-log rw - ext4 /dev/vda rw
4 1 0:9 / /run rw - tmpfs tmpfs ro
"""
OWN_MOUNTS = """1 0 0:70 / / rw,relatime - overlay overlay rw
2 1 254:0 /kubelet /var/lib/kubelet rw - ext4 /dev/vda rw
"""


def fake_process(
    proc: Path, pid: int, cgroup: str, parent: int = 1, environ: str = "", command: str = "python3",
) -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "cgroup").write_text(f"9:name=systemd:{cgroup}\n0::{cgroup}\n")
    (folder / "status").write_text(STATUS.format(parent=parent))
    (folder / "mountinfo").write_text(MOUNTS)
    (folder / "cmdline").write_text(f"{command}\0-m\0observer\0")
    (folder / "environ").write_text(environ)
    (folder / "stat").write_text(f"{pid} (a (b) c) S " + " ".join(["0"] * 18) + " 500 0\n")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with a container of each way in which kubelets name control groups, and processes that are none."""
    proc = tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "self/mountinfo").write_text(OWN_MOUNTS)
    plain = f"/kubepods/burstable/pod{POD}/"
    fake_process(proc, 100, plain + ID, environ="DB_HOST=postgres\0DB_PASSWORD=canary-1\0KIS_HTS_ID=canary-2\0"
                                                "KIS_TOKEN_CACHE_DIR=/data/cache\0BROKEN")
    fake_process(proc, 120, plain + ID, parent=100)
    fake_process(proc, 90, plain + "c" * 64, command="/pause")
    slices = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD.replace('-', '_')}.slice"
    fake_process(proc, 200, f"{slices}/cri-containerd-{OTHER}.scope")
    fake_process(proc, 300, "/system.slice/sshd.service")
    (proc / "400").mkdir()  # it has ended meanwhile
    return proc


def test_what_a_process_really_has(proc: Path, tmp_path: Path) -> None:
    (tmp_path / f"logs/observer-local_observer-1_{POD}").mkdir(parents=True)
    (tmp_path / f"bundles/{ID}").mkdir(parents=True)
    (tmp_path / f"bundles/{ID}/config.json").write_text(json.dumps({"process": {"env": ["B=secret", "A=1"]}}))
    found = containers.containers(
        ["KIS_*_ID"], proc=str(proc), logs=str(tmp_path / "logs"), bundles=str(tmp_path / "bundles"),
        told=lambda one: ("DB_HOST", "DB_PASSWORD", "KIS_HTS_ID", "KIS_TOKEN_CACHE_DIR")
        if (one["namespace"], one["name"]) == ("observer-local", "observer") else ())
    assert [(one["id"], one["pod_uid"], one["pid"]) for one in found] == [(ID, POD, 100), (OTHER, POD, 200)]
    one = found[0]
    assert (one["name"], one["namespace"], one["pod"]) == ("observer", "observer-local", "observer-1")
    assert one["environment"] == {"DB_HOST": "postgres", "DB_PASSWORD": None, "KIS_HTS_ID": None,
                                  "KIS_TOKEN_CACHE_DIR": "/data/cache"}
    assert one["given"] == ["A", "B"]
    assert set(containers.containers(proc=str(proc))[0]["environment"].values()) == {None}, "nobody asked for values"
    assert one["capabilities"] == {"effective": 1024, "permitted": 1024, "bounding": 1024}
    assert one["no_new_privs"] and one["root_read_only"] and one["groups"] == [1000, 2000]
    mounts = {item["target"]: item for item in one["mounts"]}
    assert mounts["/data"]["source"] == "/opt/store/pvc-1_ns_data x" and not mounts["/data"]["read_only"]
    assert mounts["/dev/termination-log"]["source"] == "/var/lib/kubelet/pods/515dd816-897e/containers/observer/de22"
    assert mounts["/run"]["read_only"]
    assert "canary" not in json.dumps(found) and "secret" not in json.dumps(found)


def test_only_the_containers_that_are_asked_for(proc: Path) -> None:
    assert [one["id"] for one in containers.containers(ids=[OTHER], proc=str(proc))] == [OTHER]


def test_the_collector_on_the_same_node_sees_secrets(proc: Path) -> None:
    assert containers.environ(100, str(proc))["DB_PASSWORD"] == "canary-1"


def test_a_node_without_kubernetes_and_without_k3s(tmp_path: Path) -> None:
    """Whatever this machine is: the look ends, and gives everything that is promised."""
    facts = node.collect({"storage_path": str(tmp_path / "absent"), "folders": [str(tmp_path), "/nowhere"]})
    assert facts["storage"]["exists"] is False and facts["storage"]["bytes"] > 0
    assert facts["folders"]["/nowhere"]["exists"] is False and facts["folders"][str(tmp_path)]["type"] == "dir"
    assert {"host", "now", "machine", "timezone", "disks", "memory", "pressure", "k3s", "certificates", "firewall",
            "volumes", "containers", "errors", "seconds"} <= facts.keys()
    json.dumps(facts)


UNREMARKABLE = {
    "PGHOST_NOTE": "note-7Qx2vLr9", "DATABASE_URL": "postgres://mover:url-5Tn8wKz3@db/app", "WELCOME": "hail-4Mb6yHs1",
    "KIS_HTS_ID": "hts-9Jd3cFg7", "LOG_LEVEL": "oops-2Rp5uXk8"}
"""Variables whose names tell nothing; the last one is declared, and has got what LICENSE_KEY should have."""


def test_no_secret_leaves_whatever_it_is_called(
    contract: Contract, proc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = " ".join(UNREMARKABLE.values())
    plain = {**UNREMARKABLE, "LICENSE_KEY": UNREMARKABLE["LOG_LEVEL"], "DB_HOST": "postgres", "DB_NAME": "observer",
             "DB_PASSWORD": "postgres", "PATH": "/usr/bin"}
    said = {"given-6Wz1aBn4": "GONE_BY_NOW"}
    for pid in (100, 200):
        (proc / f"{pid}/environ").write_text("".join(f"{key}={value}\0" for key, value in plain.items()))
    (proc / "200/mountinfo").write_text(MOUNTS.replace("containers/observer/", "containers/sidecar/"))
    (tmp_path / f"logs/observer-local_observer-1_{POD}/observer").mkdir(parents=True)
    secret = UNREMARKABLE["PGHOST_NOTE"]
    # The log is cut within a secret, and once more within a line of parts.
    (tmp_path / f"logs/observer-local_observer-1_{POD}/observer/0.log").write_text(
        f"t stdout F ERROR: old {secret}\nt stdout P {'x' * 100}{secret[:6]}\nt stdout F {secret[6:]} ERROR: end\n"
        f"t stderr F begun\nt stderr F ERROR: {'x' * 375}{secret} ERROR: whole\n"
        f"t stdout F ERROR: {every} {' '.join(said)}\n"
        f"t stdout F ERROR: not en{secret[:6]}")
    (tmp_path / f"bundles/{ID}").mkdir(parents=True)
    (tmp_path / f"bundles/{ID}/config.json").write_text(json.dumps({"process": {"env": [
        f"{name}={value}" for value, name in said.items()]}}))
    places = {"proc": str(proc), "logs": str(tmp_path / "logs"), "bundles": str(tmp_path / "bundles")}
    real, given, environ = containers.containers, containers.given, containers.environ
    monkeypatch.setattr(containers, "containers", lambda *names, **more: real(*names, **{**more, **places}))
    monkeypatch.setattr(containers, "environ", lambda pid, _proc="": environ(pid, str(proc)))
    monkeypatch.setattr(containers, "given", lambda one, _bundles="": given(one, places["bundles"]))
    monkeypatch.setattr(containers, "log_tail", functools.partial(containers.log_tail, limit=720, logs=places["logs"]))
    body = f"{'x' * 490}{secret} {every} {' '.join(said)}{'x' * inside.BODY_LIMIT}"[:inside.BODY_LIMIT]
    jobs: list[Any] = []

    def probe_all(given_jobs: list[Any], _seconds: float) -> Iterator[dict[str, Any]]:
        jobs.extend(given_jobs)
        yield {"http": {"/ready": {"status": 503, "body": body, "why": ""}}, "names": {},
               "postgres": {"ready": False, "why": f"{every} {'x' * 470}{secret} {'x' * 495}"}}

    monkeypatch.setattr(inside, "probe_all", probe_all)
    asked = request(contract, contract.environments["local"])
    asked["containers"][0]["tasks"]["postgres"] = True
    facts = node.collect(asked)
    text = json.dumps(facts)
    for value in (*UNREMARKABLE.values(), *said):
        word = value.removeprefix("postgres://mover:").removesuffix("@db/app")
        assert not [word[at:at + 6] for at in range(len(word) - 5) if word[at:at + 6] in text], value
    mine, other = facts["containers"]
    assert mine["environment"] == {**dict.fromkeys(plain), "LOG_LEVEL": "***", "DB_HOST": "postgres",
                                   "DB_NAME": "observer"}, "what is right is told, be it somebody's password"
    assert set(other["environment"].values()) == {None} and "PATH" in other["environment"]
    assert jobs[0][1]["names"] == ["postgres"] and mine["given"] == ["GONE_BY_NOW"]
    errors = mine["inside"]["postgres"]["errors"]
    assert len(errors) == 2 and errors[1].startswith("ERROR: *** ***")
    assert len(mine["inside"]["http"]["/ready"]["body"]) == 500
    assert "inside containers" not in [one["about"] for one in facts["errors"]]


# --- inside -------------------------------------------------------------------------------------

CONTAINER = r"""
import fcntl, http.server, socket, struct, subprocess, sys, threading, time
folder = sys.argv[1]
link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(link, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))
for name in ("resolv.conf", "hosts"):
    subprocess.run(["mount", "--bind", f"{folder}/{name}", f"/etc/{name}"], check=True)
subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", "/mnt"], check=True)
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind(("127.0.0.1", 53))
def answer():
    while True:
        asked, who = names.recvfrom(512)
        good = b"\x08postgres\x02ns\x03svc\x00" in asked
        head = asked[:2] + struct.pack("!5H", 0x8180 if good else 0x8183, 1, int(good), 0, 0)
        record = b"\xc0\x0c" + struct.pack("!2HIH", 1, 1, 5, 4) + bytes([127, 0, 0, 1])
        names.sendto(head + asked[12:] + (record if good else b""), who)
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 503)
        self.end_headers()
        self.wfile.write(b'{"status":"healthy"}')
    def log_message(self, *arguments): pass
mute = socket.create_server(("127.0.0.1", 8001))
threading.Thread(target=answer, daemon=True).start()
server = http.server.HTTPServer(("127.0.0.1", 8000), Page)
print("up", flush=True)
server.serve_forever()
"""


@pytest.fixture
def container(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A process in namespaces of its own, with name server and pages, as if it ran as 1234:1234 with group 777."""
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.is_relative_to("/tmp/pytest-of-root"):
            parent.chmod(0o755)
    (tmp_path / "resolv.conf").write_text("search ns.svc svc\nnameserver 127.0.0.1\noptions ndots:5\n")
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n127.0.0.9 known alias # here\n")
    for name, owner, mode in (("mine", 1234, 0o700), ("shared", 0, 0o2770), ("others", 0, 0o755)):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, owner, 777 if name == "shared" else owner)
        (tmp_path / name).chmod(mode)
    process = subprocess.Popen(["unshare", "--mount", "--net", "--uts", "--ipc", sys.executable, "-c", CONTAINER,
                                str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout and process.stdout.readline() == "up\n"
        yield {"pid": process.pid, "uids": [1234] * 4, "gids": [1234] * 4, "groups": [777], "no_new_privs": True,
               "capabilities": {"effective": 0, "permitted": 0, "bounding": 0}, "folder": tmp_path}
    finally:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


@root_only
def test_writes_and_refusals_from_inside(container: dict[str, Any]) -> None:
    folder = container["folder"]
    found = inside.probe(container, {
        "writes": [f"{folder}/mine", f"{folder}/shared", f"{folder}/others", f"{folder}/absent"],
        "refusals": ["/mnt", "/etc", f"{folder}/mine"], "paths": ["/proc/self/ns/../status"]}, {})
    assert [one["ok"] for one in found["writes"].values()] == [True, True, False, False]
    assert found["writes"][f"{folder}/others"]["why"] == "EACCES Permission denied"
    assert found["writes"][f"{folder}/absent"]["why"] == "ENOENT No such file or directory"
    assert found["refusals"]["/mnt"] == {"refused": True, "why": "EROFS Read-only file system"}
    assert found["refusals"]["/etc"]["refused"] and not found["refusals"][f"{folder}/mine"]["refused"]
    assert not [path for path in folder.rglob("*") if inside.PROBE in path.name], "a probe is left"


@root_only
def test_pages_names_and_connections_from_inside(container: dict[str, Any]) -> None:
    found = inside.probe(container, {
        "http": [{"port": 8000, "path": "/health"}, {"port": 8000, "path": "/ready"}],
        "names": ["postgres", "absent", "alias"], "connects": ["postgres:8000", "postgres:9", "absent:1"]}, {})
    assert found["http"]["/health"]["status"] == 200 and found["http"]["/health"]["body"] == '{"status":"healthy"}'
    assert found["http"]["/ready"]["status"] == 503
    assert found["names"] == {"postgres": {"addresses": ["127.0.0.1"], "why": ""},
                              "absent": {"addresses": [], "why": "NXDOMAIN"},
                              "alias": {"addresses": ["127.0.0.9"], "why": ""}}
    assert [one["ok"] for one in found["connects"].values()] == [True, False, False]
    assert found["connects"]["postgres:9"]["why"] == "ECONNREFUSED Connection refused"
    assert found["connects"]["absent:1"]["why"] == "NXDOMAIN"


@root_only
def test_the_child_has_no_more_rights_than_the_process(container: dict[str, Any]) -> None:
    """Root of the node could read this; what becomes the container's process cannot."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            inside.enter(container)
            status = containers.fields(containers.read("/proc/self/status"))
            os.write(writing, json.dumps({
                **{name: status[name] for name in ("Uid", "Gid", "Groups", "CapEff", "CapPrm", "CapBnd", "NoNewPrivs")},
                "net": str(Path("/proc/self/ns/net").readlink())}).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        said = json.loads(file.read())
    os.waitpid(pid, 0)
    assert said.pop("net") == str(Path(f"/proc/{container['pid']}/ns/net").readlink())
    assert Path(f"/proc/{container['pid']}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
    none = "0" * 16
    assert said == {"Uid": "\t".join(["1234"] * 4), "Gid": "\t".join(["1234"] * 4), "Groups": "777", "CapEff": none,
                    "CapPrm": none, "CapBnd": none, "NoNewPrivs": "1"}


@root_only
def test_a_child_that_hangs_is_ended_and_the_rest_is_told(container: dict[str, Any]) -> None:
    begun = time.monotonic()
    found = inside.probe(container, {"writes": [f"{container['folder']}/mine"],
                                     "http": [{"port": 8001, "path": "/health"}]}, {}, seconds=0.5)
    assert time.monotonic() - begun < 2
    assert found["why"] == "no answer in time" and found["writes"][f"{container['folder']}/mine"]["ok"]


@root_only
def test_a_child_whose_parent_is_gone_ends_by_itself(
    container: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inside, "GRACE_SECONDS", 0.1)
    pid, pipe = inside.start(container, {"http": [{"port": 8001, "path": "/"}]}, {}, 0.2)
    os.close(pipe)
    begun = time.monotonic()
    assert os.waitpid(pid, 0)[0] == pid and time.monotonic() - begun < 2


@root_only
def test_a_process_that_is_gone_is_said(container: dict[str, Any]) -> None:
    assert inside.probe({**container, "pid": 2**22 - 1}, {"writes": ["/"]}, {})["why"].startswith("ENOENT")


@root_only
def test_postgres_is_asked_without_names_in_arguments(container: dict[str, Any]) -> None:
    program = container["folder"] / "psql"
    program.write_text("#!/bin/sh\ncase \"$*\" in *owner*) exit 9;; esac\ntest $$ = 1 || exit 7\n"
                       "test $PPID = 0 || exit 6\n"
                       "/usr/bin/grep -q 'NoNewPrivs:.1' /proc/thread-self/status || exit 5\n"
                       "if /usr/bin/env | /usr/bin/grep -q canary; then exit 8; fi\n"
                       "echo 'WARNING:  collation version mismatch' >&2\n"
                       "printf '15.4 (Debian)\\t8000\\ton\\tf\\n'\ntest \"$PGUSER $PGDATABASE\" = 'owner mine'\n")
    program.chmod(0o755)
    container["no_new_privs"] = False  # this has none all the same, and sees nobody
    found = inside.probe(container, {"postgres": {"program": str(program)}},
                         {"POSTGRES_USER": "owner", "POSTGRES_DB": "mine", "POSTGRES_PASSWORD": "canary"})
    assert found["postgres"] == {"ready": True, "why": "", "version": "15.4", "size_bytes": 8000, "checksums": True,
                                 "recovery": False}
    program.write_text("#!/bin/sh\necho 'psql: error: the database system is starting up' >&2\nexit 2\n")
    assert inside.probe(container, {"postgres": {"program": str(program)}}, {})["postgres"]["why"] == (
        "psql: error: the database system is starting up")
    assert inside.probe(container, {"postgres": {"program": "/absent"}}, {})["postgres"]["ready"] is False
    program.write_text("#!/bin/sh\nexec /usr/bin/yes\n")
    begun = time.monotonic()
    assert inside.probe(container, {"postgres": {"program": str(program)}}, {})["postgres"]["why"] == (
        "psql does not end its answer")
    assert time.monotonic() - begun < 2, "what says too much is not read to its end"


def test_what_the_cluster_denies_is_not_doubted_because_the_world_cannot_be_asked(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    said: dict[str, tuple[list[str], str]] = {"x.ns.svc": ([], "NXDOMAIN"), "x": ([], "SERVFAIL")}
    monkeypatch.setattr(inside, "resolver", lambda _: (["10.43.0.10"], ["ns.svc"], 5))
    monkeypatch.setattr(inside, "ask", lambda name, _: said[name])
    assert inside.resolve("x")["why"] == "NXDOMAIN"
    said["x.ns.svc"] = ([], "SERVFAIL")
    assert inside.resolve("x")["why"] == "SERVFAIL"


def test_the_search_list_comes_first_for_short_names() -> None:
    servers, search, dots = inside.resolver("search a.b c\nnameserver 10.43.0.10\noptions ndots:2 timeout:1\n# x\n")
    assert (servers, search, dots) == (["10.43.0.10"], ["a.b", "c"], 2)
    assert inside.candidates("postgres", search, dots) == ["postgres.a.b", "postgres.c", "postgres"]
    assert inside.candidates("x.y.z", search, dots)[0] == "x.y.z"
    assert inside.candidates("x.y.", search, dots) == ["x.y"]


@pytest.mark.parametrize("message", [b"", b"\0" * 12, b"\0\1\x81\x80\0\1\0\1\0\0\0\0\x3f",
                                     b"\0\1\x81\x80\0\0\0\1\0\0\0\0\0\0\1"])
def test_a_broken_answer_of_a_name_server_is_one_of_the_errors_that_are_told(message: bytes) -> None:
    with pytest.raises((ValueError, IndexError, struct.error)):
        inside.answer(message, 1)


# --- the packet filter --------------------------------------------------------------------------

RULES = """*mangle
:PREROUTING ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OBSERVER-NODE-CLOSED - [0:0]
-A PREROUTING -j OBSERVER-NODE-CLOSED
-A FORWARD -j OBSERVER-NODE-CLOSED
-A OBSERVER-NODE-CLOSED -m conntrack ! --ctstate NEW -j RETURN
-A OBSERVER-NODE-CLOSED -s 10.42.0.0/16 -i cni0 -j RETURN
-A OBSERVER-NODE-CLOSED -d 10.42.0.0/16 -j DROP
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:KUBE-FORWARD - [0:0]
:NETPOL - [0:0]
:FLANNEL-FWD - [0:0]
:OBSERVER-NODE-INPUT - [0:0]
:OBSERVER-NODE-FORWARD - [0:0]
-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT
-A INPUT -j OBSERVER-NODE-INPUT
-A INPUT -j REJECT --reject-with icmp-host-prohibited
-A FORWARD -m comment --comment "network policies" -j NETPOL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -j OBSERVER-NODE-FORWARD
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.42.0.0/16 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate INVALID -m nfacct --nfacct-name  x -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A NETPOL -d 10.42.0.10/32 -j REJECT --reject-with icmp-port-unreachable
-A OBSERVER-NODE-FORWARD -s 10.42.0.0/16 -i cni0 -j ACCEPT
-A OBSERVER-NODE-INPUT -s 10.42.0.0/16 -i cni0 -j ACCEPT
COMMIT
"""


def eaten(rules: str) -> list[tuple[str, str]]:
    tables, policies = firewall.parse(rules)
    found = []
    for journey in firewall.journeys("10.42.0.0/16", "10.43.0.0/16", "10.0.0.4"):
        for table, chain, packet in journey.chains:
            end, rule = firewall.walk(tables.get(table, {}), policies.get(table, {}), chain, packet)
            if end != "ACCEPT":
                found.append((journey.name, rule))
                break
    return found


def test_the_rules_of_the_role_let_everything_through() -> None:
    assert eaten(RULES) == []
    assert eaten("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\nCOMMIT\n") == []


REJECTED = "-A {} -j REJECT --reject-with icmp-host-prohibited"


@pytest.mark.parametrize(("change", "journeys", "rule"), [
    (("-A INPUT -j OBSERVER-NODE-INPUT\n", ""), 1, REJECTED.format("INPUT")),
    (("-A FORWARD -j OBSERVER-NODE-FORWARD\n", ""), 3, REJECTED.format("FORWARD")),
    (("-A OBSERVER-NODE-FORWARD -s 10.42.0.0/16 -i cni0 -j ACCEPT\n", ""), 3, REJECTED.format("FORWARD")),
    (("-A FORWARD -m comment --comment \"network", "-A FORWARD -s 10.40.0.0/14 -j DROP\n-A FORWARD -m comment"
      " --comment \"network"), 3, "-A FORWARD -s 10.40.0.0/14 -j DROP"),
    (("-A FORWARD -m comment --comment \"network", "-A FORWARD -p udp -m udp --dport 53 -j DROP\n-A FORWARD -m comment"
      " --comment \"network"), 1, "-A FORWARD -p udp -m udp --dport 53 -j DROP"),
    (("-A OBSERVER-NODE-CLOSED -s 10.42.0.0/16 -i cni0 -j RETURN\n", ""), 2,
     "-A OBSERVER-NODE-CLOSED -d 10.42.0.0/16 -j DROP"),
    ((RULES[RULES.index("-A FORWARD -j OBS"):], "COMMIT\n"), 0, ""),
    ((":FORWARD ACCEPT [0:0]\n:KUBE", ":FORWARD DROP [0:0]\n:KUBE"), 0, ""),
])
def test_rules_that_eat_traffic_of_pods(change: tuple[str, str], journeys: int, rule: str) -> None:
    assert change[0] in RULES
    found = eaten(RULES.replace(*change))
    assert len(found) == journeys and {by for _, by in found} <= {rule}, found


ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
enp0s6\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0
wlan0\t00000000\t0100A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
enp1s0\t0000010A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
enp2s0\t0000020A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
dead0\t0000020A\t00000000\t0200\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
"""By default out by enp0s6; 10.1.0.0/16 lies behind enp1s0."""


class Filters:
    """What iptables and nft say on a node; and its folder of the kernel's files."""

    def __init__(self, root: Path, rules: str = "") -> None:
        self.root = root
        self.says = {"iptables-save": rules, "iptables-save --version": "iptables-save v1.8.9 (nf_tables)",
                     "ip6tables-save": "", "ip6tables-save --version": "ip6tables-save v1.8.9 (nf_tables)",
                     "nft list tables": "table ip filter\ntable inet f2b-table\n" if rules else ""}
        (root / "proc/net").mkdir(parents=True)
        (root / "proc/net/route").write_text(ROUTES)

    def __call__(self, argv: Sequence[str]) -> str:
        if " ".join(argv) not in self.says:
            raise FileNotFoundError(argv[0])
        said = self.says[" ".join(argv)]
        if said == "refused":
            raise OSError("refused")
        return said

    def look(self, *peers: str, server: bool = True) -> tuple[dict[str, Any], list[str]]:
        errors: list[dict[str, str]] = []
        found = firewall.collect("10.42.0.0/16", "10.43.0.0/16", errors, peers, server, str(self.root), self)
        assert json.loads(json.dumps(found)) == found
        return found, [one["about"] for one in errors]


def stopped(found: dict[str, Any]) -> set[str]:
    return {one["journey"] for one in found["eaten"]}


@pytest.mark.parametrize(("rule", "told"), [
    ("-A FORWARD -o enp0s6 -j DROP", {"a pod to the world"}), ("-A FORWARD -o eth0 -j DROP", set()),
    ("-A FORWARD -o wlan0 -j DROP", set()),
    ("-A FORWARD -o enp0s6 -j ACCEPT\n-A FORWARD -i enp0s6 -j ACCEPT\n-A FORWARD -s 10.42.0.0/16 -d 10.42.0.0/16 "
     "-j ACCEPT\n-A FORWARD -j REJECT", set()),
    ("-A OUTPUT -o cni0 -j DROP", {"the node to a pod"})])
def test_the_way_out_is_that_of_the_default_route(tmp_path: Path, rule: str, told: set[str]) -> None:
    found, errors = Filters(tmp_path, f"*filter\n:FORWARD ACCEPT [0:0]\n{rule}\nCOMMIT\n").look()
    assert (stopped(found), errors) == (told, [])


OCI = (ROOT / "testbed/images/node/rules.v4").read_text()
FILTER_SETTINGS = {"pod_cidr": "10.42.0.0/16", "service_cidr": "10.43.0.0/16", "pod_interfaces": ["cni0", "flannel+"],
                   "closed_tcp_ports": ["2379-2381", "6443", "10250"], "closed_udp_ports": ["8472"],
                   "port_range": "30000-32767", "link_local_dns": []}


def of_the_role(trusted: list[str]) -> str:
    """OCI's rules with those of the role between them, as the role puts them there."""
    tables = node_firewall.wanted(node_firewall.Settings.read({**FILTER_SETTINGS, "trusted_sources": trusted}), 4)
    lines = ["*mangle", *(f"-A {builtin} -j {chain}" for builtin, chain in tables["mangle"].jumps),
             *(f"-A {chain} {rule}" for chain, rules in tables["mangle"].chains.items() for rule in rules), "COMMIT"]
    for line in OCI.splitlines():
        lines += [f"-A {builtin} -j {chain}" for builtin, chain in tables["filter"].jumps
                  if line.startswith(f"-A {builtin} -j REJECT")]
        lines += [line] if line != "COMMIT" else []
    lines += [f"-A {chain} {rule}" for chain, rules in tables["filter"].chains.items() for rule in rules]
    return "\n".join([*lines, "COMMIT\n"])


def test_what_has_to_get_from_one_node_to_another(tmp_path: Path) -> None:
    """The role's rules let it through for the nodes that they are told of, and OCI's own for none."""
    here = Filters(tmp_path, of_the_role(["10.1.0.11"]))
    assert here.look() == here.look("10.1.0.11") and here.look("10.1.0.11")[0]["eaten"] == []
    found, errors = here.look("10.1.0.11", "10.1.0.12")
    assert {(one["journey"], one["peer"], one["way"], one["chain"]) for one in found["eaten"]} == {
        ("another node's tunnel", "10.1.0.12", "input", "PREROUTING"),
        ("another node to the kubelet", "10.1.0.12", "input", "PREROUTING"),
        ("another node to the API", "10.1.0.12", "input", "PREROUTING")}
    assert found["lets_pods_through"] == {"input": False, "forward": True} and not errors
    assert "another node to the API" not in stopped(here.look("10.1.0.12", server=False)[0])
    here.says["iptables-save"] = OCI
    assert stopped(here.look("10.1.0.11")[0]) >= {"another node's tunnel", "a pod of another node to a pod",
                                                  "a pod to a pod of another node", "another node to the kubelet"}
    here.says["iptables-save"] = "*filter\n-A OUTPUT -o enp1s0 -p udp -m udp --dport 8472 -j DROP\nCOMMIT\n"
    assert stopped(here.look("10.1.0.11")[0]) == {"the tunnel to another node"}
    here.says["iptables-save"] = "*filter\n-A INPUT -i enp1s0 -p tcp -m tcp --dport 10250 -j REJECT\nCOMMIT\n"
    assert stopped(here.look("10.1.0.11")[0]) == {"another node to the kubelet"}
    assert stopped(here.look("10.2.0.11")[0]) == set()
    assert here.look("node-b.example")[1] == ["the way to node-b.example"]


def test_both_kinds_of_tables_are_walked(tmp_path: Path) -> None:
    drop = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j DROP\nCOMMIT\n"
    here = Filters(tmp_path, RULES)
    (tmp_path / "proc/net/ip_tables_names").write_text("filter\n")
    found, errors = here.look()
    assert errors == ["iptables-legacy-save"] and found["lets_pods_through"] == {"input": None, "forward": None}
    here.says["iptables-legacy-save"] = drop
    found, errors = here.look()
    assert {one["program"] for one in found["eaten"]} == {"iptables-legacy"} and found["beside"] == ["iptables-legacy"]
    assert found["lets_pods_through"] == {"input": True, "forward": False} and not errors
    here.says |= {"iptables-save --version": "iptables-save v1.8.9 (legacy)", "iptables-nft-save": drop}
    found, errors = here.look()
    assert found["backend"] == "legacy" and {one["program"] for one in found["eaten"]} == {"iptables-nft"}


def test_what_iptables_does_not_show_is_told_of(tmp_path: Path) -> None:
    here = Filters(tmp_path, RULES)
    here.says |= {"nft list tables": "table ip filter\ntable inet f2b-table\ntable inet calm\ntable inet evil\n",
                  "nft -s -t list table inet calm": "table inet calm {\n\tchain i {\n\t\ttype filter hook input"
                                                    " priority 0; policy accept;\n\t}\n}\n",
                  "nft -s -t list table inet evil": "table inet evil {\n\tchain i {\n\t\ttype filter hook input"
                                                    " priority 0; policy drop;\n\t}\n}\n",
                  "ip6tables-save": "*filter\n:INPUT DROP [0:0]\nCOMMIT\n"}
    found, errors = here.look()
    assert found["beside"] == ["ip6tables", "nft inet calm", "nft inet evil"]
    assert errors == ["nft table inet evil"] and found["lets_pods_through"] == {"input": None, "forward": None}
    # iptables has no words for what nft has put into its table.
    here.says |= {"iptables-save": "# Table `filter' is incompatible, use 'nft' tool.\n",
                  "nft -s -t list table ip filter": "chain x {\ntype filter hook forward priority 0;\ndrop\n}"}
    assert here.look()[1] == ["nft table ip filter", "nft table inet evil"]
    here.says["iptables-save"] = "refused"
    assert here.look()[1] == ["iptables-save"]


def test_without_a_packet_filter_everything_gets_through(tmp_path: Path) -> None:
    here = Filters(tmp_path)
    here.says = {}
    found, errors = here.look("10.1.0.11")
    assert (found["eaten"], found["backend"], errors) == ([], "", [])
    assert found["lets_pods_through"] == {"input": True, "forward": True}
    (tmp_path / "proc/net/route").unlink()
    assert here.look()[1] == [f"{tmp_path}/proc/net/route"]


def test_the_finding_names_the_other_node_and_the_program(contract: Contract) -> None:
    facts = healthy(contract)
    facts["firewall"]["eaten"].append({"way": "input", "table": "filter", "rule": "-A INPUT -j REJECT",
                                       "peer": "10.1.0.12", "journey": "another node's tunnel",
                                       "program": "iptables-legacy"})
    (one,) = judged(contract, facts)
    assert "another node's tunnel (10.1.0.12) by `iptables-legacy -t filter -A INPUT" in sentence(one, "message", "en")
    assert "다른 노드의 터널(8472/udp) (10.1.0.12)" in sentence(one, "message", "ko")


def test_every_journey_has_a_name_in_korean() -> None:
    neighbour = firewall.Neighbour("10.1.0.11", "10.1.0.10", "enp0s6")
    ways = [*firewall.journeys("10.42.0.0/16", "10.43.0.0/16", "10.0.0.4"),
            *firewall.between("10.42.0.0/16", [neighbour])]
    assert {one.name for one in ways} == JOURNEYS.keys()


def test_a_policy_eats_what_no_rule_accepts() -> None:
    rules = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n-A FORWARD -m set --match-set x dst -j ACCEPT\nCOMMIT\n"
    assert {by for _, by in eaten(rules)} == {"policy DROP"}


# --- disks --------------------------------------------------------------------------------------


def test_volumes_with_sizes_and_orphans(tmp_path: Path) -> None:
    name = f"pvc-{POD}_observer-local_observer-data-pvc"
    (tmp_path / name / "scalp").mkdir(parents=True)
    (tmp_path / name / "scalp/a.jsonl").write_bytes(b"x" * 10000)
    (tmp_path / "lost+found").mkdir()
    (tmp_path / name).chmod(0o2770)
    errors: list[dict[str, str]] = []
    (found,) = volumes.volumes(str(tmp_path), errors)
    assert (found["namespace"], found["claim"], found["mode"]) == ("observer-local", "observer-data-pvc", "2770")
    assert found["files"] == 1 and found["bytes"] >= 10000 and time.time() - found["newest"] < 60
    (late,) = volumes.volumes(str(tmp_path), errors, seconds=-1)
    assert (late["bytes"], late["files"], late["newest"]) == (None, None, None)
    assert volumes.volumes(str(tmp_path / "absent"), errors) == [] and errors == []
    # Only when something depends on them are they counted longer.
    assert volumes.decided([late], free=5000, wanted=4000) == volumes.decided([late], None, 9000) == [late]
    (counted,) = volumes.decided([late], free=5000, wanted=9000)
    assert counted == found


# --- K3s ----------------------------------------------------------------------------------------


def certificate(days: float) -> tuple[bytes, bytes]:
    """PEM of a certificate that is valid for some days from the day before yesterday, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    first = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=2)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(
        1).not_valid_before(first).not_valid_after(first + datetime.timedelta(days=days)).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def test_certificates_of_files_and_the_one_that_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "server/tls/etcd").mkdir(parents=True)
    (tmp_path / "agent").mkdir()
    old, _ = certificate(1)
    new, key = certificate(365)
    (tmp_path / "server/tls/serving.crt").write_bytes(old)
    (tmp_path / "server/tls/etcd/peer.crt").write_bytes(new)
    (tmp_path / "agent/broken.crt").write_text("nothing")
    (tmp_path / "served.pem").write_bytes(new + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "served.pem")
    with create_server(("127.0.0.1", 0)) as server:
        def serve() -> None:
            for said in (b"", b"HTTP/1.0 401 Unauthorized\r\n\r\n", b"HTTP/1.0 500 Oops\r\n\r\n"):
                with context.wrap_socket(server.accept()[0], server_side=True) as link:
                    if said:
                        link.recv(1000)
                        link.sendall(said)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = server.getsockname()[1]
        monkeypatch.setattr(k3s, "API", ("127.0.0.1", port))
        errors: list[dict[str, str]] = []
        found = k3s.certificates("server", errors, str(tmp_path))
        assert [(Path(one["file"]).name, one["subject"], one["served"]) for one in found] == [
            ("serving.crt", "kube-apiserver", False), ("peer.crt", "kube-apiserver", False),
            (f"127.0.0.1:{port}", "kube-apiserver", True)]
        assert [one["not_after"] > time.time() for one in found] == [False, True, True]
        assert [one["about"] for one in errors] == [str(tmp_path / "agent/broken.crt")]
        assert k3s.api("127.0.0.1", port) == {"answers": True, "why": ""}, "to be refused is an answer"
        assert k3s.api("127.0.0.1", port)["why"].endswith("status 500")
        thread.join(5)
    assert k3s.api("127.0.0.1", port)["answers"] is False


def test_an_agent_finds_the_api_where_its_settings_say(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("# server: https://wrong\nserver: https://10.0.0.4:6443  # here\nnode-name: 'obs-agent'\n")
    assert k3s.address("agent", str(config)) == ("10.0.0.4", 6443)
    assert k3s.address("server", str(config)) == ("127.0.0.1", 6443)
    assert k3s.setting("node-name", str(config)) == "obs-agent" and k3s.setting("absent", str(config)) == ""


def test_tokens_and_secrets_are_not_in_the_journals_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    token = f"K10{'ab' * 32}::server:canary-token"
    monkeypatch.setattr(k3s, "run", lambda _argv: f"level=info fine\nlevel=fatal token {token} of canary-user\n")
    assert k3s.log("k3s.service", Redaction(["canary-user"]), []) == ["level=fatal token *** of ***"]


def test_a_password_is_hidden_and_a_name_that_everybody_knows_is_not() -> None:
    known = {"DB_NAME": "observer", "POSTGRES_USER": "observer", "DB_PASSWORD": "observer-pw", "KIS_HTS_ID": "somebody"}
    one = {"id": "x", "namespace": "n", "pod": "p", "name": "c", "environment": {"DB_NAME": "observer"}}
    found = node.secrets_of([one], {"x": known}, ["POSTGRES_USER", "KIS_HTS_ID"])
    assert found == {"observer-pw", "somebody"}
    assert base64.b64encode(b"observer-pw").decode() not in Redaction(found).text(
        f"x {base64.b64encode(b'observer-pw').decode()}")


# --- judging ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def contract() -> Contract:
    return load_contract(ROOT / "contracts/observer.yml", "contracts/observer.yml")


def healthy(contract: Contract) -> dict[str, Any]:
    """Facts of a node on which everything is as the contract says."""
    now = 1.8e9
    asked = request(contract, contract.environments["local"], clock_reference=now)
    running = []
    for workload, container in contract.containers():
        tasks = next(one["tasks"] for one in asked["containers"] if one["name"] == container.name)
        paths = {folder.variable: folder.path for folder in contract.paths.values()}
        user = container.permissions["runAsUser"]
        running.append({
            "id": container.name, "name": container.name, "namespace": "observer-local", "pod": f"{workload.name}-0",
            "uids": [user] * 4, "gids": [user] * 4, "groups": [user], "no_new_privs": True, "root_read_only": True,
            "capabilities": {"effective": 0, "permitted": 0, "bounding": 0}, "given": [],
            "environment": {one.name: None if any(item.startswith("Secret") for item in one.sources) else
                            paths.get(one.name) or one.value or (one.values or ("x",))[0]
                            for one in container.variables.values() if not one.optional},
            "mounts": [{"target": target, "read_only": False, "type": "ext4", "root": "", "source": source(
                contract, mount.source)} for target, mount in container.volumes.items()],
            "inside": {
                "writes": {path: {"ok": True, "why": "", "seconds": 0} for path in tasks["writes"]},
                "refusals": {path: {"refused": True, "why": "EROFS"} for path in tasks["refusals"]},
                "http": {one["path"]: {"status": 200, "body": "", "why": ""} for one in tasks.get("http", ())},
                "names": {"postgres": {"addresses": ["10.43.0.9"], "why": ""}} if "names" in tasks else {},
                "connects": {"postgres:5432": {"ok": True, "why": ""}} if "connects" in tasks else {},
                **({"postgres": {"ready": True, "why": "", "recovery": False}} if tasks.get("postgres") else {}),
            }})
    return {
        "host": "live", "now": now, "clock_reference": now, "timezone": "Asia/Seoul", "clock_synchronized": True,
        "storage": {"path": "/opt/local-path-provisioner", "exists": True, "writable": True, "why": "", "mount": "/",
                    "free": 30 * GIB},
        "storage_free": asked["storage_free"],
        "disks": [{"mount": "/", "filesystem": "ext4", "read_only": False, "carries": ["/"], "bytes": 100 * GIB,
                   "free": 30 * GIB, "inodes": 1000, "inodes_free": 500}],
        "folders": {"/opt/platform/runtime/observer/config": {"exists": True, "type": "dir", "uid": 1000, "gid": 1000,
                                                              "mode": "0755"}},
        "k3s": {"installed": True, "role": "server", "version": "v1.34.3+k3s1", "active": "active", "sub": "running",
                "enabled": "enabled", "since": now - 9999, "restarts": 0, "log": [], "node_name": "obs-local",
                "api": {"answers": True, "why": ""}},
        "certificates": [{"file": "/x/serving.crt", "subject": "", "issuer": "k3s-server-ca@1", "served": False,
                          "not_before": now - 1e6, "not_after": now + 3e7}],
        "firewall": {"eaten": [], "ip_forward": True},
        "volumes": [{"bytes": 7 * GIB}], "containers": running, "errors": [],
    }


def source(contract: Contract, name: str) -> str:
    resource = contract.resources[name]
    if resource.type == "claim":
        return f"/opt/local-path-provisioner/pvc-{POD}_observer-local_{name}"
    return str(resource.params["path"]) if resource.type == "hostPath" else f"/x/kubernetes.io~empty-dir/{name}"


def judged(contract: Contract, facts: dict[str, Any]) -> list[Finding]:
    return list(check_node(contract, facts, contract.environments["local"]))


def test_nothing_is_found_on_a_healthy_node(contract: Contract) -> None:
    assert judged(contract, healthy(contract)) == []
    assert list(check_node(contract, healthy(contract))) == [], "the environment need not be known"


CONFIG = "/opt/platform/runtime/observer/config"
DATA = "/opt/platform/runtime/observer/data"


def of(facts: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in facts["containers"] if one["name"] == name)
    return found


def mount(facts: dict[str, Any], target: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in of(facts, "observer")["mounts"] if one["target"] == target)
    return found


def tried(facts: dict[str, Any], kind: str, name: str, **found: object) -> None:
    of(facts, "observer")["inside"][kind][name] = {"addresses": [], **found}


DEVIATIONS: list[tuple[str, Layer, Callable[[dict[str, Any]], object]]] = [
    ("NODE-01", Layer.NODE, lambda facts: facts["folders"][CONFIG].update(exists=False, type="")),
    ("NODE-01", Layer.NODE, lambda facts: facts["folders"][CONFIG].update(type="file")),
    ("NODE-02", Layer.NODE, lambda facts: facts["folders"][CONFIG].update(uid=0)),
    ("NODE-03", Layer.NODE, lambda facts: facts["folders"][CONFIG].update(mode="0777")),
    ("NODE-04", Layer.NODE, lambda facts: facts["volumes"][0].update(bytes=5 * GIB)),
    ("NODE-05", Layer.NODE, lambda facts: facts["disks"][0].update(free=4 * GIB)),
    ("NODE-05", Layer.NODE, lambda facts: facts["disks"][0].update(inodes_free=10)),
    ("NODE-06", Layer.NODE, lambda facts: facts["storage"].update(writable=False, why="/ is mounted read-only")),
    ("NODE-06", Layer.NODE, lambda facts: facts["storage"].update(writable=False, exists=False, why="it is not there")),
    ("NODE-07", Layer.NODE, lambda facts: facts["disks"].append({**facts["disks"][0], "mount": "/var/lib/rancher",
                                                                 "read_only": True})),
    ("NODE-08", Layer.CLUSTER, lambda facts: facts["k3s"].update(installed=False)),
    ("NODE-09", Layer.CLUSTER, lambda facts: facts["k3s"].update(active="failed", sub="failed")),
    ("NODE-10", Layer.CLUSTER, lambda facts: facts["k3s"].update(sub="auto-restart", active="activating", restarts=5)),
    ("NODE-11", Layer.CLUSTER, lambda facts: facts["k3s"].update(version="v1.33.1+k3s1")),
    ("NODE-12", Layer.CLUSTER, lambda facts: facts["k3s"].update(enabled="disabled")),
    ("NODE-13", Layer.CLUSTER, lambda facts: facts["k3s"].update(api={"answers": False, "why": "refused"})),
    ("NODE-14", Layer.CLUSTER, lambda facts: facts["certificates"][0].update(not_after=facts["now"] - 1)),
    ("NODE-14", Layer.CLUSTER, lambda facts: facts["certificates"][0].update(not_before=facts["now"] + 9999)),
    ("NODE-15", Layer.CLUSTER, lambda facts: facts["certificates"][0].update(not_after=facts["now"] + 29 * 86400)),
    ("NODE-16", Layer.NODE, lambda facts: facts.update(timezone="Etc/UTC")),
    ("NODE-17", Layer.NODE, lambda facts: facts.update(clock_reference=facts["now"] + 31)),
    ("NODE-18", Layer.NODE, lambda facts: facts.update(clock_synchronized=False)),
    ("NODE-19", Layer.NODE, lambda facts: facts["firewall"]["eaten"].append(
        {"way": "input", "table": "filter", "rule": "-A INPUT -j REJECT", "journey": "a pod to the API"})),
    ("NODE-20", Layer.NODE, lambda facts: facts["firewall"]["eaten"].append(
        {"way": "forward", "table": "filter", "rule": "-A FORWARD -j REJECT", "journey": "a pod to a pod"})),
    ("NODE-21", Layer.NODE, lambda facts: facts["firewall"].update(ip_forward=False)),
    ("NODE-30", Layer.DEPLOYMENT, lambda facts: of(facts, "observer").update(uids=[1000, 0, 1000, 1000])),
    ("NODE-30", Layer.DEPLOYMENT, lambda facts: of(facts, "observer").update(gids=[0] * 4)),
    ("NODE-30", Layer.DEPLOYMENT, lambda facts: of(facts, "postgres").update(groups=[101], gids=[101] * 4)),
    ("NODE-31", Layer.DEPLOYMENT, lambda facts: of(facts, "observer").update(root_read_only=False)),
    ("NODE-31", Layer.DEPLOYMENT, lambda facts: of(facts, "observer").update(no_new_privs=False)),
    ("NODE-31", Layer.DEPLOYMENT, lambda facts: of(facts, "observer")["capabilities"].update(bounding=0xa80425fb)),
    ("NODE-32", Layer.DEPLOYMENT, lambda facts: tried(
        facts, "writes", CONFIG, ok=False, why="EACCES Permission denied")),
    ("NODE-32", Layer.DEPLOYMENT, lambda facts: tried(facts, "writes", DATA, ok=False, why="EACCES Permission denied")),
    ("NODE-32", Layer.NODE, lambda facts: tried(facts, "writes", DATA, ok=False, why="ENOSPC No space left on device")),
    ("NODE-32", Layer.APP, lambda facts: tried(facts, "writes", f"{DATA}/cache", ok=False, why="ENOENT No such file")),
    ("NODE-33", Layer.DEPLOYMENT, lambda facts: tried(facts, "refusals", "/etc", refused=False, why="")),
    ("NODE-34", Layer.DEPLOYMENT, lambda facts: of(facts, "observer")["mounts"].pop()),
    ("NODE-35", Layer.DEPLOYMENT, lambda facts: mount(facts, CONFIG).update(source="/elsewhere")),
    ("NODE-35", Layer.DEPLOYMENT, lambda facts: mount(facts, DATA).update(source=source_of_logs())),
    ("NODE-36", Layer.DEPLOYMENT, lambda facts: mount(facts, DATA).update(read_only=True)),
    ("NODE-37", Layer.CONFIG, lambda facts: of(facts, "observer")["environment"].pop("OBSERVER_LOG_DIR")),
    ("NODE-37", Layer.CONFIG, lambda facts: of(facts, "observer")["environment"].pop("KIS_APP_KEY")),
    ("NODE-37", Layer.DEPLOYMENT, lambda facts: of(facts, "observer")["environment"].pop("TZ")),
    ("NODE-38", Layer.CONFIG, lambda facts: of(facts, "observer")["environment"].update(OBSERVER_DATA_DIR="/data")),
    ("NODE-38", Layer.CONFIG, lambda facts: of(facts, "observer")["environment"].update(DB_HOST="elsewhere")),
    ("NODE-39", Layer.DEPLOYMENT, lambda facts: tried(facts, "names", "postgres", why="NXDOMAIN")),
    ("NODE-39", Layer.CLUSTER, lambda facts: tried(facts, "names", "postgres", why="10.43.0.10 does not answer")),
    ("NODE-39", Layer.CONFIG, lambda facts: tried(facts, "names", "elsewhere", why="NXDOMAIN")),
    ("NODE-40", Layer.DEPLOYMENT, lambda facts: tried(
        facts, "connects", "postgres:5432", ok=False, why="ECONNREFUSED Connection refused")),
    ("NODE-40", Layer.CONFIG, lambda facts: tried(facts, "connects", "elsewhere:5432", ok=False, why="ETIMEDOUT")),
    ("NODE-41", Layer.APP, lambda facts: tried(facts, "http", "/health", status=None, body="", why="ECONNREFUSED")),
    ("NODE-42", Layer.DEPLOYMENT, lambda facts: of(facts, "postgres")["inside"]["postgres"].update(ready=False)),
    ("NODE-43", Layer.DEPLOYMENT, lambda facts: of(facts, "postgres")["inside"]["postgres"].update(recovery=True)),
    ("BACKUP-01", Layer.NODE, lambda facts: facts.update(backup={"wrong": [{"job": "files", "why": "late"}]})),
    ("BACKUP-01", Layer.NODE, lambda facts: facts.update(backup={"wrong": [{"job": "retention", "why": "overdue"}]})),
    ("NODE-50", Layer.NODE, lambda facts: facts["errors"].append({"about": "iptables-save", "why": "no"})),
    ("NODE-50", Layer.NODE, lambda facts: of(facts, "observer")["inside"].update(why="no answer in time")),
]


def source_of_logs() -> str:
    return f"/opt/local-path-provisioner/pvc-{POD}_observer-local_observer-logs-pvc"


@pytest.mark.parametrize(("code", "layer", "deviation"), DEVIATIONS, ids=[
    f"{number}-{code}" for number, (code, _, _) in enumerate(DEVIATIONS)])
def test_every_deviation_is_one_finding_at_its_layer(
    contract: Contract, code: str, layer: Layer, deviation: Callable[[dict[str, Any]], object]
) -> None:
    facts = healthy(contract)
    deviation(facts)
    assert [(one.code, one.layer) for one in judged(contract, facts)] == [(code, layer)]


def test_every_code_has_a_deviation_and_whole_sentences(contract: Contract) -> None:
    # That a node was not looked at, the report says.
    ours = {code for code in CODES if code.startswith(("NODE-", "BACKUP-"))}
    assert {code for code, _, _ in DEVIATIONS} == ours - {"NODE-59"}
    for _, _, deviation in DEVIATIONS:
        facts = healthy(contract)
        deviation(facts)
        for one in judged(contract, facts):
            known = CODES[one.code]
            values = {"expected", "actual", "subject", *one.values}
            for texts in (known.message, known.remedy):
                for text in texts.values():
                    assert set(re.findall(r"\{(\w+)\}", text)) <= values, (one.code, text)
            assert sentence(one, "message", "ko") != sentence(one, "message", "en")
            assert one.values.get("command") or one.code == "NODE-50"


def test_drift_is_no_violation(contract: Contract) -> None:
    facts = healthy(contract)
    facts["certificates"][0]["not_after"] = facts["now"] + 86400
    assert [one.kind for one in judged(contract, facts)] == [Kind.DRIFT]


def test_a_folder_that_is_not_the_apps_is_the_nodes_fault(contract: Contract) -> None:
    facts = healthy(contract)
    facts["folders"][CONFIG]["uid"] = 0
    tried(facts, "writes", CONFIG, ok=False, why="EACCES Permission denied")
    assert [(one.code, one.layer) for one in judged(contract, facts)] == [
        ("NODE-02", Layer.NODE), ("NODE-32", Layer.NODE)]
    assert {one.values["command"] for one in judged(contract, facts)} == {f"sudo chown 1000:1000 {CONFIG}"}


def test_an_agent_needs_the_folders_only_when_the_app_is_there(contract: Contract) -> None:
    facts = healthy(contract)
    facts["k3s"]["role"] = "agent"
    facts["folders"][CONFIG].update(exists=False, type="")
    facts["storage"].update(exists=False, writable=False, why="it is not there")
    facts["volumes"] = []
    assert [one.code for one in judged(contract, facts)] == ["NODE-01", "NODE-06", "NODE-04"]
    facts["containers"] = []
    assert judged(contract, facts) == []


def test_an_app_that_cannot_work_without_its_database_is_not_at_fault(contract: Contract) -> None:
    facts = healthy(contract)
    tried(facts, "http", "/ready", status=503, body="database away", why="")
    assert [one.layer for one in judged(contract, facts)] == [Layer.APP]
    tried(facts, "connects", "postgres:5432", ok=False, why="ETIMEDOUT Connection timed out")
    assert {(one.code, one.layer) for one in judged(contract, facts)} == {
        ("NODE-40", Layer.DEPLOYMENT), ("NODE-41", Layer.DEPLOYMENT)}


def test_a_secret_that_the_entry_script_dropped_is_not_missing(contract: Contract) -> None:
    facts = healthy(contract)
    postgres = of(facts, "postgres")
    del postgres["environment"]["POSTGRES_PASSWORD"]
    postgres["given"] = ["POSTGRES_PASSWORD"]
    assert judged(contract, facts) == []


def test_volumes_that_could_not_be_counted_matter_only_where_the_rest_is_too_little(contract: Contract) -> None:
    facts = healthy(contract)
    facts["volumes"] = [{"bytes": None}, {"bytes": 5 * GIB}]
    facts["storage"]["free"] = facts["storage_free"] - 5 * GIB
    assert judged(contract, facts) == []
    facts["storage"]["free"] = 2 * GIB
    found, = judged(contract, facts)
    assert (found.code, found.kind, found.clause) == ("NODE-50", Kind.UNCHECKED, "node.disk")
    assert "7Gi are free or counted in volumes" in found.actual


def test_two_pods_with_the_same_fault_are_one_finding(contract: Contract) -> None:
    facts = healthy(contract)
    of(facts, "observer")["environment"]["DB_PORT"] = "1"
    second = copy.deepcopy(of(facts, "observer"))
    second["pod"] = "observer-1"
    facts["containers"].append(second)
    assert [one.code for one in judged(contract, facts)] == ["NODE-38"]


def test_what_is_asked_of_the_node(contract: Contract) -> None:
    asked = request(contract, contract.environments["local"], storage_free=None)
    assert asked["storage_free"] == 36 * GIB and asked["folders"] == [CONFIG]
    observer, postgres = (one["tasks"] for one in asked["containers"])
    assert {DATA, f"{DATA}/cache", CONFIG, "/opt/platform/runtime/observer/logs/system"} <= set(observer["writes"])
    assert {"/", "/etc", "/usr", "/home", "/opt/platform/runtime/observer"} <= set(observer["refusals"])
    assert not set(observer["writes"]) & set(observer["refusals"])
    assert observer["connects"] == ["postgres:5432", "$(DB_HOST):$(DB_PORT)"]
    assert "/tmp" not in postgres["refusals"] and postgres["postgres"] is True
    assert {"DB_PASSWORD", "KIS_APP_KEY"} <= set(asked["secret_names"])
    json.dumps(asked)


@pytest.mark.parametrize(("text", "count"), [
    ("36Gi", 36 * GIB), ("500M", 500_000_000), ("1.5Ki", 1536), (7, 7), ("?", 0)])
def test_quantities(text: object, count: int) -> None:
    assert quantity(text) == count
