"""A classifier learns from a classifier: soft targets over the classes, the class itself, the direction of a state.

    loss = a_soft t^2 KL(p_teacher || p_student)  with both logits divided by the temperature t   arXiv 1503.02531
         + a_hard cross-entropy(student)
         + a_cosine (1 - cos(h_student, h_teacher))  of the one state that each head reads        arXiv 1910.01108

Each is a sum over the rows that have a class, divided by their number in the whole accumulation window.

    B rows   n classes   C d_model
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.sampling import Batch
from .distillation import Weights, cosine_distance
from .losses import IGNORE
from .objectives import ClassLoss, HiddenStates


@dataclass(kw_only=True)
class ClassTeacher(ClassLoss):
    """A classifier that answers in the order of another one's classes. In evaluation mode; it does not change."""

    order: Sequence[int]  # its own class for each of the other's

    def logits(self, batch: Batch, hidden_states: HiddenStates) -> Tensor:
        """-> (B, n). Texts of a pair are told apart for a model that can."""
        if not self.model.config.n_token_types:
            batch = replace(batch, token_type_ids=None)
        return super().logits(batch, hidden_states)[:, list(self.order)]


@dataclass(kw_only=True)
class ClassDistillation(ClassLoss):
    """The objective of a student; see the top of this file. It is evaluated as any classifier."""

    teacher: ClassTeacher
    weights: Weights

    def backward(self, batch: Batch, hidden_states: HiddenStates, scale: float) -> Tensor:
        ours, theirs = list[Tensor](), list[Tensor]()
        z = self.logits(batch, _keeping(ours, hidden_states)).float()  # (B, n)
        with torch.no_grad():
            taught = self.teacher.logits(batch, _keeping(theirs, self.teacher.model.hidden_states)).float()  # (B, n)
        real, w, t = batch.labels != IGNORE, self.weights, self.weights.temperature
        log_s, log_t = (z[real] / t).log_softmax(-1), (taught[real] / t).log_softmax(-1)
        loss = w.soft * t * t * F.kl_div(log_s, log_t, reduction="sum", log_target=True)
        loss = loss + w.hard * F.cross_entropy(
            z[real], batch.labels[real], reduction="sum", label_smoothing=self.smoothing
        )
        if w.cosine:
            loss = loss + w.cosine * cosine_distance(ours[0][real, 0], theirs[0][real, 0])
        (loss * scale).backward()
        return loss.detach()

    def against_teacher(self, batches: Callable[[], Iterable[Batch]]) -> dict[str, Any]:
        """Layers, parameters, tokens a second and numbers of both on the same batches, each measured after a warm-up.

        Tokens a second are of a forward pass with its loss, padding counted.
        """
        found: dict[str, Any] = {}
        seen = sum(batch.input_ids.numel() for batch in batches())
        for name, one in (("teacher", self.teacher), ("student", ClassLoss(self.model, self.precision))):
            found[name] = {"layers": one.model.config.n_layers, "parameters": one.model.num_parameters()}
            if not seen:
                continue
            one.evaluate([next(iter(batches()))], lambda: False)
            measured = one.evaluate(batches(), lambda: False)
            assert measured is not None  # nothing stops it
            found[name]["tokens_per_second"] = round(seen / max(measured["seconds"], 1e-9), 1)
            found[name] |= {key: measured[key] for key in ("loss", "accuracy", "macro_f1")}
        return found


def _keeping(kept: list[Tensor], hidden_states: HiddenStates) -> HiddenStates:
    """The same, which also puts what it gives, (B, 1, C), into `kept`."""

    def keeps(**inputs: Any) -> Tensor:
        kept.append(hidden_states(**inputs))
        return kept[-1]

    return keeps
