"""From the `model:` section of a run to the ModelConfig that `build_model` takes: described, or a checkpoint's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..models.config import ModelConfig, RopeConfig, Task
from ..models.distil import chosen_layers, student_config
from ..models.start import BAG_OF_WORDS, Start, find_start, resumed_start
from .schema_model import Initialization
from .schema_run import RunConfig

NORMS = {"rms_norm": "rmsnorm", "layer_norm": "layernorm", "none": "none"}


def start_of(run: RunConfig, resume: Path | None = None) -> Start | None:
    """The checkpoint that a run names, None for a run from scratch; with `resume`, its folder, the run's own.

    Raises UserError where there is no such thing.
    """
    if not run.model.base_model:
        return None
    if resume is None:
        return _student(run, find_start(run.model.base_model))
    elsewhere = run.general.paths.checkpoint_dir
    return resumed_start(Path(elsewhere) / resume.parent.name / resume.name if elsewhere else resume)


def _student(run: RunConfig, start: Start) -> Start:
    """The layers of a checkpoint that a student is made of; the checkpoint itself where a run names none."""
    if run.distillation is None or run.distillation.layers is None or run.model.core_model_type == "hf_core":
        return start
    layers = chosen_layers(run.distillation.layers, start.config.n_layers, "distillation.layers")
    return replace(start, name=f"distil-{start.name}", config=student_config(start.config, layers), layers=layers)


def is_bag_of_words(run: RunConfig) -> bool:
    """Whether the run's model is TF-IDF and logistic regression, which has no architecture."""
    return (run.model.base_model or "").casefold() == BAG_OF_WORDS


def task_of(run: RunConfig, start: Start | None) -> Task:
    """The head that is trained: a described one predicts tokens from where they stand, whatever the loss."""
    if start is not None and run.dataset.format == "classification" and run.model.core_model_type != "hf_core":
        return "classification"
    if run.trainer.loss_fn == "replaced_token":
        return "replaced_token"
    described = start is None or (run.model.core_model_type == "hf_core" and not start.resumed)
    return "causal_lm" if start is None or described else start.task


def architecture(run: RunConfig, vocab_size: int, start: Start | None = None) -> ModelConfig:
    """The architecture of a run; `vocab_size` is the tokenizer's, `start` the checkpoint it names.

    `model.vocab_size` is the number of rows where it is given: a trained vocabulary may fall short of it, and multiples
    of 64 are faster. A checkpoint has its own. Raises UserError where the rows do not hold every id, and where sizes do
    not fit each other.
    """
    if start is not None and (start.resumed or run.model.core_model_type != "hf_core"):
        return start.config
    if start is not None:
        return _around(start.config, run, vocab_size)
    model, attn, ffn = run.model, run.model.attn, run.model.ffn
    rows = _rows(run, vocab_size)
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
        "attn_norm": NORMS[attn.normalization],
        "ffn_norm": NORMS[ffn.normalization],
        "head_norm": NORMS[model.lm_head_normalization],
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


def _rows(run: RunConfig, vocab_size: int) -> int:
    """Rows of the embedding."""
    rows = run.model.vocab_size or vocab_size
    if rows < vocab_size:
        raise UserError(
            f"model.vocab_size is {rows}, and the tokenizer has {vocab_size} ids: set it to {vocab_size} or more, "
            "or leave it out"
        )
    return rows


def _around(core: ModelConfig, run: RunConfig, vocab_size: int) -> ModelConfig:
    """The blocks of `core` with an embedder and a head as the run describes them."""
    model = run.model
    return replace(
        core,
        vocab_size=_rows(run, vocab_size),
        max_seq_len=model.context_window,
        d_embed=core.d_model,
        n_token_types=0,
        positions=model.positional_encoding_type or core.positions,
        position_offset=0,
        pad_token_id=None,
        embed_norm=False,
        embed_scale=1.0,
        head_norm=NORMS[model.lm_head_normalization],
        tie_embeddings=model.embedding_weight_tying,
        head_bias=model.lm_head_bias,
        logit_softcap=None,
        embed_dropout=model.embedding_dropout,
        head_dropout=model.lm_head_dropout,
        **_initialization(model.initialization_fn),
    )


def _initialization(init: Initialization) -> dict[str, Any]:
    """The fields of the chosen initialisation; ModelConfig refuses those of another."""
    if init.name == "xavier":
        return {"init": "xavier", "init_gain": init.gain}
    if init.name == "kaiming":
        return {"init": "kaiming", "init_mode": init.mode, "init_nonlinearity": init.nonlinearity}
    return {"init": init.name}
