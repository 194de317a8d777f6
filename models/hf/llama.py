"""Llama 2 and 3, TinyLlama, SmolLM2."""

from __future__ import annotations

from typing import Any

from ..config import ModelConfig, Task
from .decoders import heads, read_llama, write_llama
from .rotary import read_rope, rope_parameters
from .settings import Settings

MODEL_TYPES = ("llama",)
PREFIX = "model."
HEADS = heads("Llama")
NAMES = {
    "model.embed_tokens": "embedder.tokens",
    "model.layers.{}.input_layernorm": "core.layers.{}.attn.norm_in",
    "model.layers.{}.self_attn.q_proj": "core.layers.{}.attn.f.q",
    "model.layers.{}.self_attn.k_proj": "core.layers.{}.attn.f.k",
    "model.layers.{}.self_attn.v_proj": "core.layers.{}.attn.f.v",
    "model.layers.{}.self_attn.o_proj": "core.layers.{}.attn.f.out",
    "model.layers.{}.post_attention_layernorm": "core.layers.{}.ffn.norm_in",
    "model.layers.{}.mlp.gate_proj": "core.layers.{}.ffn.f.gate",
    "model.layers.{}.mlp.up_proj": "core.layers.{}.ffn.f.up",
    "model.layers.{}.mlp.down_proj": "core.layers.{}.ffn.f.down",
    "model.norm": "core.norm",
}


def config(hf: Settings, task: Task) -> ModelConfig:
    hf.refuse_unless("rope_interleaved", False)
    bias = hf.get("attention_bias", False)
    # Llama 2's first files had no rope_theta.
    rope = read_rope(hf, rope_parameters(hf), hf.get("rope_theta", None), default_theta=10_000.0)
    return read_llama(hf, rope=rope, qkv_bias=bias, out_bias=bias, ffn_bias=hf.get("mlp_bias", False))


def to_hf(config: ModelConfig) -> dict[str, Any]:
    return write_llama(config) | {
        "model_type": "llama",
        "attention_bias": config.qkv_bias,
        "mlp_bias": config.ffn_bias,
    }
