"""DeBERTa's attention: scores = content to content + content to position + position to content.

Source: https://arxiv.org/abs/2006.03654, with the shared projections and log buckets of v3 (arXiv 2111.09543).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import UserError
from .attention import Projections
from .cache import LayerCache
from .config import ModelConfig
from .dropout import Dropout


class RelativePositions(NamedTuple):
    """What every layer needs to know about distances; N is relative_buckets."""

    table: Tensor  # (2N, C) the normed embedding of each bucket
    c2p: Tensor  # (T, T) at [q, k] the bucket of q - k: content to position
    p2c: Tensor  # (T, T) at [k, q] the bucket of q - k: position to content


def log_buckets(distance: Tensor, n_buckets: int, span: int) -> Tensor:
    """Signed distances -> signed buckets: exact up to n_buckets / 2, beyond it logarithmic, n_buckets at `span`."""
    middle = n_buckets // 2
    far = distance.abs().clamp(min=middle).float()
    log = torch.ceil(torch.log(far / middle) / math.log((span - 1) / middle) * (middle - 1)) + middle
    return torch.where(distance.abs() <= middle, distance, (log * distance.sign()).long())


def relative_positions(table: Tensor, length: int, n_buckets: int, span: int) -> RelativePositions:
    """table (2N, C) -> itself, with the bucket of every pair of `length` tokens."""
    index = torch.arange(length, device=table.device)
    bucket = log_buckets(index[:, None] - index, n_buckets, span)  # (T, T), query - key
    c2p = (bucket + n_buckets).clamp(0, 2 * n_buckets - 1)
    return RelativePositions(table, c2p, c2p.mT)


class DisentangledAttention(Projections):
    """out( softmax( (q k^T + q rk^T + rq k^T) * scale ) v ); rq and rk are the q and k projections of distances."""

    def __init__(self, config: ModelConfig, out: nn.Linear | None = None) -> None:
        super().__init__(config, out)
        self.table_dropout = Dropout(config, "embed_dropout")  # distances are embeddings too

    def forward(
        self, x: Tensor, mask: Tensor | None, relative: RelativePositions, cache: LayerCache | None = None
    ) -> Tensor:
        """x (B, T, C), mask (1 or B, 1, T, T) or None -> (B, T, C)"""
        if cache is not None:
            raise UserError("relative positions look both ways, so nothing can be cached: leave cache out")
        self.count_other("had relative positions")
        v = self.split_heads(self.v(x))  # (B, H, T, D)
        probs = self.probs_dropout(self.maps(x, mask, relative))  # (B, H, T, T)
        return self.join_heads(probs.to(v.dtype) @ v)

    def maps(self, x: Tensor, mask: Tensor | None, relative: RelativePositions) -> Tensor:
        """x (B, T, C) -> probabilities (B, H, T, T) in fp32"""
        q, k = self.split_heads(self.q(x)), self.split_heads(self.k(x))  # (B, H, T, D)
        table = self.table_dropout(relative.table)[None]  # (1, 2N, C)
        rq, rk = self.split_heads(self.q(table)), self.split_heads(self.k(table))  # (1, H, 2N, D)
        q, rq = q * self.scale, rq * self.scale  # before the products, which fp16 could not hold
        every_pair = (*q.shape[:3], x.shape[1])  # (B, H, T, T)
        scores = q @ k.mT
        scores = scores + (q @ rk.mT).gather(-1, relative.c2p.expand(every_pair))
        scores = scores + (k @ rq.mT).gather(-1, relative.p2c.expand(every_pair)).mT
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return scores.softmax(-1, dtype=torch.float32)
