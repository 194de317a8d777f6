"""Log-probabilities of chosen tokens at chosen places, without the logits of any other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

CHUNK = {"cpu": 2**23, "cuda": 2**27}
"""Logits that exist at once, by device: 32 MiB of fp32, near a CPU's cache, or 512."""


class Place(NamedTuple):
    """The hidden state at (row, slot) predicts `target`, a token of `item`."""

    row: int
    slot: int
    target: int
    item: int


class Tally:
    """What was found of each item: the sum of its tokens' log-probabilities (nats), whether each was the likeliest."""

    def __init__(self, n: int) -> None:
        self.sums: NDArray[np.float64] = np.zeros(n)
        self.greedy: NDArray[np.bool_] = np.ones(n, dtype=np.bool_)

    def reset(self, items: list[int]) -> None:
        """Forget items whose scoring was broken off."""
        self.sums[items], self.greedy[items] = 0.0, True

    def add(self, head: nn.Module, hidden: Tensor, places: list[Place], vocab_size: int) -> None:
        """Score `places` of hidden (B, T, C). The head is applied there alone, to each place once."""
        if not places:
            return
        row, slot, target, item = (np.array(column) for column in zip(*places, strict=True))
        at, which = np.unique(row * hidden.shape[1] + slot, return_inverse=True)
        states = hidden.flatten(0, 1)[torch.from_numpy(at).to(hidden.device)]  # (N, C)
        order = np.argsort(which, kind="stable")
        which, target, item = which[order], target[order], item[order]
        chunk = max(1, CHUNK.get(hidden.device.type, CHUNK["cpu"]) // vocab_size)
        for start in range(0, len(at), chunk):
            inside = slice(*np.searchsorted(which, (start, start + chunk)))
            found, best = _log_probs(
                head(states[start : start + chunk]),
                torch.from_numpy(which[inside] - start).to(hidden.device),
                torch.from_numpy(target[inside]).to(hidden.device),
            )
            np.add.at(self.sums, item[inside], found)
            np.logical_and.at(self.greedy, item[inside], best)


def _log_probs(logits: Tensor, rows: Tensor, targets: Tensor) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """logits (N, V), rows and targets (n,) -> log-probabilities (n,), and whether no token is likelier (n,)"""
    logits = logits.float()
    best = logits.amax(-1, keepdim=True)  # (N, 1)
    chosen = logits[rows, targets]  # (n,)
    total = logits.sub_(best).exp_().sum(-1)  # (N,), in place: nobody else has them
    best = best[:, 0][rows]  # (n,)
    return (chosen - best - total[rows].log()).double().cpu().numpy(), (chosen >= best).cpu().numpy()
