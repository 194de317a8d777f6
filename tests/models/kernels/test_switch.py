"""use_kernels: who takes a kernel, and that models then compute the same with them."""

from __future__ import annotations

import sys

import pytest
import torch
from groundup.models.attention import Attention
from groundup.models.feedforward import FeedForward
from groundup.models.kernels import use_kernels, uses_kernels
from groundup.models.norms import RMSNorm
from groundup.trainers import losses
from groundup.trainers.losses import loss_backward
from outcomes import compare
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

WITH_KERNELS = ["llama", "gemma", "neox"]


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels for tensors of any device: without a GPU the interpreter runs them."""
    for module in ("attention", "feedforward", "norms"):
        monkeypatch.setattr(sys.modules[f"groundup.models.{module}"], "takes_kernels", lambda x: True)
    monkeypatch.setattr(losses, "takes_kernels", lambda x: True)


def step(model: torch.nn.Module, ids: Tensor) -> list[Tensor]:
    """The loss, and every gradient, of a step that predicts some of the ids."""
    labels = ids.roll(-1, 1)
    labels[0, :3] = losses.IGNORE
    model.zero_grad()
    hidden = model.hidden_states(ids)
    fused = uses_kernels(model)
    loss = loss_backward(hidden, labels, model.head, chunk=4, scale=0.1, smoothing=0.1, fused=fused)
    return [loss, *(p.grad.clone() for p in model.parameters())]


@pytest.mark.parametrize("name", WITH_KERNELS)
@pytest.mark.usefixtures("everywhere")
def test_models_train_the_same(build, variants, name: str, device: torch.device) -> None:
    model = build(**variants[name]).to(device)
    ids = torch.randint(0, 37, (2, 3), generator=torch.Generator().manual_seed(0)).to(device)
    expected, logits = step(model, ids), model(ids)
    use_kernels(model)
    compare(step(model, ids), expected)
    with torch.no_grad():  # rope turns in place
        compare([model(ids)], [logits])


@pytest.mark.usefixtures("everywhere")
def test_what_backward_computes_again(build, variants, monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    """Activations of a wide feed-forward, and whole blocks."""
    model = build(**variants["llama"]).to(device).train()
    ids = torch.randint(0, 37, (2, 3), generator=torch.Generator().manual_seed(0)).to(device)
    expected = step(model, ids)
    monkeypatch.setattr(sys.modules["groundup.models.feedforward"], "_LARGE", 0)
    use_kernels(model)
    for model.gradient_checkpointing in (False, True):
        compare(step(model, ids), expected)


@pytest.mark.usefixtures("everywhere")
def test_every_kernel_is_taken(build, variants, monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    from groundup.models.kernels import cross_entropy, rmsnorm, rope, swiglu

    taken: list[str] = []

    def watch(module: object, name: str) -> None:
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, **k: (taken.append(name), function(*a, **k))[1])

    for module, name in ((rmsnorm, "rms_norm"), (rope, "rope"), (swiglu, "gated"), (cross_entropy, "cross_entropy_")):
        watch(module, name)
    model = build(**variants["gemma"]).to(device)  # 2 layers, each with 4 norms and those of queries and keys
    use_kernels(model)
    step(model, torch.zeros(1, 5, dtype=torch.long, device=device))
    assert {name: taken.count(name) for name in taken} == {"rms_norm": 13, "rope": 4, "gated": 2, "cross_entropy_": 1}
    taken.clear()
    use_kernels(model, on=False)
    step(model, torch.zeros(1, 5, dtype=torch.long, device=device))
    assert not taken


def test_on_and_off(build, variants, capsys: pytest.CaptureFixture[str]) -> None:
    model = build(**variants["llama"])
    modules = [m for m in model.modules() if isinstance(m, (RMSNorm, FeedForward, Attention))]
    kernels = lambda: [m.rope_kernel if isinstance(m, Attention) else m.kernel for m in modules]  # noqa: E731
    assert not uses_kernels(model)
    assert not any(kernels())
    assert use_kernels(model) is False  # on a CPU
    assert "note: fused kernels are for CUDA: on cpu the same steps run in plain torch" in capsys.readouterr().err
    assert uses_kernels(model)
    assert all(kernels())
    use_kernels(model, on=False)
    assert not uses_kernels(model)
    assert not any(kernels())
    assert capsys.readouterr().err == ""


def test_without_triton(build, variants, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundup.models.kernels.switch.triton_is_installed", lambda: False)
    model = build(**variants["llama"])
    assert use_kernels(model) is False
    assert not uses_kernels(model)
    assert "triton is not installed" in capsys.readouterr().err


def test_no_kernel_for_what_has_none(build) -> None:
    model = build(activation="relu", gated=True)
    use_kernels(model)
    assert all(m.kernel is None for m in model.modules() if isinstance(m, FeedForward))


class Sizes(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation gave."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, Tensor):
                self.largest = max(self.largest, tensor.numel())
        return result


def test_no_activation_of_a_whole_batch_is_as_wide_as_the_vocabulary(build, variants) -> None:
    model = build(**variants["llama"] | {"vocab_size": 997})
    use_kernels(model)
    ids = torch.randint(0, 997, (4, 32), generator=torch.Generator().manual_seed(0))
    with Sizes() as sizes:
        step(model, ids)
    assert sizes.largest < 4 * 32 * 997 / 4  # the weight of the head, 997 x 24, is the largest
