"""The chunked loss against torch's own cross-entropy: values, and every gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from groundup.trainers.losses import IGNORE, chunk_tokens, cross_entropy_, loss_backward, loss_sum
from torch import nn


def reference(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    return F.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing, ignore_index=IGNORE)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("rows", "vocab"), [(7, 5), (33, 1001), (3, 400_000)])
def test_value_and_gradient(rows: int, vocab: int, smoothing: float) -> None:
    torch.manual_seed(0)
    logits = (torch.randn(rows, vocab, dtype=torch.float64) * 3).float()
    labels = torch.randint(0, vocab, (rows,))
    exact = logits.double().requires_grad_()
    expected = reference(exact, labels, smoothing)
    (0.25 * expected).backward()

    got = logits.clone()
    loss = cross_entropy_(got, labels, 0.25, smoothing)

    torch.testing.assert_close(loss.double(), expected.detach(), rtol=5e-6, atol=1e-6)
    torch.testing.assert_close(got.double(), exact.grad, rtol=1e-4, atol=1e-7)


def test_without_scale_the_logits_are_left_alone() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(9, 13), torch.randint(0, 13, (9,))
    before = logits.clone()
    loss = cross_entropy_(logits, labels, None, 0.2)
    torch.testing.assert_close(logits, before, rtol=0, atol=0)
    torch.testing.assert_close(loss, reference(before, labels, 0.2))


def test_scaling_happens_before_rounding_to_fp16() -> None:
    """Probabilities of 1e-9 survive in fp16 if they are multiplied by the loss scale in fp32."""
    logits = torch.zeros(1, 4, dtype=torch.float16)
    logits[0, 0], logits[0, 1] = 0.0, -20.0  # p[1] is about 7e-10
    cross_entropy_(logits, torch.tensor([0]), 65536.0)
    assert logits[0, 1] > 0


@pytest.mark.parametrize("chunk", [1, 4, 10**9])
@pytest.mark.parametrize("bias", [False, True])
def test_chunks_give_the_gradients_of_the_plain_loss(chunk: int, bias: bool) -> None:
    torch.manual_seed(1)
    trunk, head = nn.Linear(6, 11), nn.Linear(11, 29, bias=bias)
    x, labels = torch.randn(3, 5, 6), torch.randint(0, 29, (3, 5))
    labels[0, 2:] = IGNORE
    labels[2, 0] = IGNORE
    n = int((labels != IGNORE).sum())
    modules = nn.ModuleList([trunk, head])

    plain = reference(head(trunk(x)).flatten(0, 1), labels.flatten(), 0.1) / n
    plain.backward()
    expected = {name: p.grad.clone() for name, p in modules.named_parameters()}
    modules.zero_grad()

    total = loss_backward(trunk(x), labels, head, chunk=chunk, scale=1 / n, smoothing=0.1)

    torch.testing.assert_close(total / n, plain.detach(), rtol=1e-6, atol=1e-6)
    for name, p in modules.named_parameters():
        torch.testing.assert_close(p.grad, expected[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_cap_of_the_logits_is_part_of_the_loss(smoothing: float, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    head = nn.Linear(11, 29).to(dtype)
    hidden, labels = torch.randn(3, 5, 11).to(dtype).requires_grad_(), torch.randint(0, 29, (3, 5))
    capped = 0.7 * torch.tanh(head(hidden).float() / 0.7)
    expected = reference(capped.flatten(0, 1), labels.flatten(), smoothing)
    wanted = torch.autograd.grad(expected * 0.5, [hidden, head.weight])

    total = loss_backward(hidden, labels, head, chunk=4, scale=0.5, smoothing=smoothing, softcap=0.7)

    torch.testing.assert_close(total, expected.detach(), rtol=1e-5, atol=1e-5)
    for got, exact in zip((hidden.grad, head.weight.grad), wanted, strict=True):
        tolerance = 1e-5 if dtype == torch.float32 else 2e-2
        torch.testing.assert_close(got, exact, rtol=tolerance, atol=tolerance)
    if smoothing == 0:
        evaluated, n = loss_sum(hidden, labels, head, chunk=4, softcap=0.7)
        torch.testing.assert_close((evaluated, n), (total, 15), rtol=1e-5, atol=1e-5)


def test_tied_head_collects_both_gradients() -> None:
    torch.manual_seed(2)
    table = nn.Embedding(17, 8)
    ids, labels = torch.randint(0, 17, (2, 6)), torch.randint(0, 17, (2, 6))

    def head(h: torch.Tensor) -> torch.Tensor:
        return F.linear(h, table.weight)

    (reference(head(table(ids)).flatten(0, 1), labels.flatten(), 0.0) * 0.5).backward()
    expected = table.weight.grad.clone()
    table.zero_grad()
    loss_backward(table(ids), labels, head, chunk=5, scale=0.5)
    torch.testing.assert_close(table.weight.grad, expected, rtol=1e-5, atol=1e-6)


def test_a_window_without_targets_has_no_loss_and_no_gradient() -> None:
    trunk = nn.Linear(3, 4)
    total = loss_backward(trunk(torch.randn(2, 2, 3)), torch.full((2, 2), IGNORE), nn.Linear(4, 5), chunk=8, scale=1.0)
    assert total == 0
    assert trunk.weight.grad is None


def test_evaluation_sum() -> None:
    torch.manual_seed(3)
    head = nn.Linear(11, 29)
    hidden, labels = torch.randn(3, 5, 11), torch.randint(0, 29, (3, 5))
    labels[1] = IGNORE
    total, n = loss_sum(hidden, labels, head, chunk=4)
    assert n == 10
    torch.testing.assert_close(total, reference(head(hidden).flatten(0, 1), labels.flatten(), 0.0).detach())


def test_chunk_setting() -> None:
    assert chunk_tokens(50_257, torch.float32, 512) == 512
    assert chunk_tokens(50_257, torch.float32, 0) > 10**12
    assert chunk_tokens(128_000, torch.float32) * 128_000 * 4 <= 256 * 2**20
    assert chunk_tokens(10**9, torch.float32) == 1
