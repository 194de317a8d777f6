"""The command `python evaluate.py`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from ..errors import UserError

EXAMPLES = """\
examples:
  python evaluate.py --model results/quickstart/2026-01-01_12-00-00
  python evaluate.py --model HF_DIR --tasks perplexity --data my_text.txt
  python evaluate.py --model CLASSIFIER_RUN --tasks classification --data reviews.csv
  python evaluate.py --model HF_DIR --tasks hellaswag,arc_easy --limit 200 --output numbers.json --samples rows.jsonl
  python evaluate.py --model HF_DIR --tasks mmlu --num-fewshot 5 --data folder/with/mmlu
  python evaluate.py --model HF_DIR --tasks lm-eval:gsm8k --limit 50
  python evaluate.py --list-tasks
  python evaluate.py --report results
  python evaluate.py --model RUN --prompt "Name three rivers." --max-new-tokens 60
  python evaluate.py --model CLASSIFIER_RUN --prompt "A film to see twice."

An evaluation that was stopped goes on where it was when the same command is given again.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """-> the exit code; bad input is one line on stderr and exit code 1."""
    try:
        options = build_parser().parse_args(argv)
        if options.list_tasks or options.tasks == "list":
            from .registry import list_tasks

            print(list_tasks())
            return 0
        if options.report is not None:
            return _report(options)
        if options.model is None:
            raise UserError("--model is missing: name a run's folder, a directory with config.json, or a hub id")
        return _run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the output went to a `head` that has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


class _Parser(argparse.ArgumentParser):
    """One whose complaint is one sentence, as of every other bad input."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}: see --help")


def build_parser() -> argparse.ArgumentParser:
    """The options of evaluate.py."""
    parser = _Parser(
        prog="python evaluate.py",
        description="Measure a trained model.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--model",
        metavar="RUN_OR_HF_DIR",
        help="a run's folder or one of its checkpoints; a directory with config.json, weights and tokenizer; "
        "a name of `train.py --list-models`, or a hub id",
    )
    add(
        "--tasks",
        help="comma-separated names of `--list-tasks`, or lm-eval:TASK for any task of lm-evaluation-harness "
        "(default: perplexity, for encoders masked_lm, for classifiers classification)",
    )
    add(
        "--report",
        metavar="RESULTS_DIR",
        help="compare the runs below a folder: a table here, comparison.csv and comparison.html in it, or in the "
        "folder that --output names",
    )
    add("--list-tasks", action="store_true", help="print what can be measured, and exit (as --tasks list)")
    add(
        "--data",
        metavar="FILE_OR_DIR",
        help="of one task: its file or folder; of several: a folder with a file or folder of each, named like the "
        "task; default: the task's data set on the hub, of text what the run held out",
    )
    add("--limit", type=int, metavar="N", help="no more than N questions of each task (of text: batches)")
    add("--num-fewshot", type=int, metavar="K", help="examples in each context (default: the task's own number)")
    add("--seed", type=int, metavar="N", help="what draws the examples (default: as lm-evaluation-harness)")
    add("--batch-size", type=int, metavar="N", help="at most N sequences at once (of text: 8)")
    add("--batch-tokens", type=int, metavar="N", help="at most N tokens at once (default: what the device takes)")
    add(
        "--add-bos",
        choices=("auto", "yes", "no"),
        default="auto",
        help="whether contexts begin with the BOS token (default auto: as the tokenizer's own template has it)",
    )
    add("--context", type=int, metavar="N", help="of text: tokens in a row (default: the model's, at most 2,048)")
    add("--stride", type=int, metavar="N", help="of text: tokens between two windows' beginnings (default: no overlap)")
    add("--generations", type=int, metavar="N", help="of human-eval: programs the model writes a problem (default 1)")
    add("--temperature", type=float, metavar="X", help="of human-eval and --prompt: at which text is written")
    add(
        "--prompt",
        metavar="TEXT",
        help="measure nothing: print the answer, how the text goes on, or its class; - is stdin",
    )
    add("--max-new-tokens", type=int, metavar="N", help="of --prompt: tokens at most (default 200)")
    add("--allow-code-execution", action="store_true", help="let human-eval run what the model writes, in a sandbox")
    add("--device", default="auto", help="auto, cpu, cuda or mps")
    add("--dtype", choices=("fp32", "bf16", "fp16"), default="fp32", help="of the weights (default fp32)")
    add("--output", metavar="FILE", help="write the numbers to a JSON file (of --report: the folder for its files)")
    add(
        "--samples",
        metavar="FILE",
        help="write one line of JSON a question or row: what the model chose, how likely, right or not",
    )
    return parser


def _report(options: argparse.Namespace) -> int:
    """Compare runs; the exit code is 0 also where some of them failed."""
    from pathlib import Path

    from .comparison import table, write_report

    unused = [name for name in ("model", "tasks", "data", "samples") if getattr(options, name)]
    if unused:
        raise UserError(f"--{unused[0]} measures a model, and --report compares runs: give one of them")
    folder, output = Path(options.report).expanduser(), Path(options.output).expanduser() if options.output else None
    if output is not None and output.is_file():
        raise UserError(f"--output {output} is a file: of a --report it is the folder that is written to")
    runs, paths = write_report(folder, output)
    print(table(runs))
    print("\nwritten: " + ", ".join(map(str, paths)))
    return 0


def _run(options: argparse.Namespace) -> int:
    from ..configs.devices import best_device, check_name, usable_device

    if options.max_new_tokens is not None and options.prompt is None:
        raise UserError("--max-new-tokens is for --prompt TEXT: leave it out")
    if options.prompt is not None and options.tasks is not None:
        raise UserError("--prompt writes and --tasks measures: give one of them")
    for name in ("limit", "batch_size", "batch_tokens", "context", "stride", "generations", "max_new_tokens"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} {value}: must be at least 1")
    device = check_name(options.device, "--device")
    device = best_device() if device == "auto" else device
    device = usable_device(device, "--device")
    if options.prompt is not None:
        from .answer import answer

        settings = {"temperature": options.temperature or 0.0, "seed": options.seed}
        length = options.max_new_tokens or 200
        print(answer(options.model, options.prompt, length, **settings, device=device, dtype=options.dtype))
        return 0
    from .measure import evaluate
    from .table import results_table

    results = evaluate(
        options.model,
        [task.strip() for task in (options.tasks or "").split(",") if task.strip()] or None,
        data=options.data,
        limit=options.limit,
        n_shot=options.num_fewshot,
        seed=options.seed,
        batch_size=options.batch_size,
        batch_tokens=options.batch_tokens,
        add_bos={"auto": None, "yes": True, "no": False}[options.add_bos],
        context=options.context,
        stride=options.stride,
        generations=options.generations,
        temperature=options.temperature,
        allow_code_execution=options.allow_code_execution,
        device=device,
        dtype=options.dtype,
        output=options.output,
        samples=options.samples,
    )
    print(results_table(results))
    return 0
