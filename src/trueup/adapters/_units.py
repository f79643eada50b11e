"""One repair unit in one transaction, for all SQL adapters.

    begin -> hold the fence -> leave the marker -> lock the rows -> read the source -> write -> read back -> commit

The order carries the proof. What is read before the lock, what after it, and what follows for a row is the protocol's:
`_by_lock`, `_by_row_version`, each in a module of its own. All else is the same for all of them, and told here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from trueup.adapters import Reader, RowOutcome, Unit
from trueup.adapters._as_seen import AsSeen
from trueup.adapters._by_difference import ByDifference
from trueup.adapters._by_issued_version import ByIssuedVersion
from trueup.adapters._by_lock import ByLock
from trueup.adapters._by_row_version import ByRowVersion, BySnapshot, Withdrawal
from trueup.adapters._outcomes import left
from trueup.adapters._restoring import Restoration, RestorationWithTombstones
from trueup.adapters._steps import UnitTransaction
from trueup.adapters._swaps import PARKED, parked
from trueup.adapters._way import Way
from trueup.adapters._when_quiet import WhenQuiet
from trueup.core.binding import Binding
from trueup.core.compare import Suspect
from trueup.core.guarantee import Protocol
from trueup.core.states import Outcome
from trueup.errors import DataProblem

if TYPE_CHECKING:
    from trueup.adapters._sql import SqlAdapter


def run_unit(adapter: SqlAdapter, binding: Binding, unit: Unit, source: Reader) -> list[RowOutcome]:
    """Carry out one unit."""
    way = _way_of(binding, unit)(adapter, binding, unit, source)
    way.prepare()
    with adapter.writing() as connection:
        steps = UnitTransaction(adapter, connection, way.binding, unit)
        if adapter.markers:
            steps.hold_fence()
            steps.leave_marker()
        absent = way.absent()
        made = steps.insert_placeholders(absent)
        held = steps.lock(way.keys)
        way.read(steps)
        outcomes = []
        for suspect in unit.drift:
            now = held.get(suspect.key)
            if now is None and suspect.key in absent:
                outcomes.append(_in_the_way(unit, suspect))
            else:
                outcomes.append(way.outcome(suspect, now, made=suspect.key in made))
        written = [outcome for outcome in outcomes if outcome.outcome is Outcome.APPLIED]
        kept = {outcome.key for outcome in written if outcome.after is not None}
        updates = {o.key: o.after for o in written if o.after is not None and held[o.key].values != o.after}
        steps.delete([o.key for o in written if o.after is None] + [key for key in made if key not in kept])
        swapped = parked(steps, held, updates)
        steps.update(swapped)
        steps.update(updates)
        outcomes = [replace(o, evidence=o.evidence or PARKED) if o.key in swapped else o for o in outcomes]
        outcomes = [way.told(outcome) for outcome in read_back(steps, outcomes)]
        if adapter.markers:
            steps.sign_marker(outcomes)
    return outcomes


def _way_of(binding: Binding, unit: Unit) -> type[Way]:
    """The protocol of a unit."""
    if unit.restore:
        if unit.delta:
            return ByDifference
        return Restoration if binding.target.tombstone is None else RestorationWithTombstones
    if unit.protocol is Protocol.AS_SEEN:
        return AsSeen
    if unit.protocol is Protocol.ISSUED_VERSION:
        return ByIssuedVersion
    if unit.withdraw:
        return Withdrawal
    if unit.delta:
        return ByDifference
    if unit.by_snapshot:
        return BySnapshot
    if unit.quiet:
        return WhenQuiet
    return ByRowVersion if unit.protocol is Protocol.COMPARE_AND_SET else ByLock


def _in_the_way(unit: Unit, suspect: Suspect) -> RowOutcome:
    """The insert did nothing and the row is not to be had: it is locked, or a unique index takes another row for it."""
    if unit.wait:  # not locked, then
        raise DataProblem(
            f"{unit.fence}: key {suspect.key} cannot be inserted: another row of the target is in its way in a unique "
            f"index. Does the key's collation take two keys for one, or must another column be unique?"
        )
    return left(suspect, None, Outcome.CAS_LOST, "locked by the application, or another row is in its way", busy=True)


def read_back(steps: UnitTransaction, outcomes: list[RowOutcome]) -> list[RowOutcome]:
    """Read what was written, before it is committed: a value that the database changed on its way in (a trigger, a
    rounded decimal, a cut text) rolls the unit back.
    """
    written = [outcome.key for outcome in outcomes if outcome.outcome is Outcome.APPLIED]
    now = steps.read_target(written) if written else {}
    checked = []
    for outcome in outcomes:
        if outcome.outcome is Outcome.APPLIED:
            row = now.get(outcome.key)
            if (None if row is None else row.values) != outcome.after:
                raise DataProblem(
                    f"{steps.unit.fence}: key {outcome.key}: the target did not keep what was written "
                    f"({outcome.after} became {None if row is None else row.values}); nothing was changed. "
                    f"A trigger, or a column too narrow for the value?"
                )
            checked.append(replace(outcome, token="" if row is None else row.token))
        else:
            checked.append(outcome)
    return checked
