"""Cross-entropy that reads the logits twice and writes their gradient over them; trainers/losses.py defines it.

Nothing else of the logits' size is made. Trainers call it on a chunk of tokens at a time, so logits of a whole batch
never exist either.
"""

# How a kernel is launched is beyond what Triton's types say.
# pyright: reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 8192  # logits of a row that a program holds at once


def cross_entropy_(
    logits: Tensor,
    labels: Tensor,
    scale: float | None,
    smoothing: float = 0.0,
    softcap: float | None = None,
    ignored: int = -100,
) -> Tensor:
    """The summed loss of logits (N, V), overwritten by scale x its gradient unless scale is None -> scalar in fp32

    labels (N,): rows labelled `ignored` have no loss and no gradient; any other label outside 0..V-1 makes it NaN.
    softcap: the logits come before their cap, and so does the gradient.
    """
    N, V = logits.shape
    rows = logits if logits.stride(-1) == 1 else logits.contiguous()
    losses = torch.empty(N, dtype=torch.float32, device=logits.device)
    block = min(_BLOCK, triton.next_power_of_2(V))
    if N:
        with torch.cuda.device_of(logits):
            _cross_entropy[(N,)](
                rows, labels.contiguous(), losses, rows.stride(0), V, float(scale or 0.0), float(smoothing),
                float(softcap or 1.0), ignored, WRITES=scale is not None, SMOOTHS=smoothing != 0,
                CAPS=softcap is not None, C=block, num_warps=16 if block > 2048 else 4,
                enable_fp_fusion=False,
            )  # fmt: skip
    if rows is not logits and scale is not None:
        logits.copy_(rows)
    return losses.sum()


# --- on the device -----------------------------------------------------------------------------------------------


@triton.jit
def _capped(x, cap, CAPS: tl.constexpr):
    """cap tanh(x / cap)"""
    if CAPS:
        small = tl.exp(-2.0 * tl.abs(x) / cap)
        x = tl.where(x < 0, -cap, cap) * (1.0 - small) / (1.0 + small)
    return x


@triton.jit
def _cross_entropy(
    logits, labels, losses, row_stride, width, scale, smoothing, cap, ignored,
    WRITES: tl.constexpr, SMOOTHS: tl.constexpr, CAPS: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    logits += row * row_stride
    label = tl.load(labels + row)
    counts = label != ignored
    known = counts & (label >= 0) & (label < width)
    # Read before any thread overwrites it: the reductions below make all of them wait for each other.
    target = tl.load(logits + tl.where(known, label, 0)).to(tl.float32)
    target = _capped(tl.where(known, target, float("nan")), cap, CAPS)

    highest = tl.full((), float("-inf"), tl.float32)
    summed = tl.zeros((), tl.float32)  # of exp(x - highest)
    total = tl.zeros((), tl.float32)
    for start in range(0, width, C):
        column = start + tl.arange(0, C)
        x = tl.load(logits + column, mask=column < width, other=0.0).to(tl.float32)
        x = _capped(x, cap, CAPS)
        if SMOOTHS:
            total += tl.sum(x, 0)
        x = tl.where(column < width, x, float("-inf"))
        above = tl.maximum(highest, tl.max(x, 0))
        shift = tl.where(above == float("-inf"), 0.0, above)  # nothing but -inf so far
        summed = summed * tl.exp(highest - shift) + tl.sum(tl.exp(x - shift), 0)
        highest = above
    log_sum = highest + tl.log(summed)
    loss = log_sum - (1.0 - smoothing) * target
    if SMOOTHS:
        loss -= smoothing / width * total
    tl.store(losses + row, tl.where(counts, loss, 0.0))
    if WRITES:
        for start in range(0, width, C):
            column = start + tl.arange(0, C)
            x = tl.load(logits + column, mask=column < width, other=0.0).to(tl.float32)
            x = _capped(x, cap, CAPS)
            gradient = tl.exp(x - log_sum) - tl.where(column == label, 1.0 - smoothing, 0.0)
            if SMOOTHS:
                gradient -= smoothing / width
            if CAPS:
                gradient *= 1.0 - (x / cap) * (x / cap)
            gradient = tl.where(counts, gradient * scale, 0.0)
            tl.store(logits + column, gradient.to(logits.dtype.element_ty), mask=column < width)
