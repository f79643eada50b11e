"""Row hashes inside a database: leaves, their digests, and the hashes of single rows."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from trueup.adapters._built import Built
from trueup.adapters._dialect import BINARY, Answered, Expression
from trueup.adapters._relations import Relations, Slot
from trueup.adapters._row_hash import Cell, Way
from trueup.core.binding import BoundSide, Column
from trueup.core.digest import PRINTS_MAX, Digest, Digests, Hashing, Prints, RowHash
from trueup.core.plan import Everything, KeyHashes, Keys, Leaves, Part, Range, Ranges
from trueup.core.row import Kind, Value
from trueup.errors import BrokenRead

#: What a database says of a probe that it cannot answer, in its version, encoding or mode of operation.
_NOT_THERE = (exc.ProgrammingError, exc.DataError, exc.InternalError, exc.NotSupportedError, UnicodeEncodeError)
#: Name of the cursor that goes on through many segments.
_CURSOR = "trueup_segments"
#: Hashes come as bytes, and not as digits.
_AS_BYTES = {BINARY: True}


class Hashed:
    """Row hashes of one database, as the comparison asks for them."""

    def __init__(self, relations: Relations, ways: Sequence[Way], built: Built) -> None:
        self.relations = relations
        self.ways = {way.name: way for way in ways}
        self._built = built

    def offers(self, connection: sa.Connection) -> list[RowHash]:
        """The ways that this very server has: an old one lacks a function, an encoding a letter of the probe."""
        offers = []
        for way in self.ways.values():
            try:
                with connection.begin_nested():
                    proof = connection.execute(sa.select(way.probe())).scalar()
            except _NOT_THERE:
                continue
            offers.append(RowHash(name=way.name, proof=str(proof), portable=way.portable))
        return offers

    def chosen(self, side: BoundSide, parts: Sequence[Expression], part: Leaves | KeyHashes) -> Expression:
        """Holds for the rows of `part`, within its range."""
        way = self.ways[part.hashing.name]
        if isinstance(part, Leaves):
            return self._leaf(way, side, parts, part.hashing).in_(part.leaves)
        keys = self.keys_of(side, part)
        if keys is not None:
            return sa.and_(*self.relations.within(side, parts, Keys(keys=tuple((key,) for key in keys))))
        values, type_ = way.hash_values(part.hashes)
        return self.relations.dialect.among(way.key(_cells(side, parts, part.hashing)), type_, values)

    def keys_of(self, side: BoundSide, part: KeyHashes) -> list[int] | None:
        """Integer keys with these hashes, as the side can hold them. None: their hashes do not tell."""
        keys = self.ways[part.hashing.name].keys_of(part.hashes, part.hashing)
        can_hold = partial(self.relations.dialect.can_hold, side.key[0])
        if not keys or (can_hold(min(keys)) and can_hold(max(keys))):
            return keys
        return [key for key in keys if can_hold(key)]

    def column(self, dialect: sa.Dialect, side: BoundSide, hashing: Hashing) -> Column:
        """The hash of each row, as a column of the side's table or query; NULL of one that counts as not there."""
        _, columns = self.relations.columns(side)
        found = self.ways[hashing.name].of(_cells(side, columns, hashing))
        there = self.relations.within(side, columns[: len(side.key)], Everything())
        if there:
            found = sa.case((sa.and_(*there), found))
        # Of named parameters no `%` is doubled: that is done where the column is read.
        plain: sa.Dialect = type(dialect)(paramstyle="named")  # type: ignore[call-arg]
        text = str(found.compile(dialect=plain, compile_kwargs={"literal_binds": True}))
        kind, name = (Kind.INTEGER, "bigint") if isinstance(found.type, sa.BigInteger) else (Kind.TEXT, "text")
        return Column(name="row hash", kind=kind, type_name=name, computed=text)

    def digests(self, connection: sa.Connection, side: BoundSide, part: Part, hashing: Hashing) -> Digests:
        """Leaves of `part` -> what they amount to; of some ranges, each is one."""
        way = self.ways[hashing.name]
        if isinstance(part, Ranges):
            return self._of_ranges(connection, way, side, part, hashing)
        return _digests(connection.execute(self._by_leaf(way, side, part, hashing)), connection, way)

    def digests_of_both(
        self, connection: sa.Connection, sides: Sequence[BoundSide], part: Range, hashing: Hashing
    ) -> tuple[Digests, Digests]:
        """The leaves of two sides that are both here, as of one moment."""
        way = self.ways[hashing.name]
        halves = [
            sa.select(sa.literal_column(str(at)).label("side"), self._by_leaf(way, side, part, hashing).subquery())
            for at, side in enumerate(sides)
        ]
        found: tuple[dict[object, Digest], dict[object, Digest]] = {}, {}
        for at, leaf, rows, content in connection.execute(sa.union_all(*halves)):
            found[at][leaf] = Digest(rows=rows, content=content)
        return found

    def _by_leaf(self, way: Way, side: BoundSide, part: Part, hashing: Hashing) -> sa.Select[Any]:
        """Leaf, number of rows, and what they amount to."""
        _, columns = self.relations.columns(side)
        keys = columns[: len(side.key)]
        order = [self.relations.ordered(c, k) for c, k in zip(side.key, keys, strict=True)]
        parts = [self._leaf(way, side, keys, hashing), way.row(_cells(side, columns, hashing)), *order]
        hashed = sa.select(*(part.label(f"h{at}") for at, part in enumerate(parts)))
        hashed = hashed.where(*self.relations.within(side, keys, part))
        leaf, row, *keys_in_order = hashed.subquery("h").c
        return sa.select(leaf, sa.func.count(), way.content(row, keys_in_order)).group_by(leaf)

    def _of_ranges(self, on: sa.Connection, way: Way, side: BoundSide, part: Ranges, hashing: Hashing) -> Digests:
        """Each range by an aggregate of its own: what the index gives in order needs no grouping."""
        if not self._can_hold(side, part):
            return _digests(on.execute(self._union(way, side, part.ranges, hashing)), on, way)
        return _digests(on.exec_driver_sql(*self._given_ends(on, way, side, part, hashing)), on, way)

    def digests_of(
        self, on: sa.Connection, side: BoundSide, parts: Sequence[Ranges], hashing: Hashing
    ) -> Generator[Digests]:
        """Those of each part, in order: one statement goes on as they are taken, until its transaction ends."""
        way = self.ways[hashing.name]
        whole = replace(parts[0], ranges=tuple(span for part in parts for span in part.ranges))
        _begin(on, *self._given_ends(on, way, side, whole, hashing))
        begun = 0
        for part in parts:
            many = len(part.ranges)
            found = _digests(_next(on, many), on, way)
            if list(found) != list(range(begun, begun + many)):
                raise BrokenRead(
                    f"digests of {many} ranges were to arrive, and others did. Set exact = true to do without them"
                )
            yield dict(enumerate(found.values()))
            begun += many

    def _given_ends(
        self, on: sa.Connection, way: Way, side: BoundSide, part: Ranges, hashing: Hashing
    ) -> tuple[str, Any]:
        """The statement that digests each range, with its parameters.

        It is long, and the same for all segments: it is built once, and given the ends of the ranges.
        """
        array_of = self.relations.dialect.array_of
        about = (hashing, 0 if array_of else len(part.ranges), part.within.partition)
        compiled: Any = self._built.once(
            side, about, lambda: self._for_any_ends(way, side, part, hashing).compile(dialect=on.dialect)
        )
        bounds = dict(zip(("lows", "highs"), _bounds(part), strict=True))
        if array_of:  # text: the driver would look at each integer of a list, which takes six times as long
            ends: dict[str, Any] = {name: array_of(values) for name, values in bounds.items()}
        else:
            ends = {f"{name[:-1]}{at}": end for name, values in bounds.items() for at, end in enumerate(values)}
        return compiled.string, given(compiled, ends)

    def are_rows(self, side: BoundSide, part: Part) -> bool:
        """Can the ranges of `part` be handed over as rows, so that one plan serves all of them?"""
        rows = self.relations.dialect.array_of is not None
        return rows and isinstance(part, Ranges) and self._can_hold(side, part)

    def _can_hold(self, side: BoundSide, part: Ranges) -> bool:
        """Can the key be any of the ends? They are ascending integers, so that the outermost two answer for all."""
        lows, highs = _bounds(part)
        return all(self.relations.dialect.can_hold(side.key[0], value) for value in (lows[0], highs[-1]))

    def _for_any_ends(
        self, way: Way, side: BoundSide, part: Ranges, hashing: Hashing
    ) -> sa.Select[Any] | sa.CompoundSelect[Any]:
        """The statement with places for the ends: as rows where that can be, so that one plan serves all ranges."""
        if self.relations.dialect.array_of:
            spans, span = self._as_rows(side, part, (None, None))
            content = self._content(way, side, span, hashing, beside=spans).lateral("d")
            found = sa.select(spans.c.at - sa.literal_column("1"), content).join_from(spans, content, sa.true())
            return found.order_by(spans.c.at)  # as they come
        names = [replace(s, lower=(Slot(f"low{at}"),), upper=(Slot(f"high{at}"),)) for at, s in enumerate(part.ranges)]
        return self._union(way, side, names, hashing)

    def _as_rows(
        self, side: BoundSide, part: Ranges, ends: tuple[list[Value] | None, list[Value] | None]
    ) -> tuple[sa.FromClause, Range]:
        """The ends of the ranges as rows, and a range between the ends of any of these. None: they are given later."""
        type_ = sa.ARRAY(self.relations.type_of(side.key[0]))
        named = zip(("lows", "highs"), ends, strict=True)
        arrays = (sa.bindparam(name, values, type_=type_) for name, values in named)
        spans = sa.func.unnest(*arrays).table_valued("low", "high", with_ordinality="at", name="s").render_derived()
        return spans, replace(part.ranges[0], lower=(spans.c.low,), upper=(spans.c.high,))

    def _union(self, way: Way, side: BoundSide, spans: Sequence[Range], hashing: Hashing) -> sa.CompoundSelect[Any]:
        at: list[Expression] = [sa.literal_column(str(number)) for number in range(len(spans))]
        return sa.union_all(*(self._content(way, side, span, hashing, n) for n, span in zip(at, spans, strict=True)))

    def _content(
        self,
        way: Way,
        side: BoundSide,
        span: Range,
        hashing: Hashing,
        *first: Expression,
        beside: sa.FromClause | None = None,
    ) -> sa.Select[Any]:
        """Number and content of the rows of a range, whose ends may be columns of `beside`."""
        _, columns = self.relations.columns(side)
        keys = columns[: len(side.key)]
        row, within = way.row(_cells(side, columns, hashing)), self.relations.within(side, keys, span)
        if way.as_they_come:
            found = sa.select(*first, sa.func.count(), way.content(row, [])).where(*within)
            return found if beside is None else found.correlate(beside)
        rows = sa.select(row.label("r")).where(*within)
        if beside is not None:
            rows = rows.correlate(beside)
        rows = rows.order_by(*(self.relations.ordered(c, k) for c, k in zip(side.key, keys, strict=True)))
        return sa.select(*first, sa.func.count(), way.content(rows.subquery("o").c.r, []))

    def prints(self, answered: Answered, side: BoundSide, part: Part, hashing: Hashing) -> Prints:
        """The hashes of all rows of `part`. Raises BrokenRead if some did not arrive."""
        way = self.ways[hashing.name]
        hashed, keys = self._rows(way, side, hashing)
        if isinstance(part, Ranges) and self.are_rows(side, part):
            spans, span = self._as_rows(side, part, _bounds(part))
            rows = hashed.where(*self.relations.within(side, keys, span)).correlate(spans).lateral("d")
            hashed = sa.select(rows.c.k, rows.c.r).join_from(spans, rows, sa.true())
        else:
            hashed = hashed.where(*self.relations.within(side, keys, part))
        (row,) = answered(_packed(way, hashed).execution_options(**_AS_BYTES))
        return _prints(row, way)

    def prints_of(
        self, on: sa.Connection, side: BoundSide, parts: Sequence[Range], hashing: Hashing
    ) -> Generator[Prints]:
        """Those of each range between two keys, in order: one statement goes on, as for `digests_of`."""
        way, whole = self.ways[hashing.name], Ranges(within=parts[0], ranges=tuple(parts))
        hashed, keys = self._rows(way, side, hashing)
        spans, span = self._as_rows(side, whole, _bounds(whole))
        rows = hashed.where(*self.relations.within(side, keys, span)).correlate(spans)
        headless = way.headless(*hashed.selected_columns) is not None
        pack = _packed(way, rows, headless=headless).lateral("d")
        statement = sa.select(spans.c.at, pack).join_from(spans, pack, sa.true()).order_by(spans.c.at)
        compiled = statement.compile(dialect=on.dialect)
        _begin(on, compiled.string, given(compiled))
        for at in range(1, len(parts) + 1):
            found = _next(on, 1, **_AS_BYTES).all()
            if [number for number, *_ in found] != [at]:
                raise BrokenRead(
                    "hashes of a key range were to arrive, and others did. Set exact = true to do without them"
                )
            yield _prints(found[0][1:], way, headless=headless)

    def _rows(self, way: Way, side: BoundSide, hashing: Hashing) -> tuple[sa.Select[Any], Sequence[Expression]]:
        """The hashes of key and row of all rows of a side, and its key parts."""
        _, columns = self.relations.columns(side)
        keys = columns[: len(side.key)]
        key, row = way.key(_cells(side, keys, hashing)), way.of(_cells(side, columns, hashing))
        return sa.select(key.label("k"), row.label("r")), keys

    def _leaf(self, way: Way, side: BoundSide, keys: Sequence[Expression], hashing: Hashing) -> Expression:
        """Keys are dealt out evenly; integers without hashing them, by the remainder of a division."""
        cells = _cells(side, keys, hashing)
        if any(cell.kind is not Kind.INTEGER for cell in cells):
            return way.leaf(cells, hashing.leaves)
        leaves: Expression = sa.literal_column(str(hashing.leaves))
        first, *others = (_or_zero(cell) % leaves for cell in cells)
        if not others:
            return first
        # Parts that grow together would always give one sum without a weight.
        weighed = (part * sa.literal_column(str(2 * at + 3)) for at, part in enumerate(others))
        return sum(weighed, start=first) % leaves


def _bounds(part: Ranges) -> tuple[list[Value], list[Value]]:
    """Lower and upper ends of ranges between two keys."""
    ends = [(span.lower[0], span.upper[0]) for span in part.ranges if span.lower and span.upper]
    assert len(ends) == len(part.ranges), "a range without an end would be lost"
    return [low for low, _ in ends], [high for _, high in ends]


def given(compiled: Any, values: Mapping[str, Value] | None = None) -> Any:
    """The parameters of a compiled statement as its driver takes them; `values` are those that its slots get."""
    named = compiled.construct_params(values)
    ordered = getattr(compiled, "positiontup", None)
    return named if ordered is None else tuple(named[name] for name in ordered)


def _begin(on: sa.Connection, statement: str, ends: Any) -> None:
    """Begin a statement whose rows are fetched as they are wanted."""
    on.exec_driver_sql(f"DECLARE {_CURSOR} NO SCROLL CURSOR FOR {statement}", ends)


def _next(on: sa.Connection, many: int, **options: Any) -> sa.CursorResult[Any]:
    return on.exec_driver_sql(f"FETCH FORWARD {many} FROM {_CURSOR}", execution_options=options)


def _packed(way: Way, hashed: sa.Select[*tuple[Any, ...]], *, headless: bool = False) -> sa.Select[*tuple[Any, ...]]:
    """Their number, and all hashes of rows in one value, but PRINTS_MAX at most."""
    of = hashed.limit(PRINTS_MAX + 1).subquery("h").c
    pack = way.headless(of.k, of.r) if headless else way.packed(of.k, of.r)
    assert pack is not None, "a way packs all rows alike"
    return sa.select(sa.func.count().label("n"), pack.label("p"))


def _prints(row: Sequence[Any], way: Way, *, headless: bool = False) -> Prints:
    """From what `_packed` gives."""
    count, found = row
    blob = b"" if found is None else found.encode("ascii") if isinstance(found, str) else bytes(found)
    prints = Prints(width=way.width, packed=blob, headless=headless and count > 0)
    if len(blob) != count * way.width - way.width // 2 * prints.headless:
        raise BrokenRead(
            f"{count} rows were to arrive as {count * way.width} bytes of hashes, and {len(blob)} did: "
            f"the database cut them off. Let it send longer values, or set exact = true to do without hashes"
        )
    return prints


def _digests(result: sa.Result[*tuple[Any, ...]], connection: sa.Connection, way: Way) -> Digests:
    """Rows of (leaf, number of rows, content)."""
    found = result.all()
    whole = way.whole(connection)
    return {leaf: Digest(rows=rows, content=content if whole else None) for leaf, rows, content in found}


def _or_zero(cell: Cell) -> Expression:
    """An integer of 64 bits, and zero for NULL."""
    number = sa.cast(cell.expression, sa.BigInteger)
    return sa.func.coalesce(number, sa.literal_column("0"), type_=sa.BigInteger) if cell.column.nullable else number


def _cells(side: BoundSide, parts: Sequence[Expression], hashing: Hashing) -> list[Cell]:
    """The first columns of a side, as many as there are `parts`: its key, or all."""
    whole = zip(side.columns, hashing.kinds, hashing.as_they_are, strict=True)
    return [Cell(column, part, kind, same) for part, (column, kind, same) in zip(parts, whole, strict=False)]
