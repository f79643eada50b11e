"""Runs the conformance matrix: makes the tables, asks the oracle, runs Trueup, and judges answers.

The oracle (`oracle.py`) is plain Python over values that the drivers fetched; it shares no code with the engine.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.conformance.matrix_cases import CASES
from tests.conformance.matrix_types import Case
from tests.conformance.oracle import meant, told
from tests.conformance.text_files import Csv, Json, TextFile
from tests.conformance.worlds import SETUPS, Pairing, Parquet, Place
from trueup import Database, Limits, Projection, Side, Trueup, TrueupError

#: Adapter -> what the document calls it. An adapter joins the matrix here and in `matrix_types.TYPES`.
ENGINES: Mapping[str, str] = MappingProxyType(
    {"postgresql": "PostgreSQL", "mysql": "MariaDB", "sqlite": "SQLite", "duckdb": "DuckDB"}
)
#: Files, which are only ever the source; Parquet is written by DuckDB.
FILES: Mapping[str, str] = MappingProxyType({"file": "Parquet", "csv": "CSV", "json": "JSON"})
#: As `worlds.SETUPS`, with files without types.
SIDES: Mapping[str, tuple[Callable[[str], Place], str]] = MappingProxyType(
    {**SETUPS, "csv": (Csv, "sqlite_pair"), "json": (Json, "sqlite_pair")}
)
#: Kind of a difference by key; parts of a key are joined by |.
Found = dict[str, str]
RIGHT, REFUSED = "right", "refused"
_NO_LIMITS = Limits(rows=10**9, share="100%", deletes=10**9, collapse="0%")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one tool made of one case."""

    #: `right`, `refused`, `false equal`, `false different`, both, or `error`.
    verdict: str
    #: Why it refused, or the error; what it got wrong.
    reason: str = ""


def pairs() -> list[Pairing]:
    """Each engine with itself in one database, then all ordered pairs of two databases, then files and each."""
    alone = [Pairing(source=name, target=name, together=True) for name in ENGINES]
    return alone + [Pairing(source=a, target=b) for a in [*ENGINES, *FILES] for b in ENGINES]


def title(pairing: Pairing) -> str:
    name = {**ENGINES, **FILES}[pairing.source]
    return f"{name}, one database" if pairing.together else f"{name} to {ENGINES[pairing.target]}"


def cases(pairing: Pairing) -> list[Case]:
    return [case for case in CASES if case.fits(pairing.source, pairing.target)]


def tried(pairing: Pairing) -> list[Case]:
    """What the test suite runs: everything between servers and SQLite; of DuckDB, whose file is opened anew for each
    reading, and of files, each case on one of the pairs.
    """
    slow = [pair for pair in pairs() if {pair.source, pair.target} & {"duckdb", *FILES}]
    if pairing not in slow:
        return cases(pairing)
    return [case for at, case in enumerate(CASES) if _in_turn(case, at, slow) == pairing]


def _in_turn(case: Case, at: int, of: Sequence[Pairing]) -> Pairing | None:
    able = [pair for pair in of if case.fits(pair.source, pair.target)]
    return able[at % len(able)] if able else None


#: First key and number of the rows that are the same on both sides.
_FILLED_FROM, _FILLED = 1000, 12
#: A ledger that nobody needs afterwards need not wait for a disk.
_IN_MEMORY = "/dev/shm"
#: Both sides may be in one database.
_MOOD = """
    DO $$ BEGIN CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); EXCEPTION WHEN duplicate_object THEN NULL; END $$"""


# --- tables ----------------------------------------------------------------------------------------------------------


def table_of(case: Case, side: str) -> str:
    return f"{'s' if side == 'source' else 't'}{CASES.index(case)}"


def make(place: Place, side: str, wanted: Iterable[Case]) -> None:
    """The tables of one side."""
    if isinstance(place, TextFile):
        for case in wanted:
            meanings = [case.type_of(side, name).meaning for name in case.columns]
            place.write(table_of(case, side), list(case.columns), meanings, [*case.source, *filler(case)])
        return
    if place.engine == "postgresql":
        place.sql(_MOOD)
    statements = []
    for case in wanted:
        columns = [f"{name} {case.type_of(side, name).on(place.engine)}" for name in case.columns]
        if case.unique:
            columns = [f"{c} NOT NULL" if c.split()[0] in case.key else c for c in columns]
            columns.append(f"PRIMARY KEY ({', '.join(case.key)})")
        statements.append(f"CREATE TABLE {table_of(case, side)} ({', '.join(columns)})")
    # PostgreSQL takes many statements for one transaction.
    place.sql(*(["; ".join(statements)] if place.engine == "postgresql" and statements else statements))
    with place.at_once():
        _fill(place, side, wanted)


def _fill(place: Place, side: str, wanted: Iterable[Case]) -> None:
    for case in wanted:
        rows = [*(case.source if side == "source" else case.target), *filler(case)]
        place.insert(table_of(case, side), [[_written(value, place.engine) for value in row] for row in rows])


def filler(case: Case) -> list[tuple[Any, ...]]:
    """Rows that are the same on both sides: so that there is something to cut, and most of it is equal."""
    if case.key != ("id",) or case.columns["id"] != "bigint" or not (case.source and case.target):
        return []
    return [(key, *[None] * (len(case.columns) - 1)) for key in range(_FILLED_FROM, _FILLED_FROM + _FILLED)]


def _written(value: Any, engine: str) -> Any:
    """MariaDB takes no offset in a time stamp; its sessions are at UTC."""
    return value.removesuffix("+00:00") if engine == "mysql" and isinstance(value, str) else value


def declared(case: Case, target: str) -> dict[str, str]:
    """Types that have to be said of a file without types: where the target's do not, or are others."""
    return {
        name: case.type_of("source", name).file
        for name in case.columns
        if name in case.target_types or not case.type_of("target", name).says(target)
    }


# --- the oracle ------------------------------------------------------------------------------------------------------


def oracle(case: Case, source: Place, target: Place) -> Found:
    """What differs, from all rows of both sides."""
    by_key = [_by_key(case, side, place) for side, place in (("source", source), ("target", target))]
    found: Found = {}
    for key in by_key[0].keys() | by_key[1].keys():
        a, b = by_key[0].get(key), by_key[1].get(key)
        if a != b:
            found[key] = "different" if a and b else "missing" if a else "extra"
    return found


def _by_key(case: Case, side: str, place: Place) -> dict[str, Counter[tuple[Any, ...]]]:
    names = list(case.columns)
    types = [case.type_of(side, name) for name in names]
    if isinstance(place, TextFile):
        rows = place.read(table_of(case, side), names, [of.meaning for of in types])
    else:
        read = [_fetched(name, of.meaning, place.engine) for name, of in zip(names, types, strict=True)]
        before = ["SET TimeZone = 'UTC'"] if place.engine == "postgresql" else []
        rows = place.sql(*before, f"SELECT {', '.join(read)} FROM {table_of(case, side)}")
    found: dict[str, Counter[tuple[Any, ...]]] = {}
    for row in rows:
        values = dict(zip(names, (meant(v, of.meaning) for v, of in zip(row, types, strict=True)), strict=True))
        key = "|".join("NULL" if values[part] is None else str(values[part]) for part in case.key)
        found.setdefault(key, Counter())[tuple(values[name] for name in names if name not in case.key)] += 1
    return found


def _fetched(name: str, meaning: str, engine: str) -> str:
    """PostgreSQL's own text of all but arrays: exact, and no driver's conversion. MariaDB shows a float in six digits,
    and of DuckDB's intervals the driver makes days.
    """
    if engine == "postgresql" and meaning != "list":
        return f"{name}::text"
    if engine in ("duckdb", "file") and meaning == "interval":
        return f"{name}::VARCHAR"
    return f"CAST({name} AS DOUBLE)" if engine == "mysql" and meaning == "float32" else name


# --- answers ---------------------------------------------------------------------------------------------------------


def judged(case: Case, found: Mapping[str, str], listed: int | None = None) -> Cell:
    """Hold an answer against what is right. `listed`: rows in the answer, if not one a key."""
    lost = sorted(key for key, kind in case.differ.items() if found.get(key) != kind)
    made_up = sorted(key for key in found if key not in case.differ)
    words = [f"{len(lost)} of {len(case.differ)} not found"] if lost else []
    words += [f"{len(made_up)} made up"] if made_up else []
    if not words:
        return Cell(verdict=RIGHT)
    named = [name for name, of in (("false equal", lost), ("false different", made_up)) if of]
    return Cell(verdict=" and ".join(named), reason=", ".join(words))


def trueup(pairing: Pairing, source: Place, target: Place, wanted: Sequence[Case]) -> dict[str, Cell]:
    """What Trueup says of cases of a pairing, by name of the case; the tables are there."""
    here = "a" if pairing.together else "b"
    databases = {here: Database(url=target.url)}
    if not isinstance(source, Parquet | TextFile):
        databases["a"] = Database(url=source.url)
    projections = [
        Projection(
            name=f"p{CASES.index(case)}",
            source=_source(case, source, target.engine),
            target=Side(database=here, table=table_of(case, "target")),
            key=case.key,
            settle=0,
            limits=_NO_LIMITS,
        )
        for case in wanted
    ]
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY if Path(_IN_MEMORY).is_dir() else None) as ledger:
        url = f"sqlite:///{Path(ledger) / 'ledger.db'}"
        with Trueup(databases=databases, projections=projections, ledger=url) as app:
            return {case.name: _checked(app, case) for case in wanted}


def _source(case: Case, place: Place, target: str) -> Side:
    table = table_of(case, "source")
    if isinstance(place, TextFile):
        return Side(file=str(place.path(table)), types=declared(case, target))
    return Side(file=str(place.path(table))) if isinstance(place, Parquet) else Side(database="a", table=table)


def _checked(app: Trueup, case: Case) -> Cell:
    try:
        report = app.check(f"p{CASES.index(case)}", rows=0)
    except TrueupError as error:
        return Cell(verdict=REFUSED, reason=str(error))
    if str(report.verdict) not in ("drift", "in_sync"):
        return Cell(verdict=REFUSED, reason=f"{report.verdict}: {report.reason}")
    found = {}
    for row in report.drift:
        found["|".join(told(row["key"][name], case.type_of("source", name).meaning) for name in case.key)] = row["kind"]
    if (str(report.verdict) == "drift") is not bool(found):
        return Cell(verdict="error", reason=f"{report.verdict} with {len(found)} differences")
    return judged(case, found)


def places_of(pairing: Pairing, source_url: str, target_url: str) -> tuple[Place, Place]:
    """Both sides; of one database if the pairing says so."""
    source = SIDES[pairing.source][0](source_url)
    return source, source if pairing.together else SIDES[pairing.target][0](target_url)


def prepared(source: Place, target: Place, wanted: Sequence[Case]) -> None:
    """The tables of both sides; both databases are empty."""
    make(source, "source", wanted)
    make(target, "target", wanted)
