"""One request of the queue, carried out: held, begun, run, and written down what came of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from trueup.core.keys import sound_keys
from trueup.core.queue import Request
from trueup.core.states import RunState
from trueup.errors import (
    ConnectionFailed,
    Interrupted,
    LedgerFailed,
    Refused,
    TakenOver,
    Transient,
    TrueupError,
    UsageError,
)
from trueup.observe.log import about
from trueup.stop import Stop
from trueup.store import lock
from trueup.who import Actor, account

if TYPE_CHECKING:
    from trueup.app import Trueup
    from trueup.report import Report

log = logging.getLogger("trueup.serve")

#: What a request that is stopped for another one is told.
CANCELLED = "another run was due"
#: What a turn is told that others want the place of.
GIVES_WAY = "something more urgent waits"


def carry_out(engine: Trueup, request: Request, names: Sequence[str], node: str) -> bool:
    """Run what is asked for; False if another holds one of `names` just now, and nothing was begun.

    Whatever happens is written into the queue, and nothing is raised but what is a fault of ours.
    """
    try:
        with (
            about(projection=request.projection, request=request.id, node=node),
            lock.hold(engine.ledger.engine, *names, lost=partial(_lost, engine), lease_s=engine.lease_s),
        ):
            _under_lock(engine, request, names, node)
    except TakenOver as lost:  # what is known of it is the other node's now
        log.warning("%s", lost)
    except Refused:
        return False
    except LedgerFailed as failed:  # the next node that holds its lane finds it unfinished
        log.error("%s", failed)
    return True


def _under_lock(engine: Trueup, request: Request, names: Sequence[str], node: str) -> None:
    """Nobody else runs in this lane: what is said to be running in it is not."""
    now = partial(_now, engine)
    only = names[0] == request.projection and not request.over_all  # keys have no lane of their own here
    engine.queue.orphaned(request.projection, None if only else request.over_all, now())
    begun = engine.queue.begin(request.id, node, now())
    if begun is None:
        return
    log.info("%s: %s begun: %s", begun.projection, begun.command, begun.reason)
    try:
        report = _run(engine, begun)
    except (TakenOver, LedgerFailed):
        raise
    except Interrupted as asked:
        if engine.stop_after_segment.reason == CANCELLED:
            _abandon(engine, begun)
            engine.queue.end(begun, "failed", now(), run=None, answer=CANCELLED)
        elif begun.in_turn:  # it is asked for again when there is time
            engine.queue.end(begun, "skipped", now(), run=None, answer=str(asked))
        else:
            engine.queue.again(begun, now(), not_before=now(), answer=str(asked))
    except TrueupError as error:
        at = _again_at(engine, request, error, now())
        if at is None:
            engine.queue.end(begun, "failed", now(), run=None, answer=str(error))
        else:
            engine.queue.again(begun, now(), not_before=at, answer=str(error))
        log.log(logging.WARNING if at or isinstance(error, Transient) else logging.ERROR, "%s", error)
    except Exception as fault:
        engine.queue.end(begun, "failed", now(), run=None, answer=f"a fault of Trueup's: {type(fault).__name__}")
        log.exception("%s: a fault of Trueup's", begun.projection)
    else:
        engine.queue.end(begun, "done", now(), run=report.run, answer=str(report.verdict))
        facts = {"run": report.run, "verdict": str(report.verdict), "seconds": round(report.seconds, 3)}
        log.info("%s: %s in %.1f s", begun.projection, report.verdict, report.seconds, extra=facts)


def _again_at(engine: Trueup, request: Request, error: TrueupError, now: datetime) -> datetime | None:
    """When a request is tried again that nobody would make again: when no switch holds up its projection, or when the
    database is there, asked twice as seldom each time that it says the same; None: never. `request`: as it waited.
    """
    if not request.once:
        return None
    if not engine.standing.control(request.projection).allows(request.command, now):
        return now  # it waits for as long as that lasts, and not longer
    if not isinstance(error, ConnectionFailed):
        return None
    retry = engine.patience.retry
    again = request.begun_at is not None and request.answer == str(error)
    waited = request.not_before - request.begun_at if again and request.begun_at else timedelta(0)
    return now + min(max(2 * waited, timedelta(seconds=retry.pause)), timedelta(seconds=retry.pause_longest))


def _run(engine: Trueup, request: Request) -> Report:
    engine.actor = _who(engine, request)
    engine.forget()
    if request.in_turn:
        return engine.in_turn(request.command, request.projection)
    if request.command == "apply":
        return engine.apply(request.about)
    if request.command == "rollback":
        return engine.rollback(request.about, keys=request.keys, only_plan=True)
    work = {"run": engine.run, "check": engine.check, "plan": engine.plan}[request.command]
    try:
        return work(request.projection, keys=request.keys)
    except UsageError:
        keys = request.keys or ()
        sound = sound_keys(engine.binding(request.projection, writing=False), keys)
        if len(sound) in (0, len(keys)):
            raise
        log.warning("%s: %d keys that cannot be keys of it are left out", request.projection, len(keys) - len(sound))
        return work(request.projection, keys=sound)


def _who(engine: Trueup, request: Request) -> Actor:
    """Who asked, as far as the queue keeps it; else the account that this node runs under."""
    if not request.actor:
        return account()
    if request.asked_by == "api":
        return Actor(name=request.actor, by="api")
    return Actor(name=request.actor, by="variable" if engine.identity == "variable" else "os")


def _abandon(engine: Trueup, request: Request) -> None:
    """The run that was stopped for another is not gone on with: that one looks anew."""
    for row in engine.ledger.unfinished(request.projection, (request.projection,))[:1]:
        engine.ledger.set_state(row, RunState.ABANDONED, ended_at=engine.clock.now(), reason=CANCELLED)


def _now(engine: Trueup) -> datetime:
    return engine.queue.now(engine.clock.now())


def fresh_stop(engine: Trueup) -> Stop:
    """What stops the next run of this engine, and no other."""
    engine.stop_after_segment = Stop()
    engine.clock.go_on()
    return engine.stop_after_segment


def end_run(engine: Trueup, reason: str) -> None:
    """The run that goes on ends at its next border, and waits for nothing until then."""
    engine.stop_after_segment.asked, engine.stop_after_segment.reason = True, reason
    engine.clock.interrupt()


def _lost(engine: Trueup) -> None:
    """Another node has taken over. What is left here ends, so that this node can do something else."""
    engine.stop_after_segment.lost()
    engine.clock.interrupt()
