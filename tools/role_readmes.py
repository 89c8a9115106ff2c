"""Writes the README.md of every role from what the role declares.

Read are ``galaxy_info.description`` of ``meta/main.yml`` (the hand-written head), the entry points and inputs of
``meta/argument_specs.yml``, and the values of ``defaults/main.yml``.

    python tools/role_readmes.py           # write those that differ
    python tools/role_readmes.py k3s       # this role's only
    python tools/role_readmes.py --check   # write none; exit 1 and name those that differ
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(os.path.relpath(Path(__file__).resolve().parents[1] / "roles"))
LONGEST_DEFAULT = 60
"""Characters; a longer default would make the table unreadable and is only referred to."""


class RoleError(Exception):
    """What a role declares cannot be made into a README; the message is one sentence that names the file."""


def load(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; raises RoleError when there is none."""
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise RoleError(f"{path}: {str(error).splitlines()[0]}") from error
    if not isinstance(document, dict):
        raise RoleError(f"{path} holds no mapping.")
    return document


def plain(text: str | list[str]) -> str:
    """Text of a specification, in which Ansible marks code, options and values, as Markdown on one line."""
    joined = " ".join(text.split() if isinstance(text, str) else " ".join(text).split())
    joined = re.sub(r"\b[CVOE]\(([^)]*)\)", r"`\1`", joined)
    joined = re.sub(r"`[^`]*`|<", lambda found: "&lt;" if found[0] == "<" else found[0], joined)
    joined = re.sub(r"\bL\(([^,)]*),\s*([^)]*)\)", r"[\1](\2)", joined)
    joined = re.sub(r"\bU\(([^)]*)\)", r"<\1>", joined)
    joined = re.sub(r"\bB\(([^)]*)\)", r"**\1**", joined)
    return re.sub(r"\bI\(([^)]*)\)", r"*\1*", joined)


def code(value: object) -> str:
    """A value as code that can stand in a table."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split()) if text else '""'
    return f"`{text}`"


def typed(option: dict[str, Any]) -> str:
    """Type of an input, with the type of a list's elements and the values that it can have."""
    text = option.get("type", "str")
    if "elements" in option:
        text += f" of {option['elements']}"
    if "choices" in option:
        text += ": " + ", ".join(code(choice) for choice in option["choices"])
    return f"{text}, secret" if option.get("no_log") else str(text)


def default(option: dict[str, Any], value: object) -> str:
    """Default of an input. ``value`` is that of defaults/main.yml or, for part of an input, of the specification."""
    if option.get("required"):
        return ""
    if value is None:
        return "none"
    text = code(value)
    return text if len(text) <= LONGEST_DEFAULT else "see [defaults](defaults/main.yml)"


def rows(name: str, option: dict[str, Any], value: object) -> Iterator[tuple[str, ...]]:
    """One row for an input and one for each of its parts: name, type, required, default, meaning."""
    required = "yes" if option.get("required") else ""
    yield f"`{name}`", typed(option), required, default(option, value), plain(option.get("description", ""))
    inner = f"{name}[]." if option.get("type") == "list" else f"{name}."
    for part, declared in (option.get("options") or {}).items():
        yield from rows(inner + part, declared, declared.get("default"))


def table(head: tuple[str, ...], body: list[tuple[str, ...]]) -> list[str]:
    """A Markdown table, in which a bar inside a cell stays a bar."""
    lines = [head, ("---",) * len(head), *(tuple(cell.replace("|", "\\|") for cell in row) for row in body)]
    return [f"| {' | '.join(line)} |" for line in lines]


def readme(role: Path) -> str:
    """Text of the README of the role in ``role``; raises RoleError."""
    info = load(role / "meta/main.yml").get("galaxy_info") or {}
    if not info.get("description"):
        raise RoleError(f"{role}/meta/main.yml has no galaxy_info.description, with which the README begins.")
    entries = load(role / "meta/argument_specs.yml").get("argument_specs") or {}
    values = load(role / "defaults/main.yml") if (role / "defaults/main.yml").exists() else {}

    inputs: dict[str, dict[str, Any]] = {}
    used: dict[str, list[str]] = {}
    for entry, spec in entries.items():
        for name, option in (spec.get("options") or {}).items():
            # An input that one entry point can do without is required all the same when another cannot.
            inputs[name] = option if not inputs.get(name, {}).get("required") else inputs[name]
            used.setdefault(name, []).append(entry)

    lines = [
        f"# {role.name}",
        "",
        "<!-- Made by tools/role_readmes.py from meta/ and defaults/: change those, then run it. -->",
        "",
        *(info["description"].strip().splitlines()),
        "",
        "## Entry points",
        "",
        *table(("Entry point", "What it does"), [
            (f"`{entry}`", sentence(spec.get("short_description", ""), spec.get("description", "")))
            for entry, spec in entries.items()
        ]),
    ]
    if inputs:
        everywhere = sorted(entries)
        body = []
        for name, option in inputs.items():
            (*first, meaning), *parts = rows(name, option, values.get(name))
            if sorted(used[name]) != everywhere:
                meaning += f" Only for {' and '.join(map(code, used[name]))}."
            body += [(*first, meaning), *parts]
        lines += ["", "## Variables", "", *table(("Variable", "Type", "Required", "Default", "Meaning"), body)]
    return "\n".join(lines) + "\n"


def sentence(short: str, long: str | list[str]) -> str:
    """The short description, which has no full stop, and the long one behind it."""
    return " ".join(part for part in (plain(short).rstrip(".") + "." if short else "", plain(long)) if part)


def main(arguments: list[str]) -> int:
    """0 when all is written or was up to date, 1 when a README differs or a role cannot be read."""
    parser = argparse.ArgumentParser(description="Write the README.md of every role from what the role declares.")
    parser.add_argument("names", nargs="*", metavar="role", help="only these roles")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when one differs")
    parser.add_argument("--roles", type=Path, default=ROLES, help="folder of the roles")
    options = parser.parse_args(arguments)
    names = options.names or sorted(path.parent.name for path in options.roles.glob("*/meta"))
    failed = False
    for role in (options.roles / name for name in names):
        path = role / "README.md"
        try:
            wanted = readme(role)
        except RoleError as error:
            print(error, file=sys.stderr)
            failed = True
            continue
        if path.exists() and path.read_text() == wanted:
            continue
        if options.check:
            print(f"{path} is not up to date: run tools/role_readmes.py.", file=sys.stderr)
            failed = True
        else:
            path.write_text(wanted)
            print(f"{path} written")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
