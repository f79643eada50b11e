"""What is seen of a database while it is worked on, by a thread that asks it: the canary often, its health at times.

The database may not answer, and the thread hang in it, while it connects or later. It holds nothing meanwhile that
others wait for: who decides goes by what was seen before, and when the work ends the thread is left behind.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from trueup.adapters import Adapter, Looked, Probe
from trueup.core.pace.pressure import Health, Mark, Signal, observed, worst
from trueup.core.pace.settings import Pace
from trueup.core.pace.tails import Tails
from trueup.errors import ConfigError, Transient
from trueup.pace.admission import Admission, Gate
from trueup.pace.deciding import Pause, pause
from trueup.pace.gauges import Gauges
from trueup.pace.host import MARKS as HOST_MARKS
from trueup.pace.host import RUNNABLE, Host, cores
from trueup.pace.means import Means
from trueup.pace.reading import read

log = logging.getLogger(__name__)

#: Seconds between two looks at the database's health, and until what failed is tried again.
LOOK_S, AGAIN_S = 0.5, 2.0
#: Seconds between two readings, and two looks, while nothing may run: somebody paused it, or its hours are closed.
PAUSED_S = 1.0
#: What is asked for longer, seconds, and for as many more as its round trips may take, is given up: nobody answers.
HUNG_S, TRIP_S = 2.0, 0.5
#: How long the end of the thread is waited for, seconds: as a rule it ends at once, and gives its connection back.
END_S = 1.0
#: Statements of others that run, a core.
ACTIVE = "active a core"
#: A reading of the canary, milliseconds.
CANARY = "canary, ms"
#: What their values mean.
CANARY_MARK = Mark(idle=50, soft=200, hard=450, required=True)
ACTIVE_MARK = Mark(idle=1.0, soft=3.0, hard=8.0)


def cores_of(probe: Probe, pace: Pace) -> int | None:
    """Those of the database's server; None: not known."""
    return pace.cores or (cores() if probe.here else None)


def marks_of(probe: Probe | None, pace: Pace) -> Mapping[str, Mark]:
    """What the values mean of all that is looked at besides declared gauges."""
    if probe is None:
        return {}
    marks = {CANARY: CANARY_MARK, **probe.marks, **(HOST_MARKS if probe.here else {})}
    return marks if cores_of(probe, pace) is None else {**marks, ACTIVE: ACTIVE_MARK}


def check_gauges(name: str, pace: Pace, adapter: Callable[[], Adapter]) -> None:
    """A gauge has a name of its own: else the number of one of the two would count for nothing. Raises ConfigError."""
    probe = None
    with suppress(ConfigError):  # who cannot work on it, for want of its driver, may look on
        probe = adapter().probe(pace.canary) if pace.gauges else None
    if probe is not None:
        probe.close()
    if taken := marks_of(probe, pace).keys() & {gauge.name for gauge in pace.gauges}:
        raise ConfigError(
            f"databases.{name}.pace.gauges: {', '.join(sorted(taken))}: a signal that is looked at anyhow is called "
            f"so; give the gauge another name"
        )


@dataclass(eq=False, slots=True)
class Asker:
    """One thread that asks, from the beginning of the work to its end, and what it asks."""

    #: None: the database cannot be looked at.
    probe: Probe | None = None
    #: Is it this process that asks?
    asks: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    #: Since when an answer is waited for; None: none is.
    since: float | None = None
    #: When what failed may be tried again, and when the next look is due.
    again_at: dict[str, float] = field(default_factory=dict)
    look_at: float = 0.0

    @contextmanager
    def asking(self, now: float) -> Iterator[None]:
        self.since = now
        try:
            yield
        finally:
            self.since = None

    def left(self) -> None:
        """Wait a moment for its end, and not longer: it may hang for as long as it likes."""
        if self.thread is None:
            return
        self.thread.join(END_S)
        if self.thread.is_alive() and self.probe is not None:
            self.probe.give_up()
            self.thread.join(END_S)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Worked:
    """What work had amounted to at a look."""

    #: Seconds of the clock; seconds that statements were in flight; CPU seconds of our threads between these.
    now: float
    flown_s: float
    between_s: float


class Looking:
    """What is seen of a database."""

    def __init__(self, gate: Gate, pace: Pace, adapter: Adapter, admission: Admission) -> None:
        self._gate, self._pace, self._adapter, self._admission = gate, pace, adapter, admission
        self._clock = admission.clock
        #: Held while what was seen is added to, or judged; never while the database is asked.
        self.lock = threading.Lock()
        self.tails, self.means = Tails(), Means()
        self.signals: dict[str, Signal] = {}
        self.marks: Mapping[str, Mark] = {}
        self.cores: int | None = pace.cores
        #: Tables that are worked on, as they are declared.
        self.tables: set[str] = set()
        #: Set when the database's health was looked at, or somebody else has a reason to decide anew.
        self.news = threading.Event()
        #: Are there enough readings with ours in flight, and without? How long does a statement aim to take?
        self.plenty, self.statement_s = (False, False), pace.statement
        #: May nothing run, whatever is seen?
        self.paused = False
        self.gauges, self._host = Gauges(pace.gauges, adapter, self._clock.monotonic), Host()
        self.asker = Asker()
        self._since = self._clock.monotonic()
        self._looked: Looked | None = None
        self._before: _Worked | None = None
        self._slowest_ms: float | None = None
        #: What the database does not tell, and what failed, with the reason.
        self._hidden: Mapping[str, str] = {}
        self._failed: dict[str, str] = {}
        self._spread = random.Random(gate.name)  # noqa: S311 - so that readings do not march in step with statements

    # --- beginning and ending ----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Work begins: from now on there is a thread that asks, while it is to."""
        probe = self._adapter.probe(self._pace.canary)
        if probe is not None:
            probe.tables = self.tables
            self.cores = cores_of(probe, self._pace)
        self.marks, self.asker = {**self.gauges.marks, **marks_of(probe, self._pace)}, Asker(probe)
        self._anew()
        self.means.begins()
        self.gauges.begin()
        name = f"trueup-look-{self._gate.name}"
        self.asker.thread = threading.Thread(target=self._run, args=(self.asker,), name=name, daemon=True)
        self.asker.thread.start()

    def _anew(self) -> None:
        """Nothing was seen yet, and that is no sign of anything."""
        self.signals, self._since = {}, self._clock.monotonic()

    def ask(self, asks: bool) -> None:
        """Is it this process that looks at the database?"""
        asker = self.asker
        with self.lock:
            if asker.ended.is_set():
                return  # it was woken for its end, and would wait for ever
            if not asks:
                asker.asks.clear()
            elif not asker.asks.is_set():
                self._anew()
                asker.asks.set()

    def end(self) -> Callable[[], None]:
        """Work has ended: nothing is asked any more. What is returned waits a moment until that is so."""
        asker, gauges = self.asker, self.gauges.end()
        with self.lock:  # it adds nothing any more to what was seen
            asker.ended.set()
            asker.asks.set()
        self._gate.began.set()

        def left() -> None:
            asker.left()
            gauges(END_S)

        return left

    def watch(self) -> None:
        """Give up what is not answered."""
        if self.asker.probe is not None and self._silent_s:
            self.asker.probe.give_up()
        self.gauges.watch(HUNG_S)

    @property
    def _silent_s(self) -> float:
        """For how long no answer has come; 0: one may still come in time, or none is waited for."""
        since = self.asker.since
        waited_s = 0.0 if since is None else self._clock.monotonic() - since
        return waited_s if waited_s > HUNG_S + self._pace.trips * TRIP_S else 0.0

    def _run(self, asker: Asker) -> None:
        try:
            while not asker.ended.is_set():
                asker.asks.wait()
                if not asker.ended.is_set():
                    self._rest(asker, self._stepped(asker))
        finally:
            if asker.probe is not None:
                asker.probe.close()

    def _stepped(self, asker: Asker) -> Pause:
        """A step. Whatever fails in it is told, and tried again: that nothing is seen is itself a signal."""
        try:
            return self.step(asker)
        except Exception as fault:
            if asker.ended.is_set():
                return Pause(0.0)
            log.exception("databases.%s: looking at it failed, and is tried again", self._gate.name)
            self._failed["looking"] = f"{type(fault).__name__}: {fault}"
            return Pause(AGAIN_S)

    def _rest(self, asker: Asker, until: Pause) -> None:
        began = self._gate.began
        if not until.woken:
            asker.ended.wait(until.s)
        elif began.wait(until.s):  # look while it is in flight, but not only at its beginning
            began.clear()
            asker.ended.wait(self._spread.uniform(0.0, self.statement_s / 2))

    # --- asking ------------------------------------------------------------------------------------------------------

    def step(self, asker: Asker) -> Pause:
        """Ask what is due; the pause until something is."""
        if asker.probe is not None:
            self._read(asker, asker.probe)
        if (now := self._clock.monotonic()) >= asker.look_at:
            asker.look_at = now + LOOK_S
            self._look(asker)
        if self.paused and not self._gate.inflight:
            return Pause(PAUSED_S)
        if asker.probe is None:
            return Pause(LOOK_S)
        return pause(self.plenty, self._gate.u, inflight=self._gate.inflight > 0)

    def _read(self, asker: Asker, probe: Probe) -> None:
        """One reading. One that is given up for taking too long is as slow as that; one that fails otherwise is none.
        Then there are none for a while.
        """
        gate = self._gate
        if (now := self._clock.monotonic()) < asker.again_at.get("canary", 0.0):
            return
        begun, busy, failed, connected = gate.begun, gate.inflight > 0, "", False
        try:
            with asker.asking(now):
                new = probe.connect()
                connected, now = True, self._clock.monotonic()
                if new:  # what a session does for the first time is as little a reading as to connect
                    probe.canary()
                begun, busy, now = gate.begun, gate.inflight > 0, self._clock.monotonic()
                read(probe, self._pace.trips)
        except Transient as error:
            failed = str(error)
        took_ms = (self._clock.monotonic() - now) * 1000
        with self.lock:
            if asker.ended.is_set():
                return
            self._told(asker, "canary", failed)
            if failed and (not connected or took_ms < CANARY_MARK.hard):
                return
            theirs = self._looked is not None and (self._looked.own or 0) > gate.inflight
            self._slowest_ms = max(self._slowest_ms or 0.0, took_ms)
            self.tails.add(now, took_ms, own=busy or theirs or gate.begun != begun)

    def _look(self, asker: Asker) -> None:
        """How the database is doing, or that it does not say so."""
        probe, now = asker.probe, self._clock.monotonic()
        looked, failed = None, ""
        if probe is not None and now >= asker.again_at.get("health", 0.0):
            try:
                with asker.asking(now):
                    looked = probe.look()
            except Transient as error:
                failed = str(error)
            now = self._clock.monotonic()
        with self.lock:
            if asker.ended.is_set():
                return
            if failed or looked is not None:
                self._told(asker, "health", failed)
            if failed:
                self.means.unseen()
            had = {**self.gauges.had}  # before the numbers: of one that comes meanwhile, the next look counts
            values = self.gauges.look(now)
            if probe is not None:
                values[CANARY], self._slowest_ms = self._slowest_ms, None
            if probe is not None and looked is not None:
                values |= self._at_database(probe, looked, now)
                had |= looked.had
            self.signals = observed(self.signals, self.marks, values, now, had)
            self._failed.pop("looking", None)
        self.news.set()

    def _told(self, asker: Asker, what: str, failed: str) -> None:
        """What failed is told, and not tried again for a while; what did not is not told any more."""
        if failed:
            asker.again_at[what] = self._clock.monotonic() + AGAIN_S
            self._failed[what] = failed
        else:
            self._failed.pop(what, None)

    # --- what it means -----------------------------------------------------------------------------------------------

    def _at_database(self, probe: Probe, looked: Looked, now: float) -> dict[str, float | None]:
        """What the database says."""
        self._hidden = looked.lacking
        values = dict(looked.values)
        if looked.active is None and looked.running is not None:
            others = max(looked.running - self._gate.inflight, 0.0)
            looked = replace(looked, active=others, on_core=others)
        quiet = not self._gate.inflight and not looked.own
        self.means.add(now, looked, self._gate.committed, quiet=quiet)
        if self.means.active_lately is not None and looked.active is not None and self.cores:
            values[ACTIVE] = self.means.active_lately / self.cores
        values |= self._at_cores(probe, looked, now)
        self._looked = looked
        return values

    def _at_cores(self, probe: Probe, looked: Looked, now: float) -> dict[str, float | None]:
        """What others take of the server's cores: what this machine counts, or else what the database tells."""
        with self._admission.lock:
            worked = _Worked(now=now, flown_s=self._gate.flown_s(now), between_s=self._gate.between_s)
        before, self._before = self._before, worked
        if not probe.here:
            if looked.on_core is not None and before is not None:
                self.means.add_taken(now - before.now, looked.on_core, None)
            return {}
        values, seen = self._host.look(now), self._host.processors(now)
        if seen is not None and before is not None:
            elsewhere = max((looked.own or 0.0) - self._gate.inflight, 0.0)
            ours = ((worked.flown_s - before.flown_s) / seen.passed_s + elsewhere) * self.means.of_a_core(self.cores)
            ours += (worked.between_s - before.between_s) / seen.passed_s
            self.means.add_taken(seen.passed_s, seen.busy - ours, seen.runnable - self._gate.inflight - 1)
            if self.cores and self.means.runnable is not None:
                values[RUNNABLE] = self.means.runnable / self.cores
        return values

    def health(self, now: float) -> Health:
        """What all signals together say."""
        return worst(self.signals, self.marks, now, self._since)

    @property
    def lacking(self) -> dict[str, str]:
        """What is not available, and why."""
        silent = {"canary": f"no answer for {silent_s:.0f} s"} if (silent_s := self._silent_s) else {}
        return {**self._hidden, **silent, **self._failed, **self.gauges.lacking}
