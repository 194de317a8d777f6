"""Documents -> ids in a memory-mapped file, made once for a corpus and a tokenizer and kept in the cache.

A token file is a folder: `tokens.bin` (the ids of all documents one after the other, each ended by the tokenizer's
end-of-text id if it has one; framed, each between what the tokenizer's own template puts around a text), `starts.npy`
(D + 1,) where each begins, `bytes.npy` (D,) its length as UTF-8, `hashes.npy` (D,) of its text, `checks.npy` a CRC-32
for every MiB of tokens, and `about.json`.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from array import array
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, notice
from ..tokenizers.base import Tokenizer
from .cache import publish_folder, short_hash
from .corpus import Corpus, Piece
from .cut_points import cut_pieces, join_pieces, split_at

FORMAT = 1
BLOCK = 1 << 20
CHECK_WHOLE = 1 << 30  # tokens.bin above this size is checked at 256 places instead of everywhere
BATCH_CHARS = 1 << 20
T = TypeVar("T")
Frame = tuple[tuple[int, ...], tuple[int, ...]]
ARRAYS = ("starts", "bytes", "hashes", "checks")


@dataclass(frozen=True)
class TokenFile:
    """A token file, opened. `ids` is a read-only map; `starts` (D + 1,), `n_bytes_of` and `hashes` (D,)."""

    folder: Path
    about: dict[str, Any]
    ids: NDArray[Any]
    starts: NDArray[np.int64]
    n_bytes_of: NDArray[np.int64]
    hashes: NDArray[np.uint64]

    @property
    def n_tokens(self) -> int:
        return len(self.ids)

    @property
    def n_documents(self) -> int:
        return len(self.starts) - 1

    @property
    def n_bytes(self) -> int:
        return int(self.n_bytes_of.sum())


class Damaged(Exception):
    """A token file that is not what its `about.json` says."""


UNREADABLE = (Damaged, OSError, ValueError, KeyError)  # what open_tokens raises of a file that must be made again


def id_dtype(vocab_size: int) -> np.dtype[Any]:
    """The smallest of uint8, uint16, uint32 that holds every id."""
    return np.dtype(np.uint8 if vocab_size <= 1 << 8 else np.uint16 if vocab_size <= 1 << 16 else np.uint32)


def tokenise(
    corpus: Corpus,
    tokenizer: Tokenizer,
    cache_dir: str | Path,
    *,
    cut_at: int | None = None,
    framed: bool = False,
    progress: bool = True,
) -> TokenFile:
    """The token file of a corpus: from the cache, or made now, in parallel.

    `cut_at` makes two documents of a single one, the first of so many characters. `framed` documents begin and end as
    the tokenizer's model saw them when it was trained: [CLS] ... [SEP], <s> ... Raises UserError for an empty corpus,
    unreadable text or a cache that cannot be written.
    """
    plain = _plain_frame(tokenizer)
    frame = document_frame(tokenizer) if framed else plain
    key = short_hash(FORMAT, corpus.fingerprint, tokenizer.fingerprint, cut_at, *([] if frame == plain else [frame]))
    folder = Path(cache_dir) / "tokens" / f"{_plain(corpus.name)}-{_plain(tokenizer.name)}-{key}"
    if folder.is_dir():
        try:
            return open_tokens(folder)
        except UNREADABLE as error:
            notice(f"the token file {folder} is damaged ({error}): tokenising again")
    publish_folder(folder, lambda place: _write(place, corpus, tokenizer, cut_at, frame, progress), _is_whole)
    return open_tokens(folder)


def document_frame(tokenizer: Tokenizer) -> Frame:
    """The ids before and after a document by the tokenizer's own template; where it has none after, end of text."""
    text, framed = tokenizer.encode("a"), tokenizer.encode("a", add_special_tokens=True)
    for start in range(len(framed) - len(text) + 1):
        if framed[start : start + len(text)] == text:
            end = tuple(framed[start + len(text) :])
            return tuple(framed[:start]), end or _plain_frame(tokenizer)[1]
    return _plain_frame(tokenizer)


def _plain_frame(tokenizer: Tokenizer) -> Frame:
    return (), () if tokenizer.eos_id is None else (tokenizer.eos_id,)


def _is_whole(folder: Path) -> bool:
    try:
        open_tokens(folder)
    except UNREADABLE:
        return False
    return True


def open_tokens(folder: Path) -> TokenFile:
    """Map a token file and check it. Raises Damaged."""
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    dtype = np.dtype(about["dtype"])
    path = folder / "tokens.bin"
    if path.stat().st_size != about["tokens"] * dtype.itemsize:
        raise Damaged(f"tokens.bin has {path.stat().st_size} bytes, {about['tokens'] * dtype.itemsize} expected")
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS}
    if len(arrays["starts"]) != about["documents"] + 1 or int(arrays["starts"][-1]) != about["tokens"]:
        raise Damaged("starts.npy does not fit tokens.bin")
    ids = np.asarray(np.memmap(path, dtype=dtype, mode="r"))
    _check(ids, arrays["checks"])
    return TokenFile(folder, about, ids, arrays["starts"], arrays["bytes"], arrays["hashes"])


def _check(ids: NDArray[Any], checks: NDArray[np.uint32]) -> None:
    raw = memoryview(cast(Any, ids)).cast("B")
    n_blocks = -(-len(raw) // BLOCK)
    if len(checks) != n_blocks:
        raise Damaged("checks.npy does not fit tokens.bin")
    blocks: Iterable[int] = range(n_blocks)
    if len(raw) > CHECK_WHOLE:
        blocks = np.unique(np.linspace(0, n_blocks - 1, 256).astype(np.int64)).tolist()
    for i in blocks:
        if zlib.crc32(raw[i * BLOCK : (i + 1) * BLOCK]) != int(checks[i]):
            raise Damaged(f"tokens.bin differs from what was written, in MiB {i}")


def _plain(name: str) -> str:
    plain = "".join(c if c.isalnum() or c in "._" else "_" for c in Path(name).name or name)
    return plain[:40] or "corpus"


class _Writer:
    """Takes ids in order and keeps what `about.json` and the arrays need; only offsets stay in memory."""

    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None:
        self.folder = folder
        self.dtype = dtype
        self.file = (folder / "tokens.bin").open("wb")
        self.n_tokens = 0
        self.starts = array("q", [0])
        self.n_bytes = array("q")
        self.hashes = array("Q")
        self.checks = array("L" if array("L").itemsize == 4 else "I")
        self._held = bytearray()

    def write(self, ids: NDArray[Any]) -> None:
        self._held += ids.astype(self.dtype, copy=False).tobytes()
        self.n_tokens += len(ids)
        while len(self._held) >= BLOCK:
            self._flush(self._held[:BLOCK])
            del self._held[:BLOCK]

    def _flush(self, block: bytearray) -> None:
        self.checks.append(zlib.crc32(block))
        self.file.write(block)

    def end_document(self, n_bytes: int, text_hash: int) -> None:
        self.starts.append(self.n_tokens)
        self.n_bytes.append(n_bytes)
        self.hashes.append(text_hash)

    def close(self) -> None:
        if self._held:
            self._flush(self._held)
        self.file.close()
        arrays = (self.starts, np.int64), (self.n_bytes, np.int64), (self.hashes, np.uint64), (self.checks, np.uint32)
        for name, (values, dtype) in zip(ARRAYS, arrays, strict=True):
            np.save(self.folder / f"{name}.npy", np.array(values, dtype=dtype))


def _write(
    folder: Path, corpus: Corpus, tokenizer: Tokenizer, cut_at: int | None, frame: Frame, progress: bool
) -> None:
    from tqdm import tqdm

    def encode(batch: list[Piece]) -> tuple[list[Piece], list[NDArray[Any]]]:
        return batch, tokenizer.encode_arrays([text for text, _ in batch])

    writer = _Writer(folder, id_dtype(tokenizer.vocab_size))
    begin, end = (np.array(ids, dtype=np.uint32) for ids in frame)
    begins = True
    digest, n_bytes = hashlib.blake2b(digest_size=8), 0
    batches = _batches(_pieces(corpus, tokenizer, cut_at))
    with tqdm(
        total=corpus.n_bytes,
        unit="B",
        unit_scale=True,
        desc=f"tokenising {Path(corpus.name).name}",
        disable=not progress,
    ) as bar:
        # Three things at once: one batch is read, the next encoded (by every core), the third written.
        for batch, arrays in _ahead(map(encode, _ahead(batches))):
            for (text, ends), ids in zip(batch, arrays, strict=True):
                if len(ids) and int(ids.max()) >= tokenizer.vocab_size:
                    raise UserError(
                        f"the tokenizer {tokenizer.name} gave the id {int(ids.max())}, and its vocab_size is "
                        f"{tokenizer.vocab_size}"
                    )
                if begins:
                    writer.write(begin)
                begins = ends
                writer.write(ids)
                data = tokenizer.normalize(text).encode("utf-8", "replace")
                digest.update(data)
                n_bytes += len(data)
                if ends:
                    writer.write(end)
                    writer.end_document(n_bytes, int.from_bytes(digest.digest(), "little"))
                    digest, n_bytes = hashlib.blake2b(digest_size=8), 0
                bar.update(len(data))
        bar.total = bar.n  # a table's file holds more than its text
    writer.close()
    if writer.n_tokens == (len(begin) + len(end)) * len(writer.n_bytes):
        raise UserError(f"the corpus {corpus.name} is empty: no document in it has any text")
    about = {
        "format": FORMAT,
        "corpus": corpus.name,
        "corpus_fingerprint": corpus.fingerprint,
        "tokenizer": tokenizer.name,
        "tokenizer_fingerprint": tokenizer.fingerprint,
        "dtype": writer.dtype.name,
        "tokens": writer.n_tokens,
        "begin": len(begin),
        "documents": len(writer.n_bytes),
        "bytes": sum(writer.n_bytes),
    }
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _pieces(corpus: Corpus, tokenizer: Tokenizer, cut_at: int | None) -> Iterator[Piece]:
    pieces = corpus.pieces()
    if cut_at is not None:
        pieces = split_at(pieces, cut_at)
    return cut_pieces(pieces) if tokenizer.splittable else join_pieces(pieces)


def _batches(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Pieces enough to keep every core busy, few enough to hold in memory."""
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece[0])
        if size >= BATCH_CHARS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; the next one is made, in a thread of its own, while one is used."""
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = maker.submit(next, items, None)
            yield item
