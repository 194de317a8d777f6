"""What the kernels' callers share: rows in the order of memory, and how many programs and warps are worth starting."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

WIDEST = 2**15  # elements of a row that one program still holds


@cache
def programs(device: torch.device) -> int:
    """How many programs fill the device, where each can do a share of any size."""
    return 4 * torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2


def warps(elements: int) -> int:
    """For a program that holds so many at once: 4 to 16."""
    return min(16, max(4, elements // 512))


def by_memory(x: Tensor) -> list[int]:
    """An order of the dimensions in which x is contiguous, if there is one that keeps the last dimension last."""
    return [*sorted(range(x.dim() - 1), key=lambda dim: -x.stride(dim)), x.dim() - 1]


def rows_of(x: Tensor, order: list[int]) -> Tensor:
    """(..., C) -> (N, C) with the last stride 1, in that order: a view wherever x's strides allow one."""
    flat = x.permute(order).reshape(-1, x.shape[-1])  # (N, C)
    return flat if flat.stride(-1) == 1 or x.shape[-1] == 1 else flat.contiguous()


def unflatten(flat: Tensor, like: Tensor, order: list[int]) -> Tensor:
    """The inverse of rows_of: (N, C) -> the shape of `like`"""
    inverse = [order.index(dim) for dim in range(like.dim())]
    return flat.view([like.shape[dim] for dim in order]).permute(inverse)
