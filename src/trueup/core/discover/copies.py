"""Columns that repeat what another row holds, and totals of what stands in the same row."""

from __future__ import annotations

from itertools import combinations

from trueup.core.discover import names
from trueup.core.discover.facts import NUMBERS, TIMES, ColumnFacts, Schema, Sort, TableFacts
from trueup.core.discover.ideas import Idea, Kind, Strength, about, timed
from trueup.core.discover.links import Path, Reference

#: Columns of a table that parts of a total are looked for among.
PARTS_MAX = 9


def copies(schema: Schema, reference: Reference, known: dict[tuple[str, str], Reference]) -> list[Idea]:
    """Columns that hold what the row that they refer to holds, too."""
    if reference.where or reference.table == reference.to:
        return []
    table, parent = schema.tables[reference.table], schema.tables[reference.to]
    path = Path(
        target=table.name,
        on=reference.columns,
        child=parent.name,
        by=reference.to_columns,
        references=(reference,),
    )
    stem = names.stem_of_reference(reference.columns[-1])
    prefixes = names.prefix_of(list(table.columns)), names.prefix_of(list(parent.columns))
    found = []
    for column in table.columns.values():
        if column.generated or column.name in reference.columns or column.name in table.key:
            continue
        for held in parent.columns.values():
            strength = _copied(column, held, stem, prefixes, known, reference)
            if strength is not None and held.sort == column.sort and held.name not in parent.key:
                why = f"named like {parent.name}.{held.name}, which the row refers to"
                found.append(about(path, column, Kind.COPY, strength, why, held.name))
    return found


def _copied(
    column: ColumnFacts,
    held: ColumnFacts,
    stem: tuple[str, ...],
    prefixes: tuple[str, str],
    known: dict[tuple[str, str], Reference],
    reference: Reference,
) -> Strength | None:
    """What the names say for a copy; None: nothing."""
    mine = names.words(column.name.removeprefix(prefixes[0]))
    theirs = names.words(held.name.removeprefix(prefixes[1]))
    here, there = known.get((reference.table, column.name)), known.get((reference.to, held.name))
    if here is not None or there is not None:
        same = here is not None and there is not None and here.to == there.to
        # A topic's last post takes the forum of its topic, and not the other way round.
        back = any(table == reference.to and r.to == reference.table for (table, _), r in known.items())
        chosen = set(stem) & (names.LAST | names.FIRST | {"best", "accepted"})
        if not same or (back and chosen and not set(mine) & (names.LAST | names.FIRST)):
            return None
        return Strength.MEDIUM if mine == theirs or set(theirs) <= set(mine) else None
    if mine == (*stem, *theirs) or (len(stem) > 1 and mine == (stem[-1], *theirs)):
        return Strength.STRONG
    if mine == (*names.stem_of_reference(reference.to)[-1:], *theirs) or (
        mine[:-1] == stem and mine[-1:] == theirs[-1:]
    ):
        return Strength.STRONG
    if mine == theirs and not set(mine) & names.EVERYWHERE:
        return Strength.MEDIUM
    if mine == theirs and held.sort is Sort.TEXT and not set(mine) & names.STATES:
        return Strength.WEAK
    if mine == theirs and held.sort is Sort.TEXT and not set(mine) & names.STATES:
        return Strength.WEAK
    if len(mine) > 1 and mine[-1] == theirs[-1] and held.sort is Sort.TEXT:
        return Strength.WEAK  # the name of somebody in some role
    last_like = set(mine) & names.LAST and column.sort in TIMES and stem[-1:] and stem[-1] in mine
    return Strength.MEDIUM if last_like else None


# --- within a row ----------------------------------------------------------------------------------------------------


def within(table: TableFacts, referring: set[str]) -> list[Idea]:
    """Totals of parts that stand beside them."""
    numbers = [
        column
        for column in table.of(NUMBERS)
        if column.name not in referring and not timed(column) and not names.refers(column.name)
    ]
    found: list[Idea] = []
    for column in numbers:
        others = [other for other in numbers if other is not column]
        if column.generated or not _totals(column.name):
            continue
        for size in (2, 3, 4):
            for parts in combinations(others[:PARTS_MAX], size):
                less = frozenset(part.name for part in parts[1:] if names.says(part.name, names.LESS))
                found.append(_parts(table, column, [part.name for part in parts], less))
        for pair in combinations((other.name for other in others), 2):
            factors = sorted(pair, key=lambda name: not names.says(name, names.QUANTITY))
            if names.says(factors[0], names.QUANTITY) and names.says(factors[1], names.PRICE | names.SUMMING):
                strength = Strength.STRONG if names.says(column.name, names.SUMMING) else Strength.MEDIUM
                found.append(
                    Idea(
                        table=table.name,
                        column=column.name,
                        kind=Kind.PRODUCT,
                        strength=strength,
                        why="how many, times the price",
                        measure=tuple(factors),
                    )
                )
    return found


def _totals(column: str) -> bool:
    return names.says(
        column, names.SUMMING | {"gross", "delta", "due", "all", "count", "price", "votes", "edges", "sum"}
    )


def _parts(table: TableFacts, column: ColumnFacts, parts: list[str], less: frozenset[str]) -> Idea:
    return Idea(
        table=table.name,
        column=column.name,
        kind=Kind.PARTS,
        strength=Strength.MEDIUM if names.says(column.name, {"total", "totals", "sum", "delta"}) else Strength.WEAK,
        why="its name says a total, and these stand beside it",
        measure=tuple(parts),
        less=less,
    )
