"""Open-Assistant's message trees as conversations: of several answers the one people ranked best.

From each tree one conversation for each way its users went on. Where they went on in several ways, the conversations
begin alike, and what they share is a target in the first of them only, so every answer is trained once.

Deleted messages and those that failed review are left out with all that follows them, and so are trees that were never
finished (`tree_state` other than ready_for_export). Every language is taken, unless dataset.lang names one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...errors import UserError, nearest, notice
from .conversation import Conversation, conversation, role_of, text_of

FINISHED = ("ready_for_export", None)
Where = tuple[str, dict[str, Any]]
Id = str | int


def trees(rows: Iterable[Where], lang: str | None = None) -> Iterator[Where]:
    """Rows that are trees as they are, messages put together by `parent_id`: -> (where, root message).

    A message may hold the replies to it already; what stands there is not looked for among the rows.
    """
    messages: dict[Id, Where] = {}
    left_out = Counter[str]()

    def is_wanted(root: Mapping[str, Any], state: Any) -> bool:
        if state in FINISHED and lang in (None, root.get("lang")):
            return True
        left_out["unfinished" if state not in FINISHED else "in another language"] += 1
        return False

    for where, row in rows:
        if isinstance(row.get("prompt"), dict):
            if is_wanted(row["prompt"], row.get("tree_state")):
                yield where, row["prompt"]
            continue
        if "message_id" not in row:
            raise UserError(
                f"{where} is neither a tree (a 'prompt' with 'replies') nor a message.{nearest('message_id', row)}"
            )
        name = _id(row, "message_id", where)
        if name in messages:
            raise UserError(f"{where}: the message {name} stands at {messages[name][0]} too")
        messages[name] = where, {**row, "replies": list(_replies(row, where))}
    orphans = 0
    for where, root in _linked(messages):
        if root is None:
            orphans += 1
        elif is_wanted(root, root.get("tree_state")):
            yield where, root
    for why, count in left_out.items():
        notice(f"{count:,} trees are {why} and were left out")
    if orphans:
        notice(f"{orphans:,} messages answer one that is not in the file, and were left out with what follows them")


def _linked(messages: dict[Id, Where]) -> list[tuple[str, dict[str, Any] | None]]:
    """The messages that begin a tree, with all replies below them; None for one that answers what is not there."""
    nested = {
        _id(reply, "message_id", where) for where, message in messages.values() for reply in _below(message, where)
    }
    whole = {name for name, (_, message) in messages.items() if message["replies"]}
    found: list[tuple[str, dict[str, Any] | None]] = []
    for name, (where, message) in messages.items():
        if name in nested:
            continue
        parent = None if message.get("parent_id") in (None, "") else _id(message, "parent_id", where)
        if parent in messages:
            messages[parent][1]["replies"].append(message)
        else:
            found.append((where, message if parent is None or name in whole else None))
    return found


def _below(message: Mapping[str, Any], where: str) -> Iterator[Mapping[str, Any]]:
    """All that a row holds of replies, and of replies to them."""
    waiting = [message]
    while waiting:
        replies = _replies(waiting.pop(), where)
        yield from replies
        waiting += replies


def _id(message: Mapping[str, Any], key: str, where: str) -> Id:
    value = message.get(key)
    if not isinstance(value, str | int):
        raise UserError(f"{where}: '{key}' holds {value!r}, and the id of a message is wanted")
    return value


def _replies(message: Mapping[str, Any], where: str) -> list[Mapping[str, Any]]:
    replies = message.get("replies")
    if replies is not None and not (isinstance(replies, list) and all(isinstance(one, Mapping) for one in replies)):
        raise UserError(f"{where}: 'replies' holds {str(replies)[:60]!r}, and a list of messages is wanted")
    return replies or []


def oasst(where: str, root: Mapping[str, Any]) -> list[Conversation]:
    """The conversations of a tree. Raises UserError where no assistant's answer is in it."""
    found: list[Conversation] = []
    seen: set[int] = set()
    try:
        paths = list(_paths(root, where))
    except RecursionError:
        raise UserError(f"{where} is a tree of too many replies below each other") from None
    for path in paths:
        while path and _role(path[-1], where) != "assistant":
            path = path[:-1]
        messages = [{"role": _role(m, where), "content": text_of(m, "text", where)} for m in path]
        untrained = [i for i, m in enumerate(path) if id(m) in seen]
        if all(id(m) in seen for m in path if _role(m, where) == "assistant"):
            continue  # it ends in a question nobody answered
        seen |= {id(m) for m in path}
        found.append(conversation(messages, where, untrained=untrained))
    if not found:
        raise UserError(f"{where} is a tree without any answer of the assistant")
    return found


def _paths(message: Mapping[str, Any], where: str) -> Iterator[list[Mapping[str, Any]]]:
    """Every way down from a message: all that users said, the best that the assistant did."""
    if _is_out(message):
        return
    replies = [reply for reply in _replies(message, where) if not _is_out(reply)]
    answers = [reply for reply in replies if _role(reply, where) == "assistant"]
    if answers:
        ranked = [reply for reply in answers if reply.get("rank") is not None]
        # A lower rank is a better one; where nobody ranked, the first stands.
        if not all(isinstance(reply["rank"], int | float) for reply in ranked):
            raise UserError(f"{where}: a 'rank' is no number: {[reply['rank'] for reply in ranked]}")
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
