"""The guarantee class of every topology, writer and database: the table of the design, section 1.8.

Where the design allows more than is built (outbox without a `pending` expression), the class must be lower, never
higher: a cell here is the most that may be promised, and REPORT-ONLY where nothing is safe.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from tests.core.values import projection
from trueup.core.guarantee import Guarantee, Promise, Protocol, Writing, promise
from trueup.core.projection import Projection, Side
from trueup.core.writers import Pending, Writers

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


def test_a_version_makes_writers_immune_wherever_the_target_is() -> None:
    for one, writing in product((True, False), ALL_WRITING):
        told = promise(declared(W.VERSIONED, one=one).model_copy(update={"version": "v"}), writing)
        if writing.row_locks or writing.single_writer:
            assert (told.guarantee, told.protocol) == (EXACT, Protocol.ISSUED_VERSION)
        else:
            assert (told.guarantee is EXACT) == writing.row_version
        assert not any("paused" in reason for reason in told.reasons)


def test_a_repair_that_carries_no_version_says_so() -> None:
    assert any("`version`" in reason for reason in made(W.VERSIONED, POSTGRESQL).reasons)


@pytest.mark.parametrize("one", [True, False])
def test_an_outbox_is_exact_only_in_one_database_and_with_what_is_pending(*, one: bool) -> None:
    pending = Pending(table="outbox")
    told = promise(declared(W.OUTBOX, one=one).model_copy(update={"pending": pending}), POSTGRESQL)
    assert told.guarantee is (EXACT if one else REPORT)
    assert ("taken off" in told.reasons[0]) is one


@pytest.mark.parametrize("one", [True, False])
@pytest.mark.parametrize("writing", ALL_WRITING)
def test_a_bound_is_what_the_class_hangs_on(writing: Writing, *, one: bool) -> None:
    told = promise(declared(W.INCREMENTS, one=one).model_copy(update={"bound": 5.0}), writing)
    possible = row_of(writing, one=one) != "nothing"
    assert told.label == ("EXACT-IF(5s)" if possible else "REPORT-ONLY")


def test_a_difference_needs_a_marker() -> None:
    delta = declared(W.SAME_TRANSACTION, one=True).model_copy(update={"on_different": "delta"})
    assert promise(delta, POSTGRESQL).delta
    unmarked = promise(delta, replace(POSTGRESQL, markers=False))
    assert (unmarked.guarantee, unmarked.delta) == (REPORT, False)


@pytest.mark.parametrize("writers", [*W, None])
def test_values_alone_are_no_version_so_a_repair_converges_at_most(writers: Writers | None) -> None:
    writing = Writing(row_locks=False, row_version=False, single_writer=False, compares_values=True)
    told = promise(declared(writers, one=False), writing)
    with_a_version = promise(declared(writers, one=False), replace(writing, row_version=True))
    safe = with_a_version.guarantee is EXACT
    assert told.guarantee is (Guarantee.CONVERGENT if safe else REPORT)
    assert promise(declared(writers, one=True), writing).guarantee is REPORT
