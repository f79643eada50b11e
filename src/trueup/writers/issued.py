"""Versions and generations: one number for each key, in a table of the source's database.

CREATE TABLE trueup_numbers (name varchar(200) PRIMARY KEY, number bigint NOT NULL)
"""

from __future__ import annotations

from typing import Any


class Numbers:
    """Issues numbers inside the application's transaction, which must run at READ COMMITTED: what is counted in the
    next statement then includes every transaction that got an earlier number.
    """

    def __init__(self, *, table: str = "trueup_numbers", mark: str = "%s", share: str = "FOR SHARE") -> None:
        """`mark`: how the driver marks a parameter (`?` in sqlite3). `share`: how a SELECT takes a shared row lock
        (LOCK IN SHARE MODE in MariaDB, nothing where there is one writer at a time).

        Raises ValueError for a table that would need quoting.
        """
        if not all(part.isidentifier() for part in table.split(".")):
            raise ValueError(f"{table!r}: give a table whose name needs no quotes")
        self._next = f"UPDATE {table} SET number = number + 1 WHERE name = {mark}"
        self._read = f"SELECT number FROM {table} WHERE name = {mark}"
        self._share = f"{self._read} {share}"
        self._first = f"INSERT INTO {table} (name, number) VALUES ({mark}, {mark})"

    def next(self, cursor: Any, key: str) -> int:
        """The next number of `key`; its row stays locked until the transaction ends, so numbers come in commit order.

        Two transactions that issue the first number of one key at the same time: one gets its driver's integrity error,
        and is to be run again.
        """
        cursor.execute(self._next, (key,))
        if cursor.rowcount == 0:
            cursor.execute(self._first, (key, 1))
            return 1
        cursor.execute(self._read, (key,))
        return int(cursor.fetchone()[0])

    def current(self, cursor: Any, key: str) -> int:
        """The number of `key` as it stays until the transaction ends: whoever wants the next one waits for it."""
        cursor.execute(self._share, (key,))
        row = cursor.fetchone()
        if row is None:  # a row that is not there cannot be locked
            cursor.execute(self._first, (key, 0))
            return 0
        return int(row[0])
