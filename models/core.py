"""The stack of blocks between embedder and head."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import output_projection
from .block import Block, Position
from .cache import KVCache
from .config import LayerKind, ModelConfig
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
        attn_out = output_projection(config) if config.share_attn_out else None
        blocks = nn.ModuleList(Block(config, ffn, attn_out) for _ in range(config.n_layers))
        self.layers = cast("list[Block]", blocks)  # for type checkers, which do not know what a ModuleList holds
        self.norm = build_norm(config, config.d_model, config.head_norm)
        is_relative = config.positions == "relative"
        self.relative = nn.Embedding(2 * config.relative_buckets, config.d_model) if is_relative else None
        self.relative_norm = build_norm(config, config.d_model) if is_relative else None

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        attention_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        cache: KVCache | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """x (B, T, C), positions (T,) or (B, T), the rest as in Model -> (B, T, C), with `at` (B, 1, C)"""
        past = 0 if cache is None else cache.length
        masks = build_masks(self.config, x.shape[1], past, x.device, attention_mask, segment_ids)
        position = self.position_inputs(positions, past)
        for i, layer in enumerate(self.layers):
            kind = self.config.layer_kind(i)
            wanted = at if i == len(self.layers) - 1 else None
            inputs = (x, masks[kind], position[kind], None if cache is None else cache.layers[i], wanted)
            if self.gradient_checkpointing and self.training:
                x = cast(Tensor, checkpoint(layer, *inputs, use_reentrant=False))
            else:
                x = layer(*inputs)
        return x if self.norm is None else self.norm(x)

    def position_inputs(self, positions: Tensor, past: int) -> dict[LayerKind, Position]:
        """What attention must know of positions (T,) or (B, T), for each kind of layer."""
        config, T = self.config, positions.shape[-1]
        if self.relative is not None and self.relative_norm is not None:
            table = self.relative_norm(self.relative.weight)  # (2N, C)
            relative = relative_positions(table, T, config.relative_buckets, config.relative_span)
            return {"global": relative, "local": relative}
        if config.positions != "rope":
            return {"global": None, "local": None}
        length = past + T if positions.dim() == 1 else None  # rows that differ are measured
        tables = rope_tables(config.rope, config.head_dim, positions, length)
        if config.rope_local is None:
            return {"global": tables, "local": tables}
        return {"global": tables, "local": rope_tables(config.rope_local, config.head_dim, positions, length)}
