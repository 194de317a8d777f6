from __future__ import annotations

from pathlib import Path

import pytest
from groundup.errors import UserError
from groundup.tokenizers.char import CharTokenizer, build_char_tokenizer
from groundup.tokenizers.load import load_tokenizer


def test_ids_number_the_sorted_characters_of_the_corpus() -> None:
    tokenizer = build_char_tokenizer(["banana\n", "café 😀"])
    characters = sorted(set("banana\ncafé 😀"))
    assert tokenizer.vocab_size == len(characters)
    assert tokenizer.encode("a 😀é") == [characters.index(c) for c in "a 😀é"]
    assert tokenizer.decode(tokenizer.encode("facé 😀".replace("f", "b"))) == "bacé 😀"


def test_shakespeare_has_nanogpt_s_65_characters(shared: Path) -> None:
    text = (shared / "text/tinyshakespeare/input.txt").read_text(encoding="utf-8")
    tokenizer = build_char_tokenizer([text])
    table = {character: i for i, character in enumerate(sorted(set(text)))}
    assert tokenizer.vocab_size == 65
    assert tokenizer.encode(text) == [table[character] for character in text]


@pytest.mark.parametrize("text", ["abcd", "abcé", "abc😀"])
def test_a_character_it_lacks_is_named(text: str) -> None:
    with pytest.raises(UserError, match=rf"'{text[-1]}' \(U\+{ord(text[-1]):04X}\).*among the 4"):
        CharTokenizer("abcz").encode(text)


def test_a_smaller_code_point_it_lacks_is_named_too() -> None:
    with pytest.raises(UserError, match="U\\+0041"):
        CharTokenizer("abcz").encode("abAc")


def test_no_text_gives_no_vocabulary() -> None:
    with pytest.raises(UserError, match="at least one character"):
        build_char_tokenizer(["", ""])


def test_mask_is_the_underscore_where_there_is_one() -> None:
    assert CharTokenizer("abc").mask_id is None
    assert CharTokenizer("_abc").mask_id == 0


def test_saved_and_loaded(tmp_path: Path) -> None:
    tokenizer = CharTokenizer('aé😀"\n')
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.encode("é\n😀") == tokenizer.encode("é\n😀")
    assert again.fingerprint == tokenizer.fingerprint != CharTokenizer("aé😀").fingerprint
