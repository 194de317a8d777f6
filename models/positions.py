"""Where each token stands: position ids, and the sinusoids that may be added for them."""

from __future__ import annotations

import torch
from torch import Tensor


def position_ids(
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    segment_ids: Tensor | None = None,
    past: int = 0,
    pad_token_id: int | None = None,
) -> Tensor:
    """Positions of input_ids (B, T), the first `past` tokens having gone before: (T,) if all rows agree, else (B, T).

    Packed documents (segment_ids) each start at 0. With a pad_token_id, real ids are counted from 0 and padding
    stands at -1 (RoBERTa). With an attention_mask (B, past + T) real tokens are counted, so padding on the left
    changes nothing.
    """
    T = input_ids.shape[1]
    if segment_ids is not None:
        index = torch.arange(T, device=input_ids.device)  # (T,)
        starts = torch.ones_like(segment_ids, dtype=torch.bool)  # (B, T)
        starts[:, 1:] = segment_ids[:, 1:] != segment_ids[:, :-1]
        return index - torch.where(starts, index, 0).cummax(-1).values  # (B, T)
    if pad_token_id is not None:
        real = input_ids != pad_token_id  # (B, T)
        return torch.where(real, real.cumsum(-1) + past, 0) - 1
    if attention_mask is not None:
        return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, past:]  # (B, T)
    return torch.arange(past, past + T, device=input_ids.device)  # (T,)


def sincos_table(positions: Tensor, width: int) -> Tensor:
    """positions (...) -> (..., width) in fp32: sin(p / 10000^(2i/width)) at 2i, cos of the same at 2i + 1.

    Source: https://arxiv.org/abs/1706.03762, section 3.5.
    """
    steps = torch.arange(0, width, 2, dtype=torch.float32, device=positions.device)  # (width/2,)
    angles = positions.float()[..., None] / 10_000.0 ** (steps / width)  # (..., width/2)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)  # (..., width)
