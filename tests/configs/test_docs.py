"""The reference is current: whoever adds, removes or changes a key sees it here and regenerates the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from groundup.configs.docs import default_of, markdown, plain_text, type_of
from groundup.configs.registry import RegistryEntry
from groundup.configs.schema import Dataset, Evaluation, Model, Optimizer, Trainer
from groundup.configs.schema_run import FIELDS, SECTIONS


def test_the_reference_is_current(root: Path):
    assert (root / "docs" / "configuration.md").read_text(encoding="utf-8") == markdown(), (
        "the schema has changed: python -m groundup.configs.docs > docs/configuration.md"
    )


def test_every_key_has_a_row():
    text = markdown()
    for path in FIELDS:
        if path == ("models",):
            continue
        section = re.search(rf"^##+ {re.escape('.'.join(path[:-1]))}\n(.*?)(?=^##|\Z)", text, re.M | re.S)
        assert section, path
        assert f"\n| {path[-1]} | " in section[1]
    assert all(f"# {'.'.join(path)}\n" in text for path in SECTIONS)


def test_every_key_is_described_in_one_sentence():
    for path, field in FIELDS.items():
        assert field.description, path
        assert not field.description.endswith("."), path
        assert len(field.description) < 320, path


def test_the_terminal_page_has_every_key():
    lines = plain_text().splitlines()
    for path in FIELDS:
        assert any(line.startswith(".".join(path) + "  (") for line in lines)


@pytest.mark.parametrize(
    ("section", "key", "words"),
    [
        (Trainer, "batch_size", "whole number above 0"),
        (Trainer, "epochs", "number above 0, or null"),
        (Trainer, "mixed_precision", "`no`, `fp16`, `bf16`"),
        (Trainer, "mask_ratio", "number from 0 to 1"),
        (Model, "embedding_dropout", "number from 0 to below 1"),
        (Model, "use_flash_attention", "true or false or `auto`"),
        (Dataset, "name", "text"),
        (Evaluation, "mcq_benchmarks", "list of text"),
        (RegistryEntry, "recommended_batch_size", "mapping of `cuda`, `mps`, `cpu` to whole number above 0, or null"),
    ],
)
def test_types_in_words(section, key: str, words: str):
    assert type_of(section, key) == words


def test_defaults_as_a_person_writes_them():
    fields = Trainer.model_fields
    assert default_of(fields["batch_size"]) == "required"
    assert default_of(fields["epochs"]) == "null"
    assert default_of(fields["compile"]) == "false"
    assert default_of(fields["mixed_precision"]) == "no"
    assert default_of(Optimizer.model_fields["lr"]) == "0.0006"
    assert default_of(Evaluation.model_fields["mcq_benchmarks"]) == "[]"


def test_what_is_not_available_is_marked():
    rows = [line for line in markdown().splitlines() if "not available yet" in line]
    assert any(row.startswith("| use_deepspeed ") for row in rows)
    assert not any(row.startswith(("| num_layers ", "| base_model ", "| core_model_type ")) for row in rows)
