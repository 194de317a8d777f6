"""Rotary settings in both styles, and back."""

from __future__ import annotations

from typing import Any

import pytest
from groundup.errors import UserError
from groundup.models import RopeConfig, RopeScaling
from groundup.models.hf.rotary import read_rope, rope_parameters, write_rope
from groundup.models.hf.settings import Settings

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
LISTS = {"short_factor": [1.0, 1.5], "long_factor": [2.0, 3.0]}
LONG = RopeScaling("longrope", 4.0, 32, short_factor=(1.0, 1.5), long_factor=(2.0, 3.0))


def read(**hf: Any) -> RopeConfig:
    settings = Settings({"max_position_embeddings": 128, **hf})
    return read_rope(settings, rope_parameters(settings), hf.get("rope_theta"), aliases={"su": "longrope"})


SCALINGS: list[tuple[dict[str, Any], RopeScaling | None]] = [
    ({}, None),
    ({"rope_type": "default"}, None),
    ({"rope_type": "linear", "factor": 4}, RopeScaling("linear", 4.0)),
    ({"rope_type": "llama3", **LLAMA3}, RopeScaling("llama3", 8.0, 32, 1.0, 4.0)),
    ({"rope_type": "longrope", **LISTS, "original_max_position_embeddings": 32}, LONG),
]


@pytest.mark.parametrize(("scaling", "expected"), SCALINGS)
def test_both_styles(scaling: dict[str, Any], expected: RopeScaling | None) -> None:
    assert read(rope_theta=50, rope_scaling=scaling or None) == RopeConfig(50.0, scaling=expected)
    assert read(rope_parameters={"rope_theta": 50.0, **scaling}) == RopeConfig(50.0, scaling=expected)
    older = {("type" if key == "rope_type" else key): value for key, value in scaling.items()}
    assert read(rope_theta=50, rope_scaling=older) == RopeConfig(50.0, scaling=expected)


def test_a_rotated_fraction() -> None:
    settings = Settings({})
    assert read_rope(settings, {"partial_rotary_factor": 0.25}, 50, fractions=()) == RopeConfig(50.0, 0.25)
    with pytest.raises(UserError, match=r"partial_rotary_factor=0\.25 is nothing that this family's models heed"):
        read(rope_parameters={"rope_theta": 50, "partial_rotary_factor": 0.25})
    assert read_rope(settings, {}, 50, fractions=(None, 0.5)) == RopeConfig(50.0, 0.5)
    with pytest.raises(UserError, match="partial_rotary_factor is given twice"):
        read_rope(settings, {"partial_rotary_factor": 0.25}, 50, fractions=(0.5,))


def test_longrope_in_its_own_words() -> None:
    """An alias, the original length outside, factor and attention_factor given or worked out."""
    scaling = {"type": "su", **LISTS}
    assert read(rope_theta=50, rope_scaling=scaling, original_max_position_embeddings=32).scaling == LONG
    given = read(
        rope_theta=50,
        rope_scaling=scaling | {"factor": 3, "attention_factor": 1.25},
        original_max_position_embeddings=32,
    )
    assert given.scaling == RopeScaling(
        "longrope", 3.0, 32, short_factor=(1.0, 1.5), long_factor=(2.0, 3.0), attention_factor=1.25
    )


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, r"config\.json: 'rope_theta' is missing"),
    ({"rope_theta": 50, "rope_parameters": {"rope_theta": 60}}, "rope_theta is given twice, as 60 and as 50"),
    ({"rope_scaling": {"factor": 2, "type": "linear"}, "rope_parameters": {"rope_theta": 5}}, "say two things"),
    ({"rope_theta": 50, "rope_scaling": {"type": "yarn", "factor": 2}}, "rope_scaling: rope_type 'yarn' is not avail"),
    ({"rope_parameters": {"rope_theta": 5, "rope_type": "dynamic"}}, "rope_parameters: rope_type 'dynamic' is not"),
    ({"rope_theta": 5, "rope_scaling": {"type": "linear", "rope_type": "llama3"}}, "rope_type is given twice"),
    ({"rope_theta": 50, "rope_scaling": {"type": "linear"}}, "rope_scaling: 'factor' is missing"),
    ({"rope_theta": 5, "rope_scaling": {"type": "linear", "factor": 2, "factr": 3}}, "'factr' .*Did you mean 'factor'"),
    ({"rope_theta": 50, "rope_scaling": {"type": "su", **LISTS}}, "needs 'original_max_position_embeddings'"),
    ({"rope_theta": 50, "rope_scaling": {"type": "llama3", **LLAMA3, "factor": None}}, "'factor' is missing"),
]


@pytest.mark.parametrize(("hf", "message"), REFUSED)
def test_refused(hf: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(**hf)


@pytest.mark.parametrize("scaling", [scaling for _, scaling in SCALINGS])
@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_written_and_read_again(scaling: RopeScaling | None, fraction: float) -> None:
    rope = RopeConfig(50.0, fraction, scaling)
    hf = Settings({"max_position_embeddings": 128, **write_rope(rope, 128)})
    fractions = (hf.get("partial_rotary_factor", None),)
    assert read_rope(hf, rope_parameters(hf), hf.get("rope_theta", None), fractions=fractions) == rope


def test_what_differs_from_the_usual_is_written() -> None:
    """transformers 4 refuses longrope with more than its lists, so only what it could not work out is added."""
    assert write_rope(RopeConfig(scaling=LONG), 128)["rope_scaling"].keys() == {"type", "short_factor", "long_factor"}
    odd = RopeScaling("longrope", 3.0, 32, short_factor=(1.0, 1.5), long_factor=(2.0, 3.0), attention_factor=1.25)
    hf = Settings({"max_position_embeddings": 128, **write_rope(RopeConfig(scaling=odd), 128)})
    assert read_rope(hf, rope_parameters(hf), 10_000.0).scaling == odd
