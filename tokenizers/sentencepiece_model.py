"""SentencePiece's tokenizer.model, read without the sentencepiece library.

The file is one protobuf message (google/sentencepiece, src/sentencepiece_model.proto). A model of type BPE (Llama 2,
Mistral, Gemma) becomes a `tokenizers` BPE: SentencePiece joins the adjacent pair whose piece scores highest, so merges
are all ways to split each piece, best score first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HFTokenizer

UNIGRAM, BPE = 1, 2
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4
SPACE = "▁"


@dataclass(frozen=True)
class Piece:
    text: str
    score: float
    type: int


def read_sentencepiece(path: Path, config: dict[str, Any]) -> HFTokenizer:
    """The tokenizer of a tokenizer.model. `config` is its tokenizer_config.json: add_bos_token, add_eos_token.

    Raises UserError for a damaged file and for a type other than BPE.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    try:
        message = _message(path.read_bytes())
        pieces = [_piece(data) for data in message[1]]
        trainer, normal = _message(message[2][0]), _message(message.get(3, [b""])[0])
        charsmap = normal.get(2, [b""])[0]
    except (IndexError, KeyError, ValueError, struct.error, UnicodeDecodeError, OSError):
        raise UserError(f"{path} is no SentencePiece model, or it is damaged: fetch it again") from None
    if trainer.get(3, [UNIGRAM])[0] != BPE:
        raise UserError(
            f"{path} is a SentencePiece model of a type other than BPE, which is not read here: save it as a "
            "tokenizer.json (transformers: AutoTokenizer.from_pretrained(...).save_pretrained(...)) and name that"
        )
    vocab = {piece.text: i for i, piece in enumerate(pieces)}
    inner = Tokenizer(
        models.BPE(
            vocab=vocab,
            merges=_merges(pieces),
            unk_token=next((piece.text for piece in pieces if piece.type == UNKNOWN), None),
            fuse_unk=True,
            byte_fallback=bool(trainer.get(35, [0])[0]),
        )
    )
    steps: list[Any] = [normalizers.Precompiled(charsmap)] if charsmap else []
    if normal.get(4, [1])[0]:  # remove_extra_whitespaces, true by default
        steps += [normalizers.Strip(), normalizers.Replace("  ", " ")]
    if normal.get(3, [1])[0]:  # add_dummy_prefix, true by default
        steps.append(normalizers.Prepend(SPACE))
        strip = [decoders.Strip(" ", 1, 0)]
    else:
        strip = []
    inner.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
    inner.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    for piece in pieces:
        if piece.type in (UNKNOWN, CONTROL, USER_DEFINED):
            inner.add_tokens([AddedToken(piece.text, special=piece.type != USER_DEFINED, normalized=False)])
    _template(inner, config)
    return inner


def _template(inner: HFTokenizer, config: dict[str, Any]) -> None:
    """Llama's way: bos before the text unless the configuration says no, eos after it only if it says so."""
    from tokenizers import processors

    ids = {token: inner.token_to_id(token) for token in ("<s>", "</s>")}
    before = ["<s>"] if config.get("add_bos_token", True) and ids["<s>"] is not None else []
    after = ["</s>"] if config.get("add_eos_token", False) and ids["</s>"] is not None else []
    if before or after:
        inner.post_processor = processors.TemplateProcessing(
            single=[*before, "$A", *after],
            pair=[*before, "$A", *after, *(f"{token}:1" for token in before), "$B:1", *(f"{t}:1" for t in after)],
            special_tokens=[(token, ids[token]) for token in (*before, *after)],
        )


def _merges(pieces: list[Piece]) -> list[tuple[str, str]]:
    ids = {piece.text: i for i, piece in enumerate(pieces) if piece.type in (NORMAL, USER_DEFINED)}
    found: list[tuple[float, int, int, str, str]] = []
    for piece in pieces:
        if piece.type == NORMAL:
            for at in range(1, len(piece.text)):
                left, right = piece.text[:at], piece.text[at:]
                if left in ids and right in ids:
                    found.append((-piece.score, ids[piece.text], ids[left], left, right))
    return [(left, right) for *_, left, right in sorted(found)]


def _piece(data: bytes) -> Piece:
    fields = _message(data)
    return Piece(
        fields[1][0].decode("utf-8"), *struct.unpack("<f", fields.get(2, [bytes(4)])[0]), fields.get(3, [1])[0]
    )


def _message(data: bytes) -> dict[int, list[Any]]:
    """Field number -> its values: ints, or bytes for everything longer. Raises ValueError, IndexError."""
    fields: dict[int, list[Any]] = {}
    for number, value in _fields(data):
        fields.setdefault(number, []).append(value)
    return fields


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > len(data):
            raise ValueError("the message ends early")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
