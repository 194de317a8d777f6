"""The table of lengths that is printed before training: what will be trained on, and what was lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..rows import pack_lengths
from .labels import Counts


@dataclass(frozen=True)
class LengthTable:
    """Both sides of the data. `str()` is the table, in tokens; `to_dict()` its numbers."""

    train: Counts
    heldout: Counts | None
    max_length: int
    about: tuple[tuple[str, str], ...] = ()
    """how the rows were made, a line each"""

    def to_dict(self) -> dict[str, Any]:
        """The numbers of each side."""
        sides = {"train": self.train, "heldout": self.heldout}
        return {side: numbers(counts, self.max_length) for side, counts in sides.items() if counts is not None}

    def __str__(self) -> str:
        found = self.to_dict()
        heads = ["", *(name.replace("heldout", "held out") for name in found)]
        rows = [heads]
        for label, show in _LINES:
            rows.append([label, *(show(values) for values in found.values())])
        widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        ]
        return "\n".join([*(line.rstrip() for line in lines), *(f"{k.ljust(widths[0])}  {v}" for k, v in self.about)])


def numbers(counts: Counts, max_length: int) -> dict[str, Any]:
    """What the table says of one side. Lengths are those before anything was cut; the rest is what is trained on."""
    lengths, kept = counts.lengths, counts.kept
    p50, p90 = (int(np.percentile(lengths, q, method="inverted_cdf")) for q in (50, 90)) if len(lengths) else (0, 0)
    n_tokens, n_targets = int(kept.sum()), int(counts.targets.sum())
    return {
        "rows": len(kept),
        "tokens": n_tokens,
        "target_tokens": counts.kept_targets,
        "length_p50": p50,
        "length_p90": p90,
        "length_max": int(lengths.max(initial=0)),
        "max_length": max_length,
        "rows_cut": counts.cut,
        "rows_dropped": counts.dropped,
        "answers_with_stop": counts.ended,
        "answers_without_stop": counts.unended,
        "target_tokens_lost": n_targets - counts.kept_targets,
        "target_share_lost": (n_targets - counts.kept_targets) / n_targets if n_targets else 0.0,
        "packing_efficiency": n_tokens / (len(pack_lengths(kept, max_length)) * max_length) if len(kept) else 0.0,
        "padding_efficiency": n_tokens / (len(kept) * int(kept.max())) if len(kept) else 0.0,
    }


_Show = Callable[[dict[str, Any]], str]


def _count(key: str) -> _Show:
    return lambda values: f"{values[key]:,}"


def _ended(values: dict[str, Any]) -> str:
    ended, cut = values["answers_with_stop"], values["answers_without_stop"]
    return f"{ended:,} of {ended + cut:,} ({ended / (ended + cut):.1%})" if ended + cut else "0"


_LINES: tuple[tuple[str, _Show], ...] = (
    ("rows", _count("rows")),
    ("tokens", _count("tokens")),
    ("target tokens", _count("target_tokens")),
    ("length p50 / p90 / max", lambda v: f"{v['length_p50']:,} / {v['length_p90']:,} / {v['length_max']:,}"),
    ("longest that fits", _count("max_length")),
    ("rows cut", _count("rows_cut")),
    ("rows dropped", _count("rows_dropped")),
    ("answers that keep their stop token", _ended),
    ("target tokens lost", lambda v: f"{v['target_tokens_lost']:,} ({v['target_share_lost']:.1%})"),
    (
        "full when packed / padded to longest",
        lambda v: f"{v['packing_efficiency']:.0%} / {v['padding_efficiency']:.0%}",
    ),
)
