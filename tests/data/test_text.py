from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from groundup.data.corpus import Corpus, open_corpus
from groundup.data.text import load_text, load_text_data, look_at, single_document_length
from groundup.errors import UserError
from groundup.tokenizers.byte import ByteTokenizer
from groundup.tokenizers.char import build_char_tokenizer


def run_of(tmp_path: Path, **dataset: Any) -> Any:
    return SimpleNamespace(
        dataset=SimpleNamespace(**dataset),
        general=SimpleNamespace(seed=1, paths=SimpleNamespace(data_dir=str(tmp_path / "cache"))),
    )


def test_shakespeare_is_split_as_nanogpt_splits_it(shared: Path, tmp_path: Path) -> None:
    path = shared / "text/tinyshakespeare/input.txt"
    text = path.read_text(encoding="utf-8")
    tokenizer = build_char_tokenizer([text])
    data = load_text_data(run_of(tmp_path, name=str(path), val_fraction=0.1), tokenizer)
    assert data.val is not None
    n = int(len(text) * 0.9)
    assert tokenizer.decode(data.train.read(0, data.train.n_tokens).tolist()) == text[:n]
    assert tokenizer.decode(data.val.read(0, data.val.n_tokens).tolist()) == text[n:]
    assert (data.train.n_tokens, data.val.n_tokens) == (1_003_854, 111_540)
    assert data.val.bytes_per_token == 1.0


def test_documents_are_split_whole(made: Callable[..., Corpus], tmp_path: Path) -> None:
    texts = [f"document {i} é" * (1 + i % 3) for i in range(100)]
    data = load_text(made(texts), ByteTokenizer(), val_fraction=0.2, cache_dir=tmp_path)
    assert data.val is not None
    sides = [ByteTokenizer().decode(side.read(0, side.n_tokens).tolist()) for side in (data.train, data.val)]
    held_out = [text for text in texts if text in sides[1]]
    assert "".join(held_out) == sides[1]
    assert "".join(text for text in texts if text not in held_out) == sides[0]
    assert 15 <= len(held_out) <= 30
    assert data.val.n_bytes == sum(len(text.encode()) for text in held_out)
    assert data.val.n_tokens == data.val.n_bytes + len(held_out)  # each with its end


def test_the_cut_of_a_single_document_is_by_characters(made: Callable[..., Corpus], tmp_path: Path) -> None:
    text = "日" * 50 + "a" * 50
    data = load_text(made([text]), ByteTokenizer(), val_fraction=0.25, cache_dir=tmp_path)
    assert data.val is not None
    assert ByteTokenizer().decode(data.train.read(0, data.train.n_tokens).tolist()) == text[:75]
    assert data.train.n_bytes == 175


def test_nothing_held_out(made: Callable[..., Corpus], tmp_path: Path) -> None:
    data = load_text(made(["one", "two"]), ByteTokenizer(), val_fraction=0, cache_dir=tmp_path)
    assert data.val is None
    assert data.train.n_documents == 2


def test_another_fraction_needs_no_new_token_file(made: Callable[..., Corpus], tmp_path: Path) -> None:
    texts = [f"document {i}" for i in range(50)]
    folders = {
        load_text(made(texts), ByteTokenizer(), val_fraction=f, cache_dir=tmp_path).tokens.folder for f in (0.1, 0.3)
    }
    assert len(folders) == 1


def test_a_run_s_settings_arrive(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(f'{{"t": "row {i}", "u": "x"}}' for i in range(9)))
    settings = {"config": None, "split": "train", "streaming": False, "documents": "auto", "num_proc": None}
    run = run_of(tmp_path, name=str(tmp_path / "a.jsonl"), text_column="t", max_documents=4, val_fraction=0, **settings)
    data = load_text_data(run, ByteTokenizer())
    assert ByteTokenizer().decode(data.train.read(0, data.train.n_tokens).tolist()) == "row 0row 1row 2row 3"
    assert (tmp_path / "cache/tokens").is_dir()


def texts(stream: Any) -> str:
    return ByteTokenizer().decode(stream.read(0, stream.n_tokens).tolist())


def test_a_path_to_train_on_and_one_to_evaluate_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("to train on")
    (tmp_path / "b.jsonl").write_text('{"text": "to evaluate on"}\n{"text": "and more"}')
    run = run_of(tmp_path, name="stdlib", train_path=str(tmp_path / "a.txt"), eval_path=str(tmp_path / "b.jsonl"))
    look_at(run)
    data = load_text_data(run, ByteTokenizer())
    assert data.val is not None
    assert (texts(data.train), texts(data.val)) == ("to train on", "to evaluate onand more")
    assert data.val.name == "held-out text"
    run.dataset.max_documents, run.dataset.val_fraction = 1, 0
    few = load_text_data(run, ByteTokenizer())
    assert few.val is not None
    assert texts(few.val) == "to evaluate on"
    for key in ("train_path", "eval_path"):
        run = run_of(tmp_path, name=str(tmp_path / "a.txt"), **{key: "b/c"})  # no id of a hub's data set
        for use in (look_at, lambda run: load_text_data(run, ByteTokenizer())):
            with pytest.raises(UserError, match=rf"dataset\.{key} is 'b/c', and there is no such file or folder"):
                use(run)


def test_a_folder_s_splits_are_kept_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "wiki"
    folder.mkdir()
    for name in ("train", "valid", "test"):
        (folder / f"wiki.{name}.raw").write_text(name)
    run = run_of(tmp_path, name=str(folder), val_fraction=0.5)
    look_at(run)
    data = load_text_data(run, ByteTokenizer())
    assert data.val is not None
    assert (texts(data.train), texts(data.val)) == ("train", "valid")
    assert "trained on: wiki.train.raw; held out: wiki.valid.raw; not read: wiki.test.raw" in capsys.readouterr().err
    run.dataset.eval_path = str(folder / "wiki.test.raw")
    data = load_text_data(run, ByteTokenizer())
    assert data.val is not None
    assert (texts(data.train), texts(data.val)) == ("train", "test")
    assert load_text_data(run_of(tmp_path, name=str(folder), val_fraction=0), ByteTokenizer()).val is None


def test_documents_shorter_than_the_stride_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(f'{{"text": "line {i}"}}' for i in range(9)))

    def said(**settings: Any) -> str:
        run = run_of(tmp_path, name=str(tmp_path / "a.jsonl"), val_fraction=0, **settings)
        load_text_data(run, ByteTokenizer(), progress=False)
        return capsys.readouterr().err

    assert "dataset.stride is 8, and half the documents of " in said(stride=8)
    assert "have 7 tokens or less: a token sees nothing before its own document" in said(stride=8)
    assert not said(stride=7)
    assert not said(stride=8, documents="joined")
    assert not said()


def test_how_long_a_single_document_is(made: Callable[..., Corpus], tmp_path: Path) -> None:
    assert single_document_length(made(["日本 text"])) == 7
    assert single_document_length(made(["a", "b"])) is None
    assert single_document_length(made([])) is None
    (tmp_path / "a.txt").write_text("one\ntwo")
    assert single_document_length(open_corpus(tmp_path / "a.txt")) == 7
    assert single_document_length(open_corpus(tmp_path / "a.txt", documents="line")) is None


def test_what_it_cannot_split(made: Callable[..., Corpus], tmp_path: Path) -> None:
    for fraction in (-0.1, 1.0, 5):
        with pytest.raises(UserError, match=r"dataset\.val_fraction is"):
            load_text(made(["a", "b"]), ByteTokenizer(), val_fraction=fraction, cache_dir=tmp_path)
    with pytest.raises(UserError, match=r"too short to hold out text: set dataset\.val_fraction to 0"):
        load_text(made(["a"]), ByteTokenizer(), val_fraction=0.1, cache_dir=tmp_path)
