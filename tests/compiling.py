"""Statements are compiled once for a process. SQLAlchemy keeps what it compiled for each engine by itself, and nearly
every test opens engines of its own: a good part of the suite's time went into compiling the same statements.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

#: Statements kept for one kind of engine; then it begins anew.
STATEMENTS = 5_000


class Compiled(dict[Any, Any]):
    """What engines of one kind compiled, whichever of them it was: SQLAlchemy's keys, without their dialect object."""

    def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
        return super().get(key[1:], default)

    def __setitem__(self, key: tuple[Any, ...], value: Any) -> None:
        if len(self) >= STATEMENTS:
            self.clear()
        super().__setitem__(key[1:], value)


_kinds: dict[tuple[Any, ...], Compiled] = {}


def once() -> None:
    """From now on, in this process."""
    sa.event.listen(sa.Engine, "engine_connect", _share)


def _share(connection: sa.Connection) -> None:
    dialect = connection.dialect
    quote = dialect.identifier_preparer.initial_quote
    kind = (type(dialect), dialect.paramstyle, dialect.server_version_info, quote)
    connection.execution_options(compiled_cache=_kinds.setdefault(kind, Compiled()))
