"""The repair that people write by hand: count, look at it for a moment, set the values. Here to be measured.

The connection uses Python's default transaction handling: the SELECT runs outside any transaction, and an
UPDATE begins one. Everything the projector applied between the read and the write is written over, and since
its position has moved on it never applies that again: rows that were right are wrong for good.
"""

import sqlite3
import threading
from contextlib import closing
from typing import Literal

from trueup.demo.schema import BUSY_TIMEOUT_MS, PROJECTIONS

#: Rows set in one transaction: polite to the live writers, as a careful person would be.
ROWS_PER_COMMIT = 100


def recount_plainly(db_path: str, projection: Literal["aircraft", "airport_hours"], pause_s: float = 0.5) -> int:
    """Recount every key, wait `pause_s` seconds, set every row to its recount; the number of rows written.

    Plain UPDATEs: a missing row stays missing and an orphan stays. judge.destroyed counts the damage.
    """
    spec = next(p for p in PROJECTIONS if p.name == projection)
    key = ", ".join(spec.key)
    recount = f"SELECT count(*), sum({spec.amount}), max(id), {key} FROM departures GROUP BY {key}"
    write = f"UPDATE {spec.name} SET {spec.count} = ?, {spec.amount} = ?, last_departure = ? WHERE {spec.where}"
    written = 0
    with closing(sqlite3.connect(db_path, timeout=BUSY_TIMEOUT_MS / 1000)) as conn:
        rows = conn.execute(recount).fetchall()
        threading.Event().wait(pause_s)
        for number, row in enumerate(rows, start=1):
            written += conn.execute(write, row).rowcount
            if number % ROWS_PER_COMMIT == 0:
                conn.commit()
        conn.commit()
    return written
