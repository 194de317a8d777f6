"""What `model.base_model` may name, and what is said of what it may not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from groundup.errors import UserError
from groundup.models.hf.shapes import shape_of
from groundup.models.start import find_start, objective, own_checkpoint

Checkpoint = Callable[[str], Path]


def fails(source: str | Path) -> str:
    with pytest.raises(UserError) as error:
        find_start(source)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_directory(checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = checkpoint("bert")
    start = find_start(folder)
    assert (start.name, start.place, start.task, start.own, start.entry) == ("bert", folder, "masked_lm", False, None)
    assert (start.config.d_model, start.config.causal) == (32, False)
    monkeypatch.chdir(folder.parent)
    assert find_start("./bert").place == folder  # not a name that a tokenizer or the hub could know
    assert find_start("bert").config == start.config


def test_a_name_of_the_registry_needs_no_network():
    start = find_start("bert-TINY")
    assert (start.name, start.place, start.task) == ("BERT-tiny", "prajjwal1/bert-tiny", "masked_lm")
    assert start.entry is not None
    assert start.entry.alias == "BERT-tiny"
    assert find_start("openai-community/gpt2").config.d_model == 768
    assert find_start("meta-llama/Llama-3.1-8B").config.rope.scaling is not None


def test_a_folder_beats_a_name_only_if_it_is_a_checkpoint(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpt2").mkdir()
    assert find_start("gpt2").place == "openai-community/gpt2"
    shutil.copytree(checkpoint("llama"), tmp_path / "gpt2", dirs_exist_ok=True)
    assert find_start("gpt2").place == tmp_path / "gpt2"


def test_a_config_without_a_family_is_told_by_its_tensors(checkpoint: Checkpoint, tmp_path: Path):
    """As bert-tiny's is published."""
    folder = tmp_path / "tiny"
    shutil.copytree(checkpoint("bert"), folder)
    config = json.loads((folder / "config.json").read_text())
    for key in ("model_type", "architectures"):
        del config[key]
    (folder / "config.json").write_text(json.dumps(config))
    assert find_start(folder).task == "masked_lm"


@pytest.mark.parametrize(
    ("name", "task"), [("gpt2", "causal_lm"), ("Gemma-2-2B", "causal_lm"), ("RoBERTa-base", "masked_lm")]
)
def test_the_objective_of_a_family(name: str, task: str):
    assert objective(shape_of(name)) == task


def test_a_plan_of_a_checkpoint_imports_no_torch(root: Path):
    code = "import sys; from groundup.models.start import find_start; find_start('gpt2'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- what is no checkpoint


def test_names_that_nobody_knows():
    assert fails("bert-tny").startswith("Model 'bert-tny' not found. Available models: ['BERT-tiny', ")
    assert fails("bert-tny").endswith("Did you mean 'BERT-tiny'?")
    assert "is no network: train.py fits it on labelled texts" in fails("bag-of-words-tfidf")


def test_paths_that_are_none(tmp_path: Path, checkpoint: Checkpoint):
    assert fails(tmp_path / "no") == f"there is no folder {tmp_path / 'no'}"
    near = checkpoint("bert").with_name("bret")
    assert fails(near).endswith("Did you mean 'bert'?")
    assert "holds neither a config.json nor a run's checkpoint" in fails(tmp_path)
    file = tmp_path / "model.safetensors"
    file.touch()
    assert "is a file: name a folder" in fails(file)


def test_a_hub_id_without_a_network():
    assert fails("someone/some-model").startswith("Failed to load model from HuggingFace: 'someone/some-model'")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("{", ["config.json: cannot be read"]),
        ("[]", ["config.json: expected a mapping"]),
        ('{"model_type": "bret"}', ["config.json: model_type 'bret' is not known here", "Did you mean 'bert'"]),
        ('{"model_type": "gpt2", "n_embd": 8}', ["config.json", "is missing"]),
    ],
)
def test_damaged_configurations(tmp_path: Path, config: str, words: list[str]):
    (tmp_path / "config.json").write_text(config)
    message = fails(tmp_path)
    assert all(word in message for word in words), message


def test_a_state_that_is_not_ours(tmp_path: Path):
    (tmp_path / "state.json").write_text("{}")
    assert "says neither task nor model_config" in fails(tmp_path)
    assert own_checkpoint(tmp_path) == tmp_path
    assert own_checkpoint(tmp_path / "no") is None
