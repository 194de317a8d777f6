"""What a run uses while it trains: processors, memory, the accelerator, the disk.

Read from the system's own counters: os.times, /proc and resource for the process, torch for memory on CUDA, NVML for
how busy a GPU is where the `pynvml` module is installed. What a machine does not tell is left out.
"""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ..errors import notice
from .progress import memory

_STATM = Path("/proc/self/statm")


class Usage:
    """Numbers of the time between two calls of `read`."""

    def __init__(self, device: torch.device):
        self.device = device
        self._last = _now()

    def read(self) -> dict[str, float]:
        """cpu_percent (100 is one core busy throughout), memory_gib now, the peaks, of a GPU gpu_percent and memory.

        Takes some tens of microseconds.
        """
        now = _now()
        used, passed = (new - old for new, old in zip(now, self._last, strict=True))
        self._last = now
        found: dict[str, float] = {}
        if passed > 0:
            found["cpu_percent"] = round(100 * used / passed, 1)
        if (resident := _resident()) is not None:
            found["memory_gib"] = round(resident, 3)
        found |= memory(self.device.type)
        if self.device.type == "cuda":
            found["gpu_memory_gib"] = round(torch.cuda.memory_allocated(self.device) / 2**30, 3)
            if (busy := _gpu_busy(self.device)) is not None:
                found["gpu_percent"] = busy
        return found


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder and below it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def machine(device: torch.device) -> dict[str, Any]:
    """What a run was made on: processor, cores, threads, accelerator."""
    found: dict[str, Any] = {"cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if name := _processor():
        found["processor"] = name
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def summed_up(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The means over the logged intervals of a run, and its peaks; of what was measured."""
    found: dict[str, float] = {}
    for name in ("cpu_percent", "gpu_percent"):
        if values := [row[name] for row in rows if row.get(name) is not None]:
            found[name] = round(sum(values) / len(values), 1)
    for name in ("peak_memory_gib", "peak_gpu_memory_gib"):
        if values := [row[name] for row in rows if row.get(name) is not None]:
            found[name] = max(values)
    ends = [float(row.get("seconds") or 0.0) for row in rows]  # by the clock that training alone advances
    passed = [end - start for start, end in zip([0.0, *ends], ends, strict=False)]
    samples = sum((row.get("samples_per_second") or 0.0) * s for row, s in zip(rows, passed, strict=True))
    if samples > 0:
        found["samples_per_second"] = round(samples / sum(passed), 2)
    return found


def _now() -> tuple[float, float]:
    """Seconds of processor time that this process has had, and seconds by the clock."""
    times = os.times()
    return times.user + times.system, time.perf_counter()


def _resident() -> float | None:
    """GiB of the process that are in memory; None where the system does not say."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def _gpu_busy(device: torch.device) -> float | None:
    """Per cent of the last moments in which the GPU computed; None without pynvml, which is said once."""
    try:
        return float(torch.cuda.utilization(device))
    except Exception as error:  # no pynvml, or a driver that does not answer: each has an error of its own
        _say_once(f"how busy the GPU is will not be known ({type(error).__name__}): pip install 'groundup[gpu]'")
        return None


@cache
def _say_once(what: str) -> None:
    notice(what)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    import platform

    return platform.processor()
