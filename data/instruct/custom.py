"""Any columns as conversations: templates of the configuration, in Jinja, over the columns of a row.

Each column is a variable; `row` holds all of them, for names that are no identifiers. A column that is not there is an
error, unless the template asks `is defined`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import UserError, nearest
from .conversation import Conversation, conversation, role_of
from .messages import conversation_of

_KEY = "dataset.template"
Reader = Callable[[str, Mapping[str, Any]], Conversation]


def custom_reader(template: Any) -> Reader:
    """What makes a conversation of a row by `dataset.template`: `prompt` and `completion`, or `messages`.

    A system message that comes out empty is left out. Raises UserError for a template that is not one of the two, or no
    Jinja.
    """
    prompt, completion, messages = (getattr(template, key, None) for key in ("prompt", "completion", "messages"))
    if messages is not None and (prompt or completion):
        raise UserError("dataset.template has both messages and a prompt with its completion: leave out one of them")
    if messages is None:
        if prompt is None or completion is None:
            raise UserError(
                "dataset.template says how a row is read when dataset.format is custom: give it `prompt` and "
                "`completion`, or `messages`"
            )
        fields = [("user", prompt, "prompt"), ("assistant", completion, "completion")]
    elif isinstance(messages, str):
        return _json_reader(_Field(messages, f"{_KEY}.messages"))
    else:
        fields = [_message(message, n) for n, message in enumerate(messages, 1)]
    parts = [(role_of(role, f"{_KEY}.{at}"), _Field(text, f"{_KEY}.{at}")) for role, text, at in fields]

    def read(where: str, row: Mapping[str, Any]) -> Conversation:
        made = [{"role": role, "content": field.render(row, where)} for role, field in parts]
        kept = [message for message in made if message["role"] != "system" or message["content"].strip()]
        return conversation(kept, where)

    return read


def _message(message: Mapping[str, str], number: int) -> tuple[str, str, str]:
    """Role, template and place of one of `messages`."""
    if set(message) != {"role", "content"}:
        raise UserError(f"{_KEY}.messages, {number} has {', '.join(message)}: give it role and content, and no more")
    return message["role"], message["content"], f"messages, {number}"


def _json_reader(field: _Field) -> Reader:
    def read(where: str, row: Mapping[str, Any]) -> Conversation:
        text = field.render(row, where)
        try:
            made = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: {field.name} gives no JSON ({error}): end it in `| tojson`") from None
        if not isinstance(made, list) or not all(isinstance(message, dict) for message in made):
            raise UserError(f"{where}: {field.name} gives no list of messages, each with role and content")
        return conversation_of(made, where)

    return read


class _Field:
    """One template of the configuration."""

    def __init__(self, source: str, name: str) -> None:
        from jinja2 import StrictUndefined, TemplateSyntaxError

        from ...tokenizers.chat import sandbox

        self.name = name
        try:
            # As a chat template, but the last line end is the text's own.
            self._template = sandbox(undefined=StrictUndefined, keep_trailing_newline=True).from_string(source)
        except TemplateSyntaxError as error:
            raise UserError(f"{name} is no Jinja: line {error.lineno}: {error.message}") from None

    def render(self, row: Mapping[str, Any], where: str) -> str:
        """The text for a row. Raises UserError for a column that it lacks."""
        from jinja2 import UndefinedError

        try:
            return self._template.render({**row, "row": row})
        except UndefinedError as error:
            named = str(error.message).split("'")
            hint = nearest(named[1], row) if len(named) > 2 else ""
            raise UserError(f"{where}: {self.name} asks for what the row lacks: {error.message}.{hint}") from None
        except Exception as error:  # a template fails in as many ways as Python does
            raise UserError(f"{where}: {self.name} fails: {' '.join(str(error).split())}") from None
