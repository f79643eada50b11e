"""One segment, start to finish.

    read both sides -> compare -> confirm -> decide -> INTEND -> repair (compare-and-set) -> verify -> record

It is told in two halves, because the limits of a run are judged between them, when all of its drift is known and
nothing has been written:

* `examine` reads, compares, confirms and decides; the ledger makes that durable, with before-images: the intent.
* `correct` repairs what was decided, verifies it by reading again, and records what its own transactions saw.

Both are restartable: what a crash leaves is a segment still open, or a unit whose outcome `settle_unit` finds out.
Neither knows anything of pacing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import TypeVar

from trueup.adapters import Adapter, RowOutcome, Unit
from trueup.clock import Clock
from trueup.core.compare import DriftKind, Suspect
from trueup.core.confirm import LOOKS_MAX, confirm
from trueup.core.decide import Action, Decision, decide
from trueup.core.guarantee import Promise, Protocol
from trueup.core.plan import Keys, Segment, UnitSize, by_keys
from trueup.core.projection import Writers
from trueup.core.row import Key
from trueup.core.states import Outcome
from trueup.errors import DataProblem, Interrupted, StatementTimeout, Transient
from trueup.narrow import narrow
from trueup.side_by_side import Covered, Pair
from trueup.store.ledger import Ledger
from trueup.store.records import DecisionRow, OutcomeRow, SegmentRow

Result = TypeVar("Result")

#: How often a read is tried, and the first pause between two tries, seconds; doubled each time.
READ_TRIES = 4
READ_PAUSE_S = 0.2
#: How often a row that the application holds locked is tried before it is left for the next run.
BUSY_TRIES = 5
#: First pause between such tries, seconds; doubled each time.
BUSY_PAUSE_S = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What reconciling a segment needs."""

    pair: Pair
    target: Adapter
    ledger: Ledger
    clock: Clock
    promise: Promise
    #: Seconds between two looks.
    settle_s: float
    run: str
    #: Held by every unit.
    fence: str
    #: Fencing token of this run in the target; 0 where it has no fence.
    token: int = 0
    #: Called before each unit: raises if the run must stop here, waits while it is paused.
    border: Callable[[], None] = lambda: None
    #: What is to be repaired was looked at by this very run, not by a plan or before an interruption.
    fresh: bool = False
    #: Carry out a plan to the letter: rows that moved since are left alone.
    as_planned: bool = False
    size: UnitSize = field(default_factory=UnitSize)

    def proven(self, suspect: Suspect) -> bool:
        """One look is proof: both sides were read at the same instant, and writers commit both together."""
        return suspect.instant and self.settle_s == 0

    def vouched(self, suspect: Suspect) -> bool:
        """The row's version, if it is unchanged, proves that its source is: what was read with it still holds.

        That needs writers that touch the row whenever they change its source, and a database that has row versions. A
        missing row has no version: that it is still missing is the proof, for writers that would have made it.
        """
        versioned = bool(suspect.token) or suspect.observed is None
        writers = self.pair.binding.projection.writers
        together = self.promise.protocol is Protocol.LOCK and writers is Writers.SAME_TRANSACTION
        return together and versioned and self.fresh and self.proven(suspect)


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """What a closer look made of a segment's suspects."""

    decisions: list[Decision]
    #: Right at a later look.
    resolved: list[Key]
    #: Still moving at the last look.
    in_flight: list[Suspect]


@dataclass(kw_only=True, slots=True)
class Corrected:
    """What became of a segment's decisions."""

    outcomes: list[OutcomeRow] = field(default_factory=list)
    #: Wrong after all; with the reason.
    left: list[tuple[Suspect, str]] = field(default_factory=list)
    #: Somebody is working on these rows.
    in_flight: list[Suspect] = field(default_factory=list)


def examine(work: Work, segment: SegmentRow) -> Examined:
    """Suspects of one segment -> decisions."""
    suspects = segment.suspects
    seen_at = segment.looked_at or work.clock.now()
    age_s = (work.clock.now() - seen_at) / timedelta(seconds=1)
    drift, resolved, moving = _confirm(work, suspects, first_wait_s=work.settle_s - age_s)
    decisions = [decide(row, work.pair.binding.projection) for row in drift]
    return Examined(decisions=decisions, resolved=resolved, in_flight=moving)


def correct(
    work: Work, segment: SegmentRow, decided: Sequence[DecisionRow], earlier: Sequence[OutcomeRow] = ()
) -> Corrected:
    """Decisions of one segment -> outcomes, verified. `earlier`: what the run did to its rows before it broke off."""
    result = Corrected()
    result.left = [(d.decision.drift, d.decision.reason) for d in decided if d.decision.action is Action.REPORT]
    writing = [item.decision.drift for item in decided if item.decision.action is not Action.REPORT]
    again = (Outcome.NOT_APPLIED, Outcome.CAS_LOST)
    known = {outcome.key for outcome in earlier if outcome.outcome not in again}
    result.outcomes = repair(work, segment.id, [row for row in writing if row.key not in known])
    last = {outcome.key: outcome for outcome in [*earlier, *result.outcomes]}
    failed = {o.key: o.evidence for o in last.values() if o.outcome is Outcome.FAILED}
    wrong, in_flight = verify(work, segment.id, writing, list(last.values()))
    written = {key for key, outcome in last.items() if outcome.outcome is Outcome.APPLIED}
    stale = [row for row in wrong if row.key in written and work.vouched(row)]
    if stale:
        # A writer changed the source and not the row after all (a bare UPDATE finds no row that is missing): what the
        # snapshot said was old. Under the lock nothing is.
        result.outcomes += _in_units(work, segment.id, stale)
        last |= {outcome.key: outcome for outcome in result.outcomes}
        wrong, in_flight = verify(work, segment.id, writing, list(last.values()))
    why_not = {o.key: o.evidence for o in last.values() if o.outcome is not Outcome.APPLIED}
    result.left += [
        (row, why_not.get(row.key) or "wrong again after the repair") for row in wrong if row.key not in failed
    ]
    result.left += [(row, failed[row.key]) for row in wrong if row.key in failed]
    result.in_flight = in_flight
    return result


# --- looking ---------------------------------------------------------------------------------------------------------


def look(work: Work, keys: Iterable[Key]) -> dict[Key, Suspect]:
    """Those of `keys` whose rows differ now."""
    found: dict[Key, Suspect] = {}
    for segment in by_keys(list(keys)):
        for covered in patiently(work.clock, partial(_read, work.pair, segment)):
            found.update((suspect.key, suspect) for suspect in covered.suspects)
    return found


def _read(pair: Pair, segment: Segment) -> list[Covered]:
    return list(narrow(pair, segment))


def patiently(clock: Clock, read: Callable[[], Result]) -> Result:
    """A read that is tried again if the database was busy or the connection broke; it has no effect to double."""
    pause_s = READ_PAUSE_S
    for _ in range(READ_TRIES - 1):
        try:
            return read()
        except StatementTimeout:
            raise
        except Transient:
            clock.wait(pause_s)
            pause_s *= 2
    return read()


def _confirm(
    work: Work, suspects: Sequence[Suspect], *, first_wait_s: float
) -> tuple[list[Suspect], list[Key], list[Suspect]]:
    """Look again until every suspect is drift or resolved, or was seen moving often enough."""
    drift = [suspect for suspect in suspects if work.proven(suspect)]
    resolved: list[Key] = []
    moving = [suspect for suspect in suspects if not work.proven(suspect)]
    wait_s = first_wait_s
    for _ in range(LOOKS_MAX - 1):
        if not moving:
            break
        if work.clock.wait(wait_s):
            raise Interrupted(f"{work.pair.name}: stopped while waiting for suspects to settle; run again to go on")
        seen = confirm(moving, look(work, [suspect.key for suspect in moving]))
        drift += seen.drift
        resolved += seen.resolved
        moving, wait_s = seen.moving, work.settle_s
    return drift, resolved, moving


# --- repairing -------------------------------------------------------------------------------------------------------


def repair(work: Work, segment: int, drift: Sequence[Suspect]) -> list[OutcomeRow]:
    """Write what was decided, unit by unit.

    Rows that have not moved since the snapshot they were judged in need no second reading of the source, and so hold
    no lock while it is read; those that moved do. A row that is busy is tried again by itself.
    """
    done = _in_units(work, segment, [suspect for suspect in drift if work.vouched(suspect)], by_snapshot=True)
    moved = {outcome.key for outcome in done if outcome.outcome is Outcome.CAS_LOST}
    others = [suspect for suspect in drift if suspect.key in moved or not work.vouched(suspect)]
    return [outcome for outcome in done if outcome.key not in moved] + _in_units(work, segment, others)


def _in_units(work: Work, segment: int, drift: Sequence[Suspect], *, by_snapshot: bool = False) -> list[OutcomeRow]:
    outcomes: list[OutcomeRow] = []
    waiting = list(drift)
    while waiting:
        part, waiting = waiting[: work.size.rows], waiting[work.size.rows :]
        started = work.clock.monotonic()
        done = _unit(work, segment, part, by_snapshot=by_snapshot)
        work.size.took(len(part), work.clock.monotonic() - started)
        busy = {outcome.key for outcome in done if outcome.busy}
        outcomes += [_record(outcome) for outcome in done if not outcome.busy]
        for suspect in part:
            if suspect.key in busy:
                outcomes += [_record(outcome) for outcome in _alone(work, segment, suspect)]
    return outcomes


def _alone(work: Work, segment: int, suspect: Suspect) -> list[RowOutcome]:
    """One row by itself, waiting for its lock while holding nothing else."""
    pause_s = BUSY_PAUSE_S
    for _ in range(BUSY_TRIES):
        done = _unit(work, segment, [suspect], wait=True)
        if not any(outcome.busy for outcome in done):
            return done
        work.clock.wait(pause_s)
        pause_s *= 2
    return [_note(work, segment, suspect, Outcome.NOT_APPLIED, "contended: locked at every try")]


def _unit(
    work: Work,
    segment: int,
    drift: Sequence[Suspect],
    *,
    wait: bool = False,
    withdraw: bool = False,
    by_snapshot: bool = False,
) -> list[RowOutcome]:
    """One repair transaction, written down before it begins and after it ended."""
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
    )
    work.ledger.open_unit(unit.id, work.run, segment, [suspect.key for suspect in drift], work.clock.now())
    try:
        outcomes = work.target.repair(work.pair.binding, unit, work.pair.source)
    except DataProblem as problem:
        _close(work, unit.id, [])
        return _one_by_one(work, segment, drift, problem, withdraw=withdraw, by_snapshot=by_snapshot)
    except Transient as problem:
        outcomes = settle_unit(work, unit.id, drift)
        if isinstance(problem, StatementTimeout):
            _close(work, unit.id, [_record(outcome) for outcome in outcomes])
            raise
        if all(outcome.outcome is Outcome.NOT_APPLIED for outcome in outcomes):
            outcomes = [replace(outcome, busy=True, evidence=str(problem)) for outcome in outcomes]
    _close(work, unit.id, [_record(outcome) for outcome in outcomes if not outcome.busy])
    return outcomes


def _one_by_one(
    work: Work, segment: int, drift: Sequence[Suspect], problem: DataProblem, *, withdraw: bool, by_snapshot: bool
) -> list[RowOutcome]:
    """The database refused a row of the unit: find which, and repair the others."""
    if len(drift) == 1:
        told = str(problem)
        if any(work.pair.binding.hidden):
            told = "the database refused the row; what it says may hold sensitive values, and is not kept"
        return [_note(work, segment, drift[0], Outcome.FAILED, told)]
    middle = len(drift) // 2
    return [
        outcome
        for half in (drift[:middle], drift[middle:])
        for outcome in _unit(work, segment, half, withdraw=withdraw, by_snapshot=by_snapshot)
    ]


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
        return marker.outcomes
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


# --- verifying -------------------------------------------------------------------------------------------------------


def verify(
    work: Work, segment: int, written: Sequence[Suspect], outcomes: Sequence[OutcomeRow]
) -> tuple[list[Suspect], list[Suspect]]:
    """Read the rows again, whoever wrote them last: those that are wrong, and those in flight."""
    if not written:
        return [], []
    differing = look(work, [suspect.key for suspect in written])
    inserted = {o.key: o for o in outcomes if o.outcome is Outcome.APPLIED and o.action is Action.INSERT}
    ghosts = [
        replace(suspect, token=inserted[key].token)
        for key, suspect in differing.items()
        if suspect.kind is DriftKind.EXTRA and key in inserted and suspect.observed == inserted[key].after
    ]
    if ghosts:
        # The source row went away between our look at it and our commit: take our insert back, if it is still ours.
        _unit(work, segment, ghosts, withdraw=True)
        differing.update({ghost.key: ghost for ghost in ghosts})
        still = look(work, [ghost.key for ghost in ghosts])
        differing = {key: suspect for key, suspect in differing.items() if key in still or suspect not in ghosts}
    drift, _, moving = _confirm(work, list(differing.values()), first_wait_s=work.settle_s)
    return drift, moving


def _close(work: Work, unit: str, outcomes: Sequence[OutcomeRow]) -> None:
    work.ledger.close_unit(unit, work.run, outcomes, work.clock.now())


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


def keys_of(segment: SegmentRow) -> tuple[Key, ...]:
    assert isinstance(segment.span, Keys)
    return segment.span.keys
