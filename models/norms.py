"""LayerNorm and RMSNorm, with their statistics in fp32 whatever the input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .config import ModelConfig, Norm
from .device import takes_kernels

_SMALL = 2**17  # elements: with fewer, starting an operation costs more than its memory


class RMSNorm(nn.Module):
    """y = x / sqrt(mean(x^2) + eps) * w, or * (1 + w) with unit_offset (Gemma). https://arxiv.org/abs/1910.07467"""

    def __init__(self, width: int, eps: float, unit_offset: bool = False) -> None:
        super().__init__()
        self.eps, self.unit_offset = eps, unit_offset
        self.weight = nn.Parameter(torch.zeros(width) if unit_offset else torch.ones(width))
        self.kernel: Callable[[Tensor, Tensor, float, bool], Tensor] | None = None  # see kernels/switch.py

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)"""
        if self.kernel is not None and takes_kernels(x):
            return self.kernel(x, self.weight, self.eps, self.unit_offset)
        if gains_by_hand(x, self.weight):
            return HandWritten.apply(x, self.weight, self.eps, self.unit_offset)
        return rms_norm(x, self.weight, self.eps, self.unit_offset)


def rms_norm(x: Tensor, weight: Tensor, eps: float, unit_offset: bool = False) -> Tensor:
    """What RMSNorm is: (..., C), (C,) -> (..., C)"""
    if unit_offset:  # the product is taken in fp32, then rounded
        return F.rms_norm(x.float(), weight.shape, 1 + weight.float(), eps).to(x.dtype)
    if x.dtype == torch.float32:
        return F.rms_norm(x, weight.shape, weight, eps)
    # Rounded, then multiplied: in bf16 that is not the same, and it is what Llama was trained with.
    return F.rms_norm(x.float(), weight.shape, None, eps).to(x.dtype) * weight


def gains_by_hand(x: Tensor, weight: Tensor) -> bool:
    """Where torch takes F.rms_norm apart into six steps and keeps what each of them needs: training on a CPU."""
    if x.device.type != "cpu" or x.numel() < _SMALL or torch.compiler.is_compiling():
        return False
    trains = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return trains and x.dtype in (torch.float32, torch.bfloat16, torch.float16)


class HandWritten(torch.autograd.Function):
    """rms_norm() with its gradient in closed form: keeps x and 1 / rms, and reads memory half as often.

    With n = x / rms and the gradient h of what is multiplied by 1 / rms, dx = (h - n mean(h n)) / rms.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, unit_offset: bool) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        wide = x.float()
        norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)  # (..., 1), one pass and no copy of x^2
        rstd = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, rstd)
        ctx.unit_offset = unit_offset
        normed = wide * rstd if wide is x else wide.mul_(rstd)  # (..., C)
        if unit_offset:
            return normed.mul_(1 + weight.float()).to(x.dtype)
        if x.dtype == weight.dtype == torch.float32:
            return normed.mul_(weight)
        return normed.to(x.dtype) * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x, weight, rstd), grad = ctx.saved_tensors, grads[0]
        C, wide, d_weight = x.shape[-1], x.float(), None
        if ctx.unit_offset or x.dtype == torch.float32:
            scale = 1 + weight.float() if ctx.unit_offset else weight.float()
            inner = grad.float() * scale  # (..., C)
            product = (grad * wide).reshape(-1, C)  # (N, C), which both sums are taken of
            with torch.autocast("cpu", enabled=False):
                along = (product @ scale).view_as(rstd)
                if ctx.needs_input_grad[1]:
                    d_weight = (rstd.flatten() @ product).to(weight.dtype)
        else:  # rounded where forward rounds
            inner = (grad * weight).to(x.dtype).float()
            along = (inner * wide).sum(-1, keepdim=True)
            if ctx.needs_input_grad[1]:
                product = (wide * rstd).to(x.dtype).to(grad.dtype).mul_(grad).reshape(-1, C)
                d_weight = product.sum(0, dtype=torch.float32).to(weight.dtype)
        d_x = inner.mul_(rstd).addcmul_(wide, along.mul_(rstd.pow(3)).div_(C), value=-1)
        return d_x.to(x.dtype), d_weight, None, None


def build_norm(config: ModelConfig, width: int, kind: Norm | None = None) -> nn.Module | None:
    """A norm over the last `width` elements, of `kind` or else config.norm; None for "none"."""
    kind = kind or config.norm
    if kind == "layernorm":
        return nn.LayerNorm(width, config.norm_eps, bias=config.norm_bias)
    return RMSNorm(width, config.norm_eps, config.norm_unit_offset) if kind == "rmsnorm" else None
