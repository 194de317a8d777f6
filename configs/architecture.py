"""From the `model:` section of a run to the ModelConfig that `build_model` takes."""

from __future__ import annotations

from typing import Any

from ..errors import UserError
from ..models.config import ModelConfig, RopeConfig
from .schema_model import Initialization
from .schema_run import RunConfig

_NORMS = {"rms_norm": "rmsnorm", "layer_norm": "layernorm", "none": "none"}


def architecture(run: RunConfig, vocab_size: int) -> ModelConfig:
    """The architecture of a run from scratch; `vocab_size` is the tokenizer's.

    `model.vocab_size` is the number of rows where it is given: a trained vocabulary may fall short of it, and multiples
    of 64 are faster. Raises UserError where it does not hold every id, and where sizes do not fit each other.
    """
    model, attn, ffn = run.model, run.model.attn, run.model.ffn
    rows = model.vocab_size or vocab_size
    if rows < vocab_size:
        raise UserError(
            f"model.vocab_size is {rows}, and the tokenizer has {vocab_size} ids: set it to {vocab_size} or more, "
            "or leave it out"
        )
    values: dict[str, Any] = {
        "vocab_size": rows,
        "d_model": model.hidden_dim,
        "n_layers": model.num_layers,
        "n_heads": attn.num_q_heads or attn.num_kv_heads,
        "n_kv_heads": attn.num_kv_heads,
        "d_ff": ffn.ffn_dim,
        "max_seq_len": model.context_window,
        "positions": model.positional_encoding_type,
        "causal": attn.attn_type == "causal",
        "qkv_bias": attn.bias,
        "out_bias": attn.bias,
        "share_attn_out": model.c_proj_weight_tying,
        "activation": ffn.activation,
        "gated": ffn.ffn_type == "silu_ffn",
        "ffn_bias": ffn.bias,
        "share_ffn": model.ffn_weight_tying,
        "attn_norm": _NORMS[attn.normalization],
        "ffn_norm": _NORMS[ffn.normalization],
        "head_norm": _NORMS[model.lm_head_normalization],
        "norm_bias": model.norm_bias,
        "tie_embeddings": model.embedding_weight_tying,
        "head_bias": model.lm_head_bias,
        "embed_dropout": model.embedding_dropout,
        "attn_dropout": attn.attn_dropout,
        "attn_probs_dropout": attn.attn_probs_dropout,
        "ffn_dropout": ffn.ffn_dropout,
        "residual_dropout": model.residual_dropout,
        "head_dropout": model.lm_head_dropout,
        **_initialization(model.initialization_fn),
    }
    if model.positional_encoding_type == "rope":
        values["rope"] = RopeConfig(theta=model.rope_theta)
    return ModelConfig(**values)


def _initialization(init: Initialization) -> dict[str, Any]:
    """The fields of the chosen initialisation; ModelConfig refuses those of another."""
    if init.name == "xavier":
        return {"init": "xavier", "init_gain": init.gain}
    if init.name == "kaiming":
        return {"init": "kaiming", "init_mode": init.mode, "init_nonlinearity": init.nonlinearity}
    return {"init": init.name}
