"""models/kernels/rope.py against apply_rope, with tables whose every number is random."""

from __future__ import annotations

import pytest
import torch
from groundup.models.config import RopeConfig
from groundup.models.rope import RopeTables, apply_rope, rope_tables
from outcomes import compare, outcome

# (B, H, T, D), R, whether each row has its own positions, layout: one position, heads and dimensions that are no power
# of two, more heads than a program takes, dimensions that pass through.
CASES = [
    ((1, 1, 1, 2), 2, False, "contiguous"),
    ((2, 3, 3, 14), 14, True, "heads last"),
    ((2, 3, 3, 14), 6, False, "strided"),
    ((1, 19, 1, 258), 256, False, "heads last"),
    ((2, 1, 4, 10), 4, True, "columns first"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("shape", "rotated", "of_batch", "layout"), CASES, ids=str)
def test_equals_its_twin(shape, rotated: int, of_batch: bool, layout: str, dtype, device: torch.device) -> None:
    from groundup.models.kernels.rope import rope

    torch.manual_seed(0)
    B, H, T, D = shape
    of = (B, 1, T, rotated) if of_batch else (T, rotated)
    tables = RopeTables(torch.randn(of, device=device), torch.randn(of, device=device))
    x = torch.randn(B, H, T, D, device=device).to(dtype)
    if layout == "heads last":  # as queries come out of their Linear
        x = x.transpose(1, 2).contiguous().transpose(1, 2)
    elif layout == "columns first":
        x = x.mT.contiguous().mT
    elif layout == "strided":
        x = torch.stack([x, x + 1], -1)[..., 0]
    expected = outcome(lambda x: apply_rope(x, tables), x)
    compare(outcome(lambda x: rope(x, tables), x), expected)
    kept = x.clone()
    assert rope(kept, tables, in_place=True) is kept
    compare([kept], expected[:1])


def test_with_the_tables_of_a_model(device: torch.device) -> None:
    from groundup.models.kernels.rope import rope

    x = torch.randn(2, 3, 4, 12, device=device)
    tables = rope_tables(RopeConfig(fraction=0.5), 12, torch.tensor([[0, 1, 2, 3], [5, 0, 9, 900]], device=device))
    compare(outcome(lambda x: rope(x, tables), x), outcome(lambda x: apply_rope(x, tables), x))
