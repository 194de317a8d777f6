"""report.html: a run on one page, for someone who did not run it. Made from the files of the run's folder alone."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import yaml

from ..evaluation.baseline import NAME as BAG_OF_WORDS
from ..evaluation.numbers import main_number
from ..evaluation.pages import data_uri, number, render, size
from .checkpoint import checkpoints
from .folder import RunFolder, write_text
from .metrics import read_jsonl
from .progress import duration

Results = dict[str, Any]

CURVES = {
    "loss": "Loss: of the training batches as they were learned from, and of held-out data.",
    "scores": "Held-out accuracy and macro F1, the mean of the classes' F1.",
    "gap": "Loss on training and on held-out rows, equally many and measured alike: what lies between is overfitting.",
    "tasks": "Scores of the tasks, a standard error to either side.",
    "text_modeling": "How much of held-out text the model continues byte for byte, by the byte's place.",
    "learning_rate": "The learning rate's schedule.",
    "gradient_norm": "The gradient's norm before it is clipped.",
    "gradient_norm_layers": "The same by layer.",
    "throughput": "Tokens a second, evaluation and checkpoints apart.",
    "samples": "Samples (rows of the batches) a second.",
    "memory": "Memory of the process, and of the GPU where one was used.",
    "processor": "How busy the processor was.",
}
LOOKS = {
    "confusion_matrix": "Who is taken for whom",
    "attention_maps": "Where the tokens of one held-out example look",
}
NUMBERS = {
    "loss": "loss (nats)",
    "perplexity": "perplexity",
    "bits_per_byte": "bits a byte",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "train_loss": "loss on training rows",
    "gap": "gap, held out less training",
    "train_accuracy": "accuracy on training rows",
    "rows": "rows",
    "tokens": "tokens",
}
TASKS = {
    "causal_lm": "a decoder that predicts the next token",
    "masked_lm": "an encoder that guesses masked tokens",
    "classification": "a classifier",
    "replaced_token": "a discriminator of replaced tokens",
}
METHODS = {
    "full": "all weights",
    "lora": "LoRA adapters on a frozen base",
    "qlora": "LoRA adapters on a frozen, quantised base",
    "spectrum": "the layers with the most signal (Spectrum)",
}
KEY_SETTINGS = {
    "trainer.optimizer.name": "optimizer",
    "trainer.optimizer.lr": "learning rate",
    "trainer.optimizer.min_lr": "lowest learning rate",
    "trainer.lr_scheduler": "schedule",
    "trainer.optimizer.weight_decay": "weight decay",
    "trainer.optimizer.grad_clip": "gradient norm clipped at",
    "trainer.batch_size": "batch size",
    "trainer.gradient_accumulation_steps": "batches a step",
    "trainer.max_seq_length": "longest sequence (tokens)",
    "trainer.label_smoothing": "label smoothing",
    "trainer.loss_fn": "loss",
    "trainer.mixed_precision": "precision",
    "general.seed": "seed",
}


def write_page(folder: RunFolder, tested: Path | None = None) -> Path:
    """Write report.html from what lies in the folder; `tested` is where results on held-out data are, if elsewhere."""
    write_text(folder.report, page(folder, tested or folder.test))
    return folder.report


def page(folder: RunFolder, tested: Path) -> str:
    """The page as text."""
    results: Results = json.loads(folder.results.read_text(encoding="utf-8"))
    config_text = folder.config.read_text(encoding="utf-8")
    config = yaml.safe_load(config_text)
    name = results["model"]
    return render(
        "run.html",
        title=f"{name} on {_short(results['dataset'])}",
        subtitle=f"A training run, {folder.root.name}, written {results['written']}.",
        warnings=_warnings(results),
        summary=_summary(results),
        tiles=_tiles(results),
        numbers_head=["number", *_columns(results)],
        numbers=_numbers(results),
        numbers_note=_note(results),
        classes=_classes(tested),
        classes_note="Precision: of the rows taken for the class, the share that is of it. Recall: of the rows of the "
        "class, the share that was found. F1 is their harmonic mean.",
        tasks=_tasks(results),
        curves=_curves(folder),
        looks=_looks(folder, tested),
        data=f"{results['dataset']}: {results['data']['summary']}.",
        lengths=results["data"]["lengths"],
        samples=read_jsonl(folder.metrics / "samples.jsonl"),
        settings=_settings(results, config),
        config=config_text,
        resources=_resources(results),
        reproduce=_reproduce(folder, results),
        checkpoints=_checkpoints(folder, results),
        use=_use(folder),
        python=_python(folder, results),
    )


def headline(results: Results) -> tuple[str, dict[str, Any]]:
    """What the run's numbers are of, and the numbers: of the test split where there is one, else of held-out data."""
    if "test" in results:
        return "test", results["test"]
    return "held out", results.get("heldout", {})


# --- sentences ---------------------------------------------------------------------------------------------------


def _summary(r: Results) -> str:
    start = r["base_model"]
    from_what = f"the weights of {start}" if start and not r["random_weights"] else "random weights"
    if start and r["random_weights"]:
        from_what += f" in the shape of {start}"
    partly = (
        "" if r["trained_parameters"] == r["parameters"] else f", of which {r['trained_parameters']:,} were trained"
    )
    text = (
        f"{r['model']} is {TASKS.get(r['task'], r['task'])} of {r['parameters']:,} parameters{partly}. It started from "
        f"{from_what} and was trained ({METHODS.get(r['method'], r['method'])}) on {r['dataset']} for "
        f"{r['steps']:,} steps, {r['epochs']:.3g} passes over the data, on {r['device']}, in "
        f"{duration(r['training_seconds'])}."
    )
    before, after = r.get("baseline", {}).get("heldout", {}), r.get("heldout", {})
    words = r.get("baseline", {}).get(BAG_OF_WORDS, {})
    if "accuracy" in after:
        was = f" from {before['accuracy']:.4f} before training" if "accuracy" in before else ""
        text += f" Accuracy on {after['rows']:,} held-out rows went{was} to {after['accuracy']:.4f}"
        text += f"; a bag of words with logistic regression reaches {words['accuracy']:.4f}." if words else "."
        if "test" in r:
            text += f" On {r['test']['rows']:,} rows of the test split it is {r['test']['accuracy']:.4f}."
    elif "perplexity" in after:
        was = f" from {number(before['perplexity'])} before training" if "perplexity" in before else ""
        text += f" Perplexity on held-out text went{was} to {number(after['perplexity'])}."
    return text


def _warnings(r: Results) -> list[str]:
    found: list[str] = []
    if not r["finished"]:
        found.append(f"The run was stopped after step {r['steps']:,} of {r['steps_wanted']:,}.")
    if "heldout" not in r:
        found.append("Nothing was held out, or nothing measured at the end: there are no numbers of unseen data.")
    if r["skipped_steps"]:
        found.append(f"{r['skipped_steps']:,} steps changed nothing: their loss or gradient was not finite.")
    words = r.get("baseline", {}).get(BAG_OF_WORDS, {}).get("accuracy")
    if words is not None and r.get("heldout", {}).get("accuracy", 1.0) < words:
        found.append("The bag of words, which knows no order of words, does better than this model.")
    return found


def _note(r: Results) -> str:
    seen = r.get("heldout", {})
    text = "Loss is the mean of a target's negative log-likelihood: lower is better."
    if "perplexity" in seen:
        text += " Perplexity is its exponential: among how many equally likely tokens the model chooses."
    if "macro_f1" in seen:
        text += " Macro F1 is the mean of the classes' F1."
    if "test" in r:
        text += " What is not said to be of the test split is of the held-out rows."
    if "test" in r and r["test"]["rows"] < r["test"]["of"]:
        text += f" Of the test split's {r['test']['of']:,} rows {r['test']['rows']:,} were measured, spread evenly."
    return text


def _checkpoints(folder: RunFolder, r: Results) -> str:
    steps = [path.name for path in checkpoints(folder.weights)]
    if not steps:
        return "none is left."
    best = r["best"]
    said = f"{len(steps)} are kept, `last` leads to {steps[-1]}"
    if best is None:
        return f"{said}, there is no `best`: evaluation and export take the last."
    return (
        f"{said}, `best` to step {best['step']:,} with the lowest held-out loss, {best['loss']:.4f}: evaluation and "
        "export take the best. The numbers on this page are those of the last step."
    )


# --- tables ------------------------------------------------------------------------------------------------------


def _tiles(r: Results) -> list[dict[str, str]]:
    what, after = headline(r)
    before = r.get("baseline", {}).get("heldout", {}) if what != "test" else {}  # of the same rows, or not at all
    words = _words(r, what)
    tiles: list[dict[str, str]] = []
    for key in ("accuracy", "macro_f1", "perplexity", "loss"):
        if key not in after or len(tiles) == 3:
            continue
        beside = [f"{number(before[key])} before"] if key in before else []
        if key in words:
            beside.append(f"{number(words[key])} bag of words")
        tiles.append({"value": number(after[key]), "name": f"{NUMBERS[key]}, {what}", "beside": ", ".join(beside)})
    tiles.append(
        {
            "value": duration(r["training_seconds"]),
            "name": "training",
            "beside": f"{duration(r['seconds_per_epoch'])} an epoch, {r['tokens_per_second']:,.0f} tokens/s",
        }
    )
    return tiles


def _words(r: Results, what: str) -> dict[str, Any]:
    """The bag of words' numbers of the held-out rows, or of the test split."""
    numbers = r.get("baseline", {}).get(BAG_OF_WORDS, {})
    if what != "test":
        return {key: value for key, value in numbers.items() if not key.startswith("test_")}
    return {key.removeprefix("test_"): value for key, value in numbers.items() if key.startswith("test_")}


def _columns(r: Results) -> dict[str, dict[str, Any]]:
    """The columns of the numbers: what each is, and its values."""
    baseline = r.get("baseline", {})
    found = {
        "before training": baseline.get("heldout"),
        "after": r.get("heldout"),
        "bag of words": _words(r, "held out"),
        "test split": r.get("test"),
        "bag of words, test split": _words(r, "test") if "test" in r else None,
    }
    return {name: values for name, values in found.items() if values}


def _numbers(r: Results) -> list[list[Any]]:
    columns = _columns(r)
    rows: list[list[Any]] = []
    for key, said in NUMBERS.items():
        values = [column.get(key) for column in columns.values()]
        if any(value is not None for value in values):
            rows.append([said, *values])
    return rows


def _classes(tested: Path) -> list[list[Any]]:
    path = tested / "metrics" / "classes.json"
    if not path.is_file():
        return []
    classes = json.loads(path.read_text(encoding="utf-8"))["classes"]
    return [[name, c["precision"], c["recall"], c["f1"], c["rows"]] for name, c in classes.items()]


def _tasks(r: Results) -> list[list[Any]]:
    before, rows = r.get("baseline", {}).get("tasks", {}), []
    for task, numbers in r.get("tasks", {}).items():
        name = main_number(numbers)
        if name is not None:
            rows.append([task, name, before.get(task, {}).get(name), numbers[name], numbers.get(f"{name}_stderr")])
    return rows


def _settings(r: Results, config: dict[str, Any]) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = [("starts from", r["base_model"] or "an architecture of the configuration")]
    rows.append(("trained", METHODS.get(r["method"], r["method"])))
    for path, said in KEY_SETTINGS.items():
        value: Any = config
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            rows.append((said, value))
    return rows


def _resources(r: Results) -> list[tuple[str, Any]]:
    machine, saved = r["machine"], r.get("checkpoints")
    rows = [
        ("device", machine.get("gpu") or machine.get("processor") or r["device"]),
        ("cores, threads of torch", f"{machine['cores']}, {machine['threads']}"),
        ("training", f"{duration(r['training_seconds'])}, evaluation and checkpoints apart"),
        ("an epoch", f"{duration(r['seconds_per_epoch'])} for {r['steps_per_epoch']:,} steps"),
        ("samples a second", r.get("samples_per_second")),
        ("tokens a second", r["tokens_per_second"]),
        ("processor", f"{r['cpu_percent']} % busy (100: one core)" if "cpu_percent" in r else None),
        ("GPU", f"{r['gpu_percent']} % busy" if "gpu_percent" in r else None),
        ("peak memory", f"{r['peak_memory_gib']} GiB" if "peak_memory_gib" in r else None),
        ("peak memory, GPU", f"{r['peak_gpu_memory_gib']} GiB" if "peak_gpu_memory_gib" in r else None),
    ]
    if saved:
        rows.append(("checkpoints", f"{saved['written']} written, {size(saved['bytes'])}, {saved['seconds']} s in all"))
    rows.append(("versions", ", ".join(f"{name} {version}" for name, version in r["versions"].items())))
    return [(name, value) for name, value in rows if value is not None]


# --- pictures ----------------------------------------------------------------------------------------------------


def _curves(folder: RunFolder) -> list[dict[str, Any]]:
    drawn = {path.stem: path for path in sorted(folder.analysis.glob("*.png"))}
    names = [*(name for name in CURVES if name in drawn), *(name for name in drawn if name not in CURVES)]
    return [_figure(drawn[name], CURVES.get(name, name.replace("_", " "))) for name in names]


def _looks(folder: RunFolder, tested: Path) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    for name, said in LOOKS.items():
        for place, when in ((folder.baseline, "before training"), (tested, "after")):
            path = place / "analysis" / f"{name}.png"
            if path.is_file():
                shown.append(_figure(path, f"{said}: {when}.", full=name == "attention_maps"))
    return shown


def _figure(path: Path, caption: str, full: bool = False) -> dict[str, Any]:
    return {"src": data_uri(path), "caption": caption, "full": full}


# --- commands ----------------------------------------------------------------------------------------------------


def _reproduce(folder: RunFolder, r: Results) -> str:
    return (
        f"python train.py --config {shlex.quote(str(folder.config))}\n"
        f"# seed {r['seed']}; groundup {r['versions']['groundup']}, torch {r['versions']['torch']}"
    )


def _use(folder: RunFolder) -> str:
    run = shlex.quote(str(folder.root))
    return (
        f"python evaluate.py --model {run}\n"
        f"python train.py --resume {run}                      # with trainer.max_iters to go further\n"
        f"python train.py --export {run} --output my_model    # for transformers"
    )


def _python(folder: RunFolder, r: Results) -> str:
    lines = [
        "import torch",
        "from groundup.trainers.load import load_run",
        "",
        f"model, tokenizer = load_run({str(folder.root)!r})",
    ]
    if r["task"] == "classification":
        lines += [
            'ids = torch.tensor([tokenizer.encode("a text", add_special_tokens=True)])',
            f"names = {r.get('labels', [])!r}",
            "print(names[model(ids).argmax(-1).item()])",
        ]
    elif r["task"] == "causal_lm":
        lines += [
            'ids = torch.tensor([tokenizer.encode("Once upon a time")])',
            "print(tokenizer.decode(model.generate(ids, 100, temperature=0.8, top_k=50)[0].tolist()))",
        ]
    else:
        lines += [
            'ids = torch.tensor([tokenizer.encode("a text", add_special_tokens=True)])',
            "logits = model(ids)  # (1, T, V)",
        ]
    return "\n".join(lines)


def _short(name: str) -> str:
    """The last part of a path or of a hub id."""
    return name.rstrip("/").rpartition("/")[2] or name
