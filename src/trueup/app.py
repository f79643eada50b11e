"""The engine as one object: declarations in, reports out. The command line and every other front end call only this."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trueup import config as configuration
from trueup.adapters import Adapter, FoundTable, connect
from trueup.by_partition import named
from trueup.clock import Clock, SystemClock
from trueup.core.binding import Binding, Shape, bind, check_query, near, not_writable
from trueup.core.decide import Action
from trueup.core.guarantee import Promise, promise
from trueup.core.keys import spellings
from trueup.core.projection import Database, Projection, Side
from trueup.errors import Busy, ConfigError, Refused, UsageError
from trueup.job import Job, Stop, actor, discreet
from trueup.narrow import Route, route
from trueup.observe import Progress, Silent
from trueup.report import Report
from trueup.run import execute
from trueup.side_by_side import Pair
from trueup.store import lock
from trueup.store.ledger import Ledger
from trueup.store.records import DecisionRow, OutcomeRow, RunRow
from trueup.store.standing import Control, DriftRow, PlanRow, Standing, plan_hash

#: Explicit keys, partitions by value or name; None: all.
Keys = Sequence[Mapping[str, Any]] | None
Parts = Sequence[Any] | None
#: Looks at whether a stopped run has ended, and seconds between two of them.
STOP_LOOKS = 120
STOP_LOOK_S = 0.5


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


class Trueup:
    """Declared databases and projections, and the ledger that remembers what was done about them."""

    def __init__(
        self,
        *,
        databases: Mapping[str, Database | str],
        projections: Sequence[Projection] | Mapping[str, Projection],
        ledger: str = "sqlite:///trueup.db",
        clock: Clock | None = None,
        progress: Progress | None = None,
    ) -> None:
        declared = {name: _database(name, value) for name, value in databases.items()}
        self.databases = configuration.with_files(declared)
        if isinstance(projections, Sequence) and len({p.name for p in projections}) != len(projections):
            raise ConfigError("two projections have one name")
        named = projections.items() if isinstance(projections, Mapping) else ((p.name, p) for p in projections)
        self.projections = {name: projection.model_copy(update={"name": name}) for name, projection in named}
        if "" in self.projections:
            raise ConfigError("a projection declared in Python needs a `name`")
        configuration.check_references(self.databases, self.projections)
        self.ledger_url = ledger
        self.clock: Clock = clock or SystemClock()
        self.progress: Progress = progress or Silent()
        #: Set `stop.asked` (from a signal handler, another thread) to end the running call after the segment at hand.
        self.stop_after_segment = Stop()
        self._adapters: dict[str, Adapter] = {}

    # --- the loop --------------------------------------------------------------------------------------------------

    def check(
        self, name: str, *, keys: Keys = None, partitions: Parts = None, rows: int = 100, full: bool = False
    ) -> Report:
        """Find drift; write nothing to the target.

        `keys`, `partitions` (by value, or a bucket as `2013-11-03`): only these; `rows`: listed at most (0: all);
        `full`: everything, though `changes` are declared.
        """
        return self._execute("check", name, keys=keys, partitions=partitions, rows=rows, full=full)

    def plan(
        self, name: str, *, keys: Keys = None, partitions: Parts = None, rows: int = 100, full: bool = False
    ) -> Report:
        """Find drift and write down what would be done about it. The report's `plan` is for `apply`."""
        return self._execute("plan", name, keys=keys, partitions=partitions, rows=rows, full=full)

    def run(
        self, name: str, *, keys: Keys = None, partitions: Parts = None, rows: int = 100, full: bool = False
    ) -> Report:
        """Find drift, confirm it, repair it within the limits, verify. Resumes an interrupted run."""
        return self._execute("run", name, keys=keys, partitions=partitions, rows=rows, full=full)

    def apply(self, plan: str | Report, *, rows: int = 100) -> Report:
        """Carry out a plan to the letter: rows that changed since are left alone and listed.

        Raises UsageError for an unknown plan, Refused if it was applied, tampered with, or the declaration changed.
        """
        row = self.find_plan(plan.plan if isinstance(plan, Report) else plan)
        planned = self.ledger.run(row.run)
        if row.state == "applied":
            raise Refused(f"plan {row.id} was applied already; make a new one: trueup plan {row.projection}")
        if planned.definition != self.definition(row.projection):
            raise Refused(
                f"plan {row.id}: the declaration of {row.projection} changed since it was made; make a new plan"
            )
        if plan_hash(planned, self.ledger.decisions(row.run)) != row.hash:
            raise Refused(f"plan {row.id}: its rows are not those that its hash was made of; make a new plan")
        report = self._execute("apply", row.projection, plan=row, rows=rows)
        self.standing.plan_applied(row.id)
        return report

    def _execute(
        self,
        command: str,
        name: str,
        *,
        keys: Keys = None,
        partitions: Parts = None,
        plan: PlanRow | None = None,
        rows: int = 100,
        full: bool = False,
    ) -> Report:
        binding = self.binding(name, writing=command != "check")
        if keys is not None and partitions is not None:
            raise UsageError(f"{name}: a key is found in whatever partition it is: give keys or partitions, not both")
        spelt = [spelling for key in keys or () for spelling in spellings(binding, key)]
        job = Job(
            command=command,
            pair=self.pair(binding),
            target=self._adapter(binding.projection.target.database),
            promise=self._promise(binding),
            settle_s=binding.projection.settle_s,
            ledger=self.ledger,
            standing=self.standing,
            clock=self.clock,
            progress=self.progress,
            definition=self.definition(name),
            keys=None if keys is None else tuple(dict.fromkeys(spelt)),
            partitions=None if partitions is None else named(binding, partitions, self.clock.now()),
            plan=plan,
            full=full,
            rows=rows,
        )
        return execute(job, self.stop_after_segment)

    # --- before anything runs ----------------------------------------------------------------------------------------

    def explain(self, name: str) -> Explanation:
        """Strategy, access path, guarantee class, and every reason."""
        binding = self.binding(name, writing=False)
        with discreet(binding.projection):
            chosen = route(self.pair(binding), self.clock.now())
        return Explanation(
            projection=name,
            route=chosen,
            promise=self._promise(binding),
            binding=binding,
            settle_s=binding.projection.settle_s,
        )

    def binding(self, name: str, *, writing: bool) -> Binding:
        """The declaration checked against what the databases say; reads no row.

        Raises UsageError.
        """
        projection = self.projection(name)
        return bind(projection, self._shape(projection, "source"), self._shape(projection, "target"), writing=writing)

    def _shape(self, projection: Projection, role: str) -> Shape:
        side: Side = getattr(projection, role)
        adapter = self._adapter(side.database)
        check_query(projection, role, adapter.capabilities.dialect)  # before the database gets to see it
        try:
            return adapter.describe(side)
        except ConfigError as error:
            place = f"projections.{projection.name}.{role}.{side.origin}"
            raise ConfigError(f"{place}: {error}") from error

    def projection(self, name: str) -> Projection:
        if name not in self.projections:
            raise UsageError(f"there is no projection {name!r}; {near(name, self.projections)}")
        return self.projections[name]

    def definition(self, name: str) -> str:
        """Fingerprint of what decides a projection's results; limits and descriptions do not."""
        projection = self.projection(name)
        told = projection.model_dump(mode="json", exclude={"limits", "description", "owner"})
        for role in ("source", "target"):
            database = self.databases[told[role]["database"]]
            told[role]["at"] = _without_password(database.url.get_secret_value())
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

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
                )
            )
        return found

    def runs(self, name: str | None = None, *, limit: int = 20) -> list[RunRow]:
        """Runs, newest first."""
        return self.standing.runs(self.projection(name).name if name else None, limit)

    def drift(self, name: str, *, limit: int = 100) -> list[DriftRow]:
        """Rows known to be wrong, longest standing first."""
        return self.standing.drift(self.projection(name).name, limit)

    def find_plan(self, plan: str) -> PlanRow:
        row = self.standing.plan(plan)
        if row is None:
            raise UsageError(f"there is no plan {plan!r} in the ledger; `trueup plan NAME` makes one")
        return row

    def find_run(self, run: str) -> RunRow:
        row = self.standing.find_run(run)
        if row is None:
            raise UsageError(f"there is no run {run!r} in the ledger; `trueup runs` lists them")
        return row

    def decisions(self, run: str) -> list[DecisionRow]:
        """What a run decided, with before- and after-images."""
        row = self.find_run(run)
        decided_in = row.id if row.plan is None else self.find_plan(row.plan).run
        return self.ledger.decisions(decided_in)

    def outcomes(self, run: str) -> list[OutcomeRow]:
        """What a run's repair transactions did."""
        return self.ledger.outcomes(self.find_run(run).id)

    def statements(self, name: str) -> dict[Action, str]:
        """The statement behind each action of a repair, as the target's database would get it."""
        binding = self.binding(name, writing=False)
        target = self._adapter(binding.projection.target.database)
        actions = (Action.INSERT, Action.UPDATE, Action.DELETE)
        return {action: target.statement(binding, action) for action in actions}

    # --- switches ----------------------------------------------------------------------------------------------------

    def pause(self, name: str, *, reason: str = "") -> None:
        """Halt runs of this projection at the next segment border, until `resume`."""
        self._switch(name, "paused", reason)

    def resume(self, name: str) -> None:
        """Undo `pause` and `stop`."""
        if self.standing.control(name).state == "stopped":
            self._fence(name, stop=False)
        self._switch(name, "running", "")

    def stop(self, name: str, *, reason: str = "") -> None:
        """When this returns, no write of this projection is in flight, and none begins until `resume`."""
        self._switch(name, "stopped", reason)
        if self._fence(name, stop=True):
            return
        # No fence in this target: a run ends before its next unit; then its lock is free.
        for _ in range(STOP_LOOKS):
            try:
                with lock.hold(self.ledger.engine, name):
                    return
            except Refused:
                self.clock.wait(STOP_LOOK_S)
        raise Busy(f"{name}: told to stop, but a run still holds it; it ends before its next repair transaction")

    def _fence(self, name: str, *, stop: bool) -> bool:
        """Set or clear the kill switch in the target; False where it has none."""
        return self._adapter(self.projection(name).target.database).raise_fence(name, stop=stop) is not None

    def _switch(self, name: str, state: str, reason: str) -> None:
        control = Control(state=state, reason=reason, actor=actor(), at=self.clock.now())
        self.standing.set_control(self.projection(name).name, control)

    # --- parts -------------------------------------------------------------------------------------------------------

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.ledger_url)

    @cached_property
    def standing(self) -> Standing:
        return Standing(self.ledger)

    def close(self) -> None:
        """Give all connections back."""
        for adapter in self._adapters.values():
            adapter.close()
        if "ledger" in self.__dict__:
            self.ledger.close()

    def __enter__(self) -> Trueup:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _adapter(self, database: str) -> Adapter:
        if database not in self._adapters:
            self._adapters[database] = connect(database, self.databases[database])
        return self._adapters[database]

    def pair(self, binding: Binding) -> Pair:
        """Both sides with who reads them."""
        return Pair(
            binding=binding,
            source=self._adapter(binding.projection.source.database),
            target=self._adapter(binding.projection.target.database),
        )

    def _promise(self, binding: Binding) -> Promise:
        target = self._adapter(binding.projection.target.database)
        obstacle = not_writable(binding.projection, binding.target)
        return promise(binding.projection, target.capabilities.writing, obstacle)


def load(path: str | Path = configuration.FILE, *, progress: Progress | None = None) -> Trueup:
    """The engine that a configuration file declares.

    Raises ConfigError.
    """
    declared = configuration.load(Path(path))
    return Trueup(
        databases=declared.databases,
        projections=declared.projections,
        ledger=declared.settings.ledger.get_secret_value(),
        progress=progress,
    )


def tables_at(url: str) -> list[FoundTable]:
    """Tables of a database that is not declared yet.

    Raises UsageError if the URL is wrong or the database cannot be reached.
    """
    _without_password(url)
    adapter = connect("app", _database("app", url))
    try:
        return adapter.tables()
    finally:
        adapter.close()


def _database(name: str, value: Database | str) -> Database:
    if isinstance(value, Database):
        return value
    try:
        return Database.model_validate({"url": value})
    except ValidationError as error:
        raise ConfigError(configuration.describe(f"databases.{name}", Database, error)) from None


def _without_password(url: str) -> str:
    import sqlalchemy as sa

    try:
        return sa.make_url(url).set(password=None).render_as_string()
    except (sa.exc.ArgumentError, ValueError):
        raise ConfigError(
            "a database URL is not of the form postgresql://user@host/database or sqlite:///file.db"
        ) from None
