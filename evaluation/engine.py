"""Log-likelihoods of continuations after their contexts, each token of a common beginning computed once.

requests.py makes ids of texts, continuations.py reads them (gaps.py for encoders), batches.py decides how much at once,
scoring.py applies the head, scores.py keeps what is done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from tqdm import tqdm

from ..errors import UserError, notice
from ..models.dropout import without_dropout
from ..models.model import Model
from ..tokenizers.base import Tokenizer
from .batches import Reader, limit_for, read_all
from .continuations import Continuations
from .gaps import Gaps
from .registry import Abandoned
from .requests import Encoded, Request, encode_requests, template_of
from .scores import LogLikelihood, Scores
from .scoring import Tally

LOGLIKELIHOOD, PSEUDO = "log-likelihood", "pseudo-log-likelihood"


def scored_by(model: Model) -> str:
    """How a model's continuations are scored. Raises UserError for a model without a head that gives tokens."""
    if model.task == "causal_lm" and model.config.causal:
        return LOGLIKELIHOOD
    if model.task == "masked_lm" and not model.config.causal:
        return PSEUDO
    raise UserError(
        f"continuations need a head that predicts tokens, and the model's is for '{model.task}': name a causal "
        "language model, or an encoder with a masked-LM head"
    )


def loglikelihoods(
    model: Model,
    tokenizer: Tokenizer,
    requests: Sequence[Request],
    *,
    batch_tokens: int | None = None,
    batch_size: int | None = None,
    add_bos: bool | None = None,
    progress: bool = True,
    title: str = "log-likelihoods",
    scores: Scores | None = None,
    where: Sequence[str] = (),
    stop: Callable[[], bool] = lambda: False,
) -> list[LogLikelihood]:
    """Of each (context, continuation), in nats, in the order given: the same whatever the batch.

    An encoder's are pseudo-log-likelihoods (gaps.py): `scored_by` says which.

    Args:
        batch_tokens: read at once, padding included; default: what the device takes. Where memory runs out it is
            halved, and that is said.
        batch_size: no more rows than this at once.
        add_bos: whether texts begin with BOS; None: as the tokenizer's own template has it.
        scores: where they are kept as they come, and looked up.
        where: a name of each request for messages, such as file:row.
        stop: asked between batches; True raises Abandoned.

    Raises:
        UserError: the model has no head for it, a continuation has no tokens or more than the model reads, or a BOS is
            needed and there is none.
    """
    kind = scored_by(model)
    template = template_of(tokenizer, model, add_bos)
    items = encode_requests(requests, tokenizer, template, model.config.max_seq_len, where)
    cut = sum(item.cut > 0 for item in items)
    if cut:
        notice(
            f"{cut:,} of {len(items):,} requests have more than the {model.config.max_seq_len:,} tokens the model "
            "reads: their contexts lose their beginning, as in lm-evaluation-harness"
        )
    mask_id = tokenizer.mask_id if kind == PSEUDO else None
    return score(
        model,
        items,
        mask_id=mask_id,
        batch_tokens=batch_tokens,
        batch_size=batch_size,
        progress=progress,
        title=title,
        scores=scores,
        stop=stop,
    )


@torch.no_grad()
def score(
    model: Model,
    items: Sequence[Encoded],
    *,
    mask_id: int | None = None,
    batch_tokens: int | None = None,
    batch_size: int | None = None,
    progress: bool = True,
    title: str = "log-likelihoods",
    scores: Scores | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> list[LogLikelihood]:
    """Log-likelihoods of the last `n` ids of each item; see loglikelihoods. `mask_id`: an encoder's."""
    kind = scored_by(model)
    found: dict[tuple[tuple[int, ...], int], LogLikelihood] = {}
    keys: dict[tuple[tuple[int, ...], int], str] = {}
    waiting: list[Encoded] = []
    for item in items:
        name = item.ids, item.n
        if name in found or name in keys:
            continue
        keys[name] = scores.key(kind, item.ids, item.n) if scores is not None else ""
        known = scores.get(keys[name]) if scores is not None else None
        if known is None:
            waiting.append(item)
        else:
            found[name] = known
    if scores is not None:
        scores.say_found()
    tally = Tally(len(waiting))

    def done(numbers: list[int]) -> None:
        made = []
        for i in numbers:
            item = waiting[i]
            name = item.ids, item.n
            found[name] = LogLikelihood(float(tally.sums[i]), item.n, bool(tally.greedy[i]))
            made.append((keys[name], found[name]))
        if scores is not None:
            scores.add(made)

    reader = Gaps(model, waiting, tally, mask_id) if kind == PSEUDO else Continuations(model, waiting, tally)
    reader = cast("Reader[Any]", reader)
    limit = limit_for(model, batch_tokens, batch_size)
    total = sum(map(reader.tokens, reader.units))
    with (
        without_dropout(model),
        tqdm(total=total, desc=title, unit="tok", unit_scale=True, disable=not progress) as bar,
    ):
        for units in read_all(reader, limit):
            done([i for unit in units for i in reader.items(unit)])
            bar.update(sum(map(reader.tokens, units)))
            if stop():
                raise Abandoned
    return [found[item.ids, item.n] for item in items]
