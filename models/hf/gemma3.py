"""Gemma 3's language model: alone (270m, 1b), or inside a model that also sees (4b and larger)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config import LayerKind, ModelConfig, Task
from . import gemma2
from .decoders import heads
from .families import Head
from .gemma2 import PREFIX
from .rotary import read_rope, rope_parameters
from .settings import Settings
from .windows import read_windows

MODEL_TYPES = ("gemma3_text", "gemma3")
HEADS = heads("Gemma3") | {
    "classification": Head(("Gemma3TextForSequenceClassification",), {"score": "head.out"}),
    "encoder": Head(("Gemma3TextModel",), {}),
}
NAMES = gemma2.NAMES | {
    "model.layers.{}.self_attn.q_norm": "core.layers.{}.attn.f.q_norm",
    "model.layers.{}.self_attn.k_norm": "core.layers.{}.attn.f.k_norm",
}
RENAMED = {"language_model.model.": "model.", "language_model.lm_head.": "lm_head.", "model.language_model.": "model."}
LEFT_OUT = (r"^(model\.)?(vision_tower|multi_modal_projector)\.", "what sees images")

# Class of the whole -> class of its language model; and what the files of the whole leave out.
ALONE = {
    "Gemma3ForConditionalGeneration": "Gemma3ForCausalLM",
    "Gemma3ForSequenceClassification": "Gemma3TextForSequenceClassification",
    "Gemma3Model": "Gemma3TextModel",
}
PUBLISHED = {"vocab_size": 262_208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256}
PUBLISHED |= {"max_position_embeddings": 131_072, "rms_norm_eps": 1e-6, "query_pre_attn_scalar": 256}
PUBLISHED |= {"final_logit_softcapping": None}
THETA, THETA_LOCAL, PATTERN = 1_000_000.0, 10_000.0, 6

__all__ = ["HEADS", "LEFT_OUT", "MODEL_TYPES", "NAMES", "PREFIX", "RENAMED", "config", "own_settings", "to_hf"]


def own_settings(hf: Mapping[str, Any]) -> dict[str, Any]:
    if "text_config" not in hf:
        return dict(hf)
    outside = {key: hf[key] for key in ("dtype", "torch_dtype", "tie_word_embeddings") if key in hf}
    classes = {"architectures": [ALONE.get(name, name) for name in hf.get("architectures") or []]}
    return PUBLISHED | outside | dict(hf["text_config"]) | classes | {"model_type": "gemma3_text"}


def config(hf: Settings, task: Task) -> ModelConfig:
    hf.refuse_unless("attn_logit_softcapping", None)  # a setting of the class that it never reads
    parameters = rope_parameters(hf)
    both = {"full_attention", "sliding_attention"} & parameters.keys()
    full = parameters.get("full_attention") or {} if both else parameters
    rope = read_rope(hf, full, hf.get("rope_theta", None), default_theta=THETA)
    sliding = parameters.get("sliding_attention") or {}
    local = read_rope(hf, sliding, hf.get("rope_local_base_freq", None), default_theta=THETA_LOCAL)
    layers, pattern = hf.need("num_hidden_layers"), hf.get("sliding_window_pattern", PATTERN)
    kinds: list[LayerKind] = ["local" if layer % pattern else "global" for layer in range(1, layers + 1)]
    windows = read_windows(hf, kinds)
    return gemma2.gemma(hf, rope, qk_norm=True, rope_local=local if windows else None, **windows)


def to_hf(config: ModelConfig) -> dict[str, Any]:
    local = (config.rope_local or config.rope).theta
    return gemma2.written_gemma(config) | {"model_type": "gemma3_text", "rope_local_base_freq": local}
