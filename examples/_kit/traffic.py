"""The application that keeps writing while everything else happens."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

#: How long one write, or what follows from some, is waited for on a machine that is busy, seconds.
PATIENCE_S = 100.0


class Application(Protocol):
    """What the traffic drives; made in the traffic's own thread, so that its connections are its own."""

    def write(self, chance: random.Random) -> None:
        """Do something that users do."""

    def close(self) -> None:
        """Let go of the connections."""


class Traffic:
    """Writes in the background, from its `with` to its end; an error of the application ends the example."""

    def __init__(self, make: Callable[[], Application], *, seed: int, rest_s: float = 0.002) -> None:
        """`rest_s`: between two writes."""
        #: Writes so far.
        self.writes = 0
        self._make, self._chance, self._rest_s = make, random.Random(seed), rest_s
        self._end = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def _run(self) -> None:
        try:
            application = self._make()
            try:
                while not self._end.wait(self._rest_s):
                    application.write(self._chance)
                    self.writes += 1
            finally:
                application.close()
        except BaseException as error:
            self._error = error

    def wait(self, writes: int) -> None:
        """Until so many more writes have been made."""
        self.until(lambda wanted=self.writes + writes: self.writes >= wanted)  # type: ignore[misc]

    def until(self, reached: Callable[[], bool], *, rest_s: float = 0.002) -> None:
        """Look until it is so, resting in between. Raises TimeoutError; and the application's error, if it had one."""
        end = time.monotonic() + PATIENCE_S
        while not reached():
            if self._error is not None:
                raise self._error
            if time.monotonic() > end:
                raise TimeoutError(f"waited {PATIENCE_S:.0f} s for the traffic, at {self.writes} writes")
            time.sleep(rest_s)

    def __enter__(self) -> Traffic:
        self._thread.start()
        self.wait(1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error
