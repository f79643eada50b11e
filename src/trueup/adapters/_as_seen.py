"""A backfill: what a row becomes follows from the row alone, so it is written if it still is what that was made of."""

from __future__ import annotations

from trueup.adapters import RowOutcome
from trueup.adapters._outcomes import HeldRow, left, not_held
from trueup.adapters._way import Way
from trueup.core.compare import Suspect
from trueup.core.decide import Action
from trueup.core.row import Key, Values
from trueup.core.states import Outcome


class AsSeen(Way):
    """Compare-and-set on the row alone, under its lock: its values, and its version where the database has one."""

    def absent(self) -> dict[Key, Values]:
        return {}

    def outcome(self, suspect: Suspect, now: HeldRow | None, *, made: bool) -> RowOutcome:  # noqa: ARG002
        return as_seen(self.unit.wait, suspect, now) or not_held(self.unit, suspect)


def as_seen(waited: bool, suspect: Suspect, now: HeldRow | None) -> RowOutcome | None:
    """What becomes of a row that is held; None: it is not. `waited`: a lock was waited for, so it is gone."""
    if now is None:
        return left(suspect, None, Outcome.CAS_LOST, "the row is gone") if waited else None
    if now.values == suspect.expected:
        return left(suspect, now, Outcome.SUPERSEDED, "already right")
    if now.values != suspect.observed or (suspect.token and now.token != suspect.token):
        return left(suspect, now, Outcome.CAS_LOST, "changed since it was read; the next run reads it anew")
    after = suspect.expected
    return RowOutcome(key=suspect.key, outcome=Outcome.APPLIED, action=Action.UPDATE, before=now.values, after=after)
