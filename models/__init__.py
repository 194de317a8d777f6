"""Batches to logits: one configurable transformer, encoder or decoder.

Names are imported where they are first used, so that `groundup.models.config` can be read without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache import KVCache
    from .config import ModelConfig, RopeConfig, RopeScaling
    from .hf.export import save_pretrained
    from .hf.loader import load_pretrained
    from .model import Model, build_model

__all__ = [
    "KVCache",
    "Model",
    "ModelConfig",
    "RopeConfig",
    "RopeScaling",
    "build_model",
    "load_pretrained",
    "save_pretrained",
]

_HOMES = {
    "KVCache": "cache",
    "Model": "model",
    "ModelConfig": "config",
    "RopeConfig": "config",
    "RopeScaling": "config",
    "build_model": "model",
    "load_pretrained": "hf.loader",
    "save_pretrained": "hf.export",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
