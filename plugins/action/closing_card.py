"""Hands lines for the closing card to the callback `operator`. Documented in library/."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

ARGUMENTS = {
    "runs": {"type": "list", "elements": "str", "default": []},
    "reach": {"type": "list", "elements": "str", "default": []},
    "facts": {"type": "dict", "default": {}},
    "next": {"type": "str", "default": ""},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Checks the arguments and returns them as ``card``; changes nothing."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of the task."""
        super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(argument_spec=ARGUMENTS)
        if taken := ", ".join(sorted(set(ARGUMENTS) & set(given["facts"]))):
            msg = f"closing_card: facts has the label {taken}, which is an argument of its own."
            return {"failed": True, "msg": msg, "remedy": f"Give {taken} beside facts, not in it."}
        card = {"runs": given["runs"], "reach": given["reach"], **given["facts"], "next": given["next"]}
        return {"changed": False, "card": {name: value for name, value in card.items() if value}}
