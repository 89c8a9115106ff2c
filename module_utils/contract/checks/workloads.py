"""Workloads: that each is there, as many, set as agreed, and kept where its volumes are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..facts import FieldPath, KubeObject
from ..model import Finding, Layer
from ..spec import Contract, Workload
from ..workloads import PodContainer, containers, mapped, quantity
from .subject import Subject, declared, finding
from .volumes import single_node


def check_workloads(subject: Subject) -> Iterator[Finding]:
    """That each workload is there, as many, and kept where its volumes are."""
    if not subject.manifests:
        return
    contract = subject.contract
    for workload in contract.workloads.values():
        clause = f"workloads.{workload.name}"
        item = subject.workload(workload)
        if item is None:
            other = next((one for one in subject.cluster.workloads if one.name == workload.name), None) or next(
                (one for one in subject.cluster.workloads if one.kind == workload.kind
                 and one.name not in contract.workloads), None)
            path: FieldPath = ("kind",) if other and other.kind != workload.kind else ("metadata", "name")
            yield finding("WORK-01", clause, Layer.DEPLOYMENT, other.locate(path) if other else subject.root,
                          f"{workload.kind} {workload.name}", expected=f"{workload.kind} {workload.name}",
                          actual=other or "missing", instead=f", but {other}" if other else "",
                          related=[declared(contract, "workloads", workload.name)])
            continue
        found = list(containers(item))
        for name in workload.containers:
            if not any(one.name == name and one.stays for one in found):
                other_one = next((one for one in found if one.name not in workload.containers or not one.stays), None)
                yield finding("WORK-02", clause, Layer.DEPLOYMENT, other_one.locate("name") if other_one else
                              item.locate(("spec", "template", "spec", "containers")), item, expected=name,
                              actual=[one.name for one in found],
                              related=[declared(contract, "workloads", workload.name, "containers", name)])
        yield from settings(contract, workload, item, found)
        yield from kept_on_a_node(subject, workload, item, found)
    known = sorted(one.namespace for one in contract.environments.values())
    item = subject.workload(contract.app_workload)
    if item and item.namespace and known and item.namespace not in known:
        # Else no rule of an environment would hold for it.
        yield finding("WORK-05", f"workloads.{item.name}", Layer.DEPLOYMENT, item.locate(("metadata", "namespace")),
                      item, expected=" | ".join(known), actual=item.namespace)
        return
    for one in subject.cluster.objects:
        if one.namespace and one.namespace != subject.namespace and one.name in {
                *contract.workloads, *contract.services, *contract.config_maps, *contract.secrets, *contract.resources}:
            yield finding("WORK-05", f"workloads.{one.name}" if one.name in contract.workloads else "workloads",
                          Layer.DEPLOYMENT, one.locate(("metadata", "namespace")), one, expected=subject.namespace,
                          actual=one.namespace)


def seconds_of(pre_stop: Mapping[str, Any]) -> object:
    """How long a preStop hook waits: by the kubelet itself, or by the program `sleep`."""
    command = mapped(pre_stop.get("exec")).get("command")
    words = " ".join(map(str, command)) if isinstance(command, list) else ""
    if match := re.fullmatch(r"(?:(?:/bin/)?sh -c )?(?:exec )?(?:/bin/)?sleep (\d+)s?", words):
        return int(match[1])
    return mapped(pre_stop.get("sleep")).get("seconds")


def settings(
    contract: Contract, workload: Workload, item: KubeObject, found: Sequence[PodContainer]
) -> Iterator[Finding]:
    clause = f"workloads.{workload.name}"
    pod: FieldPath = ("spec", "template", "spec")
    strategy_field = "strategy" if item.kind == "Deployment" else "updateStrategy"
    pre_stop = next((seconds_of(mapped(mapped(one.body.get("lifecycle")).get("preStop")))
                     for one in found if one.name in workload.containers), None)
    at_container = found[0].at if found else pod
    table: list[tuple[str, Any, Any, FieldPath]] = [
        ("replicas", workload.replicas, 1 if item.get("spec", "replicas") is None else item.get("spec", "replicas"),
         ("spec", "replicas")),
        ("strategy", workload.strategy or None, item.get("spec", strategy_field, "type") or "RollingUpdate",
         ("spec", strategy_field, "type")),
        ("terminationGracePeriodSeconds", workload.grace_seconds,
         30 if item.get(*pod, "terminationGracePeriodSeconds") is None
         else item.get(*pod, "terminationGracePeriodSeconds"), (*pod, "terminationGracePeriodSeconds")),
        ("preStopSeconds", workload.pre_stop_seconds, pre_stop,
         (*at_container, "lifecycle", "preStop", "sleep", "seconds")),
        ("serviceName", workload.service_name or None, item.get("spec", "serviceName"), ("spec", "serviceName")),
    ]
    for name, expected, actual, path in table:
        if expected is not None and (actual != expected or isinstance(actual, bool)):
            yield finding("WORK-03", clause, Layer.DEPLOYMENT, item.locate(path), item, expected=expected,
                          actual=actual, field=name, related=[declared(contract, "workloads", workload.name, name)])
    for one in found:
        wanted = workload.containers.get(one.name)
        for part, values in (wanted.resources if wanted else {}).items():
            for name, value in values.items():
                own = mapped(mapped(one.body.get("resources")).get(part)).get(name)
                if quantity(own) != quantity(value):
                    yield finding("WORK-04", clause, Layer.DEPLOYMENT, one.locate("resources", part, name), item,
                                  expected=value, actual=own, field=f"resources.{part}.{name}", container=one.name,
                                  related=[declared(contract, "workloads", workload.name, "containers", one.name,
                                                    "resources", part, name)])


def kept_on_a_node(
    subject: Subject, workload: Workload, item: KubeObject, found: Sequence[PodContainer]
) -> Iterator[Finding]:
    """Volumes that are folders of one node keep their workload there."""
    environment_of = subject.contract.environment_of(item.namespace)
    if not environment_of or not environment_of.node or not found or not list(single_node(subject, item, found[0])):
        return
    at = (*found[0].pod_at, "nodeSelector", "kubernetes.io/hostname")
    actual = item.get(*at)
    if actual != environment_of.node:
        yield finding("WORK-06", f"workloads.{workload.name}", Layer.DEPLOYMENT, item.locate(at), item,
                      expected=environment_of.node, actual=actual if actual is not None else "any node",
                      related=[declared(subject.contract, "environments", environment_of.name, "node")])
