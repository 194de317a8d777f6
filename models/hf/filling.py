"""A model built without weights, and a checkpoint's tensors put in their places: each parameter once, each key used."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import reduce
from typing import cast

import torch
from torch import Tensor, nn

from ...errors import UserError, notice
from ..init import new_weight
from ..memory import empty
from ..model import Model
from ..quant.packed import PackedLinear
from ..quant.replace import Packing
from .keys import Keys, extras, task_rows
from .rows import Row, Shape, parameter_rows
from .weights import Weights

_STEP = 32 * 2**20  # bytes converted at a time


class Filling:
    """Fills a model that stands on the meta device.

    Parameters of the stored dtype and layout become the mapped file, others are copied piece by piece: at no time is
    there much more in memory than the model itself.
    """

    def __init__(self, model: Model, keys: Keys, weights: Weights) -> None:
        self.model, self.keys, self.weights = model, keys, weights
        self.head_dim = model.config.head_dim
        named = list(model.named_parameters(remove_duplicate=False))
        first = {id(parameter): name for name, parameter in reversed(named)}
        self.known_as = {name: first[id(parameter)] for name, parameter in named}  # a tied one by its first name
        self.shapes: dict[str, Shape] = {name: tuple(parameter.shape) for name, parameter in named}
        self.rows = parameter_rows(task_rows(keys.family, model.task, model.config.n_layers), self.shapes)
        self.filled: dict[str, str] = {}  # our parameter -> the key that filled it
        self.new: tuple[str, ...] = ()  # parameters that no key fills
        self._scratch: Tensor | None = None

    def run(
        self,
        dtype: torch.dtype | None,
        device: torch.device,
        *,
        may_make_head: bool,
        quantization: Packing | None = None,
    ) -> None:
        """Fill every parameter, in `dtype` (None: as stored) on `device`; pack those that are to be quantised.

        Raises:
            UserError: a key is left over, missing or of another shape, or two that must be equal are not.
        """
        self._check_known()
        sources = self._sources(may_make_head)
        dtype = dtype or self._stored_dtype(sources)
        missing = self._missing(sources)
        if missing and not (may_make_head and all(name.startswith("head.") for name in missing)):
            raise self._cannot_fill(missing)
        if quantization is not None:
            quantization.apply(self.model)  # empty layers, which _put fills
        for key, row in sources.items():
            self._place(key, row, dtype, device)
        self.weights.give_back()
        self._scratch = None
        self.new = tuple(missing)
        if missing:
            self._make_head(missing, dtype, device)
        if self.keys.left_out:
            notice(f"{self.keys.what_is_left_out} is left out: {len(self.keys.left_out)} tensors")
        empty = [name for name, tensor in _tensors(self.model) if tensor.is_meta]
        assert not empty, f"never filled: {empty}"

    def extras(self, architecture: str | None) -> dict[str, Tensor]:
        """The tensors that this class has and the model does not use, by their names in the tables."""
        modules = extras(self.keys.family).get(architecture or "", ())
        found = self.keys.found.items()
        unused = {name: keys[0] for name, keys in found if name not in self.rows and name.rpartition(".")[0] in modules}
        return {name: self.weights.tensor(key) for name, key in unused.items()}

    # --- before anything is read

    def _check_known(self) -> None:
        for key in self.keys.unknown:
            raise UserError(
                f"{self.weights.place[key]}: '{key}' is no part of a {self.keys.family.MODEL_TYPES[0]} model of "
                f"{self.keys.n_layers} layers: config.json is of another model, or the file holds more than one"
            )

    def _sources(self, may_make_head: bool) -> dict[str, Row]:
        """The keys to read, each with its row and of the shape that the model needs."""
        sources: dict[str, Row] = {}
        for name, keys in self.keys.found.items():
            for key in keys:
                if name in self.rows and self._fits(key, self.rows[name], may_make_head):
                    sources[key] = self.rows[name]
                elif name not in self.rows and name.rpartition(".")[0] in self._modules():
                    raise UserError(f"{self.weights.place[key]}: '{key}' is there, and by config.json should not be")
        return sources

    def _modules(self) -> set[str]:
        return {name.rpartition(".")[0] for name in self.rows}

    def _fits(self, key: str, row: Row, may_make_head: bool) -> bool:
        stored: Shape = tuple(self.weights.tensor(key).shape)
        needed = row.their_shape([self.shapes[part] for part in row.parts])
        if stored == needed:
            return True
        if may_make_head and row.parts[0].startswith("head.out."):
            return False  # a head of another number of labels gives way to a new one
        reason = ", which counts vocab_size rows" if "embedder.tokens.weight" in row.parts else ""
        raise UserError(f"{self.weights.place[key]}: '{key}' is {stored}, and {needed} by config.json{reason}")

    def _stored_dtype(self, sources: Mapping[str, Row]) -> torch.dtype:
        stored = {key: self.weights.tensor(key).dtype for key in sources}
        for key, dtype in stored.items():
            if not dtype.is_floating_point or dtype.itemsize < 2:
                raise UserError(f"{self.weights.place[key]}: '{key}' is {dtype}, quantised: take what it was made from")
        dtypes = set(stored.values()) or {torch.get_default_dtype()}
        widest = reduce(torch.promote_types, dtypes)
        if len(dtypes) > 1:
            notice(f"stored in {' and '.join(sorted(str(dtype) for dtype in dtypes))}: all of it becomes {widest}")
        return widest

    def _missing(self, sources: Mapping[str, Row]) -> list[str]:
        given = {self.known_as[part] for row in sources.values() for part in row.parts}
        return [name for name, _ in self.model.named_parameters() if name not in given]

    def _cannot_fill(self, missing: list[str]) -> UserError:
        theirs = [name for name, row in self.rows.items() if missing[0] in (self.known_as[part] for part in row.parts)]
        place = next(iter(self.weights.place.values())).parent
        hint = ""
        if missing[0] == "head.out.weight":
            hint = " (config.json says tie_word_embeddings=false: is the head the embedding, and that true?)"
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        return UserError(f"{place}: '{theirs[0]}' is missing{more}{hint}")

    # --- reading

    def _place(self, key: str, row: Row, dtype: torch.dtype, device: torch.device) -> None:
        names = [self.known_as[part] for part in row.parts]
        widths = [self.shapes[name][0] for name in names]
        if names[0] in self.filled:
            self._compare(key, row, names, widths)
            return
        stored = self.weights.tensor(key)
        parts = row.split(stored, widths, self.head_dim) if row.layout == "stacked" else []
        is_kept = parts and stored.dtype == dtype and device.type == "cpu" and not any(map(self._is_packed, names))
        if not (is_kept and all(part.is_contiguous() for part in parts)):
            parts = self._room(names, dtype, device)
            for i, rows, piece in self._pieces(key, row, widths):
                parts[i][rows].copy_(piece)
        for name, part in zip(names, parts, strict=True):
            self._put(name, part)
            self.filled[name] = key

    def _compare(self, key: str, row: Row, names: list[str], widths: list[int]) -> None:
        parameters = dict(self.model.named_parameters())
        for i, rows, piece in self._pieces(key, row, widths):
            ours = parameters[names[i]].detach()[rows]
            if not torch.equal(ours, piece.to(ours)):
                untie = " (if they are not tied, set tie_word_embeddings to false)"
                raise UserError(
                    f"{self.weights.place[key]}: '{key}' and '{self.filled[names[i]]}' are one parameter by "
                    f"config.json, and differ in the file{untie if names[i] == 'embedder.tokens.weight' else ''}"
                )

    def _pieces(self, key: str, row: Row, widths: list[int]) -> Iterator[tuple[int, slice, Tensor]]:
        """(which part, its rows, their contents) of a stored tensor, a few megabytes at a time where that can be."""
        stored = self.weights.tensor(key)
        if row.layout != "stacked":
            whole = self.weights.borrow(key, stored.nbytes)
            for i, piece in enumerate(row.split(whole, widths, self.head_dim)):
                yield i, slice(None), piece
            return
        row_bytes = stored.nbytes // len(stored)
        step, before = max(1, _STEP // row_bytes), 0
        for i, width in enumerate(widths):
            for start in range(0, width, step):
                stop = min(start + step, width)
                lent = self.weights.borrow(key, (stop - start) * row_bytes)
                yield i, slice(start, stop), lent[before + start : before + stop]
            before += width

    def _room(self, names: list[str], dtype: torch.dtype, device: torch.device) -> list[Tensor]:
        """Where the parts of a stored tensor are copied to; for those that are packed from there, the same each time.

        Memory taken and freed between the packed weights, which stay, would be left in pieces too small to use again.
        """
        if not any(map(self._is_packed, names)):
            return [empty(self.shapes[name], dtype, device) for name in names]
        sizes = [math.prod(self.shapes[name]) for name in names]
        if self._scratch is None:
            packed = [row.parts for row in self.rows.values() if any(map(self._is_packed, row.parts))]
            most = max(sum(math.prod(self.shapes[part]) for part in parts) for parts in packed)
            self._scratch = empty((most,), dtype, device)
        pieces = self._scratch[: sum(sizes)].split(sizes)
        return [piece.view(self.shapes[name]) for name, piece in zip(names, pieces, strict=True)]

    def _is_packed(self, name: str) -> bool:
        module, _, leaf = name.rpartition(".")
        return leaf == "weight" and isinstance(self.model.get_submodule(module), PackedLinear)

    def _put(self, name: str, tensor: Tensor) -> None:
        if self._is_packed(name):
            cast(PackedLinear, self.model.get_submodule(name.rpartition(".")[0])).pack(tensor)
            return
        parameter = nn.Parameter(tensor)
        for other, first in self.known_as.items():
            if first == name:
                module, _, leaf = other.rpartition(".")
                setattr(self.model.get_submodule(module), leaf, parameter)

    def _make_head(self, names: list[str], dtype: torch.dtype, device: torch.device) -> None:
        for name in names:
            self._put(name, new_weight(self.shapes[name], self.model.config.init_std).to(device, dtype))
        notice(f"the checkpoint has no {' and '.join(names)} for this model: new ones, to be trained")


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()
