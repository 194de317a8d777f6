"""The columns of text and label: as named, as usual, two texts, a heading and what it stands above."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from groundup.data.classification.columns import Columns, find_columns
from groundup.data.classification.kind import is_labelled
from groundup.data.classification.local import read_local
from groundup.errors import UserError

Dataset = Callable[..., Any]


def found(columns: str, **named: str) -> Columns:
    return find_columns(dict.fromkeys(columns.split(","), "x"), "the file", None, type("Section", (), named))


@pytest.mark.parametrize(
    ("columns", "first", "second"),
    [
        ("idx,sentence1,sentence2,label", "sentence1", "sentence2"),
        ("premise,hypothesis,label", "premise", "hypothesis"),
        ("question1,question2,label", "question1", "question2"),
        ("question,sentence,label", "question", "sentence"),  # QNLI
        ("question,passage,label", "question", "passage"),  # BoolQ
        ("text1,text2,label,label_text", "text1", "text2"),
        ("Sentence_A,Sentence_B,Label", "Sentence_A", "Sentence_B"),  # SICK
    ],
)
def test_two_texts_are_a_pair(columns: str, first: str, second: str):
    columns_found = found(columns)
    assert (columns_found.text, columns_found.pair) == ((first,), second)


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ("label,title,content", ("title", "content")),  # Amazon
        ("label,title,description", ("title", "description")),  # AG News
        ("title,text,subject,date,label", ("title", "text")),  # fake and real news, where the subject tells which it is
        ("text,subject,label", ("text",)),
        ("subject,body,label", ("subject", "body")),  # letters
        ("subject,message,label", ("subject", "message")),
        ("question,text,label", ("text",)),
    ],
)
def test_a_heading_is_read_with_what_it_stands_above(columns: str, text: tuple[str, ...]):
    columns_found = found(columns)
    assert (columns_found.text, columns_found.pair) == (text, None)


def test_a_second_text_by_name():
    assert found("sentence1,note,label", text_pair_column="note").text == ("sentence1",)
    assert found("question,text,note,label", text_pair_column="note").text == ("text",)
    assert found("context,question,label", text_pair_column="question").text == ("context",)


@pytest.mark.parametrize("column", ["label", "class", "sentiment", "category", "target", "stars", "Rating"])
def test_a_usual_column_of_labels_makes_classes(tmp_path: Any, dataset: Dataset, column: str):
    path = tmp_path / "a.csv"
    path.write_text(f"text,{column}\na,x\nb,y\n")
    assert is_labelled(dataset(path))


def test_a_topic_makes_classes_where_it_is_named(tmp_path: Any, dataset: Dataset):
    """Many a corpus has one beside its text."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "topic": "art", "url": "u"}\n{"text": "b", "topic": "law", "url": "v"}\n')
    assert not is_labelled(dataset(path))
    assert is_labelled(dataset(path, label_column="topic"))
    assert read_local(dataset(path, label_column="topic")).splits["train"][0].label == "art"
    with pytest.raises(UserError, match=r"no column of labels .* among text, topic, url: name it in dataset.label_col"):
        read_local(dataset(path))


def test_what_is_read_is_said():
    row = {"id": 3, "question": "q", "passage": "p", "url": "u", "by": "b", "label": "1"}
    columns = find_columns(row, "the file", None, None)
    assert columns.said(row) == (
        "the text is the column 'question', the second text 'passage', the label 'label' (not read: 'url', 'by')"
    )
    assert found("title,content,label").said({}) == "the text is the columns 'title' and 'content', the label 'label'"
