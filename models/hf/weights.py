"""The tensors of a checkpoint's files, mapped rather than read: safetensors, or pytorch_model.bin without its code.

A mapped tensor costs no memory until it is touched, and then as much as was touched, until it is let go. So there are
two ways to one: `tensor`, to be looked at or kept, and `borrow`, to be copied from and given back.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...errors import UserError

SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"
SAFE_INDEX, PICKLED_INDEX = f"{SAFE}.index.json", f"{PICKLED}.index.json"

_BORROWED = 256 * 2**20  # bytes copied from one mapping before it is let go
_ELSEWHERE = ("*.h5", "*.msgpack", "*.gguf", "*.pth", "*.ckpt", "*.onnx")  # weights that we do not read


class _File(Protocol):
    def names(self) -> Iterable[str]: ...
    def tensor(self, key: str) -> Tensor: ...


class _Safe:
    def __init__(self, path: Path) -> None:
        try:
            self.handle: Any = safe_open(path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: cut short or damaged ({error}): fetch it again") from error

    def names(self) -> Iterable[str]:
        return self.handle.keys()

    def tensor(self, key: str) -> Tensor:
        return self.handle.get_tensor(key)


class _Pickled:
    def __init__(self, path: Path) -> None:
        if torch_version() < (2, 6):
            raise UserError(
                f"{path}: a pickle, which torch {torch.__version__} cannot read safely: upgrade torch to 2.6 or later, "
                "or convert it once there with load_pretrained and save_pretrained"
            )
        try:
            values = self._load(path)
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
            reason = str(error).split("\n")[0]
            raise UserError(
                f"{path}: damaged, or more than weights ({reason}): fetch it again, or take model.safetensors"
            ) from error
        self.values = cast("dict[str, Tensor]", values)
        if not isinstance(values, dict) or not all(isinstance(value, Tensor) for value in self.values.values()):
            raise UserError(f"{path}: holds more than tensors by name, so it is no checkpoint that can be read")

    @staticmethod
    def _load(path: Path) -> object:
        with suppress(RuntimeError):  # files of torch before 1.6 cannot be mapped
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return torch.load(path, map_location="cpu", weights_only=True)

    def names(self) -> Iterable[str]:
        return self.values.keys()

    def tensor(self, key: str) -> Tensor:
        return self.values[key].detach()


def torch_version() -> tuple[int, int]:
    """(major, minor) of this torch."""
    major, minor = torch.__version__.split(".")[:2]
    return int(major), int(minor)


class Weights:
    """Every tensor of a checkpoint directory, by key. `place[key]` is the file that holds it.

    Raises:
        UserError: there are no weights, or a file is missing, damaged or not to be trusted.
    """

    def __init__(self, directory: Path) -> None:
        paths, expected = find_files(directory)
        self._files: dict[Path, _File] = {path: _open(path) for path in paths}
        self.place: dict[str, Path] = {}
        for path, file in self._files.items():
            for key in file.names():
                if key in self.place:
                    raise UserError(f"{path}: holds '{key}', and so does {self.place[key].name}")
                self.place[key] = path
        for key, name in expected.items():
            if key not in self.place:
                raise UserError(
                    f"{directory / name}: does not hold '{key}', which the index says it does: fetch it again"
                )
        self._lent: tuple[Path, _File] | None = None
        self._spent = 0

    def tensor(self, key: str) -> Tensor:
        """The tensor, mapped: shape and dtype cost nothing, its contents as much memory as is touched."""
        return self._files[self.place[key]].tensor(key)

    def borrow(self, key: str, n_bytes: int) -> Tensor:
        """The tensor to copy about `n_bytes` of now; what earlier calls touched goes back to the system by and by."""
        path = self.place[key]
        if self._lent is None or self._lent[0] != path or self._spent >= _BORROWED:
            self._lent = None  # lets go of the old mapping before the new one fills
            self._lent = (path, _open(path))
            self._spent = 0
        self._spent += n_bytes
        return self._lent[1].tensor(key)

    def give_back(self) -> None:
        """Let go of what was borrowed."""
        self._lent = None


def _open(path: Path) -> _File:
    return _Pickled(path) if path.suffix == ".bin" else _Safe(path)


def find_files(directory: Path) -> tuple[list[Path], dict[str, str]]:
    """The files of weights, in the order transformers looks for them; and the file that an index gives each key."""
    for single, index in ((SAFE, SAFE_INDEX), (PICKLED, PICKLED_INDEX)):
        if (directory / single).is_file():
            return [directory / single], {}
        if (directory / index).is_file():
            return _shards(directory / index)
    parts = sorted(path.name for path in directory.glob("*-of-*") if path.suffix in (".safetensors", ".bin"))
    others = sorted(path.name for pattern in _ELSEWHERE for path in directory.glob(pattern))
    if parts:
        raise UserError(f"{directory}: holds {parts[0]} but no {SAFE_INDEX} that lists the parts: fetch it too")
    only = f", only {others[0]}, which is another framework's" if others else ""
    raise UserError(f"{directory}: no weights in it{only}: {SAFE} or {PICKLED} is needed")


def _shards(index: Path) -> tuple[list[Path], dict[str, str]]:
    try:
        weight_map: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(weight_map.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index}: not an index of weights ({error}): fetch it again") from error
    for name in names:
        if Path(name).name != name:
            raise UserError(f"{index}: names '{name}', which lies outside its directory")
        if not (index.parent / name).is_file():
            raise UserError(f"{index.parent / name}: missing, though {index.name} names it: fetch it too")
    return [index.parent / name for name in names], weight_map
