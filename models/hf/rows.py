"""How one of their modules becomes ours, and back: renamed, split, transposed, never computed with.

A family's table has a row for each of their modules, "{}" standing for the layer:

    "model.layers.{}.self_attn.q_proj":  "core.layers.{}.attn.f.q"              the same matrix under another name
    "model.layers.{}.self_attn.qkv_proj": fused(q, k, v)                        several of ours, stacked
    "transformer.h.{}.attn.c_attn":      conv1d(q, k, v)                        stacked, and stored (in, out)
    "gpt_neox.layers.{}.attention.query_key_value": per_head(q, k, v)           stacked head by head

A row covers weight and bias alike; one whose two names end in ".weight" or ".bias" covers that parameter alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Layout = Literal["stacked", "columns", "heads"]
Shape = tuple[int, ...]

KINDS = ("weight", "bias")


@dataclass(frozen=True)
class Row:
    """What one of theirs is made of. n parts of widths O_i, each (O_i, I), are stored as

    stacked  (O_1 + ... + O_n, I)      columns  (I, O_1 + ... + O_n)      heads  (H * n * D, I), for each head n times D
    """

    parts: tuple[str, ...]
    layout: Layout = "stacked"

    def their_shape(self, ours: Sequence[Shape]) -> Shape:
        """The shape of theirs, given those of our parts."""
        total = sum(shape[0] for shape in ours)
        rest = ours[0][1:]
        return (*rest, total) if self.layout == "columns" and rest else (total, *rest)

    def split(self, theirs: Tensor, widths: Sequence[int], head_dim: int) -> list[Tensor]:
        """Theirs -> our parts, of `widths` rows each: views, but for the layout "heads"."""
        if self.layout == "heads":
            by_head = theirs.unflatten(0, (-1, len(self.parts), head_dim))  # (H, n, D, ...)
            return [part.flatten(0, 1) for part in by_head.unbind(1)]
        stacked = theirs.t() if self.layout == "columns" and theirs.dim() == 2 else theirs
        return list(stacked.split(list(widths)))

    def join(self, ours: Sequence[Tensor], head_dim: int) -> Tensor:
        """Our parts -> theirs, contiguous: the inverse of split()."""
        import torch

        if self.layout == "heads":
            by_head = [part.unflatten(0, (-1, head_dim)) for part in ours]  # n times (H, D, ...)
            return torch.stack(by_head, 1).flatten(0, 2)
        stacked = torch.cat(list(ours)) if len(ours) > 1 else ours[0]
        return stacked.t().contiguous() if self.layout == "columns" and stacked.dim() == 2 else stacked.contiguous()


Names = Mapping[str, "str | Row"]


def fused(*parts: str) -> Row:
    """One matrix of theirs that is several of ours, one below the other."""
    return Row(parts)


def conv1d(*parts: str) -> Row:
    """GPT-2's Conv1D: stored (in, out), transposed and then perhaps several of ours."""
    return Row(parts, "columns")


def per_head(*parts: str) -> Row:
    """GPT-NeoX's query_key_value: for each head its q, then its k, then its v."""
    return Row(parts, "heads")


def expand(names: Names, n_layers: int) -> dict[str, Row]:
    """The table with a row for every layer in place of "{}"."""
    rows: dict[str, Row] = {}
    for theirs, ours in names.items():
        row = Row((ours,)) if isinstance(ours, str) else ours
        for layer in range(n_layers if "{}" in theirs else 1):
            parts = tuple(part.replace("{}", str(layer)) for part in row.parts)
            rows[theirs.replace("{}", str(layer))] = Row(parts, row.layout)
    return rows


def parameter_rows(rows: Mapping[str, Row], ours: Collection[str]) -> dict[str, Row]:
    """From rows of modules to rows of parameters, for the parameters that our model has."""
    return {key: row for key, row in _parameters(rows) if all(part in ours for part in row.parts)}


def _parameters(rows: Mapping[str, Row]) -> Iterator[tuple[str, Row]]:
    for theirs, row in rows.items():
        if theirs.endswith((".weight", ".bias")):
            yield theirs, row
        else:
            for kind in KINDS:
                yield f"{theirs}.{kind}", Row(tuple(f"{part}.{kind}" for part in row.parts), row.layout)
