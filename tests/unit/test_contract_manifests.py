"""Manifests: which objects an overlay or a folder has, and which line of the sources says each field of them."""

from __future__ import annotations

import os
import shutil
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from contract import kustomize
from contract.documents import leaves
from contract.facts import FieldPath, KubeObject, ManifestFacts
from contract.manifests import load_manifests
from contract.model import ContractError
from work import ENDLESS, calls

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: b}\n"
POD: FieldPath = ("spec", "template", "spec")
Tree = Callable[[Mapping[str, str | bytes]], Path]


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).encode())
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Writes files to a folder of its own, which is what is checked."""
    return lambda files: write(tmp_path, files)


class Loaded:
    """What was loaded, and the lines of its sources as texts."""

    def __init__(self, root: Path, facts: ManifestFacts) -> None:
        self.root, self.facts = root, facts

    def object(self, name: str) -> KubeObject:
        """An object by the beginning of ``Kind namespace/name``, or of ``Kind name``."""
        return next(item for item in self.facts.objects
                    if str(item).startswith(name) or f"{item.kind} {item.name}".startswith(name))

    def line(self, name: str, *path: str | int) -> str:
        """The file and the text of the line that says a field: ``base/app.yaml | replicas: 2``."""
        place = self.object(name).locate(path)
        return f"{place.file} | {(self.root / place.file).read_text().splitlines()[place.line - 1].strip()}"


def loaded(root: Path, path: str = "overlay") -> Loaded:
    return Loaded(root, load_manifests(root / path, root=root))


# --- this project's own overlays ----------------------------------------------------------------------


@pytest.mark.parametrize("overlay", ["production", "staging", "local"])
def test_every_field_of_our_overlays_is_said_by_the_line_that_is_given(overlay: str) -> None:
    facts = load_manifests(ROOT / "manifests" / "overlays" / overlay)
    texts: dict[str, list[str]] = {}
    count = 0
    for item in facts.objects:
        for path, value in leaves(item.body):
            place = item.locate(path)
            line = texts.setdefault(place.file, (ROOT / place.file).read_text().splitlines())[place.line - 1]
            # Of an image only the tag is in the overlay; an empty mapping has no text of its own.
            said = str(value).rpartition(":")[2] if path[-1] == "image" else str(value)
            if isinstance(value, bool):
                said = said.lower()
            assert said in line, f"{item} {path} is {value!r}, and {place} says {line}"
            count += 1
    assert count > 250
    assert str(facts.root) == f"manifests/overlays/{overlay}/kustomization.yaml:1"
    assert not facts.unchecked


def test_what_an_overlay_decides_is_said_by_the_overlay() -> None:
    own = Loaded(ROOT, load_manifests(ROOT / "manifests/overlays/staging"))
    file = "manifests/overlays/staging/kustomization.yaml"
    assert own.line("Deployment", "metadata", "namespace") == f"{file} | namespace: observer-staging"
    assert own.line("Namespace", "metadata", "name") == f"{file} | namespace: observer-staging"
    assert own.line("Deployment", *POD, "containers", 0, "image") == f"{file} | newTag: build-20260205-142425"
    assert own.line("StatefulSet", *POD, "containers", 0, "image") == (
        "manifests/base/statefulsets/postgres.yaml | image: docker.io/library/postgres:15")
    assert own.line("StatefulSet", *POD, "nodeSelector") == (
        f"{file} | value: {{kubernetes.io/hostname: obs-staging-arm}}")
    assert own.line("Service observer-staging/observer", "metadata", "labels", "environment") == (
        f"{file} | - pairs: {{environment: staging}}")
    # Not there: where it would have to be added.
    assert own.line("Deployment", *POD, "securityContext", "runAsUser") == (
        "manifests/base/deployments/observer.yaml | securityContext:")


def test_sealed_secrets_go_with_an_overlay(tree: Tree) -> None:
    root = tree({"overlay/kustomization.yaml": "namespace: x\nresources: [a.yaml]\n",
                 "overlay/a.yaml": CONFIG + "---\n" + CONFIG.replace("ConfigMap", "SealedSecret"),
                 "overlay/sealed-secrets/b.yaml": CONFIG.replace("ConfigMap", "SealedSecret") + "---\n"
                 + CONFIG.replace("ConfigMap", "SealedSecret").replace("settings", "other")})
    facts = load_manifests(root / "overlay", root=root, extra=[root / "overlay/sealed-secrets"])
    assert [(str(item), str(item.locate(()))) for item in facts.objects] == [
        ("ConfigMap x/settings", "overlay/a.yaml:1"), ("SealedSecret x/settings", "overlay/a.yaml:6"),
        ("SealedSecret other", "overlay/sealed-secrets/b.yaml:6")]
    with pytest.raises(ContractError, match="gone is not there"):
        load_manifests(root / "overlay", extra=[root / "gone"])


# --- Kustomize: which line wins -----------------------------------------------------------------------

LAYERS: Mapping[str, str | bytes] = {
    "base/kustomization.yaml": """\
        resources:
        - app.yaml
        - more.yaml
        - binding.json
        configMapGenerator:
        - name: gen
          literals:
          - PLAIN=1
          - "QUOTED='two words'"
          - KEPT=base
          envs: [app.env]
          files:
          - settings.ini
          - renamed=data/raw.bin
        secretGenerator:
        - name: sec
          literals:
          - PASSWORD=geheim
        commonLabels:
          team: core
        """,
    "base/app.env": "# comment\nFROM_ENV=x y\n\n  INDENTED=1\n",
    "base/settings.ini": "[a]\nb = c\n",
    "base/data/raw.bin": bytes(range(128, 256)),
    "base/app.yaml": """\
        apiVersion: apps/v1
        kind: Deployment
        metadata:
          name: app
          annotations: {keep: me}
        spec:
          replicas: 2
          selector:
            matchLabels:
              app: app
          template:
            metadata:
              labels:
                app: app
            spec:
              securityContext: &shared
                runAsUser: 1000
                fsGroup: 1000
              containers:
              - name: side
                image: registry:5000/side:1.0@sha256:abc
                command: [run, -v, run]
              - name: app
                image: ghcr.io/x/app:old
                args: [one, two, one]
                ports:
                - containerPort: 8000
                  protocol: TCP
                - containerPort: 8000
                  protocol: UDP
                envFrom:
                - configMapRef: {name: gen}
                - secretRef: {name: sec}
                env:
                - name: A
                  value: a
                - name: B
                  value: b
                - name: C
                  value: c
                securityContext:
                  <<: *shared
                  runAsUser: 2000
                volumeMounts:
                - {name: data, mountPath: /data}
                - {name: tmp, mountPath: /tmp}
              volumes:
              - name: data
                persistentVolumeClaim: {claimName: data}
              - name: tmp
                emptyDir: {}
              tolerations:
              - key: a
        """,
    "base/more.yaml": """\
        apiVersion: v1
        kind: List
        items:
        - apiVersion: v1
          kind: PersistentVolumeClaim
          metadata: {name: data}
          spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
        - {apiVersion: v1, kind: ServiceAccount, metadata: {name: app, labels: {role: a}}}
        ---
        # nothing but a comment
        ---
        apiVersion: v1
        kind: Service
        metadata:
          name: app
        spec:
          selector: {app: app}
          ports:
          - {port: 80, targetPort: 8000, name: http}
        ---
        apiVersion: example.com/v1
        kind: Custom
        metadata: {name: custom}
        spec:
          containers:
          - {name: a, image: ghcr.io/x/app}
          - {name: b}
        """,
    "base/binding.json": """\
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "b"},
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
         "subjects": [
           {"kind": "ServiceAccount", "name": "app", "namespace": "elsewhere"},
           {"kind": "ServiceAccount", "name": "default"}
         ]}
        """,
    "component/kustomization.yaml": """\
        apiVersion: kustomize.config.k8s.io/v1alpha1
        kind: Component
        resources: [extra.yaml]
        patches:
        - path: patch.yaml
        configMapGenerator:
        - name: gen
          behavior: merge
          literals: [KEPT=component, ADDED=component]
        """,
    "component/extra.yaml": CONFIG.replace("settings", "extra"),
    "component/patch.yaml": """\
        apiVersion: apps/v1
        kind: Deployment
        metadata:
          name: app
        spec:
          template:
            spec:
              containers:
              - name: app
                env:
                - name: B
                  value: component
                - name: NEW
                  value: component
        """,
    "middle/kustomization.yaml": """\
        resources: [../base]
        components: [../component]
        namePrefix: mid-
        namespace: middle
        images:
        - name: ghcr.io/x/app
          newName: mirror/app
          newTag: v2
        - name: registry:5000/side
          digest: sha256:fff
        labels:
        - pairs: {tier: mid}
          includeSelectors: true
        replicas:
        - name: app
          count: 5
        patches:
        - target: {kind: Deploy.*, name: ap+}
          patch: |
            - op: remove
              path: /spec/template/spec/containers/0/env/0
            - op: add
              path: /spec/template/spec/tolerations/-
              value:
                key: b
                operator: Equal
            - op: add
              path: /metadata/annotations/example.com~1by
              value: json
            - {op: replace, path: /spec/template/spec/containers/1/command, value: [exec]}
        - patch: |-
            apiVersion: apps/v1
            kind: Deployment
            metadata: {name: app}
            spec:
              template:
                spec:
                  securityContext:
                    runAsUser: null
                  volumes:
                  - name: tmp
                    $patch: delete
                  - name: new
                    emptyDir: {medium: Memory}
                  containers:
                  - name: app
                    args: [three]
        - target: {kind: Deployment, name: app-no}
          patch: '- {op: replace, path: /spec/replicas, value: 9}'
        - target: {labelSelector: "role in (a, b), !absent, other!=x"}
          patch: "- {op: add, path: /metadata/annotations, value: {selected: by-label}}"
        """,
    "overlay/kustomization.yml": """\
        resources: [../middle, own.yaml]
        namespace: top
        nameSuffix: -x
        commonAnnotations: {owner: me}
        replacements:
        - source: {kind: ConfigMap, name: extra, fieldPath: data.a}
          targets:
          - select: {kind: Deployment}
            fieldPaths: ["spec.template.spec.containers.[name=app].env.[name=C].value"]
          - select: {kind: Service}
            options: {delimiter: t, index: 0}
            fieldPaths: [spec.ports.0.name]
        patchesStrategicMerge:
        - |-
          apiVersion: v1
          kind: Service
          metadata: {name: app}
          spec:
            ports:
            - port: 80
              targetPort: 5
            - port: 81
        - custom.yaml
        patchesJson6902:
        - target: {version: v1, kind: PersistentVolumeClaim, name: data}
          path: claim.json
        """,
    "overlay/custom.yaml": """\
        apiVersion: example.com/v1
        kind: Custom
        metadata: {name: custom}
        spec:
          containers:
          - {name: b, image: whole}
        """,
    "overlay/claim.json": '[{"op": "replace", "path": "/spec/resources/requests/storage",\n  "value": "2Gi"}]\n',
    "overlay/own.yaml": CONFIG.replace("settings", "own"),
}
"""Bases, a component and overlays over each other, with everything that a kustomization can say about a field."""

CONTAINER: FieldPath = (*POD, "containers", 0)
SIDE: FieldPath = (*POD, "containers", 1)
LINES: list[tuple[str, FieldPath, str]] = [
    # Left as the base says it.
    ("Deployment", ("kind",), "base/app.yaml | kind: Deployment"),
    ("Deployment", ("metadata", "annotations", "keep"), "base/app.yaml | annotations: {keep: me}"),
    ("Deployment", (*CONTAINER, "name"), "base/app.yaml | - name: app"),
    ("Deployment", (*SIDE, "name"), "base/app.yaml | - name: side"),
    ("Deployment", (*CONTAINER, "securityContext", "runAsUser"), "base/app.yaml | runAsUser: 2000"),
    ("Deployment", (*CONTAINER, "securityContext", "fsGroup"), "base/app.yaml | fsGroup: 1000"),
    ("Deployment", (*CONTAINER, "volumeMounts", 1, "mountPath"), "base/app.yaml | - {name: tmp, mountPath: /tmp}"),
    ("PersistentVolumeClaim", ("spec", "accessModes", 0),
     "base/more.yaml | spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}"),
    ("RoleBinding", ("roleRef", "name"),
     'base/binding.json | "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},'),
    ("ConfigMap mid-extra", ("data", "a"), "component/extra.yaml | data: {a: b}"),
    ("ConfigMap own", ("data", "a"), "overlay/own.yaml | data: {a: b}"),
    # Names, references to them, namespaces.
    ("Deployment", ("metadata", "name"), "overlay/kustomization.yml | nameSuffix: -x"),
    ("Deployment", ("metadata", "namespace"), "overlay/kustomization.yml | namespace: top"),
    ("Deployment", (*CONTAINER, "envFrom", 0, "configMapRef", "name"), "base/app.yaml | - configMapRef: {name: gen}"),
    ("Deployment", (*POD, "volumes", 1, "persistentVolumeClaim", "claimName"),
     "base/app.yaml | persistentVolumeClaim: {claimName: data}"),
    ("RoleBinding", ("subjects", 1, "namespace"), "overlay/kustomization.yml | namespace: top"),
    # Images, replicas, labels.
    ("Deployment", (*CONTAINER, "image"), "middle/kustomization.yaml | newTag: v2"),
    ("Deployment", (*SIDE, "image"), "middle/kustomization.yaml | digest: sha256:fff"),
    ("Deployment", ("spec", "replicas"), "middle/kustomization.yaml | count: 5"),
    ("Deployment", ("spec", "selector", "matchLabels", "tier"), "middle/kustomization.yaml | - pairs: {tier: mid}"),
    ("Deployment", ("spec", "selector", "matchLabels", "app"), "base/app.yaml | app: app"),
    ("Service mid", ("spec", "selector", "team"), "base/kustomization.yaml | team: core"),
    ("Service mid", ("metadata", "annotations", "owner"), "overlay/kustomization.yml | commonAnnotations: {owner: me}"),
    # Strategic merge patches: merged by name, replaced as a whole, deleted.
    ("Deployment", (*CONTAINER, "env", 0, "value"), "component/patch.yaml | value: component"),
    ("Deployment", (*CONTAINER, "env", 0, "name"), "component/patch.yaml | - name: NEW"),
    ("Deployment", (*CONTAINER, "args", 0), "middle/kustomization.yaml | args: [three]"),
    ("Deployment", (*POD, "volumes", 0, "emptyDir", "medium"),
     "middle/kustomization.yaml | emptyDir: {medium: Memory}"),
    ("Deployment", (*POD, "securityContext", "runAsUser"), "middle/kustomization.yaml | runAsUser: null"),
    ("Deployment", (*POD, "securityContext", "fsGroup"), "base/app.yaml | fsGroup: 1000"),
    ("Deployment", (*POD, "volumes", 9), "middle/kustomization.yaml | - name: tmp"),
    ("Deployment", (*POD, "volumes", "tmp"), "middle/kustomization.yaml | - name: tmp"),
    ("Deployment", (*POD, "volumes", "never"), "base/app.yaml | volumes:"),
    ("Service mid", ("spec", "ports", 0, "targetPort"), "overlay/kustomization.yml | targetPort: 5"),
    ("Service mid", ("spec", "ports", 1, "port"), "overlay/kustomization.yml | - port: 81"),
    ("Custom", ("spec", "containers", 0, "image"), "overlay/custom.yaml | - {name: b, image: whole}"),
    # JSON patches.
    ("Deployment", ("metadata", "annotations", "example.com/by"), "middle/kustomization.yaml | value: json"),
    ("Deployment", (*POD, "tolerations", 0, "key"), "base/app.yaml | - key: a"),
    ("Deployment", (*POD, "tolerations", 1, "operator"), "middle/kustomization.yaml | operator: Equal"),
    ("PersistentVolumeClaim", ("spec", "resources", "requests", "storage"), 'overlay/claim.json | "value": "2Gi"}]'),
    ("ServiceAccount", ("metadata", "annotations", "selected"),
     'middle/kustomization.yaml | patch: "- {op: add, path: /metadata/annotations, value: {selected: by-label}}"'),
    # Generators.
    ("ConfigMap mid-gen", ("data", "PLAIN"), "base/kustomization.yaml | - PLAIN=1"),
    ("ConfigMap mid-gen", ("data", "QUOTED"), "base/kustomization.yaml | - \"QUOTED='two words'\""),
    ("ConfigMap mid-gen", ("data", "FROM_ENV"), "base/app.env | FROM_ENV=x y"),
    ("ConfigMap mid-gen", ("data", "INDENTED"), "base/app.env | INDENTED=1"),
    ("ConfigMap mid-gen", ("data", "settings.ini"), "base/settings.ini | [a]"),
    ("ConfigMap mid-gen", ("data", "KEPT"),
     "component/kustomization.yaml | literals: [KEPT=component, ADDED=component]"),
    ("ConfigMap mid-gen", ("data", "ADDED"),
     "component/kustomization.yaml | literals: [KEPT=component, ADDED=component]"),
    ("ConfigMap mid-gen", ("data", "GONE"), "base/kustomization.yaml | - name: gen"),
    ("Secret mid-sec", ("data", "PASSWORD"), "base/kustomization.yaml | - PASSWORD=geheim"),
    # Replacements: what is copied is said where it is copied from, a part of a text by who puts it there.
    ("Deployment", (*CONTAINER, "env", 2, "value"), "component/extra.yaml | data: {a: b}"),
    ("Service mid", ("spec", "ports", 0, "name"), "overlay/kustomization.yml | fieldPaths: [spec.ports.0.name]"),
]


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return loaded(write(tmp_path_factory.mktemp("layers"), LAYERS))


@pytest.mark.parametrize(("name", "path", "line"), LINES, ids=[f"{name}:{'.'.join(map(str, path))}"
                                                               for name, path, _ in LINES])
def test_a_field_is_said_by_the_outermost_line_that_sets_it(layers: Loaded, name: str, path: FieldPath,
                                                            line: str) -> None:
    assert layers.line(name, *path) == line


def test_equal_items_of_a_list_are_told_apart_by_what_else_they_say(layers: Loaded) -> None:
    ports = layers.object("Deployment").get(*CONTAINER, "ports")
    for number, port in enumerate(ports):
        assert layers.line("Deployment", *CONTAINER, "ports", number, "protocol") == (
            f"base/app.yaml | protocol: {port['protocol']}")
    assert [port["protocol"] for port in ports] in (["TCP", "UDP"], ["UDP", "TCP"])


def test_a_value_that_says_nothing_of_its_line_is_the_files(layers: Loaded) -> None:
    place = layers.object("ConfigMap mid-gen").locate(("binaryData", "renamed"))
    assert str(place) == "base/data/raw.bin:1"


def test_every_line_of_the_layers_says_its_value_or_key(layers: Loaded) -> None:
    for item in layers.facts.objects:
        for path, value in leaves(item.body):
            file, _, line = layers.line(f"{item.kind} {item.name}", *path).partition(" | ") if (
                path[0] != "binaryData") else ("", "", str(value))
            known = str(value).splitlines()[0] if value not in ("", None) else ""
            made = path[-1] in ("image", "name", "claimName", "namespace") or item.kind == "Secret"
            assert known in line or str(path[-1]) in line or made or file == "base/kustomization.yaml", (path, line)


@pytest.mark.skipif(not shutil.which("kubectl"), reason="there is no kubectl")
def test_kubectl_renders_as_well(tree: Tree) -> None:
    root = tree({"overlay/kustomization.yaml": "resources: [a.yaml]\nnamespace: x\n", "overlay/a.yaml": CONFIG})
    facts = load_manifests(root / "overlay", kustomize=["kubectl"])
    assert [str(item) for item in facts.objects] == ["ConfigMap x/settings"]


def test_a_base_that_is_used_twice_is_patched_by_each_use(tree: Tree) -> None:
    root = tree({
        "base/kustomization.yaml": "resources: [a.yaml]\n", "base/a.yaml": CONFIG + "---\n" + CONFIG.replace(
            "settings", "other"),
        "one/kustomization.yaml": "namePrefix: one-\nresources: [../base]\npatches:\n- target: {name: settings}\n"
                                  "  patch: |-\n    - {op: replace, path: /data/a, value: first}\n",
        "two/kustomization.yaml": "namePrefix: two-\nresources: [../base]\npatches:\n- target: {name: settings}\n"
                                  "  patch: |-\n    # a comment\n    - {op: replace, path: /data/a, value: second}\n",
        "overlay/kustomization.yaml": "resources: [../one, ../two]\n"})
    both = loaded(root)
    assert len(both.facts.objects) == 4
    assert both.line("ConfigMap one-settings", "data", "a").endswith("value: first}")
    assert both.line("ConfigMap two-settings", "data", "a").endswith("value: second}")
    assert both.line("ConfigMap two-other", "data", "a") == "base/a.yaml | data: {a: b}"


def test_of_several_patches_the_last_wins(tree: Tree) -> None:
    patch = "- patch: |-\n    {apiVersion: v1, kind: ConfigMap, metadata: {name: settings},\n     data: {a: VALUE}}\n"
    json = "- target: {kind: ConfigMap}\n  patch: '- {op: replace, path: /data/a, value: json}'\n"
    root = tree({"overlay/kustomization.yaml": "resources: [a.yaml]\npatches:\n" + patch.replace("VALUE", "one")
                 + json + patch.replace("VALUE", "two") + patch.replace("VALUE", "two"), "overlay/a.yaml": CONFIG})
    assert str(loaded(root).object("ConfigMap").locate(("data", "a"))) == "overlay/kustomization.yaml:13"


def test_patches_that_name_a_version_or_namespace_of_before_still_find_their_object(tree: Tree) -> None:
    root = tree({
        "base/kustomization.yaml": "namespace: inner\nnamePrefix: a-\nresources: [a.yaml]\n", "base/a.yaml": CONFIG,
        "overlay/kustomization.yaml": """\
            namespace: outer
            resources: [../base]
            patches:
            - path: by-present-name.yaml
            - target: {namespace: inner, name: settings, annotationSelector: set=yes}
              patch: |-
                - op: add
                  path: /data/c
                  value: third
            """,
        "overlay/by-present-name.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a-settings\n"
                                        "  namespace: inner\n  annotations: {set: 'yes'}\ndata:\n  b: second\n"})
    one = loaded(root)
    assert one.line("ConfigMap", "data", "b") == "overlay/by-present-name.yaml | b: second"
    assert one.line("ConfigMap", "data", "c") == "overlay/kustomization.yaml | value: third"
    assert one.line("ConfigMap", "metadata", "namespace") == "overlay/kustomization.yaml | namespace: outer"


def test_what_kustomize_alone_knows_is_given_the_nearest_line(tree: Tree) -> None:
    """Never a wrong line: a transformer file's change is placed at the field's parent, an object of a generator file at
    the line that names that file."""
    root = tree({
        "overlay/kustomization.yaml": "resources: [a.yaml]\ntransformers: [t.yaml]\ngenerators: [g.yaml]\n",
        "overlay/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n  labels: {a: b}\n",
        "overlay/t.yaml": "apiVersion: builtin\nkind: LabelTransformer\nmetadata: {name: l}\nlabels: {new: label}\n"
                          "fieldSpecs: [{path: metadata/labels, create: true}]\n",
        "overlay/g.yaml": "apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: g}\nname: made\n"
                          "literals: [k=v]\n"})
    one = loaded(root)
    assert one.line("ConfigMap settings", "metadata", "labels", "new") == "overlay/a.yaml | labels: {a: b}"
    assert one.line("ConfigMap made", "data", "k") == "overlay/kustomization.yaml | generators: [g.yaml]"


def test_a_pattern_that_would_take_for_ever_takes_no_time(tree: Tree) -> None:
    name = "a" * 60
    root = tree({"overlay/a.yaml": CONFIG.replace("settings", name),
                 "overlay/kustomization.yaml": "resources: [a.yaml]\npatches:\n- target: {name: (a|aa)+b}\n"
                                               "  patch: '- {op: add, path: /data/z, value: q}'\n"})
    start = time.process_time()
    assert loaded(root).line("ConfigMap", "data", "a") == "overlay/a.yaml | data: {a: b}"
    assert time.process_time() - start < ENDLESS


# --- Kustomize: what is refused -----------------------------------------------------------------------

OFFLINE = ", and nothing is fetched from the network."
BROKEN: dict[str, tuple[Mapping[str, str | bytes], str]] = {
    "missing resource": ({"kustomization.yaml": "resources:\n- a.yaml\n- gone.yaml\n", "a.yaml": CONFIG},
                         "overlay/kustomization.yaml:3 asks for gone.yaml, which is not there."),
    "missing in a base": ({"kustomization.yaml": "resources: [../base]\n", "../base/kustomization.yaml":
                           "namespace: x\nresources:\n- gone/\n"},
                          "base/kustomization.yaml:3 asks for gone/, which is not there."),
    "missing patch": ({"kustomization.yaml": "resources: [a.yaml]\npatches:\n- path: p.yaml\n", "a.yaml": CONFIG},
                      "overlay/kustomization.yaml:3 asks for p.yaml, which is not there."),
    "missing env file": ({"kustomization.yaml": "configMapGenerator:\n- name: x\n  envs:\n  - a.env\n"},
                         "overlay/kustomization.yaml:4 asks for a.env, which is not there."),
    "missing generator file": ({"kustomization.yaml": "configMapGenerator:\n- name: x\n  files: [key=b.txt]\n"},
                               "overlay/kustomization.yaml:3 asks for b.txt, which is not there."),
    "a folder without one": ({"kustomization.yaml": "resources:\n- ../base\n", "../base/a.yaml": CONFIG},
                             "overlay/kustomization.yaml:2 asks for base, which has no kustomization.yaml."),
    "two of them": ({"kustomization.yaml": "resources: []\n", "Kustomization": "resources: []\n"},
                    "overlay has kustomization.yaml and Kustomization."),
    "itself": ({"kustomization.yaml": "resources:\n- .\n"},
               "overlay/kustomization.yaml:2 asks for ., its own folder: a cycle."),
    "a cycle": ({"kustomization.yaml": "resources: [../a]\n", "../a/kustomization.yaml": "namespace: x\nresources:\n"
                 "- ../b\n", "../b/kustomization.yaml": "resources:\n- ../a\n"},
                "b/kustomization.yaml:2 asks for ../a, which needs that file itself (a/kustomization.yaml:3): "
                "a cycle."),
    "a folder above": ({"kustomization.yaml": "resources: [below]\n", "below/kustomization.yaml": "resources: [..]\n"},
                       "overlay/below/kustomization.yaml:1 asks for .., which needs that file itself "
                       "(overlay/kustomization.yaml:1): a cycle."),
    "http": ({"kustomization.yaml": "resources:\n- https://example.com/a.yaml\n"},
             "overlay/kustomization.yaml:2 asks for https://example.com/a.yaml" + OFFLINE),
    "GitHub": ({"kustomization.yaml": "resources: [github.com/a/b//c?ref=v1]\n", "github.com/a/b/c/kustomization.yaml":
                "resources: []\n"},
               "overlay/kustomization.yaml:1 asks for github.com/a/b//c?ref=v1" + OFFLINE),
    "git": ({"kustomization.yaml": "components: ['git::https://example.com/a']\n"},
            "overlay/kustomization.yaml:1 asks for git::https://example.com/a" + OFFLINE),
    "ssh": ({"kustomization.yaml": "bases:\n- git@example.com:a/b.git\n"},
            "overlay/kustomization.yaml:2 asks for git@example.com:a/b.git" + OFFLINE),
    "a patch from the network": ({"kustomization.yaml": "patches: [{path: 'http://example.com/p.yaml'}]\n"},
                                 "overlay/kustomization.yaml:1 asks for http://example.com/p.yaml" + OFFLINE),
    "a chart": ({"kustomization.yaml": "helmCharts:\n- name: x\n"},
                "overlay/kustomization.yaml:1 asks Kustomize for a Helm chart, and that is not done: it may be "
                "fetched."),
    "an absolute path": ({"kustomization.yaml": "resources: [/etc/passwd]\n"},
                         "overlay/kustomization.yaml:1 asks for /etc/passwd, which is no relative path."),
    "nothing": ({"kustomization.yaml": "resources: [~]\n"},
                "overlay/kustomization.yaml:1 asks for nothing, which is no relative path."),
    "a file beside": ({"kustomization.yaml": "resources: [../a.yaml]\n", "../a.yaml": CONFIG},
                      "overlay/kustomization.yaml:1 asks for the file ../a.yaml, which is not below overlay: Kustomize "
                      "refuses that."),
    "broken kustomization": ({"kustomization.yaml": "resources: [\n"},
                             "overlay/kustomization.yaml:2 is not YAML: did not find expected node content."),
    "no mapping": ({"kustomization.yaml": "- a\n"},
                   "overlay/kustomization.yaml is no kustomization: it is not one YAML mapping."),
    "broken resource": ({"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": "a: b\n c: d\n"},
                        "overlay/a.yaml:2 is not YAML: mapping values are not allowed in this context."),
    "broken patch in a block": ({"kustomization.yaml": "resources: [a.yaml]\npatches:\n- target: {kind: ConfigMap}\n"
                                 "  patch: |-\n    - op: add\n      path: [\n", "a.yaml": CONFIG},
                                "overlay/kustomization.yaml:7 is not YAML: did not find expected node content."),
    "broken patch in quotes": ({"kustomization.yaml": "resources: [a.yaml]\npatches:\n- target: {kind: ConfigMap}\n"
                                "  patch: '[{'\n", "a.yaml": CONFIG},
                               "overlay/kustomization.yaml:4 has a text that is not YAML: did not find expected node "
                               "content."),
    "a key twice": ({"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": CONFIG + "data: {}\n"},
                    "overlay/a.yaml:5 has the key data again, first on line 4."),
    "no kind": ({"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": "\napiVersion: v1\n"},
                "overlay/a.yaml:2 is no Kubernetes object: its kind is missing or no text."),
    "no name": ({"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": "apiVersion: v1\nkind: X\nmetadata: {}\n"},
                "overlay/a.yaml:3 has no name."),
    "aliases that explode": ({"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": CONFIG + "x0: &x0 [a, a]\n"
                              + "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 9))},
                             "overlay/a.yaml:11 stands for more than 1,000,000 values through its aliases."),
    "too deep": ({"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": "x: " + "[" * 9999 + "]" * 9999},
                 "overlay/a.yaml:1 is nested deeper than 100 levels."),
    "no text": ({"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": b"\x7fELF\x02\x01\xff\xfe"},
                "overlay/a.yaml:1 is no text: byte 6 is not UTF-8."),
    "too large": ({"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": b"# " + b"x" * 10**7},
                  "overlay/a.yaml has 10 MiB; at most 8 MiB are read."),
    "bases without end": ({"kustomization.yaml": "resources: [../l0]\n", **{
        f"../l{n}/kustomization.yaml": f"resources: [../l{n + 1}]\n" for n in range(60)}},
                          "l49/kustomization.yaml:1 is more than 50 kustomizations deep."),
    "bases that explode": ({"kustomization.yaml": "resources: [../l0]\n", **{
        f"../l{n}/kustomization.yaml": f"resources: [../l{n + 1}, ../m{n + 1}]\n" for n in range(30)}, **{
        f"../m{n}/kustomization.yaml": f"namePrefix: m\nresources: [../l{n}]\n" for n in range(31)},
                            "../l30/kustomization.yaml": "resources: []\n"},
                           "l17/kustomization.yaml uses more than 20,000 bases and files."),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named_with_its_line(tree: Tree, name: str) -> None:
    files, message = BROKEN[name]
    root = tree({os.path.normpath(f"overlay/{path}"): content for path, content in files.items()})
    start = time.process_time()
    with pytest.raises(ContractError) as error:
        load_manifests(root / "overlay", root=root)
    assert str(error.value) == message
    assert error.value.remedy
    assert error.value.place and message.startswith((str(error.value.place), f"{error.value.place.file} "))
    assert time.process_time() - start < ENDLESS


def test_what_kustomize_itself_refuses_is_one_line(tree: Tree) -> None:
    root = tree({"overlay/kustomization.yaml": "resources: [../base]\n", "base/kustomization.yaml":
                 "commonLabels: {a: b}\nresources:\n- a.yaml\n- b.yaml\n", "base/a.yaml": CONFIG,
                 "base/b.yaml": CONFIG})
    with pytest.raises(ContractError) as error:
        loaded(root)
    assert str(error.value).startswith("base/kustomization.yaml:4 cannot be rendered: ")
    assert "may not add resource with an already registered id: ConfigMap.v1.[noGrp]/settings" in str(error.value)
    assert "\n" not in str(error.value) and "Warning" not in str(error.value)
    assert str(root) not in str(error.value)


@pytest.mark.parametrize("target", ["/etc/hostname", "/etc", "../../../../../../../../etc/hostname"])
def test_a_link_out_of_the_tree_is_refused(tree: Tree, target: str) -> None:
    root = tree({"overlay/kustomization.yaml": "resources:\n- a.yaml\n"})
    (root / "overlay/a.yaml").symlink_to(target)
    for given in (root, None):
        with pytest.raises(ContractError, match=r"kustomization.yaml:2 asks for a.yaml, which leads out of \w+\.$"):
            load_manifests(root / "overlay", root=given)


def test_a_link_inside_the_tree_is_followed_and_one_to_itself_is_not(tree: Tree) -> None:
    root = tree({"overlay/kustomization.yaml": "resources: [a.yaml]\n", "overlay/b.yaml": CONFIG})
    link = root / "overlay/a.yaml"
    link.symlink_to("b.yaml")
    assert str(loaded(root).facts.objects[0].locate(("data", "a"))) == "overlay/a.yaml:4"
    link.unlink()
    link.symlink_to("a.yaml")
    with pytest.raises(ContractError, match="cannot be read: Too many levels of symbolic links"):
        loaded(root)


@pytest.mark.parametrize("encode", [
    lambda text: text.encode("utf-16"), lambda text: b"\xef\xbb\xbf" + text.encode(),
    lambda text: text.replace("\n", "\r\n").encode()], ids=["UTF-16", "a byte order mark", "Windows lines"])
def test_other_encodings_are_read(tree: Tree, encode: Callable[[str], bytes]) -> None:
    root = tree({"overlay/kustomization.yaml": encode("# Ä\nresources: [a.yaml]\nnamespace: x\n"),
                 "overlay/a.yaml": encode("# Ä\n" + CONFIG)})
    item = loaded(root).facts.objects[0]
    assert str(item) == "ConfigMap x/settings"
    assert str(item.locate(("data", "a"))) == "overlay/a.yaml:5"
    assert str(item.locate(("metadata", "namespace"))) == "overlay/kustomization.yaml:3"


def test_without_a_program_that_renders(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree({"overlay/kustomization.yaml": "resources: [a.yaml]\n", "overlay/a.yaml": CONFIG})
    with pytest.raises(ContractError, match="nowhere is no program, and was to render the manifests"):
        load_manifests(root / "overlay", kustomize=["nowhere"])
    monkeypatch.setenv("PATH", str(root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(root))
    with pytest.raises(ContractError, match="There is no kustomize and no kubectl") as error:
        load_manifests(root / "overlay")
    assert "make tools" in error.value.remedy


def test_a_program_that_does_not_end_is_ended(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree({"overlay/kustomization.yaml": "resources: [a.yaml]\n", "overlay/a.yaml": CONFIG,
                 "slow": "#!/bin/sh\nexec sleep 9\n"})
    (root / "slow").chmod(0o755)
    monkeypatch.setattr(kustomize, "RENDER_SECONDS", 0.1)
    with pytest.raises(ContractError, match=r"overlay/kustomization.yaml was not rendered within 0.1 s."):
        load_manifests(root / "overlay", root=root, kustomize=[str(root / "slow"), "build"])


def test_a_rendering_reaches_no_network_and_sees_no_variables(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree({"overlay/kustomization.yaml": "resources: [a.yaml]\n", "overlay/a.yaml": CONFIG,
                 "spy": "#!/bin/sh\necho 'apiVersion: v1\nkind: X\nmetadata: {name: x}\nenv:'\n"
                        "env | sed \"s/^/- '/; s/$/'/\"\n"})
    (root / "spy").chmod(0o755)
    monkeypatch.setenv("SOME_TOKEN", "geheim")
    seen = load_manifests(root / "overlay", kustomize=[str(root / "spy"), "build"]).objects[0].body["env"]
    assert {"HTTPS_PROXY=http://127.0.0.1:9", "GIT_ALLOW_PROTOCOL=none"} <= set(seen)
    assert not [line for line in seen if "geheim" in line]


def test_what_is_asked_for_by_hand_has_to_fit(tree: Tree) -> None:
    root = tree({"overlay/kustomization.yaml": "resources: [a.yaml]\n", "overlay/a.yaml": CONFIG, "v.yaml": "a: b\n",
                 "other/x.txt": ""})
    for options, message in (({"values": [root / "v.yaml"]}, "is no chart, and only a chart takes values files"),
                             ({"root": root / "other"}, "is not in")):
        with pytest.raises(ContractError, match=message):
            load_manifests(root / "overlay", **options)
    with pytest.raises(ContractError, match="nowhere is not there"):
        load_manifests(root / "nowhere")
    with pytest.raises(ContractError, match="other has no manifests"):
        load_manifests(root / "other")
    by_file = load_manifests(root / "overlay/kustomization.yaml")
    assert [str(item) for item in by_file.objects] == ["ConfigMap settings"]


def test_the_root_is_the_repository_or_what_has_all_bases(tree: Tree) -> None:
    root = tree({"deep/overlays/a/kustomization.yaml": "resources: [../../base]\n", "deep/base/kustomization.yaml":
                 "resources: [a.yaml]\n", "deep/base/a.yaml": CONFIG})
    assert str(load_manifests(root / "deep/overlays/a").objects[0].locate(())) == "base/a.yaml:1"
    (root / ".git").mkdir()
    assert str(load_manifests(root / "deep/overlays/a").objects[0].locate(())) == "deep/base/a.yaml:1"


# --- plain YAML ---------------------------------------------------------------------------------------


def test_a_folder_of_yaml(tree: Tree) -> None:
    root = tree({
        "b.yml": CONFIG, "a/list.yaml": f"---\n---\napiVersion: v1\nkind: List\nitems:\n{textwrap.indent(CONFIG, '  ')}"
        .replace("  apiVersion: v1\n  kind", "- apiVersion: v1\n  kind"),
        "c.json": '{"apiVersion": "v1", "kind": "Secret",\n\t"metadata": {"name": "s"}}', "readme.md": "- no\n",
        ".github/workflows/x.yaml": "on: push\n", "values.yaml": "a: 1\n", "empty.yaml": "# nothing\n",
        "k/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n",
        "chart/Chart.yaml": "name: x\n", "chart/templates/x.yaml": "{{ broken\n"})
    facts = load_manifests(root)
    assert [(str(item), str(item.locate(("metadata", "name"))), str(item.locate(("data", "gone"))))
            for item in facts.objects] == [
        ("ConfigMap settings", "b.yml:3", "b.yml:4"), ("Secret s", "c.json:2", "c.json:1"),
        ("ConfigMap settings", "a/list.yaml:8", "a/list.yaml:9")]
    assert sorted(str(one.place) for one in facts.unchecked) == [
        "chart/Chart.yaml:1", "k/kustomization.yaml:1", "values.yaml:1"]
    assert str(facts.root) == "."


@pytest.mark.parametrize(("content", "message"), [
    ("kind: X\n", "a.yaml:1 is no Kubernetes object: its apiVersion is missing or no text."),
    ("x: 1\napiVersion: v1\nkind: [a]\n", "a.yaml:3 is no Kubernetes object: its kind is missing or no text."),
    ("apiVersion: v1\nkind: X\nmetadata: text\n",
     "a.yaml:3 is no Kubernetes object: its metadata are not a name and what goes with it."),
    ("apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: X\n- text\n",
     "a.yaml:6 is no Kubernetes object: it is no mapping."),
    ("apiVersion: v1\nkind: X\nx: !Ref y\n",
     "a.yaml:3 is not YAML: could not determine a constructor for the tag '!Ref'."),
])
def test_what_is_no_object_is_refused(tree: Tree, content: str, message: str) -> None:
    with pytest.raises(ContractError) as error:
        load_manifests(tree({"a.yaml": content}))
    assert str(error.value) == message


def test_one_file_has_to_be_objects(tree: Tree) -> None:
    root = tree({"a.yaml": "just: values\n", "b.yaml": CONFIG})
    assert [str(item) for item in load_manifests(root / "b.yaml").objects] == ["ConfigMap settings"]
    with pytest.raises(ContractError, match=r"a\.yaml:1 is no Kubernetes object: its apiVersion is missing"):
        load_manifests(root / "a.yaml")


def test_links_of_a_folder(tree: Tree) -> None:
    root = tree({"in/a.yaml": CONFIG, "beside/b.yaml": CONFIG})
    for target in ("/etc/hostname", "/etc", "../beside", "../beside/b.yaml"):
        link = root / "in/x.yaml"
        link.symlink_to(target)
        with pytest.raises(ContractError, match=r"x.yaml is a link that leads out of in\."):
            load_manifests(root / "in")
        link.unlink()
    (root / "in/again").symlink_to(".")
    assert len(load_manifests(root / "in").objects) == 1


def test_merged_keys_are_said_where_they_are_written(tree: Tree) -> None:
    root = tree({"a.yaml": "apiVersion: v1\nkind: X\nmetadata: {name: x}\none: &one\n  a: 1\n  b: 2\ntwo:\n  <<: *one\n"
                           "  a: 3\n"})
    item = load_manifests(root).objects[0]
    assert [item.locate(("two", key)).line for key in "ab"] == [9, 6]


def test_work_grows_with_the_number_of_objects_alone(tree: Tree) -> None:
    """Ten times as many are ten times the work, and not a hundred times."""
    def work(count: int) -> int:
        root = tree({"a.yaml": "---\n".join(CONFIG.replace("settings", f"s{number}") for number in range(count))})

        def read() -> None:
            lines = {item.locate(("data", "a")).line for item in load_manifests(root).objects}
            assert lines == {4 + 5 * number for number in range(count)}

        return calls(read)

    assert work(1500) < 11 * work(150)
