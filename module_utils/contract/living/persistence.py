"""What is said of seed 001's Step 5: pods are deleted, and the data is still there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..checks import finding
from ..model import Finding, Layer
from ..spec import Contract
from .wording import few

CLAUSE = "persistence.pods"


def request(contract: Contract, namespace: str) -> dict[str, Any]:
    """What :func:`living.persistence.persistence` is to do for a contract: its workloads, claims and pages."""
    app = contract.app_workload
    claims = [name for name, one in contract.resources.items() if one.type == "claim"]
    service, port = next(((name, next(iter(one.ports.values())).number) for name, one in contract.services.items()
                          if one.workload == app.name and not one.headless and one.ports), ("", 0))
    database = next((one for one in contract.workloads.values()
                     if any(part.image.rpartition("/")[2] == "postgres" for part in one.containers.values())), None)
    return {
        "namespace": namespace, "workloads": [f"{one.kind}/{one.name}" for one in contract.workloads.values()],
        "claims": claims, "database": f"{database.kind}/{database.name}" if database else "",
        "others": [one.params["path"] for one in contract.resources.values() if one.type == "hostPath"],
        "service": f"{service}:{port}" if service else "", "pages": list(contract.app.routes) if service else [],
    }


def check_persistence(result: Mapping[str, Any] | None, namespace: str) -> Iterator[Finding]:
    """Findings of a result: of what was lost, did not come back or could not be compared, or of why nobody knows
    (``why``)."""
    if result is None:
        return
    look = f"sudo kubectl -n {namespace} get pods,events"
    if why := result.get("why"):
        yield finding("PERSIST-03", CLAUSE, Layer.CLUSTER, None, namespace, actual="not tried", expected="ready again",
                      reason=why, command=look)
    if lost := result.get("lost"):
        yield finding("PERSIST-01", CLAUSE, Layer.DEPLOYMENT, None, namespace, expected="nothing lost",
                      actual=few(lost, result.get("lost_count"))["en"],
                      command=f"sudo kubectl -n {namespace} get pvc,pv")
    if failed := result.get("failed"):
        yield finding("PERSIST-02", CLAUSE, Layer.CLUSTER, None, namespace, actual="not ready", expected="ready again",
                      reason=few(failed)["en"], command=look)
    if unread := result.get("unread"):
        yield finding("PERSIST-04", CLAUSE, Layer.DEPLOYMENT, None, namespace, actual=few(unread)["en"],
                      expected="compared", command=look)
