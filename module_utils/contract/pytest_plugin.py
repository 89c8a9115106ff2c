"""A pytest plugin: one test for each clause of a contract (seed 000, Phase 1: a local test that fails with it).

Settings in pyproject.toml or pytest.ini, each a path from there; without ``contract_file`` the plugin does nothing::

    [tool.pytest.ini_options]
    contract_file = "contract/observer.yml"
    contract_app = "."
    contract_manifests = "infra/k8s/overlays/production"
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .codes import sentence
from .model import Clause, ContractError, Finding, Kind, Report
from .run import Request, run

SETTINGS = {
    "contract_file": "the contract; without it nothing is checked",
    "contract_app": "checkout of the app",
    "contract_dockerfile": "Dockerfile, relative to contract_app",
    "contract_image": "archive of the built image",
    "contract_manifests": "Kustomize overlay, Helm chart, folder or file",
    "contract_with": "manifests that are applied beside them",
    "contract_language": "en or ko",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """The settings."""
    for name, words in SETTINGS.items():
        parser.addini(name, words, default="")


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the clauses to what pytest has found. Asked for by path or node, pytest runs only that."""
    if not config.getini("contract_file"):
        return
    node = ContractNode.from_parent(session, name="contract", nodeid="contract", path=config.rootpath)
    items += node.collect()


class ContractBrokenError(Exception):
    """A clause does not hold."""


class ContractNode(pytest.Collector):
    """All clauses; what is checked is looked at once."""

    def collect(self) -> Iterator[pytest.Item]:
        try:
            self.report = checked(self.config)
        except ContractError as error:
            return iter([UnreadableItem.from_parent(self, name="readable", error=error)])
        return iter([ClauseItem.from_parent(self, name=clause.name, clause=clause, report=self.report)
                     for clause in self.report.clauses if clause.layers])


def checked(config: pytest.Config) -> Report:
    """The report of what the settings name."""
    def path(name: str) -> Path | None:
        value = str(config.getini(name))
        return Path(os.path.normpath(config.rootpath / value)) if value else None

    contract = path("contract_file")
    assert contract is not None
    beside = path("contract_with")
    return run(Request(
        contract=contract, app=path("contract_app"), dockerfile=str(config.getini("contract_dockerfile")) or None,
        image=path("contract_image"), manifests=path("contract_manifests"), extra=[beside] if beside else ()))


class UnreadableItem(pytest.Item):
    """What was to be checked cannot be read."""

    def __init__(self, *, error: ContractError, **known: Any) -> None:  # noqa: ANN401
        super().__init__(**known)
        self.error = error

    def runtest(self) -> None:
        raise ContractBrokenError(f"{self.error} {self.error.remedy}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        return str(excinfo.value)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        place = self.error.place
        return Path(place.file if place else "contract"), (place.line or 1) - 1 if place else None, self.name


class ClauseItem(pytest.Item):
    """One clause: passes when it holds, is skipped when what is found is waived, fails otherwise."""

    def __init__(self, *, clause: Clause, report: Report, **known: Any) -> None:  # noqa: ANN401
        super().__init__(**known)
        self.clause = clause
        self.findings = [report.findings[number] for number in clause.findings]

    def runtest(self) -> None:
        language = str(self.config.getini("contract_language")) or "en"
        open_ones = [one for one in self.findings if not one.waiver and one.kind in (Kind.VIOLATION, Kind.UNCHECKED)]
        if open_ones:
            raise ContractBrokenError("\n".join(told(one, language) for one in open_ones))
        for one in self.findings:
            if one.waiver:
                pytest.skip(f"{one.code} waived by {one.waiver.owner} until {one.waiver.expires}: {one.waiver.reason}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> Any:  # noqa: ANN401
        return str(excinfo.value) if isinstance(excinfo.value, ContractBrokenError) else super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        place = next((one.place for one in self.findings if one.place), None)
        return (Path(place.file), max(place.line - 1, 0), f"contract: {self.name}") if place else \
            (self.path, None, f"contract: {self.name}")


def told(one: Finding, language: str) -> str:
    """A finding in three lines."""
    return "\n".join([f"{one.place or one.subject}: {one.code} {sentence(one, 'message', language)}",
                      f"  mend: {one.layer.value}", f"  {sentence(one, 'remedy', language)}"])
