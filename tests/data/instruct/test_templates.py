"""Templates with tools, thoughts, dates, and without a beginning: what they make of a conversation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from groundup.data.instruct import chat, choice
from groundup.data.rows import Row
from groundup.data.sampling import IGNORE
from groundup.errors import UserError
from groundup.tokenizers import pieces
from groundup.tokenizers.load import load_tokenizer
from transformers import AutoTokenizer

TURNS = [
    {"from": "human", "value": "One?"},
    {"from": "gpt", "value": "It is one."},
    {"from": "human", "value": "Two?"},
    {"from": "gpt", "value": "It is two."},
]


def answers(row: Row) -> list[list[int]]:
    """The stretches of labels that are no -100."""
    assert isinstance(row.labels, np.ndarray)
    stretches = groupby(row.labels.tolist(), key=lambda label: label != IGNORE)
    return [list(labels) for is_target, labels in stretches if is_target]


LLAMA31 = (  # an answer with a call is the call alone
    "{{ bos_token }}{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' }}"
    "{% if 'tool_calls' in m %}{% if m.tool_calls | length != 1 %}{{ raise_exception('one at a time') }}{% endif %}"
    "{{ m.tool_calls[0].function | tojson }}{% else %}{{ m.content }}{% endif %}{{ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
CALL = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]}
USES_TOOL = [
    {"role": "user", "content": "Two?"},
    CALL,
    {"role": "tool", "content": "2", "tool_calls": []},
    {"role": "assistant", "content": "It is two."},
]


def test_an_answer_may_be_a_call_without_any_text(chat_folder: Callable[[str], Path], load: Callable[..., Any]) -> None:
    tokenizer = load_tokenizer(chat_folder("llama3"))
    row = {"messages": USES_TOOL, "tools": [{"name": "f"}]}
    data = load([row], tokenizer, preprocessing={"chat_template": LLAMA31})
    assert [[tokenizer.decode(a) for a in answers(one)] for one in data.train] == [
        ['{"name": "f", "arguments": {"x": 1}}<|eot_id|>', "It is two.<|eot_id|>"]
    ]
    with pytest.raises(UserError, match=r"record 1 has tool calls, and the chat template of .* knows of none: give"):
        load([{"messages": USES_TOOL}], load_tokenizer(chat_folder("llama3")))


REASONS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.reasoning_content %}"
    "{{ '<think>' + m.reasoning_content + '</think>' }}{% endif %}{{ m.content + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "reasoning"])
def test_the_thoughts_before_an_answer_are_trained(
    key: str, chat_folder: Callable[[str], Path], load: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = load_tokenizer(chat_folder("chatml"))
    rows = [{"conversations": [TURNS[0], {**TURNS[1], key: "1 = 1"}]}]
    data = load(rows, tokenizer, preprocessing={"chat_template": REASONS})
    assert [tokenizer.decode(a) for a in answers(data.train[0])] == ["<think>1 = 1</think>It is one.<|im_end|>"]
    assert "leaves out" not in capsys.readouterr().err
    tokenizer = load_tokenizer(chat_folder("chatml"))
    data = load(rows * 3, tokenizer)
    assert [tokenizer.decode(a) for a in answers(data.train[0])] == ["It is one.<|im_end|>"]
    said = capsys.readouterr().err
    assert said.count("leaves out") == 1
    assert f"the chat template of {tokenizer.name} leaves out what messages hold as '{key}' (in 3)" in said


def test_rows_without_the_token_that_begins_any_text_are_noted(
    tokenizer: Callable[..., Any], load: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}"
    template += "{% if add_generation_prompt %}[assistant] {% endif %}"
    rows = [{"conversations": TURNS}]

    def said(name: str, template: str, **preprocessing: Any) -> str:
        load(rows, tokenizer(name), preprocessing={"chat_template": template, **preprocessing})
        return capsys.readouterr().err

    note = "begins any text with <s>, and rows by the template of dataset.preprocessing.chat_template begin without it"
    assert note in said("llama2", template)
    assert "set dataset.preprocessing.add_bos_token to true" in said("llama2", template)
    for other in (
        said("llama2", template, add_bos_token=True),
        said("llama2", template, add_bos_token=False),
        said("llama2", "{{ bos_token }}" + template),
        said("gpt2", template),
    ):
        assert "begins any text" not in other


DATED = (
    "{%- set day = strftime_now('%d %b %Y') if strftime_now is defined else '26 Jul 2024' -%}"
    "{{ '<|im_start|>system\n' + day + '<|im_end|>' }}{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.mark.parametrize("where", ["tokenizer", "configuration"])
def test_the_date_of_a_run_s_first_day_stays(
    where: str,
    chat_folder: Callable[[str], Path],
    load: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another day, with the tokenizer that the run kept, the rows are the same; so are transformers' prompts."""
    tokenizer = load_tokenizer(chat_folder("chatml"))
    settings: dict[str, Any] = {}
    if where == "tokenizer":
        tokenizer.chat_template = DATED
    else:
        settings["preprocessing"] = {"chat_template": DATED, "add_bos_token": True}

    def on(day: int, tokenizer: Any) -> Any:
        class Day(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return datetime(2025, 3, day)

        monkeypatch.setattr(choice, "datetime", Day)
        return load([{"conversations": TURNS}], tokenizer, **settings)

    first = on(4, tokenizer)
    assert "system\n04 Mar 2025<|im_end|>" in tokenizer.decode(first.train[0].ids.tolist())
    tokenizer.save(tmp_path / "kept")
    tokenizer.save_hf(tmp_path / "hf")
    second = on(5, load_tokenizer(tmp_path / "kept"))
    np.testing.assert_array_equal(first.train[0].ids, second.train[0].ids)
    assert first.fingerprint == second.fingerprint
    messages = [{"role": "user", "content": "Now?"}]
    theirs = AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert theirs.apply_chat_template(messages, add_generation_prompt=True).input_ids == second.prompt(messages)
    fresh = load_tokenizer(chat_folder("chatml"))
    fresh.chat_template = DATED if where == "tokenizer" else fresh.chat_template
    assert on(5, fresh).fingerprint != first.fingerprint


def test_what_spells_a_token_is_looked_for_with_one_pattern(
    tokenizer: Callable[..., Any], load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(chat, "control_pattern", lambda given: made.append(given) or pieces.control_pattern(given))
    load([{"conversations": TURNS}] * 50, tokenizer("gpt2"))
    assert len(made) < 5
