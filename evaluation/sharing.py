"""Which texts begin alike, so that a model reads their common beginning once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Ids = tuple[int, ...]

LARGEST = 64  # rows in a group: the cost of looking for groups grows with it
OVERHEAD = 6  # tokens that sharing must save before it pays for a second pass over the model


@dataclass(frozen=True)
class Group:
    """Rows that begin with the same `prefix`: it is read once, then what is left of each row in `rows`."""

    prefix: int
    rows: tuple[Ids, ...]

    @property
    def has_rest(self) -> bool:
        return any(len(row) > self.prefix for row in self.rows)

    @property
    def tokens(self) -> int:
        """How many the model reads."""
        return self.prefix + sum(len(row) - self.prefix for row in self.rows)


def share(rows: Sequence[Ids]) -> list[Group]:
    """Rows, none twice -> groups that hold each once, of the fewest tokens in all.

    Sorted, rows that begin alike are neighbours, so a group is a run of them; the best places to cut the sorted list
    are found from left to right, each from the best ones before it.
    """
    rows = sorted(rows)
    common = [0] + [_common(a, b) for a, b in pairwise(rows)]  # with the row before
    saved, cuts = [0.0], [0]  # of the first n rows: the most that can be saved, and where the last group begins
    for end in range(1, len(rows) + 1):
        best, cut, prefix = saved[end - 1], end - 1, len(rows[end - 1])
        for start in range(end - 2, max(-1, end - 1 - LARGEST), -1):
            prefix = min(prefix, common[start + 1])
            if not prefix:
                break
            gain = saved[start] + (end - start - 1) * prefix - OVERHEAD
            if gain > best:
                best, cut = gain, start
        saved.append(best)
        cuts.append(cut)
    groups: list[Group] = []
    end = len(rows)
    while end:
        start = cuts[end]
        prefix = len(rows[start]) if end - start == 1 else min(common[start + 1 : end])
        groups.append(Group(prefix, tuple(rows[start:end])))
        end = start
    return groups[::-1]


def _common(a: Ids, b: Ids) -> int:
    """How many ids two rows begin with alike."""
    length = min(len(a), len(b))
    if a[:length] == b[:length]:
        return length
    low, high = 0, length  # the first `low` agree, the first `high` do not
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low
