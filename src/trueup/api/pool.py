"""Engines for requests: a bounded number, each lent to one request at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trueup.errors import Busy, Interrupted, LedgerFailed, TrueupError

if TYPE_CHECKING:
    from trueup.app import Trueup

#: How long a request waits for an engine, seconds.
WAIT_S = 5.0


class Engines:
    """Opens an engine when all that there are are lent, up to `most`; closes those of which it is not known how they
    stand.
    """

    def __init__(self, opening: Callable[[], Trueup], most: int, *, wait_s: float = WAIT_S) -> None:
        self._opening, self._wait_s = opening, wait_s
        self._left = threading.Semaphore(most)
        self._idle: list[Trueup] = []

    @contextmanager
    def lent(self, within_s: float) -> Iterator[Trueup]:
        """An engine for this block. After `within_s` what it does is ended at the next border, with Interrupted.

        Raises Busy where none is to be had.
        """
        if not self._left.acquire(timeout=self._wait_s):
            raise Busy(f"all engines of this server were busy for {self._wait_s:g} s; try again, or raise `workers`")
        try:
            engine = self._idle.pop() if self._idle else self._opening()
            with _kept(engine, self._idle), _limited(engine, within_s):
                yield engine
        finally:
            self._left.release()

    def close(self) -> None:
        """Give the connections of those that are not lent back."""
        while self._idle:
            self._idle.pop().close()


@contextmanager
def _kept(engine: Trueup, idle: list[Trueup]) -> Iterator[None]:
    """The engine is there for the next one afterwards, if what it did ended as it should."""
    sound = False
    try:
        yield
        sound = True
    except (Interrupted, LedgerFailed):
        raise
    except TrueupError:
        sound = True
        raise
    finally:
        if sound and not engine.stop_after_segment.asked:
            engine.__dict__.pop("actor", None)
            engine.forget()
            idle.append(engine)
        else:
            engine.close()


@contextmanager
def _limited(engine: Trueup, within_s: float) -> Iterator[None]:
    """What goes on in this block is ended at the next border once its time is over."""

    def over() -> None:
        engine.stop_after_segment.asked = True
        engine.stop_after_segment.reason = f"a request may take {within_s:g} s; ask for a run through the queue"
        engine.clock.interrupt()

    timer = threading.Timer(within_s, over)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
