"""evaluate.py --report: runs side by side, from their files."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from groundup.errors import UserError
from groundup.evaluation.columns import told_apart
from groundup.evaluation.command import main
from groundup.evaluation.compared import Compared, grouped, read_runs
from groundup.evaluation.comparison import as_csv, as_html, table, write_report
from groundup.evaluation.scatter import DOT, Dot, place_numbers, plot_scores

Runs = Path


def results(model: str, accuracy: float | None = None, **more: Any) -> dict[str, Any]:
    """What a run leaves."""
    heldout = {"loss": 0.5, "rows": 872} if accuracy is None else {"loss": 1 - accuracy, "accuracy": accuracy}
    heldout |= {} if accuracy is None else {"macro_f1": accuracy - 0.01, "rows": 872}
    return {
        "finished": True,
        "model": model,
        "method": "full",
        "task": "classification",
        "dataset": "sst2",
        "parameters": 4_386_178,
        "trained_parameters": 4_386_178,
        "steps": 10,
        "epochs": 2.0,
        "seed": 1337,
        "mixed_precision": "no",
        "training_seconds": 65.0,
        "seconds_per_epoch": 32.5,
        "samples_per_second": 100.5,
        "peak_memory_gib": 0.5,
        "device": "cpu",
        "best": {"step": 10, "loss": 0.5},
        "heldout": heldout,
        **more,
    }


def text_results(model: str, task: str = "causal_lm", loss: float = 3.0, **more: Any) -> dict[str, Any]:
    """What a run on text leaves."""
    return results(model, task=task, dataset="my_text.txt", **{"heldout": {"loss": loss, "tokens": 900}, **more})


def keep(folder: Path, one: dict[str, Any], time: str = "2026-01-01", config: Any = None) -> Path:
    """A run's folder with its results, and its configuration if there is to be one."""
    root = folder / one["model"] / time
    root.mkdir(parents=True)
    (root / "training_results.json").write_text(json.dumps(one))
    if config is not None:
        (root / "config.yaml").write_text(yaml.safe_dump(config))
    return root


def killed(folder: Path, model: str, dataset: str, time: str = "2026-01-09") -> Path:
    """A run's folder as a kill leaves it."""
    root = folder / model / time
    (root / "train" / "metrics").mkdir(parents=True)
    (root / "train" / "metrics" / "train.jsonl").write_text('{"step": 1, "loss": 3.0}\n')
    (root / "config.yaml").write_text(yaml.safe_dump({"dataset": {"name": dataset}, "general": {"seed": 7}}))
    return root


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    words = {"bag-of-words-tfidf": {"accuracy": 0.7, "test_accuracy": 0.65}}
    for number, one in enumerate(
        [
            results("BERT-tiny", 0.8, baseline=words),
            results("BERT-mini", 0.85, baseline=words, parameters=11_171_074, peak_gpu_memory_gib=1.25),
            results("GPT2-small", 0.6, test={"loss": 0.4, "accuracy": 0.9, "macro_f1": 0.89, "rows": 1821, "of": 1821}),
            {"finished": False, "model": "RoBERTa-base", "dataset": "sst2", "error": "memory ran out | <b>"},
            text_results("mine", heldout={"loss": 3.0, "perplexity": 20.1, "bits_per_byte": 1.5}),
        ]
    ):
        keep(tmp_path, one, f"2026-01-0{number + 1}")
    (tmp_path / "BERT-tiny" / "2026-01-01" / "report.html").write_text("its own")
    return tmp_path


def page_of(folder: Path) -> str:
    return as_html(read_runs(folder), folder, folder)


def sections(page: str) -> list[str]:
    """The groups of a page."""
    return page.split("<h2>")[1:]


def best_of(section: str) -> list[str]:
    """The models of the rows that are marked as the best."""
    rows = re.findall(r'<tr class="best">.*?</tr>', section, re.S)
    return [re.sub("<.*?>", "", re.findall(r"<td.*?</td>", row, re.S)[1]).strip() for row in rows]


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
    assert re.search(r"^model +data +on +accuracy +macro F1 +loss +rows +parameters", text, re.M)
    assert "method" not in text  # the same for all
    found = r"BERT-mini +sst2 +held out +0\.8500 +0\.8400 +0\.1500 +872 +11,171,074 +4,386,178 +1:05 +100\.5 +1\.25$"
    assert re.search(found, text, re.M)
    assert re.search(r"RoBERTa-base \(failed\) +sst2$", text, re.M)
    assert lines[-1] == "RoBERTa-base: memory ran out | <b>"
    assert max(map(len, lines)) <= 120


# --- what compares -----------------------------------------------------------------------------------------------


def test_what_was_measured_on_other_data_is_not_ranked_together(runs: Runs):
    tested, held_out, failed = [part for part in sections(page_of(runs)) if part.startswith("sst2")]
    assert "classification, test rows" in tested
    assert "The most accurate is GPT2-small with 0.9000 on 1,821 test rows." in tested
    assert "The most accurate is BERT-mini with 0.8500 on 872 held-out rows; a bag of words reaches 0.7000." in held_out
    assert (best_of(tested), best_of(held_out), best_of(failed)) == ([], ["BERT-mini"], [])
    assert "BERT-tiny" not in tested
    assert "no numbers" in failed
    assert "None of these runs has numbers" in failed


def test_losses_of_different_tasks_are_not_ranked_together(tmp_path: Path):
    for one in (
        text_results("decoder", "causal_lm", 3.0),
        text_results("encoder", "masked_lm", 2.0),
        text_results("other-encoder", "masked_lm", 2.5),
        text_results("electra", "replaced_token", 38.0),
    ):
        keep(tmp_path, one)
    assert [[run.model for run in group] for group in grouped(read_runs(tmp_path))] == [
        ["decoder"],
        ["encoder", "other-encoder"],
        ["electra"],
    ]
    causal, masked, replaced = sections(page_of(tmp_path))
    assert "The lowest loss has decoder with 3.0000 on held-out text." in causal
    assert best_of(masked) == ["encoder"]
    assert "The lowest loss has electra" in replaced
    lines = table(read_runs(tmp_path)).splitlines()
    assert re.search(r"model +data +task +loss", lines[0])
    assert lines.count("") == 2  # between the groups
    assert re.search(r"electra +my_text.txt +replaced tokens +38\.0000", lines[-1])


def test_the_configurations_of_a_data_set_are_not_ranked_together(tmp_path: Path):
    for name, subset in (("a", "sst2"), ("b", "mrpc")):
        keep(tmp_path, results(name, 0.8, dataset="nyu-mll/glue"), config={"dataset": {"config": subset}})
    assert [run.subset for run in read_runs(tmp_path)] == ["mrpc", "sst2"]
    assert len(sections(page_of(tmp_path))) == 2
    assert re.search(r"^a +glue sst2 ", table(read_runs(tmp_path)), re.M)


def test_different_numbers_of_rows_have_no_best(tmp_path: Path):
    for name, rows in (("short", 800), ("long", 25_000)):
        keep(tmp_path, results(name, test={"loss": 0.4, "accuracy": 0.9, "rows": rows, "of": 25_000}))
    keep(tmp_path, results("held-out", 0.8, heldout_of=1000))
    held_out, section = sections(page_of(tmp_path))[::-1]
    assert "872 of 1,000" in held_out
    assert best_of(section) == []
    assert "different numbers of test rows, 800 to 25,000, so that none of them is the best" in section
    assert "800 of 25,000" in section
    text = table(read_runs(tmp_path))
    assert re.search(r"short +sst2 +test +0\.9000 .* 800 of 25,000 ", text)
    assert re.search(r"long +sst2 +test +0\.9000 .* 25,000 ", text)


def test_bits_a_byte_rank_text_where_they_are_known(tmp_path: Path):
    keep(tmp_path, text_results("few-tokens", heldout={"loss": 4.0, "bits_per_byte": 1.2}))
    keep(tmp_path, text_results("many-tokens", heldout={"loss": 3.0, "bits_per_byte": 1.4}))
    (section,) = sections(page_of(tmp_path))
    assert best_of(section) == ["few-tokens"]
    assert "The fewest bits a byte has few-tokens with 1.2000 on held-out text." in section


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (
            {"tokens": 20_000, "bytes": 80_000},
            {"tokens": 32_000, "bytes": 90_000},
            "amounts of held-out text, 78.1 KiB to",
        ),
        ({"tokens": 20_000}, {"tokens": 32_000}, "numbers of held-out tokens, 20,000 to 32,000"),
        ({"tokens": 20_000, "bytes": 80_000}, {"tokens": 32_000, "bytes": 80_500}, None),
        ({"tokens": 20_000}, {"tokens": 20_000}, None),
    ],
)
def test_different_amounts_of_text_have_no_best(
    tmp_path: Path, one: dict[str, int], other: dict[str, int], said: str | None
):
    bits = {"bits_per_byte": 1.2} if "bytes" in one else {}
    keep(tmp_path, text_results("a", heldout={"loss": 3.0, **bits, **one}))
    keep(tmp_path, text_results("b", heldout={"loss": 4.0, **bits, **other}))
    (section,) = sections(page_of(tmp_path))
    text = table(read_runs(tmp_path))
    assert ("78.1 KiB" if "bytes" in one else "20,000 tokens") in section
    if said is None:
        assert best_of(section)
        assert "null" not in section + text
        return
    assert best_of(section) == []
    assert f"different {said}" in section
    assert f"different {said}" in text
    assert ("evaluation.max_batches null takes all there is" in text) == ("bytes" in one)  # masked ones are drawn


def test_how_much_text_earlier_results_are_of(tmp_path: Path):
    """They say tokens, loss and bits a byte, from which it follows."""
    keep(tmp_path, text_results("a", heldout={"loss": 3.0, "bits_per_byte": 1.2, "tokens": 20_000}))
    keep(tmp_path, text_results("b", heldout={"loss": 4.0, "bits_per_byte": 1.6, "tokens": 20_000}))
    first, second = read_runs(tmp_path)
    assert first.bytes == second.bytes == round(20_000 * 3.0 / math.log(2) / 1.2)
    (section,) = sections(page_of(tmp_path))
    assert best_of(section) == ["a"]


def test_equals_are_best_together(tmp_path: Path):
    for name in ("a", "b"):
        keep(tmp_path, results(name, 0.8))
    (section,) = sections(page_of(tmp_path))
    assert best_of(section) == ["a", "b"]
    assert "The most accurate are a and b with 0.8000" in section


def test_a_loss_that_is_not_finite_is_not_the_best(tmp_path: Path):
    keep(tmp_path, text_results("a", loss=float("nan")))
    keep(tmp_path, text_results("b", loss=3.0))
    assert [run.model for run in read_runs(tmp_path)] == ["b", "a"]
    (section,) = sections(page_of(tmp_path))
    assert best_of(section) == ["b"]


# --- what is called alike ----------------------------------------------------------------------------------------


def test_the_shortest_end_that_is_no_other_s():
    names = ["/data/a/train.csv", "/data/b/train.csv", "stanfordnlp/imdb", "train.csv", ""]
    assert list(told_apart(names).values()) == ["a/train.csv", "b/train.csv", "imdb", "train.csv", ""]


def test_data_sets_of_one_name_are_told_apart(tmp_path: Path):
    for name, dataset in (("x", "/data/a/train.csv"), ("y", "/data/b/train.csv")):
        keep(tmp_path, results(name, 0.8, dataset=dataset))
    text = table(read_runs(tmp_path))
    assert re.search(r"x +a/train\.csv ", text)
    assert re.search(r"y +b/train\.csv ", text)


def test_repeated_runs_are_told_apart(tmp_path: Path):
    for seed, rate, accuracy in ((1, 2e-5, 0.8), (2, 5e-5, 0.9)):
        config = {
            "trainer": {"batch_size": 8, "gradient_accumulation_steps": 2, "optimizer": {"lr": rate}},
            "general": {"seed": seed},
        }
        keep(tmp_path, results("BERT-tiny", accuracy, seed=seed), f"2026-01-0{seed}_10-00-00", config)
    keep(tmp_path, results("BERT-mini", 0.7, seed=1))  # without a configuration
    text = table(read_runs(tmp_path))
    head = text.splitlines()[0]
    assert re.search(r"model +run +data +seed +learning rate +accuracy", head)
    assert re.search(r"BERT-tiny +2026-01-01_10-00-00 +sst2 +1 +2e-05 ", text)
    assert re.search(r"BERT-tiny +2026-01-02_10-00-00 +sst2 +2 +5e-05 ", text)
    assert re.search(r"BERT-mini +sst2 +1 +0\.7000 ", text)
    assert "batch" not in head  # the same for all
    (section,) = sections(page_of(tmp_path))
    assert "BERT-tiny (2026-01-02_10-00-00) with 0.9000" in section
    assert "5e-05" in section
    assert "The same for all: method full, batch 16, epochs 2, precision fp32, device cpu." in section


def test_runs_of_one_time_are_told_apart_by_their_folders(tmp_path: Path):
    for part in ("a", "b"):
        keep(tmp_path / part, results("BERT-tiny", 0.8))
    found = table(read_runs(tmp_path))
    assert "a/BERT-tiny/2026-01-01" in found
    assert "b/BERT-tiny/2026-01-01" in found


@pytest.mark.parametrize("text", ["{", "[1]", "trainer: 3", "trainer: {optimizer: 1}", "general: {seed: x}", "a: *b"])
def test_a_configuration_that_cannot_be_read_does_no_harm(tmp_path: Path, text: str):
    root = keep(tmp_path, results("BERT-tiny", 0.8))
    (root / "config.yaml").write_text(text)
    (run,) = read_runs(tmp_path)
    assert (run.learning_rate, run.seed) == (None, 1337)


def test_what_is_least_telling_leaves_the_terminal(tmp_path: Path):
    for seed in (1, 2):
        tasks = {f"task_number_{i}": {"acc": 0.25, "n": 100} for i in range(4)}
        one = results(
            "a-model-of-a-rather-long-name", 0.8, seed=seed, tasks=tasks, method="lora" if seed == 1 else "full"
        )
        keep(tmp_path, one, f"2026-01-0{seed}_10-00-00")
    lines = table(read_runs(tmp_path)).splitlines()
    assert max(map(len, lines)) <= 120
    assert all(word in lines[0] for word in ("run", "seed", "method", "rows", "accuracy", "loss"))
    assert not any(word in lines[0] for word in ("task_number", "GiB"))
    page = page_of(tmp_path)
    assert all(word in page for word in ("task_number_3 acc", "GiB"))


# --- tasks -------------------------------------------------------------------------------------------------------


def test_the_scores_of_tasks(tmp_path: Path):
    tasks = {"hellaswag": {"acc": 0.27, "acc_norm": 0.31, "acc_norm_stderr": 0.01, "n": 200}}
    keep(tmp_path, text_results("decoder", tasks=tasks))
    keep(tmp_path, text_results("other", loss=4.0))
    runs = read_runs(tmp_path)
    assert "hellaswag acc_norm" in table(runs)
    assert "0.3100" in table(runs)
    (section,) = sections(page_of(tmp_path))
    assert "hellaswag acc_norm" in section
    assert "0.3100" in section
    rows = list(csv.DictReader(as_csv(runs).splitlines()))
    assert [row["hellaswag/acc_norm"] for row in rows] == ["0.31", ""]
    assert rows[0]["hellaswag/acc_norm_stderr"] == "0.01"
    assert "tasks" not in rows[0]


# --- runs that did not come to their end -------------------------------------------------------------------------


def test_a_run_without_results_is_named(runs: Runs):
    root = killed(runs, "BERT-small", "my_text.txt")
    (run,) = [run for run in read_runs(runs) if run.model == "BERT-small"]
    assert (run.dataset, run.seed, run.finished, run.loss) == ("my_text.txt", 7, False, None)
    text = table(read_runs(runs))
    assert re.search(
        r"mine .*\nBERT-small \(no results\) +my_text\.txt +7$", text, re.M
    )  # after the others of its data
    assert re.search(
        rf"^BERT-small: no results: .*python train\.py --resume {re.escape(str(root))} goes on$", text, re.M
    )
    page = page_of(runs)
    assert f"python train.py --resume {root} goes on" in page
    assert "1 failed, 1 without results" in page


def test_a_folder_of_killed_runs_alone(tmp_path: Path):
    killed(tmp_path, "BERT-small", "my_text.txt")
    assert "--resume" in table(read_runs(tmp_path))
    assert "None of these runs has numbers" in page_of(tmp_path)


def test_what_has_no_numbers_is_at_home_in_one_group_or_alone():
    def run(model: str, task: str, **more: Any) -> Compared:
        return Compared(model, model, "text", task=task, **more)

    measured = [run("a", "causal_lm", measured_on="held out", loss=1.0), run("b", "masked_lm", measured_on="test")]
    known, unknown = run("c", "masked_lm", error="failed"), run("d", "", error="failed")
    found = grouped([unknown, known, *measured])
    assert [[one.model for one in group] for group in found] == [["a"], ["b", "c"], ["d"]]


def test_a_stopped_run_shows_its_last_evaluation(tmp_path: Path):
    stopped: dict[str, Any] = {"finished": False, "steps": 25, "best": {"step": 20, "loss": 0.2}}
    keep(tmp_path, results("BERT-tiny", 0.8, heldout_step=20, **stopped))
    within = {"loss": 0.3, "accuracy": 0.7, "rows": 872, "step": 20}
    keep(tmp_path, results("BERT-mini", **stopped) | {"heldout": within})
    blank = results("BERT-small", **stopped)
    del blank["heldout"]
    keep(tmp_path, blank)
    runs = read_runs(tmp_path)
    assert [(run.model, run.step, run.accuracy) for run in runs] == [
        ("BERT-tiny", 20, 0.8),
        ("BERT-mini", 20, 0.7),
        ("BERT-small", None, None),
    ]
    text = table(runs)
    assert re.search(r"BERT-tiny \(stopped\) +sst2 +0\.8000 .* 872 ", text)
    assert re.search(r"BERT-small \(stopped\) +sst2 ", text)
    assert "later one" not in text


def test_a_failed_run_may_have_numbers(tmp_path: Path):
    keep(tmp_path, results("BERT-tiny", 0.8, finished=False, error="a loss\nis not finite", heldout_step=10))
    keep(tmp_path, results("BERT-mini", 0.7))
    assert [run.model for run in read_runs(tmp_path)] == ["BERT-tiny", "BERT-mini"]
    text = table(read_runs(tmp_path))
    assert re.search(r"BERT-tiny \(failed\) +sst2 +0\.8000 .* 872 ", text)
    assert text.endswith("BERT-tiny: a loss is not finite")


# --- the best checkpoint -----------------------------------------------------------------------------------------


def test_numbers_are_of_the_best_checkpoint(tmp_path: Path):
    better = {"loss": 0.1, "accuracy": 0.95, "macro_f1": 0.94, "rows": 872}
    keep(tmp_path, results("BERT-tiny", 0.8, best={"step": 5, "loss": 0.1, "heldout": better}))
    keep(tmp_path, results("BERT-mini", 0.9))
    runs = read_runs(tmp_path)
    assert [(run.model, run.accuracy, run.step) for run in runs] == [("BERT-tiny", 0.95, 5), ("BERT-mini", 0.9, 10)]
    assert "Numbers are of each run's best checkpoint on held-out data" in page_of(tmp_path).replace("&#39;", "'")
    assert "was not measured" not in page_of(tmp_path)


def test_the_best_checkpoint_on_the_test_split(tmp_path: Path):
    test = {"loss": 0.2, "accuracy": 0.9, "rows": 1821}
    best = {"step": 5, "loss": 0.1, "heldout": {"accuracy": 0.95, "rows": 872}, "test": test | {"accuracy": 0.92}}
    keep(tmp_path, results("BERT-tiny", 0.8, test=test, best=best))
    keep(tmp_path, results("BERT-mini", 0.8, test=test | {"step": 5}, best={"step": 5, "loss": 0.1, "heldout": test}))
    tiny, mini = read_runs(tmp_path)
    assert (tiny.measured_on, tiny.accuracy, tiny.rows, tiny.step) == ("test", 0.92, 1821, 5)
    assert (mini.measured_on, mini.accuracy, mini.step) == ("test", 0.9, 5)
    assert "later one" not in table([tiny, mini])


def test_a_best_checkpoint_that_was_not_measured_is_named(tmp_path: Path):
    keep(tmp_path, results("BERT-tiny", 0.8, best={"step": 5, "loss": 0.1}))
    keep(tmp_path, results("BERT-mini", 0.7, best=None))
    said = "Of BERT-tiny the best checkpoint on held-out data was not measured at the end"
    assert said in table(read_runs(tmp_path))
    assert said in page_of(tmp_path)


# --- files -------------------------------------------------------------------------------------------------------


def test_the_csv_has_every_number(runs: Runs):
    rows = list(csv.DictReader(as_csv(read_runs(runs)).splitlines()))
    mini = next(row for row in rows if row["model"] == "BERT-mini")
    assert (mini["parameters"], mini["accuracy"], mini["seconds_per_epoch"]) == ("11171074", "0.85", "32.5")
    assert (mini["task"], mini["rows"], mini["of"], mini["seed"]) == ("classification", "872", "", "1337")
    assert next(row for row in rows if row["error"])["accuracy"] == ""


def test_a_spreadsheet_computes_no_name(tmp_path: Path):
    for number, name in enumerate(("=cmd()", "+1", "-1", "@sum", "plain=1")):
        keep(tmp_path / str(number), results(name, 0.8, seed=-1, tasks={"=task": {"acc": 0.5}}))
    rows = list(csv.DictReader(as_csv(read_runs(tmp_path)).splitlines()))
    assert sorted(row["model"] for row in rows) == ["'+1", "'-1", "'=cmd()", "'@sum", "plain=1"]
    assert rows[0]["seed"] == "-1"
    assert rows[0]["'=task/acc"] == "0.5"


def test_the_page_stands_alone(runs: Runs):
    found, (csv_path, page) = write_report(runs)
    assert len(found) == 5
    text = page.read_text()
    assert csv_path.is_file()
    assert "The most accurate is GPT2-small with 0.9000 on 1,821 test rows" in text
    assert 'href="BERT-tiny/2026-01-01/report.html"' in text
    assert "memory ran out | &lt;b&gt;" in text
    assert text.count("data:image/png;base64,") == 2  # the one group of several, against parameters and time
    assert not re.search(r"<script|https?://|<link|@import", text)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1, 2]",
        "{}",
        '{"model": 3}',
        '{"model": "x", "test": 3}',
        '{"model": "x", "heldout": {"accuracy": "high"}}',
        '{"model": "x", "tasks": {"hellaswag": 1}}',
        '{"model": "x", "best": [1]}',
        '{"model": "x", "baseline": 1}',
        '{"model": "x", "parameters": true}',
    ],
)
def test_what_cannot_be_read_is_named(runs: Runs, capsys: pytest.CaptureFixture[str], text: str):
    (runs / "broken").mkdir()
    (runs / "broken" / "training_results.json").write_text(text)
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


# --- plots -------------------------------------------------------------------------------------------------------


def test_a_plot_shows_its_dots():
    dots = [Dot(1, "BERT-tiny", 4e6, 0.8), Dot(2, "BERT-mini", 11e6, 0.85)]
    pictures = {
        plot_scores(some, "parameters", "accuracy", counts=True, line=line)
        for some in (dots, dots[:1], [Dot(1, "other", 4e6, 0.8), dots[1]])
        for line in (None, ("bag of words", 0.7))
    }
    assert len(pictures) == 6
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)


def test_numbers_of_a_crowd_cover_nothing():
    dots = [Dot(number, "model", 0.0, 0.0) for number in range(1, 15)]
    places = [(100.0 + 3 * (i % 4), 100.0 + 2 * (i // 4)) for i in range(14)]
    middles = [(x + dx, y + dy) for (x, y), (dx, dy) in zip(places, place_numbers(dots, places), strict=True)]
    for i, (x, y) in enumerate(middles):
        width = 2.75 * len(str(i + 1))
        assert all(abs(x - a) >= width + DOT - 1e-9 or abs(y - b) >= 4.5 + DOT - 1e-9 for a, b in places)
        others = [(a, b, 2.75 * len(str(j + 1))) for j, (a, b) in enumerate(middles) if j != i]
        assert all(abs(x - a) >= width + w - 1e-9 or abs(y - b) >= 9 - 1e-9 for a, b, w in others)


def test_runs_of_test_mode_are_compared_among_themselves(tmp_path: Path):
    """Beside real ones they are left out: a few steps say nothing of a model."""
    for place in ("real/1", "test-mode/quick/1"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "training_results.json").write_text('{"model": "a", "heldout": {"loss": 1.0}}')
    assert [run.run for run in read_runs(tmp_path)] == ["real/1"]
    assert [run.run for run in read_runs(tmp_path / "test-mode")] == ["quick/1"]
