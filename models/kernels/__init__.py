"""Fused Triton kernels for CUDA: norm, rope, gated feed-forward, loss. A twin of each in plain torch defines it.

Importing this package imports neither torch nor triton; its modules need both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = ["use_kernels", "uses_kernels"]


def use_kernels(model: nn.Module, on: bool = True) -> bool:
    """Let the norms, attentions and gated feed-forwards in `model` take their kernels, or no longer.

    They take them for tensors on CUDA, outside torch.compile, which fuses the twins by itself; everywhere else the
    twins run, and a notice says so. -> whether the model, where it is now, takes kernels.
    """
    from .switch import switch

    return switch(model, on)


def uses_kernels(model: nn.Module) -> bool:
    """Whether use_kernels turned them on for `model`, wherever it is now."""
    return getattr(model, "fused", False)
