"""The fused kernels against the plain torch that defines them, and against torch.compile of that, on one GPU.

Each piece of work at a shape of Llama-3-8B, for --tokens tokens in --dtype, by

    torch     the twin, step by step
    compile   torch.compile of the twin
    kernel    models/kernels

    rmsnorm   over --width, and over the heads of queries (128)
    rope      32 heads of 128, as they come out of their Linear
    swiglu    silu(gate) * up, --ffn wide
    loss      cross-entropy over --vocabulary, of a chunk of tokens as training takes it; torch.compile is given torch's
              own cross_entropy, the twin being written for memory, in place

`forward` is a call without gradients; `both` is a forward and a backward pass; of the loss, the loss alone and the loss
with the gradient of the logits. Times are medians of --rounds, the systems in turn; peak is what was allocated during
`both` on top of the inputs. A ratio above 1 says that the kernel is faster. Results are compared as well: `apart` is
the largest difference from the twin's, relative to the largest element, over the result and every gradient.

On a CPU there are no kernels: what is measured there is RMSNorm as models/norms.py trains it, its gradient written by
hand, against F.rms_norm, which torch takes apart, and against torch's LayerNorm, which is one operation.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from report import environment, parser, publish, table

HEADS, HEAD_DIM, EPS = 32, 128, 1e-5


class Work:
    """A function of tensors by several systems, timed and compared."""

    def __init__(self, name: str, systems: dict[str, Callable[..., Any]], inputs: list[Any]) -> None:
        import torch

        self.name, self.systems, self.inputs = name, systems, inputs
        self.leaves = [x.detach().requires_grad_() for x in inputs]
        with torch.no_grad():
            self.grad = torch.randn_like(next(iter(systems.values()))(*inputs))

    def forward(self, system: str) -> Any:
        """The result, without gradients."""
        import torch

        with torch.no_grad():
            return self.systems[system](*self.inputs)

    def both(self, system: str) -> list[Any]:
        """The result and the gradients."""
        import torch

        result = self.systems[system](*self.leaves)
        return [result.detach(), *torch.autograd.grad(result, self.leaves, self.grad)]


class Loss(Work):
    """The same for the loss, which overwrites its logits: both() gives it and them."""

    def __init__(self, systems: dict[str, Callable[..., Any]], logits: Any) -> None:
        self.name, self.systems, self.logits = "loss", systems, logits
        self.scratch = logits.clone()

    def forward(self, system: str) -> Any:
        """The loss, which leaves the logits as they are."""
        return self.systems[system](self.logits, None)

    def both(self, system: str) -> list[Any]:
        """The loss, and where the logits' gradient is."""
        return self.systems[system](self.scratch, 1.0)


# --- what is measured --------------------------------------------------------------------------------------------


def on_cuda(arguments: argparse.Namespace) -> list[Work]:
    """The pieces of work, their systems in the order of the table."""
    import torch
    import torch.nn.functional as F
    from groundup.models.config import RopeConfig
    from groundup.models.kernels import cross_entropy, rmsnorm, rope, swiglu
    from groundup.models.norms import rms_norm
    from groundup.models.rope import apply_rope, rope_tables
    from groundup.trainers.losses import chunk_tokens, cross_entropy_

    device, dtype, tokens = torch.device("cuda"), getattr(torch, arguments.dtype), arguments.tokens

    def new(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=dtype, device=device)

    def three(twin: Callable[..., Any], kernel: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
        return {"torch": twin, "compile": torch.compile(twin, dynamic=False), "kernel": kernel}

    def norms() -> dict[str, Callable[..., Any]]:
        return three(lambda x, w: rms_norm(x, w, EPS), lambda x, w: rmsnorm.rms_norm(x, w, EPS))

    queries = new(1, tokens, HEADS, HEAD_DIM).transpose(1, 2)  # (1, H, T, D)
    tables = rope_tables(RopeConfig(500_000.0), HEAD_DIM, torch.arange(tokens, device=device))
    turns = three(lambda x: apply_rope(x, tables), lambda x: rope.rope(x, tables))
    gates = three(lambda gate, up: F.silu(gate) * up, swiglu.gated)

    rows = min(tokens, chunk_tokens(arguments.vocabulary, dtype))
    labels = torch.randint(0, arguments.vocabulary, (rows,), device=device)

    def in_place(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda logits, scale: [function(logits, labels, scale), logits]

    plain = torch.compile(lambda x: F.cross_entropy(x.float(), labels, reduction="sum"), dynamic=False)

    def compiled(logits: Any, scale: float | None) -> list[Any]:
        leaf = logits.detach().requires_grad_(scale is not None)
        loss = plain(leaf)
        return [loss.detach(), *(torch.autograd.grad(loss, [leaf]) if scale is not None else [])]

    losses = {"torch": in_place(cross_entropy_), "compile": compiled, "kernel": in_place(cross_entropy.cross_entropy_)}
    return [
        Work("rmsnorm", norms(), [new(tokens, arguments.width), new(arguments.width)]),
        Work("rmsnorm of heads", norms(), [queries, new(HEAD_DIM)]),
        Work("rope", turns, [queries]),
        Work("swiglu", gates, [new(tokens, arguments.ffn), new(tokens, arguments.ffn)]),
        Loss(losses, new(rows, arguments.vocabulary)),
    ]


def on_cpu(arguments: argparse.Namespace) -> list[Work]:
    """RMSNorm alone."""
    import torch
    import torch.nn.functional as F
    from groundup.models.norms import HandWritten, rms_norm

    dtype, width = getattr(torch, arguments.dtype), arguments.width
    systems = {
        "torch": lambda x, w: rms_norm(x, w, EPS),
        "layernorm": lambda x, w: F.layer_norm(x, (width,), w, None, EPS),
        "by hand": lambda x, w: HandWritten.apply(x, w, EPS, False),
    }
    return [
        Work("rmsnorm", systems, [torch.randn(arguments.tokens, width, dtype=dtype), torch.randn(width, dtype=dtype)])
    ]


def seconds(call: Callable[[], Any], device: str) -> float:
    """The time of one call; on CUDA of one of twenty in a row, so that no launch is waited for."""
    import torch

    if device != "cuda":
        started = time.perf_counter()
        call()
        return time.perf_counter() - started
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(20):
        call()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3 / 20


def measure(work: Work, device: str, rounds: int) -> dict[str, Any]:
    """Every system's seconds and peak on one piece of work, and how far its results are from the first one's."""
    import torch

    reference = outcome(work, next(iter(work.systems)))
    found: dict[str, Any] = {}
    for system in work.systems:  # which compiles it, too
        found[system] = {"forward": [], "both": [], "apart": apart(outcome(work, system), reference)}
        work.forward(system)
        if device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            work.both(system)
            found[system]["peak"] = torch.cuda.max_memory_allocated() - before
    for _ in range(rounds):
        for system, times in found.items():
            times["forward"].append(seconds(lambda system=system: work.forward(system), device))
            times["both"].append(seconds(lambda system=system: work.both(system), device))
    print(
        work.name + ": " + ", ".join(f"{s} {statistics.median(t['both']) * 1e3:.3f} ms" for s, t in found.items()),
        file=sys.stderr,
    )
    return {"work": work.name, "systems": found}


def outcome(work: Work, system: str) -> list[Any]:
    """What both() gives, kept; a loss begins with its own logits again."""
    if isinstance(work, Loss):
        work.scratch.copy_(work.logits)
    return [tensor.clone() for tensor in work.both(system)]


def apart(ours: list[Any], reference: list[Any]) -> float:
    """The largest difference, relative to the largest element of its tensor."""
    pairs = zip(ours, reference, strict=True)
    return max(((a.float() - b.float()).abs().max() / b.float().abs().max()).item() for a, b in pairs)


# --- the table ---------------------------------------------------------------------------------------------------


def rows_of(results: list[dict[str, Any]]) -> list[dict[str, object]]:
    """A line a piece of work and direction; the last system is ours."""
    rows: list[dict[str, object]] = []
    for result in results:
        systems = result["systems"]
        *others, ours = systems
        for direction in ("forward", "both"):
            medians = {system: statistics.median(systems[system][direction]) for system in systems}
            row: dict[str, object] = {"work": result["work"], "pass": direction}
            row |= {f"{system}, us": medians[system] * 1e6 for system in systems}
            row |= {f"{other} / {ours}": medians[other] / medians[ours] for other in others}
            for system in systems:
                if "peak" in systems[system]:
                    row[f"{system}, peak MiB"] = systems[system]["peak"] / 2**20 if direction == "both" else None
            row["apart"] = systems[ours]["apart"] if direction == "both" else None
            rows.append(row)
    return rows


def main() -> None:
    """Parse, measure, report."""
    options = parser(__doc__)
    options.add_argument("--device", choices=("cpu", "cuda"), default=None, help="default: cuda where there is one")
    options.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    options.add_argument("--tokens", type=int, default=8192)
    options.add_argument("--width", type=int, default=4096)
    options.add_argument("--ffn", type=int, default=14_336)
    options.add_argument("--vocabulary", type=int, default=128_256)
    options.add_argument("--rounds", type=int, default=9)
    arguments = options.parse_args()
    if arguments.quick:
        arguments.tokens, arguments.width, arguments.ffn, arguments.vocabulary, arguments.rounds = 16, 48, 80, 1000, 1

    import torch

    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    works = on_cuda(arguments) if device == "cuda" else on_cpu(arguments)
    results = [measure(work, device, arguments.rounds) for work in works]
    rows = rows_of(results)
    sizes = {key: getattr(arguments, key) for key in ("dtype", "tokens", "width", "ffn", "vocabulary")}
    note = f"{arguments.tokens:,} tokens in {arguments.dtype}, width {arguments.width:,}, on {device}."
    if device == "cpu":
        note += (
            " The kernels are for CUDA: on a CPU there is nothing to measure but RMSNorm's gradient written by hand."
        )
    else:
        note += f" Feed-forward {arguments.ffn:,} wide, vocabulary {arguments.vocabulary:,}."
    data = {"environment": environment("triton"), "device": device, **sizes, "results": results, "table": rows}
    name = "fused_kernels" if device == "cuda" else "fused_kernels_cpu"
    publish(arguments, name, "Fused kernels", data, [note, table(rows)])


if __name__ == "__main__":
    main()
