# ruff: noqa: C408 (fields read better as keywords)
"""models/attention.py: against the textbook, head by head and query by query, in double precision."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from groundup.models.attention import Attention
from groundup.models.cache import LayerCache
from groundup.models.config import ModelConfig, RopeConfig
from groundup.models.masks import build_masks
from groundup.models.rope import apply_rope, rope_tables
from torch import Tensor, nn

B, T = 2, 7
PADDING = torch.tensor([[1] * 7, [0, 0, 1, 1, 1, 1, 1]])
VARIANTS = {
    "plain": {},
    "biases": dict(qkv_bias=True, out_bias=True),
    "query bias": dict(qkv_bias=True),
    "grouped": dict(n_kv_heads=2),
    "one key head": dict(n_kv_heads=1, head_dim=10),
    "wide heads": dict(head_dim=14, attn_scale=0.3),
    "bidirectional": dict(causal=False),
    "rope": dict(positions="rope", rope=RopeConfig(50.0)),
    "window": dict(window=3, layer_pattern=("local",)),
    "softcap": dict(attn_softcap=0.7, n_kv_heads=2),
    "qk-norm": dict(qk_norm=True, norm="rmsnorm", positions="rope", n_kv_heads=2),
    "everything": dict(qk_norm=True, positions="rope", attn_softcap=0.9, window=4, layer_pattern=("local",))
    | dict(qkv_bias=True, n_kv_heads=2, attn_scale=0.4),
}


def textbook(
    attention: Attention, config: ModelConfig, x: Tensor, padding: Tensor | None, window: int | None
) -> Tensor:
    """Attention as a loop over heads and queries, on a double-precision copy of the module."""
    D, groups = config.head_dim, config.n_heads // config.n_kv_heads
    heads = []
    for h in range(config.n_heads):
        g = h // groups
        rows = [attention.q(x)[..., h * D : (h + 1) * D], attention.k(x)[..., g * D : (g + 1) * D]]
        if config.qk_norm:
            rows = [norm(row) for norm, row in zip((attention.q_norm, attention.k_norm), rows, strict=True)]
        if config.positions == "rope":
            tables = rope_tables(config.rope, D, torch.arange(T))
            rows = [apply_rope(row[:, None], tables)[:, 0] for row in rows]
        q, k = rows
        v = attention.v(x)[..., g * D : (g + 1) * D]
        outputs = []
        for b in range(B):
            for i in range(T):
                keys = [
                    j
                    for j in range(T)
                    if (not config.causal or j <= i)
                    and (window is None or abs(i - j) < window)
                    and (padding is None or padding[b, j] or i == j)
                ]
                scores = torch.stack([(q[b, i] * k[b, j]).sum() * config.attn_scale for j in keys])
                if config.attn_softcap:
                    scores = config.attn_softcap * torch.tanh(scores / config.attn_softcap)
                weights = scores.exp() / scores.exp().sum()
                outputs.append(sum(w * v[b, j] for w, j in zip(weights, keys, strict=True)))
        heads.append(torch.stack(outputs).view(B, T, D))
    return attention.out(torch.cat(heads, -1))


def make(config: ModelConfig) -> Attention:
    torch.manual_seed(0)
    attention = Attention(config)
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.4)
    return attention


@pytest.mark.parametrize("padding", [None, PADDING])
@pytest.mark.parametrize("name", VARIANTS)
def test_textbook(tiny, name, padding) -> None:
    config = tiny(**VARIANTS[name])
    attention = make(config)
    x = torch.randn(B, T, 24, requires_grad=True)
    kind = config.layer_kind(0)
    mask = build_masks(config, T, 0, x.device, padding)[kind]
    rope = rope_tables(config.rope, config.head_dim, torch.arange(T)) if config.positions == "rope" else None
    y = attention(x, mask, rope)

    double, x64 = copy.deepcopy(attention).double(), x.detach().double().requires_grad_()
    expected = textbook(double, config, x64, padding, config.window if kind == "local" else None)
    torch.testing.assert_close(y, expected.float(), atol=1e-5, rtol=1e-5)

    weight = torch.randn_like(y)
    ours = torch.autograd.grad((y * weight).sum(), [x, *attention.parameters()])
    theirs = torch.autograd.grad((expected * weight).sum(), [x64, *double.parameters()])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b.float(), atol=1e-4, rtol=1e-4)

    maps = attention.maps(x, mask, rope)
    assert maps.shape == (B, 4, T, T)
    torch.testing.assert_close(maps.sum(-1), torch.ones(B, 4, T))
    v = attention.repeat_heads(attention.split_heads(attention.v(x)))
    torch.testing.assert_close(attention.join_heads(maps @ v), y, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["plain", "grouped", "rope", "softcap"])
@pytest.mark.parametrize("cuts", [(1, 2, 3, 4, 5, 6), (4,), (3, 5)])
def test_pieces_through_a_cache_equal_the_whole(tiny, name, cuts) -> None:
    config = tiny(**VARIANTS[name])
    attention, x = make(config), torch.randn(B, T, 24)
    rotary = config.positions == "rope"

    def rope(start: int, end: int):
        return rope_tables(config.rope, config.head_dim, torch.arange(start, end)) if rotary else None

    cache, pieces = LayerCache(T), []
    for start, end in zip((0, *cuts), (*cuts, T), strict=True):
        mask = build_masks(config, end - start, start, x.device)["global"]
        pieces.append(attention(x[:, start:end], mask, rope(start, end), cache))
    whole = attention(x, None, rope(0, T))
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-5, rtol=1e-5)


def test_an_output_projection_can_be_shared(tiny) -> None:
    shared = nn.Linear(24, 24)
    assert Attention(tiny(), shared).out is shared


@pytest.mark.parametrize("softcap", [None, 50.0])
def test_dropout_is_on_the_probabilities_in_training_only(tiny, softcap) -> None:
    """v is 1 everywhere, so each output is the sum of its row of probabilities: 1 without dropout."""
    attention = Attention(tiny(attn_probs_dropout=0.25, attn_softcap=softcap, causal=False, n_heads=1, d_model=2))
    nn.init.zeros_(attention.v.weight)
    attention.v.bias = nn.Parameter(torch.ones(2))
    nn.init.eye_(attention.out.weight)
    x = torch.randn(50, 40, 2)
    assert torch.allclose(attention.eval()(x), torch.ones(50, 40, 2), atol=1e-5)
    torch.manual_seed(0)
    kept = attention.train()(x)
    assert abs(kept.mean().item() - 1) < 0.01
    spread = math.sqrt(0.25 / 0.75 / 40)  # of a mean of 40 entries that are 0 or 1 / 0.75, at near equal weights
    assert spread * 0.9 < kept.std().item() < spread * 1.3


def test_fp16_holds_the_scores_and_fp32_the_softmax(tiny) -> None:
    """Queries and keys of 40 give products of 40 * 40 * 64 = 102,400, beyond fp16, before they are scaled."""
    attention = Attention(tiny(attn_softcap=50.0, n_heads=1, d_model=64)).half()
    for linear in (attention.q, attention.k, attention.v, attention.out):
        nn.init.eye_(linear.weight)
    x = torch.full((1, 3, 64), 40.0).half()
    torch.testing.assert_close(attention(x), x)
    q, k = attention.queries_and_keys(x, None)
    assert attention.probabilities(q, k, None).dtype == torch.float32
