"""Where the drifting rows are: a value, a day or an hour that they share, and how usual that is among all rows.

Ninety of a hundred wrong rows are of one tenant: that says nothing where ninety of a hundred rows are that tenant's. So
it is asked how many of all rows have the value, and told only if rows with it go wrong several times as often as the
others, by more than chance. Where that cannot be known, a value has to stand out among the drifting rows themselves,
and of what is no part of the key nothing is told.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from trueup.core.marks import shown, spelling
from trueup.core.partition import Between, Holding, Slice
from trueup.core.row import Value

#: Rows that must share a mark. Fewer are an anecdote.
ROWS_MIN = 8
#: How often a value must occur, or rows with it go wrong, against the others, to stand out.
TIMES_OTHERS = 3
#: Share of the drifting rows that are in one place.
PLACE_SHARE = 0.2
#: Rows of an hour, of those of its day, that make it the hour that is told.
ALMOST_ALL = 0.95
#: Values of one column that are asked about, the most frequent ones.
VALUES_MAX = 3
#: Places that are asked about at a time: each costs the database something for every row.
PLACES_MAX = 20
#: Characters of a text that is told of a row.
TEXT_MAX = 60
#: Standard deviations within which the share of the drifting rows is taken to be uncertain.
DEVIATIONS = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What is known of the rows in one column: a part of the key, a compared one, or another of their table."""

    #: Of the column where it was read.
    name: str
    #: For a program: `key_value` or `value`.
    kind: str
    #: Value by the number of the row; rows of which it is not known are left out.
    values: Mapping[int, Value]
    #: The side that has the column, where only one has: `source` or `target`.
    role: str = ""

    @property
    def label(self) -> str:
        return f"`{self.name}` of the {self.role}" if self.role else f"`{self.name}`"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Drifting rows that have the same value, or are of one day or hour, in a column."""

    known: Known
    #: For a sentence.
    words: str
    #: For a program: as of `Known`, or `day` or `hour`.
    kind: str
    #: Those of all rows that are there too.
    slice: Slice
    #: Numbers of the rows.
    rows: frozenset[int]
    #: It stands out among the drifting rows themselves.
    stands_out: bool


#: Places -> the share of all rows that are there, 0 to 1; None where that is not known.
Ask = Callable[[Sequence[Place]], Sequence[float | None]]


def nobody(places: Sequence[Place]) -> Sequence[float | None]:
    """Nobody is there to be asked."""
    return [None] * len(places)


def stands_out(count: int, total: int, distinct: int) -> bool:
    """Does one value occur far more often than the others, taken together, would have it?"""
    return far_more(count, (total - count) / (distinct - 1) if distinct > 1 else 0.0)


def far_more(count: int, usual: float) -> bool:
    """Are so many rows far more than `usual`, which is what chance or the others have?"""
    return count >= ROWS_MIN and count >= TIMES_OTHERS * usual + ROWS_MIN / 2


def unusual(rows: int, total: int, usual: float) -> bool:
    """Of `total` drifting rows `rows` are in a place where `usual` is the share of all rows: do rows go wrong there at
    least `TIMES_OTHERS` as often as elsewhere, whatever chance added?
    """
    square = DEVIATIONS**2
    share = rows / total
    spread = DEVIATIONS * math.sqrt(share * (1 - share) / total + square / (4 * total * total))
    least = (share + square / (2 * total) - spread) / (1 + square / total)
    return least * (1 - usual) >= TIMES_OTHERS * usual * (1 - least)


def told_places(columns: Sequence[Known], total: int, ask: Ask) -> Iterator[tuple[Place, float | None]]:
    """At most one place of each column: the one with most rows, and the share of all rows that are there."""
    columns = _once(columns)
    by_rank = ([*_values(known, total), *_times(known, total)] for known in columns)
    ranked = sorted(((at, place) for places in by_rank for at, place in enumerate(places)), key=lambda item: item[0])
    found = [place for _, place in ranked][:PLACES_MAX]
    shares = ask(found) if found else []
    by_column: dict[int, list[tuple[Place, float | None]]] = defaultdict(list)
    for place, share in zip(found, shares, strict=True):
        if _tells(place, total, share):
            by_column[id(place.known)].append((place, share))
    for known in columns:
        if told := by_column[id(known)]:
            most = max(told, key=lambda item: len(item[0].rows))
            hours = [item for item in told if item[0].kind == "hour"]
            # An hour says more than its day, if hardly a row is at another hour of it.
            exact = [item for item in hours if len(item[0].rows) >= ALMOST_ALL * len(most[0].rows)]
            yield (exact or [item for item in told if item[0].kind != "hour"] or [most])[0]


def _once(columns: Sequence[Known]) -> list[Known]:
    """The columns without those that the other side has, too, where it tells all that these do."""

    def told(at: int, other: int) -> bool:
        one, by = columns[at], columns[other]
        if not one.role or not by.role or one.name != by.name or one.role == by.role:
            return False
        more, less = by.values.items(), one.values.items()
        return more >= less and (other < at or not less >= more)

    numbers = range(len(columns))
    return [known for at, known in enumerate(columns) if not any(told(at, other) for other in numbers)]


def _tells(place: Place, total: int, share: float | None) -> bool:
    if share is not None:
        return unusual(len(place.rows), total, share)
    by_itself = place.kind != "value" and not place.known.role
    return by_itself and place.stands_out


def _values(known: Known, total: int) -> Iterator[Place]:
    """The most frequent values of a column."""
    groups: dict[str, list[int]] = defaultdict(list)
    examples: dict[str, Value] = {}
    for number, value in known.values.items():
        if not isinstance(value, date) and (known.kind == "key_value" or _plain(value)):
            spelt = spelling(value)
            groups[spelt].append(number)
            examples.setdefault(spelt, value)
    for spelt, rows, first in _most(groups, total, VALUES_MAX):
        value = examples[spelt]
        yield Place(
            known=known,
            words=f"{known.label} is {shown(value)}",
            kind=known.kind,
            slice=Holding(value=value),
            rows=rows,
            stands_out=first,
        )


def _plain(value: Value) -> bool:
    """Is it short, and of a kind that names something?"""
    if isinstance(value, str):
        return len(value) <= TEXT_MAX
    return value is None or isinstance(value, int | UUID)


def _times(known: Known, total: int) -> Iterator[Place]:
    """The day and the hour of most rows."""
    moments = {number: value for number, value in known.values.items() if isinstance(value, date)}
    for kind, long in (("day", timedelta(days=1)), ("hour", timedelta(hours=1))):
        groups: dict[str, list[int]] = defaultdict(list)
        examples: dict[str, date] = {}
        for number, value in moments.items():
            if kind == "hour" and not isinstance(value, datetime):
                continue
            label = _label(value, kind)
            groups[label].append(number)
            examples.setdefault(label, value)
        for label, rows, first in _most(groups, total, 1):
            of = _bucket(examples[label], long)
            if of is not None:
                where = "is on" if kind == "day" else "is in the hour of"
                words = f"{known.label} {where} {label}"
                yield Place(known=known, words=words, kind=kind, slice=of, rows=rows, stands_out=first)


def _label(value: date, kind: str) -> str:
    """The day or hour that a date or moment is in, with its zone where it has one: instants are read as UTC."""
    zone = f" {value.tzname()}" if isinstance(value, datetime) and value.tzinfo else ""
    text = value.isoformat().replace("T", " ")
    return f"{text[:10]}{zone}" if kind == "day" else f"{text[:13]}:00{zone}"


def _most(groups: Mapping[str, list[int]], total: int, many: int) -> Iterator[tuple[str, frozenset[int], bool]]:
    """The largest groups, and whether one stands out among all."""
    known = sum(map(len, groups.values()))
    largest = sorted(groups, key=lambda value: -len(groups[value]))[:many]
    for at, value in enumerate(largest):
        count = len(groups[value])
        if count >= max(ROWS_MIN, PLACE_SHARE * total):
            yield value, frozenset(groups[value]), at == 0 and stands_out(count, known, len(groups))


def _bucket(value: date, long: timedelta) -> Slice | None:
    """The day or hour that a date or moment is in."""
    if not isinstance(value, datetime):
        return Holding(value=value)
    begin = value.replace(minute=0, second=0, microsecond=0)
    begin = begin if long < timedelta(days=1) else begin.replace(hour=0)
    try:
        return Between(lower=begin, upper=begin + long, label="")
    except OverflowError:
        return None
