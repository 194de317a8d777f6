"""What decoders say in the same words: sizes, and what Llama, Mistral, Qwen, Phi-3 and Gemma share beyond them."""

from __future__ import annotations

from typing import Any

from ..config import Activation, ModelConfig, RopeConfig, Task
from .families import Head
from .rotary import write_rope
from .settings import Settings, spelt


def heads(name: str, output: str = "lm_head") -> dict[Task, Head]:
    """The classes that transformers makes of a decoder's name; `output` is the module of the causal head."""
    return {
        "causal_lm": Head((f"{name}ForCausalLM",), {output: "head.out"}),
        "classification": Head((f"{name}ForSequenceClassification",), {"score": "head.out"}),
        "encoder": Head((f"{name}Model",), {}),
    }


def read_sizes(hf: Settings) -> dict[str, Any]:
    """ModelConfig's fields of most decoders."""
    return {
        "vocab_size": hf.need("vocab_size"),
        "d_model": hf.need("hidden_size"),
        "n_layers": hf.need("num_hidden_layers"),
        "n_heads": hf.need("num_attention_heads"),
        "d_ff": hf.need("intermediate_size"),
        "max_seq_len": hf.need("max_position_embeddings"),
        "attn_probs_dropout": hf.get("attention_dropout", 0.0),
        "init_std": hf.get("initializer_range", 0.02),
        "tie_embeddings": hf.get("tie_word_embeddings", False),
    }


def write_sizes(config: ModelConfig) -> dict[str, Any]:
    """The inverse of read_sizes."""
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "intermediate_size": config.d_ff,
        "max_position_embeddings": config.max_seq_len,
        "attention_dropout": config.attn_probs_dropout,
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tie_embeddings,
    }


def read_llama(hf: Settings, *, rope: RopeConfig, activation: Activation | None = None, **changes: Any) -> ModelConfig:
    """Llama and its descendants; `changes` are the fields of ModelConfig in which one differs.

    Raises:
        UserError: a setting is missing or not available.
    """
    fields: dict[str, Any] = read_sizes(hf) | {
        "n_kv_heads": hf.get("num_key_value_heads", None),
        "head_dim": hf.get("head_dim", None),
        "norm": "rmsnorm",
        "norm_eps": hf.need("rms_norm_eps"),
        "positions": "rope",
        "rope": rope,
        "activation": activation or hf.activation("hidden_act"),
        "gated": True,
    }
    return ModelConfig(**fields | changes)


def write_llama(config: ModelConfig) -> dict[str, Any]:
    """The inverse of read_llama."""
    return (
        write_sizes(config)
        | write_rope(config.rope, config.max_seq_len)
        | {
            "num_key_value_heads": config.n_kv_heads,
            "head_dim": config.head_dim,
            "rms_norm_eps": config.norm_eps,
            "hidden_act": spelt(config.activation, "silu"),
        }
    )
