"""Gemma 2: norms around each branch, soft caps, every other layer within a window."""

from __future__ import annotations

from typing import Any

from ..config import LayerKind, ModelConfig, RopeConfig, Task
from . import llama
from .decoders import heads, read_llama, write_llama
from .llama import PREFIX
from .rotary import read_rope, rope_parameters
from .settings import Settings, spelt
from .windows import read_windows, write_windows

MODEL_TYPES = ("gemma2",)
HEADS = heads("Gemma2")
NAMES = llama.NAMES | {
    "model.layers.{}.post_attention_layernorm": "core.layers.{}.attn.norm_out",
    "model.layers.{}.pre_feedforward_layernorm": "core.layers.{}.ffn.norm_in",
    "model.layers.{}.post_feedforward_layernorm": "core.layers.{}.ffn.norm_out",
}

__all__ = ["HEADS", "MODEL_TYPES", "NAMES", "PREFIX", "config", "to_hf"]


def gemma(hf: Settings, rope: RopeConfig, **changes: Any) -> ModelConfig:
    """What Gemma 2 and 3 share. hidden_act is an older name that the published files fill and nobody reads."""
    hf.refuse_unless("use_bidirectional_attention", False)
    hf.get("hidden_act", None)
    bias = hf.get("attention_bias", False)
    fields: dict[str, Any] = {
        "head_dim": hf.need("head_dim"),
        "embed_scale": float(hf.need("hidden_size")) ** 0.5,
        "norm_slots": ("in", "out"),
        "norm_unit_offset": True,
        "qkv_bias": bias,
        "out_bias": bias,
        "attn_scale": float(hf.need("query_pre_attn_scalar")) ** -0.5,
        "logit_softcap": hf.given("final_logit_softcapping"),
        "tie_embeddings": hf.get("tie_word_embeddings", True),
    }
    activation = hf.activation("hidden_activation", "gelu_pytorch_tanh")
    return read_llama(hf, rope=rope, activation=activation, **fields | changes)


def written_gemma(config: ModelConfig) -> dict[str, Any]:
    """The inverse of gemma()."""
    activation = spelt(config.activation, "gelu_pytorch_tanh")
    return (
        write_llama(config)
        | write_windows(config)
        | {
            "hidden_act": activation,
            "hidden_activation": activation,
            "attention_bias": config.qkv_bias,
            "query_pre_attn_scalar": round(config.attn_scale**-2),
            "final_logit_softcapping": config.logit_softcap,
        }
    )


def config(hf: Settings, task: Task) -> ModelConfig:
    rope = read_rope(hf, rope_parameters(hf), hf.get("rope_theta", None))
    hf.agreed("sliding_window", hf.given("sliding_window"), hf.get("sliding_window_size", None))
    layers: list[LayerKind] = ["global" if layer % 2 else "local" for layer in range(hf.need("num_hidden_layers"))]
    return gemma(hf, rope, attn_softcap=hf.given("attn_logit_softcapping"), **read_windows(hf, layers))


def to_hf(config: ModelConfig) -> dict[str, Any]:
    return written_gemma(config) | {"model_type": "gemma2", "attn_logit_softcapping": config.attn_softcap}
