"""The guarantee class of every topology, writer and database: the table of the design, section 1.8.

Where the design allows more than is built (outbox without a `pending` expression), the class must be lower, never
higher: a cell here is the most that may be promised, and REPORT-ONLY where nothing is safe.
"""

from __future__ import annotations

from itertools import product

import pytest

from tests.core.values import projection
from trueup.core.guarantee import Guarantee, Promise, Protocol, Writing, promise
from trueup.core.projection import Projection, Side, Writers

EXACT, REPORT = Guarantee.EXACT, Guarantee.REPORT_ONLY

W = Writers
#: topology -> writers -> class. `one`: source and target in one database that can exclude writers;
#: `two, version`: two databases, the target has a row version, row locks or a write lock; `nothing`: it has none.
TABLE: dict[str, dict[Writers | None, Guarantee]] = {
    "one": {
        None: REPORT,
        W.SAME_TRANSACTION: EXACT,
        W.MUTEX: EXACT,
        W.OUTBOX: REPORT,  # queued events would be counted twice
        W.VERSIONED: EXACT,
        W.ABSOLUTE: EXACT,
        W.DUAL_WRITE: EXACT,
        W.INCREMENTS: REPORT,
    },
    "two, version": {
        None: REPORT,
        W.SAME_TRANSACTION: REPORT,  # cannot be: there is no transaction over two databases
        W.MUTEX: REPORT,
        W.OUTBOX: REPORT,
        W.VERSIONED: EXACT,
        W.ABSOLUTE: EXACT,
        W.DUAL_WRITE: EXACT,
        W.INCREMENTS: REPORT,
    },
    "nothing": dict.fromkeys([None, *W], REPORT),
}
ALL_WRITING = [
    Writing(row_locks=locks, row_version=version, single_writer=single)
    for locks, version, single in product((False, True), repeat=3)
]


def declared(writers: Writers | None, *, one: bool) -> Projection:
    target = Side(database="app" if one else "other", table="tgt")
    return projection(writers=writers, target=target)


def row_of(writing: Writing, *, one: bool) -> str:
    if one:
        return "one" if writing.row_locks or writing.single_writer else "nothing"
    return "two, version" if writing.row_version or writing.row_locks or writing.single_writer else "nothing"


CASES = list(product([None, *W], (True, False), ALL_WRITING))


@pytest.mark.parametrize(("writers", "one", "writing"), CASES)
def test_the_table(writers: Writers | None, one: bool, writing: Writing) -> None:
    assert promise(declared(writers, one=one), writing).guarantee is TABLE[row_of(writing, one=one)][writers]


@pytest.mark.parametrize(("writers", "one", "writing"), CASES)
def test_the_protocol_is_one_that_the_database_has(writers: Writers | None, one: bool, writing: Writing) -> None:
    made = promise(declared(writers, one=one), writing)
    has = {
        Protocol.NONE: True,
        # Elsewhere a version comes first: it holds no lock while another database is read.
        Protocol.LOCK: writing.row_locks and (one or not writing.row_version),
        Protocol.COMPARE_AND_SET: writing.row_version and not one,
        Protocol.EXCLUSIVE: writing.single_writer,
    }
    assert has[made.protocol]
    assert (made.protocol is Protocol.NONE) == (made.guarantee is REPORT)


@pytest.mark.parametrize(("writers", "one", "writing"), CASES)
def test_every_promise_says_why(writers: Writers | None, one: bool, writing: Writing) -> None:
    assert all(promise(declared(writers, one=one), writing).reasons)
    assert promise(declared(writers, one=one), writing).reasons


SQLITE = Writing(row_locks=False, row_version=False, single_writer=True)
POSTGRESQL = Writing(row_locks=True, row_version=True, single_writer=False)


def made(writers: Writers, writing: Writing, *, one: bool = True) -> Promise:
    return promise(declared(writers, one=one), writing)


def test_how_the_two_databases_at_hand_keep_it() -> None:
    assert made(W.SAME_TRANSACTION, SQLITE).protocol is Protocol.EXCLUSIVE
    assert made(W.SAME_TRANSACTION, POSTGRESQL).protocol is Protocol.LOCK
    assert made(W.VERSIONED, POSTGRESQL, one=False).protocol is Protocol.COMPARE_AND_SET
    assert made(W.VERSIONED, SQLITE, one=False).protocol is Protocol.EXCLUSIVE


@pytest.mark.parametrize(("writers", "one", "writing"), CASES)
def test_what_cannot_be_written_is_report_only_whatever_else(
    writers: Writers | None, one: bool, writing: Writing
) -> None:
    assert promise(declared(writers, one=one), writing, "it is a view") == Promise(
        guarantee=REPORT, protocol=Protocol.NONE, reasons=("it is a view",)
    )


@pytest.mark.parametrize("one", [True, False])
def test_writers_without_a_version_are_told_of_the_late_one(one: bool) -> None:
    def late(writers: Writers) -> bool:
        return any("paused" in reason for reason in made(writers, POSTGRESQL, one=one).reasons)

    assert late(W.ABSOLUTE)
    assert late(W.DUAL_WRITE)
    assert not late(W.VERSIONED)
