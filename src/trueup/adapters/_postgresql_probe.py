"""How PostgreSQL is doing, in one statement of about a tenth of a millisecond. (Design: pacing, section 2.1.)"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from trueup.adapters import Looked
from trueup.adapters._postgresql_examiner import regclass
from trueup.adapters._probing import READING_MS, SqlProbe
from trueup.core.pace.pressure import Mark

if TYPE_CHECKING:
    from trueup.adapters._sql import SqlAdapter

#: Sessions that do not show what they do: we lack pg_read_all_stats, and counting the others would be a false 0. (One
#: that is about to connect has no state yet either, and hides nothing.)
_LOOK = """
    SELECT extract(epoch FROM clock_timestamp()), a.*,
           (SELECT sum(xact_commit) FROM pg_stat_database),
           (SELECT max(pg_wal_lsn_diff(sent_lsn, replay_lsn)) / 1048576.0 FROM pg_stat_replication),
           (SELECT max(extract(epoch FROM replay_lag)) FROM pg_stat_replication),
           (SELECT last_archived_wal FROM pg_stat_archiver WHERE current_setting('archive_mode') <> 'off'),
           CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_lsn()) END,
           (SELECT {checkpoints}),
           (SELECT count(*) FROM pg_stat_progress_vacuum
            WHERE relid IN (SELECT to_regclass(name) FROM unnest(%s::text[]) name))
    FROM (SELECT count(*) FILTER (WHERE state = 'active' AND application_name NOT LIKE 'trueup%%') AS active,
                 count(*) FILTER (WHERE state = 'active' AND wait_event IS NULL
                                    AND application_name NOT LIKE 'trueup%%') AS on_core,
                 count(*) FILTER (WHERE state = 'active' AND application_name = 'trueup') AS own,
                 count(*) FILTER (WHERE wait_event_type = 'Lock' AND application_name NOT LIKE 'trueup%%') AS waits,
                 count(*) FILTER (WHERE query = '<insufficient privilege>') AS hidden
          FROM pg_stat_activity WHERE pid <> pg_backend_pid()
            AND (backend_type IS NULL OR backend_type = 'client backend')) a"""
#: Checkpoints that were asked for, because the log grew or by hand, before PostgreSQL 17 and since.
_CHECKPOINTS = ("checkpoints_req FROM pg_stat_bgwriter", "num_requested FROM pg_stat_checkpointer")
#: How long checkpoints are counted, seconds.
_CHECKPOINTS_S = 60.0
#: Segments of the write-ahead log, by the digits of their names: 16 MB each, 256 to a log file.
_SEGMENTS_A_FILE = 256


class PostgresqlProbe(SqlProbe):
    """Looks at PostgreSQL."""

    marks = {  # noqa: RUF012 - a table that nobody changes
        "lock waits": Mark(idle=0, soft=2, hard=8),
        "replica lag, s": Mark(idle=0.2, soft=1, hard=5),
        "replica lag, MB": Mark(idle=1, soft=16, hard=256),
        "segments to archive": Mark(idle=4, soft=42, hard=200),
        "checkpoints asked for, a minute": Mark(idle=0.5, soft=2, hard=6),
        "vacuums of our tables": Mark(idle=0, soft=1.1, hard=10),  # one: nothing is added while it lasts
    }
    small = "SELECT relpages FROM pg_class WHERE oid = 1259"
    settings = (
        "SET application_name = 'trueup:probe'",
        f"SET statement_timeout = {READING_MS}",
        "SET lock_timeout = 100",
    )
    read_only = "SET default_transaction_read_only = on"

    def __init__(self, adapter: SqlAdapter, canary: str) -> None:
        super().__init__(adapter, canary)
        self._statement = ""
        #: When checkpoints were counted, by the server's clock, and how many there were by then.
        self._counted: deque[tuple[float, int]] = deque()

    def look(self) -> Looked:
        if not self._statement:
            ((version,),) = self._ask("SHOW server_version_num")
            self._statement = _LOOK.replace("{checkpoints}", _CHECKPOINTS[int(version) >= 170000])
        (row,) = self._ask(self._statement, [regclass(name) for name in list(self.tables)])
        clock, active, on_core, own, waits, hidden, commits, lag_mb, lag_s, archived, written, checkpoints, vacuums = (
            row
        )
        lacking = {}
        if hidden:
            lacking = dict.fromkeys(("active", "lock waits"), "grant pg_read_all_stats to see the statements of others")
        return Looked(
            values={
                "lock waits": None if hidden else float(waits),
                "replica lag, s": None if lag_s is None else float(lag_s),
                "replica lag, MB": None if lag_mb is None else float(lag_mb),
                "segments to archive": None if archived is None or written is None else _behind(archived, written),
                "checkpoints asked for, a minute": self._a_minute(float(clock), int(checkpoints)),
                "vacuums of our tables": float(vacuums),
            },
            clock_s=float(clock),
            active=None if hidden else float(active),
            own=float(own),
            on_core=None if hidden else float(on_core),
            commits=None if commits is None else float(commits),
            lacking=lacking,
        )

    def _a_minute(self, clock_s: float, checkpoints: int) -> float:
        """How many there were within the last minute."""
        self._counted.append((clock_s, checkpoints))
        while clock_s - self._counted[0][0] > _CHECKPOINTS_S:
            self._counted.popleft()
        return float(max(checkpoints - self._counted[0][1], 0))


def _behind(archived: str, written: str) -> float:
    """Segments between two names of the same timeline."""

    def number(name: str) -> int:
        return int(name[8:16], 16) * _SEGMENTS_A_FILE + int(name[16:24], 16)

    return float(max(number(written) - number(archived) - 1, 0))
