"""Checks manifests, as they are rendered, against a contract. Documented in library/."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

sys.path.append(str(Path(__file__).resolve().parents[2] / "module_utils"))

from contract.run import Request
from contract_actions import ContractAction, optional_path


class ActionModule(ContractAction):
    """Runs on the controller alone: no connection to the host is opened."""

    ARGUMENTS: ClassVar[Mapping[str, Any]] = {
        "path": {"type": "path", "required": True},
        "beside": {"type": "list", "elements": "path", "default": []},
        "values": {"type": "list", "elements": "path", "default": []},
        "root": {"type": "path"},
        "repository": {"type": "path"},
        "history": {"type": "bool", "default": True},
    }

    def request(self, options: Mapping[str, Any]) -> Request:
        """An overlay, a chart, a folder or a file, and the repository that they are in."""
        return Request(contract=Path(options["contract"]), manifests=Path(options["path"]),
                       extra=[Path(one) for one in options["beside"]], values=[Path(one) for one in options["values"]],
                       root=optional_path(options["root"]), repository=optional_path(options["repository"]),
                       history=options["history"])
