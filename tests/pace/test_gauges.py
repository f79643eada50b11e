"""Declared health signals, asked for real: of databases, over HTTP, of programs and of functions."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest

from tests.live.harness import until
from trueup.adapters import Adapter, connect
from trueup.core.pace.gauges import Gauge
from trueup.core.projection import Database
from trueup.pace.gauges import Gauges

#: Kinds with a time limit of their own.
TIMED = {"http", "prometheus", "command"}
PROMETHEUS = '{"status":"success","data":{"resultType":"vector","result":[{"value":[1,"0.25"]}]}}'


class Answers(BaseHTTPRequestHandler):
    said: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.said.append(self.path)
        status, body = 200, PROMETHEUS if "/api/v1/query" in self.path else '{"value": 7}'
        if self.path == "/denied":
            status = 417
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "/value")
            self.end_headers()
            return
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()


def one(adapter: Adapter, **declared: Any) -> Gauges:
    """One gauge, asked until it has said something."""
    gauges = Gauges([Gauge(name="g", every=0.1, **declared)], adapter, lambda: 100.0)
    gauges.begin()
    until(lambda: gauges.look(100.0)["g"] is not None or gauges.lacking, "an answer")
    gauges.end()
    return gauges


@pytest.fixture
def sqlite(sqlite_url: str) -> Adapter:
    Path(sqlite_url.removeprefix("sqlite:///")).touch()
    return connect("app", Database(url=sqlite_url))


def load() -> float:
    return 1.5


def broken() -> float:
    raise RuntimeError("no idea")


ASKED, GO = threading.Semaphore(0), threading.Event()


def stands() -> float:
    ASKED.release()
    GO.wait()
    return 1.0


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ({"sql": "SELECT 3"}, 3),
        ({"command": (sys.executable, "-c", "print(4)")}, 4),
        ({"command": (sys.executable, "-c", "raise SystemExit(2)")}, 2),
        ({"python": "tests.pace.test_gauges:load"}, 1.5),
        ({"http": "/value"}, 7),
        ({"http": "/denied"}, 2),
        ({"prometheus": "", "query": "up == 1"}, 0.25),
    ],
)
def test_a_number_is_had(sqlite: Adapter, server: str, declared: dict[str, Any], value: float) -> None:
    declared = {name: server + given if name in ("http", "prometheus") else given for name, given in declared.items()}
    gauges = one(sqlite, **declared, **({"timeout": 10} if TIMED & declared.keys() else {}))
    assert (gauges.look(100.0), gauges.lacking) == ({"g": value}, {})
    assert gauges.look(200.0) == {"g": None}  # too long ago: not available, and not what it was


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"sql": "SELECT NULL"}, "no number"),
        ({"sql": "SELECT 1, 2"}, "one value"),
        ({"sql": "SELECT * FROM nowhere"}, "nowhere"),
        ({"command": ("/nowhere/at/all",)}, "No such file"),
        ({"command": (sys.executable, "-c", "import time; time.sleep(60)"), "timeout": 0.1}, "timed out"),
        ({"python": "tests.pace.test_gauges:broken"}, "RuntimeError: no idea"),
        ({"python": "tests.nowhere:load"}, "No module"),
        ({"http": "/elsewhere"}, "answered 302"),
    ],
)
def test_what_is_not_had_is_not_available(sqlite: Adapter, server: str, declared: dict[str, Any], words: str) -> None:
    declared = {name: server + given if name == "http" else given for name, given in declared.items()}
    gauges = one(sqlite, **declared)
    assert words in gauges.lacking["g"]
    assert gauges.look(100.0) == {"g": None}


def test_a_password_in_an_address_is_never_told(sqlite: Adapter) -> None:
    gauges = one(sqlite, http="http://ann:s3cret@127.0.0.1:1/", timeout=2)
    assert "s3cret" not in str(gauges.lacking)
    assert "s3cret" not in repr(Gauge(name="g", http="http://ann:s3cret@127.0.0.1:1/"))


def test_a_number_of_postgresql(postgres: str) -> None:
    assert one(connect("app", Database(url=postgres)), sql="SELECT count(*) FROM pg_class").look(100.0)["g"] > 0  # type: ignore[operator]


def test_a_heartbeat_is_written_and_timed(postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as judge:
        judge.execute("CREATE TABLE heartbeat AS SELECT 1 AS id, 0 AS beats")
        beat = "UPDATE heartbeat SET beats = beats + 1 WHERE id = 1"
        took_ms = one(connect("app", Database(url=postgres)), write=beat).look(100.0)["g"]
        assert took_ms is not None
        assert (judge.execute("SELECT beats FROM heartbeat").fetchone() or (0,))[0] >= 1
    for words, declared in (
        ("read-only", {"sql": beat + " RETURNING beats"}),  # what reads cannot write
        ("nowhere", {"write": "UPDATE nowhere SET a = 1"}),
    ):
        gauges = Gauges(
            [Gauge(name="g", every=0.1, **declared)], connect("app", Database(url=postgres)), time.monotonic
        )  # type: ignore[arg-type]
        gauges.begin()
        until(lambda: words in gauges.lacking.get("g", ""), words)  # noqa: B023
        gauges.end()


def test_a_heartbeat_that_is_given_up_for_taking_too_long_is_as_slow_as_that(mariadb: str) -> None:
    app, taken = connect("app", Database(url=mariadb)), list[float]()
    made = app.probe("")
    assert made is not None
    made.write("CREATE TABLE heartbeat AS SELECT 0 AS beats")
    made.close()
    for statement in ("UPDATE heartbeat SET beats = beats + 1", "UPDATE heartbeat SET beats = sleep(5)"):
        beat = Gauge(name="g", write=statement, every=0.1)
        gauges = Gauges([beat], app, time.monotonic)
        gauges.begin()
        until(lambda: gauges.look(time.monotonic())["g"] is not None or gauges.lacking, "an answer")  # noqa: B023
        taken.append(gauges.look(time.monotonic())["g"] or 0.0)
        gauges.end()
    assert taken[0] > 0
    assert taken[1] >= 400


def test_a_heartbeat_that_waits_for_a_lock_is_slow_and_not_unknown(postgres: str) -> None:
    with psycopg.connect(postgres) as other:
        other.execute("CREATE TABLE heartbeat AS SELECT 0 AS beats")
        other.commit()
        other.execute("UPDATE heartbeat SET beats = 1")
        beat = Gauge(name="g", write="UPDATE heartbeat SET beats = beats + 1", every=0.1)
        gauges = Gauges([beat], connect("app", Database(url=postgres)), time.monotonic)
        gauges.begin()
        until(lambda: gauges.look(time.monotonic())["g"] is not None or gauges.lacking, "an answer")
        gauges.end()
        assert gauges.lacking == {}
        assert (gauges.look(time.monotonic())["g"] or 0.0) >= 400


def test_a_heartbeat_of_sqlite_and_redis(sqlite: Adapter, redis: str) -> None:
    assert one(sqlite, write="CREATE TABLE IF NOT EXISTS heartbeat (a)").look(100.0)["g"] is not None
    assert one(connect("cache", Database(url=redis)), write="SET heartbeat 1").look(100.0)["g"] is not None


def test_what_the_time_of_a_write_means() -> None:
    plain, told = Gauge(name="g", write="x"), Gauge(name="g", write="x", idle=1, soft=2, hard=3)
    assert (plain.mark.soft, plain.mark.hard, told.mark.soft) == (100, 400, 2)


def test_who_is_being_asked_when_work_ends_and_begins_again_is_not_asked_twice(sqlite: Adapter) -> None:
    """A thread that was asking went on beside its successor, and there was one more with each run."""
    gauges = Gauges([Gauge(name="slow", python="tests.pace.test_gauges:stands", every=0.1)], sqlite, time.monotonic)

    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "trueup-gauge-slow"]

    gauges.begin()
    ASKED.acquire()
    (first,) = threads()
    gauges.end()
    gauges.begin()
    ASKED.acquire()
    assert len(threads()) == 2
    GO.set()
    first.join(60)
    assert first not in threads()
    gauges.end()


def test_a_command_of_redis(redis: str) -> None:
    assert one(connect("cache", Database(url=redis)), sql="DBSIZE").look(100.0) == {"g": 0}
