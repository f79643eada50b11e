from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.tools import hammer


def test_counts_every_call_and_stops() -> None:
    calls: list[int] = []
    with hammer(calls.append, threads=4) as h:
        h.wait(100)
    assert h.count == len(calls) >= 100
    assert set(calls) <= {0, 1, 2, 3}
    assert not [t for t in threading.enumerate() if t.name.startswith("hammer-")]


def test_all_threads_run_at_once() -> None:
    meet = threading.Barrier(8)

    @contextmanager
    def each(_worker: int) -> Iterator[None]:
        meet.wait(60)  # broken, and so an error, if one thread began only after another ended
        yield

    with hammer(lambda _worker, _: None, threads=8, each=each) as h:
        h.wait(8)


def test_every_thread_opens_and_closes_its_own() -> None:
    opened, closed, used = [], [], set()

    @contextmanager
    def each(worker: int) -> Iterator[str]:
        opened.append(worker)
        try:
            yield f"connection {worker}"
        finally:
            closed.append(worker)

    with hammer(lambda worker, c: used.add((worker, c)), threads=3, each=each) as h:
        h.wait(30)
    assert sorted(opened) == sorted(closed) == [0, 1, 2]
    assert used <= {(n, f"connection {n}") for n in range(3)}


def test_a_writer_that_fails_fails_the_test() -> None:
    with pytest.raises(ZeroDivisionError), hammer(lambda _: 1 / 0, threads=2):
        pass


def test_waiting_for_writers_that_failed_does_not_wait() -> None:
    with pytest.raises(ZeroDivisionError) as caught, hammer(lambda _: 1 / 0, threads=1) as h:
        h.wait(1, timeout_s=60)
    assert not hasattr(caught.value, "__notes__")


def test_the_error_of_the_block_comes_first_and_mentions_the_writers() -> None:
    def block() -> None:
        with hammer(lambda _: 1 / 0, threads=1) as h:
            with pytest.raises(ZeroDivisionError):
                h.wait(1)
            raise LookupError

    with pytest.raises(LookupError) as caught:
        block()
    assert caught.value.__notes__ == ["a writer failed too: ZeroDivisionError('division by zero')"]


def test_too_few_calls_in_time() -> None:
    release = threading.Event()
    with hammer(lambda _: release.wait(), threads=1) as h:
        with pytest.raises(TimeoutError, match="0 of 5 calls"):
            h.wait(5, timeout_s=0.05)
        release.set()


def test_a_writer_that_does_not_stop_is_named() -> None:
    release = threading.Event()
    stuck = hammer(lambda _: release.wait(), threads=1, join_s=0.05)
    with pytest.raises(TimeoutError, match="hammer-0 still in a call"), stuck:
        pass
    release.set()
