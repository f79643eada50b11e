# ruff: noqa: ARG002 - each exporter takes what it needs of what it is told
"""What a run tells as log lines: for people, or one JSON object a line for machines."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType

from trueup.core.compare import Counts
from trueup.core.states import Stage
from trueup.observe import Silent
from trueup.store.records import OutcomeRow, RunRow

log = logging.getLogger("trueup.run")
#: Facts that a record may carry, and a JSON line shows.
FACTS = ("projection", "request", "node", "run", "verdict", "seconds", "method", "route", "status", "actor")
#: What all lines of this thread are about.
_ABOUT: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))


@contextmanager
def about(**facts: str) -> Iterator[None]:
    """Each JSON line of this block says so: which `projection`, `request`, `node`, `run` it is about."""
    before = _ABOUT.set({**_ABOUT.get(), **facts})
    try:
        yield
    finally:
        _ABOUT.reset(before)


class Logged(Silent):
    """Tells what matters of runs; how far they are can be asked for."""

    def begun(self, run: RunRow) -> None:
        _ABOUT.set({**_ABOUT.get(), "projection": run.projection, "run": run.id})

    def resumed(self, run: str, stage: Stage) -> None:
        log.info("resuming %s (%s)", run, stage, extra={"run": run})

    def narrowed(self, done: int, planned: int, counts: Counts) -> None:
        log.debug("compared %d of %d segments, %d differ", done, planned, counts.differing)

    def recovered(self, unit: str, outcomes: Sequence[OutcomeRow]) -> None:
        log.warning("settled unit %s of an interrupted run", unit[:8])

    def unmarked(self, database: str) -> None:
        log.warning("no markers in %s: what a crash leaves open can only be called converged", database)

    def paused(self, why: str) -> None:
        log.info("paused %s", why)

    def unsealed(self, why: str) -> None:
        log.error("the audit log got no head: %s", why)


class JsonLines(logging.Formatter):
    """One object a line: when, how bad, who, what, and the facts that go with it."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        told |= _ABOUT.get()
        told |= {name: getattr(record, name) for name in FACTS if hasattr(record, name)}
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str)


class Lines(logging.Formatter):
    """For people; what a message holds stays on its line."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        text = record.getMessage().replace("\r", " ").replace("\n", " ")
        line = f"{at:%Y-%m-%d %H:%M:%S} {record.levelname.lower():<7} {text}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def to_stderr(*, as_json: bool, level: str) -> None:
    """Everything that Trueup logs goes to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else Lines())
    top = logging.getLogger("trueup")
    top.handlers, top.propagate = [handler], False
    top.setLevel(level.upper())
