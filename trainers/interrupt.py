"""Ctrl-C and SIGTERM end a run after the step in hand, with a checkpoint."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T", bound="Interrupt")


class Interrupt:
    """Context in which the first SIGINT or SIGTERM is only remembered; a second one takes its usual, abrupt effect.

    Outside the main thread Python delivers no signals, and this does nothing.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[int, Any] = {}

    def __bool__(self) -> bool:
        return self.received is not None

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells report it."""
        return 128 + (self.received or 0)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def __enter__(self: T) -> T:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *exc: object) -> None:
        self._restore()
