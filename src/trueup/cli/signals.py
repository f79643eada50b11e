"""Ctrl-C while the engine works."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from trueup.signals import handled

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
