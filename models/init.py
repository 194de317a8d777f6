"""The weights a model starts from.

    gpt2     Linears and embeddings N(0, init_std); the two projections that write to the residual stream
             N(0, init_std / sqrt(2 L)), so that its variance does not grow with depth (GPT-2, section 2.3)
    xavier   Linears N(0, gain * sqrt(2 / (fan_in + fan_out)))              Glorot and Bengio 2010
    kaiming  Linears N(0, gain / sqrt(fan)), the gain that of `init_nonlinearity`       arXiv 1502.01852
    none     what torch's modules start with: Linears U(+-1 / sqrt(fan_in)), biases too, embeddings N(0, 1)

Under xavier and kaiming embeddings are N(0, init_std) as under gpt2: an embedding is a table, not a matmul, and tied to
the head a fan of 50,000 rows, or of d_model with a gain, would spoil the first loss. One-dimensional weights (norms) keep
their ones, and biases are 0.
"""

from __future__ import annotations

import math

from torch import nn

from .config import ModelConfig
from .core import Core


def initialise(model: nn.Module, config: ModelConfig) -> None:
    """Fill every weight of `model` in place, from torch's global generator."""
    if config.init == "none":
        return
    tables = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    residual = {id(linear) for linear in residual_projections(model)}
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=config.init_std)
        elif isinstance(module, nn.Linear):
            if module.weight not in tables:  # a tied head is its embedding
                nn.init.normal_(module.weight, std=linear_std(module, config, id(module) in residual))
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def linear_std(linear: nn.Linear, config: ModelConfig, is_residual: bool) -> float:
    """The standard deviation of a Linear's weight."""
    fan_in, fan_out = linear.in_features, linear.out_features
    if config.init == "xavier":
        return config.init_gain * math.sqrt(2 / (fan_in + fan_out))
    if config.init == "kaiming":
        return gain(config.init_nonlinearity) / math.sqrt(fan_in if config.init_mode == "fan_in" else fan_out)
    return config.init_std / math.sqrt(2 * config.n_layers) if is_residual else config.init_std


def gain(nonlinearity: str) -> float:
    """What keeps the variance of activations through a nonlinearity; torch's, and sqrt(2) for gelu and silu."""
    known = {"tanh": "tanh", "sigmoid": "sigmoid", "relu": "relu", "leakyrelu": "leaky_relu", "none": "linear"}
    return nn.init.calculate_gain(known[nonlinearity]) if nonlinearity in known else math.sqrt(2)


def residual_projections(model: nn.Module) -> list[nn.Linear]:
    """The output projections of every attention and feed-forward."""
    layers = [layer for core in model.modules() if isinstance(core, Core) for layer in core.layers]
    return [linear for layer in layers for linear in (layer.attn.f.out, layer.ffn.f.down)]
