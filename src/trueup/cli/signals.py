"""Ctrl-C while the engine works."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from trueup.clock import Clock
    from trueup.stop import Stop


class Stoppable(Protocol):
    """Who can be told to end after the segment at hand."""

    stop_after_segment: Stop
    clock: Clock


@contextmanager
def interruptible(engine: Stoppable) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) ends the run after the segment at hand, the second at once."""

    def on_signal(number: int, _frame: object) -> None:
        if engine.stop_after_segment.asked:
            raise KeyboardInterrupt
        engine.stop_after_segment.asked = True
        engine.stop_after_segment.reason = f"stopped by {signal.Signals(number).name}"
        engine.clock.interrupt()
        os.write(2, b"\ntrueup: stopping after the current segment; once more stops at once\n")

    with handled(on_signal):
        yield


@contextmanager
def handled(on_signal: Callable[[int, object], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM are answered by `on_signal`, and afterwards by who did before."""
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
