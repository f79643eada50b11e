"""From what was read to what is permitted: one decision of the law, for the governor and for the simulation of it."""

from __future__ import annotations

from trueup.core.pace import governor as law
from trueup.core.pace.credit import workers
from trueup.core.pace.pressure import Health
from trueup.core.pace.tails import Impact, Tails
from trueup.pace.means import Means


def decide(
    state: law.State,
    limits: law.Limits,
    tails: Tails,
    means: Means,
    now: float,
    *,
    health: Health,
    cores: int | None,
    budget: float,
    busy_s: float,
    flown_s: float,
    waiting: bool = True,
    errors: int = 0,
    age: float = 0.0,
) -> tuple[law.State, Impact]:
    """The state a moment later, and our effect; then what was read is forgotten that says nothing of the present."""
    impact, room = means.effect(tails, now, cores=cores, budget=budget, busy_s=busy_s, flown_s=flown_s)
    seen = law.Seen(
        health=health,
        impact=impact,
        fresh=tails.count(state.changed_at),
        room=room,
        waiting=waiting,
        errors=errors,
        age=age,
    )
    decided = law.tick(limits, state, seen, now)
    over = state.mode is law.Mode.DEGRADED and decided.mode is not state.mode
    if over or means.shifted(cores):
        tails.forget()  # it was read under pressure, or beside another load
    elif workers(decided.u) != workers(state.u):
        tails.forget_own()  # it was read with another number of ours in flight
    return decided, impact
