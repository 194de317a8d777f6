"""Which modules take a kernel: an attribute of each, set here and read in its forward()."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from ...errors import notice
from ..attention import Attention
from ..device import triton_is_installed
from ..feedforward import FeedForward
from ..norms import RMSNorm


def switch(model: nn.Module, on: bool) -> bool:
    """See use_kernels."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    installed = triton_is_installed()
    if on and not installed:
        notice("fused kernels: triton is not installed, so the same steps run in plain torch")
    elif on and device.type != "cuda":
        notice(f"fused kernels are for CUDA: on {device.type} the same steps run in plain torch")
    if on and installed:
        _give(model)
    else:
        _take(model)
    setattr(model, "fused", on and installed)  # noqa: B010 (a plain attribute, which nn.Module declares to be a module)
    return on and installed and device.type == "cuda"


def _give(model: nn.Module) -> None:
    from . import rmsnorm, rope, swiglu  # with triton

    for module in model.modules():
        if isinstance(module, RMSNorm):
            module.kernel = rmsnorm.rms_norm
        elif isinstance(module, Attention):
            module.rope_kernel = rope.rope
        elif isinstance(module, FeedForward) and module.gate is not None and module.kind in swiglu.KINDS:
            module.kernel = partial(swiglu.gated, kind=module.kind)


def _take(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, (RMSNorm, FeedForward)):
            module.kernel = None
        elif isinstance(module, Attention):
            module.rope_kernel = None
