"""A score against what it cost: a numbered dot a run, the names beside, in a PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

Box = tuple[float, float, float, float]
DIGIT, LINE, DOT = 5.5, 9.0, 3.5  # points: the width of a digit, the height of a line, the radius of a dot
LONGEST = 36  # letters of a name in the legend


@dataclass(frozen=True)
class Dot:
    """`number` stands beside the dot and before `name` in the legend."""

    number: int
    name: str
    x: float
    y: float


def plot_scores(
    dots: Sequence[Dot], x_label: str, y_label: str, *, counts: bool = False, line: tuple[str, float] | None = None
) -> bytes:
    """The dots; where x spans a decade or nearly, its axis is logarithmic.

    Args:
        counts: x is a count, to be written as 4M, 110M.
        line: a name and the y at which to draw it, to be compared with.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(6.0, max(3.8, 0.9 + 0.19 * len(dots))), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.scatter([dot.x for dot in dots], [dot.y for dot in dots], s=(2 * DOT) ** 2, color="tab:blue", zorder=3)
    handles = [Line2D([], [], ls="", label=f"{dot.number}  {_cut(dot.name)}") for dot in dots]
    if line is not None:
        name, y = line
        handles.append(axes.axhline(y, ls="--", lw=1, color="tab:gray", label=name))
    ratio = max(dot.x for dot in dots) / min(dot.x for dot in dots)
    if ratio > 5:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < 50 else (1,)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(EngFormatter(sep="") if counts else StrMethodFormatter("{x:,g}"))
    axes.margins(x=0.1, y=0.12)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8, handlelength=1)
    figure.draw_without_rendering()  # only now is it known where a dot lies
    places = axes.transData.transform([(dot.x, dot.y) for dot in dots]) * 72 / figure.dpi
    for dot, offset in zip(dots, place_numbers(dots, [(x, y) for x, y in places]), strict=True):
        far = math.hypot(*offset) > 2 * LINE
        axes.annotate(
            str(dot.number),
            (dot.x, dot.y),
            xytext=offset,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": "gray", "shrinkA": 4, "shrinkB": 3} if far else None,
        )
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def place_numbers(dots: Sequence[Dot], places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where the middle of each number goes, from its dot: as near as can be without covering a dot or a number.

    `places` are the dots', in points, as are the offsets.
    """
    taken: list[Box] = [(x - DOT, y - DOT, x + DOT, y + DOT) for x, y in places]
    found: list[tuple[float, float]] = []
    for dot, (x, y) in zip(dots, places, strict=True):
        half = DIGIT * len(str(dot.number)) / 2
        tried = [
            ((dx, dy), (x + dx - half, y + dy - LINE / 2, x + dx + half, y + dy + LINE / 2)) for dx, dy in _around()
        ]
        offset, box = min(tried, key=lambda one: sum(_overlap(one[1], other) for other in taken))
        taken.append(box)
        found.append(offset)
    return found


def _around() -> Iterator[tuple[float, float]]:
    """Offsets in points, the nearest first, of those above right first."""
    for radius, turn in product((10, 17, 24, 31, 38), (45, 135, -45, -135, 90, -90, 0, 180)):
        yield radius * math.cos(math.radians(turn)), radius * math.sin(math.radians(turn))


def _overlap(a: Box, b: Box) -> float:
    """The area that both cover."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)


def _cut(name: str) -> str:
    """Its beginning and its end, where like names differ."""
    half = LONGEST // 2
    return name if len(name) <= LONGEST else f"{name[: half - 1]}…{name[-half:]}"
