"""The questions of each task against lm-evaluation-harness's own on the same rows, string for string."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from groundup.evaluation.tasks import Question, find_task, load_questions
from groundup.evaluation.tasks.source import read_shots, read_split

ROWS = 200
SPARE = 60  # rows of the same file that play the split few-shot examples come from

Build = Callable[..., Any]


@pytest.fixture(scope="module")
def harness(lm_eval: Any, root: Path) -> Build:
    """harness("arc/arc_easy.yaml", rows by split) -> the harness's own task on those rows."""
    import datasets

    held = sys.path[:]
    sys.path[:] = [place for place in held if Path(place or ".").resolve() != root]
    try:
        from lm_eval.api.task import ConfigurableTask
        from lm_eval.tasks._yaml_loader import load_yaml
    finally:
        sys.path[:] = held

    def build(yaml: str, splits: dict[str, list[dict[str, Any]]]) -> Any:
        config = load_yaml(Path(lm_eval.__file__).parent / "tasks" / yaml, resolve_func=True)
        config.pop("tag", None)
        rows = datasets.DatasetDict({name: datasets.Dataset.from_list(part) for name, part in splits.items()})
        return ConfigurableTask(config={**config, "custom_dataset": lambda **_: rows})

    return build


def in_hub_shape(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """Our rows hold RACE's problems as a list; on the hub they are text."""
    return {**row, "problems": repr(row["problems"])} if name.startswith("race") else row


def both(name: str, data: Path, build: Build, yaml: str, n_shot: int, rows: int = ROWS) -> None:
    """Requests and right answers of our task and the harness's own are the same for the first `rows` of `data`."""
    ours = find_task(name)
    splits = {ours.hub.split: [in_hub_shape(name, row) for _, row in read_split(ours, data).rows]}
    if n_shot and ours.hub.shots:
        shots = read_shots(ours, data)
        assert shots is not None
        splits[ours.hub.shots] = [row for _, row in shots.rows]
    if ours.group is not None:
        splits = {split: [row for row in part if ours.group(row) == ours.only] for split, part in splits.items()}
    for split in ("train", "validation", "test", "dev"):  # named in the harness's file, not needed
        splits.setdefault(split, splits[ours.hub.split][:1])
    theirs = build(yaml, splits)
    questions = load_questions(ours, data, rows, n_shot)
    theirs.set_fewshot_seed(1234)
    docs = list(islice(theirs.eval_docs, rows))
    assert len(questions) == len(docs) == rows
    for question, doc in zip(questions, docs, strict=True):
        context = theirs.fewshot_context(doc, num_fewshot=n_shot)
        requests = tuple(instance.args for instance in theirs.construct_requests(doc, context))
        assert question.requests == requests, question.where
        assert question.gold == (gold(theirs, doc),), question.where
        assert question.choices == tuple(theirs.doc_to_choice(doc)), question.where


def gold(task: Any, doc: dict[str, Any]) -> int:
    answer = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    return answer if isinstance(answer, int) else task.doc_to_choice(doc).index(answer)


def halves(source: Path, folder: Path, test: str) -> Path:
    """The file's first rows as the evaluated split, the next ones as its train split, in the publisher's format."""
    lines = [line + "\n" for line in source.read_text().split("\n") if line]
    (folder / test).write_text("".join(lines[:ROWS]))
    (folder / "train.jsonl").write_text("".join(lines[ROWS : ROWS + SPARE]))
    labels = source.parent / f"{source.stem}-labels.lst"
    if labels.exists():
        marks = labels.read_text().splitlines(keepends=True)
        (folder / f"{Path(test).stem}-labels.lst").write_text("".join(marks[:ROWS]))
        (folder / "train-labels.lst").write_text("".join(marks[ROWS : ROWS + SPARE]))
    return folder / test


@pytest.mark.parametrize("n_shot", [0, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("name", "file", "test", "yaml"),
    [
        ("hellaswag", "hellaswag/hellaswag_val_2000.jsonl", "val.jsonl", "hellaswag/hellaswag.yaml"),
        ("arc_easy", "arc/ARC-Easy-Test.derived.jsonl", "test.jsonl", "arc/arc_easy.yaml"),
        ("arc_challenge", "arc/ARC-Challenge-Test.jsonl", "test.jsonl", "arc/arc_challenge.yaml"),
        ("piqa", "piqa/valid.jsonl", "valid.jsonl", "piqa/piqa.yaml"),
        ("winogrande", "winogrande/dev.derived.jsonl", "dev.jsonl", "winogrande/default.yaml"),
        ("boolq", "boolq/val.jsonl", "val.jsonl", "super_glue/boolq/default.yaml"),
        ("openbook_qa_closed", "openbookqa/test.derived.jsonl", "test.jsonl", "openbookqa/openbookqa.yaml"),
        ("commonsense_qa", "commonsenseqa/dev_rand_split.jsonl", "dev.jsonl", "commonsense_qa/default.yaml"),
    ],
)
def test_prompts_and_few_shot_contexts_are_the_harness_s(
    name: str, file: str, test: str, yaml: str, n_shot: int, harness: Build, shared: Path, tmp_path: Path
) -> None:
    both(name, halves(shared / "eval" / file, tmp_path, test), harness, yaml, n_shot)


@pytest.mark.parametrize("n_shot", [0, 4])
def test_copa(n_shot: int, harness: Build, shared: Path) -> None:
    """Its validation split has 100 rows; FewGLUE's 32 train rows stand beside it."""
    both("copa", shared / "eval/copa/val.jsonl", harness, "super_glue/copa/default.yaml", n_shot, rows=100)


@pytest.mark.parametrize("subject", ["anatomy", "high_school_us_history"])
@pytest.mark.parametrize("n_shot", [0, 5])
def test_mmlu(subject: str, n_shot: int, harness: Build, shared: Path) -> None:
    both(f"mmlu_{subject}", shared / "eval/mmlu", harness, f"mmlu/default/mmlu_{subject}.yaml", n_shot, rows=100)


@pytest.mark.parametrize(
    "paradigm", ["adjunct_island", "anaphor_gender_agreement", "npi_present_1", "principle_A_case_1", "wh_island"]
)
def test_blimp(paradigm: str, harness: Build, shared: Path) -> None:
    both(f"blimp_{paradigm}", shared / "eval/blimp/BLiMP.zip", harness, f"blimp/{paradigm}.yaml", 0)


def test_race(harness: Build, shared: Path) -> None:
    both("race_high", shared / "eval/race/test_high.jsonl", harness, "race/race.yaml", 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mc1", "mc2"])
def test_truthful_qa(name: str, harness: Build, shared: Path) -> None:
    pytest.importorskip("sacrebleu", reason="the harness's own file for this task needs it")
    pytest.importorskip("rouge_score", reason="the harness's own file for this task needs it")
    task = find_task(f"truthful_qa_{name}")
    data = shared / "eval/truthfulqa/mc_task.json"
    theirs = harness(
        f"truthfulqa/truthfulqa_{name}.yaml", {"validation": [row for _, row in read_split(task, data).rows]}
    )
    questions = load_questions(task, data, ROWS)
    assert len(questions) == ROWS
    for question, doc in zip(questions, theirs.eval_docs, strict=False):
        requests = theirs.construct_requests(doc, theirs.fewshot_context(doc, num_fewshot=0))
        assert question.requests == tuple(instance.args for instance in requests), question.where
        labels = doc[f"{name}_targets"]["labels"]
        assert question.gold == tuple(i for i, label in enumerate(labels) if label == 1)
        if name == "mc2":
            assert mass(question) == pytest.approx(theirs.process_results(doc, fake(question))["acc"], abs=1e-12)
        else:
            assert question.gold == (theirs.doc_to_target(doc),)


def fake(question: Question) -> list[tuple[float, bool]]:
    """Log-likelihoods that depend on the choice alone."""
    return [(-0.1 * len(choice) - 0.3 * i, False) for i, choice in enumerate(question.choices)]


def mass(question: Question) -> float:
    """MC2 by its definition: the share of probability that the true choices have."""
    from math import exp

    weights = [exp(value) for value, _ in fake(question)]
    return sum(weights[i] for i in question.gold) / sum(weights)
