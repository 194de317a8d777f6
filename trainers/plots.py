"""Pictures of a run, drawn from its metrics files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = list[dict[str, Any]]


def plot_run(train: Rows, evaluations: Rows, folder: Path, title: str) -> list[Path]:
    """Write loss.png, learning_rate.png, gradient_norm.png and throughput.png; what has no data is not drawn.

    Args:
        train: rows with step, loss, lr, grad_norm, tokens_per_second.
        evaluations: rows with step, loss.
    """
    drawings: dict[str, Callable[[Axes], None]] = {}
    if train:
        drawings["loss"] = lambda axes: _loss(axes, train, evaluations)
        drawings["learning_rate"] = lambda axes: _line(axes, train, "lr", "learning rate")
        drawings["gradient_norm"] = lambda axes: _line(
            axes, train, "grad_norm", "gradient norm before clipping", log=True
        )
        drawings["throughput"] = lambda axes: _line(axes, train, "tokens_per_second", "tokens a second", floor=0)
    if not drawings:
        return []
    return [_draw(folder / f"{name}.png", title, draw) for name, draw in drawings.items()]


def _draw(path: Path, title: str, draw: Callable[[Axes], None]) -> Path:
    from matplotlib.figure import Figure  # not pyplot: no display, no global state

    figure = Figure(figsize=(7.5, 4.5), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("step")
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    figure.savefig(partial, format="png")
    partial.replace(path)
    return path


def _points(rows: Rows, key: str) -> tuple[list[float], list[float]]:
    known = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
    return [x for x, _ in known], [y for _, y in known]


def _line(axes: Axes, rows: Rows, key: str, label: str, *, log: bool = False, floor: float | None = None) -> None:
    steps, values = _points(rows, key)
    axes.plot(steps, values, lw=1.2, marker="o" if len(steps) == 1 else None)
    axes.set_ylabel(label)
    if log and values and min(values) > 0:
        axes.set_yscale("log")
    if floor is not None:
        axes.set_ylim(bottom=floor)


def _loss(axes: Axes, train: Rows, evaluations: Rows) -> None:
    steps, losses = _points(train, "loss")
    few = len(steps) < 50
    axes.plot(steps, losses, lw=1, alpha=1 if few else 0.35, color="tab:blue", label="training")
    if not few:
        axes.plot(steps, _smooth(losses), lw=1.4, color="tab:blue", label="training, smoothed")
    steps, losses = _points(evaluations, "loss")
    if losses:
        axes.plot(steps, losses, lw=1.4, marker="o", ms=3.5, color="tab:orange", label="held out")
        axes.annotate(
            f"{losses[-1]:.3f}", (steps[-1], losses[-1]), xytext=(4, 4), textcoords="offset points", fontsize=8
        )
    axes.set_ylabel("loss (nats a token)")
    axes.legend(frameon=False)


def _smooth(values: list[float]) -> list[float]:
    """Exponential moving average over about a twentieth of the points, without the bias of its start."""
    decay, average, weight, smoothed = 1 - 20 / max(40, len(values)), 0.0, 0.0, []
    for value in values:
        average, weight = decay * average + (1 - decay) * value, decay * weight + (1 - decay)
        smoothed.append(average / weight)
    return smoothed
