"""The repairs that people write by hand, each right while nobody else writes: the controls of `protocols.py`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

from _copies import Cached, Copied
from _counters import Counted

#: What each says of one key.
COUNT = "SELECT count(*) FROM events WHERE k = ?"
SET = "UPDATE counts SET n = ? WHERE k = ?"


def read_then_set(app: Counted) -> int:
    """Find what differs, count it, set it: how many were set."""

    def repair(key: int) -> None:
        ((n,),) = app.db.rows(COUNT, key)
        app.db.execute(SET, n, key)

    return _each(app, repair)


def sub_select(app: Counted) -> int:
    """One UPDATE: it waits for the row, and then uses the snapshot from before the wait."""
    return _each(app, lambda key: app.db.execute(f"UPDATE counts SET n = ({COUNT}) WHERE k = ?", key, key))


def repeatable_read(app: Counted) -> int:
    """Count, then update, in one REPEATABLE READ transaction: InnoDB updates rows that its snapshot does not see."""

    def repair(key: int) -> None:
        app.db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        app.db.together(lambda: app.db.execute(SET, app.db.rows(COUNT, key)[0][0], key))

    return _each(app, repair)


def deferred(app: Counted) -> int:
    """Python's transaction for SQLite: it begins, deferred, with the first change, so that the SELECT is not in it."""
    with closing(sqlite3.connect(app.urls[0].removeprefix("sqlite:///"), timeout=60)) as db:

        def repair(key: int) -> None:
            (n,) = db.execute(COUNT, (key,)).fetchone()
            with db:
                db.execute(SET, (n, key))

        return _each(app, repair)


def copy_then_set(app: Copied) -> int:
    """Read both sides, then put what differs."""
    found = app.drift()
    for key, (true, _) in found.items():
        app.put(key, true)
    return len(found)


def get_then_set(app: Cached) -> int:
    """Read the source and GET the keys, then SET what differs."""
    return copy_then_set(app)


def _each(app: Counted, repair: Callable[[int], object]) -> int:
    found = app.drift()
    for key in found:
        repair(key)
    return len(found)
