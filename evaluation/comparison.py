"""Runs side by side: a table for a terminal, a CSV file and a page with plots."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ..trainers.folder import write_text
from .columns import HEADINGS, SETTINGS, TASKS, Column, Names, columns_of, rows_of, values_of
from .compared import RESULTS, Compared, amounts, comparable, grouped, read_run, read_runs
from .numbers import flat
from .pages import data_uri, render, size
from .scatter import Dot, plot_scores

__all__ = ["RESULTS", "Compared", "as_csv", "as_html", "read_run", "read_runs", "table", "write_report"]

CSV, PAGE = "comparison.csv", "comparison.html"
WIDTH = 120  # of a terminal
_LEAVING = ("tasks", "device", "memory_gib", "samples_per_second", "perplexity", "text", "trained_parameters")
_LEAVING += ("mixed_precision", "epochs", "macro_f1", "parameters", "effective_batch_size", "seconds")
"""The least telling first: they leave a table that is too wide for a terminal."""


# --- the terminal ------------------------------------------------------------------------------------------------


def table(runs: Sequence[Compared]) -> str:
    """A table for a terminal for each group of runs that compare; columns that make one too wide leave it."""
    names, unneeded = Names(runs), _unneeded(runs)
    blocks: list[str] = []
    for group in grouped(runs):
        columns = _fitting([column for column in columns_of(group, names) if column.key not in unneeded], group)
        widths = [_width(column, group) for column in columns]
        head = _line([column.head for column in columns], columns, widths)
        rows = [_line([column.cell(run) for column in columns], columns, widths) for run in group]
        unequal = [said] if (said := _unequal(group)) else []
        blocks.append("\n".join([head, "-" * max(map(len, [head, *rows])), *rows, *unequal]))
    if remarks := _remarks(runs, names):
        blocks.append("\n".join(remarks))
    return "\n\n".join(blocks)


def _unneeded(runs: Sequence[Compared]) -> list[str]:
    """Headings that tell no groups apart: the task where each data set has but one."""
    pairs = {(run.dataset, run.task) for run in runs if run.task}
    found = ["task"] if len(pairs) == len({dataset for dataset, _ in pairs}) else []
    return found + (["measured_on"] if len(values_of(runs, "measured_on")) < 2 else [])


def _fitting(columns: Sequence[Column], runs: Sequence[Compared]) -> list[Column]:
    """Those that a terminal has room for."""
    kept = list(columns)
    while sum(_width(column, runs) + 2 for column in kept) - 2 > WIDTH:
        leaving = [column for key in _LEAVING for column in reversed(kept) if column.key == key]
        if not leaving:
            break
        kept.remove(leaving[0])
    return kept


def _width(column: Column, runs: Sequence[Compared]) -> int:
    return max(len(column.head), *(len(column.cell(run)) for run in runs))


def _line(texts: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    padded = (
        text.ljust(width) if column.words else text.rjust(width)
        for text, column, width in zip(texts, columns, widths, strict=True)
    )
    return "  ".join(padded).rstrip()


def _remarks(runs: Sequence[Compared], names: Names) -> list[str]:
    """What is to be known of the numbers, or why there are none."""
    found = [f"{names.full(run)}: {run.error or run.note}" for run in runs if run.error or run.note]
    if others := [names.full(run) for run in runs if run.not_of_best]:
        found.append(
            f"Of {', '.join(others)} the best checkpoint on held-out data was not measured at the end: the numbers are "
            "of a later one."
        )
    return found


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
    """A line a run: every field is a column, and every number of a task is one, task/number."""
    rows = [{name: value for name, value in asdict(run).items() if name != "tasks"} | flat(run.tasks) for run in runs]
    names = [field.name for field in fields(Compared) if field.name != "tasks"]
    names += dict.fromkeys(name for row in rows for name in row if name not in names)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([map(_no_formula, names), *(map(_no_formula, map(row.get, names)) for row in rows)])
    return text.getvalue()


def _no_formula(value: Any) -> Any:
    """A name that a spreadsheet would compute gets an apostrophe before it; numbers stay numbers."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def as_html(runs: Sequence[Compared], folder: Path, target: Path) -> str:
    """A page with a table and plots for each group of runs that compare; links lead to the runs' own reports."""
    names = Names(runs)
    failed, blank = sum(bool(run.error) for run in runs), sum(bool(run.note) for run in runs)
    said = f"{len(runs)} run{'s' if len(runs) > 1 else ''} below {folder}"
    said += f", {failed} failed" if failed else ""
    said += f", {blank} without results" if blank else ""
    return render(
        "comparison.html",
        title="Runs compared",
        said=said,
        tasks=any(run.tasks for run in runs),
        groups=[_group(group, names, folder, target) for group in grouped(runs)],
    )


def _group(runs: Sequence[Compared], names: Names, folder: Path, target: Path) -> dict[str, Any]:
    columns = [column for column in columns_of(runs, names) if column.key not in HEADINGS]
    best = runs[0].score if len(runs) > 1 and comparable(runs) else None
    first = runs[0]
    on = f"{first.measured_on.replace(' ', '-')} {'rows' if first.rows else 'text'}"
    return {
        "dataset": f"{first.dataset} {first.subset}".strip(),
        "about": ", ".join(
            filter(None, (TASKS.get(first.task, first.task), on if first.measured_on else "no numbers"))
        ),
        "sentence": _sentence(runs, names),
        "settings": _in_common(runs),
        "head": [(column.head, column.words) for column in columns],
        "rows": [
            {
                "number": number,
                "cells": [(column.cell(run), column.words) for column in columns],
                "link": _link(run, folder, target),
                "best": best is not None and run.score == best,
            }
            for number, run in enumerate(runs, 1)
        ],
        "remarks": _remarks(runs, names),
        "figures": _figures(runs, names),
    }


def _sentence(runs: Sequence[Compared], names: Names) -> str:
    """The best of them in words, or why none of them is."""
    measured = [run for run in runs if run.score]
    if not measured or (score := measured[0].score) is None:
        return "None of these runs has numbers of unseen data."
    kind, value = score
    first = measured[0]
    where = first.measured_on.replace(" ", "-")
    if unequal := _unequal(runs):
        return unequal
    on = f"on {rows_of(first)} {where} rows" if first.rows else f"on {where} text"
    best = [names.full(run) for run in measured if run.score == score]
    who = f"{' and '.join(best)} with {value:.4f} {on}"
    verb = "has" if len(best) == 1 else "have"
    if kind == "accuracy":
        words = first.bag_of_words_accuracy
        of_all = " on all of them" if (first.of or 0) > (first.rows or 0) else ""
        beside = f"; a bag of words reaches {words:.4f}{of_all}" if words is not None else ""
        return f"The most accurate {'is' if len(best) == 1 else 'are'} {who}{beside}."
    if kind == "bits_per_byte":
        note = " Bits a byte compare across tokenizers, losses and perplexities do not." if len(runs) > 1 else ""
        return f"The fewest bits a byte {verb} {who}.{note}"
    note = " Losses and perplexities of different tokenizers do not compare." if len(runs) > 1 else ""
    return f"The lowest loss {verb} {who}.{note}"


def _unequal(runs: Sequence[Compared]) -> str:
    """Why none of them is the best, where they were not measured alike; else nothing."""
    if comparable(runs) or not any(run.score for run in runs):
        return ""
    where = next(run.measured_on for run in runs if run.score).replace(" ", "-")
    unit, least, most = amounts(runs)
    if least == most:
        return "They were not measured in the same way, so that none of them is the best."
    on = f"different numbers of {where} {unit}, {least:,} to {most:,}"
    if unit == "bytes":
        on = f"different amounts of {where} text, {size(least)} to {size(most)}"
    some = unit == "bytes" or any((run.of or 0) > (run.rows or 0) for run in runs)  # there is more to be measured on
    more = ": evaluation.max_batches null takes all there is" if some else ""
    return f"They were measured on {on}, so that none of them is the best{more}."


def _in_common(runs: Sequence[Compared]) -> str:
    """method full, seed 1337, learning rate 2e-05; what is learned the heading says"""
    values = {key: values_of(runs, key) for key in SETTINGS if key != "objective"}
    shared = [f"{SETTINGS[key][0]} {SETTINGS[key][1](some[0])}" for key, some in values.items() if len(some) == 1]
    return ", ".join(shared)


def _link(run: Compared, folder: Path, target: Path) -> str:
    page = folder / run.run / "report.html"
    return Path(os.path.relpath(page, target)).as_posix() if page.is_file() else ""


def _figures(runs: Sequence[Compared], names: Names) -> list[dict[str, str]]:
    """The score against parameters and against time, of runs that have them; their numbers are those of the rows."""
    said = {"accuracy": "accuracy", "bits_per_byte": "bits a byte", "loss": "loss (nats)"}
    kind = next((run.score[0] for run in runs if run.score), None)
    if kind is None:
        return []
    words = [run.bag_of_words_accuracy for run in runs if run.bag_of_words_accuracy is not None]
    line = ("bag of words", sum(words) / len(words)) if kind == "accuracy" and words else None
    found = []
    for against, label in (("parameters", "parameters"), ("seconds", "training time (seconds)")):
        dots = [
            Dot(number, names.full(run), getattr(run, against), run.score[1])
            for number, run in enumerate(runs, 1)
            if run.score and run.score[0] == kind and 0 < (getattr(run, against) or 0) < math.inf
        ]
        if len(dots) > 1:
            png = plot_scores(dots, label, said[kind], counts=against == "parameters", line=line)
            caption = f"{said[kind].capitalize()} against {label}; a dot has the number of its row."
            found.append({"src": data_uri(png), "caption": caption})
    return found
