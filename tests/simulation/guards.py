"""Every guard that can be taken out, with the topology in which that is seen. Each name says what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.simulation.model import ModelAdapter, ModelLedger, ModelSteps, ModelStream
from tests.simulation.server import Server, Transaction
from trueup import repair, work
from trueup.adapters import Marker, RowOutcome, Unit, _by_row_version, _outcomes, _way
from trueup.adapters._outcomes import HeldRow
from trueup.core.compare import DriftKind, Suspect
from trueup.core.decide import Action, decide_now
from trueup.core.row import Key, Values
from trueup.core.states import Outcome
from trueup.errors import Refused, TakenOver


@dataclass(frozen=True, kw_only=True, slots=True)
class Guard:
    """One guard, taken out by putting other code in its place."""

    name: str
    topology: str
    #: (owner, attribute, what takes its place)
    without: Sequence[tuple[Any, str, Any]]

    @contextmanager
    def removed(self) -> Iterator[None]:
        before = [(owner, name, owner.__dict__[name]) for owner, name, _ in self.without]
        for owner, name, code in self.without:
            setattr(owner, name, code)
        try:
            yield
        finally:
            for owner, name, code in before:
                setattr(owner, name, code)


# --- the fence -------------------------------------------------------------------------------------------------------


def no_fence(steps: ModelSteps) -> None:
    """The fence row is not looked at."""


def any_token(steps: ModelSteps) -> None:
    """Only the switch counts, not whose turn it is."""
    held = steps._call("hold fence", lambda: _shared(steps))
    if held is not None and held[1]:
        raise Refused("stopped")


def no_switch(steps: ModelSteps) -> None:
    """Only the token counts, not the switch; `stop` then only takes the turn away, until the next one's."""
    held = steps._call("hold fence", lambda: _shared(steps))
    if held is None or held[0] != steps.unit.token:
        raise TakenOver("taken over")


def fence_not_held(steps: ModelSteps) -> None:
    """The fence is read, not held: it can be raised while the unit goes on."""
    held = steps._call("read fence", lambda: steps.server.read(None, ("fence", steps.unit.fence)))
    if held is not None and held[1]:
        raise Refused("stopped")
    if held is None or held[0] != steps.unit.token:
        raise TakenOver("taken over")


def _shared(steps: ModelSteps) -> Any:
    steps.server.lock(steps.transaction, ("fence", steps.unit.fence), share=True)
    return steps.server.read(steps.transaction, ("fence", steps.unit.fence))


# --- the marker, and what is written down ----------------------------------------------------------------------------


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


def unclaimed(adapter: ModelAdapter, transaction: Transaction, unit: str) -> Marker:
    """Look for the marker instead of taking its place: a unit that is still open may commit afterwards."""
    closed, images = adapter.server.read(transaction, ("applied", unit)) or (True, [])
    return Marker(applied=not closed, outcomes=images)


def never_settled(at_hand: work.Work, unit: str, drift: Sequence[Suspect]) -> list[RowOutcome]:
    """A lost answer is taken for a failure."""
    return [RowOutcome(key=row.key, outcome=Outcome.NOT_APPLIED) for row in drift]


def settled_by_reading(at_hand: work.Work, unit: str, drift: Sequence[Suspect]) -> list[RowOutcome]:
    """Who wrote a row is told from what it holds."""
    wrong = work.look(at_hand, [row.key for row in drift])
    return [
        RowOutcome(key=row.key, outcome=Outcome.NOT_APPLIED)
        if row.key in wrong
        else RowOutcome(
            key=row.key, outcome=Outcome.APPLIED, action=Action.UPDATE, before=row.observed, after=row.expected
        )
        for row in drift
    ]


_open_unit = ModelLedger.open_unit
_close_unit = ModelLedger.close_unit
_repair = ModelAdapter.repair


def written_down_afterwards(ledger: ModelLedger, unit: str, run: str, segment: int, keys: Any, at: Any) -> None:
    """Remember what is to be written down."""
    ledger.server.scheduler.me.notes["later"] = (unit, run, segment, keys, at)  # type: ignore[union-attr]


def closed_with_its_opening(ledger: ModelLedger, unit: str, run: str, outcomes: Any, at: Any, token: int) -> None:
    later = ledger.server.scheduler.me.notes.get("later")  # type: ignore[union-attr]
    if unit not in ledger.units and later is not None:
        _open_unit(ledger, *later)
    _close_unit(ledger, unit, run, outcomes, at)


def told_before_it_is_done(at_hand: work.Work, segment: int, drift: Sequence[Suspect], **how: Any) -> list[RowOutcome]:
    """The outcome is written before the transaction."""
    name = repair.uuid.uuid4().hex
    unit = Unit(
        id=name,
        fence=at_hand.fence,
        token=at_hand.token,
        protocol=at_hand.promise.protocol,
        drift=drift,
        as_planned=False,
        wait=True,
    )
    at_hand.ledger.open_unit(name, at_hand.run, segment, [row.key for row in drift], at_hand.clock.now())
    outcomes = [
        RowOutcome(key=r.key, outcome=Outcome.APPLIED, action=Action.UPDATE, before=r.observed, after=r.expected)
        for r in drift
    ]
    repair._close(at_hand, name, [repair._record(outcome) for outcome in outcomes])
    return at_hand.target.repair(at_hand.pair.binding, unit, at_hand.pair.source)


# --- locks and their order -------------------------------------------------------------------------------------------


def not_locked(steps: ModelSteps, keys: Sequence[Key]) -> dict[Key, HeldRow]:
    """The rows are read, and not locked."""
    return steps.read_target(keys)


def read_before_the_lock(steps: ModelSteps, keys: Sequence[Key]) -> dict[Key, HeldRow]:
    """The source is read first, the lock taken second."""
    steps.transaction.notes["early"] = _read_source_here(steps, keys)
    return _lock(steps, keys)


_lock = ModelSteps.lock
_read_source_here = ModelSteps.read_source_here
_begin = Server.begin


def what_was_read(steps: ModelSteps, keys: Sequence[Key]) -> dict[Key, Values]:
    return steps.transaction.notes["early"]  # type: ignore[no-any-return]


def one_snapshot(server: Server) -> Transaction:
    """REPEATABLE READ as MariaDB has it: reads are of the transaction's beginning, writes of now."""
    transaction = _begin(server)
    transaction.snapshot = dict(server.rows)
    return transaction


def no_placeholders(steps: ModelSteps, expected: dict[Key, Values]) -> set[Key]:
    """A missing row is not inserted before it is decided on: it is written as it was judged, whoever came between."""
    for key, values in expected.items():
        steps._call("upsert", lambda k=key, v=values: steps._put(k, v))
    return set()


def placeholder_is_the_answer(steps: ModelSteps, keys: Sequence[Key]) -> dict[Key, Values]:
    """What a missing row should hold is not read again after it was inserted."""
    found = _read_source_here(steps, keys)
    return found | {s.key: s.expected for s in steps.unit.drift if s.observed is None and s.expected is not None}


def as_judged(steps: ModelSteps, keys: Sequence[Key]) -> dict[Key, Values]:
    """The source is not read again: what it said when the row was judged is written."""
    return {s.key: s.expected for s in steps.unit.drift if s.expected is not None and s.kind is not DriftKind.EXTRA}


# --- compare-and-set -------------------------------------------------------------------------------------------------


def any_version(row: HeldRow | None) -> Any:
    """Equal to whatever it is compared with."""
    return _Any()


class _Any:
    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = object.__hash__


class _Swapped:
    """The source first, the version second."""

    @staticmethod
    def reading(adapter: ModelAdapter) -> Any:
        actor = adapter.server.scheduler.me
        assert actor is not None
        binding = actor.notes["binding"]
        actor.notes["early"] = _read_source(actor.notes["reader"], binding, actor.notes["keys"])
        return _reading(adapter)

    @staticmethod
    def repair(adapter: ModelAdapter, binding: Any, unit: Unit, source: Any) -> list[RowOutcome]:
        actor = adapter.server.scheduler.me
        assert actor is not None
        actor.notes.update(binding=binding, reader=source, keys=[row.key for row in unit.drift])
        return _repair(adapter, binding, unit, source)

    @staticmethod
    def read_source(source: Any, binding: Any, keys: Sequence[Key]) -> dict[Key, Values]:
        early = source.server.scheduler.me.notes.pop("early", None)
        return _read_source(source, binding, keys) if early is None else early


_reading = ModelAdapter.reading
_read_source = _outcomes.read_source


def always_vouched(at_hand: work.Work, suspect: Suspect) -> bool:
    """A row's version is taken to vouch for its source, whoever writes it, however long ago it was read."""
    return True


# --- reading ---------------------------------------------------------------------------------------------------------


def short_read(stream: ModelStream, batch: Any, *, ended: bool) -> None:
    """Whatever came is taken for everything."""
    stream.batch, stream.ended = batch, True


def source_may_go(
    binding: Any, unit: Unit, suspect: Suspect, now: HeldRow | None, expected: Values | None
) -> RowOutcome:
    """What the policy says is done with what was judged, not with what is."""
    before = None if now is None else now.values
    wanted = suspect.expected if suspect.kind is not DriftKind.EXTRA else binding.absent
    action, after = decide_now(
        None if suspect.kind is DriftKind.EXTRA else wanted, before, binding.absent, binding.projection, binding.rules
    )
    if action is None or action is Action.REPORT:
        return _outcomes.left(suspect, now, Outcome.SUPERSEDED, "")
    return RowOutcome(
        key=suspect.key,
        outcome=Outcome.APPLIED,
        action=action,
        before=before,
        after=None if action is Action.DELETE else after,
    )


def busy_is_gone(steps: ModelSteps, keys: Sequence[Key]) -> dict[Key, HeldRow]:
    """A row that is locked is taken for one that is not there, and is inserted."""
    held = _lock(steps, keys)
    for suspect in steps.unit.drift:
        if suspect.key not in held and suspect.expected is not None:
            steps.transaction.writes["target", suspect.key] = (suspect.expected, str(steps.transaction.id))
            held[suspect.key] = HeldRow(values=suspect.observed or (), token="")
    return held


def none_recovered(ledger: ModelLedger) -> list[Any]:
    """What a crash left open stays open."""
    return []


def fence_in_passing(adapter: ModelAdapter, fence: str, *, stop: bool | None = None) -> int | None:
    """The token is raised without waiting for open units."""

    def statement() -> int:
        token, stopped = adapter.server.rows.get(("fence", fence)) or (0, False)
        adapter.server.rows["fence", fence] = (token + 1, stopped if stop is None else stop)
        return int(token + 1)

    return adapter.server.call("raise fence", statement)


Placed = tuple[Any, str, Any]


def _step(name: str, code: Callable[..., Any]) -> Placed:
    return ModelSteps, name, code


GUARDS: tuple[Guard, ...] = (
    Guard(name="no fence", topology="one", without=[_step("hold_fence", no_fence)]),
    Guard(name="a fence without a token", topology="two", without=[_step("hold_fence", any_token)]),
    Guard(name="a fence without a switch", topology="one", without=[_step("hold_fence", no_switch)]),
    Guard(name="a fence that is read, not held", topology="two", without=[_step("hold_fence", fence_not_held)]),
    Guard(
        name="a fence that is raised in passing",
        topology="one",
        without=[(ModelAdapter, "raise_fence", fence_in_passing)],
    ),
    Guard(name="no marker", topology="one", without=[_step("leave_marker", nothing), _step("sign_marker", nothing)]),
    Guard(name="a marker without images", topology="one", without=[_step("sign_marker", nothing)]),
    Guard(
        name="a marker that is looked for, not claimed", topology="two", without=[(ModelAdapter, "claimed", unclaimed)]
    ),
    Guard(name="a lost answer is a failure", topology="one", without=[(repair, "settle_unit", never_settled)]),
    Guard(
        name="the writer is told from the value", topology="two", without=[(repair, "settle_unit", settled_by_reading)]
    ),
    Guard(
        name="written down afterwards",
        topology="one",
        without=[
            (ModelLedger, "open_unit", written_down_afterwards),
            (ModelLedger, "close_unit", closed_with_its_opening),
        ],
    ),
    Guard(name="told before it is done", topology="two", without=[(repair, "unit_of", told_before_it_is_done)]),
    Guard(
        name="what a crash left open stays open", topology="one", without=[(ModelLedger, "open_units", none_recovered)]
    ),
    Guard(name="no lock", topology="one-mutex", without=[_step("lock", not_locked)]),
    Guard(
        name="the source before the lock",
        topology="one-mutex",
        without=[_step("lock", read_before_the_lock), _step("read_source_here", what_was_read)],
    ),
    Guard(name="one snapshot a transaction", topology="one-mutex", without=[(Server, "begin", one_snapshot)]),
    Guard(
        name="a deferred transaction",
        topology="two-exclusive",
        without=[(Server, "alone", lambda server, transaction: None)],
    ),
    Guard(name="no placeholder", topology="one-mutex", without=[_step("insert_placeholders", no_placeholders)]),
    Guard(
        name="the placeholder is the answer",
        topology="one-mutex",
        without=[_step("read_source_here", placeholder_is_the_answer)],
    ),
    Guard(name="the source is not read again", topology="one-mutex", without=[_step("read_source_here", as_judged)]),
    Guard(name="no version", topology="two", without=[(_by_row_version, "token", any_version)]),
    Guard(
        name="the source before the version",
        topology="two",
        without=[
            (ModelAdapter, "reading", _Swapped.reading),
            (ModelAdapter, "repair", _Swapped.repair),
            (_way, "read_source", _Swapped.read_source),
        ],
    ),
    Guard(
        name="a version vouches for everything",
        topology="one",
        without=[(work.Work, "vouched", always_vouched), (_by_row_version, "token", any_version)],
    ),
    Guard(name="a short read is a read", topology="two", without=[(ModelStream, "__init__", short_read)]),
    Guard(name="what was judged is done", topology="one-mutex", without=[(_way, "decided", source_may_go)]),
    Guard(name="busy is gone", topology="one-mutex", without=[_step("lock", busy_is_gone)]),
)
