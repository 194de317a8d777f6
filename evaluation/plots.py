"""Pictures of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .classification import Confusion

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
        axes.set_xticks(range(K), names, rotation=turned, ha="right" if turned else "center", fontsize=8)
        axes.set_yticks(range(K), names, fontsize=8)
    axes.set_xlabel("taken for")
    axes.set_ylabel("true class")
    said = f"accuracy {confusion.accuracy:.3f}, macro F1 {confusion.macro_f1:.3f}, {confusion.n:,} rows"
    axes.set_title(f"{title}\n{said}", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    figure.savefig(partial, format="png")
    partial.replace(path)
    return path
