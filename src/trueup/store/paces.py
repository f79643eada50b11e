"""What processes know of each other's pacing: who looks at a database, what each may use, and what somebody has set.

One row a database, one a node that works on it. Times are the ledger's own clock: no node has to have the right one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

import sqlalchemy as sa

from trueup.core.pace.said import Understood, understood
from trueup.core.pace.settings import Override
from trueup.core.pace.sharing import GRANT_S, Demand, Grant, granted, live
from trueup.errors import Refused
from trueup.store.ledger import Ledger
from trueup.store.schema_pacing import pace_nodes, paces
from trueup.who import Actor

#: What is asked many times a minute, made once: to make a statement costs as much as to ask it.
_ROW = sa.select(paces).where(paces.c.database == sa.bindparam("of")).with_for_update()
_TOLD = paces.update().where(paces.c.database == sa.bindparam("of"))
_NODES = sa.select(pace_nodes).where(pace_nodes.c.database == sa.bindparam("of"))
_TO_ALL = sa.select(paces.c.override, paces.c.override_until, paces.c.u).where(paces.c.database == sa.bindparam("of"))
#: What a node changes in its row.
_CHANGED = ("wants", "weight", "u", "until", "age", "flown", "errors")
#: Nodes that have not been heard of for so long are forgotten, seconds.
GONE_S = 600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What the node that looks at a database says of it."""

    u: float
    statement_s: float
    state: Mapping[str, Any]
    told: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Doing:
    """What a node does, for who decides."""

    #: Age of its oldest unverified data, as a multiple of what is aimed at.
    age: float = 0.0
    #: Since it renewed last: statements in flight on average, and how many ran into a limit or a deadlock.
    flown: float = 0.0
    errors: float = 0.0


class ToAll(NamedTuple):
    """What all nodes are told between two renewals: what somebody has set, and what they may use together."""

    said: Understood
    #: None: nobody has decided yet.
    total: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Renewed:
    """What a node is told when it asks."""

    #: It is the one that looks.
    leads: bool
    #: What it may have in flight, of what all may.
    u: float
    total: float
    statement_s: float
    #: The ledger's clock, seconds since 1970.
    clock_s: float
    #: What the others do, for who looks: errors once. How many of them want something.
    others: Sequence[Doing]
    wanting: int
    #: The state that the last one who looked has left; None: nobody has yet.
    state: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What somebody has set: as JSON, who, and why."""

    override: str
    by: str
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PaceRow:
    """How a database's pacing stands, for people."""

    database: str
    u: float
    statement_s: float
    told: dict[str, Any]
    override: Override
    override_by: str
    override_why: str
    #: Seconds until what was set ends; None: it does not.
    override_left_s: float | None
    #: Seconds since the last look, and nodes at work.
    age_s: float
    nodes: int
    #: What was set last, whether or not it still holds.
    held: Held = Held(override="", by="", why="")
    #: What of it holds and is not known here; `override` has the rest.
    unknown: tuple[str, ...] = ()

    def among(self, profiles: Collection[str]) -> PaceRow:
        """The same where these profiles are declared."""
        said = Understood(override=self.override, unknown=self.unknown).among(profiles)
        return replace(self, override=said.override, unknown=said.unknown)


class Paces:
    """Reads and writes them."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def renew(self, database: str, demand: Demand, report: Report, doing: Doing = Doing()) -> Renewed:
        """Ask for a share. Who looks at the database also leaves what it found, and keeps its place by that; `report`
        of any other node counts for nothing, unless there is nobody who looks.
        """
        with self.ledger.begin() as c:
            now, row = self._now(c), self._locked(c, database)
            leads = row.holder in (None, demand.who) or not live(row.holder_until, now)
            first = leads and row.holder != demand.who
            total = report.u if leads else row.u
            nodes = c.execute(_NODES, {"of": database}).all()
            grants = {one.node: _grant(one) for one in nodes}
            mine = granted(total, grants, demand, now)
            self._note(c, database, mine, doing)
            if any(one.until < now - GONE_S for one in nodes):
                gone = (pace_nodes.c.database == database) & (pace_nodes.c.until < now - GONE_S)
                c.execute(pace_nodes.delete().where(gone))
            if leads:
                values: dict[str, Any] = {"holder": demand.who, "holder_until": now + GRANT_S, "u": total, "at": now}
                values["statement_s"] = report.statement_s
                if not first:
                    values |= {"state": json.dumps(report.state), "told": json.dumps(report.told)}
                c.execute(_TOLD, {"of": database, **values})
        others = [one for one in nodes if one.node != demand.who and live(one.until, now)]
        return Renewed(
            leads=leads,
            u=mine.u,
            total=total,
            statement_s=report.statement_s if leads else row.statement_s,
            state=json.loads(row.state) if first and row.state else None,
            clock_s=now,
            others=[_doing(one, row.at) for one in others],
            wanting=sum(one.wants > 0 for one in others),
        )

    def give_back(self, database: str, node: str) -> None:
        """A node works no more: others may have its share at once, and another looks."""
        with self.ledger.begin() as c:
            mine = (pace_nodes.c.database == database) & (pace_nodes.c.node == node)
            c.execute(pace_nodes.delete().where(mine))
            held = (paces.c.database == database) & (paces.c.holder == node)
            c.execute(paces.update().where(held).values(holder=None, holder_until=0.0))

    def set(
        self,
        database: str,
        override: Override,
        *,
        by: Actor,
        why: str,
        for_s: float | None,
        held_by: str = "",
        in_place_of: Held | None = None,
    ) -> Held:
        """What somebody sets holds on all nodes at their next tick, in place of what was set before.

        `held_by`: whose it is said to be; default: `by`. `in_place_of`: only if that is what was set last; raises
        Refused where it is not.
        """
        made = Held(
            override=override.model_dump_json(exclude_none=True, exclude_defaults=True),
            by=held_by or by.name,
            why=why,
        )
        with self.ledger.begin() as c:
            now, row = self._now(c), self._locked(c, database)
            if in_place_of is not None and _held(row) != in_place_of:
                raise Refused(
                    f"databases.{database}: {row.override_by} has set other settings meanwhile, and they hold"
                )
            facts = {"database": database, "set": made.override, "reason": why}
            facts |= {} if for_s is None else {"for": f"{for_s:g} s"}
            self.ledger.audit.stage(c, "pace.set", facts, actor=by)
            values = {"override": made.override, "override_by": made.by, "override_why": why}
            until = None if for_s is None else now + for_s
            c.execute(paces.update().where(paces.c.database == database).values(**values, override_until=until))
        return made

    def to_all(self, database: str) -> ToAll:
        """What holds for all nodes now; asked often."""
        with self.ledger.reading() as c:
            row = c.execute(_TO_ALL, {"of": database}).one_or_none()
            now = 0.0 if row is None or row.override_until is None else self._now(c)
        return ToAll(Understood(), None) if row is None else ToAll(_understood(row, now), row.u)

    def note(self, database: str, mode: str, reason: str, *, at: datetime) -> None:
        """A governor went into another state: for the audit log. `at`: when, by the clock of its node."""
        facts = {"database": database, "reason": reason, "at": at.isoformat(timespec="seconds")}
        with self.ledger.begin() as c:
            self.ledger.audit.stage(c, f"pace.{mode}", facts)

    def find(self, database: str) -> PaceRow | None:
        """How a database stands; None: nobody has worked on it yet, or set anything."""
        with self.ledger.reading() as c:
            now = self._now(c)
            row = c.execute(sa.select(paces).where(paces.c.database == database)).one_or_none()
            nodes = sum(live(one.until, now) for one in c.execute(_NODES, {"of": database}))
        if row is None:
            return None
        left = None if row.override_until is None else max(row.override_until - now, 0.0)
        said = _understood(row, now)
        return PaceRow(
            database=database,
            u=row.u,
            statement_s=row.statement_s,
            told=json.loads(row.told) if row.told else {},
            override=said.override,
            unknown=said.unknown,
            override_by=row.override_by,
            override_why=row.override_why,
            override_left_s=left,
            held=_held(row),
            age_s=max(now - row.at, 0.0),
            nodes=nodes,
        )

    def _locked(self, c: sa.Connection, database: str) -> sa.Row[Any]:
        """The database's row, which nobody else writes until this transaction ends; made where there is none."""
        if (row := c.execute(_ROW, {"of": database}).one_or_none()) is not None:
            return row
        new = {"database": database, "holder_until": 0.0, "u": 0.0, "statement_s": 0.0, "at": 0.0}
        new |= {"override_by": "", "override_why": ""}
        c.execute(self.ledger.upsert(paces).values(**new).on_conflict_do_nothing())
        return c.execute(_ROW, {"of": database}).one()

    def _note(self, c: sa.Connection, database: str, grant: Grant, doing: Doing) -> None:
        demand = grant.demand
        values = {"wants": demand.wants, "weight": demand.weight, "u": grant.u, "until": grant.until, **asdict(doing)}
        c.execute(self._noted, {"database": database, "node": demand.who, **values})

    @cached_property
    def _noted(self) -> Any:
        new = self.ledger.upsert(pace_nodes)
        changed = {name: new.excluded[name] for name in _CHANGED}
        return new.on_conflict_do_update(index_elements=["database", "node"], set_=changed)

    def _now(self, c: sa.Connection) -> float:
        """The ledger's clock, seconds since 1970. A file's is this machine's."""
        if self.ledger.engine.dialect.name == "sqlite":
            return time.time()
        moment: datetime = c.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        return moment.astimezone(UTC).timestamp()


def _grant(row: sa.Row[Any]) -> Grant:
    return Grant(demand=Demand(who=row.node, wants=row.wants, weight=row.weight), u=row.u, until=row.until)


def _doing(row: sa.Row[Any], since: float) -> Doing:
    """`since`: what ran into limits before is known already."""
    return Doing(age=row.age, flown=row.flown, errors=row.errors if row.until - GRANT_S > since else 0.0)


def _held(row: sa.Row[Any]) -> Held:
    return Held(override=row.override or "", by=row.override_by, why=row.override_why)


def _understood(row: sa.Row[*tuple[Any, ...]], now: float) -> Understood:
    if not row.override or (row.override_until is not None and row.override_until <= now):
        return Understood()
    return understood(row.override)
