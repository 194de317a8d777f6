"""Text from a model, token by token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import UserError
from .cache import KVCache

if TYPE_CHECKING:
    from .model import Model


@torch.no_grad()
def generate(
    model: Model,
    input_ids: Tensor,
    max_new_tokens: int,
    attention_mask: Tensor | None = None,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    eos_id: int | None = None,
    seed: int | None = None,
    use_cache: bool = True,
) -> Tensor:
    raise NotImplementedError
