"""Plans in the ledger, and what people said about them.

Two methods write: `add` when a plan comes to be, `vote` when a person approves or rejects one. That it was applied is
written with the end of the run that did (`Ledger.set_state`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from trueup.core.approval import Facts, Said, Vote
from trueup.core.row import encode_row
from trueup.store import schema as t
from trueup.store.decided import Decided
from trueup.store.ledger import Ledger
from trueup.store.records import RunRow, certainly_utc, utc
from trueup.who import Actor


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanRow:
    """A plan, without its decisions."""

    id: str
    projection: str
    #: The run that decided.
    run: str
    hash: str
    #: `open`, or `applied`.
    state: str
    created_at: datetime
    #: Until when it may be approved, or applied where nobody has to.
    expires_at: datetime
    #: Who asked for it.
    requester: str
    #: Why it is beyond the limits; empty if it is within them.
    beyond: str = ""
    #: Rows that it would change, and of these, delete.
    changes: int = 0
    deletes: int = 0

    def facts(self, needs: int) -> Facts:
        """What decides its state, if `needs` people have to approve it."""
        return Facts(
            hash=self.hash,
            requester=Actor(name=self.requester).person,
            expires_at=self.expires_at,
            needs=needs,
            applied=self.state == "applied",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class VoteRow:
    """What a person said about a plan, why, and from where."""

    vote: Vote
    actor: Actor
    reason: str


class Plans:
    """Reads and writes plans."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def add(
        self,
        plan: str,
        run: RunRow,
        changes: tuple[int, int],
        *,
        hash: str,  # noqa: A002 - as the column
        beyond: str,
        at: datetime,
        expires_at: datetime,
    ) -> PlanRow:
        """A new plan of what `run` decided; `changes`: rows that it would change, and of these, delete."""
        writing, deletes = changes
        row = PlanRow(
            id=plan,
            projection=run.projection,
            run=run.id,
            hash=hash,
            state="open",
            created_at=at,
            expires_at=expires_at,
            requester=run.actor,
            beyond=beyond,
            changes=writing,
            deletes=deletes,
        )
        values = {name: getattr(row, name) for name in row.__slots__}
        facts = {"plan": plan, "plan_hash": row.hash, "beyond": beyond}
        facts |= {"changes": str(writing), "deletes": str(deletes)}
        with self.ledger.begin() as c:
            told = self.ledger.audit.stage(c, "plan.made", facts, run=run.id)
            c.execute(t.plans.insert().values(**values, audit=told))
        return row

    def now_beyond(self, plan: PlanRow, why: str) -> PlanRow:
        """Other runs have used up what was within the limits when the plan was made: somebody has to approve it."""
        with self.ledger.begin() as c:
            self.ledger.audit.stage(c, "plan.beyond", {"plan": plan.id, "reason": why}, projection=plan.projection)
            c.execute(t.plans.update().where(t.plans.c.id == plan.id).values(beyond=why))
        return replace(plan, beyond=why)

    def find(self, plan: str) -> PlanRow | None:
        with self.ledger.reading() as c:
            row = c.execute(sa.select(t.plans).where(t.plans.c.id == plan)).one_or_none()
        return None if row is None else _plan_row(row)

    def newest(self, projection: str | None = None, limit: int = 0) -> list[PlanRow]:
        """Newest first; `limit` 0: all."""
        statement = sa.select(t.plans).order_by(t.plans.c.created_at.desc(), t.plans.c.id)
        if projection is not None:
            statement = statement.where(t.plans.c.projection == projection)
        if limit:
            statement = statement.limit(limit)
        with self.ledger.reading() as c:
            return [_plan_row(row) for row in c.execute(statement)]

    def vote(self, plan: PlanRow, actor: Actor, vote: Vote, reason: str) -> None:
        """A person approves or rejects."""
        facts = {"plan": plan.id, "plan_hash": vote.hash, "reason": reason}
        with self.ledger.begin() as c:
            told = self.ledger.audit.stage(c, f"plan.{vote.said}", facts, projection=plan.projection, actor=actor)
            c.execute(
                t.approvals.insert().values(
                    audit=told,
                    plan=plan.id,
                    hash=vote.hash,
                    said=vote.said,
                    actor=actor.name,
                    actor_by=actor.by,
                    host=actor.host,
                    reason=reason,
                    at=vote.at,
                    expires_at=vote.expires_at,
                )
            )

    def votes(self, plan: str) -> list[VoteRow]:
        """What was said about a plan, in order."""
        statement = sa.select(t.approvals).where(t.approvals.c.plan == plan).order_by(t.approvals.c.id)
        with self.ledger.reading() as c:
            return [_vote_row(row) for row in c.execute(statement)]


def plan_hash(run: RunRow, decided: Decided) -> str:
    """What an approval binds to: the definition, the tables as they were, and every decided row, in order; of lots, the
    texts that are carried out.
    """
    shapes = json.dumps(run.shapes, sort_keys=True)
    digest = hashlib.sha256(f"{run.projection}\n{run.definition}\n{shapes}\n".encode())
    for item in decided.rows:
        drift = item.decision.drift
        row: list[Any] = [
            encode_row(drift.key),
            item.decision.action,
            encode_row(drift.observed),
            encode_row(drift.expected),
            drift.token,
        ]
        digest.update(json.dumps(row).encode() + b"\n")
    for lot in decided.lots:
        content = hashlib.sha256(decided.kept_in.content(lot).content.encode()).hexdigest()
        digest.update(f"{lot.kind} {lot.action} {lot.count} {content}\n".encode())
    return digest.hexdigest()


def _plan_row(row: sa.Row[Any]) -> PlanRow:
    return PlanRow(
        id=row.id,
        projection=row.projection,
        run=row.run,
        hash=row.hash,
        state=row.state,
        created_at=certainly_utc(row.created_at),
        expires_at=utc(row.expires_at) or certainly_utc(row.created_at) + timedelta(days=1),
        requester=row.requester,
        beyond=row.beyond,
        changes=row.changes,
        deletes=row.deletes,
    )


def _vote_row(row: sa.Row[Any]) -> VoteRow:
    actor = Actor(name=row.actor, by=row.actor_by, host=row.host)
    vote = Vote(
        said=Said(row.said),
        person=actor.person,
        hash=row.hash,
        at=certainly_utc(row.at),
        expires_at=certainly_utc(row.expires_at),
    )
    return VoteRow(vote=vote, actor=actor, reason=row.reason)
