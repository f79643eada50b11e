"""The projector's known mistakes: each is committed with the event it goes wrong on, then written down.

A fault lands only on a row that is right at that moment and that no earlier fault has touched, and it always
leaves the row wrong. So two faults never cancel out, and without a repair no later event heals one: counters
are increments, so a wrong count stays wrong, NULL + 1 is NULL, a deleted row comes back with too little in
it, an orphan has no events at all.
"""

import json
import random
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from trueup.demo.schema import PROJECTIONS, Departure, Key, Projection, RowId, all_keys

#: lost_update: the event is consumed but not counted. double_apply: counted twice. stale_overwrite: the
#: counters of an older snapshot of the row are written back. orphan_row: a row for a mistyped key.
#: null_counter: a counter becomes NULL. missing_row: the row is deleted.
Kind = Literal["lost_update", "double_apply", "stale_overwrite", "orphan_row", "null_counter", "missing_row"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: A row must stand for this many events before it can go wrong, so that an older snapshot of it exists.
EVENTS_MIN = 3


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One mistake that is committed in the database."""

    #: What went wrong, one of KINDS.
    kind: Kind
    #: The projection whose row is wrong.
    projection: str
    #: The key of the row that is wrong; for an orphan, the key that the truth does not hold.
    key: Key
    #: Id of the departure the projector was applying.
    event_id: int
    #: Whether it was there before the replay started ("history") or was made by it ("live").
    phase: Literal["history", "live"]
    #: Seconds of this machine's monotonic clock just after the commit; comparable between its processes.
    committed_at_s: float

    @property
    def row(self) -> RowId:
        """The row that is wrong."""
        return (self.projection, self.key)


@dataclass(frozen=True, kw_only=True)
class PlannedFault:
    """A mistake to make at the first suitable event from a given one on."""

    #: What is to go wrong.
    kind: Kind
    #: Name of the projection in which it is to go wrong.
    projection: str
    #: The first departure id on which it may happen.
    from_id: int


def seeded(*parts: object) -> random.Random:
    """A generator that depends on these parts only: timing and retries do not change what it yields."""
    return random.Random("/".join(map(str, parts)))  # noqa: S311 - a reproducible demo, not a secret


def plan_faults(*, seed: int, count: int, first_id: int, last_id: int) -> list[PlannedFault]:
    """`count` faults at random moments between two departure ids, every kind in every projection in turn."""
    rng = seeded(seed, "plan", first_id)
    moments = sorted(rng.randint(first_id, max(first_id, last_id)) for _ in range(count))
    return [
        PlannedFault(
            kind=KINDS[number % len(KINDS)],
            projection=PROJECTIONS[number // len(KINDS) % len(PROJECTIONS)].name,
            from_id=moment,
        )
        for number, moment in enumerate(moments)
    ]


def commit_fault(
    conn: sqlite3.Connection,
    projection: Projection,
    kind: Kind,
    event: Departure,
    *,
    seed: int,
    taken: Iterable[RowId],
) -> Key | None:
    """Make the mistake on the row this event was just applied to; None when the row is not fit for it.

    Called inside the open transaction. `taken` are the rows that have had a fault already.
    """
    rng = seeded(seed, event.id, projection.name, kind)
    key = projection.key_of(event)
    if kind == "orphan_row":
        key = _mistyped(key, rng)
    if (projection.name, key) in taken:
        return None
    if kind == "orphan_row":
        if key in all_keys(projection):
            return None
        values = (*key, 1, projection.amount_of(event), event.id)
        marks = ", ".join("?" * len(values))
        conn.execute(f"INSERT OR IGNORE INTO {projection.name} VALUES ({marks})", values)
        return key
    ids = _reflected_ids(conn, projection, key, event)
    if len(ids) < EVENTS_MIN:
        return None
    _spoil(conn, projection, kind, event, rng, ids)
    return key


def _reflected_ids(conn: sqlite3.Connection, projection: Projection, key: Key, event: Departure) -> Sequence[int]:
    """Ids of the events the row stands for, oldest first; empty when the row is absent or already wrong."""
    table, count, amount, where = projection.name, projection.count, projection.amount, projection.where
    row = conn.execute(f"SELECT {count}, {amount}, last_departure FROM {table} WHERE {where}", key).fetchone()
    if row is None:
        return ()
    # A repair may have carried the row past this event; then it stands for all events up to its own version.
    upto = max(event.id, row[2])
    events = conn.execute(
        f"SELECT id, {amount} FROM departures WHERE {where} AND id <= ? ORDER BY id", (*key, upto)
    ).fetchall()
    right = events and row == (len(events), sum(e[1] for e in events), events[-1][0])
    return [e[0] for e in events] if right else ()


def _spoil(
    conn: sqlite3.Connection,
    projection: Projection,
    kind: Kind,
    event: Departure,
    rng: random.Random,
    ids: Sequence[int],
) -> None:
    """Write what the bug leaves behind: the net effect on the row, after the event was applied rightly."""
    table, count, amount, where = projection.name, projection.count, projection.amount, projection.where
    key = projection.key_of(event)
    if kind in ("lost_update", "double_apply"):
        times = 1 if kind == "double_apply" else -1
        changed = conn.execute(
            f"UPDATE {table} SET {count} = {count} + ?, {amount} = {amount} + ? WHERE {where}",
            (times, times * projection.amount_of(event), *key),
        )
    elif kind == "stale_overwrite":
        cut = ids[-1 - rng.randint(1, min(EVENTS_MIN, len(ids) - 1))]
        changed = conn.execute(
            f"UPDATE {table} SET ({count}, {amount}) = "
            f"(SELECT count(*), sum({amount}) FROM departures WHERE {where} AND id <= ?) WHERE {where}",
            (*key, cut, *key),
        )
    elif kind == "null_counter":
        column = rng.choice((count, amount))
        changed = conn.execute(f"UPDATE {table} SET {column} = NULL WHERE {where}", key)
    else:
        changed = conn.execute(f"DELETE FROM {table} WHERE {where}", key)
    assert changed.rowcount == 1, f"{kind} on {table} {key} changed {changed.rowcount} rows"


def _mistyped(key: Key, rng: random.Random) -> Key:
    """The key with one character of its first column replaced by another letter."""
    word = key[0]
    place = rng.randrange(1, len(word))
    letter = rng.choice([c for c in "ABCDEFGHKLMNPQRSTUVWXYZ" if c != word[place]])
    return (word[:place] + letter + word[place + 1 :], *key[1:])


def append_faults(faults_path: str, faults: Sequence[Fault]) -> None:
    """Append to the list outside the database, one JSON object a line, each line flushed.

    Called after the commit, so the list never names a fault that was rolled back. A kill between the two
    leaves a fault unlisted; the judge does not need the list, so it still sees the row as wrong.
    """
    with Path(faults_path).open("a", encoding="utf-8") as out:
        for fault in faults:
            out.write(json.dumps(asdict(fault)) + "\n")
            out.flush()


def load_faults(faults_path: str) -> list[Fault]:
    """The faults listed so far; a last line that is still being written is left out."""
    path = Path(faults_path)
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [Fault(**{**fields, "key": tuple(fields["key"])}) for fields in map(json.loads, lines)]
