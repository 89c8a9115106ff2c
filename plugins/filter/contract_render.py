"""The filter contract_render: a report as a module returned it, in any of its formats."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

sys.path.append(str(Path(__file__).resolve().parents[2] / "module_utils"))

from contract.cli import FORMATS
from contract.report import from_json, render

DOCUMENTATION = r"""
name: contract_render
short_description: Render a contract's report
description: Makes a text of the C(report) that M(contract_app), M(contract_image) and M(contract_manifests) return.
options:
  _input:
    description: The report.
    type: dict
    required: true
  format:
    description: What to make of it.
    choices: [text, markdown, html, junit, sarif, github, json]
    default: text
  language:
    description: In which language.
    choices: [en, ko]
    default: en
author: observer-node
"""

EXAMPLES = r"""
- name: Keep the report
  ansible.builtin.copy:
    dest: report.html
    content: "{{ checked.report | contract_render('html', 'ko') }}"
    mode: "0644"
"""

RETURN = r"""
_value:
  description: The rendering.
  type: str
"""


def contract_render(report: Mapping[str, Any], format: str = "text", language: str = "en") -> str:
    """:raises AnsibleFilterError: an unknown format or language, or no report."""
    if format not in FORMATS or language not in ("en", "ko"):
        known = ", ".join(FORMATS)
        raise AnsibleFilterError(f"contract_render: {format} in {language} is not one of {known} in en or ko.")
    try:
        return str(render(from_json(json.dumps(report)), format, language))
    except (KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"contract_render: this is no report: {error}.") from None


class FilterModule:
    """Ansible's way to find filters."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """By name."""
        return {"contract_render": contract_render}
