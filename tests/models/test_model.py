# ruff: noqa: C408 (fields read better as keywords)
"""models/model.py: what must hold of every model, whatever its configuration."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from groundup.errors import UserError
from groundup.models import KVCache, Model
from torch import Tensor

V, T = 37, 12
IDS = torch.randint(0, V, (3, T), generator=torch.Generator().manual_seed(0))


def close(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


def loss_gradients(model: Model, ids: Tensor, wanted: Tensor, **inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits where `wanted` (B, T), and the gradients of a weighted sum of them."""
    model.zero_grad()
    logits = model(ids, **inputs)[wanted]
    weights = torch.arange(logits.numel(), dtype=torch.float64).reshape(logits.shape).cos()
    (logits * weights).sum().backward()
    return logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_hidden_states_are_what_the_head_reads(any_model) -> None:
    logits, hidden = any_model(IDS), any_model.hidden_states(IDS)
    assert hidden.shape == (3, T, 24)
    assert torch.equal(any_model.head(hidden), logits)
    close(any_model.head(hidden.flatten(0, 1)[5:9]), logits.flatten(0, 1)[5:9])


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        ("causal_lm", (3, T, V)),
        ("masked_lm", (3, T, V)),
        ("replaced_token", (3, T)),
        ("classification", (3, 5)),
        ("encoder", (3, T, 24)),
    ],
)
def test_tasks(build, task, shape) -> None:
    model = build(task, 5 if task == "classification" else None)
    assert model(IDS).shape == shape
    assert model.task == task
    assert model.config.d_model == 24
    if task == "encoder":
        assert torch.equal(model(IDS), model.hidden_states(IDS))


def test_a_decoder_never_looks_ahead(decoder) -> None:
    before = decoder(IDS)
    for at in (4, T - 1):
        changed = IDS.clone()
        changed[:, at] = (changed[:, at] + 1) % V
        after = decoder(changed)
        assert torch.equal(after[:, :at], before[:, :at])
        assert not torch.allclose(after[:, at], before[:, at], atol=1e-3)


def test_an_encoder_does(build) -> None:
    model = build("masked_lm", causal=False)
    changed = IDS.clone()
    changed[:, -1] = (changed[:, -1] + 1) % V
    assert not torch.allclose(model(changed)[:, 0], model(IDS)[:, 0], atol=1e-3)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_batch_equals_its_rows_alone(any_model, side) -> None:
    """Logits, and the gradients of a loss that reads real tokens only, whatever stands in the padding."""
    lengths, ids = (T, 7, 3), IDS.clone()
    mask = torch.zeros(3, T, dtype=torch.long)
    for row, length in enumerate(lengths):
        mask[row, slice(T - length, T) if side == "left" else slice(0, length)] = 1
    logits, gradients = loss_gradients(any_model, ids, mask.bool(), attention_mask=mask)
    singles, start = [], 0
    for row, length in enumerate(lengths):
        alone = ids[row : row + 1][:, mask[row].bool()]
        single, _ = loss_gradients(any_model, alone, torch.ones_like(alone).bool())
        close(logits[start : start + length], single)
        singles.append(single)
        start += length

    ids = ids.masked_fill(mask == 0, 9)
    other, other_gradients = loss_gradients(any_model, ids, mask.bool(), attention_mask=mask)
    close(other, logits, 1e-6)
    for name, gradient in gradients.items():
        if name not in ("embedder.tokens.weight", "embedder.positions.weight"):
            close(other_gradients[name], gradient, 1e-4)
    assert logits.isfinite().all()
    assert any_model(ids, mask).isfinite().all()  # padding sees itself: nothing is NaN


def test_packed_documents_are_as_if_alone(any_model) -> None:
    """A canary: the first document changes; the second's logits and gradients do not, and equal those it has alone."""
    first, second = IDS[:1, :5], IDS[1:2, :7]
    packed = torch.cat([first, second], 1)
    segments = torch.tensor([[8] * 5 + [9] * 7])
    in_second = segments == 9
    logits, gradients = loss_gradients(any_model, packed, in_second, segment_ids=segments)
    alone, alone_gradients = loss_gradients(any_model, second, torch.ones(1, 7).bool())
    close(logits, alone)
    close(any_model(packed, segment_ids=segments)[:, :5], any_model(first))
    for name, gradient in gradients.items():
        close(gradient, alone_gradients[name], 1e-4)

    canary = torch.cat([(first + 1) % V, second], 1)
    assert torch.equal(any_model(canary, segment_ids=segments)[:, 5:], any_model(packed, segment_ids=segments)[:, 5:])
    assert not torch.allclose(any_model(canary)[:, 5:], any_model(packed)[:, 5:], atol=1e-3)  # unpacked it would


def test_packing_and_padding_together(build) -> None:
    model = build()
    packed = torch.cat([IDS[:1, :5], IDS[1:2, :4], torch.zeros(1, 3, dtype=torch.long)], 1)
    segments, mask = torch.tensor([[0] * 5 + [1] * 7]), torch.tensor([[1] * 9 + [0] * 3])
    logits = model(packed, mask, segment_ids=segments)
    close(logits[:, 5:9], model(IDS[1:2, :4]))
    assert logits.isfinite().all()


def test_position_ids_are_taken_as_given(build) -> None:
    model = build()
    counted = model(IDS)
    given = torch.arange(T).expand(3, T)
    assert torch.equal(model(IDS, position_ids=given), counted)
    shifted = model(IDS, position_ids=given + 3)
    assert not torch.allclose(shifted, counted, atol=1e-3)
    rope = build(positions="rope")
    close(rope(IDS, position_ids=given + 3), rope(IDS), 1e-4)  # only distances count


def test_token_types_default_to_zero(build) -> None:
    model = build("masked_lm", n_token_types=2)
    assert torch.equal(model(IDS), model(IDS, token_type_ids=torch.zeros_like(IDS)))
    assert not torch.allclose(model(IDS), model(IDS, token_type_ids=torch.ones_like(IDS)), atol=1e-3)


def test_tied_gradients_add_up(build) -> None:
    tied, untied = build(), build(tie_embeddings=False)
    state = tied.state_dict()
    assert tied.head.out.weight is tied.embedder.tokens.weight
    assert tied.num_parameters() == untied.num_parameters() - V * 24
    untied.load_state_dict(state)
    everything = torch.ones_like(IDS).bool()
    _, ours = loss_gradients(tied, IDS, everything)
    _, theirs = loss_gradients(untied, IDS, everything)
    close(ours["embedder.tokens.weight"], theirs["embedder.tokens.weight"] + theirs["head.out.weight"], 1e-4)
    moved = copy.deepcopy(tied).to(torch.float64)
    assert moved.head.out.weight is moved.embedder.tokens.weight


def test_num_parameters_that_train(build) -> None:
    model = build()
    for parameter in model.core.parameters():
        parameter.requires_grad = False
    assert model.num_parameters(trainable_only=True) == V * 24 + 32 * 24


def test_attention_maps(any_model) -> None:
    config = any_model.config
    mask = torch.ones(3, T, dtype=torch.long)
    mask[1, 8:] = 0
    any_model.train()
    maps = any_model.attention_maps(IDS, mask)
    assert any_model.training
    assert len(maps) == config.n_layers
    for layer, weights in enumerate(maps):
        assert weights.shape == (3, config.n_heads, T, T)
        close(weights.sum(-1), torch.ones(3, config.n_heads, T))
        seen = weights > 0
        distance = torch.arange(T)[:, None] - torch.arange(T)
        allowed = distance >= 0 if config.causal else torch.ones(T, T).bool()
        if config.layer_kind(layer) == "local":
            allowed &= distance.abs() < config.window
        allowed = allowed & mask[:, None, None, :].bool() | (distance == 0)
        assert torch.equal(seen, allowed.expand_as(seen))
    assert not any(layer.attn.f._forward_pre_hooks for layer in any_model.core.layers)


def test_attention_maps_are_drawn_without_dropout(build) -> None:
    model = build(embed_dropout=0.5, residual_dropout=0.5, attn_probs_dropout=0.5)
    quiet = model.attention_maps(IDS)
    for ours, expected in zip(model.train().attention_maps(IDS), quiet, strict=True):
        assert torch.equal(ours, expected)


DROPOUTS = ["embed", "attn", "attn_probs", "ffn", "residual", "head", "classifier"]


@pytest.mark.parametrize("field", [f"{name}_dropout" for name in DROPOUTS])
@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_each_dropout_acts_in_training_only(build, field, kind) -> None:
    fields = dict(causal=False, positions="relative", relative_buckets=4, relative_span=16) if kind == "encoder" else {}
    model = build("classification", 3, **fields, **{field: 0.4})
    plain = build("classification", 3, **fields)
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model(IDS), plain(IDS))
    torch.manual_seed(0)
    first = model.train()(IDS)
    second = model(IDS)
    assert not torch.equal(first, second)
    assert torch.equal(plain.train()(IDS), plain(IDS))
    model.set_dropout(**{field: 0.0})
    close(model(IDS), plain(IDS))


def test_head_dropout_is_on_what_the_head_reads(build) -> None:
    model = build(head_dropout=0.5).train()
    hidden = model.hidden_states(IDS)
    assert 0.4 < (hidden == 0).float().mean() < 0.6
    kept = hidden != 0
    close(hidden[kept], 2 * model.eval().hidden_states(IDS)[kept])
    assert build("encoder", head_dropout=0.5).train()(IDS).all()


def test_set_dropout_by_name(build) -> None:
    model = build(residual_dropout=0.1)
    model.set_dropout(residual_dropout=0.3, embed_dropout=0.2)
    rates = {m.field: m.p for m in model.modules() if hasattr(m, "field")}
    assert rates["residual_dropout"] == 0.3
    assert rates["embed_dropout"] == 0.2
    assert rates["ffn_dropout"] == 0.0
    with pytest.raises(UserError, match="Did you mean 'embed_dropout'"):
        model.set_dropout(embd_dropout=0.1)
    with pytest.raises(UserError, match="no dropout 'classifier_dropout'"):
        model.set_dropout(classifier_dropout=0.1)
    with pytest.raises(UserError, match=r"residual_dropout=1\.0"):
        model.set_dropout(residual_dropout=1.0)


@pytest.mark.parametrize(
    ("fields", "inputs", "message"),
    [
        ({}, dict(input_ids=IDS[0]), r"input_ids is \(12,\): must be \(B, T\)"),
        ({}, dict(input_ids=IDS.repeat(1, 3)), "36 tokens, but this model has only 32 positions"),
        ({}, dict(attention_mask=torch.ones(3, T - 1)), r"attention_mask is \(3, 11\): must be \(3, 12\)"),
        ({}, dict(segment_ids=torch.ones(T)), r"segment_ids is \(12,\): must be \(3, 12\)"),
        ({}, dict(token_type_ids=torch.zeros_like(IDS)), "token_type_ids: this model has no token types"),
        (dict(positions="none"), dict(position_ids=IDS), "position_ids: this model has positions='none'"),
        (dict(causal=False), dict(cache=KVCache(2, T)), "cache: only for causal models"),
        ({}, dict(cache=KVCache(2, T), segment_ids=IDS), "not with packed documents"),
    ],
)
def test_inputs_that_cannot_be_honoured(build, fields, inputs, message) -> None:
    with pytest.raises(UserError, match=message):
        build(**fields)(**dict(input_ids=IDS) | inputs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(any_model, dtype) -> None:
    """Pure and under autocast: within the dtype's own error of fp32, gradients too, and fp32 where weights are."""
    exact = any_model(IDS)
    bound = (0.05 if dtype == torch.bfloat16 else 0.01) * exact.abs().max().item()
    pure = copy.deepcopy(any_model).to(dtype)
    assert (pure(IDS).float() - exact).abs().max().item() < bound
    everything = torch.ones_like(IDS).bool()
    _, gradients = loss_gradients(any_model, IDS, everything)
    with torch.autocast("cpu", dtype):
        logits, rounded = loss_gradients(any_model, IDS, everything)
    assert logits.dtype == dtype
    assert (logits.float().view_as(exact) - exact).abs().max().item() < bound
    error = sum((rounded[name] - gradient).square().sum() for name, gradient in gradients.items()).sqrt()
    assert error < 0.05 * sum(gradient.square().sum() for gradient in gradients.values()).sqrt()
    assert {gradient.dtype for gradient in rounded.values()} == {torch.float32}


@pytest.mark.parametrize("name", ["gpt2", "gemma", "bert", "deberta"])
def test_compiles_without_a_graph_break(build, variants, name) -> None:
    torch._dynamo.reset()
    model = build("causal_lm" if name in ("gpt2", "gemma") else "masked_lm", **variants[name]).train()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    mask = torch.ones_like(IDS)
    mask[0, 9:] = 0
    segments = torch.tensor([[0] * 4 + [1] * 8]).expand(3, T)
    for inputs in ({}, {"attention_mask": mask}, {"segment_ids": segments}):
        close(compiled(IDS, **inputs), model(IDS, **inputs))


def test_compiled_gradients(build, variants) -> None:
    torch._dynamo.reset()
    model = build(**variants["llama"]).train()
    everything = torch.ones_like(IDS).bool()
    _, gradients = loss_gradients(model, IDS, everything)
    model.compile(fullgraph=True, backend="aot_eager")
    _, compiled = loss_gradients(model, IDS, everything)
    for name, gradient in gradients.items():
        close(compiled[name], gradient, 1e-4)


def test_chunks_of_hidden_states_make_the_same_loss(build) -> None:
    model = build(logit_softcap=5.0)
    targets = IDS.roll(-1, 1)
    whole = F.cross_entropy(model(IDS).flatten(0, 1), targets.flatten())
    hidden = model.hidden_states(IDS).flatten(0, 1)
    pieces = zip(hidden.split(7), targets.flatten().split(7), strict=True)
    chunked = sum(F.cross_entropy(model.head(h), t, reduction="sum") for h, t in pieces) / targets.numel()
    close(chunked, whole)
