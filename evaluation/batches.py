"""How much is read at once: as many tokens as fit, half of them where memory runs out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from ..errors import UserError, notice
from ..models.model import Model
from .requests import Encoded
from .scoring import Tally

Unit = TypeVar("Unit")
CPU_TOKENS = 768  # more leave the cache, and its products are no faster
WINDOW = 16  # batches whose rows are sorted together, and done together
CPU_KEPT = 2**30  # bytes of keys and values


@dataclass
class Limit:
    """Tokens in a batch, padding included; rows in a batch; tokens of the units that are read together."""

    tokens: int
    rows: int | None
    window: int

    def __post_init__(self) -> None:
        for name, value in (("batch-tokens", self.tokens), ("batch-size", self.rows)):
            if value is not None and value < 1:
                raise UserError(f"--{name} {value}: must be at least 1")

    def rows_of(self, width: int) -> int:
        """How many rows of that many tokens; at least one."""
        fit = max(1, self.tokens // max(1, width))
        return fit if self.rows is None else min(fit, self.rows)


class Reader(ABC, Generic[Unit]):
    """Reads items into a tally, some units at a time; a unit is scored as a whole. The widest unit comes first."""

    def __init__(self, model: Model, waiting: Sequence[Encoded], tally: Tally) -> None:
        self.model, self.waiting, self.tally = model, waiting, tally
        self.device = model.embedder.tokens.weight.device
        self.units: list[Unit] = self.plan()

    @abstractmethod
    def plan(self) -> list[Unit]:
        """Every waiting item in one unit."""

    @abstractmethod
    def items(self, unit: Unit) -> list[int]:
        """The numbers of its items."""

    @abstractmethod
    def tokens(self, unit: Unit) -> int:
        """How many the model reads for it."""

    @abstractmethod
    def read(self, units: Sequence[Unit], limit: Limit) -> None:
        """Add what is found to the tally, reading no more than the limit at once, but always a row."""


def read_all(reader: Reader[Unit], limit: Limit) -> Iterator[list[Unit]]:
    """Read every unit, and yield those that are done. Out of memory, the limit is halved and they are read again.

    Raises UserError where a single row does not fit.
    """
    start, units = 0, reader.units
    while start < len(units):
        end, tokens = start + 1, reader.tokens(units[start])
        while end < len(units) and tokens + reader.tokens(units[end]) <= limit.window:
            tokens += reader.tokens(units[end])
            end += 1
        batch = units[start:end]
        if not _fits(reader, batch, limit):
            reader.tally.reset([i for unit in batch for i in reader.items(unit)])
            longest = max(len(reader.waiting[i].ids) for unit in batch for i in reader.items(unit))
            if limit.tokens <= longest:
                raise UserError(
                    f"the memory of {reader.device} does not hold one text of {longest:,} tokens: take a smaller "
                    "model, --dtype bf16, or another --device"
                )
            limit.tokens, limit.window = limit.tokens // 2, limit.window // 2
            notice(f"out of memory: going on with {limit.tokens:,} tokens in a batch")
            continue
        yield batch
        start += len(batch)


def _fits(reader: Reader[Unit], batch: list[Unit], limit: Limit) -> bool:
    try:
        reader.read(batch, limit)
        return True
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    if reader.device.type == "cuda":  # after the error, which holds on to what it met
        torch.cuda.empty_cache()
    return False


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether memory ran out: a CPU's allocator and Apple's raise plain RuntimeErrors."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return "DefaultCPUAllocator" in str(error) or "out of memory" in str(error)


def limit_for(model: Model, tokens: int | None, rows: int | None) -> Limit:
    """What the device takes, where `tokens` does not say; on CUDA a quarter of what is free, and another is kept."""
    weight, config = model.embedder.tokens.weight, model.config
    kept = 2 * config.n_layers * config.n_kv_heads * config.head_dim * weight.element_size()  # bytes a token
    free = 4 * CPU_KEPT
    if weight.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(weight.device)
        passing = (8 * config.d_model + 3 * config.d_ff) * weight.element_size()
        tokens = min(2**16, max(CPU_TOKENS, free // 4 // passing)) if tokens is None else tokens
    tokens = CPU_TOKENS if tokens is None else tokens
    return Limit(tokens, rows, max(tokens, min(WINDOW * tokens, free // 4 // kept)))
