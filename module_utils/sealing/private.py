"""Files of private values: vaulted in an inventory, or readable by their owner alone outside git.

Nothing is ever decrypted onto the disk, and no value is ever part of a message.
"""

from __future__ import annotations

import json
import os
import tempfile
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.parsing.vault import VaultLib, VaultSecretsContext, is_encrypted

PASSWORD_OPTIONS = "--vault-password-file FILE or --ask-vault-pass"


class SealingError(Exception):
    """Something cannot be sealed.

    :ivar remedy: one sentence, what to type or edit.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def shown(path: Path) -> str:
    """A path as the operator would type it: short below the working folder or the home folder, else whole."""
    if path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)


def write(path: Path, text: str, mode: int) -> None:
    """Write a file whole or not at all; nobody can read it before it has its mode.

    :raises SealingError: when the system refuses.
    """
    path = path.resolve()  # the file that a link points to, not the link
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755 if mode & 0o044 else 0o700)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as handle:
                handle.write(text.encode())
                os.fchmod(descriptor, mode)
                handle.flush()
                os.fsync(descriptor)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise SealingError(
            f"{shown(path)} cannot be written: {error.strerror}", "make its folder writable for you, then run again",
        ) from None


def read_text(path: Path) -> str | None:
    """A file's text; None when there is none.

    :raises SealingError: when it is there and cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except OSError as error:
        reason = str(error.strerror)
    raise SealingError(f"{shown(path)} cannot be read: {reason}", f"mend or remove {shown(path)}, then run again")


@dataclass
class Vault:
    """The vault secrets that Ansible was started with.

    :ivar used: vault id and secret that opened a file; what is written next is encrypted with the same.
    """

    secrets: list[tuple[str, Any]]
    used: tuple[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def current(cls) -> Vault:
        context = VaultSecretsContext.current(optional=True)
        return cls(list(context.secrets or []) if context else [])

    def examine(self, path: Path, text: str) -> None:
        """:raises SealingError: when a file is not encrypted, or there is no password to try."""
        if not is_encrypted(text):
            raise SealingError(
                f"{shown(path)} is not encrypted", f"type `ansible-vault encrypt {shown(path)}` before anything else",
            )
        if not self.secrets:
            raise SealingError(
                f"{shown(path)} is encrypted and no vault password was given", f"add {PASSWORD_OPTIONS} to the command")

    def decrypt(self, path: Path, text: str) -> str:
        """:raises SealingError: also when no password fits."""
        self.examine(path, text)
        try:
            plain, *used = VaultLib(self.secrets).decrypt_and_get_vault_id(text)
        except AnsibleError:
            raise wrong_password(path) from None
        self.used = (used[0], used[1])
        return bytes(plain).decode()

    def encrypt(self, text: str) -> str:
        assert self.used, "nothing was opened yet"
        vault_id, secret = self.used
        return bytes(VaultLib(self.secrets).encrypt(text, secret, vault_id)).decode()


def wrong_password(path: Path) -> SealingError:
    return SealingError(
        f"the vault password does not open {shown(path)}",
        f"give the password that it was encrypted with, by {PASSWORD_OPTIONS}",
    )


@dataclass(frozen=True)
class PrivateFile:
    """A YAML file of named values.

    :ivar vault: None for a file outside git that is not encrypted, but its owner's alone.
    """

    path: Path
    vault: Vault | None

    def read(self) -> dict[str, object] | None:
        """The values, as text exactly as written: nothing in them is taken for a template. None without a file.

        :raises SealingError: when the file cannot be opened or is not as it should be.
        """
        text = read_text(self.path)
        if text is None:
            return None
        if self.vault:
            text = self.vault.decrypt(self.path, text)
        elif self.path.parent.stat().st_mode & 0o077:
            raise SealingError(
                f"{shown(self.path.parent)} holds secrets and is open to other users",
                f"type `chmod 700 {shown(self.path.parent)}`",
            )
        try:
            found = yaml.load(text, _Loader)
        except yaml.YAMLError:
            found = None  # The parser's own words quote a line.
        if not isinstance(found, dict):
            raise self.unreadable()
        return {str(key): value for key, value in found.items()}

    def unreadable(self) -> SealingError:
        return SealingError(
            f"{shown(self.path)} is not YAML with `name: value` lines",
            f"mend it with `{self.editor()}`, then run again",
        )

    def editor(self) -> str:
        """What to type to edit it."""
        return f"ansible-vault edit {shown(self.path)}" if self.vault else f"${{EDITOR:-vi}} {shown(self.path)}"

    def is_open_to_others(self) -> bool:
        return not self.vault and self.path.exists() and bool(self.path.stat().st_mode & 0o077)

    def write(self, values: Mapping[str, str], comment: str) -> None:
        """:raises SealingError: when the system refuses."""
        lines = ["---", f"# {comment}"]
        for name, value in values.items():
            if "\n" in value:
                lines += [f"{name}: |", textwrap.indent(value.rstrip("\n"), "  ")]
            else:  # A JSON string is a YAML string in double quotes.
                lines.append(f"{name}: {json.dumps(value, ensure_ascii=False)}")
        text = "\n".join(lines) + "\n"
        write(self.path, self.vault.encrypt(text) if self.vault else text, 0o600)


class _Loader(yaml.SafeLoader):
    """Plain YAML, and Ansible's mark for text that is no template: here nothing is one."""


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    return loader.construct_scalar(node)


_Loader.add_constructor("!unsafe", _text)
