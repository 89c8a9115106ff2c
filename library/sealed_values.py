#!/usr/bin/python
"""Documentation of the action plugin ``plugins/action/sealed_values.py``, which runs on the controller alone."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sealed_values
short_description: Make an inventory's sealing key once and seal its values into SealedSecret files
description:
  - Runs on the controller, without a network and without a node.
  - Makes the key pair when there is none - RSA-4096 and a certificate of ten years, as the sealed-secrets controller
    makes them - and never overwrites one.
  - Seals every value for one namespace and one name (scope V(strict)). A value that has not changed keeps its
    ciphertext, and a file in which nothing has changed is not written. What has changed is known by a fingerprint
    beside the ciphertext, keyed with the sealing key.
  - Everything is read and checked before the first file is written. A value is never part of a result, a diff or a
    message, and never on the disk unencrypted unless O(encrypted) says so.
options:
  values_file:
    description: YAML file with one variable per value.
    type: path
    required: true
  key_file:
    description: YAML file for the private half, as variable C(vault_sealing_key).
    type: path
    required: true
  certificate:
    description: PEM file for the public half. C(kubeseal --cert) takes it too.
    type: path
    required: true
  folder:
    description: Where the SealedSecrets go, each as C(<name>.yaml).
    type: path
    required: true
  namespace:
    description: Namespace of the Secrets; sealed in.
    type: str
    required: true
  encrypted:
    description:
      - Whether O(values_file) and O(key_file) are whole ansible-vault files. The key is encrypted with the vault secret
        that opens O(values_file).
      - When not, they are readable by their owner alone, in a folder that is its owner's alone.
    type: bool
    default: true
  made:
    description: Makes O(values_file) instead of asking somebody to fill it in.
    type: dict
    suboptions:
      random:
        description: Variables that get a random value once.
        type: list
        elements: str
        default: []
      fixed:
        description: Variables with their values.
        type: dict
        default: {}
      read:
        description: Variables with the file that has their value.
        type: dict
        default: {}
      remedy:
        description: What to do when a file of O(made.read) is missing.
        type: str
        default: make the file, then run again
  secrets:
    description: The Secrets. Each has either O(secrets[].values) or O(secrets[].registry).
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the Secret; sealed in.
        type: str
        required: true
      values:
        description: Key of the Secret -> variable with its value.
        type: dict
      optional:
        description: Further keys, as far as they are given.
        type: dict
        suboptions:
          variable:
            description: Variable with a dictionary of keys and values.
            type: str
            required: true
          keys:
            description: Regular expression that each whole key has to match.
            type: str
            required: true
      registry:
        description: Makes a Secret of type C(kubernetes.io/dockerconfigjson).
        type: dict
        suboptions:
          host:
            description: The registry, as it stands at the beginning of an image's name.
            type: str
            required: true
          username:
            description: Variable with the user.
            type: str
            required: true
          password:
            description: Variable with the password or token.
            type: str
            required: true
  other_variables:
    description: Variables that O(values_file) must have for other uses. Any that is not named is refused.
    type: list
    elements: str
    default: []
  unread_variables:
    description: Variables that O(values_file) may have, or have empty, for other uses.
    type: list
    elements: str
    default: []
attributes:
  check_mode: {support: full}
  diff_mode: {support: partial, details: Names what is sealed anew. There is nothing to show of a value.}
author: observer-node
"""

EXAMPLES = r"""
- name: Seal what is in the vault
  sealed_values:
    values_file: inventories/prod/group_vars/all/vault.yml
    key_file: inventories/prod/group_vars/all/vault_sealing.yml
    certificate: inventories/prod/group_vars/all/sealing.crt
    folder: manifests/overlays/production/sealed-secrets
    namespace: observer-prod
    secrets:
      - name: observer-secrets
        values:
          DB_PASSWORD: vault_db_password
      - name: ghcr-secret
        registry:
          host: ghcr.io
          username: vault_ghcr_username
          password: vault_ghcr_token
"""

RETURN = r"""
changes:
  description: What was written, or would be in check mode, one by one.
  returned: success
  type: list
  elements: str
  sample: ["manifests/overlays/production/sealed-secrets/observer-secrets.yaml: spec.encryptedData.DB_PASSWORD"]
remedy:
  description: What to type or edit.
  returned: failure
  type: str
"""
