"""What layers with a packed weight share: the product, which unpacks it each time, saving, loading and moving."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import UserError
from .devices import Workspace


class PackedLinear(nn.Module, ABC):
    """y = x W^T + b, W (out, in) being kept packed.

    Backward unpacks W again: nothing is saved for it but the packed weight, of which there is one. The weight takes no
    gradient; the bias, which stays as it was, may. What is packed are buffers, in a state_dict under `weight`,
    `absmax` and so on; their dtypes survive `.to(dtype)`. A new layer holds zeros until it is packed or loaded.

    `compute_dtype` is what the product is taken in. None: autocast's dtype, or else the input's. The result has the
    dtype a Linear's would have, autocast's or else the input's.
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool,
        compute_dtype: torch.dtype | None,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.compute_dtype = in_features, out_features, compute_dtype
        self.dtype = dtype or torch.get_default_dtype()  # of the weight before it was packed
        self.workspace: Workspace | None = None  # memory to unpack into, shared by the layers of a model
        empty = torch.zeros(out_features, device=device, dtype=self.dtype) if bias else None
        self.register_parameter("bias", None if empty is None else nn.Parameter(empty))

    def reserve(self, device: torch.device | str | None) -> None:
        """Make the packed tensors, of zeros."""
        for name, (shape, dtype) in self.stored().items():
            self.register_buffer(name, torch.zeros(shape, dtype=dtype, device=device))

    def adopt(self, linear: nn.Linear) -> None:
        """Take over bias and weight; from one on the meta device the bias and the dtype only."""
        self.bias = linear.bias
        if linear.weight.is_meta:
            self.dtype = linear.weight.dtype
        else:
            self.pack(linear.weight)

    # What a kind of packing says of itself.

    @abstractmethod
    def stored(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """The shape and dtype of each packed tensor, by its name."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """How the weight is packed, JSON-able: saved with it and compared on loading."""

    @abstractmethod
    def packed_from(self, weight: Tensor) -> dict[str, Tensor]:
        """weight (out, in) -> the packed tensors by name."""

    @abstractmethod
    def unpack(self, packed: dict[str, Tensor], dtype: torch.dtype, out: Tensor | None) -> Tensor:
        """The packed tensors -> W (out, in) in `dtype`, into `out` if it is given."""

    # What all share.

    def packed(self) -> dict[str, Tensor]:
        """The packed tensors by name."""
        return {name: cast(Tensor, self._buffers[name]) for name in self.stored()}

    def nbytes(self) -> int:
        """Bytes of the packed weight."""
        return sum(tensor.nbytes for tensor in self.packed().values())

    @torch.no_grad()
    def pack(self, weight: Tensor) -> None:
        """Take `weight` (out, in), and its device and dtype, for this layer's own.

        Raises:
            UserError: another shape, or what quantize_4bit() or quantize_int8() refuse.
        """
        if weight.shape != (self.out_features, self.in_features):
            expected = (self.out_features, self.in_features)
            raise UserError(f"a weight of shape {tuple(weight.shape)} for a layer of shape {expected}")
        self.dtype = weight.dtype
        for name, tensor in self.packed_from(weight).items():
            self._buffers[name] = tensor

    def dequantize(self, dtype: torch.dtype | None = None) -> Tensor:
        """W (out, in) in `dtype` (None: that it had before it was packed)."""
        return self.unpack(self.packed(), dtype or self.dtype, None)

    def to_linear(self, dtype: torch.dtype | None = None) -> nn.Linear:
        """An ordinary Linear of the unpacked weight and a copy of the bias, in `dtype` (None: the weight's before)."""
        linear = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        linear.weight = nn.Parameter(self.dequantize(dtype))
        if self.bias is not None:
            linear.bias = nn.Parameter(self.bias.detach().to(linear.weight.dtype, copy=True))
        return linear

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)"""
        device = x.device.type
        is_autocast = torch.is_autocast_enabled(device)
        result_dtype = torch.get_autocast_dtype(device) if is_autocast else x.dtype
        dtype = self.compute_dtype or result_dtype
        bias = None if self.bias is None else self.bias.to(dtype)
        with torch.autocast(device, enabled=False) if is_autocast else nullcontext():
            return self.product(x.to(dtype), bias).to(result_dtype)

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x (..., in) and bias (out,), both of the dtype to compute in -> (..., out)"""
        return cast(Tensor, _PackedProduct.apply(x, bias, self))

    def dense(self, dtype: torch.dtype) -> Tensor:
        """W (out, in) for one product: with a workspace it is gone at the next one."""
        packed, out = self.packed(), None
        if self.workspace is not None and packed["weight"].device.type == "cpu":
            out = self.workspace.take(self.out_features * self.in_features, dtype)
        return self.unpack(packed, dtype, out)

    # Saving, loading, moving.

    def get_extra_state(self) -> Tensor:
        """How the weight is packed, as the bytes of JSON, since a safetensors file holds tensors only."""
        return torch.tensor(list(json.dumps(self.settings(), sort_keys=True).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """UserError if the saved weight is packed in another way than this layer unpacks."""
        saved = bytes(state.tolist()).decode(errors="replace")
        expected = json.dumps(self.settings(), sort_keys=True)
        if saved != expected:
            raise UserError(
                f"saved weights are packed as {saved}, this layer's as {expected}: quantise the model alike"
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PackedLinear:
        """Moves what is packed, and never casts it: model.to(torch.bfloat16) would round the scales."""
        packed = {id(tensor) for tensor in self.packed().values()}

        def move(tensor: Tensor) -> Tensor:
            if id(tensor) not in packed:
                return fn(tensor)
            return fn(tensor.view(torch.uint8)).view(tensor.dtype)  # integers are not cast

        return cast(PackedLinear, super()._apply(move, recurse))

    def extra_repr(self) -> str:
        """The sizes and the settings, for print(model)."""
        settings = ", ".join(f"{key}={value}" for key, value in self.settings().items())
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, " + (
            settings if self.compute_dtype is None else f"{settings}, compute_dtype={self.compute_dtype}"
        )


class _PackedProduct(torch.autograd.Function):
    """y = x W^T + b; grad_x = grad_y W, W being unpacked in either direction.

    The packed weight does not go through save_for_backward: where activations are computed again in backward, that
    ends as soon as all is there that was saved, and this product, for which nothing is, is not taken again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, layer: PackedLinear) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.layer = layer
        return F.linear(x, layer.dense(x.dtype), bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (what the decorator makes of it)
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        with torch.autocast(grad.device.type, enabled=False):
            grad_x = grad @ ctx.layer.dense(grad.dtype) if ctx.needs_input_grad[0] else None
            grad_bias = grad.reshape(-1, grad.shape[-1]).sum(0) if ctx.needs_input_grad[1] else None
        return grad_x, grad_bias, None
