from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from alike import check_alike
from groundup.tokenizers.huggingface import HuggingFaceTokenizer, Manner
from groundup.tokenizers.load import load_tokenizer
from tokenizers import Tokenizer
from transformers import AutoTokenizer


@pytest.mark.parametrize("name", ["roberta", "bert-base-uncased"])
def test_as_transformers_does(shared: Path, texts: list[str], name: str) -> None:
    check_alike(shared / "tokenizers" / name, texts)


@pytest.mark.parametrize("name", ["gpt2", "pythia"])
def test_ids_of_a_bare_tokenizer_json(shared: Path, texts: list[str], name: str) -> None:
    """Nothing names its special tokens, so transformers knows of none: ours takes the usual ones."""
    folder = shared / "tokenizers" / name
    ours, theirs = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    for special in (False, True):
        expected = theirs(texts, add_special_tokens=special).input_ids
        assert ours.encode_batch(texts, add_special_tokens=special) == expected
        assert [ours.encode(text, add_special_tokens=special) for text in texts] == expected
    assert ours.vocab_size == len(theirs)
    assert [ours.decode(ids) for ids in ours.encode_batch(texts)] == theirs.batch_decode(theirs(texts).input_ids)


@pytest.mark.parametrize(
    ("name", "bos", "eos", "pad", "mask"),
    [
        ("gpt2", "<|endoftext|>", "<|endoftext|>", None, "_"),
        ("pythia", "<|endoftext|>", "<|endoftext|>", "<|padding|>", "_"),
        ("roberta", "<s>", "</s>", "<pad>", "<mask>"),
        ("bert-base-uncased", "[CLS]", "[SEP]", "[PAD]", "[MASK]"),
    ],
)
def test_special_ids(shared: Path, name: str, bos: str, eos: str, pad: str | None, mask: str) -> None:
    path = shared / "tokenizers" / name / "tokenizer.json"
    ours, inner = load_tokenizer(path), Tokenizer.from_file(str(path))
    ids = [ours.bos_id, ours.eos_id, ours.pad_id, ours.mask_id]
    assert ids == [token and inner.token_to_id(token) for token in (bos, eos, pad, mask)]


def test_a_file_that_cuts_and_pads_is_not_obeyed(shared: Path) -> None:
    """This tokenizer.json was saved with a length to cut and pad to."""
    path = shared / "tokenizers/roberta/tokenizer.json"
    assert json.loads(path.read_text(encoding="utf-8"))["padding"] is not None
    ours = load_tokenizer(path)
    lengths = [len(ids) for ids in ours.encode_batch(["word " * 3000, "word"])]
    assert lengths[0] >= 3000
    assert lengths[1] == 1


def test_cutting_a_batch_cuts_nothing_else(shared: Path) -> None:
    """The length that a batch is cut to is a state of the tokenizer while it lasts; threads take turns."""
    ours = load_tokenizer(shared / "tokenizers/bert-base-uncased")
    lengths: list[int] = []

    def cut(length: int) -> None:
        for _ in range(20):
            lengths.append(ours.batch(["a b c d e f g h"] * 3, max_length=length).input_ids.shape[1] - length)

    threads = [threading.Thread(target=cut, args=(length,)) for length in (4, 5, 6, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lengths == [0] * 80
    assert len(ours.encode("a b c d e f g h")) == 8


def test_spaces_are_tidied_only_where_they_are_the_tokenizer_s(shared: Path) -> None:
    inner = Tokenizer.from_file(str(shared / "tokenizers/bert-base-uncased/tokenizer.json"))
    tidy, plain = (HuggingFaceTokenizer(inner, {}, "bert", Manner(clean_up=flag)) for flag in (True, False))
    ids = plain.encode("they ' re here . isn't it ?")
    assert tidy.decode(ids) == "they're here. isn't it?"
    assert tidy.decode(ids) != plain.decode(ids)
    inner = Tokenizer.from_file(str(shared / "tokenizers/gpt2/tokenizer.json"))
    tidy = HuggingFaceTokenizer(inner, {}, "gpt2", Manner(clean_up=True))
    assert tidy.decode(tidy.encode("a . b")) == "a . b"


@pytest.mark.parametrize("name", ["pythia", "bert-base-uncased"])
def test_saved_and_loaded(shared: Path, texts: list[str], tmp_path: Path, name: str) -> None:
    tokenizer = load_tokenizer(shared / "tokenizers" / name)
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.fingerprint == tokenizer.fingerprint
    assert (again.eos_id, again.mask_id, again.name) == (tokenizer.eos_id, tokenizer.mask_id, name)
    assert again.encode_batch(texts, True) == tokenizer.encode_batch(texts, True)
    assert again.token_types == tokenizer.token_types == (name != "pythia")
    assert again.decode(again.encode("a , b")) == tokenizer.decode(tokenizer.encode("a , b"))
