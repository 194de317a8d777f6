"""evaluate.py --prompt: what a model writes, as its own generate does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from groundup.evaluation.command import main
from groundup.models import load_pretrained
from groundup.tokenizers.load import load_tokenizer

Checkpoint = Callable[[str], Path]


def test_a_text_goes_on_as_generate_has_it(checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]):
    for name, begin in (("gpt2", []), ("llama", [0])):
        source = checkpoint(name)
        assert main(["--model", str(source), "--prompt", "5 and 6", "--max-new-tokens", "7", "--device", "cpu"]) == 0
        model, tokenizer = load_pretrained(source, dtype="fp32"), load_tokenizer(source)
        ids = [*([tokenizer.bos_id] if begin else []), *tokenizer.encode("5 and 6")]
        written = model.generate(torch.tensor([ids]), 7, eos_id=tokenizer.eos_id)[0, len(ids) :].tolist()
        written = written[: written.index(tokenizer.eos_id)] if tokenizer.eos_id in written else written
        assert capsys.readouterr().out == tokenizer.decode(written) + "\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--prompt", "x", "--tasks", "perplexity"], "--prompt writes and --tasks measures: give one of them"),
        (["--max-new-tokens", "3"], "--max-new-tokens is for --prompt TEXT"),
        (["--prompt", "x", "--max-new-tokens", "0"], "--max-new-tokens 0: must be at least 1"),
    ],
)
def test_what_does_not_go_together(
    checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str], words: list[str], said: str
):
    assert main(["--model", str(checkpoint("gpt2")), "--device", "cpu", *words]) == 1
    assert said in capsys.readouterr().err


def test_an_encoder_does_not_write(checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]):
    assert main(["--model", str(checkpoint("bert")), "--prompt", "x", "--device", "cpu"]) == 1
    assert "no language model that writes" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_a_classifier_names_its_classes(
    name: str, checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """As transformers tells them, of a checkpoint it wrote."""
    import transformers

    labels = {0: "bad", 1: "good", 2: "so-so"}
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(
        checkpoint(name), num_labels=3, id2label=labels, label2id={v: k for k, v in labels.items()}
    ).eval()
    theirs.save_pretrained(tmp_path / "classifier")
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint(name))
    tokenizer.save_pretrained(tmp_path / "classifier")
    assert main(["--model", str(tmp_path / "classifier"), "--prompt", "5 and 6", "--device", "cpu"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    logits = theirs(torch.tensor([load_tokenizer(checkpoint(name)).encode("5 and 6", add_special_tokens=True)])).logits
    shares = logits[0].softmax(-1).tolist()
    expected = sorted(zip(labels.values(), shares, strict=True), key=lambda pair: -pair[1])
    assert [name for name, _ in lines] == [name for name, _ in expected]
    for (_, said), (_, share) in zip(lines, expected, strict=True):
        assert float(said) == pytest.approx(share, abs=1e-4)
