"""Text to batches: corpora, token files, packing, counter-based sampling.

corpus.py     where documents come from: files, folders, tables, hub datasets, stdlib
splits.py     which files of a folder are to train on, and which are kept apart
articles.py   lines of running text, joined or as WikiText's articles
tokenised.py  documents -> a memory-mapped file of ids, made once
stream.py     a choice of its documents, read as one stream
sampling.py   batch i of epoch e, a pure function of (seed, e, i, rank)
rows.py       the same of rows of different lengths: padded, grouped by length or packed
masking.py    masked tokens as targets, for causal and for bidirectional models
lengths.py    how long rows are and what is cut, as a table
text.py       all of it for a run: `load_text_data`
classification/   texts with a class as rows: `load_classification`
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "open_corpus": "corpus",
    "tokenise": "tokenised",
    "TokenFile": "tokenised",
    "TokenStream": "stream",
    "Sampler": "sampling",
    "Batch": "sampling",
    "Row": "rows",
    "RowSampler": "rows",
    "mask_inputs": "masking",
    "mask_tokens": "masking",
    "load_text_data": "text",
    "load_text": "text",
    "TextData": "text",
}


def __getattr__(name: str) -> Any:
    # Names are imported when first asked for: `groundup.data` itself costs nothing.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
