"""act(gate) * up in one pass over memory each way; FeedForward of models/feedforward.py defines it.

Backward reads gate and up again, so that neither act(gate) nor the derivative is kept.
"""

# How a kernel is launched is beyond what Triton's types say.
# pyright: reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

KINDS = ("silu", "gelu", "gelu_tanh")  # SwiGLU, and GeGLU in two forms

_BLOCK = 1024


def gated(gate: Tensor, up: Tensor, kind: str = "silu") -> Tensor:
    """act(gate) * up, for an act of KINDS, act(gate) being rounded to the dtype before: two (..., F) -> (..., F)"""
    return _Gated.apply(gate, up, KINDS.index(kind))


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, kind: int) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        gate, up = gate.contiguous(), up.contiguous()
        ctx.save_for_backward(gate, up)
        ctx.kind = kind
        y = torch.empty_like(gate)
        if gate.numel():
            with torch.cuda.device_of(gate):
                _forward[(triton.cdiv(gate.numel(), _BLOCK),)](
                    gate, up, y, gate.numel(), KIND=kind, B=_BLOCK, enable_fp_fusion=False
                )
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        gate, up = ctx.saved_tensors
        grad = grads[0].contiguous()
        d_gate, d_up = torch.empty_like(gate), torch.empty_like(up)
        if gate.numel():
            with torch.cuda.device_of(gate):
                _backward[(triton.cdiv(gate.numel(), _BLOCK),)](
                    grad, gate, up, d_gate, d_up, gate.numel(), KIND=ctx.kind, B=_BLOCK, enable_fp_fusion=False
                )
        return d_gate, d_up, None


# --- on the device -----------------------------------------------------------------------------------------------


@triton.jit
def _activate(x, KIND: tl.constexpr):
    """act(x) and its derivative, in fp32."""
    if KIND == 0:  # x s(x)
        s = tl.sigmoid(x)
        value, slope = x * s, s * (1.0 + x * (1.0 - s))
    elif KIND == 1:  # x P(x), P the normal distribution
        below = 0.5 * (1.0 + tl.erf(x * 0.7071067811865476))
        value, slope = x * below, below + x * 0.3989422804014327 * tl.exp(-0.5 * x * x)
    else:  # x (1 + tanh u) / 2 = x s(2u)
        s = tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
        value, slope = x * s, s + x * s * (1.0 - s) * 1.5957691216057308 * (1.0 + 0.134145 * x * x)
    return value, slope


@triton.jit
def _forward(gate, up, y, n, KIND: tl.constexpr, B: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    mask = at < n
    value, _ = _activate(tl.load(gate + at, mask=mask, other=0.0).to(tl.float32), KIND)
    value = value.to(y.dtype.element_ty).to(tl.float32)
    tl.store(y + at, (value * tl.load(up + at, mask=mask, other=0.0).to(tl.float32)).to(y.dtype.element_ty), mask=mask)


@triton.jit
def _backward(grad, gate, up, d_gate, d_up, n, KIND: tl.constexpr, B: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    mask = at < n
    g = tl.load(grad + at, mask=mask, other=0.0).to(tl.float32)
    u = tl.load(up + at, mask=mask, other=0.0).to(tl.float32)
    value, slope = _activate(tl.load(gate + at, mask=mask, other=0.0).to(tl.float32), KIND)
    tl.store(d_gate + at, (g * u * slope).to(d_gate.dtype.element_ty), mask=mask)
    tl.store(d_up + at, (g * value.to(d_up.dtype.element_ty).to(tl.float32)).to(d_up.dtype.element_ty), mask=mask)
