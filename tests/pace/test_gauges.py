"""Declared health signals, asked for real: of databases, over HTTP, of programs and of functions."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest

from tests.faults.proxy import proxied
from tests.live.harness import Background, until
from tests.pace.stepped import SteppedClock
from trueup.adapters import Adapter, connect
from trueup.adapters._sqlite_probe import SqliteProbe
from trueup.core.pace.gauges import Gauge
from trueup.core.projection import Database
from trueup.pace.gauges import Gauges

#: Kinds with a time limit of their own.
TIMED = {"http", "prometheus", "command"}
PROMETHEUS = '{"status":"success","data":{"resultType":"vector","result":[{"value":[1,"0.25"]}]}}'


#: Bodies that are no answer, and how long they are said to be. Each was taken for free, or ended the thread.
BODIES = {
    "/cut": ('{"value": 9}', 100),
    "/cut-number": ("2", 3),
    "/not-to-its-end": ('{"value": 9', None),
    "/long": ('{"details": "' + "x" * 150_000 + '", "value": 9}', None),
    "/number": ("1" + "0" * 400, None),
    "/deep": ("[" * 90_000, None),
}
#: Answers that begin so, and do not end.
HALVES = {"/body": b"HTTP/1.0 200 OK\r\n\r\n", "/head": b"HTTP/1.0 200 OK\r\nx: "}
STOP = threading.Event()


class Answers(BaseHTTPRequestHandler):
    said: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.said.append(self.path)
        if self.path in HALVES:
            self.drip(HALVES[self.path])
            return
        status, body = 200, PROMETHEUS if "/api/v1/query" in self.path else '{"value": 7}'
        if self.path == "/denied":
            status = 417
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "/value")
            self.end_headers()
            return
        if self.path in BODIES:
            body, length = BODIES[self.path]
        self.send_response(status)
        if self.path in BODIES and length:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body.encode())

    def drip(self, begun: bytes) -> None:
        """Go on for as long as somebody listens."""
        with contextlib.suppress(OSError):
            self.wfile.write(begun)
            while not STOP.wait(0.02):
                self.wfile.write(b" ")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        STOP.set()


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


class Odd:
    def __float__(self) -> float:
        raise RuntimeError("odd")


ODD: list[Callable[[], Any]] = []


def odd() -> Any:
    return ODD.pop()() if ODD else 1.5


ANSWERS = threading.Event()


def waits() -> float:
    return float(ANSWERS.wait())


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
        ({"http": "/cut", "timeout": 10}, "cut off: 88 bytes"),
        ({"http": "/cut-number", "timeout": 10}, "cut off: 2 bytes"),
        ({"http": "/not-to-its-end", "timeout": 10}, "begins like"),
        ({"http": "/long", "timeout": 10}, "more than 100000 bytes"),
        ({"http": "/number", "timeout": 10}, "no number"),
        ({"http": "/deep", "timeout": 10}, "begins like"),
        ({"http": "/body", "timeout": 0.2}, "timed out after 0.2 s"),
        ({"http": "/head", "timeout": 0.2}, "timed out after 0.2 s"),
        ({"command": ("yes",), "timeout": 10}, "more than 100000 bytes"),
        ({"command": ("sh", "-c", "exec >&-; sleep 600"), "timeout": 0.1}, "timed out"),
    ],
)
def test_what_is_not_had_is_not_available(sqlite: Adapter, server: str, declared: dict[str, Any], words: str) -> None:
    declared = {name: server + given if name == "http" else given for name, given in declared.items()}
    gauges = one(sqlite, **declared)
    assert words in gauges.lacking["g"]
    assert gauges.look(100.0) == {"g": None}


@pytest.mark.parametrize("answer", [lambda: 10**400, lambda: 10**5000, lambda: sys.exit(1), Odd, lambda: "x"])
def test_who_answers_oddly_is_asked_again(sqlite: Adapter, answer: Callable[[], Any]) -> None:
    """The thread ended, and nobody was told."""
    ODD[:], lacked = [answer], list[str]()
    gauges = Gauges([Gauge(name="g", python="tests.pace.test_gauges:odd", every=0.1)], sqlite, lambda: 100.0)

    def asks(*asked: Any) -> None:
        Gauges.ask(gauges, *asked)
        lacked.extend(gauges.lacking.values())

    gauges.ask = asks  # type: ignore[method-assign]
    gauges.begin()
    until(lambda: gauges.look(100.0)["g"] == 1.5, "a number at last")
    gauges.end()
    (why,) = lacked
    assert why.startswith("tests.pace.test_gauges:odd: ")


def test_who_does_not_answer_is_told(sqlite: Adapter) -> None:
    """A function that hung was told nowhere."""
    clock, gauge = SteppedClock(), Gauge(name="g", python="tests.pace.test_gauges:waits", every=1)
    gauges = Gauges([gauge], sqlite, clock.monotonic)
    gauges.begin()
    clock.pass_(gauge.fresh_s)
    assert gauges.lacking == {}
    clock.pass_(10)
    assert gauges.lacking == {"g": "no answer for 12 s"}
    ANSWERS.set()
    until(lambda: gauges.look(clock.at_s)["g"] == 1.0, "a number")
    assert gauges.lacking == {}
    gauges.end()


@pytest.fixture
def started(tmp_path: Path) -> tuple[tuple[str, ...], threading.Event, Background]:
    """A program that starts another one and waits for it; whether that has begun, and its end."""
    pipe, begun = tmp_path / "pipe", threading.Event()
    os.mkfifo(pipe)

    def reads() -> None:
        with pipe.open("rb") as file:
            begun.set()
            file.read()  # until nobody has it open for writing

    return ("sh", "-c", f"sleep 600 > {pipe} & wait"), begun, Background(reads)


def test_what_a_program_starts_is_ended_with_it(
    sqlite: Adapter, started: tuple[tuple[str, ...], threading.Event, Background]
) -> None:
    """A check that hung left a process behind, each second one more."""
    command, begun, ends = started
    gauges = Gauges([Gauge(name="g", command=command, every=30, timeout=1)], sqlite, time.monotonic)
    gauges.begin()
    until(lambda: begun.is_set() and "timed out" in gauges.lacking.get("g", ""), "it to hang")
    ends.join(20)  # which is before it is run again
    gauges.end()


def test_a_program_ends_with_the_work(
    sqlite: Adapter, started: tuple[tuple[str, ...], threading.Event, Background]
) -> None:
    command, begun, ends = started
    gauges = Gauges([Gauge(name="g", command=command, timeout=30)], sqlite, time.monotonic)
    gauges.begin()
    until(begun.is_set, "it to begin")
    assert not ends.done
    gauges.end()(0.0)
    ends.join(20)  # which is less than the time it has


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


@pytest.mark.parametrize("kind", ["sql", "write"])
def test_who_asks_seldom_leaves_no_session_that_the_server_may_end_meanwhile(postgres: str, kind: str) -> None:
    """Of those with a limit on idle sessions every other statement failed."""
    with psycopg.connect(postgres, autocommit=True) as judge:
        judge.execute("CREATE TABLE beats (at int)")
        judge.execute("INSERT INTO beats VALUES (1)")
        statement = {"sql": "SELECT at FROM beats", "write": "UPDATE beats SET at = at + 1"}[kind]
        gauge = Gauge.model_validate({"name": "g", kind: statement, "every": "1h"})
        gauges = Gauges([gauge], connect("app", Database(url=postgres)), time.monotonic)
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'trueup:probe' AND datname = %s"
        gauges.begin()
        until(lambda: gauges.look(time.monotonic())["g"] is not None, "its number")
        until(lambda: judge.execute(sessions, (judge.info.dbname,)).fetchone() == (0,), "its session to be gone")
        assert gauges.lacking == {}
        gauges.end()(5.0)


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


@pytest.mark.parametrize("kind", ["sql", "write"])
def test_a_statement_that_the_network_swallows_is_given_up(postgres: str, kind: str) -> None:
    """It waited for ever: so does the driver, and the server's limit is of no use where nothing arrives."""
    with proxied(postgres) as (proxy, url):
        asked = Gauge(name="g", every=0.1, **{kind: "SELECT 1"})  # type: ignore[arg-type]
        gauges = Gauges([asked], connect("app", Database(url=url)), time.monotonic)

        def had() -> float | None:
            return gauges.look(time.monotonic())["g"]

        gauges.begin()
        until(lambda: had() is not None, "a number")
        proxy.swallows = True
        until(lambda: "no answer" in gauges.lacking.get("g", ""), "it to be swallowed")
        assert had() is None

        def given_up() -> bool:
            gauges.watch(0.1)
            return (had() or 0) >= 400 or "closed the connection" in gauges.lacking.get("g", "")

        until(given_up, "it to be given up")
        proxy.swallows = False
        until(lambda: 0 < (had() or 0) < 400, "a number again")
        gauges.end()


def test_to_connect_is_no_part_of_a_heartbeat(sqlite: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one of each connection was as slow as that, and may have been an emergency."""
    clock, connections, executed = SteppedClock(), [0], SqliteProbe._executed
    connected, broken = SqliteProbe._connected, [True]

    def connects(probe: SqliteProbe, *, writes: bool = False) -> Any:
        connections[0] += 1
        clock.pass_(5.0)
        return connected(probe, writes=writes)

    def breaks(*asked: Any, **given: Any) -> Any:
        if connections == [1] and broken.pop():
            raise sqlite3.OperationalError("it broke")
        return executed(*asked, **given)

    monkeypatch.setattr(SqliteProbe, "_connected", connects)
    beat = Gauge(name="g", write="CREATE TABLE IF NOT EXISTS heartbeat (a)", every=0.1)
    gauges = Gauges([beat], sqlite, clock.monotonic)
    gauges.begin()
    for connection in (1, 2):
        until(lambda: connections == [connection] and gauges.look(clock.at_s)["g"] is not None, "a number")  # noqa: B023
        assert gauges.look(clock.at_s) == {"g": 0.0}
        monkeypatch.setattr(SqliteProbe, "_executed", breaks)
    gauges.end()


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
