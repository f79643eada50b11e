"""From what was read to what is permitted, and when to read again: for the governor and for the simulation of it."""

from __future__ import annotations

from typing import NamedTuple

from trueup.core.pace import governor as law
from trueup.core.pace.credit import workers
from trueup.core.pace.pressure import Health
from trueup.core.pace.tails import SURE, Impact, Tails
from trueup.pace.means import Means

#: Seconds between two readings: as a rule, while a statement of ours is in flight that seldom is, and where there are
#: many already.
READ_S, READ_CLOSE_S, READ_SELDOM_S = 0.1, 0.01, 0.5
#: Below this load, statements of ours are looked at closely.
SELDOM = 0.3
#: Readings of a kind that are enough; more than the law ever asks for.
PLENTY = 160


class Decided(NamedTuple):
    """What a decision came to."""

    state: law.State
    impact: Impact
    #: Are there enough readings with ours in flight, and without, beside the present load too?
    plenty: tuple[bool, bool]


class Pause(NamedTuple):
    """Until the next reading."""

    #: Seconds.
    s: float
    #: Does it end where a statement of ours begins, too?
    woken: bool = False


def pause(plenty: tuple[bool, bool], u: float, *, inflight: bool) -> Pause:
    """Woken while too few readings show ours, unless ours is looked at closely anyhow."""
    if plenty[0 if inflight else 1]:
        return Pause(READ_SELDOM_S, woken=not plenty[0])
    return Pause(READ_CLOSE_S) if inflight and u < SELDOM else Pause(READ_S, woken=not plenty[0])


def decide(
    state: law.State,
    limits: law.Limits,
    tails: Tails,
    means: Means,
    now: float,
    *,
    health: Health,
    cores: int | None,
    protect: float,
    busy_s: float,
    flown_s: float,
    probed: bool = True,
    waiting: bool = True,
    errors: int = 0,
    age: float = 0.0,
) -> Decided:
    """The state a moment later, and our effect; then what was read is forgotten that says nothing of the present."""
    impact, room = means.effect(tails, now, cores=cores, protect=protect, busy_s=busy_s, flown_s=flown_s)
    seen = law.Seen(
        health=health,
        impact=impact,
        fresh=tails.count(state.changed_at),
        room=room,
        probed=probed,
        waiting=waiting,
        errors=errors,
        age=age,
    )
    decided = law.tick(limits, state, seen, now)
    over = state.mode is law.Mode.DEGRADED and decided.mode is not state.mode
    shifted = means.shifted(cores)
    if shifted:
        decided = law.beside_others(decided, now)
    if over or shifted:
        tails.forget()  # it was read under pressure, or beside another load
    elif workers(decided.u) != workers(state.u):
        tails.forget_own()  # it was read with another number of ours in flight
    # Counted before anything was forgotten: that is made up for at the next tick.
    on, off = (many >= PLENTY and new >= SURE for many, new in zip((impact.on, impact.off), seen.fresh, strict=True))
    return Decided(decided, impact, (on, off))
