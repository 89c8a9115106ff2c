"""Images: names and tags (seed 000 4.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..model import Finding, Layer
from ..workloads import containers
from .subject import Subject, declared, finding


def check_images(subject: Subject) -> Iterator[Finding]:
    """Names and tags (seed 000 4.2)."""
    contract = subject.contract
    yield from undeclared_images(subject)
    for workload, container in contract.containers():
        rendered = subject.container(workload, container.name)
        if rendered is None:
            continue
        image = str(rendered.body.get("image") or "")
        name, tag, digest = split_image(image)
        clause = f"images.{container.name}"
        at = ("workloads", workload.name, "containers", container.name)
        place = rendered.locate("image")
        environment_of = contract.environment_of(rendered.workload.namespace)
        allowed = environment_of.tags if environment_of and environment_of.tags and \
            container.name == contract.app.container else container.tags
        values: dict[str, Any] = {"container": container.name}
        if full_name(name) != full_name(container.image):
            # The name may be said on another line than the tag.
            yield finding("IMG-01", clause, Layer.DEPLOYMENT, rendered.locate("image", "name"), rendered.workload,
                          expected=container.image, actual=name or None,
                          related=[declared(contract, *at, "image")], **values)
        if tag == "latest" or not (tag or digest):
            yield finding("IMG-03", clause, Layer.DEPLOYMENT, place, rendered.workload,
                          expected=" | ".join(allowed) or "a tag", actual=image,
                          related=[declared(contract, *at, "tags")], **values)
        elif allowed and tag and not any(re.fullmatch(pattern, tag) for pattern in allowed):
            yield finding("IMG-02", clause, Layer.DEPLOYMENT, place, rendered.workload, expected=" | ".join(allowed),
                          actual=tag, related=[declared(contract, *at, "tags")], **values)


def undeclared_images(subject: Subject) -> Iterator[Finding]:
    """Images of containers that the contract does not know: of them only that they are pinned."""
    known = {(workload.kind, workload.name, container.name) for workload, container in subject.contract.containers()}
    for item in subject.cluster.workloads:
        for one in containers(item):
            image = str(one.body.get("image") or "")
            _, tag, digest = split_image(image)
            if (item.kind, item.name, one.name) not in known and (tag == "latest" or not (tag or digest)):
                yield finding("IMG-03", f"images.{one.name}", Layer.DEPLOYMENT, one.locate("image"), item,
                              expected="a tag", actual=image or None, container=one.name)


def split_image(image: str) -> tuple[str, str, str]:
    """Name, tag and digest of an image reference; a port in the registry's name is no tag."""
    rest, _, digest = image.partition("@")
    head, slash, last = rest.rpartition("/")
    name, _, tag = last.partition(":")
    return f"{head}{slash}{name}", tag, digest


def full_name(name: str) -> str:
    """An image's name with what container runtimes put before it when it is left out."""
    first, slash, rest = name.partition("/")
    if not slash:
        return f"docker.io/library/{name}"
    if "." not in first and ":" not in first and first != "localhost":
        return f"docker.io/{name}"
    return f"docker.io/library/{rest}" if first == "docker.io" and "/" not in rest else name
