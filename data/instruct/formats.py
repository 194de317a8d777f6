"""Rows of alpaca and sharegpt files as conversations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...errors import UserError, nearest
from .conversation import Conversation, conversation, text_of
from .messages import conversation_of

CONVERSATIONS = ("conversations", "messages", "conversation", "dialog")


def alpaca(where: str, row: Mapping[str, Any]) -> Conversation:
    """`instruction`, `input` (may be missing or empty), `output`; also `system`, `history` ([question, answer], ...).

    A message keeps `instruction` and `input` apart for alpaca's own prompt; any other template sees `content`, the
    instruction, a blank line and the input.
    """
    messages: list[dict[str, Any]] = []
    if (system := text_of(row, "system", where, required=False)).strip():
        messages.append({"role": "system", "content": system})
    history = _json(row.get("history") or [], "history", where)
    for turn in history if isinstance(history, list) else [history]:
        if not isinstance(turn, list) or len(turn) != 2 or not all(isinstance(text, str) for text in turn):
            raise UserError(f"{where}: 'history' holds {turn!r}, and pairs of a question and its answer are wanted")
        messages += [{"role": "user", "content": turn[0]}, {"role": "assistant", "content": turn[1]}]
    instruction, given = text_of(row, "instruction", where), text_of(row, "input", where, required=False)
    given = given if given.strip() else ""
    question = {"role": "user", "content": f"{instruction}\n\n{given}" if given else instruction}
    question |= {"instruction": instruction, "input": given} if given else {}
    return conversation([*messages, question, {"role": "assistant", "content": text_of(row, "output", where)}], where)


def sharegpt(where: str, row: Mapping[str, Any]) -> Conversation:
    """`conversations` (or `messages`): a list of {from, value} or {role, content}; also `system` and `tools`.

    Of several such columns, as files have that were merged, the first that holds something.
    """
    column = next((name for name in CONVERSATIONS if row.get(name) is not None), None)
    if column is None:
        empty = next((name for name in CONVERSATIONS if name in row), None)
        if empty:
            raise UserError(f"{where}: '{empty}' is empty")
        raise UserError(f"{where} has no column 'conversations'.{nearest('conversations', row)}")
    turns = _json(row[column], column, where)
    if not isinstance(turns, list):
        raise UserError(f"{where}: '{column}' holds a {type(turns).__name__}, and a list of messages is wanted")
    tools = _json(row.get("tools") or None, "tools", where)
    if tools is not None and not isinstance(tools, list):
        raise UserError(f"{where}: 'tools' holds a {type(tools).__name__}, and a list of tools is wanted")
    system = text_of(row, "system", where, required=False)
    return conversation_of(turns, where, system=system.strip() and system, tools=tools or None)


def _json(value: Any, column: str, where: str) -> Any:
    """What a column of a csv file holds as JSON text; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: '{column}' is no JSON ({error})") from None
