"""Which models a run's `models:` names, and what each brings along."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from groundup.configs.cli import parse
from groundup.configs.resolve import load_config, models_of
from groundup.configs.several import again, model_sets
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


def test_a_setting_of_an_entry_for_one_task_leaves_the_other_as_it_is(tmp_path: Path):
    path = tmp_path / "run.yaml"
    by_task = "{classification: 1}, max_length: {classification: 64}, gradient_checkpointing: {classification: true}"
    path.write_text(f"models: [{{name: prajjwal1/bert-tiny, num_epochs: {by_task}}}]\ndataset: imdb\n")
    run = load(path, "bert-tiny").trainer
    assert (run.epochs, run.max_seq_length, run.gradient_checkpointing) == (1, 64, True)
    run = load(path, "bert-tiny", "dataset=my_text.txt").trainer
    assert (run.epochs, run.max_seq_length, run.gradient_checkpointing) == (3, 512, False)


def test_a_recommended_batch_fits_the_effective_one(tmp_path: Path):
    """As by name: the largest, 16 at most, of which whole ones make it up."""
    path = tmp_path / "run.yaml"
    entry = "models: [{name: prajjwal1/bert-tiny, recommended_batch_size: {cpu: 16, cuda: 64}}]\ndataset: imdb\n"
    for wanted, batch in (("8", 8), ("24", 12), ("{cpu: 20, cuda: 8, mps: 8}", 10)):
        path.write_text(f"{entry}trainer: {{effective_batch_size: {wanted}}}\n")
        assert load(path, "bert-tiny").trainer.batch_size == batch
    path.write_text(entry + "trainer: {effective_batch_size: 8}\n")
    run = load(path, "bert-tiny", "trainer.gradient_accumulation_steps=3").trainer
    assert (run.batch_size, run.effective_batch_size) == (16, 48)


def test_a_cache_is_not_kept_in_training(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_text("models: [{name: prajjwal1/bert-tiny, alias: Mine, use_cache: true}]\ndataset: my_text.txt\n")
    with pytest.raises(UserError, match="models, Mine: use_cache true: training keeps no cache of keys and values"):
        load(path, "Mine")
    path.write_text(path.read_text().replace("true", "false"))
    assert load(path, "Mine")


def test_each_has_a_repository_of_its_own():
    words = ["--models", "BERT-tiny", "gpt2", "dataset=imdb", "output.push_to_hub=true", "output.hub_model_id=me/study"]
    assert [load(None, name, *words).output.hub_model_id for name in ("BERT-tiny", "gpt2")] == [
        "me/study-BERT-tiny",
        "me/study-gpt2",
    ]
    assert load(None, "gpt2", *words[:-1]).output.hub_model_id is None  # the name of the run, which differs


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
    with pytest.raises(UserError, match=r"model \(the command line\) names one model and models several"):
        load(None, "gpt2", "--models", "gpt2", "--model", "BERT-tiny", "dataset=my_text.txt")
    path.write_text("models: [{alias: Nameless}]\ndataset: my_text.txt\n")
    with pytest.raises(UserError, match="entry 1 has no name"):
        names(path=path)


def test_several_of_the_command_line_take_the_place_of_a_file_s_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "one.yaml"
    path.write_text("model: gpt2\ndataset: my_text.txt\ntrainer: {epochs: 7}\n")
    words = ["--models", "BERT-tiny", "BERT-mini"]
    runs = [load(path, name, *words) for name in words[1:]]
    assert [run.model.base_model for run in runs] == words[1:]
    assert {run.trainer.epochs for run in runs} == {7}
    said = capsys.readouterr().err.splitlines()
    assert said == [f"note: models (the command line) is used and model ({path}, line 1) is not"]


def test_the_command_that_trains_some_of_them_again(tmp_path: Path):
    """With the same settings, what a file says of a model too."""
    words = ["--models", "BERT-tiny", "./my models/x", "production", "--dataset", "a b.csv", "trainer.epochs=2"]
    line = again(None, words, models_of(None, words)[1:3], test_mode=True)
    expected = (
        "python train.py --models './my models/x' DistilBERT-base --dataset 'a b.csv' trainer.epochs=2 --test-mode"
    )
    assert line == expected
    for models in (["models=BERT-tiny,gpt2"], ["--models=BERT-tiny,gpt2"], ["--models", "BERT-tiny", "gpt2"]):
        last = models_of(None, models)[1:]
        assert (
            again("c.yaml", ["device=cpu", *models], last) == "python train.py --config c.yaml --models gpt2 device=cpu"
        )
    path = tmp_path / "study.yaml"
    path.write_text("""
models:
  transformer_models:
    prajjwal1/bert-tiny: {learning_rate: {classification: 1e-5}, lora: {rank: 3}}
    prajjwal1/bert-mini: {max_length: 32}
  memory_optimization: {bert: {gradient_checkpointing: true}}
dataset: imdb
""")
    chosen = models_of(path)
    command = parse(shlex.split(again(str(path), ["trainer.epochs=2"], chosen[1:]))[2:])
    assert command.overrides[0] == "--models"
    (left,) = models_of(command.config, command.overrides)
    assert left == chosen[1]
    run = load_config(path, command.overrides, chosen=left, find_device=lambda: "cpu")
    assert run == load_config(path, ["trainer.epochs=2"], chosen=chosen[1], find_device=lambda: "cpu")
    assert (run.trainer.max_seq_length, run.trainer.gradient_checkpointing) == (32, True)
