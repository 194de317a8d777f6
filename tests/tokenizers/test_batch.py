from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from groundup.errors import UserError
from groundup.tokenizers.batch import cut, longest_first, pad
from groundup.tokenizers.load import load_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers


def test_the_longer_gives_way_first() -> None:
    """As `tokenizers` cuts pairs, for all small lengths."""
    inner = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    for first, second, room in itertools.product(range(9), range(9), range(1, 17)):
        inner.enable_truncation(room)
        types = inner.encode("a " * first, "a " * second).type_ids
        kept = longest_first(first, second, room)
        assert (min(first, kept[0]), min(second, kept[1])) == (types.count(0), types.count(1)), (first, second, room)


def test_cut() -> None:
    assert [cut([1, 2, 3], n, "right") for n in (0, 2, 3, 4)] == [[], [1, 2], [1, 2, 3], [1, 2, 3]]
    assert [cut([1, 2, 3], n, "left") for n in (0, 2, 3, 4)] == [[], [2, 3], [1, 2, 3], [1, 2, 3]]


def test_pad() -> None:
    rows = [([5, 6, 7], [0, 0, 1]), ([8], [0]), ([], [])]
    right = pad(rows, 9, "right", 4, types=True)
    assert right.input_ids.tolist() == [[5, 6, 7, 9], [8, 9, 9, 9], [9, 9, 9, 9]]
    assert right.attention_mask.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert right.token_type_ids is not None
    assert right.token_type_ids.tolist() == [[0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    left = pad(rows, 9, "left", 1, types=False)
    assert left.input_ids.tolist() == [[5, 6, 7], [9, 9, 8], [9, 9, 9]]
    assert left.attention_mask.tolist() == [[1, 1, 1], [0, 0, 1], [0, 0, 0]]
    assert left.token_type_ids is None
    assert {array.dtype for array in (left.input_ids, left.attention_mask)} == {np.dtype(np.int64)}
    assert pad([], 0, "right", 1, types=True).input_ids.shape == (0, 0)


def test_tokenizers_without_a_template() -> None:
    """A pair is one text after the other; what fills a row is the end of text, and the mask says that it is none."""
    tokenizer = load_tokenizer("byte")
    found = tokenizer.batch(["abc", "d"], ["ef", "ghijk"], max_length=4)
    assert found.input_ids.tolist() == [list(b"abef"), list(b"dghi")]
    assert found.token_type_ids is None
    found = tokenizer.batch(["abc", "d"], max_length=2, truncation="left", padding="left")
    assert found.input_ids.tolist() == [list(b"bc"), [256, ord("d")]]
    assert found.attention_mask.tolist() == [[1, 1], [0, 1]]


def test_what_cannot_be_a_batch(shared: Path) -> None:
    tokenizer = load_tokenizer(shared / "tokenizers/bert-base-uncased")
    with pytest.raises(UserError, match="one text was given: put it in a list"):
        tokenizer.batch("a text")
    with pytest.raises(UserError, match="2 texts, 1 pairs"):
        tokenizer.batch(["a", "b"], ["c"])
    with pytest.raises(UserError, match=r"max_length is 2, and the tokenizer bert-base-uncased adds 2 .*: set it to 3"):
        tokenizer.batch(["a"], max_length=2)
    with pytest.raises(UserError, match="set it to 4 or more"):
        tokenizer.batch(["a"], ["b"], max_length=3)
    assert tokenizer.batch(["a b"], max_length=2, add_special_tokens=False).input_ids.shape == (1, 2)
