from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from groundup.data.cut_points import cut, cut_pieces, join_pieces, split_at
from groundup.tokenizers.base import Tokenizer
from groundup.tokenizers.bpe import train_bpe
from groundup.tokenizers.load import load_tokenizer

MAX_CUTS = 1


@pytest.fixture(scope="module")
def text(shared: Path, root: Path) -> str:
    """Prose, plays, instructions, code in one, with odd characters thrown in."""
    wiki = (shared / "text/wikitext-2/wiki.valid.raw").read_text(encoding="utf-8")[:60_000]
    play = (shared / "text/tinyshakespeare/input.txt").read_text(encoding="utf-8")[:20_000]
    rows = json.loads((shared / "instruct/alpaca_data_1k.json").read_text(encoding="utf-8"))[:100]
    code = (root / "data/corpus.py").read_text(encoding="utf-8")
    rng = random.Random(0)
    noise = "".join(
        rng.choices(["ab", "x", " ", "\n", "  ", "'s", "é", "日", "1", "\r\n", "\u0301", "\u00a0", "A"], k=12_000)
    )
    return "\n".join([wiki, play, code, *(row["instruction"] + row["output"] for row in rows), noise])


def whole_and_parts(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[int]]:
    parts = cut(text, MAX_CUTS)
    assert "".join(parts) == text
    assert len(parts) > len(text) / 25
    return tokenizer.encode(text), [i for ids in tokenizer.encode_batch(parts) for i in ids]


@pytest.mark.parametrize("name", ["gpt2", "p50k_base", "cl100k_base", "o200k_base", "byte"])
def test_parts_give_the_ids_of_the_whole(text: str, tiktoken_cache: Path, name: str) -> None:
    whole, parts = whole_and_parts(load_tokenizer(name), text)
    assert parts == whole


@pytest.mark.parametrize("name", ["gpt2", "roberta", "pythia", "bert-base-uncased"])
def test_parts_give_the_ids_of_the_whole_by_tokenizers(text: str, shared: Path, name: str) -> None:
    tokenizer = load_tokenizer(shared / "tokenizers" / name)
    assert tokenizer.splittable
    whole, parts = whole_and_parts(tokenizer, text + "\nthe <mask> of\n<s>the </s>the <|endoftext|>\n[MASK] me")
    assert parts == whole


@pytest.mark.parametrize("simplify", [False, True])
def test_parts_give_the_ids_of_the_whole_by_a_trained_bpe(text: str, simplify: bool) -> None:
    whole, parts = whole_and_parts(train_bpe([text], 2000, simplify=simplify), text)
    assert parts == whole


def test_llama_s_tokenizer_is_not_cut(text: str, shared: Path) -> None:
    """Its ids do depend on where a text begins, so it must say so."""
    tokenizer = load_tokenizer(shared / "tokenizers/llama2")
    assert not tokenizer.splittable
    whole, parts = whole_and_parts(tokenizer, text[:20_000])
    assert parts != whole


def test_sizes() -> None:
    text = "abc def\n" * 1000
    parts = cut(text, 100)
    assert "".join(parts) == text
    assert all(100 <= len(part) <= 108 for part in parts[:-1])
    assert len(parts[-1]) <= 150
    assert cut("X" * 1000, 100) == ["X" * 1000]  # nowhere to cut
    assert cut("", 100) == [""]


def test_pieces_are_cut_however_they_arrive() -> None:
    documents = ["the cat sat on the mat\n" * 40, "", "x", "ends with space " * 30]
    rng = random.Random(0)
    for _ in range(20):
        arriving = []
        for document in documents:
            borders = sorted(rng.choices(range(len(document) + 1), k=5))
            blocks = [document[a:b] for a, b in zip([0, *borders], [*borders, len(document)], strict=True)]
            arriving += [(block, i == len(blocks) - 1) for i, block in enumerate(blocks)]
        pieces = list(cut_pieces(arriving, 50))
        assert [text for text, _ in join_pieces(pieces)] == documents
        assert max(len(text) for text, _ in pieces) < 150
        assert all(not left[0] or left[1] or left[0][-1].isalpha() for left in pieces)


def test_one_document_made_two() -> None:
    text = "0123456789"
    for at in range(1, 10):
        for size in (1, 3, 10):
            blocks = [(text[i : i + size], i + size >= 10) for i in range(0, 10, size)]
            assert list(join_pieces(split_at(blocks, at))) == [(text[:at], True), (text[at:], True)]
