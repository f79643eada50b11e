"""What `trueup doctor` and the governor need of a SQL adapter besides its reading and writing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from trueup.adapters._relations import Relations
from trueup.core.binding import BoundSide
from trueup.core.plan import Range
from trueup.core.projection import Database
from trueup.core.row import Key

if TYPE_CHECKING:
    from trueup.adapters import Probe
    from trueup.adapters._discoverer import Discoverer
    from trueup.adapters._discovering import SqlDiscoverer
    from trueup.adapters._examiner import SqlExaminer
    from trueup.adapters._probing import SqlProbe


class Probed(ABC):
    """Base of the SQL adapters' base."""

    name: str
    database: Database
    engine: sa.Engine
    writing_options: Mapping[str, Any]
    relations: Relations

    # The types of these are imported when they are asked for: most commands need none of them.

    @property
    def examiner_type(self) -> type[SqlExaminer]:
        """Who finds out about this database."""
        from trueup.adapters._examiner import SqlExaminer

        return SqlExaminer

    @property
    def examiner(self) -> SqlExaminer:
        return self.examiner_type(self)  # type: ignore[arg-type]  # every adapter is a whole one

    @property
    def discoverer_type(self) -> type[SqlDiscoverer]:
        """Who looks for derived columns in it."""
        from trueup.adapters._discovering import SqlDiscoverer

        return SqlDiscoverer

    @property
    def discoverer(self) -> Discoverer | None:
        return self.discoverer_type(self)  # type: ignore[arg-type]  # a whole one

    @property
    def probe_type(self) -> type[SqlProbe] | None:
        """Who looks at this database while it is worked on; None: nobody can."""
        return None

    def probe(self, canary: str) -> Probe | None:
        kind = self.probe_type
        return None if kind is None else kind(self.another(), canary)  # type: ignore[arg-type]  # a whole one

    def cut(self, side: BoundSide, span: Range, rows: int) -> Key | None:
        if side.side.table is None:
            return None
        with self.reading_once() as connection:
            row = connection.execute(self.relations.nth(side, span, rows)).first()
        return row and side.key_of(row)

    @property
    def engines(self) -> Sequence[sa.Engine]:
        """All that its sessions come from."""
        return [self.engine]

    def another(self) -> Self:
        """The same database with connections of its own."""
        return type(self)(self.name, self.database)  # type: ignore[call-arg]

    @contextmanager
    def as_application(self) -> Iterator[sa.Connection]:
        """A writing session as the application would have it, without what Trueup adds for itself."""
        with self._session(self.writing_options) as connection:
            yield connection

    @abstractmethod
    def reading(self) -> AbstractContextManager[sa.Connection]:
        """A connection in a read-only transaction."""

    @abstractmethod
    def reading_once(self) -> AbstractContextManager[sa.Connection]:
        """A connection for one statement that reads, or for several that need not see the same moment."""

    @abstractmethod
    def _session(self, options: Mapping[str, Any]) -> AbstractContextManager[sa.Connection]:
        """A session that `options` set up: a connection in a transaction, which ends with the block."""
