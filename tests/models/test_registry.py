"""The registry: who is in it, by which names, and that what it says of them is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from groundup.configs.registry import RegistryEntry
from groundup.configs.several import model_sets
from groundup.errors import UserError
from groundup.models import registry
from groundup.models.hf.families import family_of, model_config
from groundup.models.hf.shapes import shape_of
from groundup.models.model import Model
from groundup.models.registry import entries, find, list_models, lookup, not_found, table
from groundup.models.start import objective

# The model guide's three tables, in their order, and the sizes they give.
GUIDE = {
    "BERT-tiny": "4M",
    "BERT-mini": "11M",
    "ELECTRA-small": "14M",
    "BERT-small": "29M",
    "MiniLM-L12": "33M",
    "DistilBERT-base": "66M",
    "Pythia-70m": "70M",
    "DistilRoBERTa": "82M",
    "DeBERTa-v3-small": "86M",
    "BERT-base": "110M",
    "GPT2-small": "124M",
    "RoBERTa-base": "125M",
    "Pythia-160m": "160M",
    "Gemma-2-2B": "270M",
    "TinyLlama-1.1B": "1.1B",
    "Qwen2.5-1.5B": "1.5B",
    "SmolLM2-1.7B": "1.7B",
    "Phi-3-mini": "3.8B",
}
WRONG_IN_THE_GUIDE = {"DeBERTa-v3-small": "141M", "Gemma-2-2B": "2.6B"}

# Its tables of target modules.
TARGETS = {
    ("google-bert/bert-base-uncased", "google-bert/bert-large-uncased"): ["query", "value"],
    ("distilbert/distilbert-base-uncased",): ["q_lin", "v_lin"],
    ("FacebookAI/roberta-base", "FacebookAI/roberta-large", "distilbert/distilroberta-base"): ["query", "value"],
    ("microsoft/deberta-v3-small", "microsoft/deberta-v3-base"): ["query_proj", "value_proj"],
    ("google/electra-small-discriminator", "microsoft/MiniLM-L12-H384-uncased"): ["query", "value"],
    ("openai-community/gpt2", "openai-community/gpt2-medium", "distilbert/distilgpt2"): ["c_attn"],
    ("EleutherAI/pythia-70m", "EleutherAI/pythia-160m", "EleutherAI/pythia-410m"): ["query_key_value"],
    (
        "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
        "Qwen/Qwen2.5-1.5B",
        "HuggingFaceTB/SmolLM2-1.7B",
        "microsoft/Phi-3-mini-4k-instruct",
        "google/gemma-2-2b",
        "google/gemma-3-270m",
    ): ["q_proj", "v_proj", "k_proj", "o_proj"],
}

# What the other documents call models.
ELSEWHERE = {
    "gpt2": "openai-community/gpt2",
    "gpt2-small": "openai-community/gpt2",
    "distilgpt2": "distilbert/distilgpt2",
    "roberta-base": "FacebookAI/roberta-base",
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "google/bert-base-uncased": "google-bert/bert-base-uncased",
    "distilbert-base-uncased": "distilbert/distilbert-base-uncased",
    "meta-llama/Llama-2-7b-hf": "meta-llama/Llama-2-7b-hf",
    "Llama-2-7b-chat-hf": "meta-llama/Llama-2-7b-chat-hf",
    "meta-llama/Llama-3.1-8B-Instruct": "meta-llama/Llama-3.1-8B-Instruct",
    "mistralai/Mistral-7B-Instruct-v0.2": "mistralai/Mistral-7B-Instruct-v0.2",
}


def number(size: str) -> tuple[float, float]:
    """`1.1B` -> 1.1e9 and what its last digit counts, 1e8."""
    digits, unit = re.fullmatch(r"([\d.]+)([MB])", size).groups()  # pyright: ignore[reportOptionalMemberAccess]
    scale = {"M": 1e6, "B": 1e9}[unit]
    return float(digits) * scale, scale / 10 ** len(digits.partition(".")[2])


def agrees(size: str, count: int) -> bool:
    """Rounded to the digits given, or within 2 %: documents count with and without heads."""
    stated, digit = number(size)
    return abs(count - stated) <= max(digit / 2, 0.02 * stated)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a registry of one's own."""

    def write(text: str) -> Path:
        path = tmp_path / "own.yaml"
        path.write_text(text)
        monkeypatch.setenv(registry.OWN, str(path))
        registry._entries.cache_clear()
        return path

    yield write
    registry._entries.cache_clear()


# --- what is in it


def test_the_guides_eighteen_come_first_and_in_its_order():
    assert [entry.alias for entry in entries()][: len(GUIDE)] == list(GUIDE)


@pytest.mark.parametrize("alias", GUIDE)
def test_sizes_are_the_guides_but_where_it_errs(alias: str):
    size = find(alias).size_params
    assert size == WRONG_IN_THE_GUIDE.get(alias, GUIDE[alias])
    if alias in WRONG_IN_THE_GUIDE:
        line = next(
            line
            for line in registry.REGISTRY.read_text().split(f'alias: "{alias}"')[1].splitlines()
            if "size_params" in line
        )
        assert f"# the guide says {GUIDE[alias]}: " in line


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.alias)
def test_every_entry_has_the_whole_documented_structure(entry: RegistryEntry):
    given = entry.model_dump(exclude_none=True)
    assert list(given)[:7] == [
        "name",
        "alias",
        "size_params",
        "architecture",
        "lora",
        "recommended_batch_size",
        "memory_requirements",
    ]
    assert given["recommended_batch_size"].keys() == {"cuda", "mps", "cpu"}
    assert given["memory_requirements"].keys() == {"cuda_4bit", "mps_fp32", "cpu"}
    assert all(re.fullmatch(r"[\d.]+GB", value) for value in given["memory_requirements"].values())


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.alias)
def test_the_published_shape_has_the_size_that_the_entry_says(entry: RegistryEntry):
    shape = shape_of(entry.name or "")
    task = objective(shape)
    with torch.device("meta"):
        model = Model(model_config(shape, task), task)
    count = model.num_parameters()
    assert agrees(entry.size_params or "", count), f"{entry.size_params} is not {count:,}"
    (listed,) = [one for one in list_models() if one.entry is entry]
    assert (listed.parameters, listed.family) == (count, shape["model_type"])
    assert entry.architecture == ("decoder-only" if model.config.causal else "encoder-only")
    rank = 4 if count < 50e6 else 8 if count <= 1e9 else 16
    assert entry.lora is not None
    assert (entry.lora.rank, entry.lora.alpha, entry.lora.dropout) == (rank, 2 * rank, 0.05)


@pytest.mark.parametrize(("names", "modules"), TARGETS.items())
def test_target_modules_are_the_guides(names: tuple[str, ...], modules: list[str]):
    for name in names:
        entry = find(name)
        assert entry.name == name
        assert entry.lora is not None
        assert entry.lora.target_modules == modules


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.alias)
def test_target_modules_are_modules_of_the_family(entry: RegistryEntry):
    """By the checkpoint's own names, or where it fuses them by ours."""
    native = {"q_proj", "k_proj", "v_proj", "o_proj"}
    last = {name.rpartition(".")[2] for name in family_of(shape_of(entry.name or "")).NAMES}
    assert entry.lora is not None
    missing = set(entry.lora.target_modules) - last
    assert missing <= (native if "qkv_proj" in last else set())


# --- finding


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.alias)
def test_an_entry_answers_to_alias_id_and_last_part_in_any_case(entry: RegistryEntry):
    assert entry.alias
    assert entry.name
    for name in (entry.alias, entry.name, entry.name.rpartition("/")[2]):
        for spelling in (name, name.lower(), name.upper()):
            assert find(spelling) is entry


@pytest.mark.parametrize(("written", "meant"), ELSEWHERE.items())
def test_names_of_the_other_documents(written: str, meant: str):
    assert find(written).name == meant


def test_anothers_model_of_the_same_name_is_not_ours():
    assert lookup("someone/bert-base-uncased") is None
    assert lookup("someone/gpt2") is None


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("BERT-tny", "BERT-tiny"),
        ("gtp2", "GPT2-small"),
        ("microsoft/deberta-v3-smal", "DeBERTa-v3-small"),
        ("bag-of-words", "bag-of-words-tfidf"),
        ("ultra-fst", "ultra-fast"),
        ("Decoder-Comparision", "decoder-comparison"),
        ("zzz", None),
    ],
)
def test_the_documented_error(name: str, near: str | None):
    with pytest.raises(UserError) as error:
        find(name)
    message = str(error.value)
    assert message.startswith(f"Model '{name}' not found. Available models: ['BERT-tiny', 'BERT-mini', ")
    assert message.endswith(f" Did you mean '{near}'?") if near else "Did you mean" not in message
    assert "\n" not in message


def test_a_set_is_no_model():
    assert not_found("Ultra-fast") == "'Ultra-fast' is a set of models: name it in --models, which trains each of them"


# --- one's own


def test_ones_own_entries_join_and_replace(own):
    path = own('models:\n- {name: me/mine, alias: Mine, size_params: "5M"}\n- {name: me/gpt2, alias: GPT2-small}\n')
    assert find("mine").name == "me/mine"
    assert find("GPT2-SMALL").name == "me/gpt2"
    assert len(entries()) == len(registry._read(registry.REGISTRY)) + 1
    assert lookup("openai-community/gpt2") is None
    (listed,) = [one for one in list_models() if one.entry.alias == "Mine"]
    assert (listed.parameters, listed.family) == (None, None)
    assert re.search(r"Mine +me/mine +5M +\? ", table(list_models()))
    path.unlink()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- {alias: x}", ["own.yaml", "entry 1 has no name"]),
        ("- {name: a/b, alias: x}\n- {name: c/d, alias: X}", ["own.yaml", "entry 2, c/d", "'x' already"]),
        ("- {name: a/b, alais: x}", ["own.yaml, line 1", "unknown key alais", "Did you mean 'alias'"]),
        ("3", ["own.yaml", "expected `models:`"]),
    ],
)
def test_what_is_wrong_with_ones_own(own, text: str, words: list[str]):
    own(text)
    with pytest.raises(UserError) as error:
        find("gpt2")
    assert all(word in str(error.value) for word in words), error.value


def test_a_file_of_ones_own_that_is_not_there(own):
    own("").unlink()
    with pytest.raises(UserError, match=r"no configuration file .*own\.yaml"):
        entries()


# --- listing


def test_the_table_is_readable_and_costs_no_torch(root: Path):
    code = (
        "from groundup.trainers.command import main; import sys; main(['--list-models']); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    *lines, loaded = done.stdout.splitlines()
    assert loaded == "False"
    lines, sets = lines[: -len(model_sets()) - 3], lines[-len(model_sets()) - 2 :]
    assert "the times are the model guide's, an epoch of its Amazon data on Apple silicon" in sets[0]
    assert [line.split()[0] for line in sets[1:]] == [*model_sets(), "bag-of-words-tfidf"]
    assert len(lines) == 1 + len(entries()) + 3  # a line of names above, three that explain below
    assert max(map(len, lines)) <= 120
    (row,) = [line for line in lines if line.startswith("GPT2-small ")]
    assert row.split() == [
        "GPT2-small",
        "openai-community/gpt2",
        "124,439,808",
        "gpt2",
        "decoder",
        "32/16/8",
        "1/3/6",
    ]
    columns = {line.index(entry.name or "") for line, entry in zip(lines[1:], entries(), strict=False)}
    assert len(columns) == 1
