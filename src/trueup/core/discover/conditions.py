"""Conditions on rows that an application may count under, and the few values that these are made of."""

from __future__ import annotations

from trueup.core.discover import names
from trueup.core.discover.facts import TIMES, ColumnFacts, Schema, Sort, TableFacts
from trueup.core.discover.ideas import timed
from trueup.core.discover.links import Path, Predicate, Reference

#: Values of a column that conditions are made of.
VALUES_MAX = 8


def conditions(schema: Schema, path: Path) -> list[Predicate]:
    """Conditions on the rows of a path that an application may count under."""
    found = _conditions(schema, schema.tables[path.child], middle=False)
    if path.middle:
        found += _conditions(schema, schema.tables[path.middle], middle=True)
    taken = {predicate.column for predicate in path.where if not predicate.middle}
    return [predicate for predicate in found if predicate.middle or predicate.column not in taken]


def _conditions(schema: Schema, table: TableFacts, *, middle: bool) -> list[Predicate]:
    found: list[Predicate] = []

    def add(column: ColumnFacts, test: str, value: object = None) -> None:
        found.append(Predicate(column=column.name, test=test, value=value, middle=middle))

    for column in table.columns.values():
        if column.name in table.key:
            continue
        if column.sort is Sort.BOOLEAN:
            add(column, "true")
            add(column, "false")
        elif column.nullable and (column.sort in TIMES or names.says(column.name, names.FLAGS | {"parent"})):
            add(column, "null")
            add(column, "not null")
        held = schema.values.get((table.name, column.name), ())
        if column.sort is not Sort.BOOLEAN and 2 <= len(held) <= VALUES_MAX:
            for value in held:
                add(column, "is", value)
                if len(held) > 2:
                    add(column, "is not", value)
    return found


def asked_for_values(schema: Schema, known: dict[tuple[str, str], Reference]) -> list[tuple[str, str]]:
    """Columns whose values say what rows mean: states, small numbers that are flags, names of tables."""
    found = []
    for table in schema:
        for column in table.columns.values():
            if column.name in table.key or column.sort not in (Sort.INTEGER, Sort.TEXT, Sort.OTHER):
                continue
            reference = known.get((table.name, column.name))
            typed = column.name.endswith("_type") or (reference is not None and reference.to.endswith("content_type"))
            said = names.says(column.name, names.STATES | names.FLAGS) and reference is None
            if typed or (said and not timed(column) and not names.says(column.name, names.COUNTING)):
                found.append((table.name, column.name))
    return found
