"""The signal-to-noise ratio of a model's matrices, by the edge that random-matrix theory gives the noise.

The singular values of a matrix of noise end at an edge that is known (Marchenko and Pastur); what lies above it was
learnt. https://arxiv.org/abs/2406.06623, 3
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..data.cache import publish_folder, short_hash
from ..errors import UserError, notice
from ..models.model import Model
from ..models.quant.packed import PackedLinear
from .progress import duration

_FORMAT = 2  # of the scores: another formula gets another number
_FILE = "scores.json"
_LINE_EVERY = 15.0  # seconds between the lines of a scan in a log
_IQR = 1.349  # the interquartile range of a normal distribution, in standard deviations
_ROUNDING = 1e-7  # of the largest singular value: the root of what fp64 makes of a zero in W W^T
_IN_LAYER = re.compile(r"core\.layers\.(\d+)\.(.+)$")


@dataclass(frozen=True)
class Score:
    """One matrix of a block."""

    name: str  # of its module: core.layers.3.attn.f.q
    kind: str  # attn.q
    layer: int
    shape: tuple[int, int]
    snr: float


@torch.no_grad()
def signal_to_noise(weight: Tensor) -> float:
    """(out, in) -> the singular values above the noise's edge over those below, in parts of the largest of them.

    The edge is sigma (1 + sqrt(beta)), with sigma from the interquartile range of the singular values and beta the
    lesser side over the greater. As in the authors' code; where nothing is below the edge, the noise counts as 1. So it
    does where there are only zeros, of which they make infinity. A matrix of zeros has no signal: 0.

    The singular values are the roots of the eigenvalues of W W^T: a fifth of the time of a decomposition of W where
    one side is several times the other, and in fp64 as exact as the weights.
    """
    w = weight.double() if weight.shape[0] <= weight.shape[1] else weight.double().T  # (n, m), n <= m
    values = torch.linalg.eigvalsh(w @ w.T).clamp(min=0).sqrt()  # (n,) ascending
    largest = values[-1]
    if largest == 0:
        return 0.0
    values[values < _ROUNDING * largest] = 0  # of a matrix of low rank
    upper, lower = torch.quantile(values, 0.75), torch.quantile(values, 0.25)
    beta = min(weight.shape) / max(weight.shape)
    edge = (upper - lower) / _IQR * (1 + math.sqrt(beta))
    above = values > edge
    noise = values[~above].sum()
    noise = noise if noise > 0 else 1.0
    return (values[above].sum() / noise / largest).item()


def matrices_of(model: Model) -> dict[str, nn.Linear]:
    """The Linears inside the blocks, by name; one that layers share once."""
    found: dict[str, nn.Linear] = {}
    for name, module in model.named_modules():
        if isinstance(module, PackedLinear):
            raise UserError(f"spectrum: '{name}' is quantised: choose the layers first, then quantise the others")
        if isinstance(module, nn.Linear) and _IN_LAYER.match(name):
            found[name] = module
    if not found:
        raise UserError("spectrum: the model has no matrices in its blocks, so there is nothing to rank")
    return found


def scores_of(matrices: dict[str, nn.Linear], cache: Path, device: torch.device | None = None) -> tuple[Score, ...]:
    """Every matrix's score: from the cache if these very weights were scored before.

    Each is taken on `device`, where that has fp64; None: where the matrix lies.
    """
    weights = {name: module.weight.detach() for name, module in matrices.items()}
    for name, weight in weights.items():
        if weight.is_meta or not weight.is_floating_point() or not weight.isfinite().all():
            raise UserError(f"spectrum: '{name}.weight' is not all finite numbers, so it cannot be ranked")
    folder = cache / "spectrum" / short_hash(_FORMAT, [(name, _digest(weight)) for name, weight in weights.items()])
    ratios = _read(folder, weights)
    if ratios is None:
        ratios = _scan(weights, device)

        def write(there: Path) -> None:
            (there / _FILE).write_text(json.dumps(ratios, indent=1), encoding="utf-8")

        publish_folder(folder, write, lambda there: _read(there, weights) is not None)
    else:
        notice(f"spectrum: these very weights were scored before, {folder / _FILE} has the ratios")
    return tuple(
        Score(name, _kind(name), layer_of(name), (weight.shape[0], weight.shape[1]), ratios[name])
        for name, weight in weights.items()
    )


def _scan(weights: dict[str, Tensor], device: torch.device | None) -> dict[str, float]:
    """Each matrix's ratio, with a bar in a terminal, and a line now and then in a log."""
    is_terminal, ratios = sys.stderr.isatty(), dict[str, float]()
    started = said = time.monotonic()
    if not is_terminal:
        notice(f"spectrum: taking the singular values of {len(weights)} matrices")
    with tqdm(weights.items(), "signal to noise", unit="matrix", disable=not is_terminal) as bar:
        for done, (name, weight) in enumerate(bar, 1):
            there = device or weight.device
            ratios[name] = signal_to_noise(weight.to("cpu" if there.type == "mps" else there))
            now, left = time.monotonic(), len(weights) - done
            if not is_terminal and left and now - said >= _LINE_EVERY:
                rate, said = done / (now - started), now
                notice(
                    f"spectrum: {done} of {len(weights)} matrices, {rate:.2g} a second, {duration(left / rate)} left"
                )
    return ratios


def _read(folder: Path, names: Iterable[str]) -> dict[str, float] | None:
    """The scores in the cache; None if there are none that can be read."""
    try:
        found: dict[str, Any] = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        return {name: float(found[name]) for name in names}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digest(weight: Tensor) -> str:
    """Of the bytes of a weight, its dtype and its shape."""
    content = hashlib.sha256(f"{weight.dtype} {tuple(weight.shape)}".encode())
    content.update(weight.cpu().flatten().view(torch.uint8).numpy().data)
    return content.hexdigest()


def layer_of(name: str) -> int:
    """core.layers.3.attn.f.q -> 3"""
    match = _IN_LAYER.match(name)
    assert match is not None, name
    return int(match[1])


def _kind(name: str) -> str:
    """core.layers.3.attn.f.q -> attn.q"""
    match = _IN_LAYER.match(name)
    assert match is not None, name
    return match[2].replace(".f.", ".")
