"""Which part learns when, and how fast: the head alone first, and rates that differ by layer."""

from __future__ import annotations

from typing import Any

from ..models.start import Start
from .methods import method_of
from .schema_run import RunConfig

THIRDS = (0.1, 0.5, 1.0)  # of the lower, middle and upper layers, as the GPT-2 document has them


def check_phases(run: RunConfig, start: Start | None, refuse: Any) -> None:
    """Refuse phases and rates that this run cannot have."""
    trainer, optimizer = run.trainer, run.trainer.optimizer
    if optimizer.layer_factors is not None and optimizer.layer_decay is not None:
        refuse(
            "trainer.optimizer.layer_decay", "layer_factors already gives each layer its rate: leave one of them out"
        )
    if optimizer.layer_factors == {}:
        refuse("trainer.optimizer.layer_factors", "no pattern in it: leave it out")
    epochs, key = trainer.head_first_epochs, "trainer.head_first_epochs"
    if not epochs:
        return
    if start is None or run.model.core_model_type == "hf_core":
        refuse(key, "only a checkpoint's trunk can wait for a new head: leave it out")
    elif method_of(run) != "full":
        refuse(key, f"with method {method_of(run)} the trunk is frozen throughout: use full, or leave it out")
    if trainer.epochs is not None and epochs >= trainer.epochs:
        refuse(
            key,
            f"{epochs:g} of {trainer.epochs:g} epochs leave none for everything: fewer, or fine_tuning.method head",
        )
