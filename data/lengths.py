"""How long the rows of a data set are, for a person to read before training: what is cut shows here first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Lengths:
    """The lengths of one split, in tokens, special ones included, before anything is cut or dropped."""

    split: str
    rows: int
    tokens: int
    p50: int
    p90: int
    longest: int
    over: int  # rows longer than max_length
    lost: int  # tokens beyond max_length; all of a row that is dropped

    @staticmethod
    def of(split: str, lengths: Sequence[int], max_length: int, dropped: bool = False) -> Lengths:
        """Those of rows with these numbers of tokens. Longer rows than `max_length` are cut, or `dropped`."""
        n = np.asarray(lengths, dtype=np.int64)
        p50, p90 = (int(np.percentile(n, share, method="higher")) for share in (50, 90))
        over = n[n > max_length]
        lost = over if dropped else over - max_length
        return Lengths(split, len(n), int(n.sum()), p50, p90, int(n.max()), len(over), int(lost.sum()))


@dataclass(frozen=True)
class LengthTable:
    """A line a split; `str()` prints it. `dropped` is whether rows longer than `max_length` are left out, not cut."""

    splits: tuple[Lengths, ...]
    max_length: int
    dropped: bool = False

    def __str__(self) -> str:
        over = f"{'dropped, over' if self.dropped else 'cut to'} {self.max_length:,}"
        header = ("", "rows", "tokens", "p50", "p90", "max", over, "tokens lost")
        lines: list[tuple[str, ...]] = [header]
        for s in self.splits:
            lost = f"{s.lost / s.tokens:.1%}" if s.tokens else "0.0%"
            lines.append((s.split, *(f"{n:,}" for n in (s.rows, s.tokens, s.p50, s.p90, s.longest, s.over)), lost))
        widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if i else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        )
