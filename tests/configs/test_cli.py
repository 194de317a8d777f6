"""Which words of a command line are flags, which are settings, and what --help says."""

from __future__ import annotations

import pytest
from groundup.configs.cli import FLAGS, MAIN_KEYS, OPTIONS, Command, help_text, parse, summary
from groundup.configs.schema import load_config
from groundup.configs.schema_run import FIELDS
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
    for name in [*FLAGS, *OPTIONS, *(key for keys in MAIN_KEYS.values() for key in keys)]:
        assert name in text
    assert max(len(line) for line in text.splitlines()) <= 120


def test_the_keys_that_help_shows_exist():
    assert all(tuple(key.split(".")) in FIELDS for keys in MAIN_KEYS.values() for key in keys)


def test_every_example_of_the_help_parses(root, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(root)
    examples = [
        line.split()[2:]
        for line in help_text().splitlines()
        if line.startswith("  python train.py") and "[" not in line
    ]
    assert len(examples) >= 4
    for words in examples:
        command = parse(words)
        if command.config:
            load_config(command.config, command.overrides, find_device=lambda: "cpu")


def test_summary(root):
    run = load_config(root / "configs" / "quickstart.yaml", find_device=lambda: "cpu")
    assert summary(run).startswith("6 layers of width 256 on stdlib, ")
    epochs = load_config(root / "configs" / "quickstart.yaml", ["trainer.epochs=2"], find_device=lambda: "cpu")
    assert ", 2 epochs of 4 x 256 tokens, cpu" in summary(epochs)
