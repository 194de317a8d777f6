# ruff: noqa: C408 (fields read better as keywords)
"""models/flops.py: counted on paper, held against what torch builds and runs."""

from __future__ import annotations

import pytest
import torch
from groundup.models import ModelConfig, RopeConfig, build_model
from groundup.models.flops import count_parameters, flops_per_token
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

GPT2_SMALL = ModelConfig(
    vocab_size=50257,
    d_model=768,
    n_layers=12,
    n_heads=12,
    d_ff=3072,
    max_seq_len=1024,
    qkv_bias=True,
    out_bias=True,
    ffn_bias=True,
    activation="gelu_tanh",
)
VARIANTS = {
    "plain": {},
    "biases": dict(qkv_bias=True, out_bias=True, ffn_bias=True, head_bias=True, position_offset=2),
    "llama": dict(positions="rope", norm="rmsnorm", n_kv_heads=2, gated=True, tie_embeddings=False, head_bias=True),
    "gemma": dict(
        positions="rope", norm="rmsnorm", norm_slots=("in", "out"), qk_norm=True, head_dim=10, attn_softcap=9.0
    ),
    "shared": dict(share_ffn=True, share_attn_out=True, positions="sincos", norm_bias=False, ffn_norm="none"),
    "factorised": dict(d_embed=10, n_token_types=2, embed_norm=True, causal=False, head_norm="none"),
    "factorised untied": dict(d_embed=10, tie_embeddings=False),
    "deberta": dict(positions="relative", causal=False, relative_buckets=4, relative_span=32, norm_slots=("sum",)),
    "window": dict(positions="rope", rope=RopeConfig(fraction=0.4), window=6, layer_pattern=("local", "global")),
}


def test_gpt2_small_has_exactly_its_parameters() -> None:
    assert count_parameters(GPT2_SMALL) == 124_439_808
    assert build_model(GPT2_SMALL, device="meta").num_parameters() == 124_439_808


@pytest.mark.parametrize("task", ["causal_lm", "masked_lm", "replaced_token", "classification", "encoder"])
@pytest.mark.parametrize("activation", [None, "tanh"])
@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_are_those_of_the_model(tiny, name, task, activation) -> None:
    config = tiny(**VARIANTS[name], classifier_activation=activation)
    num_labels = {"num_labels": 3} if task == "classification" else {}
    model = build_model(config, task, device="meta", **num_labels)
    assert count_parameters(config, task, **num_labels) == model.num_parameters()


@pytest.mark.parametrize("name", ["plain", "biases", "llama", "gemma", "shared", "factorised", "factorised untied"])
def test_flops_are_those_of_a_forward_and_a_backward(tiny, name) -> None:
    config = tiny(**VARIANTS[name])
    model, ids = build_model(config), torch.randint(0, 37, (1, 20))
    with sdpa_kernel(SDPBackend.MATH):  # the counter knows its products, not the CPU's fused kernel
        with FlopCounterMode(display=False) as forward:
            loss = model(ids).square().mean()
        with FlopCounterMode(display=False) as backward:
            loss.backward()
    assert flops_per_token(config, 20, training=False) * 20 == forward.get_total_flops()
    assert flops_per_token(config, 20) * 20 == forward.get_total_flops() + backward.get_total_flops()


def test_a_window_and_buckets_count_what_they_attend_to(tiny) -> None:
    plain, windowed = tiny(positions="rope"), tiny(**VARIANTS["window"])
    assert flops_per_token(plain, 20, False) - flops_per_token(windowed, 20, False) == 4 * 24 * (20 - 6)
    assert flops_per_token(windowed, 5) == flops_per_token(plain, 5)
    bare = dict(VARIANTS["deberta"], positions="none", relative_buckets=0, relative_span=0)
    buckets = flops_per_token(tiny(**VARIANTS["deberta"]), 20, False) - flops_per_token(tiny(**bare), 20, False)
    assert buckets == 2 * 2 * (2 * 24 * 2 * 4)  # layers, both ways, a product of C numbers with each of 2N buckets
    assert flops_per_token(plain) == flops_per_token(plain, plain.max_seq_len)
