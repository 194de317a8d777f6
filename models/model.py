"""Embedder -> Core -> head: the whole model, and how to build one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import UserError, nearest
from .cache import KVCache
from .config import TASKS, ModelConfig, Task
from .core import Core
from .dropout import Dropout
from .embedder import Embedder
from .generate import generate
from .heads import ClassificationHead, build_head
from .init import initialise
from .positions import position_ids as count_positions


class Model(nn.Module):
    """A transformer for one task. The arguments of forward() and hidden_states() are the same:

    input_ids        (B, T)
    attention_mask   (B, T), 1 on real tokens and 0 on padding, on either side; with a cache (B, S). None: no padding
    token_type_ids   (B, T), BERT's segments. None: all 0
    position_ids     (B, T). None: counted, see positions.py
    segment_ids      (B, T), a number for each document packed into a row: documents do not see each other and each
                     one's positions start at 0. None: nothing is packed
    cache            a KVCache that holds the tokens before these, and takes these in
    """

    def __init__(self, config: ModelConfig, task: Task = "causal_lm", num_labels: int | None = None) -> None:
        super().__init__()
        self.config, self.task = config, task
        self.embedder = Embedder(config)
        self.core = Core(config)
        self.head = build_head(config, task, self.embedder.tokens, num_labels)
        self.head_dropout = Dropout(config, "head_dropout") if task != "encoder" else None

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """-> logits: (B, T, V), for classification (B, num_labels), for replaced tokens (B, T); an encoder: (B, T, C)

        Logits have the dtype of the last matmul: the weights', or the autocast dtype.
        """
        hidden = self.hidden_states(input_ids, attention_mask, token_type_ids, position_ids, segment_ids, cache)
        if isinstance(self.head, ClassificationHead):
            return self.head(hidden, attention_mask)
        return self.head(hidden)

    def hidden_states(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """-> (B, T, C), what the head reads: after the last norm and the head's dropout.

        For token heads model.head takes any slice of it: (..., C) -> (..., V).
        """
        past = 0 if cache is None else cache.length
        self._check(input_ids, attention_mask, token_type_ids, segment_ids, past)
        if position_ids is None:
            pad = self.config.pad_token_id
            position_ids = count_positions(input_ids, attention_mask, segment_ids, past, pad)
        x = self.embedder(input_ids, position_ids, token_type_ids)  # (B, T, C)
        x = self.core(x, position_ids, attention_mask, segment_ids, cache)  # (B, T, C)
        return x if self.head_dropout is None else self.head_dropout(x)

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether training keeps only each block's input and computes the rest again in backward."""
        return self.core.gradient_checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, on: bool) -> None:
        self.core.gradient_checkpointing = on

    def num_parameters(self, trainable_only: bool = False) -> int:
        """How many numbers the model holds; a shared or tied weight counts once."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad or not trainable_only)

    def set_dropout(self, **rates: float) -> None:
        """Change dropout rates by their names in ModelConfig: set_dropout(residual_dropout=0.1)."""
        dropouts = [module for module in self.modules() if isinstance(module, Dropout)]
        known = sorted({dropout.field for dropout in dropouts})
        for field, rate in rates.items():
            if field not in known:
                raise UserError(f"this model has no dropout '{field}'.{nearest(field, known)}")
            if not 0 <= rate < 1:
                raise UserError(f"{field}={rate}: must be at least 0 and below 1")
        for dropout in dropouts:
            dropout.p = rates.get(dropout.field, dropout.p)

    @torch.no_grad()
    def attention_maps(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> list[Tensor]:
        """One (B, H, T, T) a layer in fp32: how much each query takes from each key. Rows sum to 1."""
        maps: list[Tensor] = []
        hooks = [
            layer.attn.f.register_forward_pre_hook(lambda attn, args: maps.append(attn.maps(*args[:3])))
            for layer in self.core.layers
        ]
        try:
            self.hidden_states(input_ids, attention_mask)
        finally:
            for hook in hooks:
                hook.remove()
        return maps

    def _check(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        segment_ids: Tensor | None,
        past: int,
    ) -> None:
        config, (B, T) = self.config, input_ids.shape
        limit = config.max_seq_len
        if config.positions == "learned" and past + T > limit:
            raise UserError(
                f"{past + T} tokens given, this model has learned {limit} positions: cut the input to {limit}"
            )
        if attention_mask is not None and attention_mask.shape != (B, past + T):
            raise UserError(f"attention_mask is {tuple(attention_mask.shape)}, must be {(B, past + T)}")


def build_model(
    config: ModelConfig,
    task: Task = "causal_lm",
    num_labels: int | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    seed: int | None = None,
) -> Model:
    """A new model with the weights init.py gives it; the same `seed` gives the same weights on the same device.

    Raises UserError for an unknown task, or num_labels missing from (or given without) classification.
    """
    if task not in TASKS:
        raise UserError(f"task '{task}' is not known.{nearest(task, TASKS)}")
    device = torch.device(device)
    with torch.random.fork_rng([device] if device.type == "cuda" else [], enabled=seed is not None), device:
        if seed is not None:
            torch.manual_seed(seed)
        model = Model(config, task, num_labels)
        initialise(model, config)
    return model.to(dtype=dtype)
