"""Which words of a command line are flags, which are settings, and what --help says."""

from __future__ import annotations

from pathlib import Path

import pytest
from groundup.configs.cli import FLAGS, MAIN_KEYS, OPTIONS, Command, help_text, parse, summary
from groundup.configs.defaults import defaults_for
from groundup.configs.layers import Layer
from groundup.configs.schema import load_config
from groundup.configs.schema_run import FIELDS
from groundup.data.classification.hub import KNOWN
from groundup.errors import UserError


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("", Command("help")),
        ("--help", Command("help")),
        ("-h", Command("help")),
        ("--help-all", Command("help-all")),
        ("--config a.yaml", Command("train", config="a.yaml")),
        ("--config=a.yaml", Command("train", config="a.yaml")),
        ("--config a.yaml --validate", Command("validate", config="a.yaml")),
        ("--plan --config a.yaml", Command("plan", config="a.yaml")),
        ("--config a.yaml --help", Command("help", config="a.yaml")),
        ("--config a.yaml --test-mode", Command("train", config="a.yaml", test_mode=True)),
        ("--resume latest", Command("train", resume="latest")),
        ("--resume=results/x", Command("train", resume="results/x")),
        ("--push latest", Command("push", push="latest")),
        ("--push=r output.hub_model_id=a/b", Command("push", push="r", overrides=["output.hub_model_id=a/b"])),
        (
            "--config a.yaml --trainer.batch_size 4 --resume latest x.y=1",
            Command("train", "a.yaml", "latest", overrides=["--trainer.batch_size", "4", "x.y=1"]),
        ),
        ("model=roberta-base dataset=imdb", Command("train", overrides=["model=roberta-base", "dataset=imdb"])),
        (
            "--model BERT-tiny --dataset imdb --device=mps",
            Command("train", overrides=["--model", "BERT-tiny", "--dataset", "imdb", "--device=mps"]),
        ),
        (
            "--models A B --dataset imdb --plan",
            Command("plan", overrides=["--models", "A", "B", "--dataset", "imdb"]),
        ),
        ("--models A B dataset=imdb", Command("train", overrides=["--models", "A", "B", "dataset=imdb"])),
        (
            "--evaluation.sample_prompt a=b --validate",
            Command("validate", overrides=["--evaluation.sample_prompt", "a=b"]),
        ),
    ],
)
def test_words_are_sorted(words: str, command: Command):
    assert parse(words.split()) == command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--confg a.yaml", "Unknown option --confg. Did you mean '--config'?"),
        ("--vaildate", "Did you mean '--validate'?"),
        ("--seed 3", "Unknown option --seed. Did you mean 'general.seed'?"),
        ("--batch_size 3", "Did you mean 'trainer.batch_size'?"),
        ("-c a.yaml", "Unknown option -c."),
        ("--config", "--config needs a value: --config FILE"),
        ("--config --plan", "--config needs a value"),
        ("--resume=", "--resume needs a value"),
        ("--push", "--push needs a value: --push RUN|latest"),
        ("--push r --validate", "--push uploads a run and exits: leave --validate out"),
        ("--push r --config a.yaml", "leave --config out"),
        ("--config a.yaml --config b.yaml", "--config is given twice, as a.yaml and b.yaml"),
        ("--validate --plan", "give one of them"),
        ("--plan=yes", "--plan takes no value"),
        ("configs/x.yaml", "named with --config configs/x.yaml"),
        ("--config a.yaml stray", "Cannot place 'stray'"),
    ],
)
def test_what_cannot_be_sorted(words: str, said: str):
    with pytest.raises(UserError) as error:
        parse(words.split())
    assert said in str(error.value)


def test_help_teaches():
    text = help_text()
    for words in (
        "--config FILE",
        "python train.py --config configs/quickstart.yaml",
        "--help-all",
        "docs/configuration.md",
    ):
        assert words in text
    for name in [*FLAGS, *OPTIONS, *MAIN_KEYS, *KNOWN, "stdlib-docstrings", "bag-of-words-tfidf", "--report"]:
        assert name in text
    lines = text.splitlines()
    assert max(map(len, lines)) <= 120
    assert len(lines) < 80
    assert "an epoch of its Amazon data on Apple silicon" in text  # whose the sets' times are


def test_help_says_what_a_checkpoint_supplies():
    rows = {words[0]: words[1:3] for line in help_text().splitlines() if (words := line.split()) and "." in words[0]}
    assert rows["trainer.max_iters"] == ["required", "-"]
    assert rows["trainer.epochs"] == ["null", "3"]
    assert rows["trainer.batch_size"] == ["required", "its"]
    assert rows["trainer.optimizer.lr"] == ["0.0006", "5e-05"]
    assert rows["model.init"] == ["-", "pretrained"]
    assert rows["general.device"] == ["auto", "auto"]


def test_the_rates_that_help_names_are_the_defaults():
    others = [defaults_for("full", "classification", Layer()), defaults_for("lora", "classification", Layer())]
    rates = [f"{given['trainer.optimizer.lr']:.0e}" for given in others]
    assert MAIN_KEYS["trainer.optimizer.lr"].endswith(f"classifiers {rates[0]}, adapters {rates[1]}")


def test_the_keys_that_help_shows_exist():
    assert all(tuple(key.split(".")) in FIELDS for key in MAIN_KEYS)


def test_every_example_of_the_help_parses(root, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(root)
    examples = [
        line.partition("#")[0].split()[2:]
        for line in help_text().splitlines()
        if line.startswith("  python train.py") and "[" not in line
    ]
    assert len(examples) >= 9
    for words in examples:
        command = parse(words)
        if command.config:
            load_config(command.config, command.overrides, find_device=lambda: "cpu")


def test_summary(root):
    run = load_config(root / "configs" / "quickstart.yaml", find_device=lambda: "cpu")
    assert summary(run).startswith("6 layers of width 256 on stdlib, ")
    epochs = load_config(root / "configs" / "quickstart.yaml", ["trainer.epochs=2"], find_device=lambda: "cpu")
    assert ", 2 epochs of 4 x 256 tokens, cpu" in summary(epochs)


def test_the_summary_names_the_file_that_is_read(tmp_path: Path):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\ngood,1\nbad,0\n")
    run = load_config(None, ["model=BERT-tiny", f"dataset.train_path={path}"], find_device=lambda: "cpu")
    assert f" on {path}, " in summary(run)
