"""A conversation as pieces of text, by one template for training and for generation.

What the model is asked for its i-th answer is the template's text of all messages before it, with a generation prompt.
Where that is how the text of the whole conversation begins, the answer is what follows in it, up to and with the token
that ends it. A template may also write a past answer otherwise than the last one (without its reasoning, say): then
each answer is a row of its own, in which it is the last, as it will be when the model is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ...errors import UserError
from ...tokenizers.base import Tokenizer
from ...tokenizers.chat import REASONING, ChatTemplate, Message, TemplateFailed, find_template
from ...tokenizers.pieces import control_pattern, encode_pieces
from .conversation import Conversation

_PROBE = "Zq7Xw"  # stands for any answer: what a template puts after it ends every answer


@dataclass(frozen=True)
class Rendered:
    """A row before it is tokenised: its pieces, and which of them are targets."""

    pieces: list[str]
    trained: list[bool]
    where: str


class Chat:
    """Conversations by a tokenizer's template (`source`), or another: to pieces, and to the ids of a prompt.

    `stop` is the text of the token that ends an answer, None where the template puts none after it. It is found with
    `example`, whose roles the template takes. Raises UserError for a template that fails on it.
    """

    def __init__(self, tokenizer: Tokenizer, source: str, name: str, example: Conversation | None = None) -> None:
        self.tokenizer, self.name = tokenizer, name
        self.template = ChatTemplate(source, tokenizer.named_tokens, name)
        self._control = control_pattern(tokenizer)
        self.begin, self.stop = self._probe(example or _EXAMPLE)

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Chat:
        """By the tokenizer's own template: the one a model was trained with. Raises UserError where it has none."""
        source = find_template(tokenizer)
        if source is None:
            raise UserError(
                f"the tokenizer {tokenizer.name} has no chat template: its model was not trained on conversations"
            )
        return cls(tokenizer, source, f"the chat template of {tokenizer.name}")

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        ids = {self.tokenizer.control_tokens[self.stop]} if self.stop else set[int]()
        return tuple(sorted(ids | ({self.tokenizer.eos_id} if self.tokenizer.eos_id is not None else set())))

    def prompt(self, messages: Sequence[Message], tools: list[Any] | None = None) -> list[int]:
        """The ids of what the model is asked: all messages, then where its answer begins.

        Raises UserError: no messages, the last is the assistant's, or the template fails.
        """
        if not messages or messages[-1]["role"] == "assistant":
            raise UserError("the last message must be another's than the assistant's: nothing is asked")
        text = self._render(messages, tools, "the messages", prompted=True)
        cuts = self._cuts(messages, tools, text, "the messages")
        pieces = _split(text, [cut for cut in cuts.values() if cut])
        return [i for piece in encode_pieces(self.tokenizer, [pieces])[0] for i in piece]

    def rendered(self, conversation: Conversation) -> list[Rendered]:
        """The rows of a conversation, one wherever one can train all its answers.

        Raises UserError where the template fails, or where it asks for an answer otherwise than it then writes it.
        """
        whole = self._row(conversation, conversation.messages, conversation.trained)
        if whole is not None:
            return [whole]
        rows = [self._row(conversation, conversation.messages[: i + 1], [i]) for i in conversation.trained]
        found = [row for row in rows if row is not None]
        if len(found) < len(rows):
            raise UserError(
                f"{conversation.where}: {self.name} asks for an answer with other text than the answer then "
                "stands behind, so what is trained would never be asked: give another in "
                "dataset.preprocessing.chat_template"
            )
        return found

    def spells_tokens(self, conversation: Conversation) -> bool:
        """Whether a message spells a control token, which then is that token."""
        texts = (message.get(key) for message in conversation.messages for key in ("content", *REASONING))
        return any(self._control.search(text) for text in texts if isinstance(text, str))

    def unread(self, keys: Iterable[str]) -> list[str]:
        """Which keys of messages the template never names. `instruction` and `input` are in the text as well."""
        named = {"role", "content", "instruction", "input", *re.findall(r"\w+", self.template.source)}
        if named & {*REASONING}:  # who reads one of them is given all
            named.update(REASONING)
        return [key for key in keys if key not in named]

    def _row(self, conversation: Conversation, messages: list[dict[str, Any]], trained: list[int]) -> Rendered | None:
        where, tools = conversation.where, conversation.tools
        text = self._render(messages, tools, where)
        cuts = self._cuts(messages, tools, text, where)
        if not all(cuts[i] for i in trained):
            return None
        kept = [(i, cut) for i, cut in cuts.items() if cut]
        end = max(cut[1] for i, cut in kept if i in trained)
        pieces = _split(text[:end], [cut for _, cut in kept])
        targets = [False] * len(pieces)
        for number, (i, _) in enumerate(kept):
            targets[2 * number + 1] = i in trained
        return Rendered(pieces, targets, where)

    def _cuts(
        self, messages: Sequence[Message], tools: list[Any] | None, text: str, where: str
    ) -> dict[int, tuple[int, int] | None]:
        """Where in the text each answer begins and ends; None for one that stands there otherwise than it was asked."""
        cuts: dict[int, tuple[int, int] | None] = {}
        for i, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            asked = self._render(messages[:i], tools, where, prompted=True)
            cuts[i] = None
            if text.startswith(asked) and self.stop is not None:
                answered = text if i == len(messages) - 1 else self._render(messages[: i + 1], tools, where)
                end = text.rfind(self.stop, len(asked), _common(text, answered))
                cuts[i] = (len(asked), end + len(self.stop)) if end >= 0 else None
        return cuts

    def _probe(self, example: Conversation) -> tuple[str | None, str | None]:
        """The control token a text begins with, and the first after an answer."""
        # Text alone: many templates leave it out beside tool calls.
        messages = [*example.messages[: example.answers[0]], {"role": "assistant", "content": _PROBE}]
        text = self._render(messages, example.tools, example.where)
        if _PROBE not in text:
            raise UserError(f"{example.where}: {self.name} leaves out what the assistant says")
        begin, stop = self._control.match(text), self._control.search(text, text.rindex(_PROBE) + len(_PROBE))
        return begin and begin[0], stop and stop[0]

    def _render(self, messages: Sequence[Message], tools: list[Any] | None, where: str, prompted: bool = False) -> str:
        if tools and "tools" not in self.template.source:
            raise UserError(f"{where} has tools, and {self.name} knows of none: give one that does, or drop them")
        if "tool_calls" not in self.template.source and any(message.get("tool_calls") for message in messages):
            raise UserError(f"{where} has tool calls, and {self.name} knows of none: give one that does, or drop them")
        try:
            return self.template.render(messages, add_generation_prompt=prompted, tools=tools)
        except TemplateFailed as error:
            raise UserError(f"{where}: {self.name} fails: {error}") from None


def _split(text: str, cuts: Sequence[tuple[int, int]]) -> list[str]:
    """Text between, answer, text between, ...: the last may be empty and is then left out."""
    places = [0, *(place for cut in cuts for place in cut), len(text)]
    pieces = [text[a:b] for a, b in pairwise(places)]
    return pieces if pieces[-1] else pieces[:-1]


def _common(text: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    low, high = 0, min(len(text), len(other))
    if text[:high] == other[:high]:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if text[low:middle] == other[low:middle] else (low, middle - 1)
    return low


_EXAMPLE = Conversation(
    [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello"}], "an example of two messages"
)
