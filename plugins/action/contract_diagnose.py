"""Names what is at fault in a living system. Documented in library/."""

from __future__ import annotations

import datetime
import os
import re
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

sys.path.append(str(Path(__file__).resolve().parents[2] / "module_utils"))

from contract.codes import sentence
from contract.engine import check
from contract.living.diagnose import Diagnosis, Fault, diagnose
from contract.manifests import load_manifests
from contract.model import ContractError, Finding
from contract.report.canonical import UNSAFE, Reader, read_finding
from contract.spec import load_contract

ARGUMENTS: Mapping[str, Any] = {
    "contract": {"type": "path", "required": True},
    "namespace": {"type": "str", "required": True},
    "server": {"type": "str", "required": True},
    "nodes": {"type": "dict", "required": True},
    "cluster": {"type": "dict", "default": {}},
    "manifests": {"type": "path"},
    "beside": {"type": "list", "elements": "path", "default": []},
    "language": {"type": "str", "choices": ["en", "ko"], "default": "en"},
}
COLUMNS = 78
LINES = 20
"""With what Ansible shows around them, a screen."""

STEPS = {
    "en": {"app": "app", "container": "container", "rendering": "rendering", "cluster": "cluster and node",
           "well": "well", "fault": "FAULT", "symptom": "symptoms", "unknown": "not known"},
    "ko": {"app": "앱", "container": "컨테이너", "rendering": "렌더링", "cluster": "클러스터/노드",
           "well": "정상", "fault": "장애", "symptom": "영향 있음", "unknown": "확인 불가"},
}
LABELS = {
    "en": {"seen": "seen", "so": "so", "mend": "mend", "type": "type", "more": "and {0} more of that",
           "faults": "{0} more faults: mend these first, and diagnose again", "in": "log in"},
    "ko": {"seen": "증거", "so": "영향", "mend": "조치", "type": "명령", "more": "외 영향 {0}건",
           "faults": "외 장애 {0}건: 위 항목을 먼저 해결한 뒤 다시 진단한다", "in": "접속"},
}

CONTROL = re.compile(rf"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f]|{UNSAFE.pattern}")
"""What acts on a terminal: whole sequences that set colours or move the cursor, and whatever else is no text."""

display = Display()


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs on the controller alone: no connection to the host is opened."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The diagnosis; failed when there is a fault."""
        super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(dict(ARGUMENTS))
        inventory = typed_inventory()
        try:
            contract = load_contract(Path(options["contract"]))
            manifests = load_manifests(
                Path(options["manifests"]),
                extra=[Path(one) for one in options["beside"] if Path(one).is_dir()]) if options["manifests"] else None
            git = check(contract, manifests=manifests, now=datetime.datetime.now(datetime.UTC)) if manifests else None
            live = sorted_out(options["nodes"], options["cluster"], options["server"])
            live["environment"] = contract.environment_of(options["namespace"])
            findings = [read_finding(Reader(one, "findings")) for result in (*options["nodes"].values(),
                        options["cluster"]) for one in result.get("findings") or ()]
        except ContractError as error:
            return {"changed": False, "failed": True, "msg": str(error), "remedy": error.remedy}
        found = diagnose(contract, live, findings, manifests, git, inventory)
        language = options["language"]
        result: dict[str, Any] = {"changed": False, **plain(described(found, language))}
        if found.well:
            return result
        host = next((one.host for one in found.faults if one.host), "")
        for line in shown(found, language, login(task_vars or {}, host)):
            display.display(plain(line))
        named = "; ".join(f"{one.finding.code} ({one.finding.layer}): "
                          f"{sentence(one.finding, 'message', language).rstrip('.')}" for one in found.faults[:2])
        more = f"; {len(found.faults) - 2} more" if len(found.faults) > 2 else ""
        return {**result, "failed": True, "msg": plain(f"{named}{more}."),
                "remedy": plain(found.faults[0].remedy[language])}


def plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Texts of logs and messages as they may be shown: without what a terminal would act upon."""
    if isinstance(value, str):
        return CONTROL.sub("", value)
    if isinstance(value, list):
        return [plain(one) for one in value]
    return {name: plain(one) for name, one in value.items()} if isinstance(value, dict) else value


def sorted_out(nodes: Mapping[str, Any], cluster: Mapping[str, Any], server: str) -> dict[str, Any]:
    """Results of contract_node and contract_cluster as facts, and why there are none."""
    live: dict[str, Any] = {"nodes": {}, "unreachable": {}, "failed": {}, "cluster": cluster.get("facts"),
                            "server": server}
    for host, result in nodes.items():
        if result.get("facts"):
            live["nodes"][host] = result["facts"]
        else:
            kind = "unreachable" if result.get("unreachable") else "failed"
            live[kind][host] = str(result.get("msg") or "it gave no reason")
    if not (cluster.get("facts") or cluster.get("skipped") or live["unreachable"].get(server)):
        live["failed"].setdefault(server, str(cluster.get("msg") or "it gave no reason"))
    return live


def typed_inventory() -> str:
    """The inventory as the operator named it."""
    sources = [str(one).rstrip(",") for one in context.CLIARGS.get("inventory") or ()]
    found = os.path.relpath(sources[0]) if sources else "inventories/<env>"
    return sources[0] if found.startswith("..") else found


def login(task_vars: Mapping[str, Any], host: str) -> str:
    """How the operator gets to a host; nothing for one that the inventory does not have."""
    known = (task_vars.get("hostvars") or {})
    if not host or host not in known:
        return ""
    one = known[host]
    port, user = one.get("ansible_port"), one.get("ansible_user")
    words = ["ssh", str(one.get("ansible_ssh_common_args") or ""), f"-p {port}" if port else "",
             (f"{user}@" if user else "") + str(one.get("ansible_host") or host)]
    return " ".join(word for word in words if word)


def described(found: Diagnosis, language: str) -> dict[str, Any]:
    """The diagnosis as data."""
    return {
        "well": found.well, "verdict": verdict(found, language), "deviations": found.deviations,
        "walk": walk(found, language),
        "steps": [{"step": str(one.stage), "verdict": one.verdict, "looked_at": list(one.looked_at),
                   "evidence": list(one.evidence)} for one in found.steps],
        "faults": [{
            "code": one.finding.code, "layer": str(one.finding.layer), "subject": one.finding.subject,
            "place": str(one.finding.place or ""), "host": one.host, "command": one.command,
            "message": sentence(one.finding, "message", language), "remedy": one.remedy[language],
            "evidence": list(one.evidence), "symptoms": [told(other, language) for other in one.symptoms],
        } for one in found.faults],
        "notes": [told(one, language) for one in found.notes],
        "msg": verdict(found, language),
    }


def told(finding: Finding, language: str) -> str:
    return sentence(finding, "message", language)


def verdict(found: Diagnosis, language: str) -> str:
    """One line: how many faults, in which layers."""
    number, layers = len(found.faults), ", ".join(dict.fromkeys(str(one.finding.layer) for one in found.faults))
    if language == "ko":
        return f"장애 {number}건, 계층: {layers}" if number else "장애 없음"
    return f"{number} fault{'s' * (number != 1)}, in layer {layers}" if number else "no fault"


def walk(found: Diagnosis, language: str) -> str:
    """The steps of seed 000 6.1 with their verdicts, in one line."""
    words = STEPS[language]
    return " > ".join(f"{words[one.stage]}: {words[one.verdict]}" for one in found.steps)


def shown(found: Diagnosis, language: str, way_in: str) -> list[str]:
    """What somebody reads who was woken up: verdict, evidence, what to type; at most LINES lines. Commands are not
    broken, so that they can be pasted."""
    words = LABELS[language]
    head = [verdict(found, language), *prose(walk(found, language), "")]
    end = [f"  {words['in']:<6} {way_in}"] if way_in else []
    room = LINES - len(head) - len(end)
    several = len({one.host for one in found.faults}) > 1
    faults = [parts(one, words, language, several) for one in found.faults]
    # First what every fault is and what to type, then what to mend, and evidence for as long as there is room.
    kept: list[set[str]] = []
    for one in faults:
        room -= len(one["what"]) + len(one["type"])
        if room < (len(kept) < len(faults) - 1):  # there has to be a line that counts the others
            room += len(one["what"]) + len(one["type"])
            break
        kept.append({"what", "type"})
    left = len(faults) - len(kept)
    room -= bool(left)
    for name in ("mend", "seen", "so", "more"):
        for number, names in enumerate(kept):
            if len(faults[number][name]) <= room:
                names.add(name)
                room -= len(faults[number][name])
    lines = [line for one, names in zip(faults, kept, strict=False) for name, part in one.items() if name in names
             for line in part]
    return [*head, *lines, *([words["faults"].format(left)] if left else []), *end]


def parts(one: Fault, words: Mapping[str, str], language: str, several: bool) -> dict[str, list[str]]:
    """The lines of one fault, by what they say, in the order of their display. With ``several`` hosts a command says in
    a comment where it is typed."""
    where = f"  # {one.host or 'localhost'}" if several else ""
    more = len(one.symptoms) - 1
    return {
        "what": prose(f"{one.finding.code} [{one.finding.layer}] {sentence(one.finding, 'message', language)}", ""),
        "seen": [line for text in one.evidence[:2] for line in prose(text, f"  {words['seen']:<6} ", 2)],
        "so": [line for symptom in one.symptoms[:1]
               for line in prose(told(symptom, language), f"  {words['so']:<6} ", 2)],
        "more": [f"  {words['so']:<6} {words['more'].format(more)}"] if more > 0 else [],
        "mend": prose(one.remedy[language], f"  {words['mend']:<6} "),
        "type": [f"  {words['type']:<6} {one.command}{where}"],
    }


def prose(text: str, label: str, limit: int = 3) -> list[str]:
    """A text in lines, the first with a label."""
    lines = textwrap.wrap(text, COLUMNS - len(label), break_long_words=False, break_on_hyphens=False) or [""]
    if len(lines) > limit:
        lines = [*lines[:limit - 1], f"{lines[limit - 1][:COLUMNS - len(label) - 2]} …"]
    return [f"{label if number == 0 else ' ' * len(label)}{line}" for number, line in enumerate(lines)]
