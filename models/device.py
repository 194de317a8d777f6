"""What the device of a tensor decides."""

from __future__ import annotations

import torch
from torch import Tensor


def takes_kernels(x: Tensor) -> bool:
    """Whether Triton's kernels are for x: on CUDA, and not under torch.compile, which fuses plain torch by itself."""
    return x.is_cuda and not torch.compiler.is_compiling()
