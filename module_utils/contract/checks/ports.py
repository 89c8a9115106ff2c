"""3. Ports: from the app's socket to the Service, probes included (seed 000 B.2, fixed contract 2)."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from ..facts import AppFacts, FieldPath, KubeObject, Literal
from ..model import Finding, Layer, Related, Severity
from ..spec import Container, Contract, Workload
from ..workloads import PodContainer, containers, listed, mapped, simple
from .paths import source_of
from .subject import Subject, declared, finding, text


def check_ports(subject: Subject) -> Iterator[Finding]:
    """From the app's socket to the Service (seed 000 B.2 item 3, fixed contract 2)."""
    contract = subject.contract
    number = contract.app.port
    if subject.app and number:
        yield from port_of_the_app(subject, subject.app, number)
    for image in subject.images:
        exposed = {port.value.removesuffix("/tcp"): port for port in image.ports}
        doubtful = any(one.about == "ports" for one in image.unchecked)
        if number and str(number) not in exposed and not doubtful:
            place = next(iter(exposed.values())).place if exposed else image.source
            yield finding("PORT-02", "ports.app", Layer.IMAGE, place, image.source, expected=number,
                          actual=list(exposed), related=[declared(contract, "app", "port", "number")])
    for workload, container in contract.containers():
        rendered = subject.container(workload, container.name)
        if rendered:
            yield from ports_of_a_container(contract, workload, container, rendered)
            yield from probes(contract, workload, container, rendered)
    if subject.manifests:
        for name in contract.services:
            yield from service(subject, name)


def port_of_the_app(subject: Subject, app: AppFacts, number: int) -> Iterator[Finding]:
    contract = subject.contract
    related = [declared(contract, "app", "port", "number")]
    reads = [one for one in app.reads if one.name == contract.app.port_variable and one.resolved and one.default]
    # A default before the server that is started with it: there it is mended.
    for one in [*(Literal(read.default or "", read.place) for read in reads), *app.ports]:
        if one.value != str(number):
            yield finding("PORT-01", "ports.app", Layer.APP, one.place, one.place.file, expected=number,
                          actual=one.value, related=related)
    if contract.app.port_variable and app.reads and not any(
            one.name == contract.app.port_variable for one in app.reads):
        yield finding("ENV-06", "ports.app", Layer.APP, app.ports[0].place if app.ports else source_of(app), "app",
                      expected=contract.app.port_variable, actual="not read", variable=contract.app.port_variable)
    routes = {one.value for one in app.routes}
    for number_of, route in enumerate(contract.app.routes):
        if route not in routes:
            others = [one for one in app.routes if one.value not in contract.app.routes]
            alike = difflib.get_close_matches(route, [one.value for one in others], 1)
            near = next((one for one in others if one.value in alike), next(iter(app.routes), None))
            place = near.place if near else source_of(app)
            yield finding("PORT-09", f"ports.app{route}", Layer.APP, place, place.file, expected=route,
                          actual=sorted(routes), related=[declared(contract, "app", "routes", number_of)])


def ports_of_a_container(
    contract: Contract, workload: Workload, container: Container, rendered: PodContainer
) -> Iterator[Finding]:
    found = listed(rendered.body.get("ports"))
    for port in container.ports.values():
        related = [declared(contract, "workloads", workload.name, "containers", container.name, "ports", port.name)]
        fits = [(number, one) for number, one in enumerate(found)
                if one.get("containerPort") == port.number and one.get("name") == port.name]
        if not fits:
            # Where to mend it: the port of that name or number, else the list.
            near = next((number for number, one in enumerate(found)
                         if one.get("name") == port.name or one.get("containerPort") == port.number), None)
            field_name = "" if near is None else "containerPort" if found[near].get("name") == port.name else "name"
            place = rendered.locate("ports") if near is None else rendered.locate("ports", near, field_name)
            yield finding("PORT-03", f"ports.{container.name}", Layer.DEPLOYMENT, place, rendered.workload,
                          expected=port.number, actual=[f"{one.get('name', 'unnamed')} {text(one.get('containerPort'))}"
                                                        for one in found], related=related,
                          name=port.name, container=container.name)
        elif (protocol := fits[0][1].get("protocol", "TCP")) != port.protocol:
            yield finding("PORT-11", f"ports.{container.name}", Layer.DEPLOYMENT,
                          rendered.locate("ports", fits[0][0], "protocol"), rendered.workload, expected=port.protocol,
                          actual=protocol, related=related, port=port.number)


def probes(contract: Contract, workload: Workload, container: Container, rendered: PodContainer) -> Iterator[Finding]:
    ports = {simple(one.get("name")): one.get("containerPort") for one in listed(rendered.body.get("ports"))}
    for kind, wanted in container.probes.items():
        clause = f"ports.{container.name}.{kind}"
        related = [declared(contract, "workloads", workload.name, "containers", container.name, kind)]
        found = mapped(rendered.body.get(kind))
        expected = asked(wanted, {})
        if not found:
            yield finding("PORT-08", clause, Layer.DEPLOYMENT, rendered.locate(kind), rendered.workload,
                          expected=expected, actual="missing", related=related, probe=kind, container=container.name)
        elif asked(found, ports) != expected:
            place = rendered.locate(kind, *where_it_differs(found, wanted, ports))
            yield finding("PORT-07", clause, Layer.DEPLOYMENT, place, rendered.workload, expected=expected,
                          actual=asked(found, ports), related=related, probe=kind, container=container.name)


def asked(probe: Mapping[str, Any], ports: Mapping[Any, Any]) -> str:
    """What a probe asks, in a line."""
    if "httpGet" in probe:
        get = mapped(probe["httpGet"])
        port = ports.get(simple(get.get("port")), get.get("port"))
        # A number in quotes is the name of a port, and none that Kubernetes takes.
        shown = f'"{port}"' if isinstance(port, str) and port.isdigit() else text(port)
        scheme = "" if get.get("scheme") in (None, "HTTP") else f" by {text(get['scheme'])}"
        return f"GET :{shown}{get.get('path', '/')}{scheme}"
    if "exec" in probe:
        return " ".join(map(str, mapped(probe["exec"]).get("command") or ()))
    return next((kind for kind in ("tcpSocket", "grpc") if kind in probe), "nothing")


def where_it_differs(found: Mapping[str, Any], wanted: Mapping[str, Any], ports: Mapping[Any, Any]) -> FieldPath:
    kind = next(iter(wanted), "httpGet")
    own = mapped(found.get(kind))
    for name, value in mapped(wanted.get(kind)).items():
        if ports.get(simple(own.get(name)), own.get(name)) != value:
            return (kind, name)
    return (kind, "scheme") if "scheme" in own else (kind,)


def service(subject: Subject, name: str) -> Iterator[Finding]:
    """A Service, and whether its ports lead to what the contract says."""
    contract = subject.contract
    wanted = contract.services[name]
    clause = f"ports.{name}"
    related = [declared(contract, "services", name)]
    item = next((one for one in subject.cluster.objects if one.kind == "Service" and one.name == name), None)
    if item is None:
        workload = subject.workload(contract.workloads[wanted.workload])
        near = next((one for one in subject.cluster.objects if one.kind == "Service" and one.name not in
                     contract.services), None)
        place = near.locate(("metadata", "name")) if near else subject.root
        yield finding("PORT-04", clause, Layer.DEPLOYMENT, place, f"Service {name}",
                      expected=[port.number for port in wanted.ports.values()], actual=near.name if near else "missing",
                      related=[*related, *([Related("leads to", workload.locate(("metadata", "name")))] if workload
                                           else [])], name=name)
        return
    workload = subject.workload(contract.workloads[wanted.workload])
    selector = mapped(item.get("spec", "selector"))
    chosen = subject.cluster.selected(selector, item.namespace)
    if workload and any(one is not workload for one in chosen):
        labels = next(own for one, own in subject.cluster.pods if one is workload)
        wrong = next((key for key, value in selector.items() if labels.get(key) != value), next(iter(selector), ""))
        yield finding("PORT-12", clause, Layer.DEPLOYMENT, item.locate(("spec", "selector", wrong)), item,
                      expected=str(workload), actual=list(map(str, chosen)), related=related)
        return  # Its ports are another's.
    cluster_ip = item.get("spec", "clusterIP")
    if wanted.headless != (cluster_ip == "None"):
        yield finding("PORT-10", clause, Layer.DEPLOYMENT, item.locate(("spec", "clusterIP")), item,
                      expected="None" if wanted.headless else "left out", actual=cluster_ip, related=related)
    for port in wanted.ports.values():
        found = listed(item.get("spec", "ports"))
        at = next((number for number, one in enumerate(found) if one.get("port") == port.number), None)
        if at is None:
            near_port = 0 if found else None
            path: FieldPath = ("spec", "ports") if near_port is None else ("spec", "ports", near_port, "port")
            yield finding("PORT-05", clause, Layer.DEPLOYMENT, item.locate(path), item, expected=port.number,
                          actual=[one.get("port") for one in found], related=related)
            continue
        if (called := found[at].get("name")) != port.name:
            yield finding("PORT-05", clause, Layer.DEPLOYMENT, item.locate(("spec", "ports", at, "name")), item,
                          expected=f"{port.name} {port.number}", actual=f"{called or 'unnamed'} {port.number}",
                          related=related, severity=Severity.MEDIUM)
        target = found[at].get("targetPort", port.number)
        numbers = target_numbers(subject, item, target)
        # By the right name: then it is the container that has the port wrong, and that is said there.
        named = simple(target) in {one.name for container in contract.workloads[wanted.workload].containers.values()
                           for one in container.ports.values() if one.number == port.target}
        # Kubernetes takes the first container that has a port of the name.
        taken = numbers[:1] if named else numbers
        if set(taken) != {port.target} and not (named and port.target not in numbers):
            yield finding("PORT-06", clause, Layer.DEPLOYMENT, item.locate(("spec", "ports", at, "targetPort")), item,
                          expected=port.target, actual=taken or target, related=related,
                          port=port.number)
        if (protocol := found[at].get("protocol", "TCP")) != port.protocol:
            yield finding("PORT-11", clause, Layer.DEPLOYMENT, item.locate(("spec", "ports", at, "protocol")), item,
                          expected=port.protocol, actual=protocol, related=related, port=port.number)


def target_numbers(subject: Subject, item: KubeObject, target: Any) -> list[Any]:  # noqa: ANN401
    """The numbers that a targetPort stands for: a name is looked up in the pods that the Service selects, in their
    containers' order."""
    if isinstance(target, int):
        return [target]
    numbers: list[Any] = []
    for workload in subject.cluster.selected(mapped(item.get("spec", "selector")), item.namespace):
        for container in containers(workload):
            numbers += [simple(one.get("containerPort")) for one in listed(container.body.get("ports"))
                        if one.get("name") == target]
    return list(dict.fromkeys(numbers))
