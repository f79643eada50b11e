"""What was read when: what a later run may take as unchanged."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime

import sqlalchemy as sa

from trueup.core import plan
from trueup.core.again import Verified
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

    def verified(self, base: str) -> list[Verified]:
        """The segments of the run `base`, which read everything, and when each was last compared."""
        of_base = (t.runs.c.id == base) | ((t.runs.c.base == base) & (t.runs.c.state == RunState.DONE))
        statement = (
            sa.select(t.segments.c.run, t.segments.c.span, t.segments.c.looked_at)
            .join(t.runs, t.runs.c.id == t.segments.c.run)
            .where(of_base, t.segments.c.stage == Stage.NARROW, t.segments.c.state == "done")
        )
        looked_at: dict[str, datetime] = {}
        read: Counter[str] = Counter()
        mine: list[str] = []
        with self.ledger.reading() as c:
            for run, span, at in c.execute(statement):
                moment = utc(at)
                assert moment is not None
                looked_at[span] = max(moment, looked_at.get(span, moment))
                read[span] += run != base
                mine += [span] if run == base else []
        return [
            Verified(span=plan.from_json(json.loads(span)), looked_at=looked_at[span], again=read[span])
            for span in mine
        ]
