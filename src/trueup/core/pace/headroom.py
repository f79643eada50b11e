"""What a server's cores have free, by queueing theory: a queue that the canary does not stand in still has to form.

Who waits for a core waits the longer the fewer are free, wherever they stand: in the database, in a pool in front,
in the application. How long, as a multiple of what a request takes by itself, follows from the share of the cores that
is taken (Sakasegawa 1977, an approximation for any number of them). So the share that others take tells how much may be
added before they wait longer than they may, without a reading of anybody's latency.
"""

from __future__ import annotations

from math import sqrt

#: Cores are never taken to be fuller than this: beyond it the wait depends on how long it has lasted.
FULL = 0.98
#: What others take on average they take unevenly: for moments so many times as much, as far as half of the cores, and
#: beyond that somewhat more than on average.
MOMENTS, MOMENTS_MOST, MOMENTS_BEYOND = 5.0, 0.5, 1.2
#: Who takes less than this part of the cores is hardly there: the fewer they take, the more they may be slowed by.
HARDLY = 0.05
#: How much longer a statement may be where a core stays free beside the others and it, and how soon that is so.
LONGER, SOON = 4.0, 6.0
#: A delay of one falls on no more than so many.
SPREAD_MAX = 5.0
_LEAST = 1e-9
#: Halvings when solving for the load: to a millionth of the cores.
_STEPS = 20


def wait(cores: int, taken: float) -> float:
    """Mean wait for a core, as a multiple of the time that a request takes. `taken`: cores in use, on average."""
    share = min(max(taken / cores, 0.0), FULL)
    return float(share ** (sqrt(2 * (cores + 1)) - 1)) / (cores * (1 - share))


def slowed(cores: int, others: float, ours: float) -> float:
    """Share by which requests take longer, where others take `others` cores and we `ours`."""
    return (1 + wait(cores, others + ours)) / (1 + wait(cores, others)) - 1


def room(cores: int, others: float, protect: float) -> float:
    """The most that we may take without slowing the others by more than `protect`, on average."""
    budget = protect * max(HARDLY * cores / max(others, _LEAST), 1.0)
    others = min(MOMENTS * others, max(MOMENTS_BEYOND * others, MOMENTS_MOST * cores))
    bearable = (1 + budget) * (1 + wait(cores, others)) - 1
    low, high = 0.0, max(FULL * cores - max(others, 0.0), 0.0)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if wait(cores, others + middle) <= bearable:
            low = middle
        else:
            high = middle
    return low


def spread(cores: int, others: float) -> float:
    """On how many a delay of one falls: who waits lets a queue grow behind it, the longer the fuller the cores are."""
    return min(1 / (1 - min(max(others / cores, 0.0), FULL)), SPREAD_MAX)


def longer(cores: int, others: float) -> float:
    """How many times as long as usual a statement may be. While a core stays free beside it nobody queues for its end,
    and what each statement pays once is paid less often.
    """
    return min(max(1.0 + SOON * (cores - others - 1.0), 1.0), LONGER)
