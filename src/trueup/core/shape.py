"""What a database says of one side before any row of it is read: its columns, and what is unique."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from trueup.core.kinds import Kind


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column as its database describes it."""

    name: str
    kind: Kind
    #: The database's own name of the type.
    type_name: str
    nullable: bool = True
    #: NOT NULL without a default: an INSERT must give it.
    required: bool = False
    #: Computed by the database: cannot be written.
    generated: bool = False
    #: Numbered by the database, whatever is given (`GENERATED ALWAYS AS IDENTITY`): cannot be written.
    numbered: bool = False
    #: A value it holds, where the database has no type for what the column spells; shows the spelling.
    sample: str = ""
    #: Kind of an array's elements.
    element: Kind | None = None
    #: It holds nothing but texts, which mean what the other side's kind says.
    texts: bool = False
    #: The texts are of members of JSON documents, which tell a number from its digits.
    members: bool = False
    #: A float that is compared with integers: a whole number is read as what it is, and not by its shortest spelling,
    #: which of a single-precision one may be another (123456790 of 123456792).
    exact: bool = False
    #: SQL that gives its value, where it is none of the table's own.
    computed: str = ""
    #: Which of all columns that its table ever had it is; one that is dropped and added again is another. 0: not known.
    number: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What one side looks like, before any row of it is read."""

    columns: Mapping[str, Column]
    #: Column sets that are unique and NOT NULL or a primary key.
    unique: tuple[frozenset[str], ...] = ()
    #: Columns of each index that holds all rows, in their order; only where advice about indexes is given.
    indexes: tuple[tuple[str, ...], ...] = ()
    #: Columns that a unique index has to have, as its rows are put into partitions by them; "": none is to be had.
    divided_by: tuple[str, ...] = ()
    #: Columns of its primary key, in their order; empty if it has none.
    primary: tuple[str, ...] = ()
    #: Triggers of the table, and what each does, in any spelling that changes with it.
    triggers: Mapping[str, str] = field(default_factory=dict)
    #: Tables whose rows a delete here would delete or change, too: they refer to it with CASCADE or SET NULL.
    dependents: tuple[str, ...] = ()
    #: What it is read from, where that is more than one thing: files.
    parts: tuple[str, ...] = ()
    #: False for a view or a query: nothing can be written to it.
    table: bool = False
    #: The database's name for its SQL, as SQLGlot knows it.
    dialect: str = ""
    #: What a column is that is not listed, where the database has no list: it has whatever column it is asked for.
    unlisted: Column | None = None
    #: Compared columns that a row can have; None: any number.
    values_max: int | None = None
    #: Why rows may go away without a writer; empty if they do not. Such a side is no truth.
    vanishing: str = ""
    #: Which one it is, where another can take its name: an index behind an alias.
    identity: str = ""
    #: Why rows of this table cannot be repaired safely, and the remedy; empty if they can.
    obstacle: str = ""

    def column(self, name: str) -> Column | None:
        """The column of that name; None if there is none."""
        if name in self.columns or self.unlisted is None:
            return self.columns.get(name)
        return replace(self.unlisted, name=name)
