"""A row is written only over an older version, which the source issued, or over the same version with other content.

The source may be read at any time: what was read late loses to what is newer, so nothing has to be excluded. Deleted
rows stay as tombstones, so that an older message does not bring them back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from trueup.adapters import Reader, RowOutcome, Unit
from trueup.adapters._outcomes import HeldRow, left, not_held, read_source
from trueup.adapters._way import Way
from trueup.core.binding import Binding, BoundSide
from trueup.core.compare import DriftKind, Suspect
from trueup.core.decide import Action, action_for
from trueup.core.row import Key, Kind, Value, Values
from trueup.core.states import Outcome
from trueup.core.versions import ahead, newer

if TYPE_CHECKING:
    from trueup.adapters._sql import SqlAdapter


class ByIssuedVersion(Way):
    """Rows are held here with a last value that says whether they are deleted: on both sides, tombstones are rows."""

    def __init__(self, adapter: SqlAdapter, binding: Binding, unit: Unit, source: Reader) -> None:
        super().__init__(adapter, binding, unit, source)
        self.kept = binding.target.tombstone is not None
        assert binding.version is not None
        self.version: int = binding.version
        if self.kept:
            flagged = (*binding.value_kinds, Kind.BOOLEAN)
            self.binding = replace(binding, target=with_flag(binding.target), value_kinds=flagged)
        self._declared = binding

    def prepare(self) -> None:
        flagged = self._declared.source.tombstone is not None
        side = with_flag(self._declared.source) if flagged else self._declared.source
        kinds = self.binding.value_kinds if flagged else self._declared.value_kinds
        rows = read_source(self.source, replace(self._declared, source=side, value_kinds=kinds), self.keys)
        if self.kept:  # a row that is no tombstone is written as none, whatever the target's default
            flags = {key: flagged and bool(values[-1]) for key, values in rows.items()}
            width = len(self._declared.target.values)
            rows = {key: (*values[:width], flags[key]) for key, values in rows.items()}
        self.expected = rows

    def absent(self) -> dict[Key, Values]:
        wanted = {suspect.key for suspect in self.unit.drift if suspect.observed is None and not self.unit.withdraw}
        return {key: row for key, row in self.expected.items() if key in wanted and not self._deleted(row)}

    def outcome(self, suspect: Suspect, now: HeldRow | None, *, made: bool) -> RowOutcome:
        issued = self.expected.get(suspect.key)
        if now is None:
            if suspect.observed is not None:
                return not_held(self.unit, suspect)
            return left(suspect, None, Outcome.SUPERSEDED, "deleted in the source since it was judged")
        if made:
            return self._written(suspect, None, issued, Action.INSERT)
        if issued is None:
            return self._source_is_gone(suspect, now)
        if issued[self.version] is None:
            return self._left(suspect, now, Outcome.CAS_LOST, "the source row has no version")
        if why := ahead(issued, now.values, self.version):
            return self._left(suspect, now, Outcome.CAS_LOST, why)
        if self._same(issued, now.values):
            return self._left(suspect, now, Outcome.SUPERSEDED, "already right")
        if self.unit.as_planned and (self._shown(now.values), self._shown(issued)) != (
            suspect.observed,
            suspect.expected,
        ):
            return self._left(suspect, now, Outcome.CAS_LOST, "not what the plan was made on")
        if self._deleted(issued):
            tombstone = (*now.values[: self.version], issued[self.version], *now.values[self.version + 1 : -1], True)
            return self._removed(suspect, now, tombstone)
        missing = self._deleted(now.values)
        action = action_for(DriftKind.MISSING if missing else DriftKind.DIFFERENT, self.binding.projection)
        if action is Action.REPORT:
            return self._left(suspect, now, Outcome.CAS_LOST, "the policy only reports what it is now")
        return self._written(suspect, now, issued, Action.INSERT if missing else Action.UPDATE)

    def _source_is_gone(self, suspect: Suspect, now: HeldRow) -> RowOutcome:
        """The source does not say at which version: only the row that was looked at before the source is removed."""
        if self._deleted(now.values):
            return self._left(suspect, now, Outcome.SUPERSEDED, "already deleted")
        if suspect.kind is not DriftKind.EXTRA:
            return self._left(suspect, now, Outcome.CAS_LOST, "its source row went away since it was judged")
        if self._shown(now.values) != suspect.observed:
            return self._left(suspect, now, Outcome.CAS_LOST, "the row moved on")
        return self._removed(suspect, now, (*now.values[:-1], True) if self.kept else None)

    def _removed(self, suspect: Suspect, now: HeldRow, tombstone: Values | None) -> RowOutcome:
        may = self.unit.withdraw or action_for(DriftKind.EXTRA, self.binding.projection) is Action.DELETE
        if not may:
            return self._left(suspect, now, Outcome.CAS_LOST, "the policy only reports what it is now (extra)")
        return self._written(suspect, now, tombstone, Action.DELETE)

    def _written(self, suspect: Suspect, now: HeldRow | None, after: Values | None, action: Action) -> RowOutcome:
        before = None if now is None else now.values
        return RowOutcome(key=suspect.key, outcome=Outcome.APPLIED, action=action, before=before, after=after)

    def _left(self, suspect: Suspect, now: HeldRow, outcome: Outcome, why: str) -> RowOutcome:
        if self._deleted(now.values):
            why = f"{why} (a tombstone)"
        return left(suspect, now, outcome, why)

    def _same(self, issued: Values, held: Values) -> bool:
        if newer(issued[self.version], held[self.version]):
            return False
        return self._shown(issued) == self._shown(held)

    def _deleted(self, row: Values) -> bool:
        return self.kept and bool(row[-1])

    def _shown(self, row: Values | None) -> Values | None:
        """A row as everybody else sees it: a tombstone is none."""
        if row is None or self._deleted(row):
            return None
        return row[:-1] if self.kept else row

    def told(self, outcome: RowOutcome) -> RowOutcome:
        token = outcome.token
        if self.kept and outcome.after is not None and self._deleted(outcome.after):
            token = tombstone_token(token, outcome.after[self.version])
        return replace(outcome, before=self._shown(outcome.before), after=self._shown(outcome.after), token=token)


def tombstone_token(token: str, version: Value) -> str:
    """What tells a tombstone from another one of the same row: the row's version, or else the one it was issued."""
    return token or f"v{version}"


def with_flag(side: BoundSide) -> BoundSide:
    """A side whose tombstones are rows like others, with a last value that tells them."""
    assert side.tombstone is not None
    return replace(side, values=(*side.values, side.tombstone), tombstone=None)
