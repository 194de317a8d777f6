"""Loading a checkpoint: peak memory and time, this toolkit's load_pretrained against transformers' from_pretrained.

A Llama-shaped checkpoint of 1.1 billion random parameters (TinyLlama's shape) is written to a temporary folder in bf16,
in shards. Each measurement is a fresh process; the systems take turns and the file is in the page cache for all.

    load      import done, until the call returns the model
    + read    until every weight was read once as well: weights that are only mapped have not been loaded yet
    peak      the most the process held by then, above what it held after its imports, over the size of the weights

Two cases: bf16 as stored, and cast to fp32 on the way. Before each load as much memory is touched and freed as it will
take: to a virtual machine its host may give memory slowly when it was long unused, which is no part of a load.
"""

from __future__ import annotations

import argparse
import mmap
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from report import GIB, Worker, answer_requests, environment, parser, peak_memory, publish, table

SYSTEMS = ("groundup", "transformers")
DTYPES = ("bf16", "fp32")


def write_checkpoint(folder: Path, arguments: argparse.Namespace) -> None:
    """A Llama whose weights are random, saved by transformers in bf16."""
    import torch
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=32_000,
        hidden_size=arguments.width,
        intermediate_size=arguments.width * 11 // 4,
        num_hidden_layers=arguments.layers,
        num_attention_heads=32,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    transformers.LlamaForCausalLM(config).save_pretrained(folder, max_shard_size="1GB")


def measure(arguments: argparse.Namespace) -> None:
    """Answer "load" with what one load took, and any other request once everything is imported."""
    import torch

    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[arguments.dtype]
    if arguments.measure == "groundup":
        from groundup.models import load_pretrained

        def load() -> Any:
            return load_pretrained(arguments.checkpoint, dtype=dtype)
    else:
        from transformers import LlamaForCausalLM

        def load() -> Any:
            return LlamaForCausalLM.from_pretrained(arguments.checkpoint, dtype=dtype)

    def answer(request: object) -> dict[str, float]:
        if request != "load":
            return {}
        before, started = peak_memory(), time.perf_counter()
        model = load()
        loaded = time.perf_counter() - started
        with torch.no_grad():
            total = sum(float(p.sum(dtype=torch.float32)) for p in model.parameters())
        size = sum(p.numel() * p.element_size() for p in model.parameters()) / GIB
        return {
            "load": loaded,
            "read": time.perf_counter() - started,
            "peak_gib": peak_memory() - before,
            "weights_gib": size,
            "sum": total,
        }

    answer_requests(answer)


def touch_memory(n_bytes: int) -> None:
    """Let the system have so much memory at hand."""
    with mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        for start in range(0, n_bytes, mmap.PAGESIZE):
            memory[start] = 1


def main() -> None:
    """Parse, measure, report."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=5, help="processes of each system and case (default 5)")
    options.add_argument("--layers", type=int, default=22, help=argparse.SUPPRESS)
    options.add_argument("--width", type=int, default=2048, help=argparse.SUPPRESS)
    options.add_argument("--measure", choices=SYSTEMS, help=argparse.SUPPRESS)
    options.add_argument("--dtype", choices=DTYPES, help=argparse.SUPPRESS)
    options.add_argument("--checkpoint", type=Path, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.quick:
        arguments.layers, arguments.width, arguments.rounds = 1, 256, 1
    if arguments.measure:
        measure(arguments)
        return

    results: dict[tuple[str, str], list[dict[str, float]]] = {(dtype, name): [] for dtype in DTYPES for name in SYSTEMS}
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), arguments)
        for number in range(arguments.rounds):
            for dtype, name in results if number % 2 == 0 else reversed(results):
                worker = Worker(__file__, f"--measure={name}", f"--dtype={dtype}", f"--checkpoint={folder}")
                worker.ask("are you there?")
                touch_memory(4 * sum(path.stat().st_size for path in Path(folder).iterdir()))
                results[dtype, name].append(worker.ask("load"))
                worker.close()
            print(f"round {number + 1} done", file=sys.stderr)

    rows: list[dict[str, object]] = []
    for (dtype, name), measured in results.items():
        sums = {round(m["sum"], 1) for system in SYSTEMS for m in results[dtype, system]}
        if len(sums) > 1:
            raise SystemExit(f"error: the weights loaded in {dtype} differ: they sum to {sorted(sums)}")
        size = measured[0]["weights_gib"]
        peak = statistics.median(m["peak_gib"] for m in measured)
        rows.append(
            {
                "system": name,
                "dtype": dtype,
                "load s": statistics.median(m["load"] for m in measured),
                "+ read s": statistics.median(m["read"] for m in measured),
                "weights GiB": size,
                "peak GiB": peak,
                "peak / weights": peak / size,
            }
        )
    data = {
        "environment": environment("transformers"),
        "results": [{"dtype": dtype, "system": name, "runs": runs} for (dtype, name), runs in results.items()],
        "table": rows,
    }
    kept = "page cache and memory warm"
    note = f"TinyLlama's shape, bf16 in shards of 1 GB, {kept}; {arguments.rounds} processes each, medians."
    publish(arguments, "load", "Loading 1.1 billion parameters", data, [note, table(rows)])


if __name__ == "__main__":
    main()
