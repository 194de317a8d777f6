"""Which template a run's conversations are rendered by, and what begins and ends them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from ...errors import UserError, notice
from ...tokenizers.base import Tokenizer
from ...tokenizers.chat import find_template
from ..tokenised import document_frame
from .chat import Chat
from .conversation import Conversation
from .templates import ALPACA, END_ANSWERS, PLAIN, RAW, beginning_with, ending_with, is_dated, with_date

OWN = {"alpaca": ("alpaca's own prompt", ALPACA), "raw": ("the texts of dataset.template as they are", RAW)}
_KEY = "dataset.preprocessing"


def choose_chat(preprocessing: Any, tokenizer: Tokenizer, kind: str, example: Conversation) -> Chat:
    """The template named in the configuration, else the tokenizer's own, else ours for this kind of data.

    What begins and ends an example is made part of the template, and so is the date where it writes one: the template
    alone says all. Kept with the tokenizer, it gives the same text again, on any day, here and in transformers.
    Raises UserError: no template where one is asked for, no token where one is to be added, no end to an answer.
    """
    add_bos, add_eos, use, given = (
        getattr(preprocessing, key, None)
        for key in ("add_bos_token", "add_eos_token", "use_chat_template", "chat_template")
    )
    source, name = _template(tokenizer, use, given, raw=kind == "raw")
    dated = source is not None and is_dated(source)
    if source is not None and dated:
        source = with_date(source, tokenizer.chat_template, datetime.now())
    end = next((key for key in ("eos_token", "sep_token") if key in tokenizer.named_tokens), None)
    if add_eos and end is None:
        raise UserError(f"{_KEY}.add_eos_token is true, and the tokenizer {tokenizer.name} has no end-of-text token")
    is_own = source is None
    if source is None:
        name, source = OWN.get(kind, ("the plain format (### User: and ### Assistant: as headings)", PLAIN))
        if end is None:
            raise UserError(
                f"the tokenizer {tokenizer.name} has no end-of-text token, so no answer could end: take another"
            )
        source = ending_with(source, None if add_eos is False else end)
    chat = Chat(tokenizer, source, name, example)
    if chat.stop is None and add_eos and end is not None:
        source = ending_with(END_ANSWERS, end) + source
        chat = Chat(tokenizer, source, name, example)
    if chat.stop is None:
        raise UserError(
            f"no answer ends in a token that generation stops at, by {name}, so the model would never learn to "
            f"stop: set {_KEY}.add_eos_token to true"
        )
    begin = _begin(tokenizer, add_bos, is_own)
    if begin and chat.begin != begin:
        chat = Chat(tokenizer, beginning_with(begin, source), name, example)
    if dated:
        notice(f"{name} writes the date of the day: that of the run's first day stays, so that no row ever changes")
    return chat


def _template(tokenizer: Tokenizer, use: bool | None, given: str | None, raw: bool) -> tuple[str | None, str]:
    """The template and its name; None where ours is to be taken."""
    own = f"the chat template of {tokenizer.name}"
    if given is not None:
        if use is False:
            raise UserError(f"{_KEY}.chat_template is given and use_chat_template is false: leave out one of them")
        if "{" in given:
            return given, f"the template of {_KEY}.chat_template"
        if isinstance(tokenizer.chat_template, dict) and given in tokenizer.chat_template:
            return find_template(tokenizer, given), f"{own} called {given}"
        try:
            return Path(given).expanduser().read_text(encoding="utf-8"), f"the chat template {given}"
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8"
            raise UserError(
                f"{_KEY}.chat_template is '{given}', which is no template (Jinja has a brace), none that the tokenizer "
                f"has by name, and no file that can be read: {why}"
            ) from None
    if use is False or (raw and use is None):
        return None, ""
    source = find_template(tokenizer)
    if source is None and use:
        raise UserError(
            f"{_KEY}.use_chat_template is true, and the tokenizer {tokenizer.name} has no chat template: give one in "
            f"{_KEY}.chat_template, or leave use_chat_template out for a plain format"
        )
    return source, own


def _begin(tokenizer: Tokenizer, add_bos: bool | None, is_own: bool) -> str | None:
    """The text of the token to begin with. Unasked, only ours begins with one: as the tokenizer begins any text."""
    if add_bos:
        named = tokenizer.named_tokens
        begin = named.get("bos_token", named.get("cls_token"))
        if begin is None:
            raise UserError(
                f"{_KEY}.add_bos_token is true, and the tokenizer {tokenizer.name} has no beginning-of-text token"
            )
        return begin
    if add_bos is False or not is_own:
        return None
    texts = {i: text for text, i in tokenizer.control_tokens.items()}
    frame = document_frame(tokenizer)[0]
    return texts.get(frame[0]) if frame else None
