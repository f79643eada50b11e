"""The engine's parts, and what is asked of it made into jobs: what every command of `app` stands on."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

from trueup import who
from trueup.audit import Auditing, answerable
from trueup.bindings import Bindings
from trueup.border import Border
from trueup.by_partition import named
from trueup.clock import Clock, SystemClock
from trueup.core.alert_rules import Alerts
from trueup.core.audit_settings import AuditSettings
from trueup.core.backfill import Backfill
from trueup.core.binding import Binding
from trueup.core.declared import KEEP_S, THREADS
from trueup.core.freshness import Freshness
from trueup.core.guarantee import Promise
from trueup.core.keys import looked_up, spellings
from trueup.core.lanes import lanes
from trueup.core.pace.governor import State as PaceState
from trueup.core.projection import Canary, Database, Projection
from trueup.core.retry import Retry
from trueup.core.triggers import Broker
from trueup.declarations import checked
from trueup.doctor import Doctor
from trueup.engines.beyond import Beyond, Engines
from trueup.errors import NotThere, UsageError
from trueup.job import Job, Undoing
from trueup.observe import Progress, Silent
from trueup.pace.admission import Worker
from trueup.pace.pacing import Pacing
from trueup.patience import Patience, enduring
from trueup.report import Report
from trueup.run import execute
from trueup.side_by_side import Pair
from trueup.stop import Stop
from trueup.store.acceptances import Acceptances
from trueup.store.coverage import Coverage
from trueup.store.engine import exists
from trueup.store.lease import LEASE_S
from trueup.store.ledger import Ledger
from trueup.store.paces import Paces
from trueup.store.plans import PlanRow, Plans
from trueup.store.quarantine import Quarantine
from trueup.store.records import RunRow
from trueup.store.standing import Standing
from trueup.switches import Switches
from trueup.who import Actor

#: Explicit keys, partitions by value or name; None: all.
Keys = Sequence[Mapping[str, Any]] | None
Parts = Sequence[Any] | None
#: Rows that go first: a declaration, a number, a share; None: as declared.
CanaryLike = Canary | str | int | None


class Engine(Bindings):
    """Declarations, a ledger, and jobs made of what is asked."""

    def __init__(
        self,
        *,
        databases: Mapping[str, Database | str],
        projections: Sequence[Projection] | Mapping[str, Projection],
        brokers: Mapping[str, Broker | str] | None = None,
        ledger: str = "sqlite:///trueup.db",
        identity: str = "os",
        audit: AuditSettings | None = None,
        alerts: Alerts | None = None,
        clock: Clock | None = None,
        progress: Progress | None = None,
        retry: Retry | Mapping[str, Any] | None = None,
        timezone: str = "UTC",
        lease_s: float = LEASE_S,
        keep_s: float | None = KEEP_S,
        engine: str | Executor = THREADS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`retry`: as in `[trueup.retry]`; `timezone`: of schedules; `lease_s`: how long a node that is not heard of
        keeps what it runs; `keep_s`: how long `trueup serve` keeps what ended runs did, None: for ever; `engine`: as in
        `[trueup]`, or an executor whose workers have the same configuration file; `chance`: numbers between 0 and 1,
        which spread the tries.
        """
        super().__init__(databases, projections, brokers)
        self.ledger_url = ledger
        #: The file that the declarations are in; None: they are a program's.
        self.file: Path | None = None
        #: How it is known who asks: `os` (the account) or `variable` (TRUEUP_ACTOR).
        self.identity = identity
        self.timezone = timezone
        self.lease_s = lease_s
        self.keep_s = keep_s
        #: Who looks at segments first, where it is not this process.
        self.engines = Engines(engine)
        self.alerts = alerts or Alerts()
        self.audit_settings = audit or AuditSettings()
        self.clock: Clock = clock or SystemClock()
        self.progress: Progress = progress or Silent()
        self.patience = Patience(clock=self.clock, retry=checked(Retry, retry or {}, "retry"), chance=chance)
        #: Set `stop.asked` (from a signal handler, another thread) to end the running call after the segment at hand.
        self.stop_after_segment = Stop()
        self.pacing.check(self._adapter)

    # --- what a repair promises -------------------------------------------------------------------------------------

    def _promise(self, binding: Binding) -> Promise:
        """As things stand, and not only by design."""
        # Where there is no ledger nothing was examined yet, and asking makes none.
        return self._doctor.promise(binding, examined=exists(self.ledger_url))

    @property
    def _doctor(self) -> Doctor:
        return Doctor(self, lambda: self.ledger, self.clock)

    # --- jobs -------------------------------------------------------------------------------------------------------

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
        canary: CanaryLike = None,
        in_turn: bool = False,
    ) -> Report:
        name = self.projection(name).name
        if not exists(self.ledger_url):  # a wrong declaration begins nothing, not even a ledger
            self.patience.read(partial(self.binding, name, writing=command != "check"))
        with self.answerable(command, name), enduring(self.patience, self.standing, name):
            return self._reconcile(
                command, name, keys, partitions, plan, rows=rows, full=full, canary=canary, in_turn=in_turn
            )

    def _reconcile(
        self,
        command: str,
        name: str,
        keys: Keys,
        partitions: Parts,
        plan: PlanRow | None,
        *,
        rows: int,
        full: bool,
        canary: CanaryLike,
        in_turn: bool,
    ) -> Report:
        binding = self.patience.read(partial(self.binding, name, writing=command != "check"))
        if keys is not None and partitions is not None:
            raise UsageError(f"{name}: a key is found in whatever partition it is: give keys or partitions, not both")
        if keys is not None and not keys:
            raise UsageError(f"{name}: no key is given, so nothing would be looked at; without `keys` all rows are")
        spelt = [spelling for key in keys or () for spelling in looked_up(binding, key)]
        promise = self.patience.read(partial(self._promise, binding))
        with self._working(command, self.pair(binding)) as paced:
            pair = self.computed(paced, _canary(binding.projection, canary))
            job = Job(
                **self._common(command, pair, canary),
                promise=promise,
                settle_s=binding.projection.settle_s,
                definition=self.definition(name),
                keys=None if keys is None else tuple(dict.fromkeys(spelt)),
                partitions=None if partitions is None else named(binding, partitions, self.clock.now()),
                plan=plan,
                hands=self._handed(binding.projection, command, plan, self),
                full=full,
                in_turn=in_turn,
                rows=rows,
                elsewhere=self._elsewhere(pair),
            )
            return execute(job, self.stop_after_segment)

    def _elsewhere(self, pair: Pair) -> Beyond | None:
        projection = pair.binding.projection
        if projection.itself:
            return None  # its function is in this process
        paced = any(self.pacing.paced(side.database) for side in (projection.source, projection.target))
        return self.engines.beyond(pair, self, ledger=self.ledger_url, paced=paced, clock=self.clock)

    def _undo(
        self,
        command: str,
        run: RunRow,
        *,
        keys: Keys = None,
        plan: PlanRow | None = None,
        only_plan: bool = False,
        rows: int = 100,
        canary: CanaryLike = None,
    ) -> Report:
        binding = self.undoable(run)
        spelt = None if keys is None else tuple(tuple(spellings(binding, key)) for key in keys)
        target = self._adapter(binding.projection.target.database)
        promise = self.promised_back(binding)
        with (
            self.answerable(command, binding.projection.name),
            self._working(command, Pair(binding=binding, source=target, target=target)) as pair,
        ):
            job = Job(
                **self._common(command, pair, canary),
                promise=promise,
                settle_s=0.0,
                definition=self.undefined(run),
                keys=None if spelt is None else tuple(spelling for key in spelt for spelling in key),
                undoing=Undoing(run=run.id, keys=spelt),
                plan=plan,
                only_plan=only_plan,
                rows=rows,
            )
            return execute(job, self.stop_after_segment)

    def _working(self, command: str, pair: Pair) -> AbstractContextManager[Pair]:
        """Around a job: its pair, which asks before each statement where a database is paced."""
        projection = pair.binding.projection
        look = Border(
            name=projection.name,
            command=command,
            stop=self.stop_after_segment,
            standing=self.standing,
            clock=self.clock,
            progress=self.progress,
        )
        worker = Worker(
            name=projection.name,
            priority=projection.priority,
            weight=projection.weight,
            look=look,
            paused=look.paused,
            age=self._age(projection),
        )
        return self.pacing.working(pair, worker)

    def computed(self, pair: Pair, first: Canary | None) -> Pair:  # noqa: ARG002 - the rule
        """Who tells what rows should be; `first`: rows that go first."""
        return pair

    def described(self, name: str) -> str | None:  # noqa: ARG002 - the rule
        """Where the ledger keeps what exactly is declared."""
        return None

    def _age(self, projection: Projection) -> Callable[[], float]:
        """Age of its oldest unverified data, as a multiple of its objective, whenever a governor asks."""
        aims = projection.fresh is not None or projection.partition.verify
        begun = self.freshness(projection.name) if aims else None
        return lambda: 0.0 if begun is None else begun.ratio(self.clock.now())

    def _common(self, command: str, pair: Pair, canary: CanaryLike) -> dict[str, Any]:
        """What every job is given."""
        projection = pair.binding.projection
        return {
            "command": command,
            "pair": pair,
            "target": pair.target,
            "hold_s": partial(self.pacing.statement_s, projection.source.database, projection.target.database),
            "ledger": self.ledger,
            "standing": self.standing,
            "plans": self.plans,
            "acceptances": self.acceptances,
            "actor": self.actor,
            "clock": self.clock,
            "lease_s": self.lease_s,
            "progress": self.progress,
            "patience": self.patience,
            "quarantine": self.kept_out,
            "canary": _canary(projection, canary),
            "place": self.place(projection.name),
            "described": self.described(projection.name),
            "revision": projection.revision if isinstance(projection, Backfill) else None,
        }

    # --- parts -------------------------------------------------------------------------------------------------------

    @cached_property
    def ledger(self) -> Ledger:
        origin = self.audit_settings.origin
        return Ledger(self.ledger_url, actor=lambda: self.actor, clock=self.clock, origin=origin)

    @cached_property
    def audit(self) -> Auditing:
        """The audit log, for those who read it."""
        return Auditing(self.ledger, self.audit_settings, self.clock)

    def answerable(self, command: str, name: str, by: Actor | None = None) -> AbstractContextManager[None]:
        """Around what somebody asks for: the audit log tells of a refusal, and gets a head at the end."""
        return answerable(self.audit, self.progress, command, name, by)

    @cached_property
    def kept_out(self) -> Quarantine:
        return Quarantine(self.ledger)

    @property
    def forget_markers(self) -> Callable[[str, Sequence[str]], None]:
        """Deletes the markers of units, whose outcome is in the ledger, from a database."""
        return lambda database, units: self._adapter(database).forget(units)

    @cached_property
    def switches(self) -> Switches:
        return Switches(self.ledger, self.standing, self.clock, self._fence, lambda name: lanes(self._switchable(name)))

    @cached_property
    def paces(self) -> Paces:
        return Paces(self.ledger)

    @cached_property
    def pacing(self) -> Pacing:
        return Pacing(self.databases, self.clock, lambda: self.paces, self._tell_pace)

    def _tell_pace(self, database: str, state: PaceState) -> None:
        self.progress.paced(database, state.mode, state.reason)

    @cached_property
    def acceptances(self) -> Acceptances:
        return Acceptances(self.ledger)

    @cached_property
    def plans(self) -> Plans:
        return Plans(self.ledger)

    @cached_property
    def actor(self) -> Actor:
        """Who asks, where no server has said so. Raises ConfigError if nobody is named who has to be."""
        return who.named() if self.identity == "variable" else who.account()

    def freshness(self, name: str) -> Freshness:
        """Since when the oldest part of a projection has not been verified, and what is aimed at."""
        return Coverage(self.ledger).freshness(self.projection(name), self.definition(name), self.clock.now())

    @cached_property
    def standing(self) -> Standing:
        return Standing(self.ledger)

    def find_run(self, run: str) -> RunRow:
        """Raises NotThere."""
        row = self.standing.find_run(run)
        if row is None:
            raise NotThere(f"there is no run {run!r} in the ledger; `trueup runs` lists them")
        return row

    def close(self) -> None:
        """Give all connections back."""
        self.close_adapters()
        self.engines.close()
        if "ledger" in self.__dict__:
            self.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _switchable(self, name: str) -> Projection:
        """What a switch is about. Raises NotThere."""
        return self.projection(name)

    def _fence(self, name: str, stop: bool) -> bool:
        """Set or clear the kill switch in the target; False where it has none."""
        projection = self._switchable(name)
        if projection.handlers:
            return False  # what others were asked to do holds no fence of ours
        target = self._adapter(projection.target.database)
        tokens = [target.raise_fence(lane, stop=stop) for lane in lanes(projection)]
        return None not in tokens


def _canary(projection: Projection, asked: Canary | str | int | None) -> Canary | None:
    """What is asked for, or else declared; None: nothing is written first. Raises UsageError."""
    return projection.canary if asked is None else checked(Canary, asked, "canary", UsageError)
