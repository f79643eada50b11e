"""The law: how much may Trueup have in flight on a database, and why.

Two loops. Health signals, the worst of them, decide the state; the measured effect on others trims the load inside
`normal` and `recovery`. Where the two disagree the lower one holds.

* A load is only raised after the present one was seen: so many readings with ours in flight, however long that takes.
* It is raised by what the readings surely allow, and lowered where they surely forbid it: who did both by one estimate
  would go up and down with it. The way back to what was good is no more than what is likely.
* It begins small, and never goes beyond what the server's cores have free for it, by queueing theory (`headroom`):
  that holds within a second or two of many others coming, before any tail shows it, and ends as soon as they go.
* Under pressure it is halved, then less and less down to the guaranteed minimum. Then the experiment: if the pressure
  goes as we go, it was ours, and the load is remembered as a ceiling for a while; if it stays, it was not. What was too
  much while little was free is no measure for when more is.
* Who comes out of pressure or a pause is in `recovery`, never in `normal`: quickly back to a load that was known to be
  good, slowly beyond.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

from trueup.core.pace.pressure import Health
from trueup.core.pace.tails import FIRST, SURE, Impact

#: A tick counts at most so many seconds, whatever the clock says.
TICK_S_MAX = 5.0
#: Entering `degraded`; up to HOLD nothing is taken away, and `degraded` is left; up to LEAVE load is added.
ENTER, HOLD, LEAVE = 1.0, 0.85, 0.70
#: Seconds of pressure before it counts, of calm before it is over (doubled at each relapse) or anything is raised, and
#: the most of that.
SOFT_S, CLEAR_S, CLEAR_S_MAX = 3.0, 2.0, 300.0
#: Pressure again within so many seconds is a relapse.
RELAPSE_S = 90.0
#: Between two cuts under pressure, seconds.
CUT_EVERY_S = 1.0
#: At the minimum so long, seconds, and still under pressure: it is not ours.
BLAME_S = 3.0
#: Pressure that goes was ours if so many times less of us was there by then, and says nothing of us otherwise.
LESS = 1.2
#: A load that was good for so long is known to be good, seconds.
GOOD_S = 6.0
#: So long without pressure, and recovery is over, seconds.
STABLE_S = 15.0
#: A load that was ours to blame is kept away from, and the memory of it relaxes by RELAX each FORGET_S.
KEEP_AWAY, RELAX, FORGET_S = 0.8, 1.10, 180.0
#: Raising and lowering: at most by so much a step.
RISE_FAST, RISE, FALL = 1.5, 1.2, 0.6
#: Most that a second may raise.
RISE_A_SECOND = 2.0
#: The load is left alone while the estimate likely allows this part of it, or possibly all of it, and surely no more.
NEAR_BELOW, NEAR_ABOVE = 0.70, 1.1
#: The same of what is free: that is measured, and moves a little all the time.
NEAR_MOST = 0.9
#: The guaranteed minimum grows with the age of what is not reconciled, up to this.
LEAST_MAX = 0.25
#: Below these loads a step is larger, and needs no sure estimate; and fewer readings of the present load are enough.
FIRST_U, SOON_U = 0.1, 0.5
#: Readings of both kinds for a load beyond that: of fewer, what is seldom hit may not have been hit at all.
MANY = 150
#: Others are felt by readings so long before it is seen that they take more of the cores, at most, seconds.
SEEN_LATE_S = 5.0
#: What was too much is not tried again for so long, seconds.
SLOWED_S = 60.0
#: Of the time that a statement aims at, under pressure.
SHORTER = 0.5


class Mode(StrEnum):
    """States of the governor."""

    NORMAL = "normal"
    DEGRADED = "degraded"
    RECOVERY = "recovery"
    PAUSED = "paused"


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What the law has to keep to now: settings, as windows and people have changed them."""

    #: Guaranteed minimum and ceiling, in statements in flight.
    least: float = 0.05
    most: float = 4.0
    #: Why nothing is to run; empty: it may.
    paused: str = ""
    #: No law: so many statements in flight, whatever is seen.
    fixed: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What the law is told at a tick."""

    health: Health
    impact: Impact
    #: Readings with and without ours in flight since `State.changed_at`.
    fresh: tuple[int, int] = (0, 0)
    #: What the server's cores have free for us, in statements; None: not known.
    room: float | None = None
    #: Is there a probe, whose readings can be waited for?
    probed: bool = True
    #: Is there work that would begin if it might?
    waiting: bool = True
    #: Statements of ours since the last tick that ran into a limit or a deadlock.
    errors: int = 0
    #: Age of the oldest data that is not reconciled, as a multiple of what is aimed at.
    age: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """All that the law remembers. It survives as JSON."""

    mode: Mode = Mode.RECOVERY
    #: Since when, by the policy's clock, seconds.
    since: float = 0.0
    at: float = 0.0
    u: float = 0.05
    #: A load that was ours to blame for pressure, and since when it is remembered.
    bad: float | None = None
    bad_at: float = 0.0
    #: What was free for us then, and is now; None: not known.
    bad_room: float | None = None
    room: float | None = None
    #: The largest load that was good for a while, and what was free for us then; None: not known.
    good: float = 0.0
    good_room: float | None = None
    #: Since when the load is what it is, about.
    changed_at: float = 0.0
    soft_since: float | None = None
    clear_since: float | None = None
    cut_at: float = 0.0
    #: When the load was last lowered since it slowed the others too much; None: not, or it does not count any more.
    slowed_at: float | None = None
    #: What had been good until then; None: what is still.
    doubted: float | None = None
    left_at: float | None = None
    relapses: int = 0
    #: The load when pressure began; None once it is known whose it was.
    before: float | None = None
    #: What was free for us then.
    before_room: float | None = None
    reason: str = "begins"
    #: Was the last pressure ours? None: not known.
    ours: bool | None = None
    #: Nothing is raised before this moment.
    next_at: float = 0.0
    #: The load when adaptive pacing was switched off; None: it is on.
    adapted: float | None = None


def tick(limits: Limits, state: State, seen: Seen, now: float) -> State:
    """The state a moment later. Deterministic; every step is bounded whatever the clock does."""
    passed = max(0.0, min(now - state.at, TICK_S_MAX))
    health = seen.health
    hard = health.hard or seen.errors >= 2
    why = "statements of ours ran into limits" if seen.errors >= 2 and not health.hard else health.words
    least = min(limits.least, limits.most)
    least = min(max(LEAST_MAX, least), limits.most, least * (1.0 if hard else max(1.0, seen.age)))
    state = replace(state, at=now, u=min(state.u, limits.most), room=seen.room, **_memory(state, limits, now))
    if limits.paused:
        return _go(state, Mode.PAUSED, now, limits.paused, u=0.0)
    if limits.fixed is not None:
        adapted = state.u if state.adapted is None else state.adapted
        state = _go(state, Mode.NORMAL, now, "", adapted=adapted, soft_since=None, clear_since=None)
        return _at(state, min(limits.fixed, limits.most), now, "fixed: adaptive pacing is off")
    if health.blind:
        return _go(state, Mode.PAUSED, now, f"no signal: {health.signal} is not to be had", u=least)
    if state.mode is Mode.PAUSED or state.adapted is not None:
        return _resumes(state, least, now)
    soft_since = (now if state.soft_since is None else state.soft_since) if health.pressure > ENTER else None
    # Pressure that only keeps load from being added (`pressure.HELD`) does not keep it in `degraded`.
    calm = health.pressure <= (HOLD if state.mode is Mode.DEGRADED else LEAVE) and not hard
    clear_since = (now if state.clear_since is None else state.clear_since) if calm else None
    state = replace(state, soft_since=soft_since, clear_since=clear_since)
    if state.mode is Mode.DEGRADED:
        return _under_pressure(state, health, least, now, hard=hard, why=why)
    if hard or (soft_since is not None and now - soft_since >= SOFT_S):
        return _breach(state, least, now, hard=hard, why=why)
    return _free(limits, state, seen, least, now, passed)


def ceiling_of(limits: Limits, state: State) -> float:
    """What the load may rise to now."""
    known = [limits.most, state.room, _kept_away(state)]
    return max(min(most for most in known if most is not None), limits.least)


def _kept_away(state: State) -> float | None:
    """What was too much, less a margin. Where more is free now than then, as much more is too much."""
    if state.bad is None:
        return None
    if state.room is None or not state.bad_room:
        return KEEP_AWAY * state.bad
    return KEEP_AWAY * state.bad * max(state.room / state.bad_room, 1.0)


def statement_share(state: State, longer: float = 1.0) -> float:
    """What a statement may take now, as a multiple of what it aims at: half of it under pressure, and else `longer`."""
    return SHORTER if state.mode is Mode.DEGRADED else longer


def _memory(state: State, limits: Limits, now: float) -> dict[str, Any]:
    """A load that was bad is tried again, little by little."""
    if state.bad is None or now - state.bad_at < FORGET_S:
        return {}
    bad = state.bad * RELAX
    return {"bad": None if bad > limits.most / KEEP_AWAY else bad, "bad_at": now}


def _go(state: State, mode: Mode, now: float, reason: str, **changes: Any) -> State:
    since = state.since if state.mode is mode else now
    return replace(state, mode=mode, since=since, reason=reason, **changes)


def _resumes(state: State, least: float, now: float) -> State:
    """After a pause, or a fixed load. Of that nothing was judged: it is no load that was good. What had come to be
    before it was looked at, so it is gone on with as far as it is less: else a trial would show the minimum.
    """
    u = least if state.adapted is None else max(min(state.u, state.adapted), least)
    return _go(state, Mode.RECOVERY, now, "resumed", u=u, changed_at=now, adapted=None)


def _breach(state: State, least: float, now: float, *, hard: bool, why: str) -> State:
    relapse = state.left_at is not None and now - state.left_at < RELAPSE_S
    return _go(
        state,
        Mode.DEGRADED,
        now,
        why,
        u=least if hard else max(least, state.u / 2),
        relapses=min(state.relapses + 1, 8) if relapse else 0,
        before=state.u,
        before_room=state.room,
        ours=None,
        cut_at=now,
        changed_at=now,
        clear_since=None,
        next_at=now + CLEAR_S,
    )


def _under_pressure(state: State, health: Health, least: float, now: float, *, hard: bool, why: str) -> State:
    """Less and less while it lasts, the experiment about whose it is, and the way out."""
    need = min(CLEAR_S * 2**state.relapses, CLEAR_S_MAX)
    cut = hard or health.pressure > HOLD
    if cut and state.u > least and (hard or now - state.cut_at >= CUT_EVERY_S):
        factor = 1 - 0.5 * min(1.0, max(0.3, health.pressure - HOLD))
        state = replace(state, u=least if hard else max(least, state.u * factor), cut_at=now, reason=why)
    state = replace(state, u=max(state.u, least))
    if state.before is not None:
        if health.pressure <= HOLD:
            if state.before >= state.u * LESS:  # it went as we went
                bad: dict[str, Any] = {"bad": state.before, "bad_at": now, "bad_room": state.before_room}
                state = replace(state, **bad, before=None, ours=True, good=state.good * KEEP_AWAY)
        elif state.u <= least * 1.01 and now - state.cut_at >= BLAME_S:
            state = replace(state, before=None, ours=False, relapses=0, reason=why)
    if state.clear_since is not None and now - state.clear_since >= need:
        return _go(state, Mode.RECOVERY, now, "the pressure is over", left_at=now, soft_since=None, changed_at=now)
    since = now if state.clear_since is None else state.clear_since
    return replace(state, next_at=since + need)


def _free(limits: Limits, state: State, seen: Seen, least: float, now: float, passed: float) -> State:
    """Towards what the estimate allows, within the ceiling, and no faster than the present load was looked at."""
    pressure, impact = seen.health.pressure, seen.impact
    most = max(least, ceiling_of(limits, state))
    if state.mode is Mode.RECOVERY and now - state.since >= STABLE_S and pressure <= LEAVE:
        state = _go(state, Mode.NORMAL, now, "stable", relapses=max(0, state.relapses - 1))
    wanted = _wanted(state, impact.share)
    lower = [(state.u, "")]
    if most < state.u * NEAR_MOST:
        lower.append((most, "others take the cores" if most == state.room else "the ceiling is lower"))
    if pressure > HOLD:
        trimmed = state.u * (1 - 0.10 * passed * min(1.0, (pressure - HOLD) / (ENTER - HOLD)))
        lower.append((trimmed, seen.health.words))
    if wanted is not None and _too_much(state, seen, wanted):
        lower.append((max(wanted, state.u * FALL), _slows(impact)))
    u, why = min(lower)
    if u < state.u:
        if why == _slows(impact):
            state = replace(state, slowed_at=now, doubted=_doubted(state, now))
            if not _less_free(state):  # so what was thought to be good is not
                state = replace(state, good=min(state.good, u), doubted=state.doubted or state.good)
        return _at(state, max(u, least), now, why)
    if state.clear_since is None or now - state.clear_since < CLEAR_S:
        until = CLEAR_S + (now if state.clear_since is None else state.clear_since)
        return replace(state, u=max(state.u, least), reason=seen.health.words or "looks at the pressure", next_at=until)
    return _rise(state, seen, wanted, most, now, passed, least)


def _too_much(state: State, seen: Seen, wanted: float) -> bool:
    """Do the readings surely forbid the present load?"""
    possible = _wanted(state, seen.impact.possibly)
    if possible is None or not seen.impact.sure or min(seen.fresh) < FIRST:
        return False
    return wanted < state.u * NEAR_BELOW and possible < state.u


def beside_others(state: State, now: float) -> State:
    """Others take much more or less of the cores than they did: what was too much beside them says nothing of now. What
    was good is so again, if it was doubted a moment ago: readings show that others came before the cores do.
    """
    return replace(state, slowed_at=None, doubted=None, good=_doubted(state, now) or state.good)


def _doubted(state: State, now: float) -> float | None:
    """What had been good until a moment ago; None: what is still."""
    lately = state.slowed_at is not None and now - state.slowed_at < SEEN_LATE_S
    return state.doubted if lately else None


def _wanted(state: State, share: float | None) -> float | None:
    """The load of an estimate. Beyond one statement at a time it only says whether this is too much."""
    if share is None:
        return None
    if share >= 1:
        return max(state.u, 1.0) * RISE * NEAR_ABOVE
    return share * max(state.u, 1.0)


def _rise(
    state: State, seen: Seen, wanted: float | None, most: float, now: float, passed: float, least: float
) -> State:
    on, off = seen.fresh
    good = KEEP_AWAY * _good_now(state)
    known = state.u < good and (wanted is None or wanted > state.u)
    allowed = wanted if known else _wanted(state, seen.impact.surely)
    needed = FIRST if state.u < SOON_U else SURE
    many = state.u < FIRST_U or min(seen.impact.on, seen.impact.off) >= MANY
    enough = known or (on >= needed and off >= FIRST and many)
    blind = not seen.probed and now - state.changed_at >= STABLE_S  # no canary: by time, and very slowly
    near = NEAR_MOST if most == state.room else 0.999  # what is free is measured, and would move the load all the time
    if state.u >= most * near:
        if (kept := _kept_away(state)) is not None and kept <= most:
            forgets = state.bad_at + FORGET_S
            return _stays(state, now, least, "kept below what was too much before", seen, until=forgets)
        taken = state.room is not None and state.room <= most
        return _stays(state, now, least, "others take the cores" if taken else "at its ceiling", seen)
    if not seen.waiting:
        return _stays(state, now, least, "nothing waits", seen)
    if not known and allowed is not None and allowed < state.u * NEAR_ABOVE:
        likely = wanted is not None and wanted >= state.u * NEAR_ABOVE
        return _stays(state, now, least, "more is likely, but not sure" if likely else "within the budget", seen)
    if not (enough or blind):
        return _stays(state, now, least, "looks at the present load", seen)
    if state.slowed_at is not None and now - state.slowed_at < SLOWED_S and not known:
        return _stays(state, now, least, "more was too much just now", seen, until=state.slowed_at + SLOWED_S)
    step = RISE_FAST if state.u < FIRST_U or known else RISE
    if blind and not known:
        step = 1.1
    u = min(state.u * min(step, RISE_A_SECOND ** max(passed, 0.0)), most)
    if known:
        u = min(u, good)
    if allowed is not None:
        u = min(u, max(allowed, state.u))
    return _at(state, max(u, least), now, "room" if not known else "back to what was good")


def _stays(state: State, now: float, least: float, why: str, seen: Seen, *, until: float = 0.0) -> State:
    """`until`: nothing is raised before that, whatever is seen."""
    if now - state.changed_at >= GOOD_S and seen.health.pressure <= LEAVE and seen.waiting:
        if state.u >= state.good:
            state = replace(state, good=state.u, good_room=state.room)
        elif not _less_free(state):
            state = replace(state, good=max(state.u, state.good * 0.999))
    return replace(state, u=max(state.u, least), reason=why, next_at=max(now, until))


def _good_now(state: State) -> float:
    """The load that was good, where as much is free as beside it; where less is, as much less."""
    return state.good * (state.room or 0.0) / state.good_room if _less_free(state) and state.good_room else state.good


def _less_free(state: State) -> bool:
    """Is less free for us than beside the load that was good?"""
    return state.room is not None and state.good_room is not None and state.room < NEAR_MOST * state.good_room


def _at(state: State, u: float, now: float, reason: str) -> State:
    moved = abs(u - state.u) > 0.01 * state.u
    return replace(state, u=u, reason=reason, changed_at=now if moved else state.changed_at, next_at=now)


def _slows(impact: Impact) -> str:
    return f"slows the others by {(impact.slowed or 0.0):.0%}"


def to_json(state: State) -> dict[str, Any]:
    return asdict(state)


def resumed(data: dict[str, Any], now: float, least: float) -> State:
    """A state that was stored: what was learnt stays, and it begins in recovery at the minimum, never in normal."""
    known = {field.name: data[field.name] for field in fields(State) if field.name in data}
    age = dict.fromkeys(("since", "at", "changed_at", "next_at", "cut_at", "bad_at"), now)
    gone: dict[str, Any] = dict.fromkeys(("soft_since", "clear_since", "left_at", "before", "slowed_at", "doubted"))
    return State(**{**known, **age, **gone, "mode": Mode.RECOVERY, "u": least, "reason": "resumed after a restart"})
