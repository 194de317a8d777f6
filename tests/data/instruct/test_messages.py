"""One message in the ways that data sets write it, in sharegpt rows and in the JSON of a custom template."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from groundup.data.instruct.conversation import Conversation
from groundup.data.instruct.custom import custom_reader
from groundup.data.instruct.formats import sharegpt
from groundup.errors import UserError

ASKED = {"role": "user", "content": "Two?"}


def by_sharegpt(*turns: Any) -> Conversation:
    return sharegpt("f:1", {"messages": list(turns)})


def by_custom(*turns: Any) -> Conversation:
    return custom_reader(SimpleNamespace(messages="{{ turns | tojson }}"))("f:1", {"turns": list(turns)})


readers = pytest.mark.parametrize("read", [by_sharegpt, by_custom])


@readers
@pytest.mark.parametrize("flag", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"training": False}])
def test_a_turn_that_is_not_to_be_trained(read: Callable[..., Conversation], flag: dict[str, Any]) -> None:
    said = {"role": "assistant", "content": "It is."}
    found = read(ASKED, {**said, **flag}, ASKED, {**said, "weight": 1, "train": True, "training": None})
    assert found.trained == [3]
    assert found.messages == [ASKED, said, ASKED, said]  # the mark is no part of the message
    with pytest.raises(UserError, match="f:1 has no message of the assistant to train on"):
        read(ASKED, {**said, **flag})


@readers
@pytest.mark.parametrize("flag", [{"weight": 0.5}, {"weight": "0"}, {"train": "no"}, {"training": []}])
def test_a_turn_that_is_trained_by_half(read: Callable[..., Conversation], flag: dict[str, Any]) -> None:
    (key,) = flag
    with pytest.raises(UserError, match=f"f:1, message 2: '{key}' is .*, and a message is trained or not: 1 or 0"):
        read(ASKED, {"role": "assistant", "content": "It is.", **flag})


@readers
def test_the_system_message_does_not_move_the_marks(read: Callable[..., Conversation]) -> None:
    said = {"role": "assistant", "content": "It is."}
    found = read({"role": "system", "content": ""}, ASKED, {**said, "weight": 0}, ASKED, said)
    assert found.trained == [3]


@readers
def test_parts_of_text_are_joined(read: Callable[..., Conversation]) -> None:
    parts = [{"type": "text", "text": "It "}, {"type": "text", "text": "is.", "image_url": None}]
    found = read(ASKED, {"role": "assistant", "content": parts})
    assert found.messages[1] == {"role": "assistant", "content": "It is."}
    for part, said in (
        ({"type": "image_url", "image_url": {"url": "x"}}, "a part of the type 'image_url'"),
        ({"type": "text", "text": None}, "{'type': 'text', 'text': None}"),
        (3, "3"),
    ):
        with pytest.raises(UserError) as error:
            read({"role": "user", "content": [*parts, part]}, {"role": "assistant", "content": "a"})
        assert str(error.value) == f"f:1, message 1: 'content' holds {said}, and text is wanted"
    with pytest.raises(UserError, match="f:1, message 2: 'content' holds 5, and text is wanted"):
        read(ASKED, {"role": "assistant", "content": 5})


@readers
def test_what_else_a_message_holds_is_the_template_s(read: Callable[..., Conversation]) -> None:
    said = {"role": "assistant", "content": "It is.", "reasoning_content": "1 + 1", "name": "Ann", "score": 3}
    assert read(ASKED, {**said, "thinking": None}).messages[1] == said
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    asked_tool = read(ASKED, {**call, "content": None}, {"role": "tool", "content": "1"}, said)
    assert asked_tool.messages[1] == call
