"""Registry entries: the guide's structure, other spellings, and what is wrong with an entry."""

from __future__ import annotations

from pathlib import Path

import pytest
from groundup.configs.registry import parse_registry
from groundup.errors import UserError

FIXTURES = Path(__file__).parent / "fixtures"


def fails(text: str) -> str:
    with pytest.raises(UserError) as error:
        parse_registry(text, "models.yaml")
    return str(error.value)


def test_the_guides_structure():
    (entry,) = parse_registry((FIXTURES / "guide_registry.yaml").read_text(), "models.yaml")
    assert entry.model_dump(exclude_none=True) == {
        "name": "huggingface/model-name",
        "alias": "Friendly-Name",
        "size_params": "100M",
        "architecture": "encoder-only",
        "lora": {"rank": 8, "alpha": 16.0, "dropout": 0.05, "target_modules": ["query", "value"]},
        "recommended_batch_size": {"cuda": 32, "mps": 16, "cpu": 8},
        "memory_requirements": {"cuda_4bit": "1GB", "mps_fp32": "3GB", "cpu": "6GB"},
    }


def test_a_bare_list_and_one_entry():
    (bare,) = parse_registry((FIXTURES / "guide_entry.yaml").read_text(), "x")
    assert bare.alias == "YourModel"
    (one,) = parse_registry("recommended_batch_size: {mps: 8}", "x")
    assert one.recommended_batch_size == {"mps": 8}


def test_other_spellings_of_the_id():
    assert [
        entry.name for entry in parse_registry("- {model_name: a}\n- {pretrained_model: b}\n- {name: c}", "x")
    ] == list("abc")
    (both,) = parse_registry("- {name: short, pretrained_model: org/long}", "x")
    assert (both.alias, both.name) == ("short", "org/long")


def test_target_modules_without_the_block_around():
    (entry,) = parse_registry("{lora: {rank: 4}, target_modules: [q]}", "x")
    assert entry.lora is not None
    assert (entry.lora.rank, entry.lora.target_modules) == (4, ["q"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "models:\n- name: a\n- nmae: b\n",
            ["models.yaml, line 3: entry 2", "unknown key nmae", "Did you mean 'name'"],
        ),
        ("- name: a\n  lora: {rnk: 3}\n", ["line 1: entry 1", "unknown key lora.rnk", "Did you mean 'rank'"]),
        ("- name: a\n  lora: {rank: x}\n", ["lora.rank", "expected a whole number, got 'x'"]),
        ("- name: a\n  architecture: decoder\n", ["architecture", "expected one of encoder-only, decoder-only"]),
        ("- name: a\n  recommended_batch_size: {gpu: 3}\n", ["recommended_batch_size", "cuda, mps, cpu"]),
        ("- name: a\n  recommended_batch_size: {cpu: 0}\n", ["recommended_batch_size.cpu", "must be above 0"]),
        (
            "- name: a\n  memory_requirements: {cud_4bit: 1GB}\n",
            ["memory_requirements.cud_4bit", "Did you mean 'cuda_4bit'"],
        ),
        ("- {lora: 3, target_modules: [q]}", ["entry 1: lora: ", "expected a mapping of keys, got 3"]),
        ("models: 3", ["expected `models:` and a list"]),
        ("model: []", ["expected `models:` and a list"]),
        ("- a\n", ["expected `models:` and a list"]),
        ("", ["expected `models:` and a list"]),
        ("- {name: a, name: b}", ["line 1", "twice"]),
    ],
)
def test_what_is_wrong_with_an_entry(text: str, words: list[str]):
    message = fails(text)
    assert all(word in message for word in words), message
    assert "\n" not in message
