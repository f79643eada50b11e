"""The statements by which rows are written, as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from trueup.core.binding import Binding, Column
from trueup.core.decide import Action

if TYPE_CHECKING:
    from trueup.adapters._sql import SqlAdapter


def statement_of(adapter: SqlAdapter, binding: Binding, action: Action) -> str:
    """The statement that carries out `action` on one row; values are named, not given."""
    table = adapter.relations.table(binding.target)

    def named(columns: Sequence[Column]) -> dict[str, Any]:
        return {column.name: sa.bindparam(f"the_{column.name}") for column in columns}

    found = [table.c[name] == value for name, value in named(binding.target.key).items()]
    written = [binding.target.values[at] for at in binding.written]
    statements: dict[Action, sa.Executable] = {
        Action.INSERT: table.insert().values(named(binding.target.columns)),
        Action.UPDATE: table.update().values(named(written)).where(*found),
        Action.DELETE: table.delete().where(*found),
    }
    if action not in statements:
        return ""
    dialect = type(adapter.engine.dialect)(paramstyle="named")  # type: ignore[call-arg]
    text = str(statements[action].compile(dialect=dialect))  # type: ignore[attr-defined]
    return " ".join(text.split()).replace(":the_", ":")
