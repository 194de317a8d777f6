"""How many sequences at a time: the table by model and task, the effective batch, and where memory is short."""

from __future__ import annotations

from typing import Any, cast

from ..errors import nearest, notice
from ..models.start import Start
from .fields import TASKS, fold
from .layers import Layer
from .registry import MemoryOptimization, ModelsSection
from .schema_run import RunConfig

_TASKS = {fold(task): task for task in TASKS}
_OF_TRAINER = ("gradient_checkpointing", "max_memory_usage", "batch_size_auto_adjust", "min_batch_size")


def batch_of_table(run: RunConfig, start: Start, is_classification: bool) -> int | None:
    """What trainer.batch_sizes says for this model and task; None where it has no row for them."""
    task = fold("classification" if is_classification else "language-modeling")
    for model, row in (run.trainer.batch_sizes or {}).items():
        if fold(model) in _names(run, start):
            return next((size for name, size in row.items() if fold(name) == task), None)
    return None


def fitted(batch: int, effective: int | None) -> int:
    """The largest batch, `batch` at most, of which whole ones make up the effective batch."""
    if effective is None:
        return batch
    return next(size for size in range(min(batch, effective), 0, -1) if effective % size == 0)


def complete_memory(run: RunConfig, start: Start | None) -> RunConfig:
    """What memory_optimization says for the family of the model, where the trainer says nothing itself."""
    if start is None or start.resumed or (settings := _optimization(run, start)) is None:
        return run
    given = {name: getattr(settings, name) for name in _OF_TRAINER if name in settings.model_fields_set}
    changes = {name: value for name, value in given.items() if name not in run.trainer.model_fields_set}
    return run.model_copy(update={"trainer": run.trainer.model_copy(update=changes)})


def check_batches(run: RunConfig, start: Start | None, layer: Layer, refuse: Any) -> None:
    """Refuse tables that do not speak of this run, and what contradicts itself."""
    trainer = run.trainer
    if trainer.batch_sizes is not None:
        _check_table(run, start, refuse)
    if trainer.min_batch_size > trainer.batch_size:
        refuse(
            "trainer.min_batch_size",
            f"{trainer.min_batch_size} is above the batch size itself, {trainer.batch_size}: a batch is cut, not grown",
        )
    if trainer.min_batch_size > 1 and not trainer.batch_size_auto_adjust:
        refuse("trainer.min_batch_size", "no batch is cut with batch_size_auto_adjust false: leave it out")
    tables = _tables(run)
    if tables and start is None:
        refuse(
            "trainer.memory_optimization",
            "this goes by the family of a checkpoint: without one set trainer.gradient_checkpointing, min_batch_size "
            "and max_memory_usage themselves",
        )
        return
    if not tables or start is None:
        return
    from ..models.hf.families import model_types

    for family in tables:
        if fold(family) not in map(fold, model_types()):
            refuse("trainer.memory_optimization", f"no family is called '{family}'.{nearest(family, model_types())}")
    settings = _optimization(run, start)
    if settings is not None and settings.use_cache:
        refuse(
            "trainer.memory_optimization",
            "use_cache true: training keeps no cache of keys and values, which only generation has: set it to false",
        )
    if start.hf is None and not start.resumed:
        notice(f"trainer.memory_optimization goes by family, and of {start.name} none is known: it plays no part")


def _check_table(run: RunConfig, start: Start | None, refuse: Any) -> None:
    table = run.trainer.batch_sizes or {}
    for model, row in table.items():
        for task in row:
            if fold(task) not in _TASKS:
                refuse("trainer.batch_sizes", f"{model}: no task is called '{task}'.{nearest(task, TASKS)}")
    if start is None:
        refuse("trainer.batch_sizes", "this goes by checkpoint and task: without one give trainer.batch_size alone")
        return
    task = "classification" if run.dataset.format == "classification" else "language-modeling"
    batch = batch_of_table(run, start, task == "classification")
    if batch is None:
        refuse("trainer.batch_sizes", f"no row for {start.name} and {task}: add it, or give trainer.batch_size instead")
    elif batch != run.trainer.batch_size:
        refuse(
            "trainer.batch_sizes",
            f"{batch} for {start.name} and {task}, and trainer.batch_size is {run.trainer.batch_size}: keep one",
        )


def _names(run: RunConfig, start: Start) -> set[str]:
    """Every name of the model, folded: as it was written, its alias, its id on the hub with and without the owner."""
    entry = start.entry
    names = [run.model.base_model, start.name, *((entry.name, entry.alias) if entry else ())]
    return {fold(form) for name in names if name for form in (name, name.rpartition("/")[2])}


def _tables(run: RunConfig) -> dict[str, MemoryOptimization]:
    """By family; what is written under `models:` first, so that the trainer's own wins."""
    models = run.models.memory_optimization if isinstance(run.models, ModelsSection) else {}
    return {**models, **run.trainer.memory_optimization}


def _optimization(run: RunConfig, start: Start) -> MemoryOptimization | None:
    family = None if start.hf is None else cast("str | None", start.hf.get("model_type"))
    if family is None:
        return None
    return next((settings for name, settings in _tables(run).items() if fold(name) == fold(family)), None)
