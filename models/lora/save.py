"""A model's adapters as PEFT keeps them: adapter_config.json and adapter_model.safetensors."""

from __future__ import annotations

import math
import os
import re
import shutil
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ...errors import UserError
from ..hf.rows import Row, parameter_rows
from ..model import Model
from .add import need_adapters
from .config import CONFIG, AdapterConfig, patterns, write_config
from .layer import LoRA, check_finite, dense_weight
from .names import Names, shortest

WEIGHTS = "adapter_model.safetensors"
BEFORE = "base_model.model."  # what stands before every name in the file
_TASK_TYPES = {"causal_lm": "CAUSAL_LM", "classification": "SEQ_CLS", "encoder": "FEATURE_EXTRACTION"}
_CLASSIFIERS = ("classifier", "score")  # what PEFT takes as modules_to_save of every SEQ_CLS adapter


def save_adapter(model: Model, directory: str | Path, base: str | None = None) -> None:
    """Write the adapters, and the biases and modules that trained beside them, for PEFT and load_adapter to read.

    PEFT puts them on transformers' class for the model's task. `base` is what the file calls the model below; None: the
    name on the hub, or the directory, that it was loaded from.

    A matrix of which only parts are adapted here (q_proj of Phi-3's qkv_proj) is written as one adapter whose rank is
    that of all of them, and is one when it is loaded again: the same answers, but more of it trains.

    Raises:
        UserError: there are no adapters, one holds NaN, or the disk refuses.
    """
    found = need_adapters(model)
    names = Names.of(model)
    file = _File(model, names, found)
    check_finite(file.tensors, "the model's adapters")
    if base is None and model.origin is not None:
        base = _hub_name(model.origin.directory) or str(model.origin.directory)
    final = Path(directory)
    partial = (final if final.is_dir() else final.parent) / f".partial-{final.name}-{os.getpid()}"
    try:
        partial.mkdir(parents=True)
        save_file(file.tensors, partial / WEIGHTS, metadata={"format": "pt"})
        write_config(file.config, partial / CONFIG, base=base, task_type=file.task_type(), columns=file.columns)
        final.mkdir(parents=True, exist_ok=True)
        for name in (WEIGHTS, CONFIG):
            os.replace(partial / name, final / name)
    except (OSError, SafetensorError) as error:
        raise UserError(f"could not write {final}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class _File:
    """The tensors of the file by name, and the settings that go with them."""

    def __init__(self, model: Model, names: Names, found: dict[str, LoRA]) -> None:
        self.model, self.names = model, names
        self.head_dim = model.config.head_dim
        self.tensors: dict[str, Tensor] = {}
        self.columns = False
        adapted = next(iter(found.values())).adapted
        ranks, alphas = dict[str, float](), dict[str, float]()
        for path, row in names.linears.items():
            parts = [found.get(part) for part in row.parts]
            if any(parts):
                ranks[path], alphas[path] = self.put(path, row, parts)
                self.columns |= row.layout == "columns"
        ranks |= {path: rank for path, (rank, _) in adapted.carried.modules.items()}
        alphas |= {path: alpha for path, (_, alpha) in adapted.carried.modules.items()}
        rank, rank_pattern = patterns(ranks)
        alpha, alpha_pattern = patterns(alphas)
        targets: str | list[str] = shortest(ranks, names.paths)
        if any(end.startswith("^") for end in targets):
            targets = "|".join(re.escape(path) for path in ranks)  # what a list cannot say
        self.config = AdapterConfig(
            rank=int(rank),
            alpha=alpha,
            dropout=adapted.dropout,
            bias=adapted.bias,
            rslora=adapted.rslora,
            dora=adapted.dora,
            targets=targets,
            saved=adapted.saved,
            ranks={key: int(value) for key, value in rank_pattern.items()},
            alphas=alpha_pattern,
        )
        self.put_beside(set(adapted.beside), set(ranks))
        self.tensors |= adapted.carried.tensors

    def put(self, path: str, row: Row, parts: list[LoRA | None]) -> tuple[int, float]:
        """One module's A (r, in), B (out, r) and magnitude (out,). -> its rank and alpha"""
        linears = [self.model.get_submodule(part) for part in row.parts]
        rows = Row(row.parts, "stacked" if row.layout == "columns" else row.layout)
        first = next(part for part in parts if part is not None)
        if all(part is not None and part.A is first.A for part in parts):
            whole = cast("list[LoRA]", parts)
            A, Bs, rank, alpha = first.A.weight, [part.B for part in whole], first.rank, first.alpha
        else:
            A, Bs, rank, alpha = _stack(linears, parts, first)
        tensors = {"lora_A.weight": A, "lora_B.weight": rows.join([B.detach() for B in Bs], self.head_dim)}
        if first.magnitude is not None:
            tensors["lora_magnitude_vector"] = rows.join(
                [
                    _row_norms(linear) if part is None or part.magnitude is None else part.magnitude.detach()
                    for linear, part in zip(linears, parts, strict=True)
                ],
                self.head_dim,
            )
        for name, tensor in tensors.items():
            self.tensors[f"{BEFORE}{path}.{name}"] = tensor.detach().cpu().contiguous()
        return rank, alpha

    def put_beside(self, beside: set[str], targeted: set[str]) -> None:
        """Biases, and modules that trained in full. PEFT has the biases of adapted modules under base_layer."""
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        chosen = {id(parameters[name]) for name in beside}
        for name, row in parameter_rows(self.names.linears | self.names.others, parameters).items():
            parts = [parameters[part] for part in row.parts]
            if any(id(part) in chosen for part in parts):
                path, _, kind = name.rpartition(".")
                path = f"{path}.base_layer" if path in targeted else path
                joined = row.join([part.detach() for part in parts], self.head_dim)
                self.tensors[f"{BEFORE}{path}.{kind}"] = joined.cpu().clone()

    def task_type(self) -> str | None:
        """PEFT's word; not SEQ_CLS without the head, since PEFT then wants it in the file."""
        word = _TASK_TYPES.get(self.model.task)
        if word == "SEQ_CLS":
            heads = {path for path in self.names.linears if any(part in path for part in _CLASSIFIERS)}
            if not all(f"{BEFORE}{path}.weight" in self.tensors for path in heads):
                return None
        return word


def _hub_name(directory: Path) -> str | None:
    """organisation/name of a folder in the hub's cache."""
    match = re.search(r"/models--([^/]+?)--([^/]+)/snapshots/", directory.as_posix())
    return f"{match[1]}/{match[2]}" if match else None


def _stack(
    linears: list[torch.nn.Module], parts: list[LoRA | None], first: LoRA
) -> tuple[Tensor, list[Tensor], int, float]:
    """Adapters of some parts of a matrix as one: A's below each other, each B in columns of its own, others zero.

    s B A stays the same for each, s being alpha / r or alpha / sqrt(r).
    """
    downs = list({id(part.A): part.A for part in parts if part is not None}.values())
    A = torch.cat([down.weight.detach() for down in downs])  # (sum of ranks, in)
    starts = {id(down): sum(len(other.weight) for other in downs[:i]) for i, down in enumerate(downs)}
    rank = len(A)
    alpha = first.scale * (math.sqrt(rank) if first.adapted.rslora else rank)
    Bs: list[Tensor] = []
    for linear, part in zip(linears, parts, strict=True):
        B = A.new_zeros(cast(int, linear.out_features), rank)
        if part is not None:
            start = starts[id(part.A)]
            B[:, start : start + part.rank] = part.B.detach() * (part.scale / first.scale)
        Bs.append(B)
    return A, Bs, rank, alpha


def _row_norms(linear: torch.nn.Module) -> Tensor:
    """What DoRA's magnitude is where nothing is adapted, so that nothing changes."""
    return dense_weight(linear).float().norm(dim=1)
