"""One run of one projection.

    plan -> narrow -> confirm -> judge -> repair -> report

Each stage is a series of segments, each committed with its result, so that a run that was killed goes on where it was.
All drift is known before anything is written: limits and guards judge the whole run, not what is left of it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from trueup.accepting import Accepting
from trueup.again import outrun, unannounced
from trueup.border import border_of
from trueup.by_lot import in_lots, work_of
from trueup.canary import begins, fails, rest
from trueup.core.compare import Suspect
from trueup.core.guarantee import Guarantee
from trueup.core.plan import UnitSize
from trueup.core.shapes import written
from trueup.core.states import Outcome, RunState, Stage, Verdict
from trueup.discreet import discreet
from trueup.errors import (
    BrokenRead,
    DataProblem,
    DesignProblem,
    Interrupted,
    LedgerFailed,
    Refused,
    SchemaChanged,
    TakenOver,
    TrueupError,
)
from trueup.job import Job, record_of
from trueup.judging import over_a_day, source_collapsed, too_many
from trueup.plans import not_by_itself, permitted_now, plan_needs
from trueup.reconcile import Corrected, Examined, examine, keys_of
from trueup.report import IN_FLIGHT_ROWS, Report
from trueup.reporting import build, final_outcomes
from trueup.schema_guard import SchemaGuard
from trueup.scope import nothing_there, scope_of
from trueup.stand import stand
from trueup.stop import Stop
from trueup.store import lock
from trueup.store.decided import Decided, decided_by
from trueup.store.plans import PlanRow
from trueup.store.records import Narrowed, OpenWork, RunRow, SegmentRow
from trueup.sweep import Sweep, sweep
from trueup.undo import Undone, examine_back, examine_lot_back, undone_by
from trueup.withheld import Withheld
from trueup.work import PROOF_S, Work
from trueup.writing import Writing, shut_out, take_over

#: An interrupted run older than this is not resumed: what it had looked at is too old to vouch for.
RESUME_WITHIN = timedelta(hours=24)


def execute(job: Job, stop: Stop | None = None) -> Report:
    """Do what the job asks, in the calling thread, and report.

    Raises Refused if another process runs this projection or it is stopped, Interrupted when asked to stop, and the
    adapters' errors; all of them leave a run that the next call resumes or replaces.
    """
    stop = stop or Stop()
    with lock.hold(job.ledger.engine, *job.holds, lost=stop.lost, lease_s=job.lease_s) as held:
        if held.lease is not None and held.lease.inherited and job.writes:
            shut_out(job)  # its last holder may still be alive, and does not know that it is no more
        return _Run(job, stop).execute()


class _Run:
    def __init__(self, job: Job, stop: Stop) -> None:
        self.job = job
        self.border = border_of(job, stop)
        self.ledger = job.ledger
        self.started = job.clock.monotonic()
        self.row: RunRow
        self.seen: Narrowed
        self.resumed = False
        self.corrected = Corrected()
        self.decided: Decided | None = None
        #: What the run that is undone did.
        self.undone: Undone | None = None
        #: Still moving when this process looked closer; at most as many as are listed.
        self.moving: list[Suspect] = []
        self.plan: PlanRow | None = job.plan
        self.withheld: Withheld
        self.accepting: Accepting
        self.schema = SchemaGuard(job, None)

    def execute(self) -> Report:
        self.border()
        if self.job.undoing is not None and self.ledger.unsettled(self.job.name, self.job.holds):
            take_over(self.job, self._work(run=""))  # what the run did has to be known before it is undone
        if self.job.writes and self.job.promise.guarantee is Guarantee.REPORT_ONLY:
            raise Refused(
                f"{self.job.name}: this projection is {Guarantee.REPORT_ONLY}: {'; '.join(self.job.promise.reasons)}. "
                f"`trueup check {self.job.name}` reports without writing; `trueup doctor {self.job.name}` looks again"
            )
        if self.job.plan is not None:  # under the lock: nobody else carries it out, or has since it was looked at
            permitted_now(self.job, self.job.plan)
        with discreet(self.job.pair.binding.projection):
            self.row = self._resume() or self._begin()
        self.job.progress.begun(self.row)
        try:
            with discreet(self.job.pair.binding.projection):
                return self._guarded()
        except TakenOver as lost:  # its state in the ledger is no longer ours to set
            self.job.progress.ended(self.row, self.row.state, "", str(lost))
            raise
        except SchemaChanged as changed:
            self._break_off(RunState.ABANDONED, str(changed))  # what it found is of another schema
            raise
        except (Interrupted, KeyboardInterrupt, Refused) as asked:
            self._break_off(RunState.INTERRUPTED, str(asked) or "interrupted")
            raise
        except TrueupError as error:
            self._break_off(RunState.FAILED, str(error))
            raise

    def _break_off(self, state: RunState, why: str) -> None:
        """Say in the ledger why the run ended early. Where even that fails, another finds it unfinished, or has."""
        with contextlib.suppress(LedgerFailed, TakenOver):
            self._end(state, reason=why)

    def _guarded(self) -> Report:
        """All stages; of an error that a changed table explains, that is what is said."""
        try:
            return self._stages()
        except (DataProblem, DesignProblem):
            self.schema.check()
            raise

    def _stages(self) -> Report:
        self.seen = self.ledger.narrowed(self.row.id)
        self.withheld = Withheld(self.job, self.row)
        self.accepting = Accepting(self.job)
        before = self.row if self.job.plan is None else self.ledger.run(self.job.plan.run)
        self.schema = SchemaGuard(self.job, before.shapes)
        self.schema.compare(written(self.job.pair.binding))
        if self.row.stage is Stage.NARROW:
            self._narrow()
            self.withheld = Withheld(self.job, self.row)  # rows that could not be read have come to it
            why = source_collapsed(self.job, self.row, self.seen.counts)
            if why and self.seen.aside:  # it is short of what could not be read
                unread = self.withheld.not_compared(self.seen)
                return self._report(Verdict.INCONCLUSIVE, f"{unread}. Nothing was written", RunState.DONE)
            if why:
                return self._refuse(why)
            self.schema.check()
            self._enter(Stage.CONFIRM, self.ledger.suspects(self.row.id, proof_since=self._work().proof_since))
        if self.row.stage is Stage.CONFIRM:
            self._confirm()
            if self.job.command == "check":
                return self._finish()
            decided = self._decided()
            why = too_many(self.seen) or self.withheld.many([item.decision for item in decided.rows])
            if why:
                return self._refuse(why)
            if (left := not_by_itself(self.job, self.row, self.seen.counts, decided)) is not None:
                self.plan, why = left
                return self._refuse(why) if why else self._finish()
            self.schema.check()
            self._enter(*begins(self.job, decided))
        return self._write()

    def _write(self) -> Report:
        """The decisions are carried out. A resumed run is judged once more by what others wrote meanwhile."""
        decided = self._decided()
        writing = Writing(
            job=self.job,
            run=self.row,
            work=self._work(),
            decided=decided,
            border=self.border,
            withheld=self.withheld,
            accepting=self.accepting,
            schema=self.schema,
        )
        self.corrected = writing.corrected
        if why := over_a_day(self.job, self.row.id, decided) if self.resumed and self.job.plan is None else "":
            writing.broken_off({outcome.key for outcome in self.ledger.outcome_rows(self.row.id)}, why)
            return self._refuse(why)
        writing.begin(resumed=self.resumed)
        if self.row.stage is Stage.CANARY:
            writing.carry_out(Stage.CANARY)
            last = final_outcomes(self.ledger.outcome_rows(self.row.id))
            if why := fails(writing.work, self.job, self.row, last):
                writing.broken_off(set(self.ledger.keys_of(self.row.id, Stage.CANARY)), why)
                return self._refuse(why)
            self._enter(Stage.REPAIR, work_of(self.ledger, rest(self.job, self.row, decided.rows), decided.lots))
        writing.carry_out(Stage.REPAIR)
        return self._finish()

    # --- beginning and resuming ----------------------------------------------------------------------------------

    def _resume(self) -> RunRow | None:
        """The unfinished run that this job continues, if there is one. Those it replaces are marked as abandoned."""
        now = self.job.clock.now()
        for run in self.ledger.unfinished(self.job.name, self.job.holds):
            work = (run.command, run.keys, run.plan, run.undoes, run.partitions or None)
            if work != (self.job.command, self.job.keys, self.job.plan_id, self.job.undoes, self.job.partitions):
                continue
            late = outrun(self.job, run) or self._outdated(run, now)
            if run.definition == self.job.definition and now - run.started_at < RESUME_WITHIN and not late:
                self.ledger.set_state(run, RunState.RUNNING, pid=os.getpid(), host=socket.gethostname(), reason="")
                self.resumed = True
                self.job.progress.resumed(run.id, run.stage)
                return run
            why = "the definition changed" if run.definition != self.job.definition else late or "too old to be resumed"
            self.ledger.set_state(run, RunState.ABANDONED, ended_at=now, reason=why)
            self.job.progress.abandoned(run.id, why)
        return None

    def _outdated(self, run: RunRow, now: datetime) -> str:
        """Why what it had judged is not to be reported: nothing is written under a lock, which would look again."""
        judged = run.stage is Stage.CONFIRM and run.command in ("check", "plan") and run.undoes is None
        judged = judged and now - (run.ended_at or run.started_at) > timedelta(seconds=PROOF_S)
        return "rows that it had judged may be others by now" if judged and self.ledger.decision_rows(run.id) else ""

    def _begin(self) -> RunRow:
        """A new run. One that writes settles first what others left open: it may be refused itself."""
        if self.job.writes and self.ledger.unsettled(self.job.name, self.job.holds):
            take_over(self.job, self._work(run=""), tell=True)
        return self._start()

    def _start(self) -> RunRow:
        scope = self.job.patience.read(partial(scope_of, self.job))
        stage = Stage.NARROW if self.job.undoing is None else Stage.CONFIRM
        segments, work = scope.segments, scope.work
        if self.job.plan is not None:
            (stage, work), segments = begins(self.job, self._decided()), []
        return self.ledger.start_run(
            {
                **record_of(self.job),
                "strategy": scope.strategy,
                "base": scope.base,
                "marks": scope.marks,
                "partitions": scope.partitions,
            },
            segments,
            stage,
            work,
        )

    # --- stages --------------------------------------------------------------------------------------------------

    def _enter(self, stage: Stage, work: Sequence[OpenWork]) -> None:
        self.ledger.set_stage(self.row, stage, work)
        self.row = replace(self.row, stage=stage)
        self.job.progress.entered(stage)

    def _narrow(self) -> None:
        border, lots = self.border, in_lots(self.job, self.row, self.accepting, self.withheld)
        sweep(Sweep(job=self.job, run=self.row, seen=self.seen, border=border, awaited=border.awaited, lots=lots))

    def _confirm(self) -> None:
        work = self._work()
        segments = self.ledger.open_segments(self.row.id, Stage.CONFIRM)
        for at, segment in enumerate(segments, 1):
            self.border()
            self.job.progress.confirming(at, len(segments), self.job.settle_s)
            examined = self._examined(work, segment)
            decisions = self.accepting.others(examined.decisions)
            tallies = {"resolved": len(examined.resolved), "in_flight": len(examined.in_flight), **examined.tallies}
            tallies["accepted"] = len(examined.decisions) - len(decisions)
            self.withheld.unreadable(work.unread)
            self.withheld.failed(decisions)
            self.ledger.commit_confirmed(segment, self.withheld.review(decisions), tallies, examined.lots)
            self.moving = (self.moving + examined.in_flight)[:IN_FLIGHT_ROWS]

    def _examined(self, work: Work, segment: SegmentRow) -> Examined:
        """A closer look: from the source, or from what the ledger says of the run that is undone."""
        undoing = self.job.undoing
        if undoing is None:
            return examine(work, segment)
        if self.undone is None:
            self.undone = undone_by(self.job, undoing)
        if segment.lots_of is not None:
            return examine_lot_back(work, self.job, self.undone, segment.lots_of)
        return examine_back(work, undoing, self.undone.rows, keys_of(segment))

    def _decided(self) -> Decided:
        """What this run carries out, or would; read once, when all of it is decided."""
        if self.decided is None:
            self.decided = decided_by(self.ledger, self.row.id if self.job.plan is None else self.job.plan.run)
        return self.decided

    def _work(self, *, run: str | None = None) -> Work:
        return Work(
            pair=self.job.pair,
            target=self.job.target,
            ledger=self.ledger,
            clock=self.job.clock,
            patience=self.job.patience,
            promise=self.job.promise,
            settle_s=self.job.settle_s,
            run=self.row.id if run is None else run,
            fence=self.job.lane,
            border=self.border,
            size=UnitSize(self.job.hold_s),
        )

    # --- ending --------------------------------------------------------------------------------------------------

    def _refuse(self, why: str) -> Report:
        return self._report(Verdict.REFUSED, why, RunState.REFUSED)

    def _finish(self) -> Report:
        if self.seen.done + len(self.seen.aside) != self.seen.planned:
            share = f"{self.seen.done} of {self.seen.planned} segments"
            raise BrokenRead(f"{self.job.name}: {share} were compared; this cannot be an answer")
        verdict, why = self._verdict()
        unread = self.withheld.not_compared(self.seen)
        if unread and verdict in (Verdict.IN_SYNC, Verdict.REPAIRED):
            verdict = Verdict.INCONCLUSIVE
        return self._report(
            verdict, why or unread or unannounced(self.job, self.row, self._decided().rows), RunState.DONE
        )

    def _verdict(self) -> tuple[Verdict, str]:
        counts = self.seen.counts
        decisions = self._decided().rows
        if self.job.writes and not self.job.only_plan:
            if self.corrected.left or self._left_before():
                return Verdict.DRIFT, ""
            return (Verdict.REPAIRED if len(self._decided()) else Verdict.IN_SYNC), ""
        many = bool(too_many(self.seen))
        if many and counts.differing > len(decisions) and not self.job.one_look:
            return Verdict.INCONCLUSIVE, f"at least {len(decisions):,} rows differ; too many to look at each again"
        drift = len(self._decided()) > 0 or many
        why = "" if drift or not self.row.partitions else nothing_there(self.job, self.row)
        return (Verdict.INCONCLUSIVE if why else Verdict.DRIFT if drift else Verdict.IN_SYNC), why

    def _left_before(self) -> bool:
        """A resumed run also answers for what it left wrong before it was interrupted."""
        if self.job.undoing is not None:
            last = final_outcomes(self.ledger.outcome_rows(self.row.id)).values()
            return any(o.outcome not in (Outcome.APPLIED, Outcome.SUPERSEDED, Outcome.CONVERGED) for o in last)
        return self.resumed and any(row.run == self.row.id for row in self.job.standing.drift(self.job.name))

    def _report(self, verdict: Verdict, why: str, state: RunState) -> Report:
        decisions = self._decided()
        # A source that is not believed says nothing of the target, and a rollback does not ask it.
        if self.row.stage is not Stage.NARROW and self.job.undoing is None:
            moving = {suspect.key for suspect in [*self.corrected.in_flight, *self.moving]}
            stand(self._work(), self.job, self.row, decisions, self.seen, self.withheld, moving)
        known = {row.drift.key for row in self.job.standing.drift(self.job.name)}
        report = build(
            self.job,
            self.row,
            verdict=verdict,
            reason=why,
            decisions=decisions,
            left=self.corrected.left,
            seen=self.seen,
            in_flight=len(self.corrected.in_flight),
            moving=[*self.corrected.in_flight, *self.moving],
            seconds=self.job.clock.monotonic() - self.started,
            plan=self.plan,
            approvals_needed=0 if self.plan is None else plan_needs(self.job, self.plan),
            resumed=self.resumed,
            quarantined=self.withheld.among(known),
        )
        self._end(
            state,
            verdict=verdict,
            reason=why,
            source_rows=self.seen.counts.keyed_source_rows if self.row.whole and not self.seen.aside else None,
            # Marks are for a run that knows all that is wrong.
            **({"marks": None} if self.withheld.not_compared(self.seen) or too_many(self.seen) else {}),
            report=report.to_json_text(),
        )
        return report

    def _end(self, state: RunState, **values: Any) -> None:
        self.job.progress.ended(self.row, state, str(values.get("verdict", "")), values.get("reason", ""))
        self.ledger.set_state(self.row, state, ended_at=self.job.clock.now(), **values)
