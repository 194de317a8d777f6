"""Loss on held-out text: nats a token, perplexity, bits a byte."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable

import torch
from tqdm import tqdm

from ..data.sampling import Batch
from ..models.heads import before_cap
from ..models.kernels import uses_kernels
from ..models.model import Model
from .losses import loss_sum
from .precision import Precision


@torch.no_grad()
def heldout_loss(
    model: Model,
    batches: Iterable[Batch],
    precision: Precision,
    *,
    chunk: int,
    bytes_per_token: float | None,
    stop: Callable[[], bool] = lambda: False,
    total: int | None = None,
    title: str | None = None,
) -> dict[str, float] | None:
    """Evaluate without touching weights, gradients or random states.

    Args:
        batches: on the model's device, with labels (B, T).
        chunk: tokens whose logits exist at once.
        bytes_per_token: of the held-out text, for bits per byte, which compares models of different tokenizers.
        stop: asked between batches; True abandons the evaluation.
        total, title: number of batches and name for a progress bar; without a title there is none.

    Returns:
        loss, perplexity, bits_per_byte and bytes (if known), tokens, seconds; None if it was abandoned.
    """
    was_training, started = model.training, time.perf_counter()
    head, softcap = before_cap(model.head)
    fused = uses_kernels(model)
    model.eval()
    nats, count = 0.0, 0
    try:
        for batch in tqdm(batches, title, total, disable=title is None, unit="batch"):
            if stop():
                return None
            with precision.autocast():
                hidden = model.hidden_states(**batch.inputs)  # (B, T, C)
                loss, targets = loss_sum(hidden, batch.labels, head, chunk=chunk, softcap=softcap, fused=fused)
            nats, count = nats + loss.item(), count + targets
    finally:
        model.train(was_training)
    loss = nats / max(1, count)
    result = {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), **by_bytes(loss, count, bytes_per_token)}
    return result | {"tokens": count, "seconds": round(time.perf_counter() - started, 3)}


def by_bytes(loss: float, tokens: int, bytes_per_token: float | None) -> dict[str, float]:
    """bits_per_byte of a loss in nats a token, and how many bytes of text the tokens stand for; {} if not known."""
    if not bytes_per_token:
        return {}
    return {"bits_per_byte": loss / math.log(2) / bytes_per_token, "bytes": round(tokens * bytes_per_token)}
