"""One budget, many who want of it: nodes that hold grants, and work that waits for its turn on one node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

#: What comes first. Lower classes are not starved: see WAITED_S.
PRIORITIES = ("critical", "normal", "bulk")
#: What of a shared budget a class gets, for the same weight: where turns cannot be taken, a lower one gets a little.
CLAIMS = {"critical": 100.0, "normal": 10.0, "bulk": 1.0}
#: Who has waited so long is next, whatever its class, seconds.
WAITED_S = 60.0
#: How far behind a newcomer may begin, busy-seconds: so much it may catch up.
BEHIND_S = 0.5
#: How long a grant holds without being renewed, seconds, and how much of that its holder makes use of.
GRANT_S, USED = 6.0, 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """What somebody wants of a budget."""

    who: str
    wants: float
    weight: float = 1.0


def shares(total: float, demands: Iterable[Demand]) -> dict[str, float]:
    """Weighted max-min: nobody gets more than it wants, and nothing is left while somebody wants more.

    The order of `demands` does not matter.
    """
    found: dict[str, float] = {}
    open_ = sorted(demands, key=lambda demand: demand.who)
    left = max(total, 0.0)
    while open_:
        weight = sum(demand.weight for demand in open_)
        content = [d for d in open_ if d.wants <= left * d.weight / weight + 1e-12]
        if not content:
            return found | {d.who: left * d.weight / weight for d in open_}
        for demand in content:
            found[demand.who] = demand.wants
            left = max(left - demand.wants, 0.0)
        open_ = [demand for demand in open_ if demand.who not in found]
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """What a node may use, until when by the ledger's clock."""

    demand: Demand
    u: float = 0.0
    until: float = 0.0


def live(until: float, now: float) -> bool:
    """Does it still hold? What would hold for longer than is ever granted is of before a clock was set back."""
    return now < until <= now + GRANT_S


def granted(total: float, grants: Mapping[str, Grant], demand: Demand, now: float) -> Grant:
    """A new grant for one node: its share, but never what another may still be using."""
    theirs = [grant for who, grant in grants.items() if live(grant.until, now) and who != demand.who]
    share = shares(total, [*(grant.demand for grant in theirs), demand])[demand.who]
    others = sum(grant.u for grant in theirs)
    return Grant(demand=demand, u=max(min(share, total - others), 0.0), until=now + GRANT_S)


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """Somebody's place among those who share a node's part."""

    who: str
    priority: str = "normal"
    weight: float = 1.0
    #: Busy-seconds that it had, divided by its weight.
    had: float = 0.0
    #: When it was last served, or began to wait.
    since: float = 0.0


def next_turn(waiting: Sequence[Turn], now: float) -> Turn:
    """Whose turn it is: who has waited too long, then by class, then who has had least for its weight."""
    late = [turn for turn in waiting if now - turn.since >= WAITED_S]
    if late:
        return min(late, key=lambda turn: (turn.since, turn.who))
    return min(waiting, key=lambda turn: (PRIORITIES.index(turn.priority), turn.had, turn.who))


def served(turn: Turn, busy_s: float, now: float) -> Turn:
    """After a statement of `busy_s` seconds."""
    return replace(turn, had=turn.had + busy_s / turn.weight, since=now)


def joined(turn: Turn, others: Iterable[Turn], now: float) -> Turn:
    """One that comes, or comes back: what it missed meanwhile is not made up for."""
    least = min((other.had for other in others), default=turn.had)
    return replace(turn, had=max(turn.had, least - BEHIND_S / turn.weight), since=now)
