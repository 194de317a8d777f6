"""RMSNorm in one pass over memory each way. models/norms.py defines it, roundings included.

R, C: rows and (padded) columns that a program holds.
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

from .launch import by_memory, programs, rows_of, unflatten, warps

_TILE = 2048  # elements: narrow rows (a head's queries) are taken several at a time


def rms_norm(x: Tensor, weight: Tensor, eps: float, unit_offset: bool = False) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * w, or * (1 + w): (..., C), (C,) -> (..., C)

    In the dtype that the twin gives: that of x with unit_offset, else what x and the weight promote to.
    """
    return _RMSNorm.apply(x, weight, eps, unit_offset)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, unit_offset: bool) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        order = by_memory(x)
        rows = rows_of(x, order)  # (N, C)
        (N, C), device = rows.shape, x.device
        y = torch.empty(
            N, C, dtype=x.dtype if unit_offset else torch.promote_types(x.dtype, weight.dtype), device=device
        )
        rstd = torch.empty(N, dtype=torch.float32, device=device)
        columns = triton.next_power_of_2(C)
        together = max(1, _TILE // columns)
        if N:
            with torch.cuda.device_of(x):
                _forward[(triton.cdiv(N, together),)](
                    rows, weight, y, rstd, rows.stride(0), N, C, eps, UNIT=unit_offset, R=together, C=columns,
                    num_warps=warps(together * columns), enable_fp_fusion=False,
                )  # fmt: skip
        ctx.save_for_backward(x, weight, rstd)
        ctx.unit_offset = unit_offset
        return unflatten(y, x, order)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, rstd = ctx.saved_tensors
        order = by_memory(x)
        rows, grad = rows_of(x, order), rows_of(grads[0], order)  # (N, C)
        N, C = rows.shape
        columns = triton.next_power_of_2(C)
        together = max(1, _TILE // columns)
        tiles = triton.cdiv(N, together)
        share = max(1, triton.cdiv(tiles, programs(x.device)))  # tiles to a program, which sums their gradients of w
        count = triton.cdiv(tiles, share)
        wanted = ctx.needs_input_grad[1]
        dx = torch.empty(N, C, dtype=x.dtype, device=x.device)
        dw = torch.empty(count if wanted else 0, C, dtype=torch.float32, device=x.device)
        if N:
            with torch.cuda.device_of(x):
                _backward[(count,)](
                    grad, rows, weight, rstd, dx, dw, grad.stride(0), rows.stride(0), N, C, share,
                    UNIT=ctx.unit_offset, WANTED=wanted, R=together, C=columns, num_warps=warps(together * columns),
                    enable_fp_fusion=False,
                )  # fmt: skip
        return unflatten(dx, x, order), dw.sum(0).to(weight.dtype) if wanted else None, None, None


# --- on the device -----------------------------------------------------------------------------------------------


@triton.jit
def _forward(
    x, weight, y, rstd, x_row, rows, width, eps, UNIT: tl.constexpr, R: tl.constexpr, C: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    column = tl.arange(0, C)
    mask = (row < rows)[:, None] & (column < width)[None, :]  # (R, C)
    values = tl.load(x + row[:, None] * x_row + column[None, :], mask=mask, other=0.0).to(tl.float32)
    w = tl.load(weight + column, mask=column < width, other=0.0).to(tl.float32)[None, :]
    r = 1.0 / tl.sqrt(tl.sum(values * values, 1) / width + eps)  # (R,)
    normed = values * r[:, None]
    if UNIT:  # multiplied, then rounded
        result = normed * (1.0 + w)
    else:
        result = normed.to(x.dtype.element_ty).to(tl.float32) * w
    tl.store(y + row[:, None] * width + column[None, :], result.to(y.dtype.element_ty), mask=mask)
    tl.store(rstd + row, r, mask=row < rows)


@triton.jit
def _backward(
    grad, x, weight, rstd, dx, dw, grad_row, x_row, rows, width, share,
    UNIT: tl.constexpr, WANTED: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    column = tl.arange(0, C)
    w = tl.load(weight + column, mask=column < width, other=0.0).to(tl.float32)[None, :]
    total = tl.zeros((C,), tl.float32)
    for tile in range(share):
        row = (tl.program_id(0).to(tl.int64) * share + tile) * R + tl.arange(0, R)
        mask = (row < rows)[:, None] & (column < width)[None, :]  # (R, C)
        values = tl.load(x + row[:, None] * x_row + column[None, :], mask=mask, other=0.0).to(tl.float32)
        g = tl.load(grad + row[:, None] * grad_row + column[None, :], mask=mask, other=0.0).to(tl.float32)
        r = tl.load(rstd + row, mask=row < rows, other=0.0)[:, None]
        normed = values * r
        if UNIT:
            inner = g * (1.0 + w)
        else:
            inner = (g * w).to(x.dtype.element_ty).to(tl.float32)
        along = tl.sum(inner * normed, 1)[:, None] / width
        tl.store(
            dx + row[:, None] * width + column[None, :],
            (r * (inner - normed * along)).to(dx.dtype.element_ty),
            mask=mask,
        )
        if WANTED:
            if UNIT:
                total += tl.sum(g * normed, 0)
            else:
                total += tl.sum(g * normed.to(x.dtype.element_ty).to(tl.float32), 0)
    if WANTED:
        tl.store(dw + tl.program_id(0).to(tl.int64) * width + column, total, mask=column < width)
