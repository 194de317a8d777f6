"""Replaced-token detection: a generator fills the masked tokens, the model tells which tokens are not the text's own.

    loss = mean over masked tokens of the generator's cross-entropy
         + weight x mean over all tokens of the discriminator's binary cross-entropy          arXiv 2003.10555, 3.1

No gradient passes from the second to the generator: what it says is drawn from its distribution. A drawn token that is
the text's own counts as not replaced. Both means are over the whole accumulation window; padding is no token.

What is drawn hangs on the distributions, the seed and the masked row alone, on no generator's state: a window gives one
gradient however it is cut, also where memory ran out, and the same model is measured on the same replacements.
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
from ..models.init import initialise_head
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
_BITS = 30  # of a drawn number: a distribution's shares of 2^30 fit int32
_GOLDEN = -0x61C8864680B583EB


@dataclass
class ReplacedTokenLoss:
    """The objective of a discriminator that holds its generator. Batches are masked: labels are at masked tokens."""

    model: Model
    precision: Precision
    chunk: int
    weight: float = DISCRIMINATOR_WEIGHT
    smoothing: float = 0.0  # of the generator's loss
    seed: int = 0  # of what is drawn in training

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
            self._drawing(drawn, numbers(batch, self.seed)),
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
        """loss, generator_loss, discriminator_loss, discriminator_accuracy, replaced_share, tokens, seconds."""
        was_training, started = self.model.training, time.perf_counter()
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
                    drawing = self._drawing(drawn, numbers(batch, 0))
                    loss, count = loss_sum(hidden, batch.labels, drawing, chunk=self.chunk, softcap=softcap)
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

    def _drawing(self, drawn: list[Tensor], by: Tensor) -> Callable[[Tensor], Tensor]:
        """The generator's head, (n, C) -> (n, V), which also draws a token from each distribution: (n,) to `drawn`.

        by: (N,), a number for each masked token, in their order.
        """
        head, softcap = before_cap(self.generator.head)

        def logits(states: Tensor) -> Tensor:
            with self.precision.autocast():
                z = head(states)  # (n, V)
            with torch.no_grad():
                done = sum(map(len, drawn))
                drawn.append(draw(cap_logits(z.float(), softcap), by[done : done + len(z)]))
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


def numbers(batch: Batch, seed: int) -> Tensor:
    """For each masked token of a batch, (N,), a number from 0 to below 2^30 that hangs on its place, row and the seed.

    Row and place go through splitmix64 (Steele et al., 2014), whose arithmetic is that of wrapping int64 everywhere.
    """
    place = torch.arange(1, batch.labels.shape[1] + 1, device=batch.labels.device) * _GOLDEN  # (T,)
    row = (_mixed(batch.input_ids + place) * _real(batch)).sum(1, keepdim=True)  # (B, 1), whatever the padding
    return _shifted(_mixed(_mixed(row + seed % 2**63) + place), 64 - _BITS)[batch.labels != IGNORE]


def draw(logits: Tensor, by: Tensor) -> Tensor:
    """The token on whose share of the distribution a number from 0 to below 2^30 falls: (n, V), (n,) -> (n,)

    Shares are summed as integers, which gives the same in any order: torch.cumsum of floats on CUDA does not.
    """
    shares = logits.softmax(-1).mul_(2**_BITS).int().cumsum(-1, dtype=torch.int32)  # (n, V)
    at = by * shares[:, -1] >> _BITS  # below the last share, which rounding has made a bit less than 2^30
    found = torch.searchsorted(shares, at.int()[:, None], right=True).squeeze(-1)
    return found.clamp(max=logits.shape[-1] - 1)  # where a distribution is not finite any index does, if it is one


def _mixed(x: Tensor) -> Tensor:
    """int64 -> int64, every bit of it hanging on every bit of x."""
    x = (x ^ _shifted(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ _shifted(x, 27)) * -0x6B2FB644ECCEEE15
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """To the right, zeros coming in."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


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
    given = (trainer.discriminator_weight, trainer.label_smoothing, settings.seed)
    return ReplacedTokenLoss(model, precision, settings.chunk, *given)


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
    initialise_head(model.head, config, seed=seed)
    if origin is not None and "replaced_token" in family(origin.family).HEADS:
        model.origin = replace(origin, architecture=None, extras={})
    return model
