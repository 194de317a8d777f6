"""Adapters from a folder in PEFT's format onto a model of ours."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ...errors import UserError, notice
from ..hf.rows import Row, parameter_rows
from ..model import Model
from .add import check_untied, install, refuse_second, set_trainable
from .config import AdapterConfig, read_config
from .layer import Adapted, adapters, check_finite, n_outputs
from .names import ALL_LINEAR, HEAD, Group, Names, ends_with
from .save import BEFORE, WEIGHTS

_PICKLED = "adapter_model.bin"
_ADAPTER = re.compile(r"(?P<path>.+)\.(?P<what>lora_A\.weight|lora_B\.weight|lora_magnitude_vector)(\.weight)?")
_REFUSED = {"lora_embedding_": "adapters on embeddings", ".lora_B.bias": "lora_bias", "lora_": "this part of PEFT's"}


@dataclass
class _Contents:
    """What a file holds, by our names for the modules."""

    adapters: dict[str, dict[str, Tensor]] = field(default_factory=dict[str, "dict[str, Tensor]"])
    beside: dict[str, Tensor] = field(default_factory=dict[str, Tensor])  # biases, and modules that trained in full
    carried: dict[str, Tensor] = field(default_factory=dict[str, Tensor])  # by the file's own names
    absent: dict[str, int] = field(default_factory=dict[str, int])  # the modules those are for -> the adapter's rank


def load_adapter(model: Model, directory: str | Path, trainable: bool = False) -> None:
    """Put an adapter that PEFT or save_adapter wrote on the model it is for, and its biases and heads into the model.

    The model is frozen; with `trainable` adapters, biases and heads train on. Parts that the model does without
    (BERT's pooler) are kept, unused, and written back by save_adapter.

    Raises:
        UserError: the folder is incomplete or damaged, its settings are not available here (each is named), it is for
            another model, or the model has adapters already.
    """
    refuse_second(model)
    folder = Path(directory).expanduser()
    config = read_config(folder)
    tensors, where = _read(folder)
    check_finite(tensors, where)
    names = Names.of(model)
    contents = _sort(tensors, names, where)
    placing = _Placing(model, names, where)
    saved = _check_complete(contents, config, placing)
    downs = [placing.adapter(path, parts, config) for path, parts in contents.adapters.items()]
    values = placing.beside(contents.beside, saved)
    adapted = Adapted(config.dropout, config.bias, config.rslora, config.dora, saved, beside=frozenset(values))
    adapted.carried.tensors = contents.carried
    adapted.carried.modules = {path: (rank, config.alpha_of(path)) for path, rank in contents.absent.items()}
    install(model, adapted, downs)
    with torch.no_grad():
        for name, value in values.items():
            model.get_parameter(name).copy_(value)
        found = adapters(model)
        for name, (B, magnitude) in placing.rows.items():
            found[name].B.copy_(B)
            if magnitude is not None:
                cast(Tensor, found[name].magnitude).copy_(magnitude)
    if trainable:
        set_trainable(model)
    else:
        model.requires_grad_(False)
    if contents.carried:
        kept = ", ".join(sorted(contents.absent)) or "some of its biases"
        notice(f"{where}: the model does without {kept}: what is for it is kept, not used and not merged")


class _Placing:
    """Tensors of a file to the shapes they have here."""

    def __init__(self, model: Model, names: Names, where: str) -> None:
        self.model, self.names, self.where = model, names, where
        self.head_dim = model.config.head_dim
        self.parameters = dict(model.named_parameters(remove_duplicate=False))
        self.first = {id(parameter): name for name, parameter in reversed(self.parameters.items())}
        self.table = parameter_rows(names.linears | names.others, self.parameters)
        self.rows: dict[str, tuple[Tensor, Tensor | None]] = {}  # our Linear -> its B and magnitude

    def adapter(self, path: str, parts: Mapping[str, Tensor], config: AdapterConfig) -> tuple[Group, Tensor, float]:
        """-> its Linears, A and alpha; the rows of B and of the magnitude go to `rows`."""
        row = self.names.linears[path]
        linears = [self.model.get_submodule(part) for part in row.parts]
        widths = [n_outputs(linear) for linear in linears]
        A, B, magnitude = (parts.get(key) for key in ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector"))
        if A is None or B is None or (magnitude is None) == config.dora:
            lacking = "lora_A" if A is None else "lora_B" if B is None else "lora_magnitude_vector"
            verb = "holds" if A is not None and B is not None and not config.dora else "lacks"
            raise UserError(
                f"{self.where}: {verb} {lacking} of '{path}', against {config.where}: damaged, save it again"
            )
        rank = config.rank_of(path)
        needed: dict[str, tuple[Tensor, tuple[int, ...]]] = {
            "lora_A": (A, (rank, cast(int, linears[0].in_features))),
            "lora_B": (B, (sum(widths), rank)),
        }
        if magnitude is not None:
            needed["lora_magnitude_vector"] = (magnitude, (sum(widths),))
        for what, (tensor, shape) in needed.items():
            if tuple(tensor.shape) != shape:
                raise UserError(
                    f"{self.where}: {what} of '{path}' is {tuple(tensor.shape)}, and {shape} for this "
                    f"{self.names.family} model at rank {rank}: an adapter for another model"
                )
        rows = Row(row.parts, "stacked" if row.layout == "columns" else row.layout)
        Bs = rows.split(B, widths, self.head_dim)
        magnitudes = rows.split(magnitude, widths, self.head_dim) if magnitude is not None else [None] * len(Bs)
        self.rows |= dict(zip(row.parts, zip(Bs, magnitudes, strict=True), strict=True))
        weight = cast(Tensor, linears[0].weight)
        dtype = torch.promote_types(torch.float32, weight.dtype) if weight.is_floating_point() else torch.float32
        return row.parts, A.to(weight.device, dtype, copy=True), config.alpha_of(path)

    def beside(self, tensors: Mapping[str, Tensor], saved: list[str]) -> dict[str, Tensor]:
        """Biases, and modules that trained in full -> our parameters and their values.

        Weights of other modules, which PEFT writes where embeddings are near, must be those that the model has.
        """
        values: dict[str, Tensor] = {}
        full = parameter_rows(self.names.in_full(saved), self.parameters)
        for key in sorted(tensors, key=lambda key: key not in self.names.others):  # a second name of a bias comes first
            parts = self._split(key, tensors[key])
            if key in full or key.endswith(".bias"):
                values |= {self.first[id(self.parameters[name])]: part for name, part in parts.items()}
            elif not all(
                torch.equal(part.to(self.parameters[name]), self.parameters[name]) for name, part in parts.items()
            ):
                raise UserError(
                    f"{self.where}: '{key}' is another than the model's, and is not in modules_to_save: the adapter is "
                    "for a model whose weights were changed"
                )
        return values

    def _split(self, key: str, tensor: Tensor) -> dict[str, Tensor]:
        row = self.table.get(key)
        if row is None:
            raise UserError(f"{self.where}: '{key}' is no part of this {self.names.family} model: for another one")
        shapes = [tuple(self.parameters[part].shape) for part in row.parts]
        found, needed = tuple(tensor.shape), row.their_shape(shapes)
        if found != needed:
            is_head = self.names.task == "classification" and row.parts[0].startswith("head.out")
            why = f"load it with num_labels={found[0]}" if is_head else "an adapter for another one"
            raise UserError(f"{self.where}: '{key}' is {found}, and {needed} in the model: {why}")
        return dict(zip(row.parts, row.split(tensor, [shape[0] for shape in shapes], self.head_dim), strict=True))


def _read(folder: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of the file, and its path."""
    path = folder / WEIGHTS
    if not path.is_file():
        path = folder / _PICKLED
    try:
        if path.suffix == ".bin":
            values: object = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(values, dict):
                raise ValueError("no tensors by name")
            return cast("dict[str, Tensor]", values), str(path)
        return load_file(path), str(path)
    except FileNotFoundError:
        raise UserError(f"{folder}: no {WEIGHTS} in it: fetch or save the adapter again") from None
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"{path}: cut short or damaged ({reason}): fetch or save the adapter again") from None


def _sort(tensors: Mapping[str, Tensor], names: Names, where: str) -> _Contents:
    """Each tensor to what it is for, every one used."""
    contents = _Contents()
    split: list[tuple[str, str, str]] = []  # the module in the file's words, what of it, and both
    for key in tensors:
        name = key.removeprefix(BEFORE)
        if ".original_module." in name:
            continue  # the biases, from before training, of modules that trained in full: PEFT keeps both
        match = _ADAPTER.fullmatch(name)
        if match:
            split.append((match["path"], match["what"], key))
            continue
        for part, what in _REFUSED.items():
            if part in name:
                raise UserError(f"{where}: '{key}': {what} is not available here")
        name = re.sub(r"\.(base_layer|modules_to_save(\.default)?)(?=\.)", "", name)
        if name in names.others:  # a parameter that has a name of its own
            contents.beside[name] = tensors[key]
        else:
            path, _, kind = name.rpartition(".")
            split.append((path, kind, key))
    ours = names.recognise({path for path, _, _ in split})
    for path, what, key in split:
        name, tensor = ours[path], tensors[key]
        is_adapter = what.startswith("lora_")
        if name is None or (is_adapter and name in names.others):
            raise UserError(
                f"{where}: '{path}' is no {'Linear' if is_adapter else 'part'} of this {names.family} model: the "
                "adapter is for another one"
            )
        if name in names.absent:
            contents.carried[key] = tensor
            if what == "lora_A.weight":
                contents.absent[name] = len(tensor)
        elif is_adapter:
            contents.adapters.setdefault(name, {})[what] = tensor
        else:
            contents.beside[f"{name}.{what}"] = tensor
    if not contents.adapters:
        raise UserError(f"{where}: no adapter of this {names.family} model in it")
    return contents


def _check_complete(contents: _Contents, config: AdapterConfig, placing: _Placing) -> list[str]:
    """modules_to_save, but for what PEFT lists for every classifier and this one does not have.

    Raises:
        UserError: a module should have an adapter by the settings, or should be there in full, and is not in the file.
    """
    names = placing.names
    saved = [word for word in config.saved if any(path.endswith(word) for path in names.paths)]
    full = names.in_full(saved)
    check_untied(placing.model, names, full)
    lacking = parameter_rows(full, placing.parameters).keys() - contents.beside.keys()
    if config.whole and config.targets:
        meant = {path for path in names.linears if path not in full and _is_meant(path, config, names)}
        lacking |= meant - contents.adapters.keys()
    if lacking:
        raise UserError(
            f"{placing.where}: holds nothing for '{min(lacking)}', which {config.where} names: it is damaged, or for "
            "another model"
        )
    return saved


def _is_meant(path: str, config: AdapterConfig, names: Names) -> bool:
    """Whether target_modules names a Linear."""
    if not isinstance(config.targets, str):
        return any(ends_with(path, word) for word in config.targets)
    if config.targets.lower() == ALL_LINEAR:
        return names.linears[path].parts != (HEAD,)
    return re.fullmatch(config.targets, path) is not None
