"""What SQL adapters share of writing: markers, the fence, and repair units."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from trueup.adapters import _markers as marking
from trueup.adapters._probed import Probed
from trueup.errors import DataProblem, DesignProblem

if TYPE_CHECKING:
    from trueup.adapters import Marker, Reader, RowOutcome, Unit
    from trueup.core.binding import Binding
    from trueup.core.decide import Action


class Repairing(Probed):
    """The writing half of the SQL adapters' base."""

    #: Whether the marker tables may be used; settled when the first fence is raised.
    markers: bool
    #: The marker tables as this database makes them.
    marker_tables = marking.MARKER_TABLES

    @abstractmethod
    def insert_if_absent(self, table: sa.TableClause, row: dict[str, Any]) -> sa.Insert:
        """INSERT that does nothing where the row is there."""

    def insert_absent(self, connection: sa.Connection, table: sa.TableClause, rows: Sequence[Any]) -> list[bool]:
        """Insert the rows that are not there; for each, whether this inserted it."""
        return [marking.inserted(connection, self.insert_if_absent(table, row)) for row in rows]

    @abstractmethod
    def begin_writing(self, connection: sa.Connection) -> None:
        """Settings of a unit's transaction; it has just begun."""

    def raise_fence(self, fence: str, *, stop: bool | None = None) -> int | None:
        if self.markers and not self._marker_tables():
            self.markers = False
        if not self.markers:
            return None
        table = marking.fences
        change: dict[str, Any] = {"token": table.c.token + 1}
        if stop is not None:
            change["stop"] = stop
        with self._session(self.writing_options) as connection:
            self.begin_fencing(connection)
            connection.execute(self.insert_if_absent(table, {"fence": fence, "token": 0, "stop": False}))
            connection.execute(table.update().where(table.c.fence == fence).values(**change))
            token = connection.execute(sa.select(table.c.token).where(table.c.fence == fence)).scalar_one()
            connection.commit()
        return int(token)

    @abstractmethod
    def begin_fencing(self, connection: sa.Connection) -> None:
        """Settings of the transaction that raises a fence: it waits for open units, which are short."""

    def _marker_tables(self) -> bool:
        """Make the marker tables where they are not there; False if the database does not let us."""
        for _ in range(2):  # who loses a race to make them finds them at the second look
            try:
                with self._session(self.writing_options) as connection:
                    self.marker_tables.create_all(connection)
                    connection.commit()
            except (DataProblem, DesignProblem):
                continue
            return True
        return False

    def statement(self, binding: Binding, action: Action) -> str:
        from trueup.adapters._statements import statement_of

        return statement_of(self, binding, action)  # type: ignore[arg-type]  # a whole one

    def repair(self, binding: Binding, unit: Unit, source: Reader) -> list[RowOutcome]:
        from trueup.adapters._units import run_unit

        return run_unit(self, binding, unit, source)  # type: ignore[arg-type]  # a whole one

    def claim(self, binding: Binding, unit: str) -> Marker | None:  # noqa: ARG002 - other adapters need the binding
        if not self.markers:
            return None
        with self._session(self.writing_options) as connection:
            self.begin_fencing(connection)
            marker = marking.claim(connection, self.insert_if_absent, unit)
            connection.commit()
        return marker

    def forget(self, units: Sequence[str]) -> None:
        if not self.markers:
            return
        with self._session(self.writing_options) as connection:
            self.begin_fencing(connection)
            marking.forget(connection, units)
            connection.commit()
