"""One transformer layer.

Each sub-layer f (attention, then feed-forward) has three places where a norm can sit:

    x = norm_sum( x + norm_out( f( norm_in(x) ) ) )

    pre-norm   norm_slots = ("in",)         GPT-2, OPT, Llama, Qwen, Phi
    post-norm  norm_slots = ("sum",)        BERT, RoBERTa, DistilBERT, ELECTRA, DeBERTa
    sandwich   norm_slots = ("in", "out")   Gemma 2 and 3
    parallel   x + attn( norm(x) ) + ffn( norm'(x) )   GPT-NeoX
"""

from __future__ import annotations

from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from .attention import Attention
from .cache import LayerCache
from .config import ModelConfig, Norm, NormSlot
from .disentangled import DisentangledAttention, RelativePositions
from .dropout import Dropout
from .feedforward import FeedForward
from .norms import build_norm
from .rope import RopeTables

Position = RopeTables | RelativePositions | None
SubLayer = TypeVar("SubLayer", bound=nn.Module)


class Residual(nn.Module, Generic[SubLayer]):
    """norm_sum( x + dropout( norm_out( f( dropout( norm_in(x) ) ) ) ) ), without the norms not in norm_slots."""

    def __init__(
        self, config: ModelConfig, f: SubLayer, norm: Norm, input_dropout: str, output_dropout: bool = True
    ) -> None:
        super().__init__()

        def norm_at(slot: NormSlot) -> nn.Module | None:
            return build_norm(config, config.d_model, norm) if slot in config.norm_slots else None

        self.norm_in, self.norm_out, self.norm_sum = norm_at("in"), norm_at("out"), norm_at("sum")
        self.f = f
        self.input_dropout = Dropout(config, input_dropout)
        self.residual_dropout = Dropout(config, "residual_dropout") if output_dropout else None

    def branch(self, x: Tensor, *context: object) -> Tensor:
        """What is added to x (B, T, C); `context` is what else f takes -> (B, T, C)"""
        if self.norm_in is not None:
            x = self.norm_in(x)
        x = self.f(self.input_dropout(x), *context)
        if self.norm_out is not None:
            x = self.norm_out(x)
        return x if self.residual_dropout is None else self.residual_dropout(x)

    def forward(self, x: Tensor, *context: object) -> Tensor:
        """(B, T, C) -> (B, T, C)"""
        x = x + self.branch(x, *context)
        return x if self.norm_sum is None else self.norm_sum(x)


class Block(nn.Module):
    """ffn( attn(x) ), both residual; or, parallel, x + attn + ffn of the same x."""

    def __init__(self, config: ModelConfig, ffn: FeedForward | None = None, attn_out: nn.Linear | None = None) -> None:
        """`ffn` and `attn_out` are given where layers share them."""
        super().__init__()
        kind = DisentangledAttention if config.positions == "relative" else Attention
        self.parallel = config.parallel
        attn = kind(config, attn_out)
        self.attn = Residual(config, attn, config.attn_norm, "attn_dropout", config.residual_dropout_on_attn)
        self.ffn = Residual(config, ffn or FeedForward(config), config.ffn_norm, "ffn_dropout")

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        position: Position,
        cache: LayerCache | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C); with `at` (B,) only that token of each row, (B, 1, C): the rest is not computed."""
        if self.parallel:
            return take(self.ffn.branch(x) + self.attn.branch(x, mask, position, cache) + x, at)
        return self.ffn(take(self.attn(x, mask, position, cache), at))


def take(x: Tensor, at: Tensor | None) -> Tensor:
    """(B, T, C) -> the tokens `at` (B,) of their rows, (B, 1, C); None: all"""
    return x if at is None else x[torch.arange(len(x), device=x.device), at][:, None]
