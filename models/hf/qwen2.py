"""Qwen2 and Qwen2.5: Llama with biases on q, k and v, and a window that is there and mostly off."""

from __future__ import annotations

from typing import Any

from ..config import LayerKind, ModelConfig, Task
from .decoders import heads, read_llama, write_llama
from .llama import NAMES, PREFIX
from .rotary import read_rope, rope_parameters
from .settings import Settings
from .windows import read_windows, write_windows

MODEL_TYPES = ("qwen2",)
HEADS = heads("Qwen2")

__all__ = ["HEADS", "MODEL_TYPES", "NAMES", "PREFIX", "config", "to_hf"]


def windows(hf: Settings) -> dict[str, Any]:
    """The first max_window_layers see everything, the others sliding_window tokens, if use_sliding_window says so."""
    layers = hf.need("num_hidden_layers")
    everywhere = hf.get("max_window_layers", layers)
    if not hf.get("use_sliding_window", False):
        hf.refuse_unless("layer_types", None, ["full_attention"] * layers)
        hf.get("sliding_window", None)
        return {}
    kinds: list[LayerKind] = ["global" if layer < everywhere else "local" for layer in range(layers)]
    return read_windows(hf, kinds)


def written_windows(config: ModelConfig) -> dict[str, Any]:
    """The inverse of windows()."""
    return write_windows(config) | {"use_sliding_window": config.window is not None}


def config(hf: Settings, task: Task) -> ModelConfig:
    hf.refuse_unless("attention_bias", None, True)
    rope = read_rope(hf, rope_parameters(hf), hf.get("rope_theta", None))
    return read_llama(hf, rope=rope, qkv_bias=True, **windows(hf))


def to_hf(config: ModelConfig) -> dict[str, Any]:
    return write_llama(config) | written_windows(config) | {"model_type": "qwen2"}
