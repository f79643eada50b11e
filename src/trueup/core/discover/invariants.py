"""What must hold whatever the data are derived from: no source is needed to see that it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from trueup.core.discover import names
from trueup.core.discover.facts import NUMBERS, TIMES, Schema, TableFacts
from trueup.core.discover.links import Reference


class Rule(StrEnum):
    NEGATIVE = "negative"
    ORDER = "order"
    ORPHANS = "orphans"


@dataclass(frozen=True, kw_only=True, slots=True)
class Invariant:
    """A rule about the rows of one table."""

    rule: Rule
    table: str
    #: The counter; what begins and what ends; the columns that refer.
    columns: tuple[str, ...]
    reference: Reference | None = None

    @property
    def words(self) -> str:
        match self.rule:
            case Rule.NEGATIVE:
                return f"{self.table}.{self.columns[0]} is negative"
            case Rule.ORDER:
                return f"{self.table}.{self.columns[1]} is before {self.columns[0]}"
        assert self.reference is not None
        return f"{self.table}.{', '.join(self.columns)} names no row of {self.reference.to}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """An invariant that does not hold everywhere."""

    invariant: Invariant
    rows: int
    wrong: int


def invariants(schema: Schema, known: Sequence[Reference]) -> list[Invariant]:
    """Rules that names and references suggest."""
    found = []
    for table in schema:
        found += _negative(table) + _ordered(table)
    return found + [
        Invariant(rule=Rule.ORPHANS, table=r.table, columns=r.columns, reference=r) for r in known if not r.declared
    ]


def _negative(table: TableFacts) -> list[Invariant]:
    """Counts of something: `total` alone may be a balance."""
    counting = names.COUNTING - {"total", "totals", "n", "number"}
    return [
        Invariant(rule=Rule.NEGATIVE, table=table.name, columns=(column.name,))
        for column in table.of(NUMBERS)
        if names.says(column.name, counting)
    ]


def _ordered(table: TableFacts) -> list[Invariant]:
    """A beginning and an end that are named alike but for that word: `start_date`, `end_date`."""
    times = [column for column in table.columns.values() if column.sort in TIMES]
    found = []
    for begin in times:
        for end in times:
            b, e = names.words(begin.name), names.words(end.name)
            differing = [(x, y) for x, y in zip(b, e, strict=False) if x != y]
            if begin.sort is end.sort and len(b) == len(e) and len(differing) == 1:
                ((x, y),) = differing
                if x in names.BEGINS and y in names.ENDS:
                    found.append(Invariant(rule=Rule.ORDER, table=table.name, columns=(begin.name, end.name)))
    return found
