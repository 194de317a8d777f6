"""What a model writes after a prompt: its answer, where it was trained on conversations, else how the text goes on."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from ..data.instruct.reply import reply
from ..data.tokenised import document_frame
from ..errors import UserError
from ..models.start import find_start
from ..trainers.load import load_start


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

    A tokenizer with a chat template, which a run on conversations saves, has the prompt as a user's message.

    Raises:
        UserError: no such model, or an encoder, which does not write.
    """
    text = sys.stdin.read() if prompt == "-" else prompt
    start = find_start(source)
    if start.task != "causal_lm":
        raise UserError(f"{start.name} is no language model that writes (its task is {start.task}): name a decoder")
    model, tokenizer = load_start(start, device, dtype)
    sampling = {"temperature": temperature, "seed": seed}
    if tokenizer.chat_template is not None:
        return reply(model, tokenizer, [{"role": "user", "content": text}], max_new_tokens, **sampling)
    ids = [*document_frame(tokenizer)[0], *tokenizer.encode(text)]
    if not ids:
        raise UserError("the prompt is empty: give some text")
    eos = tokenizer.eos_id
    written = model.generate(torch.tensor([ids], device=device), max_new_tokens, eos_id=eos, **sampling)[0].tolist()
    new = written[len(ids) :]
    return tokenizer.decode(new[: new.index(eos)] if eos in new else new)
