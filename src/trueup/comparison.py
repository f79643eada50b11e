"""Two sides compared without a configuration: an engine of its own, whose ledger is gone when the comparison is over.

Nothing is repaired and nothing is remembered, so there is nothing to protect: no limit refuses the answer, and one look
at each difference is enough unless `settle` asks for two.
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
from trueup.adapters import DIFFERENCES_MAX, Adapter, connect
from trueup.app import Trueup
from trueup.core.binding import Binding, Shape, near
from trueup.core.compare import Counts, Suspect, mask
from trueup.core.plan import Everything, NullKeys, Range, Segment
from trueup.core.projection import Database, Projection, Side
from trueup.core.row import Key, Values
from trueup.core.states import Verdict
from trueup.errors import ConfigError, Interrupted, TrueupError, UsageError
from trueup.narrow import Covered, Pair, route, side_by_side
from trueup.observe import Progress
from trueup.report import Report, differing
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two sides that are ready to be compared."""

    engine: Trueup
    source: NamedSide
    target: NamedSide
    #: Where the key came from, if it was not given.
    key_from: str

    @property
    def projection(self) -> Projection:
        return self.engine.projection(NAME)

    @property
    def binding(self) -> Binding:
        return self.engine.binding(NAME, writing=False)

    def report(self, *, rows: int = 100) -> Report:
        """Compare. `rows`: listed at most (0: all that are kept); the counts are complete."""
        report = replace(self.engine.check(NAME, rows=rows), command=NAME)
        if report.verdict is not Verdict.INCONCLUSIVE:
            return report
        # Too many to look at each again by its key: both sides are read once more, whole.
        counts = Counts()
        for covered in self._whole():
            counts += covered.counts
        return replace(
            report,
            verdict=Verdict.DRIFT if counts.differing else Verdict.IN_SYNC,
            reason="",
            missing=counts.missing,
            extra=counts.extra,
            different=counts.different,
            different_by_column=counts.different_by_column,
        )

    def differences(self, report: Report) -> Iterator[Difference]:
        """Every difference that `report` counts, however many there are."""
        binding = self.binding
        for suspect in self._suspects(report):
            masked = mask(suspect, binding.hidden)
            yield Difference(
                kind=str(suspect.kind),
                key=suspect.key,
                expected=masked.expected,
                observed=masked.observed,
                columns=differing(suspect, binding.columns),
                reason=suspect.unrepairable,
            )

    def _suspects(self, report: Report) -> Iterator[Suspect]:
        if report.drifted > DIFFERENCES_MAX:
            for covered in self._whole():
                yield from covered.suspects
            return
        for item in self.engine.decisions(report.run):
            yield item.decision.drift

    def _whole(self) -> Iterator[Covered]:
        """Both sides side by side, in pieces of bounded size; nothing is kept."""
        binding = self.binding
        with ExitStack() as after:
            source, target = (
                after.enter_context(closing(self._connect(side.database)))
                for side in (self.projection.source, self.projection.target)
            )
            pair = Pair(binding=binding, source=source, target=target)
            for segment in route(pair).segments:
                pieces: list[Segment] = [NullKeys(), Range()] if isinstance(segment, Everything) else [segment]
                for piece in pieces:
                    yield from side_by_side(pair, piece)

    def _connect(self, database: str) -> Adapter:
        return connect(database, self.engine.databases[database])


@contextmanager
def comparing(
    source: str,
    target: str,
    *,
    key: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    renamed: Mapping[str, str] | None = None,
    sensitive: Sequence[str] = (),
    settle: str | float = 0,
    progress: Progress | None = None,
) -> Iterator[Comparison]:
    """Both sides, checked and ready. `renamed`: the source's name of a column -> the target's.

    Raises UsageError if a side, the key or a column is not there, or two columns cannot be compared exactly.
    """
    sides = {"source": parse_side(source, "source"), "target": parse_side(target, "target")}
    names = _database_names(sides)
    databases = {names[role]: _database(role, side) for role, side in sides.items() if side.url}
    mapped: dict[str, dict[str, str]] = {"source": {}, "target": dict(renamed or {})}
    declarations = {role: declared(side, names[role], mapped[role]) for role, side in sides.items()}
    with _worded(), ExitStack() as after:
        chosen, key_from = tuple(key), ""
        if not chosen:
            chosen, key_from = _primary_key(declarations, databases)
        projection = _projection(
            {
                "name": NAME,
                **declarations,
                "key": chosen,
                "columns": tuple(columns) if columns else None,
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
        engine.binding(NAME, writing=False)
        yield Comparison(engine=engine, source=sides["source"], target=sides["target"], key_from=key_from)


def diff(
    source: str,
    target: str,
    *,
    key: Sequence[str] | str = (),
    columns: Sequence[str] | None = None,
    renamed: Mapping[str, str] | None = None,
    sensitive: Sequence[str] = (),
    settle: str | float = 0,
    rows: int = 100,
) -> Report:
    """Compare two sides that are named as on the command line: `sqlite:///a.db#orders`, `URL#SELECT ...`, a file.

    Without `key`, the target's primary key. Nothing is written and nothing is kept. `renamed`: the source's name of a
    column -> the target's; `rows`: differences listed at most (0: all, up to 100,000).
    """
    parts = (key,) if isinstance(key, str) else key
    with comparing(
        source, target, key=parts, columns=columns, renamed=renamed, sensitive=sensitive, settle=settle
    ) as comparison:
        return comparison.report(rows=rows)


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


def _primary_key(
    declarations: Mapping[str, dict[str, Any]], databases: Mapping[str, Database]
) -> tuple[tuple[str, ...], str]:
    """The primary key of the target's table, or of the source's, if both sides have its columns; and whose it is.

    Raises UsageError that names what else could be the key.
    """
    shapes: dict[str, Shape] = {}
    primary: dict[str, tuple[str, ...]] = {}
    renamed = declarations["target"].get("columns", {})
    back = {there: here for here, there in renamed.items()}
    for role in ("target", "source"):
        side = Side.model_validate(declarations[role])
        with closing(connect(side.database, databases[side.database])) as adapter:
            shapes[role] = adapter.describe(side)
            found = next((table for table in adapter.tables() if table.name == side.table), None)
        names = found.key if found else ()
        primary[role] = tuple(back.get(name, name) for name in names) if role == "target" else names
    columns = {
        "source": set(shapes["source"].columns),
        "target": {back.get(name, name) for name in shapes["target"].columns},
    }
    shared = [name for name in shapes["source"].columns if name in columns["target"]]
    for role, key in primary.items():
        if key and set(key) <= set(shared):
            return key, f"the {role}'s primary key"
    raise UsageError(_no_key(primary, shapes, shared))


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
    (re.compile(rf"projections\.{NAME}\.(source|target)\.(?:table|query|file): databases\.\w+: "), r"\1: "),
    (re.compile(rf"projections\.{NAME}\.(source|target)(?:\.(?:table|query|file))?\b"), r"\1"),
    (re.compile(rf"projections\.{NAME}\.(key|columns|sensitive|settle)\b"), r"--\1"),
    (re.compile(rf"projections\.{NAME}: "), ""),
    (re.compile(rf"projections\.{NAME}\b"), "diff"),
    (re.compile(r"\bdatabases\.(source|target)\.url\b"), r"\1"),
    (re.compile(r"\bdatabases\.(source|target|database)\b"), r"\1"),
    (re.compile(r"^diff: "), ""),
)


@contextmanager
def _worded() -> Iterator[None]:
    """Errors speak of the command line: there is no configuration file to look into."""
    try:
        yield
    except Interrupted:
        raise Interrupted("stopped before the end; nothing is kept of an unfinished diff") from None
    except TrueupError as error:
        words = str(error)
        for place, meant in _PLACES:
            words = place.sub(meant, words)
        kind = UsageError if isinstance(error, ConfigError) else type(error)
        raise kind(words) from error
