"""The callback `operator` and the action `closing_card`, as ansible-playbook runs them with the project's settings."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK_COMMAND = str(Path(sys.executable).parent / "ansible-playbook")
SECRET = "s3cr3t-value-of-a-test"

# A module as this project writes them: it names what it changes, and says what to do when it refuses.
MODULE = """#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule(dict(changes=dict(type="list", default=[]), refuse=dict(), remedy=dict(), diff=dict(type="list"),
                            password=dict(no_log=True)), supports_check_mode=True)
given = module.params
result = dict(changed=bool(given["changes"]), changes=given["changes"])
if given["diff"]:
    result["diff"] = given["diff"]
if given["refuse"]:
    module.fail_json(msg=given["refuse"], remedy=given["remedy"], **result)
module.exit_json(**result)
"""


@dataclass
class Outcome:
    """What a run of ansible-playbook left."""

    status: int
    out: str
    record: dict[str, Any]

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def end(self) -> list[str]:
        """The card and what follows it, each part without its line breaks."""
        return [part.strip("\n") for part in re.split(r"\n\n", self.out.strip("\n"))[1:]]

    @property
    def card(self) -> list[str]:
        return self.end[0].splitlines()

    @property
    def last(self) -> str:
        """The last paragraph, on one line."""
        return " ".join(self.end[-1].split())


class Desk:
    """A folder with playbooks, and a state folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state" / "observer-node"
        self.write("library/thing.py", MODULE)
        self.write("hosts", "here ansible_connection=local\nfar ansible_host=127.0.0.1 ansible_port=1\n[agents]\n")

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def environment(self, **more: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "NO_COLOR"))}
        return kept | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.folder / ".ansible"),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "OBSERVER_NODE_RUN_RECORD": str(self.folder / "record.json"),
            "TERM": "xterm",
        } | more

    def command(self, *arguments: str, playbook: str = "play.yml") -> list[str]:
        inventory = [] if "-i" in arguments else ["-i", "hosts"]
        return [PLAYBOOK_COMMAND, *inventory, playbook, *arguments]

    def play(self, tasks: str, *, hosts: str = "here", name: str = "Try", more: str = "") -> None:
        """Write a playbook of one play; ``tasks`` and ``more`` are YAML without indentation."""
        body = "".join(f"    {line}\n" for line in tasks.strip().splitlines())
        more = "".join(f"  {line}\n" for line in more.strip().splitlines())
        self.write("play.yml", f"- name: {name}\n  hosts: {hosts}\n  gather_facts: false\n{more}  tasks:\n{body}")

    def run(self, *arguments: str, playbook: str = "play.yml", **environment: str) -> Outcome:
        record = self.folder / "record.json"
        record.unlink(missing_ok=True)
        done = subprocess.run(
            self.command(*arguments, playbook=playbook),
            cwd=self.folder,
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, json.loads(record.read_text()) if record.exists() else {})


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture(scope="module")
def callback() -> ModuleType:
    """The callback's functions, for what takes no run."""
    spec = importlib.util.spec_from_file_location("operator_callback", ROOT / "plugins/callback/operator.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


STORY = """
- name: Everything
  import_playbook: first.yml
- name: Second
  hosts: here
  gather_facts: false
  tasks:
    - name: Tell
      closing_card:
        runs: [Observer build-1 on obs-local (K3s v1.34.3+k3s1)]
        reach:
          - curl http://127.0.0.1:18000/health
          - "KUBECONFIG=~/.local/state/observer-node/obs-local/kubeconfig kubectl --namespace observer-local get pods"
        facts: {contract: 143 of 143}
        next: Verify it.
- name: Nobody is meant
  hosts: agents
  gather_facts: false
  tasks:
    - name: Never
      command: "false"
"""

FIRST = """
- name: First
  hosts: here
  gather_facts: false
  pre_tasks:
    - name: Leave out
      command: "true"
      when: false
    - name: Tagged away
      debug: {msg: never}
      tags: [never]
  roles: [demo]
  tasks:
    - block:
        - name: Stumble
          fail: {msg: not told}
      rescue:
        - name: Stand up
          command: "true"
      always:
        - name: Go on
          debug: {msg: "a word\\nof debug"}
    - name: Does not matter
      command: "false"
      ignore_errors: true
    - name: Later
      include_tasks: later.yml
  handlers:
    - name: Restart it
      command: "true"
"""

ROLE = """
- name: Install | Write files
  thing:
    changes: ["/etc/one: content", "/etc/two: mode"]
    diff: [{before: "old\\n", after: "new\\n", before_header: /etc/one, after_header: /etc/one}]
  notify: Restart it
- name: For each
  command: "echo {{ item.name }}"
  loop:
    - {name: a, token: s3cr3t-value-of-a-test}
    - {name: b, token: s3cr3t-value-of-a-test}
- name: Hide it
  thing:
    changes: ["s3cr3t-value-of-a-test"]
  no_log: true
- name: Nothing to do
  thing: {changes: []}
"""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """One playbook with all that goes well, run for real, in check mode, and with Ansible's own output."""
    desk = Desk(tmp_path_factory.mktemp("story"))
    desk.write("play.yml", STORY)
    desk.write("first.yml", FIRST)
    desk.write("later.yml", '- name: Included\n  command: "true"\n')
    desk.write("roles/demo/tasks/main.yml", ROLE)
    desk.write("roles/demo/meta/argument_specs.yml", "argument_specs: {main: {short_description: d, options: {}}}\n")
    outcomes = {"real": desk.run("--diff"), "again": desk.run(), "check": desk.run("--check"), "plain": desk.run("-v")}
    for outcome in outcomes.values():
        assert outcome.status == 0, outcome.out
    return outcomes


def test_changed_things_are_named_below_their_task(story: dict[str, Outcome]) -> None:
    """Lists of the project's modules, names of other tasks, labels of items that show no other value of theirs."""
    lines = story["real"].lines
    task = next(number for number, line in enumerate(lines) if line.endswith("demo: Install | Write files"))
    assert lines[task + 1 : task + 3] == ["  changed  /etc/one: content", "  changed  /etc/two: mode"]
    assert "  changed  For each (a)" in lines and "  changed  For each (b)" in lines
    assert "  changed  Stand up" in lines and "  changed  Restart it" in lines and "  changed  Included" in lines
    assert not any("Nothing to do" in line for line in lines), "a task that does not matter has no line"


def test_the_diff_follows_the_change(story: dict[str, Outcome]) -> None:
    lines = story["real"].lines
    place = lines.index("  changed  /etc/two: mode")
    diff = ["--- before: /etc/one", "+++ after: /etc/one", "@@ -1 +1 @@", "-old", "+new"]
    assert lines[place + 1 : place + 6] == diff
    assert "-old" not in story["again"].lines


def test_progress_counts_what_the_run_goes_through(story: dict[str, Outcome]) -> None:
    """Imported plays and roles are counted, with what `when` skips; not what tags or an empty group leave out."""
    # Leave out, Validating, four of the role, Stumble, Go on, Does not matter, Later, Tell.
    assert story["real"].lines[0].startswith("play.yml, hosts: 11 steps, "), story["real"].out
    assert story["real"].lines[0].endswith(", a first guess")
    assert not story["again"].lines[0].endswith(", a first guess"), "the first run is remembered"
    progress = re.compile(r"(\d+) of (\d+), (?:about \d+ (?:s|min)|a few seconds) left  ")
    steps = [progress.match(line) for line in story["real"].lines]
    counted = [(int(step[1]), int(step[2])) for step in steps if step]
    assert counted == sorted(counted) and counted[0] == (1, 11)
    included = next(line for line in story["real"].lines if line.endswith("First: Included"))
    assert included.startswith("11 of 12, "), "what is included while it runs makes the total grow"
    assert any(re.match(r"2 of 11, .*  demo: Check the variables$", line) for line in story["real"].lines)
    handler = next(line for line in story["real"].lines if line.endswith("First: Restart it"))
    assert handler.startswith("11 of 12, "), "a handler is no step"
    assert next(line for line in story["real"].lines if line.endswith("Second: Tell")).startswith("12 of 12, ")


def test_debug_is_shown_and_what_a_rescue_mends_is_no_failure(story: dict[str, Outcome]) -> None:
    assert "  a word" in story["real"].lines and "  of debug" in story["real"].lines
    assert "not told" not in story["real"].out and "failed" not in story["real"].out.lower()
    assert story["real"].record["failure"] is None and story["real"].record["failures"] == []
    status = {task["task"]: task["status"] for task in story["real"].record["tasks"]}
    assert (status["Stumble"], status["Does not matter"], status["Leave out"]) == ("rescued", "ignored", "skipped")


def test_the_card(story: dict[str, Outcome]) -> None:
    card = story["real"].card
    assert story["real"].end == ["\n".join(card)], "nothing follows the card of a run that went well"
    assert len(card) <= 25 and max(map(len, card)) <= 80
    assert re.fullmatch(r"Done in [\d.]+ s: 8 changes\.", card[0])
    assert card[1] == "tasks    13 ran, 1 skipped (play.yml, hosts)"
    assert card[2] == "changed  demo: /etc/one: content"
    assert re.fullmatch(r"time     First [\d.]+ s, demo [\d.]+ s, Second [\d.]+ s", card[-7])
    assert card[-6:] == [
        "runs     Observer build-1 on obs-local (K3s v1.34.3+k3s1)",
        "reach    curl http://127.0.0.1:18000/health",
        "         KUBECONFIG=~/.local/state/observer-node/obs-local/kubeconfig kubectl \\",
        "         --namespace observer-local get pods",
        "contract 143 of 143",
        "next     Verify it.",
    ]


def test_check_mode_names_what_would_change(story: dict[str, Outcome]) -> None:
    check = story["check"]
    assert check.lines[0].endswith("check mode: nothing is changed")
    assert "  would change  /etc/one: content" in check.lines and "  changed" not in check.out
    assert re.match(r"Checked in [\d.]+ s: nothing was changed; 3 changes would be made\.", check.card[0])
    assert check.record["check_mode"] is True
    assert check.card[-1] == "contract 143 of 143", "what runs, how to reach it and what is next need not be there"
    assert check.record["card"] == {"contract": "143 of 143"}
    # The record has the same words for both; Ansible does not run commands in check mode.
    modules = ("Install | Write files", "Hide it")
    assert check.record["changes"] == [one for one in story["real"].record["changes"] if one["task"] in modules]


def test_nothing_that_no_log_hides_is_shown_or_kept(story: dict[str, Outcome]) -> None:
    for outcome in (story["real"], story["check"]):
        assert SECRET not in outcome.out and SECRET not in json.dumps(outcome.record)
        hidden = [change["change"] for change in outcome.record["changes"] if change["task"] == "Hide it"]
        assert hidden == ["Hide it"]


def test_the_record(story: dict[str, Outcome]) -> None:
    record = story["real"].record
    assert (record["playbook"], record["inventory"], record["check_mode"]) == ("play.yml", ["hosts"], False)
    assert record["executed_tasks"] == {"here": 13}
    assert record["stats"]["here"]["skipped"] == 1 and record["stats"]["here"]["rescued"] == 1
    write = next(task for task in record["tasks"] if task["task"] == "Install | Write files")
    assert (write["play"], write["role"], write["host"], write["status"]) == ("First", "demo", "here", "ok")
    assert (write["path"], write["changed"]) == ("roles/demo/tasks/main.yml:2", True)
    assert write["changes"] == ["/etc/one: content", "/etc/two: mode"] and write["seconds"] > 0
    assert record["changes"][0] == {
        "stage": "demo", "task": "Install | Write files", "host": "here", "change": "/etc/one: content"
    }
    assert record["card"]["next"] == "Verify it." and record["card"]["contract"] == "143 of 143"
    assert record["seconds"] == pytest.approx(sum(record["stages"].values()), abs=0.5)


def test_verbose_is_ansibles_own_output(story: dict[str, Outcome]) -> None:
    """And is recorded all the same."""
    plain = story["plain"]
    assert "TASK [demo : Install | Write files] ***" in plain.out and "PLAY RECAP ***" in plain.out
    assert "RUNNING HANDLER [Restart it]" in plain.out and " of 11, " not in plain.out
    assert plain.record["changes"] == story["again"].record["changes"]


def test_files_of_the_state_are_private_and_whole(desk: Desk) -> None:
    desk.play("- command: 'true'")
    desk.state.parent.mkdir()
    assert desk.run().status == 0
    assert desk.state.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in desk.state.iterdir()) == ["last-run.json", "timings.json"]
    for path in (*desk.state.iterdir(), desk.folder / "record.json"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads((desk.state / "last-run.json").read_text())["playbook"] == "play.yml"


def test_timings_and_records_that_cannot_be_used_are_no_failure(desk: Desk) -> None:
    desk.play("- debug: {msg: still here}")
    desk.state.mkdir(parents=True)
    for broken in ("{", json.dumps({f"{desk.folder}/play.yml | hosts | run": {"tasks": {"a": "b"}}, "x": 1})):
        (desk.state / "timings.json").write_text(broken)
        outcome = desk.run()
        assert outcome.status == 0 and "  still here" in outcome.lines
    (desk.folder / "file").write_text("")
    outcome = desk.run(XDG_STATE_HOME=str(desk.folder / "file"), OBSERVER_NODE_RUN_RECORD="/proc/no/record.json")
    assert outcome.status == 0
    assert outcome.out.count("The record of this run could not be written to") == 2
    assert outcome.card[0].startswith("Done in ")


def test_long_tasks_are_told_and_no_silence_lasts(desk: Desk) -> None:
    desk.play("- name: Take a while\n  command: sleep 4.5\n  changed_when: false")
    outcome = desk.run(OBSERVER_NODE_STILL_INTERVAL="1")
    still = [line for line in outcome.lines if re.fullmatch(r"still: Try: Take a while, \d s", line)]
    assert len(still) >= 3, outcome.out
    assert "\x1b" not in outcome.out and "\r" not in outcome.out


def test_two_playbooks_of_one_command_have_a_card_each(desk: Desk) -> None:
    desk.play("- {name: Write, thing: {changes: [x]}}")
    desk.write("other.yml", (desk.folder / "play.yml").read_text().replace("[x]", "[y, z]"))
    outcome = desk.run("other.yml")
    assert re.findall(r"^Done in [\d.]+ s: (.*)\.$", outcome.out, re.MULTILINE) == ["1 change", "2 changes"]
    assert outcome.record["playbook"] == "other.yml" and len(outcome.record["changes"]) == 2


def test_a_run_without_hosts_says_so(desk: Desk) -> None:
    desk.play("- command: 'true'", hosts="agents")
    outcome = desk.run()
    assert outcome.status == 0 and outcome.lines[0].startswith("play.yml, hosts: 0 steps")
    assert outcome.card[0] == "Nothing was done: no host of the inventory matched."


def test_estimates_are_of_earlier_runs(desk: Desk) -> None:
    """And tell runs that change something from those that do not."""
    desk.play(
        '- {name: Quick, thing: {changes: "{{ new | default([]) }}"}}\n'
        '- {name: Slow, thing: {changes: "{{ new | default([]) }}"}}\n'
        '- {name: End, debug: {}}'
    )
    assert desk.run().status == 0 and desk.run("-e", '{"new": ["x"]}').status == 0
    path = desk.state / "timings.json"
    timings = json.loads(path.read_text())
    (run,) = timings.values()
    assert all(None not in run["tasks"][f"Try//{name}"] for name in ("Quick", "Slow"))
    run["tasks"]["Try//Quick"], run["tasks"]["Try//Slow"], run["share"] = [1.0, 1.0], [20.0, 200.0], 0.0
    path.write_text(json.dumps(timings))
    quiet = desk.run()
    assert quiet.lines[0].endswith("3 steps, about 30 s")
    path.write_text(json.dumps(timings))
    changing = desk.run("-e", '{"new": ["x"]}')
    slow = next(line for line in changing.lines if line.endswith("Try: Slow"))
    assert re.match(r"2 of 3, about (1|2) min left", slow), changing.out


# Failures


FAILING = {
    "{name: Refuse, thing: {refuse: k3s_version is not a version, remedy: 'Set k3s_version in group_vars.'}}": (
        'task "Refuse", on HOST: k3s_version is not a version. What to do: Set k3s_version in group_vars.'
    ),
    "{name: Assert, assert: {that: [1 == 2], fail_msg: provision_x must be 1}}": "on HOST: provision_x must be 1.",
    "{name: Run, shell: 'echo told; echo first >&2; echo the reason >&2; exit 4'}": (
        "on HOST: exit status 4: first / the reason. "
        "What to do: run again with -v for Ansible's own output; the task is at play.yml:LINE."
    ),
    "{name: Find, command: /no/such/program}": "exit status 2: [Errno 2] No such file or directory: b'/no/such/prog",
    "{name: Use, debug: {msg: '{{ k3s_tokn.x }}'}}": (
        "on HOST: 'k3s_tokn' is undefined. "
        "What to do: define k3s_tokn in the inventory (group_vars or host_vars), or pass it with -e k3s_tokn=VALUE."
    ),
    "{name: Hint, debug: {msg: '{{ undef(hint=\"no token: run `make it` first\") }}'}}": (
        "on HOST: no token: run `make it` first."
    ),
    "{name: Document, command: '{{ undef(hint=\"no token: see docs/secrets.md\") }}'}": (
        "on HOST: no token: see docs/secrets.md."
    ),
    "{name: Loop, shell: 'echo {{ item }} >&2; exit {{ item }}', loop: [0, 3, 5]}": (
        "on HOST: 3: exit status 3: 3; 5: exit status 5: 5."
    ),
    "{name: Hide, shell: 'echo s3cr3t-value-of-a-test; exit 1', no_log: true}": (
        "on HOST: its output is hidden, because the task handles secrets (no_log). "
        "What to do: see the task at play.yml:LINE; its output is hidden with -v, too."
    ),
    "{name: Wait, command: 'sleep 9', timeout: 1}": "on HOST: Timed out after 1 second(s).",
    "{name: Again, command: 'false', register: it, until: it.rc == 0, retries: 2, delay: 0}": (
        "on HOST: after 2 tries, exit status 1."
    ),
    "{name: Elsewhere, command: 'false', delegate_to: localhost}": "on localhost for HOST: exit status 1.",
    "{name: Judge, command: 'echo odd', register: it, failed_when: it.stdout == 'odd'}": (
        "on HOST: what it returned counts as a failure (failed_when): odd."
    ),
}
"""What fails, and words of its paragraph."""


def test_every_failure_is_one_paragraph(desk: Desk) -> None:
    """One host for each way to fail, so that one run shows them all."""
    hosts = [f"n{number}" for number in range(len(FAILING))]
    desk.write("hosts", "".join(f"{host} ansible_connection=local\n" for host in hosts))
    blocks = (f"- when: inventory_hostname == '{hosts[n]}'\n  block: [{task}]\n" for n, task in enumerate(FAILING))
    desk.play("".join(blocks), hosts="all")
    outcome = desk.run()
    assert outcome.status == 2 and SECRET not in outcome.out and "raceback" not in outcome.out
    paragraphs = [" ".join(paragraph.split()) for paragraph in outcome.end[1:]]
    assert len(paragraphs) == len(FAILING) == len(outcome.record["failures"])
    for host, words in zip(hosts, FAILING.values(), strict=True):
        expected = re.escape(words.replace("HOST", host)).replace("LINE", r"\d+")
        (paragraph,) = [text for text in paragraphs if text.startswith("Failed in Try, ") and f"{host}: " in text]
        assert re.search(expected, paragraph), paragraph
        if "no token" in words:
            assert paragraph.endswith(words.replace("HOST", host)), "it says what to do by itself"
    assert all(len(line) <= 80 for paragraph in outcome.end[1:] for line in paragraph.splitlines())


def test_what_changed_before_a_failure_is_told(desk: Desk) -> None:
    desk.play(
        "- {name: One, thing: {changes: [a, b]}}\n"
        "- {name: Two, thing: {changes: [c], refuse: the disk is full, remedy: Make room.}}\n"
        "- {name: Not any more, command: 'true'}\n"
    )
    outcome = desk.run()
    assert outcome.card[0].startswith("Failed at 2 of 3, after ") and "; 3 changes before it." in outcome.card[0]
    assert outcome.card[2:5] == ["changed  Try: a", "         Try: b", "         Try: c"]
    assert outcome.last == 'Failed in Try, task "Two", on here: the disk is full. What to do: Make room.'
    assert outcome.record["failure"] == {
        "stage": "Try", "task": "Two", "host": "here", "why": "the disk is full", "remedy": "Make room."
    }
    assert [change["change"] for change in outcome.record["changes"]] == ["a", "b", "c"]


def test_variables_of_a_role_that_are_not_right_are_named_in_one_line(desk: Desk) -> None:
    options = "{demo_port: {type: int, required: true}, demo_mode: {type: str, choices: [a, b]}}"
    desk.write("roles/demo/meta/argument_specs.yml", f"argument_specs: {{main: {{options: {options}}}}}\n")
    desk.write("roles/demo/tasks/main.yml", "- debug: {}\n")
    desk.write("roles/demo/README.md", "")
    desk.play("- import_role: {name: demo}", more="vars: {demo_mode: c}")
    outcome = desk.run()
    assert outcome.last == (
        "Failed in demo, on here: the variables of role demo are not right: missing required arguments: demo_port; "
        "value of demo_mode must be one of: a, b, got: c. What to do: mend them in the inventory; "
        "roles/demo/README.md says what they are."
    )


def test_a_host_that_cannot_be_reached_gets_the_command_to_try(desk: Desk) -> None:
    desk.play("- ping:", hosts="far", more="remote_user: ubuntu")
    outcome = desk.run("-e", "ansible_ssh_private_key_file=/dev/null")
    assert outcome.status == 4
    assert "on far: the host cannot be reached: ssh: connect to host 127.0.0.1 port 1: Conn" in outcome.last
    assert outcome.last.endswith("mend what it complains about: ssh -i /dev/null -p 1 ubuntu@127.0.0.1.")
    assert outcome.record["stats"]["far"]["unreachable"] == 1


def test_each_host_has_its_paragraph_and_its_name_before_changes(desk: Desk) -> None:
    desk.write("hosts", "".join(f"{name} ansible_connection=local\n" for name in ("one", "two", "three")))
    desk.play(
        "- {name: Write, thing: {changes: ['/etc/x: content']}}\n"
        "- {name: Break, fail: {msg: 'no {{ inventory_hostname }}'}, when: inventory_hostname != 'one'}\n"
        "- {name: Last, thing: {changes: [z]}}\n",
        hosts="all",
    )
    outcome = desk.run()
    assert {f"  changed  {name}: /etc/x: content" for name in ("one", "two", "three")} <= set(outcome.lines)
    assert sorted(outcome.end[1:]) == [
        'Failed in Try, task "Break", on three: no three.',
        'Failed in Try, task "Break", on two: no two.',
    ]
    assert "  changed  one: z" in outcome.lines and outcome.record["executed_tasks"] == {"one": 2, "two": 2, "three": 2}


def test_a_rescue_that_fails_again_tells_the_first_failure(desk: Desk) -> None:
    desk.play("""
- block:
    - {name: The cause, thing: {refuse: the disk is full, remedy: Make room.}}
  rescue:
    - {name: Put back, command: 'true'}
    - {name: Fail again, fail: {msg: '{{ ansible_failed_result.msg }}'}}
""")
    outcome = desk.run()
    assert outcome.status == 2
    assert outcome.last == 'Failed in Try, task "The cause", on here: the disk is full. What to do: Make room.'
    assert len(outcome.record["failures"]) == 1


@pytest.mark.parametrize(("password", "remedy"), [("wrong", "give the password that"), ("", "add --ask-vault-pass")])
def test_a_vault_that_does_not_open_is_one_paragraph(desk: Desk, password: str, remedy: str) -> None:
    """Ansible meets it outside of tasks, before the first one."""
    desk.write("inventory/hosts", "here ansible_connection=local\n")
    desk.write("inventory/group_vars/all/vault.yml", "secret: x\n")
    desk.write("right", "right\n")
    desk.write("given", f"{password}\n")
    vault = str(Path(PLAYBOOK_COMMAND).with_name("ansible-vault"))
    command = [vault, "encrypt", "--vault-password-file", "right", "inventory/group_vars/all/vault.yml"]
    subprocess.run(command, cwd=desk.folder, env=desk.environment(), check=True, capture_output=True)
    desk.play("- debug: {msg: '{{ secret }}'}")
    outcome = desk.run("-i", "inventory", *(["--vault-password-file", "given"] if password else []))
    assert outcome.status not in (0, 99) and "[ERROR]" not in outcome.out
    assert outcome.last.startswith("Failed in Try: ") and "ecrypt" in outcome.last and remedy in outcome.last
    assert "inventory/group_vars/all/vault.yml" in outcome.last
    assert outcome.record["failure"]["remedy"]


def test_an_error_outside_of_tasks_is_one_paragraph(desk: Desk) -> None:
    desk.play("- {command: 'true', notify: [Not there]}")
    outcome = desk.run()
    assert outcome.status == 1 and "[ERROR]" not in outcome.out
    assert "The requested handler 'Not there' was not found" in outcome.last and "What to do: run again" in outcome.last


def test_a_message_that_says_what_to_do_is_left_alone(desk: Desk) -> None:
    """As the project's plugins for variables refuse a file, outside of tasks."""
    desk.write("vars_plugins/refusing.py", """
from ansible.errors import AnsibleError
from ansible.plugins.vars import BaseVarsPlugin
class VarsModule(BaseVarsPlugin):
    def get_vars(self, loader, path, entities):
        raise AnsibleError("x.yml is not encrypted: encrypt it with `ansible-vault encrypt x.yml`.")
""")
    desk.play("- debug:")
    outcome = desk.run()
    assert outcome.status not in (0, 2)
    assert outcome.last.endswith("`ansible-vault encrypt x.yml`.") and "What to do" not in outcome.last


def test_what_is_loaded_ahead_brings_no_warnings(callback: ModuleType, desk: Desk) -> None:
    desk.play("- {name: Word, debug: {msg: a word}}")
    desk.write("other.yml", (desk.folder / "play.yml").read_text())
    outcome = desk.run("other.yml", ANSIBLE_DEPRECATION_WARNINGS="1")
    assert outcome.status == 0 and outcome.lines.count("  a word") == 2
    assert "WARNING" not in outcome.out
    callback.warm_up()
    callback.warm_up()
    assert callback.warm_up.cache_info().misses == 1


def test_an_include_that_fails_is_told_once(desk: Desk) -> None:
    desk.play("- {name: Take, include_role: {name: missing}}")
    outcome = desk.run()
    assert outcome.out.count("the role 'missing' was not found") == 1 and "[ERROR]" not in outcome.out
    assert outcome.last.startswith('Failed in Try, task "Take", on here: the role')


# The screen


NOTING = """
import time
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
class ActionModule(ActionBase):
    _requires_connection = False
    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        Display().display("pod observer-0: pulling")
        time.sleep(float(self._task.args.get("seconds", 0)))
        return {"changed": False, "warnings": ["mind this"]}
"""


def test_notes_of_actions_and_warnings_are_shown(desk: Desk) -> None:
    desk.write("action_plugins/noting.py", NOTING)
    desk.play("- {name: Quiet, debug: {}}\n- {name: Note, noting: {}}\n")
    lines = desk.run().lines
    note = lines.index("  pod observer-0: pulling")
    assert lines[note - 1].endswith("Try: Note")
    assert "[WARNING]: mind this" in lines


class Terminal:
    """ansible-playbook on a terminal of 60 columns."""

    def __init__(self, desk: Desk, **environment: str) -> None:
        self.process, self._screen = pty.fork()
        if self.process == 0:
            os.chdir(desk.folder)
            os.execvpe(PLAYBOOK_COMMAND, desk.command(), desk.environment(**environment))
        fcntl.ioctl(self._screen, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 60, 0, 0))
        self.out = ""

    def read_until(self, text: str | None, seconds: float = 60) -> None:
        """Read until ``text`` was written, or to the end."""
        limit = time.monotonic() + seconds
        while text is None or text not in self.out:
            assert time.monotonic() < limit, f"no {text!r} in {self.out!r}"
            if select.select([self._screen], [], [], 0.2)[0]:
                try:
                    self.out += os.read(self._screen, 65536).decode(errors="replace")
                except OSError:
                    return

    def type(self, keys: bytes) -> None:
        os.write(self._screen, keys)

    def wait(self) -> int:
        self.read_until(None)
        os.close(self._screen)
        return os.waitpid(self.process, 0)[1]

    def screen(self) -> list[str]:
        """What is seen at the end, without colours."""
        seen = []
        for line in re.sub(r"\x1b\[[\d;]*m", "", self.out).replace("\r\n", "\n").split("\n"):
            row = ""
            for part in re.split(r"(\r|\x1b\[K)", line):
                # After a carriage return text overwrites; ours is always followed by "erase to the end of the line".
                row = row if part == "\x1b[K" else "" if part == "\r" else row + part
            seen.append(row)
        return seen


@pytest.fixture
def waiting(desk: Desk) -> Desk:
    desk.write("action_plugins/noting.py", NOTING)
    desk.play("- {name: Prepare, thing: {changes: [x]}}\n- {name: Wait for it, noting: {seconds: 2.5}}\n")
    return desk


def test_on_a_terminal_one_line_is_redrawn(waiting: Desk) -> None:
    terminal = Terminal(waiting)
    assert terminal.wait() == 0
    frames = re.findall(r"\r([^\r\n\x1b]+)\x1b\[K", terminal.out)
    assert any(re.fullmatch(r"2 of 2, .* left  Try: Wait for it  2 s", frame) for frame in frames), frames
    assert max(map(len, frames)) < 60
    seen = terminal.screen()
    assert not any(re.search(r"  \d s$", line) for line in seen), "nothing of the live line stays"
    assert "  pod observer-0: pulling" in seen and "  changed  x" in seen and "[WARNING]: mind this" in seen
    assert "\x1b[0;33m  changed  x" in terminal.out, "changes have Ansible's colour for them"
    assert "still:" not in terminal.out


def test_no_color_is_heeded(waiting: Desk) -> None:
    terminal = Terminal(waiting, NO_COLOR="1")
    assert terminal.wait() == 0
    assert not re.search(r"\x1b\[[\d;]*m", terminal.out)


@pytest.mark.parametrize("way", ["Ctrl-C", "SIGTERM"])
def test_an_interrupted_run_leaves_the_terminal_clean_and_a_record(waiting: Desk, way: str) -> None:
    terminal = Terminal(waiting)
    terminal.read_until("pulling")
    # Ansible hangs when a worker is killed in the moment in which it hands over what it displays.
    terminal.read_until("Try: Wait for it  1 s")
    if way == "Ctrl-C":
        terminal.type(b"\x03")
    else:
        os.kill(terminal.process, signal.SIGTERM)
    status = terminal.wait()
    assert status == (signal.SIGTERM if way == "SIGTERM" else 99 << 8)
    assert terminal.out.endswith("\n") and not re.search(r"\r[^\r\n\x1b]+\x1b\[K(?!.*\r)", terminal.out, re.DOTALL)
    seen = [line for line in terminal.screen() if line]
    assert ("Ctrl-C: stopping. Once more ends it at once." in seen) == (way == "Ctrl-C")
    assert seen[-1] == "What is done stays done. The same command takes up the rest."
    record = json.loads((waiting.folder / "record.json").read_text())
    assert record["interrupted"] == way and [change["change"] for change in record["changes"]] == ["x"]


# Without a run


def test_the_card_keeps_its_size_whatever_there_is_to_tell(callback: ModuleType) -> None:
    class Counted:
        position, total = 40, 60

    run = callback.Run("playbooks/provision.yml", ["inventories/prod"], False, Counted())
    run.hosts = {"node": dict.fromkeys(callback.STATUSES, 9)}
    run.tasks = [{}]
    run.changes = [
        {"stage": "observer", "task": "t", "host": "node", "change": f"Deployment 관측/observer-{n}: {'장' * 80}"}
        for n in range(70)
    ]
    run.stages = {f"stage_{n}": float(n) for n in range(30)}
    run.card = {
        "runs": ["word " * 60] * 5,
        "reach": ["curl --silent " * 30] * 9,
        "a long label of mine": "한국어 " * 40,
        "next": "do " * 90,
    }
    lines = callback.card_lines(run, "~/.local/state/observer-node/last-run.json")
    assert len(lines) == 25
    assert max(map(callback.columns, lines)) <= 80
    assert "changed  observer 70: every one above, and in" in lines
    assert "         ~/.local/state/observer-node/last-run.json" in lines
    assert lines[-3].startswith("next     do do")
    run.changes = run.changes[:8]
    lines = callback.card_lines(run, "record")
    assert len(lines) == 25 and lines[-3].startswith("next     do do")
    assert max(map(callback.columns, lines)) <= 80
    assert lines[2].startswith("changed  observer: Deployment") and lines[9].endswith("장")
    run.failures = [callback.Failure("observer", "t", "node", "why", "")]
    assert len(callback.change_rows(run, "record")) == 8


def test_long_names_of_changes_keep_both_ends(callback: ModuleType) -> None:
    line = "local_path: /var/lib/rancher/k3s/server/manifests/of/a/long/name/local-storage-and-more.yaml: content"
    assert callback.cut_in_the_middle(line, 200) == line
    cut = callback.cut_in_the_middle(line, 71)
    assert len(cut) == 71 and cut.startswith("local_path: /var")
    assert cut.endswith("/local-storage-and-more.yaml: content")
    korean = callback.cut_in_the_middle("관측" * 60, 71)
    assert 68 < callback.columns(korean) <= 71 and korean.startswith("관측") and korean.endswith("측")


def test_many_changes_are_counted_by_stage(desk: Desk) -> None:
    desk.write("roles/demo/tasks/main.yml", "- thing: {changes: [a, b, c, d, e]}\n")
    desk.play("- {name: Last, thing: {changes: [f, g, h, i]}}", more="roles: [demo]")
    outcome = desk.run()
    assert outcome.card[2] == "changed  demo 5, Try 4: every one above, and in record.json"
    assert [line for line in outcome.lines if line.startswith("  changed")] == [f"  changed  {x}" for x in "abcdefghi"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "a few seconds"), (9, "about 10 s"), (41, "about 50 s"), (65, "about 1 min"), (150, "about 2 min")],
)
def test_estimates_are_as_exact_as_they_can_be(callback: ModuleType, seconds: float, text: str) -> None:
    assert callback.about(seconds) == text


def test_the_closing_card_refuses_labels_that_are_its_own(desk: Desk) -> None:
    desk.play("- {name: Tell, closing_card: {facts: {next: x}}}")
    outcome = desk.run()
    assert outcome.last == (
        'Failed in Try, task "Tell", on here: closing_card: facts has the label next, which is an argument of its own. '
        "What to do: Give next beside facts, not in it."
    )


def test_the_documentation_is_readable_by_ansible_doc(desk: Desk) -> None:
    command = [str(Path(PLAYBOOK_COMMAND).with_name("ansible-doc"))]
    for arguments in (["-t", "callback", "operator"], ["closing_card"]):
        done = subprocess.run(
            [*command, *arguments], cwd=ROOT, env=desk.environment(), capture_output=True, text=True, check=True
        )
        assert "observer-node" in done.stdout and "[WARNING]" not in done.stderr
