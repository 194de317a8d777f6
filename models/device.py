"""What the device of a tensor decides."""

from __future__ import annotations

import importlib.util
from functools import cache

import torch
from torch import Tensor


@cache
def triton_is_installed() -> bool:
    """Whether there are kernels at all: triton comes with torch on Linux."""
    return importlib.util.find_spec("triton") is not None


def has_kernels(device: torch.device) -> bool:
    """Whether tensors on `device` can take Triton's kernels; all others take plain torch."""
    return device.type == "cuda" and triton_is_installed()


def takes_kernels(x: Tensor) -> bool:
    """Whether Triton's kernels are for x: on CUDA, and not under torch.compile, which fuses plain torch by itself."""
    return not torch.compiler.is_compiling() and has_kernels(x.device)
