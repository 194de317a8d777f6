"""LayerNorm and RMSNorm, their statistics in fp32 whatever the input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig, Norm


class LayerNorm(nn.LayerNorm):
    """y = (x - mean(x)) / sqrt(var(x) + eps) * w + b. https://arxiv.org/abs/1607.06450"""

    def forward(self, input: Tensor) -> Tensor:
        """(..., C) -> (..., C)"""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.Module):
    """y = x / sqrt(mean(x^2) + eps) * w, or * (1 + w) with unit_offset (Gemma). https://arxiv.org/abs/1910.07467"""

    def __init__(self, width: int, eps: float, unit_offset: bool = False) -> None:
        super().__init__()
        self.eps, self.unit_offset = eps, unit_offset
        self.weight = nn.Parameter(torch.zeros(width) if unit_offset else torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)"""
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)
        if self.unit_offset:
            return (y * (1 + self.weight.float())).to(x.dtype)  # Gemma multiplies in fp32 ...
        return y.to(x.dtype) * self.weight  # ... Llama in the input's dtype; in bf16 that differs


def build_norm(config: ModelConfig, width: int, kind: Norm | None = None) -> nn.Module | None:
    """A norm over the last `width` elements, of `kind` or else config.norm. None for "none"."""
    kind = kind or config.norm
    if kind == "layernorm":
        return LayerNorm(width, config.norm_eps, bias=config.norm_bias)
    return RMSNorm(width, config.norm_eps, config.norm_unit_offset) if kind == "rmsnorm" else None
