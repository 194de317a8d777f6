"""What a run leaves at its end: of which weights and rows its numbers are; what is left where it could not go on."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from groundup.trainers.command import main
from groundup.trainers.folder import RunFolder, find_run
from groundup.trainers.metrics import JsonLines, read_jsonl
from groundup.trainers.objectives import ClassLoss

Tiny = Callable[..., Path]
Checkpoint = Callable[[str], Path]
FEW = "trainer.epochs=4 trainer.batch_size=4 trainer.log_interval=1 evaluation.strategy=epoch trainer.max_seq_length=16"
FEW += " output.plots=false device=cpu trainer.effective_batch_size=8 evaluation.max_batches=null"
FEW += " trainer.optimizer.lr=1e-2 trainer.label_smoothing=0"


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """Three splits, whose sizes tell them apart."""
    folder = tmp_path / "reviews"
    folder.mkdir()
    for split, n in (("train", 32), ("validation", 12), ("test", 9)):
        rows = [f"{'good ' * (i % 3 + 1) if i % 2 else 'bad '}{i},{'pos' if i % 2 else 'neg'}" for i in range(n)]
        (folder / f"{split}.csv").write_text("review,sentiment\n" + "\n".join(rows))
    return folder


def turn_round(reviews: Path) -> None:
    """Held-out rows get the other label: the more the model learns, the worse it does on them."""
    path = reviews / "validation.csv"
    path.write_text(path.read_text().replace(",pos", ",?").replace(",neg", ",pos").replace(",?", ",neg"))


@pytest.fixture
def classify(tmp_path: Path, reviews: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch):
    """classify("out", words...) trains a tiny BERT on the reviews and returns the run's folder."""
    monkeypatch.setenv("GROUNDUP_CACHE", str(tmp_path / "cache"))

    def run(out: str, *words: str) -> RunFolder:
        given = {word.partition("=")[0] for word in words}
        few = [word for word in FEW.split() if word.partition("=")[0] not in given]
        command = [f"model={checkpoint('bert')}", f"dataset={reviews}", f"output.output_dir={tmp_path / out}"]
        assert main([*command, *few, *words]) == 0
        return RunFolder(find_run("latest", tmp_path / out))

    return run


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def by_hand(folder: RunFolder, checkpoint: str, split: str) -> tuple[float, float]:
    """Loss and accuracy of a checkpoint on all rows of a split, each by itself."""
    from groundup.configs.schema import load_config
    from groundup.data.classification.load import load_classification
    from groundup.trainers.load import load_run

    model, tokenizer = load_run(folder.weights / checkpoint)
    run = load_config(folder.config, [])
    data = load_classification(run.dataset, tokenizer, max_length=16, seed=run.general.seed)
    rows = data.test if split == "test" else data.heldout
    assert rows is not None
    logits = torch.cat([model(torch.tensor(row.ids[None]).long()).detach() for row in rows])
    labels = torch.tensor([row.labels for row in rows])
    return F.cross_entropy(logits, labels).item(), (logits.argmax(-1) == labels).float().mean().item()


def test_the_best_checkpoint_is_the_one_that_is_tested(classify: Callable[..., RunFolder], reviews: Path):
    """The last step's weights are another model, worse on what is held out."""
    turn_round(reviews)
    folder = classify("out")
    results = read(folder.results)
    assert results["best"]["step"] < results["steps"]
    loss, accuracy = by_hand(folder, "best", "test")
    assert results["test"]["loss"] == pytest.approx(loss, abs=1e-5)
    assert results["test"]["accuracy"] == pytest.approx(accuracy)
    assert (results["test"]["rows"], results["test"]["of"]) == (9, 9)
    assert results["test"]["step"] == results["best"]["step"]
    assert abs(by_hand(folder, "last", "test")[0] - loss) > 1e-3
    assert results["best"]["heldout"]["loss"] == pytest.approx(by_hand(folder, "best", "heldout")[0], abs=1e-5)
    assert results["heldout"]["loss"] == pytest.approx(by_hand(folder, "last", "heldout")[0], abs=1e-5)
    assert results["heldout_step"] == results["steps"]
    kept = read(folder.test / "metrics" / "classes.json")
    assert kept["step"] == results["best"]["step"]
    assert np.array(kept["confusion"]).sum() == 9
    assert read(folder.test / "metrics" / "heldout.json")["loss"] == results["best"]["heldout"]["loss"]
    page = folder.report.read_text()
    assert f"best, step {results['best']['step']}" in page
    assert f"last, step {results['steps']}" in page


def test_who_is_taken_for_whom_is_told_of_held_out_rows(classify: Callable[..., RunFolder], reviews: Path):
    """Also where training rows are measured after them, for the gap, and no test split is left for the end."""
    (reviews / "test.csv").unlink()
    for out in ("better", "worse"):
        if out == "worse":
            turn_round(reviews)
        folder = classify(out, "evaluation.measure_gap=true")
        results, kept = read(folder.results), read(folder.test / "metrics" / "classes.json")
        confusion = np.array(kept["confusion"])
        used = results["best"].get("heldout") or results["heldout"]
        assert (confusion.sum(), kept["rows_are"]) == (12, "held out")
        assert confusion.sum(1).tolist() == [6, 6]
        assert np.trace(confusion) / 12 == pytest.approx(used["accuracy"])
        assert kept["step"] == results["best"]["step"]
        assert (kept["step"] == results["steps"]) == (out == "better")


def test_the_bag_of_words_is_measured_on_the_rows_of_the_model(classify: Callable[..., RunFolder]):
    folder = classify("out", "evaluation.max_batches=2")
    results = read(folder.results)
    words = results["baseline"]["bag-of-words-tfidf"]
    assert (results["heldout"]["rows"], words["rows"]) == (8, 8)
    assert (results["test"]["rows"], results["test"]["of"], words["test_rows"]) == (8, 9, 8)
    assert "Of 12 held-out rows 8 were measured" in folder.report.read_text()
    whole = read(classify("all").results)
    assert (whole["heldout"]["rows"], whole["baseline"]["bag-of-words-tfidf"]["rows"]) == (12, 12)


def test_a_test_split_is_measured_without_evaluations_too(classify: Callable[..., RunFolder]):
    results = read(classify("out", "evaluation.strategy=no").results)
    assert "heldout" not in results
    assert results["test"]["rows"] == 9


def test_the_end_fits_into_the_memory_there_is(
    classify: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """More than two rows at a time do not fit: neither the held-out rows nor the test split are lost for it."""
    enough = read(classify("enough").results)
    plain = ClassLoss.logits

    def logits(self: ClassLoss, batch: Any, hidden_states: Any) -> torch.Tensor:
        if len(batch.input_ids) > 2 and not torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return plain(self, batch, hidden_states)

    monkeypatch.setattr(ClassLoss, "logits", logits)
    results = read(classify("little").results)
    assert results["test"]["loss"] == pytest.approx(enough["test"]["loss"], abs=1e-5)
    said = capsys.readouterr().err
    assert said.count("it begins again with 2") == 1  # it remembers


def test_tasks_and_samples_that_do_not_fit_are_left_out(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from groundup.models.model import Model

    def out_of_memory(*_: Any, **__: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(Model, "generate", out_of_memory)
    path = tiny()
    assert main(["--config", str(path)]) == 0
    folder = RunFolder(find_run("latest", path.with_suffix("")))
    assert read(folder.results)["finished"]
    assert read_jsonl(folder.metrics / "samples.jsonl") == []
    assert "memory ran out while a sample was written at step 5" in capsys.readouterr().err


def test_a_run_that_fails_leaves_its_numbers(tiny: Tiny, capsys: pytest.CaptureFixture[str]):
    path = tiny(trainer={"optimizer": {"lr": 1e30, "grad_clip": 0.0}, "max_iters": 40, "max_nonfinite_steps": 2})
    assert main(["--config", str(path)]) == 1
    said = capsys.readouterr().err
    results = read(RunFolder(find_run("latest", path.with_suffix(""))).results)
    assert not results["finished"]
    assert results["error"] in said
    assert results["baseline"]["heldout"]["loss"] > 0
    page = RunFolder(find_run("latest", path.with_suffix(""))).report.read_text()
    assert "The run could not go on after step" in page


def test_a_full_disk_is_one_sentence(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    plain = JsonLines.write

    def write(self: JsonLines, row: dict[str, Any]) -> None:
        if row["step"] == 7 and "grad_norm" in row:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(self, row)

    monkeypatch.setattr(JsonLines, "write", write)
    path = tiny()
    assert main(["--config", str(path)]) == 1
    said = capsys.readouterr().err
    assert "no space left on device: free space, or set output.output_dir elsewhere; then go on with --resume" in said
    assert "Traceback" not in said
    monkeypatch.setattr(JsonLines, "write", plain)
    assert main(["--resume", str(find_run("latest", path.with_suffix("")))]) == 0


def test_numbers_that_are_none_are_null(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A held-out loss of NaN: valid JSON, a page, and a last line that says so."""
    import math

    from groundup.trainers import heldout

    monkeypatch.setattr("groundup.trainers.objectives.heldout_loss", nan := _nan(heldout.heldout_loss))
    path = tiny()
    assert main(["--config", str(path)]) == 0
    assert math.isnan(nan.last)
    folder = RunFolder(find_run("latest", path.with_suffix("")))
    for file in (folder.results, folder.baseline / "metrics" / "heldout.json"):
        text = file.read_text()
        assert "NaN" not in text
        json.loads(text)
    assert "loss not finite" in capsys.readouterr().err
    assert "no finite number" in folder.report.read_text()


class _nan:
    def __init__(self, plain: Callable[..., Any]) -> None:
        self.plain, self.last = plain, 0.0

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.last = float("nan")
        return self.plain(*args, **options) | {"loss": self.last, "perplexity": self.last}


def test_results_on_held_out_data_may_lie_elsewhere(classify: Callable[..., RunFolder], tmp_path: Path):
    """Each run's by themselves."""
    first = classify("out", f"general.paths.eval_dir={tmp_path / 'tests'}")
    second = classify("out", f"general.paths.eval_dir={tmp_path / 'tests'}", "general.seed=8")
    for folder in (first, second):
        own = tmp_path / "tests" / folder.root.parent.name / folder.root.name
        assert read(own / "metrics" / "test.json") == read(folder.results)["test"]
        assert not (folder.root / "test").exists()


def test_a_run_that_goes_further_forgets_what_was_said_of_its_end(tiny: Tiny, monkeypatch: pytest.MonkeyPatch):
    path = tiny()
    assert main(["--config", str(path)]) == 0
    folder = RunFolder(find_run("latest", path.with_suffix("")))
    mark = folder.test / "metrics" / "of_step_12"
    mark.touch()
    assert main(["--resume", str(folder.root)]) == 0  # nothing to do: what was said still holds
    assert mark.exists()
    assert main(["--resume", str(folder.root), "trainer.max_iters=14"]) == 0
    assert not mark.exists()
    assert (folder.test / "metrics" / "heldout.json").is_file()


NUMBERS = [(0.9, 0.5, 0.5), (0.6, 0.6, 0.6), (0.8, 0.7, 0.55), (0.5, 0.7, 0.5), (0.7, 0.8, 0.52)]
"""Held-out loss, accuracy and macro F1 after 0, 4, 8, 12 and 16 steps."""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float, float]]:
    """What the next evaluations find: the first four of NUMBERS, and whatever a test puts in after them."""
    plain, left = ClassLoss.evaluate, NUMBERS[:4]

    def evaluate(self: ClassLoss, batches: Any, stop: Any) -> Any:
        numbers = left.pop(0) if left else (9.0, 0.0, 0.0)  # after the last step the test split
        return (plain(self, batches, stop) or {}) | dict(zip(("loss", "accuracy", "macro_f1"), numbers, strict=True))

    monkeypatch.setattr(ClassLoss, "evaluate", evaluate)
    return left


@pytest.mark.parametrize(
    ("metric", "best", "later", "said"),
    [
        ("loss", 12, 12, "the best held-out loss, 0.5000"),
        ("accuracy", 12, 16, "the best held-out accuracy, 0.8000"),
        ("macro_f1", 4, 4, "the best held-out macro F1, 0.6000"),
    ],
)
def test_what_chooses_the_best_checkpoint(
    classify: Callable[..., RunFolder],
    told: list[tuple[float, float, float]],
    metric: str,
    best: int,
    later: int,
    said: str,
):
    """Of equal ones the lower loss; and a run that goes further knows what was the best before."""
    folder = classify("out", f"evaluation.metric_for_best_model={metric}", "trainer.epochs=3")
    assert (folder.weights / "best").resolve().name == f"step_{best:08}"
    told[:] = NUMBERS[4:]
    assert main(["--resume", str(folder.root), "trainer.epochs=4"]) == 0
    assert (folder.weights / "best").resolve().name == f"step_{later:08}"
    results = read(folder.results)
    row = dict(zip(("loss", "accuracy", "macro_f1"), NUMBERS[later // 4], strict=True))
    assert results["best"]["metric"] == metric
    assert results["best"][metric] == row[metric]
    assert results["best"]["loss"] == row["loss"]
    assert said in folder.report.read_text()


@pytest.mark.parametrize(
    ("first", "then", "number", "best"),
    [
        ("accuracy", "loss", (0.6, 0.9, 0.9), 12),  # 0.5 at step 12 is lower
        ("loss", "accuracy", (0.9, 0.69, 0.9), 12),
        ("loss", "accuracy", (0.9, 0.71, 0.1), 16),
        ("accuracy", "macro_f1", (0.9, 0.1, 0.51), 16),
    ],
)
def test_another_number_may_choose_from_a_resume_on(
    classify: Callable[..., RunFolder],
    told: list[tuple[float, float, float]],
    first: str,
    then: str,
    number: tuple[float, float, float],
    best: int,
):
    """What was the best so far, step 12 (0.5, 0.7, 0.5), has to be beaten by it."""
    folder = classify("out", f"evaluation.metric_for_best_model={first}", "trainer.epochs=3")
    told[:] = [number]
    words = [f"evaluation.metric_for_best_model={then}", "trainer.epochs=4"]
    assert main(["--resume", str(folder.root), *words]) == 0
    assert (folder.weights / "best").resolve().name == f"step_{best:08}"
    said = read(folder.results)["best"]
    loss, accuracy, macro_f1 = number if best == 16 else NUMBERS[3]
    assert (said["metric"], said["loss"]) == (then, loss)
    assert said[then] == {"loss": loss, "accuracy": accuracy, "macro_f1": macro_f1}[then]


@pytest.mark.parametrize(("loss", "best"), [(0.4, 16), (0.6, 12)])
def test_of_a_checkpoint_that_knows_only_its_loss_the_loss_decides(
    classify: Callable[..., RunFolder], told: list[tuple[float, float, float]], loss: float, best: int
):
    """As checkpoints were saved before another number could choose."""
    folder = classify("out", "trainer.epochs=3")
    path = folder.weights / "step_00000012" / "state.json"
    state = read(path)
    path.write_text(json.dumps({**state, "best_loss": state["best_numbers"]["loss"], "best_numbers": {}}))
    told[:] = [(loss, 0.1, 0.1)]
    words = ["evaluation.metric_for_best_model=accuracy", "trainer.epochs=4"]
    assert main(["--resume", str(folder.root), *words]) == 0
    assert (folder.weights / "best").resolve().name == f"step_{best:08}"


def test_a_run_ends_when_its_loss_has_stopped_falling(
    classify: Callable[..., RunFolder], reviews: Path, capsys: pytest.CaptureFixture[str]
):
    """No evaluation is better than the first: two more are waited for."""
    turn_round(reviews)
    folder = classify("out", "evaluation.patience=2", "trainer.epochs=10")
    assert "held-out loss has not improved for 2 evaluations: the run ends here" in capsys.readouterr().err
    assert [row["step"] for row in read_jsonl(folder.metrics / "heldout.jsonl")] == [0, 4, 8, 12]
    results = read(folder.results)
    assert (results["finished"], results["gave_up"], results["steps"]) == (True, True, 12)
    assert (folder.weights / "best").resolve().name == "step_00000004"
    assert "the held-out loss no longer improved" in folder.report.read_text()
    assert main(["--resume", str(folder.root)]) == 0  # it has ended, and still has
    assert "raise evaluation.patience" in capsys.readouterr().err
    assert main(["--resume", str(folder.root), "evaluation.patience=3"]) == 0
    assert read(folder.results)["steps"] == 16
