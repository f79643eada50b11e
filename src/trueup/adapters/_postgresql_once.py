"""A statement in a read-only transaction of its own, in one round trip.

The beginning and the end of a transaction are sent together with what is in between (libpq's pipeline mode, from its
version 14 on). On a busy machine each round trip waits for a core twice, and small statements would spend most of
their time on that.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import psycopg

#: Execution option: statements of ours before the one that is asked for.
ONCE = "trueup_once"
_BEGIN, _END = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY", "ROLLBACK"


def execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    """Listens to SQLAlchemy's `do_execute`: says whether it has executed the statement itself."""
    before = context.execution_options.get(ONCE)
    if before is None:
        return False
    connection, failed = cursor.connection, None
    try:
        # An older library sends one after the other.
        with connection.pipeline() if psycopg.Pipeline.is_supported() else nullcontext():
            try:
                for each in (_BEGIN, *before):
                    connection.execute(each)
                cursor.execute(statement, parameters)
                connection.execute(_END)
            except psycopg.Error as error:  # what comes behind it is passed over, and says so at the end
                failed = error
    except psycopg.Error as error:
        failed = failed or error
    if failed is not None:
        raise failed
    return True
