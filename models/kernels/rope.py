"""Rotary positions in one pass over memory. apply_rope of models/rope.py defines them.

With the halves (a, b) of the R dimensions that turn, and tables whose halves are (c, d) and (s, t), the result is
(a c + b s, b d + a t). The gradient is turned by the same tables with s and t exchanged.
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

from ..rope import RopeTables
from .launch import warps

_TILE = 2048  # elements of heads that a program turns by one position's tables


def rope(x: Tensor, tables: RopeTables, in_place: bool = False) -> Tensor:
    """x (B, H, T, D), tables (T, R) or (B, 1, T, R) -> (B, H, T, D) with x's strides. Dimensions past R pass through.

    in_place overwrites x: for one that nothing else reads and that needs no gradient.
    """
    if in_place:
        return _turn(x, tables, x, backward=False)
    return _Rope.apply(x, *tables)


class _Rope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(cos, sin)
        return _turn(x, RopeTables(cos, sin), torch.empty_like(x), backward=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _turn(grads[0], RopeTables(*ctx.saved_tensors), torch.empty_like(grads[0]), backward=True), None, None


def _turn(x: Tensor, tables: RopeTables, out: Tensor, backward: bool) -> Tensor:
    """Into `out`, which has x's shape and any strides."""
    B, H, T, D = x.shape
    cos, sin = (table.contiguous() for table in tables)  # (T, R) or (B, 1, T, R)
    rotated = cos.shape[-1]
    of_batch = T * rotated if cos.dim() == 4 and cos.shape[0] > 1 else 0
    half, rest = triton.next_power_of_2(rotated // 2), triton.next_power_of_2(D - rotated) if rotated < D else 0
    heads = min(triton.next_power_of_2(H), max(1, _TILE // (2 * half)))
    if x.numel():
        with torch.cuda.device_of(x):
            _rope[(B * T, triton.cdiv(H, heads))](
                x, cos, sin, out, *x.stride(), *out.stride(), of_batch, H, T, D, rotated // 2,
                BACKWARD=backward, COPIES=rest > 0 and out is not x, HEADS=heads, HALF=half, REST=max(1, rest),
                num_warps=warps(2 * heads * half), enable_fp_fusion=False,
            )  # fmt: skip
    return out


# --- on the device -----------------------------------------------------------------------------------------------


@triton.jit
def _rope(
    x, cos, sin, out, x_b, x_h, x_t, x_d, out_b, out_h, out_t, out_d, of_batch, n_heads, length, width, half,
    BACKWARD: tl.constexpr, COPIES: tl.constexpr, HEADS: tl.constexpr, HALF: tl.constexpr, REST: tl.constexpr,
):  # fmt: skip
    b, t = tl.program_id(0).to(tl.int64) // length, tl.program_id(0).to(tl.int64) % length
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    low = tl.arange(0, HALF)
    turns = low < half
    angle = b * of_batch + t * 2 * half + low
    cos_low = tl.load(cos + angle, mask=turns, other=0.0)[None, :]
    cos_high = tl.load(cos + angle + half, mask=turns, other=0.0)[None, :]
    sin_low = tl.load(sin + angle, mask=turns, other=0.0)[None, :]
    sin_high = tl.load(sin + angle + half, mask=turns, other=0.0)[None, :]
    here = (x + b * x_b + t * x_t + head * x_h)[:, None]  # (HEADS, 1)
    there = (out + b * out_b + t * out_t + head * out_h)[:, None]
    mask = (head < n_heads)[:, None] & turns[None, :]  # (HEADS, HALF)
    first = tl.load(here + low[None, :] * x_d, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(here + (low + half)[None, :] * x_d, mask=mask, other=0.0).to(tl.float32)
    if BACKWARD:
        turned_first, turned_second = first * cos_low + second * sin_high, second * cos_high + first * sin_low
    else:
        turned_first, turned_second = first * cos_low + second * sin_low, second * cos_high + first * sin_high
    tl.store(there + low[None, :] * out_d, turned_first.to(out.dtype.element_ty), mask=mask)
    tl.store(there + (low + half)[None, :] * out_d, turned_second.to(out.dtype.element_ty), mask=mask)
    if COPIES:
        past = 2 * half + tl.arange(0, REST)
        mask = (head < n_heads)[:, None] & (past < width)[None, :]  # (HEADS, REST)
        tl.store(there + past[None, :] * out_d, tl.load(here + past[None, :] * x_d, mask=mask), mask=mask)
