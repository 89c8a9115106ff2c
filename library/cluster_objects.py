#!/usr/bin/python
"""Documentation of the action cluster_objects, which runs on the controller: plugins/action/cluster_objects.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_objects
short_description: Make Kubernetes objects as declared
description:
  - Compares every declared object with the one in the cluster by a dry run of server-side apply, and writes only what
    differs. All objects are judged by the API server before the first is written.
  - Fields that somebody has added by hand (a label, an environment variable, a key of a ConfigMap) are removed, so
    that an object ends exactly as declared. Left alone are status, what the controllers of Kubernetes own, the mark
    that C(kubectl rollout restart) leaves, and the volume name of a PersistentVolumeClaim.
  - Namespaces and CustomResourceDefinitions are written first; the order is kept otherwise. An object whose kind is
    not known yet is tried again for 20 seconds.
  - A field that is fixed for an object's life is a failure that names it, before anything is changed. A StorageClass,
    RoleBinding or ClusterRoleBinding is deleted and made anew instead, because nothing depends on its identity.
  - Values of Secrets are neither returned nor shown in a diff.
  - Needs no connection to the host and no Python client of Kubernetes.
options:
  kubeconfig:
    description: File on the controller that M(cluster_access) has written.
    type: path
    required: true
  objects:
    description: Objects, complete. Secrets may have C(stringData).
    type: list
    elements: dict
    default: []
  remove:
    description: Objects that must not be there.
    type: list
    elements: dict
    default: []
    suboptions: &reference
      apiVersion:
        description: Group and version.
        type: str
        required: true
      kind:
        description: Kind.
        type: str
        required: true
      namespace:
        description: Namespace of a namespaced object.
        type: str
      name:
        description: Name.
        type: str
        required: true
  restarts:
    description:
      - Workloads that read objects only when they start. A workload is restarted when one of the objects is changed by
        this call, or was written after the workload's oldest pod had started.
    type: list
    elements: dict
    default: []
    suboptions:
      workload:
        description: The Deployment, StatefulSet or DaemonSet.
        type: dict
        required: true
        suboptions: *reference
      after:
        description: What its pods read.
        type: list
        elements: dict
        required: true
        suboptions: *reference
  field_manager:
    description: Name under which fields are owned.
    type: str
    default: observer-node
  timeout:
    description: Longest wait for an object that is being deleted to go, in seconds.
    type: int
    default: 120
attributes:
  check_mode:
    support: full
    details: >-
      Names exactly what a real run changes. Without a kubeconfig there is no cluster, and all is to be created. When
      the API does not answer, warns that nothing was compared.
  diff_mode: {support: full}
author: observer-node
"""

EXAMPLES = r"""
- name: Make the objects
  cluster_objects:
    kubeconfig: "{{ observer_kubeconfig }}"
    objects: "{{ lookup('ansible.builtin.file', 'objects.yaml') | from_yaml_all }}"
    remove:
      - {apiVersion: v1, kind: Service, namespace: observer-prod, name: observer-nodeport}
    restarts:
      - workload: {apiVersion: apps/v1, kind: Deployment, namespace: observer-prod, name: observer}
        after:
          - {apiVersion: v1, kind: ConfigMap, namespace: observer-prod, name: observer-config}
"""

RETURN = r"""
changes:
  description:
    - Every object that was changed, and how. At most five fields are named.
    - When the task fails half way, what was done until then.
  returned: always
  type: list
  elements: str
  sample:
    - "Namespace observer-prod: created"
    - "Deployment observer-prod/observer: spec.replicas"
    - "Deployment sealed-secrets/sealed-secrets-controller: restarted"
remedy:
  description: What to do about it.
  returned: failure
  type: str
"""
