"""A run's instruction data: read, checked, rendered, tokenised, split; and the prompt that goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ...errors import UserError, notice
from ...tokenizers.base import Tokenizer
from ...tokenizers.chat import Message
from ..cache import short_hash
from ..rows import Row
from ..text import VAL_FRACTION
from .chat import Chat, Rendered, spelt_tokens
from .choice import choose_chat
from .conversation import Conversation
from .labels import OVERFLOWS, Counts, fit, tokenise_rows
from .source import Group, conversations, open_source, read_groups, say_dropped, split_groups
from .table import LengthTable


@dataclass(frozen=True)
class InstructionData:
    """Everything a run on instructions reads. `heldout` is empty where nothing is held out."""

    train: list[Row]
    heldout: list[Row]
    table: LengthTable
    chat: Chat
    fingerprint: str

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The tokens at which generation ends."""
        return self.chat.stop_ids

    @property
    def pad_id(self) -> int:
        """What rows are filled up with; which id it is changes nothing."""
        tokenizer = self.chat.tokenizer
        return next((i for i in (tokenizer.pad_id, tokenizer.eos_id) if i is not None), 0)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The ids of what the model is asked, in the format it is trained on, to where its answer begins."""
        return self.chat.prompt(messages)


def load_instructions(
    dataset: Any, tokenizer: Tokenizer, *, max_length: int, seed: int = 0, progress: bool = True
) -> InstructionData:
    """The conversations that a `dataset` section names, as rows whose targets are the assistant's answers.

    The template they were rendered by becomes the tokenizer's `chat_template`, so that it is saved with the model.

    Args:
        dataset: the section; it is read for format, train_path or else name (with config, split, streaming, num_proc),
            eval_path or else val_fraction, max_documents, template, lang, preprocessing, on_overflow, on_bad_row.
        tokenizer: changed in its `chat_template` only.
        max_length: tokens of a row at most.
        seed: of what is held out.
        progress: whether to draw a bar.

    Raises:
        UserError: no such data, a row that is wrong, a template that fails, no stop token; one sentence with file and
            row.
    """
    overflow, on_bad_row = (getattr(dataset, key, None) or "error" for key in ("on_overflow", "on_bad_row"))
    if overflow not in OVERFLOWS:
        raise UserError(f"dataset.on_overflow is '{overflow}', and one of {', '.join(OVERFLOWS)} is wanted")
    source = open_source(dataset, "train_path" if dataset.train_path else "name")
    groups = read_groups(source, dataset)
    fraction = VAL_FRACTION if dataset.val_fraction is None else dataset.val_fraction
    fingerprints = [source.fingerprint]
    if dataset.eval_path:
        held = open_source(dataset, "eval_path")
        fingerprints.append(held.fingerprint)
        sides = groups, read_groups(held, dataset)
    else:
        fingerprints.append(str(fraction))
        sides = split_groups(groups, fraction, seed)

    template = getattr(dataset, "template", None)
    raw = template is not None and getattr(template, "messages", None) is None
    chat = _choose(dataset.preprocessing, tokenizer, "raw" if raw else dataset.format, groups, on_bad_row)
    rows: list[list[Row]] = []
    counts: list[Counts] = []
    for what, side in zip(("training rows", "held-out rows"), sides, strict=True):
        tokens = tokenise_rows(chat, _render(chat, side, on_bad_row, what), progress=progress, what=what)
        kept, counted, emptied = fit(tokens, max_length, overflow, on_bad_row)
        if emptied:
            notice(f"rows without a target once cut to {max_length:,} tokens were left out: the first is {emptied}")
        rows.append(kept)
        counts.append(counted)
    if not rows[0]:
        raise UserError(f"no row of {source.name} is left to train on: raise trainer.max_seq_length")
    _say_spelt(tokenizer, groups)
    tokenizer.chat_template = chat.template.source
    about = (
        ("format", f"{dataset.format}, by {chat.name}"),
        ("begins with", chat.begin or "no token of its own"),
        ("answers end in", f"{chat.stop} (trained)"),
        ("longer rows", {"error": "are refused", "truncate": "are cut", "drop": "are dropped"}[overflow]),
    )
    table = LengthTable(counts[0], counts[1] if sides[1] else None, max_length, about)
    made = (tokenizer.fingerprint, chat.template.source, max_length, seed, overflow, on_bad_row, repr(dataset))
    return InstructionData(rows[0], rows[1], table, chat, short_hash(*fingerprints, *made))


def _render(chat: Chat, groups: list[Group], on_bad_row: str, what: str) -> list[Rendered]:
    found: list[Rendered] = []
    bad: list[str] = []
    for conversation in conversations(groups):
        try:
            found += chat.rendered(conversation)
        except UserError as error:
            if on_bad_row != "drop":
                raise
            bad.append(str(error))
    say_dropped(bad, sum(map(len, groups)), f"the {what}")
    return found


def _choose(preprocessing: Any, tokenizer: Tokenizer, kind: str, groups: list[Group], on_bad_row: str) -> Chat:
    """The template, tried on the first conversation; where bad ones are dropped, on the first that it takes."""
    failure: UserError | None = None
    for example in islice(conversations(groups), 20 if on_bad_row == "drop" else 1):
        try:
            chat = choose_chat(preprocessing, tokenizer, kind, example)
            _one_beginning(chat, example)
        except UserError as error:
            failure = failure or error
        else:
            return chat
    raise failure or UserError("there is no conversation")


def _one_beginning(chat: Chat, example: Conversation) -> None:
    """Raises UserError where two beginning-of-text tokens would stand at the beginning."""
    (first, *_) = tokenise_rows(chat, chat.rendered(example)[:1], progress=False, what="")
    bos = chat.tokenizer.bos_id
    if bos is not None and first.ids[:2].tolist() == [bos, bos]:
        raise UserError(
            f"{first.where}: a row begins with two beginning-of-text tokens: leave dataset.preprocessing.add_bos_token "
            "out, or mend the chat template"
        )


def _say_spelt(tokenizer: Tokenizer, groups: list[Group]) -> None:
    spelt = [conversation for conversation in conversations(groups) if spelt_tokens(tokenizer, conversation)]
    if spelt:
        notice(
            f"{len(spelt):,} conversations spell a special token of the tokenizer, which then is that token: "
            f"the first is {spelt[0].where}"
        )
