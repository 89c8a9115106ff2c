"""Configuration files: config.yaml and config.yaml.d, turned into arguments as K3s does it.

Follows pkg/configfilearg/parser.go: the file's keys become `--key=value` words in front of those of
the command line. Unknown keys of a file are skipped with a warning; unknown options of the command
line are an error. A file that does not exist is no error, even when it is named.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from . import log
from .errors import Fatal
from .options import Option

DEFAULT_FILE = "/etc/rancher/k3s/config.yaml"


def find_file(args: Sequence[str], environ: Mapping[str, str]) -> str:
    """The configuration file: the environment wins over the command line (findConfigFileFlag)."""
    if environ.get("K3S_CONFIG_FILE"):
        return environ["K3S_CONFIG_FILE"]
    for index, word in enumerate(args):
        for name in ("--config", "-c"):
            if word == name:
                return args[index + 1] if index + 1 < len(args) else ""
            if word.startswith(name + "="):
                return word[len(name) + 1 :]
    return DEFAULT_FILE


def files_of(base: str) -> list[str]:
    """The file and its drop-ins in the order of their names."""
    found = [base] if os.path.exists(base) else []
    try:
        names = sorted(os.listdir(base + ".d"))
    except (FileNotFoundError, NotADirectoryError):
        names = []
    for name in names:
        path = os.path.join(base + ".d", name)
        if name.lower().endswith((".yaml", ".yml")) and not os.path.isdir(path):
            found.append(path)
    return found


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{_text(key)}:{_text(item)}" for key, item in value.items()) + "]"
    return str(value)


def _items(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        return [value]
    text = _text(value).strip()
    return [text] if text else []


def load(path: str) -> dict[str, Any]:
    """One YAML file as a mapping with its keys in order."""
    import yaml

    try:
        with open(path, encoding="utf-8") as stream:
            data = yaml.safe_load(stream)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Fatal(f"failed to parse config {path}: {error}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise Fatal(f"failed to parse config {path}: yaml: cannot unmarshal into a mapping")
    return {str(key): value for key, value in data.items()}


def merge(paths: Sequence[str]) -> dict[str, Any]:
    """Later files win; `key+` appends to what earlier files said."""
    merged: dict[str, Any] = {}
    for path in paths:
        for key, value in load(path).items():
            name = key.removesuffix("+")
            if key.endswith("+") and name in merged:
                merged[name] = [*_items(merged[name]), *_items(value)]
            else:
                merged[name] = value
    return merged


def to_args(merged: Mapping[str, Any], options: Mapping[str, Option]) -> list[str]:
    """Arguments for the merged keys, without those that this command does not have."""
    args = []
    for key, value in merged.items():
        dashes = "-" if len(key) == 1 else "--"
        if key not in options:
            log.warning(f"Unknown flag {dashes}{key} found in config.yaml, skipping\n")
            continue
        values = value if isinstance(value, list) else [value]
        args += [f"{dashes}{key}={_text(item)}" for item in values]
    return args


def expand(args: Sequence[str], options: Mapping[str, Option], environ: Mapping[str, str]) -> list[str]:
    """The command's own arguments with those of its configuration files in front.

    For a repeatable option the command line replaces the list of the files, as the documentation of
    K3s promises ("the CLI arguments overwrite all values in the list").
    """
    path = find_file(args, environ)
    from_files = to_args(merge(files_of(path)), options) if path else []
    on_cli = set()
    for word in args:
        if word == "--":
            break
        if word.startswith("-"):
            name = word.lstrip("-").partition("=")[0]
            if name in options and options[name].kind == "list":
                on_cli.add(options[name].name)
    kept = [word for word in from_files if options[word.lstrip("-").partition("=")[0]].name not in on_cli]
    return [*kept, *args]


def find_value(args: Sequence[str], key: str, environ: Mapping[str, str]) -> str:
    """One value of the files without parsing options (FindString): for the data directory at start.

    YAML is only read when the key occurs in the text: `k3s kubectl` must not wait for a YAML parser.
    """
    path = find_file(args, environ)
    last = ""
    for name in files_of(path) if path else []:
        try:
            with open(name, encoding="utf-8", errors="replace") as stream:
                if key not in stream.read():
                    continue
        except OSError:
            continue
        for found, value in load(name).items():
            if found.removesuffix("+") == key:
                last = _text(value)
    return last
