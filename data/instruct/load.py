"""A run's instruction data: read, checked, rendered, tokenised, split; and the prompt that goes with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ...errors import UserError, notice
from ...tokenizers.base import Tokenizer
from ...tokenizers.chat import Message
from ..cache import short_hash
from ..rows import Row
from ..tokenised import document_frame
from .chat import Chat, Rendered
from .choice import choose_chat
from .conversation import Conversation
from .labels import OVERFLOWS, Counts, fit, tokenise_rows
from .source import Group, conversations, open_sides, read_groups, settle_bad, share_held_out, split_groups
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
    source, held = open_sides(dataset)
    groups = read_groups(source, dataset)
    fingerprints = [source.fingerprint(), str(share_held_out(dataset)) if held is None else held.fingerprint()]
    if held is None:
        sides = split_groups(groups, share_held_out(dataset), seed)
    else:
        sides = groups, read_groups(held, dataset)

    template = getattr(dataset, "template", None)
    raw = template is not None and getattr(template, "messages", None) is None
    chat = _choose(dataset.preprocessing, tokenizer, "raw" if raw else dataset.format, groups)
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
    if not counts[0].ended:
        raise UserError(
            f"no answer of {source.name} keeps its stop token once rows are cut to {max_length:,} tokens, so the model "
            "would never learn to stop: raise trainer.max_seq_length, or set dataset.on_overflow to drop"
        )
    _say_spelt(chat, groups)
    _say_unread(chat, groups)
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
            bad.append(str(error))
    settle_bad(bad, sum(map(len, groups)), f"the {what}", on_bad_row)
    return found


def _choose(preprocessing: Any, tokenizer: Tokenizer, kind: str, groups: list[Group]) -> Chat:
    """The template, tried on the first conversations: one that it does not take is a bad row if it takes another."""
    failure: UserError | None = None
    for example in islice(conversations(groups), 20):
        try:
            chat = choose_chat(preprocessing, tokenizer, kind, example)
            _check_beginning(chat, example, getattr(preprocessing, "add_bos_token", None))
        except UserError as error:
            failure = failure or error
        else:
            return chat
    raise failure or UserError("there is no conversation")


def _check_beginning(chat: Chat, example: Conversation, add_bos: bool | None) -> None:
    """A note where rows begin without the token that the tokenizer begins any text with, and nobody asked for that.

    Raises UserError where two beginning-of-text tokens would stand at the beginning.
    """
    (first, *_) = tokenise_rows(chat, chat.rendered(example)[:1], progress=False, what="")
    tokenizer = chat.tokenizer
    bos = tokenizer.bos_id
    if bos is not None and first.ids[:2].tolist() == [bos, bos]:
        raise UserError(
            f"{first.where}: a row begins with two beginning-of-text tokens: leave dataset.preprocessing.add_bos_token "
            "out, or mend the chat template"
        )
    frame = document_frame(tokenizer)[0]
    if frame and add_bos is None and first.ids[0] != frame[0]:
        notice(
            f"{tokenizer.name} begins any text with {tokenizer.decode(frame[:1])}, and rows by {chat.name} begin "
            "without it, as in transformers; if the model was trained on conversations with it, set "
            "dataset.preprocessing.add_bos_token to true"
        )


def _say_spelt(chat: Chat, groups: list[Group]) -> None:
    spelt = [conversation for conversation in conversations(groups) if chat.spells_tokens(conversation)]
    if spelt:
        notice(
            f"{len(spelt):,} conversations spell a special token of the tokenizer, which then is that token: "
            f"the first is {spelt[0].where}"
        )


def _say_unread(chat: Chat, groups: list[Group]) -> None:
    """A note on what messages hold besides their text and the template does not ask for."""
    counts = Counter(key for one in conversations(groups) for message in one.messages for key in message)
    unread = chat.unread(counts)
    if unread:
        keys = ", ".join(f"'{key}' (in {counts[key]:,})" for key in unread[:5])
        more = f" and {len(unread) - 5} more" if len(unread) > 5 else ""
        notice(f"{chat.name} leaves out what messages hold as {keys}{more}")
