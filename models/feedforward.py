"""Feed-forward: plain (GPT, BERT) or gated (SwiGLU, GeGLU)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .config import Activation, ModelConfig
from .device import takes_kernels

_LARGE = 2**20  # elements: of smaller activations, computing them again costs more than it frees


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
        self.kind: Activation = config.activation
        self.activation = ACTIVATIONS[config.activation]
        self.kernel: Callable[[Tensor, Tensor], Tensor] | None = None  # of act(gate) * up, see kernels/switch.py
        self.up = nn.Linear(C, F_, bias=config.ffn_bias)
        self.gate = nn.Linear(C, F_, bias=config.ffn_bias) if config.gated else None
        self.down = nn.Linear(F_, C, bias=config.ffn_bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)"""
        up, gate = self.up(x), None if self.gate is None else self.gate(x)  # (B, T, F)
        if torch.is_grad_enabled() and up.requires_grad and up.numel() >= _LARGE and not torch.compiler.is_compiling():
            # The widest tensors of a layer: backward keeps `up` and `gate` only and activates them again, which is
            # cheap. The product with `down` is not taken again: the second pass ends where it would begin.
            draws = next(self.down.children(), None) is not None  # what was put on it (an adapter) may drop at random
            return cast(Tensor, checkpoint(self.project_down, up, gate, use_reentrant=False, preserve_rng_state=draws))
        return self.project_down(up, gate)

    def project_down(self, up: Tensor, gate: Tensor | None) -> Tensor:
        """up and gate (B, T, F) -> (B, T, C)"""
        if gate is None:
            return self.down(self.activation(up))
        kernel = self.kernel if takes_kernels(gate) else None
        return self.down(self.activation(gate) * up if kernel is None else kernel(gate, up))
