"""The stack of blocks between embedder and head."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .block import Block, Position
from .cache import KVCache
from .config import ModelConfig
from .disentangled import relative_positions
from .feedforward import FeedForward
from .masks import build_masks
from .norms import build_norm
from .rope import rope_tables


class Core(nn.Module):
    """norm( block_L( ... block_1(x) ) ). Masks and positions are made once and shared by the layers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        ffn = FeedForward(config) if config.share_ffn else None
        out = (
            nn.Linear(config.n_heads * config.head_dim, config.d_model, bias=config.out_bias)
            if config.share_attn_out
            else None
        )
        self.layers = nn.ModuleList(Block(config, ffn, out) for _ in range(config.n_layers))
        self.norm = build_norm(config, config.d_model, config.head_norm)
        if config.positions == "relative":
            self.relative = nn.Embedding(2 * config.relative_buckets, config.d_model)
            self.relative_norm = build_norm(config, config.d_model)

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        attention_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """x (B, T, C), positions (T,) or (B, T), masks as in masks.py -> (B, T, C)"""
        T, past = x.shape[1], 0 if cache is None else cache.length
        masks = build_masks(self.config, T, past, x.device, attention_mask, segment_ids)
        inputs = self.position_inputs(positions, past)
        for i, layer in enumerate(self.layers):
            kind = self.config.layer_kind(i)
            layer_cache = None if cache is None else cache.layers[i]
            if self.gradient_checkpointing and self.training:
                x = cast(Tensor, checkpoint(layer, x, masks[kind], inputs[kind], layer_cache, use_reentrant=False))
            else:
                x = layer(x, masks[kind], inputs[kind], layer_cache)
        return x if self.norm is None else self.norm(x)

    def position_inputs(self, positions: Tensor, past: int) -> dict[str, Position]:
        """What attention needs to know about positions, for each kind of layer."""
        config = self.config
        if config.positions == "relative":
            table = self.relative_norm(self.relative.weight)  # (2N, C)
            given = relative_positions(table, positions.shape[-1], config.relative_buckets, config.relative_span)
            return {"global": given, "local": given}
        if config.positions != "rope":
            return {"global": None, "local": None}
        ropes = {"global": config.rope, "local": config.rope_local or config.rope}
        tables = {}
        for kind in set(config.layer_pattern):
            rope = ropes[kind]
            tables[kind] = rope_tables(rope, config.head_dim, positions, self.text_length(positions, past))
        return tables

    def text_length(self, positions: Tensor, past: int) -> int:
        return past + positions.shape[-1]
