"""What is known of drifting rows besides what was compared: other columns of their tables, and how usual a value is.

Who wrote a row is often a column that nobody compares: `updated_by`, `app`, `imported_at`. It is read by key, of rows
that still are what they were found to be, and all rows of the table are counted once, by the values that many drifting
rows share. It serves one sentence: where a database does not answer, or who waits is interrupted, less is told, and
what was found stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from trueup.adapters import delivered
from trueup.core.binding import BoundSide, Column
from trueup.core.compare import DriftKind, Suspect
from trueup.core.kinds import Kind
from trueup.core.plan import Range, by_keys
from trueup.core.row import Key, Values
from trueup.core.where import ROWS_MIN, Known, Place
from trueup.discreet import discreet_words
from trueup.errors import TrueupError
from trueup.side_by_side import Pair

#: Drifting rows whose other columns are read; of more, nothing is.
ROWS_MAX = 10_000
#: Columns of a table that are read besides, the first ones.
COLUMNS_MAX = 30
#: Rows of a table that are counted: more would cost a database more than one sentence is worth.
COUNTED_MAX = 5_000_000
#: Kinds of values that many rows share.
_KINDS = (Kind.TEXT, Kind.INTEGER, Kind.BOOLEAN, Kind.UUID, Kind.DATE, Kind.TIMESTAMP, Kind.INSTANT, Kind.ANY)
#: Rows that a side lacks, of those that drift.
_LACKING = {"target": DriftKind.MISSING, "source": DriftKind.EXTRA}


@dataclass(kw_only=True, slots=True)
class Beside:
    """Both sides, and the drifting rows they are asked about."""

    pair: Pair
    #: Without any, nobody is asked.
    rows: Sequence[Suspect]
    #: Why less is known than could be; empty: nothing went wrong.
    trouble: str = field(default="")

    def known(self) -> list[Known]:
        """What other columns say of the rows; nothing where a database does not answer."""
        if not 0 < len(self.rows) <= ROWS_MAX:
            return []
        found: list[Known] = []
        for role in self._roles():
            try:
                found += self._read(role)
            except TrueupError as error:
                self._failed(error)
        return found

    def ask(self, places: Sequence[Place]) -> list[float | None]:
        """The share of all rows that are in each of these places."""
        shares: list[float | None] = [None] * len(places)
        roles = self._roles() if self.rows else []
        for role in roles:
            mine = [at for at, place in enumerate(places) if (place.known.role or roles[0]) == role]
            try:
                counted = self._counted(role, [places[at] for at in mine]) if mine else []
            except TrueupError as error:
                self._failed(error)
                continue
            for at, share in zip(mine, counted, strict=False):
                shares[at] = share
        return shares

    def _failed(self, error: TrueupError) -> None:
        self.trouble = discreet_words(self.pair.binding.projection, error)

    def _roles(self) -> list[str]:
        """Sides that are tables; the first one is asked about what both have."""
        binding = self.pair.binding
        sides = {"target": binding.target, "source": binding.source}
        return [role for role, side in sides.items() if side.side.table is not None and side.queued is None]

    # --- the rows ----------------------------------------------------------------------------------------------------

    def _columns(self, side: BoundSide) -> list[Column]:
        """Columns that are not compared, may be shown, and hold what many rows can share."""
        compared = {column.name for column in side.columns}
        logical = {there: here for here, there in side.side.columns.items()}
        hidden = self.pair.binding.projection.sensitive
        others = (
            column
            for name, column in side.shape.columns.items()
            if name not in compared and column.kind in _KINDS and not {name, logical.get(name, name)} & {*hidden}
        )
        return list(islice(others, COLUMNS_MAX))

    def _read(self, role: str) -> Iterator[Known]:
        _, side = self.pair.side(role)
        columns = self._columns(side)
        wanted = {row.key: (at, values) for at, row in enumerate(self.rows) if (values := _held(row, role)) is not None}
        if not columns or not wanted:
            return
        found: dict[int, Values] = {}
        for key, compared, others in self._stream(role, columns, list(wanted)):
            number, values = wanted.get(key, (0, None))
            if compared == values:  # it still is what it was found to be
                found[number] = others
        for at, column in enumerate(columns):
            told = {number: others[at] for number, others in found.items()}
            yield Known(name=column.name, kind="value", values=told, role=role)

    def _stream(
        self, role: str, columns: Sequence[Column], keys: Sequence[Key]
    ) -> Iterator[tuple[Key, Values, Values]]:
        """Key, compared values and the other ones of rows."""
        reader, side = self.pair.side(role)
        binding = self.pair.binding
        width = len(binding.columns)
        kinds = (*binding.value_kinds[:width], *(column.kind for column in columns))
        wider = replace(side, values=(*side.values[:width], *columns))
        asked = replace(binding, value_kinds=kinds)
        for segment in by_keys(keys):
            stream = reader.stream(asked, wider, segment, tokens=False)
            for batch in delivered(stream, f"{self.pair.name}: the {role}"):
                values = list(zip(*batch.clean(kinds).values, strict=True))
                yield from ((batch.key(at), row[:width], row[width:]) for at, row in enumerate(values))

    # --- all rows ----------------------------------------------------------------------------------------------------

    def _counted(self, role: str, places: Sequence[Place]) -> list[float | None]:
        """Shares of all rows: those of a side, and those that it lacks."""
        reader, side = self.pair.side(role)
        wanted = [(self._column(side, place), place.slice) for place in places]
        tally = reader.tally(side, Range(), wanted)
        if tally is None:
            return [None] * len(places)
        total, *counts = tally
        lacking = {at for at, row in enumerate(self.rows) if row.kind is _LACKING[role]}
        return [
            self._share(total, count, lacking if not place.known.role else frozenset(), place)
            for place, count in zip(places, counts, strict=True)
        ]

    def _share(self, total: int, count: int, lacking: set[int] | frozenset[int], place: Place) -> float | None:
        """Fewer than are known to be there: the database spells the value otherwise, or the rows are others by now."""
        there = place.rows - lacking
        if count < len(there) or not total + len(lacking):
            return None
        return (count + len(place.rows & lacking)) / (total + len(lacking))

    def _column(self, side: BoundSide, place: Place) -> Column:
        projection, name = self.pair.binding.projection, place.known.name
        if place.known.role:
            return side.shape.columns[name]
        logical = (*projection.key, *self.pair.binding.columns)
        return side.columns[logical.index(name)]


def _held(row: Suspect, role: str) -> Values | None:
    """What a side holds of a row that is there once."""
    if row.copies is not None or row.kind is _LACKING[role]:
        return None
    return row.observed if role == "target" else row.expected


def beside(pair: Pair, rows: Sequence[Suspect], read: int | None) -> Beside:
    """Who asks about all rows that drift, where that is worth it and no table is too large to count.

    `read`: rows of the larger side when all were read; None: that is not known, or nobody is to be asked.
    """
    worth = len(rows) >= ROWS_MIN and read is not None and read <= COUNTED_MAX
    return Beside(pair=pair, rows=rows if worth else ())
