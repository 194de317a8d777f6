"""The list of families, and what holds for all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from groundup.errors import UserError
from groundup.models.hf.families import FAMILIES, family, family_of, model_types
from groundup.models.hf.rows import expand


def test_every_file_of_a_family_is_a_table_and_two_functions(root: Path) -> None:
    for name in FAMILIES:
        assert len((root / f"models/hf/{name}.py").read_text(encoding="utf-8").splitlines()) <= 80, name


def test_no_two_families_have_one_model_type() -> None:
    assert len(model_types()) == sum(len(family(name).MODEL_TYPES) for name in FAMILIES)
    for kind, name in model_types().items():
        assert family_of({"model_type": kind}) is family(name)
    with pytest.raises(UserError, match=r"here\.json: 'model_type' is missing: add the family's name"):
        family_of({}, "here.json")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_table_names_each_of_our_modules_once(name: str) -> None:
    """In the trunk and in each head, and every name of theirs begins with the prefix but for those of heads."""
    kind = family(name)
    parts = [part for row in expand(kind.NAMES, 2).values() for part in row.parts]
    assert len(parts) == len(set(parts))
    assert all(theirs.startswith(kind.PREFIX) for theirs in kind.NAMES)
    for head in kind.HEADS.values():
        assert all(part.startswith("head.") for row in expand(head.names, 2).values() for part in row.parts)
        assert head.classes


def test_settings_are_read_without_torch(root: Path) -> None:
    """A plan of a run must not wait for it."""
    code = (
        "import sys; from groundup.models.hf.families import model_types; model_types(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "False"
