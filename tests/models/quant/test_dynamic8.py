"""Dynamic 8-bit floats against bitsandbytes' CPU backend, bit for bit."""

from __future__ import annotations

import pytest
import torch
from groundup.models.quant.codebooks import dynamic_map
from groundup.models.quant.dynamic8 import dequantize_dynamic, quantize_dynamic, scale_blocks


@pytest.mark.parametrize("block_size", [64, 256])
def test_equals_bitsandbytes(hard: torch.Tensor, block_size: int) -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    values = hard.flatten()
    theirs, state = functional.quantize_blockwise(values, blocksize=block_size)
    codes, absmax = quantize_dynamic(values, block_size)
    assert torch.equal(codes, theirs)
    assert torch.equal(absmax, state.absmax)
    assert torch.equal(dequantize_dynamic(codes, absmax, block_size), functional.dequantize_blockwise(theirs, state))


def test_equals_bitsandbytes_beside_every_boundary() -> None:
    """What decides is a grid of 65,536 values: the neighbours of each of its steps."""
    functional = pytest.importorskip("bitsandbytes.functional")
    steps = ((torch.arange(65535, dtype=torch.float64) + 0.5) * 2 / 65535 - 1).float()
    values = torch.cat([steps, steps.nextafter(torch.tensor(2.0)), steps.nextafter(torch.tensor(-2.0))])
    blocks = torch.nn.functional.pad(values.view(-1, 255), (1, 0), value=1.0).flatten()  # each of absmax 1
    assert torch.equal(quantize_dynamic(blocks)[0], functional.quantize_blockwise(blocks, blocksize=256)[0])


def test_takes_the_nearest_number() -> None:
    numbers = dynamic_map(torch.device("cpu"))
    values = torch.cat([torch.ones(1), torch.rand(255, generator=torch.Generator().manual_seed(0)) * 2 - 1])
    found = dequantize_dynamic(*quantize_dynamic(values))
    best = (values[:, None] - numbers).abs().amin(-1)
    torch.testing.assert_close((values - found).abs(), best, rtol=0, atol=2 / 65535)


def test_scaling_leaves_no_block_out() -> None:
    values, absmax = torch.ones(11), torch.tensor([2.0, 3.0, 5.0])
    scale_blocks(values, absmax, 4)
    assert values.tolist() == [2] * 4 + [3] * 4 + [5] * 3
