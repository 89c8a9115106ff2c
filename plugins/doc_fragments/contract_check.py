"""What contract_app, contract_image and contract_manifests have in common in their documentation."""

from __future__ import annotations


class ModuleDocFragment:
    """Options and attributes."""

    DOCUMENTATION = r"""
options:
  contract:
    description: File of the contract, such as C(contracts/observer.yml).
    type: path
    required: true
  fail_on:
    description:
      - Kinds of findings that make the task fail. A waived finding never does.
      - V(violation) is a broken contract, V(unchecked) what could not be looked at, V(drift) what nobody declared.
    type: list
    elements: str
    choices: [violation, unchecked, drift]
    default: [violation, unchecked]
attributes:
  check_mode: {support: full, description: Reads only.}
  diff_mode: {support: none, description: Changes nothing.}
"""
