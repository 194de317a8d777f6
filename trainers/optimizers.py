"""AdamW over parameter groups in which every parameter is found exactly once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import UserError
from .adamw8bit import AdamW8bit

OptimizerName = Literal["adamw", "adamw_8bit", "paged_adamw_8bit"]


def parameter_groups(model: nn.Module, weight_decay: float, factors: Mapping[str, float] | None = None) -> list[dict]:
    """Matrices and embeddings decay; biases, norms and other vectors do not (GPT-3, nanoGPT: decay by dimension).

    Each group carries `names`, so that optimizer state is saved by parameter name, and `lr_scale`, the factor on the
    schedule's rate: of a parameter that is in `factors` the one there, else 1. Tied parameters appear once. Parameters
    that do not require gradients are left out.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trained:
        raise UserError("nothing to train: every parameter of the model is frozen")
    scales = {name: (factors or {}).get(name, 1.0) for name in trained}
    groups: dict[tuple[float, bool], list[str]] = {}
    for vectors in (False, True):
        for name, parameter in trained.items():
            if (parameter.dim() < 2) == vectors:
                groups.setdefault((scales[name], vectors), []).append(name)
    return [
        {
            "params": [trained[name] for name in names],
            "names": names,
            "weight_decay": 0.0 if vectors else weight_decay,
            "lr_scale": scale,
        }
        for (scale, vectors), names in groups.items()
    ]


def build_optimizer(
    name: OptimizerName,
    groups: list[dict],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    correct_bias: bool = True,
) -> torch.optim.Optimizer:
    """The optimizer of a configuration's name; its state exists from now on."""
    if name == "adamw":
        return build_adamw(groups, lr=lr, betas=betas, eps=eps, correct_bias=correct_bias)
    paged = name == "paged_adamw_8bit"
    return AdamW8bit(groups, lr=lr, betas=betas, eps=eps, correct_bias=correct_bias, paged=paged)


def build_adamw(
    groups: list[dict], *, lr: float, betas: tuple[float, float], eps: float, correct_bias: bool = True
) -> torch.optim.AdamW:
    """The fused kernel where the device has one: one pass over parameters, gradients and both moments.

    Without `correct_bias` the moments are used as they are (the AdamW of BERT's original code). Their corrections,
    1 - beta^t, are 1 in fp32 once t is large, so counting from a million leaves them out exactly.
    """
    device = groups[0]["params"][0].device
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, fused=device.type in ("cpu", "cuda", "mps"))
    # The moments are made now and not in the first step: that leaves them out of the gaps between the activations of
    # the first backward, where they would cut up the memory for all that follow.
    for parameter in (p for group in optimizer.param_groups for p in group["params"]):
        optimizer.state[parameter] = {
            "step": torch.tensor(0.0 if correct_bias else 1e6, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Every group's rate is the schedule's times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def state_by_name(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's tensors as `parameter name/slot`, for a safetensors file."""
    return {
        f"{name}/{slot}": value
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
        for slot, value in optimizer.state.get(parameter, {}).items()
    }


def load_state_by_name(optimizer: torch.optim.Optimizer, state: dict[str, Tensor], where: object) -> None:
    """The inverse of `state_by_name`: every tensor is used, and goes where the optimizer keeps its own.

    Raises:
        UserError: the tensors are not those of this optimizer or of this model's parameters.
    """
    remedy = "resume with the configuration the run was started with"
    own = state_by_name(optimizer)
    trained = {key.rpartition("/")[0] for key in own}
    for key, value in state.items():
        name, _, slot = key.rpartition("/")
        if name not in trained:
            raise UserError(f"{where}: holds optimizer state of '{name}', which this model does not train; {remedy}")
        if key not in own or own[key].dtype != value.dtype:
            raise UserError(f"{where}: the state of '{name}', its {slot}, is that of another optimizer; {remedy}")
        if own[key].shape != value.shape:
            raise UserError(
                f"{where}: the state of '{name}' has shape {tuple(value.shape)}, the model's parameter "
                f"{tuple(own[key].shape)}; {remedy}"
            )
    if missing := own.keys() - state.keys():
        name = min(missing).rpartition("/")[0]
        raise UserError(f"{where}: holds no optimizer state of '{name}', which this model trains; {remedy}")
    for key, value in state.items():
        own[key].copy_(value)
