"""The shapes that are known without the hub: exact published numbers of parameters, and transformers' own reading."""

from __future__ import annotations

import json

import pytest
from groundup.errors import UserError
from groundup.models.flops import count_parameters
from groundup.models.hf.families import model_config
from groundup.models.hf.settings import Settings
from groundup.models.hf.shapes import SHAPES, known_shape, shape_of
from groundup.models.registry import entries

# As model cards, papers and safetensors' own counts on the hub have them.
CAUSAL = {
    "openai-community/gpt2": 124_439_808,
    "openai-community/gpt2-medium": 354_823_168,
    "distilbert/distilgpt2": 81_912_576,
    "EleutherAI/pythia-70m": 70_426_624,
    "EleutherAI/pythia-160m": 162_322_944,
    "EleutherAI/pythia-410m": 405_334_016,
    "google/gemma-2-2b": 2_614_341_888,
    "google/gemma-3-270m": 268_098_176,
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": 1_100_048_384,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "HuggingFaceTB/SmolLM2-1.7B": 1_711_376_384,
    "microsoft/Phi-3-mini-4k-instruct": 3_821_079_552,
    "meta-llama/Llama-2-7b-hf": 6_738_415_616,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "mistralai/Mistral-7B-Instruct-v0.2": 7_241_732_096,
}
MASKED = {"FacebookAI/roberta-base": 124_697_433, "google-bert/bert-base-uncased": 109_514_298}
BARE = {  # with transformers' pooler where it has one: C x C + C
    "prajjwal1/bert-tiny": 4_385_920,
    "prajjwal1/bert-mini": 11_170_560,
    "prajjwal1/bert-small": 28_763_648,
    "microsoft/MiniLM-L12-H384-uncased": 33_360_000,
    "FacebookAI/roberta-base": 124_645_632,
    "google-bert/bert-base-uncased": 109_482_240,
    "distilbert/distilroberta-base": 82_118_400,
}
WITHOUT_POOLER = {
    "distilbert/distilbert-base-uncased": 66_362_880,
    "microsoft/deberta-v3-small": 141_304_320,
    "microsoft/deberta-v3-base": 183_831_552,
}


@pytest.mark.parametrize(("name", "count"), CAUSAL.items())
def test_a_decoder_has_exactly_its_published_parameters(name: str, count: int):
    assert count_parameters(model_config(shape_of(name), "causal_lm"), "causal_lm") == count


@pytest.mark.parametrize(("name", "count"), MASKED.items())
def test_an_encoder_with_its_head(name: str, count: int):
    assert count_parameters(model_config(shape_of(name), "masked_lm"), "masked_lm") == count


@pytest.mark.parametrize(("name", "count"), {**BARE, **WITHOUT_POOLER}.items())
def test_an_encoder_without_a_head(name: str, count: int):
    config = model_config(shape_of(name), "encoder")
    pooler = config.d_model * (config.d_model + 1) if name in BARE else 0
    assert count_parameters(config, "encoder") + pooler == count


def test_every_entry_has_a_shape_and_every_shape_an_entry():
    names = json.loads(SHAPES.read_text())
    assert set(names) == {entry.name for entry in entries()}
    assert "meta-llama/Llama-3.1-8B" in names
    for name in names:
        assert shape_of(name.upper()) == names[name]


@pytest.mark.parametrize("name", json.loads(SHAPES.read_text()))
def test_every_key_of_a_shape_is_understood(name: str):
    from groundup.models.hf.families import family_of
    from groundup.models.start import objective

    shape = shape_of(name)
    settings = Settings(shape, name)
    family_of(shape).config(settings, objective(shape))
    assert settings.unread() == []


@pytest.mark.parametrize("name", json.loads(SHAPES.read_text()))
def test_transformers_reads_the_same_from_it(name: str):
    """Its own configuration class, which fills in defaults, leads to the same architecture."""
    import transformers
    from groundup.models.start import objective

    shape = shape_of(name)
    theirs = transformers.AutoConfig.for_model(**shape).to_dict()
    task = objective(shape)
    assert model_config({**theirs, "architectures": None}, task) == model_config(shape, task)


def test_a_shape_is_a_copy():
    shape_of("gpt2")["n_layer"] = 1
    assert shape_of("gpt2")["n_layer"] == 12


def test_shapes_that_are_not_known(monkeypatch: pytest.MonkeyPatch):
    assert known_shape("org/name") is None
    with pytest.raises(UserError, match=r"Model 'org/name' not found\. Available models: \["):
        shape_of("org/name")
