"""5. Permissions: who the processes are, and what they may write (fixed contract 4, CF-5)."""

from __future__ import annotations

from collections.abc import Iterator

from ..facts import Folder, ImageFacts
from ..model import Finding, Layer
from ..spec import Container, Contract, Workload
from ..workloads import PodContainer, containers, mapped
from .subject import Subject, declared, finding


def check_permissions(subject: Subject) -> Iterator[Finding]:
    """Who the processes are, and what they may write (fixed contract 4, CF-5)."""
    contract = subject.contract
    for workload in contract.workloads.values():
        item = subject.workload(workload)
        first = next(containers(item), None) if item else None
        if item and first and workload.fs_group is not None:
            actual = mapped(first.pod.get("securityContext")).get("fsGroup")
            if actual != workload.fs_group or isinstance(actual, bool):
                yield finding("PERM-06", f"permissions.{workload.name}.fsGroup", Layer.DEPLOYMENT,
                              item.locate((*first.pod_at, "securityContext", "fsGroup")), item,
                              expected=workload.fs_group, actual=actual,
                              related=[declared(contract, "workloads", workload.name, "permissions", "fsGroup")])
    for workload, container in contract.containers():
        rendered = subject.container(workload, container.name)
        if rendered:
            yield from security(contract, workload, container, rendered)
    for image in subject.images:
        yield from image_user(subject, image)
    if subject.app and not contract.app.creates_folders:
        for made in subject.app.creations:
            yield finding("PERM-05" if made.guarded else "PERM-04", "permissions.folders", Layer.APP, made.place,
                          made.place.file, expected="no folder is made", actual=made.call, call=made.call,
                          related=[declared(contract, "app", "creates_folders")])


def security(contract: Contract, workload: Workload, container: Container, rendered: PodContainer) -> Iterator[Finding]:
    at = ("workloads", workload.name, "containers", container.name, "permissions")
    for name, expected in container.permissions.items():
        clause = f"permissions.{container.name}.{name}"
        actual, path = rendered.setting(name)
        if name == "capabilities":
            for part, wanted in expected.items():
                own = mapped(actual).get(part)
                found = sorted(map(str, own)) if isinstance(own, list) else []
                if found != sorted(wanted):
                    # The item that is not wanted, where one stands for another.
                    extra_at = next((number for number, one in enumerate(own) if one not in wanted), None) \
                        if isinstance(own, list) and len(own) == len(wanted) else None
                    place = rendered.workload.locate((*path, part) if extra_at is None else (*path, part, extra_at))
                    yield finding("PERM-01", clause, Layer.DEPLOYMENT, place, rendered.workload, expected=wanted,
                                  actual=found or None,
                                  field=f"capabilities.{part}", container=container.name,
                                  related=[declared(contract, *at, name, part)])
            extra = mapped(actual).get("add")
            if extra and "add" not in expected:
                yield finding("PERM-01", clause, Layer.DEPLOYMENT, rendered.workload.locate((*path, "add")),
                              rendered.workload, expected="none", actual=extra, field="capabilities.add",
                              container=container.name, related=[declared(contract, *at, name)])
        elif actual != expected or isinstance(actual, bool) != isinstance(expected, bool):
            yield finding("PERM-01", clause, Layer.DEPLOYMENT, rendered.workload.locate(path), rendered.workload,
                          expected=expected, actual=actual, field=name, container=container.name,
                          related=[declared(contract, *at, name)])
    if rendered.setting("privileged")[0] is True and "privileged" not in container.permissions:
        yield finding("PERM-01", f"permissions.{container.name}.privileged", Layer.DEPLOYMENT,
                      rendered.locate("securityContext", "privileged"), rendered.workload, expected=False, actual=True,
                      field="privileged", container=container.name, related=[declared(contract, *at)])


def image_user(subject: Subject, image: ImageFacts) -> Iterator[Finding]:
    """The image's USER, and whom the folders belong to over which volumes are mounted."""
    contract = subject.contract
    app = contract.app
    uid, gid = image.owner
    related = [declared(contract, "app", "user")]
    name = image.user.value.partition(":")[0] if image.user else ""
    # The base image decides, or knows the name. An image that was built knows it, or starts nothing.
    doubtful = not image.built and (image.user is None or uid is None) and any(
        one.about in {"user", name} for one in image.unchecked)
    if uid != app.uid and not doubtful:
        yield finding("PERM-02", "permissions.user", Layer.IMAGE, image.user.place if image.user else image.source,
                      image.source, expected=app.uid, actual=image.user.value if image.user else "root",
                      related=related)
    elif uid == app.uid and gid not in (None, app.gid):
        yield finding("PERM-02", "permissions.user", Layer.IMAGE, image.user.place if image.user else image.source,
                      image.source, expected=f"{app.uid}:{app.gid}", actual=f"{uid}:{gid}", related=related)
    for folder in contract.paths.values():
        found: Folder | None = image.folders.get(folder.path)
        if folder.in_image and found and None not in (found.uid, found.gid) \
                and (found.uid, found.gid) != (app.uid, app.gid):
            yield finding("PERM-03", f"paths.{folder.name}", Layer.IMAGE, found.place, image.source,
                          expected=f"{app.uid}:{app.gid}", actual=f"{found.uid}:{found.gid}", path=folder.path,
                          related=related)
