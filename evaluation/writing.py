"""Texts that a model writes after prompts, a batch at a time, up to a stop string."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from ..errors import UserError
from ..models.cache import KVCache
from ..models.dropout import without_dropout
from ..models.generate import Sampling, next_logits
from ..models.model import Model
from ..models.packed import packed_linears
from ..tokenizers.base import Tokenizer
from .requests import template_of

LOOK = 4  # tokens between two looks at whether a text is done: what was written too much is cut off
TAIL = 4  # tokens of the prompt decoded with what follows: some tokenizers drop the space a text begins with


@dataclass(frozen=True)
class Written:
    """The text after a prompt, up to the stop string, and how many of the prompt's first tokens found no room."""

    text: str
    cut: int


@torch.no_grad()
def write(
    model: Model,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    stop: Sequence[str] = (),
    enough: Callable[[str], bool] = lambda text: False,
    temperature: float = 0.0,
    top_p: float | None = None,
    seed: int = 0,
    batch_size: int = 8,
    title: str | None = None,
) -> list[Written]:
    """Continue each prompt until a stop string, the end of text, `max_new_tokens` or the model's context ends it.

    A temperature of 0 takes the likeliest token. Above it row i draws by (seed, i) alone, whatever stands beside it.
    Prompts begin as the tokenizer's template has documents begin. Those that leave no room for `max_new_tokens` lose
    their first tokens, half of the context at most being kept for what is written.

    Raises:
        UserError: the model is bidirectional, or its head is not a language model's.
    """
    check_writes(model)
    longest = model.config.max_seq_len
    whole = _encode(model, tokenizer, prompts)
    room = longest - min(max_new_tokens, longest // 2)
    ids = [row[-room:] for row in whole]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    written: list[Written] = [Written("", 0)] * len(ids)
    sampling = Sampling(temperature, top_p=top_p)

    def done(text: str) -> bool:
        return enough(text) or any(word in text for word in stop)

    with without_dropout(model), tqdm(total=len(ids), desc=title, disable=title is None, unit="text") as bar:
        for first in range(0, len(order), batch_size):
            chosen = order[first : first + batch_size]
            rows = [ids[i] for i in chosen]
            generators = [_generator(model, seed, i) for i in chosen] if temperature else None
            for i, text in zip(
                chosen, _batch(model, tokenizer, rows, max_new_tokens, sampling, generators, done), strict=True
            ):
                written[i] = Written(cut_at(text, stop), len(whole[i]) - len(ids[i]) if whole[i] else 0)
            bar.update(len(chosen))
    return written


def writes(model: Model) -> bool:
    """Whether the model can go on with a text."""
    return model.config.causal and model.task == "causal_lm"


def check_writes(model: Model) -> None:
    """Raises UserError unless the model writes text."""
    if not writes(model):
        raise UserError(
            f"this task lets the model write, and a {'causal' if model.config.causal else 'bidirectional'} model with "
            f"the head of {model.task} cannot: it needs a causal language model"
        )


def _encode(model: Model, tokenizer: Tokenizer, prompts: Sequence[str]) -> list[list[int]]:
    """The ids of each prompt after what texts begin with; never none."""
    template = template_of(tokenizer, model)
    rows: list[list[int]] = []
    for text, ids in zip(prompts, tokenizer.encode_batch(list(prompts)), strict=True):
        begun = template.empty_text is not None and text.startswith(template.empty_text)
        row = [*(() if begun else template.before), *ids]
        if not row and template.empty is None:
            raise UserError(
                f"an empty prompt needs a token to begin with, and the tokenizer {tokenizer.name} names neither BOS "
                "nor EOS: give a prompt"
            )
        rows.append(row or [template.empty or 0])
    return rows


def cut_at(text: str, stop: Sequence[str]) -> str:
    """The text up to the first of the stop strings."""
    places = [place for word in stop if (place := text.find(word)) >= 0]
    return text[: min(places)] if places else text


def _batch(
    model: Model,
    tokenizer: Tokenizer,
    rows: list[list[int]],
    max_new_tokens: int,
    sampling: Sampling,
    generators: list[torch.Generator] | None,
    done: Callable[[str], bool],
) -> list[str]:
    device, T = next(model.parameters()).device, max(map(len, rows))
    ids = torch.tensor([[0] * (T - len(row)) + row for row in rows], device=device)  # (B, T)
    mask = torch.tensor([[0] * (T - len(row)) + [1] * len(row) for row in rows], device=device)  # (B, T)
    steps = min(max_new_tokens, model.config.max_seq_len - T)
    cache = KVCache(model.config.n_layers, T + steps)
    ended = [False] * len(rows)
    texts = [""] * len(rows)
    attended: Tensor | None = None if mask.all() else mask
    with packed_linears(model, len(rows), steps):
        for step in range(1, steps + 1):
            logits = next_logits(model, ids, attended, cache)  # (B, V)
            if generators is None:
                token = sampling.choose(logits, None)  # (B,)
            else:
                drawn = [sampling.choose(logits[b : b + 1], generator) for b, generator in enumerate(generators)]
                token = torch.cat(drawn)  # (B,)
            ids = torch.cat([ids, token[:, None]], 1)
            attended = None if attended is None else torch.cat([attended, attended.new_ones(len(rows), 1)], 1)
            if step % LOOK and step < steps:
                continue
            for b, new in enumerate(ids[:, T:].tolist()):
                if not ended[b]:
                    texts[b], over = _text(tokenizer, rows[b], new)
                    ended[b] = over or done(texts[b])
            if all(ended):
                break
    return texts


def _text(tokenizer: Tokenizer, prompt: list[int], new: list[int]) -> tuple[str, bool]:
    """What the new ids say after the prompt, and whether they end the text."""
    over = tokenizer.eos_id in new
    new = new[: new.index(tokenizer.eos_id)] if over and tokenizer.eos_id is not None else new
    tail = prompt[-TAIL:]
    before, text = tokenizer.decode(tail), tokenizer.decode([*tail, *new])
    return (text[len(before) :] if text.startswith(before) else tokenizer.decode(new)), over


def _generator(model: Model, seed: int, row: int) -> torch.Generator:
    return torch.Generator(next(model.parameters()).device).manual_seed((seed * 1_000_003 + row) % 2**63)
