"""GPT-NeoX: Pythia."""

from __future__ import annotations

from typing import Any

from ..config import ModelConfig, Task
from .decoders import heads, read_sizes, write_sizes
from .rotary import read_rope, rope_parameters, write_rope
from .rows import per_head
from .settings import Settings, spelt

MODEL_TYPES = ("gpt_neox",)
PREFIX = "gpt_neox."
RENAMED = {"lm_head.": "embed_out."}  # as transformers 5 calls it; files keep the older name
NAMES = {
    "gpt_neox.embed_in": "embedder.tokens",
    "gpt_neox.layers.{}.input_layernorm": "core.layers.{}.attn.norm_in",
    "gpt_neox.layers.{}.attention.query_key_value": per_head(
        "core.layers.{}.attn.f.q", "core.layers.{}.attn.f.k", "core.layers.{}.attn.f.v"
    ),
    "gpt_neox.layers.{}.attention.dense": "core.layers.{}.attn.f.out",
    "gpt_neox.layers.{}.post_attention_layernorm": "core.layers.{}.ffn.norm_in",
    "gpt_neox.layers.{}.mlp.dense_h_to_4h": "core.layers.{}.ffn.f.up",
    "gpt_neox.layers.{}.mlp.dense_4h_to_h": "core.layers.{}.ffn.f.down",
    "gpt_neox.final_layer_norm": "core.norm",
}
HEADS = heads("GPTNeoX", output="embed_out")


def config(hf: Settings, task: Task) -> ModelConfig:
    hf.get("classifier_dropout", None)  # of a head that labels tokens
    hf.get("is_decoder", False)  # it is one either way
    parameters = rope_parameters(hf)
    fraction = hf.agreed("rotary_pct", hf.get("rotary_pct", None), hf.get("partial_rotary_factor", None))
    if "partial_rotary_factor" not in parameters and fraction is None:
        hf.need("rotary_pct")
    return ModelConfig(
        **read_sizes(hf),
        positions="rope",
        rope=read_rope(
            hf, parameters, hf.get("rotary_emb_base", None), hf.get("rope_theta", None), fractions=(fraction,)
        ),
        norm_eps=hf.need("layer_norm_eps"),
        parallel=hf.get("use_parallel_residual", True),
        qkv_bias=hf.get("attention_bias", True),
        out_bias=hf.get("attention_bias", True),
        ffn_bias=True,
        activation=hf.activation("hidden_act"),
        embed_dropout=hf.get("hidden_dropout", 0.0),
        residual_dropout=hf.get("hidden_dropout", 0.0),
    )


def to_hf(config: ModelConfig) -> dict[str, Any]:
    rope = write_rope(config.rope, config.max_seq_len)
    rope |= {"rotary_emb_base": rope.pop("rope_theta"), "rotary_pct": rope.pop("partial_rotary_factor", 1.0)}
    return (
        write_sizes(config)
        | rope
        | {
            "model_type": "gpt_neox",
            "layer_norm_eps": config.norm_eps,
            "use_parallel_residual": config.parallel,
            "attention_bias": config.qkv_bias,
            "hidden_act": spelt(config.activation, "gelu"),
            "hidden_dropout": config.residual_dropout,
        }
    )
