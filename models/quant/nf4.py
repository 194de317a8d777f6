"""Weights in 4 bits: this defines what is stored and what it stands for; kernels.py does the same on CUDA.

A tensor is flattened and cut into blocks of `block_size`. Each block is divided by its largest magnitude (absmax), each
value replaced by the nearest of 16 numbers between -1 and 1, and two codes packed into a byte, the first in the high
nibble. With double quantisation the maxima, less their mean, are themselves kept in 8 bits. QLoRA,
https://arxiv.org/abs/2305.14314; the bits are those of bitsandbytes 0.50's CPU backend.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...errors import UserError, nearest
from ..device import has_kernels
from .codebooks import KINDS, Kind, boundaries, pair_table
from .devices import new_tensor
from .dynamic8 import BLOCK, dequantize_dynamic, quantize_dynamic, scale_blocks

BLOCK_SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
SOURCES = (torch.float32, torch.bfloat16, torch.float16)

TINY = 1e-38  # 1 / absmax stays finite
_CHUNK = 2**16  # bytes of codes taken at a time on a CPU, so that what is made of them stays in its cache


@dataclass(frozen=True)
class Quantized4bit:
    """A tensor in 4 bits. n = numel of `shape`, blocks = ceil(n / block_size)."""

    packed: Tensor  # (ceil(n / 2),) uint8
    absmax: Tensor  # (blocks,) fp32; with double quantisation uint8, codes of dynamic8.py
    nested_absmax: Tensor | None  # (ceil(blocks / 256),) fp32, with double quantisation
    offset: Tensor | None  # (1,) fp32, the mean of the maxima, with double quantisation
    kind: Kind
    block_size: int
    shape: torch.Size
    dtype: torch.dtype  # of the tensor that was quantised

    @property
    def double_quant(self) -> bool:
        """Whether the block maxima are in 8 bits."""
        return self.offset is not None

    def tensors(self) -> dict[str, Tensor]:
        """All that is stored, by its name here."""
        stored = {name: getattr(self, name) for name in ("packed", "absmax", "nested_absmax", "offset")}
        return {name: tensor for name, tensor in stored.items() if tensor is not None}

    def nbytes(self) -> int:
        """Bytes of all that is stored."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def bits_per_parameter(self) -> float:
        """4 + 8/64 + 32/(64 * 256) = 4.127 for large tensors with blocks of 64 and double quantisation; 4.5 without."""
        return 8 * self.nbytes() / self.shape.numel()

    def to(self, device: torch.device | str) -> Quantized4bit:
        """The same on another device."""
        return replace(self, **{name: tensor.to(device) for name, tensor in self.tensors().items()})


def quantize_4bit(weight: Tensor, kind: Kind = "nf4", block_size: int = 64, double_quant: bool = True) -> Quantized4bit:
    """Pack a tensor of any shape, fp32, bf16 or fp16.

    A Linear's weight is taken as stored, (out, in). Beside the result it needs a few MiB, whatever the size.

    Raises:
        UserError: an unknown kind or block size; another dtype; an empty tensor; a value that is not finite.
    """
    check_settings(kind, block_size)
    if weight.dtype not in SOURCES:
        raise UserError(f"cannot quantise {weight.dtype} to 4 bits: convert it to float32, bfloat16 or float16 first")
    if not weight.numel():
        raise UserError(f"cannot quantise an empty tensor, of shape {tuple(weight.shape)}")
    flat = weight.detach().contiguous().view(-1)
    if has_kernels(flat.device):
        from . import kernels

        packed, absmax = kernels.quantize(flat, kind, block_size)
    else:
        packed, absmax = _quantize(flat, kind, block_size)
    if not absmax.isfinite().all():
        raise UserError(f"cannot quantise a tensor of shape {tuple(weight.shape)}: it holds a value that is not finite")
    nested, offset = None, None
    if double_quant:
        # The mean is taken on the CPU, so that a GPU, which adds in another order, finds the same codes.
        offset = absmax.cpu().mean().view(1).to(absmax.device)
        if not offset.isfinite():
            raise UserError("the weights are too large for double quantisation (their maxima add up beyond fp32)")
        absmax, nested = quantize_dynamic(absmax - offset)
    return Quantized4bit(packed, absmax, nested, offset, kind, block_size, weight.shape, weight.dtype)


def dequantize_4bit(quantized: Quantized4bit, dtype: torch.dtype | None = None, out: Tensor | None = None) -> Tensor:
    """The tensor that a packed one stands for, in `dtype` (None: that of the original).

    Each element is code * absmax in fp32, then rounded to `dtype`. With `out`, contiguous and with as many elements,
    the result is written there, in the dtype that it has.

    Raises:
        UserError: `out` does not fit, or `dtype` is another one than that of `out`.
    """
    if out is None:
        out = new_tensor(quantized.shape.numel(), dtype or quantized.dtype, quantized.packed.device)
    else:
        _check_out(quantized, dtype, out)
    out = out.view(quantized.shape)
    if has_kernels(out.device) and out.dtype in SOURCES:
        from . import kernels

        kernels.dequantize(quantized, out)
    else:
        _dequantize(quantized, out.view(-1))
    return out


def block_maxima(quantized: Quantized4bit) -> Tensor:
    """The largest magnitude of each block, out of its 8 bits where it is in 8 bits: (blocks,) fp32"""
    if quantized.offset is None or quantized.nested_absmax is None:
        return quantized.absmax
    return dequantize_dynamic(quantized.absmax, quantized.nested_absmax).add_(quantized.offset)


def check_settings(kind: str, block_size: int) -> None:
    """UserError for a kind or a block size that does not exist."""
    if kind not in KINDS:
        raise UserError(f"unknown kind '{kind}' of 4-bit weights.{nearest(kind, KINDS)}")
    if block_size not in BLOCK_SIZES:
        raise UserError(f"block size {block_size} of 4-bit weights: must be one of {', '.join(map(str, BLOCK_SIZES))}")


def _check_out(quantized: Quantized4bit, dtype: torch.dtype | None, out: Tensor) -> None:
    n, device = quantized.shape.numel(), quantized.packed.device
    if out.numel() != n or not out.is_contiguous() or out.device != device or dtype not in (None, out.dtype):
        raise UserError(
            f"out is {out.dtype} {tuple(out.shape)} on {out.device}: needed are {n} contiguous elements on {device}"
            + (f", {dtype}" if dtype else "")
        )


def stored_shapes(numel: int, block_size: int, double_quant: bool) -> dict[str, tuple[tuple[int], torch.dtype]]:
    """The shape and dtype of each of Quantized4bit's tensors, for a tensor of `numel` elements."""
    blocks = math.ceil(numel / block_size)
    packed = {"packed": ((math.ceil(numel / 2),), torch.uint8)}
    if not double_quant:
        return packed | {"absmax": ((blocks,), torch.float32)}
    nested = {"nested_absmax": ((math.ceil(blocks / BLOCK),), torch.float32), "offset": ((1,), torch.float32)}
    return packed | {"absmax": ((blocks,), torch.uint8)} | nested


# --- in plain torch ----------------------------------------------------------------------------------------------


def _chunk_bytes(device: torch.device) -> int:
    """Bytes of codes to take at a time. They hold whole blocks of any size."""
    return _CHUNK * torch.get_num_threads() if device.type == "cpu" else 2**24


def _quantize(flat: Tensor, kind: Kind, block_size: int) -> tuple[Tensor, Tensor]:
    """(n,) -> packed (ceil(n / 2),) uint8, absmax (blocks,) fp32, not finite where the tensor is not"""
    n = flat.numel()
    packed = torch.empty(math.ceil(n / 2), dtype=torch.uint8, device=flat.device)
    absmax = torch.empty(math.ceil(n / block_size), dtype=torch.float32, device=flat.device)
    midpoints, order = boundaries(kind, flat.device)
    step = 2 * _chunk_bytes(flat.device)
    for start in range(0, n, step):
        values = flat[start : start + step].float()
        scaled, maxima = _scale(values, block_size)
        absmax[start // block_size : start // block_size + len(maxima)] = maxima
        if len(scaled) % 2:  # what is packed beside the last element is read by nobody
            scaled = torch.nn.functional.pad(scaled, (0, 1))
        codes = order[torch.bucketize(scaled, midpoints, out_int32=True)].to(torch.uint8)
        packed[start // 2 : start // 2 + len(codes) // 2] = (codes[::2] << 4) | codes[1::2]
    return packed, absmax


def _scale(values: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    """values (n,) fp32 -> each block over its largest magnitude (n,), and those (ceil(n / block_size),)

    A whole block is multiplied by 1 / absmax, a short one divided by absmax: that decides between codes now and then.
    """
    blocks, rest = divmod(len(values), block_size)
    whole = values[: blocks * block_size].view(blocks, block_size)  # (blocks, block_size)
    maxima = whole.abs().amax(-1)
    scaled = (whole * (1 / maxima.clamp(min=TINY))[:, None]).view(-1)
    if rest:
        last = values[blocks * block_size :]
        maximum = last.abs().amax(-1, keepdim=True).clamp(min=TINY)
        scaled, maxima = torch.cat([scaled, last / maximum]), torch.cat([maxima, maximum])
    return scaled.clamp_(-1, 1), maxima


def _dequantize(quantized: Quantized4bit, out: Tensor) -> None:
    """Into out (n,). A byte is looked up whole, as the two fp32 numbers that it stands for, and scaled in the cache."""
    packed, absmax, block_size = quantized.packed, block_maxima(quantized), quantized.block_size
    device = packed.device
    table, step = pair_table(quantized.kind, device), _chunk_bytes(device)
    # index_select is the faster by far, but takes one thread; take() shares the work out.
    lookup, index_dtype = (torch.take, torch.int64) if _has_many_threads(device) else (_select, torch.int32)
    index = torch.empty(min(step, len(packed)), dtype=index_dtype, device=device)
    pairs = torch.empty(len(index), dtype=torch.int64, device=device)
    chunks = zip(packed.split(step), absmax.split(2 * step // block_size), out.split(2 * step), strict=True)
    for codes, maxima, part in chunks:
        if len(codes) < len(index):  # the last
            index, pairs = index[: len(codes)], pairs[: len(codes)]
        lookup(table, index.copy_(codes), out=pairs)
        values = pairs.view(torch.float32)[: len(part)]  # of an odd number's last byte one value
        scale_blocks(values, maxima, block_size)
        part.copy_(values)


def _select(table: Tensor, index: Tensor, *, out: Tensor) -> Tensor:
    return torch.index_select(table, 0, index, out=out)


def _has_many_threads(device: torch.device) -> bool:
    return device.type == "cpu" and torch.get_num_threads() >= 4
