"""Which layers see only a window: layer_types in config.json, or how a family says it otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import UserError, nearest
from ..config import LayerKind, ModelConfig
from .settings import Settings

TYPES: dict[str, LayerKind] = {"full_attention": "global", "sliding_attention": "local"}


def read_windows(hf: Settings, otherwise: Sequence[LayerKind]) -> dict[str, Any]:
    """ModelConfig's window and layer_pattern: from layer_types where it is given, else `otherwise`, a kind a layer."""
    window = hf.given("sliding_window")
    types: list[Any] = hf.get("layer_types", [])
    for name in types:
        if name not in TYPES:
            raise UserError(f"{hf.where}: layer_types holds '{name}', which is not available.{nearest(name, TYPES)}")
    if types and len(types) != len(otherwise):
        raise UserError(f"{hf.where}: layer_types names {len(types)} layers, the model has {len(otherwise)}")
    kinds: list[LayerKind] = [TYPES[name] for name in types] or list(otherwise)
    if "local" not in kinds:
        return {}
    if window is None:
        raise UserError(f"{hf.where}: layer_types has sliding_attention, and sliding_window is null: give its length")
    return {"window": window, "layer_pattern": shortest(kinds)}


def write_windows(config: ModelConfig) -> dict[str, Any]:
    """sliding_window and layer_types."""
    names = {kind: name for name, kind in TYPES.items()}
    types = [names[config.layer_kind(layer)] for layer in range(config.n_layers)]
    return {"sliding_window": config.window, "layer_types": types}


def shortest(kinds: Sequence[LayerKind]) -> tuple[LayerKind, ...]:
    """The shortest pattern that, tiled, gives these kinds."""
    for length in range(1, len(kinds)):
        if all(kind == kinds[layer % length] for layer, kind in enumerate(kinds)):
            return tuple(kinds[:length])
    return tuple(kinds)
