from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from groundup.data.corpus import open_corpus
from groundup.errors import UserError
from groundup.tokenizers import bpe
from groundup.tokenizers.base import SAVED_NAME
from groundup.tokenizers.load import (
    NAMES,
    build_tokenizer,
    cached_bpe,
    canonical_name,
    check_vocabulary,
    load_tokenizer,
)

TEXT = "Whereas recognition of the inherent dignity and of the equal rights of all members of the human family\n" * 4


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("GPT-2", "gpt2"),
        ("gpt2", "gpt2"),
        ("CL100K-base", "cl100k_base"),
        ("BPE", "bpe"),
        ("Byte", "byte"),
        ("./x", "./x"),
    ],
)
def test_names_are_case_blind(written: str, name: str) -> None:
    assert canonical_name(written) == name


def test_every_name_is_its_own_canonical_name() -> None:
    assert [canonical_name(name.upper()) for name in NAMES] == list(NAMES)


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no tokenizer is called 'cl10k_base'.*Did you mean 'cl100k_base'\?"):
        load_tokenizer("cl10k_base")
    with pytest.raises(UserError, match=r"Known: byte, char, bpe"):
        load_tokenizer("zzzzzz")
    with pytest.raises(UserError, match="built from a corpus"):
        load_tokenizer("bpe")


def test_a_run_s_folder_holds_it_one_level_down(tmp_path: Path) -> None:
    load_tokenizer("byte").save(tmp_path / "tokenizer")
    assert load_tokenizer(tmp_path).name == "byte"


def test_a_saved_tokenizer_that_was_changed_or_cut(tmp_path: Path) -> None:
    bpe.train_bpe([TEXT], 280, simplify=False).save(tmp_path)
    path = tmp_path / "tokenizer.json"
    whole = path.read_text(encoding="utf-8")
    changed = json.loads(whole)
    vocab = changed["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    path.write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(UserError, match="its files were changed"):
        load_tokenizer(tmp_path)
    path.write_text(whole[:2000], encoding="utf-8")
    with pytest.raises(UserError, match=r"cannot be read \(.*\): save it again"):
        load_tokenizer(tmp_path)
    (tmp_path / SAVED_NAME).write_text('{"kind": "telepathy"}')
    with pytest.raises(UserError, match="kind 'telepathy'"):
        load_tokenizer(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot save the tokenizer in .*file/tokenizer: Not a directory"):
        bpe.train_bpe([TEXT], 280).save(tmp_path / "file/tokenizer")


# --- from a run's configuration ----------------------------------------------------------------------------------


def run_of(data_dir: Path, name: str, **model: Any) -> Any:
    defaults = {"vocab_size": None, "tokenizer_dataset_name": None, "tokenizer_simplify": True}
    return SimpleNamespace(
        model=SimpleNamespace(**{**defaults, "tokenizer_min_frequency": 1, **model}),
        dataset=SimpleNamespace(name=name),
        general=SimpleNamespace(paths=SimpleNamespace(data_dir=str(data_dir))),
    )


@pytest.fixture
def corpus_path(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def test_char_and_bpe_are_built_on_the_run_s_own_text(tmp_path: Path, corpus_path: Path) -> None:
    char = build_tokenizer(run_of(tmp_path, str(corpus_path), tokenizer_type="char"))
    assert char.vocab_size == len(set(TEXT))
    trained = build_tokenizer(run_of(tmp_path, str(corpus_path), tokenizer_type="BPE", vocab_size=280))
    assert trained.fingerprint == bpe.train_bpe([TEXT], 280).fingerprint


def test_or_on_the_corpus_that_is_named(tmp_path: Path, corpus_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("xyz")
    char = build_tokenizer(run_of(tmp_path, str(corpus_path), tokenizer_type="char", tokenizer_dataset_name=str(other)))
    assert char.vocab_size == 3


def test_a_bpe_needs_a_vocabulary_size(tmp_path: Path, corpus_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.vocab_size is needed"):
        build_tokenizer(run_of(tmp_path, str(corpus_path), tokenizer_type="bpe"))


def test_a_vocabulary_smaller_than_the_ids(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.vocab_size is 200, .* byte has ids up to 256: set it to 257 or more"):
        build_tokenizer(run_of(tmp_path, "stdlib", tokenizer_type="byte", vocab_size=200))
    with pytest.raises(UserError, match=r"model\.vocab_size is 256"):
        check_vocabulary(load_tokenizer("byte"), 256)
    check_vocabulary(load_tokenizer("byte"), 257)
    check_vocabulary(load_tokenizer("byte"), 304)  # rows that no id uses are fine: 50304 for 50257
    check_vocabulary(load_tokenizer("byte"), None)


def test_a_bpe_is_trained_once(tmp_path: Path, corpus_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = open_corpus(corpus_path)
    first = cached_bpe(corpus, 280, cache_dir=tmp_path / "cache")
    calls: list[int] = []
    train = bpe.train_bpe
    monkeypatch.setattr(bpe, "train_bpe", lambda *a, **k: calls.append(1) or train(*a, **k))
    assert cached_bpe(open_corpus(corpus_path), 280, cache_dir=tmp_path / "cache").fingerprint == first.fingerprint
    assert not calls
    # Anything that could change the merges trains anew: size, settings, text.
    cached_bpe(corpus, 281, cache_dir=tmp_path / "cache")
    cached_bpe(corpus, 280, simplify=False, cache_dir=tmp_path / "cache")
    cached_bpe(corpus, 280, min_frequency=2, cache_dir=tmp_path / "cache")
    corpus_path.write_text(TEXT + "more text, of quite other words")
    cached_bpe(open_corpus(corpus_path), 280, cache_dir=tmp_path / "cache")
    assert len(calls) == 4


def test_a_damaged_trained_bpe_is_trained_again(tmp_path: Path, corpus_path: Path) -> None:
    corpus = open_corpus(corpus_path)
    first = cached_bpe(corpus, 280, cache_dir=tmp_path / "cache")
    (saved,) = (tmp_path / "cache/tokenizers").iterdir()
    (saved / "tokenizer.json").write_text("{}")
    assert cached_bpe(corpus, 280, cache_dir=tmp_path / "cache").fingerprint == first.fingerprint
    assert load_tokenizer(saved).fingerprint == first.fingerprint
