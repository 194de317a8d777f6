"""What a function gives, forward and backward, and whether two of them give the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2**-7, torch.float16: 2**-10}  # of the largest element


def outcome(function: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """The result, and the gradient of a fixed weighted sum of it for each input; the inputs keep their strides."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    result = function(*leaves)
    weights = torch.arange(result.numel(), dtype=torch.float32, device=result.device).reshape(result.shape).cos()
    return [result.detach(), *torch.autograd.grad(result, leaves, weights.to(result.dtype))]


def compare(ours: list[Tensor], expected: list[Tensor], tolerances: Mapping[torch.dtype, float] = TOLERANCES) -> None:
    """Dtypes and shapes equal; every element within a share of the tensor's largest."""
    for a, b in zip(ours, expected, strict=True):
        largest = b.abs().max().item() if b.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=0, atol=max(1e-30, tolerances[b.dtype] * largest))
