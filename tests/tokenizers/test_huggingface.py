from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from groundup.errors import UserError
from groundup.tokenizers.huggingface import special_tokens
from groundup.tokenizers.load import load_tokenizer
from tokenizers import Tokenizer
from transformers import AutoTokenizer, GPT2TokenizerFast


@pytest.mark.parametrize("name", ["gpt2", "pythia", "roberta", "bert-base-uncased"])
def test_ids_are_autotokenizer_s(shared: Path, texts: list[str], name: str) -> None:
    folder = shared / "tokenizers" / name
    ours, theirs = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    for special in (False, True):
        expected = theirs(texts, add_special_tokens=special).input_ids
        assert ours.encode_batch(texts, add_special_tokens=special) == expected
        assert [ours.encode(text, add_special_tokens=special) for text in texts] == expected
    assert ours.vocab_size == len(theirs)
    assert [ours.decode(ids) for ids in ours.encode_batch(texts[10:60])] == theirs.batch_decode(
        theirs(texts[10:60], add_special_tokens=False).input_ids, clean_up_tokenization_spaces=False
    )


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


def test_what_the_configuration_names_comes_first(shared: Path) -> None:
    inner = Tokenizer.from_file(str(shared / "tokenizers/bert-base-uncased/tokenizer.json"))
    config = {"eos_token": {"content": "dog"}, "pad_token": "not in the vocabulary", "bos_token": None}
    assert special_tokens(inner, config) == {"eos": "dog", "mask": "[MASK]"}


def test_a_file_that_cuts_and_pads_is_not_obeyed(shared: Path) -> None:
    """This tokenizer.json was saved with a length to cut and pad to."""
    path = shared / "tokenizers/roberta/tokenizer.json"
    assert json.loads(path.read_text(encoding="utf-8"))["padding"] is not None
    ours = load_tokenizer(path)
    lengths = [len(ids) for ids in ours.encode_batch(["word " * 3000, "word"])]
    assert lengths[0] >= 3000
    assert lengths[1] == 1


def test_vocab_txt_alone_is_lower_case_bert(shared: Path, texts: list[str], tmp_path: Path) -> None:
    shutil.copy(shared / "tokenizers/bert-base-uncased/vocab.txt", tmp_path)
    theirs = AutoTokenizer.from_pretrained(shared / "tokenizers/bert-base-uncased")
    for source in (tmp_path, tmp_path / "vocab.txt"):
        ours = load_tokenizer(source)
        assert ours.encode_batch(texts, add_special_tokens=True) == theirs(texts).input_ids
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert load_tokenizer(tmp_path).encode("Paris") != load_tokenizer(shared / "tokenizers/bert-base-uncased").encode(
        "Paris"
    )


def test_vocab_and_merges_of_opt(shared: Path, texts: list[str], tmp_path: Path) -> None:
    folder = shared / "tokenizers/opt"
    special = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
    theirs = GPT2TokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"), add_bos_token=True, **special)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(folder / name, tmp_path)
    config = {"add_bos_token": True, "tokenizer_class": "GPT2Tokenizer", **special}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    ours = load_tokenizer(tmp_path)
    assert ours.encode_batch(texts, add_special_tokens=True) == theirs(texts).input_ids
    assert (ours.bos_id, ours.eos_id, ours.pad_id, ours.vocab_size) == (2, 2, 1, 50265)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(UserError, match=r"vocab.json needs merges.txt beside it"):
        load_tokenizer(tmp_path)


@pytest.mark.slow
def test_vocab_and_merges_of_roberta(shared: Path, texts: list[str], tmp_path: Path) -> None:
    folder = shared / "tokenizers/roberta"
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(model["merges"]) + "\n", encoding="utf-8")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(folder / name, tmp_path)
    theirs = load_tokenizer(folder)
    assert load_tokenizer(tmp_path).encode_batch(texts, True) == theirs.encode_batch(texts, True)


@pytest.mark.parametrize("name", ["pythia", "bert-base-uncased"])
def test_saved_and_loaded(shared: Path, texts: list[str], tmp_path: Path, name: str) -> None:
    tokenizer = load_tokenizer(shared / "tokenizers" / name)
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.fingerprint == tokenizer.fingerprint
    assert (again.eos_id, again.mask_id, again.name) == (tokenizer.eos_id, tokenizer.mask_id, name)
    assert again.encode_batch(texts, True) == tokenizer.encode_batch(texts, True)
    assert AutoTokenizer.from_pretrained(tmp_path)(texts[10:40]).input_ids == tokenizer.encode_batch(texts[10:40], True)


def test_damaged_and_empty(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no tokenizer: looked for tokenizer.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": ')
    with pytest.raises(UserError, match=r"tokenizer.json is no tokenizer that can be read"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(UserError, match=r"cannot read .*tokenizer_config.json"):
        load_tokenizer(tmp_path)
