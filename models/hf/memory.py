"""Memory for the weights that a load fills: on Linux in pages of two megabytes, where the system gives them."""

from __future__ import annotations

import math
import mmap
from contextlib import suppress

import torch
from torch import Tensor

from .rows import Shape

_HUGE = 2 * 2**20  # bytes of a huge page; less memory than one cannot lie in any


def empty(shape: Shape, dtype: torch.dtype, device: torch.device) -> Tensor:
    """torch.empty, of memory that is fast to fill for the first time.

    New memory is given a page at a time, as it is first touched. Of a load that casts, that is most of the time: a
    million pages of 4 KB for a model of 4 GB. Such a tensor is a private mapping of its own, freed with it; its storage
    is as long as the tensor, and cannot grow.
    """
    n_bytes = math.prod(shape) * dtype.itemsize
    advice: int | None = getattr(mmap, "MADV_HUGEPAGE", None)  # Linux alone has it
    if device.type != "cpu" or advice is None or n_bytes < _HUGE:
        return torch.empty(shape, dtype=dtype, device=device)
    mapped = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a system without huge pages
        mapped.madvise(advice)
    return torch.frombuffer(mapped, dtype=dtype).view(shape)
