"""The data set of a run: its name, which keys its kind of data reads, what is held out, WikiText's recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from groundup.configs.schema import RunConfig, load_config
from groundup.configs.schema_run import FIELDS
from groundup.errors import UserError

Refused = Callable[..., str]

FILES = {
    "alpaca.json": '[{"instruction": "a", "output": "b"}, {"instruction": "c", "output": "d"}]',
    "chats.jsonl": '{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}\n',
    "messages.jsonl": '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n',
    "reviews.csv": "text,label\ngood,1\nbad,0\n",
    "story.txt": "once upon a time\n",
}
ALPACA = ["model=gpt2", "dataset.format=alpaca", "dataset.train_path=alpaca.json"]
CLASSES = ["model=BERT-tiny", "dataset=imdb"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with instructions, labelled texts and a text, which the run is started in."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(*words: str) -> RunConfig:
    return load_config(None, list(words), find_device=lambda: "cpu")


def fails(*words: str) -> str:
    with pytest.raises(UserError) as error:
        load(*words)
    return str(error.value)


# --- names


@pytest.mark.parametrize("name", ["sst-2", "SST2", "ag-news", "AG_News", "amazon-polarity", "stanfordnlp/sst-2"])
def test_a_known_name_has_several_spellings(name: str):
    run = load("model=BERT-tiny", f"dataset={name}")
    assert (run.dataset.format, run.trainer.loss_fn, run.trainer.optimizer.lr) == (
        "classification",
        "cross_entropy",
        2e-5,
    )


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("imbd", "imdb"),
        ("stt2", "sst2"),
        ("agnew", "ag_news"),
        ("amazn", "amazon"),
        ("stdlb", "stdlib"),
        ("stdlib_docstrings", "stdlib-docstrings"),
        ("wikitext-104", "wikitext-103"),
        ("reviews.cvs", "reviews.csv"),
        ("story.tx", "story.txt"),
    ],
)
def test_a_misspelt_name_is_no_text_to_mask(name: str, meant: str):
    message = fails("model=BERT-tiny", f"dataset={name}")
    assert message.startswith(f"dataset.name (the command line): '{name}': no file here is called so")
    assert f"OWNER/{name}" in message
    assert message.endswith(f" Did you mean '{meant}'?")


@pytest.mark.parametrize("name", ["squad", "c4", "yelp_review_full", "some/imbd", "wikipedia", "HuggingFaceFW/fineweb"])
def test_other_names_may_be_on_the_hub(name: str):
    assert load("model=gpt2", f"dataset={name}").dataset.name == name


def test_a_folder_may_be_called_like_anything(here: Path):
    (here / "imbd").mkdir()
    (here / "imbd" / "a.txt").write_text("text")
    assert load("model=gpt2", "dataset=imbd").dataset.name == "imbd"


def test_a_second_source_is_not_passed_over():
    words = ["model=BERT-tiny", "dataset=imdb", "dataset.train_path=reviews.csv"]
    assert "'imdb' is one data set and dataset.train_path, 'reviews.csv', another" in fails(*words)
    assert "leave one of them out" in fails(*ALPACA, "dataset=tatsu-lab/alpaca")
    run = load("model=BERT-tiny", "dataset.train_path=reviews.csv")
    assert (run.dataset.format, run.trainer.label_smoothing) == ("classification", 0.1)


def test_the_standard_library_has_no_classes_and_its_docstrings_have():
    message = fails("model=BERT-tiny", "dataset=stdlib", "dataset.random_crop=0.5")
    assert "stdlib is text without classes: stdlib-docstrings has some" in message
    assert load("model=BERT-tiny", "dataset=stdlib-docstrings", "dataset.random_crop=0.5").dataset.random_crop == 0.5
    message = fails("model=BERT-tiny", "dataset=stdlib-docstrings", "trainer.loss_fn=masked_lm")
    assert "as text name stdlib" in message
    message = fails("model=BERT-tiny", "dataset=stdlib-docstrings", "dataset.label_column=x")
    assert "dataset.label_column (the command line): stdlib-docstrings has columns of its own" in message


# --- keys of another kind of data


def test_text_may_have_paths_too():
    run = load("model=gpt2", "dataset.train_path=story.txt", "dataset.eval_path=story.txt", "dataset.val_fraction=0")
    assert (run.dataset.format, run.dataset.train_path, run.dataset.name) == (None, "story.txt", "stdlib")
    assert "'some/text' is one data set" in fails("model=gpt2", "dataset.train_path=story.txt", "dataset=some/text")
    words = ["model=BERT-tiny", "dataset.train_path=reviews.csv", "trainer.loss_fn=masked_lm"]
    assert load(*words).dataset.format is None


@pytest.mark.parametrize(
    ("path", "form"), [("alpaca.json", "alpaca"), ("chats.jsonl", "sharegpt"), ("messages.jsonl", "sharegpt")]
)
@pytest.mark.parametrize("key", ["train_path", "name"])
def test_instructions_are_not_read_as_text(key: str, path: str, form: str):
    message = fails("model=gpt2", f"dataset.{key}={path}")
    assert message.startswith(
        f"dataset.{key} (the command line): {path} holds instructions: set dataset.format to {form}"
    )
    assert load("model=gpt2", f"dataset.{key}={path}", f"dataset.format={form}").dataset.format == form
    assert load("model=gpt2", f"dataset.{key}={path}", "dataset.text_column=output").dataset.format is None


@pytest.mark.parametrize(
    ("words", "setting", "said"),
    [
        (CLASSES, "documents=line", "this is for text, and the data are labelled texts: leave it out, or 'auto'."),
        (CLASSES, "stride=9", "this is for text, and the data are labelled texts"),
        (CLASSES, "streaming=true", "this is for text and instructions"),
        (CLASSES, "lang=en", "this is for instructions"),
        (["model=gpt2", "dataset=story.txt"], "on_overflow=drop", "this is for labelled texts and instructions: give"),
        (["model=gpt2", "dataset=story.txt"], "on_bad_row=drop", "this is for labelled texts and instructions: give"),
        (["model=gpt2"], "preprocessing.add_eos_token=true", "this is for instructions: give dataset.format"),
        (["model=gpt2"], "test_path=x", "this is for labelled texts: set dataset.format to classification"),
        (["model=gpt2"], "num_proc=2", "this is for datasets of the hub, and stdlib lies on this machine"),
        (ALPACA, "text_column=x", "this is for text and labelled texts, and the data are instructions"),
        (ALPACA, "documents=line", "this is for text, and the data are instructions"),
        (ALPACA, "label_column=x", "this is for labelled texts, and the data are instructions"),
        (ALPACA, "stride=9", "this is for text"),
        (ALPACA, "streaming=true", "this is for datasets of the hub, and alpaca.json lies on this machine"),
        (ALPACA, "config=x", "this is for datasets of the hub"),
        (ALPACA, "split=test", "this is for datasets of the hub"),
    ],
)
def test_a_key_that_the_data_does_not_read(words: list[str], setting: str, said: str):
    message = fails(*words, f"dataset.{setting}")
    assert message.startswith(f"dataset.{setting.partition('=')[0].partition('.')[0]}")
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize("setting", ["evaluation.metric_for_best_model=f1", "trainer.class_weights=balanced"])
def test_a_key_of_classifiers_alone(setting: str):
    load(*CLASSES, setting)
    message = fails("model=gpt2", "dataset=story.txt", setting)
    assert message.startswith(setting.partition("=")[0])
    assert "this is for labelled texts: set dataset.format to classification, or leave it out" in message


@pytest.mark.parametrize(("share", "then"), [(0.05, None), (0.1, 0.1), (0.0, 0.0)])
def test_a_share_that_was_saved_as_the_default_is_none_that_was_given(tmp_path: Path, share: float, then: float | None):
    """Or a run that goes on would hold out other rows, some of which it has learned."""
    saved = load(*CLASSES, f"dataset.val_fraction={share}").to_dict()
    assert RunConfig.model_validate(saved).dataset.val_fraction == share
    del saved["evaluation"]["metric_for_best_model"]
    assert RunConfig.model_validate(saved).dataset.val_fraction == then
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(saved))
    assert load_config(path, []).dataset.val_fraction == then


def test_the_loss_chooses_for_any_data():
    load("model=gpt2", "dataset=stdlib", "evaluation.metric_for_best_model=loss")


def test_classes_are_weighed_by_their_names():
    weights = load(*CLASSES, "trainer.class_weights={1: 2, 0: 0.5}").trainer.class_weights
    assert weights == {"1": 2.0, "0": 0.5}
    evaluation = load(*CLASSES, "trainer.class_weights=balanced").evaluation
    assert (evaluation.metric_for_best_model, load(*CLASSES).evaluation.metric_for_best_model) == ("macro_f1", None)
    words = ["trainer.class_weights=balanced", "evaluation.metric_for_best_model=loss"]
    assert load(*CLASSES, *words).evaluation.metric_for_best_model == "loss"
    assert "must be above 0" in fails(*CLASSES, "trainer.class_weights={spam: 0}")
    assert "expected" in fails(*CLASSES, "trainer.class_weights=balance")


def test_labelled_texts_may_be_too_long_or_bad():
    dataset = load(*CLASSES, "dataset.on_overflow=drop", "dataset.on_bad_row=drop").dataset
    assert (dataset.on_overflow, dataset.on_bad_row) == ("drop", "drop")
    load("model=gpt2", "dataset.on_overflow=error", "dataset.on_bad_row=error")  # as text was saved once


def test_what_the_hub_reads():
    words = ["dataset.format=alpaca", "dataset=tatsu-lab/alpaca", "dataset.split=test", "dataset.streaming=true"]
    assert load("model=gpt2", *words, "dataset.num_proc=2", "dataset.config=x").dataset.config == "x"
    assert load("model=BERT-tiny", "dataset=imdb", "dataset.config=x", "dataset.num_proc=2").dataset.num_proc == 2


@pytest.mark.parametrize("key", ["mask_ratio=0.3", "generator_size=0.5", "discriminator_weight=2"])
def test_classes_have_neither_masks_nor_a_generator(key: str):
    assert fails(*CLASSES, f"trainer.{key}").startswith(f"trainer.{key.partition('=')[0]} (the command line): only ")


@pytest.mark.parametrize(
    "words",
    [
        ["model=gpt2", "dataset=story.txt"],
        ["model=gpt2", "dataset.train_path=story.txt", "dataset.eval_path=story.txt", "dataset.documents=article"],
        ["model=gpt2", "dataset=wikitext"],
        ["model=gpt2", "dataset=some/text", "dataset.config=en", "dataset.streaming=true"],
        ["model=BERT-tiny", "dataset=imdb"],
        ["model=BERT-tiny", "dataset.train_path=reviews.csv", "dataset.eval_path=reviews.csv"],
        ["model=BERT-tiny", "dataset=stdlib-docstrings"],
        ["model=bag-of-words-tfidf", "dataset=imdb"],
        ALPACA,
    ],
)
def test_a_saved_configuration_says_every_key_and_is_valid(tmp_path: Path, words: list[str]):
    run = load(*words)
    saved = tmp_path / "config.yaml"
    saved.write_text(run.to_yaml())
    assert all(f"  {path[1]}:" in run.to_yaml() for path in FIELDS if path[0] == "dataset" and len(path) == 2)
    assert load_config(saved) == run


def test_the_bag_of_words_has_data_of_its_kind():
    words = ["model=bag-of-words-tfidf", "dataset=imdb"]
    assert "this is for instructions" in fails(*words, "dataset.lang=en")
    assert "'imdb' is one data set" in fails(*words, "dataset.train_path=reviews.csv")


# --- what is held out


def test_a_known_data_set_brings_what_is_held_out():
    assert load("model=BERT-tiny", "dataset=imdb", "dataset.val_fraction=0").dataset.val_fraction == 0
    words = ["model=BERT-tiny", "dataset.val_fraction=0"]
    load(*words, "dataset.train_path=reviews.csv", "dataset.test_path=reviews.csv")
    for other in (["dataset=imdb", "dataset.split=test"], ["dataset.train_path=reviews.csv"], ["dataset=stdlib"]):
        assert "0 holds nothing out to evaluate on" in fails(*words, *other)


# --- WikiText


@pytest.mark.parametrize("name", ["wikitext", "WikiText-2", "wikitext_103"])
def test_wikitext_has_the_gpt2_document_s_overlapping_rows(name: str):
    run = load("model=gpt2", f"dataset={name}")
    assert (run.trainer.max_seq_length, run.dataset.stride, run.trainer.datasampling) == (1024, 512, "packed")
    assert (run.dataset.format, run.trainer.optimizer.lr) == (None, 5e-5)


@pytest.mark.parametrize(
    ("words", "stride", "datasampling"),
    [
        (["trainer.datasampling=sequential"], 512, "sequential"),
        (["trainer.datasampling=standard"], None, "standard"),
        (["dataset.stride=null"], None, "packed"),
        (["dataset.stride=256"], 256, "packed"),
        (["trainer.max_seq_length=512"], None, "standard"),
        (["dataset=Salesforce/wikitext"], None, "standard"),
        (["model=BERT-tiny"], None, "standard"),
    ],
)
def test_what_is_said_beats_the_recipe(words: list[str], stride: int | None, datasampling: str):
    given = {word.partition("=")[0] for word in words}
    rest = [word for word in ("model=gpt2", "dataset=wikitext") if word.partition("=")[0] not in given]
    run = load(*rest, *words)
    assert (run.dataset.stride, run.trainer.datasampling) == (stride, datasampling)


# --- text


@pytest.mark.parametrize("words", [["dataset=reviews.csv"], ["dataset.train_path=reviews.csv"], ["dataset=imdb"]])
def test_labelled_texts_are_text_where_that_is_said(words: list[str], tmp_path: Path):
    """Also when the configuration that was saved is read again."""
    assert load("model=BERT-tiny", *words).dataset.format == "classification"
    run = load("model=BERT-tiny", *words, "dataset.format=text")
    assert (run.dataset.format, run.trainer.loss_fn, run.trainer.label_smoothing) == (None, "masked_lm", 0.0)
    (tmp_path / "saved.yaml").write_text(run.to_yaml())
    again = load_config(tmp_path / "saved.yaml", [], find_device=lambda: "cpu")
    assert again.to_dict() == run.to_dict()
    assert "classes" in fails("model=bag-of-words-tfidf", *words, "dataset.format=text")
