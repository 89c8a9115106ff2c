"""Renders a Kustomize overlay with its SealedSecrets, and refuses what must not be applied. Documented in library/."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible.plugins.action import ActionBase

Object = dict[str, Any]

YamlLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader, in C where PyYAML was built with it: ten times as fast."""

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
KUSTOMIZE_AT_LEAST = 5
RENDER_SECONDS = 60
CONFIG_ANNOTATION = "observer-node/config"

ORDER = (
    "Namespace", "CustomResourceDefinition", "StorageClass", "PersistentVolume", "ServiceAccount", "ClusterRole",
    "ClusterRoleBinding", "Role", "RoleBinding", "ConfigMap", "SealedSecret", "PersistentVolumeClaim", "Service",
    "NetworkPolicy", "PodDisruptionBudget", "StatefulSet", "Deployment",
)
"""What others need comes first; a database before those who ask it. Kinds that are not here come last."""

CLUSTER_SCOPED = {
    "Namespace", "CustomResourceDefinition", "StorageClass", "PersistentVolume", "ClusterRole", "ClusterRoleBinding",
    "PriorityClass", "IngressClass", "RuntimeClass",
}

AWAITED = ("SealedSecret", "PersistentVolumeClaim", "StatefulSet", "Deployment")
RESTARTED = ("Deployment", "StatefulSet", "DaemonSet")


class RefusalError(Exception):
    """What must not be applied, in one sentence, and what to do about it in another."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True)
class Wanted:
    """What an inventory asks of an overlay: the options of the module, and the command that seals."""

    path: Path
    namespace: str
    image: str
    tag_policy: Sequence[str]
    required_keys: Mapping[str, Sequence[str]]
    sealed_secrets_dir: Path | None
    seal: str

    @property
    def kustomization(self) -> Path:
        """The overlay's own kustomization.

        :raises RefusalError: it is not there.
        """
        if not self.path.is_dir():
            there = sorted(path.name for path in self.path.parent.glob("*/") if path.is_dir())
            raise RefusalError(
                f"There is no overlay {shown(self.path)}.",
                f"Set observer_overlay to one of {', '.join(there)}, or observer_manifests to the folder that has"
                " overlays/." if there else "Set observer_manifests to the folder that has overlays/.")
        for name in KUSTOMIZATIONS:
            if (self.path / name).is_file():
                return self.path / name
        raise RefusalError(f"Overlay {shown(self.path)} has no kustomization.yaml.",
                           f"Restore {shown(self.path / KUSTOMIZATIONS[0])} (git checkout).")


def shown(path: Path) -> str:
    """A path as the operator would type it: relative, where it lies under the current folder."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def named(item: Object) -> str:
    """Kind and name of an object, for messages."""
    return f"{item.get('kind')} {item.get('metadata', {}).get('name')}"


# --- rendering ----------------------------------------------------------------------------------


def kustomize_command(chosen: str, environment: Mapping[str, str]) -> list[str]:
    """The program that renders, without the overlay's path.

    :param chosen: what the inventory names, or empty: then the one that ``make tools`` built, one on PATH, kubectl.
    :raises RefusalError: there is none.
    """
    search = environment.get("PATH", os.defpath)
    if chosen:
        program = shutil.which(chosen, path=search)
        if not program:
            raise RefusalError(f"observer_kustomize is {chosen}, and that is no program.",
                               "Set it to the path of kustomize or kubectl, or leave it out.")
    else:
        cache = Path(environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", "/"), ".cache"))
        built = (cache / "observer-node" / "tools").glob("kustomize-*/kustomize")
        own = max(built, key=lambda path: [int(part) for part in re.findall(r"\d+", path.parent.name)], default=None)
        program = str(own) if own else shutil.which("kustomize", path=search) or shutil.which("kubectl", path=search)
        if not program:
            raise RefusalError("There is no kustomize and no kubectl on this machine to render the manifests with.",
                               f"Type `make tools`, or install kustomize {KUSTOMIZE_AT_LEAST} or later.")
    return [program, "kustomize" if "kubectl" in Path(program).name else "build"]


def render(command: Sequence[str], wanted: Wanted) -> list[Object]:
    """The overlay's objects.

    :raises RefusalError: kustomize refuses, with the innermost of its reasons, which names the file.
    """
    kustomization = wanted.kustomization
    try:
        done = subprocess.run([*command, str(wanted.path)], capture_output=True, check=False, timeout=RENDER_SECONDS,
                              stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RefusalError(f"{' '.join(command)} {shown(wanted.path)}: {error}.",
                           "Set observer_kustomize to a kustomize that works here.") from error
    if done.returncode:
        reason = " ".join(done.stderr.decode(errors="replace").split())
        inner = reason.rpartition("accumulating resources from ")[2].partition("': must build at directory")[0]
        raise RefusalError(
            f"Overlay {shown(wanted.path)} cannot be rendered: {inner.removeprefix('Error: ')}.",
            old(command) or f"Correct {shown(kustomization)} or the file it names; "
                            f"`{' '.join(command)} {shown(wanted.path)}` shows all of the message.")
    return [item for item in yaml.load_all(done.stdout, Loader=YamlLoader) if item]


def old(command: Sequence[str]) -> str:
    """A remedy when a failing kustomize is one that is too old, else nothing."""
    words = [command[0], "version", *(["--client"] if command[1] == "kustomize" else [])]
    told = subprocess.run(words, capture_output=True, check=False, timeout=RENDER_SECONDS, text=True).stdout
    version = re.search(r"(?:Kustomize Version: |Version:kustomize/|^)v(\d+)\.", told, re.M)
    if version and int(version[1]) < KUSTOMIZE_AT_LEAST:
        return (f"{command[0]} is kustomize {version[1]}: type `make tools`, or install kustomize"
                f" {KUSTOMIZE_AT_LEAST} or later.")
    return ""


# --- SealedSecrets ------------------------------------------------------------------------------


def sealed_secrets(wanted: Wanted, rendered: Sequence[Object]) -> list[Object]:
    """SealedSecrets of the folder that the overlay itself does not list; all are checked.

    :raises RefusalError: one is missing, lacks a key, or was sealed for another name or namespace.
    """
    files: dict[str, tuple[str, Object]] = {
        item["metadata"]["name"]: (shown(wanted.kustomization), item)
        for item in rendered if item.get("kind") == "SealedSecret"
    }
    added = []
    for path in sealed_files(wanted.sealed_secrets_dir):
        item = sealed_document(path)
        if path.stem not in files:
            check_sealed_for(item, path.stem, wanted, shown(path))
            files[path.stem] = (shown(path), item)
            added.append(item)
    for name, (file, item) in files.items():
        check_sealed_for(item, name, wanted, file)
    for name, keys in wanted.required_keys.items():
        if name not in files:
            place = shown(wanted.sealed_secrets_dir / f"{name}.yaml") if wanted.sealed_secrets_dir else name
            raise RefusalError(f"SealedSecret {name} is missing: there is no {place}.",
                               f"Type `{wanted.seal}`, which seals it from the vault.")
        file, item = files[name]
        sealed = item.get("spec", {}).get("encryptedData") or {}
        missing = [key for key in keys if not sealed.get(key)]
        if missing:
            raise RefusalError(f"SealedSecret {name} in {file} lacks {', '.join(missing)}.",
                               f"Put the missing values into the vault and type `{wanted.seal}`.")
    return added


def sealed_files(folder: Path | None) -> Iterator[Path]:
    """The YAML files of the folder, by name; none when there is no folder."""
    if folder and folder.is_dir():
        yield from sorted(path for path in folder.iterdir()
                          if path.suffix in (".yaml", ".yml", ".json") and path.name not in KUSTOMIZATIONS)


def sealed_document(path: Path) -> Object:
    """The SealedSecret in a file; a shell of Windows may have written it in UTF-16, which YAML allows.

    :raises RefusalError: it holds anything else.
    """
    try:
        documents = [item for item in yaml.load_all(path.read_bytes(), Loader=YamlLoader) if item]
    except (OSError, yaml.YAMLError) as error:
        raise RefusalError(f"{shown(path)} cannot be read: {' '.join(str(error).split())}.",
                           "Restore the file, or remove it and seal again.") from error
    kinds = [item.get("kind") if isinstance(item, dict) else None for item in documents]
    if "Secret" in kinds:
        raise RefusalError(f"{shown(path)} holds a plain Secret, which anybody can read.",
                           "Remove the file, change the values it gave away, and seal them.")
    if kinds != ["SealedSecret"]:
        raise RefusalError(f"{shown(path)} does not hold one SealedSecret.",
                           "Keep one SealedSecret a file there, named after it, and nothing else.")
    document: Object = documents[0]
    return document


def check_sealed_for(item: Object, name: str, wanted: Wanted, file: str) -> None:
    """Name and namespace are sealed in: under others the controller could never open it.

    :raises RefusalError: they are not what is expected here.
    """
    inner = item.get("spec", {}).get("template", {}).get("metadata") or {}
    for place in (item["metadata"], inner):
        found = (place.get("namespace", wanted.namespace), place.get("name", name))
        if found != (wanted.namespace, name):
            raise RefusalError(
                f"SealedSecret in {file} was sealed for {'/'.join(found)} and is needed as {wanted.namespace}/{name}.",
                f"Remove the file and type `{wanted.seal}`: a SealedSecret cannot be moved or renamed.")


# --- checks of what was rendered ----------------------------------------------------------------


def check_no_secret(objects: Iterable[Object]) -> None:
    """:raises RefusalError: a plain Secret, which would be readable in git, or made from something that is."""
    for item in objects:
        if item.get("kind") == "Secret":
            raise RefusalError(
                f"The overlay renders {named(item)} in plain text.",
                "Take it (or its secretGenerator) out of the kustomization and give its values to the vault, from"
                " where they are sealed.")


def check_namespaces(objects: Iterable[Object], wanted: Wanted) -> None:
    """:raises RefusalError: an object would land in another namespace than the inventory's."""
    for item in objects:
        kind, metadata = item.get("kind"), item.get("metadata", {})
        found = metadata.get("name") if kind == "Namespace" else metadata.get("namespace")
        if found == wanted.namespace or (kind in CLUSTER_SCOPED and kind != "Namespace"):
            continue
        what = "makes Namespace" if kind == "Namespace" else f"puts {named(item)} into namespace"
        raise RefusalError(
            f"Overlay {shown(wanted.path)} {what} {found}, and observer_namespace is {wanted.namespace}."
            if found else f"Overlay {shown(wanted.path)} puts {named(item)} into no namespace.",
            f"Set observer_overlay and observer_namespace to the same environment, or `namespace: {wanted.namespace}`"
            f" in {shown(wanted.kustomization)}.")


def pod_template(item: Object) -> Object | None:
    """The pod template of a workload of any kind, or None."""
    spec = item.get("spec") or {}
    if item.get("kind") == "CronJob":
        spec = spec.get("jobTemplate", {}).get("spec", {})
    template: Object | None = item if item.get("kind") == "Pod" else spec.get("template")
    return template if isinstance(template, dict) and "containers" in (template.get("spec") or {}) else None


def containers(template: Object) -> Iterator[Object]:
    """All containers of a pod template, those that run before the others included."""
    for group in ("initContainers", "containers"):
        yield from template["spec"].get(group) or []


def tag_patterns(wanted: Wanted) -> list[re.Pattern[str]]:
    """:raises RefusalError: a pattern is no regular expression."""
    patterns = []
    for pattern in wanted.tag_policy:
        try:
            patterns.append(re.compile(pattern))
        except re.error as error:
            raise RefusalError(f"observer_tag_policy: {pattern} is no regular expression: {error}.",
                               "Correct it; it has to match a whole tag.") from error
    return patterns


def check_images(objects: Iterable[Object], wanted: Wanted) -> None:
    """:raises RefusalError: an image whose content is not fixed by its tag, or a tag that the inventory forbids."""
    patterns = tag_patterns(wanted)
    remedy = (f"Set newTag in {shown(wanted.kustomization)} to a build's own tag, which observer_tag_policy allows: "
              f"{' or '.join(wanted.tag_policy)}.")
    for item in objects:
        template = pod_template(item)
        for container in containers(template) if template else ():
            image = str(container.get("image", ""))
            plain, _, digest = image.partition("@")
            folder, slash, last = plain.rpartition("/")
            name, _, tag = last.partition(":")
            ours = f"{folder}{slash}{name}" == wanted.image
            says = f"{named(item)} runs {image}"
            if tag == "latest":
                raise RefusalError(f"{says}: latest is another build every time.", remedy)
            if not tag and (ours or not digest):
                raise RefusalError(f"{says}, which has no tag, and that means latest.", remedy)
            if ours and not any(pattern.fullmatch(tag) for pattern in patterns):
                raise RefusalError(f"{says}: observer_tag_policy forbids tag {tag} here.", remedy)


# --- what is returned ---------------------------------------------------------------------------


def read_at_start(template: Object) -> Iterator[tuple[str, str, str | None]]:
    """What the containers of a pod template take their environment from: kind, name, and the key or None for all."""
    for container in containers(template):
        for source in container.get("envFrom") or []:
            for kind, reference in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
                if reference in source:
                    yield kind, source[reference]["name"], None
        for variable in container.get("env") or []:
            for kind, reference in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
                if reference in (source := variable.get("valueFrom") or {}):
                    yield kind, source[reference]["name"], source[reference]["key"]


def stamp(objects: Sequence[Object]) -> None:
    """Write a digest of what a pod takes its environment from into its template.

    A pod reads a ConfigMap or a Secret once, when it starts. With the digest a changed setting replaces the pod; of a
    secret only the sealed form is known here, and only keys that the pod uses count.
    """
    data = {(item["kind"], item["metadata"]["name"]): item.get("data") or {} for item in objects
            if item["kind"] == "ConfigMap"}
    data |= {("Secret", item["metadata"]["name"]): item.get("spec", {}).get("encryptedData") or {} for item in objects
             if item["kind"] == "SealedSecret"}
    for item in objects:
        template = pod_template(item)
        used: dict[str, Any] = {}
        for kind, name, key in read_at_start(template) if template else ():
            known = data.get((kind, name), {})
            used |= {f"{kind} {name} {one}": known.get(one) for one in (known if key is None else [key])}
        if template and used:
            digest = hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()[:16]
            metadata = template.setdefault("metadata", {})
            metadata["annotations"] = {**(metadata.get("annotations") or {}), CONFIG_ANNOTATION: digest}


def ordered(objects: Iterable[Object]) -> list[Object]:
    """The objects in an order in which they can be applied one after the other."""
    return sorted(objects, key=lambda item: ORDER.index(item["kind"]) if item["kind"] in ORDER else len(ORDER))


def targets(objects: Iterable[Object]) -> list[dict[str, str]]:
    """What has to become ready, in the words of module cluster_wait."""
    return [{"kind": item["kind"], "namespace": item["metadata"]["namespace"], "name": item["metadata"]["name"]}
            for item in objects if item["kind"] in AWAITED]


def restarts(objects: Iterable[Object]) -> list[dict[str, Any]]:
    """Workloads with the ConfigMaps of the overlay that they take whole, in the words of module cluster_objects.

    The digest of :func:`stamp` replaces pods when the declaration changes. It stays the same when somebody edits the
    ConfigMap in the cluster and it is put back, and a pod that was started in between would keep the edited values.
    """
    def reference(item: Object) -> dict[str, str]:
        # Without an apiVersion it is refused by name where it is applied.
        return {"apiVersion": item.get("apiVersion", ""), "kind": item["kind"],
                "namespace": item["metadata"]["namespace"], "name": item["metadata"]["name"]}

    objects = list(objects)
    settings = {item["metadata"]["name"]: item for item in objects if item["kind"] == "ConfigMap"}
    found = []
    for item in objects:
        template = pod_template(item) if item["kind"] in RESTARTED else None
        # Not for a single key: the database need not restart for a key that it does not read.
        names = {name for kind, name, key in (read_at_start(template) if template else ())
                 if kind == "ConfigMap" and key is None}
        after = [reference(settings[name]) for name in sorted(names & settings.keys())]
        if after:
            found.append({"workload": reference(item), "after": after})
    return found


def overlay(wanted: Wanted, command: Sequence[str]) -> list[Object]:
    """Render and check an overlay; returns its objects with the SealedSecrets, ready to be applied in this order.

    :raises RefusalError: with the first of what must not be applied.
    """
    objects = render(command, wanted)
    check_no_secret(objects)
    check_namespaces(objects, wanted)
    check_images(objects, wanted)
    for item in sealed_secrets(wanted, objects):
        item["metadata"]["namespace"] = wanted.namespace
        objects.append(item)
    if not any(item["kind"] == "Namespace" for item in objects):
        objects.append({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": wanted.namespace}})
    stamp(objects)
    return ordered(objects)


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs on the controller alone: no connection to the host is opened."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Reads only, so check mode makes no difference."""
        super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec={
            "path": {"type": "path", "required": True},
            "namespace": {"type": "str", "required": True},
            "image": {"type": "str", "default": "ghcr.io/tawbury/observer"},
            "tag_policy": {"type": "list", "elements": "str", "required": True},
            "required_keys": {"type": "dict", "default": {}},
            "sealed_secrets_dir": {"type": "path"},
            "kustomize": {"type": "path", "default": ""},
        })
        inventories = " ".join(f"-i {shown(Path(source))}" for source in
                               (task_vars or {}).get("ansible_inventory_sources") or ())
        sealed = options["sealed_secrets_dir"]
        wanted = Wanted(
            path=Path(os.path.normpath(options["path"])), namespace=options["namespace"], image=options["image"],
            tag_policy=options["tag_policy"], required_keys=options["required_keys"],
            sealed_secrets_dir=Path(os.path.normpath(sealed)) if sealed else None,
            seal=f"ansible-playbook playbooks/secrets.yml {inventories}".strip(),
        )
        try:
            objects = overlay(wanted, kustomize_command(options["kustomize"], os.environ))
        except RefusalError as refusal:
            return {"failed": True, "changed": False, "msg": str(refusal), "remedy": refusal.remedy}
        return {"changed": False, "path": options["path"], "objects": objects, "targets": targets(objects),
                "restarts": restarts(objects)}
