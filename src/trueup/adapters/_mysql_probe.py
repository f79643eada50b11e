"""How MariaDB or MySQL is doing, in one statement of some tenths of a millisecond."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from trueup.adapters import Looked
from trueup.adapters._probing import ANSWER_S, READING_MS, SqlProbe
from trueup.core.pace.pressure import Mark
from trueup.errors import Transient

_COUNTERS = (
    "Threads_running",
    "Innodb_row_lock_current_waits",
    "Innodb_checkpoint_age",
    "Innodb_checkpoint_max_age",
    "Innodb_buffer_pool_wait_free",
    "Innodb_history_list_length",
    "Handler_commit",
)
#: Seconds between two looks at how far replication is behind, and after one that was refused.
BEHIND_EVERY_S, BEHIND_AGAIN_S = 1.0, 60.0
_STATUS = f"SHOW GLOBAL STATUS WHERE Variable_name IN ({', '.join(map(repr, _COUNTERS))})"


class MysqlProbe(SqlProbe):
    """Looks at MariaDB or MySQL. Sessions of others and ours look alike to it."""

    marks = {  # noqa: RUF012 - a table that nobody changes
        "lock waits": Mark(idle=0, soft=2, hard=8),
        "checkpoint age": Mark(idle=0.5, soft=0.75, hard=0.9),
        "waits for a free page": Mark(idle=0, soft=0.5, hard=1),
        "history list": Mark(idle=1e5, soft=1e6, hard=1e7),
        "behind the primary, s": Mark(idle=1, soft=3, hard=10),  # it is told in whole seconds
    }
    settings = ("SET SESSION lock_wait_timeout = 1",)
    read_only = "SET SESSION TRANSACTION READ ONLY"

    def __init__(self, adapter: Any, canary: str) -> None:
        super().__init__(adapter, canary)
        sa.event.listen(adapter.engine, "do_connect", _with_limits)
        self._waited: float | None = None
        self._mariadb = True
        #: How far replication is behind, why that is not told, when it is asked for next, and was last.
        self._behind_s: float | None = None
        self._not_told, self._asks_at, self._asked_at = "", 0.0, 0.0

    def autocommit(self, connection: Any) -> None:
        connection.autocommit(True)

    def intact(self, connection: Any) -> bool:
        return bool(connection.open)

    def _connected(self, *, writes: bool = False) -> Any:
        connection = super()._connected(writes=writes)
        self._mariadb = "mariadb" in connection.get_server_info().lower()
        limit = f"max_statement_time = {READING_MS / 1000}" if self._mariadb else f"max_execution_time = {READING_MS}"
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION {limit}")
        return connection

    def look(self) -> Looked:
        status = {str(name): float(value) for name, value in self._ask(_STATUS)}
        running, waits = status.get("Threads_running"), status.get("Innodb_buffer_pool_wait_free")
        before, self._waited = self._waited, waits
        behind_s = self._behind_primary()
        return Looked(
            values={
                "lock waits": status.get("Innodb_row_lock_current_waits"),
                "checkpoint age": _checkpoint_age(status),
                "waits for a free page": None if before is None or waits is None else waits - before,
                "history list": status.get("Innodb_history_list_length"),
                "behind the primary, s": behind_s,
            },
            running=None if running is None else running - 1,  # without the one that asks
            transactions=status.get("Handler_commit"),
            lacking={"behind the primary, s": self._not_told} if self._not_told else {},
            had={"behind the primary, s": self._asked_at},
        )

    def _behind_primary(self) -> float | None:
        """How far replication is behind here, its slowest channel; None on a primary, and where it is not told."""
        now = time.monotonic()
        if now < self._asks_at:
            return self._behind_s
        self._asked_at, self._asks_at = now, now + BEHIND_EVERY_S
        try:
            channels = self._named("SHOW ALL SLAVES STATUS" if self._mariadb else "SHOW REPLICA STATUS")
        except Transient as refused:
            self._behind_s, self._not_told, self._asks_at = None, str(refused), now + BEHIND_AGAIN_S
            return None
        told = [channel.get("Seconds_Behind_Master", channel.get("Seconds_Behind_Source")) for channel in channels]
        self._not_told = "replication has stopped" if None in told else ""
        self._behind_s = max((float(each) for each in told if each is not None), default=None)
        return self._behind_s


def _with_limits(_dialect: object, _record: object, _args: object, options: dict[str, Any]) -> None:
    options |= {"read_timeout": ANSWER_S, "write_timeout": ANSWER_S}


def _checkpoint_age(status: Mapping[str, float]) -> float | None:
    """As a share of what there is room for; MySQL does not tell."""
    age, most = status.get("Innodb_checkpoint_age"), status.get("Innodb_checkpoint_max_age")
    return None if age is None or not most else age / most
