"""SentencePiece's tokenizer.model or spm.model, read without the sentencepiece library.

The file is one protobuf message (google/sentencepiece, src/sentencepiece_model.proto). Of type BPE (Llama 2, Mistral,
Gemma) it becomes a `tokenizers` BPE: SentencePiece joins the adjacent pair whose piece scores highest, so merges are
all ways to split each piece, best score first. Of type unigram (DeBERTa-v3) it becomes a `tokenizers` Unigram.
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


@dataclass(frozen=True)
class SentencePiece:
    """What of the file changes ids. `charsmap` is its table of characters to replace, in its own format."""

    pieces: list[Piece]
    type: int
    byte_fallback: bool
    charsmap: bytes
    dummy_prefix: bool
    collapse_spaces: bool

    def of_type(self, *types: int) -> list[str]:
        return [piece.text for piece in self.pieces if piece.type in types]


def read(path: Path) -> SentencePiece:
    """Raises UserError for a damaged file, and for what neither BPE nor unigram can do."""
    try:
        message = _message(path.read_bytes())
        pieces = [_piece(data) for data in message[1]]
        trainer, normal = _message(message[2][0]), _message(message.get(3, [b""])[0])
        model = SentencePiece(
            pieces,
            type=trainer.get(3, [UNIGRAM])[0],
            byte_fallback=bool(trainer.get(35, [0])[0]),
            charsmap=normal.get(2, [b""])[0],
            dummy_prefix=bool(normal.get(3, [1])[0]),
            collapse_spaces=bool(normal.get(4, [1])[0]),
        )
        unlike = bool(trainer.get(24, [0])[0]) or not normal.get(5, [1])[0]  # space as suffix, space as it is
    except (IndexError, KeyError, ValueError, struct.error, UnicodeDecodeError, OSError):
        raise UserError(f"{path} is no SentencePiece model, or it is damaged: {_instead(path)}") from None
    if model.type not in (UNIGRAM, BPE) or unlike:
        raise UserError(
            f"{path} is a SentencePiece model of a kind that is not read here: save it as a tokenizer.json "
            "(transformers: AutoTokenizer.from_pretrained(...).save_pretrained(...)) and name that"
        )
    return model


def build(model: SentencePiece) -> HFTokenizer:
    """The tokenizer that gives the pieces which sentencepiece gives."""
    from tokenizers import Regex, Tokenizer, decoders, normalizers

    inner = Tokenizer(model_of(model))
    steps: list[Any] = [normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    if model.collapse_spaces:
        steps += [normalizers.Replace(Regex("^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if model.dummy_prefix:
        steps.append(normalizers.Prepend(SPACE))
    inner.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
    strip = [decoders.Strip(" ", 1, 0)] if model.dummy_prefix else []
    inner.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    add_pieces(inner, model)
    return inner


def add_pieces(inner: HFTokenizer, model: SentencePiece) -> None:
    """Make tokens that text may spell of the pieces that stand for no text, and of those that are never split."""
    from tokenizers import AddedToken

    special = {*model.of_type(UNKNOWN, CONTROL)}
    for text in model.of_type(UNKNOWN, CONTROL, USER_DEFINED):
        inner.add_tokens([AddedToken(text, special=text in special, normalized=False)])


def model_of(model: SentencePiece) -> Any:
    """Its pieces as a model of `tokenizers`, without what is done to text before."""
    from tokenizers import models

    if model.type == UNIGRAM:
        unknown = next((i for i, piece in enumerate(model.pieces) if piece.type == UNKNOWN), None)
        vocab = [(piece.text, piece.score) for piece in model.pieces]
        return models.Unigram(vocab, unk_id=unknown, byte_fallback=model.byte_fallback)
    return models.BPE(
        vocab={piece.text: i for i, piece in enumerate(model.pieces)},
        merges=_merges(model.pieces),
        unk_token=next(iter(model.of_type(UNKNOWN)), None),
        fuse_unk=True,
        byte_fallback=model.byte_fallback,
    )


def _merges(pieces: list[Piece]) -> list[tuple[str, str]]:
    ids = {piece.text: i for i, piece in enumerate(pieces) if piece.type in (NORMAL, USER_DEFINED)}
    found: list[tuple[float, int, int, int, str, str]] = []
    for text, i in ids.items():
        for at in range(1, len(text)):
            left, right = text[:at], text[at:]
            if left in ids and right in ids:
                found.append((-pieces[i].score, i, len(left), len(right), left, right))
    return [(left, right) for *_, left, right in sorted(found)]


def _instead(path: Path) -> str:
    """What to do about a file that is not what its name says."""
    try:
        with path.open("rb") as file:
            first = file.readline(200).split()
    except OSError as error:
        return f"it cannot be opened ({error.strerror})"
    if len(first) == 2 and first[1].isdigit():
        return "it looks like tiktoken's (Llama 3's is), so take the tokenizer.json that comes with it"
    return "fetch it again"


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
