"""What ModelConfig refuses: each field by itself, then fields that do not go together. It imports no torch.

Every message names the field, its value and what to do.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from typing import TYPE_CHECKING, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from ..errors import UserError, nearest

if TYPE_CHECKING:
    from .config import ModelConfig, RopeConfig, RopeScaling

SIZES = ("vocab_size", "d_model", "n_layers", "n_heads", "d_ff", "max_seq_len", "n_kv_heads", "head_dim", "d_embed")
COUNTS = ("n_token_types", "position_offset", "pad_token_id", "relative_buckets", "relative_span")
POSITIVE = ("norm_eps", "attn_scale", "attn_softcap", "logit_softcap", "window", "init_std", "init_gain", "embed_scale")


def check_fields(config: ModelConfig) -> None:
    """Types, known names and ranges. Fields that are still to be derived are None here."""
    _check_types(config)
    for field in SIZES:
        _at_least(config, field, 1)
    for field in COUNTS:
        _at_least(config, field, 0)
    for field in POSITIVE:
        value = getattr(config, field)
        if value is not None and not value > 0:
            raise UserError(f"{field}={value}: must be above 0")
    for field in (f.name for f in dataclasses.fields(config) if f.name.endswith("_dropout")):
        if not 0 <= getattr(config, field) < 1:
            raise UserError(f"{field}={getattr(config, field)}: must be at least 0 and below 1")
    if config.head_dim is None and config.d_model % config.n_heads:  # pyright: ignore[reportUnnecessaryComparison]
        raise UserError(
            f"d_model={config.d_model} is not a multiple of n_heads={config.n_heads}: change one, or set head_dim"
        )
    if not config.layer_pattern:
        raise UserError("layer_pattern is empty: name at least one of 'global', 'local'")


def check_combinations(config: ModelConfig) -> None:
    """Fields that exclude each other, and fields that would have no effect."""
    c = config
    if c.n_heads % c.n_kv_heads:
        raise UserError(f"n_heads={c.n_heads} is not a multiple of n_kv_heads={c.n_kv_heads}")
    _check_norms(c)
    _check_positions(c)
    _check_window(c)
    _check_unused(c)


def check_rope(rope: RopeConfig) -> None:
    """The ranges of a RopeConfig."""
    _check_types(rope)
    if not rope.theta > 0:
        raise UserError(f"rope theta={rope.theta}: must be above 0")
    if not 0 < rope.fraction <= 1:
        raise UserError(f"rope fraction={rope.fraction}: must be above 0 and at most 1")


def check_scaling(scaling: RopeScaling) -> None:
    """The ranges of a RopeScaling, and that what its type needs is there."""
    s = scaling
    _check_types(s)
    if not s.factor >= 1:
        raise UserError(f"rope scaling factor={s.factor}: must be at least 1")
    if s.type != "linear" and s.original_max_seq_len < 2:
        raise UserError(f"rope scaling '{s.type}' needs original_max_seq_len, the context before stretching")
    if s.type == "llama3" and not 0 < s.low_freq_factor < s.high_freq_factor:
        raise UserError(
            f"rope scaling low_freq_factor={s.low_freq_factor}: must be above 0 and below "
            f"high_freq_factor={s.high_freq_factor}"
        )


def _check_norms(c: ModelConfig) -> None:
    kinds = {c.norm, c.attn_norm, c.ffn_norm, c.head_norm}
    if len(set(c.norm_slots)) < len(c.norm_slots):
        raise UserError(f"norm_slots={c.norm_slots}: each of 'in', 'out', 'sum' at most once")
    if c.parallel and "sum" in c.norm_slots:
        raise UserError("norm_slots: 'sum' has no place in a parallel block: use 'in', 'out' or parallel=False")
    if c.norm_unit_offset and "rmsnorm" not in kinds:
        raise UserError("norm_unit_offset=True is a way of storing an rmsnorm: set norm='rmsnorm' or leave it out")
    if not c.norm_bias and "layernorm" not in kinds:
        raise UserError("norm_bias=False speaks of layernorm, and no norm here is one: leave it out")
    for field in ("embed_norm", "qk_norm"):
        if getattr(c, field) and c.norm == "none":
            raise UserError(f"{field}=True needs norm='layernorm' or 'rmsnorm'")


def _check_positions(c: ModelConfig) -> None:
    if c.positions == "sincos" and c.d_embed % 2:
        raise UserError(f"positions='sincos' pairs sines with cosines: d_embed={c.d_embed} (or d_model) must be even")
    if c.positions == "rope":
        for rope in (c.rope, c.rope_local or c.rope):
            _check_rotated(rope, c.head_dim)
    if c.positions == "relative":
        _check_relative(c)
    if c.pad_token_id is not None and c.positions == "learned" and c.position_offset < 1:
        raise UserError("pad_token_id gives padding the row before the first position: set position_offset")


def _check_rotated(rope: RopeConfig, head_dim: int) -> None:
    rotated = rope.rotated(head_dim)
    if rotated < 2 or rotated % 2:
        raise UserError(
            f"positions='rope' rotates pairs: head_dim={head_dim} * fraction={rope.fraction} gives {rotated} "
            "dimensions, which must be even and at least 2"
        )
    if rope.scaling is not None and rope.scaling.type == "longrope":
        for field in ("short_factor", "long_factor"):
            given = len(getattr(rope.scaling, field))
            if given != rotated // 2:
                raise UserError(f"rope scaling {field} has {given} numbers, needs one a frequency: {rotated // 2}")


def _check_relative(c: ModelConfig) -> None:
    for field, needed in {"causal": False, "n_kv_heads": c.n_heads, "qk_norm": False, "attn_softcap": None}.items():
        if getattr(c, field) != needed:
            raise UserError(f"positions='relative' needs {field}={needed}, not {getattr(c, field)}")
    if c.relative_buckets < 2:
        raise UserError(f"relative_buckets={c.relative_buckets}: positions='relative' needs at least 2")
    if c.relative_span <= c.relative_buckets // 2 + 1:
        raise UserError(
            f"relative_span={c.relative_span}: must be above relative_buckets / 2 + 1 = {c.relative_buckets // 2 + 1}"
        )
    if c.norm == "none":
        raise UserError("positions='relative' norms its distance embeddings: set norm='layernorm' or 'rmsnorm'")


def _check_window(c: ModelConfig) -> None:
    has_local = "local" in c.layer_pattern
    if has_local and c.window is None:
        raise UserError("layer_pattern has 'local' layers: set window, how many tokens they see")
    if c.window is not None and not has_local:
        raise UserError(f"window={c.window} is for 'local' layers: set layer_pattern=('local',) or leave window out")
    if c.rope_local is not None and not has_local:
        raise UserError("rope_local is for 'local' layers, and layer_pattern has none")


def _check_unused(c: ModelConfig) -> None:
    """A field that is set, and read only when another has some value."""
    defaults = {field.name: field.default for field in dataclasses.fields(c)}
    only_with = {
        ("positions", "learned"): ("position_offset", "pad_token_id"),
        ("positions", "rope"): ("rope", "rope_local"),
        ("positions", "relative"): ("relative_buckets", "relative_span"),
        ("init", "xavier"): ("init_gain",),
        ("init", "kaiming"): ("init_mode", "init_nonlinearity"),
    }
    for (switch, value), fields in only_with.items():
        for field in fields:
            if getattr(c, switch) != value and getattr(c, field) != defaults[field]:
                raise UserError(
                    f"{field}={getattr(c, field)} has no effect with {switch}='{getattr(c, switch)}': "
                    f"leave it out or set {switch}='{value}'"
                )


def _at_least(config: object, field: str, least: int) -> None:
    value = getattr(config, field)
    if value is not None and value < least:
        raise UserError(f"{field}={value}: must be at least {least}")


@functools.cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls)


def _check_types(config: Any) -> None:
    """Every value against its annotation: a name that is not a choice, a string for a number, ..."""
    hints = _hints(cast("type[Any]", type(config)))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value is None and field.default is None:
            continue
        _check_type(field.name, value, hints[field.name])


def _check_type(name: str, value: Any, hint: Any) -> None:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):  # only ever `X | None`, and None was let through
        _check_type(name, value, arguments[0])
    elif origin is Literal:
        if value not in arguments:
            raise UserError(f"{name}={value!r} is not known.{nearest(value, arguments)}")
    elif origin is tuple:
        if not isinstance(value, tuple):
            raise UserError(f"{name}={value!r}: must be a list")
        for item in cast("tuple[Any, ...]", value):
            _check_type(name, item, arguments[0])
    elif hint is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UserError(f"{name}={value!r}: must be a number")
    elif not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UserError(f"{name}={value!r}: must be {_spoken(hint)}")


def _spoken(hint: type) -> str:
    return {int: "a whole number", bool: "true or false", str: "text"}.get(hint, f"a {hint.__name__}")
