"""Rows: split and join are each other's inverse, bit for bit, and their_shape says what they make."""

from __future__ import annotations

import pytest
import torch
from groundup.models.hf.rows import Row, conv1d, expand, fused, parameter_rows, per_head
from torch import Tensor

D = 4  # head width


def check(row: Row, parts: list[Tensor], theirs: Tensor) -> None:
    """Joined, the parts are `theirs`; split, it is the parts again."""
    assert row.their_shape([tuple(part.shape) for part in parts]) == tuple(theirs.shape)
    joined = row.join(parts, D)
    assert joined.is_contiguous()
    assert torch.equal(joined, theirs)
    for found, part in zip(row.split(theirs, [len(part) for part in parts], D), parts, strict=True):
        assert torch.equal(found, part)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_stacked(dtype: torch.dtype) -> None:
    q, k, v = torch.randn(12, 5).to(dtype), torch.randn(4, 5).to(dtype), torch.randn(4, 5).to(dtype)
    check(fused("q", "k", "v"), [q, k, v], torch.cat([q, k, v]))
    check(fused("q", "k"), [q[:, 0], k[:, 0]], torch.cat([q[:, 0], k[:, 0]]))
    check(Row(("q",)), [q], q)


def test_columns() -> None:
    """A Conv1D is stored (in, out), its bias as ever."""
    q, k = torch.randn(12, 5), torch.randn(4, 5)
    theirs = torch.empty(5, 16)
    theirs[:, :12], theirs[:, 12:] = q.T, k.T
    check(conv1d("q", "k"), [q, k], theirs)
    check(conv1d("q", "k"), [q[:, 0], k[:, 0]], torch.cat([q[:, 0], k[:, 0]]))
    check(conv1d("out"), [q], q.T.contiguous())


def test_heads() -> None:
    """Three heads of width 4: q, k and v of the first, then of the second, then of the third."""
    q, k, v = torch.randn(12, 5), torch.randn(12, 5), torch.randn(12, 5)
    theirs = torch.cat([part[h * D : (h + 1) * D] for h in range(3) for part in (q, k, v)])
    check(per_head("q", "k", "v"), [q, k, v], theirs)
    bias = torch.cat([part[h * D : (h + 1) * D, 0] for h in range(3) for part in (q, k, v)])
    check(per_head("q", "k", "v"), [q[:, 0], k[:, 0], v[:, 0]], bias)


def test_a_split_shares_memory_where_rows_lie_together() -> None:
    theirs = torch.randn(8, 5)
    parts = fused("gate", "up").split(theirs, [6, 2], D)
    assert [part.data_ptr() for part in parts] == [theirs.data_ptr(), theirs[6:].data_ptr()]


def test_expand() -> None:
    rows = expand({"wte": "tokens", "h.{}.qkv": conv1d("layers.{}.q", "layers.{}.k")}, 2)
    assert rows == {
        "wte": Row(("tokens",)),
        "h.0.qkv": Row(("layers.0.q", "layers.0.k"), "columns"),
        "h.1.qkv": Row(("layers.1.q", "layers.1.k"), "columns"),
    }


def test_rows_of_parameters_are_those_that_our_model_has() -> None:
    rows = {"a": Row(("x",)), "b": fused("y", "z"), "c.bias": Row(("w.bias",)), "d.bias": Row(("v.bias",))}
    ours = {"x.weight", "y.weight", "y.bias", "z.weight", "w.bias"}
    assert parameter_rows(rows, ours) == {
        "a.weight": Row(("x.weight",)),
        "b.weight": fused("y.weight", "z.weight"),
        "c.bias": Row(("w.bias",)),
    }
