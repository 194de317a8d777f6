"""What a model that was trained on conversations answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...tokenizers.base import Tokenizer
from ...tokenizers.chat import Message
from .chat import Chat

if TYPE_CHECKING:
    from ...models.model import Model


def reply(
    model: Model,
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    max_new_tokens: int = 256,
    *,
    tools: list[Any] | None = None,
    **sampling: Any,
) -> str:
    """The model's answer to messages (`role`, `content`), by the template it was trained with, up to its stop token.

    `sampling` is what `generate` takes: temperature, top_k, top_p, seed. Raises UserError: the tokenizer has no chat
    template, it fails for these messages, or the model cannot generate.
    """
    import torch

    chat = Chat.of(tokenizer)
    prompt = chat.prompt(messages, tools)
    ids = torch.tensor([prompt], device=next(model.parameters()).device)  # (1, T)
    written = model.generate(ids, max_new_tokens, eos_id=chat.stop_ids, **sampling)[0, len(prompt) :].tolist()
    end = next((t for t, token in enumerate(written) if token in chat.stop_ids), len(written))
    return tokenizer.decode(written[:end])
