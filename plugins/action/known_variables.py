"""Refuses variables that no role knows, and values that no role takes. Documented in library/."""

from __future__ import annotations

import difflib
import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible import context
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

ROLES = Path(__file__).resolve().parents[2] / "roles"
OWN_PREFIXES = ("backup_", "move_", "provision_", "prune_", "reset_", "restore_", "secrets_", "twin_", "vault_")
"""Prefixes of this project's variables that no role has, or not yet."""

MISTYPED = 0.9
"""From this likeness to a known name on, a name without any of our prefixes is taken for a mistyped one."""

YamlLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader, in C where PyYAML was built with it: ten times as fast."""


class SpecError(Exception):
    """The argument specification of a role cannot be read; the message is one sentence."""


@dataclass(frozen=True)
class Unknown:
    """A variable that nothing reads.

    ``places`` are where it is defined, as ``file:line`` or in words; ``suggestion`` is the known name nearest to it,
    or empty; ``role`` is the role whose variables it should be among, or empty.
    """

    name: str
    places: tuple[str, ...]
    suggestion: str
    role: str


def specifications(roles: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """What the roles under ``roles`` declare: options by entry point by role; raises SpecError."""
    found = {}
    for spec in sorted(roles.glob("*/meta/argument_specs.yml")):
        try:
            document = yaml.load(spec.read_bytes(), Loader=YamlLoader)
            found[spec.parents[1].name] = {name: dict(entry.get("options") or {})
                                           for name, entry in document["argument_specs"].items()}
        except (OSError, yaml.YAMLError, TypeError, ValueError, KeyError, AttributeError) as error:
            reason = str(error).splitlines()[0] or type(error).__name__
            raise SpecError(f"{shown(spec)} is not an argument specification: {reason}.") from error
    return found


def unknown_names(
    names: Iterable[str], known: Iterable[str], also: Iterable[str], prefixes: Iterable[str]
) -> list[str]:
    """Those of ``names`` that look like ours and are neither in ``known`` nor fit a name or pattern of ``also``."""
    candidates, patterns, ours = set(known), list(also), tuple(prefixes)
    unknown = []
    for name in sorted(names):
        # Results of tasks begin with two underscores; what Ansible itself defines begins with its name.
        if name in candidates or name.startswith(("__", "ansible_")):
            continue
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            continue
        if name.startswith(ours) or nearest(name, candidates, MISTYPED):
            unknown.append(name)
    return unknown


def nearest(name: str, known: Iterable[str], likeness: float = 0.75) -> str:
    """The one of ``known`` that ``name`` was probably meant to be, or an empty string."""
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=likeness)), "")


def variable_files(inventory: Iterable[str], playbook_dir: str) -> Iterator[Path]:
    """Files from which Ansible takes variables of hosts: inventories, and group_vars and host_vars beside them."""
    folders = []
    for source in map(Path, inventory):
        if source.is_dir():
            folders.append(source)
            yield from sorted(path for path in source.iterdir() if path.is_file())
        elif source.is_file():
            folders.append(source.parent)
            yield source
    for folder in [*folders, Path(playbook_dir)]:
        for kind in ("group_vars", "host_vars"):
            for parent, _, files in os.walk(folder / kind, followlinks=True):
                yield from (Path(parent, file) for file in sorted(files))


def places(name: str, files: Iterable[Path], read: Callable[[str], str]) -> list[str]:
    """Where ``name`` is given a value, as ``file:line``. ``read`` returns a file's text; what it cannot is left out."""
    definition = re.compile(rf"""(?:^|[\s{{,])["']?{re.escape(name)}["']?\s*(?:=|:(?:\s|$))""")
    found, seen = [], set()
    for path in files:
        if path.resolve() in seen:  # one folder can be linked into several inventories
            continue
        seen.add(path.resolve())
        try:
            lines = read(str(path)).splitlines()
        except (AnsibleError, OSError, UnicodeError):
            continue
        found += [
            f"{shown(path)}:{number}"
            for number, line in enumerate(lines, 1)
            if not line.lstrip().startswith(("#", ";")) and definition.search(line)
        ]
    return found


def files_of_all(folder: Path) -> list[Path]:
    """The files from which Ansible takes the variables of group `all` in ``folder``."""
    group = folder / "group_vars" / "all"
    beside = [group.with_suffix(suffix) for suffix in (".yml", ".yaml", ".json")]
    return [path for path in [*beside, *sorted(group.rglob("*"))] if path.is_file() and not path.name.startswith(".")]


def shown(path: Path) -> str:
    """A path as the operator would type it: relative, where it lies under the current folder."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def report(unknown: list[Unknown]) -> dict[str, Any]:
    """The result of a task that refuses ``unknown``, which is not empty."""

    def text(one: Unknown) -> str:
        question = f" (did you mean {one.suggestion}?)" if one.suggestion else ""
        return f"{one.name} in {' and '.join(one.places)}{question}"

    listed = "; ".join(map(text, unknown))
    roles = sorted({one.role for one in unknown if one.role})
    readmes = f"; what there is stands in {' and '.join(f'roles/{role}/README.md' for role in roles)}" if roles else ""
    many = len(unknown) > 1
    return {
        "failed": True,
        "msg": f"{len(unknown)} unknown variables: {listed}." if many else f"Unknown variable {listed}.",
        "remedy": f"Correct the {'names' if many else 'name'}, or remove what is not needed{readmes}.",
        "unknown": [
            {"name": one.name, "places": list(one.places), "suggestion": one.suggestion} for one in unknown
        ],
    }


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs on the controller alone: no connection to the host is opened."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Compare the host's variables with what the roles declare."""
        result: dict[str, Any] = {"changed": False, "unknown": []}
        super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(
            argument_spec={
                "also": {"type": "list", "elements": "str", "default": []},
                "prefixes": {"type": "list", "elements": "str", "default": list(OWN_PREFIXES)},
                "roles": {"type": "path", "default": str(ROLES)},
                "entry_point": {"type": "str", "default": ""},
            }
        )
        variables, roles = task_vars or {}, Path(options["roles"])
        if not roles.is_dir():
            return {**result, "failed": True, "msg": f"roles: there is no folder {roles}.",
                    "remedy": "Set roles to the folder that holds the roles, or leave it out."}
        try:
            specified = specifications(roles)
        except SpecError as error:
            return {**result, "failed": True, "msg": str(error), "remedy": "Correct the file."}
        known = {name: role for role, entries in specified.items() for names in entries.values() for name in names}
        owners = {f"{role.name}_": role.name for role in roles.iterdir() if role.is_dir()}
        names = unknown_names(variables, known, options["also"], {*owners, *options["prefixes"]})
        if not names:
            return {**result, **(self._without_effect(variables)
                                 or self._wrong_values(roles, specified, options["entry_point"], variables))}

        plain = [name for name in options["also"] if not re.search(r"[*?\[]", name)]
        unknown = []
        for name in names:
            suggestion = nearest(name, [*known, *plain])
            prefix = max((prefix for prefix in owners if name.startswith(prefix)), key=len, default="")
            role = known.get(suggestion) or owners.get(prefix, "")
            unknown.append(Unknown(name, tuple(self._places(name, variables)), suggestion, role))
        return {**result, **report(unknown)}

    def _without_effect(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """A refusal of variables that an inventory's group_vars/all sets in vain, or nothing.

        Group `all` beside the playbooks wins over group `all` beside the inventory, without a word.
        """
        winning = files_of_all(Path(variables["playbook_dir"]))
        ours = {name for path in winning for name in self._names(path)}
        if not ours:
            return {}
        lost = {}
        for source in map(Path, variables.get("ansible_inventory_sources") or ()):
            for path in files_of_all(source if source.is_dir() else source.parent):
                if path.resolve() not in {one.resolve() for one in winning}:
                    lost.update({name: path for name in self._names(path) if name in ours})
        if not lost:
            return {}
        read = self._loader.get_text_file_contents
        listed = "; ".join(f"{name} in {' and '.join(places(name, [path], read)) or shown(path)} has no effect, since"
                           f" {' and '.join(places(name, winning, read))} wins" for name, path in sorted(lost.items()))
        return {"failed": True, "msg": f"{listed}.", "remedy":
                f"Move {'it' if len(lost) == 1 else 'them'} to group_vars/observer.yml of the inventory."}

    def _wrong_values(
        self, roles: Path, specified: Mapping[str, Mapping[str, Mapping[str, Any]]], entry_point: str,
        variables: Mapping[str, Any],
    ) -> dict[str, Any]:
        """A refusal of the first role whose inputs its entry point does not allow, or nothing; as Ansible's own check,
        which is a task for every role."""
        for role, entries in specified.items():
            spec = entries.get(entry_point, {})
            # Defaults of a role may name files of it.
            templar = self._templar.copy_with_new_env(
                available_variables={**variables, "role_path": str(roles / role)})
            given = templar.template({name: variables[name] for name in spec if name in variables})
            wrong = ArgumentSpecValidator(spec).validate(given, validate_role_argument_spec=True).error_messages
            if wrong:
                return {"failed": True, "msg": f"Inputs of role {role} are not right: {'; '.join(wrong)}",
                        "argument_errors": wrong, "validate_args_context": {"name": role, "path": str(roles / role)}}
        return {}

    def _names(self, path: Path) -> list[str]:
        found = self._loader.load_from_file(str(path), cache="all", unsafe=True)
        return list(found) if isinstance(found, Mapping) else []

    def _places(self, name: str, variables: Mapping[str, Any]) -> list[str]:
        """Where the operator gave ``name`` a value. Files of the vault are opened with the key that Ansible has."""
        read = self._loader.get_text_file_contents
        arguments = [str(argument) for argument in context.CLIARGS.get("extra_vars") or ()]
        extra_files = [Path(argument[1:]).absolute() for argument in arguments if argument.startswith("@")]
        if name in load_extra_vars(self._loader):
            return places(name, extra_files, read) or ["the extra variables (-e)"]
        files = variable_files(variables.get("ansible_inventory_sources") or (), variables["playbook_dir"])
        return places(name, files, read) or ["a playbook's vars, or a task's register or set_fact"]
