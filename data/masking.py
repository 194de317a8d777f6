"""Masked next-token prediction (LLM2Vec, arXiv 2404.05961, section 2.2): the causal model fills in masked tokens."""

from __future__ import annotations

import numpy as np

from ..errors import UserError
from .sampling import IGNORE, Batch


def mask_inputs(batch: Batch, ratio: float, mask_id: int | None, *, seed: int, index: int) -> Batch:
    """Replace a share of the input tokens by `mask_id`; position i - 1 predicts the masked token i, nothing else does.

    batch: labels already shifted, so the label of i - 1 is the token at i. A token that nothing predicts (a row's or a
    document's first) is never masked. Pure in (seed, index), index being the micro-batch's own; a batch with any
    target keeps at least one. Raises UserError without a mask token.
    """
    import torch

    if mask_id is None:
        raise UserError(
            "loss_fn next_token_mlm puts a mask token in place of tokens, and this tokenizer has neither one nor "
            "a single '_' that could serve: use another model.tokenizer_type"
        )
    if not 0.0 < ratio < 1.0:
        raise UserError(f"trainer.mask_ratio is {ratio}: it is a share, above 0 and below 1")
    B, T = batch.input_ids.shape
    key = np.array([seed & 0xFFFFFFFFFFFFFFFF, index], dtype=np.uint64)
    draw = torch.from_numpy(np.random.Generator(np.random.Philox(key=key)).random((B, T - 1)))
    can = batch.labels[:, :-1] != IGNORE  # (B, T - 1): position t predicts t + 1 within the row
    draw = torch.where(can.cpu(), draw, 2.0)
    lowest = torch.zeros_like(draw, dtype=torch.bool).view(-1)
    lowest[draw.argmin()] = True
    chosen = (((draw < ratio) | lowest.view(B, T - 1)) & can.cpu()).to(batch.labels.device)
    inputs, labels = batch.input_ids.clone(), torch.full_like(batch.labels, IGNORE)
    inputs[:, 1:][chosen] = mask_id
    labels[:, :-1][chosen] = batch.labels[:, :-1][chosen]
    return Batch(inputs, labels, batch.segment_ids)
