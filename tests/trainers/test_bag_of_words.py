"""TF-IDF and logistic regression as a model of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from groundup.configs.schema import load_config
from groundup.evaluation.baseline import load_baseline
from groundup.trainers.command import main
from groundup.trainers.folder import find_run
from sklearn.metrics import accuracy_score, f1_score


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    words = {"odd": "one three five seven", "even": "two four six eight"}
    lines = [f"{words[kind].split()[i % 4]} and {i % 7},{kind}" for i in range(60) for kind in words]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["text,label", *lines]))
    return path


def test_a_run_of_words(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = ["model=bag-of-words-tfidf", f"dataset.name={rows}", "dataset.val_fraction=0.25", "general.seed=3"]
    assert main([*command, f"output.output_dir={tmp_path / 'out'}"]) == 0
    folder = find_run("latest", tmp_path / "out")
    results: dict[str, Any] = json.loads((folder / "training_results.json").read_text())
    assert (results["task"], results["labels"], results["finished"]) == ("classification", ["even", "odd"], True)
    baseline = load_baseline(folder / "bag-of-words-tfidf")
    held = results["heldout"]
    assert held["rows"] == 30
    assert held["accuracy"] == 1.0
    texts, truth = ["two and 3", "seven and 1", "eight and 5"], [0, 1, 0]
    assert accuracy_score(truth, baseline.predict(texts)) == f1_score(truth, baseline.predict(texts)) == 1.0
    assert results["parameters"] == baseline.classifier.coef_.size + 1
    assert (folder / "report.html").is_file()
    assert (
        "of the settings, the data set, class weights, the seed and the output folder concern it"
        in capsys.readouterr().err
    )
    assert "trainer" not in (folder / "config.yaml").read_text()  # nothing of it concerns the words
    again = load_config(folder / "config.yaml", [])
    assert again.model.base_model == "bag-of-words-tfidf"


def test_its_classes_are_weighed(rows: Path, tmp_path: Path):
    text = rows.read_text().splitlines()
    rows.write_text("\n".join([*text, *["once,odd"] * 5, *["once,even"] * 20]))
    command = ["model=bag-of-words-tfidf", f"dataset.name={rows}", "dataset.val_fraction=0.25"]
    found = []
    for name, words in (("alike", []), ("odd", ["trainer.class_weights={odd: 20}"])):
        assert main([*command, *words, f"output.output_dir={tmp_path / name}"]) == 0
        folder = find_run("latest", tmp_path / name)
        found.append(load_baseline(folder / "bag-of-words-tfidf").probabilities(["once"])[0].tolist())
    assert found[0][0] == pytest.approx(20 / 25, abs=0.05)
    assert found[1][0] == pytest.approx(20 / 120, abs=0.05)
    assert load_config(folder / "config.yaml", []).trainer.class_weights == {"odd": 20.0}
    assert "class weights" in (folder / "report.html").read_text()


def test_its_folder_is_a_model_to_measure_and_to_ask(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from groundup.evaluation.command import main as evaluate

    command = ["model=bag-of-words-tfidf", f"dataset.name={rows}", "dataset.val_fraction=0.25"]
    assert main([*command, f"output.output_dir={tmp_path / 'out'}"]) == 0
    folder = find_run("latest", tmp_path / "out")
    confusion = json.loads((folder / "test" / "metrics" / "classes.json").read_text())["confusion"]
    assert confusion == [[14, 0], [0, 14]]  # a quarter, twins together
    assert (folder / "test" / "analysis" / "confusion_matrix.png").is_file()
    page = (folder / "report.html").read_text()
    assert "tells the classes of" in page
    assert "What speaks for a class" in page
    assert "--resume" not in page

    some = tmp_path / "some.csv"
    some.write_text("text,label\ntwo and 3,even\nseven and 1,even\neight,even\none,odd")
    assert evaluate(["--model", str(folder), "--data", str(some), "--output", str(tmp_path / "o.json")]) == 0
    numbers = json.loads((tmp_path / "o.json").read_text())["tasks"]["classification"]
    assert (numbers["accuracy"], numbers["confusion"]) == (0.75, [[2, 1], [0, 1]])
    assert evaluate(["--model", str(folder), "--prompt", "seven and 2"]) == 0
    assert capsys.readouterr().out.splitlines()[-2].startswith("odd")
    for words, said in (
        (["--data", str(some), "--tasks", "perplexity"], "only classifies"),
        ([], "name labelled texts with --data"),
        (["--data", str(some), "--stride", "3"], "--stride does nothing for classification"),
    ):
        assert evaluate(["--model", str(folder), *words]) == 1
        assert said in capsys.readouterr().err


def test_text_without_classes_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "a.txt").write_text("no label here")
    assert main(["model=bag-of-words-tfidf", f"dataset.name={tmp_path / 'a.txt'}"]) == 1
    assert "bag-of-words-tfidf tells classes apart: name labelled texts" in capsys.readouterr().err


def test_validate_and_plan_say_so(rows: Path, capsys: pytest.CaptureFixture[str]):
    for flag in ("--validate", "--plan"):
        assert main(["model=bag-of-words-tfidf", f"dataset.name={rows}", flag]) == 0
        assert "valid; it is fitted in seconds" in capsys.readouterr().out
