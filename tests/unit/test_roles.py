"""What every role keeps to. Each rule is a function that returns what breaks it, and is itself tested on a bad role."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
READMES = ROOT / "tools/role_readmes.py"
ROLES = sorted(path.parent for path in (ROOT / "roles").glob("*/tasks"))

Rule = Callable[[Path], list[str]]
RULES: list[Rule] = []

BLOCKS = ("block", "rescue", "always")
INCLUDES = ("ansible.builtin.include_role", "ansible.builtin.import_role")
MAGIC = {
    "ansible_facts", "ansible_managed", "ansible_check_mode", "ansible_diff_mode", "ansible_verbosity",
    "ansible_host", "ansible_port", "ansible_user", "ansible_connection", "ansible_become", "ansible_become_user",
    "ansible_ssh_private_key_file", "ansible_ssh_common_args", "ansible_ssh_extra_args", "ansible_python_interpreter",
    "ansible_playbook_python", "ansible_inventory_sources", "ansible_run_tags", "ansible_skip_tags", "ansible_loop",
    "ansible_failed_task", "ansible_failed_result", "ansible_config_file", "ansible_version",
}
"""Names that Ansible gives without gathering anything; every other ``ansible_x`` is an injected fact."""

NOT_A_VERB = re.compile(r"^(?:The|A|An|All|No|New|Each|Every|(?!Bring|Ping)\w+ing|(?!Embed|Feed|Need|Seed)\w+ed)$")


def rule(check: Rule) -> Rule:
    RULES.append(check)
    return check


def load(path: Path) -> Any:  # noqa: ANN401
    return yaml.safe_load(path.read_text()) if path.exists() else None


def specification(role: Path) -> dict[str, Any]:
    """Entry points by name."""
    return (load(role / "meta/argument_specs.yml") or {}).get("argument_specs") or {}


def options(role: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """Every input of every entry point: entry point, name, declaration."""
    return [(entry, name, option) for entry, spec in specification(role).items()
            for name, option in (spec.get("options") or {}).items()]


def files(role: Path, *folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(path for path in (role / folder).rglob("*") if path.is_file())


def tasks(role: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every task and handler, with those inside blocks; blocks themselves are not among them."""

    def inside(path: Path, listed: list[dict[str, Any]]) -> Iterator[tuple[Path, dict[str, Any]]]:
        for task in listed:
            if "block" not in task:
                yield path, task
            for part in BLOCKS:
                yield from inside(path, task.get(part) or [])

    for path in files(role, "tasks", "handlers"):
        yield from inside(path, load(path) or [])


def code(role: Path) -> Iterator[tuple[Path, int, str]]:
    """Lines that Ansible works with: file, number, text; comments and names of tasks are left out."""
    for path in files(role, "tasks", "handlers", "templates", "vars", "defaults"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if not re.match(r"\s*(?:#|(?:- )?name:\s+[A-Z])", line):
                yield path.relative_to(role), number, line


@rule
def entry_points(role: Path) -> list[str]:
    declared = specification(role)
    broken = [f"entry point {name} is not declared" for name in {"main", "preflight"} - declared.keys()]
    broken += [f"tasks/{name}.yml is missing" for name in declared if not (role / f"tasks/{name}.yml").exists()]
    for key in ("short_description", "description"):
        broken += [f"entry point {name} has no {key}" for name, spec in declared.items() if key not in spec]
    return broken + [f"{name} has no description" for _, name, option in options(role) if not option.get("description")]


@rule
def defaults_are_those_of_the_specification(role: Path) -> list[str]:
    values = load(role / "defaults/main.yml") or {}
    required = {name for _, name, option in options(role) if option.get("required")}
    declared = {name for _, name, _ in options(role)}
    broken = [f"{name} is in defaults/main.yml but in no specification" for name in values.keys() - declared]
    broken += [f"{name} is required and has a default" for name in values.keys() & required]
    broken += [f"{name} has no default in defaults/main.yml" for name in declared - values.keys() - required]
    for entry, name, option in options(role):
        if option.get("required") and "default" in option:
            broken.append(f"{entry}: {name} is required and has a default")
        same = json.dumps(option.get("default"), sort_keys=True) == json.dumps(values.get(name), sort_keys=True)
        if name in values and not same:
            broken.append(f"{entry}: the default of {name} is not that of defaults/main.yml")
    return broken


@rule
def an_input_is_declared_alike_in_every_entry_point(role: Path) -> list[str]:
    """But that one entry point can require what another can do without."""
    seen: dict[str, str] = {}
    broken = []
    for entry, name, option in options(role):
        kind = json.dumps({key: option.get(key) for key in ("type", "elements", "choices", "options")}, sort_keys=True)
        if seen.setdefault(name, kind) != kind:
            broken.append(f"{entry}: {name} is declared differently elsewhere")
    return broken


@rule
def inputs_are_used(role: Path) -> list[str]:
    """Nothing is offered that does nothing. An action of ours may be what reads the input."""
    readers = [*files(role, "tasks", "handlers", "templates", "vars", "defaults", "files")]
    readers += (ROOT / "plugins").rglob("*.py")
    text = "\n".join(re.sub(r"^\w+:", "", path.read_text(), flags=re.MULTILINE) for path in readers)
    return [f"{name} is read nowhere" for name in sorted({name for _, name, _ in options(role)})
            if not re.search(rf"\b{name}\b", text)]


@rule
def names_begin_with_the_role(role: Path) -> list[str]:
    """Inputs with the role's name; constants, results and variables of tasks with two underscores before it."""
    public, internal = f"{role.name}_", f"__{role.name}_"
    broken = [f"{name} does not begin with {public}" for name in
              {name for _, name, _ in options(role)} | set(load(role / "defaults/main.yml") or {})
              if not name.startswith(public)]
    own = [name for path in files(role, "vars") for name in load(path) or {}]
    for _, task in tasks(role):
        own += [task["register"]] if "register" in task else []
        own += [name for name in task.get("ansible.builtin.set_fact") or {} if name != "cacheable"]
        own += [] if any(module in task for module in INCLUDES) else list(task.get("vars") or {})
        own += [name for key, name in (task.get("loop_control") or {}).items() if key.endswith("_var")]
    return broken + [f"{name} does not begin with {internal}" for name in own if not name.startswith(internal)]


@rule
def main_is_a_table_of_contents(role: Path) -> list[str]:
    lines = (role / "tasks/main.yml").read_text().splitlines() if (role / "tasks/main.yml").exists() else []
    return [f"tasks/main.yml has {len(lines)} lines, 60 or more"] if len(lines) >= 60 else []


@rule
def no_group_is_known(role: Path) -> list[str]:
    return [f"{path}:{number} knows of groups" for path, number, line in code(role)
            if re.search(r"\bgroups\[|\bgroups\.\w|\bgroup_names\b", line)]


@rule
def facts_are_read_as_members_of_ansible_facts(role: Path) -> list[str]:
    broken = []
    for path, number, line in code(role):
        injected = {name for name in re.findall(r"(?<![\w./-])ansible_\w+", line) if name not in MAGIC}
        broken += [f"{path}:{number} reads {name}, not ansible_facts['...']" for name in sorted(injected)]
        if re.search(r"\bansible_facts\.\w", line):
            broken.append(f"{path}:{number} reads ansible_facts.x, not ansible_facts['x']")
    return broken


@rule
def tasks_have_imperative_names(role: Path) -> list[str]:
    """``Verb ...`` in tasks/main.yml and in handlers, ``File | Verb ...`` in the other files."""
    broken = []
    for path, task in tasks(role):
        where, name = path.relative_to(role), task.get("name", "")
        words = name
        if path.parent.name == "tasks" and path.stem != "main":
            file, bar, words = name.partition(" | ")
            if not bar or re.sub(r"\W|_", "", file).lower() != re.sub(r"\W|_", "", path.stem).lower():
                broken.append(f"{where}: {name!r} does not begin with the file's name and a bar")
                continue
        first = words.split(" ")[0]
        if not re.match(r"[A-Z][a-z]", first) or NOT_A_VERB.match(first):
            broken.append(f"{where}: {name!r} does not begin with a verb that tells what to do, capitalised")
    return broken


@rule
def meta_is_complete(role: Path) -> list[str]:
    meta = load(role / "meta/main.yml") or {}
    info = meta.get("galaxy_info") or {}
    wanted = {"author": "observer-node", "license": "proprietary", "min_ansible_version": "2.19"}
    broken = [f"meta/main.yml: {key} is not {value}" for key, value in wanted.items() if info.get(key) != value]
    broken += [] if info.get("description") else ["meta/main.yml has no galaxy_info.description"]
    return broken + ([] if meta.get("dependencies") == [] else ["meta/main.yml: dependencies is not an empty list"])


@rule
def readme_is_up_to_date(role: Path) -> list[str]:
    done = subprocess.run([sys.executable, READMES, "--check", "--roles", role.parent, role.name],
                          capture_output=True, text=True, check=False)
    return done.stderr.splitlines()


@pytest.mark.parametrize("role", ROLES, ids=lambda role: str(role.name))
@pytest.mark.parametrize("check", RULES, ids=lambda check: str(check.__name__))
def test_role(role: Path, check: Rule) -> None:
    assert check(role) == []


GOOD = {
    "meta/main.yml": """---
galaxy_info:
  author: observer-node
  description: |
    Makes a lamp shine.
  license: proprietary
  min_ansible_version: "2.19"
dependencies: []
""",
    "meta/argument_specs.yml": """---
argument_specs:
  preflight:
    short_description: Refuse what cannot shine
    description: Refuses a lamp that is not there.
    options:
      lamp_name: {description: Its name., required: true}
  main:
    short_description: Have the lamp shine
    description: [Screws it in., "Then V(on) | C(off) <b>."]
    options:
      lamp_name: {description: Its name., required: true}
      lamp_watts: {description: How bright., type: int, default: 5, choices: [5, 9]}
      lamp_parts:
        description: What it is made of.
        type: list
        elements: dict
        default: []
        options:
          glass: {description: Of glass., type: bool, default: true}
""",
    "defaults/main.yml": "---\nlamp_watts: 5\nlamp_parts: []\n",
    "vars/main.yml": "---\n__lamp_socket: E27\n",
    "handlers/main.yml": "---\n- name: Restart the lamp\n  ansible.builtin.debug: {msg: x}\n",
    "tasks/preflight.yml": """---
- name: Preflight | Refuse a lamp without a name
  ansible.builtin.assert: {that: "lamp_name | length > 0"}
""",
    "tasks/main.yml": """---
# All of the groups['lamps'] and ansible_distribution are only in this comment.
- name: Screw in groups.of lamps
  ansible.builtin.debug:
    msg: "{{ lamp_name }} {{ lamp_watts }} {{ lamp_parts }} {{ ansible_facts['architecture'] }} {{ ansible_user }}"
  register: __lamp_result
  vars: {__lamp_x: 1}
- block:
    - name: Switch on
      ansible.builtin.include_role: {name: switch}
      vars: {switch_on: true}
""",
}


@pytest.fixture
def lamp(tmp_path: Path) -> Path:
    role = tmp_path / "lamp"
    for name, text in GOOD.items():
        (role / name).parent.mkdir(parents=True, exist_ok=True)
        (role / name).write_text(text)
    subprocess.run([sys.executable, READMES, "--roles", tmp_path], check=True, capture_output=True)
    return role


def test_a_good_role_keeps_every_rule(lamp: Path) -> None:
    assert {check.__name__: check(lamp) for check in RULES} == {check.__name__: [] for check in RULES}


NOT_UP_TO_DATE = "{role}/README.md is not up to date: run tools/role_readmes.py."

BROKEN: list[tuple[Rule, str, str, str, str]] = [
    (entry_points, "meta/argument_specs.yml", "  preflight:", "  before:", "entry point preflight is not declared"),
    (entry_points, "meta/argument_specs.yml", "  preflight:", "  before:", "tasks/before.yml is missing"),
    (entry_points, "meta/argument_specs.yml", "description: How bright., ", "", "lamp_watts has no description"),
    (entry_points, "meta/argument_specs.yml", "    short_description: Refuse what cannot shine\n", "",
     "entry point preflight has no short_description"),
    (defaults_are_those_of_the_specification, "defaults/main.yml", "watts: 5", "watts: '5'",
     "main: the default of lamp_watts is not that of defaults/main.yml"),
    (defaults_are_those_of_the_specification, "defaults/main.yml", "lamp_watts: 5\n", "",
     "lamp_watts has no default in defaults/main.yml"),
    (defaults_are_those_of_the_specification, "defaults/main.yml", "watts: 5", "watts: 5\nlamp_x: 1",
     "lamp_x is in defaults/main.yml but in no specification"),
    (defaults_are_those_of_the_specification, "defaults/main.yml", "watts: 5", "watts: 5\nlamp_name: x",
     "lamp_name is required and has a default"),
    (an_input_is_declared_alike_in_every_entry_point, "meta/argument_specs.yml",
     "lamp_name: {description: Its name., required", "lamp_name: {description: Its name., type: path, required",
     "main: lamp_name is declared differently elsewhere"),
    (inputs_are_used, "tasks/main.yml", " {{ lamp_watts }}", "", "lamp_watts is read nowhere"),
    (names_begin_with_the_role, "meta/argument_specs.yml", "lamp_watts", "watts", "watts does not begin with lamp_"),
    (names_begin_with_the_role, "defaults/main.yml", "lamp_watts", "volts", "volts does not begin with lamp_"),
    (names_begin_with_the_role, "vars/main.yml", "__lamp_socket", "lamp_socket",
     "lamp_socket does not begin with __lamp_"),
    (names_begin_with_the_role, "tasks/main.yml", "__lamp_result", "lamp_result",
     "lamp_result does not begin with __lamp_"),
    (names_begin_with_the_role, "tasks/main.yml", "__lamp_x", "x", "x does not begin with __lamp_"),
    (main_is_a_table_of_contents, "tasks/main.yml", "---\n", "---\n" + "#\n" * 60,
     "tasks/main.yml has 71 lines, 60 or more"),
    (no_group_is_known, "tasks/main.yml", "lamp_parts", "groups['lamps']", "tasks/main.yml:5 knows of groups"),
    (no_group_is_known, "tasks/main.yml", "lamp_parts", "group_names", "tasks/main.yml:5 knows of groups"),
    (facts_are_read_as_members_of_ansible_facts, "tasks/main.yml", "lamp_parts", "ansible_architecture",
     "tasks/main.yml:5 reads ansible_architecture, not ansible_facts['...']"),
    (facts_are_read_as_members_of_ansible_facts, "tasks/main.yml", "lamp_parts", "ansible_facts.architecture",
     "tasks/main.yml:5 reads ansible_facts.x, not ansible_facts['x']"),
    (tasks_have_imperative_names, "tasks/main.yml", "name: Switch on\n", "name: switch on\n",
     "tasks/main.yml: 'switch on' does not begin with a verb that tells what to do, capitalised"),
    (tasks_have_imperative_names, "tasks/main.yml", "Switch on\n", "Switching on\n",
     "tasks/main.yml: 'Switching on' does not begin with a verb that tells what to do, capitalised"),
    (tasks_have_imperative_names, "tasks/main.yml", "    - name: Switch on\n      ansible", "    - ansible",
     "tasks/main.yml: '' does not begin with a verb that tells what to do, capitalised"),
    (tasks_have_imperative_names, "tasks/preflight.yml", "Preflight | ", "",
     "tasks/preflight.yml: 'Refuse a lamp without a name' does not begin with the file's name and a bar"),
    (tasks_have_imperative_names, "handlers/main.yml", "Restart the", "The",
     "handlers/main.yml: 'The lamp' does not begin with a verb that tells what to do, capitalised"),
    (meta_is_complete, "meta/main.yml", '"2.19"', "2.19", "meta/main.yml: min_ansible_version is not 2.19"),
    (meta_is_complete, "meta/main.yml", "  description: |\n    Makes a lamp shine.\n", "",
     "meta/main.yml has no galaxy_info.description"),
    (meta_is_complete, "meta/main.yml", "dependencies: []", "", "meta/main.yml: dependencies is not an empty list"),
    (readme_is_up_to_date, "defaults/main.yml", "watts: 5", "watts: 6", NOT_UP_TO_DATE),
    (readme_is_up_to_date, "README.md", "shine", "glow", NOT_UP_TO_DATE),
]


@pytest.mark.parametrize(("check", "file", "good", "bad", "finding"), BROKEN,
                         ids=[f"{check.__name__}-{number}" for number, (check, *_) in enumerate(BROKEN)])
def test_a_bad_role_breaks_the_rule(lamp: Path, check: Rule, file: str, good: str, bad: str, finding: str) -> None:
    text = (lamp / file).read_text()
    assert good in text
    (lamp / file).write_text(text.replace(good, bad, 1))
    assert finding.format(role=lamp) in check(lamp)


def test_every_rule_is_broken_by_something() -> None:
    assert {check for check, *_ in BROKEN} == set(RULES)


def test_readme_of_a_role(lamp: Path) -> None:
    text = (lamp / "README.md").read_text()
    assert text.startswith("# lamp\n\n<!-- Made by ")
    assert "\nMakes a lamp shine.\n" in text
    assert "| `main` | Have the lamp shine. Screws it in. Then `on` \\| `off` &lt;b>. |\n" in text
    assert "| `lamp_name` | str | yes |  | Its name. |\n" in text
    assert "| `lamp_watts` | int: `5`, `9` |  | `5` | How bright. Only for `main`. |\n" in text
    assert "| `lamp_parts[].glass` | bool |  | `true` | Of glass. |\n" in text


def test_check_writes_nothing_and_names_the_readme(lamp: Path) -> None:
    (lamp / "README.md").write_text("mine\n")
    done = subprocess.run([sys.executable, READMES, "--check", "--roles", lamp.parent], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 1
    assert done.stderr == f"{lamp}/README.md is not up to date: run tools/role_readmes.py.\n"
    assert (lamp / "README.md").read_text() == "mine\n"


def test_a_role_that_cannot_be_described_is_named_and_the_others_are_written(lamp: Path) -> None:
    (lamp.parent / "dark/meta").mkdir(parents=True)
    (lamp / "README.md").unlink()
    done = subprocess.run([sys.executable, READMES, "--roles", lamp.parent], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{lamp.parent}/dark/meta/main.yml: ")
    assert (lamp / "README.md").exists()
