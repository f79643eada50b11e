"""MANY RUNS: triggers and ticks -> queue -> what may go on side by side -> held, run.

    every poll:   settle ticks -> look after lost nodes -> choose -> hand to a worker thread

The queue is in the ledger and shared by all nodes. A node looks at it every `poll`, or at once when something on this
node has added to it. Which node runs a request is decided by holding its names (`store.lock`), and no leader is
elected: any node can vanish at any moment, and the others find what it left.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trueup._version import __version__
from trueup.alerting.watch import Watch
from trueup.core.lanes import holds, lane, partners
from trueup.core.queue import AskedKeys, Request, able, choose, gives_way
from trueup.core.schedule import begins, due
from trueup.errors import ConfigError, ConnectionFailed, LedgerFailed, Refused
from trueup.files import file_system, on_network
from trueup.listening import Listeners, listeners_of
from trueup.pace.admission import Caused
from trueup.retention import Retention
from trueup.store import lock
from trueup.store.listening import Stands
from trueup.store.nodes import Nodes
from trueup.store.requests import asked
from trueup.turns import Turns, urgent
from trueup.worker import CANCELLED, GIVES_WAY, carry_out, end_run, fresh_stop

if TYPE_CHECKING:
    from trueup.app import Trueup
    from trueup.core.projection import Projection

log = logging.getLogger("trueup.serve")

#: A run over all keys that took longer than this is heavy, if nothing is declared, seconds.
HEAVY_S = 60.0
#: What another held is tried again after this long, seconds.
AGAIN_S = 1.0
#: How long a trigger may take to end, seconds.
LISTENING_S = 15.0
#: How long a message may take to be sent when a node ends, seconds.
SENDING_S = 25.0
#: How long a batch of what is forgotten may take when a node ends, seconds.
FORGETTING_S = 15.0
#: What was settled so far ahead of now was so before the clock was set back.
SET_BACK = timedelta(minutes=1)
#: How often other nodes are told that this one is there.
SEEN_EVERY = timedelta(seconds=10)
#: The loop goes on as long as it looks again within three times its period and this, seconds.
GOES_ON_S = 10.0


class Node:
    """One process that serves.

    `open_engine` makes an engine for each worker, and one that looks after the queue; none is shared by two threads.
    `asks`: it asks for runs by itself, on schedules and events; without, it only works off what others ask for.
    Raises ConfigError where the ledger lies on a file system that other machines write to as well, LedgerFailed where
    it cannot be reached.
    """

    def __init__(
        self,
        open_engine: Callable[[], Trueup],
        *,
        workers: int = 4,
        executor: Executor | None = None,
        asks: bool = True,
    ) -> None:
        self.engine = open_engine()
        self.asks = asks
        self.id = f"n-{uuid.uuid4().hex[:10]}"
        self.idle = [open_engine() for _ in range(workers)]
        #: For threads that only ask: any number of them use its ledger, and nothing else of it.
        self.asking = open_engine()
        self.listeners = listeners_of(self.asking, self.id, self.ask) if asks else Listeners([])
        self.turns = Turns(self.engine)
        self.watch = Watch(open_engine())
        self.retention = Retention(open_engine())
        #: All of them.
        self.engines = (self.engine, self.asking, self.watch.engine, self.retention.engine, *self.idle)
        for engine in self.engines:
            _opened(engine)  # now, and not at a moment at which the ledger is away
        self.executor = executor or ThreadPoolExecutor(workers, thread_name_prefix="trueup-run")
        #: Requests that this node carries out, with the engine that does it.
        self.busy: dict[str, tuple[Request, Trueup]] = {}
        self.woken = threading.Event()
        self.stopping = False
        #: The loop has failed if it does not look again before that, by a clock that only goes forward.
        self._goes_on_until = 0.0
        self._changing = threading.RLock()
        #: What is declared, and the backfills that are asked for: those are in files, and the ledger knows them.
        self.known: dict[str, Projection] = dict(self.engine.projections)
        #: Requests that another held when they were tried -> when to try again, by a clock that only goes forward.
        self._later: dict[str, float] = {}
        self._seen = datetime.min.replace(tzinfo=self.now().tzinfo)

    # --- the loop ----------------------------------------------------------------------------------------------------

    def serve(self, poll_s: float = 1.0) -> None:
        """Look after the queue until `stop`; returns when the last run has ended at its border."""
        self.begin()
        self.listeners.start()
        self.watch.start()
        self.retention.start()
        while not self.stopping:
            self.woken.clear()
            try:
                self.step()
                self._goes_on_until = self.engine.clock.monotonic() + 3 * poll_s + GOES_ON_S
            except LedgerFailed as failed:  # the ledger's server may come back
                log.error("%s", failed)
            self.woken.wait(poll_s)
        self.listeners.join(LISTENING_S)
        self.executor.shutdown(wait=True)
        self.retention.stop(FORGETTING_S)
        self.watch.stop(SENDING_S)
        with contextlib.suppress(LedgerFailed):
            self.nodes.gone(self.id)
            Stands(self.engine.ledger).gone(self.id)
        self.close()

    def begin(self) -> None:
        """Ask for what is to run when a node starts."""
        self.nodes.seen(self.id, self.now())
        if not self.asks:
            return
        for projection in self.engine.projections.values():
            if projection.schedule is not None and projection.schedule.startup:
                self.ask(projection.name, reason="a node started", asked_by="startup")

    def step(self) -> None:
        """One look at the queue."""
        now = self.now()
        if now - self._seen >= SEEN_EVERY:
            self.nodes.seen(self.id, now)
            self._seen = now
        opened = self.engine.queue.open()
        for projection in self.engine.projections.values():
            if self.asks and projection.schedule is not None and projection.schedule.repeats:
                self._ticks(projection, opened, now)
        opened = self.engine.queue.open()
        self._recall({request.projection for request in opened})
        if self._in_turn(opened, now):
            opened = self.engine.queue.open()
        self._stop_cancelled(opened)
        self._look_after_lost(opened, now)
        self._dispatch(opened, now)

    def stop(self) -> None:
        """End every run at its next border, and then the loop. May be called from a signal handler."""
        with self._changing:  # whatever is handed over from now on is not begun
            self.stopping = True
            going = [engine for _, engine in self.busy.values()]
        self.listeners.stop()
        for engine in going:
            end_run(engine, "the node is shutting down")
        self.woken.set()

    def goes_on(self) -> bool:
        """Does the loop look after the queue, and is it not about to end?"""
        return not self.stopping and self.engine.clock.monotonic() < self._goes_on_until

    def caused(self) -> dict[str, Caused]:
        """What runs of this node asked of each paced database so far."""
        with self._changing:
            engines = [*self.idle, *(engine for _, engine in self.busy.values())]
        total: dict[str, Caused] = {}
        for engine in engines:
            for database, caused in engine.pacing.caused().items():
                total[database] = total.get(database, Caused()) + caused
        return total

    def close(self) -> None:
        """Give all connections back."""
        for engine in self.engines:
            engine.close()

    # --- what comes in -----------------------------------------------------------------------------------------------

    def ask(self, name: str, *, keys: AskedKeys | None = None, reason: str, asked_by: str, **more: Any) -> str:
        """`Trueup.request`, and the queue is looked at at once. May be called from any thread."""
        request = self.asking.request(name, keys=keys, reason=reason, asked_by=asked_by, **more)
        self.woken.set()
        return request

    def _ticks(self, projection: Projection, opened: Sequence[Request], now: datetime) -> None:
        schedule, queue = projection.schedule, self.engine.queue
        assert schedule is not None
        since, ended = queue.settled(projection.name), None
        if since is None or since > now + SET_BACK:
            if since is not None:
                log.warning(
                    "%s: its ticks were settled up to %s, and it is %s: they count anew", projection.name, since, now
                )
            since = queue.register(projection.name, now, instead_of=since)
        if schedule.delay:
            mine = (request for request in opened if request.projection == projection.name)
            if any(request.over_all and not request.in_turn for request in mine):
                return  # its end is what the next is counted from
            ended = queue.last_ended(projection.name)
            ended = None if ended is not None and ended > now + SET_BACK else ended
        found = due(schedule, self.engine.timezone, since=since, ended=ended, now=now)
        if found.last is None:
            return
        base = asked(projection, now, reason="scheduled", asked_by="schedule")
        start = {tick: begins(schedule, projection.name, tick) for tick in found.run}
        queue.settle(base, found, since, projection.overlap, start)

    def _recall(self, asked_for: set[str]) -> None:
        """Learn of backfills: nothing of them is here before one is asked for."""
        found = {name: self.engine.remembered(name) for name in asked_for - self.engine.projections.keys()}
        known = self.engine.projections | {name: each for name, each in found.items() if each is not None}
        if known != self.known:
            self.known = known
            self.__dict__.pop("apart", None)

    def _in_turn(self, opened: Sequence[Request], now: datetime) -> bool:
        """Where nothing waits, ask for what has been unverified for longest; else what was asked for so gives way."""
        waiting = urgent(self._able(opened, now), now)
        if not waiting:
            asked_for = sum(request.in_turn and request.state == "waiting" for request in opened)
            kept_free = int(len(self.idle) + len(self.busy) > 1)  # what is urgent does not wait for a turn's border
            return self.asks and self.turns.ask(opened, now, at_most=len(self.idle) - kept_free - asked_for)
        for turn, engine in list(self.busy.values()):
            apart = self.apart[turn.projection]
            if turn.in_turn and gives_way(turn, waiting, self.known, apart, crowded=not self.idle):
                engine.stop_after_segment.asked, engine.stop_after_segment.reason = True, GIVES_WAY
        return False

    # --- what goes on ------------------------------------------------------------------------------------------------

    def _stop_cancelled(self, opened: Sequence[Request]) -> None:
        for request in opened:
            if request.cancelled and request.id in self.busy:
                end_run(self.busy[request.id][1], CANCELLED)

    def _look_after_lost(self, opened: Sequence[Request], now: datetime) -> None:
        """What is said to be running, by a node that holds it no more, waits again."""
        for request in opened:
            if request.state != "running" or request.id in self.busy or request.projection not in self.known:
                continue
            mine = lane(self.known[request.projection], keys=not request.over_all)
            ledger = self.engine.ledger
            if not lock.is_free(ledger.engine, mine):
                continue
            with contextlib.suppress(Refused), lock.hold(ledger.engine, mine, lease_s=self.engine.lease_s):
                log.warning("%s: the node that ran it was lost", request.projection)
                self.engine.queue.orphaned(request.projection, request.over_all, now)
                self.woken.set()

    def _dispatch(self, opened: Sequence[Request], now: datetime) -> None:
        handed: set[str] = set()  # at this look: what was quick has ended by now, and `opened` does not know
        waiting = self._able(opened, now) if self.idle else []
        while self.idle and not self.stopping:
            running = [request for request in opened if request.state == "running"]
            running += [request for request, _ in self.busy.values()]
            with self._changing:
                done = handed - self._later.keys() | self.busy.keys()  # what another held waits on
            left = [request for request in waiting if request.id not in done]
            free = choose(left, running, self.known, lambda name: self.apart[name], now)
            tried = self.engine.clock.monotonic()  # what another held waits as well, and what comes after it
            chosen = next((each for each in free if self._later.get(each.id, 0.0) <= tried), None)
            if chosen is None:
                return
            handed.add(chosen.id)
            self._hand_over(chosen)

    def _hand_over(self, request: Request) -> None:
        names = self._names(request)  # asked of the ledger, which may be away
        with self._changing:
            engine = self.idle.pop()
            self._later.pop(request.id, None)
            fresh_stop(engine)
            self.busy[request.id] = request, engine
            if self.stopping:  # asked last: a signal may interrupt this very thread, and ends what it finds busy
                del self.busy[request.id]
                self.idle.append(engine)
                return
        done = self.executor.submit(carry_out, engine, request, names, self.id)
        done.add_done_callback(lambda future: self._done(request, engine, future))

    def _done(self, request: Request, engine: Trueup, future: Future[bool]) -> None:
        with self._changing:
            self.busy.pop(request.id, None)
            self.idle.append(engine)
            if future.exception() is not None:
                log.error("%s: a fault of Trueup's", request.projection, exc_info=future.exception())
            elif not future.result():  # another node has it, or a run by hand
                now = self.engine.clock.monotonic()  # the ledger may be away just now
                self._later = {name: at for name, at in self._later.items() if at > now} | {request.id: now + AGAIN_S}
                return
        self.woken.set()
        self.watch.woken.set()

    def _able(self, opened: Sequence[Request], now: datetime) -> list[Request]:
        """What waits, and is not held up."""
        waiting = [request for request in opened if request.state == "waiting"]
        return able(waiting, self.known, lambda request: self._allowed(request, now), now)

    def _allowed(self, request: Request, now: datetime) -> bool:
        """Not while a switch holds it up: it would only wait at its first border, and keep a worker."""
        return self.engine.standing.control(request.projection).allows(request.command, now)

    def _names(self, request: Request) -> tuple[str, ...]:
        projection = self.known[request.projection]
        apart = {name: self.known[name] for name in self.apart[request.projection]}
        heavy = projection.heavy
        if heavy is None:
            last = self.engine.standing.last_run(projection.name)
            heavy = bool(last and last.whole and last.report and last.report.get("seconds", 0) > HEAVY_S)
        return holds(projection, keys=not request.over_all, apart=apart, heavy=heavy)

    @cached_property
    def apart(self) -> dict[str, dict[str, str]]:
        """Projections that never run at the same time, and why."""
        dialects = {name: self.engine.dialect(name) for name in self.engine.databases}
        return {name: partners(projection, self.known, dialects) for name, projection in self.known.items()}

    @cached_property
    def nodes(self) -> Nodes:
        return Nodes(self.engine.ledger, host=socket.gethostname(), pid=os.getpid(), version=__version__)

    def now(self) -> datetime:
        """This moment, by the control database's clock."""
        return self.engine.queue.now(self.engine.clock.now())


def _opened(engine: Trueup) -> None:
    """Open its ledger. On SQLite that has to be of this machine: it is the kernel that keeps two nodes apart, and no
    other machine's kernel knows of it.
    """
    try:
        ledger = engine.ledger.engine
    except ConnectionFailed as away:  # no mistake of who typed the command: a server that comes up later than we do
        raise LedgerFailed(f"{away}. A node cannot begin without its ledger; start it again") from away
    if ledger.dialect.name != "sqlite":
        return
    from pathlib import Path

    kind = file_system(Path(ledger.url.database or "").parent)
    if on_network(kind):
        raise ConfigError(
            f"trueup.ledger: {ledger.url.database} lies on a {kind} file system, where locks of other machines are not "
            f"seen; put it on a local disk, or use postgresql://…"
        )
