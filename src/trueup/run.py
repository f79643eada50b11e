"""One run of one projection.

    plan -> narrow -> confirm -> judge -> repair -> report

Each stage is a series of segments, each committed with its result, so that a run that was killed goes on where it was.
All drift is known before anything is written: limits and guards judge the whole run, not what is left of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from trueup._version import __version__
from trueup.adapters import DIFFERENCES_MAX
from trueup.again import announced, emptied, outrun, unannounced
from trueup.core.compare import Counts, Suspect
from trueup.core.decide import Totals, changes, collapsed, judge
from trueup.core.guarantee import Guarantee
from trueup.core.plan import by_keys
from trueup.core.row import Key
from trueup.core.states import RunState, Stage, Verdict
from trueup.errors import (
    BrokenRead,
    Interrupted,
    LedgerFailed,
    Refused,
    TakenOver,
    TrueupError,
)
from trueup.job import Job, Stop, actor, discreet, new_id
from trueup.reconcile import Corrected, Work, correct, examine, keys_of, look, recover
from trueup.report import IN_FLIGHT_ROWS, Report, build
from trueup.scope import nothing_there, perhaps_settled, scope_of
from trueup.store import lock
from trueup.store.records import DecisionRow, Narrowed, OpenWork, OutcomeRow, RunRow, SegmentRow
from trueup.store.standing import Control, PlanRow
from trueup.sweep import Sweep, sweep

#: An interrupted run older than this is not resumed: what it had looked at is too old to vouch for.
RESUME_WITHIN = timedelta(hours=24)
#: Seconds between two looks at the pause switch while paused.
PAUSE_LOOK_S = 0.5


def execute(job: Job, stop: Stop | None = None) -> Report:
    """Do what the job asks, in the calling thread, and report.

    Raises Refused if another process runs this projection or it is stopped, Interrupted when asked to stop, and the
    adapters' errors; all of them leave a run that the next call resumes or replaces.
    """
    with lock.hold(job.ledger.engine, job.name):
        return _Run(job, stop or Stop()).execute()


class _Run:
    def __init__(self, job: Job, stop: Stop) -> None:
        self.job = job
        self.stop = stop
        self.ledger = job.ledger
        self.started = job.clock.monotonic()
        self.row: RunRow
        self.seen: Narrowed
        self.resumed = False
        self.corrected = Corrected()
        self.decided: list[DecisionRow] | None = None
        #: Still moving when this process looked closer; at most as many as are listed.
        self.moving: list[Suspect] = []
        self.plan: PlanRow | None = job.plan

    def execute(self) -> Report:
        self._border()
        if self.job.writes and self.job.promise.guarantee is Guarantee.REPORT_ONLY:
            raise Refused(
                f"{self.job.name}: this projection is {Guarantee.REPORT_ONLY}: {'; '.join(self.job.promise.reasons)}. "
                f"`trueup check {self.job.name}` reports without writing"
            )
        with discreet(self.job.pair.binding.projection):
            self.row = self._resume() or self._start()
        try:
            with discreet(self.job.pair.binding.projection):
                return self._stages()
        except TakenOver:
            raise  # its state in the ledger is no longer ours to set
        except (Interrupted, KeyboardInterrupt, Refused) as asked:
            self._break_off(RunState.INTERRUPTED, str(asked) or "interrupted")
            raise
        except TrueupError as error:
            self._break_off(RunState.FAILED, str(error))
            raise

    def _break_off(self, state: RunState, why: str) -> None:
        """Say in the ledger why the run ended early. Where even that fails, the next run finds it unfinished."""
        with contextlib.suppress(LedgerFailed):
            self._end(state, reason=why)

    def _stages(self) -> Report:
        self.seen = self.ledger.narrowed(self.row.id)
        if self.row.stage is Stage.NARROW:
            self._narrow()
            why = self._source_collapsed(self.seen.counts)
            if why:
                return self._refuse(why)
            self._enter(Stage.CONFIRM, self.ledger.suspects(self.row.id))
        if self.row.stage is Stage.CONFIRM:
            self._confirm()
            if self.job.command == "check":
                return self._finish()
            why = self._judged()
            if why:
                return self._refuse(why)
            if self.job.command == "plan":
                self.plan = self.job.standing.add_plan(new_id("p"), self.row, self._decided(), self.job.clock.now())
                return self._finish()
            decided = by_keys([item.decision.drift.key for item in self._decided()])
            self._enter(Stage.REPAIR, [OpenWork(keys=segment.keys) for segment in decided])
        self._repair()
        return self._finish()

    # --- beginning and resuming ----------------------------------------------------------------------------------

    def _resume(self) -> RunRow | None:
        """The unfinished run that this job continues, if there is one. Those it replaces are marked as abandoned."""
        now = self.job.clock.now()
        for run in self.ledger.unfinished(self.job.name):
            same_work = (run.command, run.keys, run.plan) == (self.job.command, self.job.keys, self._plan_id())
            same_work = same_work and (run.partitions or None) == self.job.partitions
            if not same_work:
                continue
            late = outrun(self.job, run)
            if run.definition == self.job.definition and now - run.started_at < RESUME_WITHIN and not late:
                self.ledger.set_state(run, RunState.RUNNING, pid=os.getpid(), host=socket.gethostname(), reason="")
                self.resumed = True
                self.job.progress.resumed(run.id, run.stage)
                return run
            why = "the definition changed" if run.definition != self.job.definition else late or "too old to be resumed"
            self.ledger.set_state(run, RunState.ABANDONED, ended_at=now, reason=why)
        return None

    def _start(self) -> RunRow:
        scope = scope_of(self.job)
        stage = Stage.NARROW if self.job.plan is None else Stage.REPAIR
        return self.ledger.start_run(
            {
                "id": new_id("r"),
                "projection": self.job.name,
                "command": self.job.command,
                "definition": self.job.definition,
                "code_version": __version__,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "actor": actor(),
                "plan": self._plan_id(),
                "strategy": scope.strategy,
                "base": scope.base,
                "marks": scope.marks,
                "partitions": scope.partitions,
                "columns": json.dumps(self.job.pair.binding.columns),
                "started_at": self.job.clock.now(),
                "keys": self.job.keys,
            },
            scope.segments,
            stage,
        )

    def _plan_id(self) -> str | None:
        return None if self.job.plan is None else self.job.plan.id

    # --- stages --------------------------------------------------------------------------------------------------

    def _enter(self, stage: Stage, work: Sequence[OpenWork]) -> None:
        self.ledger.set_stage(self.row, stage, work)
        self.row = replace(self.row, stage=stage)

    def _narrow(self) -> None:
        sweep(Sweep(job=self.job, run=self.row, seen=self.seen, border=self._border, awaited=self._awaited))

    def _awaited(self) -> bool:
        return self.stop.asked or self.job.standing.control(self.job.name).state != "running"

    def _confirm(self) -> None:
        work = self._work()
        segments = self.ledger.open_segments(self.row.id, Stage.CONFIRM)
        for at, segment in enumerate(segments, 1):
            self._border()
            self.job.progress.confirming(at, len(segments), self.job.settle_s)
            examined = examine(work, segment)
            tallies = {"resolved": len(examined.resolved), "in_flight": len(examined.in_flight)}
            self.ledger.commit_confirmed(segment, examined.decisions, tallies)
            self.moving = (self.moving + examined.in_flight)[:IN_FLIGHT_ROWS]

    def _repair(self) -> None:
        token = self.job.target.raise_fence(self.job.name)
        if token is None:
            self.job.progress.unmarked(f"databases.{self.job.pair.binding.projection.target.database}")
        work = replace(self._work(), token=token or 0, as_planned=self.job.plan is not None)
        work = replace(work, fresh=not self.resumed and self.job.plan is None)
        decided = {item.decision.drift.key: item for item in self._decided()}
        for unit, run, _, keys in self.ledger.open_units(self.job.name):
            theirs = self.ledger.decisions(self._decider_of(run))
            recovered = recover(
                replace(work, run=run), {t.decision.drift.key: t.decision.drift for t in theirs}, unit, keys
            )
            self.job.progress.recovered(unit, recovered)
        earlier: dict[Key, list[OutcomeRow]] = {}
        for outcome in self.ledger.outcomes(self.row.id):  # once: for each segment, it would be all of them each time
            earlier.setdefault(outcome.key, []).append(outcome)
        segments = self.ledger.open_segments(self.row.id, Stage.REPAIR)
        for at, segment in enumerate(segments, 1):
            self._border()
            mine = keys_of(segment)
            known = [outcome for key in mine for outcome in earlier.get(key, ())]
            done = correct(work, segment, [decided[key] for key in mine if key in decided], known)
            self._note_left(segment, done)  # before it is closed: a crash in between must not lose what is still wrong
            self.ledger.close_segment(segment.id, {"left": len(done.left), "in_flight": len(done.in_flight)})
            self.corrected.in_flight += done.in_flight
            self.job.progress.repaired(at, len(segments), done.outcomes)

    def _note_left(self, segment: SegmentRow, done: Corrected) -> None:
        """What is still wrong stands in the ledger at once; the rest of the segment is right."""
        now = self.job.clock.now()
        self.corrected.left += done.left
        left = {suspect.key for suspect, _ in done.left}
        self.job.standing.found(self.row, done.left, now)
        unsettled = left | {suspect.key for suspect in done.in_flight}
        self.job.standing.settled(self.job.name, [key for key in keys_of(segment) if key not in unsettled])

    def _decided(self) -> list[DecisionRow]:
        """What this run carries out, or would; read once, when all of it is decided."""
        if self.decided is None:
            self.decided = self.ledger.decisions(self._decided_in())
        return self.decided

    def _decided_in(self) -> str:
        """The run that decided what this one carries out."""
        return self.row.id if self.job.plan is None else self.job.plan.run

    def _decider_of(self, run: str) -> str:
        """The same of any run."""
        plan = self.job.standing.plan(self.ledger.run(run).plan or "")
        return plan.run if plan else run

    def _work(self) -> Work:
        return Work(
            pair=self.job.pair,
            target=self.job.target,
            ledger=self.ledger,
            clock=self.job.clock,
            promise=self.job.promise,
            settle_s=self.job.settle_s,
            run=self.row.id,
            fence=self.job.name,
            border=self._border,
        )

    # --- guards --------------------------------------------------------------------------------------------------

    def _source_collapsed(self, counts: Counts) -> str:
        parts = self.row.partitions is not None
        if self.row.base is not None:
            return emptied(self.job, self.row, counts)
        if not self.row.whole and not parts:
            return ""
        # Of some partitions, what the target holds in them is what their source is judged by.
        before = None if parts else self.ledger.last_source_rows(self.job.name, self.job.definition)
        return collapsed(counts.source_rows, counts.target_rows, before, self.job.pair.binding.projection.limits)

    def _judged(self) -> str:
        """Why what was decided may not be written; empty if it may."""
        counts = self.seen.counts
        decisions = [item.decision for item in self._decided()]
        writing, deletes = changes(decisions)
        if counts.differing > DIFFERENCES_MAX:
            return f"{counts.differing:,} rows differ: check the definition of the projection before its data"
        totals = Totals(
            source_rows=counts.source_rows,
            target_rows=counts.target_rows,
            source_rows_before=None if self.row.whole else counts.source_rows,
            changes=writing,
            deletes=deletes,
            drift=len(decisions),
        )
        limits = self.job.pair.binding.projection.limits
        if not self.row.whole and self.row.partitions is None:
            # A share of a handful of keys means nothing; rows and deletes still count.
            limits = limits.model_copy(update={"share": 1.0, "collapse": 0.0})
        return judge(totals, limits.model_copy(update={"collapse": 0.0}))

    def _border(self) -> None:
        """Between two segments: the place where a run can be stopped or paused without leaving anything half done."""
        if self.stop.asked:
            raise Interrupted(
                f"{self.job.name}: {self.stop.reason or 'stopped'} after the current segment; "
                f"`trueup {self.job.command} …` again goes on from there"
            )
        told = False
        while (control := self.job.standing.control(self.job.name)).state != "running":
            if control.state == "stopped" and not self.job.writes:
                return  # the kill switch is for writes
            if control.state == "stopped":
                raise Refused(
                    f"{self.job.name}: stopped {_by(control)}; `trueup resume {self.job.name}` allows runs again"
                )
            if not told:
                self.job.progress.paused(_by(control))
                told = True
            if self.stop.asked:
                raise Interrupted(f"{self.job.name}: stopped while paused; run again to go on")
            self.job.clock.wait(PAUSE_LOOK_S)

    # --- ending --------------------------------------------------------------------------------------------------

    def _refuse(self, why: str) -> Report:
        return self._report(Verdict.REFUSED, why, RunState.REFUSED)

    def _finish(self) -> Report:
        if self.seen.done != self.seen.planned:
            share = f"{self.seen.done} of {self.seen.planned} segments"
            raise BrokenRead(f"{self.job.name}: {share} were compared; this cannot be an answer")
        verdict, why = self._verdict()
        return self._report(verdict, why or unannounced(self.job, self.row, self._decided()), RunState.DONE)

    def _verdict(self) -> tuple[Verdict, str]:
        counts = self.seen.counts
        decisions = self._decided()
        if self.job.writes:
            if self.corrected.left or self._left_before():
                return Verdict.DRIFT, ""
            return (Verdict.REPAIRED if decisions else Verdict.IN_SYNC), ""
        if counts.differing > len(decisions) and counts.differing > DIFFERENCES_MAX and not self.job.one_look:
            return Verdict.INCONCLUSIVE, f"at least {len(decisions):,} rows differ; too many to look at each again"
        drift = bool(decisions) or counts.differing > DIFFERENCES_MAX
        why = "" if drift or not self.row.partitions else nothing_there(self.job, self.row)
        return (Verdict.INCONCLUSIVE if why else Verdict.DRIFT if drift else Verdict.IN_SYNC), why

    def _left_before(self) -> bool:
        """A resumed run also answers for what it left wrong before it was interrupted."""
        return self.resumed and any(row.run == self.row.id for row in self.job.standing.drift(self.job.name))

    def _report(self, verdict: Verdict, why: str, state: RunState) -> Report:
        decisions = self._decided()
        if self.row.stage is not Stage.NARROW:  # a source that is not believed says nothing of the target
            self._stand(decisions)
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
            resumed=self.resumed,
        )
        self._end(
            state,
            verdict=verdict,
            reason=why,
            source_rows=report.source_rows if self.row.whole else None,
            **({"marks": None} if self.seen.counts.differing > DIFFERENCES_MAX else {}),  # not all of them are known
            report=report.to_json_text(),
        )
        return report

    def _stand(self, decisions: Sequence[DecisionRow]) -> None:
        """What this run knows to be wrong, and, where it saw everything, that nothing else is."""
        now = self.job.clock.now()
        if self.row.stage is not Stage.REPAIR:
            found = [(item.decision.drift, item.decision.reason) for item in decisions]
            self.job.standing.found(self.row, found, now)
        wrong = {item.decision.drift.key for item in decisions}
        if self.row.whole:
            self.job.standing.only(self.row)
        elif self.job.keys is not None:
            self.job.standing.settled(self.job.name, [key for key in self.job.keys if key not in wrong])
        elif self.row.base is not None:  # all that was known to be wrong when it began was looked at again
            known = announced(self.job, self.row, decisions)
            self.job.standing.settled(self.job.name, [key for key in known if key not in wrong])
        elif self.row.partitions is not None:
            keys = perhaps_settled(self.job, self.row)
            still = look(self._work(), keys)
            self.job.standing.settled(self.job.name, [key for key in keys if key not in still])

    def _end(self, state: RunState, **values: Any) -> None:
        self.ledger.set_state(self.row, state, ended_at=self.job.clock.now(), **values)


def _by(control: Control) -> str:
    when = f" at {control.at:%Y-%m-%d %H:%M:%S} UTC" if control.at else ""
    return f"by {control.actor}{when}" + (f": {control.reason}" if control.reason else "")
