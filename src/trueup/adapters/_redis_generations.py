"""A repair of generation-fenced counters: a generation begins, the source is counted in it, and it is what counts.

Increments of generations before count nowhere, however late they come: what they stand for is in the count. So no key
is watched, and a counter that is incremented all the time is repaired at once.
"""

from __future__ import annotations

from dataclasses import replace

from trueup.adapters import Reader, RowOutcome, Unit
from trueup.adapters._documents import settled
from trueup.adapters._numbers import Counted, numbered
from trueup.adapters._outcomes import HeldRow, left, read_source
from trueup.adapters._redis_layout import Layout
from trueup.adapters._redis_unit import RedisUnit, judged
from trueup.core.binding import Binding
from trueup.core.decide import Action
from trueup.core.row import Values
from trueup.core.states import Outcome

#: Why a row was counted that showed the right number.
LOOKED_RIGHT = "it looked right again, perhaps by an increment on its way; it was counted anew"
#: Why a repair of such a counter is not undone.
NOT_PUT_BACK = "a counter in generations goes on from its count; what it showed before is no generation's number"


def rebase(steps: RedisUnit, layout: Layout, binding: Binding, unit: Unit, source: Reader) -> list[RowOutcome]:
    """Carry out one unit.

    A row is decided on before its generation begins: once begun, the count has to get there, whatever it is. A row that
    looks right by now is counted as well: an increment on its way may hide for a moment what it is off by.
    """
    keys = [suspect.key for suspect in unit.drift]
    steps.hold([])
    now = steps.rows(keys)
    if unit.restore or unit.withdraw:
        return [left(row, now.get(row.key), Outcome.CAS_LOST, NOT_PUT_BACK) for row in unit.drift]
    expected = read_source(source, binding, keys)
    outcomes = {
        s.key: _hidden(settled(binding, unit, s, now.get(s.key), expected.get(s.key)), now.get(s.key))
        for s in unit.drift
    }
    names = {key: layout.name_of(key)[0].decode() for key, row in outcomes.items() if row.outcome is Outcome.APPLIED}
    beyond = steps.generations(list(names))
    counted = numbered(source, binding, names, beyond=beyond, wait=unit.wait) if names else {}
    for suspect in unit.drift:
        if suspect.key in names and suspect.key not in counted:
            why = "a transaction of the application holds its generation"
            outcomes[suspect.key] = left(suspect, now.get(suspect.key), Outcome.CAS_LOST, why, busy=True)
    rows = [replace(outcomes[key], after=_base(binding, found)) for key, found in counted.items()]
    commands = {row.key: [layout.rebasing(row.key, counted[row.key].number, row.after or ())] for row in rows}
    answers = steps.commit(rows, commands) if rows else {}
    for row in rows:
        if answers is None:
            # The next run finds these counters without what was added in their new generation, and repairs them.
            outcomes[row.key] = replace(row, outcome=Outcome.NOT_APPLIED, evidence="the fence was touched")
        elif answers[row.key] == [0]:
            outcomes[row.key] = replace(row, outcome=Outcome.CAS_LOST, after=None, evidence="a newer generation counts")
        else:
            outcomes[row.key] = judged(row, answers[row.key])
    if answers is None:
        steps.hold([])  # says by whom
    return [outcomes[key] for key in keys]


def _hidden(outcome: RowOutcome, now: HeldRow | None) -> RowOutcome:
    """What was found wrong before and looks right now is not known to be right: it is counted like the others."""
    if outcome.outcome is not Outcome.SUPERSEDED or now is None:
        return outcome
    return replace(outcome, outcome=Outcome.APPLIED, action=Action.UPDATE, evidence=LOOKED_RIGHT)


def _base(binding: Binding, found: Counted) -> Values | None:
    return binding.absent if found.values is None else found.values
