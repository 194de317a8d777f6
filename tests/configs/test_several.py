"""Which models a run's `models:` names, and what each brings along."""

from __future__ import annotations

from pathlib import Path

import pytest
from groundup.configs.resolve import load_config, models_of
from groundup.configs.several import model_sets
from groundup.errors import UserError
from groundup.models.registry import find

FIXTURES = Path(__file__).parent / "fixtures"


def names(*words: str, path: Path | None = None) -> list[str]:
    return [one.name for one in models_of(path, list(words))]


def load(path: Path | None, name: str, *words: str):
    chosen = next(one for one in models_of(path, list(words)) if one.name == name)
    return load_config(path, list(words), chosen=chosen, find_device=lambda: "cpu")


def test_the_sets_are_the_guide_s_and_their_models_are_known():
    sizes = {name: len(one.models) for name, one in model_sets().items()}
    assert sizes == {
        "ultra-fast": 5,
        "encoder-comparison": 8,
        "decoder-comparison": 4,
        "size-scaling": 6,
        "production": 4,
        "full-tiny": 14,
    }
    for one in model_sets().values():
        assert [find(name).alias for name in one.models] == list(one.models)


def test_names_sets_and_repetitions():
    assert names() == []
    assert names("--model", "BERT-tiny") == []
    assert names("--models", "BERT-tiny", "gpt2", "dataset=imdb") == ["BERT-tiny", "gpt2"]
    assert names("--models", "RoBERTa-base", "production")[:2] == ["RoBERTa-base", "DistilBERT-base"]
    assert len(names("--models", "RoBERTa-base", "production")) == 4
    assert names("--models=Ultra_Fast") == list(model_sets()["ultra-fast"].models)


def test_each_is_a_run_of_its_own(tmp_path: Path):
    path = tmp_path / "study.yaml"
    path.write_text("models: [BERT-tiny, GPT2-small]\ndataset: imdb\ntrainer: {epochs: 2}\n")
    assert names(path=path) == ["BERT-tiny", "GPT2-small"]
    tiny, gpt2 = load(path, "BERT-tiny"), load(path, "GPT2-small")
    assert (tiny.model.base_model, tiny.output.run_name, tiny.models) == ("BERT-tiny", "BERT-tiny", None)
    assert (gpt2.model.base_model, gpt2.output.run_name) == ("GPT2-small", "GPT2-small")
    assert tiny.trainer.epochs == gpt2.trainer.epochs == 2
    assert (tiny.trainer.batch_size, gpt2.trainer.batch_size) == (16, 8)  # the registry's for a CPU
    assert load(path, "BERT-tiny", "output.run_name=night").output.run_name == "night-BERT-tiny"
    with pytest.raises(UserError, match="each of them is a run of its own"):
        load_config(path)


def test_an_entry_s_settings_beat_the_file_and_not_the_command_line(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_text("""
models:
  - name: prajjwal1/bert-tiny
    alias: Mine
    learning_rate: {classification: 1e-4, language-modeling: 3e-4}
    batch_size: 6
    num_epochs: 1
    max_length: 64
    gradient_accumulation_steps: 2
    gradient_checkpointing: true
  - name: prajjwal1/bert-mini
    recommended_batch_size: {cpu: 3}
dataset: my_text.txt
trainer: {learning_rate: 1e-5, epochs: 9, batch_size: 4}
""")
    run = load(path, "Mine").trainer
    assert (run.optimizer.lr, run.batch_size, run.epochs, run.max_seq_length) == (3e-4, 6, 1, 64)
    assert (run.gradient_accumulation_steps, run.gradient_checkpointing) == (2, True)
    assert load(path, "Mine", "trainer.batch_size=5").trainer.batch_size == 5
    assert load(path, "bert-mini").trainer.batch_size == 4  # what is recommended gives way to what is written
    path.write_text(path.read_text().replace(", batch_size: 4", ""))
    assert load(path, "bert-mini").trainer.batch_size == 3


def test_an_entry_s_adapters_are_for_methods_that_have_some(tmp_path: Path):
    path = tmp_path / "run.yaml"
    entry = "models: [{name: prajjwal1/bert-tiny, lora: {rank: 3, alpha: 7, target_modules: [query]}}]\n"
    path.write_text(entry + "dataset: my_text.txt\nfine_tuning: {method: lora}\n")
    lora = load(path, "bert-tiny").fine_tuning.lora
    assert (lora.r, lora.alpha, lora.target_modules) == (3, 7, ["query"])
    path.write_text(entry + "dataset: my_text.txt\n")
    assert load(path, "bert-tiny").fine_tuning is None


def test_the_plan_s_section_describes_and_selects():
    path = FIXTURES / "plan_llama.yaml"
    assert names(path=path) == ["bert-base-uncased", "roberta-base", "Llama-2-7b-hf", "bag-of-words-tfidf"]
    run = load(path, "Llama-2-7b-hf", "dataset=my_text.txt")
    assert (run.trainer.batch_size, run.trainer.optimizer.lr, run.trainer.gradient_checkpointing) == (2, 1e-4, True)
    assert load(path, "roberta-base", "dataset=my_text.txt").trainer.batch_size == 8


def test_memory_is_saved_by_family_whatever_is_chosen(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_text("""
models:
  transformer_models: {meta-llama/Llama-2-7b-hf: {max_length: 256}, gpt2: {max_length: 128}}
  memory_optimization: {llama: {gradient_checkpointing: true}}
dataset: my_text.txt
""")
    assert load(path, "Llama-2-7b-hf").trainer.gradient_checkpointing
    assert not load(path, "gpt2").trainer.gradient_checkpointing


def test_one_model_beside_several(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_text("models: [BERT-tiny]\nmodel: gpt2\ndataset: my_text.txt\n")
    with pytest.raises(UserError, match=r"model \(.*line 2\) names one model and models several"):
        load(path, "BERT-tiny")
    path.write_text("models: [{alias: Nameless}]\ndataset: my_text.txt\n")
    with pytest.raises(UserError, match="entry 1 has no name"):
        names(path=path)
