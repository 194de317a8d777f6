"""Token ids to vectors: token (+ position, + token type) embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .dropout import Dropout
from .norms import build_norm
from .positions import sincos_table


class Embedder(nn.Module):
    """project( dropout( norm( tokens * scale + positions + types ) ) )"""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        C, E = config.d_model, config.d_embed
        self.scale, self.offset, self.sincos = config.embed_scale, config.position_offset, config.positions == "sincos"
        self.tokens = nn.Embedding(config.vocab_size, E)
        rows = config.max_seq_len + config.position_offset
        self.positions = nn.Embedding(rows, E) if config.positions == "learned" else None
        self.types = nn.Embedding(config.n_token_types, E) if config.n_token_types else None
        self.norm = build_norm(config, E) if config.embed_norm else None
        self.dropout = Dropout(config, "embed_dropout")
        self.project = nn.Linear(E, C) if E != C else None

    def forward(self, input_ids: Tensor, positions: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """input_ids and token_type_ids (B, T), positions (T,) or (B, T) -> (B, T, C)"""
        x = self.tokens(input_ids)  # (B, T, E)
        if self.scale != 1:
            x = x * torch.full((), self.scale, dtype=x.dtype, device=x.device)  # the factor itself is rounded
        if self.positions is not None:
            x = x + self.positions(positions + self.offset if self.offset else positions)
        elif self.sincos:
            x = x + sincos_table(positions, x.shape[-1]).to(x.dtype)
        if self.types is not None:
            types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
            x = x + self.types(types)
        if self.norm is not None:
            x = self.norm(x)
        x = self.dropout(x)
        return x if self.project is None else self.project(x)  # (B, T, C)
