"""When memory runs out: what is recognised as that, how a batch is cut, and what a person can do.

A step then begins again with its micro-batches cut in two, so its rows, targets and gradient stay what they were. What
a backward pass left behind when it failed lies in the same tensors as the gradients of the micro-batches before it, and
could only be told from them by a second copy of all gradients: so these are made again, once for each cut.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch

from ..data.sampling import Batch
from ..errors import notice

T = TypeVar("T")

# What the allocators of CUDA, MPS, Triton, cuBLAS and cuDNN, of CPUs, of Windows and of oneDNN say.
_SAYINGS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "STATUS_ALLOC_FAILED",
    "could not create a primitive",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(saying in str(error) for saying in _SAYINGS)


def attempt(work: Callable[[], T]) -> tuple[T | None, str | None]:
    """-> (what `work` gives, None), or (None, what was said) where memory ran out; what it held is then given back."""
    try:
        return work(), None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        said = (str(error).splitlines() or [""])[0][:100] or type(error).__name__
    # Here and not above: as long as the error is at hand, its frames hold the graph of the failed pass.
    gc.collect()
    _trim()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    return None, said


def _trim() -> None:
    """Give what glibc's malloc has kept of freed memory back to the system; other libraries keep less."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def cut(window: Iterable[Batch], rows: int | None) -> Iterator[Batch]:
    """The same rows in batches of at most `rows`; None: as they are."""
    for batch in window:
        size = len(batch.input_ids)
        if rows is None or size <= rows:
            yield batch
            continue
        for start in range(0, size, rows):
            part = slice(start, start + rows)
            yield Batch(labels=batch.labels[part], **{name: tensor[part] for name, tensor in batch.inputs.items()})


def smaller(rows: int, least: int) -> int | None:
    """Half of `rows`, `least` at the least; None where it is no more than that already."""
    return max(least, (rows + 1) // 2) if rows > least else None


def advice(device_type: str, what: str, first: str | None = None, *, checkpointing: bool = False) -> str:
    """What happened and what helps, as one sentence; `first` is what helps most."""
    remedies = ["shorten trainer.max_seq_length"] if first is None else [first, "shorten trainer.max_seq_length"]
    if not checkpointing:
        remedies.append("set trainer.gradient_checkpointing to true")
    remedies.append("take fine_tuning.method lora, qlora or head, or a smaller model")
    if device_type == "mps":
        remedies.append("set PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 in the environment")
    return f"{what}: {', '.join(remedies)}, or close other applications"


# --- a limit -----------------------------------------------------------------------------------------------------


@contextmanager
def memory_limit(share: float | None, device: torch.device) -> Iterator[None]:
    """Inside, no more than a share of the device's memory is given out: what asks for more is told that it ran out.

    On a GPU it is torch's allocator that keeps to it. On a CPU the system does, for everything that the process
    allocates, on Linux (RLIMIT_DATA); where it does not, that is said. None: no limit.
    """
    if share is None:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(share, device)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, device)
        return
    if device.type == "mps":
        torch.mps.set_per_process_memory_fraction(share)
        yield
        return
    if sys.platform != "linux":  # there is no such limit, or it does not hold for what torch allocates
        notice(f"trainer.max_memory_usage {share:g}: no process is kept to a share of this system's memory")
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    most = int(share * host_memory())
    if before[1] != resource.RLIM_INFINITY:
        most = min(most, before[1])
    resource.setrlimit(resource.RLIMIT_DATA, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def host_memory() -> int:
    """Bytes of memory of this machine, or of the container that the process runs in. Linux."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            sizes.append(int(Path(path).read_text(encoding="ascii")))
        except (OSError, ValueError):  # not there, or `max`
            continue
    return min(sizes)
