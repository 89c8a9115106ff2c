"""Helm charts: which line of the values or the templates says each field of what Helm renders."""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from contract.documents import leaves
from contract.facts import FieldPath, KubeObject, ManifestFacts
from contract.helm import helm_command
from contract.manifests import load_manifests
from contract.model import ContractError

CHART = "apiVersion: v2\nname: app\nversion: 0.1.0\n"
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: {{ .Values.a | quote }}}\n"
POD: FieldPath = ("spec", "template", "spec")
CONTAINER: FieldPath = (*POD, "containers", 0)
Tree = Callable[[Mapping[str, str | bytes]], Path]



def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).encode())
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Writes a chart to a folder of its own."""
    return lambda files: write(tmp_path / "app", files)


class Loaded:
    """What was loaded, and the lines of its sources as texts."""

    def __init__(self, root: Path, facts: ManifestFacts) -> None:
        self.root, self.facts = root, facts

    def object(self, name: str) -> KubeObject:
        return next(item for item in self.facts.objects if f"{item.kind} {item.name}".startswith(name))

    def line(self, name: str, *path: str | int) -> str:
        """The file and the text of the line that says a field: ``values.yaml | replicas: 2``."""
        place = self.object(name).locate(path)
        return f"{place.file} | {(self.root / place.file).read_text().splitlines()[place.line - 1].strip()}"


FILES: Mapping[str, str | bytes] = {
    "Chart.yaml": """\
        apiVersion: v2
        name: app
        version: 0.2.0
        appVersion: "build-20260204-220645"
        dependencies:
        - name: postgres
          version: 15.x
        - name: cache
          alias: redis
          version: 1.0.0
        """,
    "charts/postgres/Chart.yaml": "apiVersion: v2\nname: postgres\nversion: 15.1.0\n",
    "charts/postgres/values.yaml": "port: 5432\nstorage: 1Gi\n",
    "charts/postgres/templates/claim.yaml": """\
        apiVersion: v1
        kind: PersistentVolumeClaim
        metadata:
          name: postgres
          labels: {env: {{ .Values.global.env }}}
          annotations: {port: "{{ .Values.port }}"}
        spec:
          resources: {requests: {storage: {{ .Values.storage | quote }}}}
        """,
    "charts/renamed/Chart.yaml": "apiVersion: v2\nname: cache\nversion: 1.0.0\n",
    "charts/renamed/templates/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cache}\n"
                                       "data: {size: '{{ .Values.size }}'}\n",
    "crds/crd.yaml": "# as it is\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n"
                     "  name: x.example.com\nspec:\n  group: example.com # {{ not a template }}\n",
    "values.yaml": """\
        global:
          env: base
        replicaCount: 1
        image:
          repository: ghcr.io/x/app
          tag: ""
          pullPolicy: IfNotPresent
        config:
          LOG_LEVEL: INFO
          DB_PORT: "5432"
        env:
        - name: TZ
          value: Asia/Seoul
        - name: MODE
          value: "1"
        flags: [a, b, a]
        claims:
        - {name: data, size: 20Gi}
        - {name: logs, size: 1Gi}
        - {name: tmp, size: 1Gi}
        podSecurityContext: {fsGroup: 1000}
        securityContext:
          runAsUser: 1000
          readOnlyRootFilesystem: true
        resources:
          limits: {memory: 2Gi}
        nodeSelector: {}
        probe: {path: /health}
        secret: {user: admin, password: geheim}
        script: |
          echo one
          echo two
        volumeMounts:
        - {name: data, mountPath: /data}
        postgres:
          storage: 10Gi
        """,
    "prod.yaml": """\
        global: {env: production}
        replicaCount: 2
        image:
          tag: build-prod
        config:
          LOG_LEVEL: WARN
        nodeSelector:
          kubernetes.io/hostname: node-1
        """,
    "last.yaml": """\
        image: {tag: build-last}
        securityContext: {runAsUser: null, runAsGroup: 7}
        redis: {size: 5}
        """,
    "templates/_helpers.tpl": """\
        {{- define "app.labels" -}}
        app: {{ .Chart.Name }}
        release: {{ .Release.Name }}
        {{- with .Values.global.env }}
        environment: {{ . }}
        {{- end }}
        {{- end -}}
        {{- define "app.env" -}}
        {{- range .list }}
        - name: {{ .name }}
          value: {{ .value | quote }}
        {{- end }}
        {{- end }}
        """,
    "templates/config.yaml": """\
        {{- /* don't print this */ -}}
        apiVersion: v1
        kind: ConfigMap
        metadata:
          name: {{ .Release.Name }}-config
          labels:
            {{- include "app.labels" . | nindent 4 }}
        data:
          {{- range $key, $value := .Values.config }}
          {{ $key }}: {{ $value | quote }}
          {{- end }}
          literal: fix
          joined: {{ join "," .Values.flags | quote }}
          script: |
            {{- .Values.script | nindent 4 }}
        ---
        apiVersion: v1
        kind: Secret
        metadata:
          name: secrets
        data:
          USER: {{ .Values.secret.user | b64enc }}
        stringData:
          url: "postgres://{{ .Values.secret.user }}:{{ .Values.secret.password }}@db"
        """,
    "templates/claims.yaml": """\
        {{- range .Values.claims }}
        ---
        apiVersion: v1
        kind: PersistentVolumeClaim
        metadata:
          name: {{ .name }}
        spec:
          accessModes: [ReadWriteOnce]
          resources:
            requests:
              storage: {{ .size }}
        {{- end }}
        """,
    "templates/deployment.yaml": """\
        {{- $root := . -}}
        {{- $img := .Values.image }}
        apiVersion: apps/v1
        kind: Deployment
        metadata:
          name: {{ .Release.Name }}
        spec:
          replicas: {{ .Values.replicaCount }}
          {{- if gt (int .Values.replicaCount) 1 }}
          strategy:
            type: RollingUpdate
          {{- else }}
          strategy:
            type: Recreate
          {{- end }}
          template:
            metadata:
              labels: {{- include "app.labels" . | nindent 8 }}
                pinned: {{ if .Values.nodeSelector }}yes{{ else }}no{{ end }}-pod
            spec:
              {{- with .Values.podSecurityContext }}
              securityContext: {{- toYaml . | nindent 8 }}
              {{- end }}
              {{- with .Values.nodeSelector }}
              nodeSelector:
                {{- toYaml . | nindent 8 }}
              {{- end }}
              {{- with .Values.affinity }}
              affinity:
                {{- toYaml . | nindent 8 }}
              {{- end }}
              containers:
                - name: app
                  image: "{{ $img.repository }}:{{ $img.tag | default $root.Chart.AppVersion }}"
                  imagePullPolicy: {{ $img.pullPolicy }}
                  args:
                    - run
                    {{- range .Values.flags }}
                    - {{ . }}
                    {{- end }}
                  env:
                    - name: POD_NAME
                      valueFrom: {fieldRef: {fieldPath: metadata.name}}
                    {{- include "app.env" (dict "list" .Values.env "root" .) | nindent 12 }}
                    {{- range $number, $one := .Values.env }}
                    - name: COPY_{{ $one.name }}
                      value: {{ $one.value | quote }}
                    {{- end }}
                  livenessProbe:
                    httpGet: {path: {{ .Values.probe.path }}, port: {{ .Values.probe.port | default "http" }}}
                  resources:
                    {{- toYaml .Values.resources | nindent 12 }}
                  securityContext:
                    {{- toYaml .Values.securityContext | nindent 12 }}
                    allowPrivilegeEscalation: false
                  volumeMounts:
                    - {name: config, mountPath: /config}
                    {{- toYaml .Values.volumeMounts | nindent 12 }}
                - name: side
                  image: {{ printf "%s:%s" .Values.image.repository .Values.image.tag | quote }}
                - name: job
                  image: {{ .Values.image.repository }}:fixed
        """,
    "templates/tests/test.yaml": "apiVersion: v1\nkind: Pod\nmetadata:\n  name: test\n"
                                 "  annotations: {helm.sh/hook: test}\n",
    "templates/NOTES.txt": "Thanks for {{ .Values.nothing }}\n",
}

LINES: list[tuple[str, FieldPath, str]] = [
    # Plain values, of the last values file that has them.
    ("Deployment", ("spec", "replicas"), "prod.yaml | replicaCount: 2"),
    ("Deployment", (*CONTAINER, "imagePullPolicy"), "values.yaml | pullPolicy: IfNotPresent"),
    ("Deployment", (*CONTAINER, "livenessProbe", "httpGet", "path"), "values.yaml | probe: {path: /health}"),
    ("ConfigMap app-config", ("data", "LOG_LEVEL"), "prod.yaml | LOG_LEVEL: WARN"),
    ("ConfigMap app-config", ("data", "DB_PORT"), 'values.yaml | DB_PORT: "5432"'),
    ("Secret", ("data", "USER"), "values.yaml | secret: {user: admin, password: geheim}"),
    ("ConfigMap app-config", ("data", "script"), "values.yaml | script: |"),
    # An image is its tag's line.
    ("Deployment", (*CONTAINER, "image"), "last.yaml | image: {tag: build-last}"),
    ("Deployment", (*POD, "containers", 1, "image"), "last.yaml | image: {tag: build-last}"),
    # Whole values.
    ("Deployment", (*POD, "securityContext", "fsGroup"), "values.yaml | podSecurityContext: {fsGroup: 1000}"),
    ("Deployment", (*POD, "securityContext"), "values.yaml | podSecurityContext: {fsGroup: 1000}"),
    ("Deployment", (*POD, "securityContext", "runAsUser"), "values.yaml | podSecurityContext: {fsGroup: 1000}"),
    ("Deployment", (*POD, "nodeSelector", "kubernetes.io/hostname"), "prod.yaml | kubernetes.io/hostname: node-1"),
    ("Deployment", (*CONTAINER, "resources", "limits", "memory"), "values.yaml | limits: {memory: 2Gi}"),
    ("Deployment", (*CONTAINER, "securityContext", "readOnlyRootFilesystem"),
     "values.yaml | readOnlyRootFilesystem: true"),
    ("Deployment", (*CONTAINER, "securityContext", "runAsGroup"),
     "last.yaml | securityContext: {runAsUser: null, runAsGroup: 7}"),
    ("Deployment", (*CONTAINER, "securityContext", "runAsUser"), "templates/deployment.yaml | securityContext:"),
    ("Deployment", (*CONTAINER, "volumeMounts", 1, "mountPath"), "values.yaml | - {name: data, mountPath: /data}"),
    # Loops.
    ("Deployment", (*CONTAINER, "args", 2), "values.yaml | flags: [a, b, a]"),
    ("Deployment", (*CONTAINER, "env", 1, "value"), "values.yaml | value: Asia/Seoul"),
    ("Deployment", (*CONTAINER, "env", 2, "name"), "values.yaml | - name: MODE"),
    ("Deployment", (*CONTAINER, "env", 3, "name"), "templates/deployment.yaml | - name: COPY_{{ $one.name }}"),
    ("Deployment", (*CONTAINER, "env", 3, "value"), "values.yaml | value: Asia/Seoul"),
    ("PersistentVolumeClaim data", ("metadata", "name"), "values.yaml | - {name: data, size: 20Gi}"),
    ("PersistentVolumeClaim logs", ("spec", "resources", "requests", "storage"),
     "values.yaml | - {name: logs, size: 1Gi}"),
    ("PersistentVolumeClaim tmp", ("spec", "resources", "requests", "storage"),
     "values.yaml | - {name: tmp, size: 1Gi}"),
    ("PersistentVolumeClaim tmp", ("spec", "accessModes", 0), "templates/claims.yaml | accessModes: [ReadWriteOnce]"),
    # Charts in it.
    ("PersistentVolumeClaim postgres", ("spec", "resources", "requests", "storage"), "values.yaml | storage: 10Gi"),
    ("PersistentVolumeClaim postgres", ("metadata", "annotations", "port"), "charts/postgres/values.yaml | port: 5432"),
    ("PersistentVolumeClaim postgres", ("metadata", "labels", "env"), "prod.yaml | global: {env: production}"),
    ("ConfigMap cache", ("data", "size"), "last.yaml | redis: {size: 5}"),
    # What a template says itself.
    ("Deployment", ("kind",), "templates/deployment.yaml | kind: Deployment"),
    ("Deployment", ("spec", "strategy", "type"), "templates/deployment.yaml | type: RollingUpdate"),
    ("Deployment", ("spec", "template", "metadata", "labels", "pinned"),
     "templates/deployment.yaml | pinned: {{ if .Values.nodeSelector }}yes{{ else }}no{{ end }}-pod"),
    ("Deployment", (*CONTAINER, "livenessProbe", "httpGet", "port"),
     'templates/deployment.yaml | httpGet: {path: {{ .Values.probe.path }}, port: {{ .Values.probe.port | default '
     '"http" }}}'),
    ("Deployment", (*CONTAINER, "securityContext", "allowPrivilegeEscalation"),
     "templates/deployment.yaml | allowPrivilegeEscalation: false"),
    ("Deployment", (*POD, "containers", 2, "image"),
     "templates/deployment.yaml | image: {{ .Values.image.repository }}:fixed"),
    ("Deployment", (*POD, "affinity"), "templates/deployment.yaml | spec:"),
    ("ConfigMap app-config", ("data", "literal"), "templates/config.yaml | literal: fix"),
    ("ConfigMap app-config", ("data", "joined"),
     'templates/config.yaml | joined: {{ join "," .Values.flags | quote }}'),
    ("ConfigMap app-config", ("metadata", "name"), "templates/config.yaml | name: {{ .Release.Name }}-config"),
    ("Secret", ("kind",), "templates/config.yaml | kind: Secret"),
    ("Secret", ("stringData", "url"),
     'templates/config.yaml | url: "postgres://{{ .Values.secret.user }}:{{ .Values.secret.password }}@db"'),
    ("CustomResourceDefinition", ("spec", "group"), "crds/crd.yaml | group: example.com # {{ not a template }}"),
    # Named templates.
    ("Deployment", ("spec", "template", "metadata", "labels", "release"),
     "templates/_helpers.tpl | release: {{ .Release.Name }}"),
    ("ConfigMap app-config", ("metadata", "labels", "environment"), "prod.yaml | global: {env: production}"),
    ("ConfigMap app-config", ("metadata", "labels", "app"), "Chart.yaml | name: app"),
]


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    root = write(tmp_path_factory.mktemp("charts") / "app", FILES)
    return Loaded(root, load_manifests(root, values=[root / "prod.yaml", root / "last.yaml"]))


@pytest.mark.parametrize(("name", "path", "line"), LINES, ids=[f"{name}:{'.'.join(map(str, path))}"
                                                               for name, path, _ in LINES])
def test_a_field_is_said_by_the_values_or_else_by_the_template(chart: Loaded, name: str, path: FieldPath,
                                                               line: str) -> None:
    assert chart.line(name, *path) == line


def test_every_field_has_a_line_that_says_its_value_or_key(chart: Loaded) -> None:
    count = 0
    for item in chart.facts.objects:
        for path, value in leaves(item.body):
            line = chart.line(f"{item.kind} {item.name}", *path)
            first = str(value).lower().splitlines()[0]
            # Made of several values, or of one in Base64.
            made = path[-1] in ("image", "USER")
            assert first in line.lower() or str(path[-1]) in line or made, (path, value, line)
            count += 1
    assert count > 70
    assert str(chart.facts.root) == "last.yaml:1"
    assert "test" not in {item.name for item in chart.facts.objects}


def test_values_alone(tree: Tree) -> None:
    root = tree({"Chart.yaml": CHART, "values.yaml": "a: b\n", "templates/a.yaml": CONFIG.replace("\n", "\r\n"),
                 "templates/list.yaml": "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n"
                                        "  metadata: {name: s}\n  stringData:\n    x: {{ .Values.a }}\n"})
    facts = load_manifests(root)
    assert str(facts.root) == "values.yaml:1"
    assert {str(item): str(item.locate(("data", "a"))) for item in facts.objects} == {
        "ConfigMap settings": "values.yaml:1", "Secret s": "templates/list.yaml:4"}
    assert str(Loaded(root, facts).object("Secret").locate(("stringData", "x"))) == "values.yaml:1"
    by_file = load_manifests(root / "Chart.yaml")
    assert len(by_file.objects) == 2


@pytest.mark.parametrize(("template", "message"), [
    ("a: {{ .Values.x.y }}\n", "templates/a.yaml:1 cannot be rendered: "),
    ("a: b\nb: {{ if }}\n", "templates/a.yaml:2 cannot be rendered: "),
    ('\na: {{ required "a is needed" .Values.x }}\n', "templates/a.yaml:2 cannot be rendered: "),
    ("apiVersion: v1\n  kind: X\n", "templates/a.yaml cannot be rendered: YAML parse error"),
    ("apiVersion: v1\nkind: X\nx: 1\n{{ range .Values }}\nx: 2{{ end }}\n",
     "templates/a.yaml:5 prints what Kubernetes does not take: line 6 has the key x again, first on line 4."),
    ("\nx: 1\n", "templates/a.yaml:2 is no Kubernetes object: its apiVersion is missing or no text."),
])
def test_what_helm_refuses_is_one_line_that_names_the_template(tree: Tree, template: str, message: str) -> None:
    with pytest.raises(ContractError) as error:
        load_manifests(tree({"Chart.yaml": CHART, "values.yaml": "a: b\n", "templates/a.yaml": template}))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value) and "--debug" not in str(error.value)


@pytest.mark.parametrize(("files", "message"), [
    ({"Chart.yaml": CHART + "dependencies:\n- name: redis\n  version: 1.x\n  repository: https://example.com\n"},
     "Chart.yaml:5 asks for the chart redis, which is not in charts/."),
    ({"Chart.yaml": CHART, "requirements.yaml": "dependencies:\n- name: redis\n  version: 1.x\n"},
     "requirements.yaml:2 asks for the chart redis, which is not in charts/."),
    ({"Chart.yaml": CHART, "values.yaml": "a: [\n"}, "values.yaml:2 is not YAML: did not find expected node content."),
    ({"Chart.yaml": CHART, "values.yaml": "- a\n"}, "values.yaml:1 is no values file: it is not one YAML mapping."),
    ({"Chart.yaml": CHART, "values.yaml": "a: b\na: c\n"}, "values.yaml:2 has the key a again, first on line 1."),
    ({"Chart.yaml": CHART, "values.yaml": "a: " + "[" * 999 + "]" * 999},
     "values.yaml:1 is nested deeper than 100 levels."),
    ({"Chart.yaml": CHART, "values.yaml": b"a: " + b"b" * 10**7},
     "values.yaml has 10 MiB; at most 8 MiB are read."),
    ({"Chart.yaml": CHART, "charts/x/Chart.yaml": "name: [\n"},
     "charts/x/Chart.yaml:2 is not YAML: did not find expected node content."),
    ({"Chart.yaml": "version: 1.0.0\n"}, "Chart.yaml names no chart."),
])
def test_what_is_broken_is_named_with_its_line(tree: Tree, files: Mapping[str, str | bytes], message: str) -> None:
    start = time.monotonic()
    with pytest.raises(ContractError) as error:
        load_manifests(tree(files), helm=["true"])
    assert str(error.value) == message
    assert error.value.remedy and error.value.place
    assert time.monotonic() - start < 1


def test_a_link_out_of_a_chart_is_refused(tree: Tree) -> None:
    root = tree({"Chart.yaml": CHART, "values.yaml": "a: b\n", "templates/a.yaml": CONFIG})
    (root / "templates/b.yaml").symlink_to("/etc/hostname")
    with pytest.raises(ContractError, match=r"templates/b.yaml is a link that leads out of app\."):
        load_manifests(root, helm=["true"])


def test_charts_in_a_circle_are_refused(tree: Tree) -> None:
    root = tree({"Chart.yaml": CHART, "charts/x/Chart.yaml": CHART.replace("app", "x"), "charts/x/charts/y.txt": ""})
    for name in "ab":
        (root / "charts/x/charts" / name).symlink_to("..")
        (root / "charts" / name).symlink_to("x")
    start = time.monotonic()
    with pytest.raises(ContractError, match="is one chart too many: a link leads in a circle"):
        load_manifests(root, helm=["true"])
    assert time.monotonic() - start < 1


def test_a_packed_chart_is_placed_at_the_line_that_asks_for_it(tree: Tree) -> None:
    """Helm's output is given: what counts is where it is said to come from."""
    root = tree({"Chart.yaml": CHART + "dependencies:\n- name: redis\n  version: 1.x\n", "charts/redis-1.2.0.tgz": b"",
                 "helm": "#!/bin/sh\nprintf -- '---\\n# Source: app/charts/redis/templates/a.yaml\\napiVersion: v1\\n"
                         "kind: X\\nmetadata: {name: x}\\n'\n"})
    (root / "helm").chmod(0o755)
    item = load_manifests(root, helm=[str(root / "helm")]).objects[0]
    assert (str(item), str(item.locate(("kind",)))) == ("X x", "Chart.yaml:5")


def test_names_and_paths_are_no_options(tree: Tree) -> None:
    root = tree({"Chart.yaml": "apiVersion: v2\nname: --post-renderer=evil\nversion: 1.0.0\n", "a,\"b.yaml": "a: c\n",
                 "values.yaml": "a: b\n", "templates/a.yaml": CONFIG + "---\n" + CONFIG.replace(
                     "settings", "{{ .Release.Name }}")})
    facts = load_manifests(root, values=[root / 'a,"b.yaml'])
    assert [item.name for item in facts.objects] == ["settings", "release"]
    assert {str(item.locate(("data", "a"))) for item in facts.objects} == {'a,"b.yaml:1'}


def test_without_helm(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree({"Chart.yaml": CHART, "values.yaml": "a: b\n", "templates/a.yaml": CONFIG})
    with pytest.raises(ContractError, match="nowhere is no program, and was to render the chart"):
        load_manifests(root, helm=["nowhere"])
    with pytest.raises(ContractError, match=r"gone\.yaml is not there"):
        load_manifests(root, helm=["true"], values=[root / "gone.yaml"])
    monkeypatch.setenv("PATH", str(root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(root))
    with pytest.raises(ContractError, match="There is no helm on this machine") as error:
        helm_command((), os.environ)
    assert "install helm" in error.value.remedy
