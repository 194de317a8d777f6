"""models/kernels/cross_entropy.py against trainers/losses.py, and against torch's own loss."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from groundup.trainers.losses import cross_entropy_
from outcomes import compare

IGNORED = -100


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("smoothing", "softcap"), [(0.0, None), (0.1, None), (0.1, 5.0), (0.0, 5.0)])
@pytest.mark.parametrize(("rows", "vocab"), [(1, 2), (7, 97), (2, 8209)])  # 8209: a prime above what is held at once
def test_equals_its_twin(rows: int, vocab: int, smoothing: float, softcap, dtype, device: torch.device) -> None:
    from groundup.models.kernels.cross_entropy import cross_entropy_ as kernel

    torch.manual_seed(0)
    logits = torch.randn(rows, vocab, device=device) * 6
    logits[0, -1] = logits[0].max() + 1  # the highest comes last
    logits = logits.to(dtype)
    labels = torch.randint(0, vocab, (rows,), device=device)
    labels[-1] = vocab - 1
    ours, expected = logits.clone(), logits.clone()
    losses = [
        kernel(ours, labels, 0.25, smoothing, softcap),
        cross_entropy_(expected, labels, 0.25, smoothing, softcap),
    ]
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-5)
    compare([ours], [expected])
    kept = logits.clone()
    torch.testing.assert_close(kernel(kept, labels, None, smoothing, softcap), losses[1], rtol=1e-5, atol=1e-5)
    assert torch.equal(kept, logits)


@pytest.mark.parametrize("layout", ["rows apart", "columns apart"])
def test_ignored_targets_and_strides(layout: str, device: torch.device) -> None:
    from groundup.models.kernels.cross_entropy import cross_entropy_ as kernel

    torch.manual_seed(0)
    wide = torch.randn(6, 40, device=device)
    logits = wide[:, :19] if layout == "rows apart" else wide[:, ::2]
    beside = wide[:, 19:].clone() if layout == "rows apart" else wide[:, 1::2].clone()
    labels = torch.tensor([3, IGNORED, 0, 18, IGNORED, 7], device=device)
    exact = logits.clone().requires_grad_()
    expected = F.cross_entropy(exact, labels, reduction="sum", label_smoothing=0.2, ignore_index=IGNORED)
    expected.backward()
    loss = kernel(logits, labels, 1.0, 0.2)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-5, atol=1e-5)
    compare([logits], [exact.grad])  # type: ignore[list-item]
    assert torch.equal(wide[:, 19:] if layout == "rows apart" else wide[:, 1::2], beside)


def test_some_logits_are_out_of_the_question(device: torch.device) -> None:
    """-inf, as of a padded vocabulary, in a whole block of logits."""
    from groundup.models.kernels.cross_entropy import cross_entropy_ as kernel

    logits = torch.full((1, 8200), float("-inf"), device=device)
    logits[0, 8195:] = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    labels = torch.tensor([8197], device=device)
    expected = logits.clone()
    loss = kernel(logits, labels, 1.0)
    torch.testing.assert_close(loss, cross_entropy_(expected, labels, 1.0), rtol=1e-6, atol=1e-6)
    compare([logits], [expected])


def test_a_label_that_is_no_token_makes_the_loss_nan(device: torch.device) -> None:
    from groundup.models.kernels.cross_entropy import cross_entropy_ as kernel

    for label in (-1, 5):
        assert kernel(torch.zeros(2, 5, device=device), torch.tensor([0, label], device=device), 1.0).isnan()


def test_scaling_happens_before_rounding_to_fp16(device: torch.device) -> None:
    from groundup.models.kernels.cross_entropy import cross_entropy_ as kernel

    logits = torch.tensor([[0.0, -20.0, 0.0, 0.0]], dtype=torch.float16, device=device)
    kernel(logits, torch.tensor([0], device=device), 65536.0)
    assert logits[0, 1] > 0


def test_nothing_to_learn(device: torch.device) -> None:
    from groundup.models.kernels.cross_entropy import cross_entropy_ as kernel

    assert kernel(torch.zeros(0, 5, device=device), torch.zeros(0, dtype=torch.long, device=device), 1.0) == 0
