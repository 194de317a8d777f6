"""Our numbers against lm-evaluation-harness with transformers: the same weights, the same rows, its own tasks."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from groundup.errors import UserError
from groundup.evaluation import evaluate
from groundup.evaluation.multiple_choice import multiple_choice
from groundup.evaluation.tasks import find_task, load_questions
from groundup.evaluation.tasks.source import read_split
from groundup.models import load_pretrained
from groundup.tokenizers.load import load_tokenizer

ROWS = 200
TASKS = {
    "hellaswag": ("hellaswag", "hellaswag/hellaswag.yaml"),
    "arc_easy": ("arc", "arc/arc_easy.yaml"),
    "piqa": ("piqa", "piqa/piqa.yaml"),
    "winogrande": ("winogrande", "winogrande/default.yaml"),
    "boolq": ("boolq/val.jsonl", "super_glue/boolq/default.yaml"),
    "openbook_qa_closed": ("openbookqa", "openbookqa/openbookqa.yaml"),
    "copa": ("copa/val.jsonl", "super_glue/copa/default.yaml"),
    "blimp_wh_island": ("blimp", "blimp/wh_island.yaml"),
    "blimp_passive_1": ("blimp", "blimp/passive_1.yaml"),
    "blimp_anaphor_gender_agreement": ("blimp", "blimp/anaphor_gender_agreement.yaml"),
}


def save_models(folder: Path) -> None:
    """A GPT-2 without BOS; and a Llama whose template begins with one, of a context that boolq does not fit in."""
    import transformers
    from checkpoints import save_tokenizer

    torch.manual_seed(3)
    for name, special, template in (("gpt2", {"eos": "<|endoftext|>"}, ""), ("llama", {"bos": "<s>"}, "<s> $A")):
        (folder / name).mkdir()
        special = {"bos": "<|endoftext|>", "eos": "</s>"} | special if name == "llama" else special
        vocab = save_tokenizer(folder / name, special, template)
        if name == "gpt2":
            config: Any = transformers.GPT2Config(vocab_size=vocab, n_embd=32, n_layer=2, n_head=4, n_positions=4096)
            model: Any = transformers.GPT2LMHeadModel(config)
        else:
            sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
            config = transformers.LlamaConfig(
                vocab_size=vocab, num_key_value_heads=2, max_position_embeddings=1100, **sizes
            )
            model = transformers.LlamaForCausalLM(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape) * 0.1)
        model.save_pretrained(folder / name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("harness")
    save_models(folder)
    return folder


@pytest.fixture(scope="module")
def harness(lm_eval: Any) -> Callable[..., Any]:
    """harness(yaml, rows by split) -> the harness's own task on those rows."""
    import datasets
    from groundup.evaluation.evaluate_library import find_evaluate_library

    find_evaluate_library()
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    def build(yaml: str, rows: list[dict[str, Any]]) -> Any:
        config = load_yaml(Path(lm_eval.__file__).parent / "tasks" / yaml, resolve_func=True)
        config.pop("tag", None)
        split = datasets.Dataset.from_list(rows)
        splits = datasets.DatasetDict(dict.fromkeys(("train", "validation", "test", "dev"), split))
        return ConfigurableTask(config={**config, "custom_dataset": lambda **_: splits})

    return build


@functools.cache
def ours(folder: Path) -> tuple[Any, Any]:
    return load_pretrained(folder, dtype="fp32"), load_tokenizer(folder)


@functools.cache
def theirs(folder: Path, **settings: Any) -> Any:
    """The harness's HF backend."""
    import transformers
    from lm_eval.models.huggingface import HFLM

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return HFLM(
        pretrained=model, tokenizer=transformers.AutoTokenizer.from_pretrained(folder), device="cpu", **settings
    )


def run(model: Any, name: str, task: Any) -> tuple[dict[str, float], list[list[float]]]:
    """The numbers the harness counts, and the log-likelihoods of each question's choices."""
    from lm_eval.evaluator import evaluate

    results: Any = evaluate(lm=model, task_dict={name: task}, limit=ROWS, bootstrap_iters=100)
    (numbers,), (samples,) = results["results"].values(), results["samples"].values()
    plain = {key.removesuffix(",none"): value for key, value in numbers.items() if key.startswith("acc")}
    rows = sorted(samples, key=lambda row: row["doc_id"])
    return plain, [[float(answer[0][0]) for answer in row["resps"]] for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["gpt2", "llama"])
@pytest.mark.parametrize("name", TASKS)
def test_the_same_accuracy_and_log_likelihoods(
    folder: Path, shared: Path, harness: Callable[..., Any], model: str, name: str
) -> None:
    place, yaml = TASKS[name]
    task = find_task(name)
    rows = [row for _, row in read_split(task, shared / "eval" / place).rows]
    if task.group is not None:
        rows = [row for row in rows if task.group(row) == task.only]
    built = harness(yaml, rows)
    expected, sums = run(theirs(folder / model, batch_size=16), name, built)
    native, tokenizer = ours(folder / model)
    questions = load_questions(task, shared / "eval" / place, ROWS)
    found = multiple_choice(native, tokenizer, task, questions, progress=False)
    assert found.n == len(sums) == min(ROWS, len(rows))
    for row, row_of_theirs in zip(found.rows, sums, strict=True):
        assert row["log_likelihoods"] == pytest.approx(row_of_theirs, abs=1e-3)
    for metric in task.metrics:
        assert found.numbers[metric] * found.n == pytest.approx(expected[metric] * found.n, abs=1e-9)
        assert found.errors[metric] == pytest.approx(expected[f"{metric}_stderr"], abs=1e-9)

    if model == "llama" or name.startswith("blimp"):  # a BOS; and contexts that are empty, without one
        from groundup.evaluation.harness import HarnessModel

        adapted, again = run(HarnessModel(native, tokenizer, progress=False), name, built)
        assert adapted == pytest.approx(expected, abs=1e-9)
        assert [x for row in again for x in row] == pytest.approx([x for row in sums for x in row], abs=1e-3)


# --- the adapter


def requests(*pairs: Any) -> list[Any]:
    return [SimpleNamespace(args=pair, task_name="") for pair in pairs]


TEXTS = ["", "1", "1 and 2 make 3. " * 9, "2 and 3 make 5. some other words " * 40]


@pytest.mark.parametrize("model", ["gpt2", "llama"])
def test_rolling_log_likelihoods(lm_eval: Any, folder: Path, model: str) -> None:
    from groundup.evaluation.harness import HarnessModel

    native, tokenizer = ours(folder / model)
    texts = requests(*((text,) for text in TEXTS[1:]))
    found = HarnessModel(native, tokenizer, progress=False).loglikelihood_rolling(texts)
    assert found == pytest.approx(theirs(folder / model).loglikelihood_rolling(texts, disable_tqdm=True), abs=1e-3)
    assert HarnessModel(native, tokenizer, progress=False).loglikelihood_rolling(requests(("",)))[0] <= 0


def test_tokens_given_directly_are_scored_like_text(lm_eval: Any, folder: Path) -> None:
    from groundup.evaluation.harness import HarnessModel

    adapter = HarnessModel(*ours(folder / "llama"))
    adapter.settings["progress"] = False
    pairs = [("1 and", " 2 make"), ("", "3 make 4"), ("word ", "1"), ("x" * 1400, " y")]
    by_text = adapter.loglikelihood(requests(*pairs))
    by_template = super(HarnessModel, adapter).loglikelihood(requests(*pairs), disable_tqdm=True)
    assert [one for one, _ in by_text] == pytest.approx([one for one, _ in by_template], abs=1e-4)


def test_texts_are_written_as_theirs(lm_eval: Any, folder: Path) -> None:
    from groundup.evaluation.harness import HarnessModel

    adapter = HarnessModel(*ours(folder / "llama"), batch_size=3, progress=False)
    settings = {"max_gen_toks": 24, "do_sample": False}
    prompts = ["1 and 2", "make", "3. 1 and 2 make", "and some more of it"]
    free = adapter.generate_until(requests(*((text, {"until": [], **settings}) for text in prompts)))
    stop = free[0][2:4] or "x"
    asked = requests(*((text, {"until": [stop], **settings}) for text in prompts))
    found, hf = adapter.generate_until(asked), theirs(folder / "llama").generate_until(asked, disable_tqdm=True)
    assert found == hf
    assert all(stop not in text for text in found)
    with pytest.raises(UserError, match="the task sets num_beams"):
        adapter.generate_until(requests(("1", {"until": [], "num_beams": 2})))


YAML = """
task: sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_target: 0
doc_to_choice: ["3", "4", "5"]
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
metadata: {{version: 3}}
"""


@pytest.mark.slow
def test_a_task_of_the_harness_by_evaluate(lm_eval: Any, folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """From its own YAML, and the same numbers as its own backend."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setenv("GROUNDUP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"question": "{i} and 2 make"}}\n' for i in range(9)))
    yaml = tmp_path / "sums.yaml"
    yaml.write_text(YAML.format(rows=tmp_path / "rows.jsonl"))
    results = evaluate(folder / "gpt2", [f"lm-eval:{yaml}"], limit=7, progress=False, samples=tmp_path / "rows.out")
    numbers = results["tasks"][f"lm-eval:{yaml}"]
    assert numbers["n"] == 7
    assert numbers["version"] == 3
    assert len((tmp_path / "rows.out").read_text().splitlines()) == 7
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    expected: Any = simple_evaluate(model=theirs(folder / "gpt2"), tasks=["sums"], limit=7, task_manager=manager)
    for name in ("acc", "acc_stderr", "acc_norm"):
        assert numbers[name] == pytest.approx(expected["results"]["sums"][f"{name},none"])


def test_bad_input(lm_eval: Any, folder: Path, tmp_path: Path, checkpoint: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match=r"no task 'helaswag'\. Did you mean 'hellaswag'"):
        evaluate(folder / "gpt2", ["lm-eval:helaswag"])
    with pytest.raises(UserError, match=r"none.yaml: there is no such file"):
        evaluate(folder / "gpt2", [f"lm-eval:{tmp_path}/none.yaml"])
    with pytest.raises(UserError, match="needs a causal language model"):
        evaluate(checkpoint("bert"), ["lm-eval:hellaswag"])


def test_the_evaluate_library_is_found_from_the_root(lm_eval: Any, root: Path) -> None:
    """Where evaluate.py is first on sys.path, as for a script in the root and for `python -m pytest`."""
    code = (
        "import sys; sys.path.insert(0, ''); import evaluate; assert not hasattr(evaluate, 'load'); "
        "import groundup.evaluation.harness; import evaluate; print(evaluate.load.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "evaluate.loading", done.stderr
