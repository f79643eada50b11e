"""What was read when: what a later run may take as unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from trueup.core import plan
from trueup.core.again import Verified, renew
from trueup.core.compare import Counts
from trueup.core.freshness import Freshness, freshness
from trueup.core.partition import Slice
from trueup.core.projection import Projection
from trueup.core.row import Key
from trueup.core.states import RunState, Stage, Verdict
from trueup.store import schema as t
from trueup.store.ledger import Ledger
from trueup.store.records import RunRow, certainly_utc, run_row

#: Runs named in one statement.
AT_ONCE = 500


class Coverage:
    """Reads from the ledger what complete runs have covered."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def last(self, projection: str, definition: str) -> RunRow | None:
        """The last run that ended well and left marks: it read everything, or what had changed since such a run."""
        statement = (
            sa.select(t.runs)
            .where(
                t.runs.c.projection == projection,
                t.runs.c.definition == definition,
                t.runs.c.state == RunState.DONE,
                t.runs.c.marks.is_not(None),
            )
            .order_by(t.runs.c.started_at.desc())
            .limit(1)
        )
        with self.ledger.reading() as c:
            row = c.execute(statement).one_or_none()
        return None if row is None else run_row(row)

    def declared_otherwise(self, last: RunRow) -> str:
        """A run after this one that was declared otherwise: it has told by its own rules what is wrong. Empty: none."""
        c_ = t.runs.c
        statement = (
            sa.select(c_.id)
            .where(c_.projection == last.projection, c_.definition != last.definition, c_.undoes.is_(None))
            .where(c_.state.in_((RunState.DONE, RunState.REFUSED)), c_.started_at > last.started_at)
            .limit(1)
        )
        with self.ledger.reading() as c:
            return c.execute(statement).scalar() or ""

    def spans(self, run: str) -> Iterator[plan.Segment]:
        """What a run has narrowed, each part put together when it is asked for."""
        mine = (t.segments.c.run == run) & (t.segments.c.stage == Stage.NARROW)
        with self.ledger.reading() as c:
            texts = c.execute(sa.select(t.segments.c.span).where(mine).order_by(t.segments.c.id)).scalars().all()
        return map(_span, texts)

    def shapes(self, projection: str, definition: str) -> dict[str, Any] | None:
        """What both sides looked like at the last complete run over all keys under this definition."""
        text = self._of_last_whole(t.runs.c.shapes, projection, definition)
        return None if text is None else json.loads(text)

    def parts(self, run: str) -> list[tuple[plan.Segment, Counts]]:
        """What a run counted in each partition, or in each segment that it did not look up key by key."""
        statement = sa.select(t.segments.c.span, t.segments.c.counts).where(
            t.segments.c.run == run,
            t.segments.c.stage == Stage.NARROW,
            t.segments.c.state == "done",
            t.segments.c.span.not_like('{"keys"%'),
        )
        found: dict[Slice | int, tuple[plan.Segment, Counts]] = {}
        with self.ledger.reading() as c:
            for at, (text, counts) in enumerate(c.execute(statement)):
                span = plan.from_json(json.loads(text))
                part = plan.partition_of(span)
                whole = span if part is None else plan.Everything(partition=part)
                _, total = found.setdefault(at if part is None else part, (whole, Counts()))
                total += Counts(**json.loads(counts))
        return list(found.values())

    def last_source_rows(self, projection: str, definition: str) -> int | None:
        """Source rows at the last complete run over all keys under this definition."""
        rows = self._of_last_whole(t.runs.c.source_rows, projection, definition)
        return None if rows is None else int(rows)

    def _of_last_whole(self, column: sa.Column[Any], projection: str, definition: str) -> Any:
        """A column of the last complete run over all keys under a definition; None: there was none."""
        statement = (
            sa.select(column)
            .where(
                t.runs.c.projection == projection,
                t.runs.c.definition == definition,
                t.runs.c.source_rows.is_not(None),
                t.runs.c.state == RunState.DONE,
                *(t.runs.c[name].is_(None) for name in t.WHOLE),
            )
            .order_by(t.runs.c.ended_at.desc())
            .limit(1)
        )
        with self.ledger.reading() as c:
            return c.execute(statement).scalar()

    def tallies(self, run: str) -> dict[str, int]:
        """Sum of what confirming tallied: resolved, in_flight."""
        total: dict[str, int] = {}
        with self.ledger.reading() as c:
            for text in c.execute(
                sa.select(t.segments.c.counts).where(
                    t.segments.c.run == run, t.segments.c.stage == Stage.CONFIRM, t.segments.c.counts.is_not(None)
                )
            ).scalars():
                for name, count in json.loads(text).items():
                    total[name] = total.get(name, 0) + count
        return total

    def in_turn(self, run: str) -> Counts:
        """What a run counted in the segments that it did not look up key by key."""
        statement = sa.select(t.segments.c.counts).where(
            t.segments.c.run == run,
            t.segments.c.stage == Stage.NARROW,
            t.segments.c.state == "done",
            t.segments.c.span.not_like('{"keys"%'),
        )
        found = Counts()
        with self.ledger.reading() as c:
            for counts in c.execute(statement).scalars():
                found += Counts(**json.loads(counts))
        return found

    def fell_short(self, last: RunRow) -> str:
        """A run after this one that read everything, and does not know all that is wrong. Empty: none."""
        c_ = t.runs.c
        statement = (
            sa.select(c_.id)
            .where(c_.projection == last.projection, c_.definition == last.definition, c_.marks.is_(None))
            .where(*(c_[name].is_(None) for name in t.WHOLE), c_.partitions.is_(None))
            .where(c_.state.in_((RunState.DONE, RunState.REFUSED)), c_.started_at > last.started_at)
            .limit(1)
        )
        with self.ledger.reading() as c:
            return c.execute(statement).scalar() or ""

    def unsettled(self, last: RunRow) -> list[Key]:
        """Keys that this run or a later one looked at closer and, some of them, left while they were still moving."""
        c_ = t.runs.c
        statement = (
            sa.select(t.segments.c.span, t.segments.c.counts)
            .join(t.runs, c_.id == t.segments.c.run)
            .where(c_.projection == last.projection, c_.started_at >= last.started_at)
            .where(t.segments.c.stage != Stage.NARROW, t.segments.c.counts.is_not(None))
        )
        found: list[Key] = []
        with self.ledger.reading() as c:
            for row in c.execute(statement):
                span = plan.from_json(json.loads(row.span))
                if json.loads(row.counts).get("in_flight") and isinstance(span, plan.Keys):
                    found += span.keys
        return found

    def freshness(self, projection: Projection, definition: str, now: datetime) -> Freshness:
        """Since when the oldest part of a projection has not been verified."""
        base = self.complete(projection.name, definition)
        if base is None:
            return Freshness(fresh=projection.fresh)
        return freshness(
            self.verified(base.id),
            listed=self.listed(base.id).started_at,
            partition=projection.partition,
            fresh=projection.fresh,
            now=now,
        )

    def complete(self, projection: str, definition: str) -> RunRow | None:
        """The last run that compared all rows, or all closed buckets of time; None: there is none."""
        c_ = t.runs.c
        aside = sa.select(t.segments.c.id).where(t.segments.c.run == c_.id, t.segments.c.state == "aside").exists()
        statement = (
            sa.select(t.runs)
            .where(c_.projection == projection, c_.definition == definition, _ANSWERED, ~aside)
            .where(*(c_[name].is_(None) for name in t.WHOLE))
            .where(c_.partitions.is_(None) | (c_.partitions == "[]"))
            .order_by(c_.started_at.desc())
            .limit(1)
        )
        with self.ledger.reading() as c:
            row = c.execute(statement).one_or_none()
        return None if row is None else run_row(row)

    def listed(self, base: str) -> RunRow:
        """The last run, `base` or one after it, that looked up which parts there are."""
        after = sa.select(t.runs).where(t.runs.c.base == base, _ANSWERED).order_by(t.runs.c.started_at.desc()).limit(1)
        with self.ledger.reading() as c:
            row = c.execute(after).one_or_none() or c.execute(sa.select(t.runs).where(t.runs.c.id == base)).one()
        return run_row(row)

    def verified(self, base: str) -> list[Verified]:
        """The segments of the run `base`, which read everything, and when each was last compared completely.

        A partition that appeared since is verified from the run that first read it.
        """
        with self.ledger.reading() as c:
            return self._known(c, base).verified()

    def gathered(self, base: str) -> list[Verified]:
        """The same; and what runs have read since is written down with `base`, so that it is not put together again.

        Only for who holds the projection: no such run goes on meanwhile.
        """
        with self.ledger.begin() as c:
            known = self._known(c, base)
            if known.later:
                self._keep(c, base, known)
        return known.verified()

    def _known(self, c: sa.Connection, base: str) -> _Known:
        statement = sa.select(t.covered).where(t.covered.c.base == base).order_by(t.covered.c.id)
        kept = {_span(row.span): (int(row.id), certainly_utc(row.looked_at)) for row in c.execute(statement)}
        read_at = {span: at for span, (_, at) in kept.items()}
        known = _Known(kept=kept, read_at=read_at or self._read(c, [base]).get(base, {}), later=self._later(c, base))
        read = self._read(c, known.later)
        for run in known.later:
            renew(known.read_at, read.get(run, {}))
        return known

    def _later(self, c: sa.Connection, base: str) -> list[str]:
        """Runs that read a part after `base`, in order, but for those of which that is kept with it."""
        first, c_ = sa.alias(t.runs), t.runs.c
        same = (c_.adds_to == first.c.projection) & (c_.definition == first.c.definition) & _ANSWERED
        named = (c_.started_at >= first.c.started_at) & c_.partitions.is_not(None) & (c_.partitions != "[]")
        statement = sa.select(c_.id).join(first, first.c.id == base).where(same, (c_.base == base) | named)
        return list(c.execute(statement.order_by(c_.started_at, c_.id)).scalars())

    def _read(self, c: sa.Connection, runs: Sequence[str]) -> dict[str, dict[plan.Segment, datetime]]:
        """What each of these runs has compared completely, and when; not what it looked up key by key."""
        read: dict[str, dict[plan.Segment, datetime]] = {}
        for some in batched(runs, AT_ONCE):
            statement = (
                sa.select(t.segments.c.run, t.segments.c.span, t.segments.c.looked_at)
                .where(t.segments.c.run.in_(some), t.segments.c.stage == Stage.NARROW, t.segments.c.state == "done")
                .where(t.segments.c.span.not_like('{"keys"%'))
                .order_by(t.segments.c.id)
            )
            for run, text, at in c.execute(statement):
                read.setdefault(run, {})[_span(text)] = certainly_utc(at)
        return read

    def _keep(self, c: sa.Connection, base: str, known: _Known) -> None:
        if not known.kept:  # what was read before this run is of no use any more
            self._forget_before(c, base)
        new = [(span, at) for span, at in known.read_at.items() if span not in known.kept]
        if new:
            rows = [{"base": base, "span": json.dumps(plan.to_json(span)), "looked_at": at} for span, at in new]
            c.execute(t.covered.insert(), rows)
        moved = [{"kept": id_, "at": known.read_at[s]} for s, (id_, at) in known.kept.items() if at != known.read_at[s]]
        if moved:
            mine = t.covered.c.id == sa.bindparam("kept")
            c.execute(t.covered.update().where(mine).values(looked_at=sa.bindparam("at")), moved)
        for some in batched(known.later, AT_ONCE):
            c.execute(t.runs.update().where(t.runs.c.id.in_(some)).values(adds_to=None))

    def _forget_before(self, c: sa.Connection, base: str) -> None:
        run = run_row(c.execute(sa.select(t.runs).where(t.runs.c.id == base)).one())
        bases = sa.select(t.runs.c.id).where(t.runs.c.projection == run.projection, t.runs.c.id != base)
        c.execute(t.covered.delete().where(t.covered.c.base.in_(bases)))
        old = (t.runs.c.adds_to == run.projection) & (t.runs.c.started_at < run.started_at)
        c.execute(t.runs.update().where(old).values(adds_to=None))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """What is known of the parts of a projection since a run that read all of them."""

    #: Part -> the row that keeps it, and when it was last read as of then; empty: none is kept yet.
    kept: dict[plan.Segment, tuple[int, datetime]]
    #: Part -> when it was last read.
    read_at: dict[plan.Segment, datetime]
    #: Runs that are in `read_at` and not in `kept`.
    later: list[str]

    def verified(self) -> list[Verified]:
        return [Verified(span=span, looked_at=at) for span, at in self.read_at.items()]


def batched(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for at in range(0, len(items), size):
        yield items[at : at + size]


def _span(text: str) -> plan.Segment:
    return plan.from_json(json.loads(text))


#: Runs whose answer holds for what they read.
_ANSWERED = (t.runs.c.state == RunState.DONE) & t.runs.c.verdict.in_((Verdict.IN_SYNC, Verdict.DRIFT, Verdict.REPAIRED))
