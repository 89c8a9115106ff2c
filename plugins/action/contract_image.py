"""Checks a built image against a contract. Documented in library/."""

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
        "reference": {"type": "str", "default": ""},
        "platform": {"type": "str", "default": ""},
    }

    def request(self, options: Mapping[str, Any]) -> Request:
        """An archive of the image."""
        return Request(contract=Path(options["contract"]), image=Path(options["path"]),
                       image_reference=options["reference"], image_platform=options["platform"])
