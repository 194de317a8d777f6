"""What the documents describe and this version does not do yet: refused before anything is loaded, never ignored.

Making a thing available means deleting its row.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .layers import Layer
from .schema_run import RunConfig


@dataclass(frozen=True)
class NotYet:
    """A setting that is refused when `refused(value)`; `planning` marks those that --plan may still compute with."""

    path: str
    refused: Callable[[Any], bool]
    what: str
    remedy: str
    planning: bool = False
    marked: str = "not available yet"  # what the reference says beside the key


def _given(value: Any) -> bool:
    return value is not None and value is not False and value != []


NOT_YET = (
    NotYet("distributed.use_deepspeed", _given, "DeepSpeed", "set it to false and train in one process", True),
    NotYet("distributed.deepspeed_config", _given, "DeepSpeed", "leave it out", True),
    NotYet("distributed.zero_stage", _given, "sharding over processes", "leave it out", True),
    NotYet(
        "distributed.num_processes",
        lambda count: count > 1,
        "training in several processes",
        "set it to 1",
        planning=True,
        marked="more than 1 is not available yet",
    ),
)


# Refused for good.
NEVER = (
    NotYet(
        "model.trust_remote_code",
        _given,
        "code that comes with a checkpoint is never run, every model here is native",
        "leave it out",
        marked="true is refused",
    ),
)


def refusals(run: RunConfig, layer: Layer, planning: bool = False) -> list[str]:
    """One sentence for each setting of the run that is refused."""
    found: list[str] = []
    for row in (*NEVER, *NOT_YET):
        if (planning and row.planning) or not row.refused(value_at(run, row.path)):
            continue
        where = layer.where(tuple(row.path.split(".")))
        found.append(f"{where}: {row.what}{'' if row in NEVER else ' is not available yet'}: {row.remedy}.")
    if not planning and int(os.environ.get("WORLD_SIZE", "1") or 1) > 1:
        found.append(
            "WORLD_SIZE: training in several processes is not available yet: start one process, without torchrun."
        )
    return found


def value_at(section: Any, path: str) -> Any:
    """The value at a dotted path below a section; None below a section that is not there."""
    value = section
    for name in path.split("."):
        value = None if value is None else getattr(value, name)
    return value
