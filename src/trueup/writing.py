"""The writing half of a run: what was decided is carried out, segment by segment, each closed when it was verified."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

from trueup.accepting import Accepting
from trueup.by_lot import LotWork, recover_lot, told_apart
from trueup.calling import recover_call, settle_shown
from trueup.changes import by_differences, images
from trueup.core.compare import Suspect, classify
from trueup.core.decide import Action
from trueup.core.guarantee import Protocol
from trueup.core.row import Key
from trueup.core.states import Outcome, RunState, Stage
from trueup.job import Job
from trueup.reconcile import Corrected, correct, keys_of
from trueup.repair import recover
from trueup.schema_guard import SchemaGuard
from trueup.store.calls import Calls
from trueup.store.decided import Decided
from trueup.store.records import DecisionRow, OutcomeRow, RunRow, SegmentRow
from trueup.withheld import Withheld
from trueup.work import Work

#: Rows of lots that are known to be wrong after a rollback.
PUT_BACK_MAX = 10_000


def take_over(job: Job, work: Work, *, tell: bool = False) -> int:
    """Shut out older runs, and find out what became of the units that they left open; the fencing token.

    What was written to another target than is declared now, or by another key, cannot be found out, and stays open;
    `tell` says so.
    """
    token = shut_out(job)
    if token is None:
        job.progress.unmarked(f"databases.{job.pair.binding.projection.target.database}")
    for unit, run, _, keys in job.ledger.open_units(job.name, job.holds):
        before = job.ledger.run(run)
        if before.place and before.place != job.place:
            if tell:
                job.progress.elsewhere(unit, run)
            continue
        theirs = _decided_by(job, before, keys)
        if (call := Calls(job.ledger).of_unit(unit)) is not None:
            job.progress.recovered(unit, recover_call(replace(work, run=run), call, unit))
            continue
        wanted = images(theirs) if before.undoes else None
        known = {item.decision.drift.key: item.decision.drift for item in theirs}
        job.progress.recovered(unit, recover(replace(work, run=run, images=wanted), known, unit, keys))
    for unit, run, lot in job.ledger.lots.open_units(job.name, job.holds):
        if job.ledger.run(run).place != job.place:
            if tell:
                job.progress.elsewhere(unit, run)
            continue
        recover_lot(replace(work, run=run), unit, lot)
        job.progress.recovered(unit, [])
    return token or 0


def shut_out(job: Job) -> int | None:
    """No older run of the lanes that this one holds writes any more; the fencing token of its own."""
    if not job.pair.binding.projection.written and job.undoing is None:
        return 0  # nothing of ours is written there
    tokens = {name: job.patience.read(partial(job.target.raise_fence, name)) for name in job.holds}
    return tokens[job.lane]


def _decided_by(job: Job, run: RunRow, keys: Sequence[Key]) -> list[DecisionRow]:
    """What `run` carries out of rows with these keys."""
    plan, wanted = job.plans.find(run.plan or ""), set(keys)
    decided = job.ledger.decisions(plan.run if plan else run.id)
    return [item for item in decided if item.decision.drift.key in wanted]


@dataclass(kw_only=True, slots=True)
class Writing:
    """What a run writes, and what became of it."""

    job: Job
    run: RunRow
    work: Work
    decided: Decided
    #: Between two segments: raises if the run must stop here, waits while it is paused.
    border: Callable[[], None]
    #: What is left alone, and why.
    withheld: Withheld
    accepting: Accepting
    #: Stops where a side is no longer what it was.
    schema: SchemaGuard
    corrected: Corrected = field(default_factory=Corrected)

    def begin(self, *, resumed: bool) -> None:
        """Shut out older runs, and find out what became of the repair transactions that they left open."""
        self.work = replace(self.work, hands=self.job.hands)
        token = take_over(self.job, self.work)
        if self.job.hands.by_kind:
            settle_shown(self.work)
        planned = self.job.plan is not None
        self.work = replace(self.work, token=token, as_planned=planned, fresh=not resumed and not planned)
        if self.job.undoing is not None:
            differences = by_differences(self.job.ledger, self.job.undoing.run)
            self.work = replace(self.work, fresh=False, images=images(self.decided.rows), by_difference=differences)
            self._abandon(self.job.undoing.run)

    def _abandon(self, run: str) -> None:
        """A run that is undone is not gone on with."""
        for unfinished in self.job.ledger.unfinished(self.job.name, self.job.holds):
            if unfinished.id == run:
                why = f"undone by {self.run.id}"
                self.job.ledger.set_state(unfinished, RunState.ABANDONED, ended_at=self.job.clock.now(), reason=why)

    def carry_out(self, stage: Stage) -> None:
        """The open segments of a stage."""
        decided = {item.decision.drift.key: item for item in self.decided.rows}
        segments = self.job.ledger.open_segments(self.run.id, stage)
        for at, segment in enumerate(segments, 1):
            self.border()
            self.schema.check(always=False)
            known = self.job.ledger.outcome_rows(self.run.id, segment.id)
            if segment.lots_of is not None:
                done = self._lots_of(segment).carry_out()
            else:
                mine = [decided[key] for key in keys_of(segment) if key in decided]
                done = correct(self.work, segment, self._reviewed(mine), known)
            self.withheld.unreadable(self.work.unread)
            self.withheld.refused((row, why) for row, why in done.left if row.key in done.refused)
            # Before it is closed: a crash in between must not lose what is still wrong.
            if self.job.undoing is None:
                self._note_left(segment, done)
            else:
                self._note_put_back(segment, [*known, *done.outcomes])
            self.corrected.left += done.left
            tallies = {"left": len(done.left), "in_flight": len(done.in_flight)}
            self.job.ledger.close_segment(segment.id, tallies)
            self.corrected.in_flight += done.in_flight
            self.job.progress.repaired(at, len(segments), done.outcomes)

    def _lots_of(self, segment: SegmentRow) -> LotWork:
        work = self.work
        alike = work.fresh and not told_apart(self.accepting, self.withheld)
        alone = work.promise.protocol is Protocol.AS_SEEN or self.job.undoing is not None  # no source has a say
        simple = work.token and (alike or alone)
        return LotWork(work=work, segment=segment, review=self._reviewed, one_by_one=not simple)

    def _reviewed(self, rows: Sequence[DecisionRow]) -> list[DecisionRow]:
        """Since it was decided on, a row may have been accepted, or have come into quarantine."""
        decisions = [
            replace(row.decision, action=Action.REPORT, reason="accepted since it was decided on")
            if self.accepting.holds(row.decision)
            else row.decision
            for row in rows
        ]
        reviewed = self.withheld.review(decisions)
        return [replace(row, decision=decision) for row, decision in zip(rows, reviewed, strict=True)]

    def _note_left(self, segment: SegmentRow, done: Corrected) -> None:
        """What is still wrong stands in the ledger at once; the rest of the segment is right."""
        left = {suspect.key for suspect, _ in done.left}
        self.job.standing.found(self.run, done.left, self.job.clock.now())
        unsettled = left | {suspect.key for suspect in done.in_flight}
        if segment.lots_of is None:
            self.job.standing.settled(self.job.name, [key for key in keys_of(segment) if key not in unsettled])
        elif not self.run.whole and self.job.standing.drift_count(self.job.name)[0]:  # a whole run knows all at its end
            for lot in self.job.ledger.lots.of_segment(segment.lots_of):
                keys = [row.key for row in self.job.ledger.lots.content(lot).rows()]
                self.job.standing.settled(self.job.name, [key for key in keys if key not in unsettled])

    def _note_put_back(self, segment: SegmentRow, outcomes: Iterable[OutcomeRow]) -> None:
        """Rows that were put back are not what the source said when they were repaired.

        Of those in lots only some are kept: the next look at the projection finds them all.
        """
        room = PUT_BACK_MAX - self.job.standing.drift_count(self.job.name)[0]
        if segment.lots_of is not None and room > 0:
            kept = self.job.ledger.lots
            for lot in kept.of_segment(segment.lots_of):
                content = kept.content(lot)
                done = (row for o in kept.outcomes_of(self.run.id, lot.id) for row in o.of_rows(lot, content))
                outcomes = [*islice(done, room), *outcomes]
        why = f"put back: {self.run.id} undid {self.run.undoes}"
        wrong = []
        for wrote in outcomes:
            kind = classify(wrote.before, wrote.after, None)
            if wrote.outcome is Outcome.APPLIED and kind is not None:
                row = Suspect(kind=kind, key=wrote.key, expected=wrote.before, observed=wrote.after)
                wrong.append((row, why))
        self.job.standing.found(self.run, wrong, self.job.clock.now())

    def broken_off(self, done: set[Key], why: str) -> None:
        """Refused in the middle: rows that are not among `done` stay wrong, and stand as such."""
        rest = [(item.decision.drift, why) for item in self.decided.rows if item.decision.drift.key not in done]
        for lot in self.job.ledger.lots.undone(self.run.id, self.decided.lots):
            rest += [(row, why) for row in self.job.ledger.lots.content(lot).rows() if row.key not in done]
        self.corrected.left += rest
        if self.job.undoing is not None:
            return  # what is not put back is what it was repaired to
        self.job.standing.found(self.run, rest, self.job.clock.now())
