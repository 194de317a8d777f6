"""Which defaults a run has: by its kind, its task, and what its values for this device say of both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from groundup.configs.schema import RunConfig, load_config
from groundup.errors import UserError

Write = Callable[[str], Path]


def load(*words: str) -> RunConfig:
    return load_config(None, list(words), find_device=lambda: "cpu")


# --- label smoothing


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["init=random"],
        ["fine_tuning.method=head"],
        ["fine_tuning.method=lora"],
        ["fine_tuning.method=spectrum"],
        ["fine_tuning.method=qlora", "model.load_in_4bit=true"],
    ],
)
def test_classes_are_smoothed_whatever_the_method(words: list[str]):
    for dataset, expected in (("ag_news", 0.1), ("imdb", 0.0), ("stanfordnlp/imdb", 0.0), ("stdlib-docstrings", 0.1)):
        assert load("model=BERT-tiny", f"dataset={dataset}", *words).trainer.label_smoothing == expected
    assert load("model=BERT-tiny", *words).trainer.label_smoothing == 0.0
    assert load("model=BERT-tiny", "dataset=imdb", "trainer.label_smoothing=0.3", *words).trainer.label_smoothing == 0.3


# --- the registry's own

LLAMA = ["model=meta-llama/Llama-2-7b-hf", "model.init=pretrained"]


def recipe(run: RunConfig) -> tuple[float, int, int, float | None, int | None]:
    trainer = run.trainer
    sizes = (trainer.batch_size, trainer.gradient_accumulation_steps)
    return trainer.optimizer.lr, *sizes, trainer.epochs, trainer.max_seq_length


def test_what_the_registry_says_of_a_model_s_training():
    assert recipe(load(*LLAMA, "dataset=imdb")) == (1e-4, 2, 8, 1, 512)
    assert load(*LLAMA, "dataset=imdb").trainer.gradient_checkpointing is True
    assert recipe(load(*LLAMA)) == (5e-5, 1, 16, 3, 1024)
    said = ["trainer.optimizer.lr=3e-5", "trainer.batch_size=4", "trainer.max_iters=9", "trainer.max_seq_length=128"]
    assert recipe(load(*LLAMA, "dataset=imdb", *said)) == (3e-5, 4, 8, None, 128)


# --- values by device and by task decide it too

BY_DEVICE = """
model: {base_model: BERT-tiny, load_in_4bit: {cuda: true, cpu: false}}
fine_tuning: {method: {cuda: qlora, cpu: lora, mps: full}}
"""


@pytest.mark.parametrize(
    ("device", "method", "lr", "scheduler"),
    [("cpu", "lora", 2e-4, "cosine"), ("cuda", "qlora", 2e-4, "cosine")],
)
def test_a_method_by_device(write: Write, device: str, method: str, lr: float, scheduler: str):
    run = load_config(write(BY_DEVICE), find_device=lambda: device)
    assert run.fine_tuning is not None
    assert (run.fine_tuning.method, run.trainer.optimizer.lr, run.trainer.lr_scheduler) == (method, lr, scheduler)


@pytest.mark.parametrize(("device", "lr"), [("cpu", 2e-5), ("cuda", 5e-5)])
def test_a_data_set_by_device(write: Write, device: str, lr: float):
    text = "model: BERT-tiny\ndataset: {name: {cpu: imdb, cuda: stdlib}}"
    assert load_config(write(text), find_device=lambda: device).trainer.optimizer.lr == lr


@pytest.mark.parametrize(("device", "loss"), [("cpu", "masked_lm"), ("cuda", "cross_entropy")])
@pytest.mark.parametrize(
    "text", ["model: {base_model: {cuda: gpt2, cpu: BERT-tiny}}", "model: {cuda: gpt2, cpu: bert-tiny}"]
)
def test_a_model_by_device(write: Write, text: str, device: str, loss: str):
    run = load_config(write(text), find_device=lambda: device)
    assert (run.trainer.loss_fn, run.trainer.epochs, run.trainer.optimizer.lr) == (loss, 3, 5e-5)


def test_a_teacher_by_device(write: Write):
    text = "distillation: {teacher: {cuda: gpt2, cpu: distilgpt2}}"
    assert load_config(write(text), find_device=lambda: "cpu").model.base_model == "distilgpt2"
    assert load_config(write(text), find_device=lambda: "cuda").model.base_model == "gpt2"


def test_a_method_by_task(write: Write):
    text = "model: BERT-tiny\nfine_tuning: {method: {classification: lora, language_modeling: full}}"
    path = write(text)
    assert load_config(path, ["dataset=ag_news"], find_device=lambda: "cpu").trainer.optimizer.lr == 2e-4
    assert load_config(path, find_device=lambda: "cpu").trainer.optimizer.lr == 5e-5


def test_a_value_for_other_devices_only(write: Write):
    with pytest.raises(
        UserError, match=r"model.base_model \(.*: has a value for cuda but none for this run's device, cpu"
    ):
        load_config(write("model: {base_model: {cuda: gpt2}}"), find_device=lambda: "cpu")
