"""Messages in order: what every format becomes, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import UserError, nearest

ROLES = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "model", "bot", "chatgpt", "chatbot", "bing", "bard", "function_call"),
    "tool": ("tool", "observation", "function", "function_response", "tool_response", "ipython"),
}
"""Our names of the roles and how data sets spell them; case does not count."""
_CANONICAL = {spelling: role for role, spellings in ROLES.items() for spelling in spellings}
_MAY_FOLLOW = {  # what came before -> what may come
    None: ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}


@dataclass(frozen=True)
class Conversation:
    """Messages (`role`, `content`) that end with the assistant's last; made by `conversation`, which checks them."""

    messages: list[dict[str, Any]]
    where: str
    """file and row"""
    untrained: frozenset[int] = frozenset()
    """the assistant's messages that are no targets here"""
    tools: list[Any] | None = None

    @property
    def answers(self) -> list[int]:
        """Where in the messages the assistant speaks."""
        return [i for i, message in enumerate(self.messages) if message["role"] == "assistant"]

    @property
    def trained(self) -> list[int]:
        """Which of these are targets."""
        return [i for i in self.answers if i not in self.untrained]


def conversation(
    messages: Sequence[dict[str, Any]],
    where: str,
    *,
    untrained: Sequence[int] = (),
    tools: list[Any] | None = None,
) -> Conversation:
    """Checked: a system message at most, at the beginning; then user and assistant in turn, tools between.

    Nothing is merged or moved: messages that stand in another order are refused, by whatever template they would be
    rendered. What follows the assistant's last message is left out, as nothing of it could be a target.
    Raises UserError: no messages, an empty one, one out of order, nothing to train.
    """
    if not messages:
        raise UserError(f"{where} is a conversation without messages")
    before: str | None = None
    for number, message in enumerate(messages, 1):
        role = message["role"]
        if not str(message.get("content") or "").strip() and not message.get("tool_calls"):
            raise UserError(f"{where}: message {number} ({role}) has no text")
        if role not in _MAY_FOLLOW[before]:
            follows = f"after {before}" if before else "at the beginning"
            wanted = " or ".join(_MAY_FOLLOW[before])
            raise UserError(
                f"{where}: the roles are out of order: message {number} is {role} {follows}, where {wanted} is due"
            )
        before = role
    answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    if not set(answers) - set(untrained):
        raise UserError(f"{where} has no message of the assistant to train on")
    last = max(set(answers) - set(untrained))
    return Conversation(list(messages[: last + 1]), where, frozenset(i for i in untrained if i < last), tools)


def role_of(name: Any, where: str) -> str:
    """Our name of a role. Raises UserError for one that nobody uses."""
    role = _CANONICAL.get(str(name).strip().casefold().replace("-", "_").replace(" ", "_"))
    if role is None:
        raise UserError(f"{where}: '{name}' is no role.{nearest(name, _CANONICAL)}")
    return role


def text_of(row: Mapping[str, Any], column: str, where: str, *, required: bool = True) -> str:
    """The text in a column; "" for none where it is not required. Raises UserError."""
    value = row.get(column)
    if value is None and column not in row and required:
        raise UserError(f"{where} has no column '{column}'.{nearest(column, row)}")
    if value is None and not required:
        return ""
    if not isinstance(value, str):
        raise UserError(f"{where}: '{column}' holds {value!r}, and text is wanted")
    if required and not value.strip():
        raise UserError(f"{where}: '{column}' is empty")
    return value
