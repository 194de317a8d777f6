from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from groundup.configs.schema_data import Dataset
from groundup.data.instruct.oasst import oasst, trees
from groundup.data.instruct.source import open_source, read_groups
from groundup.errors import UserError


def message(text: str, *replies: dict[str, Any], rank: int | None = None, **more: Any) -> dict[str, Any]:
    """Capital letters are the assistant's."""
    role = "assistant" if text.isupper() else "prompter"
    return {"message_id": text, "text": text, "role": role, "rank": rank, "replies": list(replies), **more}


def threads(root: dict[str, Any]) -> list[tuple[str, list[int]]]:
    return [("".join(m["content"] for m in one.messages), one.trained) for one in oasst("f:1", root)]


def flat(root: dict[str, Any], parent: str | None = None) -> Iterator[dict[str, Any]]:
    """The messages below one before it."""
    for reply in root.get("replies") or []:
        yield from flat(reply, root["message_id"])
    yield {**{k: v for k, v in root.items() if k != "replies"}, "parent_id": parent}


TREE = message(
    "a",
    message("B", message("c", message("D")), rank=1),
    message(
        "E",
        message("f", message("G", rank=2), message("H", message("i"), rank=0)),
        message("j", message("K"), message("L")),
        message("m"),
        rank=0,
    ),
    message("N", rank=2),
)


def test_of_several_answers_the_best_is_taken_and_each_is_trained_once() -> None:
    assert threads(TREE) == [("aEfH", [1, 3]), ("aEjK", [3])]


def test_what_was_deleted_or_failed_review_is_left_out_with_what_follows() -> None:
    root = message("a", message("B", message("c", message("D")), rank=0, deleted=True), message("E", rank=1))
    assert threads(root) == [("aE", [1])]
    root["replies"][0] |= {"deleted": False, "review_result": False}
    assert threads(root) == [("aE", [1])]
    root["replies"][0]["review_result"] = None
    assert threads(root) == [("aBcD", [1, 3])]
    for without in (message("a"), message("a", message("B"), deleted=True)):
        with pytest.raises(UserError, match="f:1 is a tree without any answer of the assistant"):
            oasst("f:1", without)


def test_trees_by_state_and_language(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        ("f:1", {"tree_state": "ready_for_export", "prompt": {**TREE, "lang": "en"}}),
        ("f:2", {"tree_state": "aborted_low_grade", "prompt": TREE}),
        ("f:3", {"tree_state": "ready_for_export", "prompt": {**TREE, "lang": "de"}}),
    ]
    assert [where for where, _ in trees(rows)] == ["f:1", "f:3"]
    assert [where for where, _ in trees(rows, "de")] == ["f:3"]
    assert capsys.readouterr().err.count("note: 1 trees are unfinished and were left out") == 2


def test_flat_messages_are_put_together_in_any_order(shared: Path, tmp_path: Path) -> None:
    """The shared trees taken apart, mixed, answers first, and read again; each best answer is a target once."""
    path = shared / "instruct/oasst_en_100_tree.jsonl"
    whole = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    apart = [[json.dumps(m) for m in flat(tree["prompt"])] for tree in whole]
    draw = random.Random(0)
    lines: list[str] = []
    while any(apart):  # where nobody ranked them, the first of several answers is taken: their order stays
        lines.append(draw.choice([one for one in apart if one]).pop(0))
    (tmp_path / "flat.jsonl").write_text("\n".join(lines), encoding="utf-8")

    def read(file: Path) -> list[Any]:
        dataset = Dataset(format="oasst", train_path=str(file))
        return [one for group in read_groups(open_source(dataset, "train_path"), dataset) for one in group]

    def answers(found: list[Any]) -> Counter:
        return Counter(one.messages[i]["content"] for one in found for i in one.trained)

    trees_read, flat_read = read(path), read(tmp_path / "flat.jsonl")
    assert len(trees_read) == len(flat_read) == 105
    assert answers(trees_read).keys() == answers(flat_read).keys()

    def best(m: dict[str, Any]) -> Iterator[str]:
        replies = m["replies"]
        said = [r for r in replies if r["role"] == "assistant"]
        for reply in [min(said, key=lambda r: r.get("rank") or 0)] if said else replies:
            if reply["role"] == "assistant":
                yield reply["text"]
            yield from best(reply)

    assert answers(trees_read) == Counter(text for tree in whole for text in best(tree["prompt"]))


def test_messages_with_the_replies_to_them(shared: Path) -> None:
    """The same trees in both forms of the files: each root a row of its own."""

    def read(name: str) -> list[list[tuple[list[str], list[int]]]]:
        dataset = Dataset(format="oasst", train_path=str(shared / "instruct" / name))
        groups = read_groups(open_source(dataset, "train_path"), dataset)
        return [[([m["content"] for m in one.messages], one.trained) for one in group] for group in groups]

    assert read("oasst_en_100_message.jsonl") == read("oasst_en_100_tree.jsonl")


def test_nested_and_flat_messages_side_by_side() -> None:
    apart = [message("a"), message("B", parent_id="a"), message("c", message("D"), parent_id="B")]
    assert [root["text"] for _, root in trees([("f:1", row) for row in apart])] == ["a"]
    assert threads(next(trees([("f:1", row) for row in apart]))[1]) == [("aBcD", [1, 3])]
    # Each with what is below it: a message that stands in its tree already is not read twice.
    whole = message("a", message("B", message("c", message("D"))))
    rows = [*flat(whole), whole]
    rows = [row for row in rows if row["message_id"] != "a" or "replies" in row]
    assert [threads(root) for _, root in trees([("f:1", row) for row in rows])] == [[("aBcD", [1, 3])]]
    # A tree whose first message answers one of another file is a tree all the same.
    assert len(list(trees([("f:1", {**whole, "parent_id": "z"}), ("f:2", message("b", parent_id="z"))]))) == 1


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"message_id": ["a"]}, "f:1: 'message_id' holds ['a'], and the id of a message is wanted"),
        ({"message_id": None}, "f:1: 'message_id' holds None, and the id of a message is wanted"),
        ({"parent_id": {}}, "f:1: 'parent_id' holds {}, and the id of a message is wanted"),
        ({"replies": "none"}, "f:1: 'replies' holds 'none', and a list of messages is wanted"),
        ({"replies": ["none"]}, "f:1: 'replies' holds \"['none']\", and a list of messages is wanted"),
        ({"replies": [message("B", rank=1), message("C") | {"rank": "2"}]}, "f:1: a 'rank' is no number: [1, '2']"),
        ({"replies": [message("B", *[message("c")] * 2) | {"replies": 1}]}, "f:1: 'replies' holds '1', and a list"),
    ],
)
def test_messages_that_are_none(row: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        [oasst(where, root) for where, root in trees([("f:1", message("a") | row)])]
    assert str(error.value).startswith(said)
    if "message_id" not in row and "parent_id" not in row:
        with pytest.raises(UserError) as error:
            [oasst(where, root) for where, root in trees([("f:1", {"prompt": message("a") | row})])]
        assert str(error.value).startswith(said)


def test_a_tree_that_is_too_deep() -> None:
    rows = [("f:1", message("a"))]
    for n in range(3000):
        rows.append(("f:2", message(f"{'b' if n % 2 else 'B'}{n}", parent_id=rows[-1][1]["message_id"])))
    with pytest.raises(UserError, match="f:1 is a tree of too many replies below each other"):
        [oasst(where, root) for where, root in trees(rows)]


def test_messages_without_their_tree(load: Callable[..., Any], capsys) -> None:
    with pytest.raises(UserError, match=r"record 1 is a tree without any answer of the assistant; it is the only row"):
        load([message("a")], format="oasst")
    with pytest.raises(UserError, match="has no conversation to train on"):
        load([message("a")], format="oasst", on_bad_row="drop")
    rows = [*flat(message("a", message("B")))][::-1]
    with pytest.raises(UserError, match=r"record 3: the message B stands at .*record 2 too"):
        load([*rows, rows[1]], format="oasst")
    assert len(load([*rows, {**rows[1], "message_id": "x", "parent_id": "y"}], format="oasst").train) == 1
    assert "note: 1 messages answer one that is not in the file" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"record 1 is neither a tree \(a 'prompt' with 'replies'\) nor a message"):
        load([{"text": "a"}], format="oasst")
    with pytest.raises(UserError, match=r"record 1: 'prompterr' is no role\. Did you mean 'prompter'"):
        load([{**rows[0], "role": "prompterr"}, rows[1]], format="oasst")
