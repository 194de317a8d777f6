"""How well an encoder guesses masked tokens of a text."""

from __future__ import annotations

from collections.abc import Iterator

from ..data.masking import mask_tokens
from ..data.sampling import Batch, Sampler
from ..data.stream import TokenStream
from ..errors import UserError
from ..models.model import Model
from ..tokenizers.base import Tokenizer
from ..trainers.heldout import heldout_loss
from ..trainers.initial import special_ids
from ..trainers.losses import chunk_tokens
from ..trainers.precision import build_precision
from .perplexity import longest_row


def masked_lm(
    model: Model,
    text: TokenStream,
    tokenizer: Tokenizer,
    *,
    ratio: float = 0.15,
    batch_size: int = 8,
    limit: int | None = None,
    context: int | None = None,
) -> dict[str, float]:
    """Over a whole text, in rows of `context` tokens: a share of them is masked, the same ones each time. In fp32.

    Args:
        ratio: the share that is chosen; of these 80 % are masked, 10 % replaced and 10 % left, as in training.
        limit: no more than so many batches.

    Returns:
        loss (nats a chosen token), perplexity (its exponential), tokens (chosen ones), seconds.

    Raises:
        UserError: the model is causal, it has no masked-LM head, or the tokenizer no mask token.
    """
    check_guesses(model)
    rows = Sampler(text, batch_size, longest_row(model, context), mode="sequential")
    count = rows.batches_per_epoch if limit is None else min(limit, rows.batches_per_epoch)
    device = next(model.parameters()).device
    special = special_ids(tokenizer)

    def batches() -> Iterator[Batch]:
        for index in range(count):
            yield mask_tokens(
                rows.batch(index), ratio, tokenizer.mask_id, tokenizer.vocab_size, special, seed=0, index=index
            ).to(device)

    precision = build_precision("no", device)
    result = heldout_loss(
        model,
        batches(),
        precision,
        chunk=chunk_tokens(model.config.vocab_size, precision.dtype),
        bytes_per_token=None,
        total=count,
        title="masked_lm",
    )
    assert result is not None  # nothing stops it
    return result


def check_guesses(model: Model) -> None:
    """Raises UserError unless the model guesses masked tokens."""
    if model.config.causal:
        raise UserError("masked_lm needs a bidirectional model: a causal one does not see what comes after the gap")
    if model.task != "masked_lm":
        raise UserError(f"masked_lm needs a model with a masked-LM head, and this one's is for '{model.task}'")
