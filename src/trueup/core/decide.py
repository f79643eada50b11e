"""Drift + policy + limits -> what to do, with the reason.

Two questions, both answered without I/O: what should be written for one row (`decide`), and may this run write at all
(`judge`). The second is asked once, when all drift of the run is known and nothing has been written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from trueup.core.compare import Counts, DriftKind, Suspect, classify
from trueup.core.projection import Limits, Projection
from trueup.core.row import Values
from trueup.core.rules import Rules, kept
from trueup.core.versions import ahead

#: Share of rows that differ from which on the declaration, not the data, is the likelier culprit.
MOST_ROWS = 0.5


class Action(StrEnum):
    """What a repair does to one row."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    REPORT = "report"
    #: A function is called that does it.
    CALL = "call"
    #: It is sent to where it is applied.
    EMIT = "emit"


#: What a repair writes itself.
WRITES = (Action.INSERT, Action.UPDATE, Action.DELETE)
#: What others do about a row when they are asked to.
HANDED = (Action.CALL, Action.EMIT)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """One drifting row, and what is to be done about it."""

    drift: Suspect
    action: Action
    #: Why it is only reported; empty otherwise.
    reason: str = ""


def decide(drift: Suspect, projection: Projection, *, version: int | None = None) -> Decision:
    """The declared policy applied to one drifting row. `version`: which value is the one that the source issues."""
    why_not = drift.unrepairable
    if not why_not and version is not None:
        why_not = ahead(drift.expected, drift.observed, version)
    if why_not:
        return Decision(drift=drift, action=Action.REPORT, reason=why_not)
    action = action_for(drift.kind, projection)
    reason = f'on_{drift.kind} = "report"' if action is Action.REPORT else ""
    return Decision(drift=drift, action=action, reason=reason)


def action_for(kind: DriftKind, projection: Projection) -> Action:
    handler = projection.handlers.get(kind)
    if handler is not None:
        return Action.CALL if handler.emit is None else Action.EMIT
    match kind:
        case DriftKind.MISSING:
            return Action.INSERT if projection.on_missing == "insert" else Action.REPORT
        case DriftKind.DIFFERENT:
            return Action.REPORT if projection.on_different == "report" else Action.UPDATE
        case DriftKind.EXTRA:
            extra = {"reset": Action.UPDATE, "delete": Action.DELETE, "report": Action.REPORT}
            return extra[str(projection.extra_policy)]


def decide_now(
    expected: Values | None,
    observed: Values | None,
    absent: Values | None,
    projection: Projection,
    rules: Rules = (),
) -> tuple[Action | None, Values | None]:
    """What to write for a row read under the repair's own protection: the action (None: it is right) and the values."""
    kind = classify(expected, observed, absent, rules, expiring=projection.target.expiring)
    if kind is None:
        return None, None
    wanted = absent if expected is None else expected
    return action_for(kind, projection), None if wanted is None else kept(rules, wanted, observed)


def part_collapsed(counts: Counts, limits: Limits, *, declared: bool) -> bool:
    """Has one part of the source (a partition, a key range) lost most of what the target holds there?

    A tenant whose rows are gone is far more often a filter, a detached partition or a failed load than a tenant that
    left. Of a handful of rows nothing can be said, but where all of a declared partition are gone.
    """
    if declared and limits.collapse and counts.extra and not counts.source_rows:
        return True
    held = counts.source_rows - counts.missing + counts.extra
    return counts.extra >= max(limits.share_from, 1) and counts.source_rows < _part(held, limits.collapse)


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """A run's findings as the limits see them, in rows."""

    source_rows: int
    target_rows: int
    #: Source rows at the last complete run; None at the first.
    source_rows_before: int | None
    #: Rows that the run would change.
    changes: int
    #: Of these, rows that it would delete.
    deletes: int
    #: Confirmed drift, whatever the policy does about it.
    drift: int


def collapsed(source_rows: int, target_rows: int, source_rows_before: int | None, limits: Limits) -> str:
    """Why the source's answer is not believed; empty if it is.

    An empty or shrunken answer is far more often a broken read, a wrong schema or a failed load than the truth.
    """
    reference = target_rows if source_rows_before is None else source_rows_before
    if not reference or source_rows >= _part(reference, limits.collapse):
        return ""
    against = "rows in the target" if source_rows_before is None else "at the last complete run"
    return (
        f"source collapsed: it returned {source_rows:,} rows, against {reference:,} {against}. Nothing was written. "
        f'Check the source; if it is right, set limits.collapse = "0%" for one run'
    )


def judge(totals: Totals, limits: Limits) -> str:
    """Why this run may not write; empty if it may."""
    believed = collapsed(totals.source_rows, totals.target_rows, totals.source_rows_before, limits)
    if believed:
        return believed
    rows = max(totals.source_rows, totals.target_rows, 1)
    many = totals.drift >= limits.share_from
    many = many and limits.share < 1  # missing and extra rows together can be more than either side has
    if many and totals.drift > rows * MOST_ROWS and totals.changes > _part(rows, limits.share):
        return (
            f"most rows differ ({totals.drift:,} of {rows:,}): check the definition of the projection before its data. "
            f"If it is right, raise limits.share and limits.rows"
        )
    if totals.deletes > limits.deletes:
        return f"{totals.deletes:,} rows would be deleted; limits.deletes = {limits.deletes:,}"
    if totals.changes > limits.rows:
        return f"{totals.changes:,} rows would be changed; limits.rows = {limits.rows:,}"
    if many and totals.changes > _part(rows, limits.share):
        return f"{totals.changes:,} of {rows:,} rows would be changed; limits.share = {limits.share:.1%}"
    return ""


def _part(rows: int, share: float) -> Decimal:
    """`share` of `rows`, exactly: in floats 29% of 100 is a little less than 29."""
    return rows * Decimal(repr(share))


def changes(decisions: Sequence[Decision]) -> tuple[int, int]:
    """Rows that `decisions` would change, and of these, delete; a handler of a row that has no source row counts so."""
    writing = [decision for decision in decisions if decision.action is not Action.REPORT]
    handed = sum(d.action in HANDED and d.drift.kind is DriftKind.EXTRA for d in writing)
    return len(writing), handed + sum(decision.action is Action.DELETE for decision in writing)
