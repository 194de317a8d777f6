"""Let the C library keep freed memory: a training step frees and asks for the same tensors again and again."""

from __future__ import annotations

import ctypes
import sys

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> bool:
    """On Linux with glibc, stop returning every large block to the system at once. -> whether that could be done.

    glibc maps a large tensor afresh each time and the kernel fills its pages with zeros at first touch, which took
    about a tenth of a GPT-2 small step on a CPU. What is kept is reused by the next step, so the peak hardly changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library, musl for one
        return False
    largest = 2**31 - 1  # both are C ints
    return bool(mallopt(_M_MMAP_THRESHOLD, largest)) and bool(mallopt(_M_TRIM_THRESHOLD, largest))
