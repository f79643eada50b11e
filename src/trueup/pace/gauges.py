"""Declared health signals, asked: each on a thread of its own, so that a slow one holds up nobody."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from trueup.adapters import Adapter, Probe
from trueup.core.pace.gauges import Gauge, number, of_command, of_http, of_prometheus
from trueup.core.pace.pressure import Mark
from trueup.errors import Transient
from trueup.python.found import find

#: A write that fails after so long, seconds, has failed for that.
GIVEN_UP_S = 0.4
#: Most of an answer that is read, bytes.
_ANSWER_MAX = 100_000
#: What keeps a number from being had. All else is a fault of ours, and ends the thread.
_NOT_HAD = (OSError, ValueError, KeyError, TypeError, http.client.HTTPException, subprocess.SubprocessError, Transient)


class Gauges:
    """The declared signals of one database, while it is worked on."""

    def __init__(self, gauges: Sequence[Gauge], adapter: Adapter, monotonic: Callable[[], float]) -> None:
        self.marks: Mapping[str, Mark] = {gauge.name: gauge.mark for gauge in gauges}
        self._gauges, self._adapter, self._monotonic = gauges, adapter, monotonic
        self._had: dict[str, tuple[float, float]] = {}
        self._lacking: dict[str, str] = {}
        self._ended = threading.Event()

    def begin(self) -> None:
        self._ended = threading.Event()  # a new one: threads of the time before may not have seen theirs yet
        for gauge in self._gauges:
            ended, name = self._ended, f"trueup-gauge-{gauge.name}"
            threading.Thread(target=self._run, args=(gauge, ended), name=name, daemon=True).start()

    def end(self) -> None:
        """Asks no more. What is being asked is left to its time limit, and nobody waits for that."""
        self._ended.set()

    def look(self, now: float) -> dict[str, float | None]:
        """What was had lately; None: nothing, or too long ago."""
        had = {gauge.name: (self._had.get(gauge.name), gauge.fresh_s) for gauge in self._gauges}
        return {
            name: found[1] if found is not None and now - found[0] <= fresh_s else None
            for name, (found, fresh_s) in had.items()
        }

    @property
    def lacking(self) -> dict[str, str]:
        """What is not available, and why."""
        return dict(self._lacking)

    def _run(self, gauge: Gauge, ended: threading.Event) -> None:
        with contextlib.ExitStack() as stack:
            ask = self._asking(gauge, stack)
            while not ended.is_set():
                self.ask(gauge, ask)
                ended.wait(gauge.every)

    def ask(self, gauge: Gauge, ask: Callable[[], float]) -> None:
        """Have one number."""
        try:
            found = ask()
        except _NOT_HAD as error:
            # An address may hold a password, and so may what a library says of it; ours are ValueErrors.
            secret = gauge.kind in ("http", "prometheus") and not isinstance(error, ValueError)
            self._lacking[gauge.name] = type(error).__name__ if secret else " ".join(str(error).split())
            return
        self._lacking.pop(gauge.name, None)
        self._had[gauge.name] = self._monotonic(), found

    def _asking(self, gauge: Gauge, stack: contextlib.ExitStack) -> Callable[[], float]:
        match gauge.kind:
            case "sql" | "write":
                probe = self._adapter.probe("")
                if probe is None:
                    return partial(_none, "this database cannot be looked at")
                stack.callback(probe.close)
                if gauge.write:
                    return lambda: _written(probe, gauge, self._monotonic)
                return lambda: number(probe.number(gauge.sql))
            case "http":
                return partial(_fetched, gauge)
            case "prometheus":
                return partial(_queried, gauge)
            case "command":
                return partial(_ran, gauge)
        return lambda: number(_called(gauge))


def _none(why: str) -> float:
    raise ValueError(why)


def _written(probe: Probe, gauge: Gauge, monotonic: Callable[[], float]) -> float:
    """Milliseconds that it took. One that was given up for taking too long is as slow as that."""
    began = monotonic()
    try:
        probe.write(gauge.write)
    except Transient:
        if monotonic() - began < GIVEN_UP_S:
            raise
    return (monotonic() - began) * 1000


class _NotFollowed(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """A redirect is no answer."""


def _get(url: str, timeout_s: float) -> tuple[int, str]:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ValueError("the address has to begin with http:// or https://")
    try:
        with urllib.request.build_opener(_NotFollowed).open(url, timeout=timeout_s) as answer:
            return answer.status, answer.read(_ANSWER_MAX).decode("utf-8", "replace")
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read(_ANSWER_MAX).decode("utf-8", "replace")


def _fetched(gauge: Gauge) -> float:
    assert gauge.http is not None
    return of_http(gauge, *_get(gauge.http.get_secret_value(), gauge.timeout))


def _queried(gauge: Gauge) -> float:
    assert gauge.prometheus is not None
    asked = urllib.parse.urlencode({"query": gauge.query, "timeout": f"{gauge.timeout:g}s"})
    status, body = _get(f"{gauge.prometheus.get_secret_value().rstrip('/')}/api/v1/query?{asked}", gauge.timeout)
    if status != 200:
        raise ValueError(f"it answered {status}: {body[:200]}")
    return of_prometheus(body)


def _ran(gauge: Gauge) -> float:
    # What is run is what the team has declared, without a shell.
    done = subprocess.run(  # noqa: S603
        gauge.command, capture_output=True, text=True, timeout=gauge.timeout, stdin=subprocess.DEVNULL, check=False
    )
    return of_command(gauge, done.returncode, done.stdout)


def _called(gauge: Gauge) -> object:
    try:
        found: object = find(gauge.python, "")()
    except Exception as error:  # whatever the team's code raises
        raise ValueError(f"{gauge.python}: {type(error).__name__}: {error}") from error
    return found
