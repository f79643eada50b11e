"""Background work for `pacing.py`, each kind in a process of its own: the product, and what other tools do.

    python bench/_pacing_loads.py '{"kind": "governor", "url": ..., "pace": {}, "keys": 9, "folder": ..., "names": []}'

It prints lines of JSON until it is ended.

All of them compare the same two tables by key range through the same adapter; only when and how much differs.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pymysql
from _pacing_rules import RULES, Rule
from sqlalchemy.engine import make_url

from trueup import Trueup, load
from trueup.core.plan import Range
from trueup.errors import Refused


def declared(url: str, pace: dict[str, Any] | None, folder: Path, names: Sequence[str] = ("copy",)) -> Path:
    """A configuration of projections that compare the same two tables; who works in one folder shares a ledger."""
    pace = {**(pace or {})}
    tables = {"trueup": {"ledger": "sqlite:///ledger.db"}, "databases.app.pace": pace.pop("pace", {})}
    tables["databases.app"] = {"url": url, **pace}
    for name in names:
        tables[f"projections.{name}"] = {"key": "id", "writers": "same_transaction"}
        for side, table in (("source", "trueup_one"), ("target", "trueup_two")):
            tables[f"projections.{name}.{side}"] = {"database": "app", "table": table}
    lines = []
    for table, values in tables.items():
        lines += [f"[{table}]" if values else "", *(f"{name} = {json.dumps(value)}" for name, value in values.items())]
    path = folder / "trueup.toml"
    path.write_text("\n".join(lines))
    return path


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


def by_rule(url: str, rule: Rule, rows: Rows, folder: Path, keys: int) -> None:
    with load(declared(url, None, folder)) as app:
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


class Cpu:
    """Core-seconds so far of threads and processes that come and go, as the kernel counts them."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}

    def total_s(self, *tasks: str) -> float:
        """`tasks`: the folders of those that are there now."""
        for task in tasks:
            with contextlib.suppress(OSError):  # it has ended
                self._seen[task] = int(Path(task, "schedstat").read_text().split()[0]) / 1e9
        return sum(self._seen.values())


class Watched:
    """What a governor of the product says of itself, and what it costs."""

    def __init__(self, app: Trueup) -> None:
        self.app, self.thread, self.session = app, Cpu(), Cpu()

    def __call__(self) -> dict[str, Any]:
        governor = self.app.pacing._governors.get("app")
        if governor is None:
            return {}
        now = self.app.clock.monotonic()
        told = {name: value for name, value in governor.told(now).items() if name != "signals"}
        threads = [thread for thread in (governor._thread, governor.looking.asker.thread) if thread is not None]
        return {
            **told,
            "u": governor.gate.u if governor.workers else governor.state.u,  # between two runs nothing is permitted
            "leads": governor.lease.leads,
            "good": governor.state.good,
            "now": now,
            "thread_s": self.thread.total_s(*(f"/proc/self/task/{each.native_id}" for each in threads)),
            "session_s": self.session.total_s(_session(governor.looking.asker.probe)),
        }


def _session(probe: Any) -> str:
    """The server's process that answers a probe; empty: there is none of its own, or it cannot be told."""
    with contextlib.suppress(Exception):  # it is being closed, or of another kind of database
        return f"/proc/{probe._connections[False].info.backend_pid}"
    return ""


def by_product(app: Trueup, names: Sequence[str], *, writes: bool) -> None:
    """Work without an end, or until it is stopped: each projection on a thread of its own."""

    def work(name: str) -> None:
        with contextlib.suppress(Refused):  # it is stopped
            while True:
                (app.run if writes else app.check)(name)

    threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main(text: str) -> None:
    asked = json.loads(text)
    rows, says, folder = Rows(), list[Callable[[], dict[str, Any]]](), Path(asked["folder"])

    def tell() -> None:
        while True:
            time.sleep(0.25)
            line = {"at": time.time(), "rows": rows.count, "cpu_s": time.process_time()}
            for say in says:
                line |= say()
            print(json.dumps(line), flush=True)

    threading.Thread(target=tell, daemon=True).start()
    if asked["kind"] not in RULES:
        config = folder / "trueup.toml"
        if not config.exists():
            declared(asked["url"], asked["pace"], folder, asked["names"])
        with load(config) as app:
            rows.counted(app._adapter("app"))
            says.append(Watched(app))
            by_product(app, asked["names"], writes=asked["kind"] == "run")
        return
    rule = RULES[asked["kind"]](time.monotonic)
    watches = (asked["url"], lambda value: setattr(rule, "running", value))
    threading.Thread(target=watched, args=watches, daemon=True).start()
    by_rule(asked["url"], rule, rows, folder, asked["keys"])


if __name__ == "__main__":
    main(sys.argv[1])
