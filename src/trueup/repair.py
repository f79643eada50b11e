"""Decisions carried out: one repair transaction after the other, each written down before it begins and after it ended.

A unit whose answer was lost is settled by its marker; rows that the application holds are tried again one at a time; a
row that the database refuses is found by halving its unit, and the others are repaired.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from trueup.adapters import RowOutcome, Unit
from trueup.changes import given_back
from trueup.core.compare import DriftKind, Suspect
from trueup.core.difference import off_by
from trueup.core.quarantine import REFUSED_MAX
from trueup.core.row import Key
from trueup.core.states import Outcome
from trueup.errors import Busy, DataProblem, DesignProblem, Interrupted, Refused, StatementTimeout, Transient
from trueup.store.records import OutcomeRow
from trueup.work import Work, look

#: A unit of the same kind, for some of the rows.
Repeat = Callable[[Sequence[Suspect]], list[RowOutcome]]

#: How often a row that the application holds locked is tried before it is left for the next run.
BUSY_TRIES = 5
#: First pause between such tries, seconds; doubled each time.
BUSY_PAUSE_S = 0.05


def repair(work: Work, segment: int, drift: Sequence[Suspect]) -> list[OutcomeRow]:
    """Write what was decided, unit by unit.

    Rows that have not moved since the snapshot they were judged in need no second reading of the source, and so hold
    no lock while it is read; those that moved do. A row that is busy is tried again by itself.
    """
    if work.by_difference:
        return _put_back(work, segment, drift)
    if work.promise.delta:
        return _by_difference(work, segment, drift)
    done = in_units(work, segment, [suspect for suspect in drift if work.vouched(suspect)], by_snapshot=True)
    moved = {outcome.key for outcome in done if outcome.outcome is Outcome.CAS_LOST}
    others = [suspect for suspect in drift if suspect.key in moved or not work.vouched(suspect)]
    return [outcome for outcome in done if outcome.key not in moved] + in_units(work, segment, others)


def _put_back(work: Work, segment: int, drift: Sequence[Suspect]) -> list[OutcomeRow]:
    """A rollback, some of whose rows get a difference back: once, by the ledger and by the marker."""
    of = work.ledger.run(work.run).undoes
    back = given_back(work.ledger, of) if of else frozenset()
    mine = [replace(suspect, instant=True) for suspect in drift if suspect.key in work.by_difference]
    if mine and not work.token:
        raise _unmarked(work)
    done = [
        _record(_note(work, segment, row, Outcome.SUPERSEDED, "it is back already")) for row in mine if row.key in back
    ]
    done += in_units(work, segment, [row for row in mine if row.key not in back], delta=True)
    return done + in_units(work, segment, [row for row in drift if row.key not in work.by_difference])


def _unmarked(work: Work) -> Refused:
    return Refused(
        f"{work.pair.name}: what a row is off by must be subtracted once, or added again once, which only a marker can "
        f"prove, and the target's database does not let Trueup keep its tables; make them beforehand, or set "
        f'on_different = "update"'
    )


def _by_difference(work: Work, segment: int, drift: Sequence[Suspect]) -> list[OutcomeRow]:
    """Subtract what rows are off by; the others are written under the lock.

    It is measured once more, now that no other run can write (the fence was raised before): whoever repaired the row
    since it was judged, the same difference is not subtracted again.
    """
    if not work.token:
        raise _unmarked(work)
    off = {suspect.key: off_by(suspect) for suspect in drift}
    measured = [suspect for suspect in drift if off[suspect.key] is not None]
    now = look(work, [suspect.key for suspect in measured])
    same: list[Suspect] = []
    outcomes: list[OutcomeRow] = []
    for suspect in measured:
        seen = now.get(suspect.key)
        if seen is not None and off_by(seen) == off[suspect.key]:
            same.append(seen)
        elif seen is None:
            outcomes.append(_record(_note(work, segment, suspect, Outcome.SUPERSEDED, "already right")))
        else:
            why = "the drift is growing, or somebody corrected a part of it: it is no longer what was judged"
            outcomes.append(_record(_note(work, segment, suspect, Outcome.CAS_LOST, why)))
    outcomes += in_units(work, segment, same, delta=True)
    return outcomes + in_units(work, segment, [suspect for suspect in drift if off[suspect.key] is None])


def in_units(
    work: Work, segment: int, drift: Sequence[Suspect], *, by_snapshot: bool = False, delta: bool = False
) -> list[OutcomeRow]:
    outcomes: list[OutcomeRow] = []
    waiting = list(drift)
    while waiting:
        part, waiting = waiting[: work.size.rows], waiting[work.size.rows :]
        started = work.clock.monotonic()
        done = unit_of(work, segment, part, by_snapshot=by_snapshot, delta=delta)
        work.size.took(len(part), work.clock.monotonic() - started)
        busy = {outcome.key for outcome in done if outcome.busy}
        outcomes += [_record(outcome) for outcome in done if not outcome.busy]
        for suspect in part:
            if suspect.key in busy:
                outcomes += [_record(outcome) for outcome in _alone(work, segment, suspect, delta=delta)]
    return outcomes


def _alone(work: Work, segment: int, suspect: Suspect, *, delta: bool) -> list[RowOutcome]:
    """One row by itself, waiting for its lock while holding nothing else."""
    pause_s, why = BUSY_PAUSE_S, ""
    for _ in range(BUSY_TRIES):
        done = unit_of(work, segment, [suspect], wait=True, delta=delta)
        if not any(outcome.busy for outcome in done):
            return done
        why = next((outcome.evidence for outcome in done if outcome.busy), "")
        work.clock.wait(pause_s)
        pause_s *= 2
    return [_note(work, segment, suspect, Outcome.NOT_APPLIED, f"contended at every try: {why or 'it was locked'}")]


def unit_of(
    work: Work,
    segment: int,
    drift: Sequence[Suspect],
    *,
    wait: bool = False,
    withdraw: bool = False,
    by_snapshot: bool = False,
    delta: bool = False,
) -> list[RowOutcome]:
    """One repair transaction, written down before it begins and after it ended.

    Where the connection broke, or the database had no room, it is settled and tried again; another is another unit.
    """
    tries = work.patience.tries()
    while True:
        unit = _opened(work, segment, drift, wait=wait, withdraw=withdraw, by_snapshot=by_snapshot, delta=delta)
        try:
            outcomes = work.target.repair(work.pair.binding, unit, work.pair.source)
        except DataProblem as problem:
            _close(work, unit.id, [])
            again = partial(unit_of, work, segment, withdraw=withdraw, by_snapshot=by_snapshot, delta=delta)
            return _one_by_one(work, segment, drift, problem, again)
        except Transient as problem:
            outcomes = work.patience.read(partial(settle_unit, work, unit.id, drift))
            undone = all(outcome.outcome is Outcome.NOT_APPLIED for outcome in outcomes)
            if isinstance(problem, Busy) and undone:
                outcomes = [replace(outcome, busy=True, evidence=str(problem)) for outcome in outcomes]
            elif undone or isinstance(problem, StatementTimeout):
                try:
                    if isinstance(problem, StatementTimeout):
                        raise
                    tries.failed(problem)
                except (Transient, Interrupted):
                    _close(work, unit.id, [_record(outcome) for outcome in outcomes])
                    raise
                _close(work, unit.id, [])  # what becomes of its rows is said by the unit that tries again
                continue
        _close(work, unit.id, [_record(outcome) for outcome in outcomes if not outcome.busy])
        return outcomes


def _opened(
    work: Work, segment: int, drift: Sequence[Suspect], *, wait: bool, withdraw: bool, by_snapshot: bool, delta: bool
) -> Unit:
    """A unit that the ledger knows of."""
    work.border()
    unit = Unit(
        id=uuid.uuid4().hex,
        fence=work.fence,
        token=work.token,
        protocol=work.promise.protocol,
        drift=drift,
        as_planned=work.as_planned,
        wait=wait,
        withdraw=withdraw,
        by_snapshot=by_snapshot,
        restore=work.images is not None,
        delta=delta,
        quiet=work.promise.bound_s is not None,
    )
    work.ledger.open_unit(unit.id, work.run, segment, [suspect.key for suspect in drift], work.clock.now())
    return unit


def _one_by_one(
    work: Work, segment: int, drift: Sequence[Suspect], problem: DataProblem, again: Repeat
) -> list[RowOutcome]:
    """The database refused a row of the unit: find which, and repair the others by `again`."""
    if len(drift) == 1:
        told = str(problem)
        if any(work.pair.binding.hidden):
            told = "the database refused the row; what it says may hold sensitive values, and is not kept"
        work.refused.append(drift[0].key)
        if len(work.refused) > REFUSED_MAX:
            raise DesignProblem(
                f"{work.pair.name}: the target refused more than {REFUSED_MAX} rows, so this is not about single rows. "
                f"The last: {told}"
            ) from problem
        return [_note(work, segment, drift[0], Outcome.FAILED, told)]
    middle = len(drift) // 2
    return [outcome for half in (drift[:middle], drift[middle:]) for outcome in again(half)]


def _note(work: Work, segment: int, suspect: Suspect, outcome: Outcome, why: str) -> RowOutcome:
    """The last word on a row that no transaction of ours changed; each decision gets one."""
    noted = RowOutcome(key=suspect.key, outcome=outcome, evidence=why)
    unit = uuid.uuid4().hex
    work.ledger.open_unit(unit, work.run, segment, [suspect.key], work.clock.now())
    _close(work, unit, [_record(noted)])
    return noted


def settle_unit(work: Work, unit: str, drift: Sequence[Suspect]) -> list[RowOutcome]:
    """Find out what became of a unit whose answer was lost.

    With a marker this is proof. Without one the rows are read again, and the words are weaker.
    """
    marker = work.target.claim(work.pair.binding, unit)
    if marker is not None and marker.applied:
        known = {outcome.key for outcome in marker.outcomes}
        rest = [row for row in drift if row.key not in known]
        without = [RowOutcome(key=r.key, outcome=Outcome.NOT_APPLIED, evidence="the unit left it out") for r in rest]
        return [*marker.outcomes, *without]
    if marker is not None:
        return [RowOutcome(key=row.key, outcome=Outcome.NOT_APPLIED, evidence="marker claimed") for row in drift]
    now = look(work, [suspect.key for suspect in drift])
    outcomes = []
    for suspect in drift:
        seen = now.get(suspect.key)
        if seen is None:
            outcome, why = Outcome.CONVERGED, "no marker: the row is right now, its author unknown"
        elif seen.pair == suspect.pair and seen.token == suspect.token:
            outcome, why = Outcome.NOT_APPLIED, "no marker: presumed, the row is as it was"
        else:
            outcome, why = Outcome.SUPERSEDED, "no marker: the row moved on"
        outcomes.append(RowOutcome(key=suspect.key, outcome=outcome, before=suspect.observed, evidence=why))
    return outcomes


def recover(work: Work, decided: dict[Key, Suspect], unit: str, keys: Sequence[Key]) -> list[OutcomeRow]:
    """Settle a unit that a crash left open, and close it."""
    drift = [
        decided.get(key) or Suspect(kind=DriftKind.DIFFERENT, key=key, expected=None, observed=None) for key in keys
    ]
    outcomes = [replace(_record(outcome), witness="recovery") for outcome in settle_unit(work, unit, drift)]
    _close(work, unit, outcomes)
    return outcomes


def _close(work: Work, unit: str, outcomes: Sequence[OutcomeRow]) -> None:
    work.ledger.close_unit(unit, work.run, outcomes, work.clock.now(), work.token)


def _record(outcome: RowOutcome) -> OutcomeRow:
    return OutcomeRow(
        key=outcome.key,
        outcome=outcome.outcome,
        action=outcome.action,
        before=outcome.before,
        after=outcome.after,
        token=outcome.token,
        evidence=outcome.evidence,
        witness="unit",
    )
