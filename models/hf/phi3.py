"""Phi-3: Llama with fused projections, a window on the 4k models and longrope on the 128k ones."""

from __future__ import annotations

from typing import Any

from ..config import ModelConfig, Task
from .decoders import heads, read_llama, write_llama
from .llama import PREFIX
from .rotary import read_rope, rope_parameters
from .rows import fused
from .settings import Settings

MODEL_TYPES = ("phi3",)
HEADS = heads("Phi3")
NAMES = {
    "model.embed_tokens": "embedder.tokens",
    "model.layers.{}.input_layernorm": "core.layers.{}.attn.norm_in",
    "model.layers.{}.self_attn.qkv_proj": fused(
        "core.layers.{}.attn.f.q", "core.layers.{}.attn.f.k", "core.layers.{}.attn.f.v"
    ),
    "model.layers.{}.self_attn.o_proj": "core.layers.{}.attn.f.out",
    "model.layers.{}.post_attention_layernorm": "core.layers.{}.ffn.norm_in",
    "model.layers.{}.mlp.gate_up_proj": fused("core.layers.{}.ffn.f.gate", "core.layers.{}.ffn.f.up"),
    "model.layers.{}.mlp.down_proj": "core.layers.{}.ffn.f.down",
    "model.norm": "core.norm",
}
PAD = 32_000  # what the class has for padding where nothing is said
LONGROPE = {"su": "longrope", "yarn": "longrope"}  # what the first files called it

__all__ = ["HEADS", "MODEL_TYPES", "NAMES", "PREFIX", "config", "to_hf"]


def config(hf: Settings, task: Task) -> ModelConfig:
    hf.refuse_unless("attention_bias", False)
    hf.refuse_unless("embd_pdrop", 0.0)
    hf.get("original_max_position_embeddings", None)  # without longrope it says nothing
    fraction = hf.get("partial_rotary_factor", None)
    rope = read_rope(hf, rope_parameters(hf), hf.get("rope_theta", None), fractions=(fraction,), aliases=LONGROPE)
    window = hf.given("sliding_window")
    pattern = ("local",) if window else ("global",)
    dropout = hf.get("resid_pdrop", 0.0)
    return read_llama(hf, rope=rope, window=window, layer_pattern=pattern, residual_dropout=dropout)


def to_hf(config: ModelConfig) -> dict[str, Any]:
    hf = write_llama(config) | {"model_type": "phi3", "sliding_window": config.window}
    if config.head_dim * config.n_heads == config.d_model:
        del hf["head_dim"]  # not a setting of the class
    if config.vocab_size <= PAD:
        hf["pad_token_id"] = None  # the class would take one that is no row of the embedding
    return {"original_max_position_embeddings": config.max_seq_len} | hf | {"resid_pdrop": config.residual_dropout}
