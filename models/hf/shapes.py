"""The published config.json of each model of the registry, so that its shape is known without the hub.

shapes.json holds what of it decides the architecture, by hub id, with the values as published.
"""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from typing import Any, cast

from ...errors import UserError, nearest

SHAPES = Path(__file__).with_name("shapes.json")


def shape_of(name: str) -> dict[str, Any]:
    """The config.json of a model, by hub id, alias or the last part of its id; case does not matter.

    Raises UserError for a model that is in no registry, and for one whose shape is not known here.
    """
    from ..registry import find

    shape = known_shape(name)
    if shape is None:
        entry = find(name)
        shape = known_shape(entry.name or "")
        if shape is None:
            raise UserError(
                f"the shape of {entry.name} is not known without its config.json.{nearest(name, _shapes())}"
            )
    return shape


def known_shape(hub_id: str) -> dict[str, Any] | None:
    """The config.json of a hub id, None where it is not among the shapes."""
    shape = _shapes().get(hub_id.casefold())
    return copy.deepcopy(shape)


@functools.cache
def _shapes() -> dict[str, dict[str, Any]]:
    values = cast("dict[str, dict[str, Any]]", json.loads(SHAPES.read_text(encoding="utf-8")))
    return {name.casefold(): shape for name, shape in values.items()}
