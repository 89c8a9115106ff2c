#!/usr/bin/python
"""Documentation of the action of this name, which runs on the controller: plugins/action/contract_manifests.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: contract_manifests
short_description: Check manifests, as they are rendered, against an Execution Contract
description:
  - Renders a Kustomize overlay or a Helm chart, and follows every reference from object to object. For everything that
    differs from the contract it names the file and line that decides the value - a patch of the overlay, its image
    entry, or the base.
  - Runs on the controller, needs no cluster and no network, and changes nothing.
options:
  path:
    description: A folder with a kustomization or a chart, a folder of manifests, or a file.
    type: path
    required: true
  beside:
    description: Manifests that are applied together with it, such as the folder of its SealedSecrets.
    type: list
    elements: path
    default: []
  values:
    description: Values files of a chart, the last of which wins.
    type: list
    elements: path
    default: []
  root:
    description: Folder that files are named relative to. Left out, the checkout that O(path) is in.
    type: path
  repository:
    description: >-
      Checkout in whose files and history plain Secrets, credentials and outdated documents are looked for. Left out,
      nothing is looked for.
    type: path
  history:
    description: Whether git's history is looked through, too.
    type: bool
    default: true
extends_documentation_fragment: contract_check
author: observer-node
"""

EXAMPLES = r"""
- name: Check what is going to be deployed
  contract_manifests:
    contract: contracts/observer.yml
    path: manifests/overlays/production
    beside: [manifests/overlays/production/sealed-secrets]
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
