"""One database's governor: a thread that looks, decides and permits, for as long as jobs work on it.

    read the canary, often -> look at the database's health -> tick the law -> permit -> renew the share in the ledger

Of several processes that work on one database, one looks; the others are told by the ledger what they may use.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from trueup.adapters import Adapter, Looked, Probe
from trueup.core.pace import governor as law
from trueup.core.pace.effective import Effective, effective
from trueup.core.pace.pressure import Mark, Signal, observed, worst
from trueup.core.pace.said import Understood
from trueup.core.pace.settings import Pace
from trueup.core.pace.sharing import GRANT_S, USED, Demand
from trueup.core.pace.tails import Impact, Tails
from trueup.errors import LedgerFailed, Transient
from trueup.pace.admission import Admission, Gate, Worker
from trueup.pace.deciding import READ_CLOSE_S, decide, pause_s
from trueup.pace.gauges import Gauges
from trueup.pace.host import MARKS as HOST_MARKS
from trueup.pace.host import RUNNABLE, Host, cores
from trueup.pace.means import Means
from trueup.pace.reading import read
from trueup.store.paces import Paces, Renewed, Report

log = logging.getLogger(__name__)

#: Seconds between two looks at the database's health, two ticks, two renewals, two tries to connect.
LOOK_S, TICK_S, RENEW_S, AGAIN_S = 0.5, 0.5, 2.0, 2.0
#: How long is wanted after the last statement, seconds.
WANTS_S = 5.0
#: A gap in the work after which the load begins anew, seconds.
GAP_S = 30.0


class Governor:
    """Permits what a database's statements may begin with."""

    def __init__(
        self,
        name: str,
        *,
        pace: Pace,
        protect: float,
        adapter: Adapter,
        admission: Admission,
        paces: Paces,
        node: str,
        now: Callable[[], datetime],
        tells: Callable[[str, law.State], None] = lambda _name, _state: None,
    ) -> None:
        """`tells`: is told each change of the state's mode."""
        self.name, self.pace, self.protect, self.adapter, self.node = name, pace, protect, adapter, node
        self._admission, self._clock, self._paces = admission, admission.clock, paces
        self._now, self._tells = now, tells
        begun = self._clock.monotonic()
        self.gate = Gate(name, 0.0, pace.statement, begun)
        self.state = law.State(since=begun, at=begun, changed_at=begun, u=pace.least)
        self.impact, self._plenty = Impact(), (False, False)
        self._cores: int | None = pace.cores
        self.settings = self._effective(Understood())
        self._said = Understood()
        self._statement_s = self.settings.statement_s
        self._tails, self._host = Tails(), Host()
        self._gauges = Gauges(pace.gauges, adapter, self._clock.monotonic)
        self._signals: dict[str, Signal] = {}
        self._marks: Mapping[str, Mark] = {}
        self._looked: Looked | None = None
        self._lacking: dict[str, str] = {}
        self._means = Means()
        self._flown: tuple[float, float] | None = None
        self._probe: Probe | None = None
        #: Those that are worked on, as they are declared.
        self.tables: set[str] = set()
        self._leads = self._led = False
        self._granted, self._granted_until = 0.0, begun
        #: Who works on the database; added and taken away by `Pacing`.
        self.workers: list[Worker] = []
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._due: dict[str, float] = {}
        self._begun = begun
        self._slowest_ms: float | None = None
        self._spread = random.Random(name)  # noqa: S311 - so that readings do not march in step with statements

    # --- beginning and ending ----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Work begins: ask for a share, and look from now on. Raises LedgerFailed."""
        now = self._clock.monotonic()
        self._due, self._begun, self._signals = {}, now, {}
        self._ask(now)
        self._admission.permit(self.gate, self.gate.u, self.settings.statement_s)
        self.gate.wanted_at = now
        self._probe = self.adapter.probe(self.pace.canary)
        self._marks = dict(self._gauges.marks)
        if self._probe is not None:
            self._probe.tables = self.tables
            host = HOST_MARKS if self._probe.here else {}
            self._cores = self.pace.cores or (cores() if self._probe.here else None)
            self._marks |= {CANARY: _CANARY_MARK, **self._probe.marks, **host, **_active_marks(self._cores)}
        self._renew(now)
        self._ended.clear()
        self._gauges.begin()
        self._thread = threading.Thread(target=self._run, name=f"trueup-pace-{self.name}", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Work has ended: give back what was granted."""
        self._ended.set()
        self._gauges.end()
        self.gate.began.set()
        if self._thread is not None:
            self._thread.join()
        if self._probe is not None:
            self._probe.close()
        self._leads = False
        self._paces.give_back(self.name, self.node)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                pause, began = self.step(), self.gate.began
            except Exception as fault:  # whatever it is: what was permitted ends by itself, and people are told
                log.exception("databases.%s: pacing failed, and is tried again", self.name)
                self._lacking["governor"] = f"{type(fault).__name__}: {fault}"
                self._ended.wait(AGAIN_S)
                continue
            if pause == READ_CLOSE_S or not self._reads or self._plenty[0]:
                self._ended.wait(pause)
            elif began.wait(pause):  # look while it is in flight, but not only at its beginning
                began.clear()
                self._ended.wait(self._spread.uniform(0.0, self.settings.statement_s / 2))

    def step(self) -> float:
        """Do what is due; seconds until something is."""
        now = self._clock.monotonic()
        if self._reads:
            self._read(now)
        if self._leads and self._is_due("look", now, LOOK_S):
            self._look(now)
        if self._is_due("tick", now, TICK_S):
            self._tick(now)
        if self._is_due("renew", now, RENEW_S):
            self._renew(now)
        return pause_s(self._plenty, self.gate.u, inflight=self.gate.inflight > 0) if self._reads else TICK_S

    @property
    def _reads(self) -> bool:
        """Is it this one that reads the canary, and can it?"""
        return self._leads and self._probe is not None

    def _is_due(self, what: str, now: float, every_s: float) -> bool:
        if now < self._due.get(what, now):
            return False
        self._due[what] = now + every_s
        return True

    # --- looking -----------------------------------------------------------------------------------------------------

    def _read(self, now: float) -> None:
        """One reading. One that is given up for taking too long is as slow as that; one that fails otherwise is none.
        Then there are none for a while.
        """
        assert self._probe is not None
        if now < self._due.get("read again", now):
            return
        begun, busy, failed = self.gate.begun, self.gate.inflight > 0, ""
        try:
            read(self._probe, self.pace.trips)
        except Transient as error:
            self._due["read again"], failed = now + AGAIN_S, str(error)
            self._lacking["canary"] = failed
        else:
            self._lacking.pop("canary", None)
        took_s = self._clock.monotonic() - now
        if failed and took_s * 1000 < _CANARY_MARK.hard:
            return
        theirs = self._looked is not None and (self._looked.own or 0) > self.gate.inflight
        self._slowest_ms = max(self._slowest_ms or 0.0, took_s * 1000)
        self._tails.add(now, took_s * 1000, own=busy or theirs or self.gate.begun != begun)

    def _look(self, now: float) -> None:
        values = self._gauges.look(now)
        if self._probe is not None:
            values |= self._at_database(self._probe, now)
        self._signals = observed(self._signals, self._marks, values, now)

    def _at_database(self, probe: Probe, now: float) -> dict[str, float | None]:
        """What the database says, and the canary; that alone while it does not."""
        values: dict[str, float | None] = {CANARY: self._slowest_ms}
        self._slowest_ms = None
        if now < self._due.get("look again", now):
            return values
        try:
            looked = probe.look()
        except Transient as failed:
            self._due["look again"] = now + AGAIN_S
            self._lacking["health"] = str(failed)
            return values
        canary = {name: why for name, why in self._lacking.items() if name == "canary"}
        self._lacking = {**looked.lacking, **canary}
        values = {**looked.values, **values}
        if looked.active is None and looked.running is not None:
            others = max(looked.running - self.gate.inflight, 0.0)
            looked = replace(looked, active=others, on_core=others)
        quiet = not self.gate.inflight and not looked.own
        self._means.add(now, looked, self.gate.committed, quiet=quiet)
        if self._means.active_lately is not None and looked.active is not None and self._cores:
            values[ACTIVE] = self._means.active_lately / self._cores
        values |= self._at_cores(probe, looked, now)
        self._looked = looked
        self.gate.offset_s = looked.clock_s - now
        return values

    def _at_cores(self, probe: Probe, looked: Looked, now: float) -> dict[str, float | None]:
        """What others take of the server's cores: what this machine counts, or else what the database tells."""
        with self._admission.lock:
            flown_s = self.gate.flown_s(now)
        before, self._flown = self._flown, (now, flown_s)
        if not probe.here:
            if looked.on_core is not None and before is not None:
                self._means.add_taken(now - before[0], looked.on_core, None)
            return {}
        values, seen = self._host.look(now), self._host.processors(now)
        if seen is not None and before is not None:
            elsewhere = max((looked.own or 0.0) - self.gate.inflight, 0.0)
            ours = ((flown_s - before[1]) / seen.passed_s + elsewhere) * self._means.of_a_core(self._cores)
            self._means.add_taken(seen.passed_s, seen.busy - ours, seen.runnable - self.gate.inflight - 1)
            if self._cores and self._means.runnable is not None:
                values[RUNNABLE] = self._means.runnable / self._cores
        return values

    # --- deciding ----------------------------------------------------------------------------------------------------

    def _effective(self, said: Understood) -> Effective:
        return effective(self.pace, self.protect, said.override, self._now(), self._cores, unknown=said.unknown)

    def _ask(self, now: float) -> None:
        """What somebody has set by now, on this node or another one. While the ledger is away, what was set before."""
        if now >= self._due.get("ask again", now):
            try:
                said = self._paces.override(self.name).among(self.pace.profiles)
            except LedgerFailed:  # which may have taken long
                self._due["ask again"] = self._clock.monotonic() + AGAIN_S
            else:
                if said.unknown and said.unknown != self._said.unknown:
                    log.warning("databases.%s.pace: %s", self.name, unknown_words(said))
                self._said = said
        self.settings = self._effective(self._said)

    def _tick(self, now: float) -> None:
        self._ask(now)
        with self._admission.lock:
            errors, self.gate.errors = self.gate.errors, 0
            busy_s, flown_s = self.gate.busy_s(now), self.gate.flown_s(now)
        waiting = self._admission.waits(self.gate) or self.gate.inflight > 0
        if not self._leads:
            self._permit(now)
            return
        before = self.state
        self.state, self.impact, self._plenty = decide(
            before,
            self.settings.limits,
            self._tails,
            self._means,
            now,
            health=worst(self._signals, self._marks, now, self._begun),
            cores=self._cores,
            budget=self.settings.budget,
            busy_s=busy_s,
            flown_s=flown_s,
            waiting=waiting,
            errors=errors,
            age=max((worker.age() for worker in tuple(self.workers)), default=0.0),
        )
        if self.state.mode is not before.mode:
            self._tells(self.name, self.state)
        if self.state.u > self._granted * 1.01 and self._wanted(now):
            self._due.pop("renew", None)  # more than is granted is not used
        self._statement_s = self.settings.statement_s * law.statement_share(self.state, self._means.longer(self._cores))
        self._permit(now)

    def _permit(self, now: float) -> None:
        u = self._granted if now < self._granted_until and not self.settings.limits.paused else 0.0
        u = min(u, self.state.u) if self._leads else u
        self._admission.permit(self.gate, u, self._statement_s, until=self._granted_until)

    def _renew(self, now: float) -> None:
        """Ask the ledger. While it cannot be had, what was granted is used up to its end."""
        wants = self.settings.limits.most if self._wanted(now) else 0.0
        u = self.state.u if self._leads or self._goes_on(now) else self.settings.limits.least
        report = Report(u=u, statement_s=self._statement_s, state=law.to_json(self.state), told=self.told(now))
        try:
            renewed = self._paces.renew(self.name, Demand(who=self.node, wants=wants, weight=self._weight()), report)
        except LedgerFailed:
            if self._thread is None:
                raise
            return
        if renewed.leads and not self._leads:
            self._takes_the_lead(renewed, now)
        self._leads = renewed.leads
        self._granted, self._granted_until = renewed.u, now + GRANT_S * USED
        if not renewed.leads:
            self._statement_s = renewed.statement_s
        self._permit(now)

    def _wanted(self, now: float) -> bool:
        """Does somebody want to begin a statement, or did lately?"""
        return now - self.gate.wanted_at < WANTS_S or self.gate.inflight > 0 or self._admission.waits(self.gate)

    def _weight(self) -> float:
        """What this process may ask for beside others: as much as all that is worked on here."""
        return sum(worker.claim for worker in tuple(self.workers)) or 1.0

    def _goes_on(self, now: float) -> bool:
        """Is what this process learnt while it led still of the present? Between two runs of one nothing is lost."""
        return self._led and now - self.state.at <= GAP_S

    def _takes_the_lead(self, renewed: Renewed, now: float) -> None:
        """What was learnt is gone on with, by this process or another one, and the load begins in recovery."""
        if self._goes_on(now):
            return
        known = renewed.state if renewed.state is not None and not self._led else law.to_json(self.state)
        self.state = law.resumed(known, now, self.settings.limits.least)
        self._tails.forget()
        self._led = True

    # --- telling -----------------------------------------------------------------------------------------------------

    def told(self, now: float) -> dict[str, Any]:
        """What people are shown."""
        state, limits = self.state, self.settings.limits
        unknown = {"settings": unknown_words(self._said)} if self._said.unknown else {}
        health = worst(self._signals, self._marks, now, self._begun)
        with self._admission.lock:
            bucket = self.gate.refilled(now)
        return {
            "mode": state.mode,
            "since_s": now - state.since,
            "reason": state.reason,
            "ours": state.ours,
            "floor": limits.least,
            "ceiling": law.ceiling_of(limits, state),
            "most": limits.most,
            "protect": self.settings.protect,
            "budget": self.settings.budget,
            "slowed": self.impact.slowed,
            "readings": [self.impact.on, self.impact.off],
            "base_ms": self.impact.base_ms,
            "taken": self._means.taken,
            "latency_ms": None if self._means.latency_s is None else self._means.latency_s * 1000,
            "credit_s": bucket.credit,
            "spent_s": bucket.spent_s,
            "granted_s": bucket.granted_s,
            "next_s": max(state.next_at - now, 0.0),
            "pressure": health.pressure,
            "signal": health.signal,
            "signals": {
                name: {
                    "value": signal.value,
                    "soft": self._marks[name].soft,
                    "hard": self._marks[name].hard,
                    "pressure": signal.pressure,
                    "age_s": now - (signal.at or now),
                }
                for name, signal in health.signals.items()
                if name in self._marks
            },
            "lacking": {**self._lacking, **self._gauges.lacking, **unknown},
        }


#: Statements of others that run, a core.
ACTIVE = "active a core"
#: A reading of the canary, milliseconds.
CANARY = "canary, ms"
_CANARY_MARK = Mark(idle=50, soft=200, hard=450, required=True)


def _active_marks(cores_: int | None) -> dict[str, Mark]:
    return {} if cores_ is None else {ACTIVE: Mark(idle=1.0, soft=3.0, hard=8.0)}


def unknown_words(said: Understood) -> str:
    """That not all of what is set is known here, and what follows from that."""
    names = ", ".join(said.unknown)
    return f"set is what is not known here ({names}); until that ends it keeps to the guaranteed minimum"
