"""What our sessions in PostgreSQL have set, also where a session is only lent to each transaction.

A pooler in transaction mode (PgBouncer, Odyssey, RDS Proxy) gives each transaction whatever session is free. What was
set for a session is then not there in the next transaction, where floats may lose digits and rows that a policy hides
look absent; and it is there for somebody else. Such a session is known by its number: one of the server's own has the
number that was told when we connected, and a pooler tells one of its own making. Behind it each transaction sets what
it needs for itself, and leaves nothing; of what others left, `search_path` would have other tables taken for ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql

from trueup.adapters import _postgresql_once as once
from trueup.adapters._postgresql_once import EACH

#: Memory of one sort or hash table of a statement of ours, where the server's own setting is not above it (its default
#: is 4 MB), kilobytes: groups of a source query that do not fit are written to disk and read again.
WORK_MEM_KB = 32_768
_WORK_MEM = f"greatest(pg_size_bytes(current_setting('work_mem')) / 1024, {WORK_MEM_KB})::text"
#: What a session of this role in this database begins with.
_SEARCH_PATH = "SELECT reset_val FROM pg_settings WHERE name = 'search_path'"
#: Whatever is asked after it: a cursor on the server would not have set anything.
_AT_ONCE = {"yield_per": None, "stream_results": False}


def begin_with(engine: sa.Engine) -> None:
    """From now on transactions of `engine` whose session is lent begin with our settings."""

    def begun(connection: sa.Connection) -> None:
        settings = connection.info.get(EACH)
        if settings and once.ONCE not in connection.get_execution_options():  # that sends them along
            connection.exec_driver_sql(settings, execution_options=_AT_ONCE)

    sa.event.listen(engine, "begin", begun)


def prepare(connection: psycopg.Connection[Any], info: dict[Any, Any], settings: Mapping[str, str]) -> None:
    """Give a new session our settings; if it is lent, say in `info` what each transaction has to begin with."""
    lent = f"(pg_backend_pid() <> {connection.info.backend_pid})"  # then not even this transaction's are kept
    work_mem = f"set_config('work_mem', {_WORK_MEM}, {lent})"
    row = connection.execute(f"SELECT {_set(settings, local=lent)}, {work_mem}, {lent}").fetchone()
    if row and row[-1]:
        (path,) = connection.execute(_SEARCH_PATH).fetchone() or ("",)
        each = _set({**settings, "search_path": path}, local="true")
        info[EACH] = f"SELECT {each}, set_config('work_mem', {_WORK_MEM}, true)"
    connection.commit()


def lent(info: Mapping[Any, Any]) -> bool:
    """Has the next transaction of the connection with this `info` another session?"""
    return EACH in info


def also(connection: psycopg.Connection[Any], info: dict[Any, Any], settings: Mapping[str, str]) -> None:
    """Give a session that is prepared some settings more."""
    if lent(info):
        info[EACH] += f", {_set(settings, local='true')}"
        return
    connection.execute(f"SELECT {_set(settings, local='false')}")
    connection.commit()


def beside(statement: str, settings: Mapping[str, str]) -> str:
    """A statement with settings that hold for it alone, to be sent as one message without values bound by the server.

    The server takes such a message for one transaction, and so does a pooler. What the statement gives comes last.
    """
    return f"SELECT {_set(settings, local='true')}; {statement}"


def _set(settings: Mapping[str, str], *, local: str) -> str:
    """`local`: an expression that holds where the settings end with the transaction."""
    values = {name: sql.Literal(value).as_string(None) for name, value in settings.items()}
    return ", ".join(f"set_config('{name}', {value}, {local})" for name, value in values.items())
