"""What turns hidden states into answers: next token, masked token, replaced token, class."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import UserError
from .config import ModelConfig, Task
from .dropout import Dropout
from .feedforward import ACTIVATIONS
from .norms import build_norm


class LMHead(nn.Module):
    """logits = softcap( out( project(x) ) ). Tied, `out` holds the very weight of the token embedding."""

    def __init__(self, config: ModelConfig, tokens: nn.Embedding) -> None:
        super().__init__()
        C, E, V = config.d_model, config.d_embed, config.vocab_size
        tied = config.tie_embeddings
        self.softcap = config.logit_softcap
        self.project = nn.Linear(C, E, bias=False) if tied and E != C else None  # back to the embedding's width
        self.out = nn.Linear(E if tied else C, V, bias=config.head_bias)
        if tied:
            self.out.weight = tokens.weight

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., C) -> (..., V), in the dtype of the matmul (bf16 under bf16 autocast)"""
        return cap_logits(self.uncapped(hidden), self.softcap)

    def uncapped(self, hidden: Tensor) -> Tensor:
        """(..., C) -> (..., V)"""
        return self.out(hidden if self.project is None else self.project(hidden))


class MaskedLMHead(nn.Module):
    """logits = out( norm( act( dense(x) ) ) ), with a bias of its own even when tied (BERT)."""

    def __init__(self, config: ModelConfig, tokens: nn.Embedding) -> None:
        super().__init__()
        C, E, V = config.d_model, config.d_embed, config.vocab_size
        self.activation, self.softcap = ACTIVATIONS[config.head_activation], config.logit_softcap
        self.dense = nn.Linear(C, E)
        self.norm = build_norm(config, E)
        self.out = nn.Linear(E, V)
        if config.tie_embeddings:
            self.out.weight = tokens.weight

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., C) -> (..., V)"""
        return cap_logits(self.uncapped(hidden), self.softcap)

    def uncapped(self, hidden: Tensor) -> Tensor:
        """(..., C) -> (..., V)"""
        x = self.activation(self.dense(hidden))  # (..., E)
        return self.out(x if self.norm is None else self.norm(x))


class ReplacedTokenHead(nn.Module):
    """One logit a token, positive for "this was replaced": out( act( dense(x) ) ). https://arxiv.org/abs/2003.10555"""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.head_activation]
        self.dense = nn.Linear(config.d_model, config.d_model)
        self.out = nn.Linear(config.d_model, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., C) -> (...)"""
        return self.out(self.activation(self.dense(hidden))).squeeze(-1)


class ClassificationHead(nn.Module):
    """out( dropout( act( dense(x_t) ) ) ) of one token t; without an activation there is no dense layer and no bias.

    With a `pad_id`, t goes by the ids instead of the mask, as in transformers' decoders: the last one that is not it.
    Where padding is masked and nothing else has that id, both are the same.
    """

    def __init__(self, config: ModelConfig, num_labels: int) -> None:
        super().__init__()
        name = config.classifier_activation
        self.pooling = config.classifier_pooling
        self.pad_id: int | None = None
        self.activation = ACTIVATIONS[name] if name else None
        self.dense = nn.Linear(config.d_model, config.d_model) if name else None
        self.dropout = Dropout(config, "classifier_dropout")
        self.out = nn.Linear(config.d_model, num_labels, bias=name is not None)

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden (B, 1, C) of the tokens that place() gives -> (B, num_labels)"""
        x = hidden[:, 0]  # (B, C)
        if self.dense is not None and self.activation is not None:
            x = self.activation(self.dense(x))
        return self.out(self.dropout(x))

    def place(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Where t is, the first or the last real token: ids (B, T), mask (B, T) with 1 on those -> (B,)"""
        real = attention_mask if self.pad_id is None else input_ids != self.pad_id
        if real is None:
            return input_ids.new_full((len(input_ids),), 0 if self.pooling == "first" else input_ids.shape[1] - 1)
        real = real.long()
        return real.argmax(-1) if self.pooling == "first" else real.cumsum(-1).argmax(-1)


def build_head(config: ModelConfig, task: Task, tokens: nn.Embedding, num_labels: int | None) -> nn.Module:
    """The head of a task; an encoder has none and passes its hidden states on."""
    if task == "classification":
        if num_labels is None or num_labels < 1:
            raise UserError(f"task 'classification' needs num_labels, at least 1, not {num_labels}")
        return ClassificationHead(config, num_labels)
    if num_labels is not None:
        raise UserError(f"num_labels={num_labels} is for task 'classification', not '{task}'")
    if task == "causal_lm":
        return LMHead(config, tokens)
    if task == "masked_lm":
        return MaskedLMHead(config, tokens)
    return ReplacedTokenHead(config) if task == "replaced_token" else nn.Identity()


def labels_of(head: nn.Module) -> int | None:
    """How many classes a head tells apart; None where it is no classifier's."""
    return head.out.out_features if isinstance(head, ClassificationHead) else None


def before_cap(head: nn.Module) -> tuple[Callable[[Tensor], Tensor], float | None]:
    """The head without the last step of a soft-capped one, and the cap: a loss takes that step without keeping it."""
    if isinstance(head, (LMHead, MaskedLMHead)) and head.softcap is not None:
        return head.uncapped, head.softcap
    return head, None


def cap_logits(logits: Tensor, cap: float | None) -> Tensor:
    """cap * tanh(logits / cap): (..., V) -> (..., V)"""
    return logits if cap is None else cap * torch.tanh(logits / cap)
