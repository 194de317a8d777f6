"""Runs side by side: their training_results.json as a table for a terminal, a CSV file and a page with plots."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import UserError, notice
from ..trainers.folder import write_text
from ..trainers.progress import duration
from .baseline import NAME as BAG_OF_WORDS
from .pages import data_uri, render

RESULTS, CSV, PAGE = "training_results.json", "comparison.csv", "comparison.html"


@dataclass(frozen=True)
class Compared:
    """One run. What was not measured is None; `error` is why it has no numbers."""

    run: str  # its folder
    model: str
    dataset: str = ""
    method: str = ""
    measured_on: str = ""  # "test" where the data has a test split beside the held-out rows, else "held out"
    rows: int | None = None
    accuracy: float | None = None
    macro_f1: float | None = None
    loss: float | None = None
    perplexity: float | None = None
    bits_per_byte: float | None = None
    bag_of_words_accuracy: float | None = None
    parameters: int | None = None
    trained_parameters: int | None = None
    steps: int | None = None
    seconds: float | None = None  # of training, evaluation and checkpoints apart
    seconds_per_epoch: float | None = None
    samples_per_second: float | None = None
    memory_gib: float | None = None  # the peak: of the GPU where one was used, else of the process
    device: str = ""
    finished: bool = True
    error: str = ""

    @property
    def order(self) -> tuple[Any, ...]:
        """By data set; the best first, what failed last."""
        worst = math.inf
        score = -self.accuracy if self.accuracy is not None else self.loss if self.loss is not None else worst
        return (self.dataset, bool(self.error), self.accuracy is None, score, self.model, self.run)


def read_runs(folder: Path) -> list[Compared]:
    """The runs below a folder, the best of each data set first. A file that cannot be read is named and left out.

    Raises:
        UserError: there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise UserError(f"--report {folder}: there is no such folder; name one that holds runs, such as results")
    found = [row for path in sorted(folder.rglob(RESULTS)) if (row := read_run(path, folder)) is not None]
    if not found:
        raise UserError(f"--report {folder}: no run in it: a run leaves a {RESULTS} at its end")
    return sorted(found, key=lambda row: row.order)


def read_run(path: Path, folder: Path) -> Compared | None:
    """The run whose results a file holds, its folder told from `folder`; None, and a note, where it cannot be read."""
    try:
        r: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        where = os.path.relpath(path.parent, folder)
        model = str(r["model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        notice(f"{path} is left out: it cannot be read as a run's results ({type(error).__name__})")
        return None
    split = "test" if "test" in r else "held out"
    measured = r.get("test") or r.get("heldout") or {}
    return Compared(
        run=where,
        model=model,
        dataset=str(r.get("dataset", "")),
        method=str(r.get("method", "")),
        measured_on=split if measured else "",
        **{name: measured.get(name) for name in ("rows", "accuracy", "macro_f1", "loss", "perplexity")},
        bits_per_byte=measured.get("bits_per_byte"),
        bag_of_words_accuracy=_bag_of_words(r, split),
        parameters=r.get("parameters"),
        trained_parameters=r.get("trained_parameters"),
        steps=r.get("steps"),
        seconds=r.get("training_seconds"),
        seconds_per_epoch=r.get("seconds_per_epoch"),
        samples_per_second=r.get("samples_per_second"),
        memory_gib=r.get("peak_gpu_memory_gib", r.get("peak_memory_gib")),
        device=str(r.get("device", "")),
        finished=bool(r.get("finished", True)),
        error=str(r.get("error") or ""),
    )


def _bag_of_words(results: dict[str, Any], split: str) -> float | None:
    numbers = results.get("baseline", {}).get(BAG_OF_WORDS, {})
    return numbers.get("test_accuracy" if split == "test" else "accuracy")


# --- the terminal ------------------------------------------------------------------------------------------------

_SHOWN: dict[str, tuple[str, Callable[[Any], str]]] = {
    "model": ("model", str),
    "dataset": ("data", lambda name: _short(name)),
    "method": ("method", str),
    "accuracy": ("accuracy", lambda x: f"{x:.4f}"),
    "macro_f1": ("macro F1", lambda x: f"{x:.4f}"),
    "loss": ("loss", lambda x: f"{x:.4f}"),
    "perplexity": ("perplexity", lambda x: f"{x:,.2f}"),
    "bits_per_byte": ("bits/byte", lambda x: f"{x:.4f}"),
    "parameters": ("parameters", lambda x: f"{x:,}"),
    "trained_parameters": ("trained", lambda x: f"{x:,}"),
    "seconds": ("time", duration),
    "samples_per_second": ("samples/s", lambda x: f"{x:,.1f}"),
    "memory_gib": ("GiB", lambda x: f"{x:.2f}"),
}
_WORDS = ("model", "dataset", "method")


def table(runs: Sequence[Compared]) -> str:
    """The runs for a terminal: columns that none of them has are left out, errors stand below."""
    keys = [key for key in _SHOWN if any(getattr(run, key) not in (None, "") for run in runs)]
    if all(run.trained_parameters == run.parameters for run in runs) and "trained_parameters" in keys:
        keys.remove("trained_parameters")
    if len({run.method for run in runs if not run.error}) <= 1 and "method" in keys:
        keys.remove("method")
    if "accuracy" in keys and "bits_per_byte" in keys:  # a terminal is 120 wide; the page has both
        keys.remove("bits_per_byte")
    head = [_SHOWN[key][0] for key in keys]
    lines = [head, *([_cell(run, key) for key in keys] for run in runs)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(keys))]
    text = [
        "  ".join(
            cell.ljust(width) if key in _WORDS else cell.rjust(width)
            for cell, width, key in zip(line, widths, keys, strict=True)
        ).rstrip()
        for line in lines
    ]
    text.insert(1, "-" * max(map(len, text)))
    failed = [f"{run.model}: {run.error}" for run in runs if run.error]
    return "\n".join([*text, *([""] if failed else []), *failed])


def _cell(run: Compared, key: str) -> str:
    value = getattr(run, key)
    if value is None or value == "":
        return "failed" if run.error and key in ("accuracy", "loss") else ""
    said = _SHOWN[key][1](value)
    return f"{said} (stopped)" if key == "model" and not run.finished and not run.error else said


# --- files -------------------------------------------------------------------------------------------------------


def write_report(folder: Path, output: Path | None = None) -> tuple[list[Compared], list[Path]]:
    """Compare the runs below a folder: write comparison.csv and comparison.html into it, or into `output`.

    -> the runs, the files. Raises UserError as read_runs does, and where the files cannot be written.
    """
    runs, target = read_runs(folder), output or folder
    paths = [target / CSV, target / PAGE]
    write_text(paths[0], as_csv(runs))
    write_text(paths[1], as_html(runs, folder, target))
    return runs, paths


def as_csv(runs: Sequence[Compared]) -> str:
    """A line a run, every field a column."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Compared)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(run) for run in runs)
    return text.getvalue()


def as_html(runs: Sequence[Compared], folder: Path, target: Path) -> str:
    """A page with a table for each data set and the plots; links lead to the runs' own reports."""
    groups = []
    for dataset in dict.fromkeys(run.dataset for run in runs):
        some = [run for run in runs if run.dataset == dataset]
        groups.append(
            {
                "dataset": dataset,
                "sentence": _sentence(some),
                "head": [_SHOWN[key][0] for key in _columns(some)],
                "rows": [
                    {
                        "cells": [_cell(run, key) for key in _columns(some)],
                        "words": [key in _WORDS for key in _columns(some)],
                        "link": _link(run, folder, target),
                        "best": i == 0 and not run.error and len(some) > 1,
                        "error": run.error,
                    }
                    for i, run in enumerate(some)
                ],
                "figures": _figures(some),
            }
        )
    failed = sum(bool(run.error) for run in runs)
    said = f"{len(runs)} runs below {folder}" + (f", {failed} of which failed" if failed else "")
    return render("comparison.html", title="Runs compared", said=said, groups=groups)


def _columns(runs: Sequence[Compared]) -> list[str]:
    return [key for key in _SHOWN if key != "dataset" and any(getattr(run, key) not in (None, "") for run in runs)]


def _sentence(runs: Sequence[Compared]) -> str:
    """The best of them in words."""
    best = runs[0]
    if best.error:
        return "None of these runs has numbers."
    kind = best.measured_on.replace(" ", "-")
    of = f"on {best.rows:,} {kind} rows" if best.rows else f"on {kind} data"
    if best.accuracy is not None:
        words = best.bag_of_words_accuracy
        beside = f"; a bag of words reaches {words:.4f}" if words is not None else ""
        return f"The most accurate is {best.model} with {best.accuracy:.4f} {of}{beside}."
    if best.loss is None:
        return "Nothing was measured on held-out data."
    tokens = " Losses and perplexities of different tokenizers do not compare; bits a byte do." if len(runs) > 1 else ""
    return f"The lowest loss has {best.model} with {best.loss:.4f} {of}.{tokens}"


def _link(run: Compared, folder: Path, target: Path) -> str:
    page = folder / run.run / "report.html"
    return Path(os.path.relpath(page, target)).as_posix() if page.is_file() else ""


# --- plots -------------------------------------------------------------------------------------------------------


def _figures(runs: Sequence[Compared]) -> list[dict[str, str]]:
    """The score against parameters and against time, of runs that have them."""
    scores = {"accuracy": "accuracy", "bits_per_byte": "bits a byte", "loss": "loss (nats)"}
    key = next((key for key in scores if any(getattr(run, key) is not None for run in runs)), None)
    if key is None:
        return []
    found = []
    for against, label in (("parameters", "parameters"), ("seconds", "training time (seconds)")):
        points = [run for run in runs if getattr(run, key) is not None and getattr(run, against)]
        if points:
            png = plot_scores(points, key, scores[key], against, label)
            found.append({"src": data_uri(png), "caption": f"{scores[key].capitalize()} against {label}."})
    return found


def plot_scores(runs: Sequence[Compared], key: str, said: str, against: str, label: str) -> bytes:
    """A dot a run with its model's name, in a PNG; the bag of words, where it was measured, is a line."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(7.5, 4.5), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    x, y = [getattr(run, against) for run in runs], [getattr(run, key) for run in runs]
    axes.scatter(x, y, s=36, color="tab:blue", zorder=3)
    for i, run in enumerate(runs):
        above = 6 if i % 2 == 0 else -12  # neighbours of one size are told apart
        axes.annotate(run.model, (x[i], y[i]), xytext=(6, above), textcoords="offset points", fontsize=8)
    words = [run.bag_of_words_accuracy for run in runs if run.bag_of_words_accuracy is not None]
    if key == "accuracy" and words:
        axes.axhline(sum(words) / len(words), ls="--", lw=1, color="tab:gray", label="bag of words")
        axes.legend(frameon=False, fontsize=8)
    if max(x) > 5 * min(x):
        axes.set_xscale("log")
    if against == "parameters":
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.margins(x=0.15, y=0.15)
    axes.set_xlabel(label)
    axes.set_ylabel(said)
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _short(name: str) -> str:
    """The last part of a path or of a hub id."""
    return name.rstrip("/").rpartition("/")[2] or name
