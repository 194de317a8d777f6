"""StarCoder2: Llama's names, rotary positions and grouped queries, with GPT-2's norms, biases and feed-forward."""

from __future__ import annotations

from typing import Any

from ..config import ModelConfig, Task
from . import llama
from .decoders import heads, read_sizes, write_sizes
from .llama import PREFIX
from .rotary import read_rope, rope_parameters, write_rope
from .settings import Settings, spelt

MODEL_TYPES = ("starcoder2",)
HEADS = heads("Starcoder2")
NAMES = {theirs: ours for theirs, ours in llama.NAMES.items() if ".mlp." not in theirs} | {
    "model.layers.{}.mlp.c_fc": "core.layers.{}.ffn.f.up",
    "model.layers.{}.mlp.c_proj": "core.layers.{}.ffn.f.down",
}

__all__ = ["HEADS", "MODEL_TYPES", "NAMES", "PREFIX", "config", "to_hf"]


def config(hf: Settings, task: Task) -> ModelConfig:
    hf.refuse_unless("mlp_type", "default")
    hf.refuse_unless("norm_type", "layer_norm")
    bias, window = hf.need("use_bias"), hf.given("sliding_window")
    fields = read_sizes(hf) | {"tie_embeddings": hf.get("tie_word_embeddings", True)}
    return ModelConfig(
        **fields,
        n_kv_heads=hf.need("num_key_value_heads"),
        norm_eps=hf.need("norm_epsilon"),
        positions="rope",
        rope=read_rope(hf, rope_parameters(hf), hf.get("rope_theta", None)),
        window=window,
        layer_pattern=("local",) if window else ("global",),
        activation=hf.activation("hidden_act"),
        qkv_bias=bias,
        out_bias=bias,
        ffn_bias=bias,
        embed_dropout=hf.get("embedding_dropout", 0.0),
        residual_dropout=hf.get("residual_dropout", 0.0),
    )


def to_hf(config: ModelConfig) -> dict[str, Any]:
    own = {"model_type": "starcoder2", "norm_epsilon": config.norm_eps, "use_bias": config.qkv_bias}
    own |= {"num_key_value_heads": config.n_kv_heads, "sliding_window": config.window}
    own |= {"hidden_act": spelt(config.activation, "gelu_pytorch_tanh")}
    own |= {"embedding_dropout": config.embed_dropout, "residual_dropout": config.residual_dropout}
    return write_sizes(config) | write_rope(config.rope, config.max_seq_len) | own
