"""What an adapter adds to a Linear, W (out, in) being frozen and r the rank:

    LoRA    y = W x + s B A drop(x)                                s = alpha / r             arXiv 2106.09685
    rsLoRA  the same                                               s = alpha / sqrt(r)       arXiv 2312.03732
    DoRA    y = (m / |W + s B A|) * (W + s B A) x                  m (out,), |.| of each row arXiv 2402.09353

A (r, in) starts as U(+-1 / sqrt(in)), B (out, r) as 0 and m as |W|, so y starts as W x.

The adapter is a child of the Linear, `linear.lora`, and the Linear becomes one of a class that uses it. So it may be of
any kind (4-bit too), and nothing in the model has another name than before.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import UserError
from ..config import ModelConfig
from ..dropout import Dropout
from .product import AdaptedProduct

if TYPE_CHECKING:
    from ..hf.families import Origin

CHILD = "lora"  # the adapter's name in its Linear
DROPOUT = "lora_dropout"  # what Model.set_dropout calls the rate of all adapters


@dataclass(eq=False)
class Carried:
    """What a file holds for modules that the model does without, kept to be written back."""

    tensors: dict[str, Tensor] = field(default_factory=dict[str, Tensor])  # by their names in the file
    modules: dict[str, tuple[int, float]] = field(
        default_factory=dict[str, tuple[int, float]]
    )  # rank and alpha of each


@dataclass(eq=False)
class _Lent:
    """What a Down made of x, for the Linears that have yet to ask for it."""

    by: Down
    x: Tensor
    whole: bool  # whether x takes a gradient from it
    made: tuple[Tensor, Tensor]
    waiting: int  # a bit for each of those Linears

    def is_for(self, down: Down, x: Tensor, whole: bool, part: int) -> bool:
        """Whether it is what such a Linear asks for."""
        return self.by is down and self.x is x and self.whole == whole and bool(self.waiting & 1 << part)


@dataclass(eq=False)
class Adapted:
    """What the adapters of one model have in common. Lives in each of them, so it is copied when the model is."""

    dropout: float
    bias: str  # none, all, lora_only: which biases train
    rslora: bool
    dora: bool
    saved: list[str]  # PEFT's modules_to_save: what trains in full, in its words
    frozen: frozenset[str] = frozenset()  # the parameters that did not train before
    beside: frozenset[str] = frozenset()  # the parameters that train, or were trained, beside the adapters
    carried: Carried = field(default_factory=Carried)
    untied: tuple[ModelConfig, Origin | None] | None = (
        None  # configuration and origin of before merging untied the head
    )
    # One for the whole model: what a pass that broke off has left goes when the next one makes its first.
    lent: _Lent | None = None

    def scale(self, rank: int, alpha: float) -> float:
        """What B A is multiplied by."""
        return alpha / (math.sqrt(rank) if self.rslora else rank)


class Down(nn.Module):
    """A drop(x). Where one matrix of the checkpoint is several Linears here, they share it, and drop the same of x."""

    def __init__(self, weight: Tensor, adapted: Adapted, n_parts: int) -> None:
        """`weight` (r, in); `n_parts` Linears of one input will ask for it, in any order, once each."""
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.dropout = Dropout(adapted.dropout, DROPOUT)
        self.adapted = adapted
        self._everyone = (1 << n_parts) - 1

    def forward(self, x: Tensor, part: int, whole: bool = True) -> tuple[Tensor, Tensor]:
        """x (..., in) -> A drop(x) (..., r), drop(x) (..., in)

        Not `whole`: where nothing is dropped, x takes no gradient here, for the caller will give it.
        """
        lent = self.adapted.lent
        if lent is None or not lent.is_for(self, x, whole, part):
            self.adapted.lent = lent = None  # before anything is made: it may hold the graph of a whole pass
            drops = self.dropout.training and self.dropout.p > 0
            dropped = self.dropout(x) if drops else x
            low = F.linear(dropped if whole or drops else x.detach(), self.weight.to(x.dtype))
            lent = _Lent(self, x, whole, (low, dropped), self._everyone)
        lent.waiting &= ~(1 << part)
        self.adapted.lent = lent if lent.waiting else None
        return lent.made

    def extra_repr(self) -> str:
        return f"rank={len(self.weight)}, in_features={self.weight.shape[1]}"


class LoRA(nn.Module):
    """The adapter of one Linear. `A` is shared by the parts of a fused matrix; `B` and `magnitude` are its own rows."""

    def __init__(self, linear: nn.Module, down: Down, part: int, alpha: float, adapted: Adapted) -> None:
        super().__init__()
        rank, weight = len(down.weight), down.weight
        self.A, self.part, self.alpha, self.adapted = down, part, alpha, adapted
        self.scale = adapted.scale(rank, alpha)
        self.B = nn.Parameter(weight.new_zeros(n_outputs(linear), rank))
        self.magnitude = nn.Parameter(dense_weight(linear).to(weight).norm(dim=1)) if adapted.dora else None
        self.original: Tensor | None = None  # the Linear's own weight, while another is in its place: merge.py

    def attach_to(self, linear: nn.Module) -> None:
        """From now on the Linear gives y."""
        linear.add_module(CHILD, self.train(linear.training))
        linear.__class__ = _with_adapter(type(linear))

    def detach_from(self, linear: nn.Module) -> None:
        """Take the adapter off; the Linear's weight stays as it is."""
        linear.__class__ = alone(linear)
        delattr(linear, CHILD)

    @property
    def rank(self) -> int:
        return self.B.shape[1]

    @property
    def merged(self) -> bool:
        """Whether the Linear's weight already contains what this adds."""
        return self.original is not None

    def forward(self, x: Tensor, linear: nn.Module, base: Callable[[Tensor], Tensor]) -> Tensor:
        """x (..., in) -> y (..., out). `base` is what the Linear does alone. Products are taken in the dtype of x.

        What is added is made first: where a layer's activations are computed again in backward, that ends as soon as
        all is there that was kept, and the larger product, of which only the weight is kept, is not taken again.
        """
        if self.merged:
            return base(x)
        dtype = self._product_dtype(x, linear)
        if dtype is not None:
            return self._in_one(x.to(dtype), linear)
        low, dropped = self.A(x, self.part)  # (..., r), (..., in)
        added = F.linear(low * self.scale, self.B.to(low.dtype))  # (..., out)
        output = base(x)
        if self.magnitude is None:
            return added.to(output.dtype).add_(output)
        alone = output if dropped is x else base(dropped)
        bias = cast("Tensor | None", linear.bias)
        if bias is not None:
            alone = alone - bias
        ratio = self.magnitude / self.row_norms(dense_weight(linear))  # (out,)
        return (output + (ratio - 1) * alone + ratio * added).to(output.dtype)

    def _product_dtype(self, x: Tensor, linear: nn.Module) -> torch.dtype | None:
        """The dtype to take both products in as one operation, for training; None where that does not do."""
        if self.magnitude is not None or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return None
        is_autocast = torch.is_autocast_enabled(x.device.type)
        dtype = torch.get_autocast_dtype(x.device.type) if is_autocast else x.dtype
        if is_quantised(linear):
            return dtype if getattr(linear, "compute_dtype", False) in (None, dtype) else None
        weight = cast(Tensor, linear.weight)
        is_plain = isinstance(linear, nn.Linear) and not weight.requires_grad and weight.is_floating_point()
        return dtype if is_plain and (is_autocast or weight.dtype == dtype) else None

    def _in_one(self, x: Tensor, linear: nn.Module) -> Tensor:
        """x (..., in) in the dtype of the products -> y (..., out), where both are one: see product.py"""
        low, dropped = self.A(x, self.part, whole=False)  # (..., r), (..., in)
        low = (low * self.scale).reshape(-1, self.rank)  # (N, r)
        A = self.A.weight.detach() if dropped is x else None
        bias = cast("Tensor | None", linear.bias)
        weight = cast(Any, linear).dense if is_quantised(linear) else cast(Tensor, linear.weight).detach().to
        with torch.autocast(x.device.type, enabled=False):
            rows = x.reshape(-1, x.shape[-1])  # (N, in)
            y = AdaptedProduct.apply(rows, low, self.B, bias, A, self.scale, weight)  # (N, out)
        return cast(Tensor, y).view(*x.shape[:-1], n_outputs(linear))  # (..., out)

    @torch.no_grad()
    def row_norms(self, weight: Tensor) -> Tensor:
        """|W + s B A|, (out,); a constant in backward, as in section 4.3 of DoRA's paper."""
        return self._sum(weight).norm(dim=1)

    @torch.no_grad()
    def merge_into(self, weight: Tensor) -> Tensor:
        """W (out, in) -> what one matrix does both, in the dtype of W, computed in fp32 (or more)."""
        total = self._sum(weight)
        if self.magnitude is not None:
            total *= (self.magnitude / total.norm(dim=1))[:, None]
        return total.to(weight.dtype)

    def _sum(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            return torch.addmm(weight.to(self.B.dtype), self.B, self.A.weight, alpha=self.scale)

    def extra_repr(self) -> str:
        return f"rank={self.rank}, scale={self.scale:g}, dora={self.magnitude is not None}, merged={self.merged}"


class _WithAdapter(nn.Module):
    """What comes before a Linear's own class, so that its forward is the adapter's."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)"""
        return cast(LoRA, self._modules[CHILD])(x, self, super().forward)


def alone(linear: nn.Module) -> type[nn.Module]:
    """The class of a Linear without the adapter that it may have."""
    return type(linear).__mro__[2] if isinstance(linear, _WithAdapter) else type(linear)


def become(linear: nn.Module, kind: type[nn.Module]) -> None:
    """Give a Linear another class of its own; an adapter stays on it."""
    cast(Any, linear).__class__ = _with_adapter(kind) if isinstance(linear, _WithAdapter) else kind


@functools.cache
def _with_adapter(linear: type[nn.Module]) -> type[nn.Module]:
    return type(f"{linear.__name__}WithAdapter", (_WithAdapter, linear), {})


def init_down(rank: int, n_inputs: int, like: Tensor) -> Tensor:
    """A new A (r, in), in fp32 (or more) on the device of `like`. kaiming_uniform(a=sqrt(5)) is U(+-1 / sqrt(in))."""
    dtype = torch.promote_types(torch.float32, like.dtype) if like.is_floating_point() else torch.float32
    return nn.init.kaiming_uniform_(torch.empty(rank, n_inputs, dtype=dtype, device=like.device), a=math.sqrt(5))


def is_linear(module: nn.Module) -> bool:
    """nn.Linear, or a layer that does as it does."""
    return isinstance(getattr(module, "in_features", None), int) and hasattr(module, "out_features")


def n_outputs(linear: nn.Module) -> int:
    return cast(int, linear.out_features)


def is_quantised(linear: nn.Module) -> bool:
    """Whether its weight is packed, so that nothing can be added to it."""
    return hasattr(linear, "dequantize")


def dense_weight(linear: nn.Module) -> Tensor:
    """The weight (out, in) in floating point, also of a layer that has it packed."""
    return cast(Tensor, cast(Any, linear).dequantize() if is_quantised(linear) else linear.weight).detach()


def adapters(model: nn.Module) -> dict[str, LoRA]:
    """The adapters of a model by the names of their Linears; none if it has none."""
    return dict(_adapters(model))


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raises UserError where one holds NaN or infinity: training went wrong, and nothing good can come of it."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise UserError(f"{where}: '{name}' is not finite (NaN or infinite): take an adapter from before that")


def refuse_unmerged(model: nn.Module) -> None:
    """Raises UserError where adapters would be lost if the weights were taken alone."""
    for name, adapter in adapters(model).items():
        if not adapter.merged:
            raise UserError(
                f"the model has adapters (on '{name}') that are not in its weights: merge_lora puts them there, "
                "save_adapter writes them alone, remove_lora takes them off"
            )


def _adapters(model: nn.Module) -> Iterator[tuple[str, LoRA]]:
    for name, module in model.named_modules():
        if isinstance(module, LoRA):
            yield name.removesuffix(f".{CHILD}"), module
