"""LayerNorm and RMSNorm, with their statistics in fp32 whatever the input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig, Norm


class RMSNorm(nn.Module):
    """y = x / sqrt(mean(x^2) + eps) * w, or * (1 + w) with unit_offset (Gemma). https://arxiv.org/abs/1910.07467"""

    def __init__(self, width: int, eps: float, unit_offset: bool = False) -> None:
        super().__init__()
        self.eps, self.unit_offset = eps, unit_offset
        self.weight = nn.Parameter(torch.zeros(width) if unit_offset else torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)"""
        if self.unit_offset:  # the product is taken in fp32, then rounded
            return F.rms_norm(x.float(), self.weight.shape, 1 + self.weight.float(), self.eps).to(x.dtype)
        if x.dtype == torch.float32:
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        # Rounded, then multiplied: in bf16 that is not the same, and it is what Llama was trained with.
        return F.rms_norm(x.float(), self.weight.shape, None, self.eps).to(x.dtype) * self.weight


def build_norm(config: ModelConfig, width: int, kind: Norm | None = None) -> nn.Module | None:
    """A norm over the last `width` elements, of `kind` or else config.norm; None for "none"."""
    kind = kind or config.norm
    if kind == "layernorm":
        return nn.LayerNorm(width, config.norm_eps, bias=config.norm_bias)
    return RMSNorm(width, config.norm_eps, config.norm_unit_offset) if kind == "rmsnorm" else None
