#!/usr/bin/python
"""Documentation of the action cluster_wait, which runs on the controller: plugins/action/cluster_wait.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_wait
short_description: Wait until Kubernetes objects are ready, and say early why they cannot be
description:
  - Looks three times a second until everything is ready. What is ready already costs one request.
  - Ends early, naming pod, event and log line, when an image is not there or not allowed, a Secret or a key of it is
    missing, a container ends again and again, no node can take a pod, a volume cannot be made or mounted, a
    SealedSecret cannot be opened, or the API server refuses the pods. Each has a grace in which it may pass.
  - Says what it waits for when that changes, and at least every 20 seconds.
  - A pod that was in back-off before the waiting began is deleted once for a fresh try, and so is a pod that keeps a
    StatefulSet from taking its new template.
  - A SealedSecret that is not opened for 10 seconds is changed for the moment and changed back, and again every 10
    seconds. Its controller compares what it sees with what it knew, so one that was deleted and made anew while it
    could not watch the API (for up to a minute after K3s was restarted) is never opened otherwise.
  - These are the only changes this module makes.
  - Needs no connection to the host.
options:
  kubeconfig:
    description: File on the controller that M(cluster_access) has written.
    type: path
    required: true
  targets:
    description:
      - What has to be ready. A workload is when its controller has seen the newest template and exactly the wanted
        number of pods, all of that template, are available; a PersistentVolumeClaim when it is bound, a SealedSecret
        when it is opened, a Secret when it exists.
    type: list
    elements: dict
    default: []
    suboptions:
      kind:
        description: Kind.
        type: str
        required: true
        choices: [CustomResourceDefinition, DaemonSet, Deployment, Job, Node, PersistentVolumeClaim, SealedSecret,
                  Secret, StatefulSet]
      namespace:
        description: Namespace; not for a Node or a CustomResourceDefinition.
        type: str
      name:
        description: Name.
        type: str
        required: true
  http:
    description: Pages that have to answer with status 200, asked through the API server after the targets are ready.
    type: list
    elements: dict
    default: []
    suboptions:
      namespace:
        description: Namespace of the Service.
        type: str
        required: true
      service:
        description: Name of the Service.
        type: str
        required: true
      port:
        description: Number or name of its port.
        type: str
        required: true
      path:
        description: Path with its slash.
        type: str
        default: /
  steady:
    description:
      - When anything had to be waited for, everything must stay ready for so many seconds. Shows a container that
        becomes ready and ends soon after.
    type: int
    default: 0
  crash_grace:
    description:
      - A container that ends again and again ends the waiting when it does so for this many seconds, or has ended four
        times. What ended before the waiting does not count.
      - The container of a Deployment may end as often as it likes while a StatefulSet among O(targets) is not ready,
        because it may need that database. The seconds begin when the last of them is ready.
    type: int
    default: 60
  timeout:
    description: Longest wait, in seconds.
    type: int
    default: 300
attributes:
  check_mode:
    support: partial
    details:
      - Returns at once and reports no change, because nothing was changed that could be waited for.
      - A pod that a real run would delete for a fresh try, or a SealedSecret that it would show again, is not foretold.
        It is not a difference from what is declared, and what the run changes before this task may replace it anyway.
  diff_mode: {support: none}
author: observer-node
"""

EXAMPLES = r"""
- name: Wait until Observer serves
  cluster_wait:
    kubeconfig: "{{ observer_kubeconfig }}"
    targets:
      - {kind: SealedSecret, namespace: observer-prod, name: observer-secrets}
      - {kind: Deployment, namespace: observer-prod, name: observer}
    http:
      - {namespace: observer-prod, service: observer, port: 8000, path: /ready}
"""

RETURN = r"""
seconds:
  description: How long it took.
  returned: always
  type: float
waited_for:
  description: What was not ready at the first look.
  returned: always
  type: list
  elements: str
changes:
  description: The pods that were deleted for a fresh try, and the SealedSecrets that were shown again.
  returned: always
  type: list
  elements: str
  sample: ["Pod observer-prod/observer-5d8f7c6b4-x2x7q: deleted"]
log:
  description: The last lines of the container that ended.
  returned: failure
  type: list
  elements: str
remedy:
  description: What to do about it.
  returned: failure
  type: str
"""
