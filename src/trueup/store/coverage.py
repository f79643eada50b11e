"""What was read when: what a later run may take as unchanged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from trueup.core import plan
from trueup.core.again import Verified
from trueup.core.compare import Counts
from trueup.core.partition import Slice
from trueup.core.row import Key
from trueup.core.states import RunState, Stage
from trueup.store import schema as t
from trueup.store.ledger import Ledger
from trueup.store.records import RunRow, run_row, utc


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

    def verified(self, base: str) -> list[Verified]:
        """The segments of the run `base`, which read everything, and when each was last compared completely.

        A partition that appeared since is verified from the run that first read it.
        """
        of_base = (t.runs.c.id == base) | ((t.runs.c.base == base) & (t.runs.c.state == RunState.DONE))
        statement = (
            sa.select(t.segments.c.run, t.segments.c.span, t.segments.c.looked_at)
            .join(t.runs, t.runs.c.id == t.segments.c.run)
            .where(of_base, t.segments.c.stage == Stage.NARROW, t.segments.c.state == "done")
            .where(t.segments.c.span.not_like('{"keys"%'))
            .order_by(t.segments.c.id)
        )
        mine: dict[Slice | None, list[Verified]] = {}
        later: dict[str, dict[Slice | None, list[Verified]]] = {}
        with self.ledger.reading() as c:
            for run, text, at in c.execute(statement):
                span, moment = plan.from_json(json.loads(text)), utc(at)
                assert moment is not None
                runs = mine if run == base else later.setdefault(run, {})
                runs.setdefault(plan.partition_of(span), []).append(Verified(span=span, looked_at=moment))
        for read in later.values():
            for part, pieces in read.items():
                mine[part] = [_renewed(one, pieces) for one in mine[part]] if part in mine else pieces
        return [one for part in mine.values() for one in part]


def _renewed(one: Verified, pieces: Sequence[Verified]) -> Verified:
    """A segment with the moment at which these pieces covered it; as it was if they do not."""
    at = plan.covered_by(one.span, [piece.span for piece in pieces])
    if not at:
        return one
    return replace(one, looked_at=max(one.looked_at, min(pieces[number].looked_at for number in at)))
