from __future__ import annotations

import random
from pathlib import Path

from groundup.tokenizers.byte import ByteTokenizer
from groundup.tokenizers.load import load_tokenizer


def test_ids_are_the_bytes_of_utf8() -> None:
    text = "Grüße, 世界 😀\n\x00"
    assert ByteTokenizer().encode(text) == list(text.encode("utf-8"))
    assert [a.tolist() for a in ByteTokenizer().encode_arrays([text, ""])] == [list(text.encode("utf-8")), []]


def test_every_text_comes_back() -> None:
    rng = random.Random(1)
    tokenizer = ByteTokenizer()
    for _ in range(200):
        codes = (
            rng.choice([rng.randrange(128), rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)]) for _ in "x" * 9
        )
        text = "".join(map(chr, codes))
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_lone_surrogate_becomes_the_replacement_character() -> None:
    tokenizer = ByteTokenizer()
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"


def test_end_of_text_is_no_byte_and_decodes_to_nothing() -> None:
    tokenizer = ByteTokenizer()
    assert tokenizer.eos_id == 256 == tokenizer.vocab_size - 1
    assert tokenizer.decode([104, 105, 256]) == "hi"
    assert tokenizer.decode([0xFF, 104]) == "\ufffdh"


def test_saved_and_loaded(tmp_path: Path) -> None:
    ByteTokenizer().save(tmp_path)
    assert load_tokenizer(tmp_path).fingerprint == ByteTokenizer().fingerprint
