"""Memory on a CPU that costs little to touch: in pages of two megabytes, where Linux has them, or kept when freed."""

from __future__ import annotations

import ctypes
import math
import mmap
import platform
from collections.abc import Sequence
from contextlib import suppress
from functools import cache

import torch
from torch import Tensor

_HUGE = 2 * 2**20  # bytes of a huge page; less memory than one cannot lie in any
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt's names, from malloc.h
_NEVER = 2**31 - 1
_LARGEST = (2**30, 2**25)  # bytes; what mallopt takes, and what older versions take
_LEAST = 2**17  # bytes, glibc's own to begin with; it doubles that, up to 32 MiB, by what it sees freed


def empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
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


@cache
def keep_freed() -> bool:
    """From here on this process keeps the memory of tensors on the CPU that it frees, for those that come next.

    glibc gives each large one back to the system, and the next has its pages cleared anew: 30,000 of them in a step
    whose activations take 120 MB. The most that the process holds stays about the same, but it holds it to its end.
    So one whose memory is limited (trainer.max_memory_usage, ulimit) keeps nothing, not even the up to 32 MiB apiece
    that glibc would: room in its heap counts as used, and is none for what is not of the heap, as oneDNN's kernels.

    Returns:
        Whether it is kept: there is glibc, no limit, and the setting was taken.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    if _is_limited():
        mallopt(_MMAP_THRESHOLD, _LEAST)
        return False
    return bool(any(mallopt(_MMAP_THRESHOLD, size) for size in _LARGEST) and mallopt(_TRIM_THRESHOLD, _NEVER))


def _is_limited() -> bool:
    import resource  # there is none on Windows

    return resource.getrlimit(resource.RLIMIT_DATA)[0] != resource.RLIM_INFINITY
