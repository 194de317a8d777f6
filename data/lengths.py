"""How long the rows of a data set are, for a person to read before training: what is cut shows here first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Lengths:
    """The lengths of one split, in tokens, special ones included, before anything is cut to `max_length`."""

    split: str
    rows: int
    tokens: int
    p50: int
    p90: int
    longest: int
    cut: int
    lost: int  # tokens beyond max_length

    @staticmethod
    def of(split: str, lengths: Sequence[int], max_length: int) -> Lengths:
        """Those of rows with these numbers of tokens."""
        n = np.asarray(lengths, dtype=np.int64)
        p50, p90 = (int(np.percentile(n, share, method="higher")) for share in (50, 90))
        over = n[n > max_length] - max_length
        return Lengths(split, len(n), int(n.sum()), p50, p90, int(n.max()), len(over), int(over.sum()))


@dataclass(frozen=True)
class LengthTable:
    """A line a split; `str()` prints it."""

    splits: tuple[Lengths, ...]
    max_length: int

    def __str__(self) -> str:
        header = ("", "rows", "tokens", "p50", "p90", "max", f"cut to {self.max_length:,}", "tokens lost")
        lines: list[tuple[str, ...]] = [header]
        for s in self.splits:
            lost = f"{s.lost / s.tokens:.1%}" if s.tokens else "0.0%"
            lines.append((s.split, *(f"{n:,}" for n in (s.rows, s.tokens, s.p50, s.p90, s.longest, s.cut)), lost))
        widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if i else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        )
