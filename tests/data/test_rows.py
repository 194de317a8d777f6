from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from groundup.data.rows import ROW_MODES, Row, RowSampler, pack_lengths
from groundup.data.sampling import IGNORE, Batch
from groundup.errors import UserError
from groundup.models.config import ModelConfig
from groundup.models.model import build_model

LENGTHS = [5, 3, 9, 1, 7, 7, 2, 16, 4, 6, 3, 11, 8, 5, 2]


def rows_of(lengths: list[int], classes: bool = False) -> list[Row]:
    """Row r holds tokens that only it has; every other one is a target."""
    rows = []
    for r, length in enumerate(lengths):
        ids = np.arange(length, dtype=np.int32) + 100 * (r + 1)
        labels = np.append(ids[1:], IGNORE)
        labels[::2] = IGNORE
        rows.append(Row(ids, r % 3 if classes else labels.astype(np.int32), where=f"made:{r + 1}"))
    return rows


def sampler(**settings) -> RowSampler:
    settings = {"batch_size": 4, "context": 16, "pad_id": 7, "multiple_of": 1} | settings
    return RowSampler(settings.pop("rows", None) or rows_of(LENGTHS), **settings)


def equal(a: Batch, b: Batch) -> bool:
    return a.inputs.keys() == b.inputs.keys() and all(
        torch.equal(x, y) for x, y in zip([*a.inputs.values(), a.labels], [*b.inputs.values(), b.labels], strict=True)
    )


def test_a_batch_holds_its_rows_padded_on_the_right() -> None:
    made = sampler(seed=3)
    rows = made.rows
    for index in range(2 * made.batches_per_epoch):
        batch, members = made.batch(index), made.members(index)
        longest = max(len(rows[r].ids) for m in members for r in m)
        assert batch.input_ids.shape == batch.labels.shape == (4, longest)
        assert batch.input_ids.dtype == batch.labels.dtype == torch.int64
        for b, held in enumerate(members):
            if not held:  # the last batch is filled up with rows without targets
                assert index % made.batches_per_epoch == made.batches_per_epoch - 1
                assert (batch.input_ids[b] == 7).all()
                assert (batch.labels[b] == IGNORE).all()
                assert batch.attention_mask[b].tolist() == [1] + [0] * (longest - 1)
                continue
            (row,) = (rows[r] for r in held)
            length = len(row.ids)
            pad = longest - length
            assert batch.input_ids[b].tolist() == row.ids.tolist() + [7] * pad
            assert batch.labels[b].tolist() == row.labels.tolist() + [IGNORE] * pad
            assert batch.attention_mask[b].tolist() == [1] * length + [0] * pad


@pytest.mark.parametrize("mode", ROW_MODES)
@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize("world", [1, 3])
def test_every_row_is_there_once_an_epoch_over_all_ranks(mode: str, by_length: bool, world: int) -> None:
    ranks = [sampler(mode=mode, by_length=by_length, rank=rank, world=world, batch_size=2) for rank in range(world)]
    n = ranks[0].batches_per_epoch
    orders = []
    for epoch in range(3):
        seen = [r for made in ranks for i in range(n) for m in made.members(epoch * n + i) for r in m]
        assert sorted(seen) == list(range(len(LENGTHS)))
        targets = [x for made in ranks for i in range(n) for x in made.batch(epoch * n + i).labels.flatten().tolist()]
        expected = Counter(int(x) for row in ranks[0].rows for x in row.labels if x != IGNORE)
        assert Counter(x for x in targets if x != IGNORE) == expected
        orders.append(seen)
    assert (orders[0] == orders[1]) == (mode == "sequential")


@pytest.mark.parametrize("mode", ROW_MODES)
def test_a_batch_depends_on_seed_and_number_alone(mode: str) -> None:
    first, second, other = sampler(mode=mode, seed=5), sampler(mode=mode, seed=5), sampler(mode=mode, seed=6)
    n = first.batches_per_epoch
    forwards = [first.batch(i) for i in range(3 * n)]
    for i in reversed(range(3 * n)):  # as after a resume: in any order, from anywhere
        assert equal(second.batch(i), forwards[i])
    same = all(equal(other.batch(i), forwards[i]) for i in range(n))
    assert same == (mode == "sequential")
    assert first.position(n + 1) == second.position(n + 1) == f"batch {n + 1}: epoch 1, 2 of {n}, seed 5"


@pytest.mark.parametrize("mode", ROW_MODES)
def test_a_window_of_eight_single_rows_holds_the_rows_of_one_batch_of_eight(mode: str) -> None:
    rows = rows_of(LENGTHS * 4)
    whole, single = (sampler(rows=rows, mode=mode, seed=2, batch_size=size) for size in (8, 1))
    for index in range(whole.batches_per_epoch - 1):
        wide = [held for held in whole.members(index) if held]
        narrow = [held for i in range(8) for held in single.members(8 * index + i)]
        assert wide == narrow


def test_rows_of_similar_length_share_a_batch() -> None:
    rng = np.random.default_rng(0)
    rows = rows_of(rng.integers(1, 200, 999).tolist())
    padding = {}
    for by_length in (False, True):
        made = sampler(rows=rows, batch_size=8, context=200, by_length=by_length, seed=1)
        batches = [made.batch(i) for i in range(made.batches_per_epoch)]
        padding[by_length] = 1 - sum(int(b.attention_mask.sum()) for b in batches) / sum(
            b.input_ids.numel() for b in batches
        )
        widths = [b.input_ids.shape[1] for b in batches]
        assert widths != sorted(widths)
        assert widths != sorted(widths, reverse=True)
        assert len(made.members(made.batches_per_epoch - 1)[-1]) == 0  # 999 = 124 * 8 + 7: the short one is last
    assert padding[True] < 0.05 < 0.3 < padding[False]


def test_widths_are_rounded_up_but_never_past_the_context() -> None:
    widths = {sampler(multiple_of=12, batch_size=1, mode="sequential").batch(i).input_ids.shape[1] for i in range(15)}
    assert widths == {12, 16}


def test_classes_come_one_a_row_and_the_last_batch_is_shorter() -> None:
    rows = rows_of(LENGTHS, classes=True)
    made = sampler(rows=rows, mode="sequential")
    last = made.batch(made.batches_per_epoch - 1)
    assert last.labels.tolist() == [r % 3 for r in (12, 13, 14)]
    assert last.input_ids.shape == (3, 8)
    third = sampler(rows=rows[:4], mode="sequential", batch_size=2, world=3, rank=2).batch(0)
    assert third.labels.tolist() == [IGNORE]  # nothing was left for this rank
    with pytest.raises(UserError, match="cannot be packed"):
        sampler(rows=rows, mode="packed")


def test_token_types_are_given_where_a_row_has_them() -> None:
    plain, paired = rows_of([3, 5])
    paired = Row(paired.ids, paired.labels, np.array([0, 0, 1, 1, 1]))
    batch = sampler(rows=[plain, paired], batch_size=2, mode="sequential").batch(0)
    assert batch.token_type_ids.tolist() == [[0] * 5, [0, 0, 1, 1, 1]]
    assert sampler().batch(0).token_type_ids is None


# --- packed ------------------------------------------------------------------------------------------------------


def test_packed_rows_are_whole_and_numbered() -> None:
    made = sampler(mode="packed", batch_size=2, seed=4)
    for index in range(made.batches_per_epoch):
        batch = made.batch(index)
        assert batch.attention_mask is None
        for b, held in enumerate(made.members(index)):
            ids = [x for r in held for x in made.rows[r].ids.tolist()]
            segments = [n for n, r in enumerate(held) for _ in made.rows[r].ids]
            pad = batch.input_ids.shape[1] - len(ids)
            assert batch.input_ids[b].tolist() == ids + [7] * pad
            assert batch.segment_ids[b].tolist() == segments + [len(held)] * pad
            assert batch.labels[b].tolist() == [x for r in held for x in made.rows[r].labels.tolist()] + [IGNORE] * pad


def test_packing_wastes_little_and_its_number_of_rows_never_changes() -> None:
    rng = np.random.default_rng(1)
    lengths = np.minimum(rng.geometric(0.01, 3000), 512)
    bins = pack_lengths(lengths, 512)
    ordered = np.sort(lengths)[::-1]
    assert sorted(place for held in bins for place in held) == list(range(3000))
    assert max(ordered[held].sum() for held in bins) <= 512
    assert len(bins) <= 1.01 * lengths.sum() / 512 + 1
    assert len(pack_lengths(rng.permutation(lengths), 512)) == len(bins)
    made = sampler(rows=rows_of(lengths.tolist()), context=512, mode="packed")
    assert made.efficiency == pytest.approx(lengths.sum() / (len(bins) * 512))


@pytest.mark.parametrize(
    "fields",
    [
        {"positions": "rope", "n_kv_heads": 2},
        {"positions": "learned"},
        {"positions": "rope", "window": 4, "layer_pattern": ("local", "global")},
    ],
    ids=["rope", "learned", "windows"],
)
def test_a_packed_row_sees_nothing_of_its_neighbours(fields: dict) -> None:
    """The logits of a row are those it has alone, and do not change when its neighbours do: the canary."""
    config = ModelConfig(vocab_size=2000, d_model=32, n_layers=2, n_heads=4, d_ff=64, max_seq_len=16, **fields)
    model = build_model(config, "causal_lm", seed=0).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.2)
    rows = rows_of([5, 7, 4])
    others = [Row(row.ids + 50, row.labels) if r != 1 else row for r, row in enumerate(rows)]
    logits = []
    for several in (rows, others):
        made = sampler(rows=several, mode="packed", batch_size=1)
        ((held,),) = [made.members(0)]
        start = sum(len(several[r].ids) for r in held[: held.index(1)])
        with torch.no_grad():
            logits.append(model(**made.batch(0).inputs)[0, start : start + 7])
    with torch.no_grad():
        alone = model(torch.from_numpy(rows[1].ids).long()[None])[0]
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=1e-12)
    torch.testing.assert_close(logits[0], alone, rtol=0, atol=1e-10)


def test_a_causal_model_needs_no_mask_over_padding() -> None:
    config = ModelConfig(vocab_size=2000, d_model=32, n_layers=2, n_heads=4, d_ff=64, max_seq_len=16)
    model = build_model(config, "causal_lm", seed=0).double().eval()
    masked, free = (sampler(causal=causal, seed=1).batch(0) for causal in (False, True))
    assert free.attention_mask is None
    real = masked.attention_mask == 1
    with torch.no_grad():
        torch.testing.assert_close(model(**free.inputs)[real], model(**masked.inputs)[real], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"context": 15}, r"made:8: it has 16 tokens, and a row has at most 15: raise trainer.max_seq_length, or"),
        ({"mode": "shuffeld"}, "trainer.datasampling is 'shuffeld'. Did you mean 'shuffled'?"),
        ({"rank": 2, "world": 2}, "rank 2 of 2: ranks count from 0"),
    ],
)
def test_what_cannot_be(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        sampler(**settings)
    with pytest.raises(UserError, match="there are no rows"):
        RowSampler([], 1, 8, pad_id=0)
