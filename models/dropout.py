"""Dropout that knows which of the configuration's rates it follows."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from torch import nn

from .config import ModelConfig


class Dropout(nn.Dropout):
    """Zeroes each element with probability p and divides the rest by 1 - p, in training only."""

    def __init__(self, rate: ModelConfig | float, field: str) -> None:
        """`field` is its name in ModelConfig, which has the rate, or that of a rate which is given."""
        super().__init__(getattr(rate, field) if isinstance(rate, ModelConfig) else rate)
        self.field = field  # what Model.set_dropout goes by


@contextmanager
def without_dropout(model: nn.Module) -> Generator[None, None, None]:
    """Evaluation mode for a while; afterwards each module is in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
