from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
from datasets.exceptions import DatasetNotFoundError
from groundup.data.corpus import open_corpus
from groundup.data.hub import HubDataset, full_name
from groundup.data.text import load_text_data
from groundup.errors import UserError
from groundup.tokenizers.byte import ByteTokenizer

ROWS = [{"id": i, "text": f"document {i}"} for i in range(20)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """`load_dataset` gives ROWS, streamed or not, and its arguments are kept."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def load_dataset(*args: Any, **settings: Any) -> Any:
        calls.append((args, settings))
        whole = datasets.Dataset.from_list(ROWS)
        return whole.to_iterable_dataset() if settings["streaming"] else whole

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


def test_a_dataset_by_name(asked: list[Any]) -> None:
    corpus = open_corpus("some/dataset", config="en", split="validation", num_proc=2)
    assert isinstance(corpus, HubDataset)
    assert not asked  # nothing is fetched before the text is wanted
    assert list(corpus.documents()) == [row["text"] for row in ROWS]
    assert asked == [(("some/dataset", "en"), {"split": "validation", "streaming": False, "num_proc": 2})]


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("wikitext", None, ("Salesforce/wikitext", "wikitext-2-raw-v1")),
        ("WikiText_2", None, ("Salesforce/wikitext", "wikitext-2-raw-v1")),
        ("wikitext-103", None, ("Salesforce/wikitext", "wikitext-103-raw-v1")),
        ("wikitext", "wikitext-103-v1", ("Salesforce/wikitext", "wikitext-103-v1")),
        ("imdb", None, ("stanfordnlp/imdb", None)),
        ("sst-2", None, ("stanfordnlp/sst2", None)),
        ("some/wikitext", None, ("some/wikitext", None)),
        ("squad", "plain_text", ("squad", "plain_text")),
    ],
)
def test_short_names(asked: list[Any], name: str, config: str | None, expected: tuple[str, str | None]) -> None:
    assert full_name(name, config) == expected
    assert list(open_corpus(name, config=config).documents()) == [row["text"] for row in ROWS]
    assert asked[0][0] == expected


def test_the_fingerprint_is_of_the_data_and_the_settings(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fingerprint(**settings: Any) -> str:
        return open_corpus("some/dataset", **settings).fingerprint

    assert fingerprint() == fingerprint()
    variants = [
        {},
        {"split": "test"},
        {"config": "en"},
        {"text_column": "text"},
        {"max_documents": 3},
        {"streaming": True},
    ]
    assert len({fingerprint(**settings) for settings in variants}) == 6
    before = fingerprint()
    monkeypatch.setitem(ROWS[0], "text", "another text")
    assert fingerprint() != before


@pytest.mark.parametrize("name", ["wikitext", "Salesforce/wikitext", "some/dataset"])
def test_wikitext_s_lines_are_articles(asked: list[Any], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(
        sys.modules[__name__],
        "ROWS",
        [{"text": text} for text in ["", " = One = \n", "", " a \n", "", " = Two = \n", "", " b \n"]],
    )
    one, two = " = One = \n\n a \n\n", " = Two = \n\n b \n"
    rows = [row["text"] for row in ROWS if row["text"]]
    assert list(open_corpus(name).documents()) == (rows if name == "some/dataset" else [one, two])
    assert list(open_corpus(name, documents="article").documents()) == [one, two]
    assert list(open_corpus(name, documents="joined", streaming=True).documents()) == ["\n" + one + two]
    assert len({open_corpus(name, documents=how).fingerprint for how in (None, "article", "joined")}) == 3
    with pytest.raises(UserError, match="each row is a document"):
        open_corpus(name, documents="line")


def test_the_validation_split_is_held_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    asked: list[str] = []

    def load_dataset(*args: Any, split: str, streaming: bool, **settings: Any) -> Any:
        asked.append(split)
        whole = datasets.Dataset.from_list([{"text": f"{split} {i}"} for i in range(4)])
        if "/validated" in args[0]:
            whole.info.splits = {"train": None, "validation": None}
        return whole.to_iterable_dataset() if streaming else whole

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)

    def held_out(name: str, **settings: Any) -> str | None:
        dataset = SimpleNamespace(**{"name": name, "split": "train", "val_fraction": 0.5} | settings)
        paths = SimpleNamespace(data_dir=str(tmp_path))
        run = SimpleNamespace(dataset=dataset, general=SimpleNamespace(paths=paths))
        val = load_text_data(run, ByteTokenizer(), progress=False).val
        return None if val is None else ByteTokenizer().decode(val.read(0, val.n_tokens).tolist())

    assert held_out("some/validated") == "validation 0validation 1validation 2validation 3"
    assert "note: held out: the validation split of some/validated" in capsys.readouterr().err
    assert held_out("some/validated", max_documents=2) == "validation 0validation 1"
    assert held_out("some/validated", val_fraction=0) is None
    for name, settings in {"some/validated": {"streaming": True}, "some/other": {}}.items():
        held = held_out(name, **settings)
        assert held is not None
        assert held.startswith("train")
    assert (held_out("some/validated", split="validation") or "").startswith("validation")
    (tmp_path / "own.txt").write_text("my own")
    assert held_out("some/validated", eval_path=str(tmp_path / "own.txt")) == "my own"
    assert "held out" not in capsys.readouterr().err.rpartition("validated\n")[2]


def test_streaming_reads_no_more_than_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def rows() -> Iterator[dict[str, Any]]:
        for row in ROWS:
            read.append(row["id"])
            yield row

    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: datasets.IterableDataset.from_generator(rows))
    corpus = open_corpus("some/dataset", streaming=True, max_documents=5)
    assert list(corpus.documents()) == [f"document {i}" for i in range(5)]
    assert len(read) <= 6


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            DatasetNotFoundError("..."),
            r"dataset\.name is 'some/dataset': no file or folder here .* does not exist, or needs",
        ),
        (
            ConnectionError("Couldn't reach"),
            r"is not cached and the hub cannot be reached; .* use dataset\.name stdlib",
        ),
        (
            ValueError("Config name is missing.\nPick one: ['en']"),
            r"cannot be loaded: Config name is missing\. Pick one",
        ),
        (ValueError("Unknown split \"valid\". Should be one of ['train']."), r"Unknown split \"valid\""),
    ],
)
def test_what_goes_wrong(monkeypatch: pytest.MonkeyPatch, error: Exception, said: str) -> None:
    def load_dataset(*args: Any, **settings: Any) -> Any:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(UserError, match=said):
        list(open_corpus("some/dataset").documents())


def test_a_stream_that_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield from ROWS[:2]
        raise ConnectionError("timed out")

    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: rows())
    with pytest.raises(UserError, match=r"broke off while it was read \(timed out\): start again"):
        list(open_corpus("some/dataset", streaming=True).documents())


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("offline", ["0", "1"])
def test_offline_is_one_sentence(tmp_path: Path, streaming: bool, offline: str) -> None:
    """The real library, in a process of its own, against a closed port."""
    program = (
        "from groundup.data.corpus import open_corpus\n"
        "from groundup.errors import UserError\n"
        f"try: list(open_corpus('some/dataset', streaming={streaming}).documents())\n"
        "except UserError as error: print('error:', error)\n"
    )
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": offline}
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **env}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("error: dataset.name is 'some/dataset': no file or folder"), done.stderr
    assert "the hub cannot be reached" in done.stdout
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr
