"""Peak memory of a step: what its tensors take on a CPU, counted; and where the system's own count begins."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Step = Callable[[], float]


def peak_tensors(step: Step) -> int:
    """The most bytes that tensors on the CPU hold at once during a step, those that were there before included."""
    import torch
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_iter

    alive: dict[int, int] = {}  # bytes of each storage, by its id
    total = peak = 0

    def forget(key: int) -> None:
        nonlocal total
        total -= alive.pop(key)

    def count(tensor: Tensor) -> None:
        nonlocal total, peak
        if tensor.layout != torch.strided:  # the sparse gradient of an embedding
            count(tensor._indices())
            count(tensor._values())
            return
        storage = tensor.untyped_storage()
        if id(storage) not in alive:
            alive[id(storage)] = storage.nbytes()
            total += storage.nbytes()
            weakref.finalize(storage, forget, id(storage)).atexit = False
        peak = max(peak, total)

    class Counted(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            for value in tree_iter((args, kwargs, result)):
                if isinstance(value, Tensor) and value.device.type == "cpu":
                    count(value)
            return result

    gc.collect()
    for held in gc.get_objects():
        if isinstance(held, Tensor) and held.device.type == "cpu":
            count(held)
    with Counted():
        step()
    return peak


def forget_peak(device: torch.device) -> None:
    """From here on the peak is that of what follows; what is only cached is given back first."""
    import ctypes

    import torch

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    elif sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # VmHWM starts anew
