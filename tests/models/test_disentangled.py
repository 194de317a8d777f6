"""models/disentangled.py: against the sum of three terms, pair by pair."""

from __future__ import annotations

import math

import pytest
import torch
from groundup.errors import UserError
from groundup.models.cache import LayerCache
from groundup.models.disentangled import DisentangledAttention, log_buckets, relative_positions
from torch import nn

B, T, N, SPAN = 2, 13, 4, 16


def bucket_of(distance: int, n_buckets: int, span: int) -> int:
    """One distance, by the formula of the DeBERTa-v2 code."""
    middle = n_buckets // 2
    if abs(distance) <= middle:
        return distance
    steps = math.log(abs(distance) / middle) / math.log((span - 1) / middle) * (middle - 1)
    return int(math.copysign(math.ceil(steps) + middle, distance))


@pytest.mark.parametrize(("n_buckets", "span", "length"), [(4, 16, 20), (8, 64, 64), (256, 512, 512)])
def test_buckets(n_buckets, span, length) -> None:
    distances = torch.arange(-length + 1, length)
    expected = [bucket_of(d, n_buckets, span) for d in distances.tolist()]
    assert log_buckets(distances, n_buckets, span).tolist() == expected
    if length == span:
        assert max(expected) == n_buckets - 1
        assert min(expected) == 1 - n_buckets


def test_both_directions_of_a_pair() -> None:
    positions = relative_positions(torch.zeros(2 * N, 8), T, N, SPAN)
    for i in range(T):
        for j in range(T):
            c2p = min(max(bucket_of(i - j, N, SPAN) + N, 0), 2 * N - 1)
            p2c = min(max(-bucket_of(i - j, N, SPAN) + N, 0), 2 * N - 1)  # as DeBERTa writes it, for key i and query j
            assert positions.c2p[i, j] == c2p
            assert positions.p2c[i, j] == p2c


@pytest.mark.parametrize("masked", [False, True])
def test_scores_are_three_terms(tiny, masked) -> None:
    torch.manual_seed(0)
    config = tiny(positions="relative", causal=False, relative_buckets=N, relative_span=SPAN, qkv_bias=True)
    attention = DisentangledAttention(config).double()
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, table = torch.randn(B, T, 24).double(), torch.randn(2 * N, 24).double()
    mask = torch.rand(B, 1, T, T) > 0.4 if masked else None
    if mask is not None:
        mask |= torch.eye(T, dtype=torch.bool)
    relative = relative_positions(table, T, N, SPAN)
    y = attention(x, mask, relative)

    q, k, v, rq, rk = attention.q(x), attention.k(x), attention.v(x), attention.q(table), attention.k(table)
    D, expected = 6, torch.zeros(B, T, 24).double()
    for b in range(B):
        for h in range(4):
            at = slice(h * D, (h + 1) * D)
            for i in range(T):
                scores = []
                for j in range(T):
                    towards = min(max(bucket_of(i - j, N, SPAN) + N, 0), 2 * N - 1)
                    terms = q[b, i, at] @ k[b, j, at] + q[b, i, at] @ rk[towards, at] + k[b, j, at] @ rq[towards, at]
                    seen = mask is None or bool(mask[b, 0, i, j])
                    scores.append(terms.item() / math.sqrt(3 * D) if seen else -math.inf)
                weights = torch.tensor(scores, dtype=torch.float64).softmax(-1)
                expected[b, i, at] = weights @ v[b, :, at]
    torch.testing.assert_close(y, attention.out(expected), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(attention.maps(x, mask, relative).sum(-1), torch.ones(B, 4, T))


def test_fp16_does_not_overflow(tiny) -> None:
    """Queries and keys of 40 give products of 40 * 40 * 64 = 102,400, beyond fp16, before they are scaled."""
    config = tiny(positions="relative", causal=False, relative_buckets=N, relative_span=SPAN, n_heads=1, d_model=64)
    attention = DisentangledAttention(config).half()
    for linear in (attention.q, attention.k, attention.v, attention.out):
        nn.init.eye_(linear.weight)
    y = attention(
        torch.full((1, 3, 64), 40.0).half(), None, relative_positions(torch.zeros(2 * N, 64).half(), 3, N, SPAN)
    )
    assert torch.equal(y, torch.full_like(y, 40.0))


def test_nothing_can_be_cached(tiny) -> None:
    config = tiny(positions="relative", causal=False, relative_buckets=N, relative_span=SPAN)
    with pytest.raises(UserError, match="nothing can be cached"):
        DisentangledAttention(config)(torch.randn(1, 2, 24), None, None, LayerCache(4))


def test_distances_are_dropped_as_embeddings_are(tiny) -> None:
    """Each layer draws for itself, in training only."""
    torch.manual_seed(0)
    config = tiny(positions="relative", causal=False, relative_buckets=N, relative_span=SPAN, embed_dropout=0.5)
    attention = DisentangledAttention(config).train()
    seen: list[torch.Tensor] = []
    attention.q.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x, table = torch.randn(B, T, 24), torch.ones(2 * N, 24)
    relative = relative_positions(table, T, N, SPAN)
    for _ in range(2):
        attention(x, None, relative)
    attention.eval()(x, None, relative)
    _, first, _, second, _, whole = seen
    assert first.unique().tolist() == second.unique().tolist() == [0, 2]
    assert not torch.equal(first, second)
    assert torch.equal(whole[0], table)
