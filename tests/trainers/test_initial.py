"""Runs that start from a checkpoint, from its shape or around its core: what they start with, and what comes of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from groundup.configs.architecture import start_of
from groundup.configs.schema import RunConfig, load_config
from groundup.errors import UserError
from groundup.models import load_pretrained, save_pretrained
from groundup.models.saved import read_state
from groundup.models.start import find_start
from groundup.tokenizers.load import load_tokenizer
from groundup.trainers import heldout, objectives
from groundup.trainers import run as trainers_run
from groundup.trainers.command import main
from groundup.trainers.initial import initial_model, initial_tokenizer, special_ids
from groundup.trainers.load import load_run
from groundup.trainers.losses import loss_backward
from groundup.trainers.metrics import read_jsonl
from groundup.trainers.optimizers import parameter_groups
from safetensors.torch import load_file

if TYPE_CHECKING:
    from local_hub import Hub

Checkpoint = Callable[[str], Path]
CPU = torch.device("cpu")


def configured(*words: str) -> RunConfig:
    return load_config(None, ["device=cpu", *words])


def weights(folder: Path, step: int | None = None) -> dict[str, torch.Tensor]:
    weights = folder / "train" / "weights"
    return load_file((weights / f"step_{step:08d}" if step else weights / "last") / "model.safetensors")


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_jsonl(folder / "train" / "metrics" / "train.jsonl")]


# --- from its weights


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "roberta", "deberta"])
def test_a_run_starts_with_the_checkpoints_weights_and_changes_them(start: Any, checkpoint: Checkpoint, name: str):
    run = configured(f"model={checkpoint(name)}")
    begin = start_of(run)
    assert begin is not None
    model = initial_model(run, begin, initial_tokenizer(run, begin), CPU)
    expected = load_pretrained(checkpoint(name))
    assert model.task == ("causal_lm" if model.config.causal else "masked_lm")
    assert model.config == expected.config == begin.config
    for mine, theirs in zip(model.named_parameters(), expected.named_parameters(), strict=True):
        assert mine[0] == theirs[0]
        assert torch.equal(mine[1], theirs[1])

    folder = start("out", f"model={checkpoint(name)}")
    after = weights(folder)
    for key, value in expected.named_parameters():
        assert not torch.equal(after[key], value), key
    assert read_state(folder / "train/weights/last")["task"] == model.task
    assert torch.isfinite(torch.tensor(losses(folder))).all()
    assert folder.parent.name == name


def test_fused_kernels_change_no_loss(
    start: Any, checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """On a CPU: the plain steps, which is said, on no more than a quarter of a batch's logits."""
    chunks: list[int] = []

    def watched(*args: Any, **kwargs: Any) -> torch.Tensor:
        chunks.append(kwargs["chunk"])
        return loss_backward(*args, **kwargs)

    model, said = f"model={checkpoint('llama')}", "note: fused kernels are for CUDA: on cpu the same steps run in plain"
    plain = start("plain", model)
    assert said not in capsys.readouterr().err
    monkeypatch.setattr(objectives, "loss_backward", watched)
    fused = start("fused", model, "model.use_liger_kernels=true")
    assert said in capsys.readouterr().err
    assert losses(fused) == pytest.approx(losses(plain), rel=1e-5)
    assert set(chunks) == {3 * 16 // 4}


def test_flash_attention_always_never_and_as_torch_likes(
    start: Any, checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]
):
    model = f"model={checkpoint('llama')}"
    shares, curves = [], []
    for mode in ("true", "false", "auto"):
        folder = start(mode, model, f"model.use_flash_attention={mode}")
        shares.append(json.loads((folder / "training_results.json").read_text())["flash_attention_share"])
        curves.append(losses(folder))
        said = "flash attention took 100.0% of the calls" in capsys.readouterr().err
        assert said == (mode == "true")
    assert shares == [1.0, 0.0, 1.0]
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    assert curves[0] == curves[2]
    start("half", model, "model.use_flash_attention=true", "trainer.mixed_precision=bf16")
    assert "flash attention took 100.0% of the calls" in capsys.readouterr().err


def test_the_loss_takes_the_cap_of_the_head(start: Any, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch):
    """In training and evaluation, as if the head had taken it."""

    def capped(*args: Any) -> Any:
        model = initial_model(*args)
        model.head.softcap = 0.05
        return model

    model = f"model={checkpoint('llama')}"
    plain = losses(start("plain", model))
    monkeypatch.setattr(trainers_run, "initial_model", capped)
    by_loss = start("loss", model)
    for module in (objectives, heldout):
        monkeypatch.setattr(module, "before_cap", lambda head: (head, None))
    by_head = start("head", model)
    assert losses(by_loss) == pytest.approx(losses(by_head), rel=1e-6)
    assert losses(by_loss) != pytest.approx(plain, rel=1e-4)
    rows = [read_jsonl(run / "train" / "metrics" / "heldout.jsonl") for run in (by_loss, by_head)]
    assert [row["loss"] for row in rows[0]] == pytest.approx([row["loss"] for row in rows[1]], rel=1e-6)


def test_a_half_precision_checkpoint_trains_in_fp32(checkpoint: Checkpoint, tmp_path: Path):
    save_pretrained(load_pretrained(checkpoint("gpt2"), dtype="bf16"), tmp_path / "half")
    shutil.copy(checkpoint("gpt2") / "tokenizer.json", tmp_path / "half")
    run = configured(f"model={tmp_path / 'half'}")
    begin = start_of(run)
    model = initial_model(run, begin, initial_tokenizer(run, begin), CPU)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_the_first_losses_are_those_of_transformers(start: Any, checkpoint: Checkpoint, tmp_path: Path):
    """The same rows, framed as the checkpoint's tokenizer frames them; dropout is off in an evaluation."""
    import transformers
    from groundup.data.masking import mask_tokens
    from groundup.data.sampling import Sampler
    from groundup.data.text import load_text_data

    for name, loss in (("llama", "cross_entropy"), ("roberta", "masked_lm")):
        folder = start(name, f"model={checkpoint(name)}", "trainer.max_iters=1", "evaluation.max_batches=null")
        run, tokenizer = load_config(folder / "config.yaml"), load_tokenizer(folder / "tokenizer")
        assert run.trainer.loss_fn == loss
        held_out = load_text_data(run, tokenizer).val
        assert held_out is not None
        first, *_, last = held_out.read(0, int(held_out.starts[1]))
        assert [first, last] == [tokenizer.bos_id, tokenizer.eos_id]
        cls = transformers.AutoModelForCausalLM if loss == "cross_entropy" else transformers.AutoModelForMaskedLM
        theirs = cls.from_pretrained(checkpoint(name)).eval()
        rows = Sampler(held_out, 3, 16, seed=0, mode="packed")
        nats, count = 0.0, 0
        for index in range(rows.batches_per_epoch):
            batch = rows.batch(index)
            if loss == "masked_lm":
                special = special_ids(tokenizer)
                batch = mask_tokens(batch, 0.15, tokenizer.mask_id, tokenizer.vocab_size, special, seed=0, index=index)
                logits = theirs(batch.input_ids).logits
            else:
                logits = theirs(batch.input_ids).logits
            batch_loss = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), batch.labels.flatten(), reduction="sum"
            )
            nats, count = nats + batch_loss.item(), count + int((batch.labels != -100).sum())
        first = read_jsonl(folder / "train" / "metrics" / "heldout.jsonl")[0]
        assert (first["step"], first["tokens"]) == (0, count)
        assert first["loss"] == pytest.approx(nats / count, abs=1e-5)


@pytest.mark.parametrize("name", ["bare_bert", "electra"])
def test_an_encoder_without_a_masked_lm_head_gets_one(
    start: Any, checkpoint: Checkpoint, name: str, capsys: pytest.CaptureFixture[str]
):
    run = configured(f"model={checkpoint(name)}")
    begin = start_of(run)
    assert begin is not None
    model = initial_model(run, begin, initial_tokenizer(run, begin), CPU)
    assert f"{name} has no masked-LM head: a new one is drawn" in capsys.readouterr().err
    trunk = load_pretrained(checkpoint(name), "encoder")
    expected = dict(trunk.named_parameters())
    for key, value in model.named_parameters():
        if not key.startswith("head."):
            assert torch.equal(value, expected.pop(key)), key
    assert expected == {}
    assert model.head.get_submodule("out").weight is model.embedder.tokens.weight
    folder = start("out", f"model={checkpoint(name)}")
    assert losses(folder)


def test_a_run_goes_on_as_if_it_had_never_stopped(start: Any, checkpoint: Checkpoint, tmp_path: Path):
    """Also when what it started from is gone: its own folder has all of it."""
    source = tmp_path / "source"
    shutil.copytree(checkpoint("bert"), source)
    whole = start("whole", f"model={source}", "trainer.max_iters=6")
    part = start("part", f"model={source}", "trainer.max_iters=6")
    for late in ("step_00000004", "step_00000006"):
        shutil.rmtree(part / "train" / "weights" / late)
    for link in ("last", "best"):
        path = part / "train" / "weights" / link
        path.unlink()
        path.symlink_to("step_00000002")
    shutil.rmtree(source)
    assert main(["--resume", str(part)]) == 0
    assert losses(part) == losses(whole)
    a, b = weights(part), weights(whole)
    assert all(torch.equal(a[key], b[key]) for key in b)


def test_a_run_is_read_back_and_written_as_its_family_is(start: Any, checkpoint: Checkpoint, tmp_path: Path):
    import transformers

    folder = start("out", f"model={checkpoint('bert')}")
    model = load_pretrained(folder)
    for place in (folder / "train" / "weights", folder / "train" / "weights" / "best"):
        assert all(
            torch.equal(a, b) for a, b in zip(model.parameters(), load_pretrained(place).parameters(), strict=True)
        )
    assert not model.training
    save_pretrained(model, tmp_path / "saved", tokenizer=load_tokenizer(folder / "tokenizer"))
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "saved").eval()
    ids = torch.randint(5, 250, (2, 11))
    assert (model(ids) - theirs(ids).logits).abs().max() < 1e-5
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    before = json.loads((checkpoint("bert") / "config.json").read_text())
    assert config["architectures"] == before["architectures"]
    assert config | {"architectures": 0, "dtype": 0} == before | {"architectures": 0, "dtype": 0}
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert tokenizer("1 and 2 make 3.").input_ids == load_tokenizer(folder / "tokenizer").encode(
        "1 and 2 make 3.", add_special_tokens=True
    )
    with pytest.raises(UserError, match="the run's model is for 'masked_lm', not for 'classification'"):
        load_pretrained(folder, task="classification")
    with pytest.raises(UserError, match="num_labels=2: the model of a run has the head it was trained with"):
        load_pretrained(folder, num_labels=2)


def test_tensors_that_only_the_class_has_come_along(start: Any, checkpoint: Checkpoint, tmp_path: Path):
    """BertForPreTraining's pooler is of no use to language modelling, and is there in what is saved of the run."""
    import transformers

    theirs = transformers.BertForPreTraining(
        transformers.BertConfig(**json.loads((checkpoint("bert") / "config.json").read_text()))
    )
    theirs.save_pretrained(tmp_path / "pretraining")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoint("bert") / name, tmp_path / "pretraining")
    folder = start("out", f"model={tmp_path / 'pretraining'}")
    shutil.move(folder, tmp_path / "moved")
    save_pretrained(load_pretrained(tmp_path / "moved"), tmp_path / "saved")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("pretraining", "saved"))
    assert before.keys() == after.keys()
    assert torch.equal(before["bert.pooler.dense.weight"], after["bert.pooler.dense.weight"])
    assert not torch.equal(
        before["bert.embeddings.word_embeddings.weight"], after["bert.embeddings.word_embeddings.weight"]
    )


def test_a_run_starts_from_a_run(start: Any, checkpoint: Checkpoint):
    first = start("first", f"model={checkpoint('gpt2')}")
    second = start(
        "second",
        f"model={first}",
        "trainer.max_iters=1",
        "--trainer.optimizer.lr",
        "0",
        "--trainer.optimizer.min_lr",
        "0",
    )
    assert second.parent.name == "gpt2"
    a, b = weights(first), weights(second)
    assert all(torch.equal(a[key], b[key]) for key in a)
    model, tokenizer = load_run(second)
    assert tokenizer.fingerprint == load_tokenizer(checkpoint("gpt2")).fingerprint
    assert model.origin is None or model.origin.family == "gpt2"


def test_the_written_sample_begins_as_the_model_expects(start: Any, checkpoint: Checkpoint):
    folder = start("out", f"model={checkpoint('llama')}", "evaluation.sample_prompt=1 and")
    texts = [row["text"] for row in read_jsonl(folder / "train" / "metrics" / "samples.jsonl")]
    assert texts
    assert all(text.startswith("<s>1 and") for text in texts)


# --- from its shape


def test_random_weights_with_the_tokenizer_at_hand(
    start: Any, checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]
):
    folder = start("out", f"model={checkpoint('roberta')}", "init=random")
    assert "stands in" not in capsys.readouterr().err
    state = read_state(folder / "train" / "weights" / "last")
    begin = find_start(checkpoint("roberta"))
    assert state["model_config"] == begin.config.to_dict()
    assert load_tokenizer(folder / "tokenizer").fingerprint == load_tokenizer(checkpoint("roberta")).fingerprint
    assert state["origin"] is None
    again = start("again", f"model={checkpoint('roberta')}", "init=random")
    assert losses(folder) == losses(again)
    assert losses(folder)[0] == pytest.approx(torch.tensor(float(begin.config.vocab_size)).log().item(), abs=0.3)


@pytest.mark.parametrize("name", ["roberta", "deberta", "gpt2"])
def test_random_weights_with_a_tokenizer_trained_here(
    start: Any, checkpoint: Checkpoint, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / name
    shutil.copytree(checkpoint(name), folder)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    done = start("out", f"model={folder}", "init=random")
    said = capsys.readouterr().err
    assert f"the tokenizer of {name} is not on this machine: a BPE of " in said
    tokenizer, config = load_tokenizer(done / "tokenizer"), find_start(done).config
    rows = find_start(folder).config.vocab_size
    assert 257 <= tokenizer.vocab_size <= rows
    assert config.vocab_size == rows  # the shape keeps its rows
    assert config.pad_token_id is None  # its number is another tokenizer's
    if name != "gpt2":
        assert tokenizer.mask_id == tokenizer.vocab_size - 1
        assert tokenizer.mask_id not in tokenizer.encode("[MASK] _")
    assert tokenizer.decode(tokenizer.encode("é 1 and 2_")) == "é 1 and 2_"


@pytest.mark.parametrize("name", ["BERT-tiny", "ELECTRA-small"])
def test_a_model_of_the_registry_trains_without_a_network(start: Any, name: str, capsys: pytest.CaptureFixture[str]):
    folder = start(
        "out",
        f"model={name}",
        "init=random",
        "trainer.max_iters=1",
        "trainer.batch_size=2",
        "trainer.effective_batch_size=2",
    )
    assert "stands in" in capsys.readouterr().err
    assert find_start(folder).config.vocab_size == 30522
    assert json.loads((folder / "training_results.json").read_text())["parameters"] > 4e6


# --- around its core


CORE = """
model:
  core_model_type: hf_core
  base_model: {base}
  tokenizer_type: byte
  context_window: 16
trainer: {{batch_size: 3, gradient_accumulation_steps: 2, max_iters: 4, warmup_iters: 1, loss_fn: {loss},
  log_interval: 1, checkpoint_interval: 2}}
"""


@pytest.fixture
def around(start: Any, checkpoint: Checkpoint, tmp_path: Path) -> Callable[..., Path]:
    """around("gpt2", "out", ...): a run around the core of a tiny checkpoint."""

    def run(name: str, out: str, *words: str) -> Path:
        path = tmp_path / f"{out}.yaml"
        loss = "masked_lm" if name in ("bert", "deberta") else "cross_entropy"
        path.write_text(CORE.format(base=checkpoint(name), loss=loss))
        return start(out, "--config", str(path), *words)

    return run


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
def test_the_core_is_the_checkpoints_and_stays_as_it_is(around: Any, checkpoint: Checkpoint, name: str):
    folder = around(name, "out", "evaluation.interval=4")
    core = load_pretrained(checkpoint(name)).core.state_dict()
    first, after = weights(folder, 2), weights(folder)
    assert {key for key in after if key.startswith("core.")} == {f"core.{key}" for key in core}
    for key, value in after.items():
        if key.startswith("core."):
            assert torch.equal(value, core[key.removeprefix("core.")]), key
        else:
            assert not torch.equal(value, first[key]), key
    assert len(after["embedder.tokens.weight"]) == 257


def test_every_trained_parameter_is_in_one_group_and_no_frozen_one(checkpoint: Checkpoint, tmp_path: Path):
    path = tmp_path / "core.yaml"
    path.write_text(CORE.format(base=checkpoint("gpt2"), loss="cross_entropy"))
    for freeze in (True, False):
        run = load_config(path, ["device=cpu", f"model.freeze_core={freeze}"])
        begin = start_of(run)
        model = initial_model(run, begin, initial_tokenizer(run, begin), CPU)
        names = [name for group in parameter_groups(model, 0.1) for name in group["names"]]
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert sorted(names) == sorted(trained)
        assert any(name.startswith("core.") for name in trained) == (not freeze)
        assert {"embedder.tokens.weight", "embedder.positions.weight"} <= trained
        donor = load_pretrained(checkpoint("gpt2")).core.state_dict()
        assert all(torch.equal(value, donor[key]) for key, value in model.core.state_dict().items())


def test_a_core_that_is_not_frozen_learns_and_a_norm_of_ones_own_is_new(checkpoint: Checkpoint, around: Any):
    folder = around("gpt2", "out", "model.freeze_core=false")
    core = load_pretrained(checkpoint("gpt2")).core.state_dict()
    after = weights(folder)
    assert all(not torch.equal(value, after[f"core.{key}"]) for key, value in core.items())
    run = configured(
        "model.core_model_type=hf_core",
        f"model.base_model={checkpoint('bert')}",
        f"model.tokenizer_type={checkpoint('bert')}",
        "model.lm_head_normalization=layer_norm",
        "trainer.batch_size=1",
        "trainer.gradient_accumulation_steps=1",
        "trainer.max_iters=1",
        "trainer.warmup_iters=1",
        "trainer.loss_fn=masked_lm",
    )
    begin = start_of(run)
    model = initial_model(run, begin, initial_tokenizer(run, begin), CPU)
    assert model.core.norm is not None
    assert torch.equal(model.core.norm.weight, torch.ones(32))


def test_a_run_around_a_core_goes_on(around: Any, checkpoint: Checkpoint, tmp_path: Path):
    whole, part = around("llama", "whole"), around("llama", "part")
    shutil.rmtree(part / "train" / "weights" / "step_00000004")
    for link in ("last", "best"):
        path = part / "train" / "weights" / link
        path.unlink()
        path.symlink_to("step_00000002")
    assert main(["--resume", str(part)]) == 0
    a, b = weights(part), weights(whole)
    assert all(torch.equal(a[key], b[key]) for key in b)
    optimizer = load_file(part / "train" / "weights" / "last" / "optimizer.safetensors")
    assert not any(key.startswith("core.") for key in optimizer)


# --- bad input


def says(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["device=cpu", *words]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def test_a_checkpoint_without_a_tokenizer(checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "model"
    shutil.copytree(checkpoint("gpt2"), folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    words = (f"model={folder}", "dataset=stdlib", f"output.output_dir={tmp_path / 'out'}")
    line = says(capsys, *words)
    assert f"{folder}: no tokenizer in it (tokenizer.json, " in line
    assert line.endswith("name the one of model in model.tokenizer")
    run = configured(*words, "model.tokenizer=byte")
    assert initial_tokenizer(run, start_of(run)).name == "byte"


def test_a_tokenizer_with_more_ids_than_the_model_has_rows(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    from groundup.tokenizers.bpe import train_bpe

    train_bpe([" ".join(str(i) for i in range(2000))], 400, simplify=False).save(tmp_path / "large")
    line = says(
        capsys,
        f"model={checkpoint('gpt2')}",
        f"model.tokenizer={tmp_path / 'large'}",
        "dataset=stdlib",
        f"output.output_dir={tmp_path / 'out'}",
    )
    assert "has 400 ids, and gpt2 has rows for 270: name the tokenizer it was trained with" in line


def test_a_tokenizer_without_a_mask(
    checkpoint: Checkpoint, start: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(AssertionError):
        start("out", f"model={checkpoint('bert')}", f"model.tokenizer={checkpoint('gpt2')}")
    said = capsys.readouterr().err  # that of next_token_mlm, an underscore, will not do
    assert "masked_lm puts a mask token in place of tokens, and the tokenizer gpt2 has none of its own" in said


def test_a_weight_that_is_missing(
    checkpoint: Checkpoint, start: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "model"
    shutil.copytree(checkpoint("gpt2"), folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(AssertionError):
        start("out", f"model={folder}")
    assert "error: " in capsys.readouterr().err


def test_the_hub_is_not_asked_for_what_the_registry_knows(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert main(["model=gpt2", "init=random", "dataset=stdlib", "--validate"]) == 0
    assert "GPT2-small, random weights: 12 layers of width 768" in capsys.readouterr().out
    line = says(capsys, "model=gpt2", "dataset=stdlib", f"output.output_dir={tmp_path / 'out'}")
    assert "Failed to load model from HuggingFace: 'openai-community/gpt2'" in line


HUB_RUN = """
import sys
from groundup.trainers.command import main
*words, last = " ".join(sys.argv[1:]).split(" then ")
for more in last.split(","):
    assert main([*words[0].split(), *more.split()]) == 0
"""


@pytest.mark.slow
def test_a_run_from_the_hub(hub: Hub, checkpoint: Checkpoint, tmp_path: Path):
    """Checked and planned with nothing but its config.json; trained; and once more, offline, from the cache."""
    from local_hub import Repo

    files = {path.name: path.read_bytes() for path in checkpoint("llama").iterdir()}
    hub.repos["org/tiny-llama"] = Repo(files | {"README.md": b"never"})
    text = tmp_path / "text.txt"
    text.write_text("1 and 2 make 3. " * 200)
    words = f"model=org/tiny-llama dataset={text} device=cpu output.output_dir={tmp_path / 'out'} output.plots=false"
    words += " trainer.max_iters=1 trainer.warmup_iters=0 trainer.max_seq_length=16"
    cache = {"GROUNDUP_CACHE": str(tmp_path / "cache")}

    checked = hub.run(HUB_RUN, words, "then", "--validate,--plan", **cache)
    assert "tiny-llama: 2 layers of width 32" in checked.stdout
    assert "in all" in checked.stdout
    assert hub.files_asked() == ["config.json"]
    trained = hub.run(HUB_RUN, words, "then", "general.seed=1", **cache)
    assert hub.files_asked() == sorted({*files} - {"config.json"})
    again = hub.run(HUB_RUN, words, "then", "general.seed=1,init=random", HF_HUB_OFFLINE="1", **cache)
    assert not hub.asked
    assert [done.returncode for done in (checked, trained, again)] == [0, 0, 0]
    assert "stands in" not in again.stderr  # the tokenizer is in the cache
    first, second, random = (losses(run) for run in sorted((tmp_path / "out" / "tiny-llama").iterdir()))
    assert first == second != random
