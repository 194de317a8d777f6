"""Mistral: Llama with a window on every layer, or none."""

from __future__ import annotations

from typing import Any

from ..config import ModelConfig, Task
from .decoders import heads, read_llama, write_llama
from .llama import NAMES, PREFIX
from .rotary import read_rope, rope_parameters
from .settings import Settings

MODEL_TYPES = ("mistral",)
HEADS = heads("Mistral")

__all__ = ["HEADS", "MODEL_TYPES", "NAMES", "PREFIX", "config", "to_hf"]


def config(hf: Settings, task: Task) -> ModelConfig:
    hf.refuse_unless("attention_bias", False)
    hf.refuse_unless("layer_types", None)
    rope = read_rope(hf, rope_parameters(hf), hf.get("rope_theta", None))
    window = hf.given("sliding_window")  # null: none
    return read_llama(hf, rope=rope, window=window, layer_pattern=("local",) if window else ("global",))


def to_hf(config: ModelConfig) -> dict[str, Any]:
    return write_llama(config) | {"model_type": "mistral", "sliding_window": config.window}
