"""What is trained is what will be asked, answered and stopped at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from groundup.configs.schema_data import Dataset
from groundup.data.instruct.chat import Chat
from groundup.data.instruct.load import load_instructions
from groundup.data.instruct.source import open_source, read_groups
from groundup.data.rows import Row
from groundup.data.sampling import IGNORE
from groundup.errors import UserError
from groundup.tokenizers.load import load_tokenizer
from transformers import AutoTokenizer

FILES = {
    "alpaca": "alpaca_data_1k.json",
    "sharegpt": "sharegpt_dummy_conversation.json",
    "oasst": "oasst_en_100_tree.jsonl",
}
SYSTEM = [{"from": "system", "value": "Be brief."}]
TURNS = [
    {"from": "human", "value": "One?"},
    {"from": "gpt", "value": "It is one."},
    {"from": "human", "value": "Two?"},
    {"from": "gpt", "value": "It is two."},
]


def targets(row: Row) -> list[list[int]]:
    """The answers of a row: stretches of labels that are no -100."""
    assert isinstance(row.labels, np.ndarray)
    assert len(row.labels) == len(row.ids)
    found: list[list[int]] = []
    for before, label in zip([IGNORE, *row.labels[:-1]], row.labels, strict=True):
        if label != IGNORE:
            if before == IGNORE:
                found.append([])
            found[-1].append(int(label))
    return found


def check(data: Any, dataset: Any, decodes: bool) -> None:
    """Each answer of each row: asked by `prompt`, it is how the row goes on, and it ends in a stop token."""
    groups = read_groups(open_source(dataset, "train_path"), dataset)
    rows = iter(data.train)
    for conversation in (one for group in groups for one in group):
        row = next(rows)
        answers = targets(row)
        assert len(answers) == len(conversation.trained)
        for answer, i in zip(answers, conversation.trained, strict=True):
            asked = data.prompt(conversation.messages[:i])
            assert row.ids[: len(asked)].tolist() == asked
            assert row.labels[len(asked) - 1] == answer[0]
            assert row.ids[len(asked) : len(asked) + len(answer)].tolist() == answer
            assert answer[-1] in data.stop_ids
            assert not set(answer[:-1]) & set(data.stop_ids)
            if decodes:
                said = conversation.messages[i]["content"]
                assert data.chat.tokenizer.decode(answer[:-1]).strip() == said.strip()
        if data.chat.begin:
            begin = data.chat.tokenizer.control_tokens[data.chat.begin]
            assert row.ids[0] == begin
            assert row.ids[1] != begin
    assert next(rows, None) is None


@pytest.mark.parametrize("name", ["gpt2", "llama2", "bert-base-uncased", "pythia"])
@pytest.mark.parametrize("form", FILES)
def test_a_prompt_is_how_a_row_begins(shared: Path, tokenizer: Callable[..., Any], name: str, form: str) -> None:
    dataset = Dataset(format=form, train_path=str(shared / "instruct" / FILES[form]), val_fraction=0.0)
    data = load_instructions(dataset, tokenizer(name), max_length=10_000, progress=False)
    check(data, dataset, decodes=name in ("gpt2", "llama2"))
    begins = {"llama2": "<s>", "bert-base-uncased": "[CLS]"}.get(name)
    assert data.chat.begin == begins or (begins is None and name in ("gpt2", "pythia"))


@pytest.mark.parametrize("name", ["chatml", "llama3", "zephyr", "gemma", "phi3"])
@pytest.mark.parametrize("form", FILES)
def test_rows_and_prompts_are_those_of_transformers(
    shared: Path, chat_folder: Callable[[str], Path], name: str, form: str
) -> None:
    """The whole row, and for ChatML which tokens are trained, by transformers' own mask of the assistant's tokens."""
    dataset = Dataset(
        format=form, train_path=str(shared / "instruct" / FILES[form]), val_fraction=0.0, max_documents=60
    )
    folder = chat_folder(name)
    theirs = AutoTokenizer.from_pretrained(folder)
    data = load_instructions(dataset, load_tokenizer(folder), max_length=10_000, progress=False)
    check(data, dataset, decodes=True)
    groups = read_groups(open_source(dataset, "train_path"), dataset)
    for row, one in zip(data.train, (one for group in groups for one in group), strict=True):
        messages = [{"role": m["role"], "content": m["content"]} for m in one.messages]
        whole = theirs.apply_chat_template(messages, return_assistant_tokens_mask=name == "chatml", return_dict=True)
        prompt = theirs.apply_chat_template(messages[:1], add_generation_prompt=True).input_ids
        assert data.prompt(one.messages[:1]) == prompt
        # A blank line at the end of a prompt is one token, and in the whole text it may be two with what follows.
        if one.messages[1]["content"][0].isspace() or name == "llama3":
            assert theirs.decode(whole.input_ids).startswith(theirs.decode(row.ids.tolist()))
            continue
        assert row.ids.tolist() == whole.input_ids[: len(row.ids)]
        if name == "chatml" and not one.untrained:
            mask = np.array([*whole.assistant_masks[1 : len(row.ids)], 0])
            np.testing.assert_array_equal(np.asarray(row.labels) != IGNORE, mask == 1)


def test_a_template_that_moves_the_system_message_makes_a_row_of_each_answer(
    chat_folder: Callable[[str], Path], load: Callable[..., Any]
) -> None:
    data = load([{"conversations": SYSTEM + TURNS}], load_tokenizer(chat_folder("mistral")))
    tokenizer = data.chat.tokenizer
    assert [tokenizer.decode(row.ids.tolist()) for row in data.train] == [
        "<s>[INST] Be brief.\n\nOne? [/INST] It is one.</s>",
        "<s>[INST] One? [/INST] It is one.</s>[INST] Be brief.\n\nTwo? [/INST] It is two.</s>",
    ]
    assert [[tokenizer.decode(a) for a in targets(row)] for row in data.train] == [
        [" It is one.</s>"],
        [" It is two.</s>"],
    ]
    without = load([{"conversations": TURNS}], load_tokenizer(chat_folder("mistral")))
    assert len(without.train) == 1
    assert len(targets(without.train[0])) == 2


THINKS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ '<|im_start|>assistant\n' }}"
    "{% if loop.last %}{{ '<think></think>' }}{% endif %}{{ m.content + '<|im_end|>' }}{% else %}"
    "{{ '<|im_start|>user\n' + m.content + '<|im_end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_a_template_that_writes_past_answers_otherwise_makes_a_row_of_each(
    chat_folder: Callable[[str], Path], load: Callable[..., Any]
) -> None:
    tokenizer = load_tokenizer(chat_folder("chatml"))
    data = load([{"conversations": TURNS}], tokenizer, preprocessing={"chat_template": THINKS})
    assert [[tokenizer.decode(a) for a in targets(row)] for row in data.train] == [
        ["<think></think>It is one.<|im_end|>"],
        ["<think></think>It is two.<|im_end|>"],
    ]
    messages = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "It is one."}]
    asked = data.prompt([*messages, {"role": "user", "content": "Two?"}])
    assert data.train[1].ids[: len(asked)].tolist() == asked
    mismatched = THINKS.replace(
        "{{ '<|im_start|>assistant\n' }}{% endif %}", "{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
    )
    with pytest.raises(UserError, match=r"record 1: .*asks for an answer with other text than the answer then stands"):
        load([{"conversations": TURNS}], tokenizer, preprocessing={"chat_template": mismatched})


def test_without_a_template_each_kind_has_its_own_prompt(load: Callable[..., Any]) -> None:
    """Stanford's words, spelt once more."""
    rows = [
        {"instruction": "Add.", "input": "1, 2", "output": "3"},
        {"instruction": "Hi.", "input": "", "output": "Ho."},
        {"instruction": "And?", "output": "No.", "history": [["A", "B"]], "system": "Rhyme."},
    ]
    data = load(rows, format="alpaca")
    ids = [[i if i < 256 else ord("$") for i in row.ids] for row in data.train]
    assert [bytes(row).decode() for row in ids] == [
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
        "response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1, 2\n\n"
        "### Response:3$",
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nHi.\n\n### Response:Ho.$",
        "Rhyme.\n\n### Instruction:\nA\n\n### Response:B$\n\n### Instruction:\nAnd?\n\n### Response:No.$",
    ]
    assert data.stop_ids == (256,)
    turns = [{"conversations": [*SYSTEM, *TURNS[:2], {"from": "tool", "value": "1"}, *TURNS[3:]], "tools": ["<f>"]}]
    (row,) = load(turns).train
    assert bytes(i if i < 256 else ord("$") for i in row.ids).decode() == (
        '### Tools:\n["<f>"]\n\n### System:\nBe brief.\n\n### User:\nOne?\n\n### Assistant:\nIt is one.$\n\n'
        "### Tool:\n1\n\n### Assistant:\nIt is two.$"
    )


def test_what_begins_and_ends_an_example(tokenizer: Callable[..., Any], load: Callable[..., Any]) -> None:
    rows = [{"conversations": TURNS}]
    plain = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    plain += "{% if add_generation_prompt %}[assistant] {% endif %}"

    def text(name: str, **preprocessing: Any) -> str:
        made = load(rows, tokenizer(name), preprocessing=preprocessing)
        return made.chat.tokenizer.decode(made.train[0].ids.tolist())

    own = "### User:\nOne?\n\n### Assistant:\nIt is one.</s> \n\n### User:\nTwo?\n\n### Assistant:\nIt is two.</s>"
    assert text("llama2") == text("llama2", add_bos_token=True, add_eos_token=True) == f"<s> {own}"
    assert text("llama2", add_bos_token=False) == own
    assert text("gpt2", add_bos_token=True).startswith("<|endoftext|>### User")
    assert text("bert-base-uncased", add_bos_token=True).startswith("[CLS] # # #")
    given = "[user] One?\n[assistant] It is one.</s>\n[user] Two?\n[assistant] It is two.</s>"
    assert text("llama2", chat_template=plain, add_eos_token=True).replace("</s> ", "</s>") == given
    assert text("llama2", chat_template=plain, add_eos_token=True, add_bos_token=True).startswith("<s> [user]")
    with_bos = "{{ bos_token }}" + plain
    both = text("llama2", chat_template=with_bos, add_eos_token=True, add_bos_token=True)
    assert both == text("llama2", chat_template=with_bos, add_eos_token=True, add_bos_token=False)
    assert both.count("<s>") == 1

    for settings, message in (
        ({"chat_template": plain}, "no answer ends in a token that generation stops at, by the template of"),
        ({"add_eos_token": False}, "never learn to stop: set dataset.preprocessing.add_eos_token to true"),
        (
            {"use_chat_template": True},
            "use_chat_template is true, and the tokenizer .* has no chat template: give one",
        ),
        ({"chat_template": "{{ bos_token }}" + with_bos, "add_eos_token": True}, "two beginning-of-text tokens"),
        (
            {"chat_template": "nowhere.jinja"},
            "chat_template is 'nowhere.jinja', which is no template .*: No such file",
        ),
        ({"chat_template": plain, "use_chat_template": False}, "chat_template is given and use_chat_template is false"),
        ({"chat_template": "{{ eos_token }}{% for %}"}, "chat_template is no Jinja: line 1"),
        ({"chat_template": "{{ eos_token }}"}, "leaves out what the assistant says"),
        ({"chat_template": "{{ raise_exception('never') }}"}, "rows.json, record 1: the template of .* fails: never"),
    ):
        with pytest.raises(UserError, match=message):
            text("llama2", **settings)
    made = tokenizer("gpt2")
    made._special = {"eos": "<|endoftext|>"}
    with pytest.raises(UserError, match=r"add_bos_token is true, and the tokenizer .* has no beginning-of-text token"):
        load(rows, made, preprocessing={"add_bos_token": True})


@pytest.mark.parametrize("form", ["alpaca", "sharegpt", "ended"])
def test_the_template_is_kept_with_the_tokenizer_and_gives_the_same_again(
    tokenizer: Callable[..., Any], load: Callable[..., Any], tmp_path: Path, form: str
) -> None:
    """Read back, it makes the same rows of the same file, and the same prompts; so does transformers."""
    rows = [{"instruction": "Add.", "input": "1, 2", "output": "3"}] if form == "alpaca" else [{"conversations": TURNS}]
    settings: dict[str, Any] = {"format": "alpaca" if form == "alpaca" else "sharegpt"}
    if form == "ended":
        template = "  {% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
        template += "{{ '[assistant] ' if add_generation_prompt }}"
        settings["preprocessing"] = {"chat_template": template, "add_eos_token": True, "add_bos_token": True}
    data = load(rows, tokenizer("llama2"), **settings)
    data.chat.tokenizer.save(tmp_path / "kept")
    data.chat.tokenizer.save_hf(tmp_path / "hf")
    settings.pop("preprocessing", None)
    again = load(rows, load_tokenizer(tmp_path / "kept"), **settings)
    for first, second in zip(data.train, again.train, strict=True):
        np.testing.assert_array_equal(first.ids, second.ids)
        np.testing.assert_array_equal(first.labels, second.labels)
    messages = [{"role": "user", "content": "Add 1 and 2."}]
    chat = Chat.of(load_tokenizer(tmp_path / "kept"))
    assert chat.prompt(messages) == data.prompt(messages)
    assert chat.stop_ids == data.stop_ids == (2,)
    theirs = AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert theirs.apply_chat_template(messages, add_generation_prompt=True).input_ids == data.prompt(messages)


def test_what_cannot_be_asked(load: Callable[..., Any]) -> None:
    data = load([{"conversations": TURNS}])
    for messages in ([], [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]):
        with pytest.raises(UserError, match="nothing is asked"):
            data.prompt(messages)
    with pytest.raises(UserError, match="the tokenizer byte has no chat template: its model was not trained on conv"):
        Chat.of(type(data.chat.tokenizer)())


def test_a_conversation_that_the_template_refuses(
    chat_folder: Callable[[str], Path], load: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"conversations": SYSTEM + TURNS}, {"conversations": TURNS}]
    tokenizer = load_tokenizer(chat_folder("gemma"))
    with pytest.raises(UserError, match=r"rows.json, record 1: the chat template of .* fails: No system role"):
        load(rows, tokenizer)
    with pytest.raises(UserError, match=r"rows.json, record 2: the chat template of .* fails: No system role"):
        load(rows[::-1], tokenizer)
    assert len(load(rows, tokenizer, on_bad_row="drop").train) == 1
    assert "note: 1 of 2 rows of the training rows were left out; the first: " in capsys.readouterr().err
    with pytest.raises(UserError, match=r"No system role; 2 of 3 rows cannot be used: .* set dataset.on_bad_row to dr"):
        load([*rows, rows[0]], tokenizer)
    tools = [{"conversations": TURNS, "tools": [{"name": "f"}]}]
    with pytest.raises(UserError, match=r"record 1 has tools, and the chat template of .* knows of none"):
        load(tools, tokenizer)
