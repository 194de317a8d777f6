"""The first signal is remembered, the second one acts."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from groundup.trainers.interrupt import Interrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_remembered(number: signal.Signals) -> None:
    with Interrupt() as interrupt:
        assert not interrupt
        os.kill(os.getpid(), number)
        assert interrupt
        assert interrupt.received == number
        assert interrupt.exit_code == 128 + number


def test_the_second_one_acts() -> None:
    # A process started in the background may ignore SIGINT from birth.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def twice() -> None:
        with Interrupt():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    try:
        with pytest.raises(KeyboardInterrupt):
            twice()
    finally:
        signal.signal(signal.SIGINT, before)


def test_handlers_return_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupt():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_another_thread_is_left_alone() -> None:
    results: list[bool] = []

    def inside() -> None:
        with Interrupt() as interrupt:
            results.append(bool(interrupt))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert results == [False]
