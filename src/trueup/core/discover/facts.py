"""What a database says of its tables, as far as it lets one guess what is derived from what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Sort(StrEnum):
    """What a column's values are, coarsely: what can be compared with what."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "float"
    BOOLEAN = "boolean"
    TEXT = "text"
    DATE = "date"
    MOMENT = "moment"
    UUID = "uuid"
    OTHER = "other"


NUMBERS = frozenset({Sort.INTEGER, Sort.DECIMAL, Sort.FLOAT})
TIMES = frozenset({Sort.DATE, Sort.MOMENT})


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnFacts:
    """One column."""

    name: str
    sort: Sort
    nullable: bool = True
    #: Computed by the database: nobody can get it wrong.
    generated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """A declared foreign key."""

    columns: tuple[str, ...]
    table: str
    to: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TableFacts:
    """One table."""

    #: With its schema where that is not the default one.
    name: str
    columns: Mapping[str, ColumnFacts]
    #: Primary key columns.
    key: tuple[str, ...] = ()
    #: Column sets that are unique, the primary key among them.
    unique: tuple[frozenset[str], ...] = ()
    references: tuple[Declared, ...] = ()
    #: First columns of indexes: rows can be found by these.
    indexed: frozenset[str] = frozenset()
    #: About how many rows it has; None: the database does not say.
    rows: int | None = None

    def of(self, sorts: frozenset[Sort]) -> list[ColumnFacts]:
        """Columns of these sorts that are no part of the key."""
        return [column for column in self.columns.values() if column.sort in sorts and column.name not in self.key]

    @property
    def tells(self) -> bool:
        """Is it more than pairs of references? Nothing refers to these."""
        referring = {name for key in self.references for name in key.columns}
        return len(self.references) < 2 or bool(self.columns.keys() - referring - set(self.key))

    def is_unique(self, columns: Sequence[str]) -> bool:
        return frozenset(columns) in self.unique


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptQuery:
    """A materialised view: a result that is kept, and the query that it is kept of."""

    name: str
    query: str
    columns: tuple[str, ...]
    #: A column set that is unique; empty: there is none.
    key: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Schema:
    """All that was found out before any row was read, and the few values that say what rows mean."""

    tables: Mapping[str, TableFacts]
    kept: tuple[KeptQuery, ...] = ()
    #: (table, column) -> the values that it holds, where they are few.
    values: Mapping[tuple[str, str], tuple[object, ...]] = field(default_factory=dict)
    #: (table, column) that names a table by number -> number -> table (Django's content types).
    numbered: Mapping[str, Mapping[object, str]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[TableFacts]:
        return iter(self.tables.values())

    def column(self, table: str, name: str) -> ColumnFacts:
        return self.tables[table].columns[name]
