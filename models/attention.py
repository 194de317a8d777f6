"""Multi-head attention: grouped queries, rope, qk-norm, soft-cap, any boolean mask."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .cache import LayerCache
from .config import ModelConfig
from .device import takes_kernels
from .dropout import Dropout
from .flash import FlashUse
from .norms import build_norm
from .rope import RopeTables, apply_rope

_SMALL = 4 * 2**20  # probabilities that fit a CPU's cache; of more, keeping them costs what the products save


class Projections(nn.Module):
    """What every attention is made of: four Linears, their heads, and dropout on the probabilities.

    q, k and v stay three Linears, so that adapters, quantisers and parameter choosers see plain ones.
    """

    def __init__(self, config: ModelConfig, out: nn.Linear | None = None) -> None:
        """`out` is given where layers share their output projection."""
        super().__init__()
        C, H, G, D = config.d_model, config.n_heads, config.n_kv_heads, config.head_dim
        self.head_dim, self.scale = D, config.attn_scale
        self.q = nn.Linear(C, H * D, bias=config.qkv_bias)
        self.k = nn.Linear(C, G * D, bias=config.qkv_bias)
        self.v = nn.Linear(C, G * D, bias=config.qkv_bias)
        self.out = out or output_projection(config)
        self.probs_dropout = Dropout(config, "attn_probs_dropout")
        self.flash = FlashUse()  # the whole model's after use_flash_attention

    def split_heads(self, x: Tensor) -> Tensor:
        """(B, T, n * D) -> (B, n, T, D)"""
        B, T, _ = x.shape
        return x.view(B, T, -1, self.head_dim).transpose(1, 2)

    def join_heads(self, y: Tensor) -> Tensor:
        """(B, H, T, D) -> (B, T, C)"""
        return self.out(y.transpose(1, 2).flatten(2))

    def count_other(self, why: str) -> None:
        """Count a call in training for which no kernel of torch's is asked; `why` follows "of the others 3% "."""
        if self.training and torch.is_grad_enabled():
            self.flash.skip(why)


class Attention(Projections):
    """out( softmax( q k^T * scale + mask ) v )"""

    def __init__(self, config: ModelConfig, out: nn.Linear | None = None) -> None:
        super().__init__(config, out)
        self.groups = config.n_heads // config.n_kv_heads  # query heads to each key head
        self.causal, self.softcap = config.causal, config.attn_softcap
        self.q_norm = build_norm(config, config.head_dim) if config.qk_norm else None
        self.k_norm = build_norm(config, config.head_dim) if config.qk_norm else None
        self.rope_kernel: Callable[[Tensor, RopeTables, bool], Tensor] | None = None  # see kernels/switch.py

    def forward(
        self, x: Tensor, mask: Tensor | None = None, rope: RopeTables | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        """x (B, T, C), mask (1 or B, 1, T, S) or None: see masks.py -> (B, T, C)"""
        q, k = self.queries_and_keys(x, rope)  # (B, H, T, D), (B, G, T, D)
        v = self.split_heads(self.v(x))  # (B, G, T, D)
        if cache is not None:
            k, v = cache.append(k, v)  # (B, G, S, D)
        return self.join_heads(self.attend(q, k, v, mask))

    def maps(self, x: Tensor, mask: Tensor | None, rope: RopeTables | None) -> Tensor:
        """x (B, T, C) -> the probabilities that forward() takes v by, (B, H, T, T) in fp32"""
        return self.probabilities(*self.queries_and_keys(x, rope), mask)

    def queries_and_keys(self, x: Tensor, rope: RopeTables | None) -> tuple[Tensor, Tensor]:
        """x (B, T, C) -> q (B, H, T, D), k (B, G, T, D), normed and turned"""
        q, k = self.split_heads(self.q(x)), self.split_heads(self.k(x))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        return (q, k) if rope is None else (self.turn(q, rope), self.turn(k, rope))

    def turn(self, x: Tensor, rope: RopeTables) -> Tensor:
        """x (B, n, T, D), which nothing else reads -> (B, n, T, D)"""
        if self.rope_kernel is not None and takes_kernels(x):
            return self.rope_kernel(x, rope, not (torch.is_grad_enabled() and x.requires_grad))
        return apply_rope(x, rope)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """q (B, H, T, D), k and v (B, G, S, D) -> (B, H, T, D)"""
        if self.softcap is not None:  # no fused kernel of torch's has it
            self.count_other("were soft-capped")
            probs = self.probs_dropout(self.probabilities(q, k, mask))  # (B, H, T, S)
            return probs.to(v.dtype) @ self.repeat_heads(v)
        dropout = self.probs_dropout.p if self.training else 0.0
        wants_flash = self.flash.mode is True and dropout == 0  # with dropout no CPU's kernel is fused
        if trains_in_bf16_on_cpu(q) and q.shape[:3].numel() * k.shape[2] <= _SMALL and not wants_flash:
            self.count_other("were small, and faster multiplied out in bf16")
            return self.multiply(q, k, v, mask)
        return self.flash.attend(
            q,
            k,
            v,
            counted=self.training and torch.is_grad_enabled(),
            attn_mask=mask,
            dropout_p=dropout,
            is_causal=self.is_causal(q, mask),
            scale=self.scale,
            enable_gqa=self.groups > 1,
        )

    def multiply(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """attend() by batched products: torch's fused backward is 2 to 6 times slower on a CPU in bf16."""
        (B, H, T, _), S = q.shape, k.shape[2]
        hidden = float("-inf")
        if mask is not None:
            bias = torch.zeros(mask.shape, dtype=q.dtype).masked_fill_(~mask, hidden)
            bias = bias.expand(B, H, T, S).flatten(0, 1)  # (B * H, T, S)
        elif self.is_causal(q, mask):
            bias = torch.full((T, S), hidden, dtype=q.dtype).triu_(1)
        else:
            bias = q.new_zeros(1)
        q, k, v = (x.flatten(0, 1) for x in (q, self.repeat_heads(k), self.repeat_heads(v)))  # (B * H, T or S, D)
        probs = torch.baddbmm(bias, q, k.mT, alpha=self.scale).softmax(-1)  # (B * H, T, S)
        return torch.bmm(self.probs_dropout(probs), v).unflatten(0, (B, H))  # (B, H, T, D)

    def probabilities(self, q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
        """q (B, H, T, D), k (B, G, S, D) -> (B, H, T, S) in fp32, rows that sum to 1"""
        scores = (q * self.scale) @ self.repeat_heads(k).mT  # (B, H, T, S); fp16 could not hold them unscaled
        if self.softcap is not None:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        if self.is_causal(q, mask):
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return scores.softmax(-1, dtype=torch.float32)

    def is_causal(self, q: Tensor, mask: Tensor | None) -> bool:
        """Whether no mask means a triangle: a single query comes last and sees every key."""
        if not self.causal or mask is not None:
            return False
        return True if q.shape[2] > 1 else False  # noqa: SIM210 (torch.compile has a symbol, and a kernel wants a bool)

    def repeat_heads(self, x: Tensor) -> Tensor:
        """(B, G, S, D) -> (B, H, S, D)"""
        return x if self.groups == 1 else x.repeat_interleave(self.groups, 1)


def trains_in_bf16_on_cpu(q: Tensor) -> bool:
    """Where attention is better multiplied out, if there is little of it."""
    return q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.requires_grad


def output_projection(config: ModelConfig) -> nn.Linear:
    """(..., H * D) -> (..., C)"""
    return nn.Linear(config.n_heads * config.head_dim, config.d_model, bias=config.out_bias)
