# ruff: noqa: C408 (fields read better as keywords)
"""Small models with no weight left at its default, in every shape that matters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from groundup.models import Model, ModelConfig, RopeConfig, RopeScaling, build_model

SIZES = dict(vocab_size=37, d_model=24, n_layers=2, n_heads=4, d_ff=40, max_seq_len=32)
BIASES = dict(qkv_bias=True, out_bias=True, ffn_bias=True)
LLAMA = dict(positions="rope", norm="rmsnorm", n_kv_heads=2, activation="silu", gated=True)
BERT = dict(causal=False, norm_slots=("sum",), head_norm="none", embed_norm=True, **BIASES)
LONGROPE = RopeScaling("longrope", 2.0, 16, short_factor=(1.0, 1.2, 1.5), long_factor=(2.0, 3.0, 5.0))

DECODERS: dict[str, dict[str, Any]] = {
    "gpt2": BIASES,
    "llama": LLAMA,
    "window": LLAMA | dict(window=5, layer_pattern=("local", "global"), rope_local=RopeConfig(50.0)),
    "gemma": LLAMA
    | dict(qk_norm=True, attn_softcap=2.0, logit_softcap=3.0, norm_unit_offset=True, norm_slots=("in", "out"))
    | dict(embed_scale=24**0.5, head_dim=10, window=7, layer_pattern=("local",)),
    "neox": dict(positions="rope", rope=RopeConfig(fraction=0.4), parallel=True, tie_embeddings=False, **BIASES),
    "longrope": LLAMA | dict(rope=RopeConfig(scaling=LONGROPE)),
    "sincos": dict(positions="sincos", share_ffn=True, share_attn_out=True, norm="none"),
    "no positions": dict(positions="none", d_embed=10, head_bias=True),
}
ENCODERS: dict[str, dict[str, Any]] = {
    "bert": BERT | dict(n_token_types=2),
    "deberta": BERT | dict(positions="relative", relative_buckets=4, relative_span=16),
    "llama encoder": LLAMA | dict(causal=False, window=4, layer_pattern=("global", "local")),
}


def make_config(**fields: Any) -> ModelConfig:
    return ModelConfig(**SIZES | fields)


def make_model(task: str = "causal_lm", num_labels: int | None = None, seed: int = 0, **fields: Any) -> Model:
    model = build_model(make_config(**fields), task, num_labels, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval()


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """These tensors are too small to share out, and waiting for a busy second core is most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny() -> Callable[..., ModelConfig]:
    """tiny(**fields) -> a ModelConfig of small sizes."""
    return make_config


@pytest.fixture
def build() -> Callable[..., Model]:
    """build(task, num_labels, **fields) -> a small model in evaluation mode, all weights random."""
    return make_model


@pytest.fixture
def variants() -> dict[str, dict[str, Any]]:
    """The fields of each kind of model, by name."""
    return DECODERS | ENCODERS


@pytest.fixture(params=DECODERS)
def decoder(request: pytest.FixtureRequest) -> Model:
    """Each kind of decoder in turn."""
    return make_model(**DECODERS[request.param])


@pytest.fixture(params=[*DECODERS, *ENCODERS])
def any_model(request: pytest.FixtureRequest) -> Model:
    """Each kind of model in turn, with a token head."""
    if request.param in DECODERS:
        return make_model(**DECODERS[request.param])
    return make_model("masked_lm", **ENCODERS[request.param])
