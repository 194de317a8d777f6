"""Greedy decoding with a KV cache on a CPU: this toolkit and transformers' generate, the same weights.

A GPT-2 small with random weights is saved once in the Hugging Face format and loaded by both, each in a process of its
own. They continue the same prompts in turn, round after round; medians of the rounds are reported. A rate counts new
tokens of all sequences over the whole call, prompt included. Both must write the same tokens, or the run ends.

    groundup       load_pretrained(...).generate(ids, n)
    transformers   GPT2LMHeadModel.generate(ids, attention_mask=1, max_new_tokens=n, do_sample=False), its own defaults
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from report import Worker, answer_requests, environment, parser, publish, table

SYSTEMS = ("groundup", "transformers")


def write_checkpoint(folder: Path, arguments: argparse.Namespace) -> None:
    """A GPT-2 of the asked size, weights random, large enough that it does not repeat one token, and not chaotic."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=arguments.vocabulary, n_layer=arguments.layers, initializer_range=0.05, pad_token_id=0
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)


def groundup_generate(checkpoint: Path, n: int) -> Any:
    """ids (B, T) -> (B, T + n)"""
    from groundup.models import load_pretrained

    model = load_pretrained(checkpoint)
    return lambda ids: model.generate(ids, n)


def transformers_generate(checkpoint: Path, n: int) -> Any:
    """ids (B, T) -> (B, T + n)"""
    import torch
    import transformers

    model = transformers.GPT2LMHeadModel.from_pretrained(checkpoint).eval()
    model.generation_config.eos_token_id = None
    return lambda ids: model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=n, do_sample=False, use_cache=True
    )


def measure(arguments: argparse.Namespace) -> None:
    """Answer a batch size with the seconds one call took and a digest of what it wrote."""
    import torch

    build = {"groundup": groundup_generate, "transformers": transformers_generate}[arguments.measure]
    generate: Any = None

    def answer(batch: int) -> dict[str, Any]:
        nonlocal generate
        if generate is None:
            generate = build(arguments.checkpoint, arguments.new_tokens)
        generator = torch.Generator().manual_seed(batch)
        ids = torch.randint(arguments.vocabulary, (batch, arguments.prompt), generator=generator)
        started = time.perf_counter()
        written = generate(ids)
        return {"seconds": time.perf_counter() - started, "written": written[:, arguments.prompt :].tolist()}

    answer_requests(answer)


def main() -> None:
    """Parse, measure, report."""
    options = parser(__doc__)
    options.add_argument("--batches", nargs="+", type=int, default=[1, 8], help="sequences at once (default 1 8)")
    options.add_argument("--prompt", type=int, default=32, help="tokens of each prompt (default 32)")
    options.add_argument("--new-tokens", type=int, default=64, help="tokens to write (default 64)")
    options.add_argument("--rounds", type=int, default=7, help="measured calls of each (default 7)")
    options.add_argument("--layers", type=int, default=12, help=argparse.SUPPRESS)
    options.add_argument("--vocabulary", type=int, default=50_257, help=argparse.SUPPRESS)
    options.add_argument("--measure", choices=SYSTEMS, help=argparse.SUPPRESS)
    options.add_argument("--checkpoint", type=Path, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.quick:
        arguments.layers, arguments.vocabulary, arguments.rounds, arguments.new_tokens = 1, 1000, 2, 8
    if arguments.measure:
        measure(arguments)
        return

    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), arguments)
        words = [f"--prompt={arguments.prompt}", f"--new-tokens={arguments.new_tokens}", f"--checkpoint={folder}"]
        words += [f"--vocabulary={arguments.vocabulary}"]
        workers = {name: Worker(__file__, f"--measure={name}", *words) for name in SYSTEMS}
        seconds: dict[tuple[int, str], list[float]] = {(b, name): [] for b in arguments.batches for name in SYSTEMS}
        for number in range(-1, arguments.rounds):
            for batch in arguments.batches:
                answers = {name: worker.ask(batch) for name, worker in workers.items()}
                if answers["groundup"]["written"] != answers["transformers"]["written"]:
                    raise SystemExit(f"error: at batch {batch} the two wrote different tokens")
                for name in SYSTEMS:
                    seconds[batch, name] += [answers[name]["seconds"]] if number >= 0 else []
            print(f"round {number + 2} done", file=sys.stderr)
        for worker in workers.values():
            worker.close()

    rows: list[dict[str, object]] = []
    for batch in arguments.batches:
        rates = {name: batch * arguments.new_tokens / statistics.median(seconds[batch, name]) for name in SYSTEMS}
        rows += [
            {"system": name, "batch": batch, "tokens/s": rate, "x transformers": rate / rates["transformers"]}
            for name, rate in rates.items()
        ]
    data = {
        "environment": environment("transformers"),
        "prompt": arguments.prompt,
        "new_tokens": arguments.new_tokens,
        "seconds": [{"batch": batch, "system": name, "seconds": all_} for (batch, name), all_ in seconds.items()],
        "table": rows,
    }
    note = (
        f"GPT-2 small's shape, fp32, prompts of {arguments.prompt} tokens, {arguments.new_tokens} new ones, "
        f"{arguments.rounds} rounds in turn, medians. Both wrote the same tokens."
    )
    publish(arguments, "generate_cpu", "Greedy decoding on a CPU", data, [note, table(rows)])


if __name__ == "__main__":
    main()
