"""The weights a model starts from.

    gpt2     Linears and embeddings N(0, init_std); the two projections that write to the residual stream
             N(0, init_std / sqrt(2 L)), so that its variance does not grow with depth (GPT-2, section 2.3)
    xavier   Linears N(0, gain * sqrt(2 / (fan_in + fan_out)))              Glorot and Bengio 2010
    kaiming  Linears N(0, gain / sqrt(fan)), the gain that of `init_nonlinearity`       arXiv 1502.01852
    none     what torch's modules start with: Linears U(+-1 / sqrt(fan_in)), biases too, embeddings N(0, 1)

A head that a checkpoint has not, and every classifier's, is N(0, init_std) cut off at two deviations (BERT's code).

Under xavier and kaiming embeddings are N(0, init_std), as under gpt2: an embedding is looked up, not multiplied by, and
where it is tied to the head a gain over its fan would spoil the first loss. In all but none biases are 0; norms always
start as the identity, since a weight of one dimension has no fan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .block import Block
from .config import Activation, ModelConfig
from .heads import ClassificationHead

# What keeps the variance through each nonlinearity: torch's calculate_gain, which knows neither gelu nor silu.
GAINS: dict[Activation, float] = {
    "gelu": math.sqrt(2),
    "gelu_tanh": math.sqrt(2),
    "silu": math.sqrt(2),
    "relu": math.sqrt(2),
    "leakyrelu": math.sqrt(2 / (1 + 0.01**2)),
    "tanh": 5 / 3,
    "sigmoid": 1.0,
    "none": 1.0,
}


def initialise(model: nn.Module, config: ModelConfig) -> None:
    """Fill every weight of `model` in place, from torch's global generator."""
    if config.init != "none":
        _fill(model, config)
    head = getattr(model, "head", None)
    if isinstance(head, ClassificationHead):
        initialise_head(head, config)


def initialise_head(
    head: nn.Module, config: ModelConfig, tokens: Tensor | None = None, seed: int | None = None
) -> None:
    """Fill the Linears of a new head in place, each as new_weight has it. Norms stay the identity, and so does the
    embedding `tokens` what it was, where the head is tied to it. `seed` None: torch's global generator.
    """
    with torch.no_grad(), torch.random.fork_rng([], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        for linear in (module for module in head.modules() if isinstance(module, nn.Linear)):
            for parameter in linear.parameters():
                if parameter is not tokens:
                    parameter.copy_(new_weight(parameter.shape, config.init_std))


def new_weight(shape: Sequence[int], std: float) -> Tensor:
    """A matrix N(0, std) cut off at two deviations, a bias of 0. In fp32 on the CPU: the same whatever the device."""
    new = torch.zeros(tuple(shape), device="cpu")
    return nn.init.trunc_normal_(new, std=std, a=-2 * std, b=2 * std) if new.dim() > 1 else new


def _fill(model: nn.Module, config: ModelConfig) -> None:
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    residual = {linear for block in blocks for linear in (block.attn.f.out, block.ffn.f.down)}
    tables = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=config.init_std)
        elif isinstance(module, nn.Linear):
            if module.weight not in tables:  # a tied head is its embedding
                nn.init.normal_(module.weight, std=linear_std(module, config, module in residual))
            if module.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]
                nn.init.zeros_(module.bias)  # pyright: ignore[reportUnnecessaryComparison]


def linear_std(linear: nn.Linear, config: ModelConfig, is_residual: bool) -> float:
    """The standard deviation of a Linear's weight."""
    fan_in, fan_out = linear.in_features, linear.out_features
    if config.init == "xavier":
        return config.init_gain * math.sqrt(2 / (fan_in + fan_out))
    if config.init == "kaiming":
        return GAINS[config.init_nonlinearity] / math.sqrt(fan_in if config.init_mode == "fan_in" else fan_out)
    return config.init_std / math.sqrt(2 * config.n_layers) if is_residual else config.init_std
