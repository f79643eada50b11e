"""A row in a table: an outbox, or the entry that puts a sum right. A unique column holds the correction's key, so that
it is made once, however often it is tried.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import sqlalchemy as sa

from trueup import adapters
from trueup.adapters._sql import SqlAdapter
from trueup.core.handlers import Handler
from trueup.core.side import Database
from trueup.emitting import parts
from trueup.errors import ConnectionFailed, DataProblem, DesignProblem, Transient
from trueup.python.handlers import Call

#: Columns where none are declared.
DEFAULT = {name: name for name in ("id", "projection", "kind", "body")}


class Table:
    """One table of a declared database."""

    def __init__(self, handler: Handler, place: str, url: str) -> None:
        self.place, self.name = place, handler.to
        self.values = handler.values or DEFAULT
        self.id = next(column for column, part in self.values.items() if part == "id")
        adapter = adapters.connect(place.removeprefix("databases."), Database.model_validate({"url": url}))
        assert isinstance(adapter, SqlAdapter)
        self.adapter = adapter

    @cached_property
    def table(self) -> sa.TableClause:
        """The table, once it is known that it keeps one entry for each key."""
        schema, _, name = self.name.rpartition(".")
        with self.adapter.reading() as c:
            inspector = sa.inspect(c)
            if not inspector.has_table(name, schema or None):
                raise DesignProblem(f"{self.place}: there is no table {self.name!r}")
            found: list[Any] = [inspector.get_pk_constraint(name, schema or None)["constrained_columns"]]
            found += [one["column_names"] for one in inspector.get_unique_constraints(name, schema or None)]
            found += [one["column_names"] for one in inspector.get_indexes(name, schema or None) if one["unique"]]
        if [self.id] not in found:
            raise DesignProblem(
                f"{self.place}: {self.name}.{self.id} is not unique, so an entry could be made twice: CREATE UNIQUE "
                f"INDEX ON {self.name} ({self.id})"
            )
        return sa.table(name, *(sa.column(column) for column in self.values), schema=schema or None)

    def send(self, call: Call) -> str:
        told = parts(call)
        row = {column: told.get(part) for column, part in self.values.items()}
        try:
            table = self.table
            try:
                with self.adapter.writing() as c:
                    c.execute(table.insert().values(**row))
            except DataProblem:
                if self._is_there(call.idempotency_key):
                    return f"the entry {call.idempotency_key} was there already"
                raise
        except ConnectionFailed as error:  # whether it ever could be reached matters to who reads, not to who sends
            raise Transient(str(error)) from error
        return f"the entry {call.idempotency_key} was made"

    def _is_there(self, key: str) -> bool:
        with self.adapter.reading() as c:
            statement = sa.select(sa.literal(1)).select_from(self.table).where(self.table.c[self.id] == key)
            return c.execute(statement).first() is not None

    def close(self) -> None:
        self.adapter.close()


connect = Table
