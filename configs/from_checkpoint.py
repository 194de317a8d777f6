"""What a run takes from the checkpoint that it names, and what does not go with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from ..data.classification.kind import is_labelled
from ..errors import nearest, notice
from ..models.flops import count_parameters
from ..models.start import Start
from .architecture import NORMS
from .batches import batch_of_table, fitted
from .defaults import CONTEXT, EFFECTIVE_BATCH, default_batch
from .devices import device_type
from .layers import Layer
from .schema_model import TOKENIZERS
from .schema_run import RunConfig

Refuse = Callable[[str, str], None]
_NORM_WORDS = {ours: word for word, ours in NORMS.items()}
_IN_THE_CORE = ("rope", "relative")  # kinds of position that attention knows of; the others the embedder adds


def complete_from(run: RunConfig, start: Start) -> RunConfig:
    """Fill in what follows from the checkpoint: batch, context, loss; under hf_core what fits its core."""
    if run.model.core_model_type == "hf_core":
        return _complete_core(run, start)
    trainer, output, dataset = run.trainer, run.output, run.dataset
    changes: dict[str, Any] = {}
    said = dataset.format is not None or cast("str | None", trainer.loss_fn) is not None
    if not said and is_labelled(dataset):
        dataset = dataset.model_copy(update={"format": "classification"})
    if cast("int | None", trainer.batch_size) is None:
        of_table = batch_of_table(run, start, dataset.format == "classification")
        recommended = fitted(recommended_batch(start, run.general.device), trainer.effective_batch_size)
        changes["batch_size"] = of_table or recommended
    batch = changes.get("batch_size", trainer.batch_size)
    if cast("int | None", trainer.gradient_accumulation_steps) is None and trainer.effective_batch_size is None:
        changes["gradient_accumulation_steps"] = max(1, EFFECTIVE_BATCH // batch)
    if cast("str | None", trainer.loss_fn) is None:
        of_next = start.config.causal or dataset.format == "classification"
        of_replaced = start.task == "replaced_token"
        changes["loss_fn"] = "cross_entropy" if of_next else "replaced_token" if of_replaced else "masked_lm"
    changes["max_seq_length"] = _context(trainer.max_seq_length, start)
    if output.run_name is None:
        output = output.model_copy(update={"run_name": start.name})
    trainer = trainer.model_copy(update=changes)
    return run.model_copy(update={"trainer": trainer, "output": output, "dataset": dataset})


def recommended_batch(start: Start, device: str) -> int:
    """Sequences in a batch: the registry's for the device, else what suits the number of parameters."""
    kind = device_type(device)
    recommended = start.entry.recommended_batch_size if start.entry else None
    if recommended and kind in recommended:
        return recommended[cast(Any, kind)]
    return default_batch(count_parameters(start.config, start.task), kind)


def check(run: RunConfig, start: Start, layer: Layer, refuse: Refuse) -> None:
    """Refuse what does not go with the checkpoint."""
    if run.model.core_model_type == "hf_core":
        _check_core(run, start, refuse)
    elif run.model.tokenizer is not None:
        check_tokenizer("model.tokenizer", run.model.tokenizer, refuse)
    if run.fine_tuning is not None and run.model.core_model_type == "hf_core":
        refuse("fine_tuning", "this changes a whole checkpoint, of which hf_core takes the blocks only: leave it out")
    elif run.fine_tuning is not None and not layer.gives(("fine_tuning", "method")):
        refuse("fine_tuning", "settings, and no fine_tuning.method that would use them: give it, or leave them out")


def check_tokenizer(key: str, name: str, refuse: Refuse) -> None:
    """Refuse the name of a tokenizer that is neither known nor a path nor a hub id."""
    from ..models.registry import lookup

    known = name in TOKENIZERS or "/" in name or (key == "model.tokenizer" and lookup(name) is not None)
    if not known and not Path(name).expanduser().exists():
        refuse(key, f"no tokenizer is called '{name}', and no file or folder.{nearest(name, TOKENIZERS)}")


def _context(asked: int | None, start: Start) -> int:
    most = start.config.max_seq_len
    if asked is not None and asked > most:
        notice(f"trainer.max_seq_length {asked:,} becomes {most:,}: {start.name} was made for no more")
    return min(asked or CONTEXT, most)


def _complete_core(run: RunConfig, start: Start) -> RunConfig:
    model, core = run.model, start.config
    changes: dict[str, Any] = {}
    if cast("int | None", model.hidden_dim) is None:
        changes["hidden_dim"] = core.d_model
    if cast("int | None", model.context_window) is None:
        changes["context_window"] = run.trainer.max_seq_length or min(CONTEXT, core.max_seq_len)
    if cast("str | None", model.positional_encoding_type) is None and core.positions != "relative":
        changes["positional_encoding_type"] = core.positions
    if "lm_head_normalization" not in model.model_fields_set:
        changes["lm_head_normalization"] = _NORM_WORDS[core.head_norm]
    if model.freeze_core is None:
        changes["freeze_core"] = model.init == "pretrained"
    return run.model_copy(update={"model": model.model_copy(update=changes)})


def _check_core(run: RunConfig, start: Start, refuse: Refuse) -> None:
    model, core = run.model, start.config
    if model.hidden_dim != core.d_model:
        refuse(
            "model.hidden_dim", f"{model.hidden_dim}, and the core of {start.name} is {core.d_model} wide: leave it out"
        )
    if model.context_window > core.max_seq_len:
        refuse(
            "model.context_window",
            f"{model.context_window}, and the core of {start.name} was made for {core.max_seq_len} tokens: no more",
        )
    positions = cast("str | None", model.positional_encoding_type)
    if positions is not None and core.positions in _IN_THE_CORE and positions != core.positions:
        refuse(
            "model.positional_encoding_type",
            f"the core of {start.name} has {core.positions} positions of its own, and {positions} does not fit: "
            "leave it out",
        )
    if positions == "rope" and core.positions != "rope":
        refuse("model.positional_encoding_type", f"the core of {start.name} has no rope: learned, sincos or none")
    if core.head_norm != "none" and NORMS[model.lm_head_normalization] != core.head_norm:
        refuse(
            "model.lm_head_normalization",
            f"the core of {start.name} ends in a {_NORM_WORDS[core.head_norm]} of its own: leave it out",
        )
    if model.freeze_core and model.init == "random":
        refuse("model.freeze_core", "a core of random weights cannot learn while it is frozen: set it to false")
