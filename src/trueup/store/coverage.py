"""What was read when: what a later run may take as unchanged."""

from __future__ import annotations

import json
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

    def spans(self, run: str) -> list[plan.Segment]:
        """What a run has narrowed."""
        statement = sa.select(t.segments.c.span).where(t.segments.c.run == run, t.segments.c.stage == Stage.NARROW)
        with self.ledger.reading() as c:
            return [plan.from_json(json.loads(span)) for span in c.execute(statement).scalars()]

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

    def unsettled(self, run: str) -> list[Key]:
        """Keys that a run looked at closer and, some of them, left while they were still moving."""
        statement = sa.select(t.segments.c.span, t.segments.c.counts).where(
            t.segments.c.run == run, t.segments.c.stage != Stage.NARROW, t.segments.c.counts.is_not(None)
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
            .where(*(column.is_(None) for column in (c_["keys"], c_.base, c_.plan, c_.undoes)))
            .where(c_.partitions.is_(None) | (c_.partitions == "[]"))
            .order_by(c_.started_at.desc())
            .limit(1)
        )
        with self.ledger.reading() as c:
            row = c.execute(statement).one_or_none()
        return None if row is None else run_row(row)

    def listed(self, base: str) -> RunRow:
        """The last run, `base` or one after it, that looked up which parts there are."""
        mine = (t.runs.c.id == base) | ((t.runs.c.base == base) & _ANSWERED)
        statement = sa.select(t.runs).where(mine).order_by(t.runs.c.started_at.desc()).limit(1)
        with self.ledger.reading() as c:
            return run_row(c.execute(statement).one())

    def verified(self, base: str) -> list[Verified]:
        """The segments of the run `base`, which read everything, and when each was last compared completely.

        A partition that appeared since is verified from the run that first read it.
        """
        first, c_ = sa.alias(t.runs), t.runs.c
        same = (c_.projection == first.c.projection) & (c_.definition == first.c.definition)
        named = same & (c_.started_at >= first.c.started_at) & c_.partitions.is_not(None) & (c_.partitions != "[]")
        statement = (
            sa.select(t.segments.c.run, t.segments.c.span, t.segments.c.looked_at)
            .join(t.runs, c_.id == t.segments.c.run)
            .join(first, first.c.id == base)
            .where((c_.id == base) | (((c_.base == base) | named) & _ANSWERED))
            .where(t.segments.c.stage == Stage.NARROW, t.segments.c.state == "done")
            .where(t.segments.c.span.not_like('{"keys"%'))
            .order_by(t.segments.c.id)
        )
        read: dict[str, dict[plan.Segment, datetime]] = {base: {}}
        spans: dict[str, plan.Segment] = {}
        with self.ledger.reading() as c:
            for run, text, at in c.execute(statement):
                if text not in spans:
                    spans[text] = plan.from_json(json.loads(text))
                read.setdefault(run, {})[spans[text]] = certainly_utc(at)
        known = read.pop(base)
        for later in read.values():
            renew(known, later)
        return [Verified(span=span, looked_at=at) for span, at in known.items()]


#: Runs whose answer holds for what they read.
_ANSWERED = (t.runs.c.state == RunState.DONE) & t.runs.c.verdict.in_((Verdict.IN_SYNC, Verdict.DRIFT, Verdict.REPAIRED))
