"""A node that is backed up on another machine, and what a drill does to it."""

from __future__ import annotations

import datetime
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bed import nodes, services
from bed.podman import Podman
from hands import LOAD, ROOT, Site, forwarded, wait_for

ON_NODE = Path(__file__).with_name("on_node.py")
NAMESPACE = "observer-local"
STORAGE = "/opt/local-path-provisioner"
CONFIG = "/opt/platform/runtime/observer/config"
DATA_CLAIM = "observer-data-pvc"
CLAIMS = ("observer-db-pvc", DATA_CLAIM, "observer-logs-pvc", "observer-universe-pvc")
PROGRAM = "/usr/local/lib/observer-node/backup_run.py"
REPOSITORY = "/srv/observer-backup/inventory-observer-local"
BATCH_ROWS = 50_000
RESTORE_TASK = r"TASK \[backup : Restore \|"
TASK = re.compile(r"^TASK \[(.*)\] \*")


@dataclass
class Timed:
    """One run of a playbook with the moments of its tasks.

    :ivar marks: seconds after the start at which each task began, with its name.
    :ivar results: what tasks gave back, by the name of the task; of modules that changed or failed alone.
    """

    status: int
    seconds: float
    output: str
    marks: list[tuple[float, str]] = field(default_factory=list)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)

    def ok(self) -> Timed:
        """The run itself, if it went well."""
        assert self.status == 0, f"exit status {self.status}\n{self.output[-6000:]}"
        return self

    def at(self, pattern: str, last: bool = False) -> float | None:
        """When the first (or last) task of this name began."""
        found = [moment for moment, name in self.marks if re.search(pattern, name)]
        return (found[-1] if last else found[0]) if found else None

    def spent(self, pattern: str) -> float:
        """Seconds in all tasks of this name."""
        ends = [moment for moment, _ in self.marks[1:]] + [self.seconds]
        return round(sum(end - begun for (begun, name), end in zip(self.marks, ends, strict=True)
                         if re.search(pattern, name)), 2)

    def after(self, pattern: str) -> float | None:
        """When the last task of this name had ended, which is when the next one began."""
        found = [number for number, (_, name) in enumerate(self.marks) if re.search(pattern, name)]
        if not found:
            return None
        return self.marks[found[-1] + 1][0] if found[-1] + 1 < len(self.marks) else self.seconds


@dataclass
class Protected:
    """A node's inventory with the machine that keeps its backups.

    :ivar name: of the server in the inventory; the machine may have another.
    :ivar variables: of the server, over those of ``inventories/local``.
    """

    site: Site
    keeper: nodes.Node
    name: str
    variables: dict[str, object]

    @classmethod
    def make(cls, node: nodes.Node, keeper: nodes.Node, folder: Path, mode: str, **variables: object) -> Protected:
        """An inventory of its own with secrets of its own."""
        folder.mkdir(parents=True, exist_ok=True)
        protected = cls(Site.local(node, folder, k3s_node_name="obs-local"), keeper, node.name, {
            "k3s_node_name": "obs-local", "backup_repository": "backup_host:", "backup_mode": mode, "backup_off": "",
            "vault_backup_password": f"of-the-drill-{folder.name}", **variables})
        protected.write_hosts()
        protected.site.play(playbook="playbooks/secrets.yml").ok()
        return protected

    @classmethod
    def found(cls, folder: Path) -> Protected:
        """One that :meth:`make` has made in an earlier process."""
        hosts = yaml.safe_load((folder / "inventory" / "hosts.yml").read_text())["all"]["children"]
        (name, variables), = hosts["observer"]["children"]["k3s_servers"]["hosts"].items()
        (keeper, _), = hosts["backup_hosts"]["hosts"].items()
        # Between two machines there is the name alone.
        there = {node.name: node for node in nodes.everyone()}
        node = there.get(name) or nodes.plan(name)
        site = Site(node, folder / "inventory", {"XDG_STATE_HOME": str(folder / "state")})
        return cls(site, nodes.find(keeper), name, variables)

    def write_hosts(self, **changed: object) -> None:
        """Write the inventory; variables of a host win over those of every group."""
        self.variables.update(changed)
        other = {} if self.node.name == self.name else {"ansible_host": self.node.name}
        server = {self.name: {**self.variables, **other}}
        keeper = {"provision_node_address": self.keeper.address, "ansible_user": "ubuntu",
                  "ansible_ssh_common_args": f"-F {services.state() / 'ssh' / 'config'}"}
        (self.site.folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": {
            "observer": {"children": {"k3s_servers": {"hosts": server}, "k3s_agents": {}}},
            "backup_hosts": {"hosts": {self.keeper.name: keeper}}}}}))

    @property
    def node(self) -> nodes.Node:
        return self.site.node

    # --- runs

    def start(self, *arguments: str, playbook: str = "site.yml") -> subprocess.Popen[str]:
        """A playbook that runs; its lines come as they are written."""
        return subprocess.Popen(
            self.site.argv(playbook, "-v", *arguments), cwd=ROOT, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            env=self.site.env(ANSIBLE_STDOUT_CALLBACK="ansible.builtin.default", PYTHONUNBUFFERED="1",
                              # Molecule asks for colours.
                              ANSIBLE_FORCE_COLOR="0"))

    def play(self, *arguments: str, playbook: str = "site.yml") -> Timed:
        """Run a playbook to its end."""
        begun = time.monotonic()
        process = self.start(*arguments, playbook=playbook)
        run = Timed(0, 0.0, "")
        lines = []
        assert process.stdout
        for line in process.stdout:
            lines.append(line)
            if match := TASK.match(line):
                run.marks.append((round(time.monotonic() - begun, 2), match[1]))
            elif run.marks and re.match(r"(changed|fatal|ok): \[", line) and " => {" in line:
                try:
                    run.results[run.marks[-1][1]] = json.loads(line[line.index(" => ") + 4:])
                except ValueError:
                    continue
        run.status = process.wait()
        run.seconds = round(time.monotonic() - begun, 2)
        run.output = "".join(lines)
        return run

    def first_start(self) -> Timed:
        """The first provision, which says that it is one."""
        return self.play("-e", f"backup_first_start={self.name}")

    # --- the node

    def python(self, *words: str, timeout: float = 600) -> str:
        """Run what is in ``on_node.py`` on the node, as root."""
        line = " ".join(shlex.quote(word) for word in words)
        return self.site.ssh(f"sudo python3 - {line}", stdin=ON_NODE.read_text(), timeout=timeout)

    def volume(self, claim: str) -> str:
        """The folder of a claim on the node."""
        return self.site.ssh(f"sudo sh -c 'echo {STORAGE}/pvc-*_{NAMESPACE}_{claim}'").strip()

    def sql(self, query: str, timeout: float = 900) -> str:
        """What ``psql`` says to a query, unaligned."""
        return self.site.kubectl(
            f"-n {NAMESPACE} exec -i postgres-0 -- psql -XAtq -v ON_ERROR_STOP=1 -U observer -d observer -f -",
            stdin=query, timeout=timeout).strip()

    def log_position(self) -> int:
        """Bytes of log that the database has written."""
        return int(self.sql("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"))

    def fill_database(self, rows: int, table: str = "drill_rows") -> int:
        """A table of random text, logged as every other; returns the database's bytes."""
        self.sql("CREATE EXTENSION IF NOT EXISTS pgcrypto;"
                 f"CREATE TABLE {table} (id bigint PRIMARY KEY, body text NOT NULL)")
        for first in range(1, rows + 1, BATCH_ROWS):
            self.sql(f"INSERT INTO {table} SELECT n, encode(gen_random_bytes(1000), 'base64')"
                     f" FROM generate_series({first}, {min(rows, first + BATCH_ROWS - 1)}) n")
        self.sql("DROP EXTENSION pgcrypto; CHECKPOINT")
        return int(self.sql("SELECT pg_database_size(current_database())"))

    def fill_files(self, count: int, size: int, sparse: int) -> None:
        """Files below the volume ``data``, and a few of any owner and mode in the folder of settings."""
        self.python("make", f"{self.volume(DATA_CLAIM)}/drill", str(count), str(size), str(sparse), "group")
        self.python("make", f"{CONFIG}/drill", str(max(10, count // 100)), "1000000", "10000000", "free")

    def files(self) -> dict[str, dict[str, Any]]:
        """Everything that :meth:`fill_files` has made, and who may do what at the volumes' tops."""
        found: dict[str, dict[str, Any]] = {}
        for name, top in (("data", f"{self.volume(DATA_CLAIM)}/drill"), ("config", f"{CONFIG}/drill")):
            listed = json.loads(self.python("list", top))
            found.update({f"{name}/{path}": about for path, about in listed.items()})
        for claim in CLAIMS:
            found[claim] = {"top": self.site.ssh(f"sudo stat -c '%a %u %g' {self.volume(claim)}").strip()}
        found["config"] = {"top": self.site.ssh(f"sudo stat -c '%a %u %g' {CONFIG}").strip()}
        return found

    def tables(self) -> dict[str, dict[str, Any]]:
        """Rows of every table, and a sum over them that their order does not matter to."""
        names = self.sql("SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
                         " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1").split()
        found = {}
        for name in names:
            rows, total = self.sql(f"SELECT count(*), coalesce(sum(('x' || substr(md5(t::text), 1, 15))::bit(60)"
                                   f"::bigint::numeric), 0) FROM {name} t").split("|")
            found[name] = {"rows": int(rows), "sum": total}
        return found

    def quotes(self) -> dict[str, float]:
        """What the app has written by itself: by identity, when (epoch)."""
        lines = self.sql("SELECT quote_id, extract(epoch FROM quoted_at) FROM quotes").splitlines()
        found = {one.split("|")[0]: float(one.split("|")[1]) for one in lines}
        assert len(found) == len(lines), "a quote is there twice"
        return found

    def backup(self) -> float:
        """What `playbooks/backup.yml` has the node do, now; its seconds."""
        begun = time.monotonic()
        self.site.ssh("sudo systemctl start observer-backup-files.service observer-backup-base.service",
                      timeout=900)
        return round(time.monotonic() - begun, 1)

    def job(self, name: str, timeout: float = 900) -> str:
        """Run one job of the backups as its unit would."""
        return self.site.ssh(f"sudo python3 -I -B {PROGRAM} {name}", timeout=timeout)

    def state(self) -> dict[str, Any]:
        """What the node says of its backups."""
        found: dict[str, Any] = json.loads(self.site.ssh("cat /var/lib/observer-node/backup/state.json"))
        return found

    # --- the machine that keeps the backups

    def kept(self, line: str, stdin: str | None = None) -> str:
        """A line of shell there, as root."""
        return nodes.ssh(self.keeper, f"sudo sh -c {shlex.quote(line)}", stdin=stdin, timeout=300)

    def restic(self, *words: str, stdin: str = "") -> str:
        """restic there, as the repository's user. The password is the first line of what it is given."""
        password = str(self.variables["vault_backup_password"])
        line = " ".join(shlex.quote(word) for word in words)
        return self.kept(
            "read -r RESTIC_PASSWORD; export RESTIC_PASSWORD; exec runuser -u obackup --"
            f" restic --no-cache -q -r {REPOSITORY} {line}", stdin=f"{password}\n{stdin}")

    def snapshots(self, kind: str = "") -> list[dict[str, Any]]:
        """Snapshots of a kind, the newest last; ``id`` is the name of its file, ``at`` its time as epoch."""
        words = ["--tag", f"kind={kind}"] if kind else []
        found: list[dict[str, Any]] = json.loads(self.restic("snapshots", "--json", *words))
        for one in found:
            # Each in the time zone of who wrote it.
            one["at"] = datetime.datetime.fromisoformat(one["time"]).timestamp()
        return sorted(found, key=lambda one: float(one["at"]))

    # --- the end

    def cut(self) -> float:
        """The machine is gone without warning, with its disks; when that was (epoch)."""
        at = time.time()
        Podman.open().run("kill", "--signal", "KILL", self.node.container)
        nodes.down(self.node)
        return at

    def renew(self, parts: dict[str, Path], **wanted: Any) -> float:  # noqa: ANN401 (what nodes.plan takes)
        """Another bare machine under the inventory's name; the seconds until it answers."""
        begun = time.monotonic()
        wanted = {"oci_firewall": True, "outward": False, **wanted}
        self.site.node = nodes.up(nodes.plan(wanted.pop("name", self.node.name), **wanted), parts)
        self.write_hosts()
        return round(time.monotonic() - begun, 2)


@contextmanager
def writing(
    protected: Protected, journal: Path, writer: str, rate: int = 50, give_up: int = 2,
) -> Iterator[subprocess.Popen[bytes]]:
    """Records sent to Observer while the body runs; the journal of what was acknowledged lies on this machine."""
    with forwarded(protected.site) as url:
        process = subprocess.Popen(
            [sys.executable, str(LOAD), "run", "--url", url, "--writer", writer, "--rate", str(rate), "--batch", "5",
             "--size", "200", "--seconds", "3600", "--give-up", str(give_up), "--journal", str(journal)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield process
        finally:
            try:
                process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGTERM)
                process.wait()


def acknowledged(journal: Path) -> dict[int, float]:
    """By number of the record, when it was acknowledged (epoch)."""
    found: dict[int, float] = {}
    for line in journal.read_text().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry.get("event") == "acknowledged":
            for low, high in entry["ranges"]:
                found.update(dict.fromkeys(range(low, high + 1), entry["time"]))
    return found


def numbers(ranges: Iterable[Iterable[int]]) -> set[int]:
    """What is in ranges, both ends included."""
    return {number for low, high in ranges for number in range(low, high + 1)}


def settle(protected: Protected) -> None:
    """Until Observer answers and takes records."""
    with forwarded(protected.site) as url:
        argv = ["curl", "-sf", "-o", "/dev/null", f"{url}/ready"]
        wait_for(lambda: subprocess.run(argv, check=False).returncode == 0, "Observer is ready")
