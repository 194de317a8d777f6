"""Memory to unpack weights into."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor

from ..memory import empty

_LARGE = 2**22  # bytes from which the pages of new memory matter
_STRIDE = 512  # bytes of which one is written: enough elements for torch to share them out among its threads


def new_tensor(numel: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """An uninitialised tensor (numel,), of huge pages where it is large and on a CPU.

    On first touch small pages take longer than the arithmetic that fills them (4096 x 4096 in bf16: 10 ms).
    """
    tensor = empty((numel,), dtype, device)
    if device.type == "cpu" and tensor.nbytes >= _LARGE and torch.get_num_threads() > 1:
        # The kernel clears a page when it is first written to. This has the threads each write to some of them; the
        # arithmetic goes through memory chunk by chunk, so that one clears a page and the others wait for it.
        tensor.view(torch.uint8)[::_STRIDE].zero_()
    return tensor


class Workspace:
    """Memory that the layers of a model unpack their weights into, one after the other.

    It grows to the largest weight and is kept: pages new to a process cost more than the arithmetic. Each thread has
    its own. On other devices than the CPU torch keeps freed memory by itself.
    """

    def __init__(self) -> None:
        self._own = threading.local()

    def take(self, numel: int, dtype: torch.dtype) -> Tensor:
        """A tensor (numel,) on the CPU, valid until this thread takes the next one."""
        nbytes = numel * dtype.itemsize
        held: Tensor | None = getattr(self._own, "memory", None)
        if held is None or held.nbytes < nbytes:
            self._own.memory = None  # let go before asking for more
            self._own.memory = held = new_tensor(nbytes, torch.uint8, torch.device("cpu"))
        return held[:nbytes].view(dtype)

    def __deepcopy__(self, memo: dict[int, Any]) -> Workspace:
        return Workspace()

    def __reduce__(self) -> tuple[type[Workspace], tuple[()]]:
        return Workspace, ()  # a copy starts without memory, in another process too
