"""What a column could be derived from: ideas, each with what its names say for it. The data decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

from trueup.core.discover import names
from trueup.core.discover.facts import NUMBERS, TIMES, ColumnFacts, Schema, Sort, TableFacts
from trueup.core.discover.links import Path, Predicate, Reference

#: Numbers of a table that are summed or added up at most; more would be guessing.
MEASURES_MAX = 8


class Kind(StrEnum):
    """How a column is derived."""

    COUNT = "count"
    DISTINCT = "distinct"
    EXISTS = "exists"
    SUM = "sum"
    AVERAGE = "average"
    LAST = "last"
    FIRST = "first"
    COPY = "copy"
    #: From columns of the same row: their sum, or their product.
    PARTS = "parts"
    PRODUCT = "product"


#: What is left where there are no rows.
ZERO = frozenset({Kind.COUNT, Kind.DISTINCT, Kind.EXISTS, Kind.SUM})
#: Derived inside one row.
WITHIN = frozenset({Kind.PARTS, Kind.PRODUCT})


class Strength(IntEnum):
    """What the names say for an idea, before any row is read."""

    WEAK = 1
    MEDIUM = 2
    STRONG = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Idea:
    """`table.column` holds `kind` of `measure` over the rows of `path`."""

    table: str
    column: str
    kind: Kind
    strength: Strength
    #: Why it was thought of.
    why: str
    #: None: from columns of the same row.
    path: Path | None = None
    #: Columns of the child: none for counts, two for a product; of the row itself for parts.
    measure: tuple[str, ...] = ()
    #: A column of the target's own row that comes on top of the sum.
    plus: str = ""
    #: Parts that are taken off.
    less: frozenset[str] = frozenset()
    filters: tuple[Predicate, ...] = ()
    #: Taken off a count: the first row is not counted.
    offset: int = 0

    @property
    def complexity(self) -> int:
        return (
            len(self.filters)
            + abs(self.offset)
            + bool(self.plus)
            + (1 if self.path and self.path.middle else 0)
            + max(len(self.measure) - 1, 0)
        )

    @property
    def groups(self) -> bool:
        """Is it told by the rows alone, grouped by what they refer to? Else it takes the target's own row."""
        return self.path is not None and self.kind in ZERO and not self.plus

    @property
    def formula(self) -> str:
        """In the words of SQL, as people read it."""
        what = " * ".join(self.measure)
        if self.kind in WITHIN:
            return what if self.kind is Kind.PRODUCT else _added(self.measure, self.less)
        assert self.path is not None
        path = self.path
        if self.kind is Kind.COPY:
            return f"{path.child}.{what} by {', '.join(path.on)}"
        function = {
            Kind.COUNT: "count(*)",
            Kind.DISTINCT: f"count(DISTINCT {what})",
            Kind.EXISTS: "count(*) > 0",
            Kind.SUM: f"sum({what})",
            Kind.AVERAGE: f"avg({what})",
            Kind.LAST: f"max({what})",
            Kind.FIRST: f"min({what})",
        }[self.kind]
        if self.offset:
            function += f" - {self.offset}"
        if self.plus:
            function += f" + {self.plus}"
        by = f"{path.middle}.{path.by[0]}" if path.middle else ", ".join(path.by)
        rows = f"{path.child} through {path.middle}" if path.middle else path.child
        conditions = [predicate.words for predicate in (*path.where, *self.filters)]
        return f"{function} of {rows} by {by}" + (f" where {' and '.join(conditions)}" if conditions else "")


def _added(parts: Sequence[str], less: frozenset[str]) -> str:
    text = parts[0]
    for part in parts[1:]:
        text += f" {'-' if part in less else '+'} {part}"
    return text


# --- from the rows of a path -----------------------------------------------------------------------------------------


def from_rows(schema: Schema, path: Path, known: dict[tuple[str, str], Reference]) -> list[Idea]:
    """What the columns of the path's target could be, without any condition on the rows."""
    target, child = schema.tables[path.target], schema.tables[path.child]
    referring = {name for table, name in known if table == target.name}
    found: list[Idea] = []
    # What comes on top of a sum of lines: shipping, tax, a fee.
    extras = [c for c in target.of(NUMBERS) if c.sort is not Sort.INTEGER][:MEASURES_MAX]
    for column in target.columns.values():
        if column.generated or column.name in path.on or column.name in target.key:
            continue
        if column.name in referring:
            found += _row_ideas(path, column, child, known)
        elif column.sort is Sort.INTEGER:
            found += _count_ideas(path, column, child, known)
            found += _number_ideas(path, column, child, known, extras)
            found += _time_ideas(path, column, child) if timed(column) else _key_ideas(path, column, child)
        elif column.sort in NUMBERS:
            found += _number_ideas(path, column, child, known, extras)
        elif column.sort is Sort.BOOLEAN and names.says(column.name, {"has", "have"}):
            found += _exists_ideas(path, column, child)
        elif column.sort in TIMES:
            found += _time_ideas(path, column, child)
    return found if not path.middle else [idea for idea in found if idea.strength > Strength.WEAK]


def about(path: Path, column: ColumnFacts, kind: Kind, strength: Strength, why: str, *measure: str) -> Idea:
    return Idea(
        table=path.target, column=column.name, kind=kind, strength=strength, why=why, path=path, measure=measure
    )


def _count_ideas(
    path: Path, column: ColumnFacts, child: TableFacts, known: dict[tuple[str, str], Reference]
) -> Iterator[Idea]:
    named = names.means_rows(column.name, child.name, _roles(path))
    counting = names.says(column.name, names.COUNTING)
    many = any(names.plural(word) for word in names.words(column.name))
    strength = Strength.WEAK
    why = "a number beside rows that refer to it"
    if named >= names.SURE and (counting or (many and len(names.core(column.name)) <= 2)):
        strength, why = Strength.STRONG, f"its name says how many rows of {child.name}"
    elif counting or (named >= names.SURE):
        strength, why = Strength.MEDIUM, "its name says that it counts"
    if timed(column) or names.refers(column.name):
        return
    yield about(path, column, Kind.COUNT, strength, why)
    if any(names.alike(word, "reply") == 1 for word in names.words(column.name)):
        yield replace(about(path, column, Kind.COUNT, Strength.STRONG, "replies are the rows but the first"), offset=1)
    if path.middle or not (counting or many):
        return
    by = set(path.by)
    for (table, name), reference in known.items():
        if table != child.name or name in by:
            continue
        role = max(
            names.means_rows(column.name, reference.to),
            names.means_rows(column.name, child.name, (name,)) if named < names.SURE else 0,
        )
        if role >= names.SURE or names.says(column.name, {"unique", "distinct", "participants", "participant"}):
            why = f"its name says how many different rows of {reference.to}"
            strength = Strength.STRONG if counting else Strength.MEDIUM
            yield about(path, column, Kind.DISTINCT, strength, why, name)


def _roles(path: Path) -> tuple[str, ...]:
    """Columns that say in which role rows belong to the target, where that is more than its name (`followed_id`)."""
    own = {names.singular(word) for word in names.words(path.target)}
    return () if path.middle else tuple(by for by in path.by if not own & set(names.stem_of_reference(by)))


def timed(column: ColumnFacts) -> bool:
    """An integer that holds a moment: `create_at`."""
    last = names.words(column.name)[-1:] or ("",)
    return last[0] in {"at", "time", "timestamp", "date", "on", "stamp"}


def _number_ideas(
    path: Path,
    column: ColumnFacts,
    child: TableFacts,
    known: dict[tuple[str, str], Reference],
    extras: list[ColumnFacts],
) -> Iterator[Idea]:
    if timed(column):
        return
    numbers = [
        held
        for held in child.of(NUMBERS)
        if (child.name, held.name) not in known and not timed(held) and not names.refers(held.name)
    ][:MEASURES_MAX]
    for held in numbers:
        strength, why = _summed(column, held.name, child)
        if column.sort is not Sort.INTEGER or held.sort is Sort.INTEGER:
            yield about(path, column, Kind.SUM, strength, why, held.name)
        if column.sort is not Sort.INTEGER and strength > Strength.WEAK and not path.middle:
            sum_ = about(path, column, Kind.SUM, Strength.MEDIUM, why, held.name)
            yield from (replace(sum_, plus=other.name) for other in extras if other.name != column.name)
        if column.sort is not Sort.INTEGER:
            averaged = names.says(column.name, names.AVERAGING)
            related = names.shared_words(column.name, held.name) or names.says(held.name, {"score", "rating", "stars"})
            strength = Strength.STRONG if averaged and related else Strength.MEDIUM if averaged else Strength.WEAK
            yield about(path, column, Kind.AVERAGE, strength, f"the mean of {child.name}.{held.name}", held.name)
    if column.sort is Sort.INTEGER or path.middle:
        return
    for many in numbers:
        for price in numbers:
            if many is not price and names.says(many.name, names.QUANTITY) and names.says(price.name, names.PRICE):
                strength = Strength.STRONG if names.says(column.name, names.SUMMING) else Strength.MEDIUM
                yield about(path, column, Kind.SUM, strength, "how many, times the price", many.name, price.name)


def _summed(column: ColumnFacts, held: str, child: TableFacts) -> tuple[Strength, str]:
    shared = names.shared_words(column.name, held)
    summing = names.says(column.name, names.SUMMING)
    if summing and (column.name == held or shared):
        return Strength.STRONG, f"its name says a total of {child.name}.{held}"
    if summing and names.means_rows(column.name, child.name):
        return Strength.STRONG, f"its name says a total over {child.name}"
    if names.says(column.name, names.COUNTING) and names.says(held, names.QUANTITY):
        return Strength.MEDIUM, f"its name says how many, and {child.name}.{held} does"
    if summing or shared:
        return Strength.MEDIUM, "its name says a total" if summing else f"it shares a word with {child.name}.{held}"
    return Strength.WEAK, f"a number beside {child.name}.{held}"


def _exists_ideas(path: Path, column: ColumnFacts, child: TableFacts) -> Iterator[Idea]:
    if path.middle:
        return
    if names.means_rows(column.name, child.name) >= names.SURE:
        yield about(path, column, Kind.EXISTS, Strength.STRONG, f"its name says whether there are {child.name}")
    said = [word for word in names.words(column.name) if word not in ("has", "have")]
    for held in child.of(frozenset({Sort.BOOLEAN})):
        if said and names.alike(said[-1], names.words(held.name)[-1]) >= names.SURE:
            any_ = about(path, column, Kind.EXISTS, Strength.MEDIUM, f"named like {child.name}.{held.name}")
            yield replace(any_, filters=(Predicate(column=held.name, test="true"),))


def _time_ideas(path: Path, column: ColumnFacts, child: TableFacts) -> Iterator[Idea]:
    last, first = names.says(column.name, names.LAST), names.says(column.name, names.FIRST)
    if not (last or first) and names.says(column.name, names.MADE):
        return  # when a row was made is its own
    for held in child.columns.values():
        same = held.sort is column.sort or {held.sort, column.sort} == TIMES
        if not same or (held.sort is Sort.INTEGER and not timed(held)):
            continue
        made = names.says(held.name, names.MADE | {"date", "time", "timestamp", "at", "on"})
        named = names.means_rows(_without(column.name), child.name) >= names.SURE
        strong = (
            Strength.STRONG if made and (named or names.says(column.name, {"active", "activity"})) else Strength.MEDIUM
        )
        if not first:
            strength = strong if last else Strength.WEAK
            yield about(path, column, Kind.LAST, strength, f"the latest {child.name}.{held.name}", held.name)
        if not last:
            strength = strong if first else Strength.WEAK
            yield about(path, column, Kind.FIRST, strength, f"the earliest {child.name}.{held.name}", held.name)


def _without(column: str) -> str:
    """A column without the words for its being a moment: `last_post_on` -> last_post."""
    return "_".join(w for w in names.words(column) if w not in {"at", "on", "time", "date", "timestamp", "stamp"})


def _key_ideas(path: Path, column: ColumnFacts, child: TableFacts) -> Iterator[Idea]:
    """A number that no schema calls a reference, and that is named like the last of the rows."""
    if not names.says(column.name, names.LAST) or len(child.key) != 1 or path.middle:
        return
    if child.columns[child.key[0]].sort is Sort.INTEGER:
        yield about(path, column, Kind.LAST, Strength.MEDIUM, f"the latest row of {child.name}", child.key[0])


def _row_ideas(
    path: Path, column: ColumnFacts, child: TableFacts, known: dict[tuple[str, str], Reference]
) -> Iterator[Idea]:
    """A reference to the last or first of the rows, or of those that the rows name as theirs."""
    reference = known[(path.target, column.name)]
    for name in child.columns:
        theirs = known.get((child.name, name))
        if theirs is None or theirs.to != reference.to or child.columns[name].sort is not Sort.INTEGER:
            continue
        alike = set(names.stem_of_reference(name)) == set(names.stem_of_reference(column.name))
        if alike and names.says(name, names.LAST):
            yield about(path, column, Kind.LAST, Strength.STRONG, f"the latest {child.name}.{name}", name)
    if reference.to != child.name or len(child.key) != 1 or child.columns[child.key[0]].sort is not Sort.INTEGER:
        return
    if names.says(column.name, names.LAST):
        yield about(path, column, Kind.LAST, Strength.STRONG, f"the latest row of {child.name}", child.key[0])
    if names.says(column.name, names.FIRST):
        yield about(path, column, Kind.FIRST, Strength.STRONG, f"the first row of {child.name}", child.key[0])
