"""From texts to ids: a context and its continuation as a model is asked for them.

The rules are lm-evaluation-harness's (api/model.py, TemplateLM), so that numbers agree: context and continuation are
encoded together, and the continuation's ids are those after as many as the context alone has; spaces at the end of the
context go to the continuation; an empty context is one token, BOS or else EOS; what is too long loses its beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UserError, notice
from ..models.model import Model
from ..tokenizers.base import Tokenizer

Request = tuple[str, str]
"""(context, continuation)"""

FAMILIES_WITH_BOS = ("gemma2", "gemma3")
TOKENS_WITH_BOS = ("<|begin_of_text|>",)  # Llama 3's: its family is shared with models that know no BOS
"""Models whose numbers mean nothing without it (EleutherAI/lm-evaluation-harness#1465)."""


@dataclass(frozen=True)
class Encoded:
    """ids (n_context + n): what the model reads, of which the last `n` are scored. A causal model never reads the very
    last one. `ending` are ids that an encoder's template puts after the text. `cut`: ids that did not fit."""

    ids: tuple[int, ...]
    n: int
    cut: int = 0
    ending: tuple[int, ...] = ()


@dataclass(frozen=True)
class Template:
    """The ids before and after every text, and the one that stands for an empty context."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    empty: int | None
    empty_text: str | None
    """A text that begins with it already gets nothing more before it."""
    causal: bool = True


def template_of(tokenizer: Tokenizer, model: Model, add_bos: bool | None = None) -> Template:
    """What a tokenizer puts around a text; `add_bos` None: as its own template does.

    Raises UserError where a BOS is asked for, or needed by the model's family, and the tokenizer has none.
    """
    plain, framed = tokenizer.encode("a"), tokenizer.encode("a", add_special_tokens=True)
    start = next((i for i in range(len(framed)) if framed[i : i + len(plain)] == plain), 0)
    before, after = tuple(framed[:start]), tuple(framed[start + len(plain) :])
    bos, empty = tokenizer.bos_id, tokenizer.eos_id if tokenizer.bos_id is None else tokenizer.bos_id
    if model.config.causal:
        after = ()  # nothing may stand between a context and its continuation
        needs = _needs_bos(tokenizer, model)
        if add_bos is False:
            before = ()
        elif (add_bos or needs) and not before:
            if bos is None:
                who = f"models of the family {needs} need" if needs else "add_bos asks for"
                raise UserError(
                    f"{who} a BOS token before every text, and the tokenizer {tokenizer.name} names none: name it as "
                    "bos_token in its tokenizer_config.json"
                )
            if needs and add_bos is None:
                notice(f"the tokenizer's template adds no BOS, and models of the family {needs} need one: it is added")
            before = (bos,)
    text = None if empty is None else tokenizer.decode([empty])
    return Template(before, after, empty, text, model.config.causal)


def _needs_bos(tokenizer: Tokenizer, model: Model) -> str | None:
    """The name of the family that needs one."""
    if model.origin is not None and model.origin.family in FAMILIES_WITH_BOS:
        return model.origin.family
    is_llama3 = tokenizer.bos_id is not None and tokenizer.decode([tokenizer.bos_id]) in TOKENS_WITH_BOS
    return "Llama 3" if is_llama3 else None


def encode_requests(
    requests: Sequence[Request], tokenizer: Tokenizer, template: Template, longest: int, where: Sequence[str] = ()
) -> list[Encoded]:
    """Requests as ids, in their order, cut from the left to what fits: `longest` ids are read.

    `where` names each request in messages. Raises UserError for a continuation without ids or longer than the model.
    """
    split = [_move_spaces(context, continuation) for context, continuation in requests]
    texts = {text for context, continuation in split for text in (context, context + continuation)} - {""}
    order = sorted(texts, key=len)
    encoded = dict(zip(order, tokenizer.encode_batch(order), strict=True))
    around = 0 if template.causal else len(template.before) + len(template.after)
    room = longest + 1 if template.causal else longest - around
    result: list[Encoded] = []
    for number, (context, continuation) in enumerate(split):
        whole = encoded.get(context + continuation, [])
        first, ids = _divide(encoded[context] if context else None, whole, context, tokenizer, template)
        place = f"{where[number]}: " if where and where[number] else ""
        said = f"{place}the continuation '{_short(continuation)}'"
        if not ids:
            raise UserError(f"{said} has no tokens of its own after its context: there is nothing to score")
        if len(ids) > longest - around:
            raise UserError(
                f"{said} has {len(ids):,} tokens, and the model reads {longest - around:,}: leave the question out, or "
                "take a model for longer texts"
            )
        text = [*first, *ids]
        cut = max(0, len(text) - room)
        if template.causal:
            result.append(Encoded(tuple(text[cut:]), len(ids), cut))
        else:
            result.append(Encoded((*template.before, *text[cut:]), len(ids), cut, template.after))
    return result


def _divide(
    context: list[int] | None, whole: list[int], text: str, tokenizer: Tokenizer, template: Template
) -> tuple[list[int], list[int]]:
    """The ids of the context and of the continuation; an encoder's template comes around them later."""
    if not template.causal:
        return (context, whole[len(context) :]) if context else ([], whole)
    starts = template.empty_text is not None and text.startswith(template.empty_text)
    first = [*(() if starts else template.before), *context] if context is not None else []
    if first:
        return first, whole[len(context or ()) :]
    return _after_nothing(whole, tokenizer, template)


def _after_nothing(ids: list[int], tokenizer: Tokenizer, template: Template) -> tuple[list[int], list[int]]:
    """What stands for an empty context, and the ids after it."""
    if template.empty is None:
        raise UserError(
            f"a text without a context needs a token before it, and the tokenizer {tokenizer.name} names neither BOS "
            "nor EOS: take a tokenizer that has one"
        )
    if ids and ids[0] == template.empty:
        return ids[:1], ids[1:]
    return [template.empty], ids


def _move_spaces(context: str, continuation: str) -> Request:
    """White space at the end of a context is the beginning of the next word's token."""
    bare = context.rstrip()
    return bare, context[len(bare) :] + continuation


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else text[:37] + "..."
