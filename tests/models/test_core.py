"""models/core.py: layers that share weights, checkpointing, and what is made once for all layers."""

from __future__ import annotations

import pytest
import torch
from groundup.models import Model, RopeConfig
from torch import nn

IDS = torch.randint(0, 37, (2, 9), generator=torch.Generator().manual_seed(0))


def gradients(model: Model, ids: torch.Tensor = IDS, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of a fixed weighted sum of the logits."""
    model.zero_grad()
    logits = model(ids, **inputs)
    weights = torch.arange(logits.numel(), dtype=torch.float64).reshape(logits.shape).cos()
    (logits * weights).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("field", "path"), [("share_ffn", "ffn.f"), ("share_attn_out", "attn.f.out")])
def test_shared_modules_are_one(build, field, path) -> None:
    shared, apart = build(**{field: True}, n_layers=3), build(n_layers=3)
    modules = [layer.get_submodule(path) for layer in shared.core.layers]
    assert modules[0] is modules[1] is modules[2]
    names = dict(shared.named_parameters())
    others = {name for name in dict(apart.named_parameters()) if f".{path}." in name}
    assert {name for name in names if f".{path}." in name} == {n for n in others if "layers.0." in n}
    assert len(apart.core.layers[0].get_submodule(path).state_dict()) > 0

    # The same function as three layers with equal weights, and the sum of their gradients.
    apart.load_state_dict(shared.state_dict())
    ours, theirs = gradients(shared), gradients(apart)
    for name, grad in ours.items():
        same = [
            theirs[n] for n in theirs if f".{path}." in name and n.split(f".{path}.")[1:] == name.split(f".{path}.")[1:]
        ]
        torch.testing.assert_close(grad, sum(same) if same else theirs[name], atol=1e-4, rtol=1e-4)


def test_only_what_is_asked_for_is_shared(build) -> None:
    model = build(share_attn_out=True)
    first, second = model.core.layers
    assert first.attn.f.out is second.attn.f.out
    assert first.ffn.f is not second.ffn.f
    assert first.attn.f.q is not second.attn.f.q


def test_checkpointing_changes_no_gradient(any_model) -> None:
    model = any_model.train()
    plain = gradients(model)
    assert not model.gradient_checkpointing
    model.gradient_checkpointing = True
    assert model.core.gradient_checkpointing
    again = gradients(model)
    assert plain.keys() == again.keys()
    for name in plain:
        assert torch.equal(plain[name], again[name]), name


def test_checkpointing_repeats_dropout_and_reads_each_block_twice(build) -> None:
    model = build(residual_dropout=0.3, attn_probs_dropout=0.3).train()
    reads = []
    for layer in model.core.layers:
        layer.register_forward_pre_hook(lambda *_: reads.append(1))
    results = []
    for on in (False, True):
        model.gradient_checkpointing = on
        torch.manual_seed(3)
        results.append(gradients(model))
        assert len(reads) == (4 if on else 2)
        reads.clear()
    for name in results[0]:
        torch.testing.assert_close(results[0][name], results[1][name])
    gradients(model.eval())
    assert len(reads) == 2  # in evaluation nothing is read again


def test_last_norm(build) -> None:
    assert isinstance(build().core.norm, nn.LayerNorm)
    assert build(head_norm="none").core.norm is None
    assert not isinstance(build(head_norm="rmsnorm").core.norm, nn.LayerNorm)
    assert build(head_norm="rmsnorm").core.layers[0].attn.norm_in.bias is not None


def test_longrope_goes_by_real_tokens_and_not_by_padding(build, variants) -> None:
    """20 columns, of which the longer row fills 14: longrope, whose limit is 16 here, stays with its short list."""
    model, ids = build(**variants["longrope"]), IDS.repeat(1, 3)[:, :20]
    mask = torch.zeros(2, 20, dtype=torch.long)
    mask[0, 6:], mask[1, 9:] = 1, 1
    padded = model(ids, mask)
    for row, length in enumerate((14, 11)):
        alone = model(ids[row : row + 1, -length:])
        torch.testing.assert_close(padded[row : row + 1, -length:], alone, atol=1e-5, rtol=1e-5)


def test_local_layers_have_their_own_rope(build) -> None:
    fields = {"positions": "rope", "window": 5, "layer_pattern": ("local",)}
    own, plain = RopeConfig(50.0, 0.4), RopeConfig()
    expected = build(**fields, rope=own)(IDS)
    assert torch.equal(build(**fields, rope_local=own)(IDS), expected)
    assert not torch.allclose(build(**fields)(IDS), expected, atol=1e-3)
    mixed = {**fields, "layer_pattern": ("local", "global")}
    assert not torch.allclose(build(**mixed, rope_local=own)(IDS), build(**mixed, rope=own)(IDS), atol=1e-3)
    assert torch.equal(build(**mixed, rope_local=plain)(IDS), build(**mixed)(IDS))


def test_local_layers_have_their_own_window(build) -> None:
    """Token 0 reaches token 8 over two layers of a window of 5, and no further; a global layer sees everything."""
    fields = {"positions": "rope", "window": 5, "n_layers": 2}

    def reach(pattern) -> list[int]:
        model = build(**fields, layer_pattern=pattern)
        changed = IDS.repeat(1, 2)[:1, :14].clone()
        before = model(changed)
        changed[0, 0] = (changed[0, 0] + 1) % 37
        return (model(changed) != before).any(-1)[0].nonzero()[:, 0].tolist()

    assert reach(("local",)) == list(range(9))
    assert reach(("local", "global")) == list(range(14))
    assert reach(("global", "local")) == list(range(14))


@pytest.mark.parametrize("settings", [{}, {"parallel": True}, {"causal": False}, {"norm_slots": ("sum",)}])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_one_token_of_each_row_is_that_of_all(build, settings, checkpointing) -> None:
    """Its gradients too: what is not wanted is only left out where nobody reads it."""
    if settings == {"norm_slots": ("sum",)}:
        settings = settings | {"head_norm": "none"}
    model = build(n_layers=3, **settings).train()
    model.gradient_checkpointing = checkpointing
    at = torch.tensor([4, 8])

    def found(**inputs: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        model.zero_grad()
        hidden = model.hidden_states(IDS, **inputs)
        hidden = hidden if inputs else hidden[torch.arange(2), at][:, None]  # (B, 1, C)
        (hidden * torch.arange(hidden.numel(), dtype=hidden.dtype).reshape(hidden.shape).cos()).sum().backward()
        return hidden.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    (one, ours), (all_of, theirs) = found(at=at), found()
    torch.testing.assert_close(one, all_of)
    assert ours.keys() == theirs.keys()
    for name, grad in ours.items():
        torch.testing.assert_close(grad, theirs[name], msg=name)
