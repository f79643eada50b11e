"""What in a database is derived from what: proposed from its schema, checked on its rows, and nothing written.

Ideas are tried in rounds, the likeliest first: rows that refer to the target's row; the same under conditions; rows
that refer through another table; copies and totals within a row. What is not reached in the given time is said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import groupby

from pydantic import SecretStr

from trueup.adapters import connect
from trueup.adapters._discoverer import Discoverer
from trueup.clock import Clock, SystemClock
from trueup.core.binding import near
from trueup.core.discover import conditions as conditioning
from trueup.core.discover import copies as copying
from trueup.core.discover import ideas as thinking
from trueup.core.discover import invariants as ruling
from trueup.core.discover import links
from trueup.core.discover.facts import KeptQuery, Schema
from trueup.core.discover.ideas import Idea, Kind, Strength
from trueup.core.discover.invariants import Broken, Rule
from trueup.core.discover.judge import Figures, Proposal, Tried, Verdict, accepted, judge, worth_conditions
from trueup.core.discover.links import Path, Reference
from trueup.core.projection import Database
from trueup.errors import DataProblem, DesignProblem, StatementTimeout, UsageError
from trueup.sides import without_password

#: Time for everything, seconds.
SECONDS = 60.0
#: Time for one statement, seconds.
STATEMENT_S = 10.0
#: Rows of a table that are looked at; of a larger one a sample. Where that takes too long, fewer.
SAMPLES = (50_000, 2_000)
#: Ideas tried in one statement.
AT_ONCE = 40
#: More orphans than this share: the names were misread.
ORPHANS = 0.5
#: Conditions that are tried together at most.
TOGETHER = 2
#: Paths through another table tried for one column.
THROUGH = 12

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A materialised view, and how it stands to its query."""

    view: KeptQuery
    figures: Figures


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The answer."""

    #: Of the database, without its password.
    url: str
    tables: int
    #: Drift first, the surest first; then what is right; without evidence last.
    proposals: list[Proposal] = field(default_factory=list)
    #: Ideas that most rows speak against.
    wrong_guesses: list[Proposal] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    #: The query of each proposal's source.
    queries: dict[str, str] = field(default_factory=dict)
    #: What was not looked at, and why.
    missed: list[str] = field(default_factory=list)
    schema: Schema
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """1: something is wrong; 3: nothing is, as far as was looked: not at all, or at samples."""
        stale = any(kept.figures.wrong for kept in self.kept)
        if stale or self.broken or any(p.verdict is Verdict.DRIFT for p in self.proposals):
            return 1
        return 3 if self.missed or any(p.sample for p in self.proposals) else 0


def discover(
    url: str,
    *,
    seconds: float = SECONDS,
    only: Sequence[str] = (),
    progress: Progress = lambda _: None,
    clock: Clock | None = None,
) -> Found:
    """Look for derived columns in a database, and how many of their rows are wrong. Writes nothing.

    `only`: tables whose columns are looked at.

    Raises UsageError for a URL or table that is not there, a store that has no schema, or no time.
    """
    if not seconds > 0:
        raise UsageError(f"seconds: a search takes some, not {seconds:g}")
    shown = without_password(url)
    database = Database(url=SecretStr(url), statement_timeout=min(STATEMENT_S, seconds))
    with closing(connect("app", database)) as adapter:
        if adapter.discoverer is None:
            raise UsageError(f"{shown}: it has no schema to look in; PostgreSQL, MariaDB, MySQL and SQLite have")
        search = Search(adapter.discoverer, seconds=seconds, clock=clock or SystemClock(), progress=progress)
        return search.run(shown, only)


class Search:
    """One search of one database."""

    def __init__(self, asked: Discoverer, *, seconds: float, clock: Clock, progress: Progress) -> None:
        self.asked = asked
        self.clock = clock
        self.progress = progress
        self.began = clock.monotonic()
        self.ends = self.began + seconds
        self.missed: dict[str, None] = {}
        #: (table, column) -> what was tried.
        self.tried: dict[tuple[str, str], list[Tried]] = defaultdict(list)
        #: Tables of which only a sample was looked at, and how it was chosen.
        self.samples: dict[str, str] = {}
        self.broken: list[Broken] = []

    def run(self, shown: str, only: Sequence[str]) -> Found:
        self._learn()
        for name in only:
            if name not in self.schema.tables:
                raise UsageError(f"--only {name}: there is no such table; {near(name, self.schema.tables)}")
        self.only = set(only)
        self._rules()
        self._rows_that_refer()
        self._through_another()
        self._copies_and_parts()
        return self._found(shown, [p for p in map(self._judged, self.tried) if p is not None], self._kept())

    # --- the schema ----------------------------------------------------------------------------------------------

    def _learn(self) -> None:
        self.progress("reading the schema")
        schema = self.asked.schema()
        known = {(r.table, r.columns[0]): r for r in links.references(schema) if len(r.columns) == 1}
        values = self.asked.values(conditioning.asked_for_values(schema, known))
        self.schema = replace(schema, values=values, numbered=self.asked.numbered(schema))
        self.references = links.references(self.schema)

    def _rules(self) -> None:
        """Invariants; a reference by name that mostly names nothing is none."""
        misread = set()
        for rule in ruling.invariants(self.schema, self.references):
            if self._late(rule.words):
                break
            try:
                rows, wrong = self.asked.broken(self.schema, rule)
            except StatementTimeout:
                self.missed[f"{rule.words}: took too long"] = None
                continue
            except (DesignProblem, DataProblem):
                rows, wrong = 1, 1  # the two cannot even be compared
            if rows and wrong > rows * ORPHANS:
                misread.add(rule.reference)
            elif wrong and (not self.only or rule.table in self.only):
                self.broken.append(Broken(invariant=rule, rows=rows, wrong=wrong))
        self.references = [reference for reference in self.references if reference not in misread]
        self.known = {(r.table, r.columns[0]): r for r in self.references if len(r.columns) == 1}

    # --- rounds --------------------------------------------------------------------------------------------------

    def _rows_that_refer(self) -> None:
        paths = links.direct(self.schema, self.references) + links.by_day(self.schema, self.references)
        batches = [(path, thinking.from_rows(self.schema, path, self.known)) for path in paths if self._wanted(path)]
        self._try_all(batches)

    def _through_another(self) -> None:
        """For columns that look derived, and that nothing explains so far."""
        open_ = defaultdict(list)
        for path in links.through(self.schema, self.references):
            if self._wanted(path):
                for idea in thinking.from_rows(self.schema, path, self.known):
                    if not self._explained(idea.table, idea.column):
                        open_[(idea.table, idea.column)].append(idea)
        chosen = [
            idea
            for held in open_.values()
            for idea in sorted(held, key=lambda idea: (-idea.strength, idea.formula))[:THROUGH]
        ]
        chosen.sort(key=_by_path)
        self._try_all([(path, list(held)) for path, held in _grouped(chosen)])

    def _copies_and_parts(self) -> None:
        found = [
            idea
            for reference in [*self.references, *self._found_references()]
            for idea in copying.copies(self.schema, reference, self.known)
            if self._wanted_table(idea.table)
        ]
        for _, held in _grouped(sorted(found, key=_by_path)):
            self._try(held)
        for table in self.schema:
            if self._wanted_table(table.name):
                referring = {name for of, name in self.known if of == table.name}
                self._try(copying.within(table, referring))

    def _found_references(self) -> list[Reference]:
        """Columns that turned out to name the last or the first of the rows."""
        found = []
        for (table, column), held in self.tried.items():
            for t in held:
                path = t.idea.path
                key = self.schema.tables[path.child].key if path else ()
                last = t.idea.kind in (Kind.LAST, Kind.FIRST) and t.idea.measure == key and accepted(t)
                if path and last and (table, column) not in self.known:
                    found.append(
                        Reference(table=table, columns=(column,), to=path.child, to_columns=key, declared=False)
                    )
        return list(dict.fromkeys(found))

    def _try_all(self, batches: Iterable[tuple[Path, list[Idea]]]) -> None:
        """The paths with the best names first: time may end."""
        ranked = sorted(
            ((path, held) for path, held in batches if held), key=lambda item: -max(idea.strength for idea in item[1])
        )
        for path, held in ranked:
            self.progress(f"{path.target}: rows of {path.child}")
            self._conditions(path, self._try(held))

    def _conditions(self, path: Path, tried: list[Tried]) -> None:
        """The same under conditions on the rows; the best of them under one more."""
        hopeful = [t for t in tried if worth_conditions(t)]
        conditions = conditioning.conditions(self.schema, path) if hopeful else []
        for _ in range(TOGETHER):
            fresh = [
                replace(t.idea, filters=(*t.idea.filters, condition))
                for t in hopeful
                for condition in conditions
                if condition.column not in {held.column for held in t.idea.filters}
            ]
            best: dict[tuple[str, Kind, tuple[str, ...], int], list[Tried]] = defaultdict(list)
            for t in self._try(fresh):
                best[(t.idea.column, t.idea.kind, t.idea.measure, t.idea.offset)].append(t)
            before = {(t.idea.column, t.idea.kind, t.idea.measure, t.idea.offset): t for t in hopeful}
            # By how far they are off: of large groups hardly one is right before the last condition is there.
            leading = [(before[key], min(held, key=lambda t: t.figures.off)) for key, held in best.items()]
            hopeful = [new for old, new in leading if new.figures.wrong and new.figures.off < old.figures.off]

    # --- trying --------------------------------------------------------------------------------------------------

    def _try(self, ideas: Sequence[Idea]) -> list[Tried]:
        found: list[Tried] = []
        for at in range(0, len(ideas), AT_ONCE):
            some = ideas[at : at + AT_ONCE]
            if self._late(f"{some[0].table}: {some[0].formula}"):
                break
            found += self._figures(some)
        for tried in found:
            self.tried[(tried.idea.table, tried.idea.column)].append(tried)
        return found

    def _figures(self, ideas: Sequence[Idea]) -> list[Tried]:
        """Figures of ideas about one path; of fewer rows where they take too long."""
        try:
            for size in SAMPLES:
                try:
                    return self._sampled(ideas, size)
                except StatementTimeout:
                    if self._late(f"{ideas[0].table}: {ideas[0].formula}"):
                        return []
            self._too_long(ideas)
        except (DesignProblem, DataProblem) as error:
            if len(ideas) > 1:  # one of them compares what cannot be compared
                middle = len(ideas) // 2
                return self._figures(ideas[:middle]) + self._figures(ideas[middle:])
            if ideas[0].strength is Strength.STRONG:
                self.missed[f"{ideas[0].table}.{ideas[0].column}: {ideas[0].formula}: {error}"] = None
        return []

    def _sampled(self, ideas: Sequence[Idea], size: int) -> list[Tried]:
        table, path = ideas[0].table, ideas[0].path
        on = path.on[0] if path else next(iter(self.schema.tables[table].key), None)
        sample = None
        if on is not None and not (path and path.daily):
            sample = self.asked.sample(self.schema, table, on, size)
        figures = self.asked.figures(self.schema, ideas, sample)
        if sample is not None:
            self.samples[table] = sample.words
        return [Tried(idea=idea, figures=held) for idea, held in zip(ideas, figures, strict=True)]

    def _too_long(self, ideas: Sequence[Idea]) -> None:
        path = ideas[0].path
        for idea in ideas:
            if idea.strength is Strength.STRONG:
                why = "took too long"
                if path and path.by[0] not in self.schema.tables[path.middle or path.child].indexed:
                    why += f"; there is no index on {path.middle or path.child} ({path.by[0]})"
                self.missed[f"{idea.table}.{idea.column}: {idea.formula}: {why}"] = None

    def _late(self, what: str) -> bool:
        """Is the time over? Then what comes is missed."""
        late = self.clock.monotonic() > self.ends
        if late:
            self.missed.setdefault(f"the time was over at {what}", None)
        return late

    # --- the answer ----------------------------------------------------------------------------------------------

    def _wanted(self, path: Path) -> bool:
        return self._wanted_table(path.target)

    def _wanted_table(self, table: str) -> bool:
        return not self.only or table in self.only

    def _explained(self, table: str, column: str) -> bool:
        return any(accepted(t) and t.figures.fit >= 0.9 for t in self.tried[(table, column)])

    def _judged(self, place: tuple[str, str]) -> Proposal | None:
        return judge(self.tried[place], sample=self.samples.get(place[0], ""))

    def _kept(self) -> list[Kept]:
        """Materialised views against their queries."""
        found = []
        for view in self.schema.kept:
            if not self._late(view.name) and not (self.only and view.name not in self.only):
                try:
                    found.append(Kept(view=view, figures=self.asked.kept(view)))
                except (StatementTimeout, DesignProblem, DataProblem) as error:
                    self.missed[f"{view.name}: {error}"] = None
        return found

    def _found(self, shown: str, proposals: list[Proposal], views: list[Kept]) -> Found:
        guesses = [p for p in proposals if p.verdict is Verdict.WRONG_GUESS]
        kept = [p for p in proposals if p.verdict is not Verdict.WRONG_GUESS]
        broken = [
            rule
            for rule in self.broken
            if rule.invariant.rule is not Rule.ORPHANS or rule.invariant.reference in self.references
        ]
        return Found(
            url=shown,
            tables=len(self.schema.tables),
            proposals=sorted(kept, key=_rank),
            wrong_guesses=sorted(guesses, key=lambda p: p.column),
            broken=sorted(broken, key=lambda rule: -rule.wrong),
            kept=views,
            queries={p.column: self.asked.source(self.schema, p.idea) for p in kept},
            missed=list(self.missed),
            schema=self.schema,
            seconds=self.clock.monotonic() - self.began,
        )


def _rank(proposal: Proposal) -> tuple[object, ...]:
    verdicts = (Verdict.DRIFT, Verdict.RIGHT, Verdict.NO_EVIDENCE)
    sure = ("high", "medium", "low")
    return (verdicts.index(proposal.verdict), sure.index(proposal.confidence), -proposal.figures.wrong, proposal.column)


def _by_path(idea: Idea) -> str:
    return repr(idea.path)


def _grouped(ideas: Iterable[Idea]) -> Iterator[tuple[Path, list[Idea]]]:
    """Ideas that are about one path, together; they come in the order of their paths."""
    for _, held in groupby(ideas, key=_by_path):
        some = list(held)
        assert some[0].path is not None
        yield some[0].path, some
