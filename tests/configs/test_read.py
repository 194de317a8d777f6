"""YAML files: what is in them, on which line, and every way they can be wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from groundup.configs.read import parse_yaml, read_yaml
from groundup.errors import UserError


def fails(text: str) -> str:
    with pytest.raises(UserError) as error:
        parse_yaml(text, "run.yaml")
    return str(error.value)


def test_values_and_the_lines_of_their_keys():
    value, lines = parse_yaml("# a comment\na:\n  b: 1\n  c: [x, {d: 2}]\n", "run.yaml")
    assert value == {"a": {"b": 1, "c": ["x", {"d": 2}]}}
    assert lines == {("a",): 2, ("a", "b"): 3, ("a", "c"): 4, ("a", "c", "1", "d"): 4}


def test_anchors_and_merge_keys():
    value, _ = parse_yaml("base: &base {x: 1, y: 2}\nmore: {<<: *base, y: 3}\nsame: *base\n", "run.yaml")
    assert value["more"] == {"x": 1, "y": 3}
    assert value["same"] == {"x": 1, "y": 2}


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(path)[0] == {"a": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", ["run.yaml, line 3", "key a", "twice", "line 1"]),
        ("m:\n  n:\n    x: 1\n    x: 1\n", ["line 4", "m.n.x", "line 3"]),
        ("l:\n- {x: 1, x: 2}\n", ["line 2", "l.0.x"]),
        ("on: 1\n", ["line 1", "key on", "quotes"]),
        ("a: {1: x}\n", ["line 1", "key 1", "quotes"]),
        ("? [a]\n: 1\n", ["line 1", "must be a word"]),
        ("a:\n\tb: 1\n", ["line 2", "spaces, never tabs"]),
        ("a: [1, 2\n", ["line 2", "not valid YAML"]),
        ("a: 'x\n", ["not valid YAML", "line"]),
        ("a: *b\n", ["line 1", "undefined alias"]),
        ("a: &x\n  b: *x\n", ["line 1", "alias refers to a value that holds it"]),
        ("a: !!python/object:os.system {}\n", ["line 1", "not valid YAML"]),
        ("a: 1\nb: \x07\n", ["line 2", "#x7"]),
        ("a: 1\n---\nb: 1\n", ["line 2", "not valid YAML"]),
        ("a: 2024-13-45\n", ["run.yaml", "month"]),
    ],
)
def test_what_is_not_plain_yaml_names_the_line(text: str, words: list[str]):
    message = fails(text)
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_a_missing_file_names_its_neighbours(tmp_path: Path):
    (tmp_path / "quickstart.yaml").write_text("a: 1")
    with pytest.raises(UserError, match=r"no configuration file .*quikstart\.yaml.* Did you mean '.*quickstart\.yaml'"):
        read_yaml(tmp_path / "quikstart.yaml")


def test_a_folder_is_no_file(tmp_path: Path):
    with pytest.raises(UserError, match="is a folder"):
        read_yaml(tmp_path)


def test_invalid_utf8_names_line_and_byte(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(UserError, match=r"run\.yaml, line 2: not UTF-8 text \(byte 11\)"):
        read_yaml(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_an_unreadable_file(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_text("a: 1")
    path.chmod(0)
    with pytest.raises(UserError, match=r"Cannot read .* Permission denied"):
        read_yaml(path)


def test_any_other_failure_to_read_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", broken)
    with pytest.raises(UserError, match=r"Cannot read .*run\.yaml: Permission denied"):
        read_yaml(tmp_path / "run.yaml")
