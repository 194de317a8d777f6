from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from groundup.data.stream import TokenStream, split_documents
from groundup.data.tokenised import TokenFile


def token_file(lengths: list[int], hashes: list[int] | None = None, seed: int = 0) -> TokenFile:
    """A token file of random ids in memory."""
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = rng.integers(0, 60_000, starts[-1]).astype(np.uint16)
    own = rng.integers(0, 1 << 63, len(lengths)).astype(np.uint64)
    chosen = own if hashes is None else np.array(hashes, dtype=np.uint64)
    about: dict[str, Any] = {}
    return TokenFile(Path(), about, ids, starts, np.array(lengths, dtype=np.int64) * 3, chosen)


def test_chosen_documents_read_as_one() -> None:
    rng = np.random.default_rng(1)
    for seed in range(100):
        lengths = rng.integers(0, 9, rng.integers(1, 12)).tolist()
        tokens = token_file(lengths, seed=seed)
        chosen = np.flatnonzero(rng.random(len(lengths)) < 0.6)
        if not sum(lengths[i] for i in chosen):
            continue
        flat = np.concatenate([tokens.ids[tokens.starts[i] : tokens.starts[i + 1]] for i in chosen]).tolist()
        stream = TokenStream(tokens, rng.permutation(chosen))
        assert stream.n_tokens == len(flat)
        assert stream.n_bytes == sum(lengths[i] * 3 for i in chosen)
        assert stream.bytes_per_token == 3.0
        assert np.diff(stream.starts).tolist() == [lengths[i] for i in chosen]
        assert stream.read(0, len(flat)).tolist() == flat
        length = int(rng.integers(1, len(flat) + 1))
        starts = rng.integers(0, len(flat) - length + 1, 5)
        assert stream.gather(starts, length).tolist() == [flat[s : s + length] for s in starts]
        assert stream.gather(starts, length).dtype == np.int64


def test_all_documents_by_default() -> None:
    tokens = token_file([3, 4, 5])
    assert TokenStream(tokens).read(0, 12).tolist() == tokens.ids.tolist()


def documents_of(stream: TokenStream, tokens: TokenFile) -> list[int]:
    """Which documents a stream holds, by their ids (random, so no two are alike)."""
    held = [stream.read(int(a), int(b)).tolist() for a, b in zip(stream.starts, stream.starts[1:], strict=False)]
    all_ids = [tokens.ids[a:b].tolist() for a, b in zip(tokens.starts, tokens.starts[1:], strict=False)]
    return [all_ids.index(ids) for ids in held]


def test_both_sides_together_are_the_whole_and_share_nothing() -> None:
    tokens = token_file(np.random.default_rng(0).integers(5, 50, 400).tolist())
    train, val = split_documents(tokens, 0.1)
    a, b = documents_of(train, tokens), documents_of(val, tokens)
    assert sorted(a + b) == list(range(400))
    assert a == sorted(a)
    assert 0.1 <= val.n_tokens / tokens.n_tokens < 0.12
    assert (train.name, val.name) == ("training text", "held-out text")


def test_the_split_is_a_draw_of_the_text_and_the_seed_alone() -> None:
    tokens = token_file([20] * 200)
    first = documents_of(split_documents(tokens, 0.1)[1], tokens)
    assert documents_of(split_documents(tokens, 0.1)[1], tokens) == first
    assert documents_of(split_documents(tokens, 0.1, seed=1)[1], tokens) != first
    assert first != list(range(20))
    assert first != list(range(180, 200))
    # Another order of the same texts holds out the same texts.
    order = np.random.default_rng(5).permutation(200)
    moved = TokenFile(Path(), {}, tokens.ids, tokens.starts, tokens.n_bytes_of, tokens.hashes[order])
    assert sorted(order[documents_of(split_documents(moved, 0.1)[1], moved)].tolist()) == first


def test_equal_texts_land_on_one_side() -> None:
    hashes = [i // 4 for i in range(200)]
    tokens = token_file([20] * 200, hashes)
    for seed in range(20):
        train, val = (set(documents_of(side, tokens)) for side in split_documents(tokens, 0.11, seed))
        assert {hashes[i] for i in train}.isdisjoint({hashes[i] for i in val})


@pytest.mark.parametrize(
    ("lengths", "held_out"), [([1000, 10], [1]), ([10, 1000], [0]), ([500, 400, 500], [1]), ([5, 5], [0])]
)
def test_a_large_document_is_never_held_out(lengths: list[int], held_out: list[int]) -> None:
    tokens = token_file(lengths)
    assert documents_of(split_documents(tokens, 0.1)[1], tokens) == held_out


def test_texts_that_are_all_alike_still_leave_some_to_train_on() -> None:
    tokens = token_file([10] * 5, [7] * 5)
    train, val = split_documents(tokens, 0.2)
    assert (train.n_documents, val.n_documents) == (4, 1)
