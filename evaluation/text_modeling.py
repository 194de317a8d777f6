"""Text modelling without regard to the tokenizer: how a model goes on with a text, compared byte by byte.

A passage of held-out text is a prompt and its continuation, both measured in bytes, so that every model is asked the
same whatever its tokens are. The model writes the likeliest continuation. Its bytes are compared with the text's: how
many at each position are right, and how many edits (Levenshtein) lead from one to the other.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..data.stream import TokenStream
from ..errors import UserError
from ..models.model import Model
from ..tokenizers.base import Tokenizer
from .writing import write

if TYPE_CHECKING:
    from .registry import EvalContext, Numbers

PROMPT, CONTINUATION = 192, 32  # bytes
BUCKETS = ((0, 1), (1, 2), (2, 4), (4, 8), (8, 16), (16, 32))  # positions of a continuation's bytes
PASSAGES = 128  # no more are written however many samples are asked for: decoding is slow on a CPU
DOCUMENTS = 2048  # of held-out text that are decoded to find passages in
LONGEST = 1 << 16  # characters of a document that are looked at

Passage = tuple[str, bytes]


def text_modeling(
    model: Model,
    tokenizer: Tokenizer,
    texts: Iterable[str],
    *,
    num_samples: int = PASSAGES,
    batch_size: int = 8,
    title: str | None = None,
) -> dict[str, float]:
    """Greedy continuations of evenly spaced passages: the same ones each time, for every tokenizer.

    Args:
        texts: documents.
        num_samples: passages; PASSAGES at most.

    Returns:
        byte_accuracy (the share of the CONTINUATION's bytes that are right at their place), accuracy_I-J for
        positions I to J, edit_distance (edits a byte of text: 0 is perfect), passages, seconds.

    Raises:
        UserError: there is no text, or the model writes none.
    """
    started = time.perf_counter()
    chosen = passages(texts, min(num_samples, PASSAGES))
    written = write(
        model,
        tokenizer,
        [prompt for prompt, _ in chosen],
        max_new_tokens=CONTINUATION,  # a token is a byte or more
        enough=lambda text: len(text.encode()) >= CONTINUATION + 3,  # what may yet become a character is dropped
        batch_size=batch_size,
        title=title,
    )
    pairs = [(row.text.encode()[: len(truth)], truth) for row, (_, truth) in zip(written, chosen, strict=True)]
    return compare(pairs) | {"passages": len(pairs), "seconds": round(time.perf_counter() - started, 3)}


def compare(pairs: Sequence[tuple[bytes, bytes]]) -> dict[str, float]:
    """Numbers of (written, true) continuations; a byte that was not written is wrong."""
    right = [0] * CONTINUATION
    asked = [0] * CONTINUATION
    for written, truth in pairs:
        for i, byte in enumerate(truth):
            asked[i] += 1
            right[i] += i < len(written) and written[i] == byte
    numbers = {"byte_accuracy": sum(right) / max(1, sum(asked))}
    edits = sum(edit_distance(written, truth) for written, truth in pairs)
    numbers["edit_distance"] = edits / max(1, sum(asked))
    for first, last in BUCKETS:
        if not any(asked[first:last]):
            continue  # no text is that long
        name = f"accuracy_{first}" + (f"-{last - 1}" if last - first > 1 else "")
        numbers[name] = sum(right[first:last]) / sum(asked[first:last])
    return numbers


def edit_distance(a: bytes, b: bytes) -> int:
    """The fewest insertions, deletions and replacements of bytes that make b of a."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def passages(texts: Iterable[str], count: int) -> list[Passage]:
    """(prompt, continuation): stretches that do not overlap, evenly drawn over all that the texts hold.

    Raises UserError where no text has two characters.
    """
    found = [passage for text in texts for passage in _cut(text)]
    if not found:
        raise UserError(
            "text modelling needs documents of two characters or more, and there is none: give more text, or set "
            "evaluation.text_modeling_eval to false"
        )
    count = min(count, len(found))
    return [found[i * len(found) // count] for i in range(count)]


def _cut(text: str) -> Iterator[Passage]:
    """A document's passages; each begins and is divided between two characters. A short document is one, halved."""
    data, at = text[:LONGEST].encode("utf-8", "replace"), 0
    if len(data) < PROMPT + CONTINUATION:
        middle = _next_character(data, len(data) // 2)
        if 0 < middle < len(data):
            yield data[:middle].decode(), data[middle : middle + CONTINUATION]
        return
    while True:
        middle = _next_character(data, at + PROMPT)
        end = middle + CONTINUATION
        if end > len(data):
            return
        yield data[at:middle].decode(), data[middle:end]
        at = _next_character(data, end)


def _next_character(data: bytes, at: int) -> int:
    while at < len(data) and data[at] & 0xC0 == 0x80:
        at += 1
    return at


def stream_texts(stream: TokenStream, tokenizer: Tokenizer) -> Iterator[str]:
    """The documents of tokenised text as text, evenly drawn where there are many."""
    count = min(stream.n_documents, DOCUMENTS)
    for i in range(count):
        d = i * stream.n_documents // count
        first, last = int(stream.starts[d]), int(stream.starts[d + 1])
        yield tokenizer.decode(stream.read(first, min(last, first + LONGEST)).tolist(), skip_special_tokens=True)


def measure_text_modeling(model: Model, tokenizer: Tokenizer, context: EvalContext) -> Numbers:
    """The task `text_modeling`, on a file of text or on what the run held out."""
    from ..data.corpus import open_corpus
    from ..data.text import load_text_data

    if context.data is not None:
        texts: Iterable[str] = open_corpus(str(context.data)).documents()
    else:
        held_out = None if context.run is None else load_text_data(context.run, tokenizer).val
        if held_out is None:
            raise UserError(f"{context.name} has held out no text: name one with --data FILE_OR_DIR")
        texts = stream_texts(held_out, tokenizer)
    return dict(
        text_modeling(
            model,
            tokenizer,
            texts,
            num_samples=context.limit or PASSAGES,
            batch_size=context.batch_size or 16,
            title="text_modeling" if context.progress else None,
        )
    )
