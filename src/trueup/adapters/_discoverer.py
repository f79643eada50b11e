"""What is asked of a database whose derived columns are looked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from trueup.core.discover.facts import KeptQuery, Schema
    from trueup.core.discover.ideas import Idea
    from trueup.core.discover.invariants import Invariant
    from trueup.core.discover.judge import Figures
    from trueup.core.row import Value


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A part of a table: rows whose first key column is in one of these ranges, both ends included."""

    ranges: tuple[tuple[Value, Value], ...]
    #: How it was chosen, in words.
    words: str


class Discoverer(Protocol):
    """Reads what a schema says, and tries ideas on the rows; writes nothing."""

    def schema(self) -> Schema:
        """Tables, keys, indexes, about how many rows; reads no row."""

    def values(self, asked: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], tuple[object, ...]]:
        """(table, column) -> its values, where a look at some rows finds but a few."""

    def numbered(self, schema: Schema) -> Mapping[str, Mapping[object, str]]:
        """Tables that number the classes of an application -> number -> the table of the class."""

    def sample(self, schema: Schema, table: str, column: str, rows: int) -> Sample | None:
        """About so many rows of a table, by a column of its key; None: it has no more than that."""

    def figures(self, schema: Schema, ideas: Sequence[Idea], sample: Sample | None) -> list[Figures]:
        """How well ideas agree with the rows; all of them are about one path. One statement."""

    def broken(self, schema: Schema, invariant: Invariant) -> tuple[int, int]:
        """Rows that an invariant is about, and those that it does not hold for."""

    def kept(self, view: KeptQuery) -> Figures:
        """A materialised view against the query that it is kept of."""

    def source(self, schema: Schema, idea: Idea) -> str:
        """The query that says what the column should hold, with the target's key."""
