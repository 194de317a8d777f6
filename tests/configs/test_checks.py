"""What is missing, and settings that another beside them takes the sense from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from groundup.configs.schema import RunConfig, load_config
from groundup.errors import UserError
from groundup.models.hf.shapes import known_shape

Write = Callable[[str], Path]


def load(*words: str) -> RunConfig:
    return load_config(None, list(words), find_device=lambda: "cpu")


def fails(*words: str) -> str:
    with pytest.raises(UserError) as error:
        load(*words)
    return str(error.value)


@pytest.mark.parametrize("words", [["--dataset", "imdb"], ["--fine_tuning.method", "lora"], []])
def test_a_run_without_a_model_is_one_sentence(write: Write, words: list[str]):
    said = "no model is named: --model NAME (see --list-models), or --config FILE with a `model:` section."
    assert fails(*words) == said
    with pytest.raises(UserError) as error:
        load_config(write("general: {seed: 1}"), words, find_device=lambda: "cpu")
    assert str(error.value) == said


@pytest.mark.parametrize("switch", ["do_eval=false", "strategy=no"])
@pytest.mark.parametrize("asked", ["mcq_benchmarks=hellaswag", "benchmarks=arc_easy", "measure_gap=true", "patience=2"])
def test_a_run_that_never_evaluates_measures_nothing(switch: str, asked: str):
    message = fails("model=gpt2", f"evaluation.{switch}", f"evaluation.{asked}")
    assert message.startswith(f"evaluation.{asked.partition('=')[0]} (the command line): with evaluation.")
    assert message.endswith("a run measures nothing: leave one of the two out.")
    load("model=gpt2", f"evaluation.{switch}")
    load("model=gpt2", f"evaluation.{asked}")


@pytest.mark.parametrize("switch", ["do_eval=false", "strategy=no"])
def test_nothing_chooses_where_nothing_is_measured(switch: str):
    words = ["model=BERT-tiny", "dataset=imdb", f"evaluation.{switch}"]
    assert "measures nothing: leave one" in fails(*words, "evaluation.metric_for_best_model=accuracy")
    assert load(*words, "trainer.class_weights=balanced").evaluation.metric_for_best_model is None


def test_layers_of_spectrum_are_named_or_chosen():
    words = ["model=gpt2", "fine_tuning.method=spectrum"]
    message = fails(*words, "fine_tuning.spectrum.layers_to_finetune=[1]", "fine_tuning.spectrum.snr_threshold=0.3")
    assert "fine_tuning.spectrum.snr_threshold (the command line): it chooses layers, and layers_to_finetune" in message
    load(*words, "fine_tuning.spectrum.layers_to_finetune=[1]")
    load(*words, "fine_tuning.spectrum.snr_threshold=0.3")


@pytest.mark.parametrize("setting", ["bnb_4bit_quant_type=fp4", "bnb_4bit_use_double_quant=false", "block_size=128"])
def test_weights_in_8_bits_have_no_settings_of_4(setting: str):
    words = ["model=gpt2", "fine_tuning.method=qlora", f"fine_tuning.quantization.{setting}"]
    message = fails(*words, "model.load_in_8bit=true")
    assert "this is of weights in 4 bits, and model.load_in_8bit loads them in 8: leave it out" in message
    load(*words, "model.load_in_4bit=true")


@pytest.mark.parametrize(
    "words",
    [
        ["model=gpt2", "evaluation.do_eval=false"],
        ["model=gpt2", "fine_tuning.method=spectrum", "fine_tuning.spectrum.layers_to_finetune=[1, 2]"],
        ["model=gpt2", "fine_tuning.method=qlora", "model.load_in_8bit=true"],
        ["distillation.teacher=gpt2", "distillation.alpha_hard=0"],
        ["distillation.teacher=gpt2", "trainer.label_smoothing=0.1"],
    ],
)
def test_what_goes_together_comes_back(tmp_path: Path, words: list[str]):
    run = load(*words)
    path = tmp_path / "config.yaml"
    path.write_text(run.to_yaml())
    assert load_config(path) == run


def test_the_smoothing_of_a_hard_loss_that_is_left_out():
    message = fails("distillation.teacher=gpt2", "distillation.alpha_hard=0", "trainer.label_smoothing=0.1")
    assert "it smooths the hard loss, which distillation.alpha_hard 0 leaves out: set it to 0" in message


@pytest.mark.parametrize(("teacher", "loss"), [("gpt2", "cross_entropy"), ("bert-base-uncased", "masked_lm")])
def test_a_teacher_of_labelled_texts(teacher: str, loss: str):
    words = [f"distillation.teacher={teacher}", "dataset=imdb"]
    message = fails(*words)
    assert message.startswith("distillation.teacher (the command line): ")
    assert "and the student learns classes: name a classifier, or set dataset.format to text." in message
    run = load(*words, "dataset.format=text")
    assert (run.dataset.format, run.trainer.loss_fn) == (None, loss)


def test_a_teacher_of_classes(tmp_path: Path):
    shape = known_shape("prajjwal1/bert-tiny")
    assert shape is not None
    (tmp_path / "config.json").write_text(json.dumps(shape | {"architectures": ["BertForSequenceClassification"]}))
    words = ["model=BERT-tiny", f"distillation.teacher={tmp_path}", "dataset=ag_news"]
    assert load(*words).trainer.label_smoothing == 0.1
    assert load(*words, "distillation.alpha_hard=0").trainer.label_smoothing == 0.0
    assert "of every row alike: leave it out" in fails(*words, "trainer.class_weights=balanced")
    (tmp_path / "config.json").write_text(json.dumps(shape | {"architectures": ["BertForMaskedLM"]}))
    assert "guesses masked tokens, and the student learns classes" in fails(*words)
