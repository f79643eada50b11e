"""A table of tenants and its copy in one PostgreSQL database; a tenant is a partition, and so a segment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trueup
from tests.servers import run_sql
from trueup import Trueup
from trueup.core.compare import Counts
from trueup.observe import Silent

TENANTS, ROWS = 12, 20


def slow(seconds: float) -> str:
    """The source's rows; each statement that reads some of them lasts so long, however few they are."""
    return f"SELECT tenant, id, n FROM s WHERE (SELECT pg_sleep({seconds}) IS NOT NULL)"


def fill(url: str) -> None:
    """Every tenant has one row of each kind of drift."""
    run_sql(
        url,
        *(f"CREATE TABLE {name} (tenant integer, id integer PRIMARY KEY, n integer)" for name in "st"),
        f"INSERT INTO s SELECT g % {TENANTS}, g, g FROM generate_series(1, {TENANTS * ROWS}) g",
        "INSERT INTO t SELECT * FROM s",
        f"UPDATE t SET n = 0 WHERE id <= {TENANTS}",
        f"DELETE FROM t WHERE id > {TENANTS} AND id <= {2 * TENANTS}",
        f"INSERT INTO t SELECT g % {TENANTS}, -g - 1, 1 FROM generate_series(1, {TENANTS}) g",
        "ANALYZE",
    )


def declare(
    path: Path,
    url: str,
    *,
    engine: str = "threads",
    ledger: str = "sqlite:///ledger.db",
    source: dict[str, Any] | None = None,
    database: dict[str, Any] | None = None,
    retry: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """Writes the configuration that the run and the workers have."""
    given = {
        "source": source or {"database": "app", "query": slow(0.02)},
        "target": {"database": "app", "table": "t"},
        "key": ["id"],
        "columns": ["n"],
        "writers": "same_transaction",
        "on_extra": "delete",
        "limits": {"rows": 10_000, "share": "100%", "deletes": 10_000, "collapse": "0%"},
        "partition": {"by": "column", "column": "tenant"},
        **changes,
    }
    tables = {
        "trueup": {"ledger": ledger, "engine": engine, "retry": retry or {}},
        "databases.app": {"url": url, **(database or {})},
        "projections.p": given,
    }
    lines = []
    for name, values in tables.items():
        lines += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in values.items())]
    path.write_text("\n".join(lines))
    return path


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)


def opened(path: Path, **changes: Any) -> Trueup:
    return trueup.load(path, **changes)


def kept(engine: Trueup, run: str) -> list[Any]:
    """What the ledger holds of a run, but for names and moments."""
    with engine.ledger.reading() as c:
        segments = c.exec_driver_sql(
            f"SELECT stage, span, state, counts, suspects, reason FROM trueup_segments WHERE run = '{run}' ORDER BY id"
        ).all()
    decided = [(d.decision.drift, d.decision.action, d.decision.reason) for d in engine.decisions(run)]
    done = [(o.key, o.outcome, o.action, o.before, o.after, o.witness) for o in engine.outcomes(run)]
    return [*map(tuple, segments), *decided, *done]


class Each(Silent):
    """Does something each time that a segment was compared."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act
        self.compared_s: list[float] = []

    def compared(self, segment: int, counts: Counts, took_s: float) -> None:
        self.compared_s.append(took_s)
        self.act()
