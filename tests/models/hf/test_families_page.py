"""docs/families.md is about the families there are, and was measured with the versions it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from families_page import CHECKPOINTS, measure, row_of
from groundup.models.hf.families import FAMILIES, family
from parity_cases import CASES

NUMBERS = re.compile(r"\| ([\d.e+-]+) \(([\d.]+)\) \| ([\d.e+-]+) \(([\d.]+)\) \|$")


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs/families.md").read_text(encoding="utf-8")


def test_every_family_has_a_case_of_each_head() -> None:
    for name in FAMILIES:
        assert {case.task for case in CASES.values() if case.family == name} == set(family(name).HEADS), name


def test_every_family_and_case_is_on_it(page: str) -> None:
    for name in FAMILIES:
        assert f"| `{name}` | {CHECKPOINTS[name]} |" in page, "run `make docs`"
    for name in CASES:
        assert page.count(row_of(name)) == 1, f"{name}: run `make docs`"


def test_what_it_says_was_measured(page: str) -> None:
    """Numbers of another machine are a little different, and as small."""
    assert re.search(r"with torch \d+\.\d+\.\d+ and transformers \d+\.\d+\.\d+", page)
    rows = [list(map(float, found.groups())) for found in map(NUMBERS.search, page.splitlines()) if found]
    assert len(rows) == len(CASES)
    for row in [*rows, measure("gpt2")]:
        for error, scale in (row[:2], row[2:]):
            assert 0 < error < 1e-4
            assert error <= 1e-5 * max(1.0, scale)
