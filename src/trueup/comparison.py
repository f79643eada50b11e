"""Two sides compared without a configuration.

Nothing is repaired and nothing is remembered, so there is nothing to protect: no limit refuses the answer, and one look
at each difference is enough unless `settle` asks for two. Then a run with a ledger of its own does it, in a temporary
folder that is gone when the comparison is over.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trueup import config as configuration
from trueup.adapters import connect
from trueup.app import Trueup
from trueup.bindings import described
from trueup.by_digest import asking_ahead
from trueup.core.binding import Binding, Shape, near
from trueup.core.compare import Counts, Suspect, mask
from trueup.core.guarantee import Guarantee
from trueup.core.projection import Database, Projection, Side
from trueup.core.row import Key, Values
from trueup.core.side import PLACES
from trueup.core.states import Verdict
from trueup.errors import ConfigError, Interrupted, TrueupError, UsageError
from trueup.in_time import pieces
from trueup.job import discreet
from trueup.narrow import route
from trueup.observe import Progress
from trueup.report import Report, differing, presented
from trueup.sides import NamedSide, declared, parse_side

#: Name of the only projection.
NAME = "diff"


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One row that differs, as it may be shown."""

    #: `missing`, `extra` or `different`.
    kind: str
    key: Key
    #: What the source says; None: it has no such row. Sensitive values are masked.
    expected: Values | None
    #: What the target holds; None: it has no such row.
    observed: Values | None
    #: Columns in which the two rows differ.
    columns: tuple[str, ...]
    #: What is odd about the row; empty if nothing is.
    reason: str


@dataclass(kw_only=True, slots=True)
class Comparison:
    """Two sides that are ready to be compared, once."""

    engine: Trueup
    source: NamedSide
    target: NamedSide
    #: Where the key came from, if it was not given.
    key_from: str
    binding: Binding
    #: The answer; there when `differences` came to its end. It lists no rows.
    report: Report | None = None

    @property
    def projection(self) -> Projection:
        return self.binding.projection

    def compare(self, *, rows: int) -> Report:
        """The answer with the first rows that differ, at most `rows` of them (0: all)."""
        listed = []
        for at, found in enumerate(self.differences()):
            if not rows or at < rows:
                listed.append(self.row(found))
        assert self.report is not None
        return replace(self.report, drift=listed)

    def differences(self) -> Iterator[Difference]:
        """Every difference, as it is found, however many there are."""
        suspects = self._settled() if self.projection.settle else self._at_once()
        hidden, columns = self.binding.hidden, self.binding.columns
        for suspect in suspects:
            masked = mask(suspect, hidden)
            yield Difference(
                kind=str(suspect.kind),
                key=suspect.key,
                expected=masked.expected,
                observed=masked.observed,
                columns=differing(suspect, columns, self.binding.rules),
                reason=suspect.unrepairable,
            )

    def row(self, found: Difference) -> dict[str, Any]:
        """A difference as reports list it."""
        row: dict[str, Any] = {
            "kind": found.kind,
            "key": presented(self.binding.named_key(found.key)),
            "expected": presented(self.binding.named_values(found.expected)),
            "observed": presented(self.binding.named_values(found.observed)),
            "columns": list(found.columns),
        }
        if found.reason:
            row["reason"] = found.reason
        return row

    def _settled(self) -> Iterator[Suspect]:
        """What is the same after `settle`, by a run with all that belongs to it."""
        report = self.engine.check(NAME, rows=1)
        for item in self.engine.decisions(report.run):
            yield item.decision.drift
        self.report = replace(report, command=NAME, drift=[])

    def _at_once(self) -> Iterator[Suspect]:
        """What each side said when it was read: there is no second look, so nothing has to be kept for it."""
        began = self.engine.clock.monotonic()
        pair = self.engine.pair(self.binding)
        with discreet(self.projection):
            chosen = route(pair, self.engine.clock.now())
            counts, planned = Counts(), 0
            with asking_ahead(pair, chosen.segments, self.engine.clock.now):
                for piece in pieces(pair, chosen.segments):
                    counts += piece.covered.counts
                    planned = piece.planned
                    self.engine.progress.narrowed(piece.done, planned, counts)
                    yield from piece.covered.suspects
                    if self.engine.stop_after_segment.asked:
                        raise Interrupted
        seconds = self.engine.clock.monotonic() - began
        self.report = _report(counts, chosen.strategy, segments=planned, seconds=seconds)


def _report(counts: Counts, strategy: str, *, segments: int, seconds: float) -> Report:
    return Report(
        projection=NAME,
        run="",
        command=NAME,
        verdict=Verdict.DRIFT if counts.differing else Verdict.IN_SYNC,
        reason="",
        guarantee=str(Guarantee.REPORT_ONLY),
        strategy=strategy,
        source_rows=counts.source_rows,
        target_rows=counts.target_rows,
        missing=counts.missing,
        extra=counts.extra,
        different=counts.different,
        different_by_column=counts.different_by_column,
        in_flight=0,
        resolved=0,
        repaired=0,
        stepped_aside=0,
        left=0,
        duplicate_keys={"source": counts.duplicate_keys_source, "target": counts.duplicate_keys_target},
        null_keys={"source": counts.null_keys_source, "target": counts.null_keys_target},
        not_compared=dict(counts.not_compared),
        segments={"planned": segments, "done": segments},
        seconds=seconds,
    )


@contextmanager
def comparing(
    source: str,
    target: str,
    *,
    key: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    renamed: Mapping[str, str] | None = None,
    sensitive: Sequence[str] = (),
    settle: str | float = 0,
    progress: Progress | None = None,
) -> Iterator[Comparison]:
    """Both sides, checked and ready. `exclude`: columns not to compare; `renamed`: the source's name of a column -> the
    target's.

    Raises UsageError if a side, the key or a column is not there, or two columns cannot be compared exactly.
    """
    sides = {"source": parse_side(source, "source"), "target": parse_side(target, "target")}
    names = _database_names(sides)
    databases = {names[role]: _database(role, side) for role, side in sides.items() if side.url}
    mapped: dict[str, dict[str, str]] = {"source": {}, "target": dict(renamed or {})}
    declarations = {role: declared(side, names[role], mapped[role]) for role, side in sides.items()}
    with _worded(), ExitStack() as after:
        look = _look(declarations, databases) if exclude or not key else None
        chosen, key_from = (tuple(key), "") if key or look is None else _primary_key(look)
        if exclude and look:
            columns = _all_but(exclude, chosen, look)
        projection = _projection(
            {
                "name": NAME,
                **declarations,
                "key": chosen,
                "columns": None if columns is None else tuple(columns),
                "sensitive": tuple(sensitive),
                "settle": settle,
                "on_extra": "delete",  # nothing is written; any other policy would be given as the reason why
                "limits": {"collapse": 0},
            }
        )
        folder = after.enter_context(tempfile.TemporaryDirectory(prefix="trueup-diff-"))
        engine = after.enter_context(
            Trueup(
                databases=databases,
                projections=[projection],
                ledger=f"sqlite:///{Path(folder) / 'ledger.db'}",
                progress=progress,
            )
        )
        yield Comparison(
            engine=engine,
            source=sides["source"],
            target=sides["target"],
            key_from=key_from,
            binding=engine.binding(NAME, writing=False),
        )


def diff(
    source: str,
    target: str,
    *,
    key: Sequence[str] | str = (),
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    renamed: Mapping[str, str] | None = None,
    sensitive: Sequence[str] = (),
    settle: str | float = 0,
    rows: int = 100,
) -> Report:
    """Compare two sides that are named as on the command line: `sqlite:///a.db#orders`, `URL#SELECT ...`, a file.

    Without `key`, the target's primary key; without `columns`, all that both have but those in `exclude`. Nothing is
    written and nothing is kept. `renamed`: the source's name of a column -> the target's; `rows`: differences listed at
    most (0: all).
    """
    parts = (key,) if isinstance(key, str) else key
    with comparing(
        source,
        target,
        key=parts,
        columns=columns,
        exclude=exclude,
        renamed=renamed,
        sensitive=sensitive,
        settle=settle,
    ) as comparison:
        return comparison.compare(rows=rows)


# --- declaring -------------------------------------------------------------------------------------------------------


def _database_names(sides: Mapping[str, NamedSide]) -> dict[str, str]:
    """One name where both sides are in one database: then it compares them itself."""
    one = sides["source"].url == sides["target"].url
    return {role: "database" if one else role for role in sides}


def _database(role: str, side: NamedSide) -> Database:
    try:
        return Database.model_validate({"url": side.url})
    except ValidationError as error:
        raise UsageError(configuration.describe(role, Database, error)) from None


def _projection(values: dict[str, Any]) -> Projection:
    try:
        return Projection.model_validate(values)
    except ValidationError as error:
        raise UsageError(configuration.describe(f"projections.{NAME}", Projection, error)) from None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """What both sides have, before a projection can be declared; columns by the source's names."""

    shapes: Mapping[str, Shape]
    #: Primary keys of the two tables, in their order; empty where there is none.
    primary: Mapping[str, tuple[str, ...]]
    #: Columns that both sides have.
    shared: Sequence[str]


def _look(declarations: Mapping[str, dict[str, Any]], databases: Mapping[str, Database]) -> _Look:
    known = configuration.with_stand_ins(databases)
    shapes: dict[str, Shape] = {}
    primary: dict[str, tuple[str, ...]] = {}
    for role in ("target", "source"):
        side = Side.model_validate(declarations[role])
        back = {there: here for here, there in side.columns.items()}
        with closing(connect(side.database, known[side.database])) as adapter:
            try:
                shapes[role] = described(adapter, side)
            except ConfigError as error:
                raise ConfigError(f"projections.{NAME}.{role}: {error}") from error
            tables = adapter.tables() if side.table else []
        found = next((table.key for table in tables if table.name == side.table), ())
        primary[role] = tuple(back.get(name, name) for name in found)
    renamed = {there: here for here, there in declarations["target"].get("columns", {}).items()}
    theirs = {renamed.get(name, name) for name in shapes["target"].columns}
    return _Look(shapes=shapes, primary=primary, shared=[c for c in shapes["source"].columns if c in theirs])


def _primary_key(look: _Look) -> tuple[tuple[str, ...], str]:
    """The primary key of the target's table, or of the source's, if both sides have its columns; and whose it is.

    Raises UsageError that names what else could be the key.
    """
    for role, key in look.primary.items():
        if key and set(key) <= set(look.shared):
            return key, f"the {role}'s primary key"
    raise UsageError(_no_key(look.primary, look.shapes, look.shared))


def _all_but(excluded: Sequence[str], key: Sequence[str], look: _Look) -> tuple[str, ...]:
    """The columns of both sides without the key and the excluded ones.

    Raises UsageError for one that is not there.
    """
    for name in excluded:
        if name not in look.shared:
            raise UsageError(f"--exclude: no column {name!r} is on both sides; {near(name, look.shared)}")
    left = tuple(name for name in look.shared if name not in key and name not in excluded)
    if not left:
        raise UsageError("--exclude leaves nothing to compare; to compare keys alone, give queries that select them")
    return left


def _no_key(primary: Mapping[str, tuple[str, ...]], shapes: Mapping[str, Shape], shared: Sequence[str]) -> str:
    """Why there is no key to compare by, and what could be one."""
    told = [f"the primary key of the {role} is {','.join(key)}" for role, key in primary.items() if key]
    why = f"{'; '.join(told)}, which the other side does not have" if told else "no primary key is known"
    unique = {",".join(sorted(index)) for shape in shapes.values() for index in shape.unique if index <= set(shared)}
    if unique:
        return f"say by which columns rows belong together, --key A,B: {why}; unique: {' or '.join(sorted(unique))}"
    if shared:
        return f"say by which columns rows belong together, --key A,B: {why}; both sides have {', '.join(shared)}"
    nearest = "; ".join(
        f"{name}: {near(name, shapes['target'].columns)}" for name in list(shapes["source"].columns)[:3]
    )
    return f"the two sides have no column in common, so no row belongs to another; {nearest}"


# --- messages --------------------------------------------------------------------------------------------------------

#: Places in a configuration file -> what they are on the command line.
_PLACES = (
    (re.compile(rf"projections\.{NAME}\.(source|target)(?:\.(?:{'|'.join(PLACES)}))?: (?:databases\.\w+: )?"), r"\1: "),
    (re.compile(rf"projections\.{NAME}\.(source|target)\b"), r"\1"),
    (re.compile(rf"projections\.{NAME}\.(key|columns|sensitive|settle)\b"), r"--\1"),
    (re.compile(rf"projections\.{NAME}: "), ""),
    (re.compile(rf"projections\.{NAME}\b"), "diff"),
    (re.compile(r"\bdatabases\.(source|target)\.url\b"), r"\1"),
    (re.compile(r"\bdatabases\.(source|target|database)\b"), r"\1"),
    (re.compile(r"databases\.<files>(?:: | )?"), ""),
    (re.compile(r" in database '(?:source|target|database|<files>)'"), ""),
    (re.compile(r"; give format = .* \(known"), " (known"),
    (re.compile(r"leave it out of `columns`"), "leave it out with --exclude"),
    (re.compile(r"`(key|columns)`"), r"--\1"),
    (re.compile(r"^diff: "), ""),
)


@contextmanager
def _worded() -> Iterator[None]:
    """Errors speak of the command line: there is no configuration file to look into."""
    try:
        yield
    except (Interrupted, KeyboardInterrupt):
        raise Interrupted("stopped before the end; nothing is kept of an unfinished diff") from None
    except TrueupError as error:
        words = str(error)
        for place, meant in _PLACES:
            words = place.sub(meant, words)
        kind = UsageError if isinstance(error, ConfigError) else type(error)
        raise kind(words) from error
