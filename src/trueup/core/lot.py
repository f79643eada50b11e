"""Lots: many differences of one kind, kept and carried out together.

A lot holds its rows as columns, in the JSON that the database wrote. The engine passes that text on as it is, to the
ledger and back to the database that repairs, and takes it apart only where a row has to be looked at by itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from trueup.core.compare import DriftKind, Suspect
from trueup.core.kinds import Kind, Value, canonical
from trueup.core.row import Key, Values, decode, decode_row, encode_row

#: Rows of one lot, and so of one repair transaction: its rows are held while it is written, some tenths of a second.
LOT_ROWS = 10_000
#: Kinds that a lot holds as text; others as JSON has them, or as `core.row.encode` does.
_AS_TEXT = (Kind.DECIMAL, Kind.FLOAT, Kind.UUID)
#: Fewer differences of one kind in a segment are looked at one by one.
LOT_MIN = 2_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Lot:
    """Differences of one kind, each seen with its row version at the same instant."""

    kind: DriftKind
    count: int
    #: JSON: `kinds` of the key parts and values, `absent`, and columns: `key`, `expected`, `observed`, `token`.
    #: `written`: which columns `expected` has, where the others stay as they are.
    content: str

    def row_keys(self) -> list[Key]:
        """The keys alone."""
        told = json.loads(self.content)
        return _rows(told["key"], told["kinds"]["key"], self.count)

    def rows(self) -> list[Suspect]:
        """The differences one by one, in key order."""
        told = json.loads(self.content)
        kinds = told["kinds"]
        keys = _rows(told["key"], kinds["key"], self.count)
        absent = decode_row(told["absent"])
        expected: Sequence[Values | None] = [absent if self.kind is DriftKind.EXTRA else None] * self.count
        observed: Sequence[Values | None] = [None] * self.count
        if self.kind is not DriftKind.MISSING:
            observed = _rows(told["observed"], kinds["values"], self.count)
        if self.kind is not DriftKind.EXTRA:
            expected = _rows(_expected(told), kinds["values"], self.count)
        tokens = told.get("token") or [""] * self.count
        return [
            Suspect(kind=self.kind, key=key, expected=wanted, observed=held, token=token, instant=True)
            for key, wanted, held, token in zip(keys, expected, observed, tokens, strict=True)
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class LotOutcome:
    """What one transaction did to the rows of a lot: all of them as decided, but for those that it left out."""

    #: Version of the rows that it left; "" for rows that it took away.
    token: str = ""
    #: Rows that were locked, or had moved on since they were seen.
    left: tuple[Key, ...] = ()

    def to_json(self) -> dict[str, Value]:
        return {"token": self.token, "left": [encode_row(key) for key in self.left]}


def outcome_from_json(data: dict[str, Value]) -> LotOutcome:
    return LotOutcome(token=data["token"], left=tuple(decode_row(key) or () for key in data["left"]))


def lot_of(
    kind: DriftKind,
    count: int,
    columns: str,
    *,
    key_kinds: Sequence[Kind],
    value_kinds: Sequence[Kind],
    absent: Values | None,
) -> Lot:
    """A lot out of its columns, a JSON object as text."""
    kinds = {"key": [str(kind) for kind in key_kinds], "values": [str(kind) for kind in value_kinds]}
    head = json.dumps({"kinds": kinds, "absent": encode_row(absent)})
    return Lot(kind=kind, count=count, content=f"{head[:-1]}, {columns[1:]}")


def _rows(columns: Sequence[Sequence[Value]], kinds: Sequence[str], count: int) -> list[Values]:
    if not columns:
        return [()] * count
    return list(zip(*(_read(Kind(kind), column) for kind, column in zip(kinds, columns, strict=True)), strict=True))


def _expected(told: dict[str, Value]) -> list[list[Value]]:
    """All columns of what is expected."""
    if "written" not in told:
        return list(told["expected"])
    columns = list(told["observed"])
    for at, column in zip(told["written"], told["expected"], strict=True):
        columns[at] = column
    return columns


def _read(kind: Kind, column: Sequence[Value]) -> list[Value]:
    """A column of JSON values as Python's, in the kind's one spelling."""
    if kind is Kind.FLOAT:
        return canonical(kind, [None if value is None else float(value) for value in column])
    return canonical(kind, [decode(value) if type(value) is dict else value for value in column])


def packed(
    *,
    keys: Sequence[Sequence[Value]],
    observed: Sequence[Sequence[Value]],
    expected: Sequence[Sequence[Value]],
    tokens: Sequence[str],
    written: Sequence[int],
    key_kinds: Sequence[Kind],
    value_kinds: Sequence[Kind],
) -> Lot:
    """Rows that differ, given as columns, as a lot; `expected` has those of `written`."""
    told = {
        "key": [spelt(kind, column) for kind, column in zip(key_kinds, keys, strict=True)],
        "written": list(written),
        "expected": [spelt(value_kinds[at], column) for at, column in zip(written, expected, strict=True)],
        "observed": [spelt(kind, column) for kind, column in zip(value_kinds, observed, strict=True)],
        "token": list(tokens),
    }
    columns = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    return lot_of(DriftKind.DIFFERENT, len(tokens), columns, key_kinds=key_kinds, value_kinds=value_kinds, absent=None)


def lot_of_rows(
    rows: Sequence[Suspect], *, written: Sequence[int], key_kinds: Sequence[Kind], value_kinds: Sequence[Kind]
) -> Lot:
    """Differences of one kind that were seen one by one, in a lot; `written` as for `packed`."""
    kind, count = rows[0].kind, len(rows)

    def columns(kinds: Sequence[Kind], of: Sequence[Values | None], places: Sequence[int]) -> list[Sequence[Value]]:
        parts = list(zip(*of, strict=True))
        return [spelt(kinds[at], parts[at]) for at in places]

    everything = range(len(value_kinds))
    told: dict[str, Value] = {"key": columns(key_kinds, [row.key for row in rows], range(len(key_kinds)))}
    if kind is DriftKind.DIFFERENT:
        told["written"] = list(written)
    if kind is not DriftKind.EXTRA:
        places = everything if kind is DriftKind.MISSING else written
        told["expected"] = columns(value_kinds, [row.expected for row in rows], places)
    if kind is not DriftKind.MISSING:
        told["observed"] = columns(value_kinds, [row.observed for row in rows], everything)
        told["token"] = [row.token for row in rows]
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    return lot_of(kind, count, text, key_kinds=key_kinds, value_kinds=value_kinds, absent=None)


def spelt(kind: Kind, column: Sequence[Value]) -> Sequence[Value]:
    """A column as a lot has it: numbers as their text, so that a database reads them exactly."""
    if kind in _AS_TEXT:
        return [None if value is None else str(value) for value in column]
    return encode_row(column) or []
