"""Evaluations that are cut short: by memory that runs out, or by a signal that falls on them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from groundup.trainers.command import main
from groundup.trainers.folder import RunFolder, find_run
from groundup.trainers.measuring import Measuring
from groundup.trainers.metrics import read_jsonl

Tiny = Callable[..., Path]


@pytest.mark.parametrize("at", [5, 12])
def test_best_is_the_same_after_a_signal_during_an_evaluation(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, at: int):
    """The evaluation is made when the run goes on: what it finds to be the best is linked as that, and kept."""
    whole = tiny("whole")
    assert main(["--config", str(whole)]) == 0
    plain = Measuring.numbers

    def numbers(self: Measuring, source: Any, stop: Any, micro_batch: int | None = None) -> dict[str, float] | None:
        if self.objective is not None and step() == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, source, stop, micro_batch)

    part = tiny("part")
    folder = lambda name: RunFolder(find_run("latest", name.with_suffix("")))  # noqa: E731

    def step() -> int:
        rows = read_jsonl(folder(part).metrics / "train.jsonl")
        return rows[-1]["step"] if rows else 0

    monkeypatch.setattr(Measuring, "numbers", numbers)
    assert main(["--config", str(part)]) == 128 + signal.SIGTERM
    monkeypatch.setattr(Measuring, "numbers", plain)
    assert main(["--resume", str(folder(part).root)]) == 0
    links = [(folder(name).weights / "best").resolve().name for name in (whole, part)]
    assert links[0] == links[1]
    rows = [read_jsonl(folder(name).metrics / "heldout.jsonl") for name in (whole, part)]
    losses = [[(row["step"], row["loss"]) for row in some] for some in rows]
    assert losses[0] == losses[1]


def test_an_evaluation_that_takes_long_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch):
    """With its number of batches, where the source knows it."""
    from typing import cast

    import numpy as np
    import torch
    from groundup.data.rows import OneEpoch, Row, RowSampler
    from groundup.trainers import measuring as module

    totals: list[int | None] = []

    def bar(batches: Any, title: str, total: int | None, **options: Any) -> Any:
        totals.append(total)
        return batches

    class Counting:
        def evaluate(self, batches: Any, stop: Any) -> dict[str, float]:
            return {"rows": sum(len(batch.input_ids) for batch in batches)}

    monkeypatch.setattr(module, "tqdm", bar)
    rows = [Row(np.arange(1, 4 + i, dtype=np.int32), i % 2) for i in range(7)]
    epoch = OneEpoch(RowSampler(rows, 3, 16, pad_id=0, mode="sequential"))
    measuring = Measuring(cast(Any, torch.nn.Linear(1, 1)), cast(Any, Counting()))
    assert measuring.numbers(epoch) == measuring.numbers(lambda: epoch()) == {"rows": 7}
    assert totals == [3, None]
