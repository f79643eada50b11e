"""Runs and segments: which state may follow which.

A run goes through stages in order; each stage is a series of segments, each committed with its result. What is
committed is not done again: a killed run is resumed by the next `trueup run` from there.
"""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """What a run is doing."""

    #: Segments of the partition are looked at; suspects are written down.
    NARROW = "narrow"
    #: Suspects are looked at again after they had time to settle; decisions are written down.
    CONFIRM = "confirm"
    #: The first few decisions are carried out and verified; the others follow if these are right.
    CANARY = "canary"
    #: Decisions within the limits are carried out and verified.
    REPAIR = "repair"


class RunState(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    ABANDONED = "abandoned"


#: state -> states that may follow it
TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    # A process that died leaves RUNNING behind; whoever holds the projection's lock next may take it over.
    RunState.RUNNING: frozenset(RunState),
    # Stopped at a segment border: resumed (RUNNING), or replaced by a run of a changed definition (ABANDONED).
    RunState.INTERRUPTED: frozenset({RunState.RUNNING, RunState.ABANDONED}),
    # A transient error outlived its retries: what was committed stays, the next run goes on from there.
    RunState.FAILED: frozenset({RunState.RUNNING, RunState.ABANDONED}),
    # Ended for good.
    RunState.DONE: frozenset(),
    RunState.REFUSED: frozenset(),
    RunState.ABANDONED: frozenset(),
}

RESUMABLE = frozenset({RunState.RUNNING, RunState.INTERRUPTED, RunState.FAILED})


class Outcome(StrEnum):
    """What became of one decided row. The first two are proofs."""

    #: Our transaction committed and changed this row.
    APPLIED = "applied"
    #: Our transaction did not commit, and never will.
    NOT_APPLIED = "not_applied"
    #: The row holds what we meant to write; who wrote it cannot be known.
    CONVERGED = "converged"
    #: The row had moved on since it was decided on; it was left alone.
    CAS_LOST = "cas_lost"
    #: The row was already right when its turn came: somebody else put it right.
    SUPERSEDED = "superseded"
    #: The database, or a handler, refused this row; the reason is in the evidence.
    FAILED = "failed"
    #: A handler was called, or a correction emitted, and the row does not show it, or not yet.
    CALLED = "called"


class Verdict(StrEnum):
    """The answer of a run."""

    IN_SYNC = "in_sync"
    DRIFT = "drift"
    REPAIRED = "repaired"
    INCONCLUSIVE = "inconclusive"
    REFUSED = "refused"


EXIT_CODES: dict[Verdict, int] = {
    Verdict.IN_SYNC: 0,
    Verdict.REPAIRED: 0,
    Verdict.DRIFT: 1,
    Verdict.INCONCLUSIVE: 3,
    Verdict.REFUSED: 4,
}


def may_follow(before: RunState, after: RunState) -> bool:
    return after in TRANSITIONS[before]
