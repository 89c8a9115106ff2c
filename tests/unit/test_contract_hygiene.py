"""A deploy repository: secrets, history, documents, images, sealed files. On real git repositories."""

from __future__ import annotations

import base64
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

from contract.codes import sentence
from contract.documents import load_documents
from contract.facts import Unchecked
from contract.hygiene import check_repository, glob, paths_of, shown
from contract.hygiene_git import Git, Late
from contract.hygiene_secrets import Keys, Leak, leaks
from contract.model import ContractError, Finding, Kind, Place, Severity
from contract.spec import Contract, load_contract
from work import ENDLESS

ROOT = Path(__file__).resolve().parents[2]
HIDDEN = "hunter2-Zq81"
"""The value that no finding may show."""
LETTERS = base64.b64encode(bytes(range(7, 199))).decode()
"""As a key's body looks."""


def pem(kind: str = "RSA ", body: str = LETTERS) -> str:
    """Not a key. Put together here, so that this file holds no header of one."""
    word = "PRIVATE" + " KEY"
    lines = "\n".join(body[at:at + 64] for at in range(0, len(body), 64))
    return f"-----BEGIN {kind}{word}-----\n{lines}\n-----END {kind}{word}-----\n"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@cache
def observer() -> Contract:
    return load_contract(ROOT / "contracts/observer.yml", "contracts/observer.yml")


class Repository:
    """A real git repository; `commit` makes one of what lies there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str, stdin: bytes = b"") -> str:
        names = {f"GIT_{who}_{what}": "somebody@example.org" for who in ("AUTHOR", "COMMITTER")
                 for what in ("NAME", "EMAIL")}
        done = subprocess.run(["git", *arguments], cwd=self.folder, input=stdin, check=True, capture_output=True,
                              env={**os.environ, **names, "GIT_CONFIG_GLOBAL": os.devnull})
        return done.stdout.decode().strip()

    def write(self, files: Mapping[str, str | bytes]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def commit(self, files: Mapping[str, str | bytes] | None = None) -> str:
        self.write(files or {})
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", "--message", "m")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "deployment")


def look(
    folder: Path | Repository, contract: Contract | None = None, history: bool = True, limit: float = 60
) -> tuple[list[Finding], list[Unchecked]]:
    root = folder.folder if isinstance(folder, Repository) else folder
    found, unchecked = check_repository(root, contract or observer(), history=history, limit_seconds=limit)
    assert HIDDEN not in repr((found, unchecked)) and encoded(HIDDEN) not in repr((found, unchecked))
    return found, unchecked


def told(found: Sequence[Finding]) -> list[str]:
    return [f"{one.code} {one.place}" for one in found]


SECRET = f"""apiVersion: v1
kind: Secret
metadata:
  name: observer-secrets
stringData:
  DB_USER: ""
  DB_PASSWORD: {HIDDEN}
"""
LOGIN = '{"auths": {"ghcr.io": {"auth": "YTpi"}}}'
NO_LOGIN = '{"auths": {"ghcr.io": {"auth": ""}}}'
KUBECONFIG = f"""apiVersion: v1
kind: Config
clusters:
  - name: obs-prod
    cluster: {{server: https://203.0.113.10:6443}}
users:
  - name: admin
    user:
      client-certificate-data: {encoded("a certificate")}
      client-key-data: {encoded(HIDDEN)}
"""

# --- as seed 001 found it ---------------------------------------------------------------------------


def test_the_repository_of_seed_001(repository: Repository) -> None:
    repository.commit({
        "base/secrets/observer-prod-plain.yaml": SECRET, "base/secrets/obs-prod.yaml": KUBECONFIG,
        "docs/PERSISTENCE_AND_HOSTPATH.md": "# 저장소\n\n로그는 `/app/logs`에 저장된다.\n"
                                            "데이터: /opt/platform/runtime/observer/data\n"})
    found, unchecked = look(repository)
    assert not unchecked
    assert told(found) == ["REPO-02 base/secrets/obs-prod.yaml:6", "REPO-01 base/secrets/observer-prod-plain.yaml:7",
                           "REPO-04 docs/PERSISTENCE_AND_HOSTPATH.md:3"]
    kubeconfig, secret, document = found
    assert (kubeconfig.actual, kubeconfig.severity, kubeconfig.kind) == (
        "kubeconfig (client-key-data)", Severity.HIGH, Kind.VIOLATION)
    assert secret.values["keys"] == "DB_PASSWORD" and secret.related[0].place.file == "contracts/observer.yml"
    assert [one.clause for one in found] == ["repository.secrets"] * 2 + ["repository.documents"]
    assert sentence(document, "message", "ko").count("/app/logs") == 1
    assert (document.actual, document.expected) == ("/app/logs", "/opt/platform/runtime/observer/logs")

    # Removed as the remedy says: history keeps them, with the commit that brought them.
    first = repository.git("rev-parse", "HEAD")
    repository.git("rm", "--quiet", "-r", "base/secrets", "docs")
    repository.commit({"base/kustomization.yaml": "resources: []\n"})
    found, unchecked = look(repository)
    assert not unchecked
    assert told(found) == ["REPO-03 base/secrets/obs-prod.yaml", "REPO-03 base/secrets/observer-prod-plain.yaml"]
    assert {one.values["commit"] for one in found} == {first[:10]}
    assert found[1].actual == "plain Secret with DB_PASSWORD" and found[1].clause == "repository.history"
    assert look(repository, history=False) == ([], [])


def test_this_projects_own_checkout_is_clean() -> None:
    found, _ = look(ROOT)
    assert [f"{one.code} {one.place} {one.actual}" for one in found] == []


# --- what a secret is -------------------------------------------------------------------------------


def secrets_in(text: str, path: str = "base/secret.yaml", **options: bool) -> list[Leak]:
    found = leaks(text, path, Keys(observer()), **options)
    assert HIDDEN not in repr(found)
    return found


def of(data: str) -> str:
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: x}}\n{data}\n"


def indented(text: str) -> str:
    return "".join(f"      {line}\n" for line in text.splitlines())


@pytest.mark.parametrize(("text", "keys"), [
    (of(f"data:\n  A: {encoded(HIDDEN)}"), "A"),
    (of(f"stringData: {{B: {HIDDEN}, C: 5, D: true}}"), "B C D"),
    (of(f'"data": {{"A": "{encoded(HIDDEN)}"}}'), "A"),
    (of("data:\n  A: /////w=="), "A"),
    (of(f"stringData:\n  config: |\n    password={HIDDEN}"), "config"),
    (of(f"stringData:\n  A: no-{HIDDEN}\n  B: ${{X}}"), "A"),
    (of(f"stringData: {{A: '${{X:-{HIDDEN}}}'}}"), "A"),
    (of("stringData: {A: mypassword, B: the-Moon-3, C: changeling, D: nonesuch, E: add-8.x, F: a<b}"), "A B C D E F"),
    (of(f"type: kubernetes.io/dockerconfigjson\ndata:\n  .dockerconfigjson: "
        f"{encoded(LOGIN)}"), ".dockerconfigjson"),
    ("apiVersion: v1\nkind: List\nitems:\n  - kind: ConfigMap\n    data: {A: b}\n"
     f"  - {{kind: Secret, apiVersion: v1, stringData: {{A: {HIDDEN}}}}}\n", "A"),
    (f"extraObjects:\n  - apiVersion: v1\n    kind: Secret\n    stringData: {{A: {HIDDEN}}}\n", "A"),
    (f"secretGenerator:\n  - name: observer-secrets\n    literals: [DB_PASSWORD={HIDDEN}, DB_USER=]\n", "DB_PASSWORD"),
    (of(f"immutable: true\nstringData:\n  A: &a {HIDDEN}\n  B: *a"), "A B"),
    ("patches:\n  - target: {kind: Secret}\n    patch: |-\n" + indented(of(f"stringData: {{A: {HIDDEN}}}")), "A"),
    ("kind: HelmChart\nspec:\n  valuesContent: |\n    extra:\n" +
     indented("- " + of(f"stringData: {{A: {HIDDEN}}}").replace("\n", "\n  ")), "A"),
    # Encrypted, or no value at all.
    (of("data:\n  A: ''\nstringData:\n  B: null"), ""),
    (of("type: kubernetes.io/service-account-token"), ""),
    (of("stringData: {A: CHANGEME, B: change-me-please, C: <password>, D: 'your-db-password', E: '****', F: xxxx, "
        "G: TODO, H: '${H}', I: $(I), J: $J_K, K: K, L: YOUR_KIS_APP_KEY_HERE, M: '...', N: replace_with_token}"), ""),
    (of(f"data: {{A: {encoded('CHANGEME')}, B: {encoded('<token>')}, C: Q0hBTkdFTUU=, D: <base64>}}"), ""),
    (of("stringData: {A: 'ref+vault://secret/x#y', B: 'vault:secret/x#y', C: 'op://v/i/f', D: '<path:a/b#c>'}"), ""),
    (of("stringData:\n  A: ENC[AES256_GCM,data:x,iv:y,tag:z,type:str]\nsops: {version: 3.8.1}"), ""),
    (of(f"type: kubernetes.io/dockerconfigjson\ndata:\n  .dockerconfigjson: {encoded(NO_LOGIN)}"), ""),
    (of(f"stringData: {{A: {HIDDEN}}}").replace("Secret", "ConfigMap"), ""),
    (of(f"stringData: {{A: {HIDDEN}}}").replace("kind: Secret", "kind: SealedSecret"), ""),
    (of(f"data: {{A: {HIDDEN}}}").replace("apiVersion: v1", "apiVersion: example.org/v1"), ""),
    ("# kind: Secret\n# stringData: {A: b}\nkind: ConfigMap\n", ""),
])
def test_which_values_are_secrets(text: str, keys: str) -> None:
    found = secrets_in(text)
    assert " ".join(key for leak in found for key in leak.keys) == keys
    assert {leak.code for leak in found} <= {"REPO-01"}


@pytest.mark.parametrize(("name", "text", "expected"), [
    ("one of many documents", f"---\nkind: ConfigMap\n--- # next\n{SECRET}---\nbroken: [\n", ["DB_PASSWORD 10"]),
    ("two in a file", f"{SECRET}---\n{SECRET}", ["DB_PASSWORD 7", "DB_PASSWORD 15"]),
    ("windows", f"---\n{SECRET}".replace("\n", "\r\n"), ["DB_PASSWORD 8"]),
    ("a chart's template", "{{- if .Values.on }}\n" + SECRET.replace("observer-secrets", "{{ .Release.Name }}-x") +
     "  KIS_APP_KEY: {{ .Values.key | quote }}\n{{- end }}\n", ["DB_PASSWORD 8"]),
    ("a template of values alone", of('data:\n  A: {{ .Values.a | b64enc | quote }}\n  B: "{{ .Values.b }}"\n'
                                      "  {{- range $k, $v := .Values.c }}\n  {{ $k }}: {{ $v }}\n  {{- end }}"), []),
    ("both ways of an if", of(f"stringData:\n  {{{{- if .a }}}}\n  A: {HIDDEN}\n  {{{{- else }}}}\n  A: {{{{ .b }}}}\n"
                              "  {{- end }}"), ["A 6"]),
    ("no YAML, by its lines", of(f"stringData:\n  A: {HIDDEN}  # why\n  B: |\n    text\n  C: @\ntype: Opaque\nD: e"),
     ["A B C 5"]),
    ("no YAML, nothing in it", of("stringData:\n  A: ''\n  B:\n  C: '{{ c }}'\n  # D: e\ndata: @"), []),
    ("a value that YAML takes for an alias", of(f"stringData:\n  A: *{HIDDEN}"), ["A 5"]),
    ("a wrong explicit type", of(f"stringData:\n  A: !!bool {HIDDEN}"), ["A 5"]),
    ("vault's own tag", of("stringData:\n  A: !vault |\n    $ANSIBLE_VAULT;1.1;AES256\n    6162"), []),
])
def test_files_of_many_shapes(name: str, text: str, expected: list[str]) -> None:
    assert [f"{' '.join(leak.keys)} {leak.line}" for leak in secrets_in(text.replace("\r\n", "\n"))] == expected, name


@pytest.mark.parametrize(("path", "text", "keys"), [
    (".env", f"DB_HOST=postgres\nDB_PASSWORD={HIDDEN}\n", "DB_PASSWORD"),
    ("overlays/production/prod.env", f"export KIS_APP_KEY='{HIDDEN}' # why\nKIWOOM_X=y1\n", "KIS_APP_KEY KIWOOM_X"),
    (".env.production", f'DB_USER="observer"\nDB_PASSWORD = {HIDDEN}\n', "DB_PASSWORD DB_USER"),
    (".env.example", "DB_USER=observer\nDB_PASSWORD=   # required, secret\nKIS_APP_KEY=your_app_key\n", ""),
    (".env.example", f"DB_PASSWORD={HIDDEN}\n", "DB_PASSWORD"),
    (".env", "DB_PASSWORD=${DB_PASSWORD}\nLOG_LEVEL=INFO\nDB_NAME=observer\n# DB_USER=x\n=\n", ""),
    ("charts/observer/values-production.yaml", f"env:\n  DB_PASSWORD: {HIDDEN}\n  DB_HOST: postgres\n", "DB_PASSWORD"),
    ("charts/observer/values.yaml", "env: {DB_PASSWORD: '', DB_HOST: postgres}\nDB_USER: {}\n", ""),
    ("charts/observer/values.yml", f"env:\n  - {{name: DB_PASSWORD, value: {HIDDEN}}}\n", "DB_PASSWORD"),
    (".envrc", f"export DB_PASSWORD={HIDDEN}\n", "DB_PASSWORD"), ("secrets.yaml.dec", SECRET, "DB_PASSWORD"),
    ("settings.yaml", f"DB_PASSWORD: {HIDDEN}\n", ""),
    ("secret.yaml.bak", SECRET, "DB_PASSWORD"), ("secret.yml.j2", SECRET, "DB_PASSWORD"),
    ("secret", SECRET, "DB_PASSWORD"),
    ("secret.json", '{\n\t"kind": "Secret", "apiVersion": "v1",\n\t"stringData": {"A": "b1"}\n}', "A"),
    ("docs/how-to.md", SECRET, ""), ("tests/test_it.py", SECRET, ""),
])
def test_the_name_decides_what_a_file_is_read_as(path: str, text: str, keys: str) -> None:
    assert " ".join(key for leak in secrets_in(text, path) for key in leak.keys) == keys


@pytest.mark.parametrize(("path", "text", "what"), [
    ("obs-prod.yaml", KUBECONFIG, "kubeconfig (client-key-data)"),
    (".kube/config", KUBECONFIG.replace("client-key-data", "token"), "kubeconfig (token)"),
    ("k.yaml", "users:\n- name: a\n  user:\n    auth-provider: {config: {id-token: e1}}\n", "kubeconfig (id-token)"),
    ("k.yaml", KUBECONFIG.replace("client-key-data", "client-key"), ""),
    ("k.yaml", "users:\n  - name: ubuntu\n    passwd: x\n", ""),
    ("k.yaml", "kind: Config\nusers: [{name: a, user: {token: '{{ token }}'}}]\n", ""),
    ("id_rsa", pem(), "private key (RSA)"), ("tls.key", pem(""), "private key (PKCS 8)"),
    ("id_ed25519", pem("OPENSSH ", "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU" + LETTERS), "private key (OPENSSH)"),
    ("id_ed25519", pem("OPENSSH ", "b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHI" + LETTERS), ""),
    ("a.pem", pem("ENCRYPTED "), ""), ("a.pem", pem("RSA ", "....")[:200], ""), ("a.pem", pem("RSA ", "A" * 400), ""),
    ("a.pem", pem().replace("\n", "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", 1), ""),
    ("a.pem", pem().replace("PRIVATE", "PUBLIC"), ""),
    ("test.py", f'KEY = "{pem()}"\n'.replace("\n", "\\n"), "private key (RSA)"),
    ("test.py", f"assert text.startswith('{pem()[:32]}')\nthisisalongwordthatisnokeyatall12345 = 1\n", ""),
    ("x.yaml", f"data:\n  id: |\n    {pem('EC ')}".replace("\n", "\n    "), "private key (EC)"),
    ("x.go", f"var key = `{encoded(pem())}`", "private key (base64)"),
    ("x.go", f"var key = `{encoded(pem('ENCRYPTED '))}`", ""),
    ("registries.yaml", "configs: {ghcr.io: {auth: {username: a, password: b1}}}\n", "registry login"),
    ("registries.yaml", "configs: {ghcr.io: {auth: {username: a, password: ''}}, x: 5}\n", ""),
    (".docker/config.json", LOGIN, "registry login"),
    (".docker/config.json", '{"auths": {"ghcr.io": {}}, "credsStore": "pass"}', ""),
    ("key.yaml", "kind: Secret\nmetadata:\n  labels: {sealedsecrets.bitnami.com/sealed-secrets-key: active}\n"
                 f"type: kubernetes.io/tls\ndata: {{tls.crt: YTpi, tls.key: {encoded(pem())}}}\n", "sealing key"),
])
def test_credentials(path: str, text: str, what: str) -> None:
    found = leaks(text, path, Keys(observer()))
    assert [leak.what for leak in found] == ([what] if what else [])
    assert {leak.code for leak in found} <= {"REPO-02"}


def test_an_encrypted_vault_and_what_is_no_text(repository: Repository) -> None:
    repository.commit({"vault.yml": f"$ANSIBLE_VAULT;1.1;AES256\n{SECRET}", "x.yaml": b"\0\xff" + SECRET.encode(),
                       "x.png": SECRET, "utf16.yaml": SECRET.encode("utf-16"),
                       "euc.yaml": f"# 비밀\n{SECRET}".encode("cp949")})
    found, unchecked = look(repository)
    assert told(found) == ["REPO-01 euc.yaml:8", "REPO-01 utf16.yaml:7"] and not unchecked


# --- which files count ------------------------------------------------------------------------------


def test_ignored_files_are_left_out_and_untracked_ones_are_drift(repository: Repository) -> None:
    repository.commit({".gitignore": "secrets/\n"})
    repository.write({"secrets/plain.yaml": SECRET, "new/plain.yaml": SECRET, "new/readme.md": "/app/logs\n"})
    found, _ = look(repository)
    assert [(one.code, str(one.place), one.severity, one.kind) for one in found] == [
        ("REPO-01", "new/plain.yaml:7", Severity.LOW, Kind.DRIFT)]


def test_the_index_counts_as_well_as_the_working_copy(repository: Repository) -> None:
    other = "kind: ConfigMap\n"
    repository.commit({"a.yaml": SECRET, "b.yaml": other, "c.yaml": SECRET, "d.yaml": other})
    repository.write({"a.yaml": "kind: ConfigMap\n", "b.yaml": SECRET, "c.yaml": f"# new\n{SECRET}"})
    (repository.folder / "d.yaml").unlink()
    assert told(look(repository)[0]) == ["REPO-01 a.yaml:7", "REPO-01 b.yaml:7", "REPO-01 c.yaml:8"]
    # Staged and then taken away: it is in the index alone, so that the next commit has it.
    repository.write({"e.yaml": SECRET})
    repository.git("add", "e.yaml")
    (repository.folder / "e.yaml").unlink()
    assert "REPO-01 e.yaml:7" in told(look(repository)[0])


def test_a_folder_of_a_repository(repository: Repository) -> None:
    repository.commit({"apps/observer/old.yaml": SECRET, "apps/other/plain.yaml": SECRET, "plain.yaml": SECRET})
    (repository.folder / "apps/observer/old.yaml").unlink()
    repository.commit({"apps/observer/plain.yaml": SECRET + "  KIS_APP_KEY: k1\n"})
    found, unchecked = look(repository.folder / "apps/observer")
    assert told(found) == ["REPO-03 old.yaml", "REPO-01 plain.yaml:7"] and not unchecked
    # One that is ignored there is no part of the repository.
    repository.write({".gitignore": "build/\n", "build/plain.yaml": SECRET})
    found, unchecked = look(repository.folder / "build")
    assert told(found) == ["REPO-01 plain.yaml:7"] and [one.about for one in unchecked] == ["history"]


def test_a_folder_that_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text(SECRET)
    found, unchecked = look(tmp_path)
    assert told(found) == ["REPO-01 plain.yaml:7"] and found[0].severity is Severity.HIGH
    assert "no checkout of a git repository" in unchecked[0].reason
    assert look(tmp_path, history=False)[1] == []


def test_env_files_of_a_secret_generator_are_secret_as_a_whole(repository: Repository) -> None:
    repository.commit({"base/kustomization.yaml": "secretGenerator:\n  - {name: x, envs: [private.env, ../no.env]}\n"
                                                  "configMapGenerator:\n  - {name: y, envs: [public.env]}\n",
                       "base/private.env": "ANYTHING=v1\nDB_USER=observer\nC=\n", "base/public.env": "ANYTHING=v1\n"})
    found, _ = look(repository)
    assert [(str(one.place), one.values["keys"]) for one in found] == [("base/private.env:1", "ANYTHING, DB_USER")]


# --- history ----------------------------------------------------------------------------------------


def test_history_of_all_refs_each_path_once(repository: Repository) -> None:
    first = repository.commit({"plain.yaml": SECRET})
    repository.commit({"plain.yaml": SECRET.replace(HIDDEN, f"{HIDDEN}-2") + "  KIS_APP_KEY: k1\n"})
    repository.commit({"plain.yaml": "kind: ConfigMap\n"})
    repository.git("switch", "--quiet", "--create", "side")
    side = repository.commit({"id_rsa": pem(), "moved.yaml": SECRET.replace("observer", "o")})
    repository.git("switch", "--quiet", "main")
    repository.git("merge", "--quiet", "--no-ff", "--strategy=ours", "side", "-m", "m")
    repository.git("branch", "--quiet", "--delete", "--force", "side")
    repository.write({"plain.yaml": KUBECONFIG})
    repository.git("stash", "--quiet")
    stashed = repository.git("rev-parse", "refs/stash")
    found, unchecked = look(repository)
    assert not unchecked
    assert [(one.subject, one.actual, one.values["commit"]) for one in found] == [
        ("id_rsa", "private key (RSA)", side[:10]),
        ("moved.yaml", "plain Secret with DB_PASSWORD", side[:10]),
        ("plain.yaml", "kubeconfig (client-key-data)", stashed[:10]),
        ("plain.yaml", "plain Secret with DB_PASSWORD, KIS_APP_KEY", first[:10])]
    assert found[3].values["versions"] == "2"


def test_what_was_moved_and_is_still_there_is_told_once(repository: Repository) -> None:
    repository.commit({"old.yaml": SECRET})
    repository.git("mv", "old.yaml", "new.yaml")
    repository.commit()
    assert told(look(repository)[0]) == ["REPO-01 new.yaml:7"]


def test_what_was_replaced_only_locally_is_still_there(repository: Repository) -> None:
    repository.commit({"plain.yaml": SECRET})
    repository.commit({"plain.yaml": "kind: ConfigMap\n"})
    repository.git("replace", "HEAD~1:plain.yaml", "HEAD:plain.yaml")
    assert told(look(repository)[0]) == ["REPO-03 plain.yaml"]


def test_a_shallow_clone_and_a_partial_one_say_what_they_lack(repository: Repository, tmp_path: Path) -> None:
    repository.commit({"plain.yaml": SECRET})
    repository.commit({"plain.yaml": "kind: ConfigMap\n"})
    repository.git("config", "uploadpack.allowFilter", "true")
    repository.git("clone", "--quiet", "--depth=1", repository.folder.as_uri(), str(tmp_path / "shallow"))
    found, unchecked = look(tmp_path / "shallow")
    assert not found and "git fetch --unshallow" in unchecked[0].reason and unchecked[0].about == "history"

    repository.git("clone", "--quiet", "--filter=blob:none", repository.folder.as_uri(), str(tmp_path / "partial"))
    found, unchecked = look(tmp_path / "partial")
    assert not found and "1 files of the history are not here" in unchecked[0].reason


def test_two_thousand_commits(repository: Repository) -> None:
    lines = []
    for number in range(2000):
        text = SECRET if number == 700 else f"images: [{{name: x, newTag: build-{number}}}]\n"
        lines.append(f"commit refs/heads/main\ncommitter a <b> {1700000000 + number} +0000\ndata 1\nm\n"
                     f"M 100644 inline overlays/{number % 7}/kustomization.yaml\ndata {len(text)}\n{text}\n")
    repository.git("fast-import", "--quiet", stdin="".join(lines).encode())
    repository.git("reset", "--quiet", "--hard")
    started = time.process_time()
    found, unchecked = look(repository)
    assert time.process_time() - started < ENDLESS
    assert told(found) == ["REPO-03 overlays/0/kustomization.yaml"] and not unchecked
    assert found[0].values["commit"] == repository.git("rev-parse", "main~1299")[:10]


def test_without_time_it_says_so(repository: Repository) -> None:
    repository.commit({"plain.yaml": SECRET})
    found, unchecked = look(repository, limit=0)
    assert not found and "give it more time" in unchecked[0].reason


# --- documents --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("line", "wrong"), [
    ("Logs are in `/app/logs`.", "/app/logs"), ("**/app/logs**", "/app/logs"), ("(/app/logs)", "/app/logs"),
    ("| logs | /app/logs | /srv/data |", "/app/logs, /srv/data"), ("로그는 /app/logs에 있다", "/app/logs"),
    ("docker run -v ./logs:/app/logs:ro x", "/app/logs"), ("-v /data:/app/data", "/data, /app/data"),
    ("mountPath: /app/logs/system/", "/app/logs/system"), ("tail /app/logs/observer.log", "/app/logs/observer.log"),
    ("`/app/{logs,data}`", "/app/logs, /app/data"), ("/app/logs/*.log and /app/logs/<date>", "/app/logs"),
    ("OBSERVER_LOG_DIR=/app/logs", "/app/logs"), ("hostPath: /mnt/observer/config", "/mnt/observer/config"),
    ("/opt/platform/runtime/observer/log", "/opt/platform/runtime/observer/log"),
    ("/opt/platform/runtime/observer/{data,snapshots}", "/opt/platform/runtime/observer/snapshots"),
    ("/opt/platform/runtime/qts/logs", "/opt/platform/runtime/qts/logs"),
    # What the contract knows, and what is below it.
    ("/opt/platform/runtime/observer, /opt/platform/runtime/observer/ and /opt/platform", ""),
    ("/opt/platform/runtime/observer/data/cache/token_cache.json", ""),
    ("/opt/platform/runtime/observer/logs/scalp and /opt/platform/runtime/observer/data/universe", ""),
    ("/opt/platform/runtime/observer/*, /opt/platform/runtime/observer/{name}/x, /opt/.../data", ""),
    ("/opt/local-path-provisioner/pvc-1_observer-prod_data", ""), ("/var/lib/postgresql/data/pg_wal", ""),
    # What is nobody's: the system's, a person's, links, addresses, routes, other words.
    ("/etc/systemd/system/observer.service, /usr/share/data, /var/lib/rancher/k3s/data, /tmp/logs", ""),
    ("/home/ubuntu/.kube/config and ~/config and /root/.docker/config", ""),
    ("[the data](/docs/data) <https://example.org/data> http://x:8000/logs s3://bucket/data", ""),
    ("[data]: /guide/data", ""), ('<a href="/guide/config">', ""), ("file:///app/logs", ""),
    ("GET /data and `POST /config`", ""), ("the endpoint /data", ""), ("/health /ready /metrics", ""),
    ("read/write data/logs ./logs ../data $ROOT/logs ${ROOT}/logs <root>/logs {{ root }}/logs 24/7", ""),
    ("로그/data 또는 설정/config", ""),
    ("**/logs and docs/**/data", ""), ("C:/app/data", ""), ("/ // /. /.. /... /-", ""),
    ("/base/config is a folder of this repository", ""),
])
def test_paths_in_documents(line: str, wrong: str) -> None:
    known = paths_of(observer(), frozenset({"base", "base/config", "base/config/x.yaml"}))
    assert ", ".join(known.wrong_in(line)) == wrong


def test_what_is_meant_is_said() -> None:
    known = paths_of(observer(), frozenset())
    assert known.wrong_in("/opt/platform/runtime/observer/log") == {
        "/opt/platform/runtime/observer/log": ["/opt/platform/runtime/observer/logs"]}
    assert known.wrong_in("/x/config") == {"/x/config": ["/opt/platform/runtime/observer/config"]}


def test_a_contract_says_which_documents_and_which_paths(repository: Repository, tmp_path: Path) -> None:
    text = (ROOT / "contracts/observer.yml").read_text()
    start = text.index("\nrepository:")
    (tmp_path / "contract.yml").write_text(
        text[:start] + "\nrepository:\n  documents: ['docs/**/*.md']\n  paths: [/srv/data, '/mnt/*']\n"
        "  examples: ['docs/examples/**']\n" + text[text.index("\nwaivers:"):])
    contract = load_contract(tmp_path / "contract.yml")
    line = "/app/logs /srv/data/x /mnt/a/config\n"
    repository.commit({"docs/a.md": line, "docs/b/c.md": line, "README.md": line, "docs/examples/x.md": line,
                       "docs/examples/plain.yaml": SECRET, "docs/b/x.yaml": "docs"})
    found, _ = look(repository, contract)
    assert [(one.code, one.subject) for one in found] == [
        ("REPO-04", "docs/a.md"), ("REPO-04", "docs/b/c.md"), ("REPO-01", "docs/examples/plain.yaml")]
    assert found[0].actual == "/app/logs"
    chosen, _ = check_repository(repository.folder, contract, documents=["*.md"])
    assert [one.subject for one in chosen if one.code == "REPO-04"] == ["README.md"]


@pytest.mark.parametrize(("pattern", "matches", "others"), [
    ("**/*.md", ["a.md", "a/b/c.md"], ["a.mdx", "a.md/x"]),
    ("docs/*.md", ["docs/a.md"], ["docs/b/a.md", "x/docs/a.md"]),
    ("tests/**", ["tests/a", "tests/a/b"], ["tests", "x/tests/a"]), ("a?.[x]", ["ab.[x]"], ["ab.x", "a/.[x]"]),
])
def test_patterns(pattern: str, matches: list[str], others: list[str]) -> None:
    assert [name for name in [*matches, *others] if glob(pattern).fullmatch(name)] == matches


# --- images -----------------------------------------------------------------------------------------


def deployment(image: str, key: str = "containers") -> str:
    return (f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: x}}\nspec:\n  template:\n    spec:\n"
            f"      {key}:\n        - name: x\n          image: {image}\n")


@pytest.mark.parametrize(("name", "text", "expected"), [
    ("d.yaml", deployment("nginx:latest"), ["nginx:latest 9"]), ("d.yaml", deployment("nginx"), ["nginx 9"]),
    ("d.yaml", deployment("reg:5000/nginx", "initContainers"), ["reg:5000/nginx 9"]),
    ("d.yaml", deployment('"ghcr.io/x/y:latest"'), ["ghcr.io/x/y:latest 9"]),
    ("d.yaml", deployment("nginx:1.27"), []), ("d.yaml", deployment("nginx:latest@sha256:" + "0" * 64), []),
    ("d.yaml", deployment('""'), []), ("d.yaml", deployment("${IMAGE}"), []),
    ("d.yaml", deployment("nginx:latest-alpine"), []), ("d.yaml", deployment("# nginx:latest"), []),
    ("d.yaml", f"---\n{deployment('a:1')}---\n{deployment('a:latest')}", ["a:latest 20"]),
    ("t/d.yaml", "{{ if .x }}\n" + deployment("{{ .Values.image }}:latest") + "{{ end }}", [":latest 10"]),
    ("t/d.yaml", deployment('"{{ .Values.image.repository }}:{{ .Values.image.tag }}"'), []),
    ("broken.yaml", deployment("nginx:latest") + "x: [\n", ["nginx:latest 9"]),
    ("kustomization.yaml", "images:\n  - name: a\n    newTag: latest\n", ["a:latest 3"]),
    ("kustomization.yaml", "images:\n  - {name: a, newName: b, newTag: latest}\n", ["b:latest 2"]),
    ("kustomization.yaml", "images:\n  - {name: a, newTag: latest, digest: sha256:1}\n  - {name: b}\n", []),
    ("kustomization.yaml", "patches:\n  - patch: |-\n      image: a:latest\n", ["a:latest 2"]),
    ("values.yaml", "image:\n  repository: a\n  tag: latest\n", ["a:latest 3"]),
    ("values-prod.yaml", "image: a:latest\nother: {image: b, tag: '1'}\n", ["a:latest 1"]),
    ("values.yaml", "image: {repository: a, tag: ''}\ntags: [latest]\n", []),
    ("compose.yaml", "services: {a: {image: x:latest}}\n", []),
    (".github/workflows/ci.yaml", "jobs: {a: {runs-on: ubuntu-latest, container: {image: x:latest}}}\n", []),
    ("Dockerfile", "FROM x:latest\n", []),
])
def test_images(tmp_path: Path, name: str, text: str, expected: list[str]) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text)
    found, _ = look(tmp_path, history=False)
    assert [f"{one.actual.replace(chr(0xe000), '')} {one.place.line if one.place else 0}" for one in found] == expected
    assert {(one.code, one.clause, one.severity) for one in found} <= {
        ("REPO-05", "repository.images", Severity.HIGH)}


def test_an_image_that_an_overlay_gives_a_tag(repository: Repository) -> None:
    repository.commit({
        "base/observer.yaml": deployment("ghcr.io/tawbury/observer"), "base/a.yaml": deployment("docker.io/a/b:latest"),
        "overlays/x/kustomization.yaml":
            "images:\n  - {name: ghcr.io/tawbury/observer, newTag: build-20260205-142425}\n"
            "  - {name: a/b, newTag: '1'}\n"})
    found, _ = look(repository)
    assert [(str(one.place), one.severity) for one in found] == [("base/a.yaml:9", Severity.LOW)]
    repository.commit({"overlays/x/kustomization.yaml": "resources: []\n"})
    found, _ = look(repository)
    assert told(found) == ["REPO-05 base/a.yaml:9", "REPO-05 base/observer.yaml:9"]
    assert found[1].expected == r"build-\d{8}-\d{6} | v\d+\.\d+\.\d+" and found[1].related


# --- sealed files -----------------------------------------------------------------------------------


def sealed(name: str, namespace: str, template: str = "", annotation: str = "") -> str:
    return (f"apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata:\n  name: {name}\n" +
            (f"  namespace: {namespace}\n" if namespace else "") +
            (f'  annotations: {{sealedsecrets.bitnami.com/{annotation}: "true"}}\n' if annotation else "") +
            "spec:\n  encryptedData: {DB_USER: AgBx}\n" +
            (f"  template:\n    metadata: {template}\n" if template else ""))


@pytest.mark.parametrize(("text", "expected"), [
    (sealed("observer-secrets", "observer-prod", "{name: observer-secrets, namespace: observer-prod}"), []),
    (sealed("ghcr-secret", "observer-staging"), []), (sealed("observer-secrets", ""), []),
    (sealed("obs-db-secret", "observer-prod"), []),  # it opens, and nobody takes it
    (sealed("observer-secrets", "observer"), ["5 high observer/observer-secrets"]),
    (sealed("grafana", "monitoring"), []),
    (sealed("obs-db-secret", "observer", annotation="cluster-wide"), []),
    (sealed("obs-db-secret", "observer-prod", annotation="namespace-wide"), []),
    (sealed("ghcr-secret", "observer", annotation="namespace-wide"), ["5 high observer/ghcr-secret"]),
    (sealed("observer-secrets", "observer-prod", "{name: observer-secrets, namespace: default}"),
     ["9 high namespace default (template)"]),
    (sealed("observer-secrets", "observer-prod", "{name: other}"), ["9 high name other (template)"]),
    (sealed("observer-secrets", "observer-prod", "{name: other}", "namespace-wide"), []),
    (sealed("observer-secrets", "{{ .Release.Namespace }}"), []),
    ("kind: List\nitems:\n  - {kind: SealedSecret, metadata: {name: ghcr-secret, namespace: x}, spec: {}}\n",
     ["3 high x/ghcr-secret"]),
    ("kind: SealedSecret\nmetadata: [x]\nspec: {template: 5}\n", []),
])
def test_sealed_files(tmp_path: Path, text: str, expected: list[str]) -> None:
    (tmp_path / "sealed.yaml").write_text(text)
    found, unchecked = look(tmp_path, history=False)
    assert not unchecked
    assert [f"{one.place.line} {one.severity} {one.actual}" for one in found if one.place] == expected
    assert {(one.code, one.clause) for one in found} <= {("REPO-06", "repository.sealed")}


def test_a_sealed_file_that_is_no_yaml(repository: Repository) -> None:
    repository.commit({"sealed.yaml": "kind: SealedSecret\nmetadata: {\n"})
    found, unchecked = look(repository)
    assert not found and unchecked[0].place == Place("sealed.yaml", 1)


# --- hostile repositories ---------------------------------------------------------------------------


def test_odd_names_and_links(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/plain.yaml").write_text(SECRET)
    names = ["new\nline.yaml", "비밀/값.yaml", "a\tb.yaml", " .yaml", "-n.yaml", "'\"$(x)`.yaml", "\x1b[31m.yaml",
             os.fsdecode(b"\xff.yaml"), "[a]*?.yaml", ":(top)x.yaml", "x.yaml\n"]
    repository.commit({name: SECRET for name in names})
    (repository.folder / "link.yaml").symlink_to(tmp_path / "outside/plain.yaml")
    (repository.folder / "folder").symlink_to(tmp_path / "outside")
    (repository.folder / "loop").symlink_to("loop")
    os.mkfifo(repository.folder / "pipe.yaml")
    repository.git("add", "link.yaml", "folder", "loop")
    repository.git("commit", "--quiet", "-m", "links")
    found, unchecked = look(repository)
    assert not unchecked and sorted(one.subject for one in found) == sorted(map(shown, names))
    assert all(one.subject.isprintable() and one.place and one.place.file == one.subject for one in found)

    # A file becomes a link out of the tree, and so does a folder with tracked files: the index still counts.
    inside = repository.folder / "비밀"
    (inside / "값.yaml").unlink()
    inside.rmdir()
    inside.symlink_to(tmp_path / "outside")
    (tmp_path / "outside/값.yaml").write_text(SECRET + "  KIS_APP_KEY: k1\n")
    # So it does for a file that is a pipe or a folder now.
    for name in ("a\tb.yaml", "-n.yaml"):
        (repository.folder / name).unlink()
    os.mkfifo(repository.folder / "a\tb.yaml")
    (repository.folder / "-n.yaml").mkdir()
    found, _ = look(repository)
    assert sorted(one.subject for one in found) == sorted(map(shown, names))
    assert {one.values["keys"] for one in found} == {"DB_PASSWORD"}

    repository.git("rm", "--quiet", "-r", "--cached", ".")
    repository.git("commit", "--quiet", "-m", "gone")
    (repository.folder / "-n.yaml").rmdir()
    for path in repository.folder.glob("*.yaml*"):
        path.unlink()
    found, _ = look(repository)
    assert found and all(one.code == "REPO-03" and one.subject.isprintable() for one in found)
    assert all(one.values["commit"] == repository.git("rev-parse", "HEAD~2")[:10] for one in found)


@pytest.mark.parametrize("text", [
    "a: &a [x]\n" + "".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}' if n else '*a'] * 9)}]\n" for n in range(9)),
    "[" * 5_000, "{a: " * 5_000, "- " * 5_000, "a:\n" * 1_000, "{{" * 20_000, "{%" * 20_000, "{{ }}\n" * 5_000,
    "-----BEGIN " + "PRIVATE KEY-----" * 3_000, ("-----BEGIN PRIVATE" + " KEY-----\n") * 2_000,
    "LS0tLS1CRUdJTi" * 5_000,
    "${" * 10_000, "---\n" * 10_000, "---\nkind: Secret\n" * 1_000, "stringData:\n" * 3_000, "\u2028" * 10_000,
    "  a: " + "my" * 20_000, "kind: Secret\nstringData: {a: " + "your" * 10_000 + "}", "\\n" * 20_000, "'" * 10_000,
    "kind: Secret\nstringData: &s\n  a: *s\n", "kind: [Secret]\n", "kind: Secret\ndata: [a]\nmetadata: x\n",
    "kind: Secret\nstringData: {? [a] : b}\n", "kind: Secret\nstringData: {1: 2, null: x, 2001-01-01: y}\n",
    "secretGenerator: {a: b}\nusers: {a: b}\nauths: [a]\nconfigs: 5",
    "secretGenerator: [1, {literals: [1, '=', 'a']}]\nimages: [1]\n",
    "users: [{user: {token: [1]}}]\n", "a: !!python/object/apply:os.system ['x']\nkind: Secret\n",
    "%YAML 9.9\n---\nSecret",
], ids=map(str, range(30)))
@pytest.mark.parametrize("name", ["x.yaml"])
def test_hostile_texts_take_bounded_time(name: str, text: str) -> None:
    started = time.process_time()
    for hint in ("", "kind: Secret\n", "# Secret users auths client-key\n"):
        leaks(hint + text, name, Keys(observer()))
    known = paths_of(observer(), frozenset())
    for line in text.split("\n"):
        known.wrong_in(line)
    assert time.process_time() - started < ENDLESS


@pytest.mark.parametrize("line", ["/a" * 20_000, "/" * 20_000, "a" * 40_000, "/{" * 10_000, "/{a,b}" * 6_000,
                                  "/logs/" * 6_000, "](" * 10_000, "a://" * 10_000, "[a" * 10_000, "/data " * 5_000,
                                  "/{" + "a," * 5000 + "}/logs", "**/" * 6_000, "href=" * 6_000])
def test_hostile_lines_take_bounded_time(line: str) -> None:
    started = time.process_time()
    paths_of(observer(), frozenset()).wrong_in(line)
    assert time.process_time() - started < ENDLESS


def test_huge_files(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for name, content in {"big.yaml": "a: b\n" * 1_800_000, "dump.sql": "x" * 9_000_000, "bin.yaml": "\0" * 9_000_000,
                          "bundle.yaml": "---\nkind: CustomResourceDefinition\n" * 3_000 + SECRET}.items():
        (tmp_path / "tree" / name).write_text(content)
    found, unchecked = look(tmp_path / "tree", history=False)
    assert told(found) == ["REPO-01 bundle.yaml:6007"]
    assert [(str(one.place), one.reason) for one in unchecked] == [
        ("big.yaml", "it has 9 MiB; at most 8 MiB are read")]

    repository.commit({"old.yaml": SECRET + "#" * 1_100_000, "old.txt": "#" * 1_100_000})
    repository.git("rm", "--quiet", "-r", ".")
    repository.commit()
    found, unchecked = look(repository)
    assert not found and [one.place.file for one in unchecked] == ["old.yaml"]


def test_git_is_ended_when_the_time_is_over(repository: Repository) -> None:
    repository.commit({"a.yaml": "a: b\n"})
    started = time.monotonic()
    reads, writes = os.pipe()  # Nothing ever comes of it, and it never ends.
    with os.fdopen(reads, "rb") as never, os.fdopen(writes, "wb"), pytest.raises(Late), \
            Git(repository.folder, started + 0.1).stream("cat-file", "--batch", stdin=never) as output:
        output.read()
    assert time.monotonic() - started < ENDLESS


def test_nothing_of_the_repository_is_executed(repository: Repository, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    command = tmp_path / "command"
    command.write_text(f"#!/bin/sh\ntouch {ran}\ncat\n")
    command.chmod(0o755)
    commits = [repository.commit({"plain.yaml": SECRET, ".gitattributes": "* filter=x diff=x textconv=x\n"}),
               repository.commit({"plain.yaml": "kind: ConfigMap\n"})]
    blobs = [repository.git("rev-parse", f"{commit}:plain.yaml") for commit in commits]
    for hook in ("post-index-change", "reference-transaction", "fsmonitor-watchman", "query-watchman", "pre-auto-gc"):
        path = repository.folder / ".git/hooks" / hook
        path.write_text(command.read_text())
        path.chmod(0o755)
    for name in ("core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "core.askPass", "filter.x.clean",
                 "filter.x.smudge", "filter.x.process", "diff.x.textconv", "diff.x.command", "diff.external",
                 "gpg.program", "core.gitProxy", "credential.helper", "core.alternateRefsCommand", "pager.rev-list",
                 "uploadpack.packObjectsHook", "alias.ls-files", "alias.rev-list"):
        repository.git("config", name, str(command))
    for name, value in {"log.showSignature": "true", "remote.origin.promisor": "true", "core.useReplaceRefs": "true",
                        "remote.origin.url": f"ext::{command}", "extensions.partialClone": "origin",
                        "protocol.ext.allow": "always", "core.repositoryFormatVersion": "1"}.items():
        repository.git("config", name, value)
    repository.write({"plain.yaml": "changed: true\n"})
    ran.unlink(missing_ok=True)
    # Objects that are not there would be fetched from the promisor: first one of the history, then one of the index.
    for blob in blobs:
        (repository.folder / ".git/objects" / blob[:2] / blob[2:]).unlink()
        before = {path: path.stat().st_mtime_ns for path in (repository.folder / ".git").rglob("*")}
        found, unchecked = look(repository)
        assert not found and unchecked
        assert {path: path.stat().st_mtime_ns for path in (repository.folder / ".git").rglob("*")} == before
        assert not ran.exists()
    subprocess.run(["git", "status"], cwd=repository.folder, check=False, capture_output=True)
    assert ran.exists()  # git alone does run what is there.


def test_the_environment_of_a_hook_does_not_lead_elsewhere(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Repository(tmp_path / "other")
    other.commit({"plain.yaml": SECRET})
    repository.commit({"a.yaml": "kind: ConfigMap\n"})
    for name, value in {"GIT_DIR": str(other.folder / ".git"), "GIT_INDEX_FILE": str(other.folder / ".git/index"),
                        "GIT_WORK_TREE": str(other.folder), "GIT_TRACE": str(tmp_path / "trace")}.items():
        monkeypatch.setenv(name, value)
    assert look(repository) == ([], []) and not (tmp_path / "trace").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="a checkout can be given to another user by root alone")
def test_a_checkout_of_another_user_is_told_of_with_the_remedy(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SUDO_UID", raising=False)
    repository.commit({"plain.yaml": SECRET})
    for path in (repository.folder, repository.folder / ".git"):
        os.chown(path, 12345, 12345)
    (repository.folder / "base").mkdir()
    found, unchecked = look(repository.folder / "base")
    assert not found and f"safe.directory {repository.folder.resolve()}`" in unchecked[0].reason
    known = ["git", "config", "--global", "--add", "safe.directory", str(repository.folder.resolve())]
    subprocess.run(known, check=True)
    assert told(look(repository)[0]) == ["REPO-01 plain.yaml:7"]


def test_a_broken_repository_and_no_git(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    head = repository.commit({"plain.yaml": SECRET})
    (repository.folder / ".git/objects" / head[:2] / head[2:]).unlink()
    found, unchecked = look(repository)
    assert told(found) == ["REPO-01 plain.yaml:7"] and "git cannot read the repository" in unchecked[0].reason
    (repository.folder / ".git/index").write_bytes(b"DIRC" + b"\xff" * 40)
    found, unchecked = look(repository)
    assert not found and "git cannot read the repository" in unchecked[0].reason
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "git is not installed" in look(repository)[1][0].reason


def test_an_empty_repository_and_an_empty_folder(repository: Repository, tmp_path: Path) -> None:
    assert look(repository) == ([], [])
    (tmp_path / "empty").mkdir()
    assert look(tmp_path / "empty")[0] == []


@pytest.mark.parametrize("text", ["a: !!bool x", "a: !!timestamp x", "a: !!int ''", "a: !!float ''"])
def test_yaml_with_a_wrong_explicit_type_is_refused(text: str) -> None:
    with pytest.raises(ContractError):
        load_documents(text, "x.yaml")


@pytest.mark.parametrize(("command", "missing"), [
    ("kubectl create secret generic ghcr-secret --from-literal=a=b", [".dockerconfigjson"]),
    ("kubectl -n x create secret generic \\\n  ghcr-secret \\\n  --from-literal='a=b'", [".dockerconfigjson"]),
    ("kubectl create secret generic ghcr-secret --from-literal=.dockerconfigjson=x", []),
    ("kubectl create secret generic ghcr-secret --from-env-file=x", []),
    ("kubectl create secret generic other --from-literal=a=b", []),
    ("kubectl create secret generic ghcr-secret\n\n    --from-literal=a=b", []),
])
def test_guides_that_leave_keys_out(tmp_path: Path, command: str, missing: list[str]) -> None:
    (tmp_path / "setup.md").write_text(f"# Setup\n\n    {command}\n")
    found, _ = look(tmp_path, history=False)
    assert [(one.code, str(one.place), one.expected) for one in found] == [
        ("REPO-07", "setup.md:3", ", ".join(missing)) for _ in missing]


def test_texts_of_all_findings_are_complete(repository: Repository) -> None:
    repository.commit({"a.yaml": SECRET, "k.yaml": KUBECONFIG, "d.md": "/app/logs\n", "i.yaml": deployment("x:latest"),
                       "s.yaml": sealed("ghcr-secret", "y"), "h.yaml": SECRET.replace("DB_", "PG")})
    (repository.folder / "h.yaml").unlink()
    repository.commit()
    found, _ = look(repository)
    assert [one.code for one in found] == ["REPO-01", "REPO-04", "REPO-03", "REPO-05", "REPO-02", "REPO-06"]
    render: Callable[[Finding], str] = lambda one: " ".join(  # noqa: E731
        sentence(one, part, language) for part in ("title", "message", "remedy") for language in ("en", "ko"))
    for one in found:
        assert "{" not in render(one) and not {"keys", "actual", "expected"} & set(render(one).split())
