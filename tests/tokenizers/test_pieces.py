from __future__ import annotations

from pathlib import Path

import pytest
from groundup.tokenizers.byte import ByteTokenizer
from groundup.tokenizers.load import load_tokenizer
from groundup.tokenizers.pieces import encode_pieces, encode_texts

NAMES = ("gpt2", "pythia", "llama2", "bert-base-uncased", "roberta", "opt")


@pytest.mark.parametrize("name", NAMES)
def test_pieces_begin_alike_and_say_the_same(shared: Path, texts: list[str], name: str) -> None:
    """What is encoded of a piece depends on what is before it, never on what follows."""
    tokenizer = load_tokenizer(shared / "tokenizers" / name)
    cut = [[text[: len(text) // 3], text[len(text) // 3 : len(text) // 2], text[len(text) // 2 :]] for text in texts]
    whole = encode_pieces(tokenizer, cut)
    for keep in (1, 2):
        assert encode_pieces(tokenizer, [pieces[:keep] for pieces in cut]) == [ids[:keep] for ids in whole]
    joined = [[i for ids in pieces for i in ids] for pieces in whole]
    at_words = encode_pieces(tokenizer, [["### Response:\n", "They walked."], ["a b", "\nc"]])
    assert [[i for ids in pieces for i in ids] for pieces in at_words] == encode_texts(
        tokenizer, ["### Response:\nThey walked.", "a b\nc"]
    )
    if name == "gpt2":  # whose ids hold all of a text as it is
        assert [tokenizer.decode(ids) for ids in joined] == [tokenizer.decode(tokenizer.encode(text)) for text in texts]


def test_a_sentencepiece_of_an_answer_has_no_space_before_it(shared: Path) -> None:
    tokenizer = load_tokenizer(shared / "tokenizers/llama2")
    ((prompt, answer, more),) = encode_pieces(tokenizer, [["Say:\n", "Hello there", "</s>\nnext"]])
    assert prompt + answer + more == tokenizer.encode("Say:\nHello there</s>\nnext")
    assert answer == tokenizer.encode("\nHello there")[len(tokenizer.encode("\n")) :]
    assert answer != tokenizer.encode("Hello there")


def test_a_blank_line_before_an_answer_is_one_token_as_it_is_asked(shared: Path) -> None:
    tokenizer = load_tokenizer(shared / "tokenizers/gpt2")
    ((prompt, answer),) = encode_pieces(tokenizer, [["Say:\n\n", "Hello"]])
    assert prompt == tokenizer.encode("Say:\n\n")
    assert answer == tokenizer.encode("Hello")
    assert prompt + answer != tokenizer.encode("Say:\n\nHello")  # where it is two
    ((prompt, answer),) = encode_pieces(tokenizer, [["Say: ", "Hello"]])
    assert (prompt, answer) == (tokenizer.encode("Say: "), tokenizer.encode("Hello"))


def test_control_tokens_are_found_for_tokenizers_that_do_not() -> None:
    tokenizer = ByteTokenizer()
    assert encode_texts(tokenizer, ["a<|endoftext|>b<|endoftext|>", ""]) == [[97, 256, 98, 256], []]
    assert encode_pieces(tokenizer, [["a", "b<|endoftext|>", "<|endoftext|>c"], []]) == [
        [[97], [98, 256], [256, 99]],
        [],
    ]
