"""Weights in 8 bits: each row of a matrix over its largest magnitude, rounded to -127..127.

Only the weights are rounded. LLM.int8() (https://arxiv.org/abs/2208.07339) rounds activations too, which is why it must
take columns with large activations apart; here a layer unpacks its weight and multiplies by it in the precision of
its input, so there is nothing to take apart. The bits of the weights are those of LLM.int8().
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import UserError
from .devices import new_tensor

_TINY = 1e-36  # 127 / absmax stays finite
_CHUNK = 2**18  # elements taken at a time, so that fp32 copies of them stay small


@dataclass(frozen=True)
class QuantizedInt8:
    """A matrix in 8 bits."""

    codes: Tensor  # (out, in) int8
    absmax: Tensor  # (out,) fp32
    dtype: torch.dtype  # of the matrix that was quantised

    def nbytes(self) -> int:
        """Bytes of all that is stored: 1 + 4 / in a parameter."""
        return self.codes.nbytes + self.absmax.nbytes


def quantize_int8(weight: Tensor) -> QuantizedInt8:
    """weight (out, in) in fp32, bf16 or fp16 -> its rows in 8 bits.

    Raises:
        UserError: not a matrix; empty; another dtype; a value that is not finite.
    """
    if weight.dim() != 2 or not weight.numel():
        raise UserError(f"cannot quantise a tensor of shape {tuple(weight.shape)} to int8: it must be a matrix")
    if weight.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise UserError(f"cannot quantise {weight.dtype} to int8: convert it to float32, bfloat16 or float16 first")
    weight = weight.detach()
    codes = torch.empty_like(weight, dtype=torch.int8, memory_format=torch.contiguous_format)
    absmax = torch.empty(len(weight), dtype=torch.float32, device=weight.device)
    step = _rows(weight)
    for start in range(0, len(weight), step):
        rows = weight[start : start + step].float()
        maxima = rows.abs().amax(-1)
        absmax[start : start + step] = maxima
        scale = 127 / maxima.clamp(min=_TINY)
        codes[start : start + step] = (rows * scale[:, None]).round_()
    if not absmax.isfinite().all():
        raise UserError(f"cannot quantise a tensor of shape {tuple(weight.shape)}: it holds a value that is not finite")
    return QuantizedInt8(codes, absmax, weight.dtype)


def dequantize_int8(quantized: QuantizedInt8, dtype: torch.dtype | None = None, out: Tensor | None = None) -> Tensor:
    """-> (out, in) in `dtype` (None: that of the original); into `out`, contiguous and of that dtype, if given.

    Raises:
        UserError: `out` does not fit.
    """
    codes = quantized.codes
    if out is None:
        out = new_tensor(codes.numel(), dtype or quantized.dtype, codes.device)
    elif out.numel() != codes.numel() or not out.is_contiguous() or dtype not in (None, out.dtype):
        raise UserError(
            f"out is {out.dtype} {tuple(out.shape)}: needed are {codes.numel()} contiguous elements, {dtype}"
        )
    out = out.view(codes.shape)
    scale, step = quantized.absmax * (1 / 127), _rows(codes)
    for start in range(0, len(codes), step):
        torch.mul(codes[start : start + step], scale[start : start + step, None], out=out[start : start + step])
    return out


def _rows(matrix: Tensor) -> int:
    return max(1, _CHUNK * (1 if matrix.device.type == "cpu" else 64) // matrix.shape[1])
