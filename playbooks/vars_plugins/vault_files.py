"""Says what is wrong with a vault before Ansible does, which names neither the file nor a remedy.

Ansible finds it because it is beside the playbooks.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import AnsibleVaultError
from ansible.plugins.vars import BaseVarsPlugin

sys.path.append(str(Path(__file__).resolve().parents[2] / "module_utils"))

from sealing.private import PrivateFile, SealingError, Vault, read_text, wrong_password

DOCUMENTATION = r"""
name: vault_files
short_description: Refuse an inventory's vault files that are not encrypted or cannot be opened
description:
  - Looks at C(group_vars/all/vault*.yml) beside an inventory, once per run. Adds no variables.
author: observer-node
"""


class VarsModule(BaseVarsPlugin):  # type: ignore[misc]
    """A check at the time when variables are loaded."""

    checked: ClassVar[set[str]] = set()

    def get_vars(self, loader: DataLoader, path: str, entities: object, cache: bool = True) -> dict[str, object]:
        """:raises AnsibleError: with one line that names file, reason and remedy."""
        super().get_vars(loader, path, entities)
        if path not in self.checked:
            self.checked.add(path)
            for file in sorted(Path(path).resolve().glob("group_vars/all/vault*.yml")):
                try:
                    examine(loader, file)
                except SealingError as error:
                    raise AnsibleError(f"{error}: {error.remedy}") from None
        return {}


def examine(loader: DataLoader, file: Path) -> None:
    """:raises SealingError: when Ansible is not going to be able to read a vault file, or it is not encrypted."""
    vault = Vault.current()
    vault.examine(file, read_text(file) or "")
    try:
        # As Ansible's own plugin calls it next: it finds the content in the loader's cache.
        loader.load_from_file(str(file), cache="all", unsafe=True, trusted_as_template=True)
    except AnsibleVaultError:
        raise wrong_password(file) from None
    except AnsibleError:
        raise PrivateFile(file, vault).unreadable() from None
