"""Which rows belong to which: declared foreign keys, those that only the names tell, and paths along them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from trueup.core.discover import names
from trueup.core.discover.facts import Schema, Sort, TableFacts

#: Sorts that keys are of.
_KEYS = frozenset({Sort.INTEGER, Sort.TEXT, Sort.UUID, Sort.DECIMAL})
#: Names of references to the same table.
_PARENTS = frozenset({"parent", "reply", "replied", "root", "original", "ancestor"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Predicate:
    """A condition on one column of the counted rows, or of the table between."""

    column: str
    #: `is`, `is not` (a value), `null`, `not null`, `true`, `false`.
    test: str
    value: object = None
    #: The condition is on the table between.
    middle: bool = False

    @property
    def words(self) -> str:
        match self.test:
            case "null":
                return f"{self.column} IS NULL"
            case "not null":
                return f"{self.column} IS NOT NULL"
            case "true":
                return self.column
            case "false":
                return f"NOT {self.column}"
        return f"{self.column} {'=' if self.test == 'is' else '<>'} {self.value!r}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """Columns of a table that name a row of another one."""

    table: str
    columns: tuple[str, ...]
    to: str
    to_columns: tuple[str, ...]
    #: In the database's schema; else only the names say so.
    declared: bool
    #: Holds for rows that refer to this table and not to another one.
    where: tuple[Predicate, ...] = ()

    @property
    def words(self) -> str:
        how = "a foreign key" if self.declared else "by its name"
        kind = f" where {self.where[0].words}" if self.where else ""
        return f"{self.table}.{', '.join(self.columns)} refers to {self.to}.{', '.join(self.to_columns)}{kind} ({how})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Path:
    """How rows of `child` belong to rows of `target`."""

    target: str
    #: Unique columns of the target.
    on: tuple[str, ...]
    child: str
    #: Columns equal to `on`: of the child, or of the table between.
    by: tuple[str, ...]
    #: The table between, and the child's columns that name a row of it by those columns.
    middle: str = ""
    link: tuple[tuple[str, str], ...] = ()
    where: tuple[Predicate, ...] = ()
    #: `by[0]` is a moment, and the target has a row for each day.
    daily: bool = False
    references: tuple[Reference, ...] = ()

    @property
    def declared(self) -> bool:
        return all(reference.declared for reference in self.references)


def references(schema: Schema) -> list[Reference]:
    """All references, the declared ones first."""
    found: dict[tuple[str, tuple[str, ...], str, tuple[Predicate, ...]], Reference] = {}
    for reference in [*_declared(schema), *_by_type(schema), *_by_name(schema)]:
        found.setdefault((reference.table, reference.columns, reference.to, reference.where), reference)
    return list(found.values())


def _declared(schema: Schema) -> Iterator[Reference]:
    for table in schema:
        for key in table.references:
            if key.table in schema.tables and key.to:
                yield Reference(table=table.name, columns=key.columns, to=key.table, to_columns=key.to, declared=True)


def _by_name(schema: Schema) -> Iterator[Reference]:
    parents = [table for table in schema if len(table.key) == 1]
    prefixes = {table.name: names.prefix_of(list(table.columns)) for table in schema}
    for table in schema:
        declared = {name for key in table.references for name in key.columns}
        typed = {f"{stem}_id" for stem in _typed_stems(table)}
        for column in table.columns.values():
            if column.sort not in _KEYS or column.name in declared | typed or (column.name,) == table.key:
                continue
            scored = [(_sure(table, column.name, parent, prefixes), parent) for parent in parents if parent.tells]
            best = max((score for score, _ in scored), default=0.0)
            for score, parent in scored:
                to = parent.key[0]
                if best > 0 and score == best and _comparable(column.sort, parent.columns[to].sort):
                    yield Reference(
                        table=table.name, columns=(column.name,), to=parent.name, to_columns=(to,), declared=False
                    )
                    break


def _sure(table: TableFacts, column: str, parent: TableFacts, prefixes: dict[str, str]) -> float:
    """How surely a column's name says that it refers to a table."""
    key, prefix = parent.key[0], prefixes[table.name]
    if column == key and names.words(key) != ("id",) and parent is not table:
        return 1.0 if names.names_table(names.stem_of_reference(key), parent.name) else 0.6
    stem = names.stem_of_reference(column, prefix)
    if names.refers(column) and parent is table and set(stem) & _PARENTS:
        return 0.95
    own = names.names_table(stem, parent.name)
    # Without an `id` at its end it refers by the prefix of its table (`rev_page`); more than one cannot be meant.
    named = bool(prefix) and own == 1.0 and not names.plural(stem[-1])
    return own if names.refers(column) or named else 0.0


def _comparable(one: Sort, other: Sort) -> bool:
    return one == other or {one, other} == {Sort.INTEGER, Sort.DECIMAL}


def _typed_stems(table: TableFacts) -> list[str]:
    """`commentable` where there are `commentable_type` and `commentable_id`."""
    return [name[:-5] for name in table.columns if name.endswith("_type") and f"{name[:-5]}_id" in table.columns]


def _by_type(schema: Schema) -> Iterator[Reference]:
    """A pair of columns that names a table and a row of it."""
    for table in schema:
        for stem in _typed_stems(table):
            for value in schema.values.get((table.name, f"{stem}_type"), ()):
                to = _table_called(schema, str(value))
                if to is not None:
                    where = Predicate(column=f"{stem}_type", test="is", value=value)
                    yield _typed(table, f"{stem}_id", to, where)
        kinds = next((key for key in table.references if key.table in schema.numbered and len(key.columns) == 1), None)
        row = next((name for name in ("object_id", "object_pk") if name in table.columns), None)
        if kinds is None or row is None:
            continue
        held = schema.values.get((table.name, kinds.columns[0]))
        for number, called in schema.numbered[kinds.table].items():
            to = schema.tables.get(called)
            if to is None or len(to.key) != 1 or (held is not None and number not in held):
                continue
            if _comparable(table.columns[row].sort, to.columns[to.key[0]].sort):
                yield _typed(table, row, to, Predicate(column=kinds.columns[0], test="is", value=number))


def _typed(table: TableFacts, column: str, to: TableFacts, where: Predicate) -> Reference:
    return Reference(table=table.name, columns=(column,), to=to.name, to_columns=to.key, declared=False, where=(where,))


def _table_called(schema: Schema, value: str) -> TableFacts | None:
    """The table of a class: `Post`, `App\\Models\\Post`, `posts`."""
    last = value.replace("\\", ".").replace("::", ".").rpartition(".")[2]
    scored = [(names.names_table(names.words(last), table.name), table) for table in schema if len(table.key) == 1]
    best = max(scored, key=lambda item: item[0], default=None)
    return best[1] if best is not None and best[0] >= 0.9 else None


# --- paths -----------------------------------------------------------------------------------------------------------


def anchors(
    schema: Schema, known: list[Reference]
) -> dict[tuple[str, tuple[str, ...]], list[tuple[str, tuple[str, ...]]]]:
    """(table, unique columns) -> tables that have one row for each row of it, by which of their columns; itself too."""
    found: dict[tuple[str, tuple[str, ...]], list[tuple[str, tuple[str, ...]]]] = {}
    for reference in known:
        place = found.setdefault((reference.to, reference.to_columns), [(reference.to, reference.to_columns)])
        if not reference.where and schema.tables[reference.table].is_unique(reference.columns):
            place.append((reference.table, reference.columns))
    return found


def direct(schema: Schema, known: list[Reference]) -> list[Path]:
    """Rows that refer to the target's row, or to the row that the target's row stands beside."""
    beside = anchors(schema, known)
    found = [
        Path(
            target=target,
            on=on,
            child=reference.table,
            by=reference.columns,
            where=reference.where,
            references=(reference,),
        )
        for reference in known
        for target, on in beside[(reference.to, reference.to_columns)]
        if (target, on) != (reference.table, reference.columns)
    ]
    return found + _by_pairs(schema, known)


def _by_pairs(schema: Schema, known: list[Reference]) -> list[Path]:
    """Targets whose row stands for several rows at once: a member of a channel, a product in a shop."""
    of: dict[str, list[Reference]] = {}
    for reference in known:
        if len(reference.columns) == 1 and not reference.where:
            of.setdefault(reference.table, []).append(reference)
    found = []
    for table in schema:
        for unique in table.unique:
            mine = [next((r for r in of.get(table.name, ()) if r.columns == (name,)), None) for name in sorted(unique)]
            if not 2 <= len(unique) <= 3 or None in mine:
                continue
            on = tuple(r.columns[0] for r in mine if r is not None)
            for child, theirs in of.items():
                choices = [[t for t in theirs if r is not None and t.to == r.to] for r in mine]
                if child == table.name or not all(choices):
                    continue
                found += [
                    Path(
                        target=table.name,
                        on=on,
                        child=child,
                        by=tuple(t.columns[0] for t in chosen),
                        references=chosen,
                    )
                    for chosen in product(*choices)
                    if len({t.columns for t in chosen}) == len(chosen)
                ]
    return found


def through(schema: Schema, known: list[Reference]) -> list[Path]:
    """Rows that refer to rows that refer to the target's row: posts of the topics of a forum."""
    beside = anchors(schema, known)
    found = []
    for second in known:
        for first in known:
            if first.to != second.table or second.where or first.table == second.table == second.to:
                continue
            for target, on in beside[(second.to, second.to_columns)]:
                if target in (second.table, first.table):
                    continue
                found.append(
                    Path(
                        target=target,
                        on=on,
                        child=first.table,
                        by=second.columns,
                        middle=second.table,
                        link=tuple(zip(first.columns, first.to_columns, strict=True)),
                        where=first.where,
                        references=(first, second),
                    )
                )
    return found


def by_day(schema: Schema, known: list[Reference]) -> list[Path]:
    """Targets with a row for each day, and perhaps for each row of another table: daily figures."""
    refer = {(r.table, r.columns): r for r in known if len(r.columns) == 1}
    found = []
    for table in schema:
        for unique in table.unique:
            days = [name for name in unique if table.columns[name].sort is Sort.DATE]
            rest = [refer.get((table.name, (name,))) for name in sorted(unique - set(days))]
            if len(days) != 1 or len(rest) > 1 or None in rest:
                continue
            for child in schema:
                theirs = [r for r in known if r.table == child.name and rest and rest[0] and r.to == rest[0].to]
                moments = [column.name for column in child.of(frozenset({Sort.MOMENT, Sort.DATE}))]
                if child is table or (rest and not theirs):
                    continue
                for moment, other in product(moments, theirs if rest else [None]):
                    found.append(
                        Path(
                            target=table.name,
                            on=(days[0], *(r.columns[0] for r in rest if r)),
                            child=child.name,
                            by=(moment, *(other.columns if other else ())),
                            daily=True,
                            references=(other,) if other else (),
                        )
                    )
    return found
