"""evaluate.py --tasks classification, against a count by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from groundup.configs.schema import load_config
from groundup.errors import UserError
from groundup.evaluation import evaluate
from groundup.evaluation.command import main
from groundup.evaluation.table import results_table
from groundup.trainers.folder import RunFolder, find_run
from groundup.trainers.load import load_run
from groundup.trainers.run import train

NAMES = ("even", "odd", "zero")


def label(i: int) -> str:
    return "zero" if i % 5 == 0 else NAMES[i % 2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, checkpoint: Any) -> Iterator[Path]:
    """A run of a classifier, and its data."""
    folder = tmp_path_factory.mktemp("labelled")
    patch = pytest.MonkeyPatch()
    patch.setenv("GROUNDUP_CACHE", str(folder / "cache"))
    for split, count in (("train", 40), ("dev", 22), ("test", 15)):
        rows = [json.dumps({"text": f"{i} and" + f" {i} and" * (i % 3), "label": label(i)}) for i in range(count)]
        (folder / f"{split}.jsonl").write_text("\n".join(rows))
    yaml = f"""
model: {{base_model: {checkpoint("bert")}}}
dataset: {{train_path: {folder}/train.jsonl, eval_path: {folder}/dev.jsonl}}
trainer: {{max_iters: 2, batch_size: 4, gradient_accumulation_steps: 1, max_seq_length: 24, optimizer: {{lr: 1.0e-3}}}}
output: {{output_dir: {folder}/out, plots: false}}
general: {{device: cpu}}
"""
    (folder / "run.yaml").write_text(yaml)
    assert train(load_config(folder / "run.yaml", [])) == 0
    yield folder
    patch.undo()


def by_hand(run: Path, rows: list[dict[str, str]]) -> tuple[float, list[list[int]]]:
    """The loss, and who is taken for whom: one row at a time."""
    model, tokenizer = load_run(run)
    counts, nats = [[0] * 3 for _ in NAMES], 0.0
    for row in rows:
        logits = model(torch.tensor([tokenizer.encode(row["text"], add_special_tokens=True)[:24]]))
        gold = NAMES.index(row["label"])
        counts[gold][int(logits.argmax())] += 1
        nats += F.cross_entropy(logits, torch.tensor([gold])).item()
    return nats / len(rows), counts


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_run_on_what_it_held_out_and_on_a_file(folder: Path, split: str) -> None:
    run = find_run("latest", folder / "out")
    rows = [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]
    loss, counts = by_hand(run, rows)
    data = None if split == "dev" else folder / "test.jsonl"
    samples = folder / f"{split}.samples"
    results = evaluate(run, data=data, batch_size=4, progress=False, samples=samples)  # the head says which task
    numbers = results["tasks"]["classification"]
    assert numbers["confusion"] == counts
    assert numbers["loss"] == pytest.approx(loss, abs=1e-5)
    assert numbers["accuracy"] == sum(counts[i][i] for i in range(3)) / len(rows)
    assert numbers["source"] == {"split": "validation" if split == "dev" else "all"}
    if split == "dev":
        at_the_end = json.loads(RunFolder(run).results.read_text())
        assert at_the_end["labels"] == numbers["names"] == list(NAMES)

    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    assert [line["gold"] for line in lines] == [row["label"] for row in rows]  # in the file's order
    assert sum(line["right"] for line in lines) == sum(counts[i][i] for i in range(3))
    assert all(sum(line["probabilities"]) == pytest.approx(1, abs=1e-5) for line in lines)

    table = results_table(results).splitlines()
    assert max(map(len, table[1:])) <= 80
    assert table[-3].split() == ["even", *map(str, counts[0])]


def test_a_limit_takes_rows_from_all_over(folder: Path) -> None:
    samples = folder / "limited.samples"
    run = find_run("latest", folder / "out")
    evaluate(run, ["classification"], data=folder / "test.jsonl", limit=3, progress=False, samples=samples)
    lines = [json.loads(line)["where"].rpartition(":")[2] for line in samples.read_text().splitlines()]
    assert lines == ["1", "6", "11"]


def test_what_it_cannot_do(folder: Path, checkpoint: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = find_run("latest", folder / "out")
    with pytest.raises(UserError, match="bert has no classifier: train one"):
        evaluate(checkpoint("bert"), ["classification"])
    with pytest.raises(UserError, match="continuations need a head that predicts tokens"):
        evaluate(run, ["copa"], data=folder / "test.jsonl")
    for task, words in (
        ("masked_lm", "a masked-LM head"),
        ("perplexity", "a causal model"),
        ("text_modeling", "a causal"),
    ):
        with pytest.raises(UserError, match=f"needs a?.*{words}"):
            evaluate(run, [task], data=folder / "train.jsonl")
    (folder / "wrong.jsonl").write_text('{"text": "x", "label": "evn"}\n')
    assert main(["--model", str(run), "--data", str(folder / "wrong.jsonl")]) == 1
    assert "wrong.jsonl:1: the label 'evn' is none that the classifier tells apart. Did you mean 'even'" in (
        capsys.readouterr().err
    )
