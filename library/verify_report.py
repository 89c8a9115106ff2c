#!/usr/bin/python
"""Documentation of the action of this name, which runs on the controller: plugins/action/verify_report.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: verify_report
short_description: Make and keep the report of a living system
description:
  - Puts what M(contract_node), M(contract_cluster), M(contract_drift) and M(contract_persistence) have found into one
    report, with the manifests and the app compared as files, the six steps of the verification as tables, the gates
    between phases, and what is new or mended since the last report of this inventory.
  - Keeps it in a folder of its own below O(reports), as JSON, Markdown and HTML (English and Korean), JUnit and SARIF.
    Nobody else may read it. C(latest) leads to the newest.
  - Runs on the controller and connects to nothing. The report that it keeps is no change.
options:
  inventory:
    description: Name of the inventory. Reports of one inventory are kept in one folder.
    type: str
    required: true
  source:
    description: >-
      Folder or file of the inventory. A report is compared with the last one of the same O(source), O(contract) and
      O(namespace), and has the last Step 5 from there. Left out, it is O(inventory).
    type: path
  namespace:
    description: Namespace of the app. Left out, the one that O(cluster) tells.
    type: str
  hosts:
    description: >-
      All hosts that there should be C(facts) of. Of each that O(nodes) lacks, or on which nobody has looked for drift,
      the report says that it could not be checked.
    type: list
    elements: str
    default: []
  nodes:
    description: C(facts) of M(contract_node), by host.
    type: dict
    default: {}
  cluster:
    description: C(facts) of M(contract_cluster).
    type: dict
    default: {}
  findings:
    description: C(findings) of these modules, and of M(contract_persistence), all in one list.
    type: list
    elements: dict
    default: []
  drift:
    description: C(findings) of M(contract_drift). Left out, nobody has looked for drift; an empty list means none.
    type: list
    elements: dict
  drift_hosts:
    description: Hosts on which it was looked for. Left out, on all.
    type: list
    elements: str
  persistence:
    description: >-
      C(result) of M(contract_persistence). Left out, Step 5 was not asked for; the report then tells of the last time
      that it was.
    type: dict
  manifests:
    description: Overlay that is rendered and compared with the contract, besides.
    type: path
  beside:
    description: Manifests that are applied together with it, such as the folder of its SealedSecrets.
    type: list
    elements: path
    default: []
  root:
    description: Folder that files are named relative to. Left out, the checkout that O(manifests) is in.
    type: path
  app:
    description: Checkout of the app, to compare its source, and for the gate of phase 1.
    type: path
  repository:
    description: Checkout in which a Helm chart is looked for, for the gate of phase 2.
    type: path
  gates:
    description: Whether the gates between phases are told.
    type: bool
    default: true
  reports:
    description: >-
      Folder of the reports of all inventories. Left out, C(observer-node/reports) in C($XDG_STATE_HOME) or
      C(~/.local/state).
    type: path
  keep:
    description: How many reports of the inventory are kept; the oldest beyond that are removed.
    type: int
    default: 50
  language:
    description: In which language RV(html) and RV(card) are. Both are kept.
    type: str
    choices: [en, ko]
    default: en
extends_documentation_fragment: [contract_check]
attributes:
  check_mode: {support: full, description: The report is made, and not kept.}
  diff_mode: {support: none}
author: observer-node
"""

EXAMPLES = r"""
- name: Make the report
  verify_report:
    contract: contracts/observer.yml
    inventory: prod
    hosts: "{{ groups['observer'] }}"
    nodes: "{{ {inventory_hostname: node.facts} }}"
    cluster: "{{ cluster.facts }}"
    findings: "{{ node.findings + cluster.findings }}"
    manifests: manifests/overlays/production
    beside: [manifests/overlays/production/sealed-secrets]
    repository: .
  register: report

- name: Say where it is
  closing_card:
    facts: "{{ report.card }}"
    next: "Open {{ report.html }}"
"""

RETURN = r"""
verdict:
  description: PASS, PASS (conditional), FAIL, DRIFT or UNCHECKED; in Korean in that language.
  returned: unless an input cannot be read
  type: str
status:
  description: 0 all holds, 1 a violation, 3 only drift, 4 something could not be checked.
  returned: unless an input cannot be read
  type: int
contract:
  description: How many C(clauses) there are, and how many of them C(holds).
  returned: unless an input cannot be read
  type: dict
  sample: {holds: 143, clauses: 143}
persisted:
  description: Whether Step 5 was ever done from here, so that the report can tell of it.
  returned: unless an input cannot be read
  type: bool
counts:
  description: Number of findings of each kind, without waived ones.
  returned: unless an input cannot be read
  type: dict
  sample: {violation: 0, unchecked: 0, drift: 2, external: 1}
steps:
  description: Verdict of each step, V(pass), V(reservations), V(unchecked) or V(fail).
  returned: unless an input cannot be read
  type: dict
  sample: {summary: reservations, step_1: pass, step_5: unchecked, node: pass}
gates:
  description: State of each phase, V(met), V(not_yet) or V(unchecked).
  returned: unless an input cannot be read
  type: dict
  sample: {P0: met, P1: not_yet, P2: not_yet}
findings:
  description: What counts, worst first, as in the report's JSON.
  returned: unless an input cannot be read
  type: list
  elements: dict
new:
  description: Findings that the last report did not have, each with C(code), C(subject) and C(text) by language.
  returned: unless an input cannot be read
  type: list
  elements: dict
mended:
  description: Findings of the last report that are gone, of what was looked at again.
  returned: unless an input cannot be read
  type: list
  elements: dict
since:
  description: When the last report was made; none when this is the first.
  returned: unless an input cannot be read
  type: str
folder:
  description: Where the report is kept; empty in check mode.
  returned: unless an input cannot be read
  type: str
html:
  description: The page to open; empty in check mode.
  returned: unless an input cannot be read
  type: str
card:
  description: Lines for M(closing_card).
  returned: unless an input cannot be read
  type: dict
  sample:
    verdict: PASS, contract 143 of 143
    gates: P0 met, P1 not yet, P2 not yet
    changes: 0 new, 1 mended since 2026-02-06 10:30 UTC
    report: /home/me/.local/state/observer-node/reports/prod/20260206T103208Z/report.html
remedy:
  description: What to do about the worst finding, or about an input that cannot be read.
  returned: failure
  type: str
"""
