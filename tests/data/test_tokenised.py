from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from groundup.data import tokenised
from groundup.data.corpus import Corpus, Piece, open_corpus
from groundup.data.stream import TokenStream
from groundup.data.tokenised import Damaged, document_frame, id_dtype, open_tokens, tokenise
from groundup.errors import UserError
from groundup.tokenizers.bpe import train_bpe
from groundup.tokenizers.byte import ByteTokenizer
from groundup.tokenizers.char import build_char_tokenizer
from groundup.tokenizers.load import load_tokenizer

TEXTS = ["first text\n", "", "zweiter Text: é 日本\n" * 50, "x", "last one " * 900]


def test_the_file_holds_the_ids_of_every_document(made: Callable[..., Corpus], tmp_path: Path) -> None:
    tokenizer = train_bpe(TEXTS, 280, simplify=False)
    tokens = tokenise(made(TEXTS), tokenizer, tmp_path)
    expected = [[*tokenizer.encode(text), tokenizer.eos_id] for text in TEXTS]
    assert tokens.ids.dtype == np.uint16
    assert tokens.ids.tolist() == [i for ids in expected for i in ids]
    assert np.diff(tokens.starts).tolist() == [len(ids) for ids in expected]
    assert tokens.n_bytes_of.tolist() == [len(text.encode()) for text in TEXTS]
    digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in TEXTS]
    assert tokens.hashes.tolist() == [int.from_bytes(digest, "little") for digest in digests]
    assert (tokens.n_tokens, tokens.n_documents, tokens.n_bytes) == (len(tokens.ids), 5, sum(tokens.n_bytes_of))
    about = json.loads((tokens.folder / "about.json").read_text())
    assert about["tokenizer_fingerprint"] == tokenizer.fingerprint
    assert {"tokens", "bytes", "documents", "dtype", "corpus_fingerprint"} < set(about)


FRAMES = {  # what a family's template puts around a text -> (begin, end) of a document
    "[CLS] $A [SEP]": (("[CLS]",), ("[SEP]",)),
    "[CLS] $A": (("[CLS]",), ("[SEP]",)),  # Llama: nothing behind, so the end of text stands there
    "[CLS] [CLS] $A [SEP] [SEP]": (("[CLS]", "[CLS]"), ("[SEP]", "[SEP]")),
    "$A": ((), ("[SEP]",)),
}


def templated(folder: Path, template: str) -> Any:
    """A tokenizer of a checkpoint's folder with that template; [SEP] ends its texts."""
    from tokenizers import processors

    inner = train_bpe(TEXTS, 280, simplify=False)._inner
    inner.add_special_tokens(["[CLS]", "[SEP]"])
    ids = [(name, inner.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    inner.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
    inner.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"cls_token": "[CLS]", "eos_token": "[SEP]"}))
    return load_tokenizer(folder)


@pytest.mark.parametrize("template", FRAMES)
def test_framed_documents_begin_and_end_by_the_tokenizers_template(
    made: Callable[..., Corpus], tmp_path: Path, template: str
) -> None:
    tokenizer = templated(tmp_path, template)
    begin, end = ([tokenizer._inner.token_to_id(name) for name in side] for side in FRAMES[template])
    assert document_frame(tokenizer) == (tuple(begin), tuple(end))
    tokens = tokenise(made(TEXTS), tokenizer, tmp_path, framed=True)
    expected = [[*begin, *tokenizer.encode(text), *end] for text in TEXTS]
    assert [tokens.ids[a:b].tolist() for a, b in zip(tokens.starts, tokens.starts[1:], strict=False)] == expected
    plain = tokenise(made(TEXTS), tokenizer, tmp_path)
    assert plain.ids.tolist() == [i for text in TEXTS for i in [*tokenizer.encode(text), tokenizer.eos_id]]
    assert (tokens.folder == plain.folder) == (not begin)  # a file of its own only where it differs
    # What a template puts in front is never a target, so it does not thin out the bytes a token stands for.
    assert TokenStream(tokens).bytes_per_token == sum(tokens.n_bytes_of) / (len(tokens.ids) - len(begin) * len(TEXTS))


def test_a_document_encoded_in_parts_is_framed_once(made: Callable[..., Corpus], tmp_path: Path) -> None:
    tokenizer = templated(tmp_path, "[CLS] $A [SEP]")
    texts = ["a word of many " * 20_000, "short"]
    assert tokenizer.splittable
    tokens = tokenise(made(texts), tokenizer, tmp_path, framed=True)
    expected = [tokenizer.encode(text, add_special_tokens=True) for text in texts]
    assert tokens.ids.tolist() == [i for ids in expected for i in ids]


def test_both_halves_of_a_document_that_is_cut_are_framed(made: Callable[..., Corpus], tmp_path: Path) -> None:
    tokenizer = templated(tmp_path, "[CLS] $A [SEP]")
    tokens = tokenise(made(["one two three four"]), tokenizer, tmp_path, cut_at=8, framed=True)
    begin, end = document_frame(tokenizer)
    assert tokens.n_documents == 2
    for a, b in zip(tokens.starts, tokens.starts[1:], strict=False):
        assert (tokens.ids[a], tokens.ids[b - 1]) == (begin[0], end[0])


def test_a_tokenizer_without_end_token_gets_none(made: Callable[..., Corpus], tmp_path: Path) -> None:
    tokenizer = build_char_tokenizer(TEXTS)
    tokens = tokenise(made(TEXTS), tokenizer, tmp_path)
    assert tokens.ids.dtype == np.uint8
    assert tokenizer.decode(tokens.ids.tolist()) == "".join(TEXTS)
    assert np.diff(tokens.starts).tolist() == [len(text) for text in TEXTS]


def test_bytes_are_those_of_the_text_that_is_kept(made: Callable[..., Corpus], tmp_path: Path) -> None:
    tokens = tokenise(made(["naïve 日本 x"]), train_bpe(["naive text"], 260), tmp_path)
    assert tokens.n_bytes == len("naive  x")


def test_long_documents_are_encoded_in_parts_and_give_the_same_ids(
    shared: Path, tiktoken_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from groundup.data import files

    text = (shared / "text/wikitext-2/wiki.valid.raw").read_text(encoding="utf-8")[:300_000]
    path = tmp_path / "text.txt"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(files, "READ_BYTES", 20_001)
    monkeypatch.setattr(tokenised, "BATCH_CHARS", 150_000)
    for tokenizer in (load_tokenizer("gpt2"), load_tokenizer(shared / "tokenizers/llama2")):
        tokens = tokenise(open_corpus(path), tokenizer, tmp_path)
        assert tokens.n_documents == 1
        assert tokens.ids[:-1].tolist() == tokenizer.encode(text)
        assert tokens.n_bytes == len(text.encode())


@pytest.mark.parametrize(
    ("vocab_size", "name"), [(256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "uint32")]
)
def test_the_smallest_dtype_that_holds_the_vocabulary(vocab_size: int, name: str) -> None:
    dtype = id_dtype(vocab_size)
    assert dtype == np.dtype(name)
    assert np.array([vocab_size - 1]).astype(dtype)[0] == vocab_size - 1


class Counting(ByteTokenizer):
    """Counts how often it is asked to encode."""

    calls = 0

    def encode_arrays(self, texts: Any) -> Any:
        Counting.calls += 1
        return super().encode_arrays(texts)


def test_made_once_for_a_text_and_a_tokenizer(made: Callable[..., Corpus], tmp_path: Path) -> None:
    Counting.calls = 0
    first = tokenise(made(TEXTS), Counting(), tmp_path)
    assert Counting.calls == 1
    again = tokenise(made(TEXTS), Counting(), tmp_path)
    assert Counting.calls == 1
    assert again.folder == first.folder
    assert again.ids.tolist() == first.ids.tolist()
    others = [
        tokenise(made([*TEXTS, "more"]), Counting(), tmp_path),
        tokenise(made(TEXTS), Counting(), tmp_path, cut_at=3),
    ]
    others += [tokenise(made(TEXTS), train_bpe(TEXTS, size), tmp_path) for size in (270, 271)]
    assert len({first.folder, *(other.folder for other in others)}) == 5


# --- damage ------------------------------------------------------------------------------------------------------


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "tokens cut": lambda folder: os.truncate(folder / "tokens.bin", 100),
    "tokens longer": lambda folder: (folder / "tokens.bin").open("ab").write(b"xx"),
    "a bit": lambda folder: flip(folder / "tokens.bin", 1_500_001),
    "starts cut": lambda folder: os.truncate(folder / "starts.npy", 130),
    "starts of another": lambda folder: np.save(folder / "starts.npy", np.array([0, 5])),
    "checks gone": lambda folder: (folder / "checks.npy").unlink(),
    "about cut": lambda folder: os.truncate(folder / "about.json", 50),
    "about empty": lambda folder: (folder / "about.json").write_text("{}"),
    "about of another": lambda folder: (folder / "about.json").write_text('{"dtype": "uint16", "tokens": 5}'),
    "no tokens": lambda folder: (folder / "tokens.bin").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_made_again_with_a_note(
    made: Callable[..., Corpus], tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    texts = ["some text of a good length " * 40_000, "short"]
    first = tokenise(made(texts), ByteTokenizer(), tmp_path, progress=False)
    expected = first.ids.tolist()
    DAMAGES[damage](first.folder)
    assert tokenise(made(texts), ByteTokenizer(), tmp_path, progress=False).ids.tolist() == expected
    assert "is damaged" in capsys.readouterr().err
    assert open_tokens(first.folder).n_tokens == len(expected)
    tokenise(made(texts), ByteTokenizer(), tmp_path, progress=False)
    assert capsys.readouterr().err == ""


def test_large_files_are_checked_in_places(
    made: Callable[..., Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenised, "CHECK_WHOLE", 1 << 20)
    tokens = tokenise(made(["some text of a good length " * 100_000]), ByteTokenizer(), tmp_path, progress=False)
    flip(tokens.folder / "tokens.bin", tokens.ids.nbytes - 1)
    with pytest.raises(Damaged):
        open_tokens(tokens.folder)


# --- kills and other writers -------------------------------------------------------------------------------------

SLOW = """
import sys, time
from pathlib import Path
from groundup.data import tokenised
from groundup.data.corpus import TextFiles
from groundup.tokenizers.byte import ByteTokenizer

class Slow(ByteTokenizer):
    def encode_arrays(self, texts):
        time.sleep(0.05)
        return super().encode_arrays(texts)

tokenised.BATCH_CHARS = 30_000
text, cache = Path(sys.argv[1]), Path(sys.argv[2])
tokens = tokenised.tokenise(TextFiles("slow", [text], "line"), Slow(), cache, progress=False)
print(tokens.n_tokens, flush=True)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts a process that takes about a second to tokenise a text into tmp_path/cache."""
    text = tmp_path / "text.txt"
    text.write_text("a line of text, and no more than that\n" * 15_000)
    started: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SLOW, str(text), str(tmp_path / "cache")]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def wait_for_half_a_file(cache: Path) -> None:
    for _ in range(500):
        if any(path.stat().st_size for path in cache.glob("tokens/*.tmp/tokens.bin")):
            return
        time.sleep(0.01)
    raise AssertionError("nothing was written")


@pytest.mark.slow
def test_a_killed_writer_leaves_no_file_that_would_be_read(
    start: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = start()
    wait_for_half_a_file(tmp_path / "cache")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [path.suffix for path in (tmp_path / "cache/tokens").iterdir()] == [".tmp"]
    assert start().communicate(timeout=60)[0] == f"{15_000 * 38}\n"
    made = [path for path in (tmp_path / "cache/tokens").iterdir() if path.suffix != ".tmp"]
    assert len(made) == 1
    assert open_tokens(made[0]).n_documents == 15_000


@pytest.mark.slow
def test_two_writers_at_once(start: Callable[[], subprocess.Popen[str]], tmp_path: Path) -> None:
    processes = [start(), start()]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [out for out, _ in outputs] == [f"{15_000 * 38}\n"] * 2, outputs
    (folder,) = (tmp_path / "cache/tokens").iterdir()
    assert open_tokens(folder).n_tokens == 15_000 * 38


# --- what goes wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_an_empty_corpus(made: Callable[..., Corpus], tmp_path: Path, texts: list[str]) -> None:
    with pytest.raises(UserError, match="the corpus made is empty: no document in it has any text"):
        tokenise(made(texts), ByteTokenizer(), tmp_path)
    assert list((tmp_path / "tokens").iterdir()) == []


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UserError, match="is empty"):
        tokenise(open_corpus(tmp_path / "a.txt"), ByteTokenizer(), tmp_path / "cache")


def test_a_corpus_that_simplify_empties(made: Callable[..., Corpus], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is empty"):
        tokenise(made(["日本語", "中文"]), train_bpe(["some text"], 260), tmp_path)


def test_ids_that_the_vocabulary_does_not_hold(made: Callable[..., Corpus], tmp_path: Path) -> None:
    class Lying(ByteTokenizer):
        vocab_size = 100

    with pytest.raises(UserError, match=r"byte gave the id 122, and its vocab_size is 100"):
        tokenise(made(["a to z"]), Lying(), tmp_path)


def test_an_error_in_the_text_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"good text\n" * 1000 + b"\xff")
    with pytest.raises(UserError, match="not UTF-8: byte 10000"):
        tokenise(open_corpus(tmp_path / "a.txt"), ByteTokenizer(), tmp_path / "cache")
    assert list((tmp_path / "cache/tokens").iterdir()) == []


# --- size and progress -------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_corpus(made: Callable[..., Corpus], tmp_path: Path) -> None:
    class Large(type(made([]))):  # type: ignore[misc]
        def _pieces(self) -> Iterator[Piece]:
            line = "a line of text, and no more than that\n" * 3000
            return ((line, i % 10 == 9) for i in range(400))  # 46 MB

    corpus = Large([])
    tracemalloc.start()
    tokens = tokenise(corpus, ByteTokenizer(), tmp_path, progress=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert tokens.n_bytes == 400 * 3000 * 38
    assert peak < 16e6


def test_a_bar_shows_bytes_and_rate(
    made: Callable[..., Corpus], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenise(made(["x" * 2_000_000]), ByteTokenizer(), tmp_path)
    said = capsys.readouterr().err
    assert "tokenising made: 100%" in said
    assert "2.00M/2.00M" in said
    assert "B/s" in said
