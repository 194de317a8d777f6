"""Embedder -> Core -> head: the whole model, and how to build one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from ..errors import UserError, nearest
from .attention import Attention
from .block import take
from .cache import KVCache
from .config import TASKS, ModelConfig, Task
from .core import Core
from .dropout import Dropout, without_dropout
from .embedder import Embedder
from .generate import generate as generate_tokens
from .heads import ClassificationHead, build_head
from .init import initialise
from .positions import position_ids as count_positions

if TYPE_CHECKING:
    from .hf.families import Origin


class Model(nn.Module):
    """A transformer for one task. forward() and hidden_states() take the same:

    input_ids        (B, T)
    attention_mask   (B, T), 1 on real tokens and 0 on padding, on either side; with a cache (B, S). None: no padding
    token_type_ids   (B, T), for models with token types. None: all 0
    position_ids     (B, T). None: counted, see positions.py
    segment_ids      (B, T), a number for each document packed into a row: documents do not see each other, and each
                     one's positions start at 0. None: nothing is packed
    cache            a KVCache that holds the tokens before these, and takes these in. None: these are all

    Both raise UserError for shapes that do not fit, and for an argument that this model could not honour.
    """

    def __init__(self, config: ModelConfig, task: Task = "causal_lm", num_labels: int | None = None) -> None:
        super().__init__()
        self.config = config
        self.task: Task = task
        self.embedder = Embedder(config)
        self.core = Core(config)
        self.head = build_head(config, task, self.embedder.tokens, num_labels)
        self.head_dropout = Dropout(config, "head_dropout") if task != "encoder" else None
        self.generator: Model | None = None  # that a discriminator is trained with, see replaced.py
        self.origin: Origin | None = None  # the checkpoint it was loaded from, if it was

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """-> logits: (B, T, V), for classification (B, num_labels), for replaced tokens (B, T); an encoder's (B, T, C).

        They have the dtype of the last matmul: that of the weights, or of autocast.
        """
        inputs = (input_ids, attention_mask, token_type_ids, position_ids, segment_ids, cache)
        if isinstance(self.head, ClassificationHead):
            return self.head(take(self.hidden_states(*inputs), self.head.place(input_ids, attention_mask)))
        return self.head(self.hidden_states(*inputs))

    def hidden_states(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        cache: KVCache | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """-> (B, T, C), what the head reads: after the last norm and the head's dropout; with `at` (B,) only that
        token of each row, (B, 1, C), for which the last layer does less.

        A token head takes any slice of it, (..., C) -> (..., V), so a loss need not hold every logit at once.
        """
        past = 0 if cache is None else cache.length
        self._check(input_ids, attention_mask, token_type_ids, position_ids, segment_ids, cache)
        if position_ids is None:
            pad = self.config.pad_token_id
            position_ids = count_positions(input_ids, attention_mask, segment_ids, past, pad)
        x = self.embedder(input_ids, position_ids, token_type_ids)  # (B, T, C)
        x = self.core(x, position_ids, attention_mask, segment_ids, cache, at)  # (B, T, C) or (B, 1, C)
        return x if self.head_dropout is None else self.head_dropout(x)

    generate = generate_tokens

    @torch.no_grad()
    def attention_maps(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> list[Tensor]:
        """For each layer (B, H, T, T) in fp32: what share of each key every query takes, rows summing to 1."""
        maps: list[Tensor] = []

        def record(attention: nn.Module, inputs: tuple[Any, ...]) -> None:
            maps.append(cast(Attention, attention).maps(*inputs[:3]))

        hooks = [layer.attn.f.register_forward_pre_hook(record) for layer in self.core.layers]
        try:
            with without_dropout(self):
                self.hidden_states(input_ids, attention_mask, token_type_ids)
        finally:
            for hook in hooks:
                hook.remove()
        return maps

    def num_parameters(self, trainable_only: bool = False) -> int:
        """How many numbers the model holds; a tied or shared weight counts once, one packed into 4 bits as one."""
        packed = [m for m in self.modules() if hasattr(m, "dequantize")] if not trainable_only else []
        count = sum(cast(int, m.in_features) * cast(int, m.out_features) for m in packed)
        return count + sum(p.numel() for p in self.parameters() if p.requires_grad or not trainable_only)

    def set_dropout(self, **rates: float) -> None:
        """Change dropout rates by their names in ModelConfig: set_dropout(residual_dropout=0.1, embed_dropout=0.1).

        Raises UserError for a name this model has no dropout of, and for a rate outside [0, 1).
        """
        dropouts = [module for module in self.modules() if isinstance(module, Dropout)]
        known = sorted({dropout.field for dropout in dropouts})
        for field, rate in rates.items():
            if field not in known:
                raise UserError(f"this model has no dropout '{field}'.{nearest(field, known)}")
            if not 0 <= rate < 1:
                raise UserError(f"{field}={rate}: must be at least 0 and below 1")
        for dropout in dropouts:
            dropout.p = rates.get(dropout.field, dropout.p)

    @property
    def is_tied(self) -> bool:
        """Whether the head's last weight is the token embedding itself; a bare encoder has no such weight."""
        return getattr(getattr(self.head, "out", None), "weight", None) is self.embedder.tokens.weight

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether training keeps only the input of each block, and computes the rest again in backward."""
        return self.core.gradient_checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, on: bool) -> None:
        self.core.gradient_checkpointing = on
        if self.generator is not None:
            self.generator.core.gradient_checkpointing = on

    def _check(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
        segment_ids: Tensor | None,
        cache: KVCache | None,
    ) -> None:
        """Shapes, and arguments that would otherwise be ignored."""
        config = self.config
        if input_ids.dim() != 2:
            raise UserError(f"input_ids is {tuple(input_ids.shape)}: must be (B, T)")
        B, T = input_ids.shape
        S = T if cache is None else cache.length + T
        if config.positions == "learned" and position_ids is None and segment_ids is None and config.max_seq_len < S:
            raise UserError(
                f"{S} tokens, but this model has only {config.max_seq_len} positions: cut or split the text"
            )
        lengths = {
            "attention_mask": (attention_mask, S),
            "token_type_ids": (token_type_ids, T),
            "position_ids": (position_ids, T),
            "segment_ids": (segment_ids, T),
        }
        for name, (given, length) in lengths.items():
            if given is not None and given.shape != (B, length):
                raise UserError(f"{name} is {tuple(given.shape)}: must be {(B, length)} for input_ids {(B, T)}")
        if token_type_ids is not None and not config.n_token_types:
            raise UserError("token_type_ids: this model has no token types, leave them out")
        if position_ids is not None and config.positions in ("relative", "none"):
            raise UserError(f"position_ids: this model has positions='{config.positions}', leave them out")
        if cache is not None and (segment_ids is not None or not config.causal):
            raise UserError("cache: only for causal models, and not with packed documents (segment_ids)")


def build_model(
    config: ModelConfig,
    task: Task = "causal_lm",
    num_labels: int | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    seed: int | None = None,
) -> Model:
    """A new model with the weights init.py gives it, the same ones for the same seed on the same kind of device.

    Raises UserError for an unknown task, and for num_labels missing from, or given without, classification.
    """
    if task not in TASKS:
        raise UserError(f"task '{task}' is not known.{nearest(task, TASKS)}")
    device = torch.device(device)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(cuda, enabled=seed is not None), device:
        if seed is not None:
            torch.manual_seed(seed)
        model = Model(config, task, num_labels)
        initialise(model, config)
    return model.to(dtype=dtype)
