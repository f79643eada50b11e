"""What drifting rows have in common: findings grouped by cause.

A row that drifts leaves *marks*: its value is one too high, its text is cut, its key has this tenant. A mark that many
rows share, and that chance does not explain, is a cause. Marks are collected in one pass, so the work grows with the
rows. Nothing is claimed of a handful of rows, and what no cause explains is said to have none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from trueup.core.compare import DriftKind, Suspect
from trueup.core.marks import SPELLINGS, Mark, apart_by_chance, loosely, marks_of, spelling
from trueup.core.row import Key, Value
from trueup.core.rules import Rules, differing
from trueup.core.where import ALMOST_ALL, ROWS_MIN, Ask, Known, far_more, nobody, stands_out, told_places

if TYPE_CHECKING:
    from trueup.core.binding import Binding

#: Share of all drifting rows that a cause explains.
EXPLAINED_MIN = 0.05
#: Share of a column's differing rows that a relation between two numbers needs: small numbers meet it by chance.
CHANCE_SHARE = 0.25
#: Kinds that have a mark for each amount: one amount has to stand out among them, or be more than values that came
#: together at random would have.
AMOUNTS = ("offset", "time_zone")
#: Rows that must all err to one side, and the share of them that does.
ONE_SIDED_ROWS, ONE_SIDED = 12, 0.95
#: Share of rows for facts about where the rows are, and not what happened to them.
MOST = 0.5
#: Share of rows in one unbroken series of keys.
SERIES_SHARE = 0.2
#: Columns told of in one sentence, in which the same rows are alike.
ALIKE_MAX = 3
#: Marks looked at; the rest have too few rows to matter beside these.
CANDIDATES_MAX = 50


class Taken(StrEnum):
    """Which of the drifting rows are looked at, and how a sentence calls them."""

    ALL = "{:,} rows"
    FIRST = "the first {:,} rows"
    #: Each as likely as any other.
    SAMPLE = "a sample of {:,} rows"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """What a share of the drifting rows have in common."""

    #: For a person, with the share in it.
    sentence: str
    #: For a program: `offset`, `null`, `key_value`, ...; `none` for the rows without a common cause.
    kind: str
    rows: int
    #: Of all drifting rows that were looked at, 0 to 1.
    share: float
    #: Of a cause that says where the rows are: the share of all rows that are there; None: not known.
    usual: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A cause before it is put in words."""

    kind: str
    words: str
    rows: frozenset[int]
    usual: float | None = None


def causes_of(binding: Binding, rows: Sequence[Suspect], **asked: Any) -> list[dict[str, Any]]:
    """The causes of rows of a binding, as plain values. `asked`: as of `causes`."""
    found = causes(
        rows,
        key=binding.projection.key,
        columns=binding.columns,
        hidden=binding.hidden,
        rules=binding.rules,
        **asked,
    )
    return [asdict(cause) for cause in found]


def causes(
    rows: Sequence[Suspect],
    *,
    key: Sequence[str],
    columns: Sequence[str],
    hidden: Sequence[bool] = (),
    rules: Rules = (),
    first_seen: Sequence[datetime] = (),
    taken: Taken = Taken.ALL,
    beside: Sequence[Known] = (),
    ask: Ask = nobody,
) -> list[Cause]:
    """The causes that explain most rows first, then the rest. Nothing where nothing stands out.

    Of the columns that `hidden` has a flag for no value goes into a sentence. `first_seen`, where it is given, has one
    moment for each row; where the first ones of many are says nothing, and is not told; `beside` is what is known of
    the rows in columns that are not compared; `ask` says how many of all rows are in a place.
    """
    if len(rows) < ROWS_MIN:
        return []
    first = taken is Taken.FIRST
    shows = [not (hidden and hidden[at]) for at in range(len(columns))]
    unequal = [_unequal(row, rules) for row in rows]
    found = [
        *_pairs(rows, key),
        *_values(rows, columns, shows, unequal),
        *_swapped(rows, columns, shows, unequal),
        *_only(rows, columns, unequal),
        *([] if first else _places(rows, [*_known(rows, key, columns, shows, unequal), *beside], ask)),
        *([] if first else _series(rows, key)),
        *_seen(first_seen),
    ]
    found.sort(key=lambda cause: -len(cause.rows))
    told = [_told(cause, taken, len(rows)) for cause in found]
    rest = frozenset(range(len(rows))).difference(*(cause.rows for cause in found))
    if told and rest:
        told.append(_told(Found(kind="none", words="no common cause", rows=rest), taken, len(rows)))
    return told


def _told(found: Found, taken: Taken, total: int) -> Cause:
    rows, usual, among = len(found.rows), found.usual, taken.format(total)
    share = rows / total
    if rows == total:
        who = f"all {among}" if taken is Taken.ALL else f"all of {among}"
    else:
        who = f"{rows:,} of {among} ({_percent(share)})"
    known = None if usual is None else round(usual, 4)
    return Cause(sentence=f"{who}: {found.words}", kind=found.kind, rows=rows, share=round(share, 4), usual=known)


def _percent(share: float) -> str:
    return "under 1%" if share < 0.01 else f"{min(round(share * 100), 99)}%"


def _unequal(row: Suspect, rules: Rules) -> list[int]:
    """Places of the columns in which the two rows differ."""
    if row.kind is not DriftKind.DIFFERENT or row.expected is None or row.observed is None:
        return []
    try:
        return [at for at, differs in enumerate(differing(rules, row.expected, row.observed)) if differs]
    except ArithmeticError:  # a number that refuses to be compared
        return []


# --- what happened to the values ------------------------------------------------------------------------------------


def _values(
    rows: Sequence[Suspect], columns: Sequence[str], shows: Sequence[bool], unequal: Sequence[Sequence[int]]
) -> Iterator[Found]:
    """Marks of one column at a time; what is explained by one is not explained again by a vaguer one."""
    by_column: dict[int, list[int]] = defaultdict(list)
    for number, places in enumerate(unequal):
        for at in places:
            by_column[at].append(number)
    for at, numbers in by_column.items():
        if shows[at] and len(numbers) >= ROWS_MIN:
            pairs = {number: _pair(rows[number], at) for number in numbers}
            yield from _column(pairs, columns[at], len(rows))


def _pair(row: Suspect, at: int) -> tuple[Value, Value]:
    assert row.expected is not None
    assert row.observed is not None
    return row.expected[at], row.observed[at]


def _column(pairs: dict[int, tuple[Value, Value]], column: str, total: int) -> Iterator[Found]:
    marked: dict[Mark, list[int]] = defaultdict(list)
    sides: dict[int, str] = {}
    for number, (expected, observed) in pairs.items():
        marks, side = marks_of(expected, observed)
        for mark in marks:
            marked[mark].append(number)
        if side:
            sides[number] = side
    unexplained = set(pairs)
    alike = Counter(mark.kind for mark in marked)
    members = Counter(mark.kind for mark, numbers in marked.items() for _ in numbers)
    usual = sorted(marked, key=lambda mark: (-len(marked[mark]), mark.rank))[:CANDIDATES_MAX]
    for mark in usual:
        numbers = marked[mark]
        fresh = sum(number in unexplained for number in numbers)
        enough = max(ROWS_MIN, EXPLAINED_MIN * total, CHANCE_SHARE * len(pairs) if mark.chance else 0)
        if fresh >= enough and (
            mark.kind not in AMOUNTS
            or stands_out(len(numbers), members[mark.kind], alike[mark.kind])
            or far_more(len(numbers), apart_by_chance([*pairs.values()], pairs[numbers[0]]))
        ):
            yield Found(kind=mark.kind, words=mark.words.format(column=f"`{column}`"), rows=frozenset(numbers))
            unexplained.difference_update(numbers)
    yield from _one_sided({number: side for number, side in sides.items() if number in unexplained}, column, total)


def _one_sided(sides: dict[int, str], column: str, total: int) -> Iterator[Found]:
    """Always too high or always too low, by amounts that differ."""
    if len(sides) < max(ONE_SIDED_ROWS, EXPLAINED_MIN * total):
        return
    side, count = Counter(sides.values()).most_common(1)[0]
    if count >= ONE_SIDED * len(sides):
        numbers = frozenset(number for number, of in sides.items() if of == side)
        yield Found(kind=side, words=f"`{column}` is too {side}, by different amounts", rows=numbers)


def _swapped(
    rows: Sequence[Suspect], columns: Sequence[str], shows: Sequence[bool], unequal: Sequence[Sequence[int]]
) -> Iterator[Found]:
    """Two rows, each with what the other should have."""
    pairs: dict[int, dict[tuple[str, str], list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, places in enumerate(unequal):
        for at in places:
            expected, observed = _pair(rows[number], at)
            if shows[at] and expected is not None and observed is not None and not isinstance(expected, bool):
                pairs[at][spelling(expected), spelling(observed)].append(number)
    for at, seen in pairs.items():
        differing_rows = sum(map(len, seen.values()))
        swapped = [number for (a, b), numbers in seen.items() for number in numbers[: len(seen.get((b, a), ()))]]
        enough = max(ROWS_MIN, CHANCE_SHARE * differing_rows, EXPLAINED_MIN * len(rows))
        if len(swapped) >= enough and far_more(len(swapped), _swapped_by_chance(seen)):
            words = f"`{columns[at]}` is what another of these rows should have, and the other way round"
            yield Found(kind="swapped", words=words, rows=frozenset(swapped))


def _swapped_by_chance(seen: Mapping[tuple[str, str], Sequence[int]]) -> float:
    """How many rows would find another with their two values turned round, if values came together at random: of few
    values nearly all.
    """
    wanted: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for (expected, observed), numbers in seen.items():
        wanted[expected] += len(numbers)
        held[observed] += len(numbers)
    total = wanted.total()
    return sum(len(numbers) * min(wanted[b] * held[a] / total, 1) for (a, b), numbers in seen.items())


# --- where the rows are ---------------------------------------------------------------------------------------------


def _only(rows: Sequence[Suspect], columns: Sequence[str], unequal: Sequence[Sequence[int]]) -> Iterator[Found]:
    """One kind only, one column only."""
    for kind in (DriftKind.MISSING, DriftKind.EXTRA):
        numbers = frozenset(number for number, row in enumerate(rows) if row.kind is kind)
        if len(numbers) >= max(ROWS_MIN, ALMOST_ALL * len(rows)):
            where = "not in the target" if kind is DriftKind.MISSING else "in the target only"
            yield Found(kind=str(kind), words=where, rows=numbers)
    alone = Counter(places[0] for places in unequal if len(places) == 1)
    different = sum(bool(places) for places in unequal)
    for at, count in alone.most_common(1):
        if len(columns) > 1 and count >= max(ROWS_MIN, ALMOST_ALL * different, MOST * len(rows)):
            numbers = frozenset(number for number, places in enumerate(unequal) if [*places] == [at])
            yield Found(kind="column", words=f"only `{columns[at]}` differs", rows=numbers)


def _known(
    rows: Sequence[Suspect],
    key: Sequence[str],
    columns: Sequence[str],
    shows: Sequence[bool],
    unequal: Sequence[Sequence[int]],
) -> Iterator[Known]:
    """What the rows themselves say of where they are: parts of the key, and compared columns that are alike."""
    for at, name in enumerate(key):
        values = {number: row.key[at] for number, row in enumerate(rows)}
        if len(key) == 1:  # no value of it is shared
            values = {number: value for number, value in values.items() if isinstance(value, date)}
        yield Known(name=name, kind="key_value", values=values)
    alike = [set(range(len(columns))).difference(places) for places in unequal]
    for at, name in enumerate(columns):
        if shows[at]:
            held = {number: _either(row) for number, row in enumerate(rows) if at in alike[number]}
            yield Known(name=name, kind="value", values={number: values[at] for number, values in held.items()})


def _either(row: Suspect) -> Sequence[Value]:
    return row.expected or row.observed or ()


def _places(rows: Sequence[Suspect], columns: Sequence[Known], ask: Ask) -> Iterator[Found]:
    """One tenant, one writer, one hour. Columns in which the very same rows are alike are one cause."""
    groups: dict[frozenset[int], list[Found]] = defaultdict(list)
    for place, usual in told_places(columns, len(rows), ask):
        words = place.words if usual is None else f"{place.words} (of all rows: {_percent(usual)})"
        groups[place.rows].append(Found(kind=place.kind, words=words, rows=place.rows, usual=usual))
    for alike in groups.values():
        yield replace(alike[0], words=" and ".join(cause.words for cause in alike[:ALIKE_MAX]))


def _series(rows: Sequence[Suspect], key: Sequence[str]) -> Iterator[Found]:
    """Keys that follow one another without a gap, under one value of the other parts."""
    groups: dict[Key, dict[int, int]] = defaultdict(dict)
    for number, row in enumerate(rows):
        last = row.key[-1] if row.key else None
        if isinstance(last, int) and not isinstance(last, bool):
            groups[tuple(map(spelling, row.key[:-1]))][last] = number
    longest: list[int] = []
    numbers: dict[int, int] = {}
    for group in groups.values():
        series = _longest(sorted(group))
        if len(series) > len(longest):
            longest, numbers = series, group
    if len(longest) >= max(ROWS_MIN, SERIES_SHARE * len(rows)):
        words = f"`{key[-1]}` is {longest[0]} to {longest[-1]}, without a gap"
        yield Found(kind="key_range", words=words, rows=frozenset(numbers[value] for value in longest))


def _longest(ordered: Sequence[int]) -> list[int]:
    """The longest part of it in which each number is one more than the number before."""
    best_from = best_length = start = 0
    for at in range(len(ordered)):
        if at and ordered[at] != ordered[at - 1] + 1:
            start = at
        if at - start + 1 > best_length:
            best_from, best_length = start, at - start + 1
    return list(ordered[best_from : best_from + best_length])


def _seen(moments: Sequence[datetime]) -> Iterator[Found]:
    """Found first at one moment, where others were found at other ones."""
    groups: dict[str, list[int]] = defaultdict(list)
    for number, moment in enumerate(moments):
        groups[f"{moment:%Y-%m-%d %H:%M}"].append(number)
    if len(groups) > 1:
        when, numbers = max(groups.items(), key=lambda item: len(item[1]))
        if len(numbers) >= SERIES_SHARE * len(moments) and stands_out(len(numbers), len(moments), len(groups)):
            yield Found(kind="first_seen", words=f"first seen at {when} UTC", rows=frozenset(numbers))


# --- missing and extra that are one ---------------------------------------------------------------------------------


def _pairs(rows: Sequence[Suspect], key: Sequence[str]) -> Iterator[Found]:
    """A missing and an extra row whose keys are the same text but for its spelling: one cause, not two."""
    alone = [number for number, row in enumerate(rows) if row.kind is not DriftKind.DIFFERENT]
    open_rows = {number for pair in _paired(rows, alone, loosely) for number in pair}
    for what, fold in SPELLINGS:
        paired = _paired(rows, sorted(open_rows), fold)
        if 2 * len(paired) >= max(ROWS_MIN, EXPLAINED_MIN * len(rows)):
            numbers = frozenset(number for pair in paired for number in pair)
            open_rows -= numbers
            count = f"{len(paired):,} missing and {len(paired):,} extra are one cause"
            where = " and ".join(f"`{name}`" for name in key)
            yield Found(kind="key_spelling", words=f"{count}: {where} differ only by {what}", rows=numbers)


def _paired(rows: Sequence[Suspect], numbers: Iterable[int], fold: Callable[[str], str]) -> list[tuple[int, int]]:
    """Missing and extra rows, two by two, whose keys are the same once they are folded."""
    missing: dict[Key, list[int]] = defaultdict(list)
    extra: dict[Key, list[int]] = defaultdict(list)
    for number in numbers:
        row = rows[number]
        folded = tuple(fold(part) if isinstance(part, str) else spelling(part) for part in row.key)
        (missing if row.kind is DriftKind.MISSING else extra)[folded].append(number)
    both = [folded for folded in missing if folded in extra]
    return [pair for folded in both for pair in zip(missing[folded], extra[folded], strict=False)]
