"""ELECTRA's two encoders: a small one fills gaps, a large one tells what was filled in (arXiv 2003.10555).

    generator       masked_lm; its guesses replace the masked tokens
    discriminator   replaced_token; the model that is kept and used. It holds the generator while both are trained

They share their embeddings: tokens, positions, token types and the norm on their sum (section 3.2; the projections to
each one's width are its own). The generator is narrower: hence the embedding's width, d_embed, is the discriminator's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from torch import nn

from ..errors import UserError
from .config import ModelConfig

if TYPE_CHECKING:
    from .model import Model


def generator_config(config: ModelConfig, size: float) -> ModelConfig:
    """As deep as the discriminator and `size` as wide: heads of the same width, fewer of them, a narrower feed-forward.

    Raises:
        UserError: `size` is not above 0 and at most 1.
    """
    if not 0 < size <= 1:
        raise UserError(f"trainer.generator_size is {size:g}: it is a share of the model's width, above 0, at most 1")
    heads = max(1, round(config.n_heads * size))
    groups = config.n_heads // config.n_kv_heads
    heads += -heads % groups  # whole groups of query heads
    width = config.d_model * heads // config.n_heads
    return replace(
        config,
        d_model=width,
        n_heads=heads,
        n_kv_heads=heads // groups,
        d_ff=max(1, config.d_ff * heads // config.n_heads),
        head_activation="gelu",  # whatever the blocks have, as in ELECTRA's code
    )


def attach_generator(model: Model, config: ModelConfig, seed: int | None = None) -> Model:
    """Give a discriminator its generator, with new weights but for the embeddings, which are the model's own. -> it"""
    from .model import build_model

    generator = build_model(config, "masked_lm", device=model.embedder.tokens.weight.device, seed=seed)
    ours, theirs = generator.embedder, model.embedder
    ours.tokens, ours.positions, ours.types, ours.norm = theirs.tokens, theirs.positions, theirs.types, theirs.norm
    if config.tie_embeddings:
        cast(nn.Linear, generator.head.get_submodule("out")).weight = cast(nn.Parameter, theirs.tokens.weight)
    model.generator = generator.train(model.training)
    return generator
