"""Gradient norms by layer: the embedder, each block, the head."""

from __future__ import annotations

import torch
from torch import Tensor

from ..models.model import Model

EMBEDDER, HEAD = "embedder", "head"


@torch.no_grad()
def norms_by_layer(model: Model, rows: Tensor | None = None) -> dict[str, float]:
    """The norm of the gradient of each part of a model: `embedder`, `0` ... `L - 1`, `head`; parts that train alone.

    One pass over the gradients, in one fused call, and one copy to the CPU. A matrix that embedder and head share is
    counted to the embedder.

    Args:
        rows: what of the token table's gradient is not 0, (n, E), where it is kept apart (see lookup.py).
    """
    names, gradients = [], []
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        kept = rows is not None and parameter is model.embedder.tokens.weight
        names.append(_part(name))
        gradients.append(rows if kept else parameter.grad)
    if not gradients:
        return {}
    each = torch._foreach_norm(gradients)  # pyright: ignore[reportPrivateImportUsage]
    squares: dict[str, float] = {}
    on_cpu = torch.stack([norm.float().to(gradients[0].device) for norm in each]).tolist()
    for name, norm in zip(names, on_cpu, strict=True):
        squares[name] = squares.get(name, 0.0) + norm * norm
    return {name: square**0.5 for name, square in squares.items()}


def _part(name: str) -> str:
    """core.layers.3.attn... -> 3; what of the core is no layer (its last norm) goes with the head."""
    first, _, rest = name.partition(".")
    if first == "core" and rest.startswith("layers."):
        return rest.split(".")[1]
    return EMBEDDER if first == "embedder" else HEAD
