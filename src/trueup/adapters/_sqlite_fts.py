"""FTS5 tables of SQLite as sides. Their rowid is their key: no other column of theirs can be unique."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from trueup.core.binding import Column, Shape
from trueup.core.kinds import Kind
from trueup.errors import ConfigError

ROWID = "rowid"
_FTS = re.compile(r"create\s+virtual\s+table\b.*?\busing\s+fts5\s*\((.*)\)\s*\Z", re.IGNORECASE | re.DOTALL)
_CONTENT = re.compile(r"(?:^|,)\s*content\s*=\s*(?:'((?:[^']|'')*)'|\"([^\"]*)\"|(\w*))", re.IGNORECASE)


def is_fts(definition: str) -> bool:
    """Does this CREATE statement make an FTS5 table?"""
    return _FTS.search(definition) is not None


def shape_of(table: str, definition: str, shape: Shape) -> Shape:
    """What an FTS5 table offers a side, from what SQLite says of it as a table.

    Raises ConfigError for one that does not hold its texts.
    """
    found = _FTS.search(definition)
    assert found is not None
    content = _CONTENT.search(found[1])
    if content is not None:
        of = next((name for name in content.groups() if name), "")
        raise ConfigError(
            f"{table!r} is an index of texts that are elsewhere ({of or 'nowhere'}): what it would say is "
            f"{'what ' + repr(of) + ' says' if of else 'nothing'}. Compare the table of the texts, and put the index "
            f"right by INSERT INTO {table}({table}) VALUES ('rebuild')"
        )
    key = Column(name=ROWID, kind=Kind.INTEGER, type_name="INTEGER", nullable=False)
    columns: Mapping[str, Column] = {ROWID: key, **shape.columns}
    return Shape(
        columns=columns, unique=(frozenset({ROWID}),), table=True, dialect=shape.dialect, triggers=shape.triggers
    )


def insert_if_absent(table: sa.TableClause, row: Mapping[str, Any]) -> sa.Insert:
    """A virtual table knows no ON CONFLICT; whoever inserts holds the only write lock."""
    there = sa.select(sa.literal(1)).select_from(table).where(table.c[ROWID] == row[ROWID])
    values = sa.select(*row.values()).where(~there.exists())
    return sa.insert(table).from_select(list(row), values)
