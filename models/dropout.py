"""Dropout that knows which of the configuration's rates it follows."""

from __future__ import annotations

from torch import nn

from .config import ModelConfig


class Dropout(nn.Dropout):
    """Zeroes each element with probability p and divides the rest by 1 - p, in training only."""

    def __init__(self, config: ModelConfig, field: str) -> None:
        super().__init__(getattr(config, field))
        self.field = field  # its name in ModelConfig: what Model.set_dropout goes by
