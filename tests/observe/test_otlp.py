"""Traces of runs: what spans there are, what hangs on what, and that they arrive at a receiver over HTTP."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from tests.serving.worlds import World, sqlite_world
from trueup.errors import DesignProblem
from trueup.observe.otlp import Traces, wanted

CONFIG = """
[trueup]
ledger = "sqlite:///ledger.db"
[databases.app]
url = "{url}"
[projections.p]
source = {{ database = "app", table = "s_p" }}
target = {{ database = "app", table = "t_p" }}
key = ["id"]
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[World]:
    made = sqlite_world(tmp_path)
    made.declare()
    made.drift(1, 2)
    yield made
    made.close()


def tracing() -> tuple[InMemorySpanExporter, Traces]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter, Traces(provider)


def test_a_run_its_stages_and_its_segments(small: World) -> None:
    exporter, traces = tracing()
    with small.engine(progress=traces) as engine:
        engine.run("p")
    spans = exporter.get_finished_spans()
    names = {span.context.span_id: span.name for span in spans}  # type: ignore[union-attr]
    tree = [(span.name, names[span.parent.span_id] if span.parent else "") for span in spans]
    assert tree == [
        ("segment", "narrow"),
        ("narrow", "run p"),
        ("confirm", "run p"),
        ("segment", "repair"),
        ("repair", "run p"),
        ("run p", ""),
    ]
    assert len({span.context.trace_id for span in spans}) == 1  # type: ignore[union-attr]
    first, run = spans[0].attributes, spans[-1].attributes
    assert first is not None
    assert run is not None
    assert (first["trueup.source_rows"], first["trueup.differing"]) == (2, 2)
    assert (run["trueup.verdict"], run["trueup.state"]) == ("repaired", "done")
    assert all(span.start_time <= span.end_time for span in spans)  # type: ignore[operator]


def test_a_run_that_fails_is_marked_and_the_next_is_a_trace_of_its_own(small: World) -> None:
    exporter, traces = tracing()
    with small.engine(progress=traces) as engine:
        with pytest.MonkeyPatch.context() as broken:
            broken.setattr("trueup.run.sweep", _fails)
            with pytest.raises(DesignProblem):
                engine.check("p")
        engine.check("p")
    failed, fine = [span for span in exporter.get_finished_spans() if span.parent is None]
    assert (failed.status.status_code, fine.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    assert failed.context.trace_id != fine.context.trace_id  # type: ignore[union-attr]


def _fails(*_: object) -> None:
    raise DesignProblem("p: it does not fit")


@pytest.mark.parametrize(
    ("environ", "asks"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_opentelemetrys_variables_switch_it_on(environ: dict[str, str], asks: bool) -> None:
    assert wanted(environ) is asks


def test_the_command_sends_them_to_a_receiver(small: World, tmp_path: Path) -> None:
    (tmp_path / "trueup.toml").write_text(CONFIG.format(url=small.url))
    got: list[ExportTraceServiceRequest] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            packed = self.headers.get("Content-Encoding") == "gzip"
            got.append(ExportTraceServiceRequest.FromString(gzip.decompress(body) if packed else body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "PATH": ""}
        command = [sys.executable, "-m", "trueup", "check"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=180, check=False
        )
        server.shutdown()
    assert done.returncode == 1, done.stderr
    spans = [s for r in got for resource in r.resource_spans for scope in resource.scope_spans for s in scope.spans]
    assert [span.name for span in spans] == ["segment", "narrow", "confirm", "check p"]
    resource = {item.key: item.value.string_value for item in got[0].resource_spans[0].resource.attributes}
    assert resource["service.name"] == "trueup"
