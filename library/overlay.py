#!/usr/bin/python
"""Documentation of the action overlay, which runs on the controller: plugins/action/overlay.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay
short_description: Render a Kustomize overlay with its SealedSecrets, and refuse what must not be applied
description:
  - Renders the overlay with kustomize and adds the SealedSecrets of a folder that the overlay does not list itself.
  - Refuses a missing overlay, whatever kustomize refuses, an image with the tag V(latest) or none, a tag that the
    policy forbids, a plain Secret, an object in another namespace, and a SealedSecret that is missing, lacks a key or
    was sealed for another name or namespace.
  - Writes the annotation C(observer-node/config) into pod templates, a digest of what their containers take from
    ConfigMaps and SealedSecrets, so that a changed setting replaces the pods that read it, and no others.
  - Adds the Namespace when the overlay brings none.
  - Nothing is changed, on the host or here, and no connection to the host is opened.
options:
  path:
    description: Folder of the overlay.
    type: path
    required: true
  namespace:
    description: Where all of it has to be.
    type: str
    required: true
  image:
    description: Repository of the image that O(tag_policy) is about.
    type: str
    default: ghcr.io/tawbury/observer
  tag_policy:
    description: Regular expressions; the whole tag of O(image) has to match one of them.
    type: list
    elements: str
    required: true
  required_keys:
    description: Names of the SealedSecrets that there have to be, each with the keys that it has to have.
    type: dict
    default: {}
  sealed_secrets_dir:
    description: >-
      Folder with SealedSecrets, one a file, which is named after it. One that the overlay lists itself is not taken
      from here. There need be no such folder.
    type: path
  kustomize:
    description: >-
      Program to render with, kustomize 5 or kubectl. Left out, it is the kustomize that C(make tools) built, else the
      one on PATH, else kubectl.
    type: path
    default: ""
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: observer-node
"""

EXAMPLES = r"""
- name: Render production
  overlay:
    path: manifests/overlays/production
    namespace: observer-prod
    tag_policy: ['build-\d{8}-\d{6}', 'v\d+\.\d+\.\d+']
    sealed_secrets_dir: manifests/overlays/production/sealed-secrets
    required_keys:
      observer-secrets: [DB_USER, DB_PASSWORD]
      ghcr-secret: [.dockerconfigjson]
  register: rendered
"""

RETURN = r"""
objects:
  description: >-
    The objects, in an order in which they can be applied one after the other. Of secrets only the sealed form is in
    them.
  returned: success
  type: list
  elements: dict
targets:
  description: SealedSecrets, claims and workloads among them, as module cluster_wait takes them.
  returned: success
  type: list
  elements: dict
  sample: [{kind: Deployment, namespace: observer-prod, name: observer}]
restarts:
  description: >-
    Workloads with those ConfigMaps of the overlay that they take as their environment (C(envFrom)), as module
    cluster_objects takes them.
  returned: success
  type: list
  elements: dict
path:
  description: O(path), to tell renderings apart.
  returned: success
  type: str
remedy:
  description: What to do about a refusal.
  returned: failure
  type: str
"""
