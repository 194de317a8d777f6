"""The model card that goes with an uploaded model: what, from what, on what, how well, with which settings.

Nothing is claimed that the run does not know, and no path of the machine it was trained on is told.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..data.corpus import is_hub_id
from ..data.hub import full_name
from ..evaluation.pages import number
from ..models.registry import lookup
from .results import KEY_SETTINGS, METHODS, NUMBERS, TASKS, Results, bag_of_words, metric_of

_PIPELINES = {"causal_lm": "text-generation", "masked_lm": "fill-mask", "classification": "text-classification"}
_CLASSES = {
    "causal_lm": "AutoModelForCausalLM",
    "masked_lm": "AutoModelForMaskedLM",
    "classification": "AutoModelForSequenceClassification",
    "replaced_token": "ElectraForPreTraining",
    "encoder": "AutoModel",
}
_METRICS = {
    "accuracy": ("accuracy", "Accuracy"),
    "macro_f1": ("f1", "Macro F1"),
    "perplexity": ("perplexity", "Perplexity"),
}
_LICENCE = ("license", "license_name", "license_link")


def model_card(
    results: Results,
    config: Mapping[str, Any],
    repo: str,
    *,
    step: int,
    adapter_of: str | None = None,
    licence: Mapping[str, Any] | None = None,
) -> str:
    """README.md: a header that the hub reads, and text for people.

    Args:
        step: of the weights that it goes with.
        adapter_of: what they are an adapter of; None: they are whole.
        licence: what the header already says of it. The run knows none.
    """
    base, data = adapter_of or results.get("base_model"), results["dataset"]
    teacher = (config.get("distillation") or {}).get("teacher")
    header: dict[str, Any] = {**(licence or {}), "library_name": "peft" if adapter_of else "transformers"}
    if results["task"] in _PIPELINES:
        header["pipeline_tag"] = _PIPELINES[results["task"]]
    if base and not results.get("random_weights") and (known := model_id(base)):
        header["base_model"] = known
    if known := dataset_id(data):
        header["datasets"] = [known]
    header["tags"] = ["groundup", *(["lora"] if adapter_of else []), *(["distillation"] if teacher else [])]
    if index := _model_index(results, config, repo, step):
        header["model-index"] = index
    parts = [
        "---\n" + yaml.safe_dump(header, sort_keys=False, allow_unicode=True) + "---",
        f"# {repo.rpartition('/')[2]}",
        _what(results, step, teacher),
        "## Numbers\n\n" + _numbers(results, step),
        "## How it was trained\n\n" + _settings(config),
        "## Use\n\n" + _use(results, repo, adapter_of),
        "## Licence\n\n" + _rights(results, teacher, licence),
    ]
    return "\n\n".join(parts) + "\n"


def licence_of(card: str) -> dict[str, Any]:
    """What the header of a card says of the licence."""
    header = re.match(r"\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", card, re.DOTALL)
    try:
        said = yaml.safe_load(header[1]) if header else None
    except yaml.YAMLError:
        return {}
    return {key: said[key] for key in _LICENCE if key in said} if isinstance(said, dict) else {}


# --- names -------------------------------------------------------------------------------------------------------


def model_id(name: str) -> str | None:
    """The id on the hub of what a run calls a model, None of one that lies on this machine. The hub is not asked."""
    if Path(name).expanduser().exists():
        return None
    entry = lookup(name)
    return _id(entry.name if entry is not None and entry.name else name)


def dataset_id(name: str) -> str | None:
    """The id on the hub of what a run calls a data set, None of one that lies on this machine."""
    return None if Path(name).expanduser().exists() else _id(full_name(name)[0])


def _id(name: str) -> str | None:
    """`owner/name` where it is that."""
    there = Path(name).expanduser().exists()
    return name if "/" in name and is_hub_id(name) and not there else None


def _plain(name: str, known: str | None) -> str:
    """The id, or the last part of a path."""
    return known or Path(name).name or name


def _model(name: str) -> str:
    return _plain(name, model_id(name))


def _data(name: str) -> str:
    return _plain(name, dataset_id(name))


# --- parts -------------------------------------------------------------------------------------------------------


def _what(r: Results, step: int, teacher: str | None) -> str:
    start = r.get("base_model")
    begun = "random weights" if r.get("random_weights") or not start else _model(start)
    split = f"{r['trained_parameters']:,} of its {r['parameters']:,} parameters were trained"
    trained = (
        f"all {r['parameters']:,} parameters were trained" if r["trained_parameters"] == r["parameters"] else split
    )
    taught = f" Its teacher was {_model(teacher)}, whose answers it learned to give." if teacher else ""
    best = f", the best by held-out {metric_of(r)}" if (r.get("best") or {}).get("step") == step else ""
    short = "" if r.get("finished", True) else f"; {r['steps_wanted']:,} were planned"
    task, method = str(TASKS.get(r["task"], r["task"])), METHODS.get(r["method"], r["method"])
    return (
        f"{task.capitalize()}, begun from {begun}; {trained} ({method}) on {_data(r['dataset'])}: "
        f"{r['data']['summary']}.{taught} These are the weights of step {step:,} of {r['steps']:,}{best}{short}."
    )


def _measured(r: Results, step: int) -> tuple[int, Results, Results]:
    """Held-out and test numbers of the weights of `step`, else the last there are; and of which step they are."""
    best, test = r.get("best") or {}, r.get("test") or {}
    if best.get("step") == step and best.get("heldout"):
        return step, best["heldout"], best.get("test") or {}
    at = r.get("heldout_step", r["steps"])
    return at, r.get("heldout") or {}, test if test.get("step", r["steps"]) == at else {}


def _numbers(r: Results, step: int) -> str:
    at, heldout, test = _measured(r, step)
    best = r.get("best") or {}
    loss = number(best["loss"]) if best.get("step") == step else ""
    if not heldout:
        known = f" at the last step; the held-out loss of these weights is {loss}" if loss else ""
        return f"Nothing was measured on held-out data{known}."
    columns = {
        "before training, held out": r.get("baseline", {}).get("heldout"),
        "held out": heldout,
        "bag of words, held out": bag_of_words(r, "held out"),
        "test": test,
        "bag of words, test": bag_of_words(r, "test") if test else None,
    }
    columns = {name: values for name, values in columns.items() if values}
    lines = [_row("", *columns), "|---" * (len(columns) + 1) + "|"]
    for key, said in NUMBERS.items():
        if key in heldout:
            lines.append(_row(said, *(number(values.get(key)) for values in columns.values())))
    measured = f"Measured at step {at:,}, of the weights that are here."
    if at != step:
        measured = (
            f"**These numbers are not of the weights that are here**: they were measured at step {at:,}, and the "
            f"weights are of step {step:,}{f', whose held-out loss is {loss}' if loss else ''}."
        )
    for what, seen, of in (("held-out", heldout, r.get("heldout_of")), ("test", test, test.get("of"))):
        if of and seen.get("rows", of) < of:
            measured += f" Of {of:,} {what} rows {seen['rows']:,} were measured, spread evenly."
    return "\n".join(lines) + f"\n\n{measured} Training took {r['training_seconds']:,.0f} s on {r['device']}."


def _model_index(r: Results, config: Mapping[str, Any], repo: str, step: int) -> list[dict[str, Any]]:
    """The numbers for the hub to show; none that are of other weights."""
    at, heldout, test = _measured(r, step)
    if at != step or r["task"] not in _PIPELINES:
        return []
    found: list[dict[str, Any]] = []
    for split, numbers, own in (("held out", heldout, "eval_path"), ("test", test, "test_path")):
        metrics = [
            {"type": kind, "value": numbers[key], "name": f"{said}, {split}"}
            for key, (kind, said) in _METRICS.items()
            if isinstance(numbers.get(key), float) and math.isfinite(numbers[key])
        ]
        source = (config.get("dataset") or {}).get(own) or r["dataset"]
        dataset = {"name": _data(source), "type": _data(source)} | ({"split": "test"} if split == "test" else {})
        if metrics:
            found.append({"task": {"type": _PIPELINES[r["task"]]}, "dataset": dataset, "metrics": metrics})
    return [{"name": repo.rpartition("/")[2], "results": found}] if found else []


def _settings(config: Mapping[str, Any]) -> str:
    lines = ["| setting | value |", "|---|---|"]
    for path, said in KEY_SETTINGS.items():
        value: Any = config
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            lines.append(_row(said, str(value)))
    return "\n".join(lines)


def _use(r: Results, repo: str, adapter_of: str | None) -> str:
    model, labels = _CLASSES.get(r["task"], "AutoModel"), r.get("labels")
    if adapter_of:
        base, classes = model_id(adapter_of), f", num_labels={len(labels)}" if labels else ""
        code = [
            "from peft import PeftModel",
            f"from transformers import AutoTokenizer, {model}",
            "",
            *([] if base else ["# What it is an adapter of is not on the hub: name the folder where you have it."]),
            f'base = {model}.from_pretrained("{_plain(adapter_of, base)}"{classes})',
            f'model = PeftModel.from_pretrained(base, "{repo}")',
        ]
    else:
        code = [f"from transformers import AutoTokenizer, {model}", "", f'model = {model}.from_pretrained("{repo}")']
    code.append(f'tokenizer = AutoTokenizer.from_pretrained("{repo}")')
    versions = ", ".join(f"{name} {version}" for name, version in r["versions"].items())
    named = f"\n\nIts classes: {', '.join(labels)}." if labels else ""
    return "```python\n" + "\n".join(code) + f"\n```{named}\n\nMade with {versions}."


def _rights(r: Results, teacher: str | None, licence: Mapping[str, Any] | None) -> str:
    sources = [f"the base model ({_model(r['base_model'])})"] if r.get("base_model") else []
    sources += [f"the teacher ({_model(teacher)})"] if teacher and teacher != r.get("base_model") else []
    of = " and of ".join([*sources, f"the data ({_data(r['dataset'])})"])
    if licence:
        return f"As the header says, in the words of whoever published this model. The licences of {of} apply too."
    return (
        f"The run that made this model knows no licence. Those of {of} apply; add `license:` to the header of this "
        "file once you have looked them up: it stays there when the model is uploaded again."
    )


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
