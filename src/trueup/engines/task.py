"""A segment read by a worker: what travels there, what comes back, and what the worker keeps in between.

There travel the bound declaration, the segment, and a fingerprint. No URL, no password: a worker has a configuration of
its own (`TRUEUP_CONFIG`, else `trueup.toml` where it was started), and refuses to read for a declaration that is not
the same there. Back come counts and suspects, of bounded number.

Where a database is paced, each worker process is one more node that asks the ledger for its share of the budget.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from trueup import config
from trueup._version import __version__
from trueup.adapters import DIFFERENCES_MAX
from trueup.bindings import Bindings
from trueup.bound import without_password
from trueup.clock import SystemClock
from trueup.core.binding import Binding
from trueup.core.plan import Segment
from trueup.discreet import discreet
from trueup.errors import ConfigError, TrueupError
from trueup.narrow import narrow
from trueup.pace.admission import Worker
from trueup.pace.pacing import Pacing
from trueup.side_by_side import Covered, Pair
from trueup.store.ledger import Ledger
from trueup.store.paces import Paces

#: A worker that has had nothing to read for so long gives its connections and its share back, seconds.
LINGER_S = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a worker is told of a run, once for all its segments."""

    binding: Binding
    #: Fingerprints of the declaration, and of how its databases are treated.
    definition: str
    conduct: str
    #: Fingerprint of the ledger, through which a budget is shared; empty: nothing is paced.
    ledger: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A segment that was read."""

    pieces: list[Covered]
    #: How long reading took, seconds.
    took_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """A segment that could not be read. An answer like any: an engine logs errors, with what was asked."""

    kind: type[TrueupError]
    #: Fit to be shown and kept; a driver's own error stays where it was.
    words: str


def ledger_mark(url: str) -> str:
    """Fingerprint of where a ledger is, whoever connects to it."""
    return hashlib.sha256(without_password(url).encode()).hexdigest()


def read(version: str, told: bytes, segment: Segment, lots: bool) -> Answer | Failed:
    """On the worker: read a segment. Fails with ConfigError where it cannot know that it would read what is meant."""
    try:
        if version != __version__:
            raise ConfigError(f"a worker runs Trueup {__version__}, and the run {version}; install the same on both")
        with _pair_for(told) as pair, discreet(pair.binding.projection):
            begun = time.monotonic()
            pieces = list(_bounded(narrow(pair, segment, first=True, lots=lots)))
            return Answer(pieces=pieces, took_s=time.monotonic() - begun)
    except TrueupError as error:
        return Failed(kind=type(error), words=str(error))


def _bounded(pieces: Iterator[Covered]) -> Iterator[Covered]:
    """Beyond the most that a run keeps, rows are counted, and not sent."""
    room = DIFFERENCES_MAX
    for piece in pieces:
        yield replace(piece, suspects=piece.suspects[:room])
        room = max(room - len(piece.suspects), 0)


# --- what a worker process keeps ------------------------------------------------------------------------------------


class Desk:
    """This worker's declarations, its connections, and its share of paced databases."""

    def __init__(self, path: Path) -> None:
        declared = config.load(path)
        self.path = path
        self.bindings = Bindings(declared.databases, declared.projections, declared.brokers)
        self.ledger_url = declared.settings.ledger.get_secret_value()
        self._lock = threading.Lock()
        self._busy = 0
        self._idle_since = 0.0
        #: Fingerprint of a declaration -> what was told of it, who reads it, and what ends with that.
        self._open: dict[str, tuple[bytes, Pair, ExitStack]] = {}

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.ledger_url)

    @cached_property
    def pacing(self) -> Pacing:
        return Pacing(self.bindings.databases, SystemClock(), lambda: Paces(self.ledger))

    def differs(self, of: Told) -> str:
        """In what this worker's configuration is not that of a run, in words; empty: in nothing that matters."""
        name = of.binding.projection.name
        if name not in self.bindings.projections:
            return f"it declares no projection {name!r}"
        if self.bindings.definition(name) != of.definition:
            return f"it declares {name!r} otherwise, or its databases' URLs are others"
        if self.bindings.conduct(name) != of.conduct:
            return f"it declares the databases of {name!r} otherwise"
        if of.ledger and of.ledger != ledger_mark(self.ledger_url):
            return "its ledger is another one, so that the budget of paced databases would not be shared"
        return ""

    def enter(self, told: bytes, of: Told) -> Pair:
        """Who reads for a run; followed by `leave`."""
        with self._lock:
            before = self._open.get(of.definition)
            if before is None or before[0] != told:
                projection = of.binding.projection
                worker = Worker(name=projection.name, priority=projection.priority, weight=projection.weight)
                stack = ExitStack()
                pair = stack.enter_context(self.pacing.working(self.bindings.pair(of.binding), worker))
                self._open[of.definition] = told, pair, stack
                if before is not None:
                    before[2].close()
            self._busy += 1
            return self._open[of.definition][1]

    def leave(self) -> None:
        """A segment was read. After the last one what is kept is given back, but not at once."""
        with self._lock:
            self._busy -= 1
            self._idle_since = time.monotonic()
            if self._busy:
                return
        timer = threading.Timer(LINGER_S, self._rest)
        timer.daemon = True
        timer.start()

    def _rest(self) -> None:
        with self._lock:
            if self._busy or time.monotonic() - self._idle_since < LINGER_S:
                return
            for _, _, stack in self._open.values():
                stack.close()
            self._open.clear()
            self.bindings.close_adapters()
            if "ledger" in self.__dict__:
                self.ledger.close()


_DESKS: list[Desk] = []
_AT_DESKS = threading.Lock()


@contextmanager
def _pair_for(told: bytes) -> Iterator[Pair]:
    """Who reads for a run here. A configuration that has changed meanwhile is read anew."""
    of: Told = pickle.loads(told)  # noqa: S301 - the engine that brought it speaks pickle itself
    with _AT_DESKS:
        if not _DESKS or _DESKS[0].differs(of):
            path = Path(os.environ.get("TRUEUP_CONFIG", config.FILE))
            desk = Desk(path)
            if why := desk.differs(of):
                raise ConfigError(f"{path} of a worker on {socket.gethostname()} is not the run's: {why}")
            _DESKS[:] = [desk]
        desk = _DESKS[0]
    pair = desk.enter(told, of)
    try:
        yield pair
    finally:
        desk.leave()
