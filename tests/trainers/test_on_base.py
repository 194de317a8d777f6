"""LoRA, QLoRA and Spectrum as runs: what trains, what a checkpoint holds, and that it goes on bit for bit."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from groundup.errors import UserError
from groundup.models import load_pretrained
from groundup.models.base import Base, train_only
from groundup.models.lora import adapters, add_lora, load_adapter
from groundup.models.quant import Packing
from groundup.models.quant.packed import PackedLinear
from groundup.trainers.command import main
from groundup.trainers.load import load_run
from groundup.trainers.metrics import read_jsonl
from safetensors.torch import load_file

Checkpoint = Callable[[str], Path]
LORA = ("--fine_tuning.method", "lora")
QLORA = ("--fine_tuning.method", "qlora", "--model.load_in_4bit", "true")
SPECTRUM = ("--fine_tuning.method", "spectrum")
SPECTRUM_4BIT = (*SPECTRUM, "--model.load_in_4bit", "true")
METHODS = {"lora": LORA, "qlora": QLORA, "spectrum": SPECTRUM, "spectrum in 4 bits": SPECTRUM_4BIT}
METHODS["lora in 8 bits"] = (*LORA, "--model.load_in_8bit", "true")


def step(folder: Path, number: int) -> Path:
    return folder / "train" / "weights" / f"step_{number:08d}"


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_jsonl(folder / "train" / "metrics" / "train.jsonl")]


def ids_of(model: Any) -> torch.Tensor:
    return torch.randint(model.config.vocab_size, (2, 13), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
@pytest.mark.parametrize("method", METHODS)
def test_a_checkpoint_holds_what_trained_and_nothing_else_changed(
    start: Any, checkpoint: Checkpoint, name: str, method: str
):
    source = checkpoint(name)
    folder = start("out", f"model={source}", *METHODS[method])
    saved = load_file(step(folder, 4) / "model.safetensors")
    model, _ = load_run(folder)
    trained = {key for key, p in model.named_parameters() if p.requires_grad}
    assert saved.keys() == trained
    assert 0 < len(trained) < len(list(model.named_parameters()))
    packing = Packing("int8") if "8" in method else Packing() if "4" in method or method == "qlora" else None
    plain, own = load_pretrained(source), dict(model.named_parameters())
    for key, value in plain.named_parameters():
        if key in trained:
            assert not torch.equal(own[key], value), key
        elif key in own:
            assert torch.equal(own[key], value), key
        else:
            assert isinstance(model.get_submodule(key.rpartition(".")[0]), PackedLinear)
            assert packing is not None
    assert all(value.dtype == torch.float32 for value in saved.values())


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_goes_on_ends_with_the_same_bits(start: Any, checkpoint: Checkpoint, method: str):
    """Dropout on the adapters' input is random, so its state must come back too."""
    folder = start("out", f"model={checkpoint('llama')}", *METHODS[method])
    whole = {name: load_file(step(folder, 4) / f"{name}.safetensors") for name in ("model", "optimizer")}
    shutil.rmtree(step(folder, 4))
    for link in ("last", "best"):
        (folder / "train" / "weights" / link).unlink()
        os.symlink("step_00000002", folder / "train" / "weights" / link)
    assert main(["--resume", str(folder)]) == 0
    for name, tensors in whole.items():
        again = load_file(step(folder, 4) / f"{name}.safetensors")
        assert tensors.keys() == again.keys()
        for key in tensors:
            assert torch.equal(tensors[key], again[key]), (name, key)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_adapter_in_a_checkpoint_is_peft_s(start: Any, checkpoint: Checkpoint, name: str):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    source = checkpoint(name)
    folder = start("out", f"model={source}", *LORA, "--fine_tuning.lora.r", "3", "--trainer.optimizer.lr", "1e-2")
    model, _ = load_run(folder)
    ids = ids_of(model)
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(source), step(folder, 4) / "adapter").eval()
    best = (folder / "train" / "weights" / "best").resolve()
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(source), best / "adapter").eval()
    with torch.no_grad():
        torch.testing.assert_close(model(ids), theirs(ids).logits, atol=1e-5, rtol=1e-5)
        assert (model(ids) - load_pretrained(source)(ids)).abs().max() > 1e-3
    ours = load_pretrained(source)
    load_adapter(ours, best / "adapter")
    torch.testing.assert_close(ours(ids), model(ids))


def test_the_first_loss_is_the_base_s_own(start: Any, checkpoint: Checkpoint):
    """An adapter starts at zero; dropout is off for GPT-2's own only where it is set so."""
    words = (f"model={checkpoint('llama')}", "trainer.mixed_precision=no")
    plain, lora = start("full", *words), start("lora", *words, *LORA)
    assert losses(plain)[0] == pytest.approx(losses(lora)[0], abs=1e-6)
    assert losses(plain)[-1] != losses(lora)[-1]


@pytest.mark.parametrize("method", METHODS)
def test_it_learns(start: Any, checkpoint: Checkpoint, method: str):
    more = ("trainer.max_iters=40", "evaluation.interval=40", "--trainer.optimizer.lr", "1e-2")
    folder = start("out", f"model={checkpoint('llama')}", *METHODS[method], *more)
    before = json.loads((folder / "baseline" / "metrics" / "heldout.json").read_text())["loss"]
    results = json.loads((folder / "training_results.json").read_text())
    assert results["heldout"]["loss"] < before - 0.5
    assert 0 < results["trained_parameters"] < results["parameters"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *((name, words) for name in ("llama", "gpt2") for words in (LORA, QLORA, SPECTRUM, SPECTRUM_4BIT)),
        ("gpt2", (*LORA, "--fine_tuning.lora.bias", "all")),
    ],
)
def test_in_bf16_what_trains_is_in_fp32(start: Any, checkpoint: Checkpoint, name: str, words: tuple[str, ...]):
    """Sampling and the tasks of an evaluation run outside of a step, and pictures are drawn of attention."""
    more = ("trainer.mixed_precision=bf16", "trainer.gradient_checkpointing=true", "output.plots=true")
    folder = start("out", f"model={checkpoint(name)}", *words, *more)
    saved = load_file(step(folder, 4) / "model.safetensors")
    assert {value.dtype for value in saved.values()} == {torch.float32}
    base = json.loads((step(folder, 4) / "state.json").read_text())["base"]
    assert base["dtype"] == "bf16"
    model = Base.from_dict(base).load()
    train_only(model, [key for key, _ in model.named_parameters() if key in saved])
    ids = ids_of(model)
    assert model(ids).dtype == torch.bfloat16
    assert not torch.equal(load_run(folder)[0](ids).float(), model(ids).float())


def test_random_weights_are_kept_with_the_run_and_move_with_it(start: Any, tmp_path: Path):
    folder = start("out", "model=BERT-tiny", "--init", "random", "trainer.max_seq_length=16", *LORA)
    assert (folder / "base" / "model.safetensors").is_file()
    before, _ = load_run(folder)
    moved = tmp_path / "moved"
    shutil.move(folder, moved)
    after, _ = load_run(moved)
    ids = ids_of(before)
    torch.testing.assert_close(before(ids), after(ids), rtol=0, atol=0)


def test_settings_reach_the_adapters(start: Any, checkpoint: Checkpoint):
    words = ("--fine_tuning.lora.r", "3", "--fine_tuning.lora.alpha", "12", "--fine_tuning.lora.dropout", "0")
    words += ("--fine_tuning.lora.target_modules", "[c_attn]", "--fine_tuning.lora.bias", "lora_only")
    words += ("--fine_tuning.lora.use_rslora", "true")
    folder = start("out", f"model={checkpoint('gpt2')}", *LORA, *words)
    said = json.loads((step(folder, 4) / "adapter" / "adapter_config.json").read_text())
    assert (said["r"], said["lora_alpha"], said["lora_dropout"], said["bias"]) == (3, 12, 0.0, "lora_only")
    assert (said["target_modules"], said["use_rslora"]) == (["c_attn"], True)
    model, _ = load_run(folder)
    expected = load_pretrained(checkpoint("gpt2"))
    add_lora(expected, 3, 12, 0.0, ["c_attn"], "lora_only", "rslora")
    assert adapters(model).keys() == adapters(expected).keys()
    trained = {n for n, p in expected.named_parameters() if p.requires_grad}
    assert trained == {n for n, p in model.named_parameters() if p.requires_grad}


def test_a_schedule_of_dropout_reaches_the_adapters(start: Any, checkpoint: Checkpoint):
    """Off, as the study of overfitting has it, the run is the one of adapters that drop nothing."""
    words = (f"model={checkpoint('llama')}", *LORA, "--fine_tuning.lora.dropout")
    off = ("--trainer.dropout_schedule.name", "constant", "--trainer.dropout_schedule.start", "0")
    scheduled, none, some = (
        start("off", *words, "0.5", *off),
        start("none", *words, "0", *off),
        start("on", *words, "0.5"),
    )
    assert losses(scheduled) == losses(none) != losses(some)


def test_packing_is_as_the_settings_say(start: Any, checkpoint: Checkpoint):
    words = ("--fine_tuning.quantization.bnb_4bit_quant_type", "fp4", "--fine_tuning.quantization.block_size", "32")
    words += ("--fine_tuning.quantization.bnb_4bit_use_double_quant", "false")
    words += ("--fine_tuning.quantization.skip_modules", "[embedder, head, ffn]")
    folder = start("out", f"model={checkpoint('llama')}", *QLORA, *words)
    model, _ = load_run(folder)
    packed = {name: module for name, module in model.named_modules() if isinstance(module, PackedLinear)}
    assert len(packed) == 2 * 4
    assert all(name.split(".")[-3] == "attn" for name in packed)
    settings = {json.dumps(module.settings(), sort_keys=True) for module in packed.values()}
    assert settings == {json.dumps({"kind": "fp4", "block_size": 32, "double_quant": False}, sort_keys=True)}
    assert {module.compute_dtype for module in packed.values()} == {torch.bfloat16}


def test_a_base_is_the_same_after_a_round_through_json():
    for packing in (None, Packing("fp4", ("head", "core.layers.0"), 128, False, torch.bfloat16)):
        base = Base("org/name", "causal_lm", "bf16", 2, "main", packing)
        assert Base.from_dict(json.loads(json.dumps(base.to_dict()))) == base


def test_a_base_that_is_gone_is_named(start: Any, checkpoint: Checkpoint, tmp_path: Path):
    source = tmp_path / "base"
    shutil.copytree(checkpoint("llama"), source)
    folder = start("out", f"model={source}", *LORA)
    shutil.rmtree(source)
    with pytest.raises(UserError, match=r"the weights below what was trained: .*no such directory; put .*base back"):
        load_run(folder)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*LORA, "--fine_tuning.lora.target_modules", "[q_prj]"), "Target modules not found in model"),
        ((*LORA, "--fine_tuning.lora.r", "33"), "33, and no matrix of llama has a rank above 32"),
        ((*LORA, "--fine_tuning.lora.r", "32"), "rank 32 is larger than the matrix"),
        (("--fine_tuning.method", "qlora"), "set model.load_in_4bit to true, or use lora"),
        (("--model.load_in_4bit", "true"), "packed weights cannot be trained"),
        ((*QLORA, "--model.load_in_8bit", "true"), "in 4 bits or in 8, not in both"),
        ((*QLORA, "--fine_tuning.quantization.bits", "8"), "8 needs model.load_in_8bit, and the other is set"),
        (
            (*QLORA, "--fine_tuning.quantization.bnb_4bit_compute_dtype", "float16"),
            "a CPU has no fast products in float16",
        ),
        ((*LORA, "--fine_tuning.spectrum.snr_threshold", "0.7"), "has no effect with fine_tuning.method lora"),
        ((*SPECTRUM, "--fine_tuning.lora.r", "4"), "has no effect with fine_tuning.method spectrum"),
        ((*LORA, "--fine_tuning.quantization.bnb_4bit_quant_type", "fp4"), "has no effect without model.load_in_4bit"),
        ((*LORA, "--fine_tuning.lora.task_type", "SEQ_CLS"), "SEQ_CLS does not fit language modelling with a decoder"),
        ((*LORA, "--fine_tuning.lora.task_type", "SEQCLS"), "SEQCLS is not known"),
        (
            (*LORA, "--fine_tuning.lora.use_dora", "true", "--fine_tuning.lora.use_rslora", "true"),
            "choose one",
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
):
    (tmp_path / "text.txt").write_text("some words to learn from. " * 100)
    command = [f"model={checkpoint('llama')}", f"dataset.name={tmp_path / 'text.txt'}", "device=cpu"]
    assert main([*command, f"output.output_dir={tmp_path / 'out'}", "trainer.max_seq_length=16", *words]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert said in error


def test_a_run_on_a_base_is_no_base_for_another(
    start: Any, checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    folder = start("out", f"model={checkpoint('llama')}", *LORA)
    (tmp_path / "more.txt").write_text("some words to learn from. " * 100)
    assert main([f"model={folder}", f"dataset.name={tmp_path / 'more.txt'}", "device=cpu"]) == 1
    assert f"python train.py --export {folder} --output DIR" in capsys.readouterr().err


def test_a_checkpoint_that_is_packed_already_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    source = tmp_path / "packed"
    shutil.copytree(checkpoint("llama"), source)
    hf = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(hf | {"quantization_config": {"quant_method": "bitsandbytes"}}))
    (tmp_path / "text.txt").write_text("some words to learn from. " * 100)
    assert main([f"model={source}", f"dataset.name={tmp_path / 'text.txt'}", "device=cpu", *QLORA]) == 1
    assert (
        "the weights are quantised (quantization_config), which cannot be read: take the checkpoint they"
        in capsys.readouterr().err
    )


# --- out again


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
@pytest.mark.parametrize("method", [*METHODS, "full"])
def test_an_exported_run_is_a_checkpoint_of_transformers(
    start: Any, checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, method: str
):
    """Its logits are the run's own, up to what packing took away, which is said."""
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    source = checkpoint(name)
    folder = start("out", f"model={source}", *METHODS.get(method, ()), "--trainer.optimizer.lr", "1e-2")
    capsys.readouterr()
    assert main(["--export", str(folder), "--output", str(tmp_path / "hf")]) == 0
    said = capsys.readouterr().err
    kind = AutoModelForMaskedLM if name == "bert" else AutoModelForCausalLM
    theirs, info = kind.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    model, tokenizer = load_run(folder)
    ids = ids_of(model)
    with torch.no_grad():
        moved = (model(ids) - theirs.eval()(ids).logits).abs().max().item()
        trained = (load_pretrained(source)(ids) - theirs(ids).logits).abs().max().item()
    assert trained > 1e-2
    if "4" in method or "8" in method or method == "qlora":
        assert float(said.split()[-1]) > 1e-4
        assert moved < 4 * float(said.split()[-1])
    else:
        assert moved < 1e-5
    assert tokenizer.encode("5 and 6") == load_run(folder)[1].encode("5 and 6")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--export", "nowhere", "--output", "x"], "nowhere: no checkpoint in it"),
        (["--export", "RUN"], "--export needs --output DIR"),
        (["--export", "RUN", "--output", "."], "there is something already: name a new folder"),
        (["--export", "RUN", "--output", "x", "--dtype", "bf"], "--dtype bf: must be one of fp32, bf16, fp16"),
        (["--export", "RUN", "--output", "x", "trainer.max_iters=2"], "leave trainer.max_iters=2 out"),
        (["--output", "x", "model=gpt2"], "--output is for --export RUN"),
    ],
)
def test_a_wrong_export_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    assert main(words) == 1
    assert said in capsys.readouterr().err


def test_conversations_are_learned_and_gone_on_with(start: Any, checkpoint: Checkpoint, tmp_path: Path):
    """The template that rows were rendered by is saved with the run, so the same rows come again."""
    turns = (("human", "Say {}."), ("gpt", "{}."))
    rows = [{"conversations": [{"from": who, "value": said.format(i)} for who, said in turns]} for i in range(60)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    words = ["--dataset.format", "sharegpt", f"dataset.name={tmp_path / 'rows.json'}", *LORA]
    words += ["trainer.max_seq_length=64", "dataset.documents=auto", "--trainer.optimizer.lr", "1e-2"]
    folder = start("out", f"model={checkpoint('gpt2')}", "--dataset.on_overflow", "truncate", *words)
    whole = load_file(step(folder, 4) / "model.safetensors")
    shutil.rmtree(step(folder, 4))
    for link in ("last", "best"):
        (folder / "train" / "weights" / link).unlink()
        os.symlink("step_00000002", folder / "train" / "weights" / link)
    assert main(["--resume", str(folder)]) == 0
    again = load_file(step(folder, 4) / "model.safetensors")
    assert all(torch.equal(whole[key], again[key]) for key in whole)


@pytest.mark.parametrize("name", ["bert", "llama"])
@pytest.mark.parametrize("method", METHODS)
def test_a_classifier(start: Any, checkpoint: Checkpoint, tmp_path: Path, name: str, method: str):
    """The head, which is new, trains beside whatever else does; it goes on, and comes out, with its classes named."""
    from transformers import AutoModelForSequenceClassification

    words = {"odd": "one three five seven", "even": "two four six eight"}
    lines = [f"{words[kind].split()[i % 4]} and {i},{kind}" for i in range(40) for kind in words]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *lines]))
    command = [f"dataset.name={tmp_path / 'rows.csv'}", "dataset.documents=auto", "dataset.val_fraction=0.2"]
    more = ("--trainer.optimizer.lr", "3e-3", "trainer.max_iters=120", "trainer.checkpoint_interval=60")
    folder = start("out", f"model={checkpoint(name)}", *command, *METHODS[method], *more, "evaluation.interval=60")
    results = json.loads((folder / "training_results.json").read_text())
    assert results["heldout"]["accuracy"] > 0.8, results["heldout"]
    whole = load_file(step(folder, 120) / "model.safetensors")
    assert any(key.startswith("head.") for key in whole)
    assert main(["--export", str(folder), "--output", str(tmp_path / "hf")]) == 0
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "hf").eval()
    assert theirs.config.id2label == {0: "even", 1: "odd"}
    model, _ = load_run(folder)
    ids = ids_of(model)[:, :9]
    plain = METHODS[method] in (LORA, SPECTRUM)
    with torch.no_grad():
        torch.testing.assert_close(model(ids), theirs(ids).logits, atol=1e-5 if plain else 2, rtol=1e-5)


OF_A_RUN = {name: METHODS[name] for name in ("lora", "qlora", "spectrum", "spectrum in 4 bits")}
OF_A_RUN["head"] = ("--fine_tuning.method", "head")


@pytest.fixture
def classified(start: Any, tmp_path: Path) -> Callable[..., Path]:
    """classified("out", "model=...") trains a classifier of two kinds for four steps."""
    lines = [f"{i} and {i + k},{('even', 'odd')[k]}" for i in range(30) for k in (0, 1)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *lines]))
    words = [f"dataset.name={tmp_path / 'rows.csv'}", "dataset.documents=auto", "dataset.val_fraction=0.2"]
    return lambda out, *more: start(out, *words, *more)


@pytest.mark.parametrize(
    ("name", "method"), [*(("bert", method) for method in OF_A_RUN), ("gpt2", "lora"), ("gpt2", "qlora")]
)
def test_a_run_is_classified_by_a_part_of_it(
    start: Any, classified: Any, checkpoint: Checkpoint, tmp_path: Path, name: str, method: str
):
    """A run of one's own under a new head, which trains whatever else does; it goes on, moves, and comes out."""
    from transformers import AutoModelForSequenceClassification

    own = start("own", f"model={checkpoint(name)}")
    words = [f"model={own}", *OF_A_RUN[method]]
    if method == "lora":
        words += ["--fine_tuning.lora.target_modules", "[c_attn]" if name == "gpt2" else "[query, value]"]
    folder = classified("out", *words)
    whole = {part: load_file(step(folder, 4) / f"{part}.safetensors") for part in ("model", "optimizer")}
    model, _ = load_run(folder)
    head = {key for key, _ in model.named_parameters() if key.startswith("head.")}
    assert head <= whole["model"].keys()
    before, _ = load_run(own)
    assert torch.equal(model.embedder.tokens.weight, before.embedder.tokens.weight)

    assert main(["--export", str(folder), "--output", str(tmp_path / "hf")]) == 0
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "hf").eval()
    assert theirs.config.id2label == {0: "even", 1: "odd"}
    ids = ids_of(model)[:, :9]
    exact = "4" not in method and method != "qlora"
    with torch.no_grad():
        torch.testing.assert_close(model(ids), theirs(ids).logits, atol=1e-5 if exact else 2, rtol=1e-5)

    moved = tmp_path / "moved"
    shutil.move(folder, moved)
    with torch.no_grad():
        assert torch.equal(load_run(moved)[0](ids), model(ids))
    assert main(["--export", str(moved), "--output", str(tmp_path / "again")]) == 0
    for key, tensor in load_file(tmp_path / "hf" / "model.safetensors").items():
        assert torch.equal(load_file(tmp_path / "again" / "model.safetensors")[key], tensor), key
    shutil.rmtree(step(moved, 4))
    for link in ("last", "best"):
        (moved / "train" / "weights" / link).unlink()
        os.symlink("step_00000002", moved / "train" / "weights" / link)
    assert main(["--resume", str(moved)]) == 0
    for part, tensors in whole.items():
        again = load_file(step(moved, 4) / f"{part}.safetensors")
        assert all(torch.equal(tensors[key], again[key]) for key in tensors), part


@pytest.mark.parametrize("method", OF_A_RUN)
def test_random_weights_are_classified_by_a_part_of_them(classified: Any, checkpoint: Checkpoint, method: str):
    words = (f"model={checkpoint('bert')}", "init=random", "trainer.mixed_precision=bf16")
    folder = classified("out", *words, *OF_A_RUN[method])
    model, _ = load_run(folder)
    saved = load_file(step(folder, 4) / "model.safetensors")
    assert {key for key, _ in model.named_parameters() if key.startswith("head.")} <= saved.keys()


def test_a_classifier_of_ones_own_goes_on_under_its_head(classified: Any, checkpoint: Checkpoint):
    """As many classes: nothing is drawn, and nothing is kept a second time."""
    own = classified("own", f"model={checkpoint('bert')}")
    folder = classified("out", f"model={own}", *LORA, "--trainer.optimizer.lr", "1e-9", "trainer.optimizer.min_lr=0")
    assert not (folder / "base").exists()
    ours, before = load_run(folder)[0], load_run(own)[0]
    ids = ids_of(before)[:, :9]
    torch.testing.assert_close(ours(ids), before(ids), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("name", "module", "head"), [("gpt2", "wte", "score"), ("bert", "LayerNorm", "classifier")])
def test_a_head_trains_beside_what_is_named(
    start: Any, checkpoint: Checkpoint, tmp_path: Path, name: str, module: str, head: str
):
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *(f"{i} and {i},{i % 2}" for i in range(80))]))
    words = [f"dataset.name={tmp_path / 'rows.csv'}", "dataset.documents=auto", *LORA]
    folder = start("out", f"model={checkpoint(name)}", *words, "--fine_tuning.lora.modules_to_save", f"[{module}]")
    assert any(key.startswith("head.") for key in load_file(step(folder, 4) / "model.safetensors"))
    said = json.loads((step(folder, 4) / "adapter" / "adapter_config.json").read_text())
    assert {module, head} <= set(said["modules_to_save"])
    assert main(["--resume", str(folder), "trainer.max_iters=5"]) == 0
    first, last = (load_file(step(folder, n) / "model.safetensors") for n in (4, 5))
    assert all(not torch.equal(first[key], last[key]) for key in first if key.startswith("head."))


def test_an_adapter_s_folder_is_a_model_to_measure(start: Any, checkpoint: Checkpoint, capsys: Any, tmp_path: Path):
    from groundup.models.start import find_start
    from groundup.trainers.load import load_start

    folder = start("out", f"model={checkpoint('gpt2')}", *LORA, "--trainer.optimizer.lr", "1e-2")
    adapter = (folder / "train" / "weights" / "best").resolve() / "adapter"
    model, _ = load_run(folder)
    ours, tokenizer = load_start(find_start(adapter))
    ids = ids_of(model)
    torch.testing.assert_close(ours(ids), model(ids))
    assert tokenizer.encode("5 and 6") == load_run(folder)[1].encode("5 and 6")
    (tmp_path / "more.txt").write_text("some words to learn from. " * 100)
    assert main([f"model={adapter}", f"dataset.name={tmp_path / 'more.txt'}", "device=cpu"]) == 1
    assert "is an adapter: name the model it goes on" in capsys.readouterr().err
    card = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(card | {"base_model_name_or_path": str(tmp_path / "gone")}))
    with pytest.raises(UserError, match="is an adapter, and what it goes on is not there"):
        find_start(adapter)
