"""One process at a time runs a projection, and a holder that dies lets go: real processes, both ledgers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from trueup.clock import SystemClock
from trueup.errors import Refused
from trueup.store import lock
from trueup.store.ledger import Ledger

#: Holds a projection's lock, says so, and then waits for its standard input to end.
HOLDER = """
import sys
from trueup.store import lock
from trueup.store.ledger import Ledger
with lock.hold(Ledger(sys.argv[1]).engine, sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(url: str, projection: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, url, projection], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def held_by_somebody(ledger: Ledger, projection: str = "p") -> bool:
    try:
        with lock.hold(ledger.engine, projection):
            return False
    except Refused:
        return True


def test_a_second_process_is_refused(ledger: Ledger, ledger_url: str) -> None:
    with holder(ledger_url, "p") as process:
        with (
            pytest.raises(Refused, match="'p' is being run by another process") as caught,
            lock.hold(ledger.engine, "p"),
        ):
            pass
        if ledger.engine.dialect.name == "sqlite":
            assert f"process {process.pid}" in str(caught.value)
        assert not held_by_somebody(ledger, "q")
        assert caught.value.exit_code == 4


def test_a_holder_that_ends_lets_go(ledger: Ledger, ledger_url: str) -> None:
    with holder(ledger_url, "p") as process:
        process.communicate("", timeout=30)
        assert process.returncode == 0
        assert not held_by_somebody(ledger)


def test_a_holder_that_is_killed_lets_go(ledger: Ledger, ledger_url: str) -> None:
    with holder(ledger_url, "p") as process:
        assert held_by_somebody(ledger)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
        # The kernel drops a file lock with the process; a server needs a moment to see the connection end.
        clock, tries = SystemClock(), 0
        while held_by_somebody(ledger) and tries < 200:
            clock.wait(0.05)
            tries += 1
        assert not held_by_somebody(ledger)


def test_an_error_inside_lets_go(ledger: Ledger) -> None:
    with pytest.raises(ZeroDivisionError), lock.hold(ledger.engine, "p"):
        raise ZeroDivisionError
    assert not held_by_somebody(ledger)


def test_two_threads_of_one_process_exclude_each_other_too(ledger: Ledger) -> None:
    with ThreadPoolExecutor(1) as other:
        with lock.hold(ledger.engine, "p"):
            assert other.submit(held_by_somebody, ledger).result()
        assert not other.submit(held_by_somebody, ledger).result()


def test_what_a_thread_holds_it_may_hold_once_more(ledger: Ledger) -> None:
    """A run is begun by a worker that holds its lane already."""
    with ThreadPoolExecutor(1) as other, lock.hold(ledger.engine, "p", "q") as held:
        with lock.hold(ledger.engine, "p") as again:
            assert again is held
        assert other.submit(held_by_somebody, ledger).result(), "the inner block let go of what the outer holds"


def test_of_several_names_all_are_held_or_none(ledger: Ledger) -> None:
    with ThreadPoolExecutor(1) as other, lock.hold(ledger.engine, "q"):
        assert other.submit(held_by_somebody, ledger, "q").result()
        with pytest.raises(Refused):
            other.submit(_hold_both, ledger).result()
        assert not other.submit(held_by_somebody, ledger, "p").result()


def _hold_both(ledger: Ledger) -> None:
    with lock.hold(ledger.engine, "p", "q"):
        pass


def test_is_free_says_so(ledger: Ledger) -> None:
    with ThreadPoolExecutor(1) as other:
        assert lock.is_free(ledger.engine, "p")
        with lock.hold(ledger.engine, "p"):
            assert not other.submit(lock.is_free, ledger.engine, "p").result()
        assert lock.is_free(ledger.engine, "p")
