"""Which step of seed 001 a finding is about."""

from __future__ import annotations

import re

from ..model import Finding, Layer

STEPS = ("step_1", "step_2", "step_3", "step_4", "step_5", "step_6", "node")
LIVING = ("NODE", "LIVE", "FAULT", "PERSIST", "STEP")
"""Prefixes of the codes that say how a living system is."""
BY_CODE = {
    "node": ("LIVE-01", "LIVE-02", "LIVE-03", "LIVE-04", "LIVE-05", "LIVE-06", "NODE-0", "NODE-1", "NODE-2", "NODE-5"),
    "step_1": ("LIVE-07", "LIVE-11", "LIVE-2", "LIVE-30", "LIVE-41", "LIVE-42"),
    "step_2": ("LIVE-1", "LIVE-20", "LIVE-31", "LIVE-32", "LIVE-37", "LIVE-38", "LIVE-39", "LIVE-40", "NODE-37",
               "NODE-38"),
    "step_3": ("LIVE-34", "LIVE-35", "LIVE-36", "NODE-41"),
    "step_4": ("NODE-30", "NODE-31", "NODE-32", "NODE-33", "NODE-34", "NODE-35", "NODE-36"),
    "step_5": ("PERSIST",),
    "step_6": ("NODE-39", "NODE-40", "NODE-42", "NODE-43"),
}
"""Beginnings of the codes that belong to a step; the longest counts."""

NEAREST = (
    ("step_6", re.compile(r"postgres|database")),
    ("step_3", re.compile(r"health|ready\b|endpoint|service|ports")),
    ("step_4", re.compile(r"mount|write|paths|permissions|refus")),
    ("step_1", re.compile(r"claim|volume|secret|pvc|replica|pods?\b")),
)
"""Where another finding belongs, by words of its code, clause and subject; else to the node or Step 2, by its layer."""


def living(finding: Finding) -> bool:
    """Whether a finding is about what runs, and not about files."""
    return finding.code.partition("-")[0] in LIVING or finding.layer is Layer.EXTERNAL


def step_of(finding: Finding) -> str:
    """The step that a finding is about."""
    if finding.values.get("step") in STEPS:
        return finding.values["step"]
    known = max(((len(start), step) for step, starts in BY_CODE.items() for start in starts
                 if finding.code.startswith(start)), default=None)
    if known:
        return known[1]
    if finding.layer is Layer.EXTERNAL:
        return "step_2"
    if finding.layer in (Layer.NODE, Layer.CLUSTER):
        return "node"
    words = f"{finding.code} {finding.clause} {finding.subject}".lower()
    return next((step for step, pattern in NEAREST if pattern.search(words)), "step_2")
