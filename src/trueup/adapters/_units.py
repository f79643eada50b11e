"""One repair unit in one transaction, for all SQL adapters.

    begin -> hold the fence -> leave the marker -> lock the rows -> read the source -> write -> read back -> commit

The order carries the proof. *Lock, then read the source in a new statement*: a writer that touched the row before us
has committed or rolled back by the time we hold its lock, so our reading of the source sees all of it or knows it never
happened; one that comes after us waits. Where the source lives elsewhere the row's version is read first and the source
second, and the lock is followed by a test that the version is still the same: what the row reflected is then no newer
than what we write. (Design: correctness, sections 1.2 and 1.5.)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from trueup.adapters import Marker, Reader, RowOutcome, Unit
from trueup.adapters._relations import Slot
from trueup.core.binding import Binding, Column
from trueup.core.compare import DriftKind, Suspect
from trueup.core.decide import Action, decide_now
from trueup.core.guarantee import Protocol
from trueup.core.plan import Keys
from trueup.core.row import Batch, Key, Value, Values, batch_of, decode_row, encode_row, fit
from trueup.core.states import Outcome
from trueup.errors import BrokenRead, DataProblem, DesignProblem, Refused, TakenOver

if TYPE_CHECKING:
    from trueup.adapters._sql import SqlAdapter

_metadata = sa.MetaData()

#: One row for each unit that committed. `closed` rows were put there by recovery, so that the unit never can commit.
applied = sa.Table(
    "trueup_applied",
    _metadata,
    sa.Column("unit", sa.String(64), primary_key=True),
    sa.Column("closed", sa.Boolean, nullable=False),
    sa.Column("images", sa.Text, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.current_timestamp()),
)

#: One row for each projection that writes here. Units hold it shared; raising the token waits for them.
fences = sa.Table(
    "trueup_fence",
    _metadata,
    sa.Column("fence", sa.String(200), primary_key=True),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("stop", sa.Boolean, nullable=False, default=False),
)

#: Tables that Trueup keeps in a target database.
MARKER_TABLES = _metadata


@dataclass(kw_only=True, slots=True)
class HeldRow:
    """A target row as the unit holds it."""

    values: Values
    token: str


class UnitTransaction:
    """The steps of one unit on an open connection whose transaction has begun."""

    def __init__(self, adapter: SqlAdapter, connection: sa.Connection, binding: Binding, unit: Unit) -> None:
        self.adapter = adapter
        self.connection = connection
        self.binding = binding
        self.unit = unit
        self.table = adapter.relations.table(binding.target)

    # --- the steps ---------------------------------------------------------------------------------------------

    def hold_fence(self) -> None:
        held = self.connection.execute(
            sa.select(fences.c.token, fences.c.stop).where(fences.c.fence == self.unit.fence).with_for_update(read=True)
        ).one_or_none()
        if held is not None and held.stop:
            raise Refused(f"{self.unit.fence}: stopped by `trueup stop`; nothing more is written until `trueup resume`")
        if held is None or held.token != self.unit.token:
            raise TakenOver(f"{self.unit.fence}: another run has taken over; this one writes no more")

    def leave_marker(self) -> None:
        self.connection.execute(applied.insert().values(unit=self.unit.id, closed=False, images=""))

    def lock(self, keys: Sequence[Key]) -> dict[Key, HeldRow]:
        """The target's rows of `keys`, locked against other writers. One that is missing here is absent or busy."""
        statement = self.adapter.relations.rows(self.binding.target, Keys(keys=tuple(keys)), tokens=True, order=True)
        return self._held(self.adapter.locking(statement, wait=self.unit.wait))

    def read_target(self, keys: Sequence[Key]) -> dict[Key, HeldRow]:
        statement = self.adapter.relations.rows(self.binding.target, Keys(keys=tuple(keys)), tokens=True, order=False)
        return self._held(statement)

    def read_source_here(self, keys: Sequence[Key]) -> dict[Key, Values]:
        """The source's rows of `keys` by a new statement of this same transaction."""
        statement = self.adapter.relations.rows(self.binding.source, Keys(keys=tuple(keys)), tokens=False, order=False)
        return by_key([self._read(statement, tokens=False)])

    def insert_placeholders(self, expected: dict[Key, Values]) -> set[Key]:
        """Insert rows that are absent; the keys that this made. Somebody else's row stays as it is."""
        made: set[Key] = set()
        for key, values in expected.items():
            columns = self.binding.target.columns
            stored = self._fitted(columns, (*key, *values))
            row = {c.name: sa.literal(value, self.adapter.type_of(c)) for c, value in zip(columns, stored, strict=True)}
            if inserted(self.connection, self.adapter.insert_if_absent(self.table, row)):
                made.add(key)
        return made

    def update(self, rows: dict[Key, Values]) -> None:
        key, new = self.binding.target.key, self.binding.target.values
        slots = {
            column.name: self.adapter.relations.bound(column, Slot(f"trueup_v{at}")) for at, column in enumerate(new)
        }
        given = [_given("k", self._spelt(key, row)) | _given("v", self._fitted(new, rows[row])) for row in rows]
        self._each(self.table.update().where(*self._is_the_key()).values(slots), given)

    def delete(self, keys: Iterable[Key]) -> None:
        given = [_given("k", self._spelt(self.binding.target.key, key)) for key in keys]
        self._each(self.table.delete().where(*self._is_the_key()), given)

    def sign_marker(self, outcomes: Sequence[RowOutcome]) -> None:
        """Write the images into the marker: after a crash they are the only witness of what was overwritten."""
        images = json.dumps([outcome_to_json(outcome) for outcome in outcomes])
        self.connection.execute(applied.update().where(applied.c.unit == self.unit.id).values(images=images))

    # --- helpers -----------------------------------------------------------------------------------------------

    def _read(self, statement: sa.Select[Any], *, tokens: bool) -> Batch:
        rows = self.connection.execute(statement).fetchall()
        batch = batch_of(rows, self.binding.kinds, len(self.binding.key_kinds), tokens=tokens)
        return batch.clean(self.binding.value_kinds)

    def _held(self, statement: sa.Select[Any]) -> dict[Key, HeldRow]:
        batch = self._read(statement, tokens=True)
        tokens = batch.tokens or []
        return {
            batch.key(at): HeldRow(values=tuple(column[at] for column in batch.values), token=token)
            for at, token in enumerate(tokens)
        }

    def _is_the_key(self) -> list[sa.ColumnElement[bool]]:
        """Exactly the key that the slots `trueup_k0`, … are given."""
        same, parts = self.adapter.relations.same, self.table.c
        return [same(c, parts[c.name], Slot(f"trueup_k{at}")) for at, c in enumerate(self.binding.target.key)]

    def _spelt(self, columns: Sequence[Column], values: Sequence[Value]) -> list[Value]:
        return [self.adapter.spell(column, value) for column, value in zip(columns, values, strict=True)]

    def _fitted(self, columns: Sequence[Column], values: Sequence[Value]) -> list[Value]:
        """Values as these columns store them."""
        fitted = []
        for column, value in zip(columns, values, strict=True):
            try:
                fitted.append(fit(column.kind, value))
            except ValueError as lossy:
                raise DataProblem(f"{self.unit.fence}: column {column.name!r}: {lossy}") from None
        return self._spelt(columns, fitted)

    def _each(self, statement: sa.Update | sa.Delete, given: Sequence[dict[str, Value]]) -> None:
        """Execute `statement` for each row of slot values; each has to change exactly one row."""
        if given:
            self._one_row_each(self.connection.execute(statement, list(given)).rowcount, len(given))

    def _one_row_each(self, changed: int, keys: int) -> None:
        if changed != keys:
            raise BrokenRead(
                f"{self.unit.fence}: writing {keys} keys changed {changed} rows; the unit was rolled back. Is the "
                f"key's unique index what it seems (collation, partition)?"
            )


def _given(prefix: str, values: Sequence[Value]) -> dict[str, Value]:
    """Values for the slots `trueup_k0`, `trueup_k1`, … (prefix "k")"""
    return {f"trueup_{prefix}{at}": value for at, value in enumerate(values)}


def run_unit(adapter: SqlAdapter, binding: Binding, unit: Unit, source: Reader) -> list[RowOutcome]:
    """Carry out one unit; the reading order is the protocol's.

    Three ways to know what to write, each safe against its own kind of writer:
    the source is read under the lock; or between the row's version and its lock (compare-and-set); or it was read in
    the same snapshot as the row's version, and every writer that changes the source changes the row too.
    """
    keys = [suspect.key for suspect in unit.drift]
    versions: dict[Key, str | None] = {}
    expected: dict[Key, Values] = {}
    if unit.by_snapshot or unit.withdraw:
        versions = {s.key: None if s.observed is None else s.token for s in unit.drift}
        expected = {s.key: s.expected for s in unit.drift if s.expected is not None and s.kind is not DriftKind.EXTRA}
    elif unit.protocol is Protocol.COMPARE_AND_SET:
        with adapter.reading() as connection:
            seen = UnitTransaction(adapter, connection, binding, unit).read_target(keys)  # the version first
        versions = {key: seen[key].token if key in seen else None for key in keys}
        expected = read_source(source, binding, keys)  # the source second
    with adapter.writing() as connection:
        steps = UnitTransaction(adapter, connection, binding, unit)
        if adapter.markers:
            steps.hold_fence()
            steps.leave_marker()
        absent = _absent_rows(unit, versions, expected)
        made = steps.insert_placeholders(absent)
        held = steps.lock(keys)
        if not versions or unit.withdraw:
            expected = steps.read_source_here(keys) if binding.one_database else read_source(source, binding, keys)
        outcomes = []
        for suspect in unit.drift:
            now = held.get(suspect.key)
            if now is None and suspect.key in absent:
                outcome = _in_the_way(unit, suspect)
            elif versions and suspect.key not in made and _token(now) != versions[suspect.key]:
                outcome = _left(suspect, now, Outcome.CAS_LOST, "the row moved on", busy=now is None and not unit.wait)
            elif unit.withdraw:
                outcome = _withdrawn(suspect, now, expected.get(suspect.key))
            elif now is None and suspect.observed is not None:
                outcome = _not_held(unit, suspect)
            else:
                before = None if suspect.key in made else now
                outcome = _decided(binding, unit, suspect, before, expected.get(suspect.key))
            outcomes.append(outcome)
        written = [outcome for outcome in outcomes if outcome.outcome is Outcome.APPLIED]
        kept = {outcome.key for outcome in written if outcome.after is not None}
        steps.update({o.key: o.after for o in written if o.after is not None and held[o.key].values != o.after})
        steps.delete([o.key for o in written if o.after is None] + [key for key in made if key not in kept])
        outcomes = _read_back(steps, outcomes)
        if adapter.markers:
            steps.sign_marker(outcomes)
    return outcomes


def _absent_rows(unit: Unit, versions: dict[Key, str | None], expected: dict[Key, Values]) -> dict[Key, Values]:
    """Rows to insert before locking: a row that does not exist cannot be locked."""
    if unit.withdraw:
        return {}
    if versions:
        return {key: values for key, values in expected.items() if versions[key] is None}
    return {s.key: s.expected for s in unit.drift if s.observed is None and s.expected is not None}


def _in_the_way(unit: Unit, suspect: Suspect) -> RowOutcome:
    """The insert did nothing and the row is not to be had: it is locked, or a unique index takes another row for it."""
    if unit.wait:  # not locked, then
        raise DataProblem(
            f"{unit.fence}: key {suspect.key} cannot be inserted: another row of the target is in its way in a unique "
            f"index. Does the key's collation take two keys for one, or must another column be unique?"
        )
    return _left(suspect, None, Outcome.CAS_LOST, "locked by the application, or another row is in its way", busy=True)


def _decided(
    binding: Binding, unit: Unit, suspect: Suspect, now: HeldRow | None, expected: Values | None
) -> RowOutcome:
    """What to do with a row that is held, given what the source says now."""
    before = None if now is None else now.values
    action, after = decide_now(expected, before, binding.absent, binding.projection, binding.rules)
    if action is not None and expected is None and suspect.kind is not DriftKind.EXTRA:
        # The limits judged a row with a source. Taking it away is another decision, and another run's.
        return _left(suspect, now, Outcome.CAS_LOST, "its source row went away since it was judged")
    if action is None:
        return _left(suspect, now, Outcome.SUPERSEDED, "already right")
    planned = (suspect.observed, suspect.expected)
    if unit.as_planned and (before, binding.absent if expected is None else expected) != planned:
        return _left(suspect, now, Outcome.CAS_LOST, "not what the plan was made on")
    if action is Action.REPORT:
        return _left(suspect, now, Outcome.CAS_LOST, f"the policy only reports what it is now ({suspect.kind})")
    after = None if action is Action.DELETE else after
    return RowOutcome(key=suspect.key, outcome=Outcome.APPLIED, action=action, before=before, after=after)


def _not_held(unit: Unit, suspect: Suspect) -> RowOutcome:
    """A row that was there when it was judged could not be locked; after a wait for its lock it is known to be gone."""
    if unit.wait:
        return _left(suspect, None, Outcome.CAS_LOST, "the row is gone")
    return _left(suspect, None, Outcome.CAS_LOST, "the row is locked by the application, or gone", busy=True)


def _withdrawn(suspect: Suspect, now: HeldRow | None, expected: Values | None) -> RowOutcome:
    """Take back a row that we inserted, if it is still ours: its source row went away meanwhile."""
    if now is None or now.values != suspect.observed:
        return _left(suspect, now, Outcome.CAS_LOST, "the row moved on", busy=now is None)
    if expected is not None:
        return _left(suspect, now, Outcome.SUPERSEDED, "its source row is back")
    evidence = "inserted by this run; the source row went away meanwhile"
    return RowOutcome(
        key=suspect.key, outcome=Outcome.APPLIED, action=Action.DELETE, before=now.values, evidence=evidence
    )


def _left(suspect: Suspect, now: HeldRow | None, outcome: Outcome, why: str, *, busy: bool = False) -> RowOutcome:
    before = None if now is None else now.values
    return RowOutcome(key=suspect.key, outcome=outcome, before=before, evidence=why, busy=busy)


def _token(row: HeldRow | None) -> str | None:
    return None if row is None else row.token


def _read_back(steps: UnitTransaction, outcomes: list[RowOutcome]) -> list[RowOutcome]:
    """Read what was written, before it is committed: a value that the database changed on its way in (a trigger, a
    rounded decimal, a cut text) rolls the unit back.
    """
    written = [outcome.key for outcome in outcomes if outcome.outcome is Outcome.APPLIED]
    now = steps.read_target(written) if written else {}
    checked = []
    for outcome in outcomes:
        if outcome.outcome is Outcome.APPLIED:
            row = now.get(outcome.key)
            if (None if row is None else row.values) != outcome.after:
                raise DataProblem(
                    f"{steps.unit.fence}: key {outcome.key}: the target did not keep what was written "
                    f"({outcome.after} became {None if row is None else row.values}); nothing was changed. "
                    f"A trigger, or a column too narrow for the value?"
                )
            checked.append(replace(outcome, token="" if row is None else row.token))
        else:
            checked.append(outcome)
    return checked


def read_source(source: Reader, binding: Binding, keys: Sequence[Key]) -> dict[Key, Values]:
    """The source's rows of `keys`, read to the end.

    Raises BrokenRead if the end was not proven, DesignProblem if a key has more than one row.
    """
    stream = source.stream(binding, binding.source, Keys(keys=tuple(keys)), tokens=False)
    batches = list(stream)
    if not stream.ended:
        raise BrokenRead(f"{binding.projection.name}: the source stopped before its end; nothing was written")
    return by_key(batch.clean(binding.value_kinds) for batch in batches)


def by_key(batches: Iterable[Batch]) -> dict[Key, Values]:
    rows: dict[Key, Values] = {}
    for batch in batches:
        for at in range(len(batch)):
            key = batch.key(at)
            if key in rows:
                raise DesignProblem(f"the source has more than one row for key {key}; it cannot be repaired")
            rows[key] = tuple(column[at] for column in batch.values)
    return rows


def outcome_to_json(outcome: RowOutcome) -> dict[str, Any]:
    return {
        "key": encode_row(outcome.key),
        "outcome": outcome.outcome,
        "action": outcome.action,
        "before": encode_row(outcome.before),
        "after": encode_row(outcome.after),
        "token": outcome.token,
        "evidence": outcome.evidence,
    }


def outcome_from_json(data: dict[str, Any]) -> RowOutcome:
    return RowOutcome(
        key=decode_row(data["key"]) or (),
        outcome=Outcome(data["outcome"]),
        action=None if data["action"] is None else Action(data["action"]),
        before=decode_row(data["before"]),
        after=decode_row(data["after"]),
        token=data["token"],
        evidence=data["evidence"],
    )


def inserted(connection: sa.Connection, statement: sa.Insert) -> bool:
    """Run an INSERT that may do nothing; did it insert? (SQLAlchemy drops an INSERT's row count unless asked.)"""
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount == 1


def claim(connection: sa.Connection, insert_if_absent: Any, unit: str) -> Marker:
    """Put our own marker where the unit's would be: if there is one already the unit committed; if not, it never can.

    A unit that is still open makes the insert wait until it has ended. No clock is involved.
    """
    row = {"unit": unit, "closed": True, "images": "[]"}
    if inserted(connection, insert_if_absent(applied, row)):
        return Marker(applied=False)
    found = connection.execute(sa.select(applied).where(applied.c.unit == unit)).one()
    return Marker(applied=not found.closed, outcomes=[outcome_from_json(item) for item in json.loads(found.images)])
