"""What the operator sees: progress while a playbook runs, what it changes, one card or one paragraph at its end."""

from __future__ import annotations

DOCUMENTATION = r"""
name: operator
type: stdout
short_description: Progress, changes, a closing card, and failures that say what to do
description:
  - Shows where a run is and about how long it still takes, names every changed thing, and ends with a card of at
    most 25 lines. A run that fails ends with one paragraph that says what failed, where, why, and what to type.
  - With C(-v) or more the output is Ansible's own, that of the callback P(ansible.builtin.default#callback).
  - On a terminal one line is redrawn in place. Elsewhere there are plain lines, and none stays away for longer than
    O(still_interval).
  - Changed things are taken from the result key C(changes), a list of strings, where a module returns one. For other
    modules it is the task's name, with the item's label in a loop.
  - What to do after a failure is taken from the result key C(remedy), a sentence, where there is one.
  - What the card tells about the system is given to the action M(closing_card). In check mode C(runs), C(reach) and
    C(next) are left out, because what they speak of need not be there.
  - The last run is kept in C($XDG_STATE_HOME/observer-node/last-run.json), how long its tasks took in
    C(timings.json) beside it. C(XDG_STATE_HOME) is C(~/.local/state) when it is not set.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
options:
  run_record:
    description: File in which a record of the run is left, as JSON. It is complete when the run has ended.
    type: path
    env: [{name: OBSERVER_NODE_RUN_RECORD}]
    ini: [{section: callback_operator, key: run_record}]
  still_interval:
    description: Where there is no terminal, after so many seconds without a line, one tells what is still running.
    type: float
    default: 15
    env: [{name: OBSERVER_NODE_STILL_INTERVAL}]
    ini: [{section: callback_operator, key: still_interval}]
"""

import atexit
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import textwrap
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from ansible import constants as C
from ansible import context
from ansible._internal._templating._engine import TemplateEngine
from ansible.executor.stats import AggregateStats
from ansible.executor.task_result import CallbackTaskResult
from ansible.inventory.host import Host
from ansible.parsing.dataloader import DataLoader
from ansible.playbook import Playbook
from ansible.playbook.block import Block
from ansible.playbook.handler import Handler
from ansible.playbook.play import Play
from ansible.playbook.task import Task
from ansible.plugins.callback.default import CallbackModule as DefaultCallback
from ansible.plugins.loader import action_loader, become_loader, connection_loader, lookup_loader, shell_loader
from ansible.template import Templar, trust_as_template
from ansible.utils.display import Display

CARD_LINES = 25
CARD_COLUMNS = 80
LABEL_COLUMNS = 9
REASON_CHARACTERS = 900
"""A reason longer than this loses its middle: the beginning says what it is about, the end what went wrong."""

NAMED_CHANGES = 8
"""So many changes are named on the card."""

OF_WHAT_RUNS = ("runs", "reach", "next")
"""What the card tells of a system that in check mode need not be there."""

SLOW_SECONDS = 3.0
"""A task that runs for longer gets its line, even when it changes nothing."""

REMEMBERED_RUNS = 16
QUICK_ACTIONS = {"assert", "debug", "fail", "include_vars", "set_fact", "validate_argument_spec"}


def action_of(task: Task) -> str:
    """The name of the task's action without its collection."""
    return str(task.action).rpartition(".")[2]


def role_of(task: Task) -> str:
    """The role that the task is in, or nothing."""
    return str(task._role.get_name()) if task._role else ""


def stage_of(task: Task, play: Play) -> str:
    """What the operator calls the part of the run that ``task`` is in: its role, or else its play."""
    return role_of(task) or play_name(play)


def play_name(play: Play) -> str:
    """The play's name; its hosts where it has none."""
    return str(play.get_name()).strip()


def name_of(task: Task) -> str:
    """The task's name as it is written, without its role; the action's name where it has none."""
    if action_of(task) == "validate_argument_spec" and str(task.name).startswith("Validating arguments"):
        return "Check the variables"  # Ansible made the task, and gave it a name that fills a line
    return str(task.name).strip() or action_of(task)


def place_of(task: Task) -> str:
    """File and line of the task, as the operator would type it."""
    path, _, line = str(task.get_path() or "").rpartition(":")
    return f"{shown(path)}:{line}" if path else ""


def span(seconds: float) -> str:
    """A time span in words: ``4.2 s``, ``42 s``, ``2 min 5 s``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def about(seconds: float) -> str:
    """A time span as exact as an estimate can be: ``a few seconds``, ``about 40 s``, ``about 2 min``."""
    if seconds < 8:
        return "a few seconds"
    if seconds <= 50:
        return f"about {-(-int(seconds) // 10) * 10} s"
    return f"about {max(1, round(seconds / 60))} min"


def count(number: int, thing: str) -> str:
    """``1 task``, ``2 tasks``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def columns(text: str) -> int:
    """Columns that ``text`` takes on a screen; a Korean syllable takes two."""
    return len(text) + sum(unicodedata.east_asian_width(char) in "WF" for char in text if char > "\u0fff")


def cut(text: str, width: int) -> str:
    """``text`` on one line of at most ``width`` columns."""
    text = " ".join(text.splitlines())
    if columns(text) <= width:
        return text
    while text and columns(text) > width - 1:
        text = text[:-1]
    return text + "…"


def cut_in_the_middle(text: str, width: int) -> str:
    """``text`` on one line of at most ``width`` columns; what is left is its beginning and, twice as long, its end."""
    text = " ".join(text.splitlines())
    if columns(text) <= width:
        return text
    head = cut(text, width // 3)
    end = text[len(head) - 1 :]
    while columns(head + end) > width:
        end = end[1:]
    return head + end


@cache
def shown(path: str | os.PathLike[str]) -> str:
    """``path`` as the operator would type it: relative to the current folder, or to the home folder."""
    absolute = Path(path).absolute()
    for base, prefix in ((Path.cwd(), ""), (Path.home(), "~/")):
        if absolute.is_relative_to(base) and absolute != base:
            return prefix + str(absolute.relative_to(base))
    return str(absolute)


def typed(text: str) -> str:
    """``text`` with the paths in it relative to the current folder."""
    here = str(Path.cwd()).rstrip("/")
    return text.replace(f"{here}/", "") if here else text


def state_file(name: str) -> Path:
    """A file of this project's state on the operator's machine."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()) / "observer-node" / name


def write_private(path: Path, document: object) -> None:
    """Leave ``document`` as JSON at ``path``, whole and readable by its owner only; raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, ensure_ascii=False, indent=1)
            file.write("\n")
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


# --- How far the run is, and how long it still takes


@dataclass(frozen=True)
class Step:
    """A task that the run goes through; ``key`` names it in the timings of earlier runs."""

    uuid: str
    key: str
    rough: float
    """Seconds that such a task takes, for as long as nothing better is known."""


def rough_seconds(task: Task) -> float:
    """A guess for the first run ever: what a task takes follows from what it does."""
    action, words = action_of(task), name_of(task).lower()
    if action in QUICK_ACTIONS:
        return 0.05
    if action == "wait" or "wait" in words or "ready" in words:
        return 15.0
    if any(word in words for word in ("install", "download", "fetch", "image")):
        return 6.0
    return 0.6


def static_tasks(block: Block) -> Iterator[Task]:
    """The tasks of a block in the order in which a run without failures goes through them."""
    for part in (*block.block, *block.always):
        if isinstance(part, Block):
            yield from static_tasks(part)
        elif action_of(part) != "meta":
            yield part


class Plan:
    """The steps of a playbook, counted before it runs, and where the run is among them.

    Steps that tags leave out and plays without hosts are not counted. Files that are included while the playbook
    runs, and handlers, cannot be counted ahead: the former make the total grow, the latter belong to the step before.
    """

    def __init__(self, playbook: Playbook, remembered: Mapping[str, Any]) -> None:
        """``remembered`` is what an earlier run left through timings()."""
        self.steps: list[Step] = []
        self.hosts: dict[str, int] = {}
        self._times: dict[str, list[float | None]] = dict(remembered.get("tasks", {}))
        self._last_share = float(remembered.get("share", 0.0))
        for play in playbook.get_plays():
            with suppress(Exception):  # what is wrong with a play is reported by Ansible when it gets there
                self._add_play(play)
        self._index = {step.uuid: index for index, step in enumerate(self.steps)}
        self._at = -1
        self._included = 0
        self._started = 0.0
        self._changed = self._failed = False
        self._seen: set[str] = set()
        self._could_change = self._did_change = 0

    def _add_play(self, play: Play) -> None:
        manager, variables = play._variable_manager, {}
        names = [play.hosts] if isinstance(play.hosts, str) else list(play.hosts)
        inventory = manager._inventory
        if not any(not re.fullmatch(r"\w+", name) or name in inventory.groups or name in inventory.hosts
                   or name == "localhost" for name in names):
            # Of a group that a play before makes, Ansible would warn that there is none.
            self.hosts[play._uuid] = 0
            return
        with suppress(Exception):
            variables = manager.get_vars(play=play)
        pattern: Any = play.hosts
        hosts = 1
        with suppress(Exception):
            engine = TemplateEngine(loader=play._loader, variables=variables)
            pattern = engine.template(pattern) if engine.is_template(pattern) else pattern
            hosts = len(inventory.get_hosts(pattern))
        self.hosts[play._uuid] = hosts
        if not hosts:
            return
        name = play_name(play)
        gathers = play.gather_facts if play.gather_facts is not None else C.DEFAULT_GATHERING != "explicit"
        if gathers in (True, "yes", "true", "True"):
            self.steps.append(Step(self.facts_step(play), f"{name}/Gathering Facts", 1.5))
        for block in play.compile():
            for task in static_tasks(block):
                with suppress(Exception):
                    if not task.evaluate_tags(play.only_tags, play.skip_tags, all_vars=variables):
                        continue
                key = f"{name}/{role_of(task)}/{name_of(task)}"
                self.steps.append(Step(task._uuid, key, rough_seconds(task)))

    @staticmethod
    def facts_step(play: Play) -> str:
        """Stands for the task that gathers facts, which Ansible makes anew whenever a play starts."""
        return f"facts of {play._uuid}"

    @property
    def position(self) -> int:
        """Which step, from 1, is running."""
        return self._at + 1 + self._included

    @property
    def total(self) -> int:
        """How many steps there are, as far as known."""
        return len(self.steps) + self._included

    def begin(self, task: Task, play: Play) -> None:
        """A task starts. Handlers and what a rescue does belong to the step before."""
        index = self._index.get(task._uuid)
        if index is None and task._role is None and action_of(task) == "gather_facts":
            index = self._index.get(self.facts_step(play))
        if index is None:
            if task._uuid not in self._seen and not isinstance(task, Handler) and not in_part(task, "rescue"):
                self._included += 1
            self._seen.add(task._uuid)
        elif index > self._at:
            self.end_step()
            self._at, self._started = index, time.monotonic()
            self._changed = self._failed = False

    def note(self, *, changed: bool, failed: bool) -> None:
        """A result came in for the running step."""
        self._changed |= changed
        self._failed |= failed

    def end_step(self) -> None:
        """The running step is over: remember what it took, until now."""
        if self._at < 0 or self._failed:
            return
        times = self._times.setdefault(self.steps[self._at].key, [None, None])
        if times[1] is not None:
            self._could_change += 1
            self._did_change += self._changed
        times[self._changed] = round(time.monotonic() - self._started, 3)

    def _expected(self, step: Step, share: float) -> float:
        unchanged, changed = self._times.get(step.key, (None, None))
        if unchanged is None or changed is None:
            return next((known for known in (unchanged, changed) if known is not None), step.rough)
        return unchanged + share * (changed - unchanged)

    def left(self) -> float:
        """Seconds until the end, estimated.

        A task is remembered with two times, for when it changes something and when it does not. Which of them counts
        for the tasks to come is told by those so far: a new node changes all, a repeated run nothing.
        """
        share = (self._did_change + 2 * self._last_share) / (self._could_change + 2)
        rest = sum(self._expected(step, share) for step in self.steps[self._at + 1 :])
        if self._at >= 0:
            spent = time.monotonic() - self._started
            rest += max(0.0, self._expected(self.steps[self._at], share) - spent)
        return rest

    def timings(self) -> dict[str, Any]:
        """What a later run of the same kind is told."""
        share = self._did_change / self._could_change if self._could_change else self._last_share
        known = {step.key for step in self.steps}
        tasks = {key: times for key, times in self._times.items() if key in known}
        return {"at": int(time.time()), "share": round(share, 3), "tasks": tasks}


class Memory:
    """The timings of earlier runs. A file that cannot be read or written costs the estimate, never the run."""

    def __init__(self, key: str) -> None:
        self._path, self._key = state_file("timings.json"), key

    def _all(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            document = json.loads(self._path.read_text(encoding="utf-8"))
            if isinstance(document, dict):
                return document
        return {}

    def recall(self) -> dict[str, Any]:
        """What was kept under this key; anything that is not of the expected form is left out."""
        kept = self._all().get(self._key)
        if not isinstance(kept, dict) or not isinstance(kept.get("tasks"), dict):
            return {}

        def is_time(value: object) -> bool:
            return value is None or isinstance(value, int | float)

        tasks = {
            key: times
            for key, times in kept["tasks"].items()
            if isinstance(times, list) and len(times) == 2 and all(map(is_time, times))
        }
        share = kept.get("share")
        return {"tasks": tasks, "share": share if isinstance(share, int | float) else 0.0}

    def keep(self, timings: Mapping[str, Any]) -> None:
        """Remember ``timings`` under this key, and only the latest of all runs."""
        runs = {key: run for key, run in self._all().items() if isinstance(run, dict)} | {self._key: timings}
        latest = sorted(runs, key=lambda key: str(runs[key].get("at")))[-REMEMBERED_RUNS:]
        with suppress(OSError):
            write_private(self._path, {key: runs[key] for key in latest})


# --- Why something failed, and what to do


@dataclass(frozen=True)
class Failure:
    """What ended a run: ``stage`` and ``task`` say what, ``host`` where, and ``remedy`` what to type."""

    stage: str
    task: str
    host: str
    why: str
    remedy: str

    def paragraph(self, width: int) -> str:
        """All of it in one paragraph, wrapped to ``width`` columns."""
        what = f"Failed in {self.stage}" if self.stage else "Failed"
        if self.task:
            what += f', task "{self.task}"'
        if self.host:
            what += f", on {self.host}"
        sentences = [f"{what}: {sentence(self.why)}"]
        if self.remedy:
            sentences.append(f"What to do: {sentence(self.remedy)}")
        return "\n".join(wrapped(" ".join(sentences), width))


def wrapped(text: str, width: int) -> list[str]:
    """``text`` in lines of at most ``width`` columns; a word, such as a path, is never broken."""
    lines: list[str] = []
    for word in text.split():
        if lines and columns(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def sentence(text: str) -> str:
    """``text`` on one line, with a full stop unless it ends with a mark or with something to type."""
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?")) else f"{text}."


NOISE = re.compile(
    r"^(?:Task failed:|Module failed:|Failed to connect to the host via ssh:|Error rendering template:"
    r"|Finalization of task args for '[^']*' failed:|Error while evaluating conditional:"
    r"|Error while resolving value for '[^']*':"
    r'|Data could not be sent to remote host "[^"]*"\. Make sure this host can be reached over ssh:)\s*'
)
NO_REASON = re.compile(r"^(non-zero return code|Error executing command\.|MODULE FAILURE.*|Module result deseria.*|)$")


def plain(message: str) -> str:
    """Ansible's message without the words that tell how its inside came to it."""
    while (shorter := NOISE.sub("", message)) != message:
        message = shorter
    if len(message) > REASON_CHARACTERS:
        half = REASON_CHARACTERS // 2
        message = f"{message[:half]} … {message[-half:]}"
    return message


def tail(text: object, lines: int = 3) -> str:
    """The last lines of a program's output, which is where it says why it gave up."""
    return " / ".join([line.strip() for line in str(text or "").splitlines() if line.strip()][-lines:])


def root_cause(exception: object) -> str:
    """The message at the end of a chain of errors, or nothing; traceback and source are never shown."""
    event = getattr(exception, "event", None)
    while event is not None and event.chain is not None:
        event = event.chain.event
    return str(event.msg) if event is not None else ""


def label(item: Mapping[str, Any]) -> str:
    """What names an item of a loop, or nothing: a structure is never shown whole, it might hold a secret."""
    if item.get("_ansible_no_log"):
        return ""
    value = item.get("_ansible_item_label", item.get(item.get("ansible_loop_var", "item")))
    if isinstance(value, Mapping):
        value = next((value[key] for key in ("name", "path", "dest", "key") if value.get(key)), "")
    return cut(str(value), 60) if isinstance(value, str | int | float) else ""


def reason(data: Mapping[str, Any], exception: object = None) -> str:
    """Why a result is a failure, in one piece, from whatever the module left."""
    if "censored" in data or data.get("_ansible_no_log"):
        return "its output is hidden, because the task handles secrets (no_log)"
    if data.get("argument_errors"):
        role = (data.get("validate_args_context") or {}).get("name", "")
        return f"the variables of role {role} are not right: " + "; ".join(map(str, data["argument_errors"]))
    failed = [item for item in data.get("results") or () if isinstance(item, Mapping) and item.get("failed")]
    if failed:
        reasons = [f"{label(item)}: {reason(item)}".removeprefix(": ").rstrip(".") for item in failed[:3]]
        more = [f"and {len(failed) - 3} more"] if len(failed) > 3 else []
        return "; ".join(reasons + more)
    message = data.get("msg") or data.get("reason") or ""
    message = " ".join(map(str, message)) if isinstance(message, list) else str(message)
    message = plain(message)
    if message == "Assertion failed":
        return f"the assertion does not hold: {data.get('assertion')}"
    if not NO_REASON.match(message):
        return message
    outputs = (tail(data.get(key)) for key in ("module_stderr", "stderr", "module_stdout", "stdout"))
    said = next(filter(None, outputs), "") or NO_REASON.sub("", plain(root_cause(exception)))
    if data.get("failed_when_result") and not data.get("rc"):
        return "what it returned counts as a failure (failed_when)" + (f": {said}" if said else "")
    status = f"exit status {data['rc']}" if data.get("rc") is not None else ""
    return ": ".join(filter(None, (status, said))) or message or "it gave no reason"


def vault_files() -> list[str]:
    """Vaulted files from which this run takes variables, as the operator would type them."""
    folders = {Path(source) for source in context.CLIARGS.get("inventory") or ()}
    folders = {path if path.is_dir() else path.parent for path in folders} | {Path.cwd()}
    found = []
    for folder in folders:
        for kind in ("group_vars", "host_vars"):
            for path in sorted((folder / kind).rglob("*")):
                with suppress(OSError):
                    if path.is_file() and path.open("rb").read(14) == b"$ANSIBLE_VAULT":
                        found.append(shown(path))
    return found


def says_what_to_do(message: str) -> bool:
    """Whether a message of the project's own names a command or a document that helps."""
    return bool(re.search(r"`[^`]+`|\brun `|\bsee docs/", message))


def remedy_for_message(message: str) -> str:
    """What to do about an error of Ansible's own, or nothing where its message has to do."""
    if "vault secrets" in message or "ecryption failed" in message:
        files = " and ".join(vault_files()) or "the vaulted value"
        if "no vault secrets found" in message and "decrypt)" not in message:
            return f"give the vault password that opens {files}: add --ask-vault-pass, or --vault-password-file FILE"
        return (
            f"give the password that opens {files}: run again with --ask-vault-pass, or put the right "
            "one where --vault-password-file or ANSIBLE_VAULT_PASSWORD_FILE points"
        )
    if match := re.search(r"'([a-z]\w*)' is undefined", message):
        return f"define {match[1]} in the inventory (group_vars or host_vars), or pass it with -e {match[1]}=VALUE"
    if "sudo password" in message or "password is required" in message:
        return "add --ask-become-pass, or let the user become root without a password on that host"
    return ""


def ssh_command(play: Play, host: Host) -> str:
    """The command by which the operator can try to reach ``host`` as Ansible does."""
    variables = play._variable_manager.get_vars(play=play, host=host, include_hostvars=False)
    engine = TemplateEngine(loader=play._loader, variables=variables)
    variables = {key: engine.template(value) for key, value in variables.items() if key.startswith("ansible_")}

    def option(name: str) -> str:
        value = C.config.get_config_value(name, plugin_type="connection", plugin_name="ssh", variables=variables)
        return str(value or "")

    words = ["ssh", option("ssh_common_args"), option("ssh_extra_args")]
    if key := option("private_key_file"):
        words.append(f"-i {key}")
    if port := option("port"):
        words.append(f"-p {port}")
    user = option("remote_user") or str(play.remote_user or "")
    words.append(f"{user}@" * bool(user) + str(variables.get("ansible_host") or host.name))
    return " ".join(filter(None, words))


def remedy_for(result: CallbackTaskResult, why: str, play: Play) -> str:
    """What to do about a failed result; nothing where the playbook's own message says it already."""
    data, task = result.result, result.task
    if data.get("remedy"):
        return str(data["remedy"])
    if data.get("unreachable"):
        with suppress(Exception):
            return f"see whether this works, and mend what it complains about: {ssh_command(play, result.host)}"
        return "see that the host is up and that its address in the inventory is right"
    if data.get("argument_errors"):
        documented = Path((data.get("validate_args_context") or {}).get("path", ""), "README.md")
        return "mend them in the inventory" + f"; {shown(documented)} says what they are" * documented.is_file()
    if says_what_to_do(why):
        return ""
    if known := remedy_for_message(why):
        return known
    if action_of(task) in ("assert", "fail") and data.get("msg") != "Assertion failed":
        return ""
    if "censored" in data:
        return f"see the task at {place_of(task)}; its output is hidden with -v, too"
    return f"run again with -v for Ansible's own output; the task is at {place_of(task)}"


def in_part(task: Task, part: str) -> bool:
    """Whether ``task`` is, at any depth, in the ``block`` or ``rescue`` part of a block that has a rescue."""
    below, parent = {task._uuid}, task._parent
    while parent is not None:
        if isinstance(parent, Block) and parent.rescue and any(child._uuid in below for child in getattr(parent, part)):
            return True
        below.add(parent._uuid)
        parent = parent._parent
    return False


# --- What happened


def changed_things(result: CallbackTaskResult, *, failed: bool) -> list[str]:
    """What a result changed, each thing by its name; for modules that do not tell, the task's name.

    A module that fails may have changed something before; only the list that it returns tells.
    """
    if not result.is_changed():
        return []
    data, name = result.result, name_of(result.task)
    items = data.get("results")
    if not result.task.loop or not isinstance(items, list):
        return _own_changes(data) or ([] if failed else [name])
    found = []
    for item in items:
        if isinstance(item, Mapping) and item.get("changed"):
            unnamed = [] if item.get("failed") else [f"{name} ({label(item)})".removesuffix(" ()")]
            found += _own_changes(item) or unnamed
    return found


def _own_changes(data: Mapping[str, Any]) -> list[str]:
    changes = data.get("changes")
    return [str(change) for change in changes] if isinstance(changes, list) else []


STATUSES = ("ok", "changed", "skipped", "failed", "ignored", "rescued", "unreachable")
"""A result counts once; one that changed something is not counted among those that are ok."""


def executed(counts: Mapping[str, int]) -> int:
    """Tasks that ran, of all that have one of STATUSES."""
    return sum(number for status, number in counts.items() if status not in ("skipped", "unreachable"))


@dataclass
class Run:
    """A run of one playbook: what a record of it says, and what the card is made from."""

    playbook: str
    inventory: list[str]
    check_mode: bool
    plan: Plan
    started: float = field(default_factory=time.time)
    hosts: dict[str, dict[str, int]] = field(default_factory=dict)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, str]] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    card: dict[str, Any] = field(default_factory=dict)
    interrupted: str = ""
    ended: bool = False
    _clock: float = field(default_factory=time.monotonic)
    _begun: float = field(default_factory=time.monotonic)
    _stage: str = ""
    _task_clocks: dict[str, float] = field(default_factory=dict)
    _rescued: dict[str, Failure] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Since the playbook started."""
        return time.monotonic() - self._begun

    def begin(self, task: Task, play: Play) -> str:
        """A task or a handler starts; returns its stage."""
        self._enter(stage := stage_of(task, play))
        self._task_clocks[task._uuid] = time.monotonic()
        self.plan.begin(task, play)
        return stage

    def _enter(self, stage: str) -> None:
        """Count the time since the last call for the stage that ends."""
        now = time.monotonic()
        if self._stage:
            self.stages[self._stage] = self.stages.get(self._stage, 0.0) + now - self._clock
        self._clock, self._stage = now, stage

    def add(self, result: CallbackTaskResult, status: str, play: Play) -> list[str]:
        """A result comes in: ``status`` is ok, skipped, failed, ignored, rescued or unreachable.

        Returns the things that it changed, or in check mode would change.
        """
        task, host = result.task, result.host.get_name()
        stage, name = stage_of(task, play), name_of(task)
        foreseen = bool(result.task_fields.get("check_mode")) and not self.check_mode
        failed = status in ("failed", "ignored", "rescued", "unreachable")
        changes = [] if foreseen else changed_things(result, failed=failed)
        changed = bool(changes)
        counts = self.hosts.setdefault(host, dict.fromkeys(STATUSES, 0))
        counts["changed" if changed and status == "ok" else status] += 1
        self.changes += [{"stage": stage, "task": name, "host": host, "change": change} for change in changes]
        self.tasks.append(
            {
                "play": play_name(play),
                "role": role_of(task),
                "task": name,
                "path": place_of(task),
                "host": host,
                "seconds": round(time.monotonic() - self._task_clocks.get(task._uuid, self._begun), 3),
                "status": status,
                "changed": changed,
                "changes": changes,
            }
        )
        self.plan.note(changed=changed, failed=failed)
        if action_of(task) == "closing_card" and isinstance(result.result.get("card"), Mapping):
            told = result.result["card"]
            self.card = {name: told[name] for name in told if not (self.check_mode and name in OF_WHAT_RUNS)}
        return changes

    def fail(self, result: CallbackTaskResult, play: Play, *, rescued: bool) -> None:
        """A result is a failure that a rescue takes up, or one that ends the run for its host."""
        task, host = result.task, result.host.get_name()
        why = reason(result.result, result.exception)
        if result.result.get("unreachable"):
            why = f"the host cannot be reached: {why}"
        elif attempts := result.result.get("attempts"):
            why = f"after {count(int(attempts), 'try').replace('trys', 'tries')}, {why}"
        where = f"{task.delegate_to} for {host}" if task.delegate_to and task.delegate_to != host else host
        stage = stage_of(task, play)
        name = "" if result.result.get("argument_errors") else name_of(task)  # the reason says it already
        failure = Failure(stage, name, where, why, remedy_for(result, why, play))
        if rescued:
            self._rescued[host] = failure
            return
        first = self._rescued.get(host)
        if first and action_of(task) == "fail" and in_part(task, "rescue"):
            # A rescue that restores what was there and then fails again: the first failure is the one to tell.
            failure = Failure(first.stage, first.task, first.host, why, failure.remedy or first.remedy)
        self.failures.append(failure)

    def end(self) -> None:
        """The playbook is over: close the last stage."""
        self._enter("")
        if not self.failures and not self.interrupted:
            self.plan.end_step()
        self.ended = True

    def record(self) -> dict[str, Any]:
        """All of the run that is kept, for JSON."""
        failures = [asdict(failure) for failure in self.failures]
        return {
            "playbook": self.playbook,
            "inventory": self.inventory,
            "check_mode": self.check_mode,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started)),
            "seconds": round(self.seconds, 3),
            "stats": self.hosts,
            "executed_tasks": {host: executed(counts) for host, counts in self.hosts.items()},
            "stages": {stage: round(seconds, 3) for stage, seconds in self.stages.items()},
            "tasks": self.tasks,
            "changes": self.changes,
            "card": self.card,
            "interrupted": self.interrupted,
            "failure": failures[0] if failures else None,
            "failures": failures,
        }


# --- The closing card


def row(name: str, text: str, limit: int, *, command: bool = False) -> list[str]:
    """``name`` and ``text`` as lines of the card, at most ``limit``; a command is broken so that it can be pasted."""
    width = CARD_COLUMNS - LABEL_COLUMNS - 2 * command
    # A path or an address is of no use when it is cut.
    lines = [cut(line, width) if " " in line else line for line in wrapped(text, width)] or [""]
    if len(lines) > limit:
        lines = [*lines[: limit - 1], cut(" ".join(lines[limit - 1 :]), width)]
    if command:
        lines = [f"{line} \\" for line in lines[:-1]] + lines[-1:]
    labels = [cut(name, LABEL_COLUMNS - 1)] + [""] * len(lines)
    return [f"{a:<{LABEL_COLUMNS}}{line}" for a, line in zip(labels, lines, strict=False)]


def fact_rows(card: Mapping[str, Any], limit: int) -> list[str]:
    """What the playbook told about the system, in its order, with what to do next at the end."""
    closing = row("next", typed(str(card["next"])), 3) if card.get("next") else []
    rows: list[str] = []
    for name, value in card.items():
        if name == "next":
            continue
        for index, text in enumerate(value if isinstance(value, list) else [value]):
            rows += row(name if index == 0 else "", typed(str(text)), 3, command=name == "reach")
    return rows[: max(0, limit - len(closing))] + closing


def change_rows(run: Run, record: str) -> list[str]:
    """A few changes by name, many by their number in each stage; in at most NAMED_CHANGES lines."""
    name = "would" if run.check_mode else "changed"
    if len(run.changes) > NAMED_CHANGES:
        stages = Counter(change["stage"] for change in run.changes)
        told = ", ".join(f"{stage} {number}" for stage, number in stages.items())
        told = cut(told, 4 * (CARD_COLUMNS - LABEL_COLUMNS))
        return row(name, f"{told}: every one above, and in {record}", NAMED_CHANGES)
    many = len({change["host"] for change in run.changes}) > 1
    lines = [f"{change['stage']}: " + f"{change['host']}: " * many + change["change"] for change in run.changes]
    return [
        f"{'' if index else name:<{LABEL_COLUMNS}}" + cut_in_the_middle(line, CARD_COLUMNS - LABEL_COLUMNS)
        for index, line in enumerate(lines)
    ]


def verdict(run: Run) -> str:
    """The first line of the card."""
    number = len(run.changes)
    changes = count(number, "change")
    if run.interrupted or run.failures:
        what = f"Interrupted by {run.interrupted}" if run.interrupted else "Failed"
        before = "nothing was changed" if run.check_mode else f"{changes if number else 'no change'} before it"
        text = f"{what} at {run.plan.position} of {run.plan.total}, after {span(run.seconds)}; {before}."
    elif not run.tasks:
        text = "Nothing was done: no host of the inventory matched."
    elif run.check_mode:
        text = f"Checked in {span(run.seconds)}: nothing was changed; {changes} would be made."
    elif number:
        text = f"Done in {span(run.seconds)}: {changes}."
    else:
        text = f"Done in {span(run.seconds)}: all was as it should be, nothing changed."
    return text


def card_lines(run: Run, record: str) -> list[str]:
    """The card: at most CARD_LINES lines of at most CARD_COLUMNS columns; ``record`` is where the rest can be read."""
    ran = sum(executed(counts) for counts in run.hosts.values())
    skipped = sum(counts["skipped"] for counts in run.hosts.values())
    what = ", ".join([run.playbook, *run.inventory])
    head = [verdict(run), *row("tasks", f"{ran} ran, {skipped} skipped ({what})", 1)]
    slowest = sorted(run.stages.items(), key=lambda stage: -stage[1])
    kept = {stage for stage, _ in slowest[:12]}
    spent = ", ".join(f"{stage} {span(seconds)}" for stage, seconds in run.stages.items() if stage in kept)
    times = row("time", spent, 3) if spent else []
    lines = head + change_rows(run, record) + times
    if run.failures or run.interrupted:
        return lines
    return lines + fact_rows(run.card, CARD_LINES - len(lines))


# --- The screen


class Screen:
    """The one place that writes to the screen while a playbook runs, so that a line redrawn in place stays whole.

    Takes the place of Display.display, because warnings, and what actions tell from their processes, come by that way.
    Ansible's own lock is used: it holds it while it forks, so that no child is born with a lock that nobody opens.
    """

    def __init__(self, display: Display, live: Callable[[], str], tell: Callable[..., bool]) -> None:
        """``live`` gives the line to redraw, or nothing; ``tell`` is asked first about what others want to show."""
        self._display, self._original, self._process = display, display.display, os.getpid()
        self._live, self._tell = live, tell
        self.lock = display._lock
        self.terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.last = time.monotonic()
        self._drawn = False

    def open(self) -> None:
        """From now on all that is displayed comes through here."""
        self._display.display = self._display_for_others

    def close(self) -> None:
        """Leave the screen as a program that is gone would: no line half drawn, and others write by themselves."""
        self._live = str
        with suppress(AttributeError):
            del self._display.display
        with suppress(OSError, ValueError, RuntimeError), self.lock:
            self._erase()
            sys.stdout.flush()

    def line(self, text: str, color: str | None = None) -> None:
        """Show ``text`` above the line that is redrawn."""
        with self.lock:
            self._erase()
            self._original(text, color=color)
            self.last = time.monotonic()
            self.redraw()

    def redraw(self) -> None:
        """Draw the live line anew, and let all that was written be seen."""
        with suppress(OSError, ValueError), self.lock:
            if self.terminal and (text := self._live()):
                width = shutil.get_terminal_size().columns - 1
                sys.stdout.write(f"\r{cut(text, width)}\x1b[K")
                self._drawn = True
            sys.stdout.flush()

    def _erase(self) -> None:
        if self._drawn:
            sys.stdout.write("\r\x1b[K")
            self._drawn = False

    def _display_for_others(self, msg: str, *args: object, **kwargs: object) -> None:
        if os.getpid() != self._process:  # an action's process: Ansible carries the call over here
            self._original(msg, *args, **kwargs)
            return
        with self.lock:
            if self._tell(msg, stderr=bool(kwargs.get("stderr"))):
                return
            self._erase()
            sys.stdout.flush()
            self._original(msg if kwargs.get("stderr") else textwrap.indent(msg, "  "), *args, **kwargs)
            sys.stderr.flush()
            self.last = time.monotonic()
            self.redraw()


@cache
def warm_up() -> None:
    """Load once, in this process, what every task would load again in a process of its own.

    Ansible runs a task in a fork, and what a fork imports is gone with it: over a run that changes nothing this is
    a good second of its few.
    """
    with suppress(Exception):  # it saves time and does nothing else
        for loader, names in ((connection_loader, ("ansible.builtin.ssh", "ansible.builtin.local")),
                              (become_loader, ("ansible.builtin.sudo",)), (shell_loader, ("ansible.builtin.sh",)),
                              (lookup_loader, ("ansible.builtin.template", "ansible.builtin.file",
                                               "ansible.builtin.env")),
                              (action_loader, ("ansible.builtin.normal", "ansible.builtin.validate_argument_spec"))):
            for name in names:
                loader.get(name, class_only=True)
        Templar(DataLoader()).template(trust_as_template(
            "{{ 'a' | regex_replace('b', 'c') | default('') | to_json | hash is match('b') }}"))


class CallbackModule(DefaultCallback):  # type: ignore[misc]
    """Hears what Ansible does; keeps a record of it; shows it, or with -v lets Ansible's own callback show it."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "operator"

    def __init__(self) -> None:
        super().__init__()
        self._verbose = self._display.verbosity > 0
        self._run: Run | None = None
        self._memory: Memory | None = None
        self._screen: Screen | None = None
        self._play: Any = None
        self._current: tuple[str, str, float] | None = None  # stage, task, when it started
        self._announced = True
        self._quiet = False
        self._stage_shown = ""
        self._error = ""
        self._diffs: list[str] = []
        self._caught = False
        self._over = threading.Event()

    def _init_callback_methods(self) -> None:
        super()._init_callback_methods()
        if not self._verbose:
            # The inherited methods print; Ansible need not copy results for those that have no say here.
            self._implemented_callback_methods &= frozenset(vars(CallbackModule))

    # Events

    def v2_playbook_on_start(self, playbook: Playbook) -> None:
        """A playbook starts."""
        warm_up()
        sources = [shown(str(source).rstrip(",")) for source in context.CLIARGS.get("inventory") or ()]
        inventory = sources or [str(C.DEFAULT_HOST_LIST)]
        check = bool(context.CLIARGS.get("check"))
        name = shown(playbook._file_name)
        kind = "check" if check else "run"
        self._memory = Memory(" | ".join([str(Path(playbook._file_name).absolute()), *inventory, kind]))
        remembered = self._memory.recall()
        self._run = Run(name, inventory, check, Plan(playbook, remembered))
        self._catch_end()
        if self._verbose:
            super().v2_playbook_on_start(playbook)
            return
        self._screen = Screen(self._display, self._live_line, self._tell)
        self._screen.open()
        self._stage_shown = self._error = ""
        known = "" if remembered else ", a first guess"
        mode = ", check mode: nothing is changed" if check else ""
        steps = count(self._run.plan.total, "step")
        self._screen.line(f"{name}, {', '.join(inventory)}: {steps}, {about(self._run.plan.left())}{known}{mode}")
        self._over = threading.Event()
        threading.Thread(target=self._tick, args=(self._over,), name="operator", daemon=True).start()

    def v2_playbook_on_play_start(self, play: Play) -> None:
        """A play starts."""
        self._show_held()
        self._play, self._current = play, None
        if self._verbose:
            super().v2_playbook_on_play_start(play)

    def v2_playbook_on_task_start(self, task: Task, is_conditional: bool) -> None:
        """A task starts."""
        self._begin(task)
        if self._verbose:
            super().v2_playbook_on_task_start(task, is_conditional)

    def v2_playbook_on_handler_task_start(self, task: Task) -> None:
        """A handler starts."""
        self._begin(task)
        if self._verbose:
            super().v2_playbook_on_handler_task_start(task)

    def v2_on_file_diff(self, result: CallbackTaskResult) -> None:
        """With --diff, what a task changed in a file."""
        if self._verbose:
            super().v2_on_file_diff(result)
            return
        data = result.result
        parts = data["results"] if result.task.loop and "results" in data else [data]
        parts = [part for part in parts if isinstance(part, Mapping) and part.get("diff") and part.get("changed")]
        self._diffs = [text for part in parts if (text := self._get_diff(part["diff"]).rstrip("\n"))]

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        """A task succeeded on a host."""
        self._finish(result, "ok")
        if self._verbose:
            super().v2_runner_on_ok(result)
        elif action_of(result.task) == "debug" and not result.task.loop:
            self._announce()
            self._line(textwrap.indent(self._debugged(result.result), "  "), C.COLOR_DEBUG)

    def v2_runner_on_skipped(self, result: CallbackTaskResult) -> None:
        """A task was skipped on a host."""
        self._finish(result, "skipped")
        if self._verbose:
            super().v2_runner_on_skipped(result)

    def v2_runner_on_failed(self, result: CallbackTaskResult, ignore_errors: bool = False) -> None:
        """A task failed on a host."""
        rescued = in_part(result.task, "block")
        self._finish(result, "ignored" if ignore_errors else "rescued" if rescued else "failed")
        if self._run and not ignore_errors:
            self._run.fail(result, self._play, rescued=rescued)
        if self._verbose:
            super().v2_runner_on_failed(result, ignore_errors)
        elif not ignore_errors and not rescued:
            self._announce()
            self._line("  failed" + self._on(result), C.COLOR_ERROR)

    def v2_runner_on_unreachable(self, result: CallbackTaskResult) -> None:
        """A host cannot be reached."""
        ignored = bool(result.task.ignore_unreachable)
        self._finish(result, "ignored" if ignored else "unreachable")
        if self._run and not ignored:
            self._run.fail(result, self._play, rescued=False)
        if self._verbose:
            super().v2_runner_on_unreachable(result)
        elif not ignored:
            self._announce()
            self._line("  cannot be reached" + self._on(result), C.COLOR_UNREACHABLE)

    def v2_playbook_on_stats(self, stats: AggregateStats) -> None:
        """The playbook is over."""
        self._show_held()
        self._end()
        if self._verbose:
            super().v2_playbook_on_stats(stats)

    # While it runs

    def _begin(self, task: Task) -> None:
        self._show_held()
        if self._run is None:
            return
        stage = self._run.begin(task, self._play)
        self._current = stage, name_of(task), time.monotonic()
        self._announced = False
        self._quiet = action_of(task) == "pause"  # it asks something: nothing may be drawn over the question
        if self._screen is None:
            return
        if stage != self._stage_shown:
            self._announce()
        elif not self._quiet:
            self._screen.redraw()

    def _finish(self, result: CallbackTaskResult, status: str) -> None:
        if self._current is not None and time.monotonic() - self._current[2] > SLOW_SECONDS:
            self._announce()
        if self._error and self._error.splitlines()[0] in str(result.result.get("reason")):
            self._error = ""  # an include that fails is displayed by Ansible, and then comes as a result
        self._show_held()
        if self._run is None:
            return
        changes = self._run.add(result, status, self._play)
        if self._verbose:
            return
        if result.warnings or result.deprecations:
            self._handle_warnings(result.result)
        would = "  would change  " if self._run.check_mode else "  changed  "
        for change in changes:
            self._announce()
            self._line(would + self._on(result, after=": ").lstrip() + change, C.COLOR_CHANGED)
        diffs, self._diffs = self._diffs, []
        for diff in diffs:
            self._announce()
            self._line(diff)

    def _on(self, result: CallbackTaskResult, after: str = "") -> str:
        """The host of a result where the play has several."""
        several = self._run is not None and self._run.plan.hosts.get(self._play._uuid, 1) > 1
        return f"  {result.host.get_name()}{after}" if several else ""

    def _debugged(self, data: Mapping[str, Any]) -> str:
        if "msg" in data:
            lines = data["msg"] if isinstance(data["msg"], list) else [data["msg"]]
            return "\n".join(line if isinstance(line, str) else json.dumps(line, default=str) for line in lines)
        values = {key: value for key, value in data.items() if key not in self._hide_in_debug and key[0] != "_"}
        return "\n".join(
            f"{key}: {json.dumps(value, default=str, ensure_ascii=False)}" for key, value in values.items()
        )

    def _progress(self) -> str:
        assert self._run is not None
        plan = self._run.plan
        return f"{plan.position} of {plan.total}, {about(plan.left())} left"

    def _announce(self) -> None:
        """Show the line of the running task, once."""
        if self._screen is None or self._current is None:
            return
        with self._screen.lock:
            if not self._announced:
                self._announced = True
                stage, task, _ = self._current
                self._stage_shown = stage
                self._screen.line(f"{self._progress()}  {stage}: {task}")

    def _line(self, text: str, color: str | None = None) -> None:
        if self._screen is not None:
            self._screen.line(text, color)

    def _live_line(self) -> str:
        if self._current is None or self._quiet:
            return ""
        stage, task, started = self._current
        elapsed = f"  {time.monotonic() - started:.0f} s"
        width = shutil.get_terminal_size().columns - 1 - len(elapsed)
        return cut(f"{self._progress()}  {stage}: {task}", width) + elapsed

    def _tick(self, over: threading.Event) -> None:
        """Keep the live line up to date; without a terminal, see to it that no silence lasts."""
        still_interval = float(self.get_option("still_interval"))
        while not over.wait(min(1.0, still_interval / 2)):
            screen, current = self._screen, self._current
            if screen is None or current is None or self._quiet:
                continue
            if screen.terminal:
                screen.redraw()
                continue
            elapsed = time.monotonic() - current[2]
            with screen.lock:
                if elapsed > SLOW_SECONDS and not self._announced and current is self._current:
                    self._announce()
                elif time.monotonic() - screen.last >= still_interval and current is self._current:
                    screen.line(f"still: {current[0]}: {current[1]}, {elapsed:.0f} s")

    def _tell(self, msg: str, *, stderr: bool) -> bool:
        """Something is displayed that is not from here: say whether it is to be held back."""
        if stderr and msg.startswith("[ERROR]: ") and threading.current_thread() is threading.main_thread():
            # What ends the run comes by this way, and nothing after it. It is told at the end, as one paragraph.
            self._show_held()
            self._error = msg.removeprefix("[ERROR]: ")
            return True
        if not stderr:
            self._announce()
        return False

    def _show_held(self) -> None:
        """The run goes on, so the error that was held back did not end it."""
        if self._error and self._screen is not None:
            error, self._error = self._error, ""
            self._screen.line(f"[ERROR]: {error}", C.COLOR_ERROR)

    # At the end

    def _catch_end(self) -> None:
        """See to it that the run is closed when Ansible is interrupted, stopped, or gives up."""
        if self._caught:
            return
        self._caught = True
        atexit.register(self._give_up)
        process = os.getpid()
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def stop(number: int, frame: FrameType | None) -> None:
            if os.getpid() == process:
                with suppress(RuntimeError):  # the signal came while something was being written
                    self._stopping(signal.Signals(number))
            # Ansible tells its workers. It ends at once on SIGTERM, and on SIGINT by way of an error.
            ansible = before[signal.Signals(number)]
            if callable(ansible):
                ansible(number, frame)

        for number in before:
            signal.signal(number, stop)

    def _stopping(self, number: signal.Signals) -> None:
        if number == signal.SIGTERM:
            self._give_up("SIGTERM")
        elif self._screen is not None:
            self._current = None
            self._line("Ctrl-C: stopping. Once more ends it at once.")

    def _give_up(self, interrupted: str = "") -> None:
        """The run ends without Ansible's summary: by a signal, or by an error outside of tasks."""
        run = self._run
        if run is None or run.ended:
            return
        error, self._error = self._error, ""
        if error.startswith("User interrupted execution"):
            interrupted = "Ctrl-C"
        if interrupted:
            run.interrupted = interrupted
        elif error:
            run.failures.append(self._error_of_ansible(error))
        else:
            run.interrupted = "an error, see above"
        self._end()

    def _error_of_ansible(self, error: str) -> Failure:
        """An error that Ansible met outside of tasks."""
        message, _, origin = error.partition("\nOrigin: ")
        path, _, position = origin.partition(":") if origin else ("", "", "")
        place = f" ({shown(path)}:{position.splitlines()[0]})" if path else ""
        stage, task = self._current[:2] if self._current else (play_name(self._play) if self._play else "", "")
        remedy = remedy_for_message(message) or "run again with -v for Ansible's own output"
        if says_what_to_do(message):
            remedy = ""
        return Failure(stage, task, "", plain(message.rstrip(".")) + place, remedy)

    def _end(self) -> None:
        """Close the run: keep its record and timings, show the card, and last of all what failed."""
        run, self._current = self._run, None
        if run is None or run.ended:
            return
        run.end()
        self._over.set()
        if self._memory is not None:
            self._memory.keep(run.plan.timings())
        record = self._keep(run)
        if self._screen is None:
            return
        self._screen.close()
        color = C.COLOR_ERROR if run.failures or run.interrupted else C.COLOR_CHANGED if run.changes else C.COLOR_OK
        head, *lines = card_lines(run, record)
        self._display.display("")
        self._display.display(head, color=color)
        for line in lines:
            self._display.display(line)
        width = shutil.get_terminal_size().columns if self._screen.terminal else 80
        paragraphs = [failure.paragraph(max(40, width)) for failure in run.failures]
        if run.interrupted:
            paragraphs.append("What is done stays done. The same command takes up the rest.")
        for paragraph in paragraphs:
            self._display.display("")
            self._display.display(paragraph, color=color)
        with suppress(OSError, ValueError):
            sys.stdout.flush()

    def _keep(self, run: Run) -> str:
        """Leave the record of the run; returns where it can be read."""
        places: Iterable[Path] = [state_file("last-run.json")]
        if self.get_option("run_record"):
            places = [*places, Path(self.get_option("run_record"))]
        kept = ""
        for path in places:
            try:
                write_private(path, run.record())
                kept = shown(path)
            except OSError as error:
                self._display.warning(f"The record of this run could not be written to {path}: {error.strerror}.")
        return kept or "the lines above"
