"""Training mode: dropout at the same places and rates as in transformers.

Both draw from different streams of numbers, so the draw is replaced by one that goes by an element's place alone. Then
outputs are equal exactly where the same tensors are thinned at the same rates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from parity import Difference, Pair, T, outputs
from parity_cases import CASES
from torch import Tensor


def keep(shape: torch.Size, p: float) -> Tensor:
    """Which elements stay. A row's first token (0 between first and last axis) is treated as its pooled vector is."""
    if len(shape) == 2 and shape[0] == 4 * T:  # OPT's feed-forward takes the tokens of all rows as one list
        return keep(torch.Size((4, T, shape[1])), p).flatten(0, 1)
    place = torch.zeros(shape, dtype=torch.float64)
    for axis, size in enumerate(shape):
        step = {0: 12.9898, len(shape) - 1: 78.233}.get(axis, 37.719 + axis)
        place = place + (torch.arange(size) * step).view([-1 if a == axis else 1 for a in range(len(shape))])
    return (place.sin() * 43758.5453).frac().abs() >= p


def drop(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """F.dropout, by place."""
    return x * keep(x.shape, p) / (1 - p) if training and p > 0 else x


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float = 1.0,
    enable_gqa: bool = False,
) -> Tensor:
    """F.scaled_dot_product_attention with drop()."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = q @ k.mT * scale
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    return drop(scores.softmax(-1), dropout_p) @ v


@contextmanager
def training(pair: Pair) -> Iterator[None]:
    """Both models in training mode, for a while."""
    for model in (pair.theirs, pair.ours):
        model.train()
    yield
    for model in (pair.theirs, pair.ours):
        model.eval()


@pytest.mark.parametrize("name", CASES)
def test_the_same_dropout(name: str, pair: Callable[[str], Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.no_grad():
        without, _ = outputs(pair(name), "none")
        monkeypatch.setattr(F, "dropout", drop)
        monkeypatch.setattr(F, "scaled_dot_product_attention", attention)
        with training(pair(name)):
            ours, theirs = outputs(pair(name), "none")
    error, scale = Difference.of(ours, theirs)
    assert error <= 1e-5 * max(1.0, scale), f"{error:.1e} apart, where numbers go up to {scale:.1f}"
    assert (ours - without).abs().max() > 0.01  # something was dropped
