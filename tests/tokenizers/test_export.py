"""What `save_hf` writes gives transformers, and ourselves, the same ids."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from alike import both, check_batches
from groundup.errors import UserError
from groundup.tokenizers.base import Tokenizer
from groundup.tokenizers.bpe import train_bpe
from groundup.tokenizers.char import build_char_tokenizer
from groundup.tokenizers.export import of_ranks
from groundup.tokenizers.load import load_tokenizer
from groundup.tokenizers.tiktoken_ import TiktokenTokenizer
from tiktoken import Encoding

FIXTURES = Path(__file__).with_name("fixtures")


def check(tokenizer: Tokenizer, folder: Path, texts: list[str], model_type: str = "gpt2") -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    tokenizer.save_hf(folder)
    again, theirs = both(folder)
    for special in (False, True):
        expected = tokenizer.encode_batch(texts, add_special_tokens=special)
        assert theirs(texts, add_special_tokens=special).input_ids == expected
        assert again.encode_batch(texts, add_special_tokens=special) == expected
    expected = tokenizer.encode_batch(texts)
    assert [theirs.decode(ids) for ids in expected] == [tokenizer.decode(ids) for ids in expected]
    assert (again.eos_id, again.vocab_size) == (tokenizer.eos_id, tokenizer.vocab_size)
    assert theirs.eos_token_id in (tokenizer.eos_id, None)
    assert again.padding_side == theirs.padding_side == tokenizer.padding_side
    assert again.max_length == tokenizer.max_length
    assert not (folder / "tokenizer.groundup.json").exists()


@pytest.mark.parametrize(
    ("name", "model_type"),
    [("roberta", "roberta"), ("bert-base-uncased", "bert"), ("llama2", "llama")],
)
def test_tokenizers_of_checkpoints(shared: Path, tmp_path: Path, texts: list[str], name: str, model_type: str) -> None:
    tokenizer = load_tokenizer(shared / "tokenizers" / name)
    check(tokenizer, tmp_path, texts[::3], model_type)
    again, theirs = both(tmp_path)
    check_batches(again, theirs, texts)
    assert again.token_types == tokenizer.token_types
    assert (again.mask_id, again.pad_id, again.cls_id) == (tokenizer.mask_id, tokenizer.pad_id, tokenizer.cls_id)


@pytest.mark.parametrize(
    ("fixture", "name", "model_type"),
    [("unigram", "spm.model", "deberta-v2"), ("gemma", "tokenizer.model", "gemma3_text")],
)
def test_sentencepiece_s(tmp_path: Path, texts: list[str], fixture: str, name: str, model_type: str) -> None:
    """DeBERTa's characters are replaced in the tokenizer.json too, and Gemma fills up on the left."""
    (tmp_path / name).write_bytes((FIXTURES / f"{fixture}.model").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    tokenizer = load_tokenizer(tmp_path)
    (tmp_path / "out").mkdir()
    check(tokenizer, tmp_path / "out", texts[::2], model_type)
    assert tokenizer.padding_side == ("left" if fixture == "gemma" else "right")
    assert tokenizer.vocab_size == (520 if fixture == "gemma" else 321)  # [MASK] was added


@pytest.mark.parametrize("simplify", [False, True])
def test_a_bpe_trained_here(tmp_path: Path, texts: list[str], simplify: bool) -> None:
    check(train_bpe(texts, 1500, simplify=simplify), tmp_path, texts, "llama")


def test_bytes_and_characters(tmp_path: Path, texts: list[str]) -> None:
    check(load_tokenizer("byte"), tmp_path, texts[::3])
    check(build_char_tokenizer(texts), tmp_path, texts[::3])


@pytest.mark.parametrize(
    "name",
    ["gpt2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("p50k_base", "cl100k_base", "o200k_base"))],
)
def test_tiktoken(tiktoken_cache: Path, tmp_path: Path, texts: list[str], name: str) -> None:
    check(load_tokenizer(name), tmp_path, texts[::2])


def test_gpt2_s_merges_are_found_again(tiktoken_cache: Path, shared: Path, tmp_path: Path) -> None:
    load_tokenizer("gpt2").save_hf(tmp_path)
    found = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    published = json.loads((shared / "tokenizers/gpt2/tokenizer.json").read_text(encoding="utf-8"))["model"]
    assert [" ".join(pair) for pair in found["merges"]] == published["merges"]
    assert found["vocab"] == published["vocab"]


def test_tokens_that_joining_never_reaches() -> None:
    """ "bcd" is joined from b + cd only: c + d has the lowest rank. "xyz" is a token that no pair makes."""
    ranks = {bytes([b]): b for b in range(256)} | {b"cd": 256, b"bc": 257, b"bcd": 258, b"xyz": 259}
    inner = of_ranks(ranks, r"\w+|\s", {}, None).inner
    theirs = Encoding("x", pat_str=r"\w+|\s", mergeable_ranks=ranks, special_tokens={})
    for text in ("bcd", "abcd bc bcdbc", "xyz axyz xyzxyz", "bccd cdcd bbcdd"):
        assert inner.encode(text).ids == theirs.encode_ordinary(text), text
    assert inner.encode("xyz").ids == [259]
    assert inner.encode("axyz").ids == [*b"axyz"]


def test_where_no_tokenizer_json_says_it(tmp_path: Path) -> None:
    ranks = {bytes([b]): b for b in range(256)}
    odd = TiktokenTokenizer(Encoding("odd", pat_str=".", mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 256}))
    with pytest.raises(UserError, match=r"the tokenizer odd cannot be written as a tokenizer\.json"):
        odd.save_hf(tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot save the tokenizer in .*file/x: Not a directory"):
        load_tokenizer("byte").save_hf(tmp_path / "file/x")


def test_a_model_for_which_transformers_brings_a_tokenizer_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    load_tokenizer("byte").save_hf(tmp_path)
    assert "transformers 5 splits text into Qwen's words for a model of type qwen2" in capsys.readouterr().err
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    load_tokenizer("byte").save_hf(tmp_path)
    assert not capsys.readouterr().err


def test_chat_templates_are_kept(tmp_path: Path, shared: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "vocab.txt").write_bytes((shared / "tokenizers/bert-base-uncased/vocab.txt").read_bytes())
    for template in ("{{ a }}", {"default": "{{ b }}", "rag": "{{ c }}"}):
        named = isinstance(template, dict)
        listed = [{"name": n, "template": t} for n, t in template.items()] if named else template
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": listed}))
        load_tokenizer(folder).save_hf(out)
        again, theirs = both(out)
        assert again.chat_template == theirs.chat_template == template
