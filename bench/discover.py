"""How many of the derived columns of public schemas `trueup discover` finds, and how many of its proposals are false.

    uv run --all-extras python bench/discover.py [machina spirit oscar misago mediawiki] [--home DIR]

The packages are installed into DIR (each Django application with an environment of its own; MediaWiki from its Debian
package), their schemas made, filled, and drift planted into every derived column that is listed in `bench/derived`.
SQLite serves machina, spirit and oscar; misago wants PostgreSQL (TRUEUP_BENCH_POSTGRES, default
postgresql://postgres@127.0.0.1/postgres) and mediawiki MariaDB (TRUEUP_BENCH_MARIADB, default mariadb://root@127.0.0.1).

A proposal counts as right if its query gives what the list says, for every row of the data before drift was planted.
False proposals are those that are shown as drift or as right and are not; a wrong guess is shown as what it is.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from _schemas import Filler, Listed, install, listed, lists, version

from trueup.core.discover.ideas import Kind
from trueup.core.discover.judge import Proposal, Verdict
from trueup.discover import Found, discover

POSTGRES = os.environ.get("TRUEUP_BENCH_POSTGRES", "postgresql://postgres@127.0.0.1/postgres")
MARIADB = os.environ.get("TRUEUP_BENCH_MARIADB", "mariadb://root@127.0.0.1/mysql")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(lists()))
    parser.add_argument("--home", type=Path, default=Path("/var/tmp/trueup-schemas"))
    parser.add_argument("--keep", action="store_true", help="use the databases of the last time")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    asked.home.mkdir(parents=True, exist_ok=True)
    results = [measure(listed(name), asked.home, keep=asked.keep) for name in asked.names]
    totals = {name: sum(result[name] for result in results) for name in ("listed", "found", "shown", "false")}
    print(f"\n{'schema':42} {'listed':>6} {'found':>6} {'recall':>7} {'shown':>6} {'false':>6} {'share':>6} {'s':>5}")
    for result in [*results, {"schema": "all", "seconds": sum(r["seconds"] for r in results), **totals}]:
        recall, share = result["found"] / result["listed"], result["false"] / max(result["shown"], 1)
        print(
            f"{result['schema']:42} {result['listed']:6} {result['found']:6} {recall:7.2f} "
            f"{result['shown']:6} {result['false']:6} {share:6.2f} {result['seconds']:5.0f}"
        )
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1))
    return 0 if totals["found"] >= 0.8 * totals["listed"] and totals["false"] <= 0.2 * totals["shown"] else 1


def measure(schema: Listed, home: Path, *, keep: bool) -> dict[str, Any]:
    print(f"== {schema.name}: {schema.package}", flush=True)
    url, fresh = place(schema, home, keep=keep)
    plain = str(url.render_as_string(hide_password=False))
    if fresh:
        install(schema, home, url)
    engine = sa.create_engine(_driver(url))
    filler = Filler(schema, engine)
    if fresh:
        filler.fill()
        filler.derive()
    rows = filler.snapshot()
    planted = filler.plant(rows)
    began = time.monotonic()
    try:
        found = discover(plain, seconds=240)
    finally:
        filler.mend(rows)
    seconds = time.monotonic() - began
    right, false = judged(schema, engine, rows, found)
    drift = {p.column: p.figures.wrong for p in found.proposals}
    exact = sum(drift.get(column) == planted[column] for column in right)
    print(f"  {exact} of {len(right)} with exactly the number of rows that were changed")
    missing = [item["column"] for item in schema.derived if item["column"] not in right]
    for column in missing:
        print(f"  not found: {column}")
    for proposal in false:
        figures = proposal.figures
        print(f"  false: {proposal.column} = {proposal.idea.formula} ({figures.wrong} of {figures.telling})")
    for guess in found.wrong_guesses:
        print(f"  shown as a wrong guess: {guess.column} = {guess.idea.formula}")
    for missed in found.missed:
        print(f"  missed: {missed[:160]}")
    return {
        "schema": f"{version(schema, home)} on {schema.database}",
        "listed": len(schema.derived),
        "found": len(right),
        "shown": len(right) + len(false),
        "false": len(false),
        "seconds": seconds,
    }


def judged(
    schema: Listed, engine: sa.Engine, rows: dict[str, list[dict[str, Any]]], found: Found
) -> tuple[list[str], list[Proposal]]:
    """Columns that were found, and proposals that are false."""
    wanted = {item["column"] for item in schema.derived}
    right, false = [], []
    with engine.connect() as connection:
        for proposal in found.proposals:
            if proposal.verdict is Verdict.NO_EVIDENCE:
                continue
            agrees = proposal.column in wanted and means_the_same(connection, proposal, found, rows)
            right.append(proposal.column) if agrees else false.append(proposal)
    return right, false


def means_the_same(
    connection: sa.Connection, proposal: Proposal, found: Found, rows: dict[str, list[dict[str, Any]]]
) -> bool:
    """Does its query give what was there before the drift, row for row?"""
    idea = proposal.idea
    on = idea.path.on if idea.path and idea.groups else found.schema.tables[idea.table].key
    told = {
        tuple(row[:-1]): row[-1]
        for row in connection.execute(sa.text(found.queries[proposal.column].replace(":", "\\:")))
    }
    for row in rows[idea.table]:
        there = row[idea.column]
        nothing = 0 if idea.groups else there
        expected = told.get(tuple(row[name] for name in on), nothing)
        if not _same(expected, there) and not (idea.kind in (Kind.LAST, Kind.FIRST) and expected is None):
            return False
    return True


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str) and not isinstance(other, str):  # SQLite's moments are texts
        return one.startswith(str(other))
    try:
        return one == other or abs(float(one) - float(other)) < 1e-6
    except (TypeError, ValueError):
        return False


def place(schema: Listed, home: Path, *, keep: bool) -> tuple[sa.URL, bool]:
    """An empty database for a schema; and whether it is new."""
    if schema.database == "sqlite":
        file = home / f"{schema.name}.db"
        if not keep:
            file.unlink(missing_ok=True)
        return sa.make_url(f"sqlite:///{file}"), not file.exists()
    server = sa.make_url(POSTGRES if schema.database == "postgresql" else MARIADB)
    name = f"trueup_bench_{schema.name}"
    engine = sa.create_engine(_driver(server), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        there = (
            name in sa.inspect(connection).get_schema_names()
            if server.drivername != "postgresql"
            else bool(
                connection.execute(sa.text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": name}).scalar()
            )
        )
        fresh = not (there and keep)
        if fresh:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return server.set(database=name), fresh


def _driver(url: sa.URL) -> sa.URL:
    drivers = {"postgresql": "postgresql+psycopg", "mariadb": "mariadb+pymysql", "sqlite": "sqlite"}
    return url.set(drivername=drivers[url.drivername])


if __name__ == "__main__":
    sys.exit(main())
