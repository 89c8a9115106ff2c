#!/usr/bin/python
"""Documentation of the action of this name, which runs on the controller: plugins/action/contract_app.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: contract_app
short_description: Check an app's source and Dockerfile against its Execution Contract
description:
  - Reads the source's syntax tree, C(.env.example) and the final stage of the Dockerfile. Nothing of the app is
    imported or run.
  - Compares paths, variables, ports, folders and users with the contract, and names for everything that differs the
    file and line to mend.
  - Runs on the controller and changes nothing.
options:
  path:
    description: Checkout of the app.
    type: path
    required: true
  dockerfile:
    description:
      - The Dockerfile, relative to O(path). Left out, C(docker/Dockerfile), C(Dockerfile) or C(Containerfile).
      - An empty text leaves the image out.
    type: str
  build_arguments:
    description: Build arguments, as for C(docker build --build-arg).
    type: dict
    default: {}
extends_documentation_fragment: contract_check
author: observer-node
"""

EXAMPLES = r"""
- name: Check the app
  contract_app:
    contract: contracts/observer.yml
    path: ../prj_obs
  register: app
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
