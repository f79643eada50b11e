"""The ledger's database: connected, set up to keep what it is told, and brought up to date."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from trueup._version import __version__
from trueup.errors import ConfigError, ConnectionFailed, LedgerFailed
from trueup.files import wal_is_safe
from trueup.store import fresh
from trueup.urls import kept_alive, parsed, without_secrets

#: Newest migration; older ledgers are brought up to it when opened.
HEAD = "0020"

#: An option of connections that are only read with.
READS = "trueup_reads"
#: Number of the advisory lock that a migration holds on PostgreSQL.
MIGRATION_LOCK = 7_481_902_361
#: PostgreSQL ends a transaction of ours in which nothing was asked for so long, milliseconds: who sleeps in one, or is
#: gone without a word, would keep from all others what it has locked. To spell 100,000 wide rows takes some seconds.
IDLE_MS = 60_000
#: In what is known of a connection: each of its transactions has another session of the server, as behind a pooler.
_LENT = "trueup_lent"


def exists(url: str) -> bool:
    """Is there a ledger at `url`, as far as can be told without making one? Wrong URLs are `connect`'s to refuse."""
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        return True
    return parsed.get_backend_name() != "sqlite" or Path(parsed.database or "").is_file()


def connect(url: str) -> sa.Engine:
    """An engine for the ledger at `url`; the tables are made, or migrated, where they are not as they should be.

    Raises ConfigError for a URL that cannot hold a ledger, and for one of a newer version; ConnectionFailed where it
    cannot be used.
    """
    try:
        at = parsed(url)
    except ValueError as wrong:
        raise ConfigError(f"trueup.ledger: {wrong}") from None
    if at.drivername in ("postgresql", "postgres"):
        at = at.set(drivername="postgresql+psycopg")
    sqlite, postgresql = (at.get_backend_name() == name for name in ("sqlite", "postgresql"))
    if not sqlite and not postgresql:
        raise ConfigError("trueup.ledger: the ledger lives in sqlite:///… or postgresql://…")
    if sqlite and at.database in (None, "", ":memory:"):
        raise ConfigError("trueup.ledger: give a file; an in-memory ledger forgets what was done")
    try:
        engine = sa.create_engine(at, connect_args=_connect_args(at) if postgresql else {})
    except ModuleNotFoundError as missing:
        raise ConfigError("trueup.ledger: the driver is missing; pip install 'trueup[postgres]'") from missing
    if sqlite:
        folder = Path(at.database or "").parent
        if not folder.is_dir():
            raise ConfigError(f"trueup.ledger: there is no directory {folder}")
        if not Path(at.database or "").exists() and not os.access(folder, os.W_OK):
            raise ConfigError(f"trueup.ledger: nothing can be written to {folder}; name another place, or permit it")
        sa.event.listen(engine, "connect", _sqlite_settings)
        sa.event.listen(engine, "begin", _sqlite_begin)
    else:
        sa.event.listen(engine, "connect", _postgresql_settings)
        sa.event.listen(engine, "begin", _postgresql_begin)
    try:
        with engine.connect() as connection:
            _migrate(connection)
    except ConfigError:
        engine.dispose()
        raise
    except SQLAlchemyError as error:
        raise ConnectionFailed(f"trueup.ledger ({shown(engine)}) cannot be used: {words(error)}") from error
    return engine


def _connect_args(parsed: sa.URL) -> dict[str, Any]:
    """Of PostgreSQL. By its name, pacing does not take the ledger for work of others where both are on one server."""
    named = {} if "application_name" in parsed.query else {"application_name": "trueup:ledger"}
    return {**named, **kept_alive(parsed.query)}


@contextmanager
def translating(engine: sa.Engine) -> Iterator[None]:
    """Around whatever asks the ledger: errors of its database become LedgerFailed."""
    try:
        yield
    except SQLAlchemyError as error:
        raise LedgerFailed(
            f"the ledger ({shown(engine)}) failed: {words(error)}. Nothing was done that it does not know of; "
            f"mend it (space, permissions, connection) and run again"
        ) from error


def shown(engine: sa.Engine) -> str:
    """Where the ledger is, without secrets."""
    return without_secrets(engine.url.render_as_string(hide_password=False))


def words(error: SQLAlchemyError) -> str:
    """The driver's own words on one line."""
    return " ".join(str(getattr(error, "orig", None) or error).split())


def _migrate(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))  # two new nodes, one migration
    if not sa.inspect(connection).has_table("trueup_schema"):
        fresh.create(connection, HEAD)
    elif (found := str(connection.execute(sa.text("SELECT version_num FROM trueup_schema")).scalar())) < HEAD:
        upgrade(connection)
    elif found > HEAD:
        raise ConfigError(
            f"trueup.ledger ({shown(connection.engine)}) is of a newer Trueup (its tables are {found}, this one, "
            f"{__version__}, knows {HEAD}): bring this one up to date, as the others are"
        )
    connection.commit()


def upgrade(connection: sa.Connection, to: str = "head") -> None:
    """Run the migrations that are newer than the ledger is, up to `to`; nothing is committed."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def _postgresql_settings(connection: Any, record: Any) -> None:
    """A session that a pooler lends has another number than was told here; nothing is left in it, nor sought in it."""
    lent = f"pg_backend_pid() <> {connection.info.backend_pid}"
    try:
        record.info[_LENT] = connection.execute(f"SELECT {lent}, {_idle(lent)}").fetchone()[0]
        connection.commit()
    except BaseException:
        connection.close()  # nobody else knows of it yet
        raise
    if record.info[_LENT]:
        connection.prepare_threshold = None


def _postgresql_begin(connection: sa.Connection) -> None:
    if connection.info.get(_LENT) and not connection.get_execution_options().get(READS):
        connection.exec_driver_sql(f"SELECT {_idle('true')}")


def _idle(local: str) -> str:
    """`local`: an expression that holds where the setting ends with the transaction."""
    return f"set_config('idle_in_transaction_session_timeout', '{IDLE_MS}', {local})"


def _sqlite_begin(connection: sa.Connection) -> None:
    """Who writes waits for who else does from the beginning on. Who only reads waits for nobody with WAL; without it no
    longer than a commit takes, with what that waits for: until who reads has read.
    """
    reads = connection.get_execution_options().get(READS)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _sqlite_settings(connection: sqlite3.Connection, _record: object) -> None:
    """Durable commits on every SQLite. WAL only where it cannot lose them."""
    connection.isolation_level = None
    connection.execute("PRAGMA busy_timeout=10000")
    connection.execute(f"PRAGMA journal_mode={'WAL' if wal_is_safe(sqlite3.sqlite_version_info) else 'TRUNCATE'}")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
