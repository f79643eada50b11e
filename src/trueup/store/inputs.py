"""What backfills need not look at again: rows that they left as they are, and rows that they have made.

Of the former the hashes are kept, those of a segment in one row of the ledger; of the latter the ledger has the images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import sqlalchemy as sa

from trueup.core import plan
from trueup.core.row import Key, encode_row
from trueup.core.states import Outcome
from trueup.store import schema as t
from trueup.store.lots import Lots
from trueup.store.records import row_or_none

#: Bytes of a hash.
WIDTH = 16


def put_unchanged(c: sa.Connection, run: str, span: plan.Segment, hashes: bytes) -> None:
    """Keep what a backfill leaves as it is, in the transaction in which the segment is committed."""
    if hashes:
        c.execute(t.inputs.insert().values(run=run, span=json.dumps(plan.to_json(span)), hashes=hashes))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    """A lot that was written."""

    lot: int
    span: plan.Segment
    left: frozenset[Key]


class Inputs:
    """What is known of the rows of one backfill, under one revision. `hashed`: what a row is known by."""

    def __init__(
        self,
        reading: Callable[[], AbstractContextManager[sa.Connection]],
        lots: Lots,
        projection: str,
        revision: str,
        definition: str,
        hashed: Callable[[Sequence[object]], bytes],
    ) -> None:
        self._reading = reading
        self._lots = lots
        self._mine = (t.runs.c.projection == projection) & (t.runs.c.revision == revision)
        self._as_defined = self._mine & (t.runs.c.definition == definition)
        self._hashed = hashed

    def of(self, segment: plan.Segment) -> Collection[bytes]:
        """Hashes of rows that may be in `segment`: left as they are under this very definition, or made under the
        revision, whatever the code was.
        """
        found: set[bytes] = set()
        for hashes in self._unchanged(segment):
            found.update(hashes[at : at + WIDTH] for at in range(0, len(hashes), WIDTH))
        for made in self._made(segment):
            lot = self._lots.content(self._lots.find(made.lot))
            found.update(
                self._hashed((*row.key, *(row.expected or ()))) for row in lot.rows() if row.key not in made.left
            )
        found.update(self._hashed(row) for row in self._one_by_one(segment))
        return found

    def _unchanged(self, segment: plan.Segment) -> list[bytes]:
        of = sa.select(t.inputs.c.span, t.inputs.c.hashes).join(t.runs, t.runs.c.id == t.inputs.c.run)
        with self._reading() as c:
            spans = c.execute(sa.select(t.inputs.c.id, t.inputs.c.span).join(t.runs).where(self._as_defined)).all()
            wanted = [row.id for row in spans if plan.overlap(plan.from_json(json.loads(row.span)), segment)]
            return [row.hashes for row in c.execute(of.where(t.inputs.c.id.in_(wanted)))] if wanted else []

    def _made(self, segment: plan.Segment) -> list[_Made]:
        done = t.lot_outcomes
        statement = (
            sa.select(done.c.lot, done.c.left_out, t.segments.c.span)
            .join(t.runs, t.runs.c.id == done.c.run)
            .join(t.lots, t.lots.c.id == done.c.lot)
            .join(t.segments, t.segments.c.id == t.lots.c.segment)
            .where(self._mine, t.runs.c.undoes.is_(None), done.c.outcome == Outcome.APPLIED)
        )
        with self._reading() as c:
            rows = [
                _Made(
                    lot=row.lot,
                    span=plan.from_json(json.loads(row.span)),
                    left=frozenset(row_or_none(json.dumps(key)) or () for key in json.loads(row.left_out)),
                )
                for row in c.execute(statement)
            ]
        return [row for row in rows if plan.overlap(row.span, segment)]

    def _one_by_one(self, segment: plan.Segment) -> list[tuple[object, ...]]:
        """Rows that were written by themselves, as they were made."""
        done = t.outcomes
        statement = sa.select(done.c.key, done.c.after).join(t.runs, t.runs.c.id == done.c.run)
        statement = statement.where(self._mine, t.runs.c.undoes.is_(None), done.c.outcome == Outcome.APPLIED)
        if isinstance(segment, plan.Keys):
            statement = statement.where(done.c.key.in_([json.dumps(encode_row(key)) for key in segment.keys]))
        with self._reading() as c:
            rows = c.execute(statement.where(done.c.after.is_not(None))).all()
        return [(*(row_or_none(row.key) or ()), *(row_or_none(row.after) or ())) for row in rows]
