"""Replaced-token detection: a generator fills the masked tokens, the model tells which tokens are not the text's own.

    loss = mean over masked tokens of the generator's cross-entropy
         + weight x mean over all tokens of the discriminator's binary cross-entropy          arXiv 2003.10555, 3.1

No gradient passes from the second to the generator: what it says is drawn from its distribution. A drawn token that is
the text's own counts as not replaced. Both means are over the whole accumulation window; padding is no token.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..configs.schema import RunConfig
from ..data.sampling import IGNORE, Batch
from ..models.heads import before_cap, cap_logits
from ..models.hf.families import family
from ..models.hf.loader import heads_in, load_pretrained
from ..models.kernels import uses_kernels
from ..models.model import Model, build_model
from ..models.replaced import attach_generator, generator_config
from ..models.saved import load_saved
from ..models.start import Start
from .load import files_of
from .losses import loss_backward, loss_sum
from .objectives import HiddenStates
from .precision import Precision
from .settings import Settings

DISCRIMINATOR_WEIGHT = 50.0


@dataclass
class ReplacedTokenLoss:
    """The objective of a discriminator that holds its generator. Batches are masked: labels are at masked tokens."""

    model: Model
    precision: Precision
    chunk: int
    weight: float = DISCRIMINATOR_WEIGHT
    smoothing: float = 0.0  # of the generator's loss

    def __post_init__(self) -> None:
        assert self.model.generator is not None
        self.generator: Model = self.model.generator
        self._ratio = 0.0  # masked tokens for each token of the window

    def begin(self, window: Sequence[Batch]) -> None:
        tokens = sum(int(_real(batch).sum()) for batch in window)
        self._ratio = sum(map(self.targets, window)) / max(1, tokens)

    def targets(self, batch: Batch) -> int:
        return int((batch.labels != IGNORE).sum())

    def backward(self, batch: Batch, hidden_states: HiddenStates, scale: float) -> Tensor:
        drawn: list[Tensor] = []
        with self.precision.autocast():
            hidden = self.generator.hidden_states(**batch.inputs)  # (B, T, C of the generator)
        filled = loss_backward(
            hidden,
            batch.labels,
            self._drawing(drawn, None),
            chunk=self.chunk,
            scale=scale,
            smoothing=self.smoothing,
            softcap=before_cap(self.generator.head)[1],
            fused=uses_kernels(self.model),
        )
        told, _ = self._tell(batch, drawn, hidden_states)
        weight = self.weight * self._ratio  # a mean over tokens, in units of the masked ones
        (told * (weight * scale)).backward()
        return filled + weight * told.detach()

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch], stop: Callable[[], bool]) -> dict[str, float] | None:
        """loss, generator_loss, discriminator_loss, discriminator_accuracy, replaced_share, tokens, seconds.

        Tokens are drawn by a generator of its own, so that the same model is measured on the same replacements.
        """
        was_training, started = self.model.training, time.perf_counter()
        random = torch.Generator(self.model.embedder.tokens.weight.device).manual_seed(0)
        filled, told, right, replaced, masked, tokens = 0.0, 0.0, 0, 0, 0, 0
        self.model.eval()
        try:
            for batch in batches:
                if stop():
                    return None
                drawn: list[Tensor] = []
                with self.precision.autocast():
                    hidden = self.generator.hidden_states(**batch.inputs)
                    softcap = before_cap(self.generator.head)[1]
                    loss, count = loss_sum(
                        hidden, batch.labels, self._drawing(drawn, random), chunk=self.chunk, softcap=softcap
                    )
                loss_told, (logits, is_replaced) = self._tell(batch, drawn, self.model.hidden_states)
                filled, masked = filled + loss.item(), masked + count
                told, tokens = told + loss_told.item(), tokens + len(logits)
                right += int(((logits > 0) == is_replaced).sum())
                replaced += int(is_replaced.sum())
        finally:
            self.model.train(was_training)
        generator, discriminator = filled / max(1, masked), told / max(1, tokens)
        return {
            "loss": generator + self.weight * discriminator,
            "generator_loss": generator,
            "discriminator_loss": discriminator,
            "discriminator_accuracy": right / max(1, tokens),
            "replaced_share": replaced / max(1, tokens),
            "tokens": tokens,
            "seconds": round(time.perf_counter() - started, 3),
        }

    def describe(self, result: dict[str, float]) -> str:
        return (
            f"held-out loss {result['loss']:.4f}: generator {result['generator_loss']:.4f}, discriminator "
            f"{result['discriminator_loss']:.4f}, right on {result['discriminator_accuracy']:.2%} of tokens, of which "
            f"{result['replaced_share']:.2%} are replaced"
        )

    # --- parts ---------------------------------------------------------------------------------------------------

    def _drawing(self, drawn: list[Tensor], random: torch.Generator | None) -> Callable[[Tensor], Tensor]:
        """The generator's head, (n, C) -> (n, V), which also draws a token from each distribution: (n,) to `drawn`."""
        head, softcap = before_cap(self.generator.head)

        def logits(states: Tensor) -> Tensor:
            with self.precision.autocast():
                z = head(states)  # (n, V)
            with torch.no_grad():
                noise = torch.empty_like(z, dtype=torch.float32).exponential_(generator=random)
                drawn.append((cap_logits(z.float(), softcap) - noise.log_()).argmax(-1))  # the Gumbel trick
            return z

        return logits

    def _tell(
        self, batch: Batch, drawn: list[Tensor], hidden_states: HiddenStates
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The discriminator on the filled text. -> its summed loss; logits and whether replaced, of every token (n,)"""
        masked = batch.labels != IGNORE  # (B, T)
        original = torch.where(masked, batch.labels, batch.input_ids)
        filled = original.clone()
        if drawn:
            filled[masked] = torch.cat(drawn)
        with self.precision.autocast():
            logits = self.model.head(hidden_states(**replace(batch, input_ids=filled).inputs))  # (B, T)
        real = _real(batch)
        logits, is_replaced = logits[real].float(), (filled != original)[real]  # (n,), (n,)
        loss = F.binary_cross_entropy_with_logits(logits, is_replaced.float(), reduction="sum")
        return loss, (logits, is_replaced)


def _real(batch: Batch) -> Tensor:
    """(B, T), False on padding."""
    mask = batch.attention_mask
    return torch.ones_like(batch.labels, dtype=torch.bool) if mask is None else mask.bool()


# --- the model ---------------------------------------------------------------------------------------------------


def discriminator(run: RunConfig, model: Model) -> Model:
    """Give the model of a run its generator: the one it came with, else a new one of trainer.generator_size. -> that"""
    if model.generator is not None:
        return model.generator
    config = generator_config(model.config, run.trainer.generator_size)
    return attach_generator(model, config, run.general.seed + 1)


def replaced_tokens(run: RunConfig, model: Model, precision: Precision, settings: Settings) -> ReplacedTokenLoss | None:
    """The objective of a run that detects replaced tokens, None of any other."""
    if model.task != "replaced_token":
        return None
    trainer = run.trainer
    return ReplacedTokenLoss(model, precision, settings.chunk, trainer.discriminator_weight, trainer.label_smoothing)


def pretrained_discriminator(start: Start, device: torch.device, seed: int) -> Model:
    """The encoder of a checkpoint under a head for replaced tokens, its own or a new one; a run's with its generator.

    Raises:
        UserError: a file is missing or damaged.
    """
    if start.own:
        trunk = load_saved(Path(start.place), dtype=torch.float32, device=device)
        if trunk.task == "replaced_token":
            return trunk
    else:
        folder = files_of(start)
        if "replaced_token" in heads_in(folder):
            return load_pretrained(folder, "replaced_token", dtype="fp32", device=device)
        trunk = load_pretrained(folder, "encoder", dtype="fp32", device=device)
    config, origin = replace(start.config, head_activation=start.config.activation), trunk.origin
    model = build_model(config, "replaced_token", device=device, seed=seed)
    model.embedder.load_state_dict(trunk.embedder.state_dict())
    model.core.load_state_dict(trunk.core.state_dict())
    if origin is not None and "replaced_token" in family(origin.family).HEADS:
        model.origin = replace(origin, architecture=None, extras={})
    return model
