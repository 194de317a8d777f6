"""AdamW whose moments are kept in 8 bits: 2 bytes of state a parameter instead of 8.

Each block of 256 numbers has its largest magnitude in fp32 and a code of 8 bits a number, which stands for a share of
it: a dynamic float, close to 0 as exact as close to 1. A step decodes a part of a parameter's moments, updates as
AdamW does in fp32, and encodes them again. https://arxiv.org/abs/2110.02861; the numbers that the codes stand for, the
blocks and the order of the operations are those of bitsandbytes 0.50's AdamW8bit. (Its library for CPUs rounds a number
to one of 2^16 before it looks for the nearest code; its kernels in plain torch and Triton do not, nor does this.)

One thing is different on purpose: a second moment above 0 never takes the code of 0. There the next update would
divide by eps alone, and a parameter with small gradients beside large ones would be thrown far off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..errors import notice
from ..models.quant.codebooks import dynamic_map

BLOCK = 256  # numbers that share a maximum
SMALLEST = 4096  # parameters with fewer numbers keep their moments in fp32
_CHUNK = {"cpu": 2**16, "cuda": 2**24}  # numbers decoded at once: few enough for a CPU's cache, many for a GPU


class AdamW8bit(torch.optim.Optimizer):
    """Decoupled weight decay, bias correction, moments in 8 bits.

    The state of a parameter, which exists from the start: `step`; `exp_avg` and `exp_avg_sq`, uint8 codes in the
    parameter's shape; `exp_avg_max` and `exp_avg_sq_max`, (blocks,) fp32. Below SMALLEST numbers there are no maxima,
    and the moments are fp32.

    Args:
        groups: as of parameter_groups.
        paged: keep codes and maxima in the pinned memory of the host, and bring them to the GPU a part at a time;
            where there is no CUDA device this is said and makes no difference.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        correct_bias: bool = True,
        paged: bool = False,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0, "correct_bias": correct_bias}
        super().__init__(groups, defaults)
        parameters = [p for group in self.param_groups for p in group["params"]]
        self.paged_from = {p.device for p in parameters if p.device.type == "cuda"} if paged else set[torch.device]()
        if paged and not self.paged_from:
            notice("paged_adamw_8bit: there is no CUDA GPU whose memory could be spared, it behaves as adamw_8bit")
        for parameter in parameters:
            self.state[parameter] = _new_state(parameter, paged)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        for device in self.paged_from:
            torch.cuda.synchronize(device)  # what is on its way to the host may be read from now on
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        state["step"] += 1
        rates = Rates.of(group, int(state["step"]))
        flat, g = parameter.view(-1), gradient.reshape(-1)
        if "exp_avg_max" not in state:
            rates.update(flat, g.float(), state["exp_avg"].view(-1), state["exp_avg_sq"].view(-1))
            return
        chunk = _CHUNK.get(flat.device.type, _CHUNK["cuda"])
        moments = [
            (code_map(signed, flat.device), state[name].view(-1), state[f"{name}_max"])
            for name, signed in (("exp_avg", True), ("exp_avg_sq", False))
        ]
        for start in range(0, len(flat), chunk):
            here, blocks = slice(start, start + chunk), slice(start // BLOCK, (start + chunk) // BLOCK)
            m, v = (
                numbers.decode(
                    codes[here].to(flat.device, non_blocking=True), maxima[blocks].to(flat.device, non_blocking=True)
                )
                for numbers, codes, maxima in moments
            )
            rates.update(flat[here], g[here].float(), m, v)
            for (numbers, codes, maxima), moment in zip(moments, (m, v), strict=True):
                new_codes, new_maxima = numbers.encode(moment)
                codes[here].copy_(new_codes, non_blocking=True)
                maxima[blocks].copy_(new_maxima, non_blocking=True)


@dataclass(frozen=True)
class Rates:
    """The numbers of one update."""

    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    correction1: float  # 1 - beta1^t
    correction2: float  # the square root of 1 - beta2^t

    @classmethod
    def of(cls, group: dict[str, Any], step: int) -> Rates:
        """The rates of a group's update number `step`, counted from 1."""
        beta1, beta2 = group["betas"]
        corrections = (1 - beta1**step, (1 - beta2**step) ** 0.5) if group["correct_bias"] else (1.0, 1.0)
        return cls(group["lr"], beta1, beta2, group["eps"], group["weight_decay"], *corrections)

    def update(self, parameter: Tensor, gradient: Tensor, m: Tensor, v: Tensor) -> None:
        """AdamW on fp32 moments, in place; all (n,). The parameter may be in 16 bits, the arithmetic is not."""
        m.mul_(self.beta1).add_(gradient, alpha=1 - self.beta1)
        v.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        denominator = v.sqrt().div_(self.correction2).add_(self.eps)
        x = parameter.float()
        x.mul_(1 - self.lr * self.weight_decay).addcdiv_(m, denominator, value=-self.lr / self.correction1)
        if x is not parameter:
            parameter.copy_(x)


def _new_state(parameter: Tensor, paged: bool) -> dict[str, Tensor]:
    """Moments of 0."""
    step = torch.tensor(0.0)  # on the CPU, where it is read: a GPU would have to be waited for
    n = parameter.numel()
    if n < SMALLEST:
        zeros = torch.zeros(parameter.shape, dtype=torch.float32, device=parameter.device)
        return {"step": step, "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
    page = paged and parameter.device.type == "cuda"
    device = torch.device("cpu") if page else parameter.device
    state = {"step": step}
    for name in ("exp_avg", "exp_avg_sq"):
        state[name] = torch.zeros(parameter.shape, dtype=torch.uint8, device=device, pin_memory=page)
        state[f"{name}_max"] = torch.zeros(-(-n // BLOCK), dtype=torch.float32, device=device, pin_memory=page)
    return state


# --- 8-bit codes -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CodeMap:
    """256 numbers in ascending order, and how to find the one nearest to a value.

    A binary search of 8 steps a value would take most of an update. The upper 16 bits of an fp32 are enough to know
    the code but for one, as no two middles between neighbours agree in them; a comparison settles which.
    """

    numbers: Tensor  # (256,)
    middles: Tensor  # (256,), from one number to the next; the last is infinite
    first: Tensor  # (65536,) uint8, the lower of the two codes for the values whose upper 16 bits are i - 32768

    def encode(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """values (n,) fp32 -> codes (n,) uint8, each block's largest magnitude (ceil(n / BLOCK),)"""
        n = len(values)
        blocks = torch.nn.functional.pad(values, (0, -n % BLOCK)).view(-1, BLOCK)  # (blocks, BLOCK)
        maxima = blocks.abs().amax(-1)
        scales = maxima.clamp(min=torch.finfo(torch.float32).tiny)  # a block of zeros is divided by it, not by 0
        shares = blocks.div(scales[:, None]).flatten()[:n]
        upper = (shares.view(torch.int32) >> 16).add_(2**15)
        codes = self.first.index_select(0, upper)
        codes += shares > self.middles.index_select(0, codes.int())
        return codes, maxima

    def decode(self, codes: Tensor, maxima: Tensor) -> Tensor:
        """The inverse of encode: codes (n,), maxima (ceil(n / BLOCK),) -> (n,) fp32"""
        n = len(codes)
        values = torch.nn.functional.pad(self.numbers.index_select(0, codes.int()), (0, -n % BLOCK))
        return values.view(-1, BLOCK).mul_(maxima[:, None]).flatten()[:n]


@cache
def code_map(signed: bool, device: torch.device) -> CodeMap:
    """The map of the first moment, and the unsigned one of the second, in which only 0 itself becomes 0."""
    numbers = dynamic_map(torch.device("cpu"), signed)
    middles = torch.cat([(numbers[:-1] + numbers[1:]) / 2, torch.tensor([torch.inf])])
    if not signed:
        middles[0] = 0.0
    # Of the values that share their upper bits, the least: all lower bits 0, of a negative one all 1.
    upper = torch.arange(-(2**15), 2**15, dtype=torch.int32) << 16
    least = torch.where(upper < 0, upper | 0xFFFF, upper).view(torch.float32)
    first = torch.bucketize(least.nan_to_num(0.0), middles[:-1]).to(torch.uint8)
    return CodeMap(numbers.to(device), middles.to(device), first.to(device))
