"""A trial: two settings of one database in turn, and what the others feel under each.

    A B, B A, A B, ...     each part: switch, wait until all nodes have followed, then read

Each round has both, one right after the other, and rounds begin with either in turn: what changes slowly meanwhile
falls on both. The canary is read as the governor reads it, on a connection of the trial's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Any

from trueup.adapters import Probe
from trueup.clock import Clock
from trueup.core.pace.settings import Override
from trueup.errors import Interrupted, Refused
from trueup.pace.reading import read
from trueup.store.paces import PaceRow, Paces
from trueup.who import Actor

#: Seconds until every node has followed: it asks each two, and ends what it has begun.
FOLLOW_S = 5.0
#: Seconds between two readings of the canary, and two looks.
READ_S, LOOK_S = 0.02, 0.25
#: Quantiles of the canary that are told, percent.
QUANTILES = (50, 95, 99)


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What was seen in one part of a trial."""

    #: Times of the canary, milliseconds.
    canary_ms: Sequence[float]
    #: Transactions that were committed a second, by anybody; None: not told.
    commits_per_s: float | None
    #: Statements of ours in flight, on average; None: not told.
    ours: float | None
    #: Was there still somebody at work at its end?
    at_work: bool = True

    def quantile(self, share: float) -> float:
        ordered = sorted(self.canary_ms)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """Both settings, side by side; parts at the same place are of one round."""

    database: str
    #: What was tried in place of what holds, as NAME=VALUE.
    instead: str
    part_s: float
    as_it_is: Sequence[Part]
    other: Sequence[Part]

    @property
    def certainty(self) -> float:
        """With which probability the range of the rounds holds the ratio: that not all of them err to the same side."""
        return float(1 - 2 ** (1 - len(self.other)))

    @property
    def at_work(self) -> list[bool]:
        """Of each round: was somebody at work as it is? Else it says nothing of what that costs."""
        return [part.at_work for part in self.as_it_is]

    def ratios(self, share: float) -> list[float]:
        """Times of the canary as it is against the other, round by round, at this quantile."""
        pairs = zip(self.as_it_is, self.other, strict=True)
        return [here.quantile(share) / max(there.quantile(share), 1e-6) for here, there in pairs]

    def commits(self) -> list[float]:
        """The same of transactions a second; none where they are not told."""
        pairs = [(a.commits_per_s, b.commits_per_s) for a, b in zip(self.as_it_is, self.other, strict=True)]
        known = [here / there for here, there in pairs if here is not None and there]
        return known if len(known) == len(pairs) else []

    def to_dict(self) -> dict[str, Any]:
        """As plain values: means of the parts; ratios of the median round, and of each."""

        def side(parts: Sequence[Part]) -> dict[str, Any]:
            told: dict[str, Any] = {f"p{q}": fmean(part.quantile(q / 100) for part in parts) for q in QUANTILES}
            told["readings"] = sum(len(part.canary_ms) for part in parts)
            told["commits_per_s"] = _mean([part.commits_per_s for part in parts])
            return {**told, "in_flight": _mean([part.ours for part in parts])}

        ratios = {f"p{q}": self.ratios(q / 100) for q in QUANTILES}
        return {
            "database": self.database,
            "rounds": len(self.other),
            "part_s": self.part_s,
            "as_it_is": side(self.as_it_is),
            "instead": {"settings": self.instead, **side(self.other)},
            "slowed": {name: median(found) for name, found in ratios.items()},
            "slowed_by_round": ratios,
            "commits_by_round": self.commits(),
            "at_work_by_round": self.at_work,
            "certainty": self.certainty,
        }


class Switch:
    """Lets other settings hold, and again what was set before; what somebody else sets meanwhile is never undone."""

    def __init__(
        self,
        paces: Paces,
        before: PaceRow,
        instead: Override,
        *,
        by: Actor,
        why: str,
        for_s: float,
        monotonic: Callable[[], float],
    ) -> None:
        """`for_s`: the other settings end by themselves after so long."""
        self._paces, self._before, self._instead = paces, before, instead
        self._by, self._why, self._for_s, self._monotonic = by, why, for_s, monotonic
        self._held, self._began = before.held, monotonic()

    def turn(self, other: bool) -> None:
        """Raises Refused where somebody else has set something."""
        before = self._before
        self._held = self._paces.set(
            before.database,
            self._instead if other else before.override,
            by=self._by,
            why=self._why if other else before.override_why,
            for_s=self._for_s if other else self._left_s(),
            held_by="" if other else before.override_by,
            in_place_of=self._held,
        )

    def back(self) -> None:
        """What was set before holds, unless somebody else has set something."""
        with suppress(Refused):
            self.turn(False)

    def _left_s(self) -> float | None:
        """How long what was set before would hold from now on."""
        left = self._before.override_left_s
        return None if left is None else max(left - (self._monotonic() - self._began), 0.0)


def _mean(values: Sequence[float | None]) -> float | None:
    """None where one is not known."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def alternate(
    probe: Probe,
    clock: Clock,
    switch: Callable[[bool], None],
    *,
    rounds: int,
    part_s: float,
    trips: int = 1,
    at_work: Callable[[], bool] = lambda: True,
) -> tuple[list[Part], list[Part]]:
    """Parts as it is, and with the other settings. `switch(True)` lets these hold, `switch(False)` undoes it. `trips`:
    round trips of a reading. `at_work`: is somebody?

    Raises Interrupted where `clock` was interrupted, Transient where the database cannot be read.
    """
    seen: tuple[list[Part], list[Part]] = ([], [])
    for at in range(rounds):
        for other in (False, True) if at % 2 == 0 else (True, False):
            switch(other)
            if clock.wait(FOLLOW_S):
                raise Interrupted
            seen[other].append(replace(_part(probe, clock, part_s, trips), at_work=at_work()))
    return seen


def _part(probe: Probe, clock: Clock, part_s: float, trips: int) -> Part:
    began = looked_at = clock.monotonic()
    took_ms: list[float] = []
    first = last = probe.look()
    ours = [first.own]
    while (now := clock.monotonic()) - began < part_s or not took_ms:
        read(probe, trips)
        took_ms.append((clock.monotonic() - now) * 1000)
        if now - looked_at >= LOOK_S:
            looked_at, last = now, probe.look()
            ours.append(last.own)
        if clock.wait(READ_S):
            raise Interrupted
    passed, commits = looked_at - began, None
    if first.transactions is not None and last.transactions is not None and passed > 0:
        more = last.transactions - first.transactions
        commits = more / passed if more >= 0 else None  # a database that is dropped takes its count with it
    return Part(canary_ms=took_ms, commits_per_s=commits, ours=_mean(ours))
