"""Rotary settings of config.json: rope_theta and rope_scaling (transformers 4), rope_parameters (5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import UserError, nearest
from ..config import RopeConfig, RopeScaling
from .settings import Settings

# What each kind may say beside rope_theta and partial_rotary_factor.
KINDS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "longrope": ("factor", "short_factor", "long_factor", "attention_factor", "original_max_position_embeddings"),
}
ALWAYS = ("rope_type", "type", "rope_theta", "partial_rotary_factor")


def rope_parameters(hf: Settings) -> dict[str, Any]:
    """The mapping under either name, empty where there is none."""
    new, old = hf.mapping("rope_parameters"), hf.mapping("rope_scaling")
    if new and old and new != old:
        raise UserError(f"{hf.where}: rope_parameters and rope_scaling say two things: keep one")
    return new or old


def _where(hf: Settings) -> str:
    return f"{hf.where}, {'rope_scaling' if hf.values.get('rope_scaling') else 'rope_parameters'}"


def read_rope(
    hf: Settings,
    parameters: Mapping[str, Any],
    *thetas: Any,
    fractions: tuple[Any, ...] | None = None,
    default_theta: float | None = None,
    aliases: Mapping[str, str] | None = None,
) -> RopeConfig:
    """A RopeConfig from `parameters`, and from what else says theta or the rotated fraction (None: it does not).

    Args:
        fractions: None for families that turn whole heads whatever is said.

    Raises:
        UserError: theta is nowhere, two places disagree, or a kind or setting is not available.
    """
    kind = hf.agreed("rope_type", parameters.get("rope_type"), parameters.get("type")) or "default"
    kind = (aliases or {}).get(kind, kind)
    if kind not in KINDS:
        raise UserError(f"{_where(hf)}: rope_type '{kind}' is not available here.{nearest(kind, KINDS)}")
    for key, value in parameters.items():
        if key not in KINDS[kind] + ALWAYS and value is not None:
            raise UserError(f"{_where(hf)}: '{key}' is nothing that rope_type '{kind}' has.{nearest(key, KINDS[kind])}")
    theta = hf.agreed("rope_theta", parameters.get("rope_theta"), *thetas) or default_theta
    if theta is None:
        raise UserError(f"{hf.where}: 'rope_theta' is missing, and without it the model would be another: add it")
    fraction = hf.agreed("partial_rotary_factor", parameters.get("partial_rotary_factor"), *(fractions or ()))
    if fractions is None and fraction not in (None, 1):
        raise UserError(f"{_where(hf)}: partial_rotary_factor={fraction} is nothing that this family's models heed")
    scaling = None if kind == "default" else _read_scaling(hf, kind, parameters)
    return RopeConfig(float(theta), 1.0 if fraction is None else float(fraction), scaling)


def _read_scaling(hf: Settings, kind: str, parameters: Mapping[str, Any]) -> RopeScaling:
    given = Settings({key: value for key, value in parameters.items() if value is not None}, _where(hf))
    if kind == "linear":
        return RopeScaling("linear", float(given.need("factor")))
    original = hf.agreed(
        "original_max_position_embeddings",
        hf.get("original_max_position_embeddings", None),
        given.get("original_max_position_embeddings", None),
    )
    if original is None:
        raise UserError(f"{_where(hf)}: rope_type '{kind}' needs 'original_max_position_embeddings': add it")
    if kind == "llama3":
        low, high = float(given.need("low_freq_factor")), float(given.need("high_freq_factor"))
        return RopeScaling("llama3", float(given.need("factor")), original, low, high)
    attention_factor = given.get("attention_factor", None)
    return RopeScaling(
        "longrope",
        float(given.get("factor", hf.need("max_position_embeddings") / original)),
        original,
        short_factor=tuple(float(number) for number in given.need("short_factor")),
        long_factor=tuple(float(number) for number in given.need("long_factor")),
        attention_factor=None if attention_factor is None else float(attention_factor),
    )


def write_rope(rope: RopeConfig, max_seq_len: int) -> dict[str, Any]:
    """The inverse of read_rope, in the words of transformers 4, which 5 reads too."""
    hf: dict[str, Any] = {"rope_theta": rope.theta, "rope_scaling": None}
    if rope.fraction != 1:
        hf["partial_rotary_factor"] = rope.fraction
    s = rope.scaling
    if s is None:
        return hf
    if s.type == "linear":
        return hf | {"rope_scaling": {"rope_type": "linear", "factor": s.factor}}
    if s.type == "llama3":
        frequencies = {"low_freq_factor": s.low_freq_factor, "high_freq_factor": s.high_freq_factor}
        original = {"original_max_position_embeddings": s.original_max_seq_len}
        return hf | {"rope_scaling": {"rope_type": "llama3", "factor": s.factor, **frequencies, **original}}
    scaling: dict[str, Any] = {"type": "longrope", "short_factor": [*s.short_factor], "long_factor": [*s.long_factor]}
    if s.factor != max_seq_len / s.original_max_seq_len:
        scaling["factor"] = s.factor
    if s.attention_factor is not None:
        scaling["attention_factor"] = s.attention_factor
    return hf | {"rope_scaling": scaling, "original_max_position_embeddings": s.original_max_seq_len}
