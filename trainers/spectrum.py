"""Spectrum: train only the matrices whose weights hold the most signal. https://arxiv.org/abs/2406.06623

The matrices of a kind (all q, all down, ...) are ranked against each other by their signal-to-noise ratio (snr.py),
and the first of each kind train, with their biases; all else is frozen. So are embeddings, norms and the head of a
language model, tied or not, unless they are named; the head of a classifier, which is new, trains always.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from ..configs.portion import best_of
from ..data.cache import cache_folder
from ..errors import UserError, nearest
from ..models.model import Model
from .snr import Score, layer_of, matrices_of, scores_of

_THRESHOLD = "fine_tuning.spectrum.snr_threshold"
_FILE = "spectrum.json"
_LAYERS = "fine_tuning.spectrum.layers_to_finetune"


@dataclass(frozen=True)
class Selection:
    """What of a model is to train."""

    modules: tuple[str, ...]  # the Linears of its blocks that do, in the model's order
    parameters: tuple[str, ...]  # every parameter that does, by name
    count: int  # how many numbers those are
    total: int  # of how many in the whole model
    scores: tuple[Score, ...]  # of every matrix that was ranked; none where the layers were given

    def apply(self, model: nn.Module) -> None:
        """Freeze the model but for what was chosen.

        Raises:
            UserError: it is not the model that this was chosen for; then nothing is changed.
        """
        own = dict(model.named_parameters())
        if missing := [name for name in self.parameters if name not in own]:
            raise UserError(f"spectrum: the model has no parameter '{missing[0]}': choose its own layers")
        chosen = set(self.parameters)
        for name, parameter in own.items():
            parameter.requires_grad_(name in chosen)

    def table(self) -> str:
        """What was chosen, a line for each kind of matrix."""
        share = f"{self.count:,} of {self.total:,} parameters train ({self.count / self.total:.1%})"
        if not self.scores:
            layers = sorted({layer_of(name) for name in self.modules})
            return f"layers {', '.join(map(str, layers))}, as given: {share}"
        lines = [f"{'matrices':<12}{'chosen':>8}   {'signal to noise':<25}layers"]
        for kind, ranked in _by_kind(self.scores).items():
            chosen = [score for score in ranked if score.name in self.modules]
            values = f"{ranked[-1].snr:.3g} to {ranked[0].snr:.3g}"
            limit = f", from {chosen[-1].snr:.3g}" if chosen else ""
            layers = " ".join(str(layer) for layer in sorted(score.layer for score in chosen)) or "none"
            lines.append(f"{kind:<12}{len(chosen):>3} of {len(ranked):<3} {values + limit:<25} {layers}")
        return "\n".join([*lines, share])

    @classmethod
    def read(cls, folder: Path) -> Selection:
        """What `write` left in `folder`: a run that goes on trains what it began with, its weights having changed.

        Raises:
            UserError: it is missing or damaged.
        """
        path = folder / _FILE
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            scores = tuple(Score(**{**score, "shape": tuple(score["shape"])}) for score in found["scores"])
            return cls(tuple(found["modules"]), tuple(found["parameters"]), found["count"], found["total"], scores)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: cannot be read ({error}): restore it, or start the run again") from None

    def write(self, folder: Path, plot: bool = True) -> list[Path]:
        """spectrum.json, and where there are scores spectrum.png unless not to `plot`, in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / _FILE]
        paths[0].write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        if self.scores and plot:
            paths.append(folder / "spectrum.png")
            _plot(self, paths[1])
        return paths


def choose_layers(
    model: Model,
    snr_threshold: float = 0.5,
    layers: Literal["auto"] | Sequence[int] = "auto",
    also: Collection[str] = (),
    cache_dir: Path | None = None,
    device: torch.device | None = None,
) -> Selection:
    """The matrices to train, by their signal or those of the given layers; the model is not changed.

    Args:
        snr_threshold: a percentile of the signal-to-noise ratio: of each kind of matrix the best 1 - snr_threshold
            train, rounded down.
        layers: "auto", or the indices of blocks, which then train whole and nothing is ranked.
        also: beginnings of the names of other parameters to train: "head.", "embedder.", "core.norm.".
        cache_dir: where scores are kept by the weights they are of; None: the folder of the cache.
        device: where each matrix is moved to be scored; None: it is scored where it lies.

    Raises:
        UserError: there is nothing to rank, or nothing stands out of the noise, or nothing remains to train; a weight
            is not finite or is quantised; a layer or a name does not exist.
    """
    scores: tuple[Score, ...] = ()
    matrices = matrices_of(model)
    if layers == "auto":
        scores = scores_of(matrices, cache_dir or cache_folder(), device)
        modules = _choose(scores, snr_threshold)
        wanted = {id(p) for name in modules for p in model.get_submodule(name).parameters()}
    else:
        indices = _check_layers(layers, model.config.n_layers)
        wanted = {id(p) for i in indices for p in model.core.layers[i].parameters()}  # a shared one too
        modules = tuple(name for name, module in matrices.items() if id(module.weight) in wanted)
    every = dict(model.named_parameters(remove_duplicate=False))  # a tied head by its own name too
    for word in also:
        if not any(name.startswith(word) for name in every):
            known = sorted({f"{name.partition('.')[0]}." for name in every})
            raise UserError(f"spectrum: no parameter's name begins with '{word}'.{nearest(word, known)}")
    beginnings = (*also, "head.") if model.task == "classification" else tuple(also)
    wanted |= {id(p) for name, p in every.items() if name.startswith(beginnings)}
    own = dict(model.named_parameters())
    names = tuple(name for name, p in own.items() if id(p) in wanted)
    count = sum(own[name].numel() for name in names)
    return Selection(modules, names, count, model.num_parameters(), scores)


# --- choosing ----------------------------------------------------------------------------------------------------


def _choose(scores: tuple[Score, ...], threshold: float) -> tuple[str, ...]:
    """The first 1 - threshold of each kind, in the model's order; a matrix without any signal is never among them."""
    if not 0 <= threshold <= 1:
        raise UserError(f"{_THRESHOLD}={threshold}: must be from 0 to 1")
    if all(score.snr == 0 for score in scores):
        raise UserError(
            "spectrum: no matrix has a singular value above the noise, so none can be preferred: use `full`"
        )
    chosen: set[str] = set()
    longest = 0
    for ranked in _by_kind(scores).values():
        longest = max(longest, len(ranked))
        best = best_of(len(ranked), threshold)
        chosen |= {score.name for score in ranked[:best] if score.snr > 0}
    if not chosen:
        limit = math.floor((1 - 1 / longest) * 100) / 100
        raise UserError(
            f"{_THRESHOLD}={threshold:g}: the best {1 - threshold:.0%} of {longest} matrices of a kind are none, so "
            f"nothing would train: set it to {limit:g} or less"
        )
    return tuple(score.name for score in scores if score.name in chosen)


def _by_kind(scores: Iterable[Score]) -> dict[str, list[Score]]:
    """Each kind's matrices from the highest ratio to the lowest, of equals the earlier layer first."""
    kinds: dict[str, list[Score]] = {}
    for score in scores:
        kinds.setdefault(score.kind, []).append(score)
    return {kind: sorted(members, key=lambda s: (-s.snr, s.layer)) for kind, members in kinds.items()}


def _check_layers(layers: Sequence[int], n_layers: int) -> list[int]:
    if not layers:
        raise UserError(f"{_LAYERS}: the list is empty, so nothing would train: name layers, or use `auto`")
    if wrong := [layer for layer in layers if not 0 <= layer < n_layers]:
        raise UserError(f"{_LAYERS}: there is no layer {wrong[0]}, the model has 0 to {n_layers - 1}")
    return sorted(set(layers))


# --- the picture -------------------------------------------------------------------------------------------------


def _plot(selection: Selection, path: Path) -> None:
    """A row for each kind, a column for each layer: the ratio as a colour, a frame around what trains."""
    from matplotlib.figure import Figure  # not pyplot: no display, no global state
    from matplotlib.patches import Rectangle

    kinds = _by_kind(selection.scores)
    n_layers = 1 + max(score.layer for score in selection.scores)
    grid = torch.full((len(kinds), n_layers), torch.nan)
    figure = Figure(figsize=(max(5.0, 2.6 + 0.32 * n_layers), 1.7 + 0.42 * len(kinds)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for row, members in enumerate(kinds.values()):
        for score in members:
            grid[row, score.layer] = score.snr / (members[0].snr or 1.0)
            if score.name in selection.modules:
                place = (score.layer - 0.44, row - 0.42)
                axes.add_patch(Rectangle(place, 0.88, 0.84, fill=False, edgecolor="tab:red", linewidth=1.8))
    image = axes.imshow(grid.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    figure.colorbar(image, ax=axes, label="signal to noise,\nof the kind's highest")
    axes.set_yticks(range(len(kinds)), [f"{kind} (to {members[0].snr:.2g})" for kind, members in kinds.items()])
    axes.set_xticks(range(0, n_layers, max(1, n_layers // 16)))
    axes.set_xlabel("layer")
    axes.set_title(f"framed: trains, {selection.count / selection.total:.0%} of all parameters", fontsize=10)
    partial = path.with_suffix(".tmp")
    figure.savefig(partial, format="png")
    partial.replace(path)
