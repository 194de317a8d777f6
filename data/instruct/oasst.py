"""Open-Assistant's message trees as conversations: of several answers the one people ranked best.

From each tree one conversation for each way its users went on. Where they went on in several ways, the conversations
begin alike, and what they share is a target in the first of them only, so every answer is trained once.

Deleted messages and those that failed review are left out with all that follows them, and so are trees that were never
finished (`tree_state` other than ready_for_export). Every language is taken, unless dataset.lang names one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...errors import UserError, nearest, notice
from .conversation import Conversation, conversation, role_of, text_of

FINISHED = ("ready_for_export", None)
Where = tuple[str, dict[str, Any]]


def trees(rows: Iterable[Where], lang: str | None = None) -> Iterator[Where]:
    """Rows that are trees as they are, flat messages put together by `parent_id`: -> (where, root message)."""
    messages: dict[str, Where] = {}
    left_out = {"unfinished": 0, "in another language": 0}
    for where, row in rows:
        if isinstance(row.get("prompt"), dict):
            root: dict[str, Any] = row["prompt"]
            if row.get("tree_state") not in FINISHED:
                left_out["unfinished"] += 1
            elif lang is not None and root.get("lang") != lang:
                left_out["in another language"] += 1
            else:
                yield where, root
            continue
        if "message_id" not in row:
            raise UserError(
                f"{where} is neither a tree (a 'prompt' with 'replies') nor a message.{nearest('message_id', row)}"
            )
        if row["message_id"] in messages:
            raise UserError(f"{where}: the message {row['message_id']} stands at {messages[row['message_id']][0]} too")
        messages[row["message_id"]] = where, {**row, "replies": []}
    orphans = 0
    for _, message in messages.values():
        parent = message.get("parent_id")
        if parent in messages:
            messages[parent][1]["replies"].append(message)
        elif parent is not None:
            orphans += 1
    for where, message in messages.values():
        if message.get("parent_id") is not None:
            continue
        if message.get("tree_state") not in FINISHED:
            left_out["unfinished"] += 1
        elif lang is not None and message.get("lang") != lang:
            left_out["in another language"] += 1
        else:
            yield where, message
    for why, count in left_out.items():
        if count:
            notice(f"{count:,} trees are {why} and were left out")
    if orphans:
        notice(f"{orphans:,} messages answer one that is not in the file, and were left out with what follows them")


def oasst(where: str, root: Mapping[str, Any]) -> list[Conversation]:
    """The conversations of a tree. Raises UserError where no assistant's answer is in it."""
    found: list[Conversation] = []
    seen: set[int] = set()
    for path in _paths(root, where):
        while path and _role(path[-1], where) != "assistant":
            path = path[:-1]
        messages = [{"role": _role(m, where), "content": text_of(m, "text", where)} for m in path]
        untrained = [i for i, m in enumerate(path) if id(m) in seen]
        if all(id(m) in seen for m in path if _role(m, where) == "assistant"):
            continue  # it ends in a question nobody answered
        seen |= {id(m) for m in path}
        found.append(conversation(messages, where, untrained=untrained))
    if not found:
        raise UserError(f"{where} is a tree without any answer of the assistant: delete the row")
    return found


def _paths(message: Mapping[str, Any], where: str) -> Iterator[list[Mapping[str, Any]]]:
    """Every way down from a message: all that users said, the best that the assistant did."""
    if _is_out(message):
        return
    replies = [reply for reply in message.get("replies") or [] if not _is_out(reply)]
    answers = [reply for reply in replies if _role(reply, where) == "assistant"]
    if answers:
        ranked = [reply for reply in answers if reply.get("rank") is not None]
        # A lower rank is a better one; where nobody ranked, the first stands.
        best = min(ranked, key=lambda reply: reply["rank"]) if ranked else answers[0]
        replies = [best, *(reply for reply in replies if _role(reply, where) != "assistant")]
    for reply in replies:
        for path in _paths(reply, where):
            yield [message, *path]
    if not replies:
        yield [message]


def _is_out(message: Mapping[str, Any]) -> bool:
    return bool(message.get("deleted")) or message.get("review_result") is False


def _role(message: Mapping[str, Any], where: str) -> str:
    if "role" not in message:
        raise UserError(f"{where}: a message has no 'role'.{nearest('role', message)}")
    return role_of(message["role"], where)
