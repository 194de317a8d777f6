# ruff: noqa: C408 (fields read better as keywords)
"""Which family a model of ours is one of, and what its modules are called there."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from groundup.errors import UserError
from groundup.models import ModelConfig, RopeConfig, RopeScaling, load_pretrained, save_pretrained
from groundup.models.hf.describe import describe, their_names
from groundup.models.hf.families import family, interpret
from groundup.models.hf.rows import Row
from groundup.models.hf.settings import Settings
from small import BIASES, GPT2, LLAMA, NEOX, SIZES, build, checkpoint

LONGROPE = RopeScaling("longrope", 2.0, 16, short_factor=(1.0, 1.2, 1.5), long_factor=(2.0, 3.0, 5.0))
GEMMA = LLAMA | dict(norm_unit_offset=True, norm_slots=("in", "out"), embed_scale=24**0.5, activation="gelu_tanh")
GEMMA |= dict(attn_scale=10**-0.5, tie_embeddings=True, window=4, layer_pattern=("local", "global"))
DROPOUT = dict(attn_probs_dropout=0.1, residual_dropout=0.2)

CONFIGS: list[tuple[str, dict[str, Any]]] = [
    ("gpt2", GPT2 | DROPOUT | dict(embed_dropout=0.3, init_std=0.01)),
    ("gpt2", GPT2 | dict(activation="gelu", tie_embeddings=False, norm_eps=1e-6)),
    ("gpt_neox", NEOX | DROPOUT | dict(embed_dropout=0.2)),
    ("gpt_neox", NEOX | dict(parallel=False, qkv_bias=False, out_bias=False, rope=RopeConfig(5.0))),
    ("opt", GPT2 | DROPOUT | dict(position_offset=2, activation="relu")),
    ("opt", SIZES | dict(position_offset=2, activation="gelu", head_norm="none", tie_embeddings=False)),
    ("llama", LLAMA | dict(attn_probs_dropout=0.1)),
    ("llama", LLAMA | BIASES | dict(head_dim=10, rope=RopeConfig(5.0, scaling=RopeScaling("llama3", 8.0, 16)))),
    ("mistral", LLAMA | dict(window=5, layer_pattern=("local",))),
    ("qwen2", LLAMA | dict(qkv_bias=True, window=5, layer_pattern=("global", "local"))),
    ("qwen3", LLAMA | dict(qk_norm=True, rope=RopeConfig(scaling=RopeScaling("linear", 4.0)))),
    ("phi3", LLAMA | dict(residual_dropout=0.2, window=5, layer_pattern=("local",), rope=RopeConfig(5.0, 0.7))),
    ("phi3", LLAMA | dict(rope=RopeConfig(scaling=LONGROPE))),
    ("phi3", LLAMA | dict(rope=RopeConfig(scaling=dataclasses.replace(LONGROPE, attention_factor=1.5, factor=3.0)))),
    ("starcoder2", GPT2 | DROPOUT | dict(positions="rope", n_kv_heads=2, embed_dropout=0.3)),
    ("starcoder2", SIZES | dict(positions="rope", window=5, layer_pattern=("local",), tie_embeddings=False)),
    ("gemma2", GEMMA | dict(attn_softcap=3.0, logit_softcap=2.0)),
    ("gemma3", GEMMA | dict(qk_norm=True, rope_local=RopeConfig(50.0), rope=RopeConfig(5.0, 1.0))),
]


@pytest.mark.parametrize(("name", "fields"), CONFIGS)
def test_to_hf_is_the_inverse_of_config(name: str, fields: dict[str, Any]) -> None:
    """In every field, dropout and initialisation too."""
    config = ModelConfig(**fields)
    hf = family(name).to_hf(config)
    settings = Settings(hf)
    assert interpret(settings, "causal_lm") == config
    assert settings.unread() == []


@pytest.mark.parametrize(("name", "fields"), CONFIGS)
def test_the_first_family_that_fits(name: str, fields: dict[str, Any]) -> None:
    kind, hf = describe(build(**fields))
    assert hf["model_type"] in kind.MODEL_TYPES
    expected = "llama" if name == "phi3" and "window" not in fields else name  # Llama knows longrope too
    assert kind.__name__.endswith(f".{expected}")


def test_the_nearest_family_and_what_keeps_a_model_out_of_it() -> None:
    def refused(message: str, task: str = "causal_lm", **fields: Any) -> None:
        with pytest.raises(UserError, match=message):
            describe(build(task, **fields))

    refused(r"the nearest is llama, which would have norm=rmsnorm, here none", **LLAMA | dict(norm="none"))
    refused(r"the nearest is gpt2, which would have head_bias=False, here True", **GPT2 | dict(head_bias=True))
    refused(r"the nearest is gemma2, .* attn_scale=.*, here 0\.3", **GEMMA | dict(attn_scale=0.3, attn_softcap=2.0))
    refused(r"no Hugging Face family has this model", **LLAMA | dict(causal=False))


def test_fields_that_show_only_in_training_do_not_count() -> None:
    kind, _ = describe(build(**GPT2, init="xavier", init_gain=0.5, ffn_dropout=0.1, classifier_activation="tanh"))
    assert kind.MODEL_TYPES == ("gpt2",)


def test_patterns_that_give_the_same_layers_are_one() -> None:
    kind, hf = describe(build(**LLAMA | dict(window=5, layer_pattern=("local", "local", "global"))))
    assert (kind.MODEL_TYPES, hf["sliding_window"]) == (("mistral",), 5)  # of two layers, both local


def test_a_model_whose_configuration_was_changed_since_it_was_loaded(tmp_path: Path) -> None:
    checkpoint(tmp_path / "a", **LLAMA)
    model = load_pretrained(tmp_path / "a")
    assert model.origin is not None
    model.origin.config |= {"eos_token_id": 5, "rope_parameters": {"rope_theta": 10_000.0}}
    scaling = RopeScaling("linear", 4.0)
    model.config = model.core.config = dataclasses.replace(model.config, rope=RopeConfig(scaling=scaling))
    save_pretrained(model, tmp_path / "b")
    again = load_pretrained(tmp_path / "b")
    assert again.config == model.config
    assert again.origin is not None
    assert again.origin.config["eos_token_id"] == 5
    ids = torch.arange(10)[None]
    assert torch.equal(again(ids), model(ids))


def test_their_names(tmp_path: Path) -> None:
    names = their_names(build(**GPT2))
    assert names["transformer.h.1.attn.c_attn"] == Row(
        tuple(f"core.layers.1.attn.f.{part}" for part in "qkv"), "columns"
    )
    assert names["lm_head"] == Row(("head.out",))
    modules = dict(build(**GPT2).named_modules())
    assert all(part in modules for row in names.values() for part in row.parts)
    checkpoint(tmp_path, **NEOX)
    attention = their_names(load_pretrained(tmp_path))["gpt_neox.layers.0.attention.query_key_value"]
    assert attention.layout == "heads"
