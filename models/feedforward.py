"""Feed-forward: plain (GPT, BERT) or gated (SwiGLU, GeGLU)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import Activation, ModelConfig


def identity(x: Tensor) -> Tensor:
    """x -> x"""
    return x


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "leakyrelu": F.leaky_relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "none": identity,
}


class FeedForward(nn.Module):
    """down( act( up(x) ) ), or down( act( gate(x) ) * up(x) ) when gated. https://arxiv.org/abs/2002.05202"""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        C, F_ = config.d_model, config.d_ff
        self.activation = ACTIVATIONS[config.activation]
        self.up = nn.Linear(C, F_, bias=config.ffn_bias)
        self.gate = nn.Linear(C, F_, bias=config.ffn_bias) if config.gated else None
        self.down = nn.Linear(F_, C, bias=config.ffn_bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)"""
        if self.gate is None:
            return self.down(self.activation(self.up(x)))  # F inside
        return self.down(self.activation(self.gate(x)) * self.up(x))
