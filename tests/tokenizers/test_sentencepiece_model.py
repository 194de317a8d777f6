from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from groundup.errors import UserError
from groundup.tokenizers.load import load_tokenizer

# Made by sentencepiece 0.2.3 from Llama 2's tokenizer.model.
LLAMA2 = {
    "Hello this is a test": [15043, 445, 338, 263, 1243],
    "  two  spaces ": [259, 1023, 29871, 8162, 29871],
    "日本語 😀 naïve": [29871, 30325, 30346, 30968, 29871, 243, 162, 155, 131, 1055, 30085, 345],
    "\t1234\n\nx": [29871, 12, 29896, 29906, 29941, 29946, 13, 13, 29916],
    "b  _a": [289, 29871, 903, 29874],
}
FIXTURES = Path(__file__).with_name("fixtures")
# Two small models that sentencepiece 0.2.3 trained on tiny Shakespeare, and its ids. unigram.model has DeBERTa-v3's
# special pieces and a table of characters to replace, gemma.model Gemma's settings and pieces that are never split.
RECORDED = json.loads((FIXTURES / "sentencepiece.json").read_text(encoding="utf-8"))


def test_llama2_s_recorded_ids(shared: Path) -> None:
    tokenizer = load_tokenizer(shared / "tokenizers/llama2")
    assert {text: tokenizer.encode(text) for text in LLAMA2} == LLAMA2
    assert tokenizer.encode("Hello", add_special_tokens=True) == [1, 15043]
    assert [tokenizer.decode(ids) for ids in LLAMA2.values()] == list(LLAMA2)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.vocab_size) == (1, 2, 0, 32000)
    assert not tokenizer.splittable


@pytest.mark.parametrize("name", ["unigram", "gemma"])
def test_recorded_ids(name: str) -> None:
    tokenizer = load_tokenizer(FIXTURES / f"{name}.model")
    assert len(RECORDED[name]) > 10
    assert {text: tokenizer.encode(text) for text in RECORDED[name]} == RECORDED[name]


def test_unigram_as_deberta_and_as_it_is(tmp_path: Path) -> None:
    """DeBERTa's class splits at spaces first, which changes no id; the rest of a text comes back."""
    shutil.copy(FIXTURES / "unigram.model", tmp_path / "spm.model")
    (tmp_path / "config.json").write_text('{"model_type": "deberta-v2"}')
    deberta = load_tokenizer(tmp_path)
    assert {text: deberta.encode(text) for text in RECORDED["unigram"]} == RECORDED["unigram"]
    assert deberta.encode("Hello", add_special_tokens=True)[0::-1] == [1]
    assert deberta.encode("Hello", add_special_tokens=True)[-1] == 2
    ids = [deberta.pad_id, deberta.cls_id, deberta.sep_id, deberta.unk_id, deberta.mask_id]
    assert ids == [0, 1, 2, 3, 320]
    assert deberta.decode(deberta.encode("hear me  speak")) == "hear me speak"
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true, "split_by_punct": true}')
    lower = load_tokenizer(tmp_path)
    assert lower.encode("HEAR") == deberta.encode("hear")


def test_spaces_of_gemma_stay(tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "gemma.model", tmp_path / "tokenizer.model")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GemmaTokenizer"}')
    tokenizer = load_tokenizer(tmp_path)
    for text in RECORDED["gemma"]:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("x", add_special_tokens=True)[0] == tokenizer.bos_id == 2
    assert (tokenizer.padding_side, tokenizer.pad_id, tokenizer.eos_id, tokenizer.unk_id) == ("left", 0, 1, 3)


def test_a_prefix_that_the_settings_forbid(shared: Path, tmp_path: Path) -> None:
    shutil.copy(shared / "tokenizers/llama2/tokenizer.model", tmp_path)
    settings = {"tokenizer_class": "LlamaTokenizer", "add_prefix_space": False, "add_bos_token": False}
    settings["add_eos_token"] = True
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("Hello", add_special_tokens=True) == [10994, 2]
    assert tokenizer.decode([10994]) == "Hello"


@pytest.mark.parametrize("name", ["llama2", "unigram", "gemma"])
def test_ids_are_sentencepiece_s(shared: Path, texts: list[str], name: str) -> None:
    sentencepiece = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")
    path = shared / "tokenizers/llama2/tokenizer.model" if name == "llama2" else FIXTURES / f"{name}.model"
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(path))
    # A special token that is spelt in the text is that token here, as in transformers, and text to sentencepiece.
    # `tokenizers` replaces a character with all that is combined with it, sentencepiece the longest it knows of that.
    odd = ["<s>", "</s>", "<unk>", "[UNK]", "[CLS]", "\x00", "e\u0301\u0323"]
    # Pieces that are never split are merged here, as in transformers, and taken off one by one by sentencepiece: the
    # same for Gemma's own, one for each number of spaces, and not for these, of which the longest has three.
    odd += [" " * 4] if name == "gemma" else []
    plain = [text for text in texts if not any(part in text for part in odd)]
    assert len(plain) > 700
    assert load_tokenizer(path).encode_batch(plain) == theirs.encode(plain)


@pytest.mark.parametrize("keep", [0, 1, 1000, 300_000])
def test_a_damaged_file(shared: Path, tmp_path: Path, keep: int) -> None:
    data = (shared / "tokenizers/llama2/tokenizer.model").read_bytes()
    (tmp_path / "tokenizer.model").write_bytes(data[:keep])
    with pytest.raises(UserError, match=r"tokenizer.model is no SentencePiece model, or it is damaged: fetch it again"):
        load_tokenizer(tmp_path)


def test_llama_3_s_file_is_another_s(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")
    with pytest.raises(UserError, match=r"it looks like tiktoken's \(Llama 3's is\), so take the tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_a_word_model_is_refused(tmp_path: Path) -> None:
    piece = b"\x0a\x05<unk>" + b"\x18\x02"  # piece: "<unk>", type: UNKNOWN
    trainer = b"\x18\x03"  # model_type: WORD
    (tmp_path / "spm.model").write_bytes(b"\x0a" + bytes([len(piece)]) + piece + b"\x12" + bytes([2]) + trainer)
    with pytest.raises(UserError, match=r"of a kind that is not read here: save it as a tokenizer\.json"):
        load_tokenizer(tmp_path)
