"""One process at a time runs a projection: a lock that dies with its holder.

Efficiency and tidy records are what this is for. That no stale repair is committed does not depend on it: the fence in
the target and compare-and-set see to that.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from trueup.errors import Refused


@contextmanager
def hold(engine: sa.Engine, projection: str) -> Iterator[None]:
    """Hold the lock of `projection` for as long as the block lasts.

    Raises Refused if another live process holds it.
    """
    holder = _file_lock if engine.dialect.name == "sqlite" else _advisory_lock
    with holder(engine, projection):
        yield


def _refusal(projection: str, holder: str) -> Refused:
    return Refused(
        f"projection {projection!r} is being run by another process{holder}; "
        f"see `trueup status`, or wait for it (`trueup pause {projection}` halts it at the next segment border)"
    )


@contextmanager
def _file_lock(engine: sa.Engine, projection: str) -> Iterator[None]:
    """A kernel lock on a file beside the ledger; the kernel releases it when the process dies."""
    import fcntl
    import os

    assert engine.url.database is not None
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", projection)
    path = Path(f"{engine.url.database}.{name}.lock")
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise _refusal(projection, f" (process {file.read().strip() or 'unknown'})") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def _advisory_lock(engine: sa.Engine, projection: str) -> Iterator[None]:
    """A session's advisory lock on the ledger's server; it ends with the connection."""
    number = int.from_bytes(hashlib.sha256(f"trueup:{projection}".encode()).digest()[:8], "big", signed=True)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.execute(sa.select(sa.func.pg_try_advisory_lock(number))).scalar_one():
            raise _refusal(projection, "")
        try:
            yield
        finally:
            # Where the connection is gone, so is the lock; that must not hide what happened in the block.
            with suppress(SQLAlchemyError):
                connection.execute(sa.select(sa.func.pg_advisory_unlock(number)))
