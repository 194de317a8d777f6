"""Each option of the `model` section changes the field of ModelConfig that it should, and no other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from groundup.configs.architecture import architecture
from groundup.configs.schema import RunConfig
from groundup.configs.schema_model import ARCHITECTURE_KEYS, Attention, FeedForward
from groundup.errors import UserError
from groundup.models.config import ModelConfig, RopeConfig

Load = Callable[..., RunConfig]

# option, value, the fields it changes
EFFECTS: list[tuple[str, Any, dict[str, Any]]] = [
    ("num_layers", 5, {"n_layers": 5}),
    ("hidden_dim", 48, {"d_model": 48, "head_dim": 12, "d_embed": 48, "attn_scale": 12**-0.5}),
    ("context_window", 99, {"max_seq_len": 99}),
    ("ffn_weight_tying", True, {"share_ffn": True}),
    ("c_proj_weight_tying", True, {"share_attn_out": True}),
    ("residual_dropout", 0.1, {"residual_dropout": 0.1}),
    ("embedding_weight_tying", False, {"tie_embeddings": False}),
    ("embedding_dropout", 0.1, {"embed_dropout": 0.1}),
    ("positional_encoding_type", "learned", {"positions": "learned"}),
    ("positional_encoding_type", "sincos", {"positions": "sincos"}),
    ("positional_encoding_type", "none", {"positions": "none"}),
    ("rope_theta", 500.0, {"rope": RopeConfig(theta=500.0)}),
    ("lm_head_normalization", "layer_norm", {"head_norm": "layernorm"}),
    ("lm_head_normalization", "none", {"head_norm": "none"}),
    ("lm_head_bias", True, {"head_bias": True}),
    ("lm_head_dropout", 0.1, {"head_dropout": 0.1}),
    ("initialization_fn", "gpt2", {"init": "gpt2"}),
    ("initialization_fn", "none", {"init": "none"}),
    ("initialization_fn", "xavier", {"init": "xavier"}),
    ("initialization_fn", {"name": "xavier", "gain": 0.5}, {"init": "xavier", "init_gain": 0.5}),
    ("initialization_fn", {"mode": "fan_out"}, {"init_mode": "fan_out"}),
    ("initialization_fn", {"nonlinearity": "leaky_relu"}, {"init_nonlinearity": "leakyrelu"}),
    ("vocab_size", 300, {"vocab_size": 300}),
    ("attn.attn_type", "bidirectional", {"causal": False, "classifier_pooling": "first"}),
    ("attn.num_q_heads", 8, {"n_heads": 8, "head_dim": 4, "attn_scale": 0.5}),
    ("attn.num_kv_heads", 8, {"n_heads": 8, "n_kv_heads": 8, "head_dim": 4, "attn_scale": 0.5}),
    ("attn.bias", True, {"qkv_bias": True, "out_bias": True}),
    ("attn.attn_dropout", 0.1, {"attn_dropout": 0.1}),
    ("attn.attn_probs_dropout", 0.1, {"attn_probs_dropout": 0.1}),
    ("attn.normalization", "layer_norm", {"attn_norm": "layernorm"}),
    ("attn.normalization", "none", {"attn_norm": "none"}),
    ("ffn.ffn_type", "silu_ffn", {"gated": True, "activation": "silu"}),
    ("ffn.ffn_dim", 77, {"d_ff": 77}),
    ("ffn.bias", True, {"ffn_bias": True}),
    ("ffn.ffn_dropout", 0.1, {"ffn_dropout": 0.1}),
    ("ffn.normalization", "layer_norm", {"ffn_norm": "layernorm"}),
    ("ffn.normalization", "none", {"ffn_norm": "none"}),
    *(
        ("ffn.activation", name, {"activation": name})
        for name in ("gelu_tanh", "relu", "leakyrelu", "tanh", "sigmoid", "silu", "none")
    ),
]


def built(run: RunConfig) -> dict[str, Any]:
    config = architecture(run, 257)
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(ModelConfig)}


@pytest.mark.parametrize(("option", "value", "effect"), EFFECTS)
def test_an_option_changes_its_field_and_no_other(load: Load, option: str, value: Any, effect: dict[str, Any]):
    changes = {f"model.{option}": value}
    if option == "attn.attn_type":
        changes["trainer.loss_fn"] = "next_token_mlm"
    before, after = built(load()), built(load(changes))
    assert {name: after[name] for name in after if after[name] != before[name]} == effect


def test_norm_bias_is_layer_norms_own(load: Load):
    changes = {"model.attn.normalization": "layer_norm"}
    before, after = built(load(changes)), built(load({**changes, "model.norm_bias": False}))
    assert {name: after[name] for name in after if after[name] != before[name]} == {"norm_bias": False}


def test_every_architecture_key_has_an_effect_or_is_about_something_else():
    tested = {option.partition(".")[0] for option, _, _ in EFFECTS} | {"norm_bias"}
    other = {"core_model_type", "embedding_model_type", "lm_head_type", "model_shell_type", "freeze_core"}
    tokenizer = {name for name in ARCHITECTURE_KEYS if name.startswith("tokenizer_")}
    assert set(ARCHITECTURE_KEYS) - tested - other - tokenizer == set()
    nested = {option for option, _, _ in EFFECTS}
    assert {f"attn.{name}" for name in Attention.model_fields} <= nested
    assert {f"ffn.{name}" for name in FeedForward.model_fields} <= nested


def test_the_vocabulary(load: Load):
    assert architecture(load(), 257).vocab_size == 257
    assert architecture(load({"model.vocab_size": 320}), 257).vocab_size == 320
    with pytest.raises(
        UserError, match=r"model.vocab_size is 256, and the tokenizer has 257 ids: set it to 257 or more"
    ):
        architecture(load({"model.vocab_size": 256}), 257)


def test_gpt2_small_on_every_device(root: Any):
    from groundup.configs.schema import load_config
    from groundup.models.flops import count_parameters

    for device in ("cuda", "mps", "cpu"):
        run = load_config(root / "configs" / "gpt2_small.yaml", find_device=lambda device=device: device)
        assert run.general.device == device
        assert count_parameters(architecture(run, 50_257)) == 124_439_808
