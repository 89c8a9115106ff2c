"""The filter ``sealing_key_secret``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

sys.path.append(str(Path(__file__).resolve().parents[3] / "module_utils"))

from sealing.sealed import key_secret

DOCUMENTATION = r"""
name: sealing_key_secret
short_description: The Secret that gives the sealed-secrets controller its key
description:
  - Makes the manifest from an inventory's key pair, and refuses halves that do not belong together.
  - The result holds the private half.
positional: certificate, namespace
options:
  _input:
    description: The private half, PEM.
    type: str
    required: true
  certificate:
    description: The public half, PEM.
    type: str
    required: true
  namespace:
    description: Namespace of the controller.
    type: str
    required: true
author: observer-node
"""

EXAMPLES = r"""
- name: Name the manifest
  ansible.builtin.set_fact:
    __sealed_secrets_key_secret: >-
      {{ sealed_secrets_key | sealing_key_secret(sealed_secrets_certificate, 'sealed-secrets') }}
  no_log: true
"""

RETURN = r"""
_value:
  description: A Secret of type C(kubernetes.io/tls).
  type: dict
"""


def sealing_key_secret(key: str, certificate: str, namespace: str) -> dict[str, Any]:
    """:raises AnsibleFilterError: in one sentence, without a value."""
    try:
        return key_secret(key, certificate, namespace)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        return {"sealing_key_secret": sealing_key_secret}
