# ruff: noqa: ARG002 - each exporter takes what it needs of what it is told
"""Runs as OpenTelemetry traces: a span for the run, in it one for each stage, in that one for each segment.

The variables of OpenTelemetry switch it on and say where traces go (`OTEL_EXPORTER_OTLP_ENDPOINT` and so on). Spans
hold names, counts and times; never a key or a value of a row.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from trueup._version import __version__
from trueup.core.compare import Counts
from trueup.core.states import RunState, Stage
from trueup.errors import ConfigError
from trueup.observe import Progress, Several, Silent
from trueup.store.records import OutcomeRow, RunRow

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider

#: One of these says where traces go.
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
NS = 1_000_000_000


def wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Do the variables of OpenTelemetry ask for traces?"""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporters = environ.get("OTEL_TRACES_EXPORTER")
    return any(environ.get(name) for name in ENDPOINTS) if exporters is None else exporters == "otlp"


def traced(progress: Progress, environ: Mapping[str, str] = os.environ) -> Progress:
    """Who is told of runs, and traces too where they are wanted. Raises ConfigError."""
    return cast(Progress, Several(progress, Traces())) if wanted(environ) else progress


@dataclass(kw_only=True, slots=True)
class Open:
    """Spans of the run that a thread carries out, outermost first."""

    run: Span
    stage: Span
    #: When the last segment of the stage ended, nanoseconds since 1970.
    since_ns: int


class Traces(Silent):
    """Makes spans of what it is told. Several runs may go on at a time, each in a thread of its own."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        """`provider`: where spans go; default: as OpenTelemetry's variables say. Raises ConfigError."""
        self._tracer = (provider or _provider()).get_tracer("trueup", __version__)
        self._here = threading.local()

    def begun(self, run: RunRow) -> None:
        from opentelemetry.trace import SpanKind

        about = {"trueup.projection": run.projection, "trueup.command": run.command, "trueup.run": run.id}
        span = self._tracer.start_span(f"{run.command} {run.projection}", kind=SpanKind.INTERNAL, attributes=about)
        self._here.open = Open(run=span, stage=self._stage(span, run.stage), since_ns=time.time_ns())

    def entered(self, stage: Stage) -> None:
        if (opened := self._opened) is not None:
            opened.stage.end()
            opened.stage, opened.since_ns = self._stage(opened.run, stage), time.time_ns()

    def compared(self, segment: int, counts: Counts, took_s: float) -> None:
        now = time.time_ns()
        rows = {"source_rows": counts.source_rows, "target_rows": counts.target_rows, "differing": counts.differing}
        self._segment({"trueup.segment": segment} | _named(rows), now - round(took_s * NS), now)

    def repaired(self, at: int, of: int, outcomes: Sequence[OutcomeRow]) -> None:
        if (opened := self._opened) is not None:
            self._segment(_named({"segment": at, "outcomes": len(outcomes)}), opened.since_ns, time.time_ns())

    def ended(self, run: RunRow, state: RunState, verdict: str, why: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        if (opened := self._opened) is None:
            return
        opened.run.set_attributes({"trueup.state": str(state), "trueup.verdict": verdict})
        if state is RunState.FAILED:
            opened.run.set_status(Status(StatusCode.ERROR))  # why is in the ledger: it may name rows
        opened.stage.end()
        opened.run.end()
        self._here.open = None

    @property
    def _opened(self) -> Open | None:
        opened: Open | None = getattr(self._here, "open", None)
        return opened

    def _stage(self, run: Span, stage: Stage) -> Span:
        from opentelemetry.trace import set_span_in_context

        return self._tracer.start_span(str(stage), context=set_span_in_context(run))

    def _segment(self, about: Mapping[str, Any], begun_ns: int, ended_ns: int) -> None:
        """A span of what is over by now."""
        from opentelemetry.trace import set_span_in_context

        if (opened := self._opened) is not None:
            within = set_span_in_context(opened.stage)
            self._tracer.start_span("segment", context=within, start_time=begun_ns, attributes=dict(about)).end(
                ended_ns
            )
            opened.since_ns = ended_ns


def _named(counts: Mapping[str, int]) -> dict[str, int]:
    return {f"trueup.{name}": count for name, count in counts.items()}


def _provider() -> TracerProvider:
    """One for the process, which sends what is left when the process ends. Raises ConfigError without the library."""
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider as Sdk
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as missing:
        raise ConfigError(
            f"traces are asked for by {' or '.join(ENDPOINTS)}, and the library {missing.name!r} is not installed; "
            f"pip install 'trueup[otlp]', or set OTEL_SDK_DISABLED=true"
        ) from missing
    known = trace.get_tracer_provider()
    if isinstance(known, Sdk):  # the application's own
        return known
    about = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "trueup"}
    made = Sdk(resource=Resource.create({**about, "service.version": __version__}))
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(made)
    return made
