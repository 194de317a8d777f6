"""Which device a run uses: the one it names, or the best there is."""

from __future__ import annotations

import glob
import os
import re
import sys

from ..errors import UserError, nearest, notice

# Linux shows every GPU as a device file; without one of these there is no need to load torch to know the answer.
_GPU_FILES = ("/dev/nvidia*", "/dev/nvhost*", "/dev/kfd", "/dev/dxg")


def device_type(device: str) -> str:
    """`cuda`, `mps` or `cpu` of a device name such as `cuda:1`."""
    return device.split(":")[0]


def check_name(device: object, where: str) -> str:
    """A device name in its one spelling. Raises UserError, saying `where` it was written, for anything else."""
    folded = str(device).strip().casefold()
    if not isinstance(device, str) or not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", folded):
        near = " Did you mean 'cuda'?" if folded.startswith("gpu") else nearest(folded, ("auto", "cuda", "mps", "cpu"))
        raise UserError(f"{where}: '{device}' is no device.{near}")
    return folded


def best_device() -> str:
    """cuda, else mps, else cpu; torch is imported only where there may be a GPU."""
    if sys.platform.startswith("linux") and not any(glob.glob(pattern) for pattern in _GPU_FILES):
        return "cpu"
    _let_mps_fall_back()
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def require_device(device: str) -> None:
    """Raise UserError where this machine has no such device."""
    kind = device_type(device)
    if kind == "cpu":
        return
    _let_mps_fall_back()
    import torch

    remedy = "general.device=auto takes the best there is."
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"general.device: this machine has no Apple GPU (mps). {remedy}")
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise UserError(f"general.device: torch finds no CUDA GPU on this machine. {remedy}")
        index = int(device.split(":")[1]) if ":" in device else 0
        if index >= torch.cuda.device_count():
            raise UserError(f"general.device: there is no {device}, only {torch.cuda.device_count()} GPU(s). {remedy}")


def usable_device(device: str, written: str = "general.device") -> str:
    """`device`, or the best there is where this machine has none of its kind, which is said with where it was written.

    Raises:
        UserError: it has some of its kind, but not this one.
    """
    try:
        require_device(device)
    except UserError:
        best = best_device()
        if best == device_type(device):
            raise
        missing = {"cuda": "no CUDA GPU", "mps": "no Apple GPU"}[device_type(device)]
        notice(f"{written} {device}: this machine has {missing}, so it falls back to {best}")
        return best
    return device


def _let_mps_fall_back() -> None:
    """What an Apple GPU has no operation for is done by the CPU, with a warning of torch's, which reads this once."""
    if sys.platform == "darwin":
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
