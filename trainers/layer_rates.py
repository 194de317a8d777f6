"""Learning rates that differ by layer: a factor for each parameter that trains, by the name it has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal

from ..configs.phases import THIRDS
from ..errors import UserError, nearest
from ..models.model import Model

_BLOCK = re.compile(r"core\.layers\.(\d+)\.")
_GENERATOR = "generator."  # what stands before the names of a discriminator's


def layer_factors(
    model: Model, rule: Literal["thirds"] | Mapping[str, float] | None, decay: float | None
) -> dict[str, float]:
    """A factor on the learning rate for every parameter that trains.

    thirds: THIRDS, from the bottom up; of L layers, layer i belongs to third 3 i // L. Embeddings go with the lower
    layers (a table that is the head's too is one of them), the last norm and the head with the upper.

    decay: for L layers, decay^(L - i) for layer i, decay^(L + 1) for embeddings, 1 for the last norm and the head
    (layer-wise decay as in BEiT, https://arxiv.org/abs/2106.08254).

    A discriminator's generator has layers of its own, of which the same holds.

    Patterns: `*`, `?` and `[0-3]` as in file names; a pattern is of the whole name of a parameter, or of a module, for
    everything in it. The first that fits counts, else 1.

    Raises:
        UserError: a pattern that fits nothing that trains.
    """
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    places = {name: _place(model, name) for name in names}
    if rule == "thirds":
        return {name: THIRDS[max(0, min(2, 3 * depth // L))] for name, (depth, L) in places.items()}
    if decay is not None:
        return {name: decay ** (L - depth) for name, (depth, L) in places.items()}
    if rule is None:
        return dict.fromkeys(names, 1.0)
    parts = {name: _parts(name) for name in names}
    for pattern in rule:
        if not any(fnmatchcase(part, pattern) for name in names for part in parts[name]):
            near = nearest(pattern, sorted({part for name in names for part in parts[name]}))
            raise UserError(f"trainer.optimizer.layer_factors: nothing that trains is called '{pattern}'.{near}")
    return {
        name: next((f for pattern, f in rule.items() if any(fnmatchcase(part, pattern) for part in parts[name])), 1.0)
        for name in names
    }


def describe_factors(groups: list[dict[str, Any]]) -> str:
    """The groups of an optimizer by their factor, a line each, for a person."""
    lines: list[str] = []
    for factor in sorted({group["lr_scale"] for group in groups}):
        of_it = [group for group in groups if group["lr_scale"] == factor]
        count = sum(p.numel() for group in of_it for p in group["params"])
        tops = dict.fromkeys(_shown(name) for group in of_it for name in group["names"])
        lines.append(f"rate      {factor:<8.4g} x {count:,} parameters: {', '.join(sorted(tops, key=_order))}")
    return "\n".join(lines)


def _place(model: Model, name: str) -> tuple[int, int]:
    """-> (depth, L): -1 for what comes before the layers, the number of a layer, L for what comes after."""
    if model.generator is not None and name.startswith(_GENERATOR):
        return _place(model.generator, name.removeprefix(_GENERATOR))
    L = model.config.n_layers
    block = _BLOCK.match(name)
    if block:
        return int(block[1]), L
    return L if name.startswith(("head.", "core.norm.")) else -1, L


def _parts(name: str) -> list[str]:
    """A parameter and the modules it is in: a.b.c -> a, a.b, a.b.c."""
    words = name.split(".")
    return [".".join(words[:end]) for end in range(1, len(words) + 1)]


def _shown(name: str) -> str:
    if name.startswith(_GENERATOR):
        return f"the generator's {_shown(name.removeprefix(_GENERATOR))}"
    block = _BLOCK.match(name)
    if block:
        return f"layer {block[1]}"
    return "last norm" if name.startswith("core.norm.") else name.partition(".")[0]


def _order(shown: str) -> tuple[bool, int, int]:
    own = shown.removeprefix("the generator's ")
    if own.startswith("layer "):
        return own != shown, 1, int(own.split()[1])
    return own != shown, {"last norm": 2, "head": 3}.get(own, 0), 0
