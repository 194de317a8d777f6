from __future__ import annotations

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
}


def test_llama2_s_recorded_ids(shared: Path) -> None:
    tokenizer = load_tokenizer(shared / "tokenizers/llama2")
    assert {text: tokenizer.encode(text) for text in LLAMA2} == LLAMA2
    assert tokenizer.encode("Hello", add_special_tokens=True) == [1, 15043]
    assert [tokenizer.decode(ids) for ids in LLAMA2.values()] == list(LLAMA2)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.vocab_size) == (1, 2, 32000)
    assert not tokenizer.splittable


def test_ids_are_sentencepiece_s(shared: Path, texts: list[str]) -> None:
    sentencepiece = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")
    path = shared / "tokenizers/llama2/tokenizer.model"
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(path))
    plain = [text for text in texts if "<s>" not in text and "\x00" not in text]
    assert load_tokenizer(path).encode_batch(plain) == theirs.encode(plain)


@pytest.mark.parametrize("keep", [0, 1, 1000, 300_000])
def test_a_damaged_file(shared: Path, tmp_path: Path, keep: int) -> None:
    data = (shared / "tokenizers/llama2/tokenizer.model").read_bytes()
    (tmp_path / "tokenizer.model").write_bytes(data[:keep])
    with pytest.raises(UserError, match=r"tokenizer.model is no SentencePiece model, or it is damaged"):
        load_tokenizer(tmp_path)


def test_a_unigram_model_is_refused(tmp_path: Path) -> None:
    piece = b"\x0a\x05<unk>" + b"\x18\x02"  # piece: "<unk>", type: UNKNOWN
    trainer = b"\x18\x01"  # model_type: UNIGRAM
    (tmp_path / "spm.model").write_bytes(b"\x0a" + bytes([len(piece)]) + piece + b"\x12" + bytes([2]) + trainer)
    with pytest.raises(UserError, match=r"of a type other than BPE.*save it as a tokenizer\.json"):
        load_tokenizer(tmp_path)
