"""Tokenising a corpus to a file, against tiktoken's own batch encoding of the same text. Interleaved, median of rounds.

    python benchmarks/tokenise.py [--corpus stdlib|FILE|FOLDER] [--rounds 5] [--output benchmarks/results/tokenise.json]

Ours is timed whole: hashing and reading the files, encoding, writing the token file, flushing it to disk. The peer is
`Encoding.encode_ordinary_batch` or `Tokenizer.encode_batch_fast`, timed on strings in memory; it writes nothing.
A ratio above 1 says ours is faster.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiktoken
import tokenizers
from groundup.data import open_corpus, tokenise
from groundup.tokenizers.bpe import train_bpe
from groundup.tokenizers.load import load_tokenizer


def seconds(action: Callable[[], Any]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def compare(corpus_name: str, encoding: str, rounds: int) -> dict[str, Any]:
    """Median seconds of both, in turn, on one corpus."""
    documents = list(open_corpus(corpus_name).documents())
    n_bytes = sum(len(document.encode()) for document in documents)
    if encoding == "bpe":
        tokenizer = train_bpe(documents, 50257, simplify=False)
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save(folder)
            peer: Any = tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json").encode_batch_fast
        against = "tokenizers' encode_batch_fast, the same vocabulary"
    else:
        tokenizer, peer = load_tokenizer(encoding), tiktoken.get_encoding(encoding).encode_ordinary_batch
        against = "tiktoken's encode_ordinary_batch"
    cache = Path(tempfile.mkdtemp())

    def ours() -> None:
        shutil.rmtree(cache, ignore_errors=True)
        tokenise(open_corpus(corpus_name), tokenizer, cache, progress=False)

    try:
        ours()
        times = [(seconds(ours), seconds(lambda: peer(documents))) for _ in range(rounds)]
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    own, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    return {
        "tokenizer": encoding,
        "against": against,
        "megabytes": round(n_bytes / 1e6, 2),
        "documents": len(documents),
        "ours_seconds": round(own, 3),
        "peer_seconds": round(theirs, 3),
        "ours_megabytes_per_second": round(n_bytes / own / 1e6, 1),
        "ratio": round(theirs / own, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default="stdlib")
    parser.add_argument("--tokenizers", nargs="+", default=["gpt2", "cl100k_base", "o200k_base", "bpe"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    rows = [compare(args.corpus, encoding, args.rounds) for encoding in args.tokenizers]
    for row in rows:
        print(
            f"{row['tokenizer']:12} ours {row['ours_seconds']:.3f} s ({row['ours_megabytes_per_second']} MB/s), "
            f"{row['against']} {row['peer_seconds']:.3f} s: {row['ratio']:.2f} times as fast"
        )
    if args.output:
        report = {
            "date": datetime.date.today().isoformat(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "versions": {"tiktoken": tiktoken.__version__, "tokenizers": tokenizers.__version__},
            "corpus": Path(args.corpus).name,
            "rounds": args.rounds,
            "rows": rows,
        }
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
