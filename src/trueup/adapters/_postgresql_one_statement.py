"""What is asked of many segments by one statement of PostgreSQL, which goes on as the answers are taken."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trueup.core.binding import BoundSide
from trueup.core.digest import Digests, Hashing, Prints
from trueup.core.plan import Range, Ranges

if TYPE_CHECKING:
    import sqlalchemy as sa

    from trueup.adapters._sql import SqlAdapter

#: Who takes answers may let them wait: so long may what is open meanwhile hold back a vacuum.
_IDLE = "SELECT set_config('idle_in_transaction_session_timeout', '10s', true)"
#: Segments from which on compiling their hash pays: it takes a tenth of a second, and a fifth less for each row then.
COMPILED_MIN = 10
#: Unless the server does not want it, or cannot.
_COMPILED = """
    SELECT set_config('jit', reset_val, true), set_config('jit_above_cost', '0', true),
           set_config('jit_optimize_above_cost', '0', true), set_config('jit_inline_above_cost', '-1', true)
    FROM pg_settings WHERE name = 'jit'"""


class PostgresqlOneStatement:
    """A cursor over all segments, compiled where there are many; none where a key cannot be an end of theirs."""

    most = 64

    def __init__(self, adapter: SqlAdapter, digested_by: Callable[[Hashing], str], hashed_by: str) -> None:
        """What makes a range be read as is best: to digest it with this hash; for the hashes of its rows."""
        self._adapter, self._digested_by, self._hashed_by = adapter, digested_by, hashed_by

    def digests_of(self, side: BoundSide, parts: Sequence[Ranges], hashing: Hashing) -> Generator[Digests]:
        hashed = self._adapter.hashed
        if not all(hashed.are_rows(side, part) for part in parts):
            yield from (self._adapter.digests(side, part, hashing) for part in parts)
            return
        with self._going_on(len(parts), self._digested_by(hashing)) as connection:
            yield from hashed.digests_of(connection, side, parts, hashing)

    def prints_of(self, side: BoundSide, parts: Sequence[Range], hashing: Hashing) -> Generator[Prints]:
        hashed = self._adapter.hashed
        if not hashed.are_rows(side, Ranges(within=parts[0], ranges=tuple(parts))):
            yield from (self._adapter.prints(side, part, hashing) for part in parts)
            return
        with self._going_on(len(parts), self._hashed_by) as connection:
            yield from hashed.prints_of(connection, side, parts, hashing)

    @contextmanager
    def _going_on(self, segments: int, read_by: str) -> Iterator[sa.Connection]:
        """A connection for one statement that goes on through so many segments, each read as `read_by` says."""
        with self._adapter.reading() as connection:
            connection.exec_driver_sql(read_by)
            connection.exec_driver_sql(_IDLE)
            if segments >= COMPILED_MIN:
                connection.exec_driver_sql(_COMPILED)
            yield connection
