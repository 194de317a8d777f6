"""The loss in chunks against the plain loss, where the vocabulary is large: peak memory, time, equal gradients.

Forward and backward of a head (Linear, --width to --vocabulary) and cross-entropy, from hidden states of --tokens
tokens to the gradients of hidden states and head:

    plain     logits of all tokens, torch's cross_entropy, loss.backward()
    chunked   trainers/losses.py loss_backward with the default chunk, as training uses it

Each is measured in a process of its own: peak is the most it held (on CUDA max_memory_allocated); `above inputs` is
what of it came on top of inputs, weights and the gradient of the weights, which both must hold. Time is the best of
--rounds, in turn. The gradients of the two processes are compared in full: the largest difference relative to the
largest element, and the norm of the difference relative to the norm. Both are compared with fp64 too, at 256 tokens and
a vocabulary of 4,096: chunking should come no further from the truth than the plain loss does.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from report import GIB, Worker, answer_requests, environment, parser, peak_memory, publish, table

METHODS = ("plain", "chunked")


# --- what is measured: one process each -------------------------------------------------------------------------


class Case:
    """A head, hidden states and labels, the same in every process; `run` gives the gradients of a method."""

    def __init__(
        self, tokens: int, vocabulary: int, width: int, precision: str, device: str, dtype: Any = None
    ) -> None:
        import torch

        generator = torch.Generator().manual_seed(0)
        self.hidden = torch.randn(1, tokens, width, generator=generator).to(device, dtype)  # (1, N, C)
        self.weight = (torch.randn(vocabulary, width, generator=generator) * 0.05).to(device, dtype)  # (V, C)
        self.labels = torch.randint(vocabulary, (1, tokens), generator=generator).to(device)  # (1, N)
        self.hidden.requires_grad_()
        self.weight.requires_grad_()
        self.device, self.is_bf16 = torch.device(device), precision == "bf16"

    def head(self, states: Any) -> Any:
        """(..., C) -> (..., V)"""
        import torch

        with torch.autocast(self.device.type, torch.bfloat16) if self.is_bf16 else contextlib.nullcontext():
            return torch.nn.functional.linear(states, self.weight)

    def run(self, method: str) -> tuple[float, Any, Any]:
        """-> mean loss, gradient of the hidden states (N, C), gradient of the weight (V, C)"""
        import torch
        from groundup.trainers.losses import chunk_tokens, loss_backward

        self.hidden.grad = self.weight.grad = None
        n = self.labels.numel()
        if method == "plain":
            loss = torch.nn.functional.cross_entropy(self.head(self.hidden).flatten(0, 1), self.labels.flatten())
            loss.backward()
        else:
            dtype = torch.bfloat16 if self.is_bf16 else self.hidden.dtype
            chunk = chunk_tokens(len(self.weight), dtype)
            loss = loss_backward(self.hidden, self.labels, self.head, chunk=chunk, scale=1 / n) / n
        assert self.hidden.grad is not None
        return loss.item(), self.hidden.grad[0], self.weight.grad


def measure(arguments: argparse.Namespace) -> None:
    """Answer requests: "step" runs the method once, "save" writes its gradients."""
    import torch

    is_cuda = arguments.device.startswith("cuda")
    case = Case(arguments.tokens, arguments.vocabulary, arguments.width, arguments.precision, arguments.device)
    held = (case.hidden.numel() + 2 * case.weight.numel()) * 4 / GIB  # with the gradient of the weight

    def memory() -> float:
        return torch.cuda.max_memory_allocated() / GIB if is_cuda else peak_memory()

    before = memory() + case.weight.numel() * 4 / GIB
    gradients: dict[str, torch.Tensor] = {}

    def answer(request: dict[str, str]) -> dict[str, float]:
        if request["do"] == "save":
            torch.save({name: tensor.cpu() for name, tensor in gradients.items()}, request["path"])
            return {}
        if is_cuda:
            torch.cuda.synchronize()
        started = time.perf_counter()
        loss, gradients["hidden"], gradients["weight"] = case.run(arguments.measure)
        if is_cuda:
            torch.cuda.synchronize()
        seconds, peak = time.perf_counter() - started, memory()
        return {"loss": loss, "seconds": seconds, "peak_gib": peak, "above_gib": peak - before, "held_gib": held}

    answer_requests(answer)


# --- the comparison ----------------------------------------------------------------------------------------------


def difference(ours: Any, reference: Any) -> dict[str, float]:
    """Largest absolute difference, the same over the largest element, and norm over norm; all taken in fp64."""
    largest = squares = norm = top = 0.0
    for a, b in zip(ours.split(1024), reference.split(1024), strict=True):
        d, b = a.double() - b.double(), b.double()
        largest, top = max(largest, d.abs().max().item()), max(top, b.abs().max().item())
        squares, norm = squares + d.square().sum().item(), norm + b.square().sum().item()
    return {"max_abs": largest, "max_relative": largest / top, "norm_relative": (squares / norm) ** 0.5}


def against_fp64(width: int, device: str) -> dict[str, dict[str, dict[str, float]]]:
    """At a size where fp64 fits: the distance of either method in fp32 from the plain loss in fp64."""
    import torch

    truth = Case(256, 4096, width, "fp32", device, torch.float64).run("plain")[1:]
    case = Case(256, 4096, width, "fp32", device)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for method in METHODS:
        pairs = zip(("hidden", "weight"), case.run(method)[1:], truth, strict=True)
        found[method] = {name: difference(gradient, exact) for name, gradient, exact in pairs}
    return found


def compare(arguments: argparse.Namespace, precision: str) -> dict[str, Any]:
    """Both methods in their processes, stepped in turn; then their gradients, from files."""
    import torch

    words = [f"--{key}={getattr(arguments, key)}" for key in ("tokens", "vocabulary", "width", "device")]
    steps: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    with tempfile.TemporaryDirectory() as folder:
        files = {method: Path(folder) / f"{method}.pt" for method in METHODS}
        workers = {m: Worker(__file__, f"--measure={m}", f"--precision={precision}", *words) for m in METHODS}
        for _ in range(arguments.rounds):
            for method, worker in workers.items():
                steps[method].append(worker.ask({"do": "step"}))
                print(f"{precision}: {method} {steps[method][-1]['seconds']:.2f} s", file=sys.stderr)
        for method, worker in workers.items():
            worker.ask({"do": "save", "path": str(files[method])})
            worker.close()
        gradients = {method: torch.load(files[method], weights_only=True, mmap=True) for method in METHODS}
        names = ("hidden", "weight")
        apart = {name: difference(gradients["chunked"][name], gradients["plain"][name]) for name in names}
    return {"precision": precision, "steps": steps, "difference": apart}


def rows_of(results: list[dict[str, Any]]) -> list[dict[str, object]]:
    """A line a method and precision; differences beside the chunked ones."""
    rows: list[dict[str, object]] = []
    for result in results:
        for method in METHODS:
            steps = result["steps"][method]
            apart = result["difference"] if method == "chunked" else None
            rows.append(
                {
                    "loss": method,
                    "precision": result["precision"],
                    "peak GiB": steps[-1]["peak_gib"],
                    "above inputs GiB": steps[-1]["above_gib"],
                    "seconds": min(step["seconds"] for step in steps),
                    "value": f"{steps[-1]['loss']:.6f}",
                    "d hidden, max rel.": apart and apart["hidden"]["max_relative"],
                    "d weight, max rel.": apart and apart["weight"]["max_relative"],
                    "d weight, norm rel.": apart and apart["weight"]["norm_relative"],
                }
            )
    return rows


def main() -> None:
    """Parse, measure, report."""
    options = parser(__doc__)
    options.add_argument("--tokens", type=int, default=8192)
    options.add_argument("--vocabulary", type=int, default=128_000)
    options.add_argument("--width", type=int, default=512, help="d_model (default 512)")
    options.add_argument("--rounds", type=int, default=2, help="times each is run (default 2)")
    options.add_argument("--device", default="cpu", help="cpu or cuda")
    options.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    options.add_argument("--measure", choices=METHODS, help=argparse.SUPPRESS)
    options.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.measure:
        measure(arguments)
        return
    if arguments.quick:
        arguments.tokens, arguments.vocabulary, arguments.width, arguments.rounds = 2048, 40_000, 32, 1
        arguments.precisions = ["fp32"]
    results = [compare(arguments, precision) for precision in arguments.precisions]
    exact = against_fp64(arguments.width, arguments.device)
    rows = rows_of(results)
    sizes = {key: getattr(arguments, key) for key in ("tokens", "vocabulary", "width", "device")}
    data = {"environment": environment(), **sizes, "results": results, "against_fp64": exact, "table": rows}
    logits = arguments.tokens * arguments.vocabulary * 4 / GIB
    notes = (
        f"{arguments.tokens:,} tokens, vocabulary {arguments.vocabulary:,}, width {arguments.width}, on "
        f"{arguments.device}. The logits alone are {logits:.2f} GiB in fp32. Differences (d) are those of the chunked "
        "loss's gradients from the plain loss's."
    )
    errors = [
        {"fp32, against fp64": method, **{f"d {name}, norm rel.": d["norm_relative"] for name, d in found.items()}}
        for method, found in exact.items()
    ]
    publish(arguments, "loss_memory", "The loss over a large vocabulary", data, [notes, table(rows), table(errors)])


if __name__ == "__main__":
    main()
