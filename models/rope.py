"""Rotary position embeddings, in the half-split layout of every Hugging Face checkpoint.

Dimension i of a head is paired with dimension i + R/2, and the pair is turned by the angle position * frequency_i.
Source: https://arxiv.org/abs/2104.09864; scalings as in transformers' modeling_rope_utils.py.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .config import RopeConfig, RopeScaling


class RopeTables(NamedTuple):
    """cos and sin of every angle, fp32, (T, R) or (B, 1, T, R). The first half of `sin` is negated: see apply_rope."""

    cos: Tensor
    sin: Tensor


def inverse_frequencies(rope: RopeConfig, head_dim: int, length: int, device: torch.device) -> Tensor:
    """(R/2,) angles per position, in fp32. `length` decides between longrope's two lists."""
    rotated = rope.rotated(head_dim)
    steps = torch.arange(0, rotated, 2, dtype=torch.float32, device=device)  # (R/2,)
    frequencies = 1.0 / rope.theta ** (steps / rotated)
    scaling = rope.scaling
    if scaling is None:
        return frequencies
    if scaling.type == "linear":
        return frequencies / scaling.factor
    if scaling.type == "llama3":
        return _llama3(frequencies, scaling)
    divisors = scaling.long_factor if is_long(rope, length) else scaling.short_factor
    return frequencies / torch.tensor(divisors, dtype=torch.float32, device=device)


def is_long(rope: RopeConfig, length: int) -> bool:
    """Whether longrope uses its long list for a text of `length` tokens."""
    scaling = rope.scaling
    return scaling is not None and scaling.type == "longrope" and length > scaling.original_max_seq_len


def amplitude(rope: RopeConfig) -> float:
    """What cos and sin are multiplied by: 1, except for longrope's sqrt(1 + ln factor / ln original)."""
    scaling = rope.scaling
    if scaling is None or scaling.type != "longrope":
        return 1.0
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    return math.sqrt(1 + math.log(scaling.factor) / math.log(scaling.original_max_seq_len))


def rope_tables(rope: RopeConfig, head_dim: int, positions: Tensor, length: int | None = None) -> RopeTables:
    """positions (T,) or (B, T) -> tables, in fp32: bf16 cannot tell position 256 from 257.

    `length`, what longrope goes by, is the highest position + 1 if it is not given.
    """
    if length is None:
        length = int(positions.max()) + 1 if rope.scaling is not None and rope.scaling.type == "longrope" else 0
    frequencies = inverse_frequencies(rope, head_dim, length, positions.device)  # (R/2,)
    with torch.autocast(positions.device.type, enabled=False):
        angles = positions.float()[..., None] * frequencies  # (..., T, R/2)
        if positions.dim() == 2:
            angles = angles[:, None]  # (B, 1, T, R/2)
        cos, sin = angles.cos() * amplitude(rope), angles.sin() * amplitude(rope)
    return RopeTables(torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1))  # (..., T, R)


def apply_rope(x: Tensor, tables: RopeTables) -> Tensor:
    """x (B, H, T, D) -> (B, H, T, D): the pair (a, b) becomes (a cos - b sin, b cos + a sin).

    Rolling x by half of R puts each element's partner in its place, so the minus is kept in the table.
    The product is taken in fp32 and rounded once. Dimensions past R pass through.
    """
    rotated = tables.cos.shape[-1]
    turning = x if rotated == x.shape[-1] else x[..., :rotated]  # (B, H, T, R)
    turned = torch.addcmul(turning * tables.cos, turning.roll(rotated // 2, -1), tables.sin).to(x.dtype)
    return turned if turning is x else torch.cat([turned, x[..., rotated:]], -1)


def _llama3(frequencies: Tensor, s: RopeScaling) -> Tensor:
    """High frequencies stay, low ones are divided by `factor`, a linear blend between them."""
    wavelengths = 2 * math.pi / frequencies
    blend = (s.original_max_seq_len / wavelengths - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor)
    blend = blend.clamp(0, 1)  # 1: stays
    return (1 - blend) * frequencies / s.factor + blend * frequencies
