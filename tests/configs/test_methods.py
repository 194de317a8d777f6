"""Methods of fine-tuning: what a configuration refuses before any weight is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from groundup.configs.resolve import load_config
from groundup.errors import UserError

LORA = ["--fine_tuning.method", "lora"]
SPECTRUM = ["--fine_tuning.method", "spectrum"]


def load(*words: str):
    return load_config(None, ["model=BERT-tiny", "dataset=my_text.txt", *words], find_device=lambda: "cpu")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            [*LORA, "--fine_tuning.lora.r", "100000"],
            "fine_tuning.lora.r (the command line): 100,000, and no matrix of BERT-tiny has a rank above 128: no more.",
        ),
        (
            [*LORA, "--fine_tuning.lora.use_dora", "true", "--fine_tuning.lora.use_rslora", "true"],
            "fine_tuning.lora.use_dora (the command line): it and use_rslora are variants of the adapters: choose one.",
        ),
        (
            [*SPECTRUM, "--fine_tuning.spectrum.layers_to_finetune", "[0, 40]"],
            "fine_tuning.spectrum.layers_to_finetune (the command line): there is no layer 40: BERT-tiny has 0 to 1.",
        ),
        (
            [*SPECTRUM, "--fine_tuning.spectrum.layers_to_finetune", "[]"],
            "fine_tuning.spectrum.layers_to_finetune (the command line): the list is empty, so nothing would train: "
            "name layers, or use `auto`.",
        ),
    ],
)
def test_what_no_model_of_this_size_could_have(words: list[str], said: str):
    with pytest.raises(UserError) as error:
        load(*words)
    assert str(error.value) == said


def test_what_it_could_have():
    assert load(*LORA, "--fine_tuning.lora.r", "128").fine_tuning.lora.r == 128
    layers = load(*SPECTRUM, "--fine_tuning.spectrum.layers_to_finetune", "[0, 1]").fine_tuning.spectrum
    assert layers.layers_to_finetune == [0, 1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fine_tuning.lora.target_modules", "nonsense"], "Target modules not found in model: 'nonsense'"),
        (["--fine_tuning.lora.modules_to_save", "[heads]"], "modules_to_save: 'heads' is no module of the model"),
        (
            ["--fine_tuning.lora.target_modules", "[word_embeddings]"],
            "target_modules: 'word_embeddings' is no Linear, and only those take adapters",
        ),
    ],
)
@pytest.mark.parametrize("several", [False, True])
def test_validate_puts_adapters_on_paper(
    words: list[str], said: str, several: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    from groundup.trainers.command import main

    (tmp_path / "text.txt").write_text("some words")
    model = ["--models", "BERT-tiny"] if several else ["--model", "BERT-tiny"]
    command = ["--validate", *model, f"dataset={tmp_path / 'text.txt'}", "device=cpu", *LORA]
    assert main(command) == 0
    assert " is valid: " in capsys.readouterr().out
    assert main([*command, *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {'BERT-tiny: ' if several else ''}{said}")


@pytest.mark.parametrize(("words", "torch"), [(SPECTRUM, False), ([], False), (LORA, True)])
def test_torch_is_loaded_for_adapters_only(words: list[str], torch: bool, root: Path):
    call = ["--validate", "model=BERT-tiny", "dataset=stdlib", "device=cpu", *words]
    code = f"import sys; from groundup.trainers.command import main; main({call}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == str(torch), done.stderr
