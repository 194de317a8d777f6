"""Our model into a directory that transformers loads: the inverse of loader.py, bit for bit."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ...errors import UserError, notice
from ..lora.layer import refuse_unmerged
from ..model import Model
from ..quant.packed import PackedLinear
from .describe import describe, dropout_unsaid
from .families import Family
from .keys import task_rows
from .rows import Row, parameter_rows
from .weights import SAFE, SAFE_INDEX

if TYPE_CHECKING:
    from ...tokenizers.base import Tokenizer

GENERATION = "generation_config.json"
SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def save_pretrained(
    model: Model, directory: str | Path, tokenizer: Tokenizer | None = None, max_shard_bytes: int = 5 * 10**9
) -> None:
    """Write config.json and the weights (safetensors, in several files beyond `max_shard_bytes`), a tokenizer's too.

    Everything is written beside its place and then moved there, so a directory that the model was loaded from may be
    written to: files that are in use are replaced, never changed.

    Raises:
        UserError: no family of Hugging Face's has such a model (its own fields say why), it has adapters that are not
            merged, or the disk refuses.
    """
    refuse_unmerged(model)
    if any(isinstance(module, PackedLinear) for module in model.modules()):
        raise UserError(
            "quantised weights cannot be written for transformers: save the model they were made from (adapters are "
            "saved by themselves, and merged into it)"
        )
    kind, hf = describe(model)
    if unsaid := dropout_unsaid(model, hf):
        notice(f"a config.json of {kind.MODEL_TYPES[0]} has no word for {', '.join(unsaid)}: training goes on without")
    architecture = _architecture(model, kind, hf)
    hf = _truthful(model, hf) | {"architectures": [architecture]}
    if model.origin is None:  # transformers' own defaults are the ids of the largest published model
        ids = {name: getattr(tokenizer, name.removesuffix("_token_id") + "_id", None) for name in SPECIAL_IDS}
        hf = ids | hf
    tensors = Tensors(model, kind, architecture)
    final = Path(directory)
    partial = (final if final.is_dir() else final.parent) / f".partial-{final.name}-{os.getpid()}"
    try:
        partial.mkdir(parents=True)
        tensors.write(partial, max_shard_bytes)
        _write_json(partial / "config.json", hf)
        if model.origin is not None and (model.origin.directory / GENERATION).is_file():
            shutil.copy(model.origin.directory / GENERATION, partial)
        if tokenizer is not None:
            tokenizer.save_hf(partial)
        _move(partial, final)
    except (OSError, SafetensorError) as error:
        raise UserError(f"could not write {final}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class Tensors:
    """The tensors of a file in the names of a class, each made when it is written."""

    def __init__(self, model: Model, kind: Family, architecture: str) -> None:
        parameters = dict(model.named_parameters(remove_duplicate=False))
        self.parameters = {name: parameter.detach() for name, parameter in parameters.items()}
        self.ids = {name: id(parameter) for name, parameter in parameters.items()}
        self.head_dim = model.config.head_dim
        # A bare model's modules stand at the top.
        self.prefix = kind.PREFIX if model.task == "encoder" else ""
        rows = parameter_rows(task_rows(kind, model.task, model.config.n_layers), self.parameters)
        self.rows = dict(self._once(rows, model.config.tie_embeddings))
        self.extras: Mapping[str, Tensor] = {}
        if model.origin is not None and model.origin.architecture == architecture:
            self.extras = model.origin.extras
        self.dtype = next(iter(self.parameters.values())).dtype

    def _once(self, rows: Mapping[str, Row], tied: bool) -> Iterator[tuple[str, Row]]:
        """Each parameter under its first name; where nothing is tied, under a second one too if it has one."""
        written: set[int] = set()
        for name, row in rows.items():
            ids = {self.ids[part] for part in row.parts}
            if not (tied and ids <= written):
                yield name, row
            written |= ids

    def write(self, directory: Path, max_bytes: int) -> None:
        """One model.safetensors, or several and their index."""
        sizes = {name: self._n_bytes(row) for name, row in self.rows.items()}
        sizes |= {name: tensor.nbytes for name, tensor in self.extras.items()}
        shards = split_up(sizes, max_bytes)
        names = [SAFE] if len(shards) == 1 else _numbered(len(shards))
        for name, keys in zip(names, shards, strict=True):
            tensors = {key.removeprefix(self.prefix): self.make(key) for key in keys}
            last = {tensor.data_ptr(): key for key, tensor in tensors.items()}
            for key, tensor in tensors.items():
                if last[tensor.data_ptr()] != key:  # a file has no two names for one memory
                    tensors[key] = tensor.clone()
            save_file(tensors, directory / name, metadata={"format": "pt"})
            _flush(directory / name)
        if len(shards) > 1:
            place = {
                key.removeprefix(self.prefix): name for name, keys in zip(names, shards, strict=True) for key in keys
            }
            index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": place}
            _write_json(directory / SAFE_INDEX, index)

    def make(self, key: str) -> Tensor:
        """The tensor under that name of the tables."""
        if key in self.extras:
            return self.extras[key].to(self.dtype).contiguous()
        row = self.rows[key]
        return row.join([self.parameters[part].cpu() for part in row.parts], self.head_dim)

    def _n_bytes(self, row: Row) -> int:
        return sum(self.parameters[part].nbytes for part in row.parts)


def split_up(sizes: Mapping[str, int], max_bytes: int) -> list[list[str]]:
    """Keys in their order, in as few groups as can be of at most `max_bytes`, or of one key."""
    groups: list[list[str]] = [[]]
    room = max_bytes
    for key, size in sizes.items():
        if size > room and groups[-1]:
            groups.append([])
            room = max_bytes
        groups[-1].append(key)
        room -= size
    return groups


def _numbered(count: int) -> list[str]:
    stem = SAFE.removesuffix(".safetensors")
    return [f"{stem}-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]


def _architecture(model: Model, kind: Family, hf: Mapping[str, Any]) -> str:
    """The class it came from where the task is still that class's, else the one usual for the task."""
    classes = kind.HEADS[model.task].classes
    own = model.origin.architecture if model.origin is not None else None
    return own if own in classes else classes[0]


def _truthful(model: Model, hf: dict[str, Any]) -> dict[str, Any]:
    """config.json with what may have changed since it was read: dtype, vocabulary, tied or not, labels."""
    dtype = "torch_dtype" if "torch_dtype" in hf and "dtype" not in hf else "dtype"
    hf |= {dtype: str(model.embedder.tokens.weight.dtype).removeprefix("torch."), "vocab_size": model.config.vocab_size}
    if model.task in ("causal_lm", "masked_lm"):
        hf["tie_word_embeddings"] = model.is_tied
    if model.task == "classification":
        n_labels = len(model.head.get_submodule("out").get_parameter("weight"))
        hf.pop("num_labels", None)
        if len(hf.get("id2label") or {}) != n_labels:
            hf["id2label"] = {str(i): f"LABEL_{i}" for i in range(n_labels)}
            hf["label2id"] = {f"LABEL_{i}": i for i in range(n_labels)}
    return hf


def _move(partial: Path, final: Path) -> None:
    """Everything in `partial` to its place, the weights first; weights of before go, for they would be read too."""
    if not final.exists():
        os.replace(partial, final)
        return
    new = {path.name for path in partial.iterdir()}
    for name in sorted(new, key=lambda name: (name.endswith(".json"), name)):
        os.replace(partial / name, final / name)
    for old in [*final.glob("model*.safetensors"), *final.glob(SAFE_INDEX)]:
        if old.name not in new:
            old.unlink()


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    _flush(path)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
