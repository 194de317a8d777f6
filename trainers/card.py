"""The model card that goes with an uploaded model: what, from what, on what, how well, with which settings."""

from __future__ import annotations

from typing import Any

import yaml

from ..evaluation.baseline import NAME as BAG_OF_WORDS
from .page import KEY_SETTINGS, METHODS, NUMBERS, TASKS

_PIPELINES = {"causal_lm": "text-generation", "masked_lm": "fill-mask", "classification": "text-classification"}
_CLASSES = {
    "causal_lm": "AutoModelForCausalLM",
    "masked_lm": "AutoModelForMaskedLM",
    "classification": "AutoModelForSequenceClassification",
    "replaced_token": "ElectraForPreTraining",
    "encoder": "AutoModel",
}


def model_card(results: dict[str, Any], config: dict[str, Any], repo: str, *, adapter: bool, step: int) -> str:
    """README.md: a header that the hub reads, and text for people.

    Nothing is claimed that the run does not know: its licence is left to whoever publishes it.
    """
    header: dict[str, Any] = {"library_name": "peft" if adapter else "transformers"}
    if results["task"] in _PIPELINES:
        header["pipeline_tag"] = _PIPELINES[results["task"]]
    base = results.get("base_model")
    if base and _is_hub_id(base) and not results.get("random_weights"):
        header["base_model"] = base
    if _is_hub_id(results["dataset"]):
        header["datasets"] = [results["dataset"]]
    header["tags"] = ["groundup", *(["lora"] if adapter else [])]
    parts = [
        "---\n" + yaml.safe_dump(header, sort_keys=False) + "---",
        f"# {repo.rpartition('/')[2]}",
        _what(results, step),
        "## Numbers\n\n" + _numbers(results),
        "## How it was trained\n\n" + _settings(config),
        "## Use\n\n" + _use(results, repo, adapter),
        "## Licence\n\nThe run that made this model knows no licence. Those of "
        + (
            f"the base model ({base}) and of the data ({results['dataset']})"
            if base
            else f"the data ({results['dataset']})"
        )
        + " apply; add `license:` to the header of this file once you have looked them up.",
    ]
    return "\n\n".join(parts) + "\n"


def _what(r: dict[str, Any], step: int) -> str:
    start = r.get("base_model")
    begun = "random weights" if r.get("random_weights") or not start else start
    split = f"{r['trained_parameters']:,} of its {r['parameters']:,} parameters were trained"
    trained = (
        f"all {r['parameters']:,} parameters were trained" if r["trained_parameters"] == r["parameters"] else split
    )
    return (
        f"{str(TASKS.get(r['task'], r['task'])).capitalize()}, begun from {begun}; {trained} "
        f"({METHODS.get(r['method'], r['method'])}) on {r['dataset']}: {r['data']['summary']}. These are the weights "
        f"of step {step:,} of {r['steps']:,}" + (", the best by held-out loss." if r.get("best") else ".")
    )


def _numbers(r: dict[str, Any]) -> str:
    before, words = r.get("baseline", {}).get("heldout", {}), r.get("baseline", {}).get(BAG_OF_WORDS, {})
    columns = {"before training, held out": before, "held out": r.get("heldout", {}), "test": r.get("test", {})}
    columns = {name: values for name, values in (columns | {"bag of words, held out": words}).items() if values}
    if not r.get("heldout"):
        return "Nothing was measured on held-out data."
    lines = [_row("", *columns), "|---" * (len(columns) + 1) + "|"]
    for key, said in NUMBERS.items():
        if key in r["heldout"]:
            cells = ("" if values.get(key) is None else f"{values[key]:,.4g}" for values in columns.values())
            lines.append(_row(said, *cells))
    seconds, device = r["training_seconds"], r["device"]
    return (
        "\n".join(lines) + f"\n\nMeasured at the last step, {r['steps']:,}; {seconds:,.0f} s of training on {device}."
    )


def _settings(config: dict[str, Any]) -> str:
    lines = ["| setting | value |", "|---|---|"]
    for path, said in KEY_SETTINGS.items():
        value: Any = config
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            lines.append(_row(said, str(value)))
    return "\n".join(lines)


def _use(r: dict[str, Any], repo: str, adapter: bool) -> str:
    model, base = _CLASSES.get(r["task"], "AutoModel"), r.get("base_model")
    if adapter:
        code = [
            "from peft import PeftModel",
            f"from transformers import AutoTokenizer, {model}",
            "",
            f'model = PeftModel.from_pretrained({model}.from_pretrained("{base}"), "{repo}")',
        ]
    else:
        code = [f"from transformers import AutoTokenizer, {model}", "", f'model = {model}.from_pretrained("{repo}")']
    code.append(f'tokenizer = AutoTokenizer.from_pretrained("{repo}")')
    versions = ", ".join(f"{name} {version}" for name, version in r["versions"].items())
    labels = f"\n\nIts classes: {', '.join(r['labels'])}." if r.get("labels") else ""
    return "```python\n" + "\n".join(code) + f"\n```{labels}\n\nMade with {versions}."


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _is_hub_id(name: str) -> bool:
    """`owner/name`, and no path."""
    return name.count("/") == 1 and not name.startswith(("/", ".", "~"))
