"""One database's governor: a thread that decides and permits, for as long as jobs work on it.

    what was seen (`Looking`, a thread of its own) -> tick the law -> permit -> renew the share in the ledger (`Lease`)

Of several processes that work on one database, one looks; the others are told by the ledger what they may use.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

from trueup.adapters import Adapter
from trueup.core.pace import governor as law
from trueup.core.pace.effective import Effective, effective
from trueup.core.pace.said import Understood
from trueup.core.pace.settings import Pace
from trueup.core.pace.tails import Impact
from trueup.errors import LedgerFailed
from trueup.pace.admission import Admission, Gate, Worker
from trueup.pace.deciding import decide
from trueup.pace.leasing import Lease
from trueup.pace.looking import LOOK_S, Looking
from trueup.pace.telling import told, unknown_words
from trueup.store.paces import Doing, Paces, Renewed, Report

log = logging.getLogger(__name__)

#: Seconds between two ticks, two renewals, and until what failed is tried again. Who looks at the database decides when
#: it was looked at, and without that only after twice as long.
TICK_S, RENEW_S, AGAIN_S = LOOK_S, 2.0, 2.0
#: A load of less than this part of the one that was told last is told at once.
FALLS = 0.9
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
        self.name, self.pace, self.protect = name, pace, protect
        self._admission, self._clock, self._paces = admission, admission.clock, paces
        self._now, self._tells = now, tells
        begun = self._clock.monotonic()
        self.gate = Gate(name, 0.0, pace.statement, begun)
        self.looking = Looking(self.gate, pace, adapter, admission)
        self.lease = Lease(paces, name, node, self._clock)
        self.state = law.State(since=begun, at=begun, changed_at=begun, u=pace.least)
        self.impact = Impact()
        self._said = Understood()
        self.settings = self._effective()
        self._statement_s = self.settings.statement_s
        #: Has it ever led? Then what it learnt is its own.
        self._led = False
        #: Who works on the database; added and taken away by `Pacing`.
        self.workers: list[Worker] = []
        #: When the next tick and renewal are due, and when the ledger may be asked what is set.
        self._tick_at = self._renew_at = self._ask_at = begun
        #: When a renewal told last what this node does, and the last tick was; seconds that statements were in flight:
        #: of this node up to that renewal, and of all others.
        self._told_at = self._ticked_at = begun
        self._told_s = self._elsewhere_s = 0.0
        self._fault = ""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    # --- beginning and ending ----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Work begins: ask for a share, and look from now on. Raises LedgerFailed."""
        now = self._clock.monotonic()
        self._tick_at = self._renew_at = self._ask_at = self.gate.wanted_at = now
        self.looking.begin()
        self._ask()
        self._renew()
        self._ended = ended = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ended,), name=f"trueup-pace-{self.name}", daemon=True)
        self._thread.start()

    def end(self) -> Callable[[], None]:
        """Work has ended: give back what was granted. What is returned waits a moment until nobody looks any more."""
        left = self.looking.end()
        self._ended.set()
        self.looking.news.set()
        if self._thread is not None:  # which waits for the ledger at most
            self._thread.join()
            self._thread = None
        self._admission.permit(self.gate, 0.0, self._statement_s)
        with suppress(LedgerFailed):  # what was granted ends by itself
            self.lease.end()
        return left

    def _run(self, ended: threading.Event) -> None:
        while not ended.is_set():
            try:
                pause, self._fault = self.step(), ""
            except Exception as fault:  # whatever it is: what was permitted ends by itself, and people are told
                log.exception("databases.%s: pacing failed, and is tried again", self.name)
                self._fault = f"{type(fault).__name__}: {fault}"
                ended.wait(AGAIN_S)
                continue
            self.looking.news.wait(pause)

    def step(self) -> float:
        """Do what is due; seconds until something is, if nothing is seen until then."""
        news = self.looking.news
        if news.is_set() or self._clock.monotonic() >= self._tick_at:
            news.clear()
            self._tick_at = self._clock.monotonic() + (2 * TICK_S if self.lease.leads else TICK_S)
            self._tick()
        if self._clock.monotonic() >= self._renew_at:
            with suppress(LedgerFailed):
                self._renew()
        self.looking.watch()
        return max(min(self._tick_at, self._renew_at) - self._clock.monotonic(), 0.0)

    # --- deciding ----------------------------------------------------------------------------------------------------

    def _effective(self) -> Effective:
        said, cores = self._said, self.looking.cores
        return effective(self.pace, self.protect, said.override, self._now(), cores, unknown=said.unknown)

    def _ask(self) -> None:
        """What somebody has set by now, on this node or another one. While the ledger is away, what was set before."""
        if self._clock.monotonic() >= self._ask_at:
            try:
                said, total = self._paces.to_all(self.name)
                said = said.among(self.pace.profiles)
            except LedgerFailed:  # which may have taken long
                self._ask_at = self._clock.monotonic() + AGAIN_S
            else:
                if said.unknown and said.unknown != self._said.unknown:
                    log.warning("databases.%s.pace: %s", self.name, unknown_words(said))
                self._said = said
                self.lease.total = self.lease.total if total is None or self.lease.leads else total
        self.settings = self._effective()
        self.looking.statement_s, self.looking.paused = self.settings.statement_s, bool(self.settings.limits.paused)

    def _tick(self) -> None:
        self._ask()
        if not self.lease.leads:
            self._permit()
            return
        now, before, seen, lease = self._clock.monotonic(), self.state, self.looking, self.lease
        passed_s, self._ticked_at = now - self._ticked_at, now
        self._elsewhere_s += passed_s * sum(other.flown for other in lease.others)
        with self._admission.lock:
            errors, self.gate.errors = self.gate.errors, 0
            busy_s, flown_s = self.gate.busy_s(now), self.gate.flown_s(now)
        waiting = self._admission.waits(self.gate) or self.gate.inflight > 0 or lease.wanting > 0
        age = max([self._age(), *(other.age for other in lease.others)])
        with seen.lock:
            self.state, self.impact, seen.plenty = decide(
                before,
                self.settings.limits,
                seen.tails,
                seen.means,
                now,
                health=seen.health(now),
                cores=seen.cores,
                protect=self.settings.protect,
                busy_s=busy_s + self._elsewhere_s,
                flown_s=flown_s + self._elsewhere_s,
                probed=seen.asker.probe is not None,
                waiting=waiting,
                errors=errors,
                age=age,
            )
        if self.state.mode is not before.mode:
            self._tells(self.name, self.state)
        reported, lease.total = lease.granted_of, self.state.u
        if self.state.u > reported * 1.01 and (self._wanted(now) or lease.wanting):
            self._renew_at = now  # more than is granted is not used
        elif self.state.u < reported * FALLS and lease.others:
            self._renew_at = now  # the others go on with more until they are told
        longer = seen.means.longer(seen.cores)
        self._statement_s = self.settings.statement_s * law.statement_share(self.state, longer)
        self._permit()

    def _permit(self) -> None:
        u = 0.0 if self.settings.limits.paused else self.lease.holds(self._clock.monotonic())
        self._admission.permit(self.gate, u, self._statement_s, until=self.lease.until, total=self.lease.total)

    # --- sharing -----------------------------------------------------------------------------------------------------

    def _renew(self) -> None:
        """Ask for a share. Raises LedgerFailed: while it cannot be had, what was granted is used up to its end."""
        now = self._clock.monotonic()
        self._renew_at = now + RENEW_S
        wants = self.settings.limits.most if self._wanted(now) else 0.0
        weight = sum(worker.claim for worker in tuple(self.workers)) or 1.0
        u = self.state.u if self.lease.leads or self._goes_on(now) else self.settings.limits.least
        report = Report(u=u, statement_s=self._statement_s, state=law.to_json(self.state), told=self.told(now))
        led = self.lease.leads
        doing, flown_s = self._doing(now)
        renewed = self.lease.renew(wants, weight, report, doing)
        self._told_at, self._told_s = now, flown_s
        self.gate.offset_s = renewed.clock_s - self._clock.monotonic()
        with self._admission.lock:  # who decides is told of all, and tells nobody
            self.gate.errors += int(sum(other.errors for other in renewed.others) if renewed.leads else -doing.errors)
        if renewed.leads and not led:
            self._takes_the_lead(renewed)
        elif not renewed.leads:
            self._statement_s = renewed.statement_s
        self.looking.ask(renewed.leads)
        self._permit()

    def _doing(self, now: float) -> tuple[Doing, float]:
        """For who decides; and seconds so far that statements were in flight, all of them together."""
        with self._admission.lock:
            flown_s, errors = self.gate.flown_s(now), self.gate.errors
        flown = (flown_s - self._told_s) / max(now - self._told_at, 1e-3)
        return Doing(age=self._age(), flown=flown, errors=errors), flown_s

    def _age(self) -> float:
        """Of the oldest data that is not reconciled here."""
        return max((worker.age() for worker in tuple(self.workers)), default=0.0)

    def _wanted(self, now: float) -> bool:
        """Does somebody want to begin a statement, or did lately?"""
        return now - self.gate.wanted_at < WANTS_S or self.gate.inflight > 0 or self._admission.waits(self.gate)

    def _goes_on(self, now: float) -> bool:
        """Is what this process learnt while it led still of the present? Between two runs of one nothing is lost."""
        return self._led and now - self.state.at <= GAP_S

    def _takes_the_lead(self, renewed: Renewed) -> None:
        """What was learnt is gone on with, by this process or another one, and the load begins in recovery."""
        now = self._clock.monotonic()
        if self._goes_on(now):
            return
        known = renewed.state if renewed.state is not None and not self._led else law.to_json(self.state)
        self.state = law.resumed(known, now, self.settings.limits.least)
        with self.looking.lock:
            self.looking.tails.forget()
        self._led = True

    # --- telling -----------------------------------------------------------------------------------------------------

    def told(self, now: float) -> dict[str, Any]:
        """What people are shown."""
        with self._admission.lock:
            bucket = self.gate.refilled(now)
        lacking = dict(self.looking.lacking)
        lacking |= {"governor": self._fault} if self._fault else {}
        lacking |= {"settings": unknown_words(self._said)} if self._said.unknown else {}
        shown = told(self.state, self.settings, self.impact, self.looking, bucket, now)
        return {**shown, "lacking": lacking}
