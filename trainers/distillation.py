"""A student learns from a teacher: soft targets, the tokens themselves, the direction of hidden states.

    loss = a_soft t^2 KL(p_teacher || p_student)  with both logits divided by the temperature t   arXiv 1503.02531
         + a_hard cross-entropy(student)
         + a_cosine (1 - cos(h_student, h_teacher))  of the last hidden states                    arXiv 1910.01108

Each is a sum over the positions that have a target, divided by their number in the whole accumulation window. As in
losses.py only a chunk of tokens has its logits at once, the student's and the teacher's. Soft targets are over the
tokenizer's ids: what lies beyond is padding, of which each model has its own number of rows.

    n tokens of a chunk   V rows of the student   W rows of the teacher   R <= V, W ids of the tokenizer
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.sampling import Batch
from ..models.heads import before_cap, cap_logits
from ..models.model import Model
from .heldout import by_bytes, heldout_loss
from .losses import IGNORE, select_targets
from .objectives import HiddenStates
from .precision import Precision

_BLOCK_BYTES = {"cpu": 1 * 2**20}  # of fp32 logits reduced together: on a CPU what its cache holds
_BLOCK = 64 * 2**20


@dataclass(frozen=True)
class Weights:
    """How much each part counts, and how far distributions are softened."""

    soft: float = 5.0
    hard: float = 2.0
    cosine: float = 1.0
    temperature: float = 2.0


def soft_and_hard_(
    logits: Tensor,
    taught: Tensor,
    labels: Tensor,
    weights: Weights,
    rows: int,
    scale: float | None,
    *,
    smoothing: float = 0.0,
    softcap: float | None = None,
) -> Tensor:
    """Sums over n of (t^2 KL, cross-entropy), with `logits` overwritten by scale x the gradient of their weighted sum.

    Statistics and scaling are in fp32, as in losses.cross_entropy_.

    Args:
        logits: (n, V), consumed; before the cap if there is a `softcap`.
        taught: (n, W), the teacher's, after its own cap.
        labels: (n,), each in 0..V-1.
        rows: R, the ids that both distributions are over.
        scale: None leaves the logits as they are.
        smoothing: of the hard loss.

    Returns:
        (2,) in fp32.
    """
    V, t = logits.shape[1], weights.temperature
    block = max(1, _BLOCK_BYTES.get(logits.device.type, _BLOCK) // (4 * V))
    sums = torch.zeros(2, device=logits.device)
    for start in range(0, len(logits), block):
        part, target = logits[start : start + block], labels[start : start + block, None]  # (m, V), (m, 1)
        z = cap_logits(part.float(), softcap)  # (m, V)
        log_p = z.log_softmax(-1)  # (m, V)
        log_s = (z[:, :rows] / t).log_softmax(-1)  # (m, R)
        log_t = (taught[start : start + block, :rows].float() / t).log_softmax(-1)  # (m, R)
        p_t = log_t.exp()
        sums[0] += t * t * (p_t * (log_t - log_s)).sum()
        sums[1] -= (1 - smoothing) * log_p.gather(-1, target).sum() + smoothing / V * log_p.sum()
        if scale is None:
            continue
        gradient = log_p.exp_().sub_(smoothing / V)  # p - target distribution
        gradient.scatter_add_(-1, target, torch.full_like(target, smoothing - 1, dtype=torch.float32))
        gradient.mul_(weights.hard)
        gradient[:, :rows].add_(log_s.exp_().sub_(p_t), alpha=weights.soft * t)
        if softcap is not None:
            gradient.mul_(z.div_(softcap).square_().neg_().add_(1))
        part.copy_(gradient.mul_(scale))
    return sums


def cosine_distance(hidden: Tensor, taught: Tensor) -> Tensor:
    """The sum over n of 1 - cos: (n, C), (n, C) -> a scalar in fp32"""
    return (1 - F.cosine_similarity(hidden.float(), taught.float(), dim=-1)).sum()


@dataclass
class DistillationLoss:
    """The objective of a student; see the top of this file. The teacher is in evaluation mode and does not change."""

    model: Model
    teacher: Model
    precision: Precision
    chunk: int
    rows: int  # R, the tokenizer's ids
    weights: Weights = Weights()
    smoothing: float = 0.0
    bytes_per_token: float | None = None

    def begin(self, window: Sequence[Batch]) -> None:
        pass

    def targets(self, batch: Batch) -> int:
        return int((batch.labels != IGNORE).sum())

    def backward(self, batch: Batch, hidden_states: HiddenStates, scale: float) -> Tensor:
        with self.precision.autocast():
            hidden = hidden_states(**batch.inputs)  # (B, T, C)
        states, labels = select_targets(hidden, batch.labels)  # (N, C), (N,)
        taught = self._taught(batch)  # (N, C of the teacher)
        leaf = states.detach().requires_grad_()
        total = torch.zeros((), device=hidden.device)
        for some in self._chunks(len(labels)):
            with self.precision.autocast():
                logits = self._student(leaf[some])  # (n, V)
            gradient = logits.detach()
            total += self._weighted(self._sums(gradient, taught[some], labels[some], scale, self.smoothing))
            logits.backward(gradient)
        if self.weights.cosine and len(labels):
            distance = cosine_distance(leaf, taught)
            (distance * (self.weights.cosine * scale)).backward()
            total += self.weights.cosine * distance.detach()
        if leaf.grad is not None and states.requires_grad:  # not where the head alone trains
            states.backward(leaf.grad)
        return total

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch], stop: Callable[[], bool]) -> dict[str, float] | None:
        """The student's loss, perplexity and bits a byte as of any model; soft_loss and cosine_loss beside it."""
        was_training, started = self.model.training, time.perf_counter()
        sums, count = torch.zeros(3, dtype=torch.float64), 0
        self.model.eval()
        try:
            for batch in batches:
                if stop():
                    return None
                with self.precision.autocast():
                    states, labels = select_targets(self.model.hidden_states(**batch.inputs), batch.labels)
                taught = self._taught(batch)
                for some in self._chunks(len(labels)):
                    with self.precision.autocast():
                        logits = self._student(states[some])
                    sums[:2] += self._sums(logits, taught[some], labels[some], None, 0.0).double().cpu()
                if self.weights.cosine:
                    sums[2] += cosine_distance(states, taught).double().cpu()
                count += len(labels)
        finally:
            self.model.train(was_training)
        soft, loss, cosine = (sums / max(1, count)).tolist()
        result = {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), "soft_loss": soft}
        if self.weights.cosine:
            result["cosine_loss"] = cosine
        result |= by_bytes(loss, count, self.bytes_per_token)
        return result | {"tokens": count, "seconds": round(time.perf_counter() - started, 3)}

    def describe(self, result: dict[str, float]) -> str:
        cosine = f", 1 - cos {result['cosine_loss']:.4f}" if "cosine_loss" in result else ""
        return (
            f"held-out loss {result['loss']:.4f}, perplexity {result['perplexity']:,.2f}, from the teacher "
            f"{result['soft_loss']:.4f}{cosine}"
        )

    # --- parts ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _taught(self, batch: Batch) -> Tensor:
        """The teacher's hidden states where there is a target: (N, C)"""
        with self.precision.autocast():
            return select_targets(self.teacher.hidden_states(**batch.inputs), batch.labels)[0]

    def _student(self, states: Tensor) -> Tensor:
        """(n, C) -> (n, V), before the cap"""
        return before_cap(self.model.head)[0](states)

    @torch.no_grad()
    def _sums(self, logits: Tensor, taught: Tensor, labels: Tensor, scale: float | None, smoothing: float) -> Tensor:
        with self.precision.autocast():
            theirs = self.teacher.head(taught)  # (n, W)
        softcap = before_cap(self.model.head)[1]
        return soft_and_hard_(
            logits, theirs, labels, self.weights, self.rows, scale, smoothing=smoothing, softcap=softcap
        )

    def _weighted(self, sums: Tensor) -> Tensor:
        return self.weights.soft * sums[0] + self.weights.hard * sums[1]

    def _chunks(self, count: int) -> Iterator[slice]:
        for start in range(0, count, self.chunk):
            yield slice(start, start + self.chunk)

    # --- what a run says at its end ------------------------------------------------------------------------------

    def against_teacher(self, batches: Callable[[], Iterable[Batch]]) -> dict[str, Any]:
        """Layers, parameters, tokens a second and loss of both on the same batches, each measured after a warm-up.

        Tokens a second are of a forward pass with its loss, all positions counted.
        """
        found: dict[str, Any] = {}
        seen = sum(batch.input_ids.numel() for batch in batches())
        for name, model in (("teacher", self.teacher), ("student", self.model)):
            found[name] = {"layers": model.config.n_layers, "parameters": model.num_parameters()}
            if not seen:
                continue
            first = iter(batches())
            self._measure(model, [next(first)])
            measured = self._measure(model, batches())
            found[name] |= {
                "tokens_per_second": round(seen / max(measured["seconds"], 1e-9), 1),
                **{key: measured[key] for key in ("loss", "perplexity", "bits_per_byte") if key in measured},
            }
        return found

    def _measure(self, model: Model, batches: Iterable[Batch]) -> dict[str, float]:
        result = heldout_loss(model, batches, self.precision, chunk=self.chunk, bytes_per_token=self.bytes_per_token)
        assert result is not None  # nothing stops it
        return result


def comparison(found: dict[str, Any]) -> str:
    """What against_teacher found as a table for a terminal."""
    last = "accuracy" if "accuracy" in found["student"] else "perplexity"
    rows: list[tuple[str, ...]] = [("", "layers", "parameters", "tokens/s", "held-out loss", last)]
    for name in ("teacher", "student"):
        one = found[name]
        measured = ["-"] * 3
        if "loss" in one:
            shown = f"{one[last]:.4f}" if last == "accuracy" else f"{one[last]:,.2f}"
            measured = [f"{one['tokens_per_second']:,.0f}", f"{one['loss']:.4f}", shown]
        rows.append((name, str(one["layers"]), f"{one['parameters']:,}", *measured))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
