"""What becomes of a row that a unit looks at, whatever its database: decided by the source as it is now, by the row as
it is held, and by the policy. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from trueup.adapters import Reader, RowOutcome, Unit, delivered
from trueup.core.binding import Binding
from trueup.core.compare import DriftKind, Suspect
from trueup.core.decide import WRITES, Action, decide_now
from trueup.core.plan import Keys
from trueup.core.quiet import young
from trueup.core.row import Batch, Key, Values, decode_row, encode_row
from trueup.core.states import Outcome
from trueup.core.versions import ahead
from trueup.errors import DesignProblem


@dataclass(kw_only=True, slots=True)
class HeldRow:
    """A target row as the unit holds it."""

    values: Values
    token: str


def decided(binding: Binding, unit: Unit, suspect: Suspect, now: HeldRow | None, expected: Values | None) -> RowOutcome:
    """What to do with a row that is held, given what the source says now."""
    before = None if now is None else now.values
    if binding.version is not None and (why := ahead(expected, before, binding.version)):
        return left(suspect, now, Outcome.CAS_LOST, why)
    action, after = decide_now(expected, before, binding.absent, binding.projection, binding.rules)
    if action is not None and expected is None and suspect.kind is not DriftKind.EXTRA:
        # The limits judged a row with a source. Taking it away is another decision, and another run's.
        return left(suspect, now, Outcome.CAS_LOST, "its source row went away since it was judged")
    if action is None:
        return left(suspect, now, Outcome.SUPERSEDED, "already right")
    planned = (suspect.observed, suspect.expected)
    if unit.as_planned and (before, binding.absent if expected is None else expected) != planned:
        return left(suspect, now, Outcome.CAS_LOST, "not what the plan was made on")
    if action not in WRITES:
        return left(suspect, now, Outcome.CAS_LOST, f"nothing is written about what it is now ({action})")
    after = None if action is Action.DELETE else after
    return RowOutcome(key=suspect.key, outcome=Outcome.APPLIED, action=action, before=before, after=after)


def withdrawn(suspect: Suspect, now: HeldRow | None, expected: Values | None) -> RowOutcome:
    """Take back a row that we inserted, if it is still ours: its source row went away meanwhile."""
    if now is None or now.values != suspect.observed:
        return left(suspect, now, Outcome.CAS_LOST, "the row moved on", busy=now is None)
    if expected is not None:
        return left(suspect, now, Outcome.SUPERSEDED, "its source row is back")
    evidence = "inserted by this run; the source row went away meanwhile"
    return RowOutcome(
        key=suspect.key, outcome=Outcome.APPLIED, action=Action.DELETE, before=now.values, evidence=evidence
    )


def restored(unit: Unit, suspect: Suspect, now: HeldRow | None) -> RowOutcome:
    """Give a row that is held its before-image back, if it still is what was written."""
    observed = None if now is None else now.values
    if now is None and suspect.observed is not None and not (unit.wait and suspect.expected is None):
        return not_held(unit, suspect)
    if observed == suspect.expected:
        return left(suspect, now, Outcome.SUPERSEDED, "it is back already")
    same_version = now is None or not suspect.token or now.token == suspect.token
    if observed != suspect.observed or not same_version:
        return left(suspect, now, Outcome.CAS_LOST, "changed since it was repaired")
    action = Action.DELETE if suspect.expected is None else Action.INSERT if now is None else Action.UPDATE
    return RowOutcome(key=suspect.key, outcome=Outcome.APPLIED, action=action, before=observed, after=suspect.expected)


def not_held(unit: Unit, suspect: Suspect) -> RowOutcome:
    """A row that was there when it was judged could not be locked; after a wait for its lock it is known to be gone."""
    if unit.wait:
        return left(suspect, None, Outcome.CAS_LOST, "the row is gone")
    return left(suspect, None, Outcome.CAS_LOST, "the row is locked by the application, or gone", busy=True)


def left(suspect: Suspect, now: HeldRow | None, outcome: Outcome, why: str, *, busy: bool = False) -> RowOutcome:
    before = None if now is None else now.values
    return RowOutcome(key=suspect.key, outcome=outcome, before=before, evidence=why, busy=busy)


class Arrivals:
    """Which keys are repaired where increments are late by a declared bound at most: those whose events are all older,
    by the source's clock as it is when this is made. Made before the target is read, asked after the source was.
    """

    def __init__(self, binding: Binding, source: Reader) -> None:
        self.binding = binding
        self.source = source
        self.now = source.happened(binding, ()).now

    def awaited(self, keys: Sequence[Key]) -> set[Key]:
        """Keys with an event whose increment may still be on its way."""
        events, bound_s = self.binding.projection.events, self.binding.projection.bound
        assert events is not None
        assert bound_s is not None
        latest = self.source.happened(self.binding, keys).latest
        return {key for key, at in latest.items() if young(at, self.now, bound_s, events.zone)}

    def left(self, suspect: Suspect, now: HeldRow | None) -> RowOutcome:
        bound_s = self.binding.projection.bound
        why = f"an event is younger than the bound ({bound_s:g} s): not known to have arrived"
        return left(suspect, now, Outcome.CAS_LOST, why)


def read_source(source: Reader, binding: Binding, keys: Sequence[Key]) -> dict[Key, Values]:
    """The source's rows of `keys`, read to the end.

    Raises BrokenRead if the end was not proven, DesignProblem if a key has more than one row.
    """
    stream = source.stream(binding, binding.source, Keys(keys=tuple(keys)), tokens=False)
    batches = delivered(stream, f"{binding.projection.name}: the source")
    return by_key(batch.clean(binding.value_kinds) for batch in batches)


def by_key(batches: Iterable[Batch]) -> dict[Key, Values]:
    rows: dict[Key, Values] = {}
    for batch in batches:
        for at in range(len(batch)):
            key = batch.key(at)
            if key in rows:
                raise DesignProblem(f"the source has more than one row for key {key}; it cannot be repaired")
            rows[key] = tuple(column[at] for column in batch.values)
    return rows


def outcome_to_json(outcome: RowOutcome) -> dict[str, Any]:
    return {
        "key": encode_row(outcome.key),
        "outcome": outcome.outcome,
        "action": outcome.action,
        "before": encode_row(outcome.before),
        "after": encode_row(outcome.after),
        "token": outcome.token,
        "evidence": outcome.evidence,
    }


def outcome_from_json(data: dict[str, Any]) -> RowOutcome:
    return RowOutcome(
        key=decode_row(data["key"]) or (),
        outcome=Outcome(data["outcome"]),
        action=None if data["action"] is None else Action(data["action"]),
        before=decode_row(data["before"]),
        after=decode_row(data["after"]),
        token=data["token"],
        evidence=data["evidence"],
    )
