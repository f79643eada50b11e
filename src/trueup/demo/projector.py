"""The projector of the demo: an idempotent consumer with a lag, which makes the mistakes it is told to.

It applies events in id order to each projection by itself, in small transactions that also move its recorded
position, so a crash neither loses an event nor counts it twice. Only the planned mistakes do that.
"""

import sqlite3
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from trueup.demo.faults import Fault, PlannedFault, append_faults, commit_fault, load_faults, seeded
from trueup.demo.schema import PROJECTIONS, Departure, Projection, transact

#: An event waits up to this share of the lag longer, so that pending events are not all of one age.
LAG_JITTER = 0.5


def _upsert(projection: Projection) -> str:
    """Count one event in its row, unless the row already reflects it: that makes the projector idempotent."""
    table, count, amount = projection.name, projection.count, projection.amount
    key = ", ".join(projection.key)
    marks = ", ".join("?" * len(projection.key))
    return (
        f"INSERT INTO {table}({key}, {count}, {amount}, last_departure) VALUES ({marks}, 1, ?, ?)"
        f" ON CONFLICT({key}) DO UPDATE SET {count} = {count} + 1, {amount} = {amount} + excluded.{amount},"
        f" last_departure = excluded.last_departure WHERE last_departure < excluded.last_departure"
    )


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What one transaction of the projector did."""

    #: Events that changed their row.
    applied: int
    #: Events their row already reflected.
    skipped: int
    #: Mistakes made, not yet stamped with the moment of the commit.
    faults: tuple[Fault, ...]
    #: The plans these mistakes carried out.
    plans: tuple[PlannedFault, ...]


class Projector:
    """Applies events to the projections in id order, and makes the planned mistakes on the way."""

    def __init__(
        self,
        conn: sqlite3.Connection,
        faults_path: str,
        *,
        seed: int,
        plan: Sequence[PlannedFault],
        phase: Literal["history", "live"],
    ) -> None:
        self.conn = conn
        self.faults_path = faults_path
        self.seed = seed
        self.phase = phase
        self.plan = list(plan)
        self.taken = {fault.row for fault in load_faults(faults_path)}

    def apply(self, projection: Projection, upto: int) -> Applied:
        """Apply the events after the position up to `upto`; rows and position move in one transaction."""
        done = transact(self.conn, lambda: self._apply(projection, upto))
        self.publish(done.faults)
        for planned in done.plans:
            self.plan.remove(planned)
        return done

    def _apply(self, projection: Projection, upto: int) -> Applied:
        position = position_of(self.conn, projection)
        events = self.conn.execute(
            "SELECT * FROM departures WHERE id > ? AND id <= ? ORDER BY id", (position, upto)
        ).fetchall()
        upsert = _upsert(projection)
        applied = 0
        open_plans = [planned for planned in self.plan if planned.projection == projection.name]
        faults: list[Fault] = []
        used: list[PlannedFault] = []
        for event in map(Departure._make, events):
            values = (*projection.key_of(event), projection.amount_of(event), event.id)
            if self.conn.execute(upsert, values).rowcount != 1:
                continue  # already reflected: nothing is applied, so nothing can go wrong either
            applied += 1
            if open_plans and open_plans[0].from_id <= event.id:
                fault = self._fault(projection, open_plans[0], event, faults)
                if fault is not None:
                    faults.append(fault)
                    used.append(open_plans.pop(0))
        if events:
            self.conn.execute(
                "UPDATE projector SET position = ? WHERE projection = ?", (events[-1][0], projection.name)
            )
        return Applied(applied=applied, skipped=len(events) - applied, faults=tuple(faults), plans=tuple(used))

    def spoil_history(self, plan: Sequence[PlannedFault], loaded: Sequence[Departure]) -> list[Fault]:
        """Make the planned mistakes on rows loaded in bulk, as if they had happened at the planned event."""
        specs = {projection.name: projection for projection in PROJECTIONS}
        faults: list[Fault] = []
        for planned in plan:
            # Near the end of the history there may be no suitable event after the planned one, so it wraps
            # round.
            for event in (*loaded[planned.from_id - 1 :], *loaded[: planned.from_id - 1]):
                fault = self._fault(specs[planned.projection], planned, event, faults)
                if fault is not None:
                    faults.append(fault)
                    break
        return faults

    def _fault(
        self, projection: Projection, planned: PlannedFault, event: Departure, so_far: Sequence[Fault]
    ) -> Fault | None:
        key = commit_fault(
            self.conn,
            projection,
            planned.kind,
            event,
            seed=self.seed,
            taken=self.taken | {fault.row for fault in so_far},
        )
        if key is None:
            return None
        return Fault(
            kind=planned.kind,
            projection=projection.name,
            key=key,
            event_id=event.id,
            phase=self.phase,
            committed_at_s=0.0,
        )

    def publish(self, faults: Sequence[Fault]) -> None:
        """After the commit: stamp the mistakes with the moment and append them to the list."""
        if faults:
            now = time.monotonic()
            append_faults(self.faults_path, [replace(fault, committed_at_s=now) for fault in faults])
            self.taken |= {fault.row for fault in faults}


def position_of(conn: sqlite3.Connection, projection: Projection) -> int:
    """Id of the newest departure the projector has applied to this projection."""
    row = conn.execute("SELECT position FROM projector WHERE projection = ?", (projection.name,)).fetchone()
    return int(row[0])


class Lag:
    """For each projection, which events are old enough to be applied."""

    def __init__(self, lag_s: float, seed: int) -> None:
        self.lag_s = lag_s
        self.rng = seeded(seed, "lag")
        self.waiting: dict[str, deque[tuple[float, int]]] = {p.name: deque() for p in PROJECTIONS}

    def wrote(self, last_id: int, now: float) -> None:
        """Departures up to `last_id` were committed at `now`."""
        for queue in self.waiting.values():
            queue.append((now + self.lag_s * (1 + LAG_JITTER * self.rng.random()), last_id))

    def due(self, projection: Projection, now: float) -> int | None:
        """The newest id that may be applied now, None for nothing new; the oldest holds up the rest."""
        queue = self.waiting[projection.name]
        upto: int | None = None
        while queue and queue[0][0] <= now:
            upto = queue.popleft()[1]
        return upto

    def any_waiting(self) -> bool:
        """Whether some event is still too young for some projection."""
        return any(self.waiting.values())
