"""Generated values: a database that compares by itself, and Python that compares what it read, give one answer.

The oracle is a third: plain Python over fractions, bytes and microseconds, which knows nothing of the engine.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest

from tests.conformance.worlds import World

ROWS = 200
SEEDS = (1, 2)
BORDERS = [0, 1, -1, 2**31, 2**53, 2**53 + 1, 2**60, 2**60 + 1, 2**63 - 1, -(2**63) + 1]
LETTERS = ["", "a", "A", " ", "é", "e\u0301", "ß", "0", "\U0001f44d", "'", "\\", "%"]
MOMENT = datetime(2024, 2, 29, 23, 59, 59)
SECOND = timedelta(seconds=1)
Draw = Callable[[random.Random], Any]


def whole(rng: random.Random) -> int:
    return rng.choice([rng.choice(BORDERS), rng.randint(-5, 5), rng.randint(-(2**62), 2**62)])


def real(rng: random.Random) -> float:
    return rng.choice(
        [float(rng.choice(BORDERS)), rng.randint(-3, 3) / 10, rng.gauss(0, 1e6), 2.0 ** rng.randint(-60, 62)]
    )


def number(rng: random.Random) -> Decimal:
    return Decimal(rng.randint(-20, 20)).scaleb(-2)


def moment(rng: random.Random) -> datetime:
    return MOMENT + timedelta(microseconds=rng.choice([0, 1, 10**6, 10**6 + 1, rng.randint(-(10**13), 10**13)]))


def instant(rng: random.Random) -> datetime:
    return moment(rng).replace(tzinfo=UTC)


def day(rng: random.Random) -> date:
    return MOMENT.date() + timedelta(days=rng.randint(-4, 4))


def text(rng: random.Random) -> str:
    return "".join(rng.choices(LETTERS, k=rng.randint(0, 2)))


def document(rng: random.Random, depth: int = 2) -> str:
    """JSON with its keys in any order, numbers spelt in any way, and blanks here and there."""
    if depth and rng.random() < 0.6:
        parts = [document(rng, depth - 1) for _ in range(rng.randint(0, 2))]
        blank = rng.choice(["", " ", "\n"])
        if rng.random() < 0.5:
            return "[" + f",{blank}".join(parts) + f"{blank}]"
        names = rng.sample(["a", "b", "\\u00e9", "e\u0301"], len(parts))
        return "{" + ",".join(f'{blank}"{name}":{blank}{part}' for name, part in zip(names, parts, strict=True)) + "}"
    return rng.choice(
        ["0", "-0", "1", "1.0", "1e0", "10e-1", '"1"', '"é"', '"\\u00e9"', "true", "null", str(2**53 + 1)]
    )


def respelt(text: str) -> str:
    """The same document, spelt in another way."""

    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: turned(part) for name, part in reversed(value.items())}
        return [turned(part) for part in value] if isinstance(value, list) else value

    return json.dumps(turned(json.loads(text)), indent=1)


def by_parts(text: str) -> Any:
    def pure(value: Any) -> Any:
        if isinstance(value, dict):
            return frozenset((name, pure(part)) for name, part in value.items())
        if isinstance(value, list):
            return tuple(map(pure, value))
        return (type(value) is bool, value)

    return pure(json.loads(text, parse_int=Fraction, parse_float=Fraction))


def by_spelling(value: float) -> Fraction:
    """A float as people read it, but a whole one as the 64-bit integer it is; an integer."""
    if isinstance(value, int):
        return Fraction(value)
    return Fraction(value) if value.is_integer() and -(2**63) <= value < 2**63 else Fraction(repr(value))


@dataclass(frozen=True, kw_only=True)
class Column:
    """A generated column: types of both sides, and what its values mean."""

    source: str
    target: str
    draw: Draw
    #: The target's value for a source's value.
    held: Callable[[Any], Any] = lambda value: value
    #: What two values are compared by.
    meaning: Callable[[Any], Any] = lambda value: value
    tolerance: str = ""
    #: The oracle's distance and limit, where there is a tolerance.
    distance: Callable[[Any], Any] = lambda value: value
    limit: Any = None


COLUMNS: Mapping[str, Column] = {
    "integers": Column(source="integer", target="integer", draw=whole, tolerance="3", limit=3),
    "whole_floats": Column(
        source="integer",
        target="float",
        draw=whole,
        held=float,
        meaning=Fraction,
        distance=by_spelling,
        tolerance="3",
        limit=3,
    ),
    "floats": Column(
        source="float",
        target="float",
        draw=real,
        meaning=Fraction,
        tolerance="0.1",
        distance=by_spelling,
        limit=Fraction("0.1"),
    ),
    "numbers": Column(source="number", target="number", draw=number, tolerance="0.05", limit=Decimal("0.05")),
    "flags": Column(source="boolean", target="integer", draw=lambda rng: rng.random() < 0.5, held=int, meaning=int),
    "texts": Column(source="text", target="text", draw=text, meaning=str.encode),
    "moments": Column(source="timestamp", target="timestamp", draw=moment, tolerance="1s", limit=SECOND),
    "instants": Column(source="instant", target="instant", draw=instant, tolerance="1s", limit=SECOND),
    "dates": Column(source="date", target="date", draw=day, tolerance="2d", limit=2 * 86400 * SECOND),
    "times": Column(source="time", target="time", draw=lambda rng: moment(rng).time()),
    "strings": Column(source="bytes", target="bytes", draw=lambda rng: rng.randbytes(rng.randint(0, 1))),
    "documents": Column(source="json", target="json", draw=document, held=respelt, meaning=by_parts),
    "uuids": Column(
        source="uuid", target="uuid", draw=lambda rng: UUID(int=rng.choice([0, 1, rng.getrandbits(128)]), version=4)
    ),
}


def generated(rng: random.Random) -> list[dict[str, tuple[Any, Any]]]:
    """Rows of pairs of values: the same one, another one of its kind, or a NULL on a side."""
    rows = []
    for _ in range(ROWS):
        row = {}
        for name, column in COLUMNS.items():
            value = column.draw(rng)
            other = rng.choices([value, column.draw(rng), None], [10, 3, 1])[0]
            row[name] = (None if rng.random() < 0.05 else value, None if other is None else column.held(other))
        rows.append(row)
    return rows


def same(column: Column, a: Any, b: Any, *, tolerant: bool) -> bool:
    """The oracle."""
    if a is None or b is None:
        return a is b
    if column.meaning(a) == column.meaning(b):
        return True
    if not (tolerant and column.tolerance):
        return False
    return bool(abs(column.distance(a) - column.distance(b)) <= column.limit)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_database_python_and_the_oracle_agree(world: World, seed: int) -> None:
    rows = generated(random.Random(seed))
    for at, (place, table) in enumerate([(world.source, "src"), (world.target, "dst")]):
        columns = ", ".join(f"{name} {{{(of.source, of.target)[at]}}}" for name, of in COLUMNS.items())
        values = [(row, *(pairs[name][at] for name in COLUMNS)) for row, pairs in enumerate(rows)]
        place.table(table, f"id {{integer}} PRIMARY KEY NOT NULL, {columns}", values)
    tolerance = {name: of.tolerance for name, of in COLUMNS.items() if of.tolerance}
    by_column: dict[bool, Counter[str]] = {}
    for tolerant in (False, True):
        wrong = [
            (row, name)
            for row, pairs in enumerate(rows)
            for name, of in COLUMNS.items()
            if not same(of, *pairs[name], tolerant=tolerant)
        ]
        report = world.app(tolerance=tolerance if tolerant else {}).check("p", rows=0)
        found = {(row["key"]["id"], name) for row in report.drift for name in row["columns"]}
        assert found == set(wrong)
        by_column[tolerant] = Counter(name for _, name in wrong)
        assert report.different_by_column == by_column[tolerant]
    # The control: every column has differences, and each tolerance forgives some of them, and not all.
    assert set(by_column[False]) == set(COLUMNS)
    forgiven = {name: by_column[False][name] - by_column[True][name] for name in tolerance}
    assert [name for name in tolerance if not 0 < forgiven[name] < by_column[False][name]] == []
