"""Pictures of what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import notice
from .classification import Confusion

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUMBERED = 20  # classes up to which every cell is labelled with its count


def plot_confusion(confusion: Confusion, names: Sequence[str], path: Path, title: str) -> Path:
    """A square for every pair of a true class and the one it was taken for: its shade is the row's share, its number
    the count. With many classes the shades alone."""
    from matplotlib.figure import Figure  # not pyplot: no display, no global state

    counts, K = confusion.counts, len(confusion.counts)
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))  # (K, K)
    side = min(14.0, max(4.5, 2.5 + 0.45 * K))
    figure = Figure(figsize=(side + 0.8, side), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    if K <= NUMBERED:
        for i, j in np.ndindex(K, K):
            colour = "white" if shares[i, j] > 0.55 else "black"
            axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", color=colour, fontsize=8)
    if K <= 3 * NUMBERED:
        turned = 45 if K > 4 or max(map(len, names)) > 8 else 0
        shown = [_plain(name) for name in names]
        axes.set_xticks(range(K), shown, rotation=turned, ha="right" if turned else "center", fontsize=8)
        axes.set_yticks(range(K), shown, fontsize=8)
    axes.set_xlabel("taken for")
    axes.set_ylabel("true class")
    said = f"accuracy {confusion.accuracy:.3f}, macro F1 {confusion.macro_f1:.3f}, {confusion.n:,} rows"
    axes.set_title(f"{title}\n{said}", fontsize=10)
    return save(figure, path)


def plot_attention(maps: Sequence[NDArray[np.floating]], tokens: Sequence[str], path: Path, title: str) -> Path:
    """Whom each token of one row attends to: a square a head, a line of squares a layer, and the last layer large.

    Args:
        maps: for each layer (H, T, T), the share that each query takes of each key. Of more than 6 layers or heads,
            6 are shown, spread evenly.
        tokens: T words.
    """
    from matplotlib.colors import PowerNorm  # its root: small shares are seen beside large ones
    from matplotlib.figure import Figure

    layers, heads = _spread(len(maps)), _spread(len(maps[0]))
    side = min(9.0, 3.0 + 0.16 * len(tokens))
    figure = Figure(figsize=(1.2 * len(heads) + 1.5 + side, max(1.2 * len(layers) + 0.8, side)), dpi=110)
    figure.set_layout_engine("constrained")
    left, right = cast(Any, figure).subfigures(1, 2, width_ratios=[1.2 * len(heads) + 0.8, side])
    for i, layer in enumerate(layers):
        for j, head in enumerate(heads):
            axes = left.add_subplot(len(layers), len(heads), i * len(heads) + j + 1)
            axes.imshow(maps[layer][head], cmap="magma", norm=PowerNorm(0.5, vmin=0), interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            if i == 0:
                axes.set_title(f"head {head}", fontsize=8)
            if j == 0:
                axes.set_ylabel(f"layer {layer}", fontsize=8)
    axes = right.add_subplot()
    image = axes.imshow(maps[-1].mean(0), cmap="magma", norm=PowerNorm(0.5, vmin=0), interpolation="nearest")
    right.colorbar(image, ax=axes, shrink=0.6, label="share of attention")
    axes.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=7)
    axes.set_yticks(range(len(tokens)), tokens, fontsize=7)
    axes.set_title(f"layer {len(maps) - 1}, mean of its heads", fontsize=9)
    axes.set_xlabel("attended to", fontsize=8)
    axes.set_ylabel("token", fontsize=8)
    figure.suptitle(title, fontsize=10)
    return save(figure, path)


def _spread(count: int, most: int = 6) -> list[int]:
    """All of 0 ... count - 1, or as many as `most`, evenly, first and last among them."""
    shown = min(count, most)
    return [round(i * (count - 1) / max(1, shown - 1)) for i in range(shown)]


def _plain(name: str, longest: int = 28) -> str:
    """A name as a label: no mathematics in it, and not so long that nothing is left of the picture."""
    cut = name if len(name) <= longest else name[: longest - 1] + "…"
    return cut.replace("$", r"\$")


@contextmanager
def picture(path: Path) -> Iterator[None]:
    """Around the drawing of one: whatever keeps it from being drawn is said, and ends no run."""
    try:
        yield
    except Exception as error:
        notice(f"{path} was not drawn: {type(error).__name__}: {' '.join(str(error).split())[:200]}")


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    figure.savefig(partial, format="png")
    partial.replace(path)
    return path
