"""Writers that hammer on something in threads until told to stop.

What shows only under live writes is tested under live writes:

    with hammer(write_one, threads=8, each=lambda worker: psycopg.connect(url)) as h:
        h.wait(200)          # writing is under way
        reconcile(...)
    assert h.count >= 200    # exact once the block is left
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any


class Hammer:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._count = 0
        self._errors: list[BaseException] = []

    @property
    def count(self) -> int:
        """Calls that returned."""
        with self._changed:
            return self._count

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """No further call begins; those under way are waited for when the block is left."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def wait(self, count: int, *, timeout_s: float = 60.0) -> None:
        """Until `count` calls have returned; raises a writer's error at once, and TimeoutError."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: self._count >= count or self.stopped, timeout_s)
            self._raise_first()
            if not arrived or self._count < count:
                raise TimeoutError(f"{self._count} of {count} calls after {timeout_s} s")

    def _raise_first(self) -> None:
        if self._errors:
            raise self._errors[0]

    def _run(self, fn: Callable[..., object], worker: int, each: Callable[[int], Any] | None) -> None:
        try:
            with ExitStack() as stack:
                args = (worker, stack.enter_context(each(worker))) if each else (worker,)
                while not self.stopped:
                    fn(*args)
                    with self._changed:
                        self._count += 1
                        self._changed.notify_all()
        except BaseException as e:  # handed to the test's own thread
            with self._changed:
                self._errors.append(e)
            self.stop()  # the others need not go on: the test has failed


@contextmanager
def hammer(
    fn: Callable[..., object],
    threads: int = 8,
    *,
    each: Callable[[int], AbstractContextManager[Any]] | None = None,
    join_s: float = 60.0,
) -> Iterator[Hammer]:
    """Call `fn(worker)` over and over in every thread, `worker` being 0 to threads-1.

    With `each`, every thread opens its own (a connection, say), and `fn(worker, opened)` is called.
    The first error of a writer stops all and is raised at the end of the block. If the block itself
    fails, that error is the one raised, with the writer's as a note.
    """
    h = Hammer()
    crew = [
        threading.Thread(target=h._run, args=(fn, worker, each), name=f"hammer-{worker}", daemon=True)
        for worker in range(threads)
    ]
    for thread in crew:
        thread.start()
    try:
        yield h
    except BaseException as e:
        _stop_and_join(h, crew, join_s)
        for error in h._errors:
            if error is not e:  # it is, when `wait` raised it
                e.add_note(f"a writer failed too: {error!r}")
        raise
    stuck = _stop_and_join(h, crew, join_s)
    h._raise_first()
    if stuck:
        raise TimeoutError(f"{', '.join(stuck)} still in a call {join_s} s after stop")


def _stop_and_join(h: Hammer, crew: list[threading.Thread], join_s: float) -> list[str]:
    h.stop()
    deadline_s = time.monotonic() + join_s
    for thread in crew:
        thread.join(max(0.0, deadline_s - time.monotonic()))
    return [thread.name for thread in crew if thread.is_alive()]
