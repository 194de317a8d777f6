"""GPT-2, DistilGPT2."""

from __future__ import annotations

from typing import Any

from ..config import ModelConfig, Task
from .families import Head
from .rows import conv1d
from .settings import Settings, spelt

MODEL_TYPES = ("gpt2",)
PREFIX = "transformer."
NAMES = {
    "transformer.wte": "embedder.tokens",
    "transformer.wpe": "embedder.positions",
    "transformer.h.{}.ln_1": "core.layers.{}.attn.norm_in",
    "transformer.h.{}.attn.c_attn": conv1d(
        "core.layers.{}.attn.f.q", "core.layers.{}.attn.f.k", "core.layers.{}.attn.f.v"
    ),
    "transformer.h.{}.attn.c_proj": conv1d("core.layers.{}.attn.f.out"),
    "transformer.h.{}.ln_2": "core.layers.{}.ffn.norm_in",
    "transformer.h.{}.mlp.c_fc": conv1d("core.layers.{}.ffn.f.up"),
    "transformer.h.{}.mlp.c_proj": conv1d("core.layers.{}.ffn.f.down"),
    "transformer.ln_f": "core.norm",
}
HEADS: dict[Task, Head] = {
    "causal_lm": Head(("GPT2LMHeadModel",), {"lm_head": "head.out"}),
    "classification": Head(("GPT2ForSequenceClassification",), {"score": "head.out"}),
    "encoder": Head(("GPT2Model",), {}),
}


def config(hf: Settings, task: Task) -> ModelConfig:
    hf.refuse_unless("scale_attn_weights", True)
    hf.refuse_unless("scale_attn_by_inverse_layer_idx", False)
    hf.get("reorder_and_upcast_attn", False)  # how half precision is rounded: scores are in fp32 here anyway
    return ModelConfig(
        vocab_size=hf.need("vocab_size"),
        d_model=hf.need("n_embd"),
        n_layers=hf.need("n_layer"),
        n_heads=hf.need("n_head"),
        d_ff=hf.get("n_inner", 4 * hf.need("n_embd")),
        max_seq_len=hf.need("n_positions"),
        norm_eps=hf.need("layer_norm_epsilon"),
        qkv_bias=True,
        out_bias=True,
        ffn_bias=True,
        activation=hf.activation("activation_function"),
        tie_embeddings=hf.get("tie_word_embeddings", True),
        embed_dropout=hf.get("embd_pdrop", 0.1),
        attn_probs_dropout=hf.get("attn_pdrop", 0.1),
        residual_dropout=hf.get("resid_pdrop", 0.1),
        init_std=hf.get("initializer_range", 0.02),
    )


def to_hf(config: ModelConfig) -> dict[str, Any]:
    return {
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.d_ff,
        "n_positions": config.max_seq_len,
        "layer_norm_epsilon": config.norm_eps,
        "activation_function": spelt(config.activation, "gelu_new"),
        "tie_word_embeddings": config.tie_embeddings,
        "embd_pdrop": config.embed_dropout,
        "attn_pdrop": config.attn_probs_dropout,
        "resid_pdrop": config.residual_dropout,
        "initializer_range": config.init_std,
    }
