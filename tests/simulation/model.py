"""The engine's adapter and ledger on model servers. A unit's steps are the model's; their order is the engine's."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import trueup.adapters
from tests.simulation.scheduler import Scheduler
from tests.simulation.server import GONE, Place, Server, Transaction
from trueup import repair
from trueup.adapters import Capabilities, Look, Marker, RowOutcome, Unit, _steps, _units
from trueup.adapters._outcomes import HeldRow
from trueup.core.binding import Binding, BoundSide
from trueup.core.compare import compare
from trueup.core.decide import Decision
from trueup.core.guarantee import Writing
from trueup.core.plan import Keys, Part, Segment
from trueup.core.row import Batch, Key, Values, batch_of
from trueup.errors import DataProblem, Refused, TakenOver
from trueup.store.records import OutcomeRow

TICK_S = 0.1
REAL_STEPS = _steps.UnitTransaction


class ModelClock:
    """A tick of the scheduler is a tenth of a second."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.scheduler.now * TICK_S)

    def monotonic(self) -> float:
        return self.scheduler.now * TICK_S

    def wait(self, seconds: float) -> bool:
        self.scheduler.sleep(max(int(seconds / TICK_S), 0))
        return False


class ModelStream:
    """What a read returned, and whether it got to its end."""

    def __init__(self, batch: Batch, *, ended: bool) -> None:
        self.batch = batch
        self.ended = ended

    def __iter__(self) -> Iterator[Batch]:
        yield self.batch


class ModelAdapter:
    """One server, as the engine sees it."""

    packer = None

    def __init__(self, server: Server, *, writing: Writing, markers: bool) -> None:
        self.server = server
        self.capabilities = Capabilities(dialect="model", writing=writing)
        self.markers = markers
        #: From when to when streams stop before their end.
        self.cut = range(0)

    # --- reading ----------------------------------------------------------------------------------------------------

    def row(self, side: BoundSide, key: Key, transaction: Transaction | None) -> tuple[Values, str] | None:
        table = side.side.table
        row = self.server.read(transaction, (table, key))
        if row is None:
            return None
        return ((row,), "") if table == "source" else row

    def batch(self, binding: Binding, side: BoundSide, keys: Iterable[Key], transaction: Transaction | None) -> Batch:
        rows = [(key, row) for key in sorted(keys) if (row := self.row(side, key, transaction)) is not None]
        spelt = [(*key, *values, token) for key, (values, token) in rows]
        return batch_of(spelt, binding.kinds, len(binding.key_kinds), tokens=True)

    def stream(self, binding: Binding, side: BoundSide, segment: Part, *, tokens: bool) -> ModelStream:
        assert isinstance(segment, Keys)
        actor = self.server.scheduler.me
        assert actor is not None

        def statement() -> Batch:
            if side.side.table == "source":
                actor.notes["read_versions"] = {**actor.notes.get("read_versions", {}), **self.versions(segment.keys)}
            return self.batch(binding, side, segment.keys, None)

        batch = self.server.call(f"read {side.side.table}", statement)
        if not tokens:
            batch = replace(batch, tokens=None)
        if self.server.scheduler.now in self.cut:
            return ModelStream(batch.slice(0, len(batch) // 2), ended=False)
        return ModelStream(batch, ended=True)

    def versions(self, keys: Iterable[Key]) -> dict[Key, int]:
        """How new the source's rows are; for the judge."""
        return {key: self.server.rows.get(("version", key), 0) for key in keys}

    def differences(self, binding: Binding, segment: Segment) -> Look:
        assert isinstance(segment, Keys)

        def statement() -> tuple[Batch, Batch]:
            source = self.batch(binding, binding.source, segment.keys, None)
            return replace(source, tokens=None), self.batch(binding, binding.target, segment.keys, None)

        source, target = self.server.call("compare", statement)
        counts, suspects = compare(source, target, columns=binding.columns, absent=binding.absent)
        return Look(counts=counts, suspects=[replace(suspect, instant=True) for suspect in suspects])

    # --- writing ----------------------------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        yield self.server.begin()

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        transaction = self.server.begin()
        if self.capabilities.writing.single_writer:
            self.server.call("begin", lambda: self.server.alone(transaction), transaction)
        try:
            yield transaction
        except Exception:
            self.server.rollback(transaction)
            raise
        self.server.call("commit", lambda: self.server.commit(transaction), transaction)

    def raise_fence(self, fence: str, *, stop: bool | None = None) -> int | None:
        if not self.markers:
            return None
        with self.writing() as transaction:

            def statement() -> int:
                self.server.lock(transaction, ("fence", fence))
                token, stopped = self.server.read(transaction, ("fence", fence)) or (0, False)
                self.server.write(transaction, ("fence", fence), (token + 1, stopped if stop is None else stop))
                return int(token + 1)

            token = self.server.call("raise fence", statement, transaction)
        return token  # noqa: RET504 - after the commit

    def repair(self, binding: Binding, unit: Unit, source: Any) -> list[RowOutcome]:
        return _units.run_unit(self, binding, unit, source)  # type: ignore[arg-type]

    def claim(self, binding: Binding, unit: str) -> Marker | None:
        if not self.markers:
            return None
        with self.writing() as transaction:
            claimed = self.server.call("claim", lambda: self.claimed(transaction, unit), transaction)
        return claimed  # noqa: RET504 - after the commit

    def forget(self, units: Sequence[str]) -> None:
        raise AssertionError("nothing is old enough here")

    def claimed(self, transaction: Transaction, unit: str) -> Marker:
        place = ("applied", unit)
        if (found := self.server.read(transaction, place)) is None:
            self.server.lock(transaction, place)
            found = self.server.read(transaction, place)
        if found is None:
            self.server.write(transaction, place, (True, []))
            return Marker(applied=False)
        closed, images = found
        return Marker(applied=not closed, outcomes=images)


class ModelSteps:
    """The steps of `UnitTransaction` on a model server."""

    def __init__(self, adapter: ModelAdapter, connection: Transaction, binding: Binding, unit: Unit) -> None:
        self.adapter = adapter
        self.server = adapter.server
        self.transaction = connection
        self.binding = binding
        self.unit = unit
        connection.notes["unit"] = unit
        connection.notes["actor"] = self.server.scheduler.me

    def _call(self, what: str, statement: Any) -> Any:
        return self.server.call(what, statement, self.transaction)

    def hold_fence(self) -> None:
        def statement() -> Any:
            self.server.lock(self.transaction, ("fence", self.unit.fence), share=True)
            return self.server.read(self.transaction, ("fence", self.unit.fence))

        held = self._call("hold fence", statement)
        if held is not None and held[1]:
            raise Refused("stopped")
        if held is None or held[0] != self.unit.token:
            raise TakenOver("taken over")

    def leave_marker(self) -> None:
        def statement() -> None:
            place = ("applied", self.unit.id)
            self.server.lock(self.transaction, place)
            if self.server.read(self.transaction, place) is not None:
                raise DataProblem("duplicate key in trueup_applied")
            self.server.write(self.transaction, place, (False, []))

        self._call("leave marker", statement)

    def lock(self, keys: Sequence[Key]) -> dict[Key, HeldRow]:
        def statement() -> dict[Key, HeldRow]:
            held = {}
            for key in sorted(keys):
                place = ("target", key)
                if self.server.read(self.transaction, place) is None:
                    continue  # a row that is not there cannot be locked
                if self._locked(place) and (row := self._row(key)):
                    held[key] = row
            return held

        return self._call("lock", statement)  # type: ignore[no-any-return]

    def _locked(self, place: Place) -> bool:
        if self.adapter.capabilities.writing.single_writer:
            return True  # such a database has no row locks: it relies on the one it holds
        return self.server.lock(self.transaction, place, wait=self.unit.wait)

    def _row(self, key: Key) -> HeldRow | None:
        row = self.adapter.row(self.binding.target, key, self.transaction)
        return None if row is None else HeldRow(values=row[0], token=row[1])

    def read_target(self, keys: Sequence[Key]) -> dict[Key, HeldRow]:
        return self._call("read target", lambda: {key: row for key in keys if (row := self._row(key))})  # type: ignore[no-any-return]

    def read_source_here(self, keys: Sequence[Key]) -> dict[Key, Values]:
        def statement() -> dict[Key, Values]:
            rows = {key: self.adapter.row(self.binding.source, key, self.transaction) for key in keys}
            return {key: row[0] for key, row in rows.items() if row is not None}

        return self._call("read source here", statement)  # type: ignore[no-any-return]

    def insert_placeholders(self, expected: dict[Key, Values]) -> set[Key]:
        def insert(key: Key, values: Values) -> bool:
            if self.server.read(self.transaction, ("target", key)) is not None:
                return False
            self.server.lock(self.transaction, ("target", key))
            if self.server.read(self.transaction, ("target", key)) is not None:
                return False
            self._put(key, values)
            return True

        return {key for key, values in expected.items() if self._call("insert", lambda k=key, v=values: insert(k, v))}

    def _put(self, key: Key, values: Values) -> None:
        self.server.write(self.transaction, ("target", key), (values, str(self.transaction.id)))

    def update(self, rows: dict[Key, Values]) -> None:
        for key, values in rows.items():
            self._call("update", lambda k=key, v=values: self._put(k, v))

    def delete(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._call("delete", lambda k=key: self.server.write(self.transaction, ("target", k), GONE))

    def sign_marker(self, outcomes: Sequence[RowOutcome]) -> None:
        place = ("applied", self.unit.id)
        self._call("sign marker", lambda: self.server.write(self.transaction, place, (False, list(outcomes))))


@contextmanager
def engine_on_models() -> Iterator[None]:
    """The engine's units take the model's steps, and its ids are counted, so that a seed is the same each time."""
    ids = itertools.count()
    users = [
        module for module in vars(trueup.adapters).values() if getattr(module, "UnitTransaction", None) is REAL_STEPS
    ]
    real_uuid = repair.uuid
    for module in users:
        module.UnitTransaction = ModelSteps
    repair.uuid = SimpleNamespace(uuid4=lambda: SimpleNamespace(hex=f"u{next(ids)}"))  # type: ignore[assignment]
    try:
        yield
    finally:
        repair.uuid = real_uuid
        for module in users:
            module.UnitTransaction = REAL_STEPS


@dataclass(kw_only=True, slots=True)
class ModelUnit:
    """A unit as the ledger has it."""

    run: str
    keys: Sequence[Key]
    closed: bool = False
    outcomes: list[OutcomeRow] = field(default_factory=list)


class ModelLedger:
    """What repairing writes down, on a server of its own. Every call is one transaction."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.intents: dict[str, dict[Key, Decision]] = {}
        self.ended: set[str] = set()
        self.units: dict[str, ModelUnit] = {}

    def intend(self, run: str, decisions: Sequence[Decision]) -> None:
        self.server.call("intend", lambda: self.intents.update({run: {d.drift.key: d for d in decisions}}))

    def end(self, run: str) -> None:
        self.server.call("end run", lambda: self.ended.add(run))

    def open_unit(self, unit: str, run: str, segment: int, keys: Sequence[Key], at: datetime) -> None:
        self.server.call("open unit", lambda: self.units.update({unit: ModelUnit(run=run, keys=keys)}))

    def close_unit(self, unit: str, run: str, outcomes: Sequence[OutcomeRow], at: datetime, token: int = 0) -> None:
        def statement() -> None:
            mine = self.units[unit]
            if not mine.closed:
                mine.closed, mine.outcomes = True, list(outcomes)

        self.server.call("close unit", statement)

    def open_units(self) -> list[tuple[str, str, Sequence[Key]]]:
        return self.server.call(
            "open units", lambda: [(name, unit.run, unit.keys) for name, unit in self.units.items() if not unit.closed]
        )

    def unfinished(self) -> list[str]:
        return self.server.call("unfinished", lambda: [run for run in self.intents if run not in self.ended])

    def outcomes(self, run: str) -> list[OutcomeRow]:
        return self.server.call(
            "outcomes", lambda: [o for unit in self.units.values() if unit.run == run for o in unit.outcomes]
        )
