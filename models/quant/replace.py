"""A model's Linears exchanged for packed ones, in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Literal, cast, get_args

import torch
from torch import nn

from ...errors import UserError, nearest, notice
from .devices import Workspace
from .linear import Linear4bit, Linear8bit
from .nf4 import check_settings
from .packed import PackedLinear

ModelKind = Literal["nf4", "fp4", "int8"]
DEFAULT_SKIP = ("embedder", "head")  # what is left are the blocks' Linears, as in QLoRA

Pack = Callable[[nn.Linear], PackedLinear]


@dataclass(frozen=True)
class Packing:
    """How the Linears of a model are packed: what quantize_model() is given, to be kept and saved."""

    kind: ModelKind = "nf4"
    skip: tuple[str, ...] | None = None
    block_size: int = 64
    double_quant: bool = True
    compute_dtype: torch.dtype | None = None

    @classmethod
    def of(cls, given: ModelKind | Packing) -> Packing:
        """A kind alone stands for its defaults."""
        return given if isinstance(given, Packing) else cls(given)

    def apply(self, model: nn.Module) -> list[str]:
        """quantize_model() with these."""
        return quantize_model(model, self.kind, self.skip, self.block_size, self.double_quant, self.compute_dtype)

    def sparing(self, modules: Sequence[str]) -> Packing:
        """The same, but these modules stay as they are too."""
        return replace(self, skip=(*(DEFAULT_SKIP if self.skip is None else self.skip), *modules))

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for a JSON file."""
        dtype = None if self.compute_dtype is None else str(self.compute_dtype).removeprefix("torch.")
        return asdict(replace(self, compute_dtype=None)) | {"compute_dtype": dtype}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Packing:
        """The inverse of `to_dict`."""
        dtype = values["compute_dtype"] and getattr(torch, values["compute_dtype"])
        skip = None if values["skip"] is None else tuple(values["skip"])
        return cls(**{**values, "skip": skip, "compute_dtype": dtype})


def quantize_model(
    model: nn.Module,
    kind: ModelKind = "nf4",
    skip: Sequence[str] | None = None,
    block_size: int = 64,
    double_quant: bool = True,
    compute_dtype: torch.dtype | None = None,
) -> list[str]:
    """Pack the weight of every Linear but those of `skip`, one by one, each dense weight let go before the next.

    Args:
        skip: modules to leave as they are: their names, names of what holds them, or the last parts of either
            ("head", "core.layers.0", "ffn.f.down"); `*` stands for anything. None: embedder and head.
        block_size, double_quant: of 4-bit weights; see nf4.py.

    Norms and embeddings are no Linears and are left; so is, with a note, a Linear whose weight is another module's too
    (a tied head). On the meta device the packed layers are empty: pack() or load_state_dict(assign=True) fills them.

    Returns:
        The names of the layers packed; a layer that several modules share once.

    Raises:
        UserError: an unknown kind or block size; a `skip` that names no module; a model already quantised; one without
            Linears to pack; a weight that cannot be packed.
    """
    pack = _packer(kind, block_size, double_quant, compute_dtype)
    modules = dict(model.named_modules())
    packed = next((name for name, module in modules.items() if isinstance(module, PackedLinear)), None)
    if packed is not None:
        raise UserError(f"the model is already quantised ('{packed}' is): start from the one it was made of")
    _check_skip(skip, modules)
    skip = DEFAULT_SKIP if skip is None else skip
    chosen = [name for name, module in modules.items() if type(module) is nn.Linear and not _is_skipped(name, skip)]
    shared = _shared_weights(model)
    tied = [name for name in chosen if id(cast(nn.Linear, modules[name]).weight) in shared]
    if tied:
        notice(f"not quantised, their weights being other modules' too: {', '.join(tied)}")
    names = [name for name in chosen if name not in tied]
    if not names:
        raise UserError("the model has no Linear layer left to quantise")
    homes = _homes(model)
    places = {name: homes[id(modules[name])] for name in names}
    del modules, homes  # nothing here may keep a dense weight
    workspace = Workspace()
    for name in names:
        layer = pack(cast(nn.Linear, model.get_submodule(name)))
        layer.workspace = workspace
        layer.train(model.get_submodule(name).training)
        for parent, attribute in places[name]:
            setattr(parent, attribute, layer)
    return names


def _packer(kind: ModelKind, block_size: int, double_quant: bool, compute_dtype: torch.dtype | None) -> Pack:
    if kind == "int8":
        if (block_size, double_quant) != (64, True):
            raise UserError("block_size and double_quant are settings of 4-bit weights: int8 keeps a scale a row")
        return lambda linear: Linear8bit.from_linear(linear, compute_dtype)
    if kind not in get_args(ModelKind):
        raise UserError(f"unknown quantisation '{kind}'.{nearest(kind, get_args(ModelKind))}")
    check_settings(kind, block_size)
    return lambda linear: Linear4bit.from_linear(linear, kind, block_size, double_quant, compute_dtype)


def _is_skipped(name: str, skip: Sequence[str]) -> bool:
    """Whether a pattern is, part by part, a run of the parts of `name`."""
    parts = name.split(".")
    for pattern in skip:
        wanted = pattern.split(".")
        for start in range(len(parts) - len(wanted) + 1):
            if all(fnmatchcase(*pair) for pair in zip(parts[start:], wanted, strict=False)):
                return True
    return False


def _check_skip(skip: Sequence[str] | None, modules: dict[str, nn.Module]) -> None:
    if isinstance(skip, str):
        raise UserError(f"skip='{skip}': must be a list of names")
    for pattern in skip or ():
        if not any(_is_skipped(name, [pattern]) for name in modules):
            known = dict.fromkeys(part for name in modules for part in (name, *name.split(".")))
            raise UserError(f"skip: the model has no module '{pattern}'.{nearest(pattern, known)}")


def _shared_weights(model: nn.Module) -> set[int]:
    """The parameters that more than one module holds, by id."""
    seen: set[int] = set()
    shared: set[int] = set()
    for module in model.modules():
        for parameter in {id(p) for p in module.parameters(recurse=False)}:
            (shared if parameter in seen else seen).add(parameter)
    return shared


def _homes(model: nn.Module) -> dict[int, list[tuple[nn.Module, str]]]:
    """For each module, by id, the modules that hold it and under what names: layers may share one."""
    homes: dict[int, list[tuple[nn.Module, str]]] = {}
    for parent in model.modules():
        for attribute, child in parent._modules.items():  # named_children() gives a shared one once
            homes.setdefault(id(child), []).append((parent, attribute))
    return homes
