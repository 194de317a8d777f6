"""The bag of words as a model of its own: fitted, measured and kept as a run, to be compared with others."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

from ..configs.schema import RunConfig
from ..data.classification.load import labelled_texts, text_of
from ..errors import notice
from ..evaluation.baseline import NAME, fit_baseline
from ..evaluation.plots import picture, plot_confusion
from .analysis import CLASSES
from .class_weights import weights_of_classes
from .folder import new_run_folder, write_text
from .page import write_page
from .progress import memory
from .report import versions
from .resources import machine
from .results import headline


def fit_words(run: RunConfig, opened: Callable[[Path], None] = lambda root: None) -> int:
    """Fit on the training texts, measure on what is held out and on the test split, write a run's folder. -> 0

    `opened` is told the folder before anything is done in it.

    Raises UserError for bad data, and where the folder cannot be written.
    """
    notice(
        f"{NAME} has no network: of the settings, the data set, class weights, the seed and the output folder concern "
        "it"
    )
    tests = Path(run.general.paths.eval_dir) if run.general.paths.eval_dir else None
    folder = new_run_folder(Path(run.output.output_dir), run.output.run_name or NAME, None, tests)
    opened(folder.root)
    parts, names, heldout_is = labelled_texts(run.dataset, run.general.seed)
    texts = {split: [text_of(example) for example in examples] for split, (examples, _) in parts.items()}
    started = time.perf_counter()
    weights = weights_of_classes(run.trainer.class_weights, parts["train"][1], names)
    baseline = fit_baseline(
        texts["train"], parts["train"][1], [], [], names, seed=run.general.seed, class_weights=weights
    )
    seconds = round(time.perf_counter() - started, 3)
    baseline.save(folder.root / NAME)
    count = int(baseline.classifier.coef_.size + baseline.classifier.intercept_.size)
    summary = f"{len(texts['train']):,} rows of {len(names)} classes ({', '.join(names[:6])}), "
    results = {
        "finished": True,
        "model": folder.root.parent.name,
        "base_model": NAME,
        "random_weights": False,
        "method": "tf-idf",
        "task": "classification",
        "objective": "bag of words",
        "parameters": count,
        "trained_parameters": count,
        "dataset": run.dataset.train_path or run.dataset.name,
        "data": {"summary": f"{summary}{len(texts['heldout']):,} held out ({heldout_is})", "lengths": ""},
        "train_tokens": 0,
        "steps": 1,
        "steps_wanted": 1,
        "epochs": 1.0,
        "steps_per_epoch": 1,
        "tokens_seen": 0,
        "tokens_per_second": 0.0,
        "skipped_steps": 0,
        "best": None,
        "flash_attention_share": None,
        "training_seconds": seconds,
        "seconds_per_epoch": seconds,
        "device": "cpu",
        "mixed_precision": "no",
        "seed": run.general.seed,
        "labels": list(names),
        "strongest_words": baseline.strongest_words(),
        "versions": versions(),
        "machine": machine(torch.device("cpu")),
        **memory("cpu"),
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    confusion, what = None, ""
    for what in [split for split in ("heldout", "test") if texts.get(split)]:
        numbers, confusion = baseline.measure(texts[what], parts[what][1])
        results[what] = numbers | ({"of": len(texts[what])} if what == "test" else {})
        folder.write_json(folder.test / "metrics" / f"{what}.json", results[what])
    if confusion is not None:
        told = {"step": 1, "rows_are": what.replace("heldout", "held out"), **confusion.numbers(names)}
        folder.write_json(folder.test / "metrics" / CLASSES, told)
        path = folder.test / "analysis" / "confusion_matrix.png"
        if run.output.plots:
            with picture(path):
                plot_confusion(confusion, names, path, f"{folder.root.parent.name}, {folder.root.name}")
    said = run.to_dict()
    concern = {"model": NAME} | {name: said[name] for name in ("dataset", "output", "general")}
    if weights is not None:
        concern["trainer"] = {"class_weights": said["trainer"]["class_weights"]}
    write_text(folder.config, yaml.safe_dump(concern, sort_keys=False, allow_unicode=True, width=100))
    folder.write_json(folder.results, results)
    write_page(folder)
    print(f"done in {seconds:.1f} s: {folder.report}", file=sys.stderr)
    what, numbers = headline(results)
    if numbers:
        print(f"{what.replace(' ', '-')} accuracy {numbers['accuracy']:.4f}", file=sys.stderr)
    return 0
