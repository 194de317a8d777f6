"""What a parsed run still lacks, what follows from the rest, and what cannot go together."""

from __future__ import annotations

import importlib.util

from .not_yet import value_at
from .rename import Layer, Origin
from .schema_run import FIELDS, RunConfig

# A required key that another one can stand in for.
INSTEAD = {
    "trainer.max_iters": "trainer.epochs",
    "trainer.warmup_iters": "trainer.warmup_ratio",
    "trainer.gradient_accumulation_steps": "trainer.effective_batch_size",
}


def missing(run: RunConfig) -> list[str]:
    """One sentence for each key without a default that the run does not give."""
    found: list[str] = []
    for path, field in FIELDS.items():
        name = ".".join(path)
        extra = field.json_schema_extra or {}
        if not extra.get("required") or value_at(run, name) is not None:
            continue
        instead = INSTEAD.get(name)
        if instead and value_at(run, instead) is not None:
            continue
        found.append(f"{name} is missing: {field.description}.")
    if run.model.tokenizer_type == "bpe" and run.model.vocab_size is None:
        found.append("model.vocab_size is missing: a `bpe` tokenizer is trained to this size.")
    return found


def complete(run: RunConfig) -> RunConfig:
    """Fill in what follows from other settings."""
    trainer, evaluation, paths = run.trainer, run.evaluation, run.general.paths
    changes: dict[str, object] = {}
    if trainer.gradient_accumulation_steps is None and trainer.effective_batch_size is not None:
        changes["gradient_accumulation_steps"] = max(1, trainer.effective_batch_size // trainer.batch_size)
    if trainer.effective_batch_size is None:
        changes["effective_batch_size"] = trainer.batch_size * trainer.gradient_accumulation_steps
    if trainer.max_seq_length is None:
        changes["max_seq_length"] = run.model.context_window
    return run.model_copy(
        update={
            "trainer": trainer.model_copy(update=changes),
            "evaluation": evaluation.model_copy(update={"batch_size": evaluation.batch_size or trainer.batch_size}),
            "general": run.general.model_copy(
                update={
                    "paths": paths.model_copy(update={"data_dir": paths.data_dir or f"{run.output.output_dir}/cache"})
                }
            ),
        }
    )


def impossible(run: RunConfig, layer: Layer) -> list[str]:
    """One sentence for each combination that cannot be honoured."""
    model, trainer = run.model, run.trainer

    def at(name: str) -> Origin | str:
        path = tuple(name.split("."))
        return next((where for known, where in layer.origins.items() if known[: len(path)] == path), name)

    found: list[str] = []
    if trainer.effective_batch_size != trainer.batch_size * trainer.gradient_accumulation_steps:
        found.append(
            f"{at('trainer.effective_batch_size')}: {trainer.effective_batch_size} is not a multiple of batch_size "
            f"{trainer.batch_size} times gradient_accumulation_steps {trainer.gradient_accumulation_steps}."
        )
    if trainer.max_seq_length is not None and trainer.max_seq_length > model.context_window:
        found.append(
            f"{at('trainer.max_seq_length')}: {trainer.max_seq_length} tokens are more than model.context_window "
            f"{model.context_window}."
        )
    if trainer.optimizer.min_lr > trainer.optimizer.lr:
        found.append(
            f"{at('trainer.optimizer.min_lr')}: {trainer.optimizer.min_lr:g} is above trainer.optimizer.lr "
            f"{trainer.optimizer.lr:g}."
        )
    if model.attn.attn_type == "bidirectional" and trainer.loss_fn == "cross_entropy":
        found.append(
            f"{at('model.attn.attn_type')}: with bidirectional attention every position sees the token it should predict; "
            "use `causal`, or trainer.loss_fn: next_token_mlm."
        )
    for extra in ("wandb", "tensorboard"):
        wanted = getattr(run.general.logging, f"{extra}_log")
        if wanted and importlib.util.find_spec(extra) is None:
            found.append(f"{at(f'general.logging.{extra}_log')}: {extra} is not installed: pip install {extra}.")
    return found
