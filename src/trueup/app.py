"""The engine as one object: declarations in, reports out. The command line and every other front end call only this."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from trueup import accepting, plans
from trueup import config as configuration
from trueup.adapters import FoundTable, connect
from trueup.bound import without_password
from trueup.core.approval import Said
from trueup.core.binding import Binding
from trueup.core.decide import Action
from trueup.core.guarantee import Promise
from trueup.core.keys import spellings
from trueup.core.projection import Projection
from trueup.core.quarantine import Quarantined
from trueup.core.row import Key
from trueup.core.schedule import following
from trueup.declarations import database_of
from trueup.discreet import discreet
from trueup.doctor import Examination
from trueup.errors import NotThere, UsageError
from trueup.indexes import that_pay
from trueup.job import statements
from trueup.jobs import CanaryLike, Keys, Parts
from trueup.narrow import Route, route
from trueup.observe import Progress, Silent
from trueup.observe.otlp import traced
from trueup.plans import PlanStanding
from trueup.report import Report
from trueup.reporting import final_outcomes
from trueup.side_by_side import Pair
from trueup.steering import Steering
from trueup.store.acceptances import Accepted
from trueup.store.decided import Decided, decided_by
from trueup.store.plans import PlanRow
from trueup.store.records import DecisionRow, OutcomeRow, RunRow
from trueup.store.standing import Control, DriftRow
from trueup.who import Actor
from trueup.withheld import taken_out


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """What would happen, and why, before anything runs."""

    projection: str
    route: Route
    promise: Promise
    binding: Binding
    settle_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """Where one projection stands."""

    projection: Projection
    control: Control
    last: RunRow | None
    #: Rows known to be wrong, and since when the oldest is.
    drift: int
    oldest: Any
    #: Rows that are left out of repairs.
    quarantined: int = 0


class Trueup(Steering):
    """Declared databases and projections, and the ledger that remembers what was done about them."""

    # --- the loop --------------------------------------------------------------------------------------------------

    def check(
        self, name: str, *, keys: Keys = None, partitions: Parts = None, rows: int = 100, full: bool = False
    ) -> Report:
        """Find drift; write nothing to the target.

        `keys`, `partitions` (by value, or a bucket as `2013-11-03`): only these; `rows`: listed at most (0: all);
        `full`: everything, though `changes` or `verify` leave something out.
        """
        return self._execute("check", name, keys=keys, partitions=partitions, rows=rows, full=full)

    def plan(
        self, name: str, *, keys: Keys = None, partitions: Parts = None, rows: int = 100, full: bool = False
    ) -> Report:
        """Find drift and write down what would be done about it. The report's `plan` is for `apply`."""
        return self._execute("plan", name, keys=keys, partitions=partitions, rows=rows, full=full)

    def run(
        self,
        name: str,
        *,
        keys: Keys = None,
        partitions: Parts = None,
        rows: int = 100,
        full: bool = False,
        canary: CanaryLike = None,
    ) -> Report:
        """Find drift, confirm it, repair it within the limits, verify. Resumes an interrupted run.

        `canary`: so many rows first (20, "1%"), and the others when these are right; default: as declared.
        """
        return self._execute("run", name, keys=keys, partitions=partitions, rows=rows, full=full, canary=canary)

    def in_turn(self, command: str, name: str) -> Report:
        """`run`, `check` or `plan` of what has been unverified for longest; of everything if no run was complete."""
        return self._execute(command, name, in_turn=True)

    def apply(self, plan: str | Report, *, rows: int = 100, canary: CanaryLike = None) -> Report:
        """Carry out a plan to the letter: rows that changed since are left alone and listed. `canary` as for `run`.

        Raises UsageError for an unknown plan, Refused if approvals are missing, if it was applied, rejected or tampered
        with, expired, or if the declaration changed.
        """
        row = self._approvable(plan.plan if isinstance(plan, Report) else plan)
        with self.answerable("apply", row.projection):
            plans.permitted(self.plans, row, self.projection(row.projection), self.clock.now())
        undone = self.ledger.run(row.run).undoes
        if undone is not None:
            return self._undo("apply", self.find_run(undone), plan=row, rows=rows, canary=canary)
        return self._execute("apply", row.projection, plan=row, rows=rows, canary=canary)

    def rollback(
        self, run: str, *, keys: Keys = None, only_plan: bool = False, rows: int = 100, canary: CanaryLike = None
    ) -> Report:
        """Put the rows that a run wrote back as they were, where they still are what it wrote; the others are listed.

        `keys`: only these of its rows; `only_plan`: decide, and leave a plan for `apply`; `canary` as for `run`.
        Raises UsageError if the run changed nothing, Refused if its target is not what it was.
        """
        return self._undo("rollback", self.find_run(run), keys=keys, only_plan=only_plan, rows=rows, canary=canary)

    # --- people ----------------------------------------------------------------------------------------------------

    def approve(self, plan: str, *, reason: str, by: Actor | None = None) -> PlanStanding:
        """Permit a plan: at most these rows, with these values, for as long as `approval_expires` says.

        `by`: the person, where a server has authenticated them; default: `actor`.
        Raises UsageError without a reason or for an unknown plan, Refused where this person cannot approve it now.
        """
        return self._vote(plan, Said.APPROVED, reason, by)

    def reject(self, plan: str, *, reason: str, by: Actor | None = None) -> PlanStanding:
        """Say no to a plan, or withdraw one's own: it cannot be approved or applied any more. Raises as `approve`."""
        return self._vote(plan, Said.REJECTED, reason, by)

    def _vote(self, plan: str, said: Said, reason: str, by: Actor | None) -> PlanStanding:
        row = self._approvable(plan)
        projection = self.projection(row.projection)
        with self.answerable(said, row.projection, by):
            return plans.vote(self.plans, row, projection, by or self.actor, said, reason, self.clock.now())

    def _approvable(self, plan: str) -> PlanRow:
        row = self.find_plan(plan)
        if row.state == "open":
            undone = self.ledger.run(row.run).undoes
            defined = self.definition(row.projection) if undone is None else self.undefined(self.find_run(undone))
            plans.untouched(self.ledger, row, defined)
        return row

    def listed_plans(self, name: str | None = None, *, limit: int = 20) -> list[PlanStanding]:
        """Plans, newest first, and how each stands."""
        rows = self.plans.newest(self.projection(name).name if name else None, limit)
        return [self.plan_standing(row) for row in rows if self.declares(row.projection)]

    def plan_standing(self, plan: PlanRow) -> PlanStanding:
        """How a plan stands: approvals, and what can be done with it."""
        return plans.standing_of(self.plans, plan, self.projection(plan.projection), self.clock.now())

    def accept(
        self, name: str, *, keys: Keys, reason: str, owner: str, until: str | date, by: Actor | None = None
    ) -> list[Accepted]:
        """Accept the differences that these rows have now: they are counted, and not repaired, until a day to come.

        Each binds to its row and both values: where one of them changes, it is drift again.
        Raises UsageError where a row is not wrong, or without a reason or an owner.
        """
        if not keys or not reason.strip() or not owner.strip():
            raise UsageError(f"{name}: name the rows, a reason and an owner: --key K=V --reason TEXT --owner NAME")
        now = self.clock.now()
        end = accepting.until_of(until, now)
        binding = self.binding(name, writing=False)
        run = self.find_run(self.check(name, keys=keys).run)
        asked = [spellings(binding, key) for key in keys]
        rows = accepting.accepted_of(
            run,
            self.ledger.decision_rows(run.id),
            asked,
            reason=reason.strip(),
            owner=owner.strip(),
            actor=by or self.actor,
            at=now,
            until=end,
        )
        self.acceptances.accept(rows)
        self.standing.settled(name, [row.key for row in rows])
        return rows

    def withdraw(self, name: str, *, keys: Keys, reason: str, by: Actor | None = None) -> list[Accepted]:
        """What was accepted about these rows is drift again. Raises UsageError where nothing was."""
        active = self.acceptances.active(self.projection(name).name, self.clock.now())
        binding = self.binding(name, writing=False)
        rows = [active[key] for given in keys or () for key in spellings(binding, given) if key in active]
        if len(rows) < max(len(keys or ()), 1):
            raise UsageError(f"{name}: not all of these rows have an accepted difference; `trueup accepted {name}`")
        self.acceptances.withdraw(rows, by or self.actor, reason, self.clock.now())
        return rows

    def accepted(self, name: str | None = None) -> list[Accepted]:
        """Accepted differences, newest first, those that are over too."""
        return self.acceptances.all(self.projection(name).name if name else None)

    # --- before anything runs ----------------------------------------------------------------------------------------

    def explain(self, name: str) -> Explanation:
        """Strategy, access path, guarantee class, and every reason."""
        binding = self.binding(name, writing=False)
        with discreet(binding.projection):
            pair = self.pair(binding)
            chosen = route(pair, self.clock.now())
            chosen = replace(chosen, reasons=[*chosen.reasons, *that_pay(pair)])
        return Explanation(
            projection=name,
            route=chosen,
            promise=self._promise(binding),
            binding=binding,
            settle_s=binding.projection.settle_s,
        )

    def doctor(self, *names: str) -> Examination:
        """Check all that a repair of these projections (default: all) depends on, and run the live race on scratch
        tables. What is found caps what later runs promise. Raises UsageError for a name that is not declared.
        """
        return self._doctor.examine(names)

    @contextmanager
    def asking(self, name: str) -> Iterator[Pair]:
        """Both sides of a projection, for questions outside of a run; paced like its statements."""
        with self._working("check", self.pair(self.binding(name, writing=False))) as pair:
            yield pair

    # --- what stands -------------------------------------------------------------------------------------------------

    def status(self, names: Sequence[str] = ()) -> list[Status]:
        """Where each projection stands."""
        found = []
        for name in names or self.projections:
            count, oldest = self.standing.drift_count(name)
            found.append(
                Status(
                    projection=self.projection(name),
                    control=self.standing.control(name),
                    last=self.standing.last_run(name),
                    drift=count,
                    oldest=oldest,
                    quarantined=self.kept_out.count(name),
                )
            )
        return found

    def next_tick(self, name: str) -> datetime | None:
        """When a projection runs next by itself; None: not before it is asked for."""
        schedule = self.projection(name).schedule
        if schedule is None or not schedule.repeats:
            return None
        now = self.queue.now(self.clock.now())
        since = self.queue.settled(name) or now
        return following(schedule, self.timezone, since=since, ended=self.queue.last_ended(name))

    def runs(self, name: str | None = None, *, limit: int = 20) -> list[RunRow]:
        """Runs, newest first."""
        return self.standing.runs(self.projection(name).name if name else None, limit)

    def drift(self, name: str, *, limit: int = 100) -> list[DriftRow]:
        """Rows known to be wrong, longest standing first."""
        return self.standing.drift(self.projection(name).name, limit)

    def find_plan(self, plan: str) -> PlanRow:
        row = self.plans.find(plan)
        if row is None:
            raise NotThere(f"there is no plan {plan!r} in the ledger; `trueup plan NAME` makes one")
        return row

    def decided(self, run: str) -> Decided:
        """What a run decided, with before- and after-images: however many, a part at a time."""
        row = self.find_run(run)
        return decided_by(self.ledger, row.id if row.plan is None else self.find_plan(row.plan).run)

    def decisions(self, run: str) -> list[DecisionRow]:
        """The same, all in memory."""
        return list(self.decided(run))

    def outcomes(self, run: str) -> list[OutcomeRow]:
        """What a run's repair transactions did."""
        return list(self.ledger.outcomes(self.find_run(run).id))

    def last_outcomes(self, run: str, keys: Collection[Key]) -> dict[Key, OutcomeRow]:
        """The last word on each of these rows."""
        return final_outcomes(o for o in self.ledger.outcomes(self.find_run(run).id) if o.key in keys)

    def statements(self, name: str) -> dict[Action, str]:
        """What is behind each action of a repair: the statement as the database would get it, or who is asked."""
        binding = self.binding(name, writing=False)
        return statements(self._adapter(binding.projection.target.database), binding)

    def erase(self, name: str, *, keys: Keys) -> int:
        """Take the sensitive values of rows out of the ledger, and make those in the audit log unreadable; how many.

        The log and its proofs stay. Such rows cannot be rolled back any more. Raises UsageError without a key.
        """
        binding = self.binding(name, writing=False)
        spelt = [spelling for key in keys or () for spelling in spellings(binding, key)]
        if not spelt:
            raise UsageError(f"{name}: name the rows to erase: --key NAME=VALUE")
        with self.answerable("erase", name):
            return self.audit.erase(name, spelt)

    # --- quarantine ---------------------------------------------------------------------------------------------------

    def quarantine(self, name: str) -> list[Quarantined]:
        """Rows that are left out of repairs, longest standing first."""
        return list(self.kept_out.held(self.projection(name).name).values())

    def quarantine_retry(self, name: str, *, keys: Keys = None, rows: int = 100) -> Report:
        """Repair rows in quarantine (default: all) once more, and take out those that are right then.

        Raises UsageError if there is no such row.
        """
        out = taken_out(self.kept_out, self.projection(name), keys, self.clock.now(), retried=True)
        return self.run(name, keys=out, rows=rows)

    def quarantine_drop(self, name: str, *, keys: Keys) -> int:
        """Take rows out of quarantine without looking at them; the next run treats them like any other. How many.

        Raises UsageError if one is not in it.
        """
        return len(taken_out(self.kept_out, self.projection(name), keys, self.clock.now()))


def load(path: str | Path = configuration.FILE, *, progress: Progress | None = None) -> Trueup:
    """The engine that a configuration file declares.

    Raises ConfigError.
    """
    declared = configuration.load(Path(path))
    engine = Trueup(
        databases=declared.databases,
        projections=declared.projections,
        brokers=declared.brokers,
        ledger=declared.settings.ledger.get_secret_value(),
        identity=declared.settings.identity,
        audit=declared.settings.audit,
        alerts=declared.alerts,
        retry=declared.settings.retry,
        timezone=declared.settings.timezone,
        lease_s=declared.settings.lease,
        keep_s=declared.settings.keep,
        engine=declared.settings.engine,
        progress=traced(progress or Silent()),
    )
    engine.file = Path(path)
    return engine


def tables_at(url: str) -> list[FoundTable]:
    """Tables of a database that is not declared yet.

    Raises UsageError if the URL is wrong or the database cannot be reached.
    """
    without_password(url)
    adapter = connect("app", database_of("app", url))
    try:
        return adapter.tables()
    finally:
        adapter.close()
