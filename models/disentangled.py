"""DeBERTa's attention: scores = content to content + content to position + position to content.

Source: https://arxiv.org/abs/2006.03654 with the shared projections and log buckets of v3 (arXiv 2111.09543).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import UserError
from .attention import Attention
from .cache import LayerCache


class RelativePositions(NamedTuple):
    """What every layer needs to know about distances. N is relative_buckets."""

    table: Tensor  # (2N, C) the normed embedding of each bucket
    c2p: Tensor  # (T, T) the bucket of query - key
    p2c: Tensor  # (T, T) the bucket of key - query


def log_buckets(distance: Tensor, n_buckets: int, span: int) -> Tensor:
    """Signed distances -> signed buckets: exact up to n_buckets / 2, then logarithmic up to `span`."""
    middle = n_buckets // 2
    far = distance.abs().clamp(min=middle).float()
    log = torch.ceil(torch.log(far / middle) / math.log((span - 1) / middle) * (middle - 1)) + middle
    return torch.where(distance.abs() <= middle, distance, (log * distance.sign()).long())


def relative_positions(table: Tensor, length: int, n_buckets: int, span: int) -> RelativePositions:
    """table (2N, C) -> the buckets of every pair of `length` tokens."""
    index = torch.arange(length, device=table.device)
    bucket = log_buckets(index[:, None] - index, n_buckets, span)  # (T, T)
    last = 2 * n_buckets - 1
    return RelativePositions(table, (bucket + n_buckets).clamp(0, last), (n_buckets - bucket).clamp(0, last))


class DisentangledAttention(Attention):
    """softmax( (q k^T + q rk^T + k rq^T) * scale ) v, with rq and rk the q and k projections of distances."""

    def forward(
        self, x: Tensor, mask: Tensor | None, relative: RelativePositions, cache: LayerCache | None = None
    ) -> Tensor:
        """x (B, T, C), mask (1 or B, 1, T, T) or None -> (B, T, C)"""
        if cache is not None:
            raise UserError("relative positions look both ways: there is nothing to cache")
        probs = self.probs_dropout(self.maps(x, mask, relative))  # (B, H, T, T)
        v = self.split_heads(self.v(x))  # (B, H, T, D)
        return self.out((probs.to(v.dtype) @ v).transpose(1, 2).flatten(2))  # (B, T, C)

    def maps(self, x: Tensor, mask: Tensor | None, relative: RelativePositions) -> Tensor:
        """x (B, T, C) -> probabilities (B, H, T, T) in fp32"""
        q, k = self.split_heads(self.q(x)), self.split_heads(self.k(x))  # (B, H, T, D)
        rq, rk = (self.split_heads(project(relative.table[None])) for project in (self.q, self.k))  # (1, H, 2N, D)
        q, rq = q * self.scale, rq * self.scale  # before the products: fp16 would overflow after them
        B, H, T, _ = q.shape
        scores = q @ k.mT  # (B, H, T, T), as are the next two
        scores = scores + (q @ rk.mT).gather(-1, relative.c2p.expand(B, H, T, T))
        scores = scores + (k @ rq.mT).gather(-1, relative.p2c.expand(B, H, T, T)).mT
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return scores.softmax(-1, dtype=torch.float32)
