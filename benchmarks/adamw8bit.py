"""8-bit AdamW beside AdamW in fp32: the small character model of tiny Shakespeare trained with each, start to finish.

    python train.py --config configs/shakespeare_char.yaml dataset.name=TEXT trainer.optimizer.name=NAME

for adamw, adamw_8bit and, where there is a CUDA GPU, paged_adamw_8bit: the same seed, so the same first weights and
the same batches. With --repeats the seed goes up by one each time. The losses are those that the runs log: over the
held-out tenth of the text, and of the training batches, smoothed. The state is what the last checkpoint holds of it.

Seconds a step are for the machine as it is, one run after the other: they show what the codes cost beside a model so
small that the optimizer is a good part of a step. --output also draws results/adamw8bit.png, both curves.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from report import ROOT, environment, parser, publish, table
from shakespeare import run

STEPS, EVALUATIONS = 2000, 20
NAMES = ("adamw", "adamw_8bit", "paged_adamw_8bit")


def train(text: Path, name: str, steps: int, seed: int, device: str, overrides: list[str]) -> dict[str, Any]:
    """One run in a fresh process. -> its curves, the bytes of its optimizer's state, seconds a step"""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        words = ["--config", "configs/shakespeare_char.yaml", f"dataset.name={text.resolve()}"]
        words += [f"trainer.optimizer.name={name}", f"trainer.max_iters={steps}", f"general.seed={seed}"]
        words += [f"general.device={device}", f"output.output_dir={folder / 'results'}"]
        words += [f"evaluation.interval={max(1, steps // EVALUATIONS)}", "evaluation.sample_tokens=0", *overrides]
        cache = {"GROUNDUP_CACHE": str(folder / "cache")}
        run([sys.executable, "train.py", *words], ROOT, folder / "groundup.log", cache)
        (training,) = (folder / "results").glob("*/*/train")
        curves = {kind: read(training / "metrics" / f"{kind}.jsonl") for kind in ("train", "heldout")}
        state = (training / "weights" / "last" / "optimizer.safetensors").stat().st_size
        weights = (training / "weights" / "last" / "model.safetensors").stat().st_size
    return {
        "optimizer": name,
        "seed": seed,
        "train": [(row["step"], row["loss"]) for row in curves["train"]],
        "heldout": [(row["step"], row["loss"]) for row in curves["heldout"]],
        "state_bytes_per_parameter": state / (weights / 4),
        "ms_per_step": 1e3 * curves["train"][-1]["seconds"] / steps,
    }


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rows_of(results: list[dict[str, Any]]) -> list[dict[str, object]]:
    """A line an optimizer: medians over the seeds, and each last loss."""
    rows: list[dict[str, object]] = []
    base = None
    for name in NAMES:
        found = [r for r in results if r["optimizer"] == name]
        if not found:
            continue
        loss = statistics.median(r["heldout"][-1][1] for r in found)
        base = base or loss
        rows.append(
            {
                "optimizer": name,
                "held-out loss": f"{loss:.4f}",
                "beside adamw's": f"{loss / base - 1:+.2%}",
                "all held-out losses": " ".join(f"{r['heldout'][-1][1]:.4f}" for r in found),
                "bytes of state a parameter": statistics.median(r["state_bytes_per_parameter"] for r in found),
                "ms a step": statistics.median(r["ms_per_step"] for r in found),
            }
        )
    return rows


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Training losses, smoothed, and held-out losses of the first seed; on the right by how much the latter differ."""
    from matplotlib.figure import Figure  # not pyplot: no display, no global state

    figure = Figure(figsize=(10, 4.2), dpi=110, layout="constrained")
    curves, apart = figure.subplots(1, 2, width_ratios=[3, 2])
    for i, name in enumerate(NAMES):
        found = [r for r in results if r["optimizer"] == name]
        for j, result in enumerate(found):
            steps, losses = zip(*result["heldout"], strict=True)
            if j == 0:
                colour = f"C{i}"
                curves.plot(*zip(*result["train"], strict=True), color=colour, lw=0.8, alpha=0.4)
                style = {"color": colour, "lw": 1.6, "ls": ("-", "--", ":")[i], "marker": "os^"[i], "ms": 3.5}
                curves.plot(steps, losses, label=f"{name}, held out", **style)
            reference = next(r for r in results if r["optimizer"] == "adamw" and r["seed"] == result["seed"])
            share = [100 * (a / b[1] - 1) for a, b in zip(losses, reference["heldout"], strict=True)]
            if name != "adamw":
                apart.plot(steps, share, lw=1.2, color=f"C{i}", alpha=1 if j == 0 else 0.4, marker=".")
    curves.set_title("tiny Shakespeare, by character; faint: training batches", fontsize=10)
    curves.set_ylabel("loss (nats a character)")
    curves.legend(frameon=False)
    apart.axhline(0, color="C0", lw=1)
    apart.set_title("held out, beside adamw's of the seed (%)", fontsize=10)
    for axes in (curves, apart):
        axes.set_xlabel("step")
        axes.grid(alpha=0.25)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")


def main() -> None:
    """Parse, train, report."""
    options = parser(__doc__)
    options.add_argument("--text", type=Path, required=True, metavar="FILE", help="tiny Shakespeare's input.txt")
    options.add_argument("--repeats", type=int, default=1)
    options.add_argument("--steps", type=int, default=STEPS, help=argparse.SUPPRESS)
    options.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="for train.py, as on its command line")
    arguments = options.parse_args()
    if not arguments.text.is_file():
        raise SystemExit(f"error: {arguments.text} does not exist")
    import torch

    steps = 40 if arguments.quick else arguments.steps
    device = "cuda" if torch.cuda.is_available() else "cpu"
    results: list[dict[str, Any]] = []
    for number in range(arguments.repeats):
        for name in NAMES if device == "cuda" else NAMES[:2]:
            results.append(train(arguments.text, name, steps, 1337 + number, device, arguments.overrides))
            print(f"repeat {number}: {name} {results[-1]['heldout'][-1][1]:.4f}", file=sys.stderr)
    rows = rows_of(results)
    data = {"environment": environment(), "steps": steps, "overrides": arguments.overrides, "results": results}
    notes = f"{steps:,} steps of 12 x 64 characters, {arguments.repeats} repeats in turn, medians." + (
        f" With {' '.join(arguments.overrides)}." if arguments.overrides else ""
    )
    sections = [notes, table(rows)]
    if arguments.output is not None:
        draw(results, arguments.output / "adamw8bit.png")
        sections.append("![the losses, step by step](adamw8bit.png)")
    title = "8-bit AdamW: tiny Shakespeare, start to finish"
    publish(arguments, "adamw8bit", title, {**data, "table": rows}, sections)


if __name__ == "__main__":
    main()
