"""Accepted differences: drift that somebody answers for, with a reason and an end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from trueup.core.decide import Decision
from trueup.core.row import Key
from trueup.errors import UsageError
from trueup.job import Job, new_id
from trueup.store.acceptances import Accepted
from trueup.store.records import DecisionRow, RunRow
from trueup.who import Actor


class Accepting:
    """What one run takes as accepted; read once. A rollback takes nothing."""

    def __init__(self, job: Job) -> None:
        columns = job.pair.binding.columns
        applies = job.undoing is None
        self.active = job.acceptances.active(job.name, job.clock.now(), columns) if applies else {}

    def holds(self, decision: Decision) -> bool:
        """Is this difference, by key and both values, an accepted one?"""
        accepted = self.active.get(decision.drift.key)
        return accepted is not None and accepted.holds(decision.drift)

    def others(self, decisions: Sequence[Decision]) -> list[Decision]:
        """Those that nobody accepted."""
        return [decision for decision in decisions if not self.holds(decision)]


def until_of(text: str | date | datetime, now: datetime) -> datetime:
    """The moment at which an acceptance ends: the end of a day, in UTC, or a moment.

    Raises UsageError for anything else, and for what has passed.
    """
    given: date | datetime
    try:
        given = _parsed(text) if isinstance(text, str) else text
    except ValueError:
        raise UsageError(f"until {text!r}: write a day as 2026-12-31, or a moment as 2026-12-31T18:00+01:00") from None
    if isinstance(given, datetime):
        end = given if given.tzinfo else given.replace(tzinfo=UTC)
    else:
        end = datetime.combine(given + timedelta(days=1), time(), UTC)
    if end <= now:
        raise UsageError(f"until {text}: that has passed; a difference is accepted until a day to come")
    return end.astimezone(UTC)


def _parsed(text: str) -> date | datetime:
    return date.fromisoformat(text) if len(text) == len("2026-12-31") else datetime.fromisoformat(text)


def accepted_of(
    run: RunRow,
    decisions: Sequence[DecisionRow],
    asked: Sequence[Sequence[Key]],
    *,
    reason: str,
    owner: str,
    actor: Actor,
    at: datetime,
    until: datetime,
) -> list[Accepted]:
    """The differences that `run` found in the rows asked for, each key in the spellings that it may have.

    Raises UsageError where a row is not wrong, and so nothing is there to accept.
    """
    found = {item.decision.drift.key: item.decision.drift for item in decisions}
    rows = []
    for spellings in asked:
        drift = next((found[key] for key in spellings if key in found), None)
        if drift is None:
            told = ", ".join(map(str, spellings[0]))
            raise UsageError(f"{run.projection}: the row {told} is not wrong now, or that is accepted already")
        rows.append(
            Accepted(
                id=new_id("a"),
                projection=run.projection,
                key=drift.key,
                columns=run.columns,
                expected=drift.expected,
                observed=drift.observed,
                reason=reason,
                owner=owner,
                actor=actor,
                at=at,
                until=until,
            )
        )
    return rows
