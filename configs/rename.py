"""One spelling for every setting: the table of all others, and the merging of sections that meet.

This is the only place that knows another spelling. A rule whose key ends in `.*` moves a whole section; any other rule moves
one value, so `trainer.optimizer: AdamW` becomes `trainer.optimizer.name`, while a mapping there keeps its keys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..errors import UserError, notice
from .fields import DEVICES, TASKS, fold
from .schema_run import FREE_FORM, SECTIONS, Path

RENAME = {
    # short forms
    "model": "model.base_model",
    "dataset": "dataset.name",
    "device": "general.device",
    # core model document: selectors with settings, written as a mapping or flat
    "model.core_model_type.name": "model.core_model_type",
    "model.core_model_type.*": "model.*",
    "model.embedding_model_type.name": "model.embedding_model_type",
    "model.embedding_model_type.*": "model.*",
    "model.tokenizer_type.name": "model.tokenizer_type",
    "model.tokenizer_type.*": "model.*",
    "model.lm_head_type.name": "model.lm_head_type",
    "model.lm_head_type.*": "model.*",
    "model.model_shell_type.name": "model.model_shell_type",
    "model.positional_encoding_type.name": "model.positional_encoding_type",
    "model.initialization_fn": "model.initialization_fn.name",
    "model.gain": "model.initialization_fn.gain",
    "model.mode": "model.initialization_fn.mode",
    "model.nonlinearity": "model.initialization_fn.nonlinearity",
    "model.ffn": "model.ffn.ffn_type",
    "model.ffn.name": "model.ffn.ffn_type",
    "model.attn": "model.attn.attn_type",
    "model.attn.name": "model.attn.attn_type",
    # core model document: the trainer
    "trainer.dataset": "dataset.name",
    "trainer.eval.*": "evaluation.*",
    "trainer.eval_interval": "evaluation.interval",
    "trainer.optimizer": "trainer.optimizer.name",
    "trainer.optimizer.optimizer_name": "trainer.optimizer.name",
    "trainer.optimizer_name": "trainer.optimizer.name",
    "general.paths.output_dir": "output.output_dir",
    # fine-tuning document
    "training.*": "trainer.*",
    "trainer.micro_batch_size": "trainer.batch_size",
    "trainer.learning_rate": "trainer.optimizer.lr",
    "trainer.weight_decay": "trainer.optimizer.weight_decay",
    "trainer.max_grad_norm": "trainer.optimizer.grad_clip",
    "trainer.lr_scheduler_type": "trainer.lr_scheduler",
    "distributed.gradient_accumulation_steps": "trainer.gradient_accumulation_steps",
    "output.logging_steps": "trainer.log_interval",
    "output.eval_steps": "evaluation.interval",
    "output.save_steps": "trainer.checkpoint_interval",
    "evaluation.eval_steps": "evaluation.interval",
    "evaluation.eval_batch_size": "evaluation.batch_size",
    "evaluation.eval_strategy": "evaluation.strategy",
    # GPT-2 document
    "trainer.num_epochs": "trainer.epochs",
    "trainer.max_length": "trainer.max_seq_length",
    "trainer.learning_rates": "trainer.optimizer.lr",
    "trainer.save_steps": "trainer.checkpoint_interval",
    "trainer.correct_bias": "trainer.optimizer.correct_bias",
    # model guide
    "fine_tuning.lora.rank": "fine_tuning.lora.r",
}

# Settings that documents give in several places with several values: the first section that speaks wins, and it is said.
PRECEDENCE = {("evaluation", "interval"): ("evaluation", "output", "trainer")}

_CHOICE_WORDS = {fold(name): name for name in (*DEVICES, *TASKS)}
_EXACT = {tuple(old.split(".")): tuple(new.split(".")) for old, new in RENAME.items() if not old.endswith(".*")}
_WHOLE = {tuple(old.split(".")[:-1]): tuple(new.split(".")[:-1]) for old, new in RENAME.items() if old.endswith(".*")}


@dataclass(frozen=True)
class Origin:
    """Where a setting was written: `training.learning_rate`, `run.yaml, line 12`."""

    written: str
    place: str

    def __str__(self) -> str:
        return f"{self.written} ({self.place})"


@dataclass
class Layer:
    """Settings of one source (file, profile, command line) by canonical path, and where each was written."""

    values: dict[Path, Any] = field(default_factory=dict)
    origins: dict[Path, Origin] = field(default_factory=dict)


def split_choice(path: Path) -> tuple[Path, Path]:
    """A path and the devices or tasks at its end: `trainer.batch_size` and `cuda`."""
    end = len(path)
    while end > 1 and fold(path[end - 1]) in _CHOICE_WORDS:
        end -= 1
    return path[:end], path[end:]


def canonical_path(path: Path) -> Path:
    """The one spelling of a path. Unknown paths stay as they are."""
    path, choice = split_choice(path)
    while (step := _EXACT.get(path) or _moved(path)) != path:
        path = step
    return path + tuple(_CHOICE_WORDS[fold(word)] for word in choice)


def _moved(path: Path) -> Path:
    """A path after the longest rule for a whole section that it falls under."""
    for length in range(len(path) - 1, 0, -1):
        if path[:length] in _WHOLE:
            return _WHOLE[path[:length]] + path[length:]
    return path


def _is_section(path: Path) -> bool:
    return path in _WHOLE or path in SECTIONS or _moved(path) in SECTIONS


def canonical(raw: dict[str, Any], place: Callable[[Path], str], prefix: Path = ()) -> Layer:
    """Rename every setting of a source. `place(path)` says where a written path is; `prefix` is what it lies under.

    Raises UserError where one setting is given twice with two values.
    """
    layer = Layer()
    for written, value in _leaves(raw, ()):
        if value is None and _is_section(written):
            continue  # `trainer:` with nothing below it
        path = canonical_path(written)
        origin = Origin(".".join(prefix + written), place(prefix + written))
        _insert(layer, path, value, origin)
    return layer


def _leaves(raw: dict[str, Any], prefix: Path) -> Any:
    for name, value in raw.items():
        path = (*prefix, name)
        if isinstance(value, dict) and canonical_path(path) not in FREE_FORM:
            yield from _leaves(value, path)
        else:
            yield path, value


def _insert(layer: Layer, path: Path, value: Any, origin: Origin) -> None:
    for other in list(layer.values):
        shorter = min(len(path), len(other))
        if path[:shorter] != other[:shorter]:
            continue
        before = layer.origins[other]
        if path == other and layer.values[other] == value:
            return
        if path in PRECEDENCE and other == path:
            order = PRECEDENCE[path]
            here, there = (order.index(_section(place.written)) for place in (origin, before))
            if here != there:
                winner, loser = (origin, before) if here < there else (before, origin)
                notice(f"{winner} is used, {loser} is not: the first of {', '.join(order)} wins.")
                if winner is origin:
                    layer.values[path], layer.origins[path] = value, origin
                return
        raise UserError(f"{before} and {origin} give the same setting two values: keep one of them.")
    layer.values[path], layer.origins[path] = value, origin


def _section(written: str) -> str:
    """The canonical section in which a path was written, without the profile around it."""
    parts = written.split(".")
    parts = parts[2:] if parts[0] == "profiles" else parts
    return {"training": "trainer"}.get(parts[0], parts[0]) if parts[:2] != ["trainer", "eval"] else "evaluation"


def spellings(path: Path) -> list[str]:
    """Every other way to write a canonical path, for documentation and near-name hints."""
    found = [".".join(old) for old in _EXACT if canonical_path(old) == path]
    moved = []
    for old, new in _WHOLE.items():
        for known in (path, *(tuple(text.split(".")) for text in found)):
            if known[: len(new)] == new and canonical_path(other := old + known[len(new) :]) == path:
                moved.append(".".join(other))
    return [text for text in dict.fromkeys((*found, *moved)) if text != ".".join(path)]
