"""evaluate.py --report: runs side by side, from their files."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from groundup.errors import UserError
from groundup.evaluation.command import main
from groundup.evaluation.comparison import as_csv, plot_scores, read_runs, table, write_report

Runs = Path


def results(model: str, accuracy: float | None = None, **more: Any) -> dict[str, Any]:
    """What a run leaves."""
    heldout = {"loss": 0.5, "rows": 872} if accuracy is None else {"loss": 1 - accuracy, "accuracy": accuracy}
    heldout |= {} if accuracy is None else {"macro_f1": accuracy - 0.01, "rows": 872}
    return {
        "finished": True,
        "model": model,
        "method": "full",
        "dataset": "sst2",
        "parameters": 4_386_178,
        "trained_parameters": 4_386_178,
        "steps": 10,
        "training_seconds": 65.0,
        "seconds_per_epoch": 32.5,
        "samples_per_second": 100.5,
        "peak_memory_gib": 0.5,
        "device": "cpu",
        "heldout": heldout,
        **more,
    }


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    words = {"bag-of-words-tfidf": {"accuracy": 0.7, "test_accuracy": 0.65}}
    for number, one in enumerate(
        [
            results("BERT-tiny", 0.8, baseline=words),
            results("BERT-mini", 0.85, baseline=words, parameters=11_171_074, peak_gpu_memory_gib=1.25),
            results("GPT2-small", 0.6, test={"loss": 0.4, "accuracy": 0.9, "macro_f1": 0.89, "rows": 1821}),
            {"finished": False, "model": "RoBERTa-base", "dataset": "sst2", "error": "memory ran out | <b>"},
            results("mine", dataset="my_text.txt")
            | {"heldout": {"loss": 3.0, "perplexity": 20.1, "bits_per_byte": 1.5}},
        ]
    ):
        folder = tmp_path / one["model"] / f"2026-01-0{number + 1}"
        folder.mkdir(parents=True)
        (folder / "training_results.json").write_text(json.dumps(one))
    (tmp_path / "BERT-tiny" / "2026-01-01" / "report.html").write_text("its own")
    return tmp_path


def test_the_best_first_what_failed_last(runs: Runs):
    found = read_runs(runs)
    assert [run.model for run in found] == ["mine", "GPT2-small", "BERT-mini", "BERT-tiny", "RoBERTa-base"]
    gpt2 = found[1]
    assert (gpt2.measured_on, gpt2.accuracy, gpt2.rows) == ("test", 0.9, 1821)  # the test split beats what is held out
    assert (found[2].measured_on, found[2].bag_of_words_accuracy, found[2].memory_gib) == ("held out", 0.7, 1.25)
    assert found[0].perplexity == 20.1


def test_a_table_for_a_terminal(runs: Runs):
    text = table(read_runs(runs))
    lines = text.splitlines()
    assert "accuracy" in lines[0]
    assert "method" not in lines[0]  # the same for all
    assert re.search(r"BERT-mini +sst2 +0\.8500 +0\.8400 +0\.1500 .* 11,171,074 +.*1:05 +100\.5 +1\.25$", text, re.M)
    assert re.search(r"RoBERTa-base +sst2 +failed", text)
    assert lines[-1] == "RoBERTa-base: memory ran out | <b>"
    assert max(map(len, lines)) <= 120


def test_the_csv_has_every_number(runs: Runs):
    rows = list(csv.DictReader(as_csv(read_runs(runs)).splitlines()))
    mini = next(row for row in rows if row["model"] == "BERT-mini")
    assert (mini["parameters"], mini["accuracy"], mini["seconds_per_epoch"]) == ("11171074", "0.85", "32.5")
    assert next(row for row in rows if row["error"])["accuracy"] == ""


def test_the_page_stands_alone(runs: Runs):
    found, (csv_path, page) = write_report(runs)
    assert len(found) == 5
    text = page.read_text()
    assert csv_path.is_file()
    assert "The most accurate is GPT2-small with 0.9000 on 1,821 test rows" in text
    assert 'href="BERT-tiny/2026-01-01/report.html"' in text
    assert "memory ran out | &lt;b&gt;" in text
    assert text.count("data:image/png;base64,") == 4  # two data sets, against parameters and against time
    assert not re.search(r"<script|https?://|<link|@import", text)


def test_a_plot_shows_its_points(runs: Runs):
    some = [run for run in read_runs(runs) if run.accuracy is not None]
    a = plot_scores(some, "accuracy", "accuracy", "parameters", "parameters")
    b = plot_scores(some[:-1], "accuracy", "accuracy", "parameters", "parameters")
    assert a != b
    assert a.startswith(b"\x89PNG")


def test_what_cannot_be_read_is_named(runs: Runs, capsys: pytest.CaptureFixture[str]):
    (runs / "broken").mkdir()
    (runs / "broken" / "training_results.json").write_text("{")
    assert len(read_runs(runs)) == 5
    assert "broken/training_results.json is left out" in capsys.readouterr().err


def test_no_runs(tmp_path: Path):
    with pytest.raises(UserError, match="no run in it"):
        read_runs(tmp_path)
    with pytest.raises(UserError, match="there is no such folder"):
        read_runs(tmp_path / "nowhere")


def test_the_command(runs: Runs, capsys: pytest.CaptureFixture[str]):
    assert main(["--report", str(runs), "--output", str(runs / "page")]) == 0
    assert "GPT2-small" in capsys.readouterr().out
    text = (runs / "page" / "comparison.html").read_text()
    assert 'href="../BERT-tiny/2026-01-01/report.html"' in text
    assert main(["--report", str(runs), "--model", "x"]) == 1
    assert "give one of them" in capsys.readouterr().err
