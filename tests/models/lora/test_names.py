"""Which Linears a name stands for."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from groundup.errors import UserError
from groundup.models import Model
from groundup.models.lora.names import Names, shortest

BLOCK = "core.layers.{}.{}.f.{}"


def linears(*parts: str) -> list[tuple[str, ...]]:
    """Groups of "attn.q+k+v" and the like, in both layers."""
    split = [part.partition(".") for part in parts]
    return [
        tuple(BLOCK.format(i, kind, name) for name in names.split("+")) for i in range(2) for kind, _, names in split
    ]


GPT2 = ("attn.q+k+v", "attn.out", "ffn.up", "ffn.down")
LLAMA = ("attn.q", "attn.k", "attn.v", "attn.out", "ffn.up", "ffn.gate", "ffn.down")


@pytest.mark.parametrize(
    ("name", "targets", "expected"),
    [
        ("gpt2", ["c_attn"], GPT2[:1]),
        ("gpt2", ["c_proj"], ("attn.out", "ffn.down")),
        ("gpt2", ["mlp.c_proj", "attn.c_attn"], ("attn.q+k+v", "ffn.down")),
        ("gpt2", ["q_proj", "v_proj"], ("attn.q", "attn.v")),
        ("gpt2", ["o_proj", "up_proj", "down_proj"], GPT2[1:]),
        ("gpt2", ["c_fc", "k_proj"], ("attn.k", "ffn.up")),
        ("gpt2", "all-linear", GPT2),
        ("gpt2", "ALL-LINEAR", GPT2),
        ("gpt2", r".*\.attn\.c_.*", GPT2[:2]),
        ("gpt2", r".*\.(q|v)_proj", ("attn.q", "attn.v")),
        ("llama", ["q_proj", "v_proj"], ("attn.q", "attn.v")),
        ("llama", "all-linear", LLAMA),
        ("llama", r"model\.layers\.\d\.mlp\..*", LLAMA[4:]),
        ("neox", ["query_key_value", "dense"], ("attn.q+k+v", "attn.out")),
        ("neox", ["dense_h_to_4h"], ("ffn.up",)),
    ],
)
def test_targets(name: str, targets: str | list[str], expected: tuple[str, ...], make: Callable[..., Model]) -> None:
    assert Names.of(make(name)).groups(targets, ()) == linears(*expected)


def test_one_layer_by_its_path(make: Callable[..., Model]) -> None:
    names = Names.of(make("gpt2"))
    both = [("core.layers.0.attn.f.q", "core.layers.0.attn.f.k", "core.layers.0.attn.f.v"), ("core.layers.1.ffn.f.up",)]
    assert names.groups(["h.1.mlp.c_fc", "transformer.h.0.attn.c_attn"], ()) == both
    assert names.groups(r"transformer\.h\.(0\.attn\.c_attn|1\.mlp\.c_fc)", ()) == both


def test_a_model_of_no_family_goes_by_its_own_names(make: Callable[..., Model]) -> None:
    names = Names.of(make("own"))
    assert names.groups(["attn.f.q", "head.out"], ()) == [*linears("attn.q"), ("head.out",)]
    shared = [("core.layers.0.ffn.f.up",)]  # one feed-forward for both layers
    assert names.groups(["up_proj"], ()) == shared
    assert ("head.out",) not in names.groups("all-linear", ())


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["query"], "Target modules not found in model: 'query'; there are c_attn, c_proj, c_fc, lm_head, q_proj, "),
        (["c_atn"], "Target modules not found in model: 'c_atn'; did you mean 'c_attn'? there are c_attn, "),
        (["c_attn", "q_lin"], "Target modules not found in model: 'q_lin'; there are "),
        (["self"], "Target modules not found in model: 'self'; there are "),
        ("c_attn", "Target modules not found in model: no path is 'c_attn', which as a string is a regular expression"),
        (r"transformer\.h\.\d\.attn\.c", "Target modules not found in model: no path is 'transformer"),
        ([], "Target modules not found in model: none are given; there are "),
        ("", "Target modules not found in model: none are given; there are "),
        ("(", "target_modules: '(' is not a regular expression: "),
        (["wte"], "target_modules: 'wte' is no Linear, and only those take adapters; there are "),
        (["ln_1"], "target_modules: 'ln_1' is no Linear"),
        (["c_attn", "v_proj"], "target_modules: 'v_proj' is a part of another that is named too: leave one out"),
    ],
)
def test_refused(targets: str | list[str], message: str, make: Callable[..., Model]) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        Names.of(make("gpt2")).groups(targets, ())
    assert str(raised.value).startswith(message)


def test_modules_in_full(make: Callable[..., Model]) -> None:
    names = Names.of(make("llama", "classification", 3))
    assert names.new_head() == ["score"]
    assert names.in_full(["score"]).keys() == {"score"}
    assert names.in_full(["layers.1.self_attn"]).keys() == {f"model.layers.1.self_attn.{p}_proj" for p in "qkvo"}
    assert names.in_full(["norm"]).keys() >= {"model.norm", "model.layers.0.input_layernorm"}  # as PEFT matches
    with pytest.raises(UserError, match=r"modules_to_save: 'scores' is no module of the model. Did you mean 'score'\?"):
        names.in_full(["scores"])
    with pytest.raises(UserError, match=r"target_modules: 'score' trains in full \(modules_to_save\)"):
        names.groups(["q_proj", "score"], {"score"})


def test_shortest() -> None:
    among = ["h.0.attn.out", "h.0.mlp.out", "h.1.attn.out", "h.1.mlp.out", "h.0.attn.q", "out"]
    assert shortest(["h.0.attn.q"], among) == ["q"]
    assert shortest(["h.0.attn.out", "h.1.attn.out"], among) == ["attn.out"]
    assert shortest(["h.1.mlp.out", "h.0.attn.q"], among) == ["1.mlp.out", "q"]
    assert shortest([path for path in among if path.endswith("out")], among) == ["out"]
    assert shortest(["out"], among[:1] + among[-1:]) == ["^out"]
