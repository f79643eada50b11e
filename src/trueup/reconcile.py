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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from trueup.calling import hand_over
from trueup.core.compare import DriftKind, Suspect
from trueup.core.decide import HANDED, WRITES, Action, Decision, decide
from trueup.core.difference import off_by
from trueup.core.guarantee import Protocol
from trueup.core.lot import Lot
from trueup.core.plan import Keys
from trueup.core.row import Key
from trueup.core.states import Outcome
from trueup.repair import in_units, repair, unit_of
from trueup.store.records import DecisionRow, OutcomeRow, SegmentRow
from trueup.work import Work, confirmed, look, measured_twice

#: Outcomes of rows that were handed over, and are right.
RIGHT = (Outcome.APPLIED, Outcome.CONVERGED, Outcome.SUPERSEDED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """What a closer look made of a segment's suspects."""

    decisions: list[Decision]
    #: Right at a later look.
    resolved: list[Key]
    #: Still moving at the last look.
    in_flight: list[Suspect]
    #: Decisions of one kind, kept together, and what is to be done.
    lots: Sequence[tuple[Lot, Action]] = ()
    #: What else there is to count.
    tallies: Mapping[str, int] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True)
class Corrected:
    """What became of a segment's decisions."""

    outcomes: list[OutcomeRow] = field(default_factory=list)
    #: Wrong after all; with the reason.
    left: list[tuple[Suspect, str]] = field(default_factory=list)
    #: Somebody is working on these rows.
    in_flight: list[Suspect] = field(default_factory=list)
    #: The target's database refused to hold these rows.
    refused: set[Key] = field(default_factory=set)

    def add(self, other: Corrected) -> None:
        self.outcomes += other.outcomes
        self.left += other.left
        self.in_flight += other.in_flight
        self.refused |= other.refused


def examine(work: Work, segment: SegmentRow) -> Examined:
    """Suspects of one segment -> decisions."""
    suspects = segment.suspects
    seen_at = segment.looked_at or work.clock.now()
    age_s = (work.clock.now() - seen_at) / timedelta(seconds=1)
    if work.proof_since is not None and seen_at < work.proof_since:  # as where an earlier process saw them
        suspects = [replace(suspect, instant=False) for suspect in suspects]
    measured = [suspect for suspect in suspects if work.promise.delta and off_by(suspect) is not None]
    same, growing, right = measured_twice(work, measured, first_wait_s=work.settle_s - age_s)
    known = {suspect.key for suspect in measured}
    others = [suspect for suspect in suspects if suspect.key not in known]
    drift, resolved, moving = confirmed(work, others, first_wait_s=0.0 if measured else work.settle_s - age_s)
    binding = work.pair.binding
    decisions = [decide(row, binding.projection, version=binding.version) for row in [*same, *drift]]
    decisions += [Decision(drift=row, action=Action.REPORT, reason=why) for row, why in growing]
    return Examined(decisions=decisions, resolved=[*right, *resolved], in_flight=moving)


def correct(
    work: Work, segment: SegmentRow, decided: Sequence[DecisionRow], earlier: Sequence[OutcomeRow] = ()
) -> Corrected:
    """Decisions of one segment -> outcomes, verified. `earlier`: what the run did to its rows before it broke off."""
    result = Corrected()
    result.left = [(d.decision.drift, d.decision.reason) for d in decided if d.decision.action is Action.REPORT]
    writing = [item.decision.drift for item in decided if item.decision.action in WRITES]
    handed = [item.decision.drift for item in decided if item.decision.action in HANDED]
    again = (Outcome.NOT_APPLIED, Outcome.CAS_LOST, Outcome.CALLED)
    known = {outcome.key for outcome in earlier if outcome.outcome not in again}
    result.outcomes = repair(work, segment.id, [row for row in writing if row.key not in known])
    result.outcomes += hand_over(work, segment.id, [row for row in handed if row.key not in known])
    last = {outcome.key: outcome for outcome in [*earlier, *result.outcomes]}
    failed = {o.key: o.evidence for o in last.values() if o.outcome is Outcome.FAILED}
    wrong, in_flight = verify(work, segment.id, writing, list(last.values()))
    written = {key for key, outcome in last.items() if outcome.outcome is Outcome.APPLIED}
    stale = [row for row in wrong if row.key in written and work.vouched(row)]
    if stale:
        # A writer changed the source and not the row after all (a bare UPDATE finds no row that is missing): what the
        # snapshot said was old. Under the lock nothing is.
        result.outcomes += in_units(work, segment.id, stale)
        last |= {outcome.key: outcome for outcome in result.outcomes}
        wrong, in_flight = verify(work, segment.id, writing, list(last.values()))
    wrong += [row for row in handed if last[row.key].outcome not in RIGHT]
    why_not = {o.key: o.evidence for o in last.values() if o.outcome is not Outcome.APPLIED}
    result.left += [
        (row, why_not.get(row.key) or "wrong again after the repair") for row in wrong if row.key not in failed
    ]
    result.left += [(row, failed[row.key]) for row in wrong if row.key in failed]
    result.refused = set(failed)
    result.in_flight = in_flight
    return result


def verify(
    work: Work, segment: int, written: Sequence[Suspect], outcomes: Sequence[OutcomeRow]
) -> tuple[list[Suspect], list[Suspect]]:
    """Read the rows again, whoever wrote them last: those that are wrong, and those in flight."""
    if not written:
        return [], []
    if work.promise.protocol is Protocol.AS_SEEN:  # it was read back before its commit, and nothing else is owed
        right = {o.key for o in outcomes if o.outcome in (Outcome.APPLIED, Outcome.SUPERSEDED, Outcome.CONVERGED)}
        return [row for row in written if row.key not in right], []
    differing = look(work, [suspect.key for suspect in written])
    inserted = {o.key: o for o in outcomes if o.outcome is Outcome.APPLIED and o.action is Action.INSERT}
    ghosts = [
        replace(suspect, token=inserted[key].token)
        for key, suspect in differing.items()
        if suspect.kind is DriftKind.EXTRA and key in inserted and suspect.observed == inserted[key].after
    ]
    if ghosts:
        # The source row went away between our look at it and our commit: take our insert back, if it is still ours.
        unit_of(work, segment, ghosts, withdraw=True)
        differing.update({ghost.key: ghost for ghost in ghosts})
        still = look(work, [ghost.key for ghost in ghosts])
        differing = {key: suspect for key, suspect in differing.items() if key in still or suspect not in ghosts}
    drift, _, moving = confirmed(work, list(differing.values()), first_wait_s=work.settle_s)
    done = {o.key for o in outcomes if o.outcome in (Outcome.APPLIED, Outcome.SUPERSEDED)}
    # Of a row that was refused it is no proof that it was not found to differ: it may not have been found at all.
    # What could not be read is told as that, and is neither right nor wrong.
    unproven = {o.key for o in outcomes if o.outcome is Outcome.FAILED} | (work.by_difference - done)
    unproven -= {row.key for row in [*drift, *moving]} | work.unread.keys()
    return [*drift, *(row for row in written if row.key in unproven)], moving


def keys_of(segment: SegmentRow) -> tuple[Key, ...]:
    assert isinstance(segment.span, Keys)
    return segment.span.keys
