"""Whether a tokenizer of ours does what transformers' does with the same files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from groundup.tokenizers.base import Tokenizer
from groundup.tokenizers.load import load_tokenizer
from transformers import AutoTokenizer

NAMED = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
STAND_INS = {"bos": "cls", "eos": "sep"}  # ours, where a tokenizer names no bos or eos


def both(folder: Path) -> tuple[Tokenizer, Any]:
    return load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)


def check_alike(folder: Path, texts: list[str]) -> None:
    """Ids, decoded text, special ids, lengths and sides, batches of texts and of pairs."""
    ours, theirs = both(folder)
    check_ids(ours, theirs, texts)
    check_special(ours, theirs)
    check_batches(ours, theirs, texts)


def check_ids(ours: Tokenizer, theirs: Any, texts: list[str]) -> None:
    for special in (False, True):
        assert (
            ours.encode_batch(texts, add_special_tokens=special) == theirs(texts, add_special_tokens=special).input_ids
        )
    ids = theirs(texts).input_ids
    for skip in (False, True):
        expected = theirs.batch_decode(ids, skip_special_tokens=skip)
        assert [ours.decode(row, skip_special_tokens=skip) for row in ids] == expected


def check_special(ours: Tokenizer, theirs: Any) -> None:
    for name in NAMED:
        expected = getattr(theirs, f"{name}_token_id")
        if expected is None and name in STAND_INS:
            expected = getattr(theirs, f"{STAND_INS[name]}_token_id")
        if expected is None and name == "mask":
            continue  # ours falls back on the underscore
        assert getattr(ours, f"{name}_id") == expected, name
    assert ours.vocab_size == len(theirs)
    assert ours.max_length == (theirs.model_max_length if theirs.model_max_length < 10**20 else None)
    assert (ours.padding_side, ours.truncation_side) == (theirs.padding_side, theirs.truncation_side)
    assert ours.token_types == ("token_type_ids" in theirs.model_input_names)


def check_batches(ours: Tokenizer, theirs: Any, texts: list[str]) -> None:
    """Texts and pairs of all lengths, cut and filled up on either side."""
    if theirs.pad_token is None:
        theirs.pad_token = theirs.eos_token or theirs.convert_ids_to_tokens(0)
    first, second = texts[:40], texts[40:80]
    for length, truncation, padding, multiple in (
        (None, "right", "right", 1),
        (None, "right", "left", 8),
        (16, "right", "right", 8),
        (17, "left", "left", 1),
        (6, "left", "right", 1),
    ):
        theirs.truncation_side = truncation
        for pairs in (None, second):
            expected = theirs(
                first,
                pairs,
                max_length=length,
                truncation=length is not None,
                padding=True,
                padding_side=padding,
                pad_to_multiple_of=multiple if multiple > 1 else None,
                return_token_type_ids=True,
                return_tensors="np",
            )
            found = ours.batch(
                first, pairs, max_length=length, truncation=truncation, padding=padding, multiple_of=multiple
            )
            np.testing.assert_array_equal(found.attention_mask, expected.attention_mask)
            tokens = found.attention_mask == 1 if ours.pad_id is None else np.s_[:]
            np.testing.assert_array_equal(found.input_ids[tokens], expected.input_ids[tokens])
            if ours.token_types:
                np.testing.assert_array_equal(found.token_type_ids, expected.token_type_ids)
            else:
                assert found.token_type_ids is None
