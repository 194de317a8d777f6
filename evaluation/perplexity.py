"""Perplexity of a text: how surprised a model is, in nats a token and bits a byte."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.sampling import IGNORE, Batch, Sampler
from ..data.stream import TokenStream
from ..errors import UserError
from ..models.model import Model
from ..trainers.heldout import heldout_loss
from ..trainers.losses import chunk_tokens
from ..trainers.precision import build_precision

LONGEST = 2048  # tokens in a row where nothing is said: a model for 128 k would need that much memory


def longest_row(model: Model, context: int | None) -> int:
    """Tokens in a row: `context`, else what the model was built for, within LONGEST."""
    return min(context or LONGEST, model.config.max_seq_len)


def perplexity(
    model: Model,
    text: TokenStream,
    *,
    batch_size: int = 8,
    limit: int | None = None,
    context: int | None = None,
    stride: int | None = None,
    ending: int = 0,
    words: int | None = None,
) -> dict[str, float]:
    """exp of the mean surprise over all tokens of a text; documents do not see each other. In the weights' dtype.

    Without a stride: rows of `context` tokens that do not overlap; every token is predicted once, but for the first of
    each document, and so is the end of each.

    With one: windows of `context` tokens that begin `stride` tokens apart, as published figures are measured
    (https://huggingface.co/docs/transformers/perplexity). Each token is scored in the first window it is in, so with
    at least context - stride tokens before it, except at a document's start. The sum runs over tokens, not windows,
    and the `ending` that was put behind a document is no part of its text: it is not scored.

    Args:
        limit: no more than so many batches.
        context: tokens in a row; default: all that the model was built for, but no more than 2,048.
        stride: from 1 to context - 1; context itself means no overlap, as without it.
        ending: how many tokens stand at each document's end that its tokenizer would not put there.
        words: words of the whole text, for word_perplexity.

    Returns:
        loss (nats a token), perplexity, bits_per_byte, byte_perplexity, word_perplexity (if the words are known),
        tokens, seconds. By byte and word: the mean loss times the text's tokens, over its bytes or words, so that
        they compare models of different tokenizers.

    Raises:
        UserError: the model is bidirectional, the text has fewer than two tokens, the context is longer than the
            model's, or the stride does not fit it.
    """
    check_predicts(model)
    _check_row(model, context, stride)
    row = longest_row(model, context)
    strided = stride is not None and stride < row
    if stride is not None and strided:
        batches, count = _windows(text, row, stride, ending, batch_size, limit)
    else:
        rows = Sampler(text, batch_size, row, mode="sequential")
        count = rows.batches_per_epoch if limit is None else min(limit, rows.batches_per_epoch)
        batches = (rows.batch(i) for i in range(count))
    device = next(model.parameters()).device
    precision = build_precision("no", device)
    result = heldout_loss(
        model,
        (batch.to(device) for batch in batches),
        precision,
        chunk=chunk_tokens(model.config.vocab_size, precision.dtype),
        bytes_per_token=None,
        total=count,
        title="perplexity",
    )
    assert result is not None  # nothing stops it
    tokens = text.n_bytes / text.bytes_per_token - (text.n_documents * ending if strided else 0)
    return _normalised(result, tokens, text.n_bytes, words)


def _check_row(model: Model, context: int | None, stride: int | None) -> None:
    longest = model.config.max_seq_len
    if context is not None and not 2 <= context <= longest:
        raise UserError(f"a context of {context} tokens: this model takes from 2 to {longest}")
    row = longest_row(model, context)
    if stride is not None and not 1 <= stride <= row:
        raise UserError(f"a stride of {stride} in a context of {row} tokens: give one from 1 to {row}")


def check_predicts(model: Model) -> None:
    """Raises UserError unless the model predicts the next token."""
    if not model.config.causal:
        raise UserError("perplexity needs a causal model: a bidirectional one sees the token it should predict")
    if model.task != "causal_lm":
        raise UserError(f"perplexity needs a language model, and this one's head is for '{model.task}'")


def _normalised(result: dict[str, float], tokens: float, n_bytes: int, words: int | None) -> dict[str, float]:
    """Add what is counted by byte and by word to loss and perplexity."""
    nats = result["loss"] * tokens  # of the whole text
    by_byte = {"bits_per_byte": nats / n_bytes / math.log(2), "byte_perplexity": math.exp(min(nats / n_bytes, 700.0))}
    by_word = {"word_perplexity": math.exp(min(nats / words, 700.0))} if words else {}
    ends = {"tokens": result["tokens"], "seconds": result["seconds"]}
    return {"loss": result["loss"], "perplexity": result["perplexity"], **by_byte, **by_word, **ends}


def _windows(
    text: TokenStream, context: int, stride: int, ending: int, batch_size: int, limit: int | None
) -> tuple[Iterator[Batch], int]:
    """Batches of overlapping windows, each padded on the right to its longest, and their number."""
    table = _window_table(text.starts, context, stride, ending)
    if not len(table):
        raise UserError(f"the {text.name} has no document of two tokens: there is nothing to predict")
    if limit is None:  # windows of one length together: little padding
        table = table[np.argsort(table[:, 0] - table[:, 1], kind="stable")]
    count = -(-len(table) // batch_size)
    count = count if limit is None else min(limit, count)

    def batches() -> Iterator[Batch]:
        for i in range(count):
            part = table[i * batch_size : (i + 1) * batch_size]
            T = int((part[:, 1] - part[:, 0]).max()) - 1
            inputs = torch.zeros(len(part), T, dtype=torch.int64)
            labels = torch.full((len(part), T), IGNORE)
            for b, (begin, end, scored) in enumerate(part.tolist()):
                ids = torch.from_numpy(text.read(begin, end))  # (n,)
                inputs[b, : len(ids) - 1] = ids[:-1]
                labels[b, scored - begin - 1 : len(ids) - 1] = ids[scored - begin :]
            yield Batch(inputs, labels)  # the model is causal: padding on the right is seen by nothing that counts

    return batches(), count


def _window_table(starts: NDArray[np.int64], context: int, stride: int, ending: int) -> NDArray[np.int64]:
    """(n, 3): where each window begins and ends in the stream, and the first token that it scores."""
    found: list[NDArray[np.int64]] = []
    for first, last in zip(starts[:-1], starts[1:] - ending, strict=True):
        if last - first < 2:
            continue
        n = 1 + max(0, -(-int(last - first - context) // stride))
        begin = first + stride * np.arange(n)  # (n,)
        end = np.minimum(begin + context, last)
        found.append(np.stack([begin, end, np.append(first + 1, end[:-1])], axis=1))
    return np.concatenate(found) if found else np.zeros((0, 3), np.int64)
