"""What a model makes of a prompt: its answer, where it was trained on conversations, else how the text goes on; of a
classifier the classes, the likeliest first."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from ..data.instruct.reply import reply
from ..data.tokenised import document_frame
from ..errors import UserError
from ..models.saved import read_state
from ..models.start import Start, find_start
from ..trainers.load import load_start
from .asked import usual_task
from .labelled import label_names
from .words import saved_words


def answer(
    source: str | Path,
    prompt: str,
    max_new_tokens: int = 200,
    *,
    temperature: float = 0.0,
    seed: int | None = None,
    device: str = "cpu",
    dtype: str = "fp32",
) -> str:
    """Load a model and let it write. `-` reads the prompt from standard input; a temperature of 0 is greedy.

    A tokenizer with a chat template, which a run on conversations saves, has the prompt as a user's message. A
    classifier, the bag of words among them, gives a line a class with its probability.

    Raises:
        UserError: no such model, an empty prompt, or an encoder without classes, which does not write.
    """
    text = sys.stdin.read() if prompt == "-" else prompt
    if not text.strip():
        raise UserError("the prompt is empty: give some text")
    words = saved_words(source)
    if words is not None:
        return _ranked(words.label_names, words.probabilities([text])[0].tolist())
    start = find_start(source)
    if usual_task(start) == "classification":
        return _classes(start, text, device, dtype)
    if start.task != "causal_lm":
        raise UserError(
            f"{start.name} is no language model that writes (its task is {start.task}): name a decoder or a classifier"
        )
    model, tokenizer = load_start(start, device, dtype)
    sampling = {"temperature": temperature, "seed": seed}
    if tokenizer.chat_template is not None:
        return reply(model, tokenizer, [{"role": "user", "content": text}], max_new_tokens, **sampling)
    ids = [*document_frame(tokenizer)[0], *tokenizer.encode(text)]
    eos = tokenizer.eos_id
    written = model.generate(torch.tensor([ids], device=device), max_new_tokens, eos_id=eos, **sampling)[0].tolist()
    new = written[len(ids) :]
    return tokenizer.decode(new[: new.index(eos)] if eos in new else new)


@torch.no_grad()
def _classes(start: Start, text: str, device: str, dtype: str) -> str:
    """The classes of a text by a classifier, cut to what the model reads."""
    model, tokenizer = load_start(start, device, dtype, classifier=True)
    state = read_state(Path(start.place)) if start.own else {}
    ids, types = tokenizer.rows([text], None, max_length=model.config.max_seq_len)[0]
    inputs = {"input_ids": torch.tensor([list(ids)], device=device)}  # (1, T)
    if tokenizer.token_types:
        inputs["token_type_ids"] = torch.tensor([list(types)], device=device)
    shares = model(**inputs)[0].float().softmax(-1).tolist()  # (K,)
    return _ranked(label_names(state, model) or tuple(map(str, range(len(shares)))), shares)


def _ranked(names: Sequence[str], shares: Sequence[float]) -> str:
    """A line a class, the likeliest first."""
    width = max(map(len, names))
    ranked = sorted(zip(names, shares, strict=True), key=lambda pair: -pair[1])
    return "\n".join(f"{name:<{width}}  {share:.4f}" for name, share in ranked)
