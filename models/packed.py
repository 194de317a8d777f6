"""Weights laid out anew for decoding several sequences at once on a CPU.

A product with 4 to 32 rows should run at the speed at which memory gives the weight, and in a row-major weight the
library reaches half of that. oneDNN's own layout, the one torch's compiler freezes weights in, gets close; it costs a
copy of the weights for as long as it is used, and one pass over them to be made.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = range(4, 33)  # of fewer, the plain product is as fast; of more, it is not memory that decides
MIN_STEPS = 16  # products that pay for the packing
MAX_BYTES = 2 * 2**30  # of copies


@contextmanager
def packed_linears(model: nn.Module, rows: int, steps: int) -> Generator[None, None, None]:
    """For a while, Linears of fp32 weights on a CPU multiply inputs of `rows` rows by a packed copy.

    Results differ by rounding only. Nothing changes on other devices, for other dtypes, for few or many rows, for few
    `steps`, or where the copies would take more than MAX_BYTES. Gradients do not flow through packed products.
    """
    linears = [module for module in model.modules() if type(module) is nn.Linear]
    suits = [w for w in (linear.weight for linear in linears) if w.device.type == "cpu" and w.dtype == torch.float32]
    size = sum(weight.nbytes for weight in suits)
    if rows not in ROWS or steps < MIN_STEPS or len(suits) < len(linears) or size > MAX_BYTES or not _is_available():
        yield
        return
    try:
        for linear in linears:
            linear.__dict__["forward"] = _packed_forward(linear, rows)
        yield
    finally:
        for linear in linears:
            linear.__dict__.pop("forward", None)


def _packed_forward(linear: nn.Linear, rows: int) -> Callable[[Tensor], Tensor]:
    """(..., in) -> (..., out)"""
    weight, bias, n_in = linear.weight.detach(), linear.bias, linear.in_features
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, rows)  # pyright: ignore

    def forward(x: Tensor) -> Tensor:
        if x.numel() != rows * n_in or x.dtype != torch.float32:
            return F.linear(x, linear.weight, bias)
        return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")  # pyright: ignore

    return forward


def _is_available() -> bool:
    """Whether this torch has the two operators, which are not public."""
    if not torch.backends.mkldnn.is_available() or torch.is_autocast_enabled("cpu") or torch.is_grad_enabled():
        return False
    return hasattr(torch.ops.mkldnn, "_reorder_linear_weight") and hasattr(torch.ops.mkldnn, "_linear_pointwise")
