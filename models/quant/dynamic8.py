"""Blocks of numbers in 8 bits each, as dynamic floats: how the block maxima of 4-bit weights are themselves kept.

https://arxiv.org/abs/2110.02861. The codes are those of bitsandbytes 0.50 on a CPU, bit for bit.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from .codebooks import dynamic_map

BLOCK = 256  # elements that share a maximum
_GRID = 2**16  # a value is rounded to one of as many in [-1, 1] before its code is looked up


def quantize_dynamic(values: Tensor, block_size: int = BLOCK) -> tuple[Tensor, Tensor]:
    """values (n,) fp32 -> codes (n,) uint8 and each block's largest magnitude (ceil(n / block_size),) fp32.

    A block of zeros has the code 0 throughout, its maximum being 0.
    """
    n = values.numel()
    blocks = torch.nn.functional.pad(values, (0, -n % block_size)).view(-1, block_size)  # (blocks, block_size)
    absmax = blocks.abs().amax(-1)
    # Where 1 / absmax overflows, 0 * inf is no number; it takes the lowest code, for what that is worth at 1e-39.
    scaled = (blocks * (1 / absmax)[:, None]).clamp_(-1, 1).nan_to_num_(nan=-1.0)
    grid = ((scaled + 1) * ((_GRID - 1) / 2) + 0.5).int()  # rounds half up
    codes = _grid_codes(values.device)[grid.flatten()[:n]]
    return codes, absmax


def dequantize_dynamic(codes: Tensor, absmax: Tensor, block_size: int = BLOCK) -> Tensor:
    """codes (n,) uint8, absmax (ceil(n / block_size),) fp32 -> (n,) fp32"""
    values = torch.index_select(dynamic_map(codes.device), 0, codes.int())
    scale_blocks(values, absmax, block_size)
    return values


def scale_blocks(values: Tensor, absmax: Tensor, block_size: int) -> None:
    """Multiply each block of `values` (n,), the last of which may be short, by its number in `absmax`; in place."""
    blocks, rest = divmod(values.numel(), block_size)
    whole = blocks * block_size
    if rest:
        values[whole:].mul_(absmax[blocks])
        values, absmax = values[:whole], absmax[:blocks]
    if blocks:
        values.view(blocks, block_size).mul_(absmax[:, None])


@cache
def _grid_codes(device: torch.device) -> Tensor:
    """The code nearest to each value of the grid: (65536,) uint8"""
    with torch.inference_mode(False):
        numbers = dynamic_map(torch.device("cpu")).double()
        grid = torch.arange(_GRID, dtype=torch.float64, device="cpu") * 2 / (_GRID - 1) - 1
        return torch.bucketize(grid, (numbers[:-1] + numbers[1:]) / 2).to(torch.uint8).to(device)
