"""OPT: all sizes but 350m, which norms after the sum and projects its embeddings."""

from __future__ import annotations

from typing import Any

from ..config import ModelConfig, Task
from .decoders import heads
from .settings import Settings, spelt

MODEL_TYPES = ("opt",)
PREFIX = "model."
NAMES = {
    "model.decoder.embed_tokens": "embedder.tokens",
    "model.decoder.embed_positions": "embedder.positions",
    "model.decoder.layers.{}.self_attn_layer_norm": "core.layers.{}.attn.norm_in",
    "model.decoder.layers.{}.self_attn.q_proj": "core.layers.{}.attn.f.q",
    "model.decoder.layers.{}.self_attn.k_proj": "core.layers.{}.attn.f.k",
    "model.decoder.layers.{}.self_attn.v_proj": "core.layers.{}.attn.f.v",
    "model.decoder.layers.{}.self_attn.out_proj": "core.layers.{}.attn.f.out",
    "model.decoder.layers.{}.final_layer_norm": "core.layers.{}.ffn.norm_in",
    "model.decoder.layers.{}.fc1": "core.layers.{}.ffn.f.up",
    "model.decoder.layers.{}.fc2": "core.layers.{}.ffn.f.down",
    "model.decoder.final_layer_norm": "core.norm",
}
HEADS = heads("OPT")


def config(hf: Settings, task: Task) -> ModelConfig:
    hf.refuse_unless("do_layer_norm_before", True)
    hf.refuse_unless("word_embed_proj_dim", hf.need("hidden_size"))
    hf.refuse_unless("layer_norm_elementwise_affine", True)
    hf.refuse_unless("layerdrop", 0.0)
    hf.refuse_unless("activation_dropout", 0.0)
    bias = hf.get("enable_bias", True)
    return ModelConfig(
        vocab_size=hf.need("vocab_size"),
        d_model=hf.need("hidden_size"),
        n_layers=hf.need("num_hidden_layers"),
        n_heads=hf.need("num_attention_heads"),
        d_ff=hf.need("ffn_dim"),
        max_seq_len=hf.need("max_position_embeddings"),
        position_offset=2,  # rows 0 and 1 of embed_positions stand before the first position
        head_norm="none" if hf.get("_remove_final_layer_norm", False) else "layernorm",
        qkv_bias=bias,
        out_bias=bias,
        ffn_bias=bias,
        activation=hf.activation("activation_function"),
        tie_embeddings=hf.get("tie_word_embeddings", True),
        attn_probs_dropout=hf.get("attention_dropout", 0.0),
        residual_dropout=hf.get("dropout", 0.1),
        init_std=hf.get("init_std", 0.02),
    )


def to_hf(config: ModelConfig) -> dict[str, Any]:
    return {
        "model_type": "opt",
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "word_embed_proj_dim": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "ffn_dim": config.d_ff,
        "max_position_embeddings": config.max_seq_len,
        "do_layer_norm_before": True,
        "_remove_final_layer_norm": config.head_norm == "none",
        "enable_bias": config.qkv_bias,
        "activation_function": spelt(config.activation, "relu"),
        "tie_word_embeddings": config.tie_embeddings,
        "attention_dropout": config.attn_probs_dropout,
        "dropout": config.residual_dropout,
        "init_std": config.init_std,
    }
