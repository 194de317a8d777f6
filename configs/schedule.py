"""How the learning rate and the dropout move with the steps: what contradicts itself, and what is doubtful."""

from __future__ import annotations

from .from_checkpoint import Refuse
from .schema_run import RunConfig
from .schema_trainer import Trainer


def check_schedule(run: RunConfig, refuse: Refuse) -> None:
    """Refuse rates that would rise where they should fall, and curves that end before they begin."""
    trainer, optimizer = run.trainer, run.trainer.optimizer
    falls = trainer.decay_lr and not trainer.lr_scheduler.startswith("constant")
    if falls and optimizer.min_lr > optimizer.lr:
        refuse(
            "trainer.optimizer.min_lr",
            f"{optimizer.min_lr:g} is above the learning rate itself, {optimizer.lr:g}, which falls to it: lower it, "
            "or raise trainer.optimizer.lr",
        )
    warmup = _warmup(trainer)
    if trainer.lr_scheduler == "constant" and (trainer.warmup_iters or trainer.warmup_ratio):
        refuse("trainer.lr_scheduler", "constant has no warmup: use constant_with_warmup, or leave the warmup out")
    elif trainer.lr_decay_iters and warmup is not None and trainer.lr_decay_iters <= warmup:
        refuse(
            "trainer.lr_decay_iters",
            f"the decay would end at step {trainer.lr_decay_iters}, before the warmup does at {warmup}: raise it, or "
            "shorten the warmup",
        )
    schedule = trainer.dropout_schedule
    if schedule and schedule.end_iter is not None and schedule.end_iter <= schedule.start_iter:
        refuse(
            "trainer.dropout_schedule.end_iter", f"{schedule.end_iter} is not after start_iter {schedule.start_iter}"
        )


def doubtful(run: RunConfig) -> list[str]:
    """What can be honoured and is probably not meant."""
    trainer = run.trainer
    warmup = _warmup(trainer)
    if trainer.max_iters and warmup and warmup >= trainer.max_iters:
        said = f"warmup_iters {warmup}" if trainer.warmup_iters else f"warmup_ratio {trainer.warmup_ratio:g}"
        return [f"trainer.{said} is no less than max_iters {trainer.max_iters}: the learning rate only rises"]
    return []


def _warmup(trainer: Trainer) -> int | None:
    """Steps of warmup; None where they are a share of steps that the data decides."""
    if trainer.warmup_iters is not None:
        return trainer.warmup_iters
    return None if trainer.max_iters is None else round((trainer.warmup_ratio or 0.0) * trainer.max_iters)
