"""The secrets of one inventory: which there must be, its key pair, and what of the sealed files differs."""

from __future__ import annotations

import datetime
import difflib
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from .private import PrivateFile, SealingError, Vault, read_text, shown, write
from .sealed import SealingKey, Wanted, docker_config, read_certificate, reseal

KEY_VARIABLE = "vault_sealing_key"
RANDOM_BYTES = 24


@dataclass
class Plan:
    """What differs, and how to mend it. Nothing is written before all of it is known to be possible."""

    changes: list[str] = field(default_factory=list)
    steps: list[Callable[[], None]] = field(default_factory=list)

    def add(self, step: Callable[[], None], changes: Sequence[str]) -> None:
        if changes:
            self.changes += changes
            self.steps.append(step)


def prepare(arguments: Mapping[str, Any], vault: Vault) -> Plan:
    """Compare what is there with what is wanted.

    :param arguments: the options of the module ``sealed_values``.
    :param vault: opens and makes the private files when they are ``encrypted``.
    :raises SealingError: when something is missing or wrong.
    """
    plan = Plan()
    opened_by = vault if arguments["encrypted"] else None
    values_file = PrivateFile(Path(arguments["values_file"]), opened_by)
    values = made(arguments["made"], values_file, plan) if arguments["made"] else values_file.read()
    if values is None:
        name = shown(values_file.path)
        raise SealingError(
            f"{name} is missing",
            f"type `install -m 600 {name}.example {name}`, fill it in, and type `ansible-vault encrypt {name}`",
        )
    wanted = secrets_of(arguments, values, values_file)
    key_file = PrivateFile(Path(arguments["key_file"]), opened_by)
    key = key_pair(arguments, key_file, plan)
    for secret in wanted:
        path = Path(arguments["folder"]) / f"{secret.name}.yaml"
        sealed = reseal(secret, read_text(path), key)
        plan.add(partial(write, path, sealed.text, 0o644), [f"{shown(path)}: {change}" for change in sealed.changes])
    return plan


def made(rules: Mapping[str, Any], file: PrivateFile, plan: Plan) -> dict[str, object]:
    """Values that nobody types: random ones once, the others as they are declared or found."""
    found = file.read() or {}
    values: dict[str, object] = {
        name: found[name] if found.get(name) else secrets.token_hex(RANDOM_BYTES) for name in rules["random"]
    }
    values |= {name: str(value) for name, value in rules["fixed"].items()}
    for name, place in rules["read"].items():
        text = read_text(Path(place))
        if text is None:
            raise SealingError(f"{shown(Path(place))} is missing: {name} is read from there", rules["remedy"])
        values[name] = text.strip()
    changes = [f"{shown(file.path)}: {name}" for name in {**values, **found} if values.get(name) != found.get(name)]
    if file.is_open_to_others():
        changes.append(f"{shown(file.path)}: mode")
    texts = {name: str(value) for name, value in values.items()}
    comment = "Made by playbooks/secrets.yml; random values are made once and stay."
    plan.add(partial(file.write, texts, comment), changes)
    return values


def secrets_of(arguments: Mapping[str, Any], values: Mapping[str, object], file: PrivateFile) -> list[Wanted]:
    """The Secrets with their values.

    :raises SealingError: that names every variable that is missing or wrong.
    """
    known = {*arguments["other_variables"], *arguments["unread_variables"]}
    problems = [problem for name in arguments["other_variables"] if (problem := wrong(name, values, template=True))]
    wanted = []
    for secret in arguments["secrets"]:
        kind = "Opaque"
        if secret["registry"]:
            registry = secret["registry"]
            names = {"username": registry["username"], "password": registry["password"]}
        else:
            names = secret["values"]
        known.update(names.values())
        problems += [problem for name in dict.fromkeys(names.values()) if (problem := wrong(name, values))]
        data = {key: str(values.get(name)) for key, name in names.items()}
        if secret["optional"]:
            known.add(secret["optional"]["variable"])
            more, found = optional(secret["optional"], values)
            problems += found
            data.update(more)
        if secret["registry"]:
            if ":" in data["username"]:
                problems.append(f"{names['username']} has a colon inside")
            kind = "kubernetes.io/dockerconfigjson"
            data = {".dockerconfigjson": docker_config(secret["registry"]["host"], **data)}
        wanted.append(Wanted(arguments["namespace"], secret["name"], kind, data))
    for name in values.keys() - known:
        near = difflib.get_close_matches(name, known, 1)
        problems.append(f"{name} is not known" + (f" (is it {near[0]}?)" if near else ""))
    if problems:
        raise SealingError(
            f"{shown(file.path)}: {'; '.join(dict.fromkeys(problems))}",
            f"mend it with `{file.editor()}`, then run again",
        )
    return wanted


def wrong(name: str, values: Mapping[str, object], *, template: bool = False) -> str | None:
    """What is wrong with a value, without showing it.

    :param template: the value is also an Ansible variable, which must not look like a template.
    """
    value = values.get(name)
    if value is None:
        return f"{name} is missing"
    if isinstance(value, dict | list):
        return f"{name} is not text"
    if not isinstance(value, str):
        return f"{name} is not text: put it in quotes"
    if not value.strip():
        return f"{name} is empty"
    if value != value.strip():
        return f"{name} begins or ends with a space or a line break"
    if not value.isprintable():
        return f"{name} has a line break or another control character inside"
    if template and re.search(r"{[{%#]", value):
        return f"{name} has {{{{, {{% or {{# inside, which Ansible takes for a template"
    return None


def optional(rule: Mapping[str, str], values: Mapping[str, object]) -> tuple[dict[str, str], list[str]]:
    """Keys that a Secret may have, as far as they are given; and what is wrong with them."""
    variable = rule["variable"]
    given = values.get(variable)
    if given is None:
        return {}, []
    if not isinstance(given, dict):
        return {}, [f"{variable} is not a set of `KEY: value` lines"]
    named = {f"{variable}.{key}": value for key, value in given.items()}
    problems = [f"{variable}.{key} is not a key of the form {rule['keys']}"
                for key in given if not re.fullmatch(rule["keys"], str(key))]
    problems += [problem for name in named if (problem := wrong(name, named))]
    return {str(key): str(value) for key, value in given.items()}, problems


def key_pair(arguments: Mapping[str, Any], file: PrivateFile, plan: Plan) -> SealingKey:
    """The inventory's key pair: made once, never overwritten.

    :raises SealingError: when one half is missing or they do not belong together.
    """
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    path = Path(arguments["certificate"])
    certificate = read_text(path)
    found = file.read()
    restore = f"restore {shown(file.path)} and {shown(path)} as they were committed together"
    if found is not None:
        key = read_key(found, file, restore)
        changes = [f"{shown(file.path)}: mode"] if file.is_open_to_others() else []
    elif certificate is None:
        key = SealingKey.generate()
        changes = [f"{shown(file.path)}: {KEY_VARIABLE}"]
    else:
        raise SealingError(
            f"{shown(path)} is there, but {shown(file.path)} with its private half is not",
            f"restore {shown(file.path)}; only if it is lost for good, remove {shown(path)}, so that a new pair is made"
            " and everything is sealed anew",
        )
    comment = "Made once by playbooks/secrets.yml; without it nothing that was sealed can be opened."
    plan.add(partial(file.write, {KEY_VARIABLE: key.pem()}, comment), changes)
    if certificate is None:
        name = f"sealed-secret/{arguments['namespace']}"[:64]
        plan.add(partial(write, path, key.certificate(name, now), 0o644), [f"{shown(path)}: content"])
    else:
        check_certificate(certificate, path, key, now, restore)
    return key


def read_key(found: Mapping[str, object], file: PrivateFile, restore: str) -> SealingKey:
    """:raises SealingError: when the file has no usable key."""
    if not isinstance(found.get(KEY_VARIABLE), str):
        raise SealingError(f"{shown(file.path)} has no {KEY_VARIABLE}", restore)
    try:
        return SealingKey.from_pem(str(found[KEY_VARIABLE]))
    except ValueError as error:
        raise SealingError(f"{KEY_VARIABLE} in {shown(file.path)} is {error}", restore) from None


def check_certificate(text: str, path: Path, key: SealingKey, now: datetime.datetime, restore: str) -> None:
    """:raises SealingError: when it is of no use for the key."""
    again = f"remove {shown(path)} and run again: it is made anew for the same key"
    try:
        certificate = read_certificate(text)
    except ValueError as error:
        raise SealingError(f"{shown(path)} is {error}", again) from None
    if not key.belongs_to(certificate):
        raise SealingError(f"{shown(path)} does not belong to {KEY_VARIABLE}", restore)
    if certificate.not_valid_after_utc <= now:
        raise SealingError(f"{shown(path)} ended on {certificate.not_valid_after_utc:%Y-%m-%d}", again)
