"""OpenAI's encodings through tiktoken: gpt2, r50k_base, p50k_base, cl100k_base, o200k_base."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .base import Tokenizer
from .engine import GPT2, GPT4, GPT4O
from .export import Exported, of_ranks

if TYPE_CHECKING:
    from tiktoken import Encoding

_HOST = "https://openaipublic.blob.core.windows.net"
FILES: dict[str, dict[str, str]] = {
    "gpt2": {
        "/gpt-2/encodings/main/vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
        "/gpt-2/encodings/main/encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    },
    "r50k_base": {
        "/encodings/r50k_base.tiktoken": "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
    },
    "p50k_base": {
        "/encodings/p50k_base.tiktoken": "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
    },
    "cl100k_base": {
        "/encodings/cl100k_base.tiktoken": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    },
    "o200k_base": {
        "/encodings/o200k_base.tiktoken": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    },
}
"""What each encoding is read from and the SHA-256 it must have; tiktoken names a cached file by its URL's SHA-1."""
WORDS = {"gpt2": GPT2, "r50k_base": GPT2, "p50k_base": GPT2, "cl100k_base": GPT4, "o200k_base": GPT4O}
"""The words of each encoding in the regular expressions of `tokenizers`."""
# Its regular expressions match `\s+(?!\S)` by backtracking, and panic at a million steps.
LONGEST_BLANK = 900_000
RANKS_NAME = "ranks.tiktoken"


class TiktokenTokenizer(Tokenizer):
    """One of OpenAI's encodings. Special tokens spelled in the text are text (`encode_ordinary`)."""

    kind = "tiktoken"
    splittable = True

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self.name = encoding.name
        self.vocab_size = encoding.n_vocab
        self.eos_id = encoding.eot_token
        self.bos_id = self.eos_id
        underscore = encoding.encode_ordinary("_")
        self.mask_id = underscore[0] if len(underscore) == 1 else None

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return _encode(self._encoding, text).tolist()

    def encode_arrays(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        return encode_parallel(self._encoding, texts)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        special: set[int] = set(self._special.values()) if skip_special_tokens else set()
        return self._encoding.decode([i for i in ids if i not in special])

    @property
    def _special(self) -> dict[str, int]:
        encoding: Any = self._encoding
        return encoding._special_tokens

    @property
    def named_tokens(self) -> dict[str, str]:
        ends = next((text for text, i in self._special.items() if i == self.eos_id), None)
        return {} if ends is None else {"bos_token": ends, "eos_token": ends}

    @property
    def control_tokens(self) -> dict[str, int]:
        return dict(self._special)

    def description(self) -> dict[str, Any]:
        encoding: Any = self._encoding
        return {
            "pattern": encoding._pat_str,
            "special_tokens": self._special,
            "ranks": hashlib.sha256(_rank_lines(encoding)).hexdigest(),
        }

    def _card(self) -> dict[str, Any]:
        encoding: Any = self._encoding
        return {"pattern": encoding._pat_str, "special_tokens": self._special}

    def _save_files(self, folder: Path) -> None:
        (folder / RANKS_NAME).write_bytes(_rank_lines(self._encoding))

    def _exported(self) -> Exported:
        if self.name not in WORDS:
            return super()._exported()
        encoding: Any = self._encoding
        ends = self.named_tokens.get("eos_token")
        return of_ranks(encoding._mergeable_ranks, WORDS[self.name], self._special, ends)

    @classmethod
    def from_saved(cls, folder: Path, card: dict[str, Any]) -> TiktokenTokenizer:
        """Read what `save` wrote: no network, no cache."""
        from tiktoken import Encoding

        lines = (line.split() for line in (folder / RANKS_NAME).read_bytes().splitlines())
        ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
        special_tokens = card["special_tokens"]
        return cls(
            Encoding(card["name"], pat_str=card["pattern"], mergeable_ranks=ranks, special_tokens=special_tokens)
        )


def load_tiktoken(name: str) -> TiktokenTokenizer:
    """The encoding of that name. Raises UserError when its file is neither cached nor to be had."""
    import tiktoken

    for path, sha256 in FILES[name].items():
        _provide(name, _HOST + path, sha256)
    return TiktokenTokenizer(tiktoken.get_encoding(name))


def encode_parallel(encoding: Encoding, texts: Sequence[str]) -> list[NDArray[Any]]:
    """Texts -> uint32 ids, one thread a core; tiktoken lets go of the GIL, and no Python list of ids is built."""
    if len(texts) < 2:
        return [_encode(encoding, text) for text in texts]
    return list(_pool().map(lambda text: _encode(encoding, text), texts))


def _encode(encoding: Encoding, text: str) -> NDArray[np.uint32]:
    if len(text) > LONGEST_BLANK and (blank := re.search(rf"\s{{{LONGEST_BLANK}}}", text)):
        raise UserError(
            f"a text has more than {LONGEST_BLANK:,} white-space characters in a row, from character {blank.start():,} "
            "on, and tiktoken breaks down there: shorten the run"
        )
    core: Any = encoding._core_bpe
    try:
        ids = core.encode_to_tiktoken_buffer(text, frozenset())
    except UnicodeEncodeError:  # a lone surrogate becomes U+FFFD, as in tiktoken's own encode
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        ids = core.encode_to_tiktoken_buffer(text, frozenset())
    return np.frombuffer(ids, dtype=np.uint32)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="tokenise")


def _rank_lines(encoding: Any) -> bytes:
    ranks = sorted(encoding._mergeable_ranks.items(), key=lambda item: item[1])
    return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ranks)


def _cache_folder() -> Path | None:
    """Where tiktoken keeps its files (its own rule); None where caching is switched off."""
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if variable in os.environ:
            return Path(os.environ[variable]) if os.environ[variable] else None
    return Path(tempfile.gettempdir()) / "data-gym-cache"


def _provide(name: str, url: str, sha256: str, timeout: tuple[float, float] = (5.0, 60.0)) -> None:
    """Make sure tiktoken finds the file of `url` in its cache: it would fetch without a timeout itself."""
    folder = _cache_folder()
    if folder is None:
        return
    cached = folder / hashlib.sha1(url.encode()).hexdigest()
    if cached.is_file() and hashlib.sha256(cached.read_bytes()).hexdigest() == sha256:
        return
    import requests

    where = f"put it as {cached}, or set TIKTOKEN_CACHE_DIR to a folder that holds {cached.name}"
    try:
        answer = requests.get(url, timeout=timeout)
        answer.raise_for_status()
    except requests.RequestException as error:
        why = "the network cannot be reached" if not isinstance(error, requests.HTTPError) else str(error)
        state = "is damaged" if cached.exists() else "is not cached"
        raise UserError(
            f"the tokenizer {name} needs the file {url.rsplit('/', 1)[1]}, which {state} here, and {why}: "
            f"fetch {url} where there is a network and {where}"
        ) from None
    if hashlib.sha256(answer.content).hexdigest() != sha256:
        raise UserError(f"{url} did not give the file {name} is made of (its SHA-256 differs): fetch it and {where}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=cached.name, suffix=".tmp", delete=False) as file:
        file.write(answer.content)
    os.replace(file.name, cached)
