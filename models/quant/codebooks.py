"""What codes stand for: the 16 numbers of NF4 and of FP4, the 256 of an 8-bit float; and where two codes meet."""

from __future__ import annotations

from functools import cache
from statistics import NormalDist
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["nf4", "fp4"]
KINDS: tuple[Kind, ...] = ("nf4", "fp4")

# The outermost quantile, (1 - 1/30 + 1 - 1/32) / 2, to the digits that the published codebook was made with.
_NF4_OFFSET = 0.9677083


@cache
def codebook(kind: Kind, device: torch.device) -> Tensor:
    """The number that each code stands for, largest magnitude 1: (16,) fp32"""
    with torch.inference_mode(False):  # cached: it must be a tensor that any later caller can use
        values = _nf4_values() if kind == "nf4" else _fp4_values()
        return (values / values.abs().max()).to(device)


def _nf4_values() -> Tensor:
    """Quantiles of the normal distribution, 8 above and 7 below an exact 0. https://arxiv.org/abs/2305.14314, 3

    The levels they are taken at are rounded to fp32: with exact ones three codes would differ in their last bit from
    those that checkpoints everywhere are made with.
    """
    offset = torch.tensor(_NF4_OFFSET).item()

    def quantiles(count: int) -> list[float]:
        levels = [offset + (0.5 - offset) * i / count for i in range(count)]
        return [NormalDist().inv_cdf(p) for p in torch.tensor(levels, dtype=torch.float32).tolist()]

    return torch.tensor(sorted([-q for q in quantiles(7)] + [0.0] + quantiles(8)), dtype=torch.float32)


def _fp4_values() -> Tensor:
    """A sign bit, two bits of exponent, one of mantissa; the exponent 0 stands apart from the rest.

    As bitsandbytes has it (its FP4 is not the e2m1 of the Open Compute Project): 0 and 1/16 first, then the others.
    """
    magnitudes = [0, 0.0625, 8, 12, 4, 6, 2, 3]
    return torch.tensor([*magnitudes, *(-m for m in magnitudes)], dtype=torch.float32) + 0.0  # no -0


@cache
def boundaries(kind: Kind, device: torch.device) -> tuple[Tensor, Tensor]:
    """Midpoints of neighbouring numbers (15,) fp32, and the codes in the order of their numbers (16,) int32.

    A value belongs to the code order[i], i of the midpoints being below it: a tie takes the lower number. FP4's two
    zeros meet at 0, so what is just above 0 takes its second one.
    """
    with torch.inference_mode(False):
        values, order = codebook(kind, torch.device("cpu")).sort(stable=True)
        return ((values[:-1] + values[1:]) / 2).to(device), order.int().to(device)


@cache
def pair_table(kind: Kind, device: torch.device) -> Tensor:
    """For each byte its two numbers, high nibble first: (256,) int64, each the bits of two fp32"""
    with torch.inference_mode(False):
        values, byte = codebook(kind, torch.device("cpu")), torch.arange(256, device="cpu")
        pairs = torch.stack([values[byte >> 4], values[byte & 15]], -1)  # (256, 2)
        return pairs.view(torch.int64).flatten().to(device)


@cache
def dynamic_map(device: torch.device, signed: bool = True) -> Tensor:
    """The 256 numbers of an 8-bit dynamic float, sorted: (256,) fp32. https://arxiv.org/abs/2110.02861, 2.2

    A decade from 1e-6 to 1 has 2^e numbers, e = 0..6, of either sign: the middles of equal parts of [0.1, 1] times
    10^(e - 6). With 0 and 1 that is 256. Without signs it has twice as many.
    """
    with torch.inference_mode(False):
        numbers = [0.0, 1.0]
        for e in range(7):
            edges = torch.linspace(0.1, 1, 2**e * (1 if signed else 2) + 1, dtype=torch.float32, device="cpu")
            middles = 10.0 ** (e - 6) * ((edges[:-1] + edges[1:]) / 2)
            numbers += [*middles.tolist(), *((-middles).tolist() if signed else [])]
        return torch.tensor(sorted(numbers), dtype=torch.float32).to(device)
