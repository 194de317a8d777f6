"""Low-rank adapters (LoRA, rsLoRA, DoRA) on the Linears of a model, in the format of PEFT.

Names are imported where they are first used; importing this package imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .add import ParameterCounts, add_lora, count_parameters, remove_lora
    from .layer import LoRA, adapters
    from .load import load_adapter
    from .merge import Merged, merge_lora, unmerge_lora
    from .save import save_adapter

__all__ = [
    "LoRA",
    "Merged",
    "ParameterCounts",
    "adapters",
    "add_lora",
    "count_parameters",
    "load_adapter",
    "merge_lora",
    "remove_lora",
    "save_adapter",
    "unmerge_lora",
]

_HOMES = {
    "LoRA": "layer",
    "Merged": "merge",
    "ParameterCounts": "add",
    "adapters": "layer",
    "add_lora": "add",
    "count_parameters": "add",
    "load_adapter": "load",
    "merge_lora": "merge",
    "remove_lora": "add",
    "save_adapter": "save",
    "unmerge_lora": "merge",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
