"""One spelling for every setting: the table of all others, and the merging of sections that meet.

This is the only place that knows another spelling. A rule that ends in `.*` moves a whole section; any other rule moves
one value, so `trainer.optimizer: AdamW` becomes `trainer.optimizer.name`, while a mapping there keeps its keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..errors import UserError, notice
from .fields import DEVICES, TASKS, fold, is_mapping
from .layers import Layer, Origin, overlap
from .schema_run import FREE_FORM, OPTIONAL, SECTIONS, Path

RENAME = {
    # short forms
    "model": "model.base_model",
    "dataset": "dataset.name",
    "device": "general.device",
    "init": "model.init",
    # core model document: selectors with settings, written as a mapping or flat
    "model.core_model_type.name": "model.core_model_type",
    "model.core_model_type.num_layers": "model.num_layers",
    "model.core_model_type.ffn.*": "model.ffn.*",
    "model.core_model_type.attn.*": "model.attn.*",
    "model.core_model_type.ffn_weight_tying": "model.ffn_weight_tying",
    "model.core_model_type.c_proj_weight_tying": "model.c_proj_weight_tying",
    "model.core_model_type.freeze_core": "model.freeze_core",
    "model.embedding_model_type.name": "model.embedding_model_type",
    "model.embedding_model_type.embedding_weight_tying": "model.embedding_weight_tying",
    "model.embedding_model_type.embedding_dropout": "model.embedding_dropout",
    "model.tokenizer_type.name": "model.tokenizer_type",
    "model.tokenizer_type.vocab_size": "model.vocab_size",
    "model.tokenizer_type.tokenizer_dataset_name": "model.tokenizer_dataset_name",
    "model.tokenizer_type.tokenizer_simplify": "model.tokenizer_simplify",
    "model.tokenizer_type.tokenizer_min_frequency": "model.tokenizer_min_frequency",
    "model.lm_head_type.name": "model.lm_head_type",
    "model.lm_head_type.lm_head_normalization": "model.lm_head_normalization",
    "model.lm_head_type.lm_head_bias": "model.lm_head_bias",
    "model.lm_head_type.lm_head_dropout": "model.lm_head_dropout",
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
    # core model document: trainer and paths
    "trainer.dataset": "dataset.name",
    "trainer.eval.*": "evaluation.*",
    "trainer.eval_interval": "evaluation.interval",
    "trainer.optimizer": "trainer.optimizer.name",
    "trainer.optimizer.optimizer_name": "trainer.optimizer.name",
    "trainer.optimizer_name": "trainer.optimizer.name",
    "trainer.loss_fn.name": "trainer.loss_fn",
    "trainer.loss_fn.mask_ratio": "trainer.mask_ratio",
    "general.paths.output_dir": "output.output_dir",
    # plans for large models
    "memory_optimization": "trainer.memory_optimization",
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
    "trainer.learning_rates": "trainer.optimizer.lr",
    "trainer.save_steps": "trainer.checkpoint_interval",
    "trainer.correct_bias": "trainer.optimizer.correct_bias",
    "trainer.max_length": "trainer.max_seq_length",
    "model.name": "output.run_name",
    "model.pretrained_model": "model.base_model",
    "model.max_length": "trainer.max_seq_length",
    "model.batch_size": "trainer.batch_size",
    "model.learning_rate": "trainer.optimizer.lr",
    # model guide
    "fine_tuning.lora.rank": "fine_tuning.lora.r",
}

# Settings that documents give in several places with several values: the first section that speaks wins, with a notice.
PRECEDENCE: dict[Path, tuple[str, ...]] = {("evaluation", "interval"): ("evaluation", "output", "trainer")}

_CHOICE_WORDS = {fold(name): name for name in (*DEVICES, *TASKS)}
_VALUE_RULES = {tuple(old.split(".")): tuple(new.split(".")) for old, new in RENAME.items() if old[-2:] != ".*"}
SECTION_RULES = {
    tuple(old[:-2].split(".")): tuple(new[:-2].split(".")) for old, new in RENAME.items() if old[-2:] == ".*"
}


def split_choice(path: Path) -> tuple[Path, Path]:
    """A path and the devices or tasks at its end: `trainer.batch_size` and `cuda`."""
    end = len(path)
    while end > 1 and fold(path[end - 1]) in _CHOICE_WORDS:
        end -= 1
    return path[:end], path[end:]


def canonical_path(path: Path) -> Path:
    """The one spelling of a path. Unknown paths stay as they are."""
    path, choice = split_choice(path)
    while (step := _VALUE_RULES.get(path) or _moved(path)) != path:
        path = step
    return path + tuple(_CHOICE_WORDS[fold(word)] for word in choice)


def canonical(raw: dict[str, Any], place: Callable[[Path], str], prefix: Path = ()) -> Layer:
    """Rename every setting of a source. `place(path)` says where a written path is; `prefix` is what it lies under.

    Raises UserError where one setting is given twice with two values.
    """
    layer = Layer()
    for written, value in _leaves(raw, ()):
        section = _moved(written)
        is_section = section in SECTIONS or written in SECTION_RULES
        if is_section and (value == {} or (value is None and section not in OPTIONAL)):
            continue  # `trainer:` with nothing below it
        path = section if value is None and section in OPTIONAL else canonical_path(written)
        _insert(layer, path, value, Origin(".".join(prefix + written), place(prefix + written)), written)
    return layer


def spellings(path: Path) -> list[str]:
    """Every other way to write a canonical path, for documentation and near-name hints."""
    found = [old for old in _VALUE_RULES if canonical_path(old) == path]
    for old, new in SECTION_RULES.items():
        found += [old + known[len(new) :] for known in (path, *found) if known[: len(new)] == new]
    names = [".".join(other) for other in found if other != path and canonical_path(other) == path]
    return list(dict.fromkeys(names))


def _moved(path: Path) -> Path:
    """A path after the longest rule for a whole section that it falls under."""
    for length in range(len(path), 0, -1):
        if path[:length] in SECTION_RULES:
            return SECTION_RULES[path[:length]] + path[length:]
    return path


def _leaves(raw: dict[str, Any], prefix: Path) -> Iterator[tuple[Path, Any]]:
    for name, value in raw.items():
        path = (*prefix, name)
        if is_mapping(value) and value and canonical_path(path) not in FREE_FORM:
            yield from _leaves(value, path)
        else:
            yield path, value


def _insert(layer: Layer, path: Path, value: Any, origin: Origin, written: Path) -> None:
    for other in [known for known in layer.values if overlap(known, path)]:
        before = layer.origins[other]
        if path == other and _same(layer.values[other], value):
            return
        if path == other and path in PRECEDENCE:
            order = PRECEDENCE[path]
            old = tuple(before.written.split("."))[len(origin.written.split(".")) - len(written) :]
            here, there = order.index(_section(written)), order.index(_section(old))
            if here != there:
                winner, loser = (origin, before) if here < there else (before, origin)
                notice(f"{winner} is used and {loser} is not: of {', '.join(order)} the first that speaks wins.")
                if winner is origin:
                    layer.put(path, value, origin)
                return
        raise UserError(f"{before} and {origin} give the same setting two values: keep one of them.")
    layer.put(path, value, origin)


def _section(written: Path) -> str:
    """The section in which a path was written, in its one spelling."""
    return SECTION_RULES.get(written[:2], SECTION_RULES.get(written[:1], written))[0]


def _same(one: Any, other: Any) -> bool:
    """Equal, or two spellings of one word or number: `AdamW` and `adamw`, `3e-4` and 0.0003."""
    if isinstance(one, bool) or isinstance(other, bool) or None in (one, other):
        return one is other
    try:
        return float(one) == float(other)
    except (TypeError, ValueError):
        return fold(one) == fold(other) if isinstance(one, str) and isinstance(other, str) else one == other
