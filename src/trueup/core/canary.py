"""Which rows go first: a few of each kind of write, spread over all keys, so that a mistake shows on a handful."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from trueup.core.decide import Action, Decision
from trueup.core.projection import Canary
from trueup.core.row import Key


def choose(decisions: Sequence[Decision], canary: Canary, *, others: int = 0) -> list[Key]:
    """Keys of the rows that go first, in order; none where there would be no rest. `others`: rows that are written,
    too, and cannot go first.

    Each kind of write has its share of them, and at least one row; within a kind they are evenly spread over the
    decisions, which are in key order as far as the run read them so.
    """
    writing = [decision for decision in decisions if decision.action is not Action.REPORT]
    wanted = canary.size_of(len(writing) + others)
    if not 0 < wanted < len(writing) + others:
        return []
    wanted = min(wanted, len(writing))
    if not wanted:
        return []
    chosen: set[int] = set()
    for action in Action:
        places = [at for at, decision in enumerate(writing) if decision.action is action]
        if places:
            share = min(len(places), max(1, round(wanted * len(places) / len(writing))))
            chosen.update(places[ceil(turn * len(places) / share)] for turn in range(share))
    return [decision.drift.key for at, decision in enumerate(writing) if at in chosen]
