"""Sessions cost as few round trips as they can, and promise what they did with more of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa

from tests.faults.proxy import proxied
from tests.faults.test_error_classes import POSTGRES, RAISES, ROWS, TABLE, limit, opened, told
from tests.live.harness import Db, until
from trueup import Database
from trueup.adapters import _pool, connect
from trueup.errors import DesignProblem, Transient

#: Of those that are told by one statement alone.
SINGLE = (
    *("a statement that takes too long", "a value that cannot be cast", "division by zero", "a table that is gone"),
    *("syntax", "writing where only reading is allowed", "the session was ended"),
)


@pytest.fixture
def adapter(postgres: str) -> Iterator[Any]:
    Db(postgres).sql(TABLE, ROWS)
    with closing(connect("a", Database(url=postgres, statement_timeout="60s"))) as found:
        yield found


@pytest.mark.parametrize("what", SINGLE)
def test_one_round_trip_tells_the_same_errors(postgres: str, what: str) -> None:
    statement, kind = POSTGRES[what]
    Db(postgres).sql(TABLE, ROWS, *RAISES)
    with opened(postgres, statement_timeout=limit(kind)) as adapter:
        error = told(adapter.reading_once, statement)
        assert type(error) is kind
        assert "aborted" not in str(error)
        with adapter.reading_once() as connection:  # what was in the pipeline behind it is gone, too
            assert connection.exec_driver_sql("SELECT count(*) FROM t").scalar_one() == 2


def test_a_session_that_ends_behind_an_error_does_not_hide_it(adapter: Any) -> None:
    """As a standby does: it cancels a statement that keeps replaying waiting, and the session if that is not enough."""
    statement = "SELECT 1 / (length(pg_terminate_backend(pg_backend_pid())::text) - 4)"  # dies once it has failed
    for _ in range(3):
        assert "division by zero" in str(told(adapter.reading_once, statement))
    with adapter.reading_once() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM t").scalar_one() == 2


def test_one_round_trip_reads_only(adapter: Any) -> None:
    change = "UPDATE t SET n = 3 WHERE id = 1 RETURNING n"
    assert isinstance(told(adapter.reading_once, change), DesignProblem)
    with adapter.writing() as connection:  # it is not the statement, nor is the connection left so
        assert connection.exec_driver_sql(change).scalar_one() == 3


def test_the_server_counts_how_long_it_was_active(adapter: Any, postgres: str) -> None:
    told = "SELECT active_time FROM pg_stat_database WHERE datname = current_database()"
    before = Db(postgres).one(told)
    with adapter.reading_once() as connection:
        connection.exec_driver_sql("SELECT pg_sleep(0.2)").scalar_one()
    adapter.close()  # what a session has not reported yet it does now
    until(lambda: Db(postgres).one(told) - before >= 150)


def test_an_older_library_sends_one_after_the_other(adapter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psycopg.Pipeline.is_supported", lambda: False)
    test_one_round_trip_reads_only(adapter)
    test_what_goes_before_holds_for_one_statement(adapter)


def test_what_goes_before_holds_for_one_statement(adapter: Any) -> None:
    setting = "SELECT set_config('enable_seqscan', 'off', true)"
    with adapter.reading_once(setting) as connection:
        assert connection.exec_driver_sql("SHOW enable_seqscan").scalar_one() == "off"
    with adapter.reading_once() as connection:
        assert connection.exec_driver_sql("SHOW enable_seqscan").scalar_one() == "on"


def test_it_is_one_round_trip(postgres: str) -> None:
    with proxied(postgres) as (proxy, url), opened(url, statement_timeout="60s") as adapter:

        def trips(session: Any) -> int:
            before = proxy.trips
            with session() as connection:
                connection.exec_driver_sql("SELECT 1").scalar_one()
            return proxy.trips - before

        trips(adapter.reading)  # it connects
        assert trips(adapter.reading_once) == 1
        assert trips(adapter.reading) == 3  # and each of them waits twice for a core


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that have passed for who asks how long a connection has lain idle."""
    passed = [0.0]
    monkeypatch.setattr(_pool, "monotonic", lambda: passed[0])
    return passed


def cut(adapter: Any, postgres: str) -> None:
    """Its connection is there, and is ended by the server."""
    with adapter.reading() as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    Db(postgres).sql(f"SELECT pg_terminate_backend({pid}, 5000)")


def test_a_connection_that_lay_idle_is_tried(adapter: Any, postgres: str, now: list[float]) -> None:
    cut(adapter, postgres)
    now[0] = _pool.TRUSTED_S
    with adapter.reading() as connection:
        assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1


def test_one_that_was_just_in_use_is_not(adapter: Any, postgres: str, now: list[float]) -> None:
    cut(adapter, postgres)
    now[0] = _pool.TRUSTED_S / 2
    assert isinstance(told(adapter.reading, "SELECT 1"), Transient)
    with adapter.reading() as connection:  # and who tries again has another one
        assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1
