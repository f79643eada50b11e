"""How PostgreSQL is doing, in one statement of about a tenth of a millisecond."""

from __future__ import annotations

import re
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg import ClientCursor
from psycopg.errors import error_from_result
from psycopg.pq import DiagnosticField, ExecStatus, TransactionStatus

from trueup.adapters import Looked
from trueup.adapters import _postgresql_sessions as sessions
from trueup.adapters._postgresql_values import regclass
from trueup.adapters._probing import READING_MS, SqlProbe
from trueup.core.pace.pressure import HELD, Mark
from trueup.errors import Transient

if TYPE_CHECKING:
    from trueup.adapters._sql import SqlAdapter

#: What is hidden from us, because we lack pg_read_all_stats, is counted by itself: leaving it out would be a false 0.
#: (A session that is about to connect has no state yet, and hides nothing.) Functions are asked instead of the views
#: over them, which join what is not needed and take five times as long.
_LOOK = """
    SELECT extract(epoch FROM clock_timestamp()), a.*,
           (SELECT sum(pg_stat_get_db_xact_commit(oid) + pg_stat_get_db_xact_rollback(oid)) FROM pg_database
            WHERE current_setting('track_counts')::boolean),
           r.*,
           (SELECT last_archived_wal FROM pg_stat_get_archiver() WHERE current_setting('archive_mode') <> 'off'),
           CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_lsn()) END,
           pg_size_bytes(current_setting('wal_segment_size')),
           (SELECT {checkpoints}),
           (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END) - '0/0',
           greatest(
               pg_size_bytes(current_setting('max_wal_size'))
                   / (1 + current_setting('checkpoint_completion_target')::numeric),
               pg_size_bytes(current_setting('wal_segment_size'))),
           v.*,
           pg_is_in_recovery()
    FROM (SELECT count(*) FILTER (WHERE state = 'active' AND application_name NOT LIKE 'trueup%%') AS active,
                 count(*) FILTER (WHERE state = 'active' AND wait_event IS NULL
                                    AND application_name NOT LIKE 'trueup%%') AS on_core,
                 count(*) FILTER (WHERE state = 'active' AND application_name = 'trueup') AS own,
                 count(*) FILTER (WHERE wait_event_type = 'Lock' AND application_name NOT LIKE 'trueup%%') AS waits,
                 count(*) FILTER (WHERE query = '<insufficient privilege>') AS hidden,
                 count(*) FILTER (WHERE state = 'disabled') AS untold
          FROM pg_stat_get_activity(NULL) WHERE pid <> pg_backend_pid()
            AND (backend_type IS NULL OR backend_type = 'client backend')) a,
         (SELECT max(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                                          ELSE pg_current_wal_lsn() END, replay_lsn)) / 1048576.0,
                 max(extract(epoch FROM replay_lag)),
                 count(*) FILTER (WHERE state IS NULL)
          FROM pg_stat_get_wal_senders()) r,
         (SELECT count(*) FILTER (WHERE relid IN (SELECT to_regclass(name) FROM unnest(%s::text[]) name)),
                 count(*) FILTER (WHERE relid IS NULL)
          FROM pg_stat_get_progress_info('VACUUM')
          WHERE datid = (SELECT oid FROM pg_database WHERE datname = current_database())) v"""
#: What a standby has of the log, and what of that it shows; services that keep their standbys otherwise refuse it.
_STANDBY = "SELECT pg_last_wal_receive_lsn() - '0/0', pg_last_wal_replay_lsn() - '0/0'"
#: Until a refused statement is tried again, seconds; most looks that are remembered.
_AGAIN_S, _LOOKS_MAX = 60.0, 1_000
#: Checkpoints that were asked for, before PostgreSQL 17 and since: since the log grew, by hand, and by who creates or
#: drops a database.
_CHECKPOINTS = ("checkpoints_req FROM pg_stat_bgwriter", "num_requested FROM pg_stat_checkpointer")
#: How long checkpoints and the log are counted, seconds.
_CHECKPOINTS_S = 60.0
#: The write-ahead log's files hold so many bytes together that share the middle digits of their names.
_LOG_BYTES = 2**32
#: How a segment is named: a timeline, and two numbers. Of the archive, files of other names may be the last.
_SEGMENT = re.compile(r"[0-9A-F]{8}([0-9A-F]{8})([0-9A-F]{8})")
#: Statements are prepared of which it is said, and none because it was sent so many times.
_ASKED = 2**31
#: Name of the canary, and the error of a server that knows no such name.
_PREPARED, _NOT_PREPARED = b"trueup_canary", b"26000"
#: How long a statement may take, and one that reads wait for a lock, milliseconds. What writes waits as others do.
_LIMITS = {"statement_timeout": str(READING_MS)}
_READS = {"lock_timeout": "100"}
_GRANT = "grant pg_read_all_stats to see"


class PostgresqlProbe(SqlProbe):
    """Looks at PostgreSQL."""

    marks = {  # noqa: RUF012 - a table that nobody changes
        "lock waits": Mark(idle=0, soft=2, hard=8),
        "replica lag, s": Mark(idle=0.2, soft=1, hard=5),
        "replica lag, MB": Mark(idle=1, soft=16, hard=256),
        "behind the primary, s": Mark(idle=0.2, soft=1, hard=5),
        "segments to archive": Mark(idle=4, soft=42, hard=200),
        "checkpoints for the log, a minute": Mark(idle=0.5, soft=2, hard=6),
        "vacuums of our tables": Mark(idle=0, soft=1, hard=2, most=HELD),  # they may last for hours
    }
    small = "SELECT relpages FROM pg_class WHERE oid = 1259"
    settings = ("SET application_name = 'trueup:probe'", *(f"SET {name} = {value}" for name, value in _LIMITS.items()))
    read_only = f"SET default_transaction_read_only = on; SET lock_timeout = {_READS['lock_timeout']}"

    def __init__(self, adapter: SqlAdapter, canary: str) -> None:
        super().__init__(adapter, canary)
        self._statement = ""
        #: Of each connection a socket that is ours: the driver's own may be closed, and be another one by then.
        self._sockets: list[socket.socket] = []
        #: Does the server keep what was prepared, and on which connection was the canary?
        self._prepares = True
        self._prepared_on: object = None
        #: Statements of this probe so far; each is a transaction by itself.
        self._committed = 0
        #: Looks of the last while, by the server's clock: checkpoints asked for by then, and bytes of the log.
        self._counted: deque[tuple[float, int, Decimal]] = deque()
        #: What of the log a standby had at a look and had not replayed by then.
        self._received: list[tuple[float, Decimal]] = []
        #: Why a standby does not tell, and until when it is not asked.
        self._refused, self._again_at = "", 0.0

    def lent(self, info: Mapping[Any, Any]) -> bool:
        return sessions.lent(info)

    def autocommit(self, connection: Any) -> None:
        super().autocommit(connection)
        connection.prepare_threshold = _ASKED  # None, as of all other connections: not even where it is asked for

    def _connected(self, *, writes: bool = False) -> Any:
        connection = super()._connected(writes=writes)
        self._prepares = self._prepares and not self._lent
        self._sockets.append(socket.fromfd(connection.pgconn.socket, socket.AF_INET, socket.SOCK_STREAM))
        return connection

    def intact(self, connection: Any) -> bool:
        idle: bool = connection.info.transaction_status == TransactionStatus.IDLE
        return idle

    def give_up(self) -> None:
        """The driver waits for an answer without an end; to wait in its place would be measured with each reading."""
        for line in self._sockets.copy():
            with suppress(OSError):  # it is closed already
                line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        super().close()
        while self._sockets:
            self._sockets.pop().close()

    def _executed(self, connection: Any, statement: str, values: Sequence[Any], *, writes: bool) -> Any:
        if not self._lent:
            cursor = super()._executed(connection, statement, values, writes=writes)
        else:
            cursor = ClientCursor(connection)  # which sends values within the statement
            cursor.execute(_limited(statement, writes=writes), values or None)
            while cursor.nextset():
                pass
        self._committed += 1
        return cursor

    def canary(self) -> None:
        """A reading is a statement that the server has prepared, sent by the driver's innermost part: what is in
        between costs more than the statement, and is measured with it. A pooler in front may lose what was prepared;
        then each is sent as it is, and beside its limits where the session is only lent.
        """
        with self._connection() as connection:
            server = connection.pgconn
            text = (_limited(self._canary) if self._lent else self._canary).encode()
            if self._prepared_on is not server and self._prepares:
                self._prepares = server.prepare(_PREPARED, text).status == ExecStatus.COMMAND_OK
                self._prepared_on = server
            answer = server.exec_prepared(_PREPARED, []) if self._prepares else server.exec_(text)
            if self._prepares and answer.error_field(DiagnosticField.SQLSTATE) == _NOT_PREPARED:
                self._prepares, answer = False, server.exec_(text)
            if answer.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
                raise error_from_result(answer)
            self._committed += 1

    def look(self) -> Looked:
        if not self._statement:
            ((version,),) = self._ask("SHOW server_version_num")
            self._statement = _LOOK.replace("{checkpoints}", _CHECKPOINTS[int(version) >= 170000])
        with self._connection() as connection:
            tables = [regclass(name) for name in list(self.tables)]
            if self._lent:
                row = self._executed(connection, self._statement, [tables], writes=False).fetchone()
            else:
                row = connection.execute(self._statement, [tables], prepare=self._prepares).fetchone()
                self._committed += 1
        seen = _Seen(*row)
        clock_s = float(seen.clock)
        lacking = _lacking(seen)
        values = {
            "lock waits": _number(seen.waits),
            "replica lag, s": _number(seen.lag_s),
            "replica lag, MB": _number(seen.lag_mb),
            "behind the primary, s": self._behind_primary(clock_s) if seen.standby else None,
            "segments to archive": _to_archive(seen.archived, seen.written, seen.segment_bytes),
            "checkpoints for the log, a minute": self._for_the_log(clock_s, seen),
            "vacuums of our tables": _number(seen.vacuums),
        }
        if seen.standby and self._refused:
            lacking["behind the primary, s"] = self._refused
        hidden = "active" in lacking
        return Looked(
            values={name: None if name in lacking else value for name, value in values.items()},
            active=None if hidden else float(seen.active),
            own=float(seen.own),
            on_core=None if hidden else float(seen.on_core),
            transactions=None if seen.transactions is None else float(seen.transactions - self._committed),
            lacking=lacking,
        )

    def _behind_primary(self, clock_s: float) -> float | None:
        """For how long a standby has had what it has not replayed yet: by its own clock, and 0 while nothing comes."""
        if clock_s < self._again_at:
            return None
        try:
            ((received, replayed),) = self._ask(_STANDBY)
        except Transient as error:
            self._refused, self._again_at = str(error), clock_s + _AGAIN_S
            return None
        self._refused = ""
        if received is None or replayed is None:
            return None
        self._received = [each for each in (*self._received, (clock_s, received)) if each[1] > replayed]
        if len(self._received) > _LOOKS_MAX:
            self._received = self._received[::2]
        return clock_s - self._received[0][0] if self._received else 0.0

    def _for_the_log(self, clock_s: float, seen: _Seen) -> float | None:
        """How many checkpoints the log's growth has asked for within the last minute: those that were asked for, but no
        more than what was written is enough for. None: the log says nothing, as on a standby that has replayed nothing.
        """
        if seen.log is None:
            return None
        self._counted.append((clock_s, seen.checkpoints, seen.log))
        while clock_s - self._counted[0][0] > _CHECKPOINTS_S:
            self._counted.popleft()
        _, checkpoints, log = self._counted[0]
        written = float((seen.log - log) / seen.checkpoint_bytes)
        return max(min(float(seen.checkpoints - checkpoints), written), 0.0)


class _Seen(NamedTuple):
    """The row that `_LOOK` gives."""

    clock: Decimal
    active: int
    on_core: int
    own: int
    waits: int
    #: Sessions that we may not see into, and such as do not say what they do.
    hidden: int
    untold: int
    transactions: Decimal | None
    lag_mb: Decimal | None
    lag_s: Decimal | None
    hidden_replicas: int
    archived: str | None
    written: str | None
    segment_bytes: int
    checkpoints: int
    #: The log's end, and how much of it asks for a checkpoint, bytes.
    log: Decimal | None
    checkpoint_bytes: Decimal
    vacuums: int
    hidden_vacuums: int
    standby: bool


def _limited(statement: str, *, writes: bool = False) -> str:
    """A statement with the limits of a reading, where the session cannot have them."""
    return sessions.beside(statement, _LIMITS if writes else {**_LIMITS, **_READS, "transaction_read_only": "on"})


def _lacking(seen: _Seen) -> dict[str, str]:
    """What of it is not available, and why."""
    lacking: dict[str, str] = {}
    if seen.untold:
        why = "some sessions do not say what they do: their track_activities is off"
        lacking |= dict.fromkeys(("active", "lock waits"), why)
    if seen.hidden:
        lacking |= dict.fromkeys(("active", "lock waits"), f"{_GRANT} the statements of others")
    if seen.hidden_replicas:
        lacking |= dict.fromkeys(("replica lag, s", "replica lag, MB"), f"{_GRANT} the replicas")
    if seen.hidden_vacuums and not seen.vacuums:
        lacking["vacuums of our tables"] = f"{_GRANT} the vacuums of others"
    return lacking


def _number(value: float | Decimal | None) -> float | None:
    return None if value is None else float(value)


def _to_archive(archived: str | None, written: str | None, segment_bytes: int) -> float | None:
    """Segments between two names; None: one of them is none, as after a change of the timeline."""
    names = [_SEGMENT.match(name or "") for name in (archived, written)]
    numbers = [int(name[1], 16) * (_LOG_BYTES // segment_bytes) + int(name[2], 16) for name in names if name]
    return float(max(numbers[1] - numbers[0] - 1, 0)) if len(numbers) == 2 else None
