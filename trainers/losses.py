"""The loss over a large vocabulary, without ever holding the logits of the whole batch.

A language-model loss is a sum over independent positions, so it can be taken a chunk of tokens at a time: logits
of the chunk, its loss, the gradient of its logits, and straight back through the head. The trunk then receives one
gradient for its hidden states. For 8,192 tokens and a vocabulary of 128k the logits alone would be 4 GB in fp32, and
their gradient as much again.

    B batch   T time   C d_model   V vocabulary   N tokens that have a target
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..models.device import takes_kernels

IGNORE = -100  # label of a position without target

_CHUNK_BYTES = 256 * 2**20  # of logits at once; each chunk adds to the head's whole gradient, so small ones cost time
_CACHE_BYTES = 1 * 2**20  # rows reduced together stay in a CPU's cache: one pass over memory instead of five


def chunk_tokens(vocab_size: int, dtype: torch.dtype, setting: int | None = None) -> int:
    """How many tokens' logits exist at once: `setting` if given (0 means all), else what fits a fixed memory."""
    if setting == 0:
        return 2**62
    return setting or max(1, _CHUNK_BYTES // (vocab_size * dtype.itemsize))


def cross_entropy_(
    logits: Tensor,
    labels: Tensor,
    scale: float | None,
    smoothing: float = 0.0,
    softcap: float | None = None,
    fused: bool = False,
) -> Tensor:
    """Sum over rows of -(1 - s) log p[label] - s mean(log p), with `logits` overwritten by scale x its gradient.

    In place, since logits are the largest tensor of a training step. Statistics are in fp32 whatever the dtype of the
    logits, and so is the scaling: a gradient scaled after it was rounded to fp16 would already have underflowed.

    Args:
        logits: (N, V), consumed.
        labels: (N,), each in 0..V-1.
        scale: factor on the gradient, not on the returned loss; None leaves the logits as they are.
        smoothing: s, the share of the target spread evenly over the vocabulary.
        softcap: c, where p is of c tanh(logits / c); the gradient is that of the logits as they are given.
        fused: on CUDA one kernel does all of this (models/kernels/cross_entropy.py), without a second (N, V).

    Returns:
        The sum, a scalar in fp32.
    """
    if fused and takes_kernels(logits):
        from ..models.kernels import cross_entropy  # with triton

        return cross_entropy.cross_entropy_(logits, labels, scale, smoothing, softcap)
    N, V = logits.shape
    rows = max(1, _CACHE_BYTES // (4 * V)) if logits.device.type == "cpu" else max(1, N)
    total = torch.zeros((), dtype=torch.float32, device=logits.device)
    for start in range(0, N, rows):
        part, target = logits[start : start + rows], labels[start : start + rows, None]  # (n, V), (n, 1)
        capped = part if softcap is None else part.float().div(softcap).tanh_().mul_(softcap)  # (n, V)
        log_p = capped.log_softmax(-1, dtype=torch.float32)  # (n, V)
        total -= (1 - smoothing) * log_p.gather(-1, target).sum()
        if smoothing:
            total -= smoothing / V * log_p.sum()
        if scale is None:
            continue
        gradient = log_p.exp_().sub_(smoothing / V) if smoothing else log_p.exp_()  # p - target distribution
        gradient.scatter_add_(-1, target, torch.full_like(target, smoothing - 1, dtype=torch.float32))
        if softcap is not None:
            gradient.mul_(capped.div_(softcap).square_().neg_().add_(1))
        part.copy_(gradient.mul_(scale))
    return total


def select_targets(hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Drop the positions without target. hidden (B, T, C), labels (B, T) -> (N, C), (N,)"""
    hidden, labels = hidden.flatten(0, 1), labels.flatten()
    kept = (labels != IGNORE).nonzero().squeeze(-1)  # (N,)
    if len(kept) == len(labels):
        return hidden, labels
    return hidden.index_select(0, kept), labels.index_select(0, kept)


def loss_backward(
    hidden: Tensor,
    labels: Tensor,
    head: Callable[[Tensor], Tensor],
    *,
    chunk: int,
    scale: float,
    smoothing: float = 0.0,
    softcap: float | None = None,
    fused: bool = False,
) -> Tensor:
    """Back-propagate scale x the summed loss through head and trunk, a chunk of tokens at a time.

    Args:
        hidden: (B, T, C), the trunk's output with its graph.
        labels: (B, T), IGNORE where there is no target.
        head: (n, C) -> (n, V), before the cap if a `softcap` is given.
        chunk: tokens whose logits exist at once.
        scale: usually 1 / (targets of the whole accumulation window), times the loss scaler's factor.
        smoothing, softcap, fused: see cross_entropy_.

    Returns:
        The unscaled sum of the losses, a scalar in fp32.
    """
    states, targets = select_targets(hidden, labels)  # (N, C), (N,)
    leaf = states.detach().requires_grad_()
    total = torch.zeros((), dtype=torch.float32, device=hidden.device)
    for start in range(0, len(targets), chunk):
        logits = head(leaf[start : start + chunk])  # (n, V)
        gradient = logits.detach()
        total += cross_entropy_(gradient, targets[start : start + chunk], scale, smoothing, softcap, fused)
        logits.backward(gradient)
    if leaf.grad is not None and states.requires_grad:  # not where the head alone trains
        states.backward(leaf.grad)
    return total


@torch.no_grad()
def loss_sum(
    hidden: Tensor,
    labels: Tensor,
    head: Callable[[Tensor], Tensor],
    *,
    chunk: int,
    softcap: float | None = None,
    fused: bool = False,
) -> tuple[Tensor, int]:
    """The summed loss for evaluation and the number of targets. Shapes as in `loss_backward`."""
    states, targets = select_targets(hidden, labels)  # (N, C), (N,)
    total = torch.zeros((), dtype=torch.float32, device=hidden.device)
    for start in range(0, len(targets), chunk):
        logits = head(states[start : start + chunk])  # (n, V)
        total += cross_entropy_(logits, targets[start : start + chunk], None, 0.0, softcap, fused)
    return total, len(targets)
