# ruff: noqa: C408 (fields read better as keywords)
"""models/config.py and models/checks.py: what a configuration may say, and that it survives JSON."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
from groundup.errors import UserError
from groundup.models.config import ModelConfig, RopeConfig, RopeScaling

LLAMA3 = RopeScaling("llama3", 8.0, 4096)
LONGROPE = RopeScaling("longrope", 2.0, 16, short_factor=(1.0, 1.2, 1.5), long_factor=(2.0, 3.0, 5.0))
RELATIVE = dict(positions="relative", causal=False, relative_buckets=8, relative_span=64)


def test_derived_fields(tiny) -> None:
    config = tiny()
    assert (config.n_kv_heads, config.head_dim, config.d_embed) == (4, 6, 24)
    assert (config.attn_norm, config.ffn_norm, config.head_norm) == ("layernorm",) * 3
    assert config.attn_scale == 6**-0.5
    assert config.classifier_pooling == "last"
    assert tiny(**RELATIVE).attn_scale == 18**-0.5
    assert tiny(**RELATIVE).classifier_pooling == "first"
    assert tiny(norm="rmsnorm", ffn_norm="none").ffn_norm == "none"
    assert tiny(norm="rmsnorm", ffn_norm="none").attn_norm == "rmsnorm"
    assert tiny(head_dim=10).attn_scale == 10**-0.5


def test_replacing_a_field_keeps_what_was_derived(tiny) -> None:
    wide = dataclasses.replace(tiny(), d_model=48, head_dim=None, attn_scale=None)
    assert (wide.head_dim, wide.attn_scale, wide.d_embed) == (12, 12**-0.5, 24)


def test_layer_pattern_is_tiled(tiny) -> None:
    config = tiny(window=4, layer_pattern=("local", "local", "global"))
    assert [config.layer_kind(i) for i in range(5)] == ["local", "local", "global", "local", "local"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        dict(positions="rope", rope=RopeConfig(5e5, 1.0, LLAMA3)),
        dict(positions="rope", rope=RopeConfig(scaling=LONGROPE), rope_local=RopeConfig(3.0), window=3)
        | dict(layer_pattern=("local", "global"), norm_slots=("in", "out"), attn_softcap=50.0),
        RELATIVE | dict(classifier_activation="gelu", attn_scale=0.1),
    ],
)
def test_json_round_trip_is_exact(tiny, fields) -> None:
    config = tiny(**fields)
    plain = config.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert ModelConfig.from_dict(json.loads(json.dumps(plain))) == config
    assert hash(ModelConfig.from_dict(plain)) == hash(config)


def test_unknown_keys_name_the_nearest(tiny) -> None:
    with pytest.raises(UserError, match=r"ModelConfig has no field 'd_modle'\. Did you mean 'd_model'\?"):
        ModelConfig.from_dict(tiny().to_dict() | {"d_modle": 3})
    rope = {"positions": "rope", "rope": {"theta": 1.0, "scaling": {"type": "linear", "facter": 2}}}
    with pytest.raises(UserError, match="RopeScaling has no field 'facter'"):
        ModelConfig.from_dict(tiny().to_dict() | rope)


def test_frozen(tiny) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny().d_model = 3


@pytest.mark.parametrize("field", ["vocab_size", "d_model", "n_layers", "n_heads", "d_ff", "max_seq_len", "head_dim"])
@pytest.mark.parametrize("value", [0, -1, 2.5, "8", True])
def test_sizes_are_positive_whole_numbers(tiny, field, value) -> None:
    with pytest.raises(UserError, match=f"{field}={value!r}"):
        tiny(**{field: value})


DROPOUTS = ["embed", "attn", "attn_probs", "ffn", "residual", "head", "classifier"]


@pytest.mark.parametrize("field", [f"{name}_dropout" for name in DROPOUTS])
@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan"), "0.1"])
def test_dropouts_lie_in_zero_to_one(tiny, field, value) -> None:
    with pytest.raises(UserError, match=field):
        tiny(**{field: value})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(d_model=25), "d_model=25 is not a multiple of n_heads=4: change one, or set head_dim"),
        (dict(n_kv_heads=3), "n_heads=4 is not a multiple of n_kv_heads=3"),
        (dict(positions="rotary"), "positions='rotary' is not known. Known: learned, sincos, rope"),
        (dict(positions="learnt"), "Did you mean 'learned'?"),
        (dict(norm="rms_norm"), "norm='rms_norm' is not known. Did you mean 'rmsnorm'?"),
        (dict(attn_norm="layer_norm"), "attn_norm='layer_norm' is not known"),
        (dict(activation="gleu"), "Did you mean 'gelu'?"),
        (dict(init="he"), "init='he' is not known"),
        (dict(norm_slots=("in", "after")), "norm_slots='after' is not known"),
        (dict(norm_slots="in"), "norm_slots='in': must be a list"),
        (dict(norm_slots=("in", "in")), "at most once"),
        (dict(norm_slots=("in", "sum"), parallel=True), "'sum' has no place in a parallel block"),
        (dict(norm_unit_offset=True), "norm_unit_offset=True"),
        (dict(norm="rmsnorm", norm_bias=False), "norm_bias=False"),
        (dict(norm="none", qk_norm=True), "qk_norm=True needs norm"),
        (dict(norm="none", embed_norm=True), "embed_norm=True needs norm"),
        (dict(norm_eps=0.0), "norm_eps=0.0: must be above 0"),
        (dict(positions="sincos", d_model=25, head_dim=6), "d_embed=25 (or d_model) must be even"),
        (dict(positions="rope", head_dim=7), "gives 7 dimensions, which must be even"),
        (dict(positions="rope", rope=RopeConfig(fraction=0.2)), "gives 1 dimensions"),
        (dict(rope=RopeConfig(500.0)), "has no effect with positions='learned'"),
        (dict(positions="rope", rope_local=RopeConfig(500.0)), "rope_local is for 'local' layers"),
        (dict(positions="rope", position_offset=2), "position_offset=2 has no effect with positions='rope'"),
        (dict(pad_token_id=1), "set position_offset"),
        (dict(relative_buckets=4), "relative_buckets=4 has no effect"),
        (RELATIVE | dict(causal=True), "positions='relative' needs causal=False"),
        (RELATIVE | dict(n_kv_heads=2), "needs n_kv_heads=4"),
        (RELATIVE | dict(attn_softcap=3.0), "needs attn_softcap=None"),
        (RELATIVE | dict(relative_buckets=0), "needs at least 2"),
        (RELATIVE | dict(relative_span=5), "relative_span=5"),
        (RELATIVE | dict(norm="none"), "norms its distance embeddings"),
        (dict(window=4), "window=4 is for 'local' layers"),
        (dict(layer_pattern=("local",)), "set window"),
        (dict(layer_pattern=()), "layer_pattern is empty"),
        (dict(window=0, layer_pattern=("local",)), "window=0: must be above 0"),
        (dict(attn_softcap=-1.0), "attn_softcap=-1.0: must be above 0"),
        (dict(init_gain=2.0), "init_gain=2.0 has no effect with init='gpt2'"),
        (dict(init="xavier", init_mode="fan_out"), "init_mode=fan_out has no effect with init='xavier'"),
        (dict(init_std=0), "init_std=0: must be above 0"),
        (dict(n_token_types=-1), "n_token_types=-1: must be at least 0"),
        (dict(causal=1), "causal=1: must be true or false"),
        (dict(rope={"theta": 3.0}), "rope={'theta': 3.0}: must be a RopeConfig"),
        (dict(classifier_activation="swish"), "classifier_activation='swish' is not known"),
    ],
)
def test_what_is_refused(tiny, fields, message) -> None:
    with pytest.raises(UserError) as error:
        tiny(**fields)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RopeConfig(theta=0.0), "rope theta=0.0: must be above 0"),
        (lambda: RopeConfig(fraction=1.5), "rope fraction=1.5"),
        (lambda: RopeScaling("yarn"), "type='yarn' is not known"),
        (lambda: RopeScaling("linear", 0.5), "factor=0.5: must be at least 1"),
        (lambda: RopeScaling("llama3", 8.0), "needs original_max_seq_len"),
        (lambda: RopeScaling("llama3", 8.0, 64, low_freq_factor=4.0), "low_freq_factor=4.0"),
    ],
)
def test_what_rope_refuses(make, message) -> None:
    with pytest.raises(UserError) as error:
        make()
    assert message in str(error.value)


def test_longrope_needs_a_number_for_each_frequency(tiny) -> None:
    short = dataclasses.replace(LONGROPE, long_factor=(1.0,))
    with pytest.raises(UserError, match="long_factor has 1 numbers, needs one a frequency: 3"):
        tiny(positions="rope", rope=RopeConfig(scaling=short))


def test_reading_a_config_needs_no_torch() -> None:
    code = (
        "import sys; from groundup.models import ModelConfig; import groundup.models.flops; "
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_package_names() -> None:
    import groundup.models

    for name in groundup.models.__all__:
        assert getattr(groundup.models, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'build_modle'"):
        groundup.models.build_modle  # noqa: B018
