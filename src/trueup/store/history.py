"""Runs that ended long ago: which of them nothing needs any more, and taking them out of the ledger.

What goes is a run with all that belongs to it: segments, decisions, units, outcomes, lots, hashes, plan, settled calls.
The audit log keeps its lines, gets one that says what was taken out, and is verified as before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa

from trueup.core.states import RESUMABLE, Outcome, RunState, Stage
from trueup.core.told import moment
from trueup.store import schema as t
from trueup.store.coverage import Coverage, batched
from trueup.store.ledger import Ledger
from trueup.store.schema_calls import calls

#: Runs that are taken out in one transaction. Their ids fit into one line of the audit log.
BATCH = 100
#: Ids in one statement.
IDS_MAX = 500
_ENDED = [str(state) for state in RunState if state not in RESUMABLE]


class History:
    """Finds and takes out what ended before a moment."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def old(self, projection: str, before: datetime, now: datetime) -> list[str]:
        """Runs that ended before then and that nothing needs, oldest first; at most BATCH.

        Needed are: a run that known drift, a row in quarantine, an open plan, a call that is not settled or a repair
        transaction of unknown outcome refers to; the last runs of each declaration that later ones go on from, and
        those that say when each part was verified; what a backfill has made or looked at; the plan, the base and the
        undone run of any run that stays; and what has undone it, or it could be undone twice.
        """
        needed = self._needed(projection, before, now)
        gone = t.runs.c.projection == projection, _over(before)
        statement = sa.select(t.runs.c.id).where(*gone).order_by(t.runs.c.started_at, t.runs.c.id)
        with self.ledger.reading() as c:
            return list(islice((run for run in c.execute(statement).scalars() if run not in needed), BATCH))

    def units(self, runs: Collection[str]) -> list[str]:
        """Repair transactions of these runs."""
        with self.ledger.reading() as c:
            return list(c.execute(sa.select(t.units.c.id).where(t.units.c.run.in_(runs))).scalars())

    def forget(self, projection: str, runs: Sequence[str], before: datetime) -> int:
        """Take these runs out, at most BATCH, but for those that a run names which has begun meanwhile; how many. The
        audit log tells which they were.
        """
        with self.ledger.begin() as c:
            c.execute(sa.select(t.runs.c.id).where(t.runs.c.id.in_(runs)).with_for_update())  # see `Ledger.start_run`
            named = {run for statement in _of_young(projection, before) for (run,) in c.execute(statement)}
            runs = [run for run in runs if run not in named]
            if not runs:
                return 0
            plans = sa.select(t.plans.c.id).where(t.plans.c.run.in_(runs))
            lots = sa.select(t.lots.c.id).where(t.lots.c.run.in_(runs))
            told = {"runs": list(runs), "plans": list(c.execute(plans).scalars()), "before": moment(before)}
            self.ledger.audit.stage(c, "history.pruned", told, projection=projection)
            c.execute(t.approvals.delete().where(t.approvals.c.plan.in_(plans)))
            c.execute(t.lot_outcomes.delete().where(t.lot_outcomes.c.lot.in_(lots)))  # of who carried out their plans
            for table in (t.plans, t.outcomes, t.lot_outcomes, t.decisions, t.units, t.lots, t.inputs, t.segments):
                c.execute(table.delete().where(table.c.run.in_(runs)))
            c.execute(calls.delete().where(calls.c.run.in_(runs), calls.c.settled != ""))
            c.execute(t.runs.delete().where(t.runs.c.id.in_(runs)))
        return len(runs)

    def forget_released(self, projection: str, before: datetime) -> None:
        """Rows that were taken out of quarantine before then: nothing is counted from there any more."""
        mine = (t.quarantine.c.projection == projection) & (t.quarantine.c.state == "released")
        with self.ledger.begin() as c:
            c.execute(t.quarantine.delete().where(mine, t.quarantine.c.released_at < before))

    # --- what is needed ----------------------------------------------------------------------------------------------

    def _needed(self, projection: str, before: datetime, now: datetime) -> set[str]:
        needed = {
            run for definition in self._definitions(projection) for run in self._gone_on_from(projection, definition)
        }
        with self.ledger.reading() as c:
            for statement in (*_referring(projection, now), *_of_young(projection, before)):
                needed.update(run for (run,) in c.execute(statement))
            undoing = [(run, undone) for run, undone in c.execute(_undoing(projection))]
            fresh = set(needed)
            while fresh:
                found = {run for run, undone in undoing if undone in fresh}
                for some in batched(sorted(fresh), IDS_MAX):
                    found.update(run for row in c.execute(_named_by(some)) for run in row if run)
                fresh = found - needed
                needed |= fresh
        return needed

    def _definitions(self, projection: str) -> list[str]:
        with self.ledger.reading() as c:
            mine = sa.select(t.runs.c.definition).where(t.runs.c.projection == projection).distinct()
            return list(c.execute(mine).scalars())

    def _gone_on_from(self, projection: str, definition: str) -> set[str]:
        """Runs that the next one under this declaration goes on from, or is held against."""
        coverage = Coverage(self.ledger)
        ends = [
            run for run in (coverage.last(projection, definition), coverage.complete(projection, definition)) if run
        ]
        needed = {run.id for run in ends}
        for base in {run.base or run.id for run in ends}:
            needed |= {base, coverage.listed(base).id, *self._lookers(projection, definition, base)}
        c_ = t.runs.c
        whole = sa.select(c_.id).where(c_.projection == projection, c_.definition == definition)
        whole = (
            whole.where(c_.source_rows.is_not(None), c_.state == RunState.DONE).order_by(c_.ended_at.desc()).limit(1)
        )
        with self.ledger.reading() as c:
            needed.update(c.execute(whole).scalars())
        return needed

    def _lookers(self, projection: str, definition: str, base: str) -> set[str]:
        """Of the runs since `base` that are not in `trueup_covered`: those that looked last at some part."""
        c_, seen = t.runs.c, t.segments.c
        named = (c_.definition == definition) & c_.partitions.is_not(None) & (c_.partitions != "[]")
        since = (c_.id == base) | (c_.base == base) | named
        statement = (
            sa.select(c_.id, seen.span)
            .join(t.segments, seen.run == c_.id)
            .where(c_.adds_to == projection, since, c_.state == RunState.DONE)
            .where(seen.stage == Stage.NARROW, seen.state == "done", seen.span.not_like('{"keys"%'))
            .order_by(c_.started_at, seen.looked_at)
        )
        with self.ledger.reading() as c:
            return set({span: run for run, span in c.execute(statement)}.values())


def _over(before: datetime) -> sa.ColumnElement[bool]:
    """Ended for good before then."""
    ended = sa.func.coalesce(t.runs.c.ended_at, t.runs.c.started_at)
    return t.runs.c.state.in_(_ENDED) & (t.runs.c.started_at < before) & (ended < before)


def _referring(projection: str, now: datetime) -> Iterator[sa.Select[Any]]:
    """What refers to runs of a projection, but for other runs."""
    mine = t.runs.c.projection == projection
    yield sa.select(t.drift.c.run).where(t.drift.c.projection == projection)
    yield sa.select(t.quarantine.c.run).where(t.quarantine.c.projection == projection)
    yield sa.select(calls.c.run).where(calls.c.projection == projection, calls.c.settled == "")
    yield sa.select(t.units.c.run).join(t.runs, t.runs.c.id == t.units.c.run).where(mine, t.units.c.closed_at.is_(None))
    can_be_applied = (t.plans.c.state == "open") & (t.plans.c.expires_at > now)
    yield sa.select(t.plans.c.run).where(t.plans.c.projection == projection, can_be_applied)
    yield sa.select(t.runs.c.id).where(mine).order_by(t.runs.c.started_at.desc()).limit(1)
    backfills = sa.select(t.runs.c.id).where(mine, t.runs.c.revision.is_not(None))
    yield backfills.where(t.runs.c.id.in_(sa.select(t.inputs.c.run)))
    for table in (t.outcomes, t.lot_outcomes):
        yield backfills.where(t.runs.c.id.in_(sa.select(table.c.run).where(table.c.outcome == Outcome.APPLIED)))


def _of_young(projection: str, before: datetime) -> Iterator[sa.Select[Any]]:
    """What runs name that are younger, or have not ended, and what has undone these."""
    young = (t.runs.c.projection == projection) & ~_over(before)
    for name in (t.runs.c.base, t.runs.c.undoes):
        yield sa.select(name).where(young, name.is_not(None)).distinct()
    yield sa.select(t.plans.c.run).join(t.runs, t.runs.c.plan == t.plans.c.id).where(young).distinct()
    undid = sa.alias(t.runs)
    yield sa.select(undid.c.id).join(t.runs, t.runs.c.id == undid.c.undoes).where(young, undid.c.undoes.is_not(None))


def _undoing(projection: str) -> sa.Select[Any]:
    """Runs that undid others, and which."""
    c_ = t.runs.c
    return sa.select(c_.id, c_.undoes).where(c_.projection == projection, c_.undoes.is_not(None))


def _named_by(runs: Collection[str]) -> sa.Select[tuple[str, str | None, str | None, str | None]]:
    """These runs, and those that they name."""
    c_ = t.runs.c
    statement = sa.select(c_.id, c_.base, c_.undoes, t.plans.c.run)
    return statement.outerjoin(t.plans, t.plans.c.id == c_.plan).where(c_.id.in_(runs))
