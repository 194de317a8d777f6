"""models/heads.py: logits by hand, for each task."""

from __future__ import annotations

import math

import pytest
import torch
from groundup.errors import UserError
from groundup.models import build_model
from groundup.models.heads import ClassificationHead, LMHead, MaskedLMHead, ReplacedTokenHead, before_cap
from torch import nn

HIDDEN = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0))
ERF = math.sqrt(0.5)


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.eval()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("width", [24, 10])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cap", [None, 2.0])
def test_next_token(tiny, tied, width, bias, cap) -> None:
    config = tiny(tie_embeddings=tied, d_embed=width, head_bias=bias, logit_softcap=cap)
    tokens = nn.Embedding(37, width)
    head = randomised(LMHead(config, tokens))
    assert (head.out.weight is tokens.weight) == tied
    x = HIDDEN
    if tied and width != 24:
        x = x @ head.project.weight.T
    expected = x @ head.out.weight.T
    if bias:
        expected = expected + head.out.bias
    if cap:
        expected = 2 * torch.tanh(expected / 2)
        assert expected.abs().max() > 1.5
    torch.testing.assert_close(head(HIDDEN), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(head(HIDDEN.flatten(0, 1)), expected.flatten(0, 1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(head(HIDDEN[0, 3]), expected[0, 3], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_masked_token(tiny, tied) -> None:
    tokens = nn.Embedding(37, 10)
    head = randomised(MaskedLMHead(tiny(d_embed=10, tie_embeddings=tied), tokens))
    assert (head.out.weight is tokens.weight) == tied
    x = HIDDEN @ head.dense.weight.T + head.dense.bias
    x = 0.5 * x * (1 + torch.erf(x * ERF))
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    expected = (x * head.norm.weight + head.norm.bias) @ head.out.weight.T + head.out.bias
    torch.testing.assert_close(head(HIDDEN), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("task", ["causal_lm", "masked_lm", "replaced_token", "encoder"])
@pytest.mark.parametrize("cap", [None, 2.0])
def test_a_loss_may_take_the_cap(build, task, cap) -> None:
    head = build(task, logit_softcap=cap).head
    function, found = before_cap(head)
    if cap is None or task not in ("causal_lm", "masked_lm"):
        assert (function, found) == (head, None)
        return
    assert found == cap
    x = HIDDEN * 9
    torch.testing.assert_close(cap * torch.tanh(function(x) / cap), head(x))
    assert function(x).abs().max() > cap


def test_replaced_token(tiny) -> None:
    head = randomised(ReplacedTokenHead(tiny(head_activation="relu")))
    x = (HIDDEN @ head.dense.weight.T + head.dense.bias).clamp(min=0)
    expected = (x @ head.out.weight.T + head.out.bias)[..., 0]
    assert expected.shape == (2, 5)
    torch.testing.assert_close(head(HIDDEN), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", None])
def test_class_of_one_token(tiny, name) -> None:
    head = randomised(ClassificationHead(tiny(classifier_activation=name), 3))
    formulas = {
        "tanh": torch.tanh,
        "relu": lambda x: x.clamp(min=0),
        "gelu": lambda x: 0.5 * x * (1 + torch.erf(x * ERF)),
    }
    x = HIDDEN[:, -1]
    if name:
        x = formulas[name](x @ head.dense.weight.T + head.dense.bias)
    expected = x @ head.out.weight.T + (head.out.bias if name else 0)
    assert (head.out.bias is None) == (name is None)
    torch.testing.assert_close(head(HIDDEN[:, -1:]), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "mask", "tokens"),
    [
        ("first", None, [0, 0]),
        ("last", None, [4, 4]),
        ("last", [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], [2, 4]),
        ("last", [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], [4, 4]),
        ("first", [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], [2, 0]),
        ("first", [[1, 0, 0, 0, 0], [1, 1, 1, 1, 1]], [0, 0]),
    ],
)
def test_pooling_goes_by_the_mask(tiny, pooling, mask, tokens) -> None:
    head = ClassificationHead(tiny(classifier_pooling=pooling), 3)
    mask = None if mask is None else torch.tensor(mask)
    ids = torch.zeros(2, 5, dtype=torch.long)
    assert head.place(ids, mask).tolist() == tokens
    if mask is not None:
        assert head.place(ids, mask.bool()).tolist() == tokens
        head.pad_id = 0
        assert head.place(mask, None).tolist() == tokens  # the ids that are 0 are padding


def test_classifier_dropout_is_before_the_last_projection(tiny) -> None:
    torch.manual_seed(0)
    head = ClassificationHead(tiny(classifier_dropout=0.5, classifier_activation="tanh"), 24)
    nn.init.eye_(head.out.weight)
    nn.init.zeros_(head.out.bias)
    hidden = torch.randn(200, 1, 24)
    dense = torch.tanh(head.dense(hidden[:, 0]))
    logits = head.train()(hidden)
    kept = logits != 0
    assert abs(kept.float().mean().item() - 0.5) < 0.03
    torch.testing.assert_close(logits[kept], 2 * dense[kept])
    torch.testing.assert_close(head.eval()(hidden), dense)


def test_tasks_and_labels(tiny) -> None:
    assert isinstance(build_model(tiny(), "encoder").head, nn.Identity)
    with pytest.raises(UserError, match="needs num_labels"):
        build_model(tiny(), "classification")
    with pytest.raises(UserError, match="at least 1, not 0"):
        build_model(tiny(), "classification", 0)
    with pytest.raises(UserError, match="num_labels=3 is for task 'classification'"):
        build_model(tiny(), "causal_lm", 3)
    with pytest.raises(UserError, match=r"task 'causal-lm' is not known\. Did you mean 'causal_lm'\?"):
        build_model(tiny(), "causal-lm")
