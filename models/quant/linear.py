"""Linear layers in 4 and in 8 bits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..device import has_kernels
from .codebooks import Kind
from .int8 import QuantizedInt8, dequantize_int8, quantize_int8
from .nf4 import Quantized4bit, check_settings, dequantize_4bit, quantize_4bit, stored_shapes
from .packed import PackedLinear

_DECODING_ROWS = 8  # up to so many rows a kernel multiplies by the packed weight without unpacking it
_NAMES = {"packed": "weight"}  # the name in nf4.py: the name in a state_dict


class Linear4bit(PackedLinear):
    """A Linear with its weight in NF4 or FP4. QLoRA, https://arxiv.org/abs/2305.14314

    In a state_dict: `weight` (ceil(n / 2),) uint8, two codes a byte; `absmax` (blocks,), with double quantisation
    uint8 codes beside `nested_absmax` and `offset`, else fp32; `bias` (out,). See nf4.py.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        kind: Kind = "nf4",
        block_size: int = 64,
        double_quant: bool = True,
        compute_dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """UserError for an unknown kind or block size."""
        check_settings(kind, block_size)
        super().__init__(in_features, out_features, bias, compute_dtype, device, dtype)
        self.kind: Kind = kind
        self.block_size, self.double_quant = block_size, double_quant
        self.shape = torch.Size((out_features, in_features))
        self.reserve(device)

    @classmethod
    def from_linear(
        cls,
        linear: nn.Linear,
        kind: Kind = "nf4",
        block_size: int = 64,
        double_quant: bool = True,
        compute_dtype: torch.dtype | None = None,
    ) -> Linear4bit:
        """The same layer, packed; it shares the bias. From one on the meta device: an empty one, to be packed."""
        sizes = (linear.in_features, linear.out_features)
        layer = cls(*sizes, False, kind, block_size, double_quant, compute_dtype, device="meta")
        layer.adopt(linear)
        return layer

    def stored(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        shapes = stored_shapes(self.shape.numel(), self.block_size, self.double_quant)
        return {_NAMES.get(name, name): shape for name, shape in shapes.items()}

    def settings(self) -> dict[str, Any]:
        return {"kind": self.kind, "block_size": self.block_size, "double_quant": self.double_quant}

    def packed_from(self, weight: Tensor) -> dict[str, Tensor]:
        quantized = quantize_4bit(weight, self.kind, self.block_size, self.double_quant)
        return {_NAMES.get(name, name): tensor for name, tensor in quantized.tensors().items()}

    def unpack(self, packed: dict[str, Tensor], dtype: torch.dtype, out: Tensor | None) -> Tensor:
        return dequantize_4bit(self.quantized(packed), dtype, out)

    def quantized(self, packed: dict[str, Tensor] | None = None) -> Quantized4bit:
        """The packed weight as nf4.py has it."""
        packed = packed or self.packed()
        nested, offset = packed.get("nested_absmax"), packed.get("offset")
        stored = (packed["weight"], packed["absmax"], nested, offset)
        return Quantized4bit(*stored, self.kind, self.block_size, self.shape, self.dtype)

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x (..., in) and bias (out,) -> (..., out); for a few rows without gradient by a kernel, on CUDA."""
        needs_grad = torch.is_grad_enabled() and (x.requires_grad or (bias is not None and bias.requires_grad))
        rows = x.numel() // self.in_features
        is_even = self.in_features % 2 == 0 and x.shape[-1] == self.in_features  # no byte is part of two rows
        if not needs_grad and is_even and 0 < rows <= _DECODING_ROWS and has_kernels(x.device):
            from . import kernels

            y = kernels.few_rows(x.reshape(rows, self.in_features), self.quantized(), bias)  # (rows, out)
            return y.view(*x.shape[:-1], self.out_features)
        return super().product(x, bias)


class Linear8bit(PackedLinear):
    """A Linear with its weight in int8, row by row. See int8.py.

    In a state_dict: `weight` (out, in) int8, `absmax` (out,) fp32, `bias` (out,).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        compute_dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, compute_dtype, device, dtype)
        self.reserve(device)

    @classmethod
    def from_linear(cls, linear: nn.Linear, compute_dtype: torch.dtype | None = None) -> Linear8bit:
        """The same layer, packed; it shares the bias. From one on the meta device: an empty one, to be packed."""
        layer = cls(linear.in_features, linear.out_features, False, compute_dtype, device="meta")
        layer.adopt(linear)
        return layer

    def stored(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        rows = self.out_features
        return {"weight": ((rows, self.in_features), torch.int8), "absmax": ((rows,), torch.float32)}

    def settings(self) -> dict[str, Any]:
        return {"kind": "int8"}

    def packed_from(self, weight: Tensor) -> dict[str, Tensor]:
        quantized = quantize_int8(weight)
        return {"weight": quantized.codes, "absmax": quantized.absmax}

    def unpack(self, packed: dict[str, Tensor], dtype: torch.dtype, out: Tensor | None) -> Tensor:
        return dequantize_int8(QuantizedInt8(packed["weight"], packed["absmax"], self.dtype), dtype, out)
