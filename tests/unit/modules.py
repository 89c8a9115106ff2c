"""Run a module of ``library/`` in this process, as Ansible would run it on a node."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
from pathlib import Path
from types import ModuleType
from typing import Any

from ansible.module_utils.testing import patch_module_args

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> ModuleType:
    """Import ``library/<name>.py``."""
    return _imported(name, ROOT / "library" / f"{name}.py")


def action_plugin(name: str) -> ModuleType:
    """Import ``plugins/action/<name>.py``, under another name than its module has."""
    return _imported(f"{name}_action", ROOT / "plugins" / "action" / f"{name}.py")


def _imported(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str, *, check: bool = False, diff: bool = True, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401
    """The module's result."""
    module = load(name)
    output = io.StringIO()
    with patch_module_args({**arguments, "_ansible_check_mode": check, "_ansible_diff": diff}), \
            contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        module.main()
    result: dict[str, Any] = json.loads(output.getvalue().strip().splitlines()[-1])
    return result


def four_times(name: str, **arguments: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """Check, run, check, run: changed, changed with the same lines, same, same."""
    results = [run(name, check=check, **arguments) for check in (True, False, True, False)]
    assert results[0]["changes"] == results[1]["changes"] != []
    assert [bool(result["changed"]) for result in results] == [True, True, False, False]
    assert results[2]["changes"] == results[3]["changes"] == []
    return results
