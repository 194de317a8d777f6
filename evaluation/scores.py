"""What was scored already, in a file of one line a request: an evaluation that was stopped goes on from there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import UserError, notice

FORMAT = 1
"""Raised when the same request would get another score."""


class LogLikelihood(NamedTuple):
    """Of a continuation after its context, in nats."""

    sum: float
    n_tokens: int
    is_greedy: bool
    """Whether no token of it has a likelier one in its place."""


class Scores:
    """Scores by a key made of the model's fingerprint and the request's ids. Lines are appended as they come, and the
    file is deleted when the evaluation is done; a line that a kill left half written is dropped."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path, self.fingerprint = path, fingerprint
        self.known: dict[str, LogLikelihood] = {}
        self.found = 0
        try:
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read ({error}): delete it, and all is scored anew") from None
        for line in text.splitlines():
            try:
                row = json.loads(line)
                self.known[row["key"]] = LogLikelihood(row["sum"], row["n_tokens"], row["is_greedy"])
            except (ValueError, KeyError, TypeError):
                continue
        self._starts_line = not text or text.endswith("\n")

    def key(self, kind: str, ids: tuple[int, ...], n: int) -> str:
        """Of the last `n` of `ids`; `kind` says how they are scored."""
        text = json.dumps([FORMAT, self.fingerprint, kind, ids, n])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def get(self, key: str) -> LogLikelihood | None:
        """What an earlier evaluation found, if it came to it."""
        found = self.known.get(key)
        self.found += found is not None
        return found

    def add(self, scored: Iterable[tuple[str, LogLikelihood]]) -> None:
        """Append. Raises UserError where the file cannot be written."""
        lines = [json.dumps({"key": key} | score._asdict()) + "\n" for key, score in scored]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(("" if self._starts_line else "\n") + "".join(lines))
        except OSError as error:
            raise UserError(f"{self.path}: scores cannot be kept there ({error.strerror or error})") from None
        self._starts_line = True

    def say_found(self) -> None:
        """Tell a person that, and how much, was taken over."""
        if self.found:
            notice(f"{self.found:,} requests were scored before this evaluation was stopped: {self.path}")
            self.found = 0

    def delete(self) -> None:
        """All is done: the next evaluation measures anew."""
        self.path.unlink(missing_ok=True)


def fingerprint(model: nn.Module) -> str:
    """A hash of names, shapes, dtypes and values: of each tensor its sum as integers, and 1,024 of its values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        if tensor.numel():
            digest.update(_digest(tensor).encode())
    return digest.hexdigest()[:32]


def _digest(tensor: Tensor) -> str:
    kinds = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    numbers = tensor.detach().contiguous().view(-1).view(kinds[tensor.element_size()])
    step = max(1, len(numbers) // 1024)
    return f"{int(numbers.sum(dtype=torch.int64))} {numbers[::step].tolist()}"
