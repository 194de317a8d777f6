"""Flash attention on request, never, or where torch thinks best; and how often it was taken.

What counts as flash attention is torch's SDPBackend.FLASH_ATTENTION: https://arxiv.org/abs/2307.08691 on CUDA, and its
blocked kernel for CPUs. cuDNN's and the memory-efficient kernel do not count, nor do products in plain torch.
"""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import UserError
from .config import ModelConfig
from .flash_limits import why_no_flash

FlashMode = bool | Literal["auto"]

_OTHERS = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
_FLASH = [SDPBackend.FLASH_ATTENTION, *_OTHERS]  # without cuDNN's, which on some GPUs would come first
_NAMES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class FlashUse:
    """Which kernel the attentions of a model take, and which they took: in training, outside torch.compile."""

    mode: FlashMode = "auto"
    taken: int = 0  # calls of attention that took a flash kernel
    others: Counter[str] = field(default_factory=Counter[str])  # those that did not, by the reason

    @property
    def share(self) -> float | None:
        """Of the calls counted, those that took a flash kernel; None before the first."""
        total = self.taken + self.others.total()
        return self.taken / total if total else None

    def __str__(self) -> str:
        if self.share is None:
            return "flash attention: not counted"
        reasons = ", ".join(f"{count / self.others.total():.0%} {why}" for why, count in self.others.most_common())
        return f"flash attention took {self.share:.1%} of the calls{f'; of the others {reasons}' if reasons else ''}"

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, counted: bool, **options: Any) -> Tensor:
        """scaled_dot_product_attention, its options by their names there, by the kernel that `mode` says."""
        with self._kernels():
            if counted and not torch.compiler.is_compiling():
                self._count(q, k, v, options)
            return F.scaled_dot_product_attention(q, k, v, **options)

    def skip(self, why: str) -> None:
        """Count a call that torch's attention was not asked for."""
        if not torch.compiler.is_compiling():
            self.others[why] += 1

    def _kernels(self) -> AbstractContextManager[Any]:
        if self.mode == "auto":
            return nullcontext()
        return sdpa_kernel(_FLASH if self.mode else _OTHERS)

    def _count(self, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> None:
        mask, dropout = options["attn_mask"], options["dropout_p"]
        asked = (q, k, v, mask, dropout, options["is_causal"])
        scale, gqa = options["scale"], options["enable_gqa"]
        # The choice that scaled_dot_product_attention itself makes, in a microsecond.
        chosen = torch._fused_sdp_choice(*asked, scale=scale, enable_gqa=gqa)  # pyright: ignore
        if chosen == SDPBackend.FLASH_ATTENTION.value:
            self.taken += 1
        elif self.mode is False:
            self.others["were told not to"] += 1
        elif mask is not None and q.device.type == "cuda":
            self.others["had a mask"] += 1
        elif dropout > 0 and q.device.type == "cpu":
            self.others["had dropout"] += 1
        else:
            self.others["took another kernel"] += 1


def use_flash_attention(
    model: nn.Module, mode: FlashMode = "auto", dtype: str | None = None, dropout: float | None = None
) -> FlashUse:
    """Let the attentions in `model` take flash kernels wherever masks allow it, never, or where torch thinks best.

    Args:
        mode: True, False or "auto". "auto" is how models are made.
        dtype: of the products in training: "fp32", "bf16", "fp16"; None: not known here.
        dropout: the least there will be on attention's probabilities; None: what there is now.

    -> what counts them: `share` of the calls in training took one.

    Raises:
        UserError: mode is True, and no step could: `model.use_flash_attention: ...` and why.
    """
    if mode is True:
        _check(model, dtype, _least_dropout(model) if dropout is None else dropout)
    use = FlashUse(mode)
    for module in model.modules():
        if hasattr(module, "flash"):
            setattr(module, "flash", use)  # noqa: B010 (a plain attribute, which nn.Module declares to be a module)
    return use


def flash_use(model: nn.Module) -> FlashUse:
    """What counts the calls of `model`: the last use_flash_attention's, else an empty one."""
    found = (getattr(module, "flash", None) for module in model.modules())
    return next((use for use in found if isinstance(use, FlashUse)), FlashUse())


def _check(model: nn.Module, dtype: str | None, dropout: float) -> None:
    if dtype is not None and dtype not in _NAMES:
        raise UserError(f"dtype '{dtype}' is none of {', '.join(_NAMES)}")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    why = why_no_flash(cast(ModelConfig, model.config), device.type, dtype, dropout=dropout)
    if why is None and device.type == "cuda":
        if not torch.backends.cuda.is_flash_attention_available():
            why = "this build of torch has no flash kernels"
        elif torch.cuda.get_device_capability(device) < (8, 0):
            why = f"flash kernels need a GPU of compute capability 8.0, {torch.cuda.get_device_name(device)} is older"
    if why is not None:
        raise UserError(f"model.use_flash_attention: {why}: use `auto`")


def _least_dropout(model: nn.Module) -> float:
    """As set_dropout left it."""
    rates = [cast(float, cast(nn.Module, m.probs_dropout).p) for m in model.modules() if hasattr(m, "probs_dropout")]
    return min(rates, default=0.0)
