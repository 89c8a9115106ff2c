"""The one report of a living system: what the collectors and checks found, with the files that it was made from.

Steps, gates and changes are facts of the report; ``steps.py``, ``gates.py`` and ``history.py`` make them.
"""

from __future__ import annotations

import datetime
import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from ..checks import Subject, finding
from ..classes import dataclass
from ..engine import check, known_secrets
from ..model import Finding, Kind, Layer, Report, Waiver
from ..run import Request, loaded, rendered
from ..workloads import Cluster
from .gates import gates
from .history import compared, last_persistence
from .steps import chapters
from .steps_of import living
from .wording import Verdict

ADDRESS = re.compile(r"(?<=//)[^/@\s]*:[^/@\s]*@")
LAYERS = {"step_1": Layer.DEPLOYMENT, "step_2": Layer.DEPLOYMENT, "step_3": Layer.APP, "step_4": Layer.DEPLOYMENT,
          "step_5": Layer.DEPLOYMENT, "step_6": Layer.DEPLOYMENT, "node": Layer.NODE}
"""Where a step is looked into first, when nothing else says what is at fault."""
REASONS = 3


@dataclass(frozen=True)
class Asked:
    """What a report is made of.

    :ivar inventory: its name, or its path: with what a report has to agree to be of the same system.
    :ivar live: ``nodes`` (NodeFacts by host) and ``cluster`` (ClusterFacts).
    :ivar hosts: all that there should be facts of.
    :ivar namespace: of the app, also when the cluster does not say it.
    :ivar findings: those of the living system.
    :ivar drift: findings of what nobody declared; None when it was not looked for.
    :ivar drift_hosts: on which hosts it was looked for; None: on all.
    :ivar persistence: result of Step 5; None when it was not asked for.
    :ivar manifests, beside, app: what is compared as files, besides.
    :ivar repository: checkout in which a Helm chart is looked for.
    :ivar why: why the last report could not be read.
    """

    contract: Path
    inventory: str
    live: Mapping[str, Any]
    hosts: Sequence[str] = ()
    namespace: str = ""
    findings: Sequence[Finding] = ()
    drift: Sequence[Finding] | None = None
    drift_hosts: Sequence[str] | None = None
    persistence: Mapping[str, Any] | None = None
    manifests: Path | None = None
    beside: Sequence[Path] = ()
    root: Path | None = None
    app: Path | None = None
    repository: Path | None = None
    gates: bool = True
    before: Report | None = None
    why: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


def verified(asked: Asked, now: datetime.datetime) -> Report:
    """Compare everything, and put steps, gates and changes beside it.

    :raises ContractError: the contract, or a file that was to be compared, cannot be read at all.
    """
    request = Request(contract=asked.contract, app=asked.app, manifests=asked.manifests, extra=asked.beside,
                      root=asked.root)
    manifests = rendered(request, lambda: None) if asked.manifests else None
    rest = loaded(request)
    before = last_persistence(asked.before)
    # A try in which nothing was deleted proves nothing, and takes no proof away.
    last = asked.persistence if asked.persistence and asked.persistence.get("deleted") else before

    def told(found: Sequence[Finding]) -> list[dict[str, Any]]:
        return chapters(rest.contract, asked.live, found, persistence=asked.persistence, last=before)

    own = [*asked.findings, *(asked.drift or ()), *unseen(asked)]
    own += unexplained(told(own), own, rest.contract.waivers)
    facts: dict[str, Any] = dict(asked.extra)
    if last:
        facts["persistence"] = dict(last)
    report = check(rest.contract, app=rest.app, images=rest.images, manifests=manifests, more=[*rest.more, *own],
                   live=live_layers(asked), now=now, places=[*seen(asked), *rest.places], facts=facts)
    facts = {**report.facts, "steps": told(report.findings)}
    if asked.gates:
        facts["gates"] = gates(
            rest.contract, asked.live, now=now.timestamp(), persistence=last, app=asked.app,
            app_findings=[one for one in report.findings if one.layer is Layer.APP] if asked.app else None,
            repository=asked.repository)
    secrets = known_secrets(Subject(rest.contract, manifests=manifests, cluster=Cluster(manifests.objects))) \
        if manifests else []
    report = replace(report, facts=told_to_nobody(facts, secrets))
    history = compared(report, asked.before)
    if asked.why:
        history["why"] = {"en": f"The last report cannot be compared with: {asked.why}",
                          "ko": f"이전 보고서와 비교할 수 없음: {asked.why}"}
    return replace(report, facts={**report.facts, "history": history})


def live_layers(asked: Asked) -> set[Layer]:
    """What of the living system answered; of the nodes, all."""
    nodes, answers = looked_at(asked), ((asked.live.get("cluster") or {}).get("api") or {}).get("answers")
    return {*([Layer.NODE] if nodes and nodes >= set(asked.hosts) else []), *([Layer.CLUSTER] if answers else [])}


def looked_at(asked: Asked) -> set[str]:
    """Hosts that there are facts of."""
    return {str(host) for host, facts in (asked.live.get("nodes") or {}).items() if facts}


def drift_looked_for(asked: Asked) -> set[str]:
    """Hosts on which drift was looked for."""
    if asked.drift is None:
        return set()
    return {*asked.hosts, *looked_at(asked)} if asked.drift_hosts is None else set(asked.drift_hosts)


def unseen(asked: Asked) -> Iterator[Finding]:
    """Of every host that should have been looked at and was not."""
    ping = "ansible {} -m ansible.builtin.ping -i " + asked.inventory
    for host in asked.hosts:
        code = "NODE-59" if host not in looked_at(asked) else \
            "DRIFT-29" if asked.drift is not None and host not in drift_looked_for(asked) else ""
        if code:
            yield finding(code, "check.node" if code == "NODE-59" else "drift.looked_at", Layer.NODE, None,
                          f"node {host}", expected="looked at", actual="not looked at", seen_on=host,
                          command=ping.format(host))


def system(asked: Asked) -> list[tuple[str, str]]:
    """Whose report this is, as places: what another report has to have in common to be compared with."""
    namespace = asked.namespace or str((asked.live.get("cluster") or {}).get("namespace") or "")
    return [("inventory", asked.inventory), *([("namespace", namespace)] if namespace else [])]


def seen(asked: Asked) -> Iterator[tuple[str, str]]:
    """What was looked at. A cluster that did not answer was not."""
    yield from system(asked)
    yield from (("node", host) for host in sorted(looked_at(asked)))
    cluster = asked.live.get("cluster") or {}
    if (cluster.get("api") or {}).get("answers"):
        yield "cluster", str(cluster.get("namespace") or "")
    yield from (("drift", host) for host in sorted(drift_looked_for(asked)))
    if asked.persistence and asked.persistence.get("deleted"):
        yield "persistence", asked.inventory


def unexplained(
    made: Sequence[Mapping[str, Any]], found: Sequence[Finding], waivers: Sequence[Waiver]
) -> list[Finding]:
    """A finding for each step that fails or could not be looked at, when no finding of the living system says that
    something is wrong: what a table shows counts as well. Step 5 disturbs, so that it was not asked for is none."""
    told = {one.kind for one in found if living(one) and not any(
        fnmatch.fnmatchcase(one.code, waiver.code) and fnmatch.fnmatchcase(one.subject, waiver.subject)
        for waiver in waivers)}
    result = []
    for one in made:
        step = str(one["id"])
        verdict = Verdict(one["verdict"])
        if step not in LAYERS or (step == "step_5" and verdict is Verdict.UNCHECKED):
            continue
        if verdict is Verdict.FAIL and Kind.VIOLATION not in told:
            code = "STEP-01"
        elif verdict is Verdict.UNCHECKED and not told & {Kind.VIOLATION, Kind.UNCHECKED}:
            code = "STEP-02"
        else:
            continue
        title = one["title"]["en"].partition(":")[0]
        reason, reason_ko = ("; ".join(reasons(one, verdict, language)) for language in ("en", "ko"))
        result.append(finding(code, f"steps.{step}", LAYERS[step], None, title, actual="", expected="", step=step,
                              reason=reason or "nothing was looked at", reason_ko=reason_ko or "확인한 것 없음"))
    return result


def reasons(made: Mapping[str, Any], verdict: Verdict, language: str) -> list[str]:
    """The first of what a step's tables say so of."""
    def told(value: Any) -> str:  # noqa: ANN401 - a text or a cell
        while isinstance(value, dict):
            value = value.get("text") if "verdict" in value else value.get(language)
        return str(value or "")

    texts = [f"{told(row[0])}, {told(column)}: {told(cell)}" for table in made["tables"] for row in table["rows"]
             for column, cell in zip(table["columns"], row, strict=True)
             if isinstance(cell, dict) and cell.get("verdict") == verdict]
    more = {"en": f"and {len(texts) - REASONS} more", "ko": f"외 {len(texts) - REASONS}건"}[language]
    return [*texts[:REASONS], *([more] if len(texts) > REASONS else [])]


def told_to_nobody(value: Any, secrets: Sequence[str]) -> Any:  # noqa: ANN401 - JSON
    """A fact without secrets that are known from the manifests, and without users and passwords of addresses."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, "***")
        return ADDRESS.sub("***@", value)
    if isinstance(value, Mapping):
        return {key: told_to_nobody(one, secrets) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [told_to_nobody(one, secrets) for one in value]
    return value
