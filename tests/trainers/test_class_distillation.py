"""What a classifier learns from a classifier, against torch's own losses; classes in another order; who may teach."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from groundup.data.sampling import IGNORE, Batch
from groundup.errors import UserError
from groundup.models import Model, ModelConfig, build_model, save_pretrained
from groundup.models.saved import save_whole
from groundup.models.start import find_start
from groundup.tokenizers.load import load_tokenizer
from groundup.trainers.class_distillation import ClassDistillation, ClassTeacher
from groundup.trainers.classifier import classifier
from groundup.trainers.distillation import Weights, comparison
from groundup.trainers.objectives import ClassLoss
from groundup.trainers.precision import build_precision
from groundup.trainers.teacher import learn_classes
from safetensors.torch import load_file
from torch import Tensor

Checkpoint = Callable[[str], Path]
CPU = build_precision("no", torch.device("cpu"))
WEIGHTS = Weights(soft=4.0, hard=1.5, cosine=0.7, temperature=2.5)
SIZES: dict[str, Any] = {"vocab_size": 37, "d_model": 24, "n_heads": 3, "d_ff": 40, "max_seq_len": 16}
BERT: dict[str, Any] = {"causal": False, "norm_slots": ("sum",), "n_token_types": 2, "embed_norm": True}
BERT |= {"head_norm": "none", "classifier_activation": "tanh"}
ORDER = (2, 0, 1)  # the teacher's class for each of the student's


def model(layers: int, seed: int, **fields: Any) -> Model:
    """No weight at its default."""
    built = build_model(ModelConfig(**{**SIZES, **fields}, n_layers=layers), "classification", 3, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return built.eval()


def batch_of(rows: int) -> Batch:
    """Rows of 4 to 11 tokens, padded; the third without a class."""
    generator = torch.Generator().manual_seed(rows)
    ids, labels = torch.randint(1, 37, (rows, 11), generator=generator), torch.arange(rows) % 3
    mask = (torch.arange(11) < torch.randint(4, 12, (rows, 1), generator=generator)).long()
    labels[2:3] = IGNORE
    return Batch(ids * mask, labels, attention_mask=mask)


def pair(**fields: Any) -> ClassDistillation:
    student, teacher = model(2, 0, **fields), model(4, 1, **fields)
    return ClassDistillation(student, CPU, 0.1, teacher=ClassTeacher(teacher, CPU, order=ORDER), weights=WEIGHTS)


@pytest.mark.parametrize("fields", [BERT, {}], ids=["encoder", "decoder"])
def test_loss_and_gradients_are_those_of_the_formula(fields: dict[str, Any]):
    objective, batch = pair(**fields), batch_of(5)
    student, teacher, real = objective.model, objective.teacher.model, batch.labels != IGNORE
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    z, taught = (one(batch.input_ids, batch.attention_mask) for one in (student, teacher))
    taught = taught.detach()[:, list(ORDER)]
    at = torch.zeros(5, dtype=torch.long) if fields else batch.attention_mask.sum(1) - 1  # pyright: ignore
    h, g = (one.hidden_states(batch.input_ids, batch.attention_mask)[torch.arange(5), at] for one in (student, teacher))
    t = WEIGHTS.temperature
    soft = F.kl_div((z / t).log_softmax(-1)[real], (taught / t).softmax(-1)[real], reduction="sum") * t**2
    hard = F.cross_entropy(z, batch.labels, reduction="sum", label_smoothing=0.1)
    cosine = torch.nn.CosineEmbeddingLoss(reduction="sum")(h[real], g.detach()[real], torch.ones(4))
    loss = WEIGHTS.soft * soft + WEIGHTS.hard * hard + WEIGHTS.cosine * cosine
    expected = torch.autograd.grad(loss * 0.01, list(student.parameters()))
    found = objective.backward(batch, student.hidden_states, 0.01)
    assert found.item() == pytest.approx(loss.item(), rel=1e-5)
    for (name, parameter), gradient in zip(student.named_parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    assert all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


def test_a_window_gives_one_gradient_however_it_is_cut():
    objective, whole = pair(**BERT), batch_of(8)
    student, expected = objective.model, list[Tensor]()
    assert whole.attention_mask is not None
    for size in (8, 4, 1):
        student.zero_grad()
        window = [
            Batch(
                whole.input_ids[i : i + size],
                whole.labels[i : i + size],
                attention_mask=whole.attention_mask[i : i + size],
            )
            for i in range(0, 8, size)
        ]
        targets = sum(map(objective.targets, window))
        assert targets == 7
        for batch in window:
            objective.backward(batch, student.hidden_states, 1 / targets)
        found = [p.grad.clone() for p in student.parameters() if p.grad is not None]
        expected = expected or found
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_teacher_and_student_beside_each_other():
    objective = pair(**BERT)
    some = [batch_of(5), batch_of(6)]
    found = objective.against_teacher(lambda: some)
    alone = ClassLoss(objective.model, CPU).evaluate(some, lambda: False)
    assert alone is not None
    assert {key: found["student"][key] for key in ("loss", "accuracy")} == {
        key: alone[key] for key in ("loss", "accuracy")
    }
    teacher, right, rows = objective.teacher.model, 0, 0
    for batch in some:
        taken = teacher(batch.input_ids, batch.attention_mask)[:, list(ORDER)].argmax(-1)
        right, rows = right + int((taken == batch.labels).sum()), rows + int((batch.labels != IGNORE).sum())
    assert found["teacher"]["accuracy"] == pytest.approx(right / rows)
    assert (found["teacher"]["layers"], found["student"]["layers"]) == (4, 2)
    lines = comparison(found).splitlines()
    assert lines[0].endswith("accuracy")
    assert lines[2].endswith(f"{found['student']['accuracy']:.4f}")
    assert "-" in comparison(objective.against_teacher(list))


# --- who may teach


@pytest.fixture
def taught(checkpoint: Checkpoint) -> Callable[..., Any]:
    """taught(teacher, names) is the objective of a student of BERT's shape; `distillation` as asked."""
    folder = checkpoint("bert")

    def make(teacher: Path | str, names: tuple[str, ...], student: str = "bert", **changes: Any) -> Any:
        d = {"tokenizer": None, "alpha_soft": 5.0, "alpha_hard": 2.0, "alpha_cosine": 1.0, "temperature": 2.0}
        d |= {"teacher": None if teacher == "" else str(teacher), **changes}
        run: Any = SimpleNamespace(
            distillation=SimpleNamespace(**d),
            trainer=SimpleNamespace(label_smoothing=0.0, class_weights=None),
            model=SimpleNamespace(tokenizer=None, base_model=str(folder)),
        )
        own = classifier(find_start(checkpoint(student)), names, seed=5)
        data: Any = SimpleNamespace(label_names=names, train_classes=[])
        return learn_classes(run, own, load_tokenizer(folder), CPU, data)

    return make


def test_a_checkpoint_teaches_and_a_run(taught: Any, checkpoint: Checkpoint, tmp_path: Path):
    """By the names of its classes, whatever their order and case."""
    teacher = classifier(find_start(checkpoint("bert")), ("Good", "bad", "so-so"), seed=1)
    save_pretrained(teacher, tmp_path / "hf", load_tokenizer(checkpoint("bert")))
    run = tmp_path / "run"
    save_whole(teacher, run / "train" / "weights" / "step_00000001")
    load_tokenizer(checkpoint("bert")).save(run / "tokenizer")
    for place in (tmp_path / "hf", run):
        objective = taught(place, ("bad", "good", "so-so"))
        assert objective.teacher.order == [1, 0, 2]
        assert torch.equal(objective.teacher.model.head.out.weight, teacher.head.out.weight)
        assert not objective.teacher.model.training
        assert objective.weights == Weights()
    assert type(taught("", ("bad", "good"))) is ClassLoss


def test_who_may_not(taught: Any, checkpoint: Checkpoint, tmp_path: Path):
    names = ("bad", "good")
    teacher = classifier(find_start(checkpoint("bert")), names, seed=1)
    tokenizer = load_tokenizer(checkpoint("bert"))
    save_pretrained(teacher, tmp_path / "hf", tokenizer)
    with pytest.raises(UserError, match=r"the classes of hf are bad, good, and those of the data bad, fine: take a te"):
        taught(tmp_path / "hf", ("bad", "fine"))
    with pytest.raises(UserError, match="bert has no classifier, so it has nothing to teach"):
        taught(checkpoint("bert"), names)
    save_pretrained(teacher, tmp_path / "llama", load_tokenizer(checkpoint("llama")))
    with pytest.raises(UserError, match="reads text by another tokenizer than the student"):
        taught(tmp_path / "llama", names)
    wide = build_model(
        ModelConfig(
            **{**SIZES, **BERT, "vocab_size": 400, "d_model": 48},
            n_layers=1,
            qkv_bias=True,
            out_bias=True,
            ffn_bias=True,
            norm_eps=1e-12,
        ),
        "classification",
        2,
        seed=0,
    )
    save_pretrained(wide, tmp_path / "wide", tokenizer)
    names = ("0", "1")  # LABEL_0 and LABEL_1 in its config.json
    with pytest.raises(UserError, match="wide are 48 wide and the student's 32, so there is no angle"):
        taught(tmp_path / "wide", names)
    assert taught(tmp_path / "wide", names, alpha_cosine=0.0).teacher.order == [0, 1]


# --- whole runs


def test_a_run_learns_from_a_classifier(checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Every other layer of the teacher, a run's or the same exported; the student goes on to the bit."""
    from groundup.trainers.command import main
    from groundup.trainers.folder import find_run

    monkeypatch.setenv("GROUNDUP_CACHE", str(tmp_path / "cache"))
    rows = [f"{'good' if i % 2 else 'bad'} {i},{'pos' if i % 2 else 'neg'}" for i in range(40)]
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *rows]))
    words = f"dataset={tmp_path / 'reviews.csv'} dataset.val_fraction=0.25 trainer.batch_size=4 device=cpu"
    words += " trainer.effective_batch_size=8 trainer.optimizer.lr=1e-3 trainer.max_seq_length=16 output.plots=false"
    words += " trainer.log_interval=1 trainer.checkpoint_interval=4"

    def start(out: str, *more: str) -> Path:
        assert main([f"output.output_dir={tmp_path / out}", *words.split(), *more]) == 0
        return find_run("latest", tmp_path / out)

    teacher = start("teacher", f"model={checkpoint('bert')}", "trainer.max_iters=30")
    assert main(["--export", str(teacher), "--output", str(tmp_path / "hf")]) == 0
    losses = list[float]()
    for i, place in enumerate((teacher, tmp_path / "hf")):
        student = start(f"student-{i}", f"distillation.teacher={place}", "trainer.max_iters=8")
        both = json.loads((student / "training_results.json").read_text())["distillation"]
        assert (both["teacher"]["layers"], both["student"]["layers"]) == (2, 1)
        assert both["student"]["tokens_per_second"] > 0
        page = (student / "report.html").read_text()
        assert "Student and teacher" in page
        assert f"It learned from the teacher {place}" in page
        losses.append(both["teacher"]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    part = start(
        "part",
        f"distillation.teacher={teacher}",
        "trainer.max_iters=4",
        "trainer.lr_decay_iters=8",
        "trainer.warmup_iters=1",
    )
    whole = start(
        "whole",
        f"distillation.teacher={teacher}",
        "trainer.max_iters=8",
        "trainer.lr_decay_iters=8",
        "trainer.warmup_iters=1",
    )
    assert main(["--resume", str(part), "trainer.max_iters=8"]) == 0
    a, b = (load_file(folder / "train/weights/last/model.safetensors") for folder in (part, whole))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
