"""Some documents of a token file, read as if they lay one after the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .tokenised import TokenFile


class TokenStream:
    """The chosen documents of `tokens` in file order: positions 0 .. n_tokens - 1.

    `starts` (D + 1,) are the positions where its documents begin. Contiguous documents form a run, and a stretch
    within one run is read with a single gather.
    """

    def __init__(
        self, tokens: TokenFile, documents: NDArray[np.int64] | None = None, name: str = "training text"
    ) -> None:
        self.name = name
        chosen = np.arange(tokens.n_documents) if documents is None else np.sort(documents)
        first = np.asarray(tokens.starts[chosen], dtype=np.int64)
        lengths = np.asarray(tokens.starts[chosen + 1], dtype=np.int64) - first
        self.tokens = tokens
        self.starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])  # (D + 1,)
        self.n_documents = len(chosen)
        self.n_tokens = int(self.starts[-1])
        self.n_bytes = int(tokens.n_bytes_of[chosen].sum())
        # A run begins where a document does not continue the one before it in the file.
        shift = first - self.starts[:-1]  # file position = stream position + shift
        begins = np.flatnonzero(np.diff(shift, prepend=shift[:1] - 1))
        self._run_starts = self.starts[:-1][begins]
        self._run_ends = np.append(self._run_starts[1:], self.n_tokens)
        self._run_shift = shift[begins]

    @property
    def bytes_per_token(self) -> float:
        """How much text a token stands for; bits per byte = loss / ln 2 / bytes_per_token.

        What the tokenizer's template puts before a document is never predicted and does not count.
        """
        return self.n_bytes / (self.n_tokens - self.n_documents * self.tokens.about.get("begin", 0))

    def read(self, start: int, stop: int) -> NDArray[np.int64]:
        """The ids at positions start .. stop - 1."""
        return self.gather(np.array([start], dtype=np.int64), stop - start)[0]

    def gather(self, starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """Stretches of equal length: starts (B,) -> ids (B, length), int64."""
        offsets = np.arange(length, dtype=np.int64)
        if len(self._run_starts) == 1:
            where = (starts + self._run_shift[0])[:, None] + offsets
        else:
            run = np.searchsorted(self._run_starts, starts, side="right") - 1
            where = (starts + self._run_shift[run])[:, None] + offsets
            for row in np.flatnonzero(starts + length > self._run_ends[run]):
                positions = starts[row] + offsets
                where[row] = positions + self._run_shift[self._run_index(positions)]
        return self.tokens.ids[where].astype(np.int64)

    def _run_index(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self._run_starts, positions, side="right") - 1


def split_documents(tokens: TokenFile, val_fraction: float, seed: int = 0) -> tuple[TokenStream, TokenStream]:
    """(training, held-out): documents drawn by a hash of their text until they hold `val_fraction` of the tokens.

    The draw depends on the text and `seed` alone, so equal documents land on the same side and a longer corpus keeps
    most of its split. A document larger than half of what is to be held out stays in training, unless all are: then
    the smallest is held out. `tokens` must have two documents.
    """
    lengths = np.diff(tokens.starts)
    target = val_fraction * tokens.n_tokens
    order = np.argsort(_mix(np.asarray(tokens.hashes) + np.uint64(seed)), kind="stable")
    order = order[lengths[order] <= target / 2]
    if len(order) == 0:
        order = np.argsort(lengths, kind="stable")[:1]
    before = np.cumsum(lengths[order]) - lengths[order]
    last = max(1, int(np.searchsorted(before, target))) - 1
    # The twins of the last one come along: no text is on both sides.
    chosen = np.union1d(order[:last], np.flatnonzero(tokens.hashes == tokens.hashes[order[last]]))
    if len(chosen) == tokens.n_documents:
        chosen = chosen[:1]
    train = np.setdiff1d(np.arange(tokens.n_documents), chosen)
    return TokenStream(tokens, train), TokenStream(tokens, chosen, "held-out text")


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finaliser: every bit of the input moves every bit of the output."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
