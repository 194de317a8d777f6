"""What --plan says of a run that trains a part of a model, against models that are built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from groundup.configs.plan import plan
from groundup.configs.portion import portion
from groundup.configs.schema import load_config
from groundup.models import build_model
from groundup.models.lora import add_lora
from groundup.models.quant import quantize_model
from groundup.models.quant.packed import PackedLinear
from groundup.models.start import find_start

FIXTURES = Path(__file__).with_name("fixtures")
LORA = {"fine_tuning.method": "lora"}
QLORA = {"fine_tuning.method": "qlora", "model.load_in_4bit": True}


def configured(**settings: Any) -> Any:
    words = [f"{key}={value}" for key, value in settings.items()]
    return load_config(None, ["model=BERT-mini", "device=cpu", "dataset.name=stdlib", *words], planning=True)


@pytest.mark.parametrize("kind", [None, "nf4", "nf4 plain", "int8"])
def test_adapters_on_any_base(kind: str | None):
    settings: dict[str, Any] = dict(LORA if kind is None else QLORA)
    if kind == "nf4 plain":
        settings |= {"fine_tuning.quantization.bnb_4bit_use_double_quant": False}
    if kind == "int8":
        settings = LORA | {"model.load_in_8bit": True}
    start = find_start("BERT-mini")
    found = portion(configured(**settings), start.config, start.task)
    model = build_model(start.config, start.task, seed=0, dtype=torch.bfloat16)
    whole = model.num_parameters()
    if kind is not None:
        quantize_model(model, kind.split()[0], double_quant=kind != "nf4 plain")  # pyright: ignore
    add_lora(model, 4, 8, 0.05, ["query", "value"])
    assert found is not None
    assert found.trained == found.added == model.num_parameters(trainable_only=True)
    assert found.added == model.num_parameters() - whole
    held = sum(p.nbytes for p in model.parameters())
    held += sum(m.nbytes() for m in model.modules() if isinstance(m, PackedLinear))
    assert found.weights(half=True) == held


@pytest.mark.parametrize(
    ("threshold", "layers", "share"), [(0.5, "auto", 0.5), (0.75, "auto", 0.25), (0.5, "[1, 3]", 0.5)]
)
@pytest.mark.parametrize("packed", [False, True])
def test_spectrum(threshold: float, layers: str, share: float, packed: bool):
    settings = {"fine_tuning.method": "spectrum", "model.load_in_4bit": packed}
    settings |= {"fine_tuning.spectrum.snr_threshold": threshold, "fine_tuning.spectrum.layers_to_finetune": layers}
    start = find_start("BERT-mini")
    found = portion(configured(**settings), start.config, start.task)
    model = build_model(start.config, start.task, seed=0)
    linears = [m for m in model.core.modules() if isinstance(m, torch.nn.Linear)]
    matrices = sum(m.weight.numel() for m in linears)
    biases = sum(m.bias.numel() for m in linears)
    assert found is not None
    assert found.trained == share * (matrices + biases)
    assert found.packed == ((1 - share) * matrices if packed else 0)
    assert found.trained + found.frozen + found.packed == model.num_parameters()


def test_a_run_that_trains_everything_has_no_portion():
    start = find_start("BERT-mini")
    assert portion(configured(), start.config, start.task) is None


@pytest.mark.parametrize(
    ("name", "least", "most"), [("qlora", 6e9, 10e9), ("spectrum", 55e9, 70e9), ("multi_gpu", 120e9, 160e9)]
)
def test_the_documents_templates_are_planned(name: str, least: float, most: float):
    run = load_config(FIXTURES / f"fine_tuning_{name}.yaml", ["device=cuda"], planning=True)
    planned = plan(run)
    assert least < sum(planned.memory.values()) < most
    assert sum(count for part, count in planned.parameters.items() if part != "adapters") == 8_030_261_248


def test_the_file_for_llama_fits_a_gpu_of_16_gb():
    run = load_config(Path(__file__).parents[2] / "configs/llama3_8b_qlora.yaml", ["device=cuda"], planning=True)
    planned = plan(run)
    assert planned.parameters["adapters"] == 41_943_040
    assert sum(planned.memory.values()) < 12e9
