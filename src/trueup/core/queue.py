"""What waits to be run: how requests are merged, what overlaps, and which goes next. No clock, no database."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from trueup.core.lanes import lane
from trueup.core.projection import Projection

#: Most keys that wait for one projection; beyond it a run over all of them is cheaper, and the queue stays small.
KEYS_MAX = 5_000
#: How often a request is begun before it is given up: each time its node died, or was taken over.
ATTEMPTS_MAX = 5

#: Ways in which somebody asks, and not something: who it was is kept.
PEOPLE = ("command", "api")

#: Who asks for what has been unverified for longest, when nothing else is to be done.
CONTINUOUS = "continuous"
#: Who asks for all keys and is told of a failure, or asks again; events and starts are not.
_SEES_TO_IT = (*PEOPLE, "schedule", CONTINUOUS)

AskedKeys = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """Something to be run, as the queue has it."""

    id: str
    projection: str
    command: str
    #: The plan that is to be applied, or the run that is to be undone; empty: what the command finds.
    about: str
    #: Explicit keys as they were given; None: all.
    keys: AskedKeys | None
    reason: str
    #: `schedule`, `startup`, one of `PEOPLE`, or the kind of a trigger.
    asked_by: str
    actor: str
    #: The most urgent is 0.
    priority: int
    #: What was merged into it.
    merged: int
    tick: datetime | None
    requested_at: datetime
    not_before: datetime
    state: str
    cancelled: bool
    attempts: int
    node: str
    begun_at: datetime | None
    ended_at: datetime | None
    run: str | None
    answer: str

    @property
    def over_all(self) -> bool:
        return self.keys is None

    @property
    def once(self) -> bool:
        """Nobody asks for it again: an event was settled when this was in the queue, or when it was merged into it."""
        return not self.over_all or self.merged > 1 or self.asked_by not in _SEES_TO_IT

    def is_due(self, now: datetime) -> bool:
        """Is it waited for? One of a tick is, while its beginning is put off by `jitter`."""
        return self.tick is not None or self.not_before <= now

    @property
    def in_turn(self) -> bool:
        """It is for what has been unverified for longest, and gives way to whatever somebody asks for."""
        return self.asked_by == CONTINUOUS


class Arrival(StrEnum):
    """What becomes of a request over all keys when it comes."""

    #: It waits.
    ADD = "add"
    #: Another waits, and does for both.
    MERGE = "merge"
    #: It is left out.
    SKIP = "skip"
    #: It waits, and the one that goes on is stopped at its next segment border.
    CANCEL = "cancel"


def arriving(overlap: str, *, waiting: bool, running: bool, asked: bool) -> Arrival:
    """`waiting`, `running`: is there another over all keys; `asked`: it is no tick, somebody wants to know how it is
    from now on, so that a run which has begun is no answer.
    """
    if waiting:
        return Arrival.MERGE
    if not running:
        return Arrival.ADD
    if overlap == "cancel":
        return Arrival.CANCEL
    return Arrival.ADD if asked or overlap == "queue" else Arrival.SKIP


def merged_keys(before: AskedKeys, more: AskedKeys) -> list[Mapping[str, Any]] | None:
    """Both, each key once, in order of arrival; None: they are too many, all keys are to be looked at."""
    found = {json.dumps(key, sort_keys=True, default=str): key for key in (*before, *more)}
    return None if len(found) > KEYS_MAX else list(found.values())


def begins_at(waits: Request, more: Request) -> datetime:
    """When a waiting request begins that another was merged into: as soon as one of them may. A pause after a failure
    is only cut short by people, or a storm of events would ask a database again and again that refuses us.
    """
    failed = bool(waits.answer) and more.asked_by not in PEOPLE
    return waits.not_before if failed else min(waits.not_before, more.not_before)


def able(
    waiting: Iterable[Request],
    projections: Mapping[str, Projection],
    allowed: Callable[[Request], bool],
    now: datetime,
) -> list[Request]:
    """Waiting requests that no switch holds up: none of their own projection, and none of one that they come after and
    that waits as well. `allowed`: as far as their own projection goes.
    """
    free: list[Request] = []
    held: list[Request] = []
    for request in waiting:
        if request.projection in projections:
            (free if allowed(request) else held).append(request)
    while held:
        names = {request.projection for request in held if request.is_due(now)}
        held = [request for request in free if names & set(projections[request.projection].after)]
        behind = {request.id for request in held}
        free = [request for request in free if request.id not in behind]
    return free


def choose(
    waiting: Iterable[Request],
    running: Collection[Request],
    projections: Mapping[str, Projection],
    apart: Callable[[str], Collection[str]],
    now: datetime,
) -> list[Request]:
    """Waiting requests that may begin, the one that goes first at the front.

    `apart`: the projections that never run at the same time as this one. Other nodes have a say as well: what is chosen
    here has still to be held.
    """
    queued = [request for request in waiting if request.projection in projections]
    lanes = {_lane(projections, request) for request in running if request.projection in projections}
    names = {request.projection for request in running}
    alive = names | {request.projection for request in queued if request.is_due(now)}
    free = []
    for request in sorted(queued, key=lambda r: (r.priority, r.over_all, r.requested_at, r.id)):
        before = set(projections[request.projection].after) & alive
        alone = _lane(projections, request) not in lanes and not names & set(apart(request.projection))
        if request.not_before <= now and alone and not before:
            free.append(request)
    return free


def gives_way(
    turn: Request,
    urgent: Iterable[Request],
    projections: Mapping[str, Projection],
    apart: Collection[str],
    *,
    crowded: bool,
) -> bool:
    """Is a turn to stop at its next border, for requests that could begin if it were not there?

    `apart`: projections that never run at the same time as its own; `crowded`: no worker is free for them.
    """
    mine = _lane(projections, turn)
    return any(crowded or other.projection in apart or _lane(projections, other) == mine for other in urgent)


def _lane(projections: Mapping[str, Projection], request: Request) -> str:
    return lane(projections[request.projection], keys=not request.over_all)
