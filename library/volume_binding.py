#!/usr/bin/python
"""Looks at the folders of volumes, for the action of this name, which binds claims to them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: volume_binding
short_description: Bind claims to the data that they had
description:
  - For every PersistentVolumeClaim that is declared and has no volume yet, looks for the data that it had - after the
    namespace was deleted, after K3s was removed, on a disk that was taken along - and has the claim bind to it. To be
    called before the claims are made, so that no pod ever starts on an empty volume while the old one lies there.
  - A PersistentVolume whose C(claimRef) names the claim and whose folder is there is made free for it. When its
    capacity is less than the claim now asks for, it is raised; a folder has no size of its own.
  - A folder that no PersistentVolume uses and whose name ends with C(_<namespace>_<claim>) gets a PersistentVolume as
    the provisioner makes it, reserved for the claim.
  - Several that hold data are a refusal that names each, and O(pick) says which. So is one on another node, into which
    nobody can look. An empty folder beside one that holds data is no candidate.
  - Where there is none, nothing is done, and the provisioner makes a new volume.
  - Runs on the controller; while all claims have a volume, this is two questions to the API. Else the module of
    this name looks at the folders on the host, which must be the node O(node).
options:
  kubeconfig:
    description: File on the controller that M(cluster_access) has written.
    type: path
    required: true
  objects:
    description: Objects that are to be applied, claims and StatefulSets with templates of claims among them.
    type: list
    elements: dict
    required: true
  namespace:
    description: Namespace whose claims are looked after.
    type: str
    required: true
  node:
    description: Name of the Node that the volumes are on.
    type: str
    required: true
  folder:
    description: Folder on the node under which every volume has its own.
    type: path
    required: true
  pick:
    description: >-
      By name of a claim, the folder that it gets: its name in O(folder), its path, or the name of its PersistentVolume.
      One that is not there is a refusal.
    type: dict
    default: {}
  storage_class:
    description: Claims of this class are looked after, and those that name none.
    type: str
    default: local-path
  timeout:
    description: Longest wait for claims that are being deleted to go, in seconds.
    type: int
    default: 120
attributes:
  check_mode:
    support: full
    details: Without a kubeconfig there is no cluster, and folders alone are looked at.
  diff_mode: {support: full}
author: observer-node
"""

EXAMPLES = r"""
- name: Bind the claims to the data that they had
  volume_binding:
    kubeconfig: "{{ observer_kubeconfig }}"
    objects: "{{ __observer_rendered.objects }}"
    namespace: observer-prod
    node: obs-prod-arm
    folder: /opt/local-path-provisioner
    pick:
      observer-db-pvc: pvc-0b6f6b0e-7d7e-4f0f-9a53-6f9b3f8f5a11_observer-prod_observer-db-pvc
"""

RETURN = r"""
changes:
  description: Every PersistentVolume that was changed or made.
  returned: always
  type: list
  elements: str
  sample:
    - "PersistentVolume pvc-0b6f6b0e-7d7e-4f0f-9a53-6f9b3f8f5a11: free for claim observer-prod/observer-db-pvc"
volumes:
  description: Of those claims, the PersistentVolume.
  returned: always
  type: dict
remedy:
  description: What to do about it.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.living.volumes import measured


def main() -> None:
    """The action of this name asks for folders by the end of their name, by path, and by name."""
    module = AnsibleModule(argument_spec={
        "folder": {"type": "path", "required": True},
        "endings": {"type": "list", "elements": "str", "default": []},
        "paths": {"type": "list", "elements": "path", "default": []},
        "named": {"type": "list", "elements": "str", "default": []},
    }, supports_check_mode=True)
    try:
        module.exit_json(changed=False, folders=measured(**module.params))
    except OSError as error:
        module.fail_json(msg=f"{error.filename} cannot be looked at: {error.strerror}.", remedy="Mend it on the node.")


if __name__ == "__main__":
    main()
