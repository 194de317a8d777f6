"""Lines of running text, one a row, are no documents of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from groundup.data import articles
from groundup.data.articles import are_lines, is_title
from groundup.data.corpus import Corpus, open_corpus
from groundup.data.sampling import Sampler
from groundup.data.text import load_text
from groundup.errors import UserError
from groundup.tokenizers.byte import ByteTokenizer

# As WikiText's rows are: lines with their ends, empty ones without.
ROWS = ["", " = One = \n", "", " A text . \n", " = = A part = = \n", "", " More of it . \n", "", " = x = 1 = \n"]
ROWS += [" y = 2 . \n", "", " = Two = \n", "", " A text . \n"]
ONE = " = One = \n\n A text . \n = = A part = = \n\n More of it . \n\n"
TITLED = " = x = 1 = \n y = 2 . \n\n"
TWO = " = Two = \n\n A text . \n"


def table(folder: Path, rows: list[str | None]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"text": row}) for row in rows))
    return path


def test_a_table_of_wikitext_s_lines_is_articles(tmp_path: Path) -> None:
    path = table(tmp_path, list(ROWS))
    assert list(open_corpus(path).documents()) == [ONE, TITLED, TWO]
    assert list(open_corpus(path, documents="article").documents()) == [ONE, TITLED, TWO]
    assert list(open_corpus(path, max_documents=1).documents()) == [ONE]
    assert list(open_corpus(path, documents="joined").documents()) == ["\n" + ONE + TITLED + TWO]
    marks = {documents: open_corpus(path, documents=documents).fingerprint for documents in ("article", "joined")}
    assert marks["article"] == open_corpus(path).fingerprint != marks["joined"]


def test_rows_of_another_kind_stay_documents(tmp_path: Path) -> None:
    path = table(tmp_path, ["one", "two\n", "", "three"])
    assert list(open_corpus(path).documents()) == ["one", "two\n", "three"]
    assert list(open_corpus(path, documents="joined").documents()) == ["one\ntwo\n\nthree\n"]
    assert list(open_corpus(path, documents="article").documents()) == ["one\ntwo\n\nthree\n"]


def test_a_row_that_holds_nothing_is_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(open_corpus(table(tmp_path, ["a", None, "b"]), documents="joined").documents()) == ["a\nb\n"]
    assert "1 of 3 rows" in capsys.readouterr().err


def test_joined_lines_come_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path, [f"line {i}" for i in range(100)])
    monkeypatch.setattr(articles, "_PIECE_CHARS", 64)
    pieces = list(open_corpus(path, documents="joined").pieces())
    assert "".join(text for text, _ in pieces) == "".join(f"line {i}\n" for i in range(100))
    assert [ends for _, ends in pieces] == [False] * (len(pieces) - 1) + [True]
    assert all(60 < len(text) < 80 for text, _ in pieces[:-1])
    assert list(open_corpus(table(tmp_path, []), documents="joined").documents()) == []


def test_context_crosses_lines(tmp_path: Path) -> None:
    """With a stride each token but the first few of an article is predicted from what the row has before it."""
    tokens = load_text(open_corpus(table(tmp_path, list(ROWS))), ByteTokenizer(), val_fraction=0, cache_dir=tmp_path)
    assert np.diff(tokens.train.starts).tolist() == [len(text) + 1 for text in (ONE, TITLED, TWO)]
    batch = Sampler(tokens.train, 1, 48, mode="sequential", stride=24).batch(0)
    assert batch.segment_ids is not None
    assert batch.segment_ids[0].tolist() == [0] * 48


def test_titles(shared: Path) -> None:
    titles = [" = One = \n", "= One =", " = x = 1 = \n", " = A = "]
    others = [" = = One = = \n", " = One \n", "One = 1 = \n", " = \n", " = = \n", "", " a = b \n"]
    assert [is_title(line) for line in titles + others] == [True] * 4 + [False] * 7
    assert are_lines(["", " = One = \n", ""])
    assert not are_lines([" = One = \n", "text"])
    assert not are_lines(["", "text", " = One = "])
    assert not are_lines([])
    for name in ("valid", "test"):
        path = shared / f"text/wikitext-2/wiki.{name}.raw"
        found = list(open_corpus(path, documents="article").documents())
        assert len(found) == 60  # as WikiText-2 counts them
        assert "".join(found) == path.read_text(encoding="utf-8").removeprefix(" \n")


def test_what_does_not_go_with_the_source(tmp_path: Path, made: Callable[..., Corpus]) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match=r"dataset.documents 'joined' is for rows of tables, and .*a.txt is text"):
        open_corpus(tmp_path / "a.txt", documents="joined")
    with pytest.raises(
        UserError, match=r"'line' splits text files, .* or a line of text that is `joined` or of an `ar"
    ):
        open_corpus(table(tmp_path, []), documents="line")
