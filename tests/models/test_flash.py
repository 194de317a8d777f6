# ruff: noqa: C408 (fields read better as keywords)
"""Attention with flash kernels, without, and as torch likes: the same numbers; what took one is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from groundup.errors import UserError
from groundup.models import Model, ModelConfig
from groundup.models.flash import FlashMode, FlashUse, flash_use, use_flash_attention
from groundup.models.flash_limits import why_no_flash
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

Build = Callable[..., Model]
LLAMA = dict(positions="rope", norm="rmsnorm", activation="silu", gated=True)
MODELS: dict[str, dict[str, Any]] = {
    "heads": LLAMA,
    "groups": LLAMA | dict(n_kv_heads=2),
    "one key head of odd width": LLAMA | dict(n_kv_heads=1, head_dim=10, attn_scale=0.3),
    "windows": LLAMA | dict(n_kv_heads=2, window=5, layer_pattern=("local", "global")),
    "encoder": dict(causal=False, norm_slots=("sum",), head_norm="none", qkv_bias=True),
}
B, T = 3, 13
GIVEN: dict[str, dict[str, Tensor]] = {
    "whole": {},
    "padded right": {"attention_mask": (torch.arange(T) < torch.tensor([[13], [7], [2]])).long()},
    "padded left": {"attention_mask": (torch.arange(T) >= torch.tensor([[0], [5], [12]])).long()},
    "packed": {"segment_ids": torch.tensor([[0] * 4 + [1] * 9, [0] * 13, [0, 1, 2, 3] + [4] * 9])},
}


def step(model: Model, mode: FlashMode, given: dict[str, Tensor], dtype: torch.dtype | None = None) -> list[Tensor]:
    """Logits and all gradients of a step, and what was counted checked against the mode."""
    ids = torch.randint(0, 37, (B, T), generator=torch.Generator().manual_seed(1))
    use = use_flash_attention(model.train(), mode)
    model.zero_grad()
    with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        logits = model(ids, **given)
    seen = given.get("attention_mask", torch.ones(B, T)).bool()
    logits[seen].float().square().sum().backward()
    assert flash_use(model) is use
    assert use.taken + use.others.total() == model.config.n_layers
    if mode != "auto":
        assert use.share == float(mode)
    return [logits[seen].detach().float(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("name", MODELS)
def test_every_way_gives_the_same_numbers(build: Build, name: str, given: str) -> None:
    model = build("masked_lm" if name == "encoder" else "causal_lm", **MODELS[name])
    expected = step(model, False, GIVEN[given])
    for mode in (True, "auto"):
        for ours, theirs in zip(step(model, mode, GIVEN[given]), expected, strict=True):
            scale = max(1.0, theirs.abs().max().item())
            torch.testing.assert_close(ours / scale, theirs / scale, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("given", GIVEN)
def test_in_bf16_they_differ_by_no_more_than_bf16_does(build: Build, given: str) -> None:
    model = build(**MODELS["groups"])
    exact = step(model, False, GIVEN[given])
    errors: dict[FlashMode, list[float]] = {}
    for mode in (False, True, "auto"):
        half = step(model, mode, GIVEN[given], torch.bfloat16)
        errors[mode] = [((a - b).norm() / b.norm().clamp(min=1e-6)).item() for a, b in zip(half, exact, strict=True)]
    for mode in (True, "auto"):
        for ours, theirs in zip(errors[mode], errors[False], strict=True):
            assert ours < max(2 * theirs, 0.02)


def test_small_attention_in_bf16_is_multiplied_out_unless_flash_is_asked_for(build: Build) -> None:
    model = build(**MODELS["groups"])
    step(model, "auto", {}, torch.bfloat16)
    use = flash_use(model)
    assert (use.share, dict(use.others)) == (0.0, {"were small, and faster multiplied out in bf16": 2})
    step(model, True, {}, torch.bfloat16)
    assert str(flash_use(model)) == "flash attention took 100.0% of the calls"


def test_false_leaves_the_flash_kernel_alone(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which kernels were allowed when torch's attention was called."""
    allowed: list[bool] = []
    original = torch.nn.functional.scaled_dot_product_attention

    def spy(*args: Any, **options: Any) -> Tensor:
        allowed.append(torch.backends.cuda.flash_sdp_enabled())
        return original(*args, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    model, ids = build(**LLAMA), torch.zeros(1, 5, dtype=torch.long)
    for mode, flash in ((False, False), (True, True), ("auto", True)):
        allowed.clear()
        use_flash_attention(model, mode)
        model(ids)
        assert allowed == [flash] * 2
    assert torch.backends.cuda.flash_sdp_enabled()  # as it was


def test_what_is_counted_is_what_torch_takes(build: Build) -> None:
    """The same choice as that of a call that has no other kernel to take."""
    model = build(**LLAMA).train()
    ids = torch.zeros(2, 5, dtype=torch.long)
    use = use_flash_attention(model)
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION]):
        model(ids)
    assert (use.taken, use.share) == (2, 1.0)
    with sdpa_kernel([SDPBackend.MATH]):
        model(ids)
    assert (use.taken, dict(use.others), use.share) == (2, {"took another kernel": 2}, 0.5)
    model.set_dropout(attn_probs_dropout=0.1)
    model(ids)
    assert use.others["had dropout"] == 2
    with pytest.raises(RuntimeError, match="No available kernel"), sdpa_kernel([SDPBackend.FLASH_ATTENTION]):
        model(ids)
    assert str(use) == "flash attention took 33.3% of the calls; of the others 50% took another kernel, 50% had dropout"


def test_only_training_counts(build: Build) -> None:
    model, ids = build(**LLAMA), torch.zeros(2, 5, dtype=torch.long)
    use = use_flash_attention(model)
    model(ids)
    with torch.no_grad():
        model.train()(ids)
    assert use.share is None
    assert str(use) == "flash attention: not counted"
    torch.compile(model, backend="eager")(ids)
    assert use.share is None
    model.gradient_checkpointing = True
    model(ids).sum().backward()
    assert (use.share, use.taken) == (1.0, 4)  # each block twice


@pytest.mark.parametrize("mode", [True, False])
def test_compiled_it_is_the_same(build: Build, mode: bool) -> None:
    model, ids = build(**LLAMA).train(), torch.arange(10).view(2, 5)
    use_flash_attention(model, mode)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=True)
    for length in (5, 3, 1):
        given = ids[:, :length]
        torch.testing.assert_close(compiled(given), model(given), rtol=1e-5, atol=1e-5)


def test_what_can_never_be_is_refused(build: Build) -> None:
    capped = build(**LLAMA | dict(attn_softcap=50.0))
    relative = build("masked_lm", causal=False, positions="relative", relative_buckets=4, relative_span=16)
    dropping = build(**LLAMA | dict(attn_probs_dropout=0.1))
    messages = {
        capped: "the model caps its attention scores at 50, which no flash kernel of torch's does",
        relative: "attention with relative positions adds two terms to every score, which no flash kernel does",
        dropping: r"the model drops attention's probabilities \(rate 0.1\), which the flash kernel on a CPU cannot",
        build(**LLAMA).to("meta"): "torch has no flash kernel for meta",
    }
    for model, message in messages.items():
        with pytest.raises(UserError, match=f"^model.use_flash_attention: {message}: use `auto`$"):
            use_flash_attention(model, True)
        assert flash_use(model).mode == "auto"
    dropping.set_dropout(attn_probs_dropout=0)
    assert use_flash_attention(dropping, True).mode is True
    with pytest.raises(UserError, match="dtype 'bfloat16' is none of fp32, bf16, fp16"):
        use_flash_attention(dropping, True, "bfloat16")
    for model, why in ((capped, "were soft-capped"), (relative, "had relative positions")):
        use = use_flash_attention(model.train(), False)  # never is no trouble
        model(torch.zeros(1, 5, dtype=torch.long))
        assert (use.share, dict(use.others)) == (0.0, {why: 2})


def test_limits_on_cuda() -> None:
    sizes: dict[str, Any] = dict(vocab_size=37, d_model=64, n_layers=4, n_heads=4, d_ff=40, max_seq_len=64)
    plain = ModelConfig(**sizes)
    wide = ModelConfig(**sizes | dict(head_dim=288))
    local = ModelConfig(**sizes | LLAMA | dict(window=16, layer_pattern=("local",)))
    mixed = ModelConfig(**sizes | LLAMA | dict(window=16, layer_pattern=("local", "global")))
    drops = ModelConfig(**sizes | dict(attn_probs_dropout=0.1))
    refused = [
        (plain, "fp32", {}, "multiply in bf16 or fp16, not in fp32"),
        (wide, "bf16", {}, "heads are 288 wide"),
        (plain, "bf16", {"packed": True}, "packed into a row (trainer.datasampling) need a mask"),
        (local, "bf16", {"context": 64}, "every layer has a window of 16 tokens in rows of 64"),
    ]
    for config, dtype, more, message in refused:
        assert message in (why_no_flash(config, "cuda", dtype, **more) or "")
    for config, more in ((plain, {}), (drops, {}), (mixed, {"context": 64}), (local, {"context": 16}), (local, {})):
        assert why_no_flash(config, "cuda", "fp16", **more) is None
    assert why_no_flash(local, "cpu", "fp32", context=64, packed=True) is None  # on a CPU any mask will do
    assert why_no_flash(drops, "cpu", dropout=0.0) is None
    assert "for mps" in (why_no_flash(plain, "mps") or "")


def test_models_are_made_with_auto(any_model: Model) -> None:
    assert flash_use(any_model).mode == "auto"
    assert isinstance(flash_use(torch.nn.Linear(1, 1)), FlashUse)
