"""Background work for `pacing.py`, each kind in a process of its own: the product, and what other tools do.

    python -m bench._pacing_loads '{"kind": "governor", ...}'    # prints lines of JSON until it is ended

All of them compare the same two tables by key range through the same adapter; only when and how much differs.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pymysql
from _pacing_rules import RULES, Rule
from sqlalchemy.engine import make_url

from trueup import Database, Projection, Side, Trueup
from trueup.core.plan import Range


def declared(url: str, pace: dict[str, Any] | None, folder: str) -> Trueup:
    more = {} if pace is None else pace
    return Trueup(
        databases={"app": Database(url=url, **more)},
        projections=[
            Projection(
                name="copy",
                source=Side(database="app", table="trueup_one"),
                target=Side(database="app", table="trueup_two"),
                key=["id"],
                writers="same_transaction",
            )
        ],
        ledger=f"sqlite:///{folder}/ledger.db",
    )


class Rows:
    """Rows that were compared so far."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def counted(self, adapter: Any) -> None:
        inner = adapter.differences

        def differences(binding: Any, segment: Any) -> Any:
            look = inner(binding, segment)
            with self._lock:
                self.count += look.counts.source_rows
            return look

        adapter.differences = differences


# --- what others do --------------------------------------------------------------------------------------------------


def by_rule(url: str, rule: Rule, rows: Rows, folder: str, keys: int) -> None:
    with declared(url, None, folder) as app:
        binding, adapter = app.binding("copy", writing=False), app._adapter("app")
        rows.counted(adapter)
        at = [0]

        def work() -> None:
            while True:
                with rule.lock:
                    may = rule.may()
                    if may:
                        low, size = at[0], rule.rows
                        at[0] = (low + size) % keys
                        rule.inflight += 1
                if not may:
                    time.sleep(0.02)
                    continue
                began = time.monotonic()
                adapter.differences(binding, Range(lower=(low,), upper=(low + size,)))
                took = time.monotonic() - began
                with rule.lock:
                    rule.inflight -= 1
                    rest = rule.took(size, took)
                if rest:
                    time.sleep(rest)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(rule.workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def watched(url: str, told: Callable[[float], None]) -> None:
    """Statements of others that run, twice a second: what the binary rules go by."""
    parts = make_url(url)
    if parts.get_backend_name() == "postgresql":
        with psycopg.connect(url, autocommit=True, application_name="trueup:probe") as connection:
            while True:
                statement = (
                    "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
                    "AND application_name NOT LIKE 'trueup%'"
                )
                told(float((connection.execute(statement).fetchone() or (0,))[0]))
                time.sleep(0.5)
    connection = pymysql.connect(
        host=parts.host, port=parts.port or 3306, user=parts.username, password=parts.password or ""
    )
    while True:
        with connection.cursor() as cursor:
            cursor.execute("SHOW GLOBAL STATUS LIKE 'Threads_running'")
            told(float(cursor.fetchone()[1]) - 1)
        time.sleep(0.5)


# --- the product -----------------------------------------------------------------------------------------------------


def by_product(url: str, pace: dict[str, Any], rows: Rows, folder: str, trace: dict[str, Any]) -> None:
    with declared(url, pace, folder) as app:
        rows.counted(app._adapter("app"))

        def look() -> None:
            while True:
                governor = app.pacing._governors.get("app")
                if governor is not None:
                    now = app.clock.monotonic()
                    trace.update(governor.told(now), u=governor.gate.u)
                time.sleep(0.25)

        threading.Thread(target=look, daemon=True).start()
        while True:
            app.check("copy")


def main(text: str) -> None:
    asked = json.loads(text)
    rows, trace = Rows(), dict[str, Any]()

    def tell() -> None:
        while True:
            time.sleep(0.25)
            line = {"at": time.time(), "rows": rows.count, "cpu_s": time.process_time(), **trace}
            print(json.dumps({name: value for name, value in line.items() if name != "signals"}), flush=True)

    threading.Thread(target=tell, daemon=True).start()
    if asked["kind"] not in RULES:
        by_product(asked["url"], asked["pace"], rows, asked["folder"], trace)
        return
    rule = RULES[asked["kind"]](time.monotonic)
    watches = (asked["url"], lambda value: setattr(rule, "running", value))
    threading.Thread(target=watched, args=watches, daemon=True).start()
    by_rule(asked["url"], rule, rows, asked["folder"], asked["keys"])


if __name__ == "__main__":
    main(sys.argv[1])
