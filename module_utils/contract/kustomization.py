"""What a tree of kustomizations makes of its sources, value by value with the line that says it.

The objects themselves come from Kustomize; this follows the same steps in the same order, only to know the lines. Where
it goes further than Kustomize does, that is no harm: a line is only given when what it says is what was rendered.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from typing import Any

from .classes import dataclass
from .documents import Document
from .model import Place
from .traced import BUILT_IN, Change, Traced, changed, merged, patched, text, traced


@dataclass
class Part:
    """Documents of a file, or of a text inside one: ``shift`` lines stand before it, or all of it is at ``at``."""

    documents: Sequence[Document]
    shift: int = 0
    at: Place | None = None

    @cached_property
    def traced(self) -> list[Traced]:
        """The values of the documents."""
        return [traced(document, self.shift, self.at) for document in self.documents]


@dataclass(frozen=True)
class Data:
    """A file whose content a generator takes: its bytes, and its name in places."""

    content: bytes
    file: str


@dataclass
class Layer:
    """One kustomization: its fields, and what they name. ``parts`` and ``data`` are by the place in the file of what
    asks for them: ``("patches", 0, "path")``."""

    file: str
    node: Traced
    resources: list[Layer | Part] = field(default_factory=list)
    components: list[Layer] = field(default_factory=list)
    parts: dict[tuple[str | int, ...], Part] = field(default_factory=dict)
    data: dict[tuple[str | int, ...], Data] = field(default_factory=dict)


@dataclass
class Object:
    """An object on its way through the layers. ``ids`` are apiVersion, kind, name and namespace as they were, the
    first first; ``namespaces`` are the lines that set one; ``hashed``: a hash is added to its name in the end."""

    node: Traced
    ids: list[tuple[str, str, str, str]] = field(default_factory=list)
    namespaces: list[Traced] = field(default_factory=list)
    hashed: bool = False

    def copy(self) -> Object:
        """Another one to change; the values are shared."""
        return Object(self.node, list(self.ids), list(self.namespaces), self.hashed)

    @property
    def id(self) -> tuple[str, str, str, str]:
        """What it is called now."""
        node = self.node
        return (node.text("apiVersion"), node.text("kind"), node.text("metadata", "name"),
                node.text("metadata", "namespace"))

    def any_id(self) -> list[tuple[str, str, str, str]]:
        """All that it was ever called."""
        return [*self.ids, self.id]

    def store(self) -> None:
        """Remember what it is called before that changes."""
        self.ids.append(self.id)


def flattened(nodes: Iterable[Traced]) -> Iterator[Traced]:
    """Objects, those of Lists one by one."""
    for node in nodes:
        if node.text("kind").endswith("List") and isinstance(getattr(node.get("items"), "value", None), list):
            yield from flattened(node.items("items"))
        else:
            yield node


def build(layer: Layer, given: list[Object] | None = None) -> list[Object]:
    """The objects of a layer; for a component ``given`` are those that it works on."""
    objects = [] if given is None else given
    for resource in layer.resources:
        if isinstance(resource, Layer):
            objects += build(resource)
        else:
            objects += [Object(node) for node in flattened(resource.traced) if node.fields()]
    generate(layer, objects)
    for component in layer.components:
        objects = build(component, objects)
    for step in (strategic_patches, patches, namespace, names, labels, common_annotations, json_patches, replicas,
                 images, replacements):
        step(layer, objects)
        objects[:] = [item for item in objects if item.node.fields()]
    return objects


# --- which objects are meant ------------------------------------------------------------------------


def matches(pattern: str, *names: str) -> bool:
    """Whether a whole name fits a regular expression, as Kustomize anchors it; an empty one fits all.

    One that could keep Python busy for ever (Go's engine cannot be kept so) is taken to fit.
    """
    hard = (len(pattern) > 500 or re.search(r"\)[*+{]", pattern) or pattern.count("(") > 3 or pattern.count("?") > 8
            or len(re.findall(r"[*+{]", pattern)) > 2)
    try:
        return not pattern or bool(hard) or any(re.fullmatch(pattern, name) for name in names)
    except (re.error, OverflowError):
        return True


def selected(target: Traced | None, objects: Sequence[Object]) -> list[Object]:
    """The objects that a patch's target means: its patterns are of the first and the present name and namespace."""
    if target is None:
        return []
    found = []
    for item in objects:
        (api, kind, name, space), (_, _, first, first_space) = item.id, item.any_id()[0]
        group, _, version = api.rpartition("/")
        if (matches(target.text("group"), group) and matches(target.text("version"), version)
                and matches(target.text("kind"), kind) and matches(target.text("name"), name, first)
                and matches(target.text("namespace"), space or "default", first_space or "default")
                and chosen(target.text("labelSelector"), item.node.fields("metadata", "labels"))
                and chosen(target.text("annotationSelector"), item.node.fields("metadata", "annotations"))):
            found.append(item)
    return found


def chosen(selector: str, values: Mapping[str, Traced]) -> bool:
    """Whether labels fit a selector: ``a=b, c!=d, e in (f, g), h notin (i), j, !k``."""
    for term in re.split(r",(?![^(]*\))", selector) if len(selector) < 2000 else ():
        word = re.fullmatch(r"\s*(!?)\s*([^\s!=()]+)\s*(?:(==?|!=)\s*(\S*)|\s(in|notin)\s*\(([^)]*)\))?\s*", term)
        if word is None:
            continue
        refused, key, sign, value, inside, members = word.groups()
        actual = values[key].text() if key in values else None
        wanted = [value] if sign else [member.strip() for member in (members or "").split(",")]
        if not sign and not inside:
            fits = (actual is None) == bool(refused)
        else:
            fits = (actual in wanted) != (sign == "!=" or inside == "notin")
        if not fits:
            return False
    return True


def named(objects: Sequence[Object], node: Traced) -> list[Object]:
    """The objects that a patch without a target means: of its own kind and name, now or before."""
    api, kind, name, space = Object(node).id
    found = [item for item in objects if any(old[1:3] == (kind, name) for old in item.any_id())]
    exact = [item for item in found if any(old[0] == api and (old[3] or "default") == (space or "default")
                                           for old in item.any_id())]
    return exact or found


# --- generators -------------------------------------------------------------------------------------


def generate(layer: Layer, objects: list[Object]) -> None:
    """ConfigMaps and Secrets of literals and files, new ones or put into those that are there."""
    for kind, generator in (("ConfigMap", "configMapGenerator"), ("Secret", "secretGenerator")):
        for number, entry in enumerate(layer.node.items(generator)):
            new = Object(generated(layer, entry, kind, (generator, number)), hashed=not any(
                options.true("disableNameSuffixHash") for options in options_of(layer, entry)))
            behavior = entry.text("behavior")
            old = next(iter(named(objects, new.node)), None) if behavior in ("merge", "replace") else None
            if old is None:
                objects.append(new)
            else:
                old.node = combined(old.node, new.node, whole=behavior == "replace")
                old.hashed |= new.hashed


def options_of(layer: Layer, entry: Traced) -> list[Traced]:
    """The options of a generator, the kustomization's own first."""
    return [options for options in (layer.node.get("generatorOptions"), entry.get("options")) if options is not None]


def generated(layer: Layer, entry: Traced, kind: str, where: tuple[str | int, ...]) -> Traced:
    """What one entry of a generator makes."""

    def said(value: Any) -> Traced:  # noqa: ANN401
        return Traced(value, entry.place)

    metadata = {key: part for key in ("name", "namespace") if (part := entry.get(key)) is not None}
    values = {"apiVersion": said("v1"), "kind": said(kind), "metadata": said(metadata)}
    for options in options_of(layer, entry):
        for key in ("labels", "annotations"):
            if options.fields(key):
                there = metadata.get(key, options.value[key])
                metadata[key] = replace(there, value={**there.fields(), **options.fields(key)})
        if options.true("immutable"):
            values["immutable"] = options.value["immutable"]
    if kind == "Secret":
        values["type"] = entry.get("type") or said("Opaque")
    data: dict[str, Traced] = {}
    binary: dict[str, Traced] = {}
    for key, content, place in pairs(layer, entry, where):
        try:
            value = content.decode()
        except UnicodeDecodeError:
            value = None
        if kind == "Secret" or value is None:
            (data if kind == "Secret" else binary)[key] = Traced(encoded(content), place)
        else:
            data[key] = Traced(value, place)
    for key, some in (("data", data), ("binaryData", binary)):
        if some:
            values[key] = said(some)
    return said(values)


def encoded(content: bytes) -> str:
    """Base64 in lines of 70, as Kustomize writes it."""
    code = base64.b64encode(content).decode()
    return code if len(code) < 70 else "".join(f"{code[start:start + 70]}\n" for start in range(0, len(code), 70))


def pairs(layer: Layer, entry: Traced, where: tuple[str | int, ...]) -> Iterator[tuple[str, bytes, Place]]:
    """Keys and values of a generator, with the line of a literal or of a file of variables; a file's whole content is
    said by the file."""
    for at in [*((*where, "envs", number) for number in range(len(entry.items("envs")))), (*where, "env")]:
        source = layer.data.get(at)
        for number, line in enumerate(source.content.splitlines() if source else (), 1):
            key, _, value = line.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"=")
            if source and key and not key.startswith(b"#"):
                yield key.decode(errors="replace"), value, Place(source.file, number)
    for literal in entry.items("literals"):
        name, _, said = literal.text().partition("=")
        quoted = len(said) > 1 and said[0] == said[-1] and said[0] in "'\""
        yield name, (said[1:-1] if quoted else said).encode(), literal.place
    for number, file in enumerate(entry.items("files")):
        if source := layer.data.get((*where, "files", number)):
            words = file.text().split("=", 1)
            yield words[0] if words[1:] else words[0].rpartition("/")[2], source.content, Place(source.file, 1)


def combined(old: Traced, new: Traced, *, whole: bool) -> Traced:
    """An object with a generator's values put into it, or in the place of its own."""
    values = {**old.value, **{key: part for key, part in new.value.items() if key in ("type", "immutable")}}
    for key in ("data", "binaryData"):
        before = {} if whole else old.fields(key)
        some = {**before, **{name: replace(part, before=before.get(name)) for name, part in new.fields(key).items()}}
        values.pop(key, None)
        if some:
            values[key] = replace(old.get(key) or new.value[key], value=some)
    metadata = dict(old.fields("metadata"))
    for key in ("labels", "annotations"):
        if part := new.get("metadata", key):
            metadata[key] = replace(metadata.get(key, part), value={**old.fields("metadata", key), **part.value})
    return replace(old, value={**values, "metadata": replace(old.value["metadata"], value=metadata)})


def instead(new: Traced) -> Change:
    """The change that puts a value in the place of another."""
    return lambda old: replace(new, before=old)


# --- transformers, in the order in which Kustomize runs them ----------------------------------------


def strategic_patches(layer: Layer, objects: list[Object]) -> None:
    """``patchesStrategicMerge``, the old form of ``patches``."""
    for number, _ in enumerate(layer.node.items("patchesStrategicMerge")):
        for patch in traced_part(layer, ("patchesStrategicMerge", number)):
            for item in named(objects, patch):
                strategic(item, patch, None)


def patches(layer: Layer, objects: list[Object]) -> None:
    """``patches``: each is a strategic merge patch or a JSON patch, told apart by what it is."""
    for number, entry in enumerate(layer.node.items("patches")):
        for patch in traced_part(layer, ("patches", number, "path"), ("patches", number, "patch")):
            if isinstance(patch.value, list):
                apply_json(selected(entry.get("target"), objects), patch)
            else:
                for item in named(objects, patch) if entry.get("target") is None else selected(
                        entry.get("target"), objects):
                    strategic(item, patch, entry.get("options"))


def json_patches(layer: Layer, objects: list[Object]) -> None:
    """``patchesJson6902``, the other old form."""
    for number, entry in enumerate(layer.node.items("patchesJson6902")):
        for patch in traced_part(layer, ("patchesJson6902", number, "path"), ("patchesJson6902", number, "patch")):
            apply_json(selected(entry.get("target"), objects), patch)


def traced_part(layer: Layer, *places: tuple[str | int, ...]) -> list[Traced]:
    """The documents that the first of some fields names or has."""
    return next((layer.parts[place].traced for place in places if place in layer.parts), [])


def apply_json(objects: Iterable[Object], patch: Traced) -> None:
    """A JSON patch's operations, one after the other."""
    for item in objects:
        item.store()
        for operation in patch.items():
            item.node = patched(item.node, operation)


def strategic(item: Object, patch: Traced, options: Traced | None) -> None:
    """A strategic merge patch. What it is for stays as it is called, unless its options allow that to change."""
    item.store()
    kind = item.id[1] if BUILT_IN.fullmatch(item.id[0]) else ""
    keep = ("apiVersion",) if options is not None and options.true("allowKindChange") else ("apiVersion", "kind")
    names = patch.fields("metadata")
    if names:
        left = {key: part for key, part in names.items() if key != "namespace" and (
            key != "name" or (options is not None and options.true("allowNameChange")))}
        patch = patch.has("metadata", replace(patch.value["metadata"], value=left))
    item.node = merged(item.node, patch, kind, keep=keep) or replace(item.node, value={})


def namespace(layer: Layer, objects: list[Object]) -> None:
    """``namespace``: of all that can have one, the Namespace's own name, and of subjects named default."""
    line = layer.node.get("namespace")
    if line is None or not line.text():
        return

    def subject(old: Traced) -> Traced:
        if old.text("name") != "default":
            return old
        return old.has("namespace", replace(line, before=old.get("namespace")))

    for item in objects:
        item.store()
        item.namespaces.append(line)
        kind = item.id[1]
        path = ("metadata", "name" if kind == "Namespace" else "namespace")
        item.node = changed(item.node, path, instead(line), line)
        if kind == "APIService":
            item.node = changed(item.node, ("spec", "service", "namespace"), instead(line))
        if kind.endswith("RoleBinding"):
            item.node = changed(item.node, ("subjects",), subject)


def names(layer: Layer, objects: list[Object]) -> None:
    """``namePrefix`` and ``nameSuffix``; references to the names are the lines that they are written in."""
    for key in ("namePrefix", "nameSuffix"):
        line = layer.node.get(key)
        if line is None or not line.text():
            continue
        for item in objects:
            if item.any_id()[0][1] in ("CustomResourceDefinition", "APIService", "Namespace"):
                continue
            item.store()
            word = line.text() + item.id[2] if key == "namePrefix" else item.id[2] + line.text()
            item.node = changed(item.node, ("metadata", "name"), instead(Traced(word, line.place)))


POD = "spec/template/spec/"
TEMPLATES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "ReplicationController", "Job"),
                    ("spec/template/metadata",)),
    "CronJob": ("spec/jobTemplate/metadata", "spec/jobTemplate/spec/template/metadata"),
}
SELECTORS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("Service", "ReplicationController"), ("spec/selector",)),
    **dict.fromkeys(("Deployment", "ReplicaSet", "DaemonSet", "StatefulSet"), ("spec/selector/matchLabels",)),
}
"""Selectors that get a label even where there is none yet."""
OLD_SELECTORS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("Job", "PodDisruptionBudget"), ("spec/selector/matchLabels",)),
    "CronJob": ("spec/jobTemplate/spec/selector/matchLabels",),
    "NetworkPolicy": tuple(f"spec/{where}podSelector/matchLabels" for where in ("", "ingress/from/", "egress/to/")),
    **dict.fromkeys(("Deployment", "StatefulSet"), (
        f"{POD}topologySpreadConstraints/labelSelector/matchLabels",
        *(f"{POD}affinity/{pods}/requiredDuringSchedulingIgnoredDuringExecution/labelSelector/matchLabels"
          for pods in ("podAffinity", "podAntiAffinity")),
        *(f"{POD}affinity/{pods}/preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm/labelSelector"
          "/matchLabels" for pods in ("podAffinity", "podAntiAffinity")))),
}
"""Selectors that get a label where there are some."""


def labels(layer: Layer, objects: list[Object]) -> None:
    """``labels`` and ``commonLabels``."""
    common = layer.node.get("commonLabels")
    for entry in layer.node.items("labels"):
        if (words := entry.get("pairs")) is None:
            continue
        selectors = entry.true("includeSelectors")
        for item in objects:
            kind = item.id[1]
            paths = ["metadata/labels"]
            if selectors or entry.true("includeTemplates"):
                paths += [f"{path}/labels" for path in TEMPLATES.get(kind, ())]
            old = [*OLD_SELECTORS.get(kind, ())] if selectors else []
            if selectors or entry.true("includeVolumeClaimTemplates"):
                old.append("spec/volumeClaimTemplates/metadata/labels")
            for spec in entry.items("fields"):
                if matches(spec.text("kind"), kind):
                    (paths if spec.true("create") else old).append(spec.text("path"))
            put(item, words, [*paths, *(SELECTORS.get(kind, ()) if selectors else ())], old)
    if common is None:
        return
    for item in objects:
        kind = item.id[1]
        put(item, common, ["metadata/labels", *(f"{path}/labels" for path in TEMPLATES.get(kind, ())),
                           *SELECTORS.get(kind, ())],
            [*OLD_SELECTORS.get(kind, ()), "spec/volumeClaimTemplates/metadata/labels"])


def common_annotations(layer: Layer, objects: list[Object]) -> None:
    """``commonAnnotations``."""
    if (common := layer.node.get("commonAnnotations")) is not None:
        for item in objects:
            put(item, common, ["metadata/annotations",
                               *(f"{path}/annotations" for path in TEMPLATES.get(item.id[1], ()))], [])


def put(item: Object, words: Traced, paths: Iterable[str], old: Iterable[str]) -> None:
    """Labels or annotations written to ``paths``, and to ``old`` ones where there are some already."""

    def change(there: Traced) -> Traced:
        values = there.fields()
        return replace(there, value={**values, **{
            key: replace(part, before=values.get(key)) for key, part in words.fields().items()}})

    def follow(there: Traced) -> Traced:
        values = there.fields()
        return replace(there, value={**values, **{
            key: replace(part, before=values[key]) for key, part in words.fields().items()
            if key in values and key in before and values[key].place == before[key].place}})

    # What one line of a kustomization wrote to several places is one value to Kustomize: changed in one, it is in all.
    before = item.node.fields("metadata", "labels")
    kind = item.id[1]
    for path in {*(f"{path}/labels" for path in TEMPLATES.get(kind, ())), *SELECTORS.get(kind, ()),
                 *OLD_SELECTORS.get(kind, ())}:
        item.node = changed(item.node, path.split("/"), follow)
    for path in paths:
        item.node = changed(item.node, path.split("/"), change, Traced({}, words.place))
    for path in old:
        item.node = changed(item.node, path.split("/"), change)


def replicas(layer: Layer, objects: list[Object]) -> None:
    """``replicas``: of workloads with a name."""
    for entry in layer.node.items("replicas"):
        if (count := entry.get("count")) is None:
            continue
        for item in objects:
            if item.id[1] in ("Deployment", "StatefulSet", "ReplicaSet", "ReplicationController") and any(
                    old[2] == entry.text("name") for old in item.any_id()):
                item.node = changed(item.node, ("spec", "replicas"), instead(count), count)


def images(layer: Layer, objects: list[Object]) -> None:
    """``images``: name, tag and digest of the images of containers."""
    entries = layer.node.items("images")

    def image(old: Traced) -> Traced:
        for entry in entries:
            old = new_image(old, entry)
        return old

    def container(old: Traced) -> Traced:
        return changed(old, ("image",), image)

    def search(node: Traced) -> Traced:
        if isinstance(node.value, list):
            values = [search(item) for item in node.value]
            new = any(one is not other for one, other in zip(values, node.value, strict=True))
            return replace(node, value=values) if new else node
        for key, part in node.fields().items():
            after = search(part)
            if key in ("containers", "initContainers") and isinstance(after.value, list):
                after = changed(after, (), container)
            elif key == "volumes":
                after = changed(after, ("image", "reference"), image)
            if after is not part:
                node = node.has(key, after)
        return node

    for item in objects if entries else ():
        if item.id[1] != "CustomResourceDefinition":
            item.node = search(item.node)


def new_image(old: Traced, entry: Traced) -> Traced:
    """An image as an entry of ``images`` changes it: said by the new tag's line, else the digest's or the name's."""
    whole = old.text()
    plain, _, hashed = whole.partition("@")
    head, slash, last = plain.rpartition("/")
    name, _, tag = last.partition(":")
    name = f"{head}{slash}{name}"
    if not isinstance(old.value, str) or name != entry.text("name"):
        return old
    new_name, digest, new_tag, suffix = (entry.text(key) for key in ("newName", "digest", "newTag", "tagSuffix"))
    if new_tag or digest:
        tag, hashed = new_tag, digest
    elif suffix:
        tag, hashed = tag + suffix, ""
    result = (new_name or name) + (f":{tag}" if tag else "") + (f"@{hashed}" if hashed else "")
    moved = result == whole.replace(name, new_name or name, 1)  # only the name is another one, if anything is
    order = ("newName", "newTag", "digest") if moved and new_name else ("newTag", "digest", "tagSuffix", "newName")
    line = next((line for key in order if (line := entry.get(key)) is not None and line.text()), None)
    named = entry.get("newName")
    # Below the image, where there is nothing, its name is asked for: another line can say it than the tag's.
    said = {"name": named.place} if named is not None and named.text() else {}
    return old if line is None else Traced(result, line.place, before=old, removed=said)


# --- replacements -----------------------------------------------------------------------------------


def replacements(layer: Layer, objects: list[Object]) -> None:
    """``replacements``: a value of one object copied to others. The line that says it is where it is copied from."""
    for number, entry in enumerate(layer.node.items("replacements")):
        listed = traced_part(layer, ("replacements", number, "path")) or [entry]
        for rule in [rule for one in listed for rule in (one.items() or [one])]:
            value = source_value(rule, objects)
            if value is None:
                continue
            for target in rule.items("targets"):
                for item in replaced(target, objects):
                    for path in target.items("fieldPaths") or [Traced("metadata.name", target.place)]:
                        copy_value(item, value, path, target.get("options"))


def source_value(rule: Traced, objects: Sequence[Object]) -> Traced | None:
    """What a replacement copies."""
    if (plain := rule.get("sourceValue")) is not None:
        return plain
    source = rule.get("source")
    if source is None:
        return None
    for item in objects:
        if any(meant(source, one) for one in item.any_id()):
            value: Traced | None = item.node
            for step in steps(source.text("fieldPath") or "metadata.name"):
                value = next(iter(below(value, step)), None) if value is not None else None
            options = source.get("options")
            if value is not None and options is not None and options.text("delimiter"):
                words = value.text().split(options.text("delimiter"))
                index = options.get("index")
                index_number = index.value if index is not None and isinstance(index.value, int) else 0
                return replace(value, value=words[index_number]) if 0 <= index_number < len(words) else None
            return value
    return None


def meant(selector: Traced, name: tuple[str, str, str, str]) -> bool:
    """Whether an object is the one that a replacement's source means: all that it says is equal."""
    group, _, version = name[0].rpartition("/")
    return all(not selector.text(key) or selector.text(key) == value for key, value in (
        ("group", group), ("version", version), ("kind", name[1]), ("name", name[2]),
        ("namespace", name[3] or "default")))


def replaced(target: Traced, objects: Sequence[Object]) -> list[Object]:
    """The objects that a replacement's target means."""
    refused = {id(item) for reject in target.items("reject") for item in selected(reject, objects)}
    return [item for item in selected(target.get("select"), objects) if id(item) not in refused]


def steps(path: str) -> list[str]:
    """A path of a replacement in its steps: dots divide, but for those in brackets or behind a backslash."""
    words = re.findall(r"(?:\[[^\]]*\]|\\.|[^.\\])+", path)
    words = [word.replace("\\.", ".") for word in words]
    return [word.strip("[]") if word.startswith("[") and "=" not in word else word for word in words]


def below(node: Traced, step: str) -> list[Traced]:
    """The parts that a step of a replacement's path means: a field, an item by number or ``[name=x]``, or all."""
    if isinstance(node.value, list):
        if step == "*":
            return node.value
        key, sign, wanted = step.strip("[]").partition("=")
        if sign:
            return [item for item in node.value if (item.text(key) if key else item.text()) == wanted]
        return [node.value[int(step)]] if re.fullmatch("[0-9]{1,9}", step) and int(step) < len(node.value) else []
    part = node.get(step)
    return [] if part is None else [part]


def copy_value(item: Object, value: Traced, path: Traced, options: Traced | None) -> None:
    """Put a replacement's value to a path of an object. One that only becomes a part of a text is said by the path's
    line: neither of the two texts says the whole."""
    delimiter = options.text("delimiter") if options is not None else ""
    index = options.get("index") if options is not None else None
    number = index.value if index is not None and isinstance(index.value, int) else 0

    def change(old: Traced) -> Traced:
        if not delimiter:
            return replace(value, before=old)
        words = old.text().split(delimiter)
        if number < 0:
            words.insert(0, value.text())
        elif number >= len(words):
            words.append(value.text())
        else:
            words[number] = value.text()
        return Traced(delimiter.join(words), path.place, before=old)

    item.node = at_steps(item.node, steps(path.text()), change, replace(value, before=None)
                         if options is not None and options.true("create") else None)


def at_steps(node: Traced, path: Sequence[str], change: Change, new: Traced | None) -> Traced:
    """The node with a change done at the steps of a replacement's path."""
    if not path:
        return change(node)
    parts = {id(part) for part in below(node, path[0])}
    if isinstance(node.value, list):
        return replace(node, value=[at_steps(item, path[1:], change, new) if id(item) in parts else item
                                    for item in node.value])
    if parts:
        return node.has(path[0], at_steps(node.value[path[0]], path[1:], change, new))
    if new is None or not isinstance(node.value, dict):
        return node
    return node.has(path[0], new if len(path) == 1 else at_steps(Traced({}, new.place), path[1:], change, new))


# --- which of them was rendered ---------------------------------------------------------------------


def sources(objects: Sequence[Object], bodies: Sequence[Mapping[str, Any]]) -> list[Object | None]:
    """For each rendered object the one that it comes from, by kind, name and namespace; None where that is not known
    (a plugin of Kustomize made it)."""
    exact: dict[tuple[str, ...], list[Object]] = {}
    for item in objects:
        api, kind, name, space = item.id
        exact.setdefault((kind, name, space), []).append(item)
        exact.setdefault((kind, name), []).append(item)
        if item.hashed:
            exact.setdefault((kind, name, "#"), []).append(item)
    found = []
    for body in bodies:
        metadata = body.get("metadata") or {}
        kind, name, space = (text(value) for value in (body.get("kind"), metadata.get("name"),
                                                       metadata.get("namespace")))
        several = exact.get((kind, name, space)) or exact.get((kind, name)) or [
            item for item in exact.get((kind, name.rpartition("-")[0], "#"), ()) if item.id[3] in ("", space)]
        api = text(body.get("apiVersion"))
        found.append(next((item for item in several if item.id[0] == api), next(iter(several), None)))
    return found
