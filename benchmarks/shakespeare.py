"""A small character model of tiny Shakespeare, start to finish: this toolkit and nanoGPT, with nanoGPT's CPU settings.

Both train 4 layers, 4 heads, width 128, context 64, batch 12, for 2,000 steps, each as the command a person would type,
in a fresh process and one after the other; the order alternates with --repeats. Time is that of the whole process:
imports, evaluations every 250 steps (20 batches; nanoGPT evaluates as many of the training text too), checkpoints and,
of ours, tokenising, sample and plots as well.

    groundup   python train.py --config configs/shakespeare_char.yaml dataset.name=TEXT
    nanogpt    python train.py config/train_shakespeare_char.py --device=cpu --compile=False ... (its README's CPU line)
               in a temporary copy of the checkout, prepared by its own data/shakespeare_char/prepare.py

Neither is told how many threads to use. The losses are of the final models, both by the same code: cross-entropy in
fp32 over the last tenth of the text in windows of 64 that do not overlap. nanoGPT's seed is fixed in its train.py;
ours is 1337 in the first repeat and one more in each that follows.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from report import ROOT, environment, parser, publish, table

CONTEXT, STEPS = 64, 2000
NANOGPT = [
    "config/train_shakespeare_char.py",
    *(
        "--device=cpu",
        "--compile=False",
        "--eval_iters=20",
        "--log_interval=1000",
        "--block_size=64",
        "--batch_size=12",
    ),
    *("--n_layer=4", "--n_head=4", "--n_embd=128", "--dropout=0.0"),
    "--always_save_checkpoint=True",  # the last model, as ours is, not the best by its own estimate
]
Logits = Callable[[Any], Any]  # ids (B, T) -> (B, T, V)


# --- the two programs --------------------------------------------------------------------------------------------


def prepare_nanogpt(checkout: Path, text: Path, folder: Path) -> Path:
    """A copy of the checkout with the text as its data set. Its prepare.py imports requests for a download not made."""
    copy = folder / "nanogpt"
    shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns(".git", "out*", "*.bin", "*.pkl", "*.pt"))
    data, stub = copy / "data" / "shakespeare_char", folder / "stub"
    shutil.copyfile(text, data / "input.txt")
    stub.mkdir()
    (stub / "requests.py").write_text("", encoding="utf-8")
    run([sys.executable, str(data / "prepare.py")], copy, folder / "prepare.log", {"PYTHONPATH": str(stub)})
    return copy


def run(command: list[str], where: Path, log: Path, variables: dict[str, str] | None = None) -> float:
    """Run a command to its end, its output in `log`. -> seconds"""
    started = time.perf_counter()
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            command, cwd=where, env={**os.environ, **(variables or {})}, stdout=file, stderr=subprocess.STDOUT
        )
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-15:])
        raise SystemExit(f"error: {' '.join(command)} ended with code {done.returncode}:\n{tail}")
    return seconds


def train_nanogpt(copy: Path, folder: Path, steps: int) -> tuple[float, Path]:
    """-> seconds, the checkpoint it left"""
    out = folder / "out"
    words = [*NANOGPT, f"--max_iters={steps}", f"--lr_decay_iters={steps}", f"--out_dir={out}"]
    words += [f"--eval_interval={min(250, steps)}"]
    seconds = run([sys.executable, "train.py", *words], copy, folder / "nanogpt.log")
    return seconds, out / "ckpt.pt"


def train_groundup(text: Path, folder: Path, steps: int, seed: int, overrides: list[str]) -> tuple[float, Path]:
    """-> seconds, the last checkpoint of the run. The cache starts empty: tokenising is in the time."""
    out = folder / "results"
    words = ["--config", "configs/shakespeare_char.yaml", f"dataset.name={text.resolve()}", f"output.output_dir={out}"]
    words += [f"trainer.max_iters={steps}", f"general.seed={seed}", "general.device=cpu", *overrides]
    cache = {"GROUNDUP_CACHE": str(folder / "cache")}
    seconds = run([sys.executable, "train.py", *words], ROOT, folder / "groundup.log", cache)
    (last,) = out.glob("*/*/train/weights/last")
    return seconds, last


# --- one evaluation for both -------------------------------------------------------------------------------------


def nanogpt_logits(copy: Path, checkpoint: Path) -> Logits:
    """nanoGPT's model with the weights of its ckpt.pt."""
    import torch

    spec = importlib.util.spec_from_file_location("nanogpt_model", copy / "model.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"error: {copy / 'model.py'} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    saved = torch.load(checkpoint, weights_only=True)
    model = module.GPT(module.GPTConfig(**saved["model_args"]))
    model.load_state_dict(saved["model"])
    model.eval()
    return lambda ids: model(ids, ids)[0]  # with targets it gives the logits of every position


def groundup_logits(checkpoint: Path, characters: str) -> Logits:
    """Our model; its ids must be those of nanoGPT's prepare.py, the sorted characters."""
    from groundup.trainers.load import load_run

    model, tokenizer = load_run(checkpoint)
    if tokenizer.encode(characters) != list(range(len(characters))):
        raise SystemExit(f"error: {checkpoint}: its tokenizer numbers the characters differently from nanoGPT's")
    return lambda ids: model(ids)[..., : len(characters)]


def heldout_loss(logits_of: Logits, text: str) -> float:
    """Mean cross-entropy over the last tenth of the text, in full windows; each character but the first is a target."""
    import torch

    ids = {character: i for i, character in enumerate(sorted(set(text)))}
    held_out = torch.tensor([ids[character] for character in text[int(len(text) * 0.9) :]])
    n = (len(held_out) - 1) // CONTEXT
    inputs = held_out[: n * CONTEXT].view(n, CONTEXT)  # (n, T)
    targets = held_out[1 : n * CONTEXT + 1].view(n, CONTEXT)
    total = 0.0
    with torch.no_grad():
        for x, y in zip(inputs.split(64), targets.split(64), strict=True):
            logits = logits_of(x).float()  # (b, T, V)
            total += torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum").item()
    return total / targets.numel()


# --- the run -----------------------------------------------------------------------------------------------------


def repeat(arguments: argparse.Namespace, copy: Path, text: str, number: int) -> list[dict[str, Any]]:
    """Train both, nanoGPT first in even repeats, and evaluate them."""
    results = []
    for system in ("nanogpt", "groundup") if number % 2 == 0 else ("groundup", "nanogpt"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if system == "nanogpt":
                seconds, checkpoint = train_nanogpt(copy, folder, arguments.steps)
                logits_of = nanogpt_logits(copy, checkpoint)
            else:
                seed = 1337 + number
                seconds, checkpoint = train_groundup(arguments.text, folder, arguments.steps, seed, arguments.overrides)
                logits_of = groundup_logits(checkpoint, "".join(sorted(set(text))))
            loss = heldout_loss(logits_of, text)
        results.append({"system": system, "repeat": number, "seconds": seconds, "loss": loss})
        print(f"repeat {number}: {system} {seconds:.1f} s, held-out loss {loss:.4f}", file=sys.stderr)
    return results


def rows_of(results: list[dict[str, Any]]) -> list[dict[str, object]]:
    """A line a system: medians, and all losses."""
    of = {system: [r for r in results if r["system"] == system] for system in ("nanogpt", "groundup")}
    base = statistics.median(r["seconds"] for r in of["nanogpt"])
    rows = []
    for system, found in of.items():
        seconds = statistics.median(r["seconds"] for r in found)
        rows.append(
            {
                "system": system,
                "seconds": seconds,
                "time / nanoGPT's": seconds / base,
                "held-out loss": f"{statistics.median(r['loss'] for r in found):.4f}",
                "all seconds": " ".join(f"{r['seconds']:.1f}" for r in found),
                "all losses": " ".join(f"{r['loss']:.4f}" for r in found),
            }
        )
    return rows


def main() -> None:
    """Parse, train, evaluate, report."""
    options = parser(__doc__)
    options.add_argument("--nanogpt", type=Path, required=True, metavar="CHECKOUT", help="it is copied, not changed")
    options.add_argument("--text", type=Path, required=True, metavar="FILE", help="tiny Shakespeare's input.txt")
    options.add_argument("--repeats", type=int, default=1)
    options.add_argument("--steps", type=int, default=STEPS, help=argparse.SUPPRESS)
    options.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="for our train.py, as on its command line")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.steps = 20
    for path in (arguments.nanogpt / "train.py", arguments.text):
        if not path.is_file():
            raise SystemExit(f"error: {path} does not exist")
    text = arguments.text.read_text(encoding="utf-8")
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        copy = prepare_nanogpt(arguments.nanogpt, arguments.text, Path(name))
        for number in range(arguments.repeats):
            results += repeat(arguments, copy, text, number)
    rows = rows_of(results)
    data = {
        "environment": environment(),
        "steps": arguments.steps,
        "overrides": arguments.overrides,
        "results": results,
        "table": rows,
    }
    notes = (
        f"{arguments.steps:,} steps of 12 x {CONTEXT} characters, {arguments.repeats} repeats in turn, medians. Whole "
        "processes; losses over the full held-out tenth by one code."
        + (f" Ours with {' '.join(arguments.overrides)}." if arguments.overrides else "")
    )
    publish(arguments, "shakespeare", "Tiny Shakespeare, start to finish", data, [notes, table(rows)])


if __name__ == "__main__":
    main()
