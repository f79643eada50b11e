"""A rollback: rows get their before-images back, under the lock, if they still are what was written. The source has no
say, so this is the same whatever the protocol that wrote them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from trueup.adapters import Reader, RowOutcome, Unit
from trueup.adapters._by_issued_version import tombstone_token, with_flag
from trueup.adapters._outcomes import HeldRow, left, not_held, restored
from trueup.adapters._way import Way
from trueup.core.binding import Binding
from trueup.core.compare import Suspect
from trueup.core.row import Key, Kind, Values
from trueup.core.states import Outcome

if TYPE_CHECKING:
    from trueup.adapters._sql import SqlAdapter


class Restoration(Way):
    """Compare-and-set on the row alone: its values, and its version where the database has one."""

    def outcome(self, suspect: Suspect, now: HeldRow | None, *, made: bool) -> RowOutcome:
        return restored(self.unit, suspect, None if made else now)


class RestorationWithTombstones(Restoration):
    """A row that the run made becomes a tombstone, of the version that it has; one that the run deleted comes back in
    place of the very tombstone that the run left.
    """

    def __init__(self, adapter: SqlAdapter, binding: Binding, unit: Unit, source: Reader) -> None:
        super().__init__(adapter, binding, unit, source)
        assert binding.projection.version
        self.version = binding.columns.index(binding.projection.version)
        kinds = (*binding.value_kinds, Kind.BOOLEAN)
        self.binding = replace(binding, target=with_flag(binding.target), value_kinds=kinds)

    def absent(self) -> dict[Key, Values]:
        return {}

    def outcome(self, suspect: Suspect, now: HeldRow | None, *, made: bool) -> RowOutcome:  # noqa: ARG002
        if now is None:
            return not_held(self.unit, suspect)
        shown = self._shown(now.values)
        if shown is None and suspect.observed is None:
            if suspect.token != tombstone_token(now.token, now.values[self.version]):
                return left(suspect, None, Outcome.CAS_LOST, "the tombstone is another one by now")
        elif shown is None:
            return left(suspect, None, Outcome.CAS_LOST, "deleted since it was repaired")
        held = None if shown is None else HeldRow(values=shown, token=now.token)
        outcome = restored(self.unit, suspect, held)
        if outcome.outcome is not Outcome.APPLIED:
            return outcome
        after = (*now.values[:-1], True) if outcome.after is None else (*outcome.after, False)
        return replace(outcome, after=after)

    def told(self, outcome: RowOutcome) -> RowOutcome:
        if outcome.outcome is not Outcome.APPLIED or outcome.after is None:
            return outcome
        shown = self._shown(outcome.after)
        token = outcome.token if shown is not None else tombstone_token(outcome.token, outcome.after[self.version])
        return replace(outcome, after=shown, token=token)

    @staticmethod
    def _shown(row: Values) -> Values | None:
        """A row as everybody else sees it: a tombstone is none."""
        return None if row[-1] else row[:-1]
