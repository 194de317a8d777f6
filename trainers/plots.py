"""Pictures of a run, drawn from its metrics files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..evaluation.numbers import main_number
from ..evaluation.plots import picture, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = list[dict[str, Any]]
POSITION = "text_modeling/accuracy_"


def plot_run(
    train: Rows,
    evaluations: Rows,
    folder: Path,
    title: str,
    tasks: Rows | None = None,
    *,
    gradients: Rows | None = None,
    steps_per_epoch: int | None = None,
    loss: str = "loss (nats a token)",
) -> list[Path]:
    """Write loss.png, learning_rate.png, gradient_norm.png, throughput.png and, of what was measured, samples.png,
    memory.png, processor.png, scores.png, gap.png, gradient_norm_layers.png, tasks.png, text_modeling.png.

    What has no data is not drawn.

    Args:
        train: rows with step, loss, lr, grad_norm, tokens_per_second.
        evaluations: rows with step, loss; of a classifier accuracy and macro_f1; with a measured gap train_loss.
        tasks: rows with step, task/number.
        gradients: rows with step, and the norm of each part (see gradients.py).
        steps_per_epoch: the gap is drawn over epochs where it is known.
        loss: what it is called on the axis.
    """
    drawings: dict[str, Callable[[Axes], None]] = {}
    if train:
        drawings["loss"] = lambda axes: _loss(axes, train, evaluations, loss)
        drawings["learning_rate"] = lambda axes: _line(axes, train, "lr", "learning rate")
        drawings["gradient_norm"] = lambda axes: _line(
            axes, train, "grad_norm", "gradient norm before clipping", log=True
        )
        drawings["throughput"] = lambda axes: _line(axes, train, "tokens_per_second", "tokens a second", floor=0)
        if _points(train, "samples_per_second")[0]:
            drawings["samples"] = lambda axes: _line(axes, train, "samples_per_second", "samples a second", floor=0)
        if _points(train, "memory_gib")[0]:
            drawings["memory"] = lambda axes: _memory(axes, train)
        if _points(train, "cpu_percent")[0]:
            drawings["processor"] = lambda axes: _processor(axes, train)
    if _points(evaluations, "accuracy")[0]:
        drawings["scores"] = lambda axes: _scores(axes, evaluations)
    if _points(evaluations, "train_loss")[0]:
        drawings["gap"] = lambda axes: _gap(axes, evaluations, steps_per_epoch, loss)
    if gradients:
        drawings["gradient_norm_layers"] = lambda axes: _layers(axes, gradients)
    if main := _main_numbers(tasks or []):
        drawings["tasks"] = lambda axes: _tasks(axes, tasks or [], main)
    positions = [key for key in (tasks or [{}])[-1] if key.startswith(POSITION)]
    if positions:
        drawings["text_modeling"] = lambda axes: _positions(axes, tasks or [], positions)
    if not drawings:
        return []
    drawn: list[Path] = []
    for name, draw in drawings.items():
        with picture(path := folder / f"{name}.png"):
            drawn.append(_draw(path, title, draw))
    return drawn


def _main_numbers(tasks: Rows) -> list[str]:
    """The number of each task that stands for it, as it is called in the rows."""
    by_task: dict[str, dict[str, Any]] = {}
    for key, value in (tasks or [{}])[-1].items():
        task, _, name = key.rpartition("/")
        if task:
            by_task.setdefault(task, {})[name] = value
    named = {task: main_number(numbers) for task, numbers in by_task.items()}
    return [f"{task}/{name}" for task, name in named.items() if name is not None]


def _tasks(axes: Axes, rows: Rows, keys: list[str]) -> None:
    """A line a task, with the standard error around it where it is known."""
    for key in keys:
        steps, values = _points(rows, key)
        line = axes.plot(steps, values, lw=1.2, marker="o", ms=3, label=key.replace("/", ", "))[0]
        errors = [
            row[f"{key}_stderr"] for row in rows if row.get(key) is not None and row.get(f"{key}_stderr") is not None
        ]
        if len(errors) == len(values):
            low, high = ([v + sign * e for v, e in zip(values, errors, strict=True)] for sign in (-1, 1))
            axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.12, lw=0)
    axes.set_ylabel("score")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))


def _positions(axes: Axes, rows: Rows, keys: list[str]) -> None:
    """Accuracy by the byte's place in the continuation: at the first evaluation, the last, and some between."""
    shown = sorted({round(i * (len(rows) - 1) / 3) for i in range(4)})
    for place, i in enumerate(shown):
        shade = 0.25 + 0.75 * place / max(1, len(shown) - 1)
        axes.plot(
            range(len(keys)),
            [rows[i].get(key) or 0.0 for key in keys],
            marker="o",
            ms=3,
            color="tab:blue",
            alpha=shade,
            label=f"step {rows[i]['step']:,}",
        )
    axes.set_xticks(range(len(keys)), [key.removeprefix(POSITION) for key in keys])
    axes.set_xlabel("byte of the continuation")
    axes.set_ylabel("share of right bytes")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)


def _draw(path: Path, title: str, draw: Callable[[Axes], None]) -> Path:
    from matplotlib.figure import Figure  # not pyplot: no display, no global state

    figure = Figure(figsize=(7.5, 4.5), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel("step")
    draw(axes)
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return save(figure, path)


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


def _memory(axes: Axes, train: Rows) -> None:
    """Memory in use when a row was logged, and the most so far."""
    for kind, where in (("", "process"), ("gpu_", "GPU")):
        for key, label, style in ((f"{kind}memory_gib", "now", "-"), (f"peak_{kind}memory_gib", "peak", "--")):
            steps, values = _points(train, key)
            if steps:
                colour = "tab:green" if kind else "tab:blue"
                axes.plot(steps, values, style, lw=1.2, color=colour, label=f"{where}, {label}")
    axes.set_ylabel("memory (GiB)")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)


def _processor(axes: Axes, train: Rows) -> None:
    for key, label in (("cpu_percent", "processor (100: one core)"), ("gpu_percent", "GPU")):
        steps, values = _points(train, key)
        if steps:
            axes.plot(steps, values, lw=1.2, marker="o" if len(steps) == 1 else None, label=label)
    axes.set_ylabel("busy (per cent)")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)


def _scores(axes: Axes, evaluations: Rows) -> None:
    for key, label in (("accuracy", "accuracy"), ("macro_f1", "macro F1"), ("train_accuracy", "accuracy, training")):
        steps, values = _points(evaluations, key)
        if steps:
            axes.plot(steps, values, lw=1.4, marker="o", ms=3.5, label=label)
    axes.set_ylabel("share of held-out rows")
    axes.legend(frameon=False)


def _gap(axes: Axes, evaluations: Rows, steps_per_epoch: int | None, label: str) -> None:
    """Training and held-out loss, measured alike, and the area between them."""
    rows = [row for row in evaluations if row.get("train_loss") is not None and row.get("loss") is not None]
    x = [row["step"] / (steps_per_epoch or 1) for row in rows]
    seen, unseen = [row["train_loss"] for row in rows], [row["loss"] for row in rows]
    axes.plot(x, seen, lw=1.4, marker="o", ms=3.5, color="tab:blue", label="training rows")
    axes.plot(x, unseen, lw=1.4, marker="o", ms=3.5, color="tab:orange", label="held-out rows")
    axes.fill_between(x, seen, unseen, color="tab:orange", alpha=0.15, lw=0, label="gap")
    middle = (seen[-1] + unseen[-1]) / 2
    axes.annotate(
        f"{unseen[-1] - seen[-1]:+.3f}", (x[-1], middle), xytext=(5, 0), textcoords="offset points", fontsize=8
    )
    axes.set_xlabel("epoch" if steps_per_epoch else "step")
    axes.set_ylabel(label)
    axes.legend(frameon=False)


def _layers(axes: Axes, rows: Rows) -> None:
    """A line a part: layers from dark (the first) to bright, embedder and head dashed."""
    from matplotlib import colormaps

    names = [name for name in rows[-1] if name != "step"]
    numbers = sorted(int(name) for name in names if name.isdigit())
    shades = colormaps["viridis"].resampled(max(2, len(numbers) + 1))
    for name in sorted(names, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0)):
        steps, values = _points(rows, name)
        marker = "o" if len(steps) == 1 else None
        if name.isdigit():
            i = numbers.index(int(name))
            said = f"layer {name}" if len(numbers) <= 16 or i in (0, len(numbers) // 2, len(numbers) - 1) else None
            axes.plot(steps, values, lw=1.1, color=shades(i), marker=marker, label=said)
        else:
            colour = "tab:red" if name == "head" else "tab:gray"
            axes.plot(steps, values, "--", lw=1.1, color=colour, marker=marker, label=name)
    every = [value for row in rows for key, value in row.items() if key != "step" and value is not None]
    if every and min(every) > 0:
        axes.set_yscale("log")
    axes.set_ylabel("gradient norm before clipping")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))


def _loss(axes: Axes, train: Rows, evaluations: Rows, label: str) -> None:
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
    axes.set_ylabel(label)
    axes.legend(frameon=False)


def _smooth(values: list[float]) -> list[float]:
    """Exponential moving average over about a twentieth of the points, without the bias of its start."""
    decay, average, weight, smoothed = 1 - 20 / max(40, len(values)), 0.0, 0.0, []
    for value in values:
        average, weight = decay * average + (1 - decay) * value, decay * weight + (1 - decay)
        smoothed.append(average / weight)
    return smoothed
