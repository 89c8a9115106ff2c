"""What is checked at once, and how a finding is made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field
from functools import cached_property

from ..classes import dataclass
from ..codes import CODES
from ..facts import AppFacts, ImageFacts, KubeObject, ManifestFacts
from ..model import Finding, Kind, Layer, Place, Related, Severity
from ..spec import Contract, Workload
from ..workloads import Cluster, PodContainer, containers


@dataclass(frozen=True)
class Subject:
    """What is checked at once. A part that is None was not given and is not looked at."""

    contract: Contract
    app: AppFacts | None = None
    images: Sequence[ImageFacts] = ()
    manifests: ManifestFacts | None = None
    cluster: Cluster = field(default_factory=lambda: Cluster(()))

    @cached_property
    def namespace(self) -> str:
        """The namespace that most objects are in."""
        names = [item.namespace for item in self.cluster.objects if item.namespace]
        return max(sorted(set(names)), key=names.count, default="")

    def workload(self, wanted: Workload) -> KubeObject | None:
        """The object of a workload of the contract."""
        return next((item for item in self.cluster.objects
                     if item.kind == wanted.kind and item.name == wanted.name), None)

    def container(self, wanted: Workload, name: str) -> PodContainer | None:
        """A container of a workload of the contract."""
        item = self.workload(wanted)
        return None if item is None else next((one for one in containers(item) if one.name == name and one.stays), None)

    @property
    def root(self) -> Place:
        """The file that puts the manifests together."""
        return self.manifests.root if self.manifests else Place("")

    def clause_of(self, variable: str) -> str:
        """The clause that a variable of the app belongs to: of a path, of the port, or of its own."""
        for folder in self.contract.paths.values():
            if folder.variable == variable:
                return f"paths.{folder.name}"
        return "ports.app" if variable == self.contract.app.port_variable else f"environment.{variable}"


def finding(
    code: str, clause: str, layer: Layer, place: Place | None, subject: object, /, *, expected: object = "",
    actual: object = "", related: Iterable[Related] = (), severity: Severity | None = None, kind: Kind | None = None,
    **values: object,
) -> Finding:
    """A finding with what its code says of it."""
    known = CODES[code]
    name = subject.file if isinstance(subject, Place) else str(subject)
    return Finding(code, clause, kind or known.kind, severity or known.severity, layer, place, name,
                   text(expected), text(actual), {name: text(value) for name, value in values.items()},
                   tuple(related))


def text(value: object) -> str:
    """A value as it is written in YAML."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value)) or "none"
    return str(value)


def declared(contract: Contract, *path: str | int) -> Related:
    return Related("declared here", contract.place(*path))
