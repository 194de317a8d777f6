"""Tasks on running text: a file that is named, or what the run held out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.corpus import Corpus, open_corpus
from ..data.stream import TokenStream
from ..data.text import is_framed, load_text, load_text_data
from ..data.tokenised import document_frame
from ..errors import UserError
from ..models.model import Model
from ..tokenizers.base import Tokenizer
from .masked_lm import check_guesses, masked_lm
from .perplexity import check_predicts, perplexity

if TYPE_CHECKING:
    from .registry import EvalContext, Numbers

BATCH = 8


def measure_perplexity(model: Model, tokenizer: Tokenizer, context: EvalContext) -> Numbers:
    """The task `perplexity`."""
    check_predicts(model)  # before a text is tokenised
    text, corpus = _text(tokenizer, context)
    return dict(
        perplexity(
            model,
            text,
            batch_size=context.batch_size or BATCH,
            limit=context.limit,
            context=context.context,
            stride=context.stride,
            ending=added_ending(tokenizer, _framed(context)),
            words=_words(text, corpus, tokenizer) if corpus is not None or context.limit is None else None,
        )
    )


def measure_masked_lm(model: Model, tokenizer: Tokenizer, context: EvalContext) -> Numbers:
    """The task `masked_lm`."""
    check_guesses(model)
    text, _ = _text(tokenizer, context)
    ratio = context.run.trainer.mask_ratio if context.run else 0.15
    size = context.batch_size or BATCH
    return dict(
        masked_lm(model, text, tokenizer, ratio=ratio, batch_size=size, limit=context.limit, context=context.context)
    )


def added_ending(tokenizer: Tokenizer, framed: bool) -> int:
    """How many tokens stand behind a document that the tokenizer's own template would not put there."""
    begin, end = document_frame(tokenizer) if framed else ((), ())
    if not framed:
        return int(tokenizer.eos_id is not None)
    by_template = len(tokenizer.encode("a", add_special_tokens=True)) - len(tokenizer.encode("a")) - len(begin)
    return 0 if by_template > 0 else len(end)


def count_words(text: str) -> int:
    """As lm-evaluation-harness counts them: the parts between stretches of white space, an empty first one too."""
    return len(re.split(r"\s+", text))


def _framed(context: EvalContext) -> bool:
    """Whether documents begin and end by the tokenizer's template, as the model saw them when it was trained."""
    return context.run is None or is_framed(context.run)


def _text(tokenizer: Tokenizer, context: EvalContext) -> tuple[TokenStream, Corpus | None]:
    """The tokens of the text that is measured, and the text where a file was named."""
    if context.data is not None:
        if not Path(context.data).expanduser().exists():
            raise UserError(f"--data {context.data}: there is no such file or folder")
        corpus = open_corpus(str(context.data))
        return load_text(corpus, tokenizer, val_fraction=0.0, framed=_framed(context)).train, corpus
    if context.run is None:
        raise UserError(f"{context.name} is no run that has held out text: name one with --data FILE_OR_DIR")
    held_out = load_text_data(context.run, tokenizer).val
    if held_out is None:
        raise UserError("the run held out no text (dataset.val_fraction 0): name one with --data FILE_OR_DIR")
    return held_out, None


def _words(text: TokenStream, corpus: Corpus | None, tokenizer: Tokenizer) -> int:
    """The words of the whole text."""
    if corpus is not None:
        return sum(map(count_words, corpus.documents()))
    ends = zip(text.starts[:-1].tolist(), text.starts[1:].tolist(), strict=True)
    return sum(count_words(tokenizer.decode(text.read(*end).tolist(), skip_special_tokens=True)) for end in ends)
