"""Settings on the command line, in every form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from groundup.configs.overrides import parse_overrides
from groundup.configs.schema import RunConfig
from groundup.errors import UserError

Load = Callable[..., RunConfig]


def values(*words: str) -> dict[str, Any]:
    return {".".join(path): value for path, value in parse_overrides(list(words)).values.items()}


@pytest.mark.parametrize(
    "words",
    [
        ["--trainer.batch_size", "4"],
        ["--trainer.batch_size=4"],
        ["trainer.batch_size=4"],
        ["training.micro_batch_size=4"],
    ],
)
def test_three_forms(load: Load, words: list[str]):
    assert load({}, *words).trainer.batch_size == 4


@pytest.mark.parametrize(
    ("words", "path", "value"),
    [
        (["--trainer.optimizer.lr", "3e-4"], "trainer.optimizer.lr", 3e-4),
        (["trainer.max_iters=1e3"], "trainer.max_iters", 1000),
        (["trainer.compile=true"], "trainer.compile", True),
        (["trainer.compile=no"], "trainer.compile", False),
        (["trainer.mixed_precision=no"], "trainer.mixed_precision", "no"),
        (["--evaluation.eval_strategy", "no"], "evaluation.strategy", "no"),
        (["model.positional_encoding_type=none"], "model.positional_encoding_type", "none"),
        (["output.save_total_limit=null"], "output.save_total_limit", None),
        (["--trainer.loss_chunk_tokens", "null"], "trainer.loss_chunk_tokens", None),
        (["output.run_name=007"], "output.run_name", "007"),  # text stays text
        (["output.run_name=none"], "output.run_name", "none"),  # `none` is the word, `null` is null
        (["output.run_name=true"], "output.run_name", "true"),
        (["output.run_name=null"], "output.run_name", None),
        (["--evaluation.sample_prompt", "a = b, [c]: {d}"], "evaluation.sample_prompt", "a = b, [c]: {d}"),
        (["evaluation.sample_prompt=x=1"], "evaluation.sample_prompt", "x=1"),
        (["--trainer.optimizer", "AdamW"], "trainer.optimizer.name", "adamw"),
        (["trainer.optimizer={lr: 1e-3, beta1: 0.5}"], "trainer.optimizer.beta1", 0.5),
        (["--device", "cpu"], "general.device", "cpu"),
        (["--dataset=corpus.txt"], "dataset.name", "corpus.txt"),
        (["dataset=corpus.txt"], "dataset.name", "corpus.txt"),
        (["--trainer.batch_size.cpu", "7"], "trainer.batch_size", 7),
        (["--trainer.batch_size.cuda", "7"], "trainer.batch_size", 2),  # the file's value stays that of the others
        (["trainer.batch_size={cuda: 9, cpu: 8}"], "trainer.batch_size", 8),
    ],
)
def test_the_field_decides_what_a_word_is(load: Load, words: list[str], path: str, value: Any):
    found: Any = load({}, *words)
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


def test_a_section_that_may_be_null_is_unset(load: Load):
    changes = {"trainer.dropout_schedule": {"name": "linear", "start": 0.1}}
    assert load(changes).trainer.dropout_schedule is not None
    assert load(changes, "trainer.dropout_schedule=null").trainer.dropout_schedule is None
    assert load(changes, "trainer.dropout_schedule.end=0.2").trainer.dropout_schedule.end == 0.2  # pyright: ignore


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--models", "A", "B"], {"models": ["A", "B"]}),
        (["--models", "A"], {"models": ["A"]}),
        (["--models", "A", "B", "--dataset", "imdb"], {"models": ["A", "B"], "dataset.name": "imdb"}),
        (["--models", "A", "B", "dataset=imdb"], {"models": ["A", "B"], "dataset.name": "imdb"}),
        (["models=[A,B]"], {"models": ["A", "B"]}),
        (["models=A,B"], {"models": ["A", "B"]}),
        (["--models", "A,B"], {"models": ["A", "B"]}),
        (["--evaluation.benchmarks", "a", "b"], {"evaluation.benchmarks": ["a", "b"]}),
        (["evaluation.benchmarks=[]"], {"evaluation.benchmarks": []}),
        (["--fine_tuning.spectrum.layers_to_finetune", "[1, 2]"], {"fine_tuning.spectrum.layers_to_finetune": [1, 2]}),
    ],
)
def test_lists_end_at_a_word_with_an_equals_sign_or_dashes(words: list[str], expected: dict[str, Any]):
    assert values(*words) == expected


def test_the_commands_of_the_documents():
    found = values("--model.base_model", "mistralai/Mistral-7B-Instruct-v0.2", "--training.learning_rate", "1e-4")
    assert found == {"model.base_model": "mistralai/Mistral-7B-Instruct-v0.2", "trainer.optimizer.lr": "1e-4"}
    assert values("model=meta-llama/Llama-2-7b-hf", "dataset=imdb") == {
        "model.base_model": "meta-llama/Llama-2-7b-hf",
        "dataset.name": "imdb",
    }
    guide = values("--model", "BERT-tiny", "--dataset", "imdb", "--device=mps")
    assert guide == {"model.base_model": "BERT-tiny", "dataset.name": "imdb", "general.device": "mps"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--trainer.batch_size"], "--trainer.batch_size on the command line needs a value"),
        (["--trainer.batch_size", "--trainer.compile"], "needs a value"),
        (["--models"], "needs at least one value"),
        (["--models", "x=1"], "needs at least one value"),
        (["stray"], "Cannot read 'stray'"),
        (["-x", "1"], "Cannot read '-x'"),
        (["---x=1"], "Cannot read '---x=1'"),
        (["=1"], "Cannot read '=1'"),
        (["--trainer.batch_size", "1", "2"], "Cannot read '2'"),
        (["--trainer", "3"], "trainer on the command line is a section"),
        (["trainer={}"], "is a section"),
        (["trainer=null"], "is a section"),
        (["trainer.batch_size=1", "trainer.batch_size=2"], "given twice"),
        (["trainer.batch_size=1", "training.micro_batch_size=2"], "two values"),
        (["trainer.batch_size=1", "trainer.batch_size.cpu=2"], "sets a key below one that has a value"),
        (["trainer.batch_size=[1"], "cannot read the value '[1'"),
        (["profiles.cpu.trainer.batch_size=1"], "profiles are written in a file"),
    ],
)
def test_what_cannot_be_read(words: list[str], said: str):
    with pytest.raises(UserError) as error:
        parse_overrides(words)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("words", "write"),
    [
        (["trainer.batch_sizes.BERT-tiny.classification=8"], "trainer.batch_sizes={BERT-tiny: {classification: 8}}"),
        (["--training.batch_sizes.gpt2.cpu", "8"], "training.batch_sizes={gpt2: {cpu: 8}}"),
        (["trainer.batch_sizes.Llama-3.1-8B.classification=8"], "{Llama-3.1-8B: {classification: 8}}"),
        (["memory_optimization.bert.gradient_checkpointing=true"], "={bert: {gradient_checkpointing: true}}"),
        (["evaluation.benchmark_data.hellaswag=my.jsonl"], "evaluation.benchmark_data={hellaswag: my.jsonl}"),
        (["--trainer.optimizer.layer_factors.core.layers.0"], "layer_factors={core.layers.0: VALUE}"),
    ],
)
def test_a_mapping_is_set_as_a_whole(words: list[str], write: str):
    name = words[0].partition("=")[0].removeprefix("--")
    with pytest.raises(UserError) as error:
        parse_overrides(words)
    message = str(error.value)
    assert message.startswith(f"{name} on the command line: ")
    assert "is set as a whole: write '" in message
    assert message.endswith(f"{write}'.")
    if "VALUE" not in write:
        parse_overrides([message.partition("write '")[2].removesuffix("'.")])


def test_the_same_value_twice_is_no_conflict():
    assert values("trainer.batch_size=1", "--trainer.batch_size", "1") == {"trainer.batch_size": 1}


def test_a_wrong_type_says_where(load: Load):
    with pytest.raises(
        UserError, match=r"^trainer.batch_size \(the command line\): expected a whole number, got 'x'\.$"
    ):
        load({}, "--trainer.batch_size", "x")


@pytest.mark.parametrize("order", [1, -1])
def test_a_short_form_leaves_room_for_the_rest_of_its_section(order: int):
    words = ["model=gpt2", "--model.tokenizer=here", "dataset=text.txt", "dataset.val_fraction=0.1"][::order]
    layer = parse_overrides(words)
    assert layer.values == {
        ("model", "base_model"): "gpt2",
        ("model", "tokenizer"): "here",
        ("dataset", "name"): "text.txt",
        ("dataset", "val_fraction"): 0.1,
    }
    with pytest.raises(UserError, match="given twice on the command line"):
        parse_overrides(["model=gpt2", "model.base_model=bert"])


@pytest.mark.parametrize(
    ("key", "words", "value"),
    [
        ("fine_tuning.spectrum.layers_to_finetune", ["auto"], "auto"),
        ("fine_tuning.spectrum.layers_to_finetune", ["3"], ["3"]),
        ("fine_tuning.spectrum.layers_to_finetune", ["1", "2"], ["1", "2"]),
        ("fine_tuning.lora.target_modules", ["all-linear"], "all-linear"),
        ("fine_tuning.lora.target_modules", [r".*\.(q|v)_proj"], r".*\.(q|v)_proj"),
        ("fine_tuning.lora.target_modules", ["q_proj,v_proj"], ["q_proj", "v_proj"]),
        ("fine_tuning.lora.target_modules", ["[q_proj]"], ["q_proj"]),
        ("evaluation.mcq_benchmarks", ["hellaswag"], ["hellaswag"]),
    ],
)
def test_one_word_where_a_list_may_stand(key: str, words: list[str], value: object):
    layer = parse_overrides([f"--{key}", *words])
    assert layer.values[tuple(key.split("."))] == value
