"""A statement in a read-only transaction of its own, in one round trip.

What is sent in one go (libpq's pipeline mode, from its version 14 on) is one transaction to the server, without a BEGIN
and without an end: so what makes it read-only is sent together with the statement. On a busy machine each round trip
waits for a core twice, and small statements would spend most of their time on that.

The statement is the last of them: PostgreSQL forgets how long it was active if something follows before it is idle.
"""

from __future__ import annotations

from typing import Any

import psycopg

#: Key in the `info` of a connection whose session is only lent to each transaction: the statement that it begins with.
EACH = "trueup_each"
#: Execution option: statements of ours before the one that is asked for.
ONCE = "trueup_once"
_READ_ONLY = "SELECT set_config('transaction_read_only', 'on', true)"


def execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    """Listens to SQLAlchemy's `do_execute`: says whether it has executed the statement itself."""
    before = context.execution_options.get(ONCE)
    if before is None:
        return False
    connection, failed = cursor.connection, None
    settings = context.root_connection.info.get(EACH)
    first = [_READ_ONLY, *([settings] if settings else []), *before]
    try:
        with _together(connection):
            try:
                for each in first:
                    connection.execute(each)
                cursor.execute(statement, parameters)
            except psycopg.Error as error:  # what comes behind it is passed over, and says so at the end
                failed = error
    except psycopg.Error as error:
        failed = failed or _first(error)
    if failed is not None:
        if connection.pgconn.pipeline_status:  # nothing can be sent by it any more, not even ROLLBACK
            connection.close()
        raise failed
    return True


def _first(error: psycopg.Error) -> psycopg.Error:
    """What went wrong, and not what followed from it: a server may fail the statement and then end the session, as a
    standby does where replaying cannot wait, and then the driver tells that it cannot leave its pipeline.
    """
    while isinstance(error.__context__, psycopg.Error):
        error = error.__context__
    return error


def _together(connection: Any) -> Any:
    """An older library sends one after the other, in a transaction that has to be begun and ended."""
    return connection.pipeline() if psycopg.Pipeline.is_supported() else connection.transaction(force_rollback=True)
