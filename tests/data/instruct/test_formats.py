"""What each format's rows become, and what is refused, with file and row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from groundup.configs.schema_data import Dataset
from groundup.data.instruct.formats import alpaca, sharegpt
from groundup.data.instruct.source import open_source, read_groups
from groundup.errors import UserError


def turns(*roles: str) -> list[dict[str, str]]:
    return [{"from": role, "value": f"{n}?"} for n, role in enumerate(roles, 1)]


def test_alpaca_keeps_instruction_and_input_apart() -> None:
    row = {"instruction": "Add.", "input": "1, 2", "output": "3"}
    assert alpaca("f", row).messages == [
        {"role": "user", "content": "Add.\n\n1, 2", "instruction": "Add.", "input": "1, 2"},
        {"role": "assistant", "content": "3"},
    ]
    assert alpaca("f", {**row, "input": " "}).messages[0] == {"role": "user", "content": "Add."}
    del row["input"]
    assert alpaca("f", row).messages[0] == {"role": "user", "content": "Add."}


@pytest.mark.parametrize("user", ["human", "user", "Human", "prompter"])
@pytest.mark.parametrize("assistant", ["gpt", "assistant", "ChatGPT", "model", "bing"])
def test_roles_are_spelt_in_many_ways(user: str, assistant: str) -> None:
    row = {"conversations": turns("System", user, assistant, "function-response", assistant, user)}
    found = sharegpt("f", row)
    assert [m["role"] for m in found.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert found.trained == [2, 4]
    spelt = {"messages": [{"role": user, "content": "a"}, {"role": assistant, "content": "b"}], "system": "s"}
    assert [m["content"] for m in sharegpt("f", spelt).messages] == ["s", "a", "b"]


def test_of_columns_that_were_merged_the_one_that_holds_something_is_read() -> None:
    """Parquet files of several sources: each row has the columns of all."""
    row = {
        "conversations": None,
        "messages": [
            {"from": None, "value": None, "role": "user", "content": "a", "weight": None, "tool_calls": None},
            {"from": "gpt", "value": "b", "role": None, "content": None, "weight": None, "tool_calls": []},
        ],
        "system": None,
        "tools": None,
    }
    assert sharegpt("f", row).messages == [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    with pytest.raises(UserError, match="f: 'conversations' is empty"):
        sharegpt("f", {**row, "messages": None})


def test_an_empty_system_message_is_none() -> None:
    for empty in ("", " \n"):
        turned = [{"from": "system", "value": empty}, *turns("human", "gpt")]
        found = sharegpt("f", {"conversations": turned, "system": empty})
        assert [(m["role"], m["content"]) for m in found.messages] == [("user", "1?"), ("assistant", "2?")]
        assert found.trained == [1]
        assert len(alpaca("f", {"instruction": "a", "output": "b", "system": empty}).messages) == 2


def test_history_may_be_json_text_as_in_csv(tmp_path: Path) -> None:
    history = '[["A", "B"], ["C", "D"]]'
    found = alpaca("f", {"instruction": "a", "output": "b", "history": history})
    assert [m["content"] for m in found.messages] == ["A", "B", "C", "D", "a", "b"]
    assert len(alpaca("f", {"instruction": "a", "output": "b", "history": ""}).messages) == 2
    for bad in ("[[1, 2]]", '"A"', "{}", "[[["):
        with pytest.raises(UserError, match=r"f: 'history' (holds|is no JSON)"):
            alpaca("f", {"instruction": "a", "output": "b", "history": bad})


def test_answers_of_no_weight_are_no_targets_and_what_follows_the_last_one_goes() -> None:
    row = {"conversations": turns("user", "gpt", "user", "gpt", "user", "gpt", "user")}
    row["conversations"][1]["weight"] = 0
    row["conversations"][5]["weight"] = 0
    found = sharegpt("f", row)
    assert len(found.messages) == 4
    assert found.trained == [3]
    assert all("weight" not in message for message in found.messages)
    row["tools"] = '[{"name": "f"}]'
    assert sharegpt("f", row).tools == [{"name": "f"}]


BAD = [
    ("alpaca", {"instruction": "a", "outptu": "b"}, "has no column 'output'. Did you mean 'outptu'?"),
    ("alpaca", {"instruction": " ", "output": "b"}, "'instruction' is empty"),
    ("alpaca", {"instruction": "a", "output": ""}, "'output' is empty"),
    ("alpaca", {"instruction": "a", "output": 3}, "'output' holds 3, and text is wanted"),
    ("alpaca", {"instruction": "a", "output": "b", "history": [["c"]]}, "'history' holds ['c'], and pairs of"),
    ("sharegpt", {"converstions": []}, "has no column 'conversations'. Did you mean 'converstions'?"),
    ("sharegpt", {"conversations": []}, "is a conversation without messages"),
    ("sharegpt", {"conversations": {}}, "'conversations' holds a dict, and a list of messages is wanted"),
    ("sharegpt", {"conversations": "[1,"}, "'conversations' is no JSON ("),
    ("sharegpt", {"conversations": ["hi"]}, ", message 1 is a str, and {from, value} or {role, content} is wanted"),
    (
        "sharegpt",
        {"conversations": [{"form": "gpt"}]},
        ", message 1 says neither 'from' nor 'role'. Did you mean 'form'?",
    ),
    (
        "sharegpt",
        {"conversations": [{"from": "gpt", "valeu": ""}]},
        ", message 1 has no 'value'. Did you mean 'valeu'?",
    ),
    ("sharegpt", {"conversations": turns("humen", "gpt")}, ", message 1: 'humen' is no role. Did you mean 'human'?"),
    (
        "sharegpt",
        {"conversations": turns("human", "human", "gpt")},
        "the roles are out of order: message 2 is user after user, where assistant is due",
    ),
    (
        "sharegpt",
        {"conversations": turns("gpt", "human", "gpt")},
        "the roles are out of order: message 1 is assistant at the beginning, where system or user is due",
    ),
    ("sharegpt", {"conversations": turns("human", "gpt", "system", "gpt")}, "message 3 is system after assistant"),
    ("sharegpt", {"conversations": turns("system", "human")}, "has no message of the assistant to train on"),
    (
        "sharegpt",
        {"conversations": [*turns("human"), {"from": "gpt", "value": " \n"}]},
        "message 2 (assistant) has no text",
    ),
]


@pytest.mark.parametrize(("form", "row", "message"), BAD)
def test_a_bad_row_is_named(form: str, row: dict[str, Any], message: str, load: Callable[..., Any], capsys) -> None:
    good = {"alpaca": {"instruction": "a", "output": "b"}, "sharegpt": {"conversations": turns("human", "gpt")}}[form]
    with pytest.raises(UserError) as error:
        load([good, row, row], format=form)
    assert "rows.json, record 2" in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("2 of 3 rows cannot be used: mend them, or set dataset.on_bad_row to drop")
    assert len(load([good, row, row], format=form, on_bad_row="drop").train) == 1
    assert "note: 2 of 3 rows of " in capsys.readouterr().err


def test_rows_of_which_none_can_be_used(load: Callable[..., Any]) -> None:
    with pytest.raises(
        UserError, match=r"Did you mean 'outptu'\? None of the 2 rows can be used: is it of another dat"
    ):
        load([{"instruction": "a", "outptu": "b"}] * 2, format="alpaca")
    with pytest.raises(UserError, match=r"'output' is empty; it is the only row: mend it$"):
        load([{"instruction": "a", "output": ""}], format="alpaca")


def test_a_broken_line_is_named_whatever_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"instruction": "a", "output": "b"}\n{"instruction": "a", \n')
    dataset = Dataset(format="alpaca", train_path=str(path), on_bad_row="drop")
    with pytest.raises(UserError, match=r"rows.jsonl:2 is no JSON"):
        read_groups(open_source(dataset, "train_path"), dataset)


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "parquet", "folder"])
def test_every_kind_of_table_gives_the_same(kind: str, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"instruction": f"Add, {n}", "input": "", "output": f'"{n}"\n'} for n in range(3)]
    path = tmp_path / f"rows.{'jsonl' if kind == 'folder' else kind}"
    if kind == "json":
        path.write_text(json.dumps(rows))
    elif kind == "csv":
        quoted = [",".join('"' + row[key].replace('"', '""') + '"' for key in row) for row in rows]
        path.write_text("\n".join(["instruction,input,output", *quoted]))
    elif kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    dataset = Dataset(format="alpaca", train_path=str(tmp_path if kind == "folder" else path), max_documents=2)
    found = read_groups(open_source(dataset, "train_path"), dataset)
    assert [[m["content"] for m in group[0].messages] for group in found] == [
        ["Add, 0", '"0"\n'],
        ["Add, 1", '"1"\n'],
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_path": None}, "dataset.format is alpaca, and no data is named: give its file in dataset.train_path"),
        ({"train_path": "/nowhere.json"}, "dataset.train_path is '/nowhere.json', and there is no such file or folder"),
        ({"train_path": None, "name": "/nowhere.json"}, "dataset.name is '/nowhere.json', and there is no such file"),
        ({"train_path": __file__}, "and a table is wanted: .jsonl, .ndjson, .json, .csv, .tsv, .parquet"),
        ({"eval_path": "/nowhere.json"}, "dataset.eval_path is '/nowhere.json', and there is no such file or folder"),
        ({"template": {"prompt": "a"}}, "dataset.template is for dataset.format custom, and it is alpaca"),
        ({"lang": "en"}, "dataset.lang is for dataset.format oasst, and it is alpaca"),
        ({"val_fraction": 0.5}, "1 rows are too few to hold any out: set dataset.val_fraction to 0, or give"),
    ],
)
def test_data_that_is_not_there(settings: dict[str, Any], message: str, load: Callable[..., Any]) -> None:
    with pytest.raises(UserError) as error:
        load([{"instruction": "a", "output": "b"}], format="alpaca", **settings)
    assert message in str(error.value)


# --- custom ------------------------------------------------------------------------------------------------------

ROW = {"question": "Two?", "facts": ["one", "three"], "my answer": "It is.", "turns": turns("human", "gpt"), "who": ""}


def read(load: Callable[..., Any], template: dict[str, Any], **settings: Any) -> list[str]:
    data = load([ROW], format="custom", template=template, **settings)
    return [bytes(i if i < 256 else ord("$") for i in row.ids).decode() for row in data.train]


def test_prompt_and_completion_are_the_text_as_it_stands(load: Callable[..., Any]) -> None:
    template = {
        "prompt": "{% for fact in facts %}- {{ fact }}\n{% endfor %}Q: {{ question }}\nA:",
        "completion": " {{ row['my answer'] }}",
    }
    assert read(load, template) == ["- one\n- three\nQ: Two?\nA: It is.$"]
    chat = {
        "use_chat_template": True,
        "chat_template": "{% for m in messages %}<{{ m.content }}>{{ eos_token }}{% endfor %}",
    }
    assert read(load, template, preprocessing=chat) == ["<- one\n- three\nQ: Two?\nA:>$< It is.>$"]


def test_messages_are_a_conversation(load: Callable[..., Any]) -> None:
    template = {
        "messages": [
            {"role": "system", "content": "{{ who }}"},
            {"role": "user", "content": "{{ question }}"},
            {"role": "gpt", "content": "{{ row['my answer'] }}"},
        ]
    }
    assert read(load, template) == ["### User:\nTwo?\n\n### Assistant:\nIt is.$"]
    as_json = "[{% for t in turns %}{{ {'role': t.from, 'content': t.value} | tojson }}"
    as_json += "{{ ', ' if not loop.last }}{% endfor %}]"
    assert read(load, {"messages": as_json}) == ["### User:\n1?\n\n### Assistant:\n2?$"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "dataset.template says how a row is read when dataset.format is custom: give it `prompt` and `comp"),
        ({"prompt": "a"}, "dataset.template says how a row is read"),
        ({"prompt": "a", "completion": "b", "messages": "c"}, "has both messages and a prompt with its completion"),
        (
            {"prompt": "{{ queston }}", "completion": "b"},
            "record 1: dataset.template.prompt asks for what the row lacks: 'queston' is undefined. Did",
        ),
        ({"prompt": "{% if %}", "completion": "b"}, "dataset.template.prompt is no Jinja: line 1: "),
        ({"prompt": "{{ 1 // 0 }}", "completion": "b"}, "record 1: dataset.template.prompt fails: integer division"),
        ({"prompt": "{{ who }}", "completion": "b"}, "record 1: message 1 (user) has no text"),
        (
            {"messages": [{"role": "usr", "content": "b"}]},
            "dataset.template.messages, 1: 'usr' is no role. Did you mean 'user'?",
        ),
        ({"messages": [{"role": "user"}]}, "dataset.template.messages, 1 has role: give it role and content"),
        ({"messages": "{{ turns }}"}, "record 1: dataset.template.messages gives no JSON ("),
        (
            {"messages": "[1]"},
            "record 1: dataset.template.messages gives no list of messages, each with role and content",
        ),
    ],
)
def test_a_template_that_is_wrong(template: Any, message: str, load: Callable[..., Any]) -> None:
    with pytest.raises(UserError) as error:
        read(load, template)
    assert message in str(error.value)
