"""models/kernels/rmsnorm.py against models/norms.py."""

from __future__ import annotations

import pytest
import torch
from groundup.models.norms import HandWritten, rms_norm
from outcomes import TOLERANCES, compare, outcome

# One row, widths that are no power of two, more rows than the tiles of one program, a row above a tile.
SHAPES = [(7,), (1, 2), (2, 3, 17), (37, 129), (2, 2500), (5, 0, 3)]
DTYPES = [(torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16), (torch.bfloat16, torch.float32)]


@pytest.mark.parametrize("unit_offset", [False, True])
@pytest.mark.parametrize(("dtype", "weight_dtype"), DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_its_twin(shape, dtype, weight_dtype, unit_offset: bool, device: torch.device) -> None:
    from groundup.models.kernels.rmsnorm import rms_norm as kernel

    torch.manual_seed(0)
    x = (torch.randn(shape) * 3).to(device, dtype)
    weight = torch.randn(shape[-1]).to(device, weight_dtype)
    expected = outcome(lambda x, w: rms_norm(x, w, 1e-3, unit_offset), x, weight)
    compare(outcome(lambda x, w: kernel(x, w, 1e-3, unit_offset), x, weight), expected)
    by_hand = outcome(lambda x, w: HandWritten.apply(x, w, 1e-3, unit_offset), x, weight)
    compare(by_hand, expected, TOLERANCES | {torch.float32: 1e-6})
