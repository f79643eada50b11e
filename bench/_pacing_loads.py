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
from sqlalchemy.engine import make_url

from trueup import Database, Projection, Side, Trueup
from trueup.core.plan import Range

#: Statements of others that run at a time beyond which the binary rules stand still (2 cores).
THRESHOLD = 3.0


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


class Rule:
    """When the next statement may begin, and how many rows it takes."""

    workers = 1

    def __init__(self) -> None:
        self.rows = 1000
        self.running = 0.0
        self.lock = threading.Lock()
        self.inflight = 0

    def may(self) -> bool:
        return True

    def took(self, rows: int, seconds: float) -> float:  # noqa: ARG002 - each rule goes by what it knows
        """Seconds to rest after a statement."""
        return 0.0


class Unpaced(Rule):
    def __init__(self) -> None:
        super().__init__()
        self.rows = 8000

    def took(self, rows: int, seconds: float) -> float:  # noqa: ARG002 - each rule goes by what it knows
        self.rows = max(int(self.rows * min(max(0.02 / seconds, 0.5), 1.5)), 10)  # statements of 20 ms
        return 0.0


class Unpaced4(Unpaced):
    workers = 4


class Fixed(Rule):
    """1,000 rows, then 0.1 s of rest."""

    def took(self, rows: int, seconds: float) -> float:  # noqa: ARG002 - each rule goes by what it knows
        return 0.1


class Synapse(Rule):
    """Batches of 100 ms, then 1 s of rest."""

    def __init__(self) -> None:
        super().__init__()
        self.mean_rows = self.mean_ms = 0.0

    def took(self, rows: int, seconds: float) -> float:
        self.mean_rows += 0.1 * (rows - self.mean_rows)
        self.mean_ms += 0.1 * (seconds * 1000 - self.mean_ms)
        self.rows = max(1, int(100 * self.mean_rows / self.mean_ms))
        return 1.0


class GitLab(Rule):
    """Sub-batches of 1,000 rows and 0.1 s of rest, a batch each 2 s; a hold of 10 s where the database is busy.

    All times are a sixtieth of the real ones.
    """

    workers = 2

    def __init__(self) -> None:
        super().__init__()
        self.size, self.left, self.began, self.hold = 4000.0, 4000, time.monotonic(), 0.0
        self.efficiencies: list[float] = []

    def may(self) -> bool:
        now = time.monotonic()
        if self.left > 0:
            return True
        if now < self.hold or now < self.began + 2:
            return False
        self.left, self.began = int(self.size), now
        return True

    def took(self, rows: int, seconds: float) -> float:  # noqa: ARG002
        self.left -= rows
        if self.left <= 0:
            self.efficiencies = [(time.monotonic() - self.began) / 2, *self.efficiencies][:20]
            weights = [0.6**at for at in range(len(self.efficiencies))]
            mean = sum(e * w for e, w in zip(self.efficiencies, weights, strict=True)) / sum(weights)
            if self.running >= THRESHOLD:
                self.hold = time.monotonic() + 10
            elif not 0.9 <= mean <= 0.95:
                self.size = min(2e6, max(1000.0, self.size * min(0.95 / mean, 1.2)))
        return 0.1


class Ghost(Rule):
    """1,000 rows without rest, unless the database is busy."""

    def may(self) -> bool:
        return self.running < THRESHOLD


class Aimd(Rule):
    """Concurrency by additive increase and multiplicative decrease on one's own latency."""

    workers = 8

    def __init__(self) -> None:
        super().__init__()
        self.limit, self.timeout_s = 2, 0.0

    def may(self) -> bool:
        return self.inflight < self.limit

    def took(self, rows: int, seconds: float) -> float:  # noqa: ARG002 - each rule goes by what it knows
        self.timeout_s = self.timeout_s or 2 * seconds
        if seconds > self.timeout_s:
            self.limit = max(1, int(self.limit * 0.9))
        elif (self.inflight + 1) * 2 >= self.limit:
            self.limit = min(self.workers, self.limit + 1)
        return 0.0


class Gradient2(Aimd):
    """Concurrency by the gradient of one's own latency against its long mean."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.long_s, self.window, self.until = 2.0, 0.0, list[float](), 0.0

    def took(self, rows: int, seconds: float) -> float:  # noqa: ARG002 - each rule goes by what it knows
        self.window.append(seconds)
        if time.monotonic() > self.until and len(self.window) >= 10:
            short = sum(self.window) / len(self.window)
            self.window, self.until = [], time.monotonic() + 1
            self.long_s = self.long_s + (2 / 601) * (short - self.long_s) if self.long_s else short
            gradient = max(0.5, min(1.0, 1.5 * self.long_s / short))
            self.wide = max(1.0, min(8.0, self.wide * 0.8 + 0.2 * (self.wide * gradient + 1)))
            self.limit = int(self.wide)
        return 0.0


RULES: dict[str, type[Rule]] = {
    "one unpaced worker": Unpaced,
    "four unpaced workers": Unpaced4,
    "fixed 1,000 rows + 0.1 s": Fixed,
    "Synapse rule": Synapse,
    "GitLab optimiser + hold": GitLab,
    "gh-ost rule": Ghost,
    "AIMD on own latency": Aimd,
    "Gradient2 on own latency": Gradient2,
}


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
    rule = RULES[asked["kind"]]()
    watches = (asked["url"], lambda value: setattr(rule, "running", value))
    threading.Thread(target=watched, args=watches, daemon=True).start()
    by_rule(asked["url"], rule, rows, asked["folder"], asked["keys"])


if __name__ == "__main__":
    main(sys.argv[1])
