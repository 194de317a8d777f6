"""Signal-to-noise ratios against numpy; what is chosen by them; and that nothing trains by accident."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from groundup.errors import UserError
from groundup.models import Model, ModelConfig, build_model
from groundup.trainers import snr
from groundup.trainers.optimizers import parameter_groups
from groundup.trainers.snr import signal_to_noise
from groundup.trainers.spectrum import Selection, choose_layers
from torch import nn

SIZES: dict[str, Any] = {
    "vocab_size": 37, "d_model": 48, "n_layers": 4, "n_heads": 4, "d_ff": 80, "max_seq_len": 32
}  # fmt: skip
LLAMA: dict[str, Any] = {"positions": "rope", "norm": "rmsnorm", "n_kv_heads": 2, "activation": "silu", "gated": True}
BIASES = {"qkv_bias": True, "out_bias": True, "ffn_bias": True}
BERT: dict[str, Any] = {"causal": False, "norm_slots": ("sum",), "head_norm": "none", "embed_norm": True, **BIASES}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("causal_lm", BIASES),
    "llama, not tied": ("causal_lm", LLAMA | {"tie_embeddings": False}),
    "neox": ("causal_lm", {"positions": "rope", "parallel": True, "tie_embeddings": False, **BIASES}),
    "bert": ("masked_lm", BERT | {"n_token_types": 2}),
    "deberta": ("masked_lm", BERT | {"positions": "relative", "relative_buckets": 4, "relative_span": 16}),
    "classifier": ("classification", BERT),
}

Choose = Callable[..., Selection]


def random_model(name: str = "llama, not tied", **changes: Any) -> Model:
    """All weights random, so that no two matrices have the same ratio."""
    task, fields = MODELS[name]
    config = ModelConfig(**SIZES | fields | changes)
    model = build_model(config, task, 3 if task == "classification" else None, seed=0)  # pyright: ignore
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.1)
    return model


@pytest.fixture
def choose(tmp_path: Path) -> Choose:
    """choose_layers with a cache of the test's own."""

    def call(model: Model, *args: Any, **options: Any) -> Selection:
        return choose_layers(model, *args, **{"cache_dir": tmp_path / "cache"} | options)

    return call


def by_hand(weight: torch.Tensor) -> float:
    """The authors' formula, spectrum.py of cognitivecomputations/spectrum, in numpy and fp64."""
    singular = np.linalg.svd(weight.double().numpy(), compute_uv=False)
    sigma = (np.percentile(singular, 75) - np.percentile(singular, 25)) / 1.349
    n, m = weight.shape
    beta = n / m if n < m else m / n
    threshold = sigma * np.sqrt((1 + np.sqrt(beta)) ** 2)
    signal, noise = singular[singular > threshold].sum(), singular[singular <= threshold].sum()
    return signal / (noise or 1.0) / singular.max()


# --- the ratio


@pytest.mark.parametrize("shape", [(40, 40), (64, 17), (9, 130), (2, 5)])
@pytest.mark.parametrize("kind", ["noise", "low rank", "uneven"])
def test_the_ratio_is_the_authors(shape: tuple[int, int], kind: str) -> None:
    generator = torch.Generator().manual_seed(shape[0])
    weight = torch.randn(shape, generator=generator) * 0.02
    if kind == "low rank":
        weight += torch.randn(shape[0], 2, generator=generator) @ torch.randn(2, shape[1], generator=generator) * 0.3
    if kind == "uneven":
        weight *= torch.logspace(-2, 1, shape[1])
    assert signal_to_noise(weight) == pytest.approx(by_hand(weight), rel=1e-6)


def test_without_noise_it_counts_as_1_and_zeros_have_no_signal() -> None:
    even = torch.diag(torch.tensor([2.0] * 5))
    assert signal_to_noise(even) == pytest.approx(5 * 2.0 / 1 / 2.0)
    assert signal_to_noise(torch.zeros(4, 7)) == 0
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(40, 5, generator=generator), torch.randn(5, 90, generator=generator)
    few = (left.double() @ right.double()).float()  # 35 of its 40 singular values are 0 but for rounding
    singular = torch.linalg.svdvals(few.double())[:5]
    assert signal_to_noise(few) == pytest.approx((singular.sum() / singular[0]).item(), rel=1e-6)


def test_planted_signals_are_found(choose: Choose) -> None:
    """Four layers of noise; to one matrix of each kind, each time in another layer, one of low rank is added.

    All have the same largest singular value, which the ratio is in parts of.
    """
    model = random_model()
    generator = torch.Generator().manual_seed(2)
    planted: dict[str, int] = {}
    with torch.no_grad():
        for name, p in model.core.named_parameters():
            if p.dim() == 2:
                p.copy_(torch.randn(p.shape, generator=generator) * 0.02)
                kind = name.split(".", 2)[2]
                layer = planted.setdefault(kind, len(planted) % 4)
                if name.startswith(f"layers.{layer}."):
                    rank = min(p.shape) // 8
                    left, right = (torch.randn(size, rank, generator=generator) for size in p.shape)
                    p.add_(left @ right.T * 0.2)
                p.div_(torch.linalg.matrix_norm(p, 2))
    assert len(planted) == 7
    chosen = choose(model, 0.75)
    assert set(chosen.modules) == {
        f"core.layers.{layer}.{kind.removesuffix('.weight')}" for kind, layer in planted.items()
    }


# --- what is chosen


@pytest.mark.parametrize("name", MODELS)
def test_the_best_half_of_each_kind_trains_and_nothing_else(name: str, choose: Choose) -> None:
    model = random_model(name)
    selection = choose(model, 0.5)
    expected: set[str] = set()
    modules = dict(model.named_modules())
    kinds = ["attn.f.q", "attn.f.k", "attn.f.v", "attn.f.out", "ffn.f.up", "ffn.f.down"]
    for kind in kinds + ["ffn.f.gate"] * model.config.gated:
        names = [f"core.layers.{i}.{kind}" for i in range(4)]
        names.sort(key=lambda n: by_hand(modules[n].weight.detach()), reverse=True)
        expected |= set(names[:2])
    assert set(selection.modules) == expected
    assert not any(p.dim() < 2 for s in selection.scores for p in [modules[s.name].weight])
    selection.apply(model)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    of_chosen = {f"{m}.{n}" for m in expected for n, _ in modules[m].named_parameters()}
    head = {n for n, _ in model.named_parameters() if n.startswith("head.")} if name == "classifier" else set()
    assert trained == of_chosen | head == set(selection.parameters)
    assert bool(head) == (name == "classifier")
    assert selection.count == model.num_parameters(trainable_only=True) < 0.5 * model.num_parameters()
    groups = parameter_groups(model, 0.1)
    assert {n for group in groups for n in group["names"]} == trained


@pytest.mark.parametrize(("threshold", "each"), [(0.0, 4), (0.25, 3), (0.3, 2), (0.5, 2), (0.6, 1), (0.75, 1)])
def test_a_higher_threshold_chooses_fewer(choose: Choose, threshold: float, each: int) -> None:
    assert len(choose(random_model(), threshold).modules) == 7 * each


def test_a_tenth_of_ten_is_one(choose: Choose) -> None:
    """10 x (1 - 0.9) is 0.9999999999999998."""
    assert len(choose(random_model(n_layers=10), 0.9).modules) == 7


def test_a_matrix_of_zeros_is_never_chosen(choose: Choose) -> None:
    model = random_model()
    for i in (0, 2, 3):
        nn.init.zeros_(model.core.layers[i].attn.f.out.weight)
    chosen = choose(model, 0.25).modules
    assert [name for name in chosen if name.endswith("attn.f.out")] == ["core.layers.1.attn.f.out"]
    assert len(chosen) == 6 * 3 + 1


def test_given_layers_train_whole(choose: Choose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snr, "signal_to_noise", lambda weight: pytest.fail("nothing is to be ranked"))
    model = random_model("gpt2")
    selection = choose(model, layers=[2, 0])
    selection.apply(model)
    for i, layer in enumerate(model.core.layers):
        assert all(p.requires_grad == (i in (0, 2)) for p in layer.parameters())
    assert not any(p.requires_grad for p in [*model.embedder.parameters(), *model.head.parameters()])
    assert len(selection.modules) == 12
    assert selection.table().startswith("layers 0, 2, as given:")


def test_what_layers_share_is_ranked_once_and_goes_with_each_layer(choose: Choose) -> None:
    model = random_model("gpt2", share_ffn=True)
    kinds = [score.kind for score in choose(model).scores]
    assert (kinds.count("ffn.up"), kinds.count("attn.q")) == (1, 4)
    choose(model, layers=[3]).apply(model)
    assert model.core.layers[0].ffn.f.up.weight.requires_grad
    assert not model.core.layers[0].attn.f.q.weight.requires_grad


def test_more_can_be_named(choose: Choose) -> None:
    model = random_model("gpt2")
    selection = choose(model, also=["embedder.tokens."])  # the head's too: it is tied
    assert "embedder.tokens.weight" in selection.parameters
    assert choose(model, also=["head."]).parameters == selection.parameters
    selection.apply(model)
    assert model.head.out.weight.requires_grad  # pyright: ignore
    with pytest.raises(UserError, match=r"no parameter's name begins with 'embeder'.*Did you mean 'embedder\.'"):
        choose(model, also=["embeder"])


def test_only_what_was_chosen_changes_and_it_does(choose: Choose) -> None:
    model = random_model()
    selection = choose(model, 0.75)
    selection.apply(model)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    ids = torch.randint(37, (2, 9))
    nn.functional.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    assert {n for n, p in model.named_parameters() if p.grad is not None} == set(selection.parameters)
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1).step()
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == set(selection.parameters)


def test_another_model_is_refused_and_left_as_it_is(choose: Choose) -> None:
    selection, other = choose(random_model(), 0.75), random_model(n_layers=1)
    with pytest.raises(UserError, match=r"the model has no parameter 'core\.layers\.\d"):
        selection.apply(other)
    assert all(p.requires_grad for p in other.parameters())


# --- the cache


def test_scores_are_kept_by_the_weights_they_are_of(
    choose: Choose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = choose(random_model())
    kept = list((tmp_path / "cache" / "spectrum").iterdir())
    assert len(kept) == 1
    with monkeypatch.context() as patch:
        patch.setattr(snr, "signal_to_noise", lambda weight: pytest.fail("it was scored before"))
        assert choose(random_model()) == first
        model = random_model()
        model.core.layers[1].attn.f.q.weight.data[0, 0] += 1e-6
        with pytest.raises(pytest.fail.Exception):
            choose(model)
    (kept[0] / "scores.json").write_text("{", encoding="utf-8")  # damaged: scored and written again
    assert choose(random_model()) == first
    assert len(json.loads((kept[0] / "scores.json").read_text(encoding="utf-8"))) == 28


def test_a_long_scan_says_how_far_it_is(
    choose: Choose, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(snr, "_LINE_EVERY", 0.0)
    choose(random_model())
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "note: spectrum: taking the singular values of 28 matrices"
    assert [line.split(",")[0] for line in lines[1:]] == [f"note: spectrum: {i} of 28 matrices" for i in range(1, 28)]
    assert all(re.search(r", [\d.e+]+ a second, \d+:\d\d left$", line) for line in lines[1:])
    choose(random_model())
    assert "these very weights were scored before" in capsys.readouterr().err


def test_they_may_be_scored_on_another_device(choose: Choose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each matrix is moved there alone; where there is no fp64, to the CPU."""
    where: list[str] = []
    monkeypatch.setattr(snr, "signal_to_noise", lambda weight: where.append(weight.device.type) or 1.0)
    for device, expected in (("meta", "meta"), ("mps", "cpu"), (None, "cpu")):
        choose(random_model(), device=torch.device(device) if device else None, cache_dir=tmp_path / f"{device}")
        assert where == [expected] * 28
        where.clear()


def test_weights_in_16_bits_are_scored_in_fp64(choose: Choose) -> None:
    model = random_model().bfloat16()
    scores = choose(model).scores
    expected = by_hand(dict(model.named_modules())[scores[3].name].weight.detach().float())
    assert scores[3].snr == pytest.approx(expected, rel=1e-6)


# --- refusals


def test_nothing_trains_by_accident(choose: Choose) -> None:
    model = random_model()
    refused = {
        r"snr_threshold=0.8: the best 20% of 4 matrices of a kind are none.*set it to 0.75 or less": {
            "snr_threshold": 0.8
        },
        r"snr_threshold=1.5: must be from 0 to 1": {"snr_threshold": 1.5},
        r"layers_to_finetune: the list is empty": {"layers": []},
        r"layers_to_finetune: there is no layer 4, the model has 0 to 3": {"layers": [1, 4]},
        r"there is no layer -1": {"layers": [-1]},
    }
    for message, options in refused.items():
        with pytest.raises(UserError, match=message):
            choose(model, **options)
    with torch.no_grad():
        for layer in model.core.layers:
            for p in layer.parameters():
                p.zero_()
    with pytest.raises(UserError, match="no matrix has a singular value above the noise"):
        choose(model)
    with torch.no_grad():
        model.core.layers[2].ffn.f.down.weight[1, 1] = torch.nan
    with pytest.raises(UserError, match=r"'core\.layers\.2\.ffn\.f\.down\.weight' is not all finite numbers"):
        choose(model)
    assert all(p.requires_grad for p in model.parameters())


def test_a_model_without_matrices_and_a_quantised_one_are_refused(choose: Choose) -> None:
    from groundup.models.quant import quantize_model

    bare = random_model()
    bare.core.layers = nn.ModuleList()
    with pytest.raises(UserError, match="no matrices in its blocks"):
        choose(bare)
    model = random_model()
    selection = choose(model)
    packed = quantize_model(model, "nf4", skip=[*selection.modules, "embedder", "head"])
    assert len(packed) == 28 - len(selection.modules)
    with pytest.raises(UserError, match=r"'core\.layers\.\d\.\w+\.f\.\w+' is quantised: choose the layers first"):
        choose(model)
    selection.apply(model)  # what was chosen stayed as it was, and trains
    assert model.num_parameters(trainable_only=True) == selection.count


# --- what a person sees


def test_the_table_and_the_files(choose: Choose, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    selection = choose(random_model(), 0.5)
    assert "taking the singular values of 28 matrices" in capsys.readouterr().err
    lines = selection.table().splitlines()
    assert len(lines) == 1 + 7 + 1
    layers = sorted(s.layer for s in selection.scores if s.kind == "attn.q" and s.name in selection.modules)
    assert lines[1].startswith("attn.q")
    assert "2 of 4" in lines[1]
    assert lines[1].endswith(" ".join(map(str, layers)))
    assert f"{selection.count:,} of {selection.total:,} parameters train" in lines[-1]
    paths = selection.write(tmp_path / "run")
    assert [path.name for path in paths] == ["spectrum.json", "spectrum.png"]
    assert json.loads(paths[0].read_text(encoding="utf-8"))["modules"] == list(selection.modules)
    assert Selection.read(tmp_path / "run") == selection
    with pytest.raises(UserError, match=r"elsewhere.spectrum\.json: cannot be read"):
        Selection.read(tmp_path / "elsewhere")
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in selection.write(tmp_path / "plain", plot=False)] == ["spectrum.json"]
    assert [path.name for path in choose(random_model(), layers=[1]).write(tmp_path / "list")] == ["spectrum.json"]
