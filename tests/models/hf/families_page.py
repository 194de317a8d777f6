"""docs/families.md: how near every family and head is to transformers, measured here.

python tests/models/hf/families_page.py > docs/families.md
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
import transformers
from parity import compare, make_pair, paddings
from parity_cases import CASES

# Family -> what is published under it
CHECKPOINTS = {
    "gpt2": "GPT-2, DistilGPT2",
    "gpt_neox": "Pythia",
    "opt": "OPT (all but 350m)",
    "llama": "Llama 2 and 3, TinyLlama, SmolLM2",
    "mistral": "Mistral",
    "qwen2": "Qwen2.5",
    "qwen3": "Qwen3",
    "phi3": "Phi-3 (4k, 128k)",
    "gemma2": "Gemma 2",
    "gemma3": "Gemma 3 (text)",
    "starcoder2": "StarCoder2",
    "bert": "BERT, MiniLM",
    "roberta": "RoBERTa, DistilRoBERTa",
    "distilbert": "DistilBERT",
    "electra": "ELECTRA",
    "deberta_v2": "DeBERTa-v3",
}
HEADS = {
    "causal_lm": "causal LM",
    "masked_lm": "masked LM",
    "classification": "classification",
    "replaced_token": "replaced-token detection",
    "encoder": "bare",
}
HEADER = """# Families

What `load_pretrained` reads and `save_pretrained` writes. This page is measured and written by `make docs`.

| family | checkpoints | heads |
|---|---|---|
{families}

How far our numbers are from those of `transformers`: each row is a tiny model of its class, with noise on every weight,
saved by it and loaded by us. Four texts of up to 19 tokens, unpadded, padded on the right and on the left, go through
both in fp32. A difference is the largest absolute one: over all logits of real tokens, and over the gradients, by every
parameter, of a random sum of these logits, taken a token. In brackets stands the largest number that was compared.
`tests/models/hf` compares more: windows, long texts, bf16, dropout, old spellings of config.json, generation, and
trained weights.

Measured on a CPU with torch {torch} and transformers {transformers}.

| family | head | class | variant | logits | gradients |
|---|---|---|---|---|---|
{rows}
"""


def measure(name: str) -> tuple[float, float, float, float]:
    """The largest difference of logits, the largest logit, and the same of gradients."""
    logits, gradients = [], []
    with tempfile.TemporaryDirectory() as folder:
        pair = make_pair(CASES[name], Path(folder) / "theirs")
        for padding in paddings(pair.case):
            difference, by_parameter = compare(pair, padding, Path(folder) / padding)
            logits.append(difference)
            gradients.extend(by_parameter.values())
    largest = [max(column) for found in (logits, gradients) for column in zip(*found, strict=True)]
    return largest[0], largest[1], largest[2], largest[3]


def row_of(name: str) -> str:
    """How the row of a case begins."""
    case, variant = CASES[name], name.partition("-")[2]
    variant = "" if variant in ("classifier", "bare") else variant  # which the head says
    return f"| `{case.family}` | {HEADS[case.task]} | {case.architecture} | {variant} |"


def page() -> str:
    """The whole page."""
    families, rows = [], []
    for family, checkpoints in CHECKPOINTS.items():
        cases = {name: case for name, case in CASES.items() if case.family == family}
        heads = ", ".join(dict.fromkeys(HEADS[case.task] for case in cases.values()))
        families.append(f"| `{family}` | {checkpoints} | {heads} |")
        for name in cases:
            logit, logit_scale, gradient, gradient_scale = measure(name)
            numbers = f"{logit:.1e} ({logit_scale:.1f}) | {gradient:.1e} ({gradient_scale:.1f})"
            rows.append(f"{row_of(name)} {numbers} |")
    versions = {"torch": torch.__version__.partition("+")[0], "transformers": transformers.__version__}
    return HEADER.format(families="\n".join(families), rows="\n".join(rows), **versions)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(page(), end="")
