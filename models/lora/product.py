"""What an adapted Linear computes in training, as one operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Weight = Callable[[torch.dtype], Tensor]


class AdaptedProduct(torch.autograd.Function):
    """y = x W^T + b + low B^T, W being frozen: the second product is added where the first one lies.

        grad_low = grad B        grad_B = grad^T low        grad_x = grad W, and + s grad_low A if A is given

    low (N, r) is s x A^T. With A, it was made of an x without gradient, which it gets here; the sum of both parts of
    grad_x is then never made as a third tensor. Nothing goes through save_for_backward: where activations are computed
    again in backward, that ends before W is unpacked and multiplied a second time, and low is small enough to keep.
    """

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any,
        x: Tensor,
        low: Tensor,
        B: Tensor,
        bias: Tensor | None,
        A: Tensor | None,
        scale: float,
        weight: Weight,
    ) -> Tensor:
        """x (N, in), low (N, r), B (out, r), bias (out,), A (r, in), weight(dtype) (out, in) -> (N, out)"""
        ctx.low, ctx.B, ctx.A, ctx.scale, ctx.weight = low.detach(), B.detach(), A, scale, weight
        y = F.linear(x, weight(x.dtype), None if bias is None else bias.to(x.dtype))
        return y.addmm_(low, B.to(x.dtype).mT)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (what the decorator makes of it)
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor | None, ...]:
        grad, low, B, A = grads[0], ctx.low, ctx.B, ctx.A
        needs_x, _, needs_B, needs_bias = ctx.needs_input_grad[:4]
        with torch.autocast(grad.device.type, enabled=False):
            grad_low = grad @ B.to(grad.dtype)  # (N, r)
            grad_B = (grad.mT @ low).to(B.dtype) if needs_B else None
            grad_bias = grad.sum(0) if needs_bias else None
            grad_x = None
            if needs_x:
                grad_x = grad @ ctx.weight(grad.dtype)  # (N, in)
                if A is not None:
                    grad_x.addmm_(grad_low, A.to(grad.dtype), alpha=ctx.scale)
        return grad_x, grad_low, grad_B, grad_bias, None, None, None
