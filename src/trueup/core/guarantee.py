"""Topology x declared writers -> what a repair of this projection can promise.

The table is the one of the design's section on guarantee classes: a repair is *exact* when it commits only onto the row
it was decided on, with a value at least as new as any that the row has reflected.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trueup.core.projection import Projection, Writers


class Guarantee(StrEnum):
    """What a repair can promise."""

    #: Never overwrites newer state, never adds drift.
    EXACT = "EXACT"
    #: Converges to the right value; in between, an older value can be seen.
    CONVERGENT = "CONVERGENT"
    #: No repair is safe here; differences are reported.
    REPORT_ONLY = "REPORT-ONLY"


class Protocol(StrEnum):
    """How a repair unit excludes the application's writers."""

    #: Lock the row, then read the source (in a new statement, or in its own database), then write.
    LOCK = "lock"
    #: Read the row's version, then the source, then write only if the version is still the same.
    COMPARE_AND_SET = "compare_and_set"
    #: Take the database's only write lock around reading and writing.
    EXCLUSIVE = "exclusive"
    NONE = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class Promise:
    """The class of a projection, how it is kept, and every reason."""

    guarantee: Guarantee
    protocol: Protocol
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Writing:
    """What the target's database offers to a repair."""

    #: Row locks that other writers wait for, and a new snapshot for each statement.
    row_locks: bool
    #: A version of each row that changes with every write.
    row_version: bool
    #: One writer at a time in the whole database.
    single_writer: bool


def promise(projection: Projection, writing: Writing, obstacle: str = "") -> Promise:
    """The guarantee class of `projection` on a target that offers `writing`.

    `obstacle`: why the target cannot be written at all, as it is declared.
    """
    writers = projection.writers
    if obstacle:
        return _report_only(obstacle)
    if writers is None:
        return _report_only("`writers` is not declared, so no repair can be shown to be safe")
    if projection.one_database:
        return _in_one_database(writers, writing)
    return _across_databases(writers, writing)


def _report_only(*reasons: str) -> Promise:
    return Promise(guarantee=Guarantee.REPORT_ONLY, protocol=Protocol.NONE, reasons=reasons)


def _in_one_database(writers: Writers, writing: Writing) -> Promise:
    if writers is Writers.INCREMENTS:
        return _report_only(
            "an increment sent in a transaction of its own may be lost or on its way, and the two look alike",
            "send it in the source's transaction (same_transaction) or with a version (versioned)",
        )
    if writers is Writers.OUTBOX:
        return _report_only(
            "events still queued would be counted twice: once by the repair and once by the worker",
            'give each row the id of the last event it reflects, compare it, and declare writers = "versioned"',
        )
    if writing.single_writer:
        how = "one writer at a time: the row is read, computed and written under the database's write lock"
        protocol = Protocol.EXCLUSIVE
    elif writing.row_locks:
        how = "the row is locked first and the source is read in the next statement, so it sees every commit"
        protocol = Protocol.LOCK
    else:
        return _report_only("this database offers no row locks to a repair")
    return Promise(guarantee=Guarantee.EXACT, protocol=protocol, reasons=(how, *_late_writers(writers)))


def _across_databases(writers: Writers, writing: Writing) -> Promise:
    if writers in (Writers.SAME_TRANSACTION, Writers.MUTEX):
        return _report_only(
            f'writers = "{writers}" cannot be: source and target are different databases',
            "declare what really writes the target: versioned, absolute or dual_write",
        )
    if writers in (Writers.INCREMENTS, Writers.OUTBOX):
        return _report_only(
            "an increment that is lost and one that is on its way look alike from outside, so any repair errs in one",
            "publish absolute values with a version (versioned), or recompute (absolute)",
        )
    if writing.single_writer:
        how = "the source is read while the target's only write lock is held"
        protocol = Protocol.EXCLUSIVE
    elif writing.row_version:
        how = "the row's version is read first, the source second, and the write demands that version"
        protocol = Protocol.COMPARE_AND_SET
    elif writing.row_locks:  # no version to demand: the row cannot move while the source is read under its lock
        how = "the row is locked first, and the source is read while the lock is held"
        protocol = Protocol.LOCK
    else:
        return _report_only("the target offers neither a row version nor a lock")
    return Promise(guarantee=Guarantee.EXACT, protocol=protocol, reasons=(how, *_late_writers(writers)))


def _late_writers(writers: Writers) -> tuple[str, ...]:
    if writers in (Writers.ABSOLUTE, Writers.DUAL_WRITE):
        return (
            "a writer that was paused with an older value can still write it later; the next run finds that "
            "(only versioned writers are immune)",
        )
    return ()
