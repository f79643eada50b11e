"""Suspects -> drift, in flight, resolved.

Lag is not drift. A suspect is looked at again after it had time to settle: the same pair of values twice, in a row that
nobody wrote meanwhile, is drift; a target that is right now was lag; values that moved, or a row that was written, mean
that somebody is still working on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trueup.core.compare import Suspect
from trueup.core.row import Key

#: How often a moving row is looked at, the first look included, before it is left as `in flight`.
LOOKS_MAX = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmed:
    """What the second look says of each suspect of the first."""

    #: The same pair of values both times.
    drift: list[Suspect]
    #: Still different, but not the same pair: look once more.
    moving: list[Suspect]
    #: Right now, or gone on both sides.
    resolved: list[Key]


def confirm(first: Sequence[Suspect], second: Mapping[Key, Suspect]) -> Confirmed:
    """Compare two looks at the same keys. `second` holds those that still differ."""
    drift: list[Suspect] = []
    moving: list[Suspect] = []
    resolved: list[Key] = []
    for before in first:
        now = second.get(before.key)
        if now is None:
            resolved.append(before.key)
        elif (now.pair, now.token) == (before.pair, before.token):
            drift.append(now)
        else:
            moving.append(now)
    return Confirmed(drift=drift, moving=moving, resolved=resolved)
