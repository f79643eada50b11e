"""Decisions handed over to those who know how to carry them out: a function is called, a correction is emitted.

    look -> INTEND (with the idempotency key) -> call -> note the answer -> look again -> record

A call is no transaction of ours: it may have had its effect and lose its answer. So each try is written down before it
is made, and looked up afterwards. A row counts as repaired when it was read again and is right. One that does not show
it is handed over again, with the same key: at once after a crash or an error that would pass, and in a later run when
the time that it may be on its way is over.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from trueup.core.compare import DriftKind, Suspect
from trueup.core.decide import Action
from trueup.core.quarantine import REFUSED_MAX
from trueup.core.row import Key
from trueup.core.states import Outcome
from trueup.errors import DataProblem, DesignProblem, Interrupted, Transient
from trueup.hands import Hand
from trueup.python.found import translated
from trueup.python.handlers import Call
from trueup.store.calls import CallRow, Calls, pair_of
from trueup.store.records import OutcomeRow
from trueup.work import Work, look

#: Rows that are looked at together before they are handed over, and how long that look holds, seconds.
AT_ONCE = 20
LOOK_HOLDS_S = 1.0
#: Tries that were answered and did not help, after which a row is left to people.
TRIES_MAX = 3
#: Characters of an answer that are kept.
SAID_MAX = 200

_WHY = {
    DriftKind.MISSING: "the source has this row, and the target does not",
    DriftKind.EXTRA: "the target has this row, and the source does not",
    DriftKind.DIFFERENT: "the target's values are not those of the source",
}


def hand_over(work: Work, segment: int, drift: Sequence[Suspect]) -> list[OutcomeRow]:
    """Call the handlers of these rows, one after the other, and look at what came of it."""
    outcomes: list[OutcomeRow] = []
    for at in range(0, len(drift), AT_ONCE):
        answered: list[tuple[CallRow, Suspect]] = []
        for suspect, seen in _looked_at(work, drift[at : at + AT_ONCE]):
            work.border()
            done = _one(work, segment, suspect, seen)
            if isinstance(done, OutcomeRow):
                outcomes.append(done)
            else:
                answered.append(done)
        outcomes += _verified(work, answered)
    return outcomes


def settle_shown(work: Work) -> None:
    """Corrections that were handed over earlier and whose rows are right now are done with."""
    calls = Calls(work.ledger)
    waiting = calls.open(work.pair.name)
    wrong = look(work, waiting)
    shown = [call.id for key, call in waiting.items() if key not in wrong and key not in work.unread]
    if shown:
        calls.settle(shown, "shown", work.clock.now())


def recover_call(work: Work, call: CallRow, unit: str) -> list[OutcomeRow]:
    """What became of a try that a crash interrupted, by reading the row again."""
    seen = look(work, [call.key]).get(call.key)
    row = seen or Suspect(kind=DriftKind(call.kind), key=call.key, expected=None, observed=None)
    hand = work.hands.by_kind.get(call.kind)
    action = None if hand is None else hand.action
    if seen is not None:
        why = f"{call.handler}: interrupted, and the row does not show it; tried again with the same key"
        outcome = _outcome(row, Outcome.CALLED, why, action=action, witness="recovery")
    else:
        why = f"{call.handler}: interrupted, and the row is right; who did it cannot be known"
        outcome = _outcome(row, Outcome.CONVERGED, why, action=action, witness="recovery")
        Calls(work.ledger).settle([call.id], "shown", work.clock.now())
    work.ledger.close_unit(unit, work.run, [outcome], work.clock.now(), work.token)
    return [outcome]


def _looked_at(work: Work, drift: Sequence[Suspect]) -> Iterator[tuple[Suspect, Suspect | None]]:
    """Rows as they are now, looked at again where that was too long ago."""
    now, looked = look(work, [suspect.key for suspect in drift]), work.clock.monotonic()
    for at, suspect in enumerate(drift):
        if work.clock.monotonic() - looked > LOOK_HOLDS_S:
            now, looked = look(work, [later.key for later in drift[at:]]), work.clock.monotonic()
        yield suspect, now.get(suspect.key)


def _one(work: Work, segment: int, suspect: Suspect, seen: Suspect | None) -> OutcomeRow | tuple[CallRow, Suspect]:
    """One row: the last word on it, or the call that was answered."""
    calls, tries = Calls(work.ledger), work.patience.tries()
    while True:
        before = calls.open(work.pair.name).get(suspect.key)
        if seen is None:
            if before is not None:
                calls.settle([before.id], "shown", work.clock.now())
            outcome = Outcome.SUPERSEDED if before is None else Outcome.CONVERGED
            return _note(work, segment, suspect, outcome, "already right")
        if seen.kind is not suspect.kind or (work.as_planned and seen.pair != suspect.pair):
            why = "not what the plan was made on" if work.as_planned else f"it is {seen.kind} now: another decision"
            return _note(work, segment, suspect, Outcome.CAS_LOST, why)
        hand = work.hands.by_kind[suspect.kind]
        call = _next(work, hand, seen, before)
        if isinstance(call, OutcomeRow):
            return _noted(work, segment, call)
        calls.begin(call, segment)
        try:
            said = hand.do(_told(work, call, seen))
        except (Exception, SystemExit) as error:
            problem = translated(hand.declared.name, error)
            if isinstance(problem, DataProblem):
                return _refused(work, call, seen, problem)
            why = f"{problem}. What came of it is not known; the row does not show it"
            if not isinstance(problem, Transient):
                _close(work, call, _outcome(seen, Outcome.CALLED, why, action=hand.action))
                raise problem from error
            try:
                tries.failed(problem)
            except (Transient, Interrupted):
                _close(work, call, _outcome(seen, Outcome.CALLED, why, action=hand.action))
                raise
            work.ledger.close_unit(call.unit, work.run, [], work.clock.now(), work.token)
            seen = look(work, [suspect.key]).get(suspect.key)
            continue
        calls.answered(call, _kept(work, said), work.clock.now())
        return call, seen


def _next(work: Work, hand: Hand, seen: Suspect, before: CallRow | None) -> CallRow | OutcomeRow:
    """The try that is to be made now; or why there is none."""
    now, pair = work.clock.now(), pair_of(seen)
    same = before is not None and before.kind == seen.kind and before.handler == hand.declared.name
    if before is not None and before.answered_at is not None:
        until = before.answered_at + timedelta(seconds=hand.declared.within_s)
        if now < until:
            since = f"handed over at {before.answered_at:%H:%M:%S} UTC"
            why = f"{since}, and may be on its way until {until:%H:%M:%S}; key {before.id}"
            return _outcome(seen, Outcome.CALLED, why, action=hand.action)
        same = same and before.pair == pair
        if same and before.attempts >= TRIES_MAX:
            Calls(work.ledger).settle([before.id], "given_up", now)
            why = (
                f"{hand.declared.name}: {before.attempts} tries with one key were answered, and the row does not show "
                f"it; find out why, then `trueup quarantine retry {work.pair.name}` hands it over under a new one"
            )
            return _outcome(seen, Outcome.FAILED, why, action=hand.action)
    if before is not None and not same:
        Calls(work.ledger).settle([before.id], "replaced", now)
    return CallRow(
        id=before.id if before is not None and same else uuid.uuid4().hex,
        projection=work.pair.name,
        key=seen.key,
        kind=str(seen.kind),
        pair=pair,
        handler=hand.declared.name,
        run=work.run,
        unit=uuid.uuid4().hex,
        attempts=before.attempts + 1 if before is not None and same else 1,
        begun_at=now,
    )


def _told(work: Work, call: CallRow, seen: Suspect) -> Call:
    """What a handler is given."""
    binding = work.pair.binding
    return Call(
        idempotency_key=call.id,
        projection=work.pair.name,
        kind=call.kind,
        key=binding.named_key(seen.key),
        expected=binding.named_values(seen.expected),
        observed=binding.named_values(seen.observed),
        run=work.run,
        plan=work.hands.plan,
        actor=work.hands.actor,
        approved_by=work.hands.approved_by,
        reason=_WHY[seen.kind],
        attempt=call.attempts,
        at=call.begun_at,
    )


def _verified(work: Work, answered: Sequence[tuple[CallRow, Suspect]]) -> list[OutcomeRow]:
    """Calls that were answered, by what their rows hold now, or a while later."""
    if not answered:
        return []
    wrong = _keys_wrong(work, [call.key for call, _ in answered])
    if wrong and work.settle_s and not work.clock.wait(work.settle_s):
        wrong &= _keys_wrong(work, list(wrong))
    Calls(work.ledger).settle([call.id for call, _ in answered if call.key not in wrong], "shown", work.clock.now())
    said = {key: row.said for key, row in Calls(work.ledger).open(work.pair.name).items()}
    outcomes = []
    for call, seen in answered:
        action = work.hands.by_kind[call.kind].action
        if call.key in wrong:
            told = f" ({said[call.key]})" if said.get(call.key) else ""
            why = f"{call.handler}: answered{told}, and the row does not show it yet; key {call.id}"
            outcome = _outcome(seen, Outcome.CALLED, why, action=action)
        else:
            why = f"{call.handler}: answered, and the row was read again and is right; key {call.id}"
            outcome = replace(_outcome(seen, Outcome.APPLIED, why, action=action), after=seen.expected)
        outcomes.append(_close(work, call, outcome))
    return outcomes


def _keys_wrong(work: Work, keys: Sequence[Key]) -> set[Key]:
    """Those of `keys` that are wrong, or cannot be read."""
    return {*look(work, keys), *(key for key in keys if key in work.unread)}


def _refused(work: Work, call: CallRow, seen: Suspect, problem: DataProblem) -> OutcomeRow:
    """A handler said that it cannot do anything about this row."""
    told = str(problem)
    if any(work.pair.binding.hidden):
        told = f"{call.handler} refused the row; what it says may hold sensitive values, and is not kept"
    outcome = _close(work, call, _outcome(seen, Outcome.FAILED, told))
    work.refused.append(seen.key)
    if len(work.refused) > REFUSED_MAX:
        raise DesignProblem(
            f"{work.pair.name}: more than {REFUSED_MAX} rows were refused, so this is not about single rows. The last: "
            f"{told}"
        ) from problem
    return outcome


def _kept(work: Work, said: object) -> str:
    """An answer as it is kept; none where it might hold what must not be."""
    if said is None or any(work.pair.binding.hidden):
        return ""
    return " ".join(str(said).split())[:SAID_MAX]


def _note(work: Work, segment: int, suspect: Suspect, outcome: Outcome, why: str) -> OutcomeRow:
    return _noted(work, segment, _outcome(suspect, outcome, why))


def _noted(work: Work, segment: int, outcome: OutcomeRow) -> OutcomeRow:
    """The last word on a row that nothing was done about; each decision gets one."""
    unit = uuid.uuid4().hex
    work.ledger.open_unit(unit, work.run, segment, [outcome.key], work.clock.now())
    work.ledger.close_unit(unit, work.run, [outcome], work.clock.now(), work.token)
    return outcome


def _close(work: Work, call: CallRow, outcome: OutcomeRow) -> OutcomeRow:
    work.ledger.close_unit(call.unit, work.run, [outcome], work.clock.now(), work.token)
    return outcome


def _outcome(
    row: Suspect, outcome: Outcome, why: str, *, action: Action | None = None, witness: str = "handler"
) -> OutcomeRow:
    return OutcomeRow(
        key=row.key,
        outcome=outcome,
        action=action,
        before=row.observed,
        after=None,
        token="",
        evidence=why,
        witness=witness,
    )
