"""Text from a model, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import UserError
from .cache import KVCache
from .dropout import without_dropout
from .packed import packed_linears
from .rope import is_long

if TYPE_CHECKING:
    from .model import Model


@torch.no_grad()
def generate(
    model: Model,
    input_ids: Tensor,
    max_new_tokens: int,
    attention_mask: Tensor | None = None,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    eos_id: int | Sequence[int] | None = None,
    seed: int | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
) -> Tensor:
    """Continue each row of input_ids (B, T): -> (B, T + n), the prompts and n <= max_new_tokens new ids.

    A temperature of 0 takes the likeliest token. Above it tokens are drawn from softmax(logits / temperature): from
    the top_k likeliest only, or from the fewest that hold top_p of the probability. Draws repeat with the same seed,
    or with a torch.Generator in the same state. A row that produced eos_id (one id or several) is filled up with it,
    and generation ends when every row has. Prompts of different lengths are padded on the left, and attention_mask
    (B, T) is 0 there.

    The model reads at most its last max_seq_len tokens. Past that length the window slides, which moves every
    position, so that each further token costs a whole forward pass.

    Raises UserError for a model, a mask or a setting that cannot do this.
    """
    sampling = Sampling(temperature, top_k, top_p)
    _check(model, input_ids, max_new_tokens)
    if seed is not None and generator is not None:
        raise UserError("seed and generator both say how to draw: give one of them")
    if seed is not None:
        generator = torch.Generator(input_ids.device).manual_seed(seed)
    ids, mask = input_ids, _left_padding(attention_mask)
    longest = min(ids.shape[1] + max_new_tokens, model.config.max_seq_len)
    cache = KVCache(model.config.n_layers, longest) if use_cache else None
    stops = ids.new_tensor([eos_id] if isinstance(eos_id, int) else list(eos_id or ()))
    ended = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    with without_dropout(model), packed_linears(model, len(ids), max_new_tokens):
        for _ in range(max_new_tokens):
            token = sampling.choose(next_logits(model, ids, mask, cache), generator)  # (B,)
            if len(stops):
                token = torch.where(ended, stops[0], token)
                ended = ended | torch.isin(token, stops)
            ids = torch.cat([ids, token[:, None]], 1)
            mask = None if mask is None else torch.cat([mask, mask.new_ones(len(ids), 1)], 1)
            if ended.all():
                break
    return ids


def next_logits(model: Model, ids: Tensor, attention_mask: Tensor | None, cache: KVCache | None) -> Tensor:
    """ids (B, T) -> (B, V) in fp32, for the token after them. Only ids that are not in the cache yet are read."""
    limit = model.config.max_seq_len
    if ids.shape[1] > limit:
        ids, cache = ids[:, -limit:], None
        attention_mask = None if attention_mask is None else attention_mask[:, -limit:]
    if cache is not None:
        _forget_short_rope(model, ids, attention_mask, cache)
        ids = ids[:, cache.length :]
    hidden = model.hidden_states(ids, attention_mask, cache=cache)  # (B, T, C)
    return model.head(hidden[:, -1]).float()


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen; checked when made."""

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise UserError(f"temperature={self.temperature}: must be at least 0 (0 takes the likeliest token)")
        if self.top_k is not None and self.top_k < 1:
            raise UserError(f"top_k={self.top_k}: must be at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"top_p={self.top_p}: must be above 0 and at most 1")
        if self.temperature == 0 and (self.top_k, self.top_p) != (None, None):
            raise UserError("top_k and top_p say what to draw from: set a temperature above 0, or leave them out")

    def choose(self, logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """logits (B, V) -> token ids (B,)"""
        if self.temperature == 0:
            return logits.argmax(-1)
        logits = logits / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            top = logits.topk(self.top_k)  # not a threshold: equal logits, common in bf16, would let in more
            logits = torch.full_like(logits, float("-inf")).scatter(-1, top.indices, top.values)
        if self.top_p is not None:
            ordered, order = logits.sort(descending=True)
            probs = ordered.softmax(-1)
            unneeded = probs.cumsum(-1) - probs >= self.top_p  # what comes before holds enough: never the first
            logits = logits.masked_fill(unneeded.scatter(-1, order, unneeded), float("-inf"))
        return torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]


def _forget_short_rope(model: Model, ids: Tensor, attention_mask: Tensor | None, cache: KVCache) -> None:
    """Empty a cache whose keys were turned with longrope's short list, once the text needs the long one."""
    length = ids.shape[1] if attention_mask is None else int(attention_mask.sum(-1).max())
    seen = length - (ids.shape[1] - cache.length)
    for rope in (model.config.rope, model.config.rope_local):
        if rope is not None and is_long(rope, length) and not is_long(rope, seen):
            cache.clear()


def _left_padding(attention_mask: Tensor | None) -> Tensor | None:
    """The mask, or None if it masks nothing. Padding on the right would stand between prompt and new tokens."""
    if attention_mask is None or bool(attention_mask.all()):
        return None
    if not bool(attention_mask[:, -1].all()) or bool((attention_mask.long().diff() < 0).any()):
        raise UserError("attention_mask: to generate, pad on the left: zeros first, then a one for every real token")
    return attention_mask


def _check(model: Model, input_ids: Tensor, max_new_tokens: int) -> None:
    if model.task != "causal_lm" or not model.config.causal:
        raise UserError(f"only a causal language model generates: task is '{model.task}', causal={model.config.causal}")
    if input_ids.dim() != 2 or input_ids.shape[1] == 0:
        raise UserError(f"input_ids is {tuple(input_ids.shape)}: must be (B, T) with at least one token")
    if max_new_tokens < 0:
        raise UserError(f"max_new_tokens={max_new_tokens}: must be at least 0")
