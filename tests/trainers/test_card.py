"""What a model card says, and what it does not: paths, numbers of other weights, names that the hub does not have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from groundup.trainers.card import dataset_id, licence_of, model_card, model_id

RESULTS: dict[str, Any] = {
    "finished": True,
    "task": "classification",
    "method": "full",
    "base_model": "BERT-tiny",
    "random_weights": False,
    "dataset": "imdb",
    "data": {"summary": "900 rows of 2 classes"},
    "parameters": 4_400_000,
    "trained_parameters": 4_400_000,
    "steps": 6,
    "steps_wanted": 6,
    "best": {"step": 6, "loss": 0.25},
    "heldout": {"loss": 0.25, "accuracy": 0.875, "macro_f1": 0.8125, "rows": 12_345},
    "training_seconds": 9.0,
    "device": "cpu",
    "labels": ["bad", "good", "none"],
    "versions": {"groundup": "0.1.0"},
}
TEST = {"loss": 0.5, "accuracy": 0.75, "macro_f1": 0.625, "rows": 100, "of": 200}
ADAPTER = {"adapter_of": "prajjwal1/bert-tiny"}


def card_of(config: dict[str, Any] | None = None, *, step: int = 6, given: Any = None, **changed: Any) -> str:
    return model_card(RESULTS | changed, config or {}, "me/films", step=step, **(given or {}))


def header_of(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---")[1])


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("BERT-tiny", "prajjwal1/bert-tiny"),
        ("gpt2", "openai-community/gpt2"),
        ("someone/gpt2", "someone/gpt2"),
        ("models/mine", None),  # a folder here
        ("/home/someone/mine", None),
        ("./mine", None),
        ("~/mine", None),
        ("results/mine/2026", None),
        ("nobody-knows", None),
    ],
)
def test_a_model_has_the_id_that_the_hub_knows_or_none(
    name: str, found: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert model_id(name) == found


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("imdb", "stanfordnlp/imdb"),
        ("SST2", "stanfordnlp/sst2"),
        ("amazon", "fancyzhx/amazon_polarity"),
        ("wikitext", "Salesforce/wikitext"),
        ("HuggingFaceFW/fineweb-edu", "HuggingFaceFW/fineweb-edu"),
        ("someone/imdb", "someone/imdb"),
        ("stdlib", None),
        ("data/reviews.csv", None),
        ("data/reviews", None),  # a folder here
        ("/data/reviews.csv", None),
        ("yelp", None),  # the same
    ],
)
def test_a_data_set_has_the_id_that_the_hub_knows_or_none(
    name: str, found: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "data" / "reviews").mkdir(parents=True)
    (tmp_path / "yelp").mkdir()
    monkeypatch.chdir(tmp_path)
    assert dataset_id(name) == found


def test_short_names_become_those_of_the_hub():
    card = card_of()
    header = header_of(card)
    assert header["base_model"] == "prajjwal1/bert-tiny"
    assert header["datasets"] == ["stanfordnlp/imdb"]
    assert "begun from prajjwal1/bert-tiny" in card
    assert "on stanfordnlp/imdb" in card


def test_random_weights_have_no_base():
    card = card_of(random_weights=True)
    assert "base_model" not in header_of(card)
    assert "begun from random weights" in card


def test_no_path_of_the_machine_is_told():
    changed = {"base_model": "/home/me/bert", "dataset": "/home/me/films.csv"}
    config = {"distillation": {"teacher": "/home/me/large"}, "dataset": {"test_path": "/home/me/test.csv"}}
    card = card_of(config, given={"adapter_of": "/home/me/bert"}, test=TEST, **changed)
    assert "/home/me" not in card
    for said in ("begun from bert;", "on films.csv", "Its teacher was large", 'from_pretrained("bert", num_labels=3)'):
        assert said in card
    assert "is not on the hub: name the folder" in card
    assert {"base_model", "datasets"} & header_of(card).keys() == set()


def test_the_snippet_of_an_adapter_can_be_run():
    card = card_of(given=ADAPTER)
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert code is not None
    compile(code[1], "card", "exec")
    assert 'AutoModelForSequenceClassification.from_pretrained("prajjwal1/bert-tiny", num_labels=3)' in code[1]
    assert 'PeftModel.from_pretrained(base, "me/films")' in code[1]
    assert "num_labels" not in card_of(given=ADAPTER, task="causal_lm", labels=None)


def test_a_student_names_its_teacher():
    card = card_of({"distillation": {"teacher": "gpt2"}}, task="causal_lm", labels=None, base_model=None)
    assert "Its teacher was openai-community/gpt2" in card
    assert "the teacher (openai-community/gpt2)" in card
    assert "distillation" in header_of(card)["tags"]
    assert "teacher" not in card_of()


# --- whose numbers they are --------------------------------------------------------------------------------------


def cells(card: str, row: str) -> list[str]:
    line = next(line for line in card.splitlines() if line.startswith(f"| {row} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_last_step_was_the_best():
    card = card_of(test=TEST)
    assert cells(card, "accuracy") == ["0.8750", "0.7500"]
    assert cells(card, "rows") == ["12,345", "100"]
    assert "Measured at step 6, of the weights that are here." in card
    assert "weights of step 6 of 6, the best by held-out loss." in card


def test_numbers_of_the_best_checkpoint_come_first():
    best: dict[str, Any] = {"step": 4, "loss": 0.2, "heldout": {"loss": 0.2, "accuracy": 0.9}}
    best |= {"test": {"accuracy": 0.85}}
    assert "the best by held-out macro F1." in card_of(step=4, best={**best, "metric": "macro_f1", "macro_f1": 0.8})
    card = card_of(step=4, best=best, test=TEST)
    assert cells(card, "accuracy") == ["0.9000", "0.8500"]
    assert "Measured at step 4, of the weights that are here." in card
    assert "weights of step 4 of 6, the best by held-out loss." in card
    assert metrics(card) == {"accuracy": [0.9, 0.85]}


def test_numbers_of_other_weights_are_said_to_be():
    card = card_of(step=4, best={"step": 4, "loss": 0.2})
    assert cells(card, "accuracy") == ["0.8750"]
    assert "**These numbers are not of the weights that are here**" in card
    assert "measured at step 6, and the weights are of step 4, whose held-out loss is 0.2000." in card
    assert "model-index" not in header_of(card)


def test_the_numbers_of_one_checkpoint_are_not_given_to_another():
    best = {"step": 4, "loss": 0.2, "heldout": {"accuracy": 0.9}}
    card = card_of(step=2, best=best)  # a checkpoint that is neither best nor last
    assert cells(card, "accuracy") == ["0.8750"]
    assert "the weights are of step 2." in card
    assert "best by held-out loss" not in card


def test_a_run_that_was_stopped_was_measured_earlier():
    card = card_of(step=4, best={"step": 4, "loss": 0.25}, heldout_step=4, finished=False, steps=5, steps_wanted=9)
    assert "Measured at step 4, of the weights that are here." in card
    assert "of step 4 of 5, the best by held-out loss; 9 were planned." in card
    assert "measured at step 4, and the weights are of step 5" in card_of(step=5, best=None, heldout_step=4, steps=5)


def test_a_test_of_other_weights_stands_in_no_column():
    assert cells(card_of(test=TEST | {"step": 4}), "accuracy") == ["0.8750"]


def test_a_part_of_the_rows_is_said_to_be_one():
    card = card_of(test=TEST, heldout_of=12_345)
    assert "Of 200 test rows 100 were measured, spread evenly." in card
    assert "held-out rows" not in card
    assert "Of 20,000 held-out rows 12,345 were measured" in card_of(heldout_of=20_000)


def test_the_bag_of_words_stands_beside():
    words = {"bag-of-words-tfidf": {"accuracy": 0.8, "test_accuracy": 0.7}}
    assert cells(card_of(test=TEST, baseline=words), "accuracy") == ["0.8750", "0.8000", "0.7500", "0.7000"]


def test_nothing_was_measured():
    assert "Nothing was measured on held-out data." in card_of(best=None, heldout=None)
    card = card_of(best={"step": 4, "loss": 0.2}, step=4, heldout=None)
    assert "Nothing was measured on held-out data at the last step; the held-out loss of these weights is 0.2" in card


# --- the hub's own format ----------------------------------------------------------------------------------------


def metrics(card: str) -> dict[str, list[float]]:
    from huggingface_hub.repocard_data import model_index_to_eval_results

    found: dict[str, list[float]] = {}
    for one in model_index_to_eval_results(header_of(card)["model-index"])[1]:
        found.setdefault(one.metric_type, []).append(one.metric_value)
    return found


def test_the_hub_reads_the_numbers():
    card = card_of({"dataset": {"eval_path": "my/held_out.csv"}}, test=TEST)
    assert metrics(card) == {"accuracy": [0.875, 0.75], "f1": [0.8125, 0.625]}
    held_out, test = header_of(card)["model-index"][0]["results"]
    assert held_out["task"] == {"type": "text-classification"}
    assert held_out["dataset"] == {"name": "held_out.csv", "type": "held_out.csv"}
    assert test["dataset"] == {"name": "stanfordnlp/imdb", "type": "stanfordnlp/imdb", "split": "test"}


def test_what_is_no_number_is_not_given_to_the_hub():
    card = card_of(task="causal_lm", heldout={"loss": 800.0, "perplexity": float("inf")}, labels=None)
    assert "model-index" not in header_of(card)
    card = card_of(task="causal_lm", heldout={"loss": None, "perplexity": None}, labels=None)
    assert "model-index" not in header_of(card)
    assert metrics(card_of(task="causal_lm", heldout={"loss": 1.0, "perplexity": 2.75})) == {"perplexity": [2.75]}


@pytest.mark.parametrize(
    ("card", "found"),
    [
        ("---\nlicense: mit\ntags: [a]\n---\n# A\n", {"license": "mit"}),
        ("---\r\nlicense: mit\r\n---\r\n# A\r\n", {"license": "mit"}),
        ("---\nlicense: other\nlicense_name: x\n---", {"license": "other", "license_name": "x"}),
        ("# A\n\nlicense: mit\n", {}),
        ("---\n: [\n---\n", {}),
        ("---\njust words\n---\n", {}),
        ("", {}),
    ],
)
def test_the_licence_that_a_card_has(card: str, found: dict[str, str]):
    assert licence_of(card) == found


def test_the_licence_stays_in_the_header():
    card = card_of(given={"licence": {"license": "mit"}})
    assert header_of(card)["license"] == "mit"
    assert "As the header says" in card
    assert "license" not in header_of(card_of())
    assert "add `license:`" in card_of()
