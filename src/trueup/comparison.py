"""Two sides compared without a configuration.

Nothing is repaired and nothing is remembered, so there is nothing to protect: no limit refuses the answer, and one look
at each difference is enough unless `settle` asks for two. Then a run with a ledger of its own does it, in a temporary
folder that is gone when the comparison is over. One look needs neither run nor ledger, and does not import them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trueup.bound import Bound
from trueup.by_digest import asking_ahead
from trueup.clock import Clock, SystemClock
from trueup.core.binding import Binding, one_sided
from trueup.core.compare import Counts, Suspect, mask
from trueup.core.guarantee import Guarantee
from trueup.core.projection import Database, Projection, Side
from trueup.core.row import Key, Values
from trueup.core.shape import Shape
from trueup.core.states import Verdict
from trueup.declarations import checked
from trueup.discreet import discreet
from trueup.errors import ConfigError, Interrupted, TrueupError, UsageError
from trueup.in_time import pieces
from trueup.narrow import route
from trueup.observe import Progress, Silent
from trueup.report import Report, as_texts, differing, members_of, shown
from trueup.sample import Sample
from trueup.sides import NamedSide, declared, parse_side
from trueup.stop import Stop
from trueup.worded import NAME, worded

if TYPE_CHECKING:
    from trueup.app import Trueup


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


class OneLook(Bound):
    """Both sides, and what one look at them needs besides; `Trueup` has the same."""

    def __init__(self, databases: Mapping[str, Database], progress: Progress | None) -> None:
        super().__init__(databases, [])
        self.clock: Clock = SystemClock()
        self.progress: Progress = progress or Silent()
        self.stop_after_segment = Stop()
        self._shapes: dict[str, Shape] = {}

    def shape(self, name: str, role: str, side: Side) -> Shape:
        """As of `Bound`; each side is asked once: for the key, if that is not given, and not again to compare."""
        if role not in self._shapes:
            self._shapes[role] = super().shape(name, role, side)
        return self._shapes[role]

    def meant(self, side: NamedSide, database: str) -> NamedSide:
        """A side as its database understands its name."""
        return side.among(self._adapter(database).capabilities.places) if side.url else side

    def declare(self, projection: Projection) -> None:
        """What is to be compared, when it is known."""
        self.projections[projection.name] = projection


@dataclass(kw_only=True, slots=True)
class Comparison:
    """Two sides that are ready to be compared, once."""

    engine: Trueup | OneLook
    source: NamedSide
    target: NamedSide
    #: Where the key came from, if it was not given.
    key_from: str
    binding: Binding
    #: Columns that only one side has, by side; none where somebody chose what to compare.
    one_sided: dict[str, list[str]]
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
        suspects = self._at_once() if isinstance(self.engine, OneLook) else self._settled(self.engine)
        hidden, columns, members = self.binding.hidden, self.binding.columns, members_of(self.binding)
        for suspect in suspects:
            masked = mask(as_texts(members, suspect), hidden)
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
            "key": shown(self.projection.key, found.key),
            "expected": shown(self.binding.columns, found.expected),
            "observed": shown(self.binding.columns, found.observed),
            "columns": list(found.columns),
        }
        if found.reason:
            row["reason"] = found.reason
        return row

    def _settled(self, engine: Trueup) -> Iterator[Suspect]:
        """What is the same after `settle`, by a run with all that belongs to it."""
        report = engine.check(NAME, rows=1)
        for item in engine.decisions(report.run):
            yield item.decision.drift
        self.report = replace(report, command=NAME, drift=[], one_sided=self.one_sided)

    def _at_once(self) -> Iterator[Suspect]:
        """What each side said when it was read: there is no second look, so nothing has to be kept for it."""
        began = self.engine.clock.monotonic()
        pair = self.engine.pair(self.binding)
        with discreet(self.projection):
            chosen = route(pair, self.engine.clock.now())
            counts, planned, sample = Counts(), 0, Sample()
            with asking_ahead(pair, chosen.segments, self.engine.clock.now, together=True):
                for piece in pieces(pair, chosen.segments):
                    counts += piece.covered.counts
                    planned = piece.planned
                    self.engine.progress.narrowed(piece.done, planned, counts)
                    for suspect in piece.covered.suspects:
                        sample.add(suspect)
                        yield suspect
                    if self.engine.stop_after_segment.asked:
                        raise Interrupted
        causes = self._causes(sample)
        seconds = self.engine.clock.monotonic() - began
        report = _report(counts, chosen.strategy, segments=planned, seconds=seconds)
        self.report = replace(report, causes=causes, one_sided=self.one_sided)

    def _causes(self, sample: Sample) -> list[dict[str, Any]]:
        """What the differences have in common, by themselves: no database is asked for more."""
        if not sample.rows:
            return []
        from trueup.core.causes import Taken, causes_of

        return causes_of(self.binding, sample.rows, taken=Taken.ALL if sample.whole else Taken.SAMPLE)


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
    tolerance: Mapping[str, str | float] | None = None,
    nulls: Mapping[str, str] | None = None,
    exact: bool = False,
    progress: Progress | None = None,
) -> Iterator[Comparison]:
    """Both sides, checked and ready; all but the two as of `diff`.

    Raises UsageError if a side, the key or a column is not there, or two columns cannot be compared exactly.
    """
    sides = {"source": parse_side(source, "source"), "target": parse_side(target, "target")}
    names = _database_names(sides)
    databases = {
        names[role]: checked(Database, {"url": side.url}, role, UsageError) for role, side in sides.items() if side.url
    }
    mapped: dict[str, dict[str, str]] = {"source": {}, "target": dict(renamed or {})}
    with _worded(), ExitStack() as after:
        look_once = OneLook(databases, progress)
        after.callback(look_once.close_adapters)
        sides = {role: look_once.meant(side, names[role]) for role, side in sides.items()}
        declarations = {role: declared(side, names[role], mapped[role]) for role, side in sides.items()}
        chosen, key_from, compared = _chosen(look_once, declarations, key, columns, exclude)
        values = {
            "name": NAME,
            **declarations,
            "key": chosen,
            "columns": None if compared is None else tuple(compared),
            "sensitive": tuple(sensitive),
            "settle": settle,
            "tolerance": dict(tolerance or {}),
            "nulls": dict(nulls or {}),
            "exact": exact,
            "on_extra": "delete",  # nothing is written; any other policy would be given as the reason why
            "limits": {"collapse": 0},
        }
        projection = checked(Projection, values, f"projections.{NAME}", UsageError)
        engine = after.enter_context(_engine(look_once, projection))
        binding = engine.binding(NAME, writing=False)
        yield Comparison(
            engine=engine,
            source=sides["source"],
            target=sides["target"],
            key_from=key_from,
            binding=binding,
            one_sided={} if columns is not None else one_sided(binding),
        )


def _chosen(
    look_once: OneLook,
    declarations: Mapping[str, dict[str, Any]],
    key: Sequence[str],
    columns: Sequence[str] | None,
    exclude: Sequence[str],
) -> tuple[tuple[str, ...], str, Sequence[str] | None]:
    """Key, where it came from if it was not given, and columns; databases are asked only where one is left open."""
    if key and not exclude:
        return tuple(key), "", columns
    from trueup.choosing import all_but, primary_key, schemas_of

    schemas = schemas_of(declarations, look_once)
    chosen, key_from = (tuple(key), "") if key else primary_key(schemas)
    return chosen, key_from, all_but(exclude, chosen, schemas) if exclude else columns


@contextmanager
def _engine(look_once: OneLook, projection: Projection) -> Iterator[Trueup | OneLook]:
    """Who compares. A second look, later, is a run's work, and needs a ledger to remember the first."""
    if not projection.settle:
        look_once.declare(projection)
        yield look_once
        return
    import tempfile

    from trueup.app import Trueup

    with tempfile.TemporaryDirectory(prefix="trueup-diff-") as folder:
        ledger = f"sqlite:///{Path(folder) / 'ledger.db'}"
        asked = {"databases": look_once.databases, "projections": [projection], "progress": look_once.progress}
        with Trueup(**asked, ledger=ledger) as engine:
            engine.take_over(look_once)
            yield engine


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
    tolerance: Mapping[str, str | float] | None = None,
    nulls: Mapping[str, str] | None = None,
    exact: bool = False,
    rows: int = 100,
) -> Report:
    """Compare two sides that are named as on the command line: `sqlite:///a.db#orders`, `URL#SELECT ...`, a file.

    Without `key`, the target's primary key; without `columns`, all that both have but those in `exclude`. Nothing is
    written and nothing is kept. `renamed`: the source's name of a column -> the target's; `tolerance`, `nulls` and
    `exact` as a projection declares them, by the source's names; `rows`: differences listed at most (0: all).
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
        tolerance=tolerance,
        nulls=nulls,
        exact=exact,
    ) as comparison:
        return comparison.compare(rows=rows)


# --- declaring -------------------------------------------------------------------------------------------------------


def _database_names(sides: Mapping[str, NamedSide]) -> dict[str, str]:
    """One name where both sides are in one database: then it compares them itself."""
    one = sides["source"].url == sides["target"].url
    return {role: "database" if one else role for role in sides}


@contextmanager
def _worded() -> Iterator[None]:
    """Errors speak of the command line."""
    try:
        yield
    except (Interrupted, KeyboardInterrupt):
        raise Interrupted("stopped before the end; nothing is kept of an unfinished diff") from None
    except TrueupError as error:
        kind = UsageError if isinstance(error, ConfigError) else type(error)
        raise kind(worded(error)) from error
