"""4-bit weights unpacked, and multiplied by a few rows, against bitsandbytes on the same weights.

Unpacking a matrix of --shape in NF4, blocks of 64, to --dtype:

    bitsandbytes   functional.dequantize_4bit
    ours           groundup's dequantize_4bit: a new tensor each time, as theirs
    ours, reused   the same into memory that is there already, as the layers of a model do on a CPU

Products of 1 to 64 rows with that matrix, without gradient: bitsandbytes' Linear4bit against groundup's.

Each system has a process of its own; they are timed in turn, --rounds times, and medians are taken. A ratio above 1
says ours is faster. On CUDA a round is a graph of calls that go through --copies of the matrix, so that no cache holds
them and no launch is waited for; `share of copy` is the bytes that must be read and written over the time, as a part
of what copying a large tensor reaches.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from report import Worker, answer_requests, environment, parser, publish, table

SYSTEMS = ("bitsandbytes", "ours", "ours, reused")
ROWS = (1, 2, 4, 8, 16, 64)

Call = Callable[[int], Any]  # of the copy with that number


# --- what is measured: one process each -------------------------------------------------------------------------


class Case:
    """The copies of one matrix, packed by one system."""

    def __init__(self, arguments: argparse.Namespace, system: str, double_quant: bool) -> None:
        import torch

        self.device, self.dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)
        self.rows, self.width = arguments.shape
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(self.rows, self.width, generator=generator).to(self.device, self.dtype)
        count = arguments.copies if self.device.type == "cuda" else 1
        if system == "bitsandbytes":
            import bitsandbytes.functional as functional
            from bitsandbytes.nn import Linear4bit

            def quantize() -> Any:
                return functional.quantize_4bit(weight, quant_type="nf4", compress_statistics=double_quant)

            packed = [quantize() for _ in range(count)]
            self.unpack: Call = lambda i: functional.dequantize_4bit(*packed[i])
            layers = []
            for _ in range(count):
                layer = Linear4bit(self.width, self.rows, False, self.dtype, double_quant, "nf4", device="meta").eval()
                layer.weight = _their_parameter(layer.weight, *quantize())  # on a CPU the first call packs it anew
                layers.append(layer)
        else:
            from dataclasses import replace

            from groundup.models.quant import Linear4bit, dequantize_4bit, quantize_4bit

            first = quantize_4bit(weight, double_quant=double_quant)
            ours = [first, *(replace(first, packed=first.packed.clone()) for _ in range(count - 1))]
            out = torch.empty_like(weight) if system == "ours, reused" else None
            self.unpack = lambda i: dequantize_4bit(ours[i], self.dtype, out)
            layers = []
            for quantized in ours:
                layer = Linear4bit(self.width, self.rows, False, double_quant=double_quant, device="meta")
                for name, tensor in quantized.tensors().items():
                    layer._buffers["weight" if name == "packed" else name] = tensor
                layers.append(layer)
            if system == "ours, reused":
                from groundup.models.quant.devices import Workspace

                workspace = Workspace()
                for layer in layers:
                    layer.workspace = workspace
        self.layers, self.count = layers, count
        self.x = torch.randn(max(ROWS), self.width, generator=generator).to(self.device, self.dtype)

    def call(self, rows: int) -> Call:
        """Unpacking (rows 0), or the product of so many rows."""
        if not rows:
            return self.unpack
        x = self.x[:rows]
        return lambda i: self.layers[i](x)

    def seconds(self, call: Call) -> float:
        """The time of one call."""
        import torch

        with torch.no_grad():
            if self.device.type != "cuda":
                call(0)
                started = time.perf_counter()
                call(0)
                return time.perf_counter() - started
            for i in range(3):
                call(i % self.count)  # compiles
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                for i in range(self.count):
                    call(i)
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            graph.replay()
            start.record()
            graph.replay()
            end.record()
            torch.cuda.synchronize()
            return start.elapsed_time(end) / 1e3 / self.count


def _their_parameter(parameter: Any, codes: Any, state: Any) -> Any:
    """A Params4bit of codes that are packed already."""
    made = type(parameter)(codes, requires_grad=False, quant_state=state, bnb_quantized=True)
    made.quant_type, made.blocksize, made.compress_statistics = "nf4", 64, state.nested
    return made


def copy_bandwidth(device: str) -> float:
    """Bytes read and written a second by a large copy on the device."""
    import torch

    source = torch.empty(2**28, dtype=torch.int32, device=device)  # 1 GiB
    target = torch.empty_like(source)
    times = []
    for _ in range(10):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        target.copy_(source)
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return 2 * source.nbytes / statistics.median(times)


def measure(arguments: argparse.Namespace) -> None:
    """Answer requests for the seconds of one call."""
    cases: dict[bool, Case] = {}

    def answer(request: dict[str, Any]) -> dict[str, float]:
        if request["do"] == "bandwidth":
            return {"bandwidth": copy_bandwidth(arguments.device)}
        double_quant = request["double_quant"]
        if double_quant not in cases:
            cases[double_quant] = Case(arguments, arguments.measure, double_quant)
        case = cases[double_quant]
        return {"seconds": case.seconds(case.call(request["rows"]))}

    answer_requests(answer)


# --- the comparison ----------------------------------------------------------------------------------------------


def compare(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Every system on every piece of work, in turn: their median seconds."""
    words = [f"--device={arguments.device}", f"--dtype={arguments.dtype}", f"--copies={arguments.copies}", "--shape"]
    words += [str(side) for side in arguments.shape]
    workers = {system: Worker(__file__, f"--measure={system}", *words) for system in SYSTEMS}
    is_cuda = arguments.device.startswith("cuda")
    bandwidth = workers["ours"].ask({"do": "bandwidth"})["bandwidth"] if is_cuda else None
    results: list[dict[str, Any]] = []
    for double_quant in (False, True):
        for rows in (0, *arguments.rows):
            times: dict[str, list[float]] = {system: [] for system in SYSTEMS}
            for _ in range(arguments.rounds):
                for system, worker in workers.items():
                    answer = worker.ask({"do": "time", "double_quant": double_quant, "rows": rows})
                    times[system].append(answer["seconds"])
            medians = {system: statistics.median(values) for system, values in times.items()}
            print(f"rows {rows}: " + ", ".join(f"{s} {v * 1e3:.3f} ms" for s, v in medians.items()), file=sys.stderr)
            results.append(
                {"double_quant": double_quant, "rows": rows, "seconds": times, "medians": medians, "copy": bandwidth}
            )
    for worker in workers.values():
        worker.close()
    return results


def rows_of(arguments: argparse.Namespace, results: list[dict[str, Any]]) -> list[dict[str, object]]:
    """A line a piece of work."""
    n = arguments.shape[0] * arguments.shape[1]
    rows: list[dict[str, object]] = []
    for result in results:
        medians = result["medians"]
        row: dict[str, object] = {
            "work": f"product of {result['rows']} rows" if result["rows"] else "unpack",
            "double": "yes" if result["double_quant"] else "no",
            **{f"{system}, us": medians[system] * 1e6 for system in SYSTEMS},
            "ratio": medians["bitsandbytes"] / medians["ours"],
            "ratio, reused": medians["bitsandbytes"] / medians["ours, reused"],
        }
        if result["copy"]:
            read = 0.5 + (1 + 4 / 256) / 64 if result["double_quant"] else 0.5625
            written = 0 if result["rows"] else {"float32": 4}.get(arguments.dtype, 2)
            row["share of copy"] = n * (read + written) / medians["ours"] / result["copy"]
        rows.append(row)
    return rows


def main() -> None:
    """Parse, measure, report."""
    options = parser(__doc__)
    options.add_argument("--shape", type=int, nargs=2, default=[4096, 4096], metavar=("OUT", "IN"))
    options.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    options.add_argument("--rows", type=int, nargs="*", default=list(ROWS), help=f"of the products (default {ROWS})")
    options.add_argument("--rounds", type=int, default=21, help="times each is run (default 21)")
    options.add_argument("--copies", type=int, default=16, help="of the matrix, on CUDA (default 16)")
    options.add_argument("--device", default="cpu", help="cpu or cuda")
    options.add_argument("--measure", choices=SYSTEMS, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.measure:
        measure(arguments)
        return
    if arguments.quick:
        arguments.shape, arguments.rows, arguments.rounds, arguments.copies = [256, 512], [1, 16], 2, 2
    results = compare(arguments)
    rows = rows_of(arguments, results)
    settings = {key: getattr(arguments, key) for key in ("shape", "dtype", "rounds", "copies", "device")}
    data = {"environment": environment("bitsandbytes"), **settings, "results": results, "table": rows}
    notes = f"A matrix of {arguments.shape[0]:,} x {arguments.shape[1]:,} to {arguments.dtype}, on {arguments.device}."
    copy = results[0]["copy"]
    notes += f" A copy on the device moves {copy / 1e12:.2f} TB/s." if copy else ""
    publish(arguments, "dequantise", "4-bit weights, unpacked and multiplied", data, [notes, table(rows)])


if __name__ == "__main__":
    main()
