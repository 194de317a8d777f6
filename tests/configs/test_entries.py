"""What an entry of the registry says of the run of its model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from groundup.configs.entries import check_classes, entry_of, known_settings
from groundup.configs.layers import layer_of
from groundup.configs.registry import RegistryEntry
from groundup.configs.resolve import load_config, models_of
from groundup.errors import UserError

MINE = """
- name: prajjwal1/bert-tiny
  alias: Mine
  learning_rate: {classification: 1e-4, language-modeling: 3e-4}
  num_epochs: 2
  max_length: 64
  batch_size: 12
  gradient_accumulation_steps: 3
  gradient_checkpointing: true
  tokenizer_name: google-bert/bert-base-uncased
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """own(text): a registry of one's own."""

    def write(text: str) -> None:
        path = tmp_path / f"own{len(list(tmp_path.iterdir()))}.yaml"
        path.write_text(text)
        monkeypatch.setenv("GROUNDUP_MODELS", str(path))

    return write


def settings(**written: Any) -> dict[str, Any]:
    """What the registry says where so much is written."""
    layer = known_settings(layer_of({key.replace("__", "."): value for key, value in written.items()}, "here"))
    return {".".join(path): value for path, value in layer.values.items()}


def test_every_documented_key_is_a_setting(own: Callable[[str], None]):
    own(MINE)
    assert settings(model__base_model="mine", dataset__name="imdb") == {
        "trainer.optimizer.lr": 1e-4,
        "trainer.epochs": 2,
        "trainer.max_seq_length": 64,
        "trainer.batch_size": 12,
        "trainer.gradient_accumulation_steps": 3,
        "trainer.gradient_checkpointing": True,
        "model.tokenizer": "google-bert/bert-base-uncased",
    }
    assert settings(model__base_model="Mine", dataset__name="my_text.txt")["trainer.optimizer.lr"] == 3e-4
    layer = known_settings(layer_of({"model.base_model": "Mine"}, "here"))
    assert str(layer.where(("trainer", "epochs"))) == "trainer.epochs (the registry's entry for Mine)"


def test_what_is_said_elsewhere_wins(own: Callable[[str], None]):
    own(MINE)
    mine = {"model__base_model": "Mine"}
    assert settings(**mine, trainer__effective_batch_size=8)["trainer.batch_size"] == 8
    assert "trainer.optimizer.lr" not in settings(**mine, model__init="random")  # which new weights do not want
    table = {"BERT": {"gradient_checkpointing": False}}
    assert "trainer.gradient_checkpointing" not in settings(**mine, trainer__memory_optimization=table)
    assert "trainer.gradient_checkpointing" not in settings(**mine, models={"memory_optimization": table})
    assert "trainer.gradient_checkpointing" in settings(**mine, trainer__memory_optimization={"llama": table["BERT"]})


def test_models_without_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: Callable[[str], None]):
    own(MINE)
    for name in ("gpt2", "someone/else", "nowhere"):
        assert settings(model__base_model=name) == {}
    assert settings() == {}
    assert settings(model__base_model="Mine", model__core_model_type="hf_core") == {}
    monkeypatch.chdir(tmp_path)
    assert entry_of("Mine") is not None
    (tmp_path / "Mine").mkdir()
    assert entry_of("Mine") is None  # a folder of that name comes first
    assert settings(model__base_model="Mine") == {}


def test_a_cache_of_keys_and_values_is_refused(own: Callable[[str], None]):
    own("[{name: prajjwal1/bert-tiny, alias: Mine, use_cache: true}]")
    with pytest.raises(UserError, match="models, Mine: use_cache true: training keeps no cache"):
        settings(model__base_model="Mine")


def run(name: str) -> Any:
    return load_config(None, ["model=BERT-tiny", f"dataset={name}"], find_device=lambda: "cpu")


@pytest.mark.parametrize(
    ("dataset", "right", "wrong"), [("imdb", 2, 7), ("fancyzhx/ag_news", 4, 2), ("AMAZON", 2, 5), ("reviews.csv", 3, 2)]
)
def test_the_number_of_classes_is_that_of_the_data(
    dataset: str, right: int, wrong: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    rows = [f"text {i},{i % 3}" for i in range(60)]
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *rows]))
    check_classes(run(dataset), RegistryEntry(name="a/b", num_labels=right))
    check_classes(run(dataset), RegistryEntry(name="a/b"))
    check_classes(run(dataset), None)
    with pytest.raises(UserError, match=f"models, Mine: num_labels {wrong}, and .* has {right} classes: leave it out"):
        check_classes(run(dataset), RegistryEntry(name="a/b", alias="Mine", num_labels=wrong))


def test_text_has_no_classes():
    check_classes(run("stdlib"), RegistryEntry(name="a/b", num_labels=7))


# --- in a run


@pytest.mark.parametrize("device", ["cuda", "mps", "cpu"])
def test_the_plan_s_recipe_is_that_of_its_model(device: str):
    """Sixteen texts of 512 tokens a step, two at a time; language modelling goes by what suits the device."""
    words = ["model=meta-llama/Llama-2-7b-hf"]
    run = load_config(None, [*words, "dataset=imdb"], find_device=lambda: device)
    trainer = run.trainer
    assert (trainer.optimizer.lr, trainer.epochs, trainer.max_seq_length) == (1e-4, 1, 512)
    assert (trainer.batch_size, trainer.gradient_accumulation_steps, trainer.gradient_checkpointing) == (2, 8, True)
    assert trainer.effective_batch_size == 16
    assert run.dataset.format == "classification"
    trainer = load_config(None, [*words, "dataset=my_text.txt"], find_device=lambda: device).trainer
    assert (trainer.optimizer.lr, trainer.epochs, trainer.max_seq_length) == (5e-5, 3, 1024)
    assert (trainer.batch_size, trainer.gradient_checkpointing) == ({"cuda": 2, "mps": 1, "cpu": 1}[device], False)


def test_a_file_and_the_command_line_beat_the_registry(own: Callable[[str], None], tmp_path: Path):
    own(MINE)
    path = tmp_path / "run.yaml"
    path.write_text("model: Mine\ndataset: imdb\ntrainer: {epochs: 5, max_length: 32}\n")
    run = load_config(path, ["trainer.batch_size=4"], find_device=lambda: "cpu")
    trainer = run.trainer
    assert (trainer.epochs, trainer.max_seq_length, trainer.batch_size) == (5, 32, 4)
    assert (trainer.optimizer.lr, trainer.gradient_accumulation_steps) == (1e-4, 3)
    assert (trainer.gradient_checkpointing, run.model.tokenizer) == (True, "google-bert/bert-base-uncased")
    changed = load_config(path, ["trainer.max_iters=7", "trainer.effective_batch_size=8"], find_device=lambda: "cpu")
    trainer = changed.trainer
    assert (trainer.max_iters, trainer.epochs, trainer.batch_size, trainer.gradient_accumulation_steps) == (
        7,
        None,
        8,
        1,
    )
    path.write_text(run.to_yaml())
    assert load_config(path) == run


def test_the_command_line_beats_what_is_described_inline(own: Callable[[str], None], tmp_path: Path):
    """And an inline entry the registry's own for the same model, key by key."""
    own(MINE)
    path = tmp_path / "run.yaml"
    path.write_text("models: [{name: prajjwal1/bert-tiny, num_epochs: 4}]\ndataset: imdb\n")
    (chosen,) = models_of(path)
    trainer = load_config(path, [], chosen=chosen, find_device=lambda: "cpu").trainer
    assert (trainer.epochs, trainer.max_seq_length, trainer.batch_size) == (4, 64, 12)
    assert load_config(path, ["trainer.epochs=1"], chosen=chosen, find_device=lambda: "cpu").trainer.epochs == 1
