#!/usr/bin/python
"""Documentation of the action of this name, which runs on the controller: plugins/action/contract_image.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: contract_image
short_description: Check a built image against its Execution Contract
description:
  - Reads an archive of an image without unpacking it - an OCI layout, or what C(docker save) wrote - and compares what
    is really in it with the contract. So it finds what a base image or a script brought in.
  - Runs on the controller and changes nothing.
options:
  path:
    description: The archive, or a folder with an OCI layout.
    type: path
    required: true
  reference:
    description: Which image of the archive, when there are several.
    type: str
    default: ""
  platform:
    description: Which platform of the image, such as V(linux/arm64).
    type: str
    default: ""
extends_documentation_fragment: contract_check
author: observer-node
"""

EXAMPLES = r"""
- name: Check the image before it is deployed
  contract_image:
    contract: contracts/observer.yml
    path: observer.tar
    platform: linux/arm64
"""

RETURN = r"""
findings:
  description: What was found, worst first. C(docs/findings.md) explains every code.
  returned: success and failure, unless an input cannot be read
  type: list
  elements: dict
  sample:
    - code: PATH-06
      clause: paths.data
      kind: violation
      layer: config
      place: {file: manifests/base/configmaps/observer-config.yaml, line: 18}
      expected: /opt/platform/runtime/observer/data
      actual: /data
report:
  description: The whole report, for the filter P(contract_render#filter).
  returned: success and failure, unless an input cannot be read
  type: dict
clauses:
  description: Number of the contract's clauses.
  returned: success and failure, unless an input cannot be read
  type: int
status:
  description: >-
    What the command C(execution-contract) would exit with: 0 all holds, 1 a violation, 3 only drift, 4 something could
    not be checked.
  returned: success and failure, unless an input cannot be read
  type: int
remedy:
  description: What to do about the worst finding, or about an input that cannot be read.
  returned: failure
  type: str
"""
