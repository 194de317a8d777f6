from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from groundup.data.sampling import IGNORE, Batch, Sampler
from groundup.data.stream import TokenStream
from groundup.errors import UserError


def load_neighbour(name: str) -> ModuleType:
    """A test file beside this one, for what it makes."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


token_file = load_neighbour("test_stream").token_file


def stream_of(lengths: list[int], name: str = "training text") -> TokenStream:
    """A stream of documents of those lengths, every other document of the file left out."""
    both = [length for pair in zip(lengths, lengths, strict=True) for length in pair]
    return TokenStream(token_file(both), np.arange(0, len(both), 2), name)


def equal(a: Batch, b: Batch) -> bool:
    pairs = [(a.input_ids, b.input_ids), (a.labels, b.labels)]
    if a.segment_ids is not None and b.segment_ids is not None:
        pairs.append((a.segment_ids, b.segment_ids))
    return all(torch.equal(x, y) for x, y in pairs)


# --- random crops ------------------------------------------------------------------------------------------------


def test_a_crop_is_a_stretch_of_the_text_and_its_labels_are_the_next_tokens() -> None:
    stream = stream_of([40, 3, 90, 17])
    flat = stream.read(0, stream.n_tokens)
    windows = {tuple(flat[i : i + 9].tolist()) for i in range(len(flat) - 8)}
    sampler = Sampler(stream, 5, 8, seed=3)
    seen = set()
    for i in range(200):
        batch = sampler.batch(i)
        assert batch.input_ids.dtype == batch.labels.dtype == torch.int64
        assert batch.input_ids.shape == batch.labels.shape == (5, 8)
        assert batch.segment_ids is None
        assert batch.input_ids.is_contiguous()
        for x, y in zip(batch.input_ids.tolist(), batch.labels.tolist(), strict=True):
            assert x[1:] == y[:-1]
            assert (*x, y[-1]) in windows
            seen.add((*x, y[-1]))
    assert seen == windows  # every place is drawn, the first and the last too


def test_crops_are_spread_evenly() -> None:
    stream = stream_of([2016])
    place = {token: i for i, token in reversed(list(enumerate(stream.read(0, 2016).tolist())))}
    sampler = Sampler(stream, 50, 16, seed=0)
    draws = [place[t] * 10 // 2000 for i in range(400) for t in sampler.batch(i).input_ids[:, 0].tolist()]
    counts = np.array([Counter(draws)[k] for k in range(10)])
    assert len(draws) == 20_000
    assert ((counts - 2000) ** 2 / 2000).sum() < 27.9  # chi-squared, 9 degrees of freedom, p = 0.001
    lag = np.corrcoef(draws[:-1], draws[1:])[0, 1]
    assert abs(lag) < 0.03


def test_seeds_do_not_give_shifts_of_each_other() -> None:
    stream = stream_of([5000])
    first = {
        seed: [Sampler(stream, 1, 8, seed=seed).batch(i).input_ids[0, 0].item() for i in range(200)]
        for seed in range(6)
    }
    for seed in range(1, 6):
        assert len(set(first[0]) & set(first[seed])) < 40  # about 8 by chance


# --- rows of packed documents ------------------------------------------------------------------------------------


def reference_rows(lengths: list[int], flat: list[int], context: int) -> list[tuple[list[int], list[int], list[int]]]:
    """Inputs, labels and segments of every row, one token at a time."""
    document = [i for i, length in enumerate(lengths) for _ in range(length)]
    rows = []
    for start in range(0, len(flat) - 1, context):
        x, y, segments = [], [], []
        for p in range(start, start + context):
            x.append(flat[p] if p < len(flat) else 0)
            has_target = p + 1 < len(flat) and document[p] == document[p + 1]
            y.append(flat[p + 1] if has_target else IGNORE)
            segments.append((document[p] if p < len(flat) else len(lengths)) - document[start])
        rows.append((x, y, segments))
    return rows


@pytest.mark.parametrize("context", [1, 3, 8, 50])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_rows_against_the_slow_reference(context: int, batch_size: int) -> None:
    lengths = [5, 1, 13, 8, 2, 2, 30, 1]
    stream = stream_of(lengths)
    rows = reference_rows(lengths, stream.read(0, stream.n_tokens).tolist(), context)
    sampler = Sampler(stream, batch_size, context, mode="sequential")
    assert sampler.batches_per_epoch == -(-len(rows) // batch_size)
    got = []
    for i in range(sampler.batches_per_epoch):
        batch = sampler.batch(i)
        assert batch.segment_ids is not None
        assert batch.input_ids.shape == (batch_size, context)
        parts = (batch.input_ids.tolist(), batch.labels.tolist(), batch.segment_ids.tolist())
        got += list(zip(*parts, strict=True))
    assert got[: len(rows)] == rows
    for x, y, _ in got[len(rows) :]:  # what fills up the last batch teaches nothing
        assert set(y) == {IGNORE}
        assert set(x) == {0}


def test_an_epoch_predicts_each_token_once() -> None:
    lengths = [5, 1, 13, 8, 2, 2, 30, 1] * 9
    stream = stream_of(lengths)
    sampler = Sampler(stream, 4, 7, seed=1, mode="packed")
    n = sampler.batches_per_epoch
    for epoch in range(3):
        batches = [sampler.batch(epoch * n + i) for i in range(n)]
        targets = Counter(t for b in batches for t in b.labels.flatten().tolist() if t != IGNORE)
        flat, firsts = stream.read(0, stream.n_tokens), set(stream.starts[:-1].tolist())
        assert targets == Counter(int(t) for i, t in enumerate(flat) if i not in firsts)


def test_each_epoch_is_another_order_of_the_same_rows() -> None:
    stream = stream_of([30, 50, 41])
    sampler = Sampler(stream, 1, 4, seed=1, mode="packed")
    n = sampler.batches_per_epoch
    epochs = [[tuple(sampler.batch(e * n + i).input_ids[0].tolist()) for i in range(n)] for e in range(3)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert epochs[0] != [
        tuple(Sampler(stream, 1, 4, mode="sequential").batch(i).input_ids[0].tolist()) for i in range(n)
    ]


# --- what holds for every mode -----------------------------------------------------------------------------------

MODES = ("standard", "packed", "sequential")


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_is_a_function_of_its_number(mode: str) -> None:
    """Any order of asking, and a new sampler, give the same batches: a run resumes without replay."""
    stream = stream_of([30, 50, 41, 8])
    sampler = Sampler(stream, 3, 5, seed=7, mode=mode)
    n = 3 * sampler.batches_per_epoch
    in_order = [sampler.batch(i) for i in range(n)]
    for i in np.random.default_rng(0).permutation(n).tolist():
        assert equal(sampler.batch(i), in_order[i])
        assert equal(Sampler(stream, 3, 5, seed=7, mode=mode).batch(i), in_order[i])
    if mode != "sequential":
        others = [Sampler(stream, 3, 5, seed=8, mode=mode).batch(i) for i in range(n)]
        assert not all(equal(a, b) for a, b in zip(in_order, others, strict=True))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_out_what_one_would_read(mode: str, world: int) -> None:
    """Rank by rank, the rows of batch i are those of a single process with a batch `world` times as large."""
    stream = stream_of([30, 50, 41, 8])
    one = Sampler(stream, 2 * world, 5, seed=7, mode=mode)
    ranks = [Sampler(stream, 2, 5, seed=7, mode=mode, rank=rank, world=world) for rank in range(world)]
    assert {rank.batches_per_epoch for rank in ranks} == {one.batches_per_epoch}
    for i in range(2 * one.batches_per_epoch):
        parts = [rank.batch(i) for rank in ranks]
        whole = one.batch(i)
        assert torch.equal(torch.cat([part.input_ids for part in parts]), whole.input_ids)
        assert torch.equal(torch.cat([part.labels for part in parts]), whole.labels)


def test_positions_for_a_message() -> None:
    sampler = Sampler(stream_of([30, 51]), 2, 5, seed=7, mode="packed")
    assert sampler.batches_per_epoch == 8
    assert sampler.position(19) == "batch 19: epoch 2, 4 of 8, seed 7"


def test_to_a_device() -> None:
    batch = Sampler(stream_of([30]), 2, 5, mode="packed").batch(0)
    there = batch.to("meta")
    assert batch.to("cpu") is batch
    assert there.input_ids.device.type == there.labels.device.type == "meta"
    assert there.segment_ids is not None
    assert there.segment_ids.device.type == "meta"


@pytest.mark.parametrize("mode", MODES)
def test_text_shorter_than_the_context(mode: str) -> None:
    assert Sampler(stream_of([5, 4]), 1, 8, mode=mode).batch(0).input_ids.shape == (1, 8)
    with pytest.raises(UserError, match=r"the training text has 8 tokens, and a context of 8 needs 9: give more text"):
        Sampler(stream_of([5, 3]), 1, 8, mode=mode)


def test_short_held_out_text_is_padded() -> None:
    stream = stream_of([3, 2], "held-out text")
    batch = Sampler(stream, 1, 8, mode="packed").batch(0)
    assert (batch.labels != IGNORE).tolist() == [[True, True, False, True, False, False, False, False]]
    with pytest.raises(UserError, match=r"the held-out text has 5 tokens, and a context of 8 needs 9"):
        Sampler(stream, 1, 8, mode="standard")
    with pytest.raises(UserError, match=r"the held-out text has 1 tokens"):
        Sampler(stream_of([1], "held-out text"), 1, 8, mode="packed")


def test_settings_it_cannot_honour() -> None:
    with pytest.raises(UserError, match=r"trainer\.datasampling is 'pack'\. Did you mean 'packed'\?"):
        Sampler(stream_of([30]), 1, 8, mode="pack")
    with pytest.raises(UserError, match="ranks count from 0"):
        Sampler(stream_of([30]), 1, 8, rank=2, world=2)


# --- rows that overlap -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["packed", "sequential"])
@pytest.mark.parametrize(("lengths", "stride"), [([47], 3), ([20, 9, 1, 30], 3), ([20, 9, 1, 30], 8), ([61], 1)])
def test_with_a_stride_every_token_is_a_target_once_with_enough_before_it(
    mode: str, lengths: list[int], stride: int
) -> None:
    """Rows begin `stride` apart; a target sees T - stride tokens or more, or all of its document."""
    stream, T = stream_of(lengths), 8
    flat = stream.read(0, stream.n_tokens).tolist()
    document = np.searchsorted(stream.starts, np.arange(stream.n_tokens), side="right")
    # Told apart by value: a row's place is found by its tokens.
    assert len({tuple(flat[i : i + T]) for i in range(len(flat) - T)}) == len(flat) - T
    sampler = Sampler(stream, 2, T, seed=5, mode=mode, stride=stride)
    seen: Counter[int] = Counter()
    for i in range(sampler.batches_per_epoch):
        batch = sampler.batch(i)
        assert batch.segment_ids is not None
        for row, labels, segments in zip(
            batch.input_ids.tolist(), batch.labels.tolist(), batch.segment_ids.tolist(), strict=True
        ):
            if all(label == IGNORE for label in labels):
                continue
            width = max(t for t, label in enumerate(labels) if label != IGNORE) + 1
            places = [p for p in range(0, len(flat), stride) if flat[p : p + width] == row[:width]]
            assert len(places) == 1
            for t, label in enumerate(labels):
                if label == IGNORE:
                    continue
                target = places[0] + t + 1
                assert label == flat[target]
                assert document[target] == document[target - 1]
                before = sum(segment == segments[t] for segment in segments[: t + 1])
                begins = int(stream.starts[document[target] - 1])
                assert before >= min(T - stride + 1, target - begins) - (places[0] == 0) * T
                seen[target] += 1
    firsts = set(stream.starts[:-1].tolist())
    assert seen == Counter(p for p in range(stream.n_tokens) if p not in firsts)


def test_a_stride_of_the_whole_row_changes_nothing() -> None:
    stream = stream_of([30, 51, 8])
    plain, strided = (Sampler(stream, 3, 5, seed=7, mode="packed", stride=stride) for stride in (None, 5))
    assert plain.batches_per_epoch == strided.batches_per_epoch
    assert all(equal(plain.batch(i), strided.batch(i)) for i in range(2 * plain.batches_per_epoch))


def test_strides_that_cannot_be() -> None:
    for mode, stride in (("standard", 2), ("packed", 9), ("packed", 0)):
        with pytest.raises(UserError, match=f"dataset.stride is {stride}: it is from 1 to the row's length, 8"):
            Sampler(stream_of([30]), 1, 8, mode=mode, stride=stride)
