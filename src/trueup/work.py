"""What reconciling a segment works with, and how it looks at rows: patiently, and as often as it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from trueup.adapters import Adapter, delivered
from trueup.clock import Clock
from trueup.core.compare import Suspect, classify
from trueup.core.confirm import LOOKS_MAX, confirm
from trueup.core.difference import in_words, off_by
from trueup.core.guarantee import Promise, Protocol
from trueup.core.plan import KEYS_AT_ONCE, Keys, Segment, UnitSize, by_keys
from trueup.core.row import Batch, Key, Values
from trueup.core.writers import Writers
from trueup.discreet import discreet_words
from trueup.errors import DataProblem, Interrupted
from trueup.hands import Hands
from trueup.narrow import narrow
from trueup.patience import Patience
from trueup.side_by_side import Covered, Pair
from trueup.store.ledger import Ledger

#: So long after a look that was proof nothing is looked at again; later the row may have been put right.
PROOF_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What reconciling a segment needs."""

    pair: Pair
    target: Adapter
    ledger: Ledger
    clock: Clock
    patience: Patience
    promise: Promise
    #: Seconds between two looks.
    settle_s: float
    run: str
    #: Held by every unit.
    fence: str
    #: Fencing token of this run in the target; 0 where it has no fence.
    token: int = 0
    #: Called before each unit: raises if the run must stop here, waits while it is paused.
    border: Callable[[], None] = lambda: None
    #: What is to be repaired was looked at by this very run, not by a plan or before an interruption.
    fresh: bool = False
    #: Carry out a plan to the letter: rows that moved since are left alone.
    as_planned: bool = False
    #: A rollback: what the rows are to be, by the ledger (None: not to be). None: what the source says.
    images: Mapping[Key, Values | None] | None = None
    #: Rows of a rollback that are put back by a difference: their values do not tell whether they are.
    by_difference: frozenset[Key] = frozenset()
    size: UnitSize = field(default_factory=UnitSize)
    #: What is called instead of writing.
    hands: Hands = field(default_factory=Hands)
    #: Rows that could not be read when they were looked at again, and why.
    unread: dict[Key, str] = field(default_factory=dict)
    #: Rows that the target's database refused.
    refused: list[Key] = field(default_factory=list)

    def proven(self, suspect: Suspect) -> bool:
        """One look is proof: both sides were read at the same instant, and writers commit both together."""
        return suspect.instant and self.settle_s == 0

    @property
    def proof_since(self) -> datetime | None:
        """What was seen before then may have been put right. None: all is measured again anyhow, each at one moment."""
        return None if self.promise.delta else self.clock.now() - timedelta(seconds=PROOF_S)

    def vouched(self, suspect: Suspect) -> bool:
        """The row's version, if it is unchanged, proves that its source is: what was read with it still holds.

        That needs writers that touch the row whenever they change its source, and a database that has row versions. A
        missing row has no version: that it is still missing is the proof, for writers that would have made it.
        """
        versioned = bool(suspect.token) or suspect.observed is None
        projection = self.pair.binding.projection
        touched = projection.writers is Writers.SAME_TRANSACTION or projection.pending is not None
        together = self.promise.protocol is Protocol.LOCK and touched and not self.promise.delta
        return together and versioned and self.fresh and self.proven(suspect)


def look(work: Work, keys: Iterable[Key]) -> dict[Key, Suspect]:
    """Those of `keys` whose rows differ now: from the source, or from the ledger's images in a rollback.

    Of rows that cannot be read `work.unread` says why.
    """
    if work.images is not None:
        return _unlike(work, work.images, list(keys))
    found: dict[Key, Suspect] = {}
    waiting = by_keys(list(keys))
    while waiting:
        segment = waiting.pop()
        try:
            pieces = work.patience.read(partial(_read, work.pair, segment))
        except DataProblem as problem:
            if len(segment.keys) == 1:
                work.unread[segment.keys[0]] = discreet_words(work.pair.binding.projection, problem)
            else:
                waiting += by_keys(segment.keys, (len(segment.keys) + 1) // 2)
            continue
        found.update((suspect.key, suspect) for covered in pieces for suspect in covered.suspects)
    return found


def rows_now(work: Work, keys: Iterable[Key]) -> dict[Key, tuple[Values, str]]:
    """The target's rows of `keys`: values and version."""
    found: dict[Key, tuple[Values, str]] = {}
    for segment in by_keys(list(keys), KEYS_AT_ONCE):
        for batch in work.patience.read(partial(_target_rows, work, segment)):
            tokens = batch.tokens or [""] * len(batch)
            for at in range(len(batch)):
                found[batch.key(at)] = (tuple(column[at] for column in batch.values), tokens[at])
    return found


def _target_rows(work: Work, segment: Keys) -> list[Batch]:
    binding = work.pair.binding
    stream = work.target.stream(binding, binding.target, segment, tokens=True)
    return [batch.clean(binding.value_kinds) for batch in delivered(stream, f"{work.pair.name}: the target")]


def _unlike(work: Work, images: Mapping[Key, Values | None], keys: Sequence[Key]) -> dict[Key, Suspect]:
    """Rows that are not as their images; of those that a difference is put back to, nothing is known."""
    now = rows_now(work, keys)
    found: dict[Key, Suspect] = {}
    for key in keys:
        if key in work.by_difference:
            continue
        observed, token = now.get(key, (None, ""))
        kind = classify(images.get(key), observed, None)
        if kind is not None:
            found[key] = Suspect(kind=kind, key=key, expected=images.get(key), observed=observed, token=token)
    return found


def _read(pair: Pair, segment: Segment) -> list[Covered]:
    return list(narrow(pair, segment))


def measured_twice(
    work: Work, suspects: Sequence[Suspect], *, first_wait_s: float
) -> tuple[list[Suspect], list[tuple[Suspect, str]], list[Key]]:
    """What rows are off by, measured again: those that are off by the same, those that are not, and those now right.

    Writers that change source and target together never change what a row is off by: if it changed, something is
    making drift right now.
    """
    if suspects and work.clock.wait(max(first_wait_s, 0.0)):
        raise Interrupted(f"{work.pair.name}: stopped between two measurements; run again to go on")
    now = look(work, [suspect.key for suspect in suspects])
    same: list[Suspect] = []
    growing: list[tuple[Suspect, str]] = []
    for first in suspects:
        seen = now.get(first.key)
        before, after = off_by(first), None if seen is None else off_by(seen)
        if seen is None or before is None:
            continue
        if after == before:
            same.append(seen)
        else:
            by = "a difference that cannot be measured" if after is None else in_words(after)
            growing.append((seen, f"the drift is growing: off by {in_words(before)}, then by {by}; find who makes it"))
    return same, growing, [first.key for first in suspects if first.key not in now]


def confirmed(
    work: Work, suspects: Sequence[Suspect], *, first_wait_s: float
) -> tuple[list[Suspect], list[Key], list[Suspect]]:
    """Look again until every suspect is drift or resolved, or was seen moving often enough."""
    drift = [suspect for suspect in suspects if work.proven(suspect)]
    resolved: list[Key] = []
    moving = [suspect for suspect in suspects if not work.proven(suspect)]
    wait_s = first_wait_s
    for _ in range(LOOKS_MAX - 1):
        if not moving:
            break
        if work.clock.wait(wait_s):
            raise Interrupted(f"{work.pair.name}: stopped while waiting for suspects to settle; run again to go on")
        seen = confirm(moving, look(work, [suspect.key for suspect in moving]))
        drift += [*seen.drift, *(suspect for suspect in seen.moving if work.proven(suspect))]
        resolved += [key for key in seen.resolved if key not in work.unread]
        moving, wait_s = [suspect for suspect in seen.moving if not work.proven(suspect)], work.settle_s
    return drift, resolved, moving
