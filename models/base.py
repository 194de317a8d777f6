"""A model of which only a part trains: the base it stands on is not written again, but named and loaded once more.

What trains is in fp32, whatever precision the frozen rest is held in: AdamW's small steps would be lost in 16 bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UserError
from .config import Task
from .hf.loader import DTYPES, load_pretrained
from .lora.layer import alone, become
from .model import Model
from .quant.replace import Packing


@dataclass(frozen=True)
class Base:
    """Frozen weights: where they come from, and in how many bits they are held."""

    source: str  # a directory, the name of one on the hub, or a checkpoint of a run
    task: Task
    dtype: str = "fp32"  # of what is not packed: fp32, bf16, fp16
    num_labels: int | None = None
    revision: str | None = None
    packing: Packing | None = None

    def load(self, device: str | torch.device = "cpu") -> Model:
        """The model, all of it frozen. Raises UserError as load_pretrained does."""
        given = (self.source, self.task, DTYPES[self.dtype], device, self.num_labels, self.packing, self.revision)
        return load_pretrained(*given).requires_grad_(False)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for a JSON file."""
        packing = None if self.packing is None else self.packing.to_dict()
        return asdict(replace(self, packing=None)) | {"packing": packing}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Base:
        """The inverse of `to_dict`."""
        packing = None if values["packing"] is None else Packing.from_dict(values["packing"])
        return cls(**{**values, "packing": packing})


class CastLinear(nn.Linear):
    """A Linear in fp32 among others in 16 bits: it takes what they give, and gives the same, without autocast too."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., in) -> (..., out), in the dtype of the input"""
        if torch.is_autocast_enabled(input.device.type):  # which casts, and keeps the copy for the whole step
            return super().forward(input)
        bias = None if self.bias is None else self.bias.to(input.dtype)
        return F.linear(input, self.weight.to(input.dtype), bias)


class CastLayerNorm(nn.LayerNorm):
    """A LayerNorm of which a part is in fp32 among layers in 16 bits."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., C) -> (..., C), in the dtype of the input"""
        bias = None if self.bias is None else self.bias.to(input.dtype)
        return F.layer_norm(input, self.normalized_shape, self.weight.to(input.dtype), bias, self.eps)


_CASTING: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: CastLinear, nn.LayerNorm: CastLayerNorm}


def train_only(model: Model, names: Iterable[str]) -> None:
    """These parameters train, in fp32; all others are frozen.

    Raises:
        UserError: the model has no such parameter; then nothing is changed.
    """
    wanted, own = set(names), dict(model.named_parameters())
    if missing := sorted(wanted - own.keys()):
        raise UserError(f"the model has no parameter '{missing[0]}' to train: it stands on another base")
    for name, parameter in own.items():
        parameter.requires_grad_(name in wanted)
        if name in wanted:
            parameter.data = parameter.data.float()
    for module in model.modules():
        if alone(module) in _CASTING and any(p.requires_grad for p in module.parameters(recurse=False)):
            become(module, _CASTING[alone(module)])


def restored(state: Mapping[str, Any], trained: Iterable[str], device: str | torch.device = "cpu") -> Model:
    """The model of a checkpoint that holds no more than what was trained: base, adapters, and what is to be filled.

    Args:
        state: the checkpoint's state.json, whose `base` names the rest.
        trained: the parameters that the checkpoint has.

    Raises:
        UserError: the base is not where it was, or is another one now.
    """
    base = Base.from_dict(state["base"])
    try:
        model = base.load(device)
    except UserError as error:
        raise UserError(f"the weights below what was trained: {error}; put {base.source} back, or fetch it") from None
    if state.get("lora") is not None:
        from .lora import add_lora

        add_lora(model, **state["lora"])
    train_only(model, trained)
    return model
