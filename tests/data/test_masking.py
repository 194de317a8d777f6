from __future__ import annotations

from typing import Any

import pytest
import torch
from groundup.data.masking import mask_for_generator, mask_inputs, mask_tokens
from groundup.data.sampling import IGNORE, Batch
from groundup.errors import UserError

MASK = 999


def packed(B: int = 6, T: int = 40, seed: int = 0) -> Batch:
    """Random tokens; a document ends after every seventh token, so its successor is nobody's target."""
    tokens = torch.randint(0, 500, (B, T + 1), generator=torch.Generator().manual_seed(seed))
    labels = tokens[:, 1:].clone()
    labels[:, 6::7] = IGNORE
    return Batch(tokens[:, :-1].contiguous(), labels, torch.arange(T).div(7, rounding_mode="floor").expand(B, T))


def test_position_before_a_masked_token_predicts_it_and_nothing_else_is_a_target() -> None:
    batch = packed()
    masked = mask_inputs(batch, 0.3, MASK, seed=1, index=2)
    B, T = batch.input_ids.shape
    n = 0
    for b in range(B):
        for t in range(T):
            hidden = masked.input_ids[b, t] == MASK
            if not hidden:
                assert masked.input_ids[b, t] == batch.input_ids[b, t]
            target = masked.labels[b, t].item()
            if t + 1 < T and masked.input_ids[b, t + 1] == MASK:
                assert target == batch.input_ids[b, t + 1] == batch.labels[b, t]
                n += 1
            else:
                assert target == IGNORE
    assert n == int((masked.input_ids == MASK).sum()) > 30
    assert masked.segment_ids is batch.segment_ids


def test_a_token_that_nothing_predicts_stays() -> None:
    batch = packed(B=64)
    masked = mask_inputs(batch, 0.9, MASK, seed=1, index=2)
    assert not (masked.input_ids[:, 0] == MASK).any()
    assert not (masked.input_ids[:, 7::7] == MASK).any()  # the first of each document


@pytest.mark.parametrize("ratio", [0.15, 0.5])
def test_the_share_that_is_masked(ratio: float) -> None:
    batch = packed(B=200, T=210)
    masked = mask_inputs(batch, ratio, MASK, seed=3, index=0)
    can = int((batch.labels[:, :-1] != IGNORE).sum())
    share = int((masked.labels != IGNORE).sum()) / can
    assert share == pytest.approx(ratio, abs=4 * (ratio * (1 - ratio) / can) ** 0.5)


def test_a_function_of_seed_and_index() -> None:
    batch = packed()

    def ids(seed: int, index: int) -> list[list[int]]:
        return mask_inputs(batch, 0.3, MASK, seed=seed, index=index).input_ids.tolist()

    state = torch.random.get_rng_state()
    assert ids(1, 2) == ids(1, 2)
    assert len({str(ids(seed, index)) for seed in (1, 2, -1) for index in (0, 1, 2)}) == 9
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("kind", [mask_inputs, mask_tokens, mask_for_generator])
def test_rows_are_masked_alike_however_batches_are_cut(kind: Any, size: int) -> None:
    """Rows 8 to 15 of an epoch, as one batch of 8 and as several, these no wider than their rows."""
    batch, lengths = packed(B=8), [40, 9, 17, 40, 5, 5, 5, 5]
    for row, length in enumerate(lengths):
        batch.labels[row, length - 1 :] = IGNORE
    given = {"ratio": 0.3, "mask_id": MASK, "seed": 5, "epoch": 2}
    given |= {} if kind is mask_inputs else {"vocab_size": VOCABULARY, "special": SPECIAL}
    whole = kind(batch, index=1, **given)
    assert (whole.labels != IGNORE).any(1).all()  # a target a row
    other = kind(batch, index=1, **given | {"epoch": 3})
    assert not torch.equal(other.labels, whole.labels)
    for start in range(0, 8, size):
        rows, width = slice(start, start + size), max(lengths[start : start + size])
        cut = Batch(batch.input_ids[rows, :width], batch.labels[rows, :width])
        masked = kind(cut, index=(8 + start) // size, **given)
        assert torch.equal(masked.input_ids, whole.input_ids[rows, :width])
        assert torch.equal(masked.labels, whole.labels[rows, :width])


def test_the_batch_itself_is_left_alone() -> None:
    batch, again = packed(), packed()
    mask_inputs(batch, 0.3, MASK, seed=1, index=2)
    assert torch.equal(batch.input_ids, again.input_ids)
    assert torch.equal(batch.labels, again.labels)


def test_there_is_always_a_target_where_there_can_be_one() -> None:
    batch = packed(B=1, T=4)
    for index in range(50):
        assert (mask_inputs(batch, 0.001, MASK, seed=0, index=index).labels != IGNORE).sum() == 1
    padding = Batch(batch.input_ids, torch.full_like(batch.labels, IGNORE))
    assert (mask_inputs(padding, 0.5, MASK, seed=0, index=0).input_ids == padding.input_ids).all()


def test_settings_it_cannot_honour() -> None:
    with pytest.raises(UserError, match=r"this tokenizer has neither one nor a single '_'"):
        mask_inputs(packed(), 0.3, None, seed=0, index=0)
    for ratio in (0.0, 1.0, 15):
        with pytest.raises(UserError, match=r"trainer\.mask_ratio is"):
            mask_inputs(packed(), ratio, MASK, seed=0, index=0)


# --- the token itself is the target: masked language modelling

VOCABULARY = 500
SPECIAL = (0, 1, 2)


def masked_lm(batch: Batch, ratio: float = 0.15, seed: int = 1, index: int = 2) -> Batch:
    return mask_tokens(batch, ratio, MASK, VOCABULARY, SPECIAL, seed=seed, index=index)


def test_a_target_is_the_token_that_stood_there() -> None:
    batch = packed(B=40)
    masked = masked_lm(batch)
    chosen = masked.labels != IGNORE
    assert (masked.labels[chosen] == batch.input_ids[chosen]).all()
    assert (masked.input_ids[~chosen] == batch.input_ids[~chosen]).all()
    assert masked.segment_ids is batch.segment_ids


def test_eight_in_ten_are_masked_one_is_random_and_one_is_left() -> None:
    batch = packed(B=900, T=210)
    masked = masked_lm(batch)
    can = sum(int((batch.input_ids != special).sum()) for special in SPECIAL) - 2 * batch.input_ids.numel()
    chosen = masked.labels != IGNORE
    n = int(chosen.sum())
    assert n / can == pytest.approx(0.15, abs=4 * (0.15 * 0.85 / can) ** 0.5)
    now, was = masked.input_ids[chosen], masked.labels[chosen]
    for share, expected in (
        ((now == MASK).float().mean(), 0.8),
        (((now != MASK) & (now != was)).float().mean(), 0.1 * (1 - 1 / VOCABULARY)),
        ((now == was).float().mean(), 0.1 * (1 + 1 / VOCABULARY)),
    ):
        assert share.item() == pytest.approx(expected, abs=4 * (expected * (1 - expected) / n) ** 0.5)
    random = now[(now != MASK) & (now != was)]
    assert (int(random.min()), int(random.max())) == (0, VOCABULARY - 1)
    assert len(random.unique()) > 0.95 * VOCABULARY


def test_special_tokens_and_padding_are_never_chosen() -> None:
    batch = packed(B=64)
    labels = batch.labels.clone()
    labels[:, 20:] = IGNORE  # what follows position 20, itself the last target, is padding
    inputs = batch.input_ids.clone()
    inputs[:, 5] = SPECIAL[1]
    masked = masked_lm(Batch(inputs, labels, batch.segment_ids), ratio=0.9)
    chosen = masked.labels != IGNORE
    assert not chosen[:, 21:].any()
    assert not chosen[:, 5].any()
    assert chosen[:, :5].any()
    assert chosen[:, 20].any() or (labels[:, 19] == IGNORE).all()


def test_the_last_token_of_a_document_may_be_guessed() -> None:
    """It predicts nothing in the sampler's labels, and is text all the same."""
    masked = masked_lm(packed(B=64), ratio=0.9)
    assert (masked.labels[:, 6::7] != IGNORE).float().mean() > 0.8


def test_masked_lm_is_a_function_of_seed_and_index() -> None:
    batch = packed()

    def ids(seed: int, index: int) -> list[list[int]]:
        return masked_lm(batch, 0.3, seed, index).input_ids.tolist()

    assert ids(1, 2) == ids(1, 2)
    assert len({str(ids(seed, index)) for seed in range(3) for index in range(3)}) == 9
    assert ids(-1, 0) == ids(2**64 - 1, 0)


def test_every_batch_of_text_has_a_target_to_guess() -> None:
    batch = packed(B=1, T=8)
    for index in range(20):
        assert (masked_lm(batch, 0.001, 0, index).labels != IGNORE).sum() == 1
    padding = Batch(batch.input_ids, torch.full_like(batch.labels, IGNORE), batch.segment_ids)
    masked = masked_lm(padding, 0.5)
    assert (masked.input_ids == padding.input_ids).all()
    assert (masked.labels == IGNORE).all()


def test_what_masked_lm_cannot_do() -> None:
    with pytest.raises(UserError, match=r"loss_fn masked_lm .* has none: name another with model\.tokenizer"):
        mask_tokens(packed(), 0.15, None, VOCABULARY, SPECIAL, seed=0, index=0)
    for ratio in (0.0, 1.0):
        with pytest.raises(UserError, match=r"trainer\.mask_ratio is"):
            masked_lm(packed(), ratio)
