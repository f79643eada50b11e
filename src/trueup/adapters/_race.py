"""The live race probe: does a repair hold on this very server, with this very driver, while somebody else writes?

Two tables of our own, edges and their counter, and a counter that is wrong. The product's own repair is carried out on
it, and a writer is let in just before its first statement, then (all set back) before its second, and so on through
every gap: what decides is the order of two connections, not luck. A writer that finds the row locked waits as an
application would, its edge inserted and not committed, and ends after the repair.

The repair that people write by hand, count and then set, runs through the same gaps. It has to go wrong, or this was
no race.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from trueup.adapters import RowOutcome, Unit
from trueup.adapters._markers import MARKER_TABLES, applied, fences
from trueup.adapters._race_gaps import KEY, TRUE, WRONG, Gaps, Truth
from trueup.core.binding import Binding, Column, Shape, bind
from trueup.core.compare import DriftKind, Suspect
from trueup.core.findings import Race, raced
from trueup.core.guarantee import Protocol
from trueup.core.plan import Keys
from trueup.core.projection import Projection, Side, Writers
from trueup.core.row import Kind, Values
from trueup.core.states import Outcome
from trueup.core.writer_columns import equip
from trueup.errors import Busy, TrueupError

if TYPE_CHECKING:
    from trueup.adapters._sql import SqlAdapter

#: Scratch tables: `trueup_race_<seconds since 1970>_<random>_edges`.
_SCRATCH = re.compile(r"trueup_race_(\d+)_[0-9a-f]{8}_(edges|counter)$")
#: A probe gives up after this long, and scratch tables older than twice that are of one that crashed, seconds.
GIVES_UP_S = 30.0
LEFT_S = 60.0
#: Name of the projection, and of its fence where the target has marker tables.
NAME = "trueup_race"


class Application:
    """What writes meanwhile: an edge and its count in one transaction, or the source first and its value later."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self.adapter = field.application
        self.stack = ExitStack()
        self.connection: sa.Connection | None = None
        self.acted = self.done = False

    def act(self) -> None:
        self.acted = True
        if self.field.truth is not None:
            self.field.truth.value += 1  # its own database has committed that
        self._write()

    def finish(self) -> None:
        """The repair has ended: what waited for it goes on."""
        if self.acted and not self.done:
            self._write()
        self.stack.close()
        if self.acted and not self.done:
            raise Busy(f"{NAME}: the row stayed locked after the repair had ended")

    def _write(self) -> None:
        try:
            if self.connection is None:
                connection = self.stack.enter_context(self.adapter.as_application())
                if self.field.truth is None:
                    connection.execute(self.field.edges.insert().values(id=TRUE, k=KEY))
                self.connection = connection
            with self.connection.begin_nested() if self.adapter.capabilities.writing.row_locks else ExitStack():
                self.connection.execute(self._change())
            self.connection.commit()
            self.done = True
        except (SQLAlchemyError, Busy) as error:
            problem = error if isinstance(error, Busy) else self.adapter.translate(error)
            if not isinstance(problem, Busy):
                raise problem from error
            if not self.adapter.capabilities.writing.row_locks:  # nothing could be begun: all of it comes later
                self.connection = None
                self.stack.close()

    def _change(self) -> sa.Update:
        return self.field.change()


class Field:
    """Scratch tables, who repairs, who writes, and what is true."""

    #: Columns of the counter besides key and value.
    more: Sequence[str] = ()
    writers = Writers.ABSOLUTE
    #: What its source says, and what it holds, before a repair.
    true: Values = (TRUE,)
    wrong: Values = (WRONG,)

    def __init__(self, adapter: SqlAdapter, protocol: Protocol, *, one_database: bool, now: datetime) -> None:
        name = f"trueup_race_{int(now.timestamp())}_{uuid.uuid4().hex[:8]}"
        made = sa.MetaData()
        options: Any = dict(adapter.examiner_type.table_options)
        self.edges = sa.Table(
            f"{name}_edges",
            made,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("k", sa.Integer, nullable=False),
            **options,
        )
        self.counter = sa.Table(
            f"{name}_counter",
            made,
            sa.Column("k", sa.Integer, primary_key=True, autoincrement=False),
            *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("n", *self.more)),
            **options,
        )
        self.tables = made
        self.protocol = protocol
        self.one_database = one_database
        self.admin = adapter
        self.ours = adapter.another()
        self.application = adapter.another()
        self.application.examiner.refuse_to_wait()
        self.gaps = Gaps([self.edges.name, self.counter.name])
        for engine in self.ours.engines:
            sa.event.listen(engine, "engine_connect", self.gaps.before_session)  # nothing is locked yet
            sa.event.listen(engine, "before_cursor_execute", self.gaps.before_statement)
        self.binding: Binding
        self.truth: Truth | None = None
        self.token = 0
        self.units: list[str] = []

    @contextmanager
    def prepared(self, now: datetime) -> Iterator[None]:
        """With scratch tables, and without them afterwards."""
        self._remove_leftovers(now)
        try:
            with self.admin.writing() as connection:
                self.tables.create_all(connection)
            self._bind()
            yield
        finally:
            self.ours.close()
            self.application.close()
            self._remove()

    def _bind(self) -> None:
        query = f"SELECT k, count(*) AS n FROM {self.edges.name} GROUP BY k"  # names of ours: no quoting needed
        here = self.admin.name
        source = Side(database=here if self.one_database else f"not {here}", query=query)
        projection = Projection(
            name=NAME,
            source=source,
            target=Side(database=here, table=self.counter.name),
            key=("k",),
            columns=("n", *self.more),
            writers=Writers.SAME_TRANSACTION if self.one_database else self.writers,
            version=self.more[0] if self.more else "",
        )
        names = ("k", "n", *self.more)
        elsewhere = {name: Column(name=name, kind=Kind.INTEGER, type_name="integer") for name in names}
        shape = self.admin.describe(source) if self.one_database else Shape(columns=elsewhere)
        self.binding = equip(bind(projection, shape, self.admin.describe(projection.target), writing=True))
        if not self.one_database:
            self.truth = Truth(self.binding, self.gaps)
        self.ours.markers = self.admin.database.markers and self._has_markers()
        if self.ours.markers:
            self.token = self.ours.raise_fence(NAME) or 0

    def _has_markers(self) -> bool:
        with self.admin.reading() as connection:
            return all(sa.inspect(connection).has_table(name) for name in MARKER_TABLES.tables)

    def _remove(self) -> None:
        with suppress(TrueupError):  # what cannot be removed now is removed by the next probe
            with self.admin.writing() as connection:
                self.tables.drop_all(connection)
            if self.ours.markers:
                with self.admin.writing() as connection:
                    connection.execute(fences.delete().where(fences.c.fence == NAME))
                    connection.execute(applied.delete().where(applied.c.unit.in_(self.units)))

    def _remove_leftovers(self, now: datetime) -> None:
        """Scratch tables of a probe that crashed."""
        with self.admin.writing() as connection:
            for name in self.admin.examiner.table_names(connection):
                found = _SCRATCH.match(name)
                if found and now.timestamp() - int(found[1]) > LEFT_S:
                    sa.Table(name, sa.MetaData()).drop(connection)

    def reset(self) -> None:
        """The counter is wrong again."""
        if self.truth is not None:
            self.truth.value = TRUE
        with self.admin.writing() as connection:
            connection.execute(self.edges.delete())
            connection.execute(self.counter.delete())
            if self.truth is None:
                connection.execute(self.edges.insert(), [{"id": at, "k": KEY} for at in range(TRUE)])
            connection.execute(self.counter.insert().values((KEY, *self.wrong)))

    def change(self) -> sa.Update:
        """What a writer does to the counter."""
        new = self.counter.c.n + 1 if self.truth is None else sa.literal(self.truth.value)
        return self.counter.update().where(self.counter.c.k == KEY).values(n=new)

    def drift(self) -> int:
        """What the counter says, less what is true."""
        with self.admin.reading() as connection:
            says = connection.execute(sa.select(self.counter.c.n).where(self.counter.c.k == KEY)).scalar_one()
            if self.truth is not None:
                return int(says) - self.truth.value
            true = connection.execute(sa.select(sa.func.count()).select_from(self.edges)).scalar_one()
        return int(says) - int(true)

    # --- ways to repair ------------------------------------------------------------------------------------------

    def repair(self) -> bool:
        """One unit of the product, as it repairs what it found; did it write?"""
        return self._unit(Suspect(kind=DriftKind.DIFFERENT, key=(KEY,), expected=self.true, observed=self.wrong))

    def repair_by_snapshot(self) -> bool:
        """The same for what one look has proven, which the source is not read again for."""
        return any(self._unit(suspect, by_snapshot=True) for suspect in self._seen())

    def repair_by_difference(self) -> bool:
        """What it is off by is measured, and subtracted later."""
        return any(self._unit(suspect, delta=True) for suspect in self._seen())

    def _seen(self) -> Sequence[Suspect]:
        look = self.ours.differences(self.binding, Keys(keys=((KEY,),)))
        assert look is not None
        return look.suspects

    def _unit(self, suspect: Suspect, *, by_snapshot: bool = False, delta: bool = False) -> bool:
        unit = Unit(
            id=uuid.uuid4().hex,
            fence=NAME,
            token=self.token,
            protocol=self.protocol,
            drift=[suspect],
            as_planned=False,
            by_snapshot=by_snapshot,
            delta=delta,
        )
        self.units.append(unit.id)
        source: Any = self.ours if self.truth is None else self.truth
        try:
            outcomes: list[RowOutcome] = self.ours.repair(self.binding, unit, source)
        except Busy:
            return False
        return any(outcome.outcome is Outcome.APPLIED for outcome in outcomes)

    def naive(self) -> bool:
        """Count, then set. Where rows have versions it even demands one, which it read too late (X4)."""
        counter = self.counter
        if self.truth is not None:
            true: Any = self.truth.read()
        else:
            with self.ours.reading() as connection:
                true = connection.execute(sa.select(sa.func.count()).select_from(self.edges)).scalar_one()
        same = counter.c.k == KEY
        if self.truth is not None and self.admin.capabilities.writing.row_version:
            version = self.ours.token_of(self.binding.target)
            with self.ours.reading() as connection:
                seen = connection.execute(sa.select(version).select_from(counter).where(same)).scalar_one()
            same = same & (version == seen)
        try:
            with self.ours.writing() as connection:
                written = dict.fromkeys(("n", *self.more), true)
                return connection.execute(counter.update().where(same).values(written)).rowcount == 1
        except Busy:
            return False


class IssuedField(Field):
    """Source and counter have a version, which the source issues: the version is the value, so both grow together."""

    more = ("v",)
    writers = Writers.VERSIONED
    true = (TRUE, TRUE)
    wrong = (WRONG, TRUE - 1)

    def change(self) -> sa.Update:
        """A message: applied if it is newer."""
        assert self.truth is not None
        newer = self.counter.c.v < self.truth.value
        values = {"n": self.truth.value, "v": self.truth.value}
        return self.counter.update().where(self.counter.c.k == KEY, newer).values(values)


def race(adapter: SqlAdapter, protocol: Protocol, *, one_database: bool, now: datetime) -> Race:
    """Run the race for one protocol. One of issued versions is the same wherever the source is.

    Raises TrueupError where scratch tables cannot be made or used.
    """
    began = time.monotonic()
    issued = protocol is Protocol.ISSUED_VERSION
    made = IssuedField if issued else Field
    field = made(adapter, protocol, one_database=one_database and not issued, now=now)
    ways = [field.repair]
    if field.one_database:
        ways.append(field.repair_by_difference)
    if field.one_database and adapter.capabilities.writing.row_version:
        ways.append(field.repair_by_snapshot)
    with field.prepared(now):
        safe = [_every_gap(field, way, began=began) for way in ways]
        naive = _every_gap(field, field.naive, began=began)
    found = raced(
        protocol,
        one_database=one_database,
        safe=[wrong for _, wrongs in safe for wrong in wrongs],
        trials=sum(trials for trials, _ in safe),
        naive=naive[1],
        naive_trials=naive[0],
        seconds=0.0,
    )
    return replace(found, seconds=time.monotonic() - began)


def _every_gap(field: Field, way: Callable[[], bool], *, began: float) -> tuple[int, Sequence[str]]:
    """Let the application in at each gap in turn: how many there were, and the ones after which it was wrong."""
    wrong: list[str] = []
    gap = 0
    while True:
        if time.monotonic() - began > GIVES_UP_S:
            raise Busy(f"databases.{field.admin.name}: the race probe took longer than {GIVES_UP_S:g} s")
        field.reset()
        application = Application(field)
        field.gaps.arm(gap, application.act)
        wrote = way()
        application.finish()
        if not application.acted:
            return gap, wrong
        drift = field.drift()
        # A repair that stepped aside leaves the drift that it found, and has to do its work the next time.
        aside = not wrote and drift == WRONG - TRUE
        if drift != 0 and not (aside and _settles(field)):
            wrong.append(f"a writer let in before '{field.gaps.where}': {drift:+d}")
        gap += 1


def _settles(field: Field) -> bool:
    """Left alone, does the product's repair put the row right?"""
    field.gaps.arm(-1, lambda: None)
    field.repair()
    return field.drift() == 0
