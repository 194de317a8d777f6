"""Masked tokens as targets: for a causal model the next one (LLM2Vec), for a bidirectional one the token itself (BERT).

mask_inputs   masked next-token prediction, arXiv 2404.05961, section 2.2
mask_tokens   masked language modelling, arXiv 1810.04805, section 3.1
mask_for_generator   the same for replaced-token detection, arXiv 2003.10555, section 2

What is drawn for a row is a function of (seed, epoch, row) alone, row r of batch i of B rows being number i B + r: so
8 batches of 1 row are masked as 1 batch of 8, however wide each is padded. A row with anything that can be chosen
keeps at least one target.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from .sampling import IGNORE, Batch

if TYPE_CHECKING:
    import torch

MASKED, REPLACED = 0.8, 0.1  # shares of the chosen tokens; the rest is left as it is


def mask_inputs(batch: Batch, ratio: float, mask_id: int | None, *, seed: int, index: int, epoch: int = 0) -> Batch:
    """Replace a share of the input tokens by `mask_id`; position i - 1 predicts the masked token i, nothing else does.

    batch: labels already shifted, so the label of i - 1 is the token at i. A token that nothing predicts (a row's or a
    document's first) is never masked. `index` is the batch's number within its `epoch`. Raises UserError without a
    mask token.
    """
    import torch

    if mask_id is None:
        raise UserError(
            "loss_fn next_token_mlm puts a mask token in place of tokens, and this tokenizer has neither one nor "
            "a single '_' that could serve: use another model.tokenizer_type"
        )
    can = batch.labels[:, :-1] != IGNORE  # (B, T - 1): position t predicts t + 1 within the row
    (draw,) = _draws(tuple(can.shape), 1, seed, index, epoch)
    chosen = _choose(draw, can.cpu(), ratio).to(batch.labels.device)
    inputs, labels = batch.input_ids.clone(), torch.full_like(batch.labels, IGNORE)
    inputs[:, 1:][chosen] = mask_id
    labels[:, :-1][chosen] = batch.labels[:, :-1][chosen]
    return replace(batch, input_ids=inputs, labels=labels)


def mask_tokens(
    batch: Batch,
    ratio: float,
    mask_id: int | None,
    vocab_size: int,
    special: Collection[int],
    *,
    seed: int,
    index: int,
    epoch: int = 0,
    masked: float = MASKED,
    replaced: float = REPLACED,
) -> Batch:
    """Choose a share of the tokens to be guessed where they stand: 80 % of them masked, 10 % random, 10 % left alone.

    batch: labels as the sampler shifted them, which tell text from padding. `special` ids and padding are never chosen;
    a random token is one of 0 .. vocab_size - 1. `index` is the batch's number within its `epoch`. Raises UserError
    without a mask token.
    """
    import torch

    if mask_id is None:
        raise UserError(
            "loss_fn masked_lm (or replaced_token) puts a mask token in place of tokens, and this tokenizer has none: "
            "name another with model.tokenizer"
        )
    ids = batch.input_ids.cpu()  # (B, T)
    draw, kind, other = _draws(tuple(ids.shape), 3, seed, index, epoch)
    others = (other * vocab_size).to(ids.dtype)  # (B, T)
    predicts = batch.labels.cpu() != IGNORE  # so it is text, and so is what comes after it in the row
    can = predicts.clone()
    can[:, 1:] |= predicts[:, :-1]
    can &= ~torch.isin(ids, torch.tensor(sorted(special), dtype=ids.dtype))
    chosen = _choose(draw, can, ratio)
    labels = torch.where(chosen, ids, IGNORE)
    inputs = torch.where(chosen & (kind < masked), mask_id, ids)
    inputs = torch.where(chosen & (kind >= masked) & (kind < masked + replaced), others, inputs)
    device = batch.input_ids.device
    return replace(batch, input_ids=inputs.to(device), labels=labels.to(device))


def mask_for_generator(
    batch: Batch,
    ratio: float,
    mask_id: int | None,
    vocab_size: int,
    special: Collection[int],
    *,
    seed: int,
    index: int,
    epoch: int = 0,
) -> Batch:
    """As mask_tokens, every chosen token masked (ELECTRA), and with a mask of the padding where there is some.

    What comes after a row's last target, the token that it predicts apart, is padding: a discriminator, which has
    something to say of every token, must know. Raises what mask_tokens raises.
    """
    import torch

    given = {"seed": seed, "index": index, "epoch": epoch}
    out = mask_tokens(batch, ratio, mask_id, vocab_size, special, **given, masked=1.0, replaced=0.0)
    predicts = batch.labels != IGNORE  # (B, T)
    real = predicts.flip(1).cummax(1).values.flip(1)  # up to the last target
    real[:, 1:] |= real[:, :-1].clone()
    if batch.attention_mask is not None or bool(real.all()):
        return out
    return replace(out, attention_mask=real.to(torch.int64))


def _draws(shape: tuple[int, ...], count: int, seed: int, index: int, epoch: int) -> Sequence[torch.Tensor]:
    """For each of `count` purposes numbers from 0 to below 1, (B, T) each; a shorter row has the first of a longer."""
    import torch

    B, T = shape
    rows = np.empty((B, T, count))
    for b in range(B):
        key = np.array([seed & 0xFFFFFFFFFFFFFFFF, index * B + b], dtype=np.uint64)
        np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, epoch])).random(out=rows[b])
    return torch.from_numpy(rows).unbind(-1)


def _choose(draw: torch.Tensor, can: torch.Tensor, ratio: float) -> torch.Tensor:
    """Where `draw` falls below the ratio, and where it is lowest in a row, among the places that `can` be chosen."""
    import torch

    if not 0.0 < ratio < 1.0:
        raise UserError(f"trainer.mask_ratio is {ratio}: it is a share, above 0 and below 1")
    if not can.shape[1]:
        return can
    draw = torch.where(can, draw, 2.0)
    lowest = torch.zeros_like(can).scatter_(1, draw.argmin(1, keepdim=True), True)
    return ((draw < ratio) | lowest) & can
