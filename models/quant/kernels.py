"""Triton kernels for 4-bit weights on CUDA. nf4.py and dynamic8.py define what they compute, bit for bit.

B, K: elements of a block of weights, and blocks taken by a program. The compiler may not fuse products with sums
(enable_fp_fusion=False): a scale out of 8 bits would differ in its last bit from the definition's.
"""

# What @triton.jit makes of a function is called in ways that the function's own signature does not show.
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .codebooks import Kind, boundaries, codebook, dynamic_map
from .dynamic8 import BLOCK
from .nf4 import TINY, Quantized4bit

_BYTES = 1024  # of codes that a program takes at a time
_ROW_TILE = 4  # rows of the weight that a program of few_rows() takes


def quantize(flat: Tensor, kind: Kind, block_size: int) -> tuple[Tensor, Tensor]:
    """flat (n,) -> packed (ceil(n / 2),) uint8, absmax (ceil(n / block_size),) fp32, inf where a value is not finite"""
    n = flat.numel()
    blocks = triton.cdiv(n, block_size)
    packed = torch.empty(triton.cdiv(n, 2), dtype=torch.uint8, device=flat.device)
    absmax = torch.empty(blocks, dtype=torch.float32, device=flat.device)
    together = max(1, _BYTES // block_size)
    operands = (flat, packed, absmax, *boundaries(kind, flat.device), n, len(packed), TINY)
    with torch.cuda.device_of(flat):
        _quantize[(triton.cdiv(blocks, together),)](*operands, B=block_size, K=together, enable_fp_fusion=False)
    return packed, absmax


def dequantize(quantized: Quantized4bit, out: Tensor) -> None:
    """Into out, contiguous, of any float dtype of at most 32 bits."""
    sizes = {"B": quantized.block_size, "K": max(1, 2 * _BYTES // quantized.block_size)}
    programs = triton.cdiv(quantized.absmax.numel(), sizes["K"])
    operands = (*_operands(quantized), out, out.numel(), len(quantized.packed))
    with torch.cuda.device_of(out):
        _dequantize[(programs,)](*operands, **sizes, NESTED=_nesting(quantized), enable_fp_fusion=False)


def few_rows(x: Tensor, quantized: Quantized4bit, bias: Tensor | None = None) -> Tensor:
    """x (rows, in) times the packed (out, in), which is not unpacked to memory: (rows, out) in x's dtype.

    `in` must be even, so that no byte is part of two rows. Weights are rounded to x's dtype, as if they had been
    unpacked, and the sum is taken in fp32. Made for a few rows, where reading the weight takes the time.
    """
    rows, (width, depth) = x.shape[0], quantized.shape
    y = torch.empty(rows, width, dtype=x.dtype, device=x.device)
    n_bytes, half = depth // 2, quantized.block_size // 2
    padded_rows = triton.next_power_of_2(rows)
    byte_tile = min(max(32, _BYTES // padded_rows), triton.next_power_of_2(n_bytes))
    options = {"HALF": half, "ROWS": padded_rows, "ROW_TILE": _ROW_TILE, "BYTE_TILE": byte_tile}
    options |= {"SPAN": min(half, byte_tile), "ALIGNED": n_bytes % half == 0, "HAS_BIAS": bias is not None}
    operands = (*_operands(quantized), x.contiguous(), x if bias is None else bias, y, rows, width, depth, n_bytes)
    with torch.cuda.device_of(x):
        grid = (triton.cdiv(width, _ROW_TILE),)
        _few_rows[grid](*operands, **options, NESTED=_nesting(quantized), enable_fp_fusion=False)
    return y


def _operands(quantized: Quantized4bit) -> tuple[Tensor, ...]:
    """packed, absmax, nested absmax, offset, the numbers of their codes, those of the weight's."""
    packed, absmax, device = quantized.packed, quantized.absmax, quantized.packed.device
    numbers = codebook(quantized.kind, device)
    if quantized.nested_absmax is None or quantized.offset is None:
        return packed, absmax, absmax, absmax, absmax, numbers  # the three are not read
    return packed, absmax, quantized.nested_absmax, quantized.offset, dynamic_map(device), numbers


def _nesting(quantized: Quantized4bit) -> int:
    """Blocks that share a nested maximum; 0 without double quantisation."""
    return BLOCK if quantized.double_quant else 0


# --- on the device -----------------------------------------------------------------------------------------------


@triton.jit
def _quantize(values, packed, absmax, midpoints, order, n, n_bytes, tiny, B: tl.constexpr, K: tl.constexpr):
    block = tl.program_id(0).to(tl.int64) * K + tl.arange(0, K)  # (K,)
    offsets = block[:, None] * B + tl.arange(0, B)[None, :]  # (K, B)
    x = tl.load(values + offsets, mask=offsets < n, other=0.0).to(tl.float32)
    magnitudes = tl.where(x != x, float("inf"), tl.abs(x))  # a maximum would pass over what is no number
    maxima = tl.max(magnitudes, 1)  # (K,)
    bounded = tl.maximum(maxima, tiny).to(tl.float32)  # `tiny` is fp64 to the interpreter of older versions
    # As in the definition: a short block is divided by its maximum, a whole one multiplied by 1 / maximum.
    is_short = (block + 1) * B > n
    inverse = tl.div_rn(tl.full((K,), 1.0, tl.float32), bounded)
    divided = tl.div_rn(x, tl.broadcast_to(bounded[:, None], (K, B)))
    scaled = tl.where(is_short[:, None], divided, x * inverse[:, None])
    rank = tl.zeros((K, B), tl.int32)  # how many midpoints are below; clamping to [-1, 1] would not change it
    for i in tl.static_range(15):
        rank += (scaled > tl.load(midpoints + i)).to(tl.int32)
    codes = tl.load(order + rank)  # (K, B)
    high, low = tl.split(tl.reshape(codes, (K, B // 2, 2)))  # (K, B / 2)
    offsets = block[:, None] * (B // 2) + tl.arange(0, B // 2)[None, :]
    tl.store(packed + offsets, (high * 16 + low).to(tl.uint8), mask=offsets < n_bytes)
    tl.store(absmax + block, tl.where(is_short, bounded, maxima), mask=block * B < n)


@triton.jit
def _scales(absmax, nested_absmax, offset, dynamic_numbers, block, mask, NESTED: tl.constexpr):
    """The maxima of the blocks of these numbers, out of their 8 bits if they are in 8 bits."""
    stored = tl.load(absmax + block, mask=mask, other=0)
    if NESTED == 0:
        return stored
    outer = tl.load(nested_absmax + block // NESTED, mask=mask, other=0.0)
    return tl.load(dynamic_numbers + stored.to(tl.int32)) * outer + tl.load(offset)


@triton.jit
def _dequantize(
    packed, absmax, nested_absmax, offset, dynamic_numbers, numbers, out, n, n_bytes,
    B: tl.constexpr, K: tl.constexpr, NESTED: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0).to(tl.int64) * K + tl.arange(0, K)  # (K,)
    scales = _scales(absmax, nested_absmax, offset, dynamic_numbers, block, block * B < n, NESTED)[:, None]
    offsets = block[:, None] * (B // 2) + tl.arange(0, B // 2)[None, :]  # (K, B / 2)
    byte = tl.load(packed + offsets, mask=offsets < n_bytes, other=0).to(tl.int32)
    high, low = tl.load(numbers + (byte >> 4)) * scales, tl.load(numbers + (byte & 15)) * scales
    values = tl.reshape(tl.join(high, low), (K, B))
    offsets = block[:, None] * B + tl.arange(0, B)[None, :]  # (K, B)
    tl.store(out + offsets, values.to(out.dtype.element_ty), mask=offsets < n)


@triton.jit
def _few_rows(
    packed, absmax, nested_absmax, offset, dynamic_numbers, numbers, x, bias, y, rows, width, depth, n_bytes,
    HALF: tl.constexpr, ROWS: tl.constexpr, ROW_TILE: tl.constexpr, BYTE_TILE: tl.constexpr, SPAN: tl.constexpr,
    ALIGNED: tl.constexpr, NESTED: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """A row of the weight, n_bytes long, is a column of y. Bytes are taken by spans, SPAN of one block's HALF bytes."""
    SPANS: tl.constexpr = BYTE_TILE // SPAN
    row = tl.arange(0, ROWS)
    column = tl.program_id(0) * ROW_TILE + tl.arange(0, ROW_TILE)
    total = tl.zeros((ROWS, ROW_TILE, BYTE_TILE), tl.float32)
    for start in range(0, n_bytes, BYTE_TILE):
        first = start + tl.arange(0, SPANS) * SPAN  # (SPANS,) where each span begins in its row
        span = column.to(tl.int64)[:, None] * n_bytes + first[None, :]  # (ROW_TILE, SPANS) and in the weight
        is_span = (column < width)[:, None] & (first < n_bytes)[None, :]
        within = tl.arange(0, SPAN)[None, None, :]
        offsets = span[:, :, None] + within  # (ROW_TILE, SPANS, SPAN)
        mask = is_span[:, :, None] & (first[None, :, None] + within < n_bytes)
        byte = tl.load(packed + offsets, mask=mask, other=0).to(tl.int32)
        if ALIGNED:  # every span lies in one block
            scales = _scales(absmax, nested_absmax, offset, dynamic_numbers, span // HALF, is_span, NESTED)[:, :, None]
        else:
            scales = _scales(absmax, nested_absmax, offset, dynamic_numbers, offsets // HALF, mask, NESTED)
        high = (tl.load(numbers + (byte >> 4)) * scales).to(x.dtype.element_ty).to(tl.float32)
        low = (tl.load(numbers + (byte & 15)) * scales).to(x.dtype.element_ty).to(tl.float32)
        inner = 2 * start + tl.arange(0, 2 * BYTE_TILE)
        inside = (row < rows)[:, None] & (inner < depth)[None, :]
        inputs = tl.load(x + row[:, None] * depth + inner[None, :], mask=inside, other=0.0).to(tl.float32)
        even, odd = tl.split(tl.reshape(inputs, (ROWS, BYTE_TILE, 2)))  # (ROWS, BYTE_TILE)
        total = _add_products(total, even, tl.reshape(high, (ROW_TILE, BYTE_TILE)))
        total = _add_products(total, odd, tl.reshape(low, (ROW_TILE, BYTE_TILE)))
    result = tl.sum(total, 2)  # (ROWS, ROW_TILE)
    if HAS_BIAS:
        result += tl.load(bias + column, mask=column < width, other=0.0).to(tl.float32)[None, :]
    inside = (row < rows)[:, None] & (column < width)[None, :]
    tl.store(y + row[:, None] * width + column[None, :], result.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _add_products(total, inputs, weights):
    """total (R, N, K) + inputs (R, K) * weights (N, K)"""
    return tl.fma(tl.broadcast_to(inputs[:, None, :], total.shape), tl.broadcast_to(weights[None], total.shape), total)
