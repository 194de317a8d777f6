"""docs/spec-map.md: what it says is here is here, and what it calls unavailable is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

OURS = ("configs/", "data/", "docs/", "evaluation/", "models/", "tests/", "tokenizers/", "trainers/")


def rows(root: Path) -> list[list[str]]:
    text = (root / "docs" / "spec-map.md").read_text(encoding="utf-8")
    return [re.split(r" \| ", line.strip("| ")) for line in text.splitlines() if line.startswith("| ")]


def test_every_path_it_names_as_ours_exists(root: Path):
    here = [cell for row in rows(root) for cell in row[-1:]]
    paths = {name for cell in here for name in re.findall(r"`([\w./-]+)`", cell) if name.startswith(OURS)}
    assert len(paths) > 15
    missing = {name for name in paths if not (root / name).exists()}
    assert missing <= {"models/runs"}  # a folder of an example's runs


def test_every_name_it_gives_can_be_imported(root: Path):
    import importlib

    named = {name for row in rows(root) for name in re.findall(r"`(groundup(?:\.\w+)+)", row[-1])}
    assert len(named) > 4
    for name in named:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


@pytest.mark.parametrize(
    "word", ["emobench train", "src/train.py", "validate_config.py", "ModelRegistry", "checkpoint_best.pt"]
)
def test_the_documents_names_are_there(root: Path, word: str):
    assert any(word in cell for row in rows(root) for cell in row[:-1])
