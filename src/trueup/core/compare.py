"""Expected against observed -> suspects.

Compared are whole column batches: if every column is equal, and it mostly is, nothing is looked at row by row. Where
they are not, the rows of each key are. Keys that occur more than once are compared as multisets of their rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import compress

from trueup.core.row import Batch, Key, Kind, Values, same_as_they_are
from trueup.core.rules import Rules, agree, differing

#: What is shown in place of a sensitive value.
MASKED = "•••"
#: Rows of one repeated key among which partners are sought under a tolerance; more have to be equal.
MATCHED_MAX = 100


class DriftKind(StrEnum):
    """How a row of the target differs from what the source says."""

    MISSING = "missing"
    EXTRA = "extra"
    DIFFERENT = "different"


@dataclass(frozen=True, kw_only=True, slots=True)
class Suspect:
    """A difference seen once."""

    kind: DriftKind
    key: Key
    #: What the source says, as the target should hold it; None: the row should not exist.
    expected: Values | None
    #: What the target holds; None: there is no row.
    observed: Values | None
    #: Row version of `observed`, where the target's database has one.
    token: str = ""
    #: Both values and the token were read at the same instant, by one statement.
    instant: bool = False
    #: Rows with this key on the source / target side, where that is not at most one: such a key cannot be repaired.
    copies: tuple[int, int] | None = None
    #: Why there is nothing to put in its place; empty: there is.
    problem: str = ""

    @property
    def pair(self) -> tuple[Values | None, Values | None]:
        """What must be the same at the second look for this to be drift."""
        return (self.expected, self.observed)

    @property
    def unrepairable(self) -> str:
        """Why this row can only be reported; empty if it can be repaired."""
        if self.copies is not None:
            source, target = ("once" if rows == 1 else f"{rows} times" for rows in self.copies)
            return f"the key occurs {source} in the source and {target} in the target"
        if None in self.key:
            return "the key has a NULL part"
        return self.problem


@dataclass(kw_only=True, slots=True)
class Counts:
    """What a comparison covered and found, in rows."""

    source_rows: int = 0
    target_rows: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    #: Differing rows by compared column.
    different_by_column: dict[str, int] = field(default_factory=dict)
    #: Keys that occur more than once, by side.
    duplicate_keys_source: int = 0
    duplicate_keys_target: int = 0
    #: Rows with a NULL in the key, by side.
    null_keys_source: int = 0
    null_keys_target: int = 0
    #: Rows by column in which one side has a NULL that is declared to be unknown, so that they were not compared there.
    not_compared: dict[str, int] = field(default_factory=dict)
    #: Rows that a backfill looked at and does not change, by why.
    passed_over: dict[str, int] = field(default_factory=dict)

    @property
    def differing(self) -> int:
        return self.missing + self.extra + self.different

    @property
    def keyed_source_rows(self) -> int:
        """Source rows that can belong to a row of the target: those without a NULL in the key."""
        return self.source_rows - self.null_keys_source

    def __iadd__(self, other: Counts) -> Counts:
        for name in self.__slots__:
            mine, theirs = getattr(self, name), getattr(other, name)
            if isinstance(mine, dict):
                for column, count in theirs.items():
                    mine[column] = mine.get(column, 0) + count
            else:
                setattr(self, name, mine + theirs)
        return self

    def tally(self, suspects: list[Suspect], columns: tuple[str, ...], rules: Rules = ()) -> None:
        """Count `suspects` by kind and column."""
        by_column = self.different_by_column
        for suspect in suspects:
            if suspect.kind is DriftKind.MISSING:
                self.missing += 1
            elif suspect.kind is DriftKind.EXTRA:
                self.extra += 1
            else:
                self.different += 1
                differ = differing(rules, suspect.expected or (), suspect.observed or ())
                for column in compress(columns, differ):
                    by_column[column] = by_column.get(column, 0) + 1


def classify(
    expected: Values | None,
    observed: Values | None,
    absent: Values | None,
    rules: Rules = (),
    *,
    expiring: bool = False,
) -> DriftKind | None:
    """The kind of difference between one source row and one target row; None if they agree.

    `absent` is what a key without a source row means; None means that the row should not exist. `expiring`: rows of
    the target go away by themselves, and one that is missing is as good as right.
    """
    if expected is None:
        right = observed is None or (absent is not None and agree(rules, absent, observed))
        return None if right else DriftKind.EXTRA
    if observed is None:
        return None if expiring else DriftKind.MISSING
    return None if agree(rules, expected, observed) else DriftKind.DIFFERENT


def compare(
    source: Batch,
    target: Batch,
    *,
    columns: tuple[str, ...],
    absent: Values | None,
    kinds: Sequence[Kind] = (),
    rules: Rules = (),
    expiring: bool = False,
) -> tuple[Counts, list[Suspect]]:
    """Compare two batches that cover the same keys; `expiring` as for `classify`.

    `kinds` of the compared columns are given where values may be spelled differently on the two sides; they are brought
    into one spelling only where the columns are not equal as they are. `rules` are given where equality is not all
    that counts; they are asked only about rows that are not equal.
    """
    counts = Counts(source_rows=len(source), target_rows=len(target))
    if _equal(source, target, kinds) and not _repeats(source):
        _count_nulls(counts, source, target)
        return counts, []
    _count_nulls(counts, source, target)
    if kinds:
        source, target = source.clean(kinds), target.clean(kinds)
    source_keys, target_keys = source.key_tuples(), target.key_tuples()
    source_values, target_values = source.value_tuples(), target.value_tuples()
    repeated = {key for batch in (source, target) for key in _repeats(batch)}
    sides = zip(source_keys, source_values, strict=True), zip(target_keys, target_values, strict=True)
    suspects = _repeated_keys(repeated, *sides, counts, rules)
    expected = dict(zip(source_keys, source_values, strict=True))
    observed = dict(zip(target_keys, target_values, strict=True))
    tokens = dict(zip(target_keys, target.tokens, strict=True)) if target.tokens else {}
    for key in {**expected, **observed}:
        wanted, held = expected.get(key), observed.get(key)
        if (wanted is not None and wanted == held) or key in repeated:
            continue
        kind = classify(wanted, held, absent, rules, expiring=expiring)
        if rules and wanted is not None and held is not None:
            _count_unknown(counts, columns, rules, wanted, held)
        if kind:
            token = tokens.get(key, "")
            given = absent if wanted is None else wanted
            suspects.append(Suspect(kind=kind, key=key, expected=given, observed=held, token=token))
    counts.tally(suspects, columns, rules)
    return counts, suspects


def _equal(source: Batch, target: Batch, kinds: Sequence[Kind]) -> bool:
    """Are all keys and all columns equal as they were read?"""
    if source.keys != target.keys or len(source.values) != len(target.values):
        return False
    if not kinds:
        return source.values == target.values
    return all(map(same_as_they_are, kinds, source.values, target.values))


def _count_unknown(counts: Counts, columns: tuple[str, ...], rules: Rules, expected: Values, observed: Values) -> None:
    for column, rule, a, b in zip(columns, rules, expected, observed, strict=True):
        if rule.not_compared(a, b):
            counts.not_compared[column] = counts.not_compared.get(column, 0) + 1


def _count_nulls(counts: Counts, source: Batch, target: Batch) -> None:
    counts.null_keys_source = _null_rows(source)
    counts.null_keys_target = _null_rows(target)


def _null_rows(batch: Batch) -> int:
    if not any(None in column for column in batch.keys):
        return 0
    return sum(1 for key in zip(*batch.keys, strict=True) if None in key)


def _repeats(batch: Batch) -> list[Key]:
    """Keys that occur more than once."""
    if len(batch.keys) == 1:
        if len(set(batch.keys[0])) == len(batch):
            return []
    elif len(set(zip(*batch.keys, strict=True))) == len(batch):
        return []
    return [key for key, copies in Counter(zip(*batch.keys, strict=True)).items() if copies > 1]


def _repeated_keys(
    repeated: set[Key],
    source: Iterable[tuple[Key, Values]],
    target: Iterable[tuple[Key, Values]],
    counts: Counts,
    rules: Rules,
) -> list[Suspect]:
    """Keys that occur more than once on a side, compared as multisets of rows."""
    suspects: list[Suspect] = []
    if not repeated:
        return suspects
    groups: dict[Key, tuple[list[Values], list[Values]]] = {key: ([], []) for key in repeated}
    for side, rows in enumerate((source, target)):
        for key, values in rows:
            if key in groups:
                groups[key][side].append(values)
    for key, (wanted, held) in groups.items():
        counts.duplicate_keys_source += len(wanted) > 1
        counts.duplicate_keys_target += len(held) > 1
        if Counter(wanted) == Counter(held) or (rules and _matched(wanted, held, rules)):
            continue
        kind = DriftKind.EXTRA if not wanted else DriftKind.MISSING if not held else DriftKind.DIFFERENT
        lacking, surplus = _unlike(wanted, held), _unlike(held, wanted)
        suspects.append(
            Suspect(
                kind=kind,
                key=key,
                expected=_first(lacking or [row for row in wanted if row in surplus] or wanted),
                observed=_first(surplus or [row for row in held if row in lacking] or held),
                copies=(len(wanted), len(held)),
            )
        )
    return suspects


def _matched(wanted: list[Values], held: list[Values], rules: Rules) -> bool:
    """Can each expected row be paired with an observed row of its own that is as good? (Augmenting paths.)"""
    if len(wanted) != len(held) or len(wanted) > MATCHED_MAX:
        return False
    partner: dict[int, int] = {}

    def place(row: int, tried: set[int]) -> bool:
        for at in range(len(held)):
            if at not in tried and agree(rules, wanted[row], held[at]):
                tried.add(at)
                if at not in partner or place(partner[at], tried):
                    partner[at] = row
                    return True
        return False

    return all(place(row, set()) for row in range(len(wanted)))


def _unlike(rows: list[Values], others: list[Values]) -> list[Values]:
    """Those of the rows that are left when each of the others has taken one like it away."""
    return [*(Counter(rows) - Counter(others)).elements()]


def _first(rows: list[Values]) -> Values | None:
    """A stable representative, so that two looks at the same rows show the same pair."""
    return min(rows, key=repr) if rows else None


def mask(suspect: Suspect, hidden: tuple[bool, ...]) -> Suspect:
    """The suspect with the values of sensitive columns replaced; `hidden` has one flag for each compared column."""
    if True not in hidden:
        return suspect
    return replace(suspect, expected=covered(suspect.expected, hidden), observed=covered(suspect.observed, hidden))


def covered(values: Values | None, hidden: Sequence[bool]) -> Values | None:
    """Values with those replaced that `hidden` has a flag for; the one place where masking is done."""
    if values is None or True not in hidden:
        return values
    return tuple(MASKED if hide else value for value, hide in zip(values, hidden, strict=True))
