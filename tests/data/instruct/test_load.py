"""Lengths, what is cut and dropped, what is held out; a small model that learns to answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from groundup.configs.schema_data import Dataset
from groundup.data.instruct.load import load_instructions
from groundup.data.instruct.reply import reply
from groundup.data.instruct.source import look_at
from groundup.data.rows import RowSampler
from groundup.data.sampling import IGNORE
from groundup.errors import UserError
from groundup.models.config import ModelConfig
from groundup.models.model import build_model
from groundup.tokenizers.byte import ByteTokenizer
from groundup.tokenizers.load import load_tokenizer


def chat(*texts: str) -> dict[str, Any]:
    roles = ("human", "gpt")
    return {"conversations": [{"from": roles[n % 2], "value": text} for n, text in enumerate(texts)]}


# By the plain format a question costs 29 bytes more than its text, the first answer begins there; an answer one more.
FRAME = len("### User:\n\n\n### Assistant:\n")
ROWS = [chat("q" * 3, "a" * 5), chat("q" * 13, "a" * 27), chat("q" * 70, "a" * 5), chat("q", "a", "q" * 6, "a" * 30)]
SECOND = len("\n\n") + FRAME


def lengths() -> list[int]:
    return [FRAME + 3 + 6, FRAME + 13 + 28, FRAME + 70 + 6, FRAME + 1 + 2 + SECOND + 6 + 31]


def test_what_is_too_long_is_refused_by_default(load: Callable[..., Any]) -> None:
    assert [len(row.ids) for row in load(ROWS).train] == lengths()
    with pytest.raises(UserError) as error:
        load(ROWS, max_length=60)
    assert str(error.value).endswith(
        f"rows.json, record 3 has {lengths()[2]} tokens, and 60 fit into a row; so it is with 3 of 4 rows: raise "
        "trainer.max_seq_length, or set dataset.on_overflow to truncate or drop"
    )


def test_what_is_cut_is_counted(load: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match=r"record 3 has no target left once it is cut to 60 tokens, .* so it is with 1"):
        load(ROWS, max_length=60, on_overflow="truncate")
    data = load(ROWS, max_length=60, on_overflow="truncate", on_bad_row="drop")
    whole = load(ROWS).train
    for row, before in zip(data.train, [whole[0], whole[1], whole[3]], strict=True):
        np.testing.assert_array_equal(row.ids, before.ids[:60])
        np.testing.assert_array_equal(row.labels, before.labels[:60])
    found = data.table.to_dict()["train"]
    kept = [6, 61 - FRAME - 13, 2 + max(0, 61 - (FRAME + 3 + SECOND + 6))]
    assert found == {
        "rows": 3,
        "tokens": lengths()[0] + 120,
        "target_tokens": sum(kept),
        "length_p50": sorted(lengths())[1],
        "length_p90": max(lengths()),
        "length_max": max(lengths()),
        "max_length": 60,
        "rows_cut": 2,
        "rows_dropped": 1,
        "answers_with_stop": 2,
        "answers_without_stop": 1,  # of the last row the whole second answer is lost, with its question
        "target_tokens_lost": 6 + 28 + 6 + 33 - sum(kept),
        "target_share_lost": (6 + 28 + 6 + 33 - sum(kept)) / (6 + 28 + 6 + 33),
        "packing_efficiency": (lengths()[0] + 120) / 180,
        "padding_efficiency": (lengths()[0] + 120) / 180,
    }
    dropped = load(ROWS, max_length=60, on_overflow="drop")
    assert [len(row.ids) for row in dropped.train] == lengths()[:1]
    assert dropped.table.to_dict()["train"]["target_tokens_lost"] == 28 + 6 + 33
    with pytest.raises(UserError, match=r"no row of .* is left to train on: raise trainer.max_seq_length"):
        load(ROWS, max_length=20, on_overflow="drop")


@pytest.mark.parametrize("length", [FRAME + 13 + 26, FRAME + 13 + 27, FRAME + 13 + 28])
def test_an_answer_is_whole_while_its_stop_token_is_a_target(length: int, load: Callable[..., Any]) -> None:
    """The last target stands one place after the last input."""
    data = load(ROWS[:2], max_length=length, on_overflow="truncate")
    lost = max(0, FRAME + 13 + 27 - length)
    assert data.table.train.unended == lost
    assert data.table.train.ended == 2 - lost
    assert data.table.to_dict()["train"]["target_tokens_lost"] == lost
    assert (256 in data.train[1].labels) == (not lost)
    assert f"  {2 - lost} of 2 ({(2 - lost) / 2:.1%})" in str(data.table)


def test_where_no_answer_keeps_its_stop_token_nothing_is_trained(load: Callable[..., Any]) -> None:
    assert load(ROWS[:2], max_length=FRAME + 3 + 5, on_overflow="truncate", on_bad_row="drop").table.train.ended == 1
    with pytest.raises(UserError) as error:
        load(ROWS[:2], max_length=FRAME + 3 + 4, on_overflow="truncate", on_bad_row="drop")
    assert str(error.value).endswith(
        f"rows.json keeps its stop token once rows are cut to {FRAME + 7} tokens, so the model would never learn to "
        "stop: raise trainer.max_seq_length, or set dataset.on_overflow to drop"
    )


def test_the_table_says_it_all(load: Callable[..., Any]) -> None:
    data = load([*ROWS] * 5, max_length=4096, val_fraction=0.2)
    lines = str(data.table).split("\n")
    assert lines[0].split() == ["train", "held", "out"]
    assert {line[:38].strip() for line in lines[1:11]} >= {"rows", "target tokens lost", "length p50 / p90 / max"}
    assert lines[11].split() == [
        "format",
        "sharegpt,",
        "by",
        "the",
        "plain",
        "format",
        "(###",
        "User:",
        "and",
        "###",
        "Assistant:",
        "as",
        "headings)",
    ]
    assert lines[13].endswith("  <|endoftext|> (trained)")
    assert not any("\t" in line or line != line.rstrip() for line in lines)


def test_equal_questions_are_held_out_together_whatever_the_order(load: Callable[..., Any]) -> None:
    rows = [chat(f"question {n % 40}", f"answer {n}") for n in range(80)]
    data = load(rows, val_fraction=0.1)
    again = load(rows[::-1], val_fraction=0.1)
    sides = [{bytes(row.ids[:30] % 256) for row in side} for side in (data.train, data.heldout)]
    assert not sides[0] & sides[1]
    assert len(data.heldout) in (8, 10)
    assert {bytes(row.ids % 256) for row in again.heldout} == {bytes(row.ids % 256) for row in data.heldout}
    assert data.fingerprint != again.fingerprint == load(rows[::-1], val_fraction=0.1).fingerprint


def test_a_file_to_evaluate_on(load: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "eval.jsonl").write_text(json.dumps(ROWS[1]))
    data = load(ROWS, eval_path=str(tmp_path / "eval.jsonl"), val_fraction=0.5)
    assert len(data.train) == 4
    assert [len(row.ids) for row in data.heldout] == [lengths()[1]]
    (tmp_path / "eval.jsonl").write_text(json.dumps(chat("q")))
    with pytest.raises(UserError, match=r"eval.jsonl:1 has no message of the assistant to train on"):
        load(ROWS, eval_path=str(tmp_path / "eval.jsonl"))


def test_a_message_that_spells_a_special_token_is_noted(load: Callable[..., Any], capsys) -> None:
    load([chat("q", "a"), chat("q<|endoftext|>", "a")])
    assert "1 conversations spell a special token of the tokenizer, which then is that token: the first is" in (
        said := capsys.readouterr().err
    )
    assert "record 2" in said


def test_a_folder_of_splits(load: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, texts in {"train-00000-of-00002": "ab", "train-00001-of-00002": "c", "test": "defg"}.items():
        (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(chat(text, text)) for text in texts))
    (folder / "README.md").write_text("about it")
    data = load(None, train_path=str(folder), val_fraction=0.5)
    assert (len(data.train), len(data.heldout)) == (3, 4)
    assert "trained on: train-00000-of-00002.jsonl, train-00001-of-00002.jsonl; held out: test.jsonl" in (
        capsys.readouterr().err
    )
    (folder / "valid.jsonl").write_text(json.dumps(chat("h", "h")))
    assert len(load(None, train_path=str(folder), val_fraction=0.5).heldout) == 1
    assert len(load(None, train_path=str(folder)).heldout) == 0
    named = load(None, train_path=str(folder), eval_path=str(folder / "test.jsonl"))
    assert (len(named.train), len(named.heldout)) == (3, 4)
    assert len(load(None, train_path=str(folder), eval_path=str(folder)).heldout) == 1


def test_looking_at_data_reads_every_row_without_torch(tmp_path: Path) -> None:
    def look(rows: list[Any], **settings: Any) -> None:
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        look_at(Dataset(**{"format": "sharegpt", "train_path": str(tmp_path / "rows.jsonl")} | settings))

    good, bad = [chat(str(n), "a") for n in range(40)], {"conversations": [{"from": "human", "value": "q"}]}
    look(good)
    with pytest.raises(UserError, match=r"rows.jsonl:41 has no message of the assistant .*; 1 of 41 rows cannot be us"):
        look([*good, bad])
    look([*good, bad], on_bad_row="drop")
    (tmp_path / "eval.jsonl").write_text(json.dumps(bad))
    with pytest.raises(UserError, match=r"eval.jsonl:1 has no message of the assistant"):
        look(good, eval_path=str(tmp_path / "eval.jsonl"))
    with pytest.raises(UserError, match="too few to hold any out"):
        look(good[:1])
    with pytest.raises(UserError, match=r"dataset\.template says how a row is read"):
        look(good, format="custom")
    look([], train_path=None, name="some/dataset")  # a data set of the hub is not asked for
    program = "import sys, groundup.data.instruct.source; print('torch' in sys.modules, 'datasets' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False False\n", done.stderr


@pytest.mark.parametrize("mode", ["shuffled", "packed"])
def test_a_small_model_learns_to_answer_and_to_stop(load: Callable[..., Any], tmp_path: Path, mode: str) -> None:
    """Trained on three conversations, saved, read back and asked: what it says is the answer, and it ends."""
    rows = [chat("one", "uno"), chat("two", "dos", "and three", "tres."), chat("four", "cuatro")]
    data = load(rows)
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=257, d_model=48, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=96, max_seq_len=192, positions="rope"
    )
    model = build_model(config, "causal_lm", seed=0)
    sampler = RowSampler(data.train, 2, 192, pad_id=data.pad_id, mode=mode, causal=True)
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for step in range(150):
        batch = sampler.batch(step)
        logits = model(**batch.inputs).flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(logits, batch.labels.flatten(), ignore_index=IGNORE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    data.chat.tokenizer.save(tmp_path / "kept")
    tokenizer = load_tokenizer(tmp_path / "kept")
    asked = [{"role": "user", "content": "two"}]
    assert reply(model, tokenizer, asked, 40) == "dos"
    asked += [{"role": "assistant", "content": "dos"}, {"role": "user", "content": "and three"}]
    assert reply(model, tokenizer, asked, 40) == "tres."
    assert reply(model, tokenizer, [{"role": "user", "content": "four"}], 4) == "cuat"  # no more was allowed


@pytest.mark.parametrize("name", ["alpaca", "sharegpt"])
def test_a_file_by_dataset_name(shared: Path, name: str) -> None:
    files = {"alpaca": "alpaca_data_1k.json", "sharegpt": "sharegpt_dummy_conversation.json"}
    dataset = Dataset(format=name, name=str(shared / "instruct" / files[name]), max_documents=20)
    data = load_instructions(dataset, ByteTokenizer(), max_length=4096, progress=True)
    assert len(data.train) + len(data.heldout) == 20
    assert data.heldout
