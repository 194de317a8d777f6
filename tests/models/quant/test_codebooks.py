"""The numbers that codes stand for, against the published ones."""

from __future__ import annotations

import pytest
import torch
from groundup.models.quant.codebooks import boundaries, codebook, dynamic_map, pair_table

CPU = torch.device("cpu")

# QLoRA (https://arxiv.org/abs/2305.14314), appendix E.
NF4 = [
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
]
FP4 = [0, 0.0625 / 12, 8 / 12, 1, 4 / 12, 6 / 12, 2 / 12, 3 / 12]


def test_numbers_are_the_published_ones_to_the_last_bit() -> None:
    assert codebook("nf4", CPU).tolist() == torch.tensor(NF4).tolist()
    assert codebook("fp4", CPU).tolist() == torch.tensor(FP4 + [-x for x in FP4]).tolist()


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_a_byte_is_two_numbers_the_high_nibble_first(kind: str) -> None:
    numbers = codebook(kind, CPU)
    table = pair_table(kind, CPU).view(torch.float32).view(256, 2)
    for byte in range(256):
        assert table[byte].tolist() == [numbers[byte // 16].item(), numbers[byte % 16].item()]


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_midpoints_part_neighbours(kind: str) -> None:
    midpoints, order = boundaries(kind, CPU)
    numbers = codebook(kind, CPU)[order.long()]
    assert sorted(order.tolist()) == list(range(16))
    assert (numbers[:-1] <= midpoints).all()
    assert (midpoints <= numbers[1:]).all()
    torch.testing.assert_close(midpoints - numbers[:-1], numbers[1:] - midpoints, rtol=0, atol=1e-7)


def test_dynamic_map_is_that_of_bitsandbytes() -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    assert torch.equal(dynamic_map(CPU), functional.create_dynamic_map())


def test_tables_made_in_inference_mode_can_be_used_outside() -> None:
    for function in (codebook, boundaries, pair_table):
        function.cache_clear()
    dynamic_map.cache_clear()
    with torch.inference_mode():
        tables = [codebook("nf4", CPU), *boundaries("nf4", CPU), pair_table("nf4", CPU), dynamic_map(CPU)]
    assert not any(table.is_inference() for table in tables)
