"""Gradients come in any layout: a piece of a wider tensor, one number for all, with columns first."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from groundup.models.norms import rms_norm
from groundup.models.rope import RopeTables, apply_rope
from outcomes import compare, outcome
from torch import Tensor

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "a piece": lambda y: torch.cat([y, y.detach()], -1),
    "one number": lambda y: y.sum(),
    "columns first": lambda y: y.mT.contiguous(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["rms_norm", "rope", "gated"])
def test_any_layout(name: str, layout: str, device: torch.device) -> None:
    from groundup.models.kernels import rmsnorm, rope, swiglu

    torch.manual_seed(0)
    x, y, weight = (torch.randn(shape, device=device) for shape in [(2, 3, 2, 6), (2, 3, 2, 6), (6,)])
    tables = RopeTables(torch.randn(2, 4, device=device), torch.randn(2, 4, device=device))
    kernel, twin, inputs = {
        "rms_norm": (rmsnorm.rms_norm, rms_norm, [x, weight]),
        "rope": (rope.rope, apply_rope, [x]),
        "gated": (swiglu.gated, lambda gate, up: torch.nn.functional.silu(gate) * up, [x, y]),
    }[name]
    more = {"rms_norm": [1e-3], "rope": [tables]}.get(name, [])
    ours, expected = (outcome(lambda *x, f=f: LAYOUTS[layout](f(*x, *more)), *inputs) for f in (kernel, twin))
    compare(ours, expected)
