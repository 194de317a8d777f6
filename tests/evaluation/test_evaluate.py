"""evaluate.py's numbers against a plain computation over the same text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from groundup.configs.schema import load_config
from groundup.errors import UserError
from groundup.evaluation import evaluate
from groundup.evaluation.command import main
from groundup.trainers.folder import find_run
from groundup.trainers.load import load_run
from groundup.trainers.run import train

YAML = """
model: {{core_model_type: generic, num_layers: 1, hidden_dim: 16, context_window: 8, positional_encoding_type: rope,
  tokenizer_type: byte, ffn: {{ffn_type: silu_ffn, ffn_dim: 24}}, attn: {{attn_type: causal, num_kv_heads: 2}}}}
trainer: {{batch_size: 2, gradient_accumulation_steps: 1, max_iters: 3, warmup_iters: 1, loss_fn: cross_entropy}}
dataset: {{name: {text}, documents: line}}
evaluation: {{sample_tokens: 0, max_batches: null}}
output: {{output_dir: {out}, plots: false}}
general: {{device: cpu}}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    patch = pytest.MonkeyPatch()
    patch.setenv("GROUNDUP_CACHE", str(folder / "cache"))
    (folder / "text.txt").write_text("".join(f"line number {i} of the text\n" for i in range(80)))
    (folder / "run.yaml").write_text(YAML.format(text=folder / "text.txt", out=folder / "out"))
    assert train(load_config(folder / "run.yaml", [])) == 0
    yield find_run("latest", folder / "out")
    patch.undo()


def by_hand(folder: Path, lines: list[str]) -> tuple[float, int, int]:
    """Nats, tokens and bytes: the stream in rows of 8, each document of a row seen alone."""
    model, tokenizer = load_run(folder)
    stream = [(token, n) for n, line in enumerate(lines) for token in [*tokenizer.encode(line), tokenizer.eos_id]]
    nats, count = 0.0, 0
    for start in range(0, len(stream), 8):
        row = stream[start : start + 9]
        for n in dict.fromkeys(n for _, n in row[:8]):
            inputs = [token for token, m in row[:8] if m == n]
            ids = [token for token, m in row if m == n]
            targets = ids[1 : len(inputs) + 1]
            if targets:
                logits = model(torch.tensor([inputs]))[0, : len(targets)]
                nats += F.cross_entropy(logits, torch.tensor(targets), reduction="sum").item()
                count += len(targets)
    return nats, count, sum(len(line.encode()) for line in lines)


def test_perplexity_of_another_text(run: Path, tmp_path: Path) -> None:
    text = tmp_path / "other.txt"
    text.write_text("some other text, é and all, that is one document of a file")
    output = tmp_path / "numbers.json"
    results = evaluate(run, data=text, output=output, batch_size=3)
    nats, count, n_bytes = by_hand(run, [text.read_text()])
    numbers = results["tasks"]["perplexity"]
    assert numbers["tokens"] == count
    assert numbers["loss"] == pytest.approx(nats / count, rel=1e-5)
    assert numbers["perplexity"] == pytest.approx(math.exp(nats / count), rel=1e-5)
    per_token = n_bytes / (n_bytes + 1)  # the end-of-text token stands for no byte
    assert numbers["bits_per_byte"] == pytest.approx(nats / count / math.log(2) / per_token, rel=1e-5)
    assert json.loads(output.read_text()) == results


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_batch_size_does_not_matter(run: Path, batch_size: int) -> None:
    a = evaluate(run, batch_size=batch_size)["tasks"]["perplexity"]
    b = evaluate(run, batch_size=4)["tasks"]["perplexity"]
    assert a["tokens"] == b["tokens"]
    assert a["loss"] == pytest.approx(b["loss"], rel=1e-6)


def test_the_command(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(run), "--device", "cpu", "--limit", "2"]) == 0
    assert "perplexity" in capsys.readouterr().out


def test_bad_input_is_one_sentence(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="Did you mean 'perplexity'"):
        evaluate(run, ["perplexty"])
    with pytest.raises(UserError, match=r"holds neither a config\.json nor a run's checkpoint"):
        evaluate(tmp_path)
    assert main(["--model", str(tmp_path / "none"), "--device", "cpu"]) == 1
    assert capsys.readouterr().err.startswith("error: ")


# --- models of Hugging Face


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GROUNDUP_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "text.txt"
    path.write_text(" ".join(f"{i} and {i + 1} make {2 * i + 1}." for i in range(30)))
    return path


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_perplexity_of_a_directory_of_hugging_face(checkpoint: Callable[[str], Path], text: Path, name: str):
    """Against transformers, row by row; the document begins as the checkpoint's tokenizer begins one."""
    import transformers

    results = evaluate(checkpoint(name), ["perplexity"], data=text)
    assert (results["model"], results["step"]) == (str(checkpoint(name)), None)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(checkpoint(name)).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint(name))
    ids = [*tokenizer(text.read_text()).input_ids, tokenizer.eos_token_id]
    assert (ids[0] == tokenizer.bos_token_id) == (name == "llama")
    nats = 0.0
    for start in range(0, len(ids) - 1, 64):
        row, targets = ids[start : start + 64], ids[start + 1 : start + 65]
        logits = theirs(torch.tensor([row])).logits[0, : len(targets)]
        nats += F.cross_entropy(logits, torch.tensor(targets), reduction="sum").item()
    numbers = results["tasks"]["perplexity"]
    assert numbers["tokens"] == len(ids) - 1
    assert numbers["loss"] == pytest.approx(nats / (len(ids) - 1), abs=1e-5)
    predicted = len(ids) - (name == "llama")
    assert numbers["bits_per_byte"] == pytest.approx(
        numbers["loss"] / math.log(2) * predicted / len(text.read_bytes()), rel=1e-6
    )


def test_an_encoder_guesses_masked_tokens(checkpoint: Callable[[str], Path], text: Path, capsys):
    results = evaluate(checkpoint("bert"), data=text)
    numbers = results["tasks"]["masked_lm"]
    assert results["tasks"].keys() == {"masked_lm"}
    assert numbers == evaluate(checkpoint("bert"), ["masked_lm"], data=text)["tasks"]["masked_lm"] | {
        "seconds": numbers["seconds"]
    }
    assert 0 < numbers["tokens"] < 400
    assert 5 < numbers["loss"] < 7
    assert main(["--model", str(checkpoint("bert")), "--data", str(text), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{checkpoint('bert')} on {text}\n  masked_lm\n    loss ")


@pytest.mark.parametrize(
    ("name", "task", "said"),
    [
        ("bert", "perplexity", "perplexity needs a causal model"),
        ("gpt2", "masked_lm", "masked_lm needs a bidirectional model"),
        ("bare_bert", "masked_lm", "bare_bert has no masked-LM head"),
    ],
)
def test_tasks_that_a_model_cannot_do(checkpoint: Callable[[str], Path], text: Path, name: str, task: str, said: str):
    with pytest.raises(UserError, match=said):
        evaluate(checkpoint(name), [task], data=text)


def test_a_directory_of_hugging_face_has_held_out_nothing(checkpoint: Callable[[str], Path]):
    with pytest.raises(UserError, match="gpt2 is no run that has held out text: name one with --data"):
        evaluate(checkpoint("gpt2"))


def test_a_model_for_very_long_texts_is_measured_in_shorter_rows():
    from groundup.evaluation.perplexity import longest_row
    from groundup.models.config import ModelConfig
    from groundup.models.model import build_model

    sizes = {"vocab_size": 9, "d_model": 4, "n_layers": 1, "n_heads": 1, "d_ff": 4, "positions": "rope"}
    for built, asked, row in ((131_072, None, 2048), (100, None, 100), (131_072, 5000, 5000), (100, 5000, 100)):
        model = build_model(ModelConfig(**sizes, max_seq_len=built))  # pyright: ignore[reportArgumentType]
        assert longest_row(model, asked) == row


def test_an_option_that_no_task_takes_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is loaded; one that some of the tasks take is meant for them."""
    for option, value in (("--num-fewshot", "2"), ("--generations", "3"), ("--add-bos", "no"), ("--samples", "x")):
        assert main(["--model", str(run), "--tasks", "perplexity,masked_lm", option, value]) == 1
        assert f"{option} does nothing for perplexity, masked_lm: leave it out" in capsys.readouterr().err
    assert main(["--model", str(run), "--tasks", "copa", "--stride", "2"]) == 1
    assert "--stride does nothing for copa" in capsys.readouterr().err
    assert main(["--model", str(run), "--tasks", "perplexity,text_modeling", "--stride", "4", "--limit", "2"]) == 0
    assert main(["--model", str(run), "--output", str(tmp_path)]) == 1
    assert f"--output {tmp_path}: cannot be written there" in capsys.readouterr().err


def test_what_is_wrong_with_the_last_task_is_found_before_the_first_is_measured(run: Path, tmp_path: Path) -> None:
    good, bad = tmp_path / "domain_specific_eval.jsonl", tmp_path / "copa.jsonl"
    good.write_text('{"prompt": "a", "choices": ["b", "c"], "answer": 0}\n')
    bad.write_text('{"premise": "x"}\n')
    rows = tmp_path / "rows"
    with pytest.raises(UserError, match=r"copa.jsonl:1 has the columns premise"):
        evaluate(run, ["domain-specific-eval", "copa"], data=tmp_path, samples=rows, progress=False)
    assert not rows.read_text()
