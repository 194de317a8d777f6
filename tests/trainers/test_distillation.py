"""What a student learns, against transformers and torch's own losses; whole runs, resumed; tokenizers that differ."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from groundup.data.sampling import IGNORE, Batch
from groundup.errors import UserError
from groundup.models import Model, ModelConfig, build_model, load_pretrained
from groundup.trainers.distillation import DistillationLoss, Weights, comparison, soft_and_hard_
from groundup.trainers.export import export_run
from groundup.trainers.metrics import read_jsonl
from groundup.trainers.phases import HeadFirst
from groundup.trainers.precision import build_precision
from safetensors.torch import load_file
from torch import Tensor

CPU = build_precision("no", torch.device("cpu"))
WEIGHTS = Weights(soft=4.0, hard=1.5, cosine=0.7, temperature=2.5)
SIZES: dict[str, Any] = {"d_model": 24, "n_heads": 3, "d_ff": 40, "max_seq_len": 16}
BERT: dict[str, Any] = {"causal": False, "norm_slots": ("sum",), "n_token_types": 2, "embed_norm": True}
SHAPES: dict[str, dict[str, Any]] = {
    "causal_lm": {},
    "masked_lm": BERT | {"head_norm": "none"},
}
Start = Callable[..., Path]


def model(task: Any, layers: int, vocab_size: int = 37, seed: int = 0, **fields: Any) -> Model:
    config = ModelConfig(vocab_size=vocab_size, n_layers=layers, **{**SIZES, **SHAPES[task], **fields})
    return build_model(config, task, seed=seed).eval()


def noisy(model: Model, seed: int = 0) -> Model:
    """No weight at its default."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def batch_of(rows: int, seed: int = 0, share: float = 0.7) -> Batch:
    """Rows of 11 tokens, some without a target."""
    generator = torch.Generator().manual_seed(seed)
    ids, labels = (torch.randint(37, (rows, 11), generator=generator) for _ in range(2))
    return Batch(ids, torch.where(torch.rand(rows, 11, generator=generator) < share, labels, IGNORE))


def reference(
    weights: Weights,
    logits: Tensor,
    taught: Tensor,
    states: Tensor,
    teacher: Tensor,
    labels: Tensor,
    rows: int,
    **ce: Any,
) -> Tensor:
    """The sum over targets, by torch's own losses (as in transformers' distillation example)."""
    kept, t = labels != IGNORE, weights.temperature
    s, z, h, g = logits[kept], taught[kept], states[kept], teacher[kept]
    soft = F.kl_div((s[:, :rows] / t).log_softmax(-1), (z[:, :rows] / t).softmax(-1), reduction="sum") * t**2
    hard = F.cross_entropy(s, labels[kept], reduction="sum", **ce)
    cosine = torch.nn.CosineEmbeddingLoss(reduction="sum")(h, g, torch.ones(len(h)))
    return weights.soft * soft + weights.hard * hard + weights.cosine * cosine


def assert_gradients(model: Model, expected: dict[str, Tensor], atol: float = 1e-5) -> None:
    for name, parameter in model.named_parameters():
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found, expected[name], atol=atol, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def gradients(model: Model, loss: Tensor) -> dict[str, Tensor]:
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    pairs = zip(model.named_parameters(), found, strict=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in pairs}


@pytest.mark.parametrize("chunk", [3, 2**62])
@pytest.mark.parametrize(
    ("task", "student", "teacher", "smoothing"),
    [
        ("causal_lm", {}, {}, 0.0),
        ("masked_lm", {}, {}, 0.0),
        ("causal_lm", {"vocab_size": 48, "logit_softcap": 3.0}, {"vocab_size": 40, "logit_softcap": 2.0}, 0.1),
        ("masked_lm", {"vocab_size": 41}, {"d_model": 36}, 0.2),
    ],
)
def test_loss_and_gradients_are_those_of_the_formula(
    task: Any, student: dict[str, Any], teacher: dict[str, Any], smoothing: float, chunk: int
):
    """Padding rows of either vocabulary, caps, smoothing and another width; a chunk of tokens at a time or all."""
    ours, theirs = noisy(model(task, 2, **student)), noisy(model(task, 4, **teacher), 1)
    weights = WEIGHTS if "d_model" not in teacher else Weights(4.0, 1.5, 0.0, 2.5)
    batch, before = batch_of(3), {k: v.clone() for k, v in theirs.state_dict().items()}
    with torch.no_grad():
        taught, target = theirs.hidden_states(batch.input_ids), theirs(batch.input_ids)
    states = ours.hidden_states(batch.input_ids)
    same_width = taught if taught.shape == states.shape else states.detach()
    loss = reference(
        weights, ours(batch.input_ids), target, states, same_width, batch.labels, 37, label_smoothing=smoothing
    )
    expected = gradients(ours, loss * 0.01)
    objective = DistillationLoss(ours, theirs, CPU, chunk, 37, weights, smoothing)
    found = objective.backward(batch, ours.hidden_states, 0.01)
    assert found.item() == pytest.approx(loss.item(), rel=1e-5)
    assert_gradients(ours, expected)
    assert objective.targets(batch) == int((batch.labels != IGNORE).sum())
    assert all(torch.equal(v, before[k]) for k, v in theirs.state_dict().items())
    assert all(p.grad is None for p in theirs.parameters())


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_loss_is_that_of_transformers_models(name: str, tmp_path: Path):
    """Teacher and student of transformers, their logits and hidden states, on GPT-2 and BERT shapes; padding too."""
    import transformers

    torch.manual_seed(0)
    pair, ours = [], []
    for layers in (4, 2):
        if name == "gpt2":
            config: Any = transformers.GPT2Config(
                vocab_size=37, n_embd=24, n_layer=layers, n_head=3, n_positions=16, resid_pdrop=0, initializer_range=0.3
            )
            theirs: Any = transformers.GPT2LMHeadModel(config).eval()
        else:
            config = transformers.BertConfig(
                vocab_size=37,
                hidden_size=24,
                num_hidden_layers=layers,
                num_attention_heads=3,
                intermediate_size=40,
                initializer_range=0.3,
            )
            theirs = transformers.BertForMaskedLM(config).eval()
        folder = tmp_path / str(layers)
        theirs.save_pretrained(folder)
        pair.append(theirs)
        ours.append(load_pretrained(folder, dtype="fp32"))
    batch = batch_of(3)
    mask = torch.ones_like(batch.input_ids)
    mask[1, 8:] = 0
    labels = torch.where(mask.bool(), batch.labels, IGNORE)
    batch = Batch(batch.input_ids, labels, attention_mask=mask)
    outputs = [m(input_ids=batch.input_ids, attention_mask=mask, output_hidden_states=True) for m in pair]
    loss = reference(
        WEIGHTS,
        outputs[1].logits,
        outputs[0].logits.detach(),
        outputs[1].hidden_states[-1],
        outputs[0].hidden_states[-1].detach(),
        labels,
        37,
    )
    loss.backward()
    objective = DistillationLoss(ours[1], ours[0], CPU, 5, 37, WEIGHTS)
    assert objective.backward(batch, ours[1].hidden_states, 1.0).item() == pytest.approx(loss.item(), rel=1e-5)
    embedding = pair[1].get_input_embeddings().weight
    torch.testing.assert_close(ours[1].embedder.tokens.weight.grad, embedding.grad, atol=1e-4, rtol=1e-5)


def test_a_window_gives_one_gradient_however_it_is_cut():
    """8 ragged rows in eights, fours and ones, through the whole of the objective."""
    ours, theirs = noisy(model("causal_lm", 2)), noisy(model("causal_lm", 4), 1)
    whole = batch_of(8, share=0.4)
    objective = DistillationLoss(ours, theirs, CPU, 7, 37, WEIGHTS)
    expected: dict[str, Tensor] = {}
    for size in (8, 4, 1):
        window = [Batch(whole.input_ids[i : i + size], whole.labels[i : i + size]) for i in range(0, 8, size)]
        ours.zero_grad()
        targets = sum(map(objective.targets, window))
        total = sum(objective.backward(batch, ours.hidden_states, 1 / targets).item() for batch in window) / targets
        if not expected:
            expected = {name: p.grad.clone() for name, p in ours.named_parameters() if p.grad is not None}
            first = total
        assert total == pytest.approx(first, rel=1e-6)
        assert_gradients(ours, expected, atol=1e-6)


def test_a_batch_without_targets_teaches_nothing():
    ours, theirs = model("causal_lm", 2), model("causal_lm", 4)
    empty = Batch(torch.zeros(2, 5, dtype=torch.long), torch.full((2, 5), IGNORE))
    objective = DistillationLoss(ours, theirs, CPU, 7, 37)
    assert objective.backward(empty, ours.hidden_states, 1.0).item() == 0


@pytest.mark.parametrize("tied", [True, False])
def test_the_head_alone_learns_first(tied: bool):
    """Nothing of an untied student's trunk has a gradient then."""
    ours, theirs = model("causal_lm", 2, tie_embeddings=tied, head_bias=True), model("causal_lm", 4)
    first = HeadFirst(ours, 3)
    objective = DistillationLoss(ours, theirs, CPU, 5, 37, WEIGHTS)
    for step in (2, 3):
        first.set(step)
        ours.zero_grad()
        objective.backward(batch_of(3), ours.hidden_states, 1.0)
        given = {name for name, p in ours.named_parameters() if p.grad is not None}
        head = {"head.out.bias", "embedder.tokens.weight" if tied else "head.out.weight"}
        assert given == (head if step < 3 else {name for name, _ in ours.named_parameters()})


def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    ours = noisy(model("causal_lm", 2))
    logits = ours(batch_of(2).input_ids).flatten(0, 1).detach()
    sums = soft_and_hard_(logits.clone(), logits, logits.argmax(-1), WEIGHTS, 37, None)
    assert sums[0].item() == pytest.approx(0, abs=1e-5)


def test_held_out_numbers():
    ours, theirs = noisy(model("causal_lm", 2)), noisy(model("causal_lm", 4), 1)
    some = [batch_of(2, seed) for seed in range(3)]
    ours.train()
    objective = DistillationLoss(ours, theirs, CPU, 4, 37, WEIGHTS, smoothing=0.1, bytes_per_token=2.0)
    found = objective.evaluate(some, lambda: False)
    assert found is not None
    assert ours.training
    count = sum(map(objective.targets, some))
    parts = {}
    with torch.no_grad():
        for name, only in {"soft_loss": (1, 0, 0), "loss": (0, 1, 0), "cosine_loss": (0, 0, 1)}.items():
            weights = Weights(*only, temperature=2.5)
            terms = [
                reference(
                    weights,
                    ours(b.input_ids),
                    theirs(b.input_ids),
                    ours.hidden_states(b.input_ids),
                    theirs.hidden_states(b.input_ids),
                    b.labels,
                    37,
                )
                for b in some
            ]
            parts[name] = sum(terms).item() / count  # pyright: ignore[reportAttributeAccessIssue]
    assert {name: found[name] for name in parts} == pytest.approx(parts, rel=1e-5)
    assert found["tokens"] == count
    assert objective.evaluate(some, lambda: True) is None
    measured = objective.against_teacher(lambda: some)
    assert measured["student"]["loss"] == pytest.approx(parts["loss"], rel=1e-5)
    assert measured["teacher"]["loss"] != pytest.approx(parts["loss"], rel=1e-3)
    assert (measured["teacher"]["layers"], measured["student"]["layers"]) == (4, 2)
    lines = comparison(measured).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["teacher", "student"]
    assert f"{measured['student']['loss']:.4f}" in lines[2]
    assert "-" in comparison(objective.against_teacher(list))


# --- whole runs --------------------------------------------------------------------------------------------------


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """A GPT-2 of four layers with a tokenizer, as transformers writes it."""
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=300, n_embd=24, n_layer=4, n_head=3, n_positions=32)
    folder = tmp_path / "teacher"
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    save_bytes(folder)
    return folder


def save_bytes(folder: Path, swapped: bool = False) -> None:
    """A tokenizer.json of 256 byte letters and an end of text; `swapped`: two ids change places."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    if swapped:
        letters[70], letters[71] = letters[71], letters[70]
    vocab = {letter: i for i, letter in enumerate([*letters, "<|endoftext|>"])}
    inner = Tokenizer(models.BPE(vocab, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<|endoftext|>"])
    inner.save(str(folder / "tokenizer.json"))
    words = {"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>", "tokenizer_class": "GPT2Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(words))


def test_a_run_makes_a_student_of_its_teacher(teacher: Path, start: Start, tmp_path: Path):
    """Every other layer, trained, measured against the teacher, exported; transformers gives the same logits."""
    import transformers

    folder = start("out", f"distillation.teacher={teacher}")
    results = json.loads((folder / "training_results.json").read_text())
    both = results["distillation"]
    assert (both["teacher"]["layers"], both["student"]["layers"]) == (4, 2)
    assert both["teacher"]["parameters"] > both["student"]["parameters"] == results["parameters"]
    assert both["student"]["loss"] == pytest.approx(results["heldout"]["loss"], rel=1e-4)
    assert all(both[name]["tokens_per_second"] > 0 for name in both)
    assert {"soft_loss", "cosine_loss", "perplexity"} <= results["heldout"].keys()
    assert "layers: every_other" in (folder / "config.yaml").read_text()
    rows = read_jsonl(folder / "train/metrics/heldout.jsonl")
    assert all(rows[-1][name] < rows[0][name] for name in ("loss", "cosine_loss"))

    exported = export_run(folder, tmp_path / "exported")
    theirs: Any = transformers.AutoModelForCausalLM.from_pretrained(exported).eval()
    assert type(theirs).__name__ == "GPT2LMHeadModel"
    assert theirs.config.n_layer == 2
    ids = torch.arange(20)[None]
    with torch.no_grad():
        ours = load_pretrained(exported, dtype="fp32")(ids)
        torch.testing.assert_close(theirs(ids).logits, ours, atol=1e-5, rtol=1e-5)


def test_it_goes_on_to_the_bit(teacher: Path, start: Start):
    from groundup.trainers.command import main

    words = (f"distillation.teacher={teacher}", "distillation.layers=[0, 1, 3]")
    whole = start("whole", *words)
    part = start("part", *words, "trainer.max_iters=2", "trainer.lr_decay_iters=4")
    assert main(["--resume", str(part), "trainer.max_iters=4"]) == 0
    for name in ("model", "optimizer"):
        a, b = (load_file(f / "train/weights/last" / f"{name}.safetensors") for f in (whole, part))
        assert a.keys() == b.keys()
        assert any(key.startswith("core.layers.2.") for key in a)
        assert not any(key.startswith("core.layers.3.") for key in a)
        for key in a:
            assert torch.equal(a[key], b[key]), key


def test_a_student_of_another_checkpoint_and_one_described(teacher: Path, start: Start, tmp_path: Path):
    """A run's own folder teaches too; the student is a run's, or comes from the keys of `model`."""
    first = start("first", f"model={teacher}", "init=random", "trainer.max_iters=2")
    second = start("second", f"model={first}", f"distillation.teacher={teacher}", "trainer.max_iters=2")
    assert json.loads((second / "training_results.json").read_text())["distillation"]["student"]["layers"] == 4
    described = """model.core_model_type=generic model.num_layers=1 model.hidden_dim=12 model.context_window=16
        model.ffn.ffn_type=generic model.ffn.ffn_dim=20 model.attn.num_kv_heads=2 model.attn.attn_type=causal
        model.positional_encoding_type=rope trainer.loss_fn=cross_entropy distillation.alpha_cosine=0"""
    words = described.split()
    third = start("third", f"distillation.teacher={first}", f"model.tokenizer_type={teacher}", *words)
    both = json.loads((third / "training_results.json").read_text())["distillation"]
    assert (both["teacher"]["layers"], both["student"]["layers"]) == (4, 1)


def test_an_adapter_teaches_with_what_it_goes_on(teacher: Path, start: Start, tmp_path: Path):
    """PEFT's folder names its base; without it the adapted answers are another model's."""
    from groundup.models.lora import add_lora, save_adapter
    from groundup.models.start import find_start
    from groundup.trainers.teacher import load_teacher

    adapted = load_pretrained(teacher, dtype="fp32")
    add_lora(adapted, rank=3, target_modules="all-linear", dropout=0.5, seed=0)
    noisy(adapted)
    adapter = tmp_path / "adapter"
    save_adapter(adapted, adapter, base=str(teacher))
    (teacher / "tokenizer.json").replace(adapter / "tokenizer.json")  # a tokenizer beside it is the adapter's
    (teacher / "tokenizer_config.json").replace(adapter / "tokenizer_config.json")
    ids = torch.arange(20)[None]
    plain = load_pretrained(teacher, dtype="fp32")
    add_lora(plain, rank=3, target_modules="all-linear")
    plain.load_state_dict({k: v for k, v in adapted.state_dict().items() if ".lora." in k}, strict=False)
    taught = load_teacher(find_start(adapter), torch.device("cpu"))
    with torch.no_grad():
        torch.testing.assert_close(taught(ids), plain.eval()(ids))
        assert (taught(ids) - load_pretrained(teacher, dtype="fp32")(ids)).abs().max() > 0.1
    assert not any(p.requires_grad for p in taught.parameters())

    words = (f"model={teacher}", f"model.tokenizer={adapter}", "distillation.layers=every_other")
    words += ("trainer.optimizer.lr=1e-9", "trainer.optimizer.min_lr=0", "trainer.max_iters=2")
    losses = [
        json.loads((start(str(i), *words, f"distillation.teacher={who}") / "training_results.json").read_text())[
            "distillation"
        ]["teacher"]["loss"]
        for i, who in enumerate((teacher, adapter))
    ]
    assert abs(losses[0] - losses[1]) > 0.01


def test_tokenizers_that_differ_are_refused(teacher: Path, start: Start, tmp_path: Path, capsys: Any):
    import shutil

    from groundup.trainers.command import main

    other = tmp_path / "other"
    shutil.copytree(teacher, other)
    save_bytes(other, swapped=True)
    text = tmp_path / "text.txt"
    words = [f"output.output_dir={tmp_path / 'out'}", f"dataset.name={text}", "device=cpu", "trainer.max_iters=1"]
    assert main([*words, f"model={other}", f"distillation.teacher={teacher}"]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "reads text by another tokenizer than the student" in said
    assert "id 70 is " in said
    assert main([*words, f"distillation.teacher={teacher}", f"model.tokenizer={other}"]) == 1  # made of the teacher
    assert "id 70 is " in capsys.readouterr().err.strip().splitlines()[-1]
    (teacher / "tokenizer.json").unlink()
    assert main([*words, f"distillation.teacher={teacher}", f"model.tokenizer={other}"]) == 0
    assert main([*words, f"model={other}", f"distillation.teacher={teacher}"]) == 1
    assert "in distillation.tokenizer" in capsys.readouterr().err.strip().splitlines()[-1]
    assert main([*words, f"model={other}", f"distillation.teacher={teacher}", f"distillation.tokenizer={other}"]) == 0


def test_the_difference_of_tokenizers(tmp_path: Path):
    from groundup.tokenizers.load import load_tokenizer
    from groundup.tokenizers.same import difference

    for name, swapped in (("one", False), ("other", True)):
        (tmp_path / name).mkdir()
        save_bytes(tmp_path / name, swapped)
    one, other = load_tokenizer(tmp_path / "one"), load_tokenizer(tmp_path / "other")
    assert difference(one, load_tokenizer(tmp_path / "one")) is None
    assert "id 70 is " in str(difference(one, other))
    assert "257 ids" in str(difference(one, load_tokenizer("byte"))) or difference(one, load_tokenizer("byte"))
    # The same vocabulary, and another way to it.
    lower = json.loads((tmp_path / "one" / "tokenizer.json").read_text())
    lower["normalizer"] = {"type": "Lowercase"}
    (tmp_path / "other" / "tokenizer.json").write_text(json.dumps(lower))
    assert "into other ids" in str(difference(one, load_tokenizer(tmp_path / "other")))


def test_a_teacher_that_is_no_teacher(teacher: Path, tmp_path: Path):
    from groundup.configs.schema import load_config

    def fails(*words: str) -> str:
        with pytest.raises(UserError) as error:
            load_config(None, ["dataset.name=stdlib", "device=cpu", *words])
        return str(error.value)

    given = f"distillation.teacher={teacher}"
    assert "there is no layer 4" in fails(given, "distillation.layers=[0, 4]")
    assert "twice or out of order" in fails(given, "distillation.layers=[1, 0]")
    assert "there is no folder" in fails("model=gpt2", "init=random", f"distillation.teacher={tmp_path / 'no'}")
    assert "name the model that is learned from" in fails("model=gpt2", "distillation.temperature=3")
    assert "nothing would be learned" in fails(given, "distillation.alpha_soft=0", "distillation.alpha_cosine=0")
    assert "24 wide and the student's 768" in fails("model=gpt2", given, "trainer.max_seq_length=16")
    assert "has 32 positions: no more" in fails("model=gpt2", given, "distillation.alpha_cosine=0")
    assert "guesses masked tokens" in fails("model=gpt2", "distillation.teacher=bert-tiny")
    assert "trained whole" in fails(given, "fine_tuning.method=lora")
    assert "use cross_entropy or masked_lm" in fails(given, "trainer.loss_fn=next_token_mlm")
