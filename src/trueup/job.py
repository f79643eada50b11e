"""What a run is asked to do, and with what."""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from typing import Protocol as Interface

from trueup._version import __version__
from trueup.adapters import Adapter
from trueup.clock import Clock
from trueup.core.backfill import Backfill
from trueup.core.binding import Binding
from trueup.core.compare import DriftKind
from trueup.core.decide import WRITES, Action, action_for
from trueup.core.guarantee import Promise, Protocol
from trueup.core.lanes import lane, lanes
from trueup.core.partition import Slice
from trueup.core.plan import Segment
from trueup.core.projection import Canary
from trueup.core.row import Key
from trueup.core.shapes import written
from trueup.core.told import Fact, sha256
from trueup.hands import Hands
from trueup.observe import Progress
from trueup.patience import Patience
from trueup.side_by_side import Covered, Pair
from trueup.store.acceptances import Acceptances
from trueup.store.lease import LEASE_S
from trueup.store.ledger import Ledger
from trueup.store.plans import PlanRow, Plans
from trueup.store.quarantine import Quarantine
from trueup.store.standing import Standing
from trueup.who import Actor

#: Commands that write to the target.
WRITING = ("run", "apply", "rollback")


@dataclass(frozen=True, kw_only=True, slots=True)
class Undoing:
    """The run that is undone."""

    run: str
    #: Of its rows, only these, each in the spellings that it may have; None: all.
    keys: tuple[tuple[Key, ...], ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a first look at a segment found."""

    pieces: Iterable[Covered]
    #: When it was read; None: as each piece comes.
    at: datetime | None = None
    #: How long that took, seconds; None: not over yet.
    took_s: float | None = None

    @staticmethod
    def of_all(pieces: Sequence[Covered], *, began: datetime, ended: datetime, took_s: float) -> Reading:
        """All of a segment. What differs may have been seen at the very end, and settles from then on, however long
        reading took; what does not was equal at the beginning.
        """
        differs = any(piece.suspects for piece in pieces)
        return Reading(pieces=pieces, at=ended if differs else began, took_s=took_s)


class Elsewhere(Interface):
    """Who looks at segments first, where it is not this process."""

    def width(self) -> int:
        """Segments that are read at a time. Raises Transient where nobody is there."""

    def reading(
        self, *, lots: bool, look: Callable[[], None]
    ) -> AbstractContextManager[Callable[[Segment], Callable[[], Reading]]]:
        """Begins to read a segment, and gives what waits for it. `look`: called now and then while that waits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What a run is asked to do, and with what."""

    #: `check`, `plan`, `apply`, `run` or `rollback`.
    command: str
    pair: Pair
    target: Adapter
    promise: Promise
    settle_s: float
    ledger: Ledger
    standing: Standing
    plans: Plans
    acceptances: Acceptances
    #: Who asks.
    actor: Actor
    clock: Clock
    progress: Progress
    patience: Patience
    quarantine: Quarantine
    #: Fingerprint of the declaration.
    definition: str
    #: Explicit keys; None: all.
    keys: tuple[Key, ...] | None = None
    #: Partitions that were asked for; None: all.
    partitions: tuple[Slice, ...] | None = None
    #: Read everything, whatever could be taken as unchanged.
    full: bool = False
    #: Read only what has been unverified for longest.
    in_turn: bool = False
    #: What is called instead of writing.
    hands: Hands = field(default_factory=Hands)
    #: The plan to carry out, for `apply`.
    plan: PlanRow | None = None
    #: The run that is undone, for `rollback` and for plans of it.
    undoing: Undoing | None = None
    #: Fingerprint of where the projection's rows are written: a run is only undone where it wrote.
    place: str = ""
    #: Rows that are written before the others; None: none.
    canary: Canary | None = None
    #: How long what it holds lasts without being renewed, seconds.
    lease_s: float = LEASE_S
    #: Only make a plan of it.
    only_plan: bool = False
    #: What exactly is declared, by whose code: its fingerprint in the registry of definitions.
    described: str | None = None
    #: Under which what was done once is not done again; None: nothing of the kind.
    revision: str | None = None
    #: Rows listed in the report; 0: all.
    rows: int = 100
    #: What one repair transaction aims at by now, seconds; None: as usual.
    hold_s: Callable[[], float | None] = lambda: None
    #: Where segments are looked at first; None: in this process.
    elsewhere: Elsewhere | None = None

    @property
    def name(self) -> str:
        return self.pair.name

    @property
    def plan_id(self) -> str | None:
        return None if self.plan is None else self.plan.id

    @property
    def undoes(self) -> str | None:
        """The run that it undoes."""
        return None if self.undoing is None else self.undoing.run

    @property
    def lane(self) -> str:
        """What excludes it and similar runs, and the fence that it writes under."""
        beside = self.keys is not None and self.plan is None and self.undoing is None
        return lane(self.pair.binding.projection, keys=beside)

    @property
    def holds(self) -> tuple[str, ...]:
        """What it holds while it goes on. A plan or a rollback may be about any row: nothing goes on beside it."""
        alone = self.plan is not None or self.undoing is not None
        return lanes(self.pair.binding.projection) if alone else (self.lane,)

    @property
    def by_turns(self) -> bool:
        """Does it read only parts whose turn it is, once a run has read everything?"""
        by_age = bool(self.pair.binding.projection.partition.verify) and self.partitions is None and not self.full
        return self.in_turn or by_age

    @property
    def one_look(self) -> bool:
        """One look at a row is proof, so what was counted is drift. Not of a row that may be in two partitions."""
        binding = self.pair.binding
        return self.settle_s == 0 and binding.one_database and not binding.movable

    @property
    def writes(self) -> bool:
        return self.command in WRITING


def record_of(job: Job) -> dict[str, Any]:
    """What the ledger keeps of a run that does this job, and `told`, for its first audit line."""
    binding = job.pair.binding
    return {
        "id": new_id("r"),
        "projection": job.name,
        "command": job.command,
        "definition": job.definition,
        "code_version": __version__,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "actor": job.actor.name,
        "plan": job.plan_id,
        "undoes": job.undoes,
        "place": job.place,
        "kinds": json.dumps(binding.kinds),
        "columns": json.dumps(binding.columns),
        "shapes": json.dumps(written(binding)),
        "hidden": json.dumps(binding.hidden),
        "told": told_of(job),
        "guarantee": json.dumps(job.promise.to_dict(), ensure_ascii=False),
        "started_at": job.clock.now(),
        "keys": job.keys,
        "lane": job.lane,
        "described": job.described,
        "revision": job.revision,
    }


def told_of(job: Job) -> dict[str, Fact]:
    """What the audit log is told of a run beside its record: limits, and the statements by which it writes."""
    binding = job.pair.binding
    told: dict[str, Fact] = {
        "guarantee": job.promise.guarantee,
        "limits": binding.projection.limits.model_dump_json(),
        "pid": str(os.getpid()),
    }
    if job.plan is not None:
        told["plan_hash"] = job.plan.hash
    if job.described is not None:
        told["described"] = job.described
    if isinstance(binding.projection, Backfill):
        told["code_sha256"], told["revision"] = binding.projection.code, binding.projection.revision
    if job.command != "check" and job.promise.protocol is not Protocol.NONE:
        told["statements"] = {a: sha256(text) for a, text in statements(job.target, binding).items()}
    return told


def statements(target: Adapter, binding: Binding) -> dict[Action, str]:
    """What is behind each action of a repair: the statement as the database would get it, or who is asked."""
    projection = binding.projection
    found = {action: target.statement(binding, action) for action in WRITES} if projection.written else {}
    for kind in projection.handlers:
        action, name = action_for(DriftKind(kind), projection), projection.handlers[kind].name
        found[action] = f"{found[action]}; {name}" if found.get(action, name) != name else name
    return found


def new_id(prefix: str) -> str:
    """`r-…` for a run, `p-…` for a plan."""
    return f"{prefix}-{uuid.uuid4().hex[:10]}"
