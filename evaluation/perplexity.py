"""Perplexity of a text: how surprised a model is, in nats a token and bits a byte."""

from __future__ import annotations

from ..data.sampling import Sampler
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
    model: Model, text: TokenStream, *, batch_size: int = 8, limit: int | None = None, context: int | None = None
) -> dict[str, float]:
    """Over a whole text, in rows of `context` tokens that do not overlap; documents do not see each other.

    Every token is predicted once, but for the first of each document. In fp32.

    Args:
        limit: no more than so many batches.
        context: tokens in a row; default: all that the model was built for, but no more than 2,048.

    Returns:
        loss (nats a token), perplexity, bits_per_byte, tokens, seconds.

    Raises:
        UserError: the model is bidirectional, or the text has fewer than two tokens.
    """
    if not model.config.causal:
        raise UserError("perplexity needs a causal model: a bidirectional one sees the token it should predict")
    rows = Sampler(text, batch_size, longest_row(model, context), mode="sequential")
    count = rows.batches_per_epoch if limit is None else min(limit, rows.batches_per_epoch)
    device = next(model.parameters()).device

    batches = (rows.batch(i).to(device) for i in range(count))
    precision = build_precision("no", device)
    chunk = chunk_tokens(model.config.vocab_size, precision.dtype)
    result = heldout_loss(
        model, batches, precision, chunk=chunk, bytes_per_token=text.bytes_per_token, total=count, title="perplexity"
    )
    assert result is not None  # nothing stops it
    return result
