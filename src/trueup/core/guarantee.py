"""Topology x declared writers -> what a repair of this projection can promise.

The table is the one of the design's section on guarantee classes: a repair is *exact* when it commits only onto the row
it was decided on, with a value at least as new as any that the row has reflected.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from trueup.core.projection import Projection
from trueup.core.writers import Writers

#: What no look at rows that are incremented can exclude.
HIDDEN = (
    "a row that looks right may be hiding a difference behind an increment on its way; it is found by a run after that "
    "has arrived"
)


class Guarantee(StrEnum):
    """What a repair can promise, from strongest to weakest."""

    #: Never overwrites newer state, never adds drift.
    EXACT = "EXACT"
    #: As EXACT, as long as no increment is later than the declared bound.
    EXACT_IF = "EXACT-IF"
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
    #: Begin a new generation in the source, count in it, and let the target count that generation only.
    GENERATION = "generation"
    #: Lock the row, and write only if it still is, by its values and its version, what the decision was made on.
    AS_SEEN = "as_seen"
    #: Write only over a row with an older version, both issued by the source; nothing has to be excluded.
    ISSUED_VERSION = "issued_version"
    #: Nothing is written: others are asked to, at least once, and the row is read again.
    HANDLER = "handler"
    NONE = "none"


class Proof(StrEnum):
    """Whether the protocol was seen to hold on the very server, driver and version (`trueup doctor`)."""

    #: Right by design; nobody has tried it there.
    NOT_PROBED = "not probed"
    #: It held there where a naive repair went wrong.
    HELD = "probed"
    #: A naive repair could not be made to go wrong, or the probe could not be run: nothing is proven.
    INCONCLUSIVE = "probe inconclusive"
    #: It went wrong there.
    BROKEN = "probe failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Promise:
    """The class of a projection, how it is kept, and every reason."""

    guarantee: Guarantee
    protocol: Protocol
    reasons: tuple[str, ...]
    proof: Proof = Proof.NOT_PROBED
    #: What a differing row is off by is subtracted, and the source not read while the row is locked.
    delta: bool = False
    #: Seconds that an increment is late at most; only EXACT-IF has one.
    bound_s: float | None = None

    @property
    def label(self) -> str:
        """The class as people read it: EXACT-IF says under which bound."""
        return str(self.guarantee) if self.bound_s is None else f"{self.guarantee}({self.bound_s:g}s)"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        named = {"guarantee": self.label, "protocol": self.protocol, "proof": self.proof}
        return {name: str(value) for name, value in named.items()} | {"reasons": list(self.reasons)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Writing:
    """What the target's database offers to a repair."""

    #: Row locks that other writers wait for, and a new snapshot for each statement.
    row_locks: bool
    #: A version of each row that changes with every write.
    row_version: bool
    #: One writer at a time in the whole database.
    single_writer: bool
    #: A marker can be left in a unit's own transaction, so that no unit is carried out twice.
    markers: bool = True
    #: A write can demand that the row holds the values that were read. That is no version: values that come back pass.
    compares_values: bool = False


def promise(projection: Projection, writing: Writing, obstacle: str = "") -> Promise:
    """The guarantee class of `projection` on a target that offers `writing`.

    `obstacle`: why the target cannot be written at all, as it is declared.
    """
    if obstacle:
        return _report_only(obstacle)
    if projection.itself:
        return as_seen(writing)
    if projection.handlers:
        return _handed_over(projection, writing)
    return _written(projection, writing)


def _written(projection: Projection, writing: Writing) -> Promise:
    """The promise of what a repair writes itself."""
    writers = projection.writers
    if projection.target.type == "generations":
        return _generations(projection)
    if writers is None:
        return _report_only("`writers` is not declared, so no repair can be shown to be safe")
    if projection.version:
        return _issued_version(projection, writing)
    topology = _in_one_database if projection.one_database else _across_databases
    made = topology(projection, writers, writing)
    if projection.on_different == "delta" and made.guarantee is Guarantee.EXACT:
        return _delta(made, writing)
    return made


def as_seen(writing: Writing) -> Promise:
    """What is made of a row follows from the row alone, so nothing has to be known but that it is still the same."""
    if not (writing.row_locks or writing.single_writer):
        return _report_only("this database offers no row locks to a repair")
    by = "value and version" if writing.row_version else "the value of every column that was read"
    return Promise(
        guarantee=Guarantee.EXACT,
        protocol=Protocol.AS_SEEN,
        reasons=(
            f"a row is written under its lock, and only if it still is, by {by}, what the new values were made of",
        ),
    )


def _generations(projection: Projection) -> Promise:
    if not projection.numbers:
        return _report_only(
            "`numbers` is not declared: the table in the source's database that issues the generations of keys"
        )
    return Promise(
        guarantee=Guarantee.EXACT,
        protocol=Protocol.GENERATION,
        reasons=(
            "a new generation begins under the lock of its number, the source is counted in the next statement, and "
            "the target counts that generation from then on",
            "an increment of an older generation counts nowhere, however late it comes: what it stands for was counted",
            HIDDEN,
        ),
    )


def _handed_over(projection: Projection, writing: Writing) -> Promise:
    """The promise where some differences are handed over: as good as those who apply them, and no better than what is
    written beside them.
    """
    writers, waiting = projection.writers, projection.pending is None and projection.bound is None
    if writers in (Writers.INCREMENTS, Writers.OUTBOX) and waiting:
        return _report_only(
            "an increment that is lost and one that is on its way look alike from outside, so a correction that is "
            "handed over errs in one of the two cases",
            "say where increments wait (`pending`) or how late they can be (`bound`, `events`)",
        )
    made = _written(projection, writing) if projection.written else None
    if made is not None and made.guarantee is Guarantee.REPORT_ONLY:
        return made
    handlers = {handler.name for handler in projection.handlers.values()}
    reasons = (
        f"{' and '.join(sorted(handlers))}: at least once, after a crash again with the same key; right if whoever "
        f"gets it does nothing the second time",
        "a row counts as repaired only when it was read again and is right; what does not show it is never claimed",
        *(made.reasons if made else ()),
    )
    protocol = made.protocol if made else Protocol.HANDLER
    delta = made.delta if made else False
    return Promise(guarantee=Guarantee.CONVERGENT, protocol=protocol, delta=delta, reasons=reasons)


def _report_only(*reasons: str) -> Promise:
    return Promise(guarantee=Guarantee.REPORT_ONLY, protocol=Protocol.NONE, reasons=reasons)


def _in_one_database(projection: Projection, writers: Writers, writing: Writing) -> Promise:
    if writers is Writers.INCREMENTS and projection.bound is None:
        return _report_only(
            "an increment sent in a transaction of its own may be lost or on its way, and the two look alike",
            "send it in the source's transaction (same_transaction), with a version (versioned), or say how late it "
            "can be (`bound`, `events`)",
        )
    if writers is Writers.OUTBOX and projection.pending is None:
        return _report_only(
            "events still queued would be counted twice: once by the repair and once by the worker",
            "declare where they wait (`pending`), so that they are taken off what is counted",
        )
    if writing.single_writer:
        how = "one writer at a time: the row is read, computed and written under the database's write lock"
        protocol = Protocol.EXCLUSIVE
    elif writing.row_locks:
        how = "the row is locked first and the source is read in the next statement, so it sees every commit"
        protocol = Protocol.LOCK
    else:
        return _report_only("this database offers no row locks to a repair")
    if writers is Writers.OUTBOX:
        how = f"{how}; what the outbox still holds is taken off in that statement"
    return _kept(projection, protocol, how)


def _across_databases(projection: Projection, writers: Writers, writing: Writing) -> Promise:
    if writers in (Writers.SAME_TRANSACTION, Writers.MUTEX):
        return _report_only(
            f'writers = "{writers}" cannot be: source and target are different databases',
            "declare what really writes the target: versioned, absolute or dual_write",
        )
    if writers is Writers.OUTBOX:
        return _report_only(
            "the worker applies an event in one database and ends it in another, so an event that is queued may be "
            "applied already, and any repair errs in one of the two cases",
            "keep the outbox in the target's database, or publish absolute values with a version (versioned)",
        )
    if writers is Writers.INCREMENTS and projection.bound is None:
        return _report_only(
            "an increment that is lost and one that is on its way look alike from outside, so any repair errs in one",
            "publish absolute values with a version (versioned), recompute (absolute), or say how late an increment "
            "can be (`bound`, `events`)",
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
    elif writing.compares_values:
        return _convergent(projection)
    else:
        return _report_only("the target offers neither a row version nor a lock")
    return _kept(projection, protocol, how)


def _kept(projection: Projection, protocol: Protocol, how: str) -> Promise:
    """The promise of a protocol that excludes writers, and what these writers can still do to it."""
    if projection.bound is not None:
        bound_s = projection.bound
        return Promise(
            guarantee=Guarantee.EXACT_IF,
            protocol=protocol,
            bound_s=bound_s,
            reasons=(
                how,
                f"exact if no increment is applied later than {bound_s:g} s after its event, transactions included: "
                f"a key with a younger event, by the source's clock, is left alone",
                "an event whose deletion leaves no time behind is not seen to be young",
                HIDDEN,
            ),
        )
    return Promise(guarantee=Guarantee.EXACT, protocol=protocol, reasons=(how, *_late_writers(projection)))


def _convergent(projection: Projection) -> Promise:
    if projection.bound is not None:
        return _report_only("a key that had an increment lately cannot be held off in a target without versions")
    reasons = (
        "the row's values are read first, the source second, and the write demands that the row still holds them",
        "the target has no version to demand: values that came back, or a write at that very moment, are not noticed, "
        "so an older value can stand for a while; every row is read again after it was written, and by the next run",
        *_late_writers(projection),
    )
    return Promise(guarantee=Guarantee.CONVERGENT, protocol=Protocol.COMPARE_AND_SET, reasons=reasons)


def _issued_version(projection: Projection, writing: Writing) -> Promise:
    protocol = Protocol.ISSUED_VERSION
    if not (writing.single_writer or writing.row_locks):
        if not writing.row_version and writing.compares_values:
            return _convergent(projection)
        if not writing.row_version:
            return _report_only("the target offers neither a row version nor a lock")
        protocol = Protocol.COMPARE_AND_SET
    reasons = [
        f"a row is written only over an older version ({projection.version!r}, issued by the source), or over the same "
        f"version with other content: immune to late, repeated and reordered messages",
        "a target row that is newer than the source's is never overwritten, and reported as that",
    ]
    if projection.tombstone is not None:
        reasons.append("a deleted row stays as a tombstone with its version, so that no older message brings it back")
    else:
        reasons.append("a deleted row leaves nothing behind: an older message brings it back (see `tombstone`)")
    return Promise(guarantee=Guarantee.EXACT, protocol=protocol, reasons=tuple(reasons))


def _delta(made: Promise, writing: Writing) -> Promise:
    if not writing.markers:
        return _report_only(
            'on_different = "delta" must happen at most once, which only a marker in the target can prove: let Trueup '
            "keep its tables there (markers = true)"
        )
    reasons = (
        "what a row is off by is measured twice, each time in one snapshot, and subtracted once: writers change source "
        "and target by the same amount, so it is right whenever it lands",
        "drift that grows between the two measurements is reported and not repaired",
        f"missing and extra rows: {made.reasons[0]}",
    )
    return Promise(guarantee=made.guarantee, protocol=made.protocol, reasons=reasons, delta=True)


def _late_writers(projection: Projection) -> tuple[str, ...]:
    if projection.writers is Writers.VERSIONED and not projection.version:
        return (
            "`version` is not declared, so a repair does not carry it: a message older than the repair can undo it",
        )
    if projection.writers in (Writers.ABSOLUTE, Writers.DUAL_WRITE):
        return (
            "a writer that was paused with an older value can still write it later; the next run finds that "
            "(only versioned writers are immune)",
        )
    return ()
