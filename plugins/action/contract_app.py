"""Checks an app's source and Dockerfile against a contract. Documented in library/."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

sys.path.append(str(Path(__file__).resolve().parents[2] / "module_utils"))

from contract.run import Request
from contract_actions import ContractAction


class ActionModule(ContractAction):
    """Runs on the controller alone: no connection to the host is opened."""

    ARGUMENTS: ClassVar[Mapping[str, Any]] = {
        "path": {"type": "path", "required": True},
        "dockerfile": {"type": "str"},
        "build_arguments": {"type": "dict", "default": {}},
    }

    def request(self, options: Mapping[str, Any]) -> Request:
        """A checkout of the app."""
        return Request(contract=Path(options["contract"]), app=Path(options["path"]),
                       dockerfile=options["dockerfile"], build_arguments=options["build_arguments"])
