"""The queue: what is to be run, by whichever node comes first. Ticks are settled here, each once on all nodes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from trueup.core.pace.sharing import PRIORITIES
from trueup.core.projection import Projection
from trueup.core.queue import (
    ATTEMPTS_MAX,
    CONTINUOUS,
    KEYS_MAX,
    Arrival,
    AskedKeys,
    Request,
    arriving,
    begins_at,
    merged_keys,
)
from trueup.core.schedule import Due
from trueup.store.ledger import Ledger
from trueup.store.records import certainly_utc, utc
from trueup.store.schema_serving import requests as t
from trueup.store.schema_serving import schedules
from trueup.who import Actor

KEYS = t.c["keys"]
_IN_TURN = t.c.asked_by == CONTINUOUS
#: Requests that ended are kept this long; the newest of each projection always.
KEPT = timedelta(days=7)


class Requests:
    """Reads and writes the queue. `now` is the control database's clock."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    # --- ticks -----------------------------------------------------------------------------------------------------

    def settled(self, projection: str) -> datetime | None:
        """Up to when the ticks of a projection are settled; None: no node has looked at it."""
        with self.ledger.reading() as c:
            return utc(c.execute(sa.select(schedules.c.settled).where(schedules.c.projection == projection)).scalar())

    def register(self, projection: str, now: datetime, *, instead_of: datetime | None = None) -> datetime:
        """Settle the ticks of a projection from now on, if no node has done so; up to when they are. `instead_of`: if
        they are settled up to then, by a clock that was set back since; what waits begins by the clock as it is now.
        """
        with self.ledger.begin() as c:
            insert = self.ledger.upsert(schedules).values(projection=projection, settled=now)
            c.execute(insert.on_conflict_do_nothing())
            if instead_of is not None:
                ahead = (schedules.c.projection == projection) & (schedules.c.settled == instead_of)
                c.execute(schedules.update().where(ahead).values(settled=now))
                late = (t.c.projection == projection) & (t.c.state == "waiting") & (t.c.not_before > now)
                c.execute(t.update().where(late).values(not_before=now))
        return self.settled(projection) or now

    def settle(
        self, base: Request, due: Due, since: datetime, overlap: str, begins: Mapping[datetime, datetime]
    ) -> bool:
        """Make requests of ticks that are due, and write down those that are passed over.

        `base`: what each of them is; `since`: up to where they were settled when `due` was computed; `begins`: when
        each begins. False if another node was first, and nothing was done.
        """
        assert due.last is not None
        mine = (schedules.c.projection == base.projection) & (schedules.c.settled == since)
        with self.ledger.begin() as c:
            if c.execute(schedules.update().where(mine).values(settled=due.last)).rowcount == 0:
                return False
            for tick in due.skipped:
                self._insert(c, base, tick, state="skipped", answer="missed: no node was there in time")
            for tick in due.run:
                arrival = self._arrival(c, base, overlap, asked=False)
                if len(due.run) > 1:  # each is to be caught up on
                    arrival = Arrival.ADD
                told = {Arrival.MERGE: "another is waiting", Arrival.SKIP: "another is going on"}.get(arrival)
                if told:
                    self._insert(c, base, tick, state="skipped", answer=told)
                else:
                    self._insert(c, base, tick, not_before=begins[tick])
        return True

    # --- requests --------------------------------------------------------------------------------------------------

    def submit(self, base: Request, overlap: str, merged: int = 1, by: Actor | None = None) -> str:
        """Add a request, or merge it into one that waits; the id of that which waits.

        Keys that became too many turn into a run over all of them. `merged`: how many events it stands for; `by`: who
        asks, and is told of in the audit log.
        """
        with self.ledger.begin() as c:
            if base.about:  # no other does for it
                request = self._insert(c, base, None, merged=merged)
            else:
                submit = self._submit_all if base.keys is None else self._submit_keys
                request = submit(c, base, overlap, merged)
            if by is not None:
                over = "all keys" if base.keys is None else f"{len(base.keys):,} keys"
                facts = {"request": request, "command": base.command, "reason": base.reason, "over": over}
                facts |= {"about": base.about} if base.about else {}
                self.ledger.audit.stage(c, "run.requested", facts, projection=base.projection, actor=by)
        return request

    def _submit_keys(self, c: sa.Connection, base: Request, overlap: str, merged: int) -> str:
        found = self._waiting(c, base, over_all=False)
        keys = merged_keys(found.keys or () if found else (), base.keys or ())
        if keys is None:
            why = f"more than {KEYS_MAX:,} keys were waiting, so all are looked at; the last: {base.reason}"
            if found:
                c.execute(t.delete().where(t.c.id == found.id))
                merged += found.merged
            return self._submit_all(c, replace(base, keys=None, reason=why), overlap, merged)
        if found is None:
            return self._insert(c, replace(base, keys=keys), None, merged=merged)
        values: dict[str, Any] = {"keys": _text(keys), "merged": t.c.merged + merged}
        values["priority"] = min(found.priority, base.priority)
        values["not_before"] = begins_at(found, base)
        c.execute(t.update().where(t.c.id == found.id).values(**values))
        return found.id

    def _submit_all(self, c: sa.Connection, base: Request, overlap: str, merged: int) -> str:
        found = self._waiting(c, base, over_all=True)
        if found is not None:
            values = {"merged": t.c.merged + merged, "priority": min(found.priority, base.priority)}
            values["not_before"] = begins_at(found, base)
            c.execute(t.update().where(t.c.id == found.id).values(**values))
            return found.id
        self._arrival(c, base, overlap, asked=True)
        return self._insert(c, base, None, merged=merged)

    def _arrival(self, c: sa.Connection, base: Request, overlap: str, *, asked: bool) -> Arrival:
        mine = t.c.projection == base.projection, t.c.command == base.command  # another command's does not do for it
        going = *mine, t.c.state == "running", KEYS.is_(None), ~_IN_TURN, t.c.about == ""
        running = c.execute(sa.select(t.c.id).where(*going).limit(1)).first() is not None
        waiting = self._waiting(c, base, over_all=True) is not None
        arrival = arriving(overlap, waiting=waiting, running=running, asked=asked)
        if arrival is Arrival.CANCEL:
            c.execute(t.update().where(*going).values(cancelled=True))
        return arrival

    def _waiting(self, c: sa.Connection, base: Request, *, over_all: bool) -> Request | None:
        """The waiting request that another is merged into, locked; of the same command."""
        kind = KEYS.is_(None) if over_all else KEYS.is_not(None)
        mine = (t.c.projection == base.projection) & (t.c.state == "waiting") & (t.c.command == base.command)
        mine &= _IN_TURN if base.in_turn else ~_IN_TURN  # a turn does not do for what reads everything
        found = sa.select(t).where(mine, kind).order_by(t.c.requested_at, t.c.id).limit(1).with_for_update()
        row = c.execute(found).one_or_none()
        return None if row is None else request_of(row)

    def _insert(self, c: sa.Connection, base: Request, tick: datetime | None, **changes: Any) -> str:
        values = {field.name: getattr(base, field.name) for field in fields(Request)}
        values |= {"id": f"q-{uuid.uuid4().hex[:12]}", "tick": tick, **changes}
        values["keys"] = _text(values["keys"])
        if values["state"] == "skipped":
            values["ended_at"] = values["requested_at"]
        c.execute(t.insert().values(**values))
        return str(values["id"])

    # --- carrying out ----------------------------------------------------------------------------------------------

    def begin(self, request: str, node: str, now: datetime) -> Request | None:
        """Take a waiting request, while holding its lane; None: it does not wait any more."""
        mine = (t.c.id == request) & (t.c.state == "waiting")
        taken = {"state": "running", "node": node, "begun_at": now, "attempts": t.c.attempts + 1, "cancelled": False}
        with self.ledger.begin() as c:
            row = c.execute(t.update().where(mine).values(**taken).returning(*t.c)).one_or_none()
        return None if row is None else request_of(row)

    def end(self, request: Request, state: str, now: datetime, *, run: str | None, answer: str) -> None:
        """It is over."""
        mine = (t.c.id == request.id) & (t.c.state == "running") & (t.c.node == request.node)
        with self.ledger.begin() as c:
            c.execute(t.update().where(mine).values(state=state, ended_at=now, run=run, answer=answer))

    def again(self, request: Request, now: datetime, *, not_before: datetime, answer: str) -> None:
        """It waits once more, since now. What kept it from its end is no fault of its own: this try does not count."""
        waits = {"begun_at": now, "not_before": not_before}
        self._waits(request, **waits, answer=answer, attempts=t.c.attempts - 1)

    def orphaned(self, projection: str, over_all: bool | None, now: datetime) -> None:
        """While holding the lane (`over_all` None: the only one): what is said to be running there is not. It waits
        once more, or is given up if it has ended as many nodes as are sensible.
        """
        mine = (t.c.projection == projection) & (t.c.state == "running")
        if over_all is not None:
            mine &= KEYS.is_(None) if over_all else KEYS.is_not(None)
        with self.ledger.reading() as c:
            rows = [request_of(row) for row in c.execute(sa.select(t).where(mine))]
        lost = "its node was lost"
        for row in rows:
            if row.attempts < ATTEMPTS_MAX:
                self._waits(row, not_before=now, answer=lost)
            else:
                told = f"given up after {row.attempts} tries: {lost}"
                self.end(row, "failed", now, run=row.run, answer=told)

    def _waits(self, request: Request, **values: Any) -> None:
        mine = (t.c.id == request.id) & (t.c.state == "running")
        with self.ledger.begin() as c:
            c.execute(t.update().where(mine).values(state="waiting", **values))

    # --- what there is ---------------------------------------------------------------------------------------------

    def open(self) -> list[Request]:
        """Waiting and running."""
        return self._listed(t.c.state.in_(("waiting", "running")), t.c.requested_at)

    def find(self, request: str) -> Request | None:
        return next(iter(self._listed(t.c.id == request)), None)

    def newest(self, projection: str | None = None, limit: int = 20) -> list[Request]:
        """Those that ended, newest first; `limit` 0: all."""
        mine = t.c.ended_at.is_not(None) & ((t.c.projection == projection) if projection else sa.true())
        return self._listed(mine, t.c.ended_at.desc(), t.c.begun_at.desc(), limit=limit or None)

    def _listed(self, which: sa.ColumnElement[bool], *order: Any, limit: int | None = None) -> list[Request]:
        statement = sa.select(t).where(which).order_by(*order, t.c.id).limit(limit)
        with self.ledger.reading() as c:
            return [request_of(row) for row in c.execute(statement)]

    def last_ended(self, projection: str) -> datetime | None:
        """End of the last run over all keys that was asked for here."""
        whole = KEYS.is_(None) & (t.c.about == "") & ~_IN_TURN
        mine = (t.c.projection == projection) & whole & t.c.state.in_(("done", "failed"))
        with self.ledger.reading() as c:
            return utc(c.execute(sa.select(sa.func.max(t.c.ended_at)).where(mine)).scalar())

    def last_turn(self, projection: str) -> Request | None:
        """What was last read in turn, when nothing else was to be done."""
        mine = (t.c.projection == projection) & _IN_TURN & t.c.ended_at.is_not(None)
        return next(iter(self._listed(mine, t.c.ended_at.desc(), limit=1)), None)

    def prune(self, now: datetime, keep: timedelta = timedelta.max) -> int:
        """Forget what ended longer ago than KEPT, or than `keep` if that is shorter; how many rows."""
        # Of a projection that only waits NULL would be the newest, and keep all.
        ended = KEYS.is_(None) & t.c.ended_at.is_not(None)
        newest = sa.select(sa.func.max(t.c.ended_at)).where(ended).group_by(t.c.projection)
        old = (t.c.ended_at < now - min(KEPT, keep)) & t.c.ended_at.not_in(newest)
        with self.ledger.begin() as c:
            return c.execute(t.delete().where(old)).rowcount

    def now(self, otherwise: datetime) -> datetime:
        """This moment by the control database's clock; a file has none, and lives on this machine."""
        if self.ledger.engine.dialect.name == "sqlite":
            return otherwise
        with self.ledger.reading() as c:
            return certainly_utc(c.execute(sa.select(sa.func.clock_timestamp())).scalar_one())


def asked(
    projection: Projection,
    now: datetime,
    *,
    keys: AskedKeys | None = None,
    reason: str,
    asked_by: str,
    actor: str = "",
    command: str = "",
    about: str = "",
) -> Request:
    """A request that waits from now on, for what a projection does by itself, or for another command."""
    blank: dict[str, Any] = {"id": "", "tick": None, "begun_at": None, "ended_at": None, "run": None}
    return Request(
        **blank,
        projection=projection.name,
        command=command or projection.by_itself,
        about=about,
        keys=keys,
        reason=reason,
        asked_by=asked_by,
        actor=actor,
        priority=PRIORITIES.index(projection.priority),
        merged=1,
        requested_at=now,
        not_before=now,
        state="waiting",
        cancelled=False,
        attempts=0,
        node="",
        answer="",
    )


def _text(keys: AskedKeys | None) -> str | None:
    return None if keys is None else json.dumps(list(keys), ensure_ascii=False)


def request_of(row: sa.Row[Any]) -> Request:
    """A row of the queue as a value."""
    values: dict[str, Any] = dict(row._mapping)
    values |= {name: utc(value) for name, value in values.items() if isinstance(value, datetime)}
    values["keys"] = None if values["keys"] is None else json.loads(values["keys"])
    return Request(**values)
