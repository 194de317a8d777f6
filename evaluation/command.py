"""The command `python evaluate.py`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..errors import UserError

EXAMPLES = """\
examples:
  python evaluate.py --model results/quickstart/2026-01-01_12-00-00
  python evaluate.py --model RUN/train/weights/step_00000500 --data my_text.txt --output numbers.json
  python evaluate.py --model HF_DIR --tasks perplexity --data my_text.txt
"""


def main(argv: Sequence[str] | None = None) -> int:
    """-> the exit code; bad input is one line on stderr and exit code 1."""
    parser = argparse.ArgumentParser(
        prog="python evaluate.py",
        description="Measure a trained model.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--model",
        required=True,
        metavar="RUN_OR_HF_DIR",
        help="a run's folder or one of its checkpoints; a directory with config.json, weights and tokenizer; "
        "a name of `train.py --list-models`, or a hub id",
    )
    parser.add_argument(
        "--tasks",
        help="comma-separated; available: perplexity, masked_lm (default: perplexity, for encoders masked_lm)",
    )
    parser.add_argument("--data", metavar="FILE_OR_DIR", help="text to measure on; default: what the run held out")
    parser.add_argument("--limit", type=int, metavar="N", help="no more than N batches")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="sequences in a batch (default 8)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--output", metavar="FILE", help="write the numbers to a JSON file")
    options = parser.parse_args(argv)
    try:
        return _run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    from ..configs.devices import best_device, check_name, require_device
    from .measure import evaluate

    device = check_name(options.device, "--device")
    device = best_device() if device == "auto" else device
    require_device(device)
    results = evaluate(
        options.model,
        [task.strip() for task in (options.tasks or "").split(",") if task.strip()] or None,
        data=options.data,
        limit=options.limit,
        output=options.output,
        device=device,
        batch_size=options.batch_size,
    )
    step = "" if results["step"] is None else f" (step {results['step']:,})"
    print(f"{results['model']}{step} on {results['data']}")
    for task, numbers in results["tasks"].items():
        print(f"  {task}")
        for name, value in numbers.items():
            print(f"    {name:<16}{value:,.4f}" if isinstance(value, float) else f"    {name:<16}{value:,}")
    return 0
