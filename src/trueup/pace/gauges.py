"""Declared health signals, asked: each on a thread of its own, so that a slow one holds up nobody."""

from __future__ import annotations

import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial

from trueup.adapters import Adapter, Probe
from trueup.core.pace.gauges import TIMED, Gauge, number, of_command, of_http, of_prometheus
from trueup.core.pace.pressure import Mark
from trueup.errors import Transient
from trueup.pace.answers import Program, fetched
from trueup.python.found import find

#: A write that fails after so long, seconds, has failed for that.
GIVEN_UP_S = 0.4
#: A session is kept from one statement to the next that comes within so many seconds. Servers, and what is in between,
#: end those that stand idle for longer, and the next statement would be the one that finds out.
KEPT_S = 5.0


@dataclass(eq=False, slots=True)
class _Asked:
    """A gauge from the beginning of the work to its end, and the thread that asks it."""

    gauge: Gauge
    ask: Callable[[], float]
    #: Who is asked, where that can be given up.
    who: Probe | Program | None = None
    thread: threading.Thread | None = None
    #: Since when an answer is waited for; None: none is.
    since: float | None = None


class Gauges:
    """The declared signals of one database, while it is worked on."""

    def __init__(self, gauges: Sequence[Gauge], adapter: Adapter, monotonic: Callable[[], float]) -> None:
        self.marks: Mapping[str, Mark] = {gauge.name: gauge.mark for gauge in gauges}
        self._gauges, self._adapter, self._monotonic = gauges, adapter, monotonic
        self._had: dict[str, tuple[float, float]] = {}
        self._lacking: dict[str, str] = {}
        #: When each had answered last, or failed, or was begun with.
        self._heard_at: dict[str, float] = {}
        self._asked: list[_Asked] = []
        self._ended = threading.Event()

    def begin(self) -> None:
        self._ended = threading.Event()  # a new one: threads of the time before may not have seen theirs yet
        self._asked = [self._asking(gauge) for gauge in self._gauges]
        self._heard_at = dict.fromkeys(self.marks, self._monotonic())
        for asked in self._asked:
            name = f"trueup-gauge-{asked.gauge.name}"
            asked.thread = threading.Thread(target=self._run, args=(asked, self._ended), name=name, daemon=True)
            asked.thread.start()

    def end(self) -> Callable[[float], None]:
        """Asks no more. What is returned gives up what is being asked, after so many seconds at most; what cannot be
        given up is left to itself, and nobody waits for that.
        """
        self._ended.set()
        return partial(_left, self._asked)

    def watch(self, limit_s: float) -> None:
        """Give up what is not answered: a statement, for all else has a limit of its own, or none."""
        now = self._monotonic()
        for asked in self._asked:
            since = asked.since
            if asked.who and asked.gauge.kind not in TIMED and since is not None and now - since > limit_s:
                asked.who.give_up()

    def look(self, now: float) -> dict[str, float | None]:
        """What was had lately; None: nothing, or too long ago."""
        had = {gauge.name: (self._had.get(gauge.name), gauge.fresh_s) for gauge in self._gauges}
        return {
            name: found[1] if found is not None and now - found[0] <= fresh_s else None
            for name, (found, fresh_s) in had.items()
        }

    @property
    def had(self) -> dict[str, float]:
        """When each number was had."""
        return {name: at for name, (at, _) in self._had.copy().items()}

    @property
    def lacking(self) -> dict[str, str]:
        """What is not available, and why."""
        now = self._monotonic()
        silent = {
            gauge.name: f"no answer for {silent_s:.0f} s"
            for gauge in self._gauges
            if (silent_s := now - self._heard_at.get(gauge.name, now)) > gauge.fresh_s
        }
        return {**self._lacking, **silent}

    def _run(self, asked: _Asked, ended: threading.Event) -> None:
        with closing(asked.who) if asked.who else nullcontext():
            while not ended.is_set():
                asked.since = self._monotonic()
                self.ask(asked.gauge, asked.ask)
                asked.since = None
                ended.wait(asked.gauge.every)

    def ask(self, gauge: Gauge, ask: Callable[[], float]) -> None:
        """Have one number."""
        try:
            found = ask()
        except Exception as error:  # whatever is odd about an answer, the next one may not be
            self._lacking[gauge.name] = _told(gauge, error)
        else:
            self._lacking.pop(gauge.name, None)
            self._had[gauge.name] = self._monotonic(), found
        self._heard_at[gauge.name] = self._monotonic()

    def _asking(self, gauge: Gauge) -> _Asked:
        match gauge.kind:
            case "sql" | "write":
                probe = self._adapter.probe("")
                if probe is None:
                    return _Asked(gauge, partial(_none, "this database cannot be looked at"))
                written = partial(_written, probe, gauge, self._monotonic)
                ask = written if gauge.write else lambda: number(probe.number(gauge.sql))
                return _Asked(gauge, ask if gauge.every <= KEPT_S else partial(_once, ask, probe), probe)
            case "http":
                return _Asked(gauge, partial(_fetched, gauge))
            case "prometheus":
                return _Asked(gauge, partial(_queried, gauge))
            case "command":
                program = Program(gauge.command)
                return _Asked(gauge, lambda: of_command(gauge, *program.run(gauge.timeout)), program)
        return _Asked(gauge, partial(_called, gauge))


def _left(all_asked: Sequence[_Asked], wait_s: float) -> None:
    """Wait a moment for the end of those that can be given up, all together, and give up who is asked then."""
    end = time.monotonic() + wait_s
    for asked in all_asked:
        if asked.who and asked.thread:
            asked.thread.join(max(end - time.monotonic(), 0.0))
            if asked.thread.is_alive():
                asked.who.give_up()


def _told(gauge: Gauge, error: Exception) -> str:
    """Why there is no number. An address may hold a password, and so may what a library says of it; ours are
    ValueErrors.
    """
    words = " ".join(str(error).split())
    if isinstance(error, ValueError | Transient):
        return words
    kind = type(error).__name__
    return kind if gauge.kind in ("http", "prometheus") else f"{kind}: {words}"


def _none(why: str) -> float:
    raise ValueError(why)


def _once(ask: Callable[[], float], probe: Probe) -> float:
    """In a session of its own."""
    with closing(probe):
        return ask()


def _written(probe: Probe, gauge: Gauge, monotonic: Callable[[], float]) -> float:
    """Milliseconds that it took, without what it takes to connect. One that was given up for taking too long is as slow
    as that.
    """
    probe.connect(writes=True)
    began = monotonic()
    try:
        probe.write(gauge.write)
    except Transient:
        if monotonic() - began < GIVEN_UP_S:
            raise
    return (monotonic() - began) * 1000


def _fetched(gauge: Gauge) -> float:
    assert gauge.http is not None
    return of_http(gauge, *fetched(gauge.http.get_secret_value(), gauge.timeout))


def _queried(gauge: Gauge) -> float:
    assert gauge.prometheus is not None
    asked = urllib.parse.urlencode({"query": gauge.query, "timeout": f"{gauge.timeout:g}s"})
    server = gauge.prometheus.get_secret_value().rstrip("/")
    status, body = fetched(f"{server}/api/v1/query?{asked}", gauge.timeout)
    if status != 200:
        raise ValueError(f"it answered {status}: {body[:200]}")
    return of_prometheus(gauge, body)


def _called(gauge: Gauge) -> float:
    try:
        return number(find(gauge.python, "")())
    except (Exception, SystemExit) as error:  # whatever the team's code raises
        raise ValueError(f"{gauge.python}: {type(error).__name__}: {error}") from error
