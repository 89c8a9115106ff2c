"""What in a text is a secret that everybody can read (CF-3). Names of keys are said; values and their lengths never.

No value is: nothing, a template (``{{ x }}``, ``${X}``, ``$(x)``, ``%(x)s``, ``<x>``), a word that asks for one
(``CHANGEME``, ``your-password``, ``xxxx``, the key's own name), a reference to a store (``vault:``, ``ref+x:``,
``op://``), or what is encrypted (SOPS' ``ENC[x]``, ansible-vault, a key with a passphrase). Everything else is one,
however harmless it looks: a plain Secret that holds only a user's name is a plain Secret. In an example
(``.env.example``) only keys that sound secret count.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from .classes import dataclass
from .documents import Document, decoded, load_documents
from .facts import FieldPath
from .model import ContractError
from .spec import Contract

LONGEST_DOCUMENT = 1024**2
"""Characters of a document of YAML that is parsed: etcd takes no larger object."""
MARK = "\ue000"
"""Stands where a template was, so that the rest can be read as YAML."""

COPIES = re.compile(r"(\.(bak|old|orig|save|dec|example|sample|template|tmpl|tpl|gotmpl|dist|j2|jinja2?|in)|~)+$",
                    re.IGNORECASE)
EXAMPLES = re.compile(r"\.(example|sample|template|tmpl|dist)$", re.IGNORECASE)
OBJECTS = re.compile(r"\.(ya?ml|json|conf|config|kubeconfig|dockercfg|dockerconfigjson)$", re.IGNORECASE)
ENV_FILE = re.compile(r"(^|\.)env(rc)?(\.[\w-]+)*$", re.IGNORECASE)
VALUES = re.compile(r"values.*\.ya?ml$", re.IGNORECASE)

SOUNDS_SECRET = re.compile(r"PASS|PWD|SECRET|TOKEN|KEY|CRED|PRIVATE|AUTH", re.IGNORECASE)
TEMPLATE = re.compile(r"\{\{|\{%|\$\{|\$\(|%\(\w+\)s|<[^\W\d][^<>]*>|" + MARK)
STORED = re.compile(r"\$[A-Z_][A-Z0-9_]*$|!vault|ENC\[|\$ANSIBLE_VAULT|ref\+\w+:|vault:|op://"
                    r"|arn:aws:(secretsmanager|ssm):")
FALLBACK = re.compile(r"\$\{\w+:?[-=](.*)\}", re.DOTALL)
ASKS = re.compile(r"(change|replace)[-_ ]?(me|this|it|with).*"
                  r"|(your|(insert|enter|put|fill|set|add|provide|paste)[-_ ])[a-z_ -]*"
                  r"(user|password|passwd|secret|key|token|value|name|id|here|login|credential)[a-z_ -]*"
                  r"|(todo|fixme|tbd|placeholder|redacted|removed|dummy|fake|example|sample)([-_ :].*)?"
                  r"|none|null|nil|undefined|unset|empty|n/?a|여기에.*|변경.*|입력.*|.*(입력|필요)"
                  r"|(?P<one>.)(?P=one){2,}|[-_*.?#…]+", re.IGNORECASE | re.DOTALL)
LONGEST_WORD = 100
"""Characters: nobody asks for a value at more length."""

PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z0-9 ]{0,40})PRIVATE KEY( BLOCK)?-----")
GAP = re.compile(r"(?:\\[nrt]|[\s\"'+,|>]|(?:Version|Comment|Hash|Charset): [^\n]*\n)*")
BODY = re.compile(r"[A-Za-z0-9+/=]{16,}")
ENCODED_PEM = re.compile(r"LS0tLS1CRUdJTi[A-Za-z0-9+/=]{66,}")
ENCRYPTED_OPENSSH = re.compile("b3BlbnNzaC1rZXktdjE(?!AAAAABG5vbmU)")

CREDENTIALS = ("client-key-data", "token", "password", "id-token", "refresh-token", "access-token")
LOGINS = ("auth", "password", "identitytoken", "registrytoken", "identity_token")
SEALING_KEY = "sealedsecrets.bitnami.com/sealed-secrets-key"
HINTS = re.compile("Secret|secretGenerator|client-key|auths?\\b|users\\b")
SECRET_KIND = re.compile(r"^[ \t-]*[\"']?kind[\"']?[ \t]*:[ \t]*[\"']?Secret[\"']?[ \t]*(#.*)?$", re.MULTILINE)
FIELD = re.compile(r"( *)[\"']?(data|stringData)[\"']?[ \t]*:[ \t]*(#.*)?$")
ENTRY = re.compile(r"( *)[\"']?([\w.-]+)[\"']?[ \t]*:(?:[ \t]+(.*))?$")
ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][\w.-]*)\s*=(.*)$")

SECRET, CREDENTIAL = "REPO-01", "REPO-02"


@dataclass(frozen=True, order=True)
class Leak:
    """``code`` is REPO-01 or REPO-02, ``what`` says what it is, ``name`` a Secret's name; ``keys`` have values."""

    line: int
    code: str
    what: str
    keys: tuple[str, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class Keys:
    """What the contract says of a key: is it a secret?"""

    contract: Contract

    def __contains__(self, key: str) -> bool:
        sources = [source for _, container in self.contract.containers() if key in container.variables
                   for source in container.variables[key].sources]
        if sources:
            # `DB_*` of a Secret does not make DB_HOST of the ConfigMap a secret.
            return any(source.startswith("Secret/") for source in sources)
        return any(secret.knows(key) for secret in self.contract.secrets.values())


def text_of(content: bytes) -> str | None:
    """A file's text; None for what is no text, or is encrypted as a whole."""
    if content.startswith(b"$ANSIBLE_VAULT;"):
        return None
    try:
        return decoded(content, "")
    except ContractError:
        # CP949 and the like: keys and credentials are ASCII all the same.
        return None if b"\0" in content else content.decode("latin-1").replace("\r\n", "\n")


def sort_of(path: str) -> str:
    """What a file is read as, by its name without what marks a copy: `env`, `objects` (YAML, JSON, a template of them,
    or no suffix at all), or `text`, in which private keys are all that is looked for."""
    plain = COPIES.sub("", posixpath.basename(path))
    if ENV_FILE.search(plain) and not re.search(r"\.(ya?ml|json)$", plain, re.IGNORECASE):
        return "env"
    return "objects" if "." not in plain.lstrip(".") or OBJECTS.search(plain) else "text"


def leaks(text: str, path: str, keys: Keys, whole_env: bool = False) -> list[Leak]:
    """Everything in a file's text that nobody else should know.

    :param path: the file's; it decides what the text is read as.
    :param whole_env: every variable in it is a secret (a kustomization makes a Secret of it).
    """
    name = posixpath.basename(path)
    plain, sort = COPIES.sub("", name), "env" if whole_env else sort_of(path)
    found: list[Leak] = []
    if sort == "env":
        found += env_leaks(text, (lambda _: True) if whole_env else keys.__contains__, bool(EXAMPLES.search(name)))
    elif sort == "objects":
        for line, piece in pieces(text):
            in_piece = object_leaks(piece, plain, keys)
            found += [replace(leak, line=leak.line + line) for leak in in_piece or key_leaks(piece)]
        return sorted(set(found))
    return sorted({*found, *key_leaks(text)})


def pieces(text: str) -> Iterator[tuple[int, str]]:
    """The documents of a YAML text and how many lines are before each: a broken one does not spoil the others, and most
    need not be parsed."""
    start = line = 0
    for match in re.finditer(r"^---(?=\s|$)", text, re.MULTILINE):
        if match.start() > start:
            yield line, text[start:match.start()]
            line += text.count("\n", start, match.start())
            start = match.start()
    yield line, text[start:]


def parsed(piece: str) -> list[Document] | None:
    """Documents of a piece of YAML, JSON, or of a template of one; None when it cannot be read."""
    if len(piece) > LONGEST_DOCUMENT:
        return None
    with contextlib.suppress(ContractError):
        return load_documents(piece, "")
    with contextlib.suppress(ContractError):
        if MARK in (rest := without_templates(piece)):
            return load_documents(rest, "")
    try:
        # JSON may be indented by tabs, YAML may not.
        return [Document(json.loads(piece), "", None)]
    except (ValueError, RecursionError):
        return None


def without_templates(text: str) -> str:
    """The text with a mark for each template of Helm or Jinja; lines of nothing else are empty. Lines stay where they
    are."""
    parts, at, dead = [], 0, set()
    for match in re.finditer(r"\{\{|\{%|\{#", text):
        closing = {"{{": "}}", "{%": "%}", "{#": "#}"}[match[0]]
        if match.start() < at or closing in dead:
            continue
        end = text.find(closing, match.end())
        if end < 0:
            dead.add(closing)
            continue
        parts += [text[at:match.start()], MARK, "\n" * text.count("\n", match.start(), end)]
        at = end + 2
    return re.sub(rf"^[ \t]*{MARK}[ \t{MARK}]*$", "", "".join([*parts, text[at:]]), flags=re.MULTILINE)


def mappings_in(body: Any) -> Iterator[tuple[FieldPath, Mapping[Any, Any]]]:  # noqa: ANN401
    """Every mapping with its path, parents first: items of a List, objects in the values of a chart."""
    waiting: list[tuple[FieldPath, Any]] = [((), body)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Mapping):
            yield path, value
            waiting += [((*path, key), item) for key, item in value.items() if isinstance(item, Mapping | list)]
        elif isinstance(value, list):
            waiting += [((*path, number), item) for number, item in enumerate(value)
                        if isinstance(item, Mapping | list)]


def object_leaks(piece: str, name: str, keys: Keys) -> list[Leak]:
    """Secrets, kubeconfigs and logins in a document."""
    values = VALUES.match(name)
    if not values and not HINTS.search(piece):
        return []
    documents = parsed(piece)
    if documents is None:
        return lines_of_secrets(piece)
    found = []
    for document in documents:
        for path, mapping in mappings_in(document.body):
            for leak in judged(mapping):
                found.append(replace(leak, line=document.line((*path, *at_of(leak, mapping)))))
            if values:
                named = sorted(plain_values(mapping, keys))
                found += [Leak(document.line((*path, named[0])), SECRET, "values of secrets", tuple(named))] \
                    if named else []
            for key, value in mapping.items():
                # A patch, the values of a HelmChart, a file of a ConfigMap.
                if isinstance(value, str) and "\n" in value and HINTS.search(value):
                    found += [replace(leak, line=document.line((*path, key))) for inner in parsed(value) or ()
                              for _, one in mappings_in(inner.body) for leak in judged(one)]
    return found


def plain_values(mapping: Mapping[Any, Any], keys: Keys) -> Iterator[str]:
    """Secrets of the contract that a chart's values give, as keys or in a list of variables."""
    pairs = [*mapping.items(), (mapping.get("name"), mapping.get("value"))]
    return (str(key) for key, value in pairs if str(key) in keys and real(value, str(key)))


def at_of(leak: Leak, mapping: Mapping[Any, Any]) -> FieldPath:
    """Where in a mapping a leak is to be pointed at."""
    for field in ("stringData", "data"):
        if leak.keys and isinstance(own := mapping.get(field), Mapping):
            return next(((field, key) for key in own if str(key) in leak.keys), ())
    return next(((field,) for field in ("secretGenerator", "users", "auths", "configs") if field in mapping), ())


def judged(mapping: Mapping[Any, Any]) -> Iterator[Leak]:
    """What a mapping gives away as the object that it is."""
    if mapping.get("kind") == "Secret" and str(mapping.get("apiVersion", "v1")) == "v1":
        named = sorted({str(key) for field in ("data", "stringData") if isinstance(own := mapping.get(field), Mapping)
                        for key, value in own.items() if real(value, str(key), encoded=field == "data")})
        metadata = mapping.get("metadata")
        metadata = metadata if isinstance(metadata, Mapping) else {}
        labels = metadata.get("labels")
        if named and isinstance(labels, Mapping) and SEALING_KEY in labels:
            yield Leak(0, CREDENTIAL, "sealing key", tuple(named))
        elif named:
            yield Leak(0, SECRET, "plain Secret", tuple(named), str(metadata.get("name") or ""))
    for generator in list_of(mapping.get("secretGenerator")):
        named = sorted({pair[0] for literal in strings(generator.get("literals"))
                        if (pair := literal.partition("="))[1] and real(pair[2].strip("'\""), pair[0])})
        if named:
            yield Leak(0, SECRET, "secretGenerator", tuple(named), str(generator.get("name") or ""))
    held = {key for user in list_of(mapping.get("users")) if isinstance(own := user.get("user"), Mapping)
            for _, part in mappings_in(own) for key in CREDENTIALS if real(part.get(key), key)}
    if held:
        yield Leak(0, CREDENTIAL, f"kubeconfig ({', '.join(sorted(held))})")
    if logs_in(mapping):
        yield Leak(0, CREDENTIAL, "registry login")


def logs_in(mapping: Mapping[Any, Any]) -> bool:
    """Docker's config.json or containerd's registries.yaml, with a login."""
    auths, configs = mapping.get("auths"), mapping.get("configs")
    logins = list(auths.values()) if isinstance(auths, Mapping) else []
    logins += [one.get("auth") for one in configs.values() if isinstance(one, Mapping)] \
        if isinstance(configs, Mapping) else []
    return any(real(one.get(key), key) for one in logins if isinstance(one, Mapping) for key in LOGINS)


def generated_from(document: Document) -> Iterator[str]:
    """Env files of which a kustomization makes Secrets, as it names them."""
    if isinstance(document.body, Mapping):
        for generator in list_of(document.body.get("secretGenerator")):
            yield from strings(generator.get("envs"))
            yield from strings([generator.get("env")])


def list_of(value: Any) -> list[Mapping[Any, Any]]:  # noqa: ANN401
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def strings(value: Any) -> Iterable[str]:  # noqa: ANN401
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def real(value: Any, key: str, encoded: bool = False) -> bool:  # noqa: ANN401
    """Whether a value is one (see the module's text). ``encoded``: by base64, as in a Secret's `data`."""
    if value is None or isinstance(value, Mapping | list):
        return False
    text = str(value).strip()
    if fallback := FALLBACK.fullmatch(text):
        return real(fallback[1], key)
    simple, own = re.sub(r"[^a-z0-9]", "", text.lower()), re.sub(r"[^a-z0-9]", "", key.lower())
    if not text or TEMPLATE.search(text) or STORED.match(text) or (simple and simple == own) or (
            len(text) <= LONGEST_WORD and ASKS.fullmatch(text)):
        return False
    if encoded:
        try:
            inner = base64.b64decode(re.sub(r"\s", "", text), validate=True).decode()
        except (binascii.Error, ValueError):
            return True
        return real(inner, key)
    if text.startswith("{") and '"auths"' in text:
        try:
            login = json.loads(text)
        except (ValueError, RecursionError):
            return True
        return not isinstance(login, dict) or logs_in(login)
    return True


def lines_of_secrets(piece: str) -> list[Leak]:
    """Plain Secrets in a text that cannot be read as YAML, by its lines."""
    found: list[Leak] = []
    start = SECRET_KIND.search(piece)
    if not start:
        return []
    first, named, inside, pending, encoded = 0, set(), -1, ("", -1), False
    for number, line in enumerate(without_templates(piece).split("\n"), 1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        indent = len(line) - len(line.lstrip(" "))
        if pending[0] and indent > pending[1]:
            # The text of a block: one line of it is enough.
            if real(bare, pending[0], encoded):
                named.add(pending[0])
                first = first or number
            continue
        pending = ("", -1)
        if indent <= inside:
            inside = -1
        if field := FIELD.match(line):
            inside, encoded = indent, field[2] == "data"
        elif inside >= 0 and (entry := ENTRY.match(line)):
            value = re.sub(r"(^|\s)#.*", "", entry[3] or "").strip()
            if re.fullmatch(r"[|>][-+0-9]*", value):
                pending = (entry[2], indent)
            elif real(value.strip("\"'"), entry[2], encoded):
                named.add(entry[2])
                first = first or number
    if named:
        found.append(Leak(first, SECRET, "plain Secret", tuple(sorted(named))))
    return found


def env_leaks(text: str, secret: Callable[[str], bool], example: bool) -> list[Leak]:
    """Values of secrets in a file of ``KEY=value`` lines."""
    named: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        match = ASSIGNMENT.match(line)
        if not match or not secret(match[1]) or (example and not SOUNDS_SECRET.search(match[1])):
            continue
        value = match[2].strip()
        quoted = re.match(r"([\"'])(.*?)\1", value)
        value = quoted[2] if quoted else re.sub(r"(^|\s)#.*", "", value)
        if real(value, match[1]):
            named.setdefault(match[1], number)
    return [Leak(min(named.values()), SECRET, "values of secrets", tuple(sorted(named)))] if named else []


def key_leaks(text: str) -> list[Leak]:
    """The first private key in PEM, and the first in base64 of PEM, wherever they stand."""
    found = []
    if "PRIVATE KEY" in text:
        for match in PRIVATE_KEY.finditer(text):
            if "ENCRYPTED" not in match[1] and (body := key_body(text, match.end())) and \
                    not ENCRYPTED_OPENSSH.match(body):
                found.append(Leak(text.count("\n", 0, match.start()) + 1, CREDENTIAL,
                                  f"private key ({match[1].strip() or 'PKCS 8'})"))
                break
    if "LS0tLS1CRUdJTi" in text:
        for match in ENCODED_PEM.finditer(text):
            head = base64.b64decode(match[0][:60]).decode("latin-1")
            if "PRIVATE KEY" in head and "ENCRYPTED" not in head:
                found.append(Leak(text.count("\n", 0, match.start()) + 1, CREDENTIAL, "private key (base64)"))
                break
    return found


def key_body(text: str, at: int) -> str:
    """The base64 after a PEM header, in a file or in a string of a program; empty when it is no key's: a header alone,
    `...`, the same letter all over."""
    body = ""
    while len(body) < 400:
        gap = GAP.match(text, at)
        part = BODY.match(text, gap.end() if gap else at)
        if not part:
            break
        body, at = body + part[0][:400], part.end()
    return body if len(body) >= 60 and len(set(body)) > 15 else ""
