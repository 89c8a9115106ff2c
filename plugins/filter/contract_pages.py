"""The filter contract_pages: which pages of which Service say that a contract's app is well."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

sys.path.append(str(Path(__file__).resolve().parents[2] / "module_utils"))

from contract.model import ContractError
from contract.spec import load_contract

DOCUMENTATION = r"""
name: contract_pages
short_description: The pages that say whether a contract's app is well
description: Reads a contract, and says where its app answers in the cluster. Nothing is asked.
options:
  _input:
    description: The contract, a file of the controller.
    type: path
    required: true
author: observer-node
"""

EXAMPLES = r"""
- name: Say where to look
  ansible.builtin.debug:
    msg: "{{ 'contracts/observer.yml' | contract_pages }}"
"""

RETURN = r"""
_value:
  description: Name of the Service, its port, and the paths; nothing when the app has no Service.
  type: dict
  sample: {"service": "web", "port": 8000, "paths": ["/health", "/ready"]}
"""


def contract_pages(contract: str) -> dict[str, Any]:
    """:raises AnsibleFilterError: the contract cannot be read, or is none."""
    try:
        found = load_contract(Path(contract))
    except ContractError as error:
        raise AnsibleFilterError(f"contract_pages: {error} {error.remedy}") from None
    service = found.app_service
    if not service:
        return {}
    # The Service may have another port than the container behind it.
    port = next((port.number for port in service.ports.values() if port.target == found.app.port), found.app.port)
    return {"service": service.name, "port": port, "paths": list(found.app.routes)}


class FilterModule:
    """Ansible's way to find filters."""

    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        """By name."""
        return {"contract_pages": contract_pages}
