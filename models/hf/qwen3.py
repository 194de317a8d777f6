"""Qwen3: Llama with a norm on each query and key head."""

from __future__ import annotations

from typing import Any

from ..config import ModelConfig, Task
from . import llama, qwen2
from .decoders import heads, read_llama, write_llama
from .llama import PREFIX
from .rotary import read_rope, rope_parameters
from .settings import Settings

MODEL_TYPES = ("qwen3",)
HEADS = heads("Qwen3")
NAMES = llama.NAMES | {
    "model.layers.{}.self_attn.q_norm": "core.layers.{}.attn.f.q_norm",
    "model.layers.{}.self_attn.k_norm": "core.layers.{}.attn.f.k_norm",
}

__all__ = ["HEADS", "MODEL_TYPES", "NAMES", "PREFIX", "config", "to_hf"]


def config(hf: Settings, task: Task) -> ModelConfig:
    bias = hf.get("attention_bias", False)
    rope = read_rope(hf, rope_parameters(hf), hf.get("rope_theta", None))
    hf.need("head_dim")  # 128 whatever the width
    return read_llama(hf, rope=rope, qkv_bias=bias, out_bias=bias, qk_norm=True, **qwen2.windows(hf))


def to_hf(config: ModelConfig) -> dict[str, Any]:
    own = {"model_type": "qwen3", "attention_bias": config.qkv_bias}
    return write_llama(config) | qwen2.written_windows(config) | own
