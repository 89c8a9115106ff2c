"""What the engine speaks of: layers, places, findings and their report (seed 000 5 and appendix B)."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any

from .classes import dataclass


class Layer(StrEnum):
    """Who owns what is wrong (seed 000 5.1, B.2). A finding names exactly one, the one to mend."""

    APP = "app"
    """Source code and `.env.example` of the application."""
    IMAGE = "image"
    """Dockerfile, and the image that was built from it."""
    CONFIG = "config"
    """ConfigMaps, Secrets and SealedSecrets: values."""
    DEPLOYMENT = "deployment"
    """Workloads, claims, Services and the overlays that put them together."""
    CLUSTER = "cluster"
    NODE = "node"
    EXTERNAL = "external"
    """Nothing of ours: the KIS API refuses a key. Never a violation (seed 001, overall conclusion)."""


class Kind(StrEnum):
    """What a finding means for the exit status."""

    VIOLATION = "violation"
    """The contract is broken."""
    DRIFT = "drift"
    """Something is there that nobody declared, and nothing is broken by it."""
    UNCHECKED = "unchecked"
    """It could not be looked at, so nobody knows."""
    EXTERNAL = "external"
    """Something outside refuses; the contract holds."""


class Severity(StrEnum):
    """The words of seed 001's table of critical findings."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


SEVERITIES = tuple(Severity)
"""Worst first."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line of a file. ``file`` is relative to the folder that was checked, or absolute outside of it; ``line`` begins
    at 1, and 0 means the file as a whole (an image archive, a file that is not there)."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Related:
    """Another place that a finding is about: ``role`` says in English what is there ("declared here")."""

    role: str
    place: Place


@dataclass(frozen=True, slots=True)
class Waiver:
    """A finding that somebody answers for (seed 001 CF-4).

    ``code`` and ``subject`` are shell patterns of what it covers; after ``expires`` it no longer counts, and is a
    finding itself. ``place`` is where it stands in the contract.
    """

    code: str
    subject: str
    owner: str
    reason: str
    expires: datetime.date
    place: Place


MARKS = ("about", "address", "claim", "container", "key", "name", "path", "seen_on", "unit", "what")
"""Values of a finding that tell it from another one of the same subject, and stay the same from day to day."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and what to mend.

    ``code`` is stable and explained in ``docs/findings.md``; ``clause`` is the item of the contract (``paths.data``);
    ``subject`` names the object (``Deployment observer-prod/observer``, ``docker/Dockerfile``); ``expected`` and
    ``actual`` are values as they are written, never values of secrets; ``values`` fill the sentences of the code, in
    any language (``codes.py``).
    """

    code: str
    clause: str
    kind: Kind
    severity: Severity
    layer: Layer
    place: Place | None
    subject: str
    expected: str
    actual: str
    values: Mapping[str, str] = field(default_factory=dict)
    related: tuple[Related, ...] = ()
    waiver: Waiver | None = None

    @property
    def marks(self) -> dict[str, str]:
        """``MARKS`` of it."""
        return {name: self.values[name] for name in MARKS if name in self.values}


@dataclass(frozen=True, slots=True)
class Clause:
    """One thing of the contract that was compared, and where it was found to hold or not.

    ``findings`` are the numbers of the findings about it in the report's list: none means that it holds. ``layers`` are
    those that were looked at; a clause of which nothing could be looked at is ``unchecked``.
    """

    name: str
    item: str
    layers: tuple[Layer, ...]
    findings: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The one result, from which every rendering is made.

    ``findings`` are worst first; ``places`` says what was checked: its kind (``app``, ``manifests``, ...) and path;
    ``facts`` are figures and tables that a rendering shows as they are.
    """

    contract: str
    contract_file: str
    date: datetime.datetime
    places: tuple[tuple[str, str], ...]
    clauses: tuple[Clause, ...]
    findings: tuple[Finding, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """Exit status: 0 all holds, 1 violation, 3 only drift, 4 something could not be checked and nothing is broken.

        2 is left to errors of usage. Waived findings and external ones do not count.
        """
        kinds = {finding.kind for finding in self.findings if not finding.waiver}
        if Kind.VIOLATION in kinds:
            return 1
        return 4 if Kind.UNCHECKED in kinds else 3 if Kind.DRIFT in kinds else 0


class ContractError(Exception):
    """What was asked for cannot be done: one sentence that names file and line, and a remedy. Exit status 2."""

    def __init__(self, message: str, remedy: str, place: Place | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.place = place
