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
from ..evaluation.plots import NUMBERED
from . import sentences
from .folder import RunFolder, write_text
from .metrics import read_jsonl
from .progress import duration
from .results import KEY_SETTINGS, METHODS, NUMBERS, Results, bag_of_words, headline, of_best

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
MOST_PAIRS = 10


def write_page(folder: RunFolder) -> Path:
    """Write report.html from what lies in the folder."""
    write_text(folder.report, page(folder))
    return folder.report


def page(folder: RunFolder) -> str:
    """The page as text."""
    results: Results = json.loads(folder.results.read_text(encoding="utf-8"))
    config_text = folder.config.read_text(encoding="utf-8")
    config = yaml.safe_load(config_text)
    name = results["model"]
    return render(
        "run.html",
        title=f"{name} on {_short(results['dataset'])}",
        subtitle=f"A training run, {folder.root.name}, written {results['written']}.",
        warnings=sentences.warnings(results),
        summary=sentences.summary(results),
        tiles=_tiles(results),
        numbers_head=["number", *_columns(results)],
        numbers=_numbers(results),
        numbers_note=sentences.note(results),
        classes=_classes(folder),
        classes_note="Precision: of the rows taken for the class, the share that is of it. Recall: of the rows of the "
        "class, the share that was found. F1 is their harmonic mean.",
        confused=_confused(folder),
        words=[(label, ", ".join(words)) for label, words in results.get("strongest_words", {}).items()],
        pupils=_pupils(results),
        tasks=_tasks(results),
        curves=_curves(folder),
        looks=_looks(folder),
        data=f"{results['dataset']}: {results['data']['summary']}.",
        lengths=results["data"]["lengths"],
        samples=read_jsonl(folder.metrics / "samples.jsonl"),
        settings=_settings(results, config),
        config=config_text,
        resources=_resources(results),
        uploaded=results.get("uploaded_to"),
        reproduce=_reproduce(folder, results),
        checkpoints=sentences.where_weights_are(folder, results),
        use=_use(folder, results),
        python=_python(folder, results),
    )


# --- tables ------------------------------------------------------------------------------------------------------


def _tiles(r: Results) -> list[dict[str, str]]:
    what, after = headline(r)
    before = r.get("baseline", {}).get("heldout", {}) if what != "test" else {}  # of the same rows, or not at all
    words = bag_of_words(r, what)
    tiles: list[dict[str, str]] = []
    for key in ("accuracy", "macro_f1", "perplexity", "discriminator_accuracy", "loss"):
        if after.get(key) is None or len(tiles) == 3:
            continue
        beside = [f"{number(before[key])} before"] if before.get(key) is not None else []
        if key in words:
            beside.append(f"{number(words[key])} bag of words")
        tiles.append({"value": number(after[key]), "name": f"{NUMBERS[key]}, {what}", "beside": ", ".join(beside)})
    rate = f"{duration(r['seconds_per_epoch'])} an epoch, {r['tokens_per_second']:,.0f} tokens/s"
    is_network = r["base_model"] != BAG_OF_WORDS
    tiles.append({"value": duration(r["training_seconds"]), "name": "training", "beside": rate if is_network else ""})
    return tiles


def _columns(r: Results) -> dict[str, dict[str, Any]]:
    """The columns of the numbers: what each is, and its values."""
    best = of_best(r)
    found = {
        "before training": r.get("baseline", {}).get("heldout"),
        f"best, step {r['best']['step']:,}" if best else "": best,
        f"last, step {r.get('heldout_step', r['steps']):,}" if best else "after": r.get("heldout"),
        "bag of words": bag_of_words(r, "held out"),
        "test split": r.get("test"),
        "bag of words, test split": bag_of_words(r, "test") if "test" in r else None,
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


def _counted(folder: RunFolder) -> dict[str, Any]:
    """Who was taken for whom at the end; {} of what is no classifier, or was not measured."""
    path = folder.test / "metrics" / "classes.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _classes(folder: RunFolder) -> list[list[Any]]:
    classes = _counted(folder).get("classes", {})
    return [[name, c["precision"], c["recall"], c["f1"], c["rows"]] for name, c in classes.items()]


def _confused(folder: RunFolder) -> list[list[Any]]:
    """The pairs that are most often mistaken, where there are too many classes to find them in the picture."""
    counted = _counted(folder)
    names = list(counted.get("classes", {}))
    if len(names) <= NUMBERED:
        return []
    wrong = [
        [names[i], names[j], count]
        for i, row in enumerate(counted["confusion"])
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(wrong, key=lambda pair: -pair[2])[:MOST_PAIRS]


_OF_PUPILS = {
    "layers": "layers",
    "parameters": "parameters",
    "tokens_per_second": "tokens a second",
    "loss": "loss (nats)",
    "perplexity": "perplexity",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
}


def _pupils(r: Results) -> list[list[Any]]:
    """Teacher and student beside each other: the head of a table and its rows; [] for a run without a teacher."""
    found: dict[str, dict[str, Any]] = r.get("distillation", {})
    keys = [key for key in _OF_PUPILS if any(key in one for one in found.values())]
    rows = [[name, *(one.get(key) for key in keys)] for name, one in found.items()]
    return [["", *(_OF_PUPILS[key] for key in keys)], *rows] if rows else []


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
        ("evaluation", duration(r["evaluation_seconds"]) if r.get("evaluation_seconds") else None),
        ("an epoch", _epoch(r)),
        ("samples a second", r.get("samples_per_second")),
        ("tokens a second", r["tokens_per_second"] or None),
        ("processor", f"{r['cpu_percent']} % busy (100: one core)" if "cpu_percent" in r else None),
        ("GPU", f"{r['gpu_percent']} % busy" if "gpu_percent" in r else None),
        ("peak memory", f"{r['peak_memory_gib']} GiB" if "peak_memory_gib" in r else None),
        ("peak memory, GPU", f"{r['peak_gpu_memory_gib']} GiB" if "peak_gpu_memory_gib" in r else None),
    ]
    if saved:
        rows.append(("checkpoints", f"{saved['written']} written, {size(saved['bytes'])}, {saved['seconds']} s in all"))
    rows.append(("versions", ", ".join(f"{name} {version}" for name, version in r["versions"].items())))
    return [(name, value) for name, value in rows if value is not None]


def _epoch(r: Results) -> str | None:
    if r["base_model"] == BAG_OF_WORDS:
        return None
    counted = f", reckoned from {r['steps']:,}" if r["steps"] < r["steps_per_epoch"] else ""
    return f"{duration(r['seconds_per_epoch'])} for {r['steps_per_epoch']:,} steps{counted}"


# --- pictures ----------------------------------------------------------------------------------------------------


def _curves(folder: RunFolder) -> list[dict[str, Any]]:
    drawn = {path.stem: path for path in sorted(folder.analysis.glob("*.png"))}
    names = [*(name for name in CURVES if name in drawn), *(name for name in drawn if name not in CURVES)]
    return [_figure(drawn[name], CURVES.get(name, name.replace("_", " "))) for name in names]


def _looks(folder: RunFolder) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    for name, said in LOOKS.items():
        for place, when in ((folder.baseline, "before training"), (folder.test, "after")):
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


def _use(folder: RunFolder, r: Results) -> str:
    run = shlex.quote(str(folder.root))
    if r["base_model"] == BAG_OF_WORDS:
        return f"python evaluate.py --model {run} --data FILE_OR_DIR"
    return (
        f"python evaluate.py --model {run}\n"
        f"python train.py --resume {run}                      # with trainer.max_iters to go further\n"
        f"python train.py --export {run} --output my_model    # for transformers\n"
        f"python train.py --push {run} output.hub_model_id=USER/NAME"
    )


def _python(folder: RunFolder, r: Results) -> str:
    if r["base_model"] == BAG_OF_WORDS:
        return (
            "from groundup.evaluation.baseline import load_baseline\n\n"
            f"baseline = load_baseline({str(folder.root / BAG_OF_WORDS)!r})\n"
            'print([baseline.label_names[i] for i in baseline.predict(["a text"])])'
        )
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
