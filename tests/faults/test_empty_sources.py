"""More than thirty ways for a source to be empty, short, denied or wrong: no row is deleted, and none is set to zero.

Each begins with the truth: a run that repairs a row, takes out another, and so proves that the same set-up would act.
Then the source breaks. Limits are out of the way, so that it is the guard at hand that holds; where it is only the
default limits that do, the case says `limited`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.conformance.test_broken_reads import Half, Nothing
from tests.conformance.worlds import EngineClock, Mysql, Place, Postgresql, Sqlite
from tests.faults.proxy import Proxy, proxied
from tests.live.harness import instead
from trueup import Database, Limits, Projection, Side, Trueup, TrueupError, Verdict
from trueup.adapters import mysql as mysql_adapter
from trueup.adapters import sqlite as sqlite_adapter

ROWS = 200
WIDE = Limits(rows=10**6, share=1, deletes=10**6)
DEFAULT = Limits()
VALUES = [(n, n % 4, f"row{n}x") for n in range(1, ROWS + 1)]


@dataclass(kw_only=True)
class Stage:
    """A sound source on some database, and its copy in an SQLite file."""

    folder: Path
    place: Place | None = None
    url: str = ""
    side: Side = field(default_factory=lambda: Side(database="here", table="src"))
    declared: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    proxy: Proxy | None = None

    def __post_init__(self) -> None:
        self.target = Sqlite(f"sqlite:///{self.folder / 'target.db'}")
        self.target.sql("CREATE TABLE dst(id INTEGER PRIMARY KEY NOT NULL, tenant INTEGER, v TEXT)")
        self.target.insert("dst", VALUES)

    def sql(self, *statements: str) -> None:
        assert self.place is not None
        self.place.sql(*statements)

    def fill(self, place: Place) -> Stage:
        self.place, self.url = place, self.url or place.url
        text = "varchar(20)" if isinstance(place, Mysql) else "text"
        place.sql(f"CREATE TABLE src(id bigint, tenant int, v {text})")
        place.insert("src", VALUES)
        return self

    def app(self, policy: str, **changed: Any) -> Trueup:
        reset = {"absent": {"tenant": 0, "v": ""}} if policy == "reset" else {}
        projection = Projection(
            **{
                "name": "p",
                "source": self.side,
                "target": Side(database="there", table="dst"),
                "key": "id",
                "writers": "absolute",
                "settle": "0s",
                "on_extra": policy,
                "limits": WIDE,
                "exact": True,
                **reset,
                **self.declared,
                **changed,
            }
        )
        databases: dict[str, Database] = {"there": Database(url=self.target.url)}
        if self.side.file is None:
            databases["here"] = Database(url=self.url, **self.settings)
        return Trueup(
            databases=databases,
            projections=[projection],
            ledger=f"sqlite:///{self.folder / 'ledger.db'}",
            clock=EngineClock(),
            retry={"tries": 2},
        )

    def spoil(self) -> None:
        """One row is wrong, and one is too many."""
        self.target.sql(
            "UPDATE dst SET v = 'wrong' WHERE id = 5", "INSERT OR REPLACE INTO dst VALUES (999, 1, 'too many')"
        )

    def taken(self) -> int:
        """Rows that the source had, and that are gone or zeroed."""
        left = self.target.sql(f"SELECT count(*) FROM dst WHERE id <= {ROWS} AND v <> ''")[0][0]
        return ROWS - int(left)


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a source comes to be less than it is."""

    #: Fixture of the database, or `files`.
    on: str
    #: What the message has to say; the first of these words that is there is enough.
    says: tuple[str, ...]
    #: Breaks the source; a generator mends it again where others would see it.
    breaks: Callable[[Stage], Any]
    #: Prepares the source before the truth is told.
    prepare: Callable[[Stage], Any] = lambda _: None
    exit_codes: tuple[int, ...] = (1, 2, 3, 4)
    #: Nothing but the default limits guards against it.
    limited: bool = False


def sql(*statements: str) -> Callable[[Stage], None]:
    return lambda stage: stage.sql(
        *(text.replace("{role}", stage.declared.get("description", "")) for text in statements)
    )


COLLAPSED = ("source collapsed",)
VIEW = "CREATE VIEW seen AS SELECT * FROM src"


def by_view(*statements: str) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        stage.sql(*statements, VIEW)
        stage.side = Side(database="here", table="seen")

    return prepare


def query(text: str, *statements: str) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        if statements:
            stage.sql(*statements)
        stage.side = Side(database="here", query=text)

    return prepare


def as_somebody(stage: Stage) -> None:
    """The engine reads with a role that has no more than it needs."""
    role = f"trueup_reader_{os.getpid()}"
    stage.sql(
        f"DROP ROLE IF EXISTS {role}",
        f"CREATE ROLE {role} LOGIN",
        f"GRANT USAGE ON SCHEMA public TO {role}",
        f"GRANT SELECT ON src TO {role}",
    )
    stage.url = stage.url.replace("postgres@", f"{role}@", 1)
    stage.declared["description"] = role


def drop_role(stage: Stage) -> None:
    role = stage.declared.get("description")
    if role:
        stage.sql(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def through_proxy(stage: Stage) -> None:
    assert stage.proxy is not None


def cut_at(words: bytes) -> Callable[[Stage], None]:
    def breaks(stage: Stage) -> None:
        assert stage.proxy is not None
        stage.proxy.until = words

    return breaks


def cut_after(words: bytes) -> Callable[[Stage], None]:
    def breaks(stage: Stage) -> None:
        assert stage.proxy is not None
        stage.proxy.until, stage.proxy.including = words, True

    return breaks


def hurried(breaks: Callable[[Stage], Any]) -> Callable[[Stage], Any]:
    """No statement may take long any more: only from now on, the truth is told at leisure."""

    def and_hurries(stage: Stage) -> Any:
        stage.settings["statement_timeout"] = "200ms"
        return breaks(stage)

    return and_hurries


def slow_rows(stage: Stage) -> None:
    """The first rows come at once, and each of the others takes longer than a statement may, however few it reads."""
    stage.sql(
        "CREATE TABLE slow_from(at bigint)",
        "INSERT INTO slow_from VALUES (100000)",
        "CREATE FUNCTION slow(n bigint) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN "
        "IF n > (SELECT at FROM slow_from) THEN PERFORM pg_sleep(1.5); END IF; RETURN true; END'",
    )
    stage.side = Side(database="here", query="SELECT id, tenant, v FROM src WHERE slow(id)")


@contextmanager
def locked_by_truncate(stage: Stage) -> Iterator[None]:
    """Another session has emptied the table and not committed: whoever reads it waits."""
    assert stage.place is not None
    with stage.place.holding("TRUNCATE src"):
        yield


def partitioned(stage: Stage) -> None:
    stage.sql(
        "ALTER TABLE src RENAME TO old",
        "CREATE TABLE src(id bigint, tenant int, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE src_1 PARTITION OF src FOR VALUES FROM (0) TO (80)",
        "CREATE TABLE src_2 PARTITION OF src FOR VALUES FROM (80) TO (1000)",
        "INSERT INTO src SELECT * FROM old",
    )


def by_tenant(stage: Stage) -> None:
    stage.declared["partition"] = {"by": "column", "column": "tenant"}


def stream_is(kind: type[Half]) -> Callable[[Stage], Any]:
    """The driver ends early and says nothing: only the proof of the end tells."""

    @contextmanager
    def breaks(_: Stage) -> Iterator[None]:
        from trueup.adapters._sql import SqlAdapter

        stream = SqlAdapter.stream

        def short(self, binding, side, segment, *, tokens):  # type: ignore[no-untyped-def]
            found = stream(self, binding, side, segment, tokens=tokens)
            return kind(found) if side is binding.source else found

        with instead(SqlAdapter, "stream", short):
            yield

    return breaks


def path_of(stage: Stage) -> Path:
    return Path(stage.url.partition(":///")[2])


def unlink(stage: Stage) -> None:
    path_of(stage).unlink()


def write(content: bytes) -> Callable[[Stage], None]:
    def breaks(stage: Stage) -> None:
        path_of(stage).write_bytes(content)

    return breaks


def halve(path: Path, share: float = 0.5) -> None:
    os.truncate(path, int(path.stat().st_size * share))


@contextmanager
def file_locked(stage: Stage) -> Iterator[None]:
    assert isinstance(stage.place, Sqlite)
    with closing(stage.place.connect()) as other, instead(sqlite_adapter, "BUSY_TIMEOUT_S", 0.05):
        other.execute("BEGIN EXCLUSIVE")
        yield


def replaced_by_empty(stage: Stage) -> None:
    unlink(stage)
    Sqlite(stage.url).sql("CREATE TABLE other(x)")


@contextmanager
def concat_cut(_: Stage) -> Iterator[None]:
    """The server joins no more than a few bytes."""
    with instead(mysql_adapter, "JOINED_MAX", 4):
        yield


# --- files -----------------------------------------------------------------------------------------------------------


def parquet(stage: Stage) -> None:
    with duckdb.connect() as c:
        c.execute("CREATE TABLE src(id BIGINT, tenant INTEGER, v VARCHAR)")
        c.executemany("INSERT INTO src VALUES (?, ?, ?)", VALUES)
        for tenant in range(4):
            c.execute(f"COPY (FROM src WHERE tenant = {tenant}) TO '{stage.folder / f'part{tenant}.parquet'}'")
    stage.side = Side(file=str(stage.folder / "part*.parquet"))


def csv(stage: Stage) -> None:
    lines = ["id,tenant,v", *(f"{n},{tenant},{v}" for n, tenant, v in VALUES)]
    (stage.folder / "src.csv").write_text("\n".join(lines) + "\n")
    stage.side = Side(file=str(stage.folder / "src.csv"))


def json_lines(stage: Stage) -> None:
    lines = [f'{{"id": {n}, "tenant": {tenant}, "v": "{v}"}}' for n, tenant, v in VALUES]
    (stage.folder / "src.json").write_text("[" + ",\n".join(lines) + "]")
    stage.side = Side(file=str(stage.folder / "src.json"))


def duckdb_file(stage: Stage) -> None:
    with duckdb.connect(str(stage.folder / "src.duckdb")) as c:
        c.execute("CREATE TABLE src(id BIGINT, tenant INTEGER, v VARCHAR)")
        c.executemany("INSERT INTO src VALUES (?, ?, ?)", VALUES)
    stage.url = f"duckdb:///{stage.folder / 'src.duckdb'}"


def without(pattern: str) -> Callable[[Stage], None]:
    return lambda stage: [path.unlink() for path in stage.folder.glob(pattern)] and None


def cut_file(name: str, share: float) -> Callable[[Stage], None]:
    return lambda stage: halve(stage.folder / name, share)


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


def header_only(stage: Stage) -> None:
    (stage.folder / "src.csv").write_text("id,tenant,v\n")


WAYS: dict[str, Way] = {
    # PostgreSQL
    "truncated table": Way(on="postgres", breaks=sql("TRUNCATE src"), says=COLLAPSED),
    "empty view": Way(
        on="postgres",
        prepare=by_view(),
        breaks=sql("CREATE OR REPLACE VIEW seen AS SELECT * FROM src WHERE false"),
        says=COLLAPSED,
    ),
    "a LIMIT left in a view": Way(
        on="postgres",
        prepare=by_view(),
        breaks=sql("CREATE OR REPLACE VIEW seen AS SELECT * FROM src LIMIT 20"),
        says=COLLAPSED,
    ),
    "a predicate that became false": Way(
        on="postgres",
        prepare=query("SELECT src.* FROM src, flags WHERE flags.live", "CREATE TABLE flags AS SELECT true AS live"),
        breaks=sql("UPDATE flags SET live = false"),
        says=COLLAPSED,
    ),
    "another schema first in the search path": Way(
        on="postgres",
        breaks=sql(
            "CREATE SCHEMA other",
            "CREATE TABLE other.src (LIKE public.src)",
            "DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = other, public', current_database()); END$$",
        ),
        says=COLLAPSED,
    ),
    "the table is gone": Way(on="postgres", breaks=sql("DROP TABLE src"), says=("there is no table",)),
    "row level security hides all": Way(
        on="postgres",
        prepare=as_somebody,
        breaks=sql("ALTER TABLE src ENABLE ROW LEVEL SECURITY"),
        says=("row-level security",),
    ),
    "row level security hides some": Way(
        on="postgres",
        prepare=as_somebody,
        breaks=sql("ALTER TABLE src ENABLE ROW LEVEL SECURITY", "CREATE POLICY a_part ON src USING (id < 190)"),
        says=("row-level security",),
    ),
    "the privilege is revoked": Way(
        on="postgres",
        prepare=as_somebody,
        breaks=sql("REVOKE ALL ON src FROM PUBLIC, {role}"),
        says=("permission", "; grant it to"),
    ),
    "a partition of the table is detached": Way(
        on="postgres", prepare=partitioned, breaks=sql("ALTER TABLE src DETACH PARTITION src_2"), says=COLLAPSED
    ),
    "a query error": Way(
        on="postgres",
        prepare=query("SELECT id, tenant, v FROM src"),
        breaks=sql("ALTER TABLE src RENAME COLUMN v TO w"),
        says=("column",),
    ),
    "a statement timeout in mid-stream": Way(
        on="postgres",
        prepare=slow_rows,
        breaks=hurried(sql("UPDATE slow_from SET at = 150")),
        says=("statement timeout",),
    ),
    "a transaction that emptied it and is still open": Way(
        on="postgres",
        breaks=hurried(locked_by_truncate),
        says=("timeout",),
    ),
    "the session is ended by the server": Way(
        on="postgres",
        prepare=query(
            "SELECT id, tenant, v FROM src WHERE alive()",
            "CREATE FUNCTION alive() RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        ),
        breaks=sql(
            "CREATE OR REPLACE FUNCTION alive() RETURNS boolean LANGUAGE sql AS "
            "'SELECT pg_terminate_backend(pg_backend_pid())'"
        ),
        says=("terminating connection",),
    ),
    "cut after no row": Way(on="proxy", prepare=through_proxy, breaks=cut_at(b"row1x"), says=("connection",)),
    "cut in the middle of the rows": Way(on="proxy", breaks=cut_at(b"row150x"), says=("connection",)),
    "cut before the end mark": Way(on="proxy", breaks=cut_after(b"row200x"), says=("connection",)),
    "below half of what it was": Way(on="postgres", breaks=sql("DELETE FROM src WHERE id > 90"), says=COLLAPSED),
    "one tenant's rows are gone": Way(
        on="postgres",
        prepare=by_tenant,
        breaks=sql("DELETE FROM src WHERE tenant = 3"),
        says=("source collapsed in all keys of partition 3",),
    ),
    "some rows are gone, and nobody declared tenants": Way(
        on="postgres", breaks=sql("DELETE FROM src WHERE tenant = 3"), says=("limits.share",), limited=True
    ),
    "all keys are NULL": Way(on="postgres", breaks=sql("UPDATE src SET id = NULL"), says=COLLAPSED),
    "each row twice": Way(on="postgres", breaks=sql("INSERT INTO src SELECT * FROM src"), says=("occurs 2 times", "")),
    "a time zone that empties the window": Way(
        on="postgres",
        prepare=query(
            "SELECT id, tenant, v FROM src WHERE timestamptz '2026-01-01 00:30+00' < date '2026-01-02'::timestamptz",
        ),
        breaks=sql(
            "DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = ''Pacific/Kiritimati''', "
            "current_database()); END$$"
        ),
        says=("",),
        exit_codes=(0,),  # our sessions are at UTC whatever the database says: this is the truth
    ),
    "an empty copy: a replica that has nothing yet": Way(
        on="postgres_pair", breaks=lambda stage: setattr(stage, "url", stage.declared.pop("other")), says=COLLAPSED
    ),
    "the wrong database": Way(
        on="postgres",
        breaks=lambda stage: setattr(stage, "url", stage.url.rpartition("/")[0] + "/postgres"),
        says=("there is no table",),
    ),
    "nobody listens": Way(
        on="postgres",
        breaks=lambda stage: setattr(stage, "url", "postgresql://postgres@127.0.0.1:1/x"),
        says=("connection",),
    ),
    "a driver that ends half-way": Way(on="postgres", breaks=stream_is(Half), says=("before its end",)),
    "a driver that delivers nothing": Way(on="postgres", breaks=stream_is(Nothing), says=("before its end",)),
    # SQLite
    "an emptied file": Way(on="sqlite", breaks=sql("DELETE FROM src"), says=COLLAPSED),
    "the file is gone": Way(on="sqlite", breaks=unlink, says=("there is no file",)),
    "a file of no bytes": Way(on="sqlite", breaks=write(b""), says=("there is no table",)),
    "a file that is no database": Way(on="sqlite", breaks=write(b"not a database" * 100), says=("not a database",)),
    "another database in its place": Way(on="sqlite", breaks=replaced_by_empty, says=("there is no table",)),
    "a file cut in half": Way(
        on="sqlite", breaks=lambda stage: halve(path_of(stage)), says=("malformed", "disk image", "disk I/O")
    ),
    "a file that another process has locked": Way(on="sqlite", breaks=file_locked, says=("locked",)),
    "the wrong path": Way(
        on="sqlite",
        breaks=lambda stage: setattr(stage, "url", f"sqlite:///{stage.folder / 'shop.db'}"),
        says=("there is no file",),
    ),
    # MariaDB
    "an emptied table on MariaDB": Way(on="mariadb", breaks=sql("DELETE FROM src"), says=COLLAPSED),
    "the time limit of MariaDB": Way(
        on="mariadb",
        prepare=query(
            "SELECT id, tenant, v FROM src JOIN wait WHERE SLEEP(IF(id > wait.after, 1.5, 0)) = 0",
            "CREATE TABLE wait AS SELECT 100000 AS after",
        ),
        breaks=hurried(sql("UPDATE wait SET after = 100")),
        says=("max_statement_time",),
    ),
    "a text that is read as zero": Way(
        on="mariadb",
        prepare=query(
            "SELECT id, CAST(t AS SIGNED) AS tenant, v FROM loose",
            "CREATE TABLE loose AS SELECT id, CAST(tenant AS CHAR(9)) AS t, v FROM src",
        ),
        breaks=sql("UPDATE loose SET t = 'n/a' WHERE id IN (7, 8)"),
        says=("'id': 7",),
    ),
    "a GROUP_CONCAT that is cut": Way(
        on="mariadb",
        prepare=query(
            "SELECT id, tenant, GROUP_CONCAT(t SEPARATOR '') AS v FROM parts GROUP BY id, tenant",
            "CREATE TABLE parts AS SELECT id, tenant, CAST(v AS CHAR(2000)) AS t FROM src",
        ),
        breaks=concat_cut,
        says=("coerced",),
    ),
    # files
    "a DuckDB file that is gone": Way(
        on="files", prepare=duckdb_file, breaks=without("src.duckdb"), says=("there is no file",)
    ),
    "a pattern that matches nothing": Way(on="files", prepare=parquet, breaks=without("part*"), says=("no file",)),
    "one Parquet file less": Way(
        on="files", prepare=parquet, breaks=without("part2.parquet"), says=("is not now. Check that no file",)
    ),
    "a Parquet file cut in half": Way(
        on="files", prepare=parquet, breaks=cut_file("part2.parquet", 0.5), says=("part2.parquet",)
    ),
    "a CSV cut in the middle of a line": Way(
        on="files",
        prepare=csv,
        breaks=lambda stage: rewrite(stage.folder / "src.csv", lambda text: text[: text.index("\n150,") + 3]),
        says=("src.csv",),
    ),
    "a CSV cut between two lines": Way(
        on="files",
        prepare=csv,
        breaks=lambda stage: rewrite(stage.folder / "src.csv", lambda text: text[: text.index("\n150,") + 1]),
        says=("limits.share",),
        limited=True,
    ),
    "a CSV with nothing but its header": Way(on="files", prepare=csv, breaks=header_only, says=COLLAPSED),
    "a JSON file that is cut": Way(
        on="files", prepare=json_lines, breaks=cut_file("src.json", 0.7), says=("src.json",)
    ),
}


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    way = WAYS[request.getfixturevalue("name")]
    made = Stage(folder=tmp_path)
    with ExitStack() as stack:
        match way.on:
            case "postgres":
                made.fill(Postgresql(request.getfixturevalue("postgres")))
            case "postgres_pair":
                pair = request.getfixturevalue("postgres_pair")
                made.fill(Postgresql(pair.source))
                Postgresql(pair.target).sql("CREATE TABLE src(id bigint, tenant int, v text)")
                made.declared["other"] = pair.target
            case "proxy":
                url = request.getfixturevalue("postgres")
                made.proxy, made.url = stack.enter_context(proxied(url))
                made.fill(Postgresql(url))
            case "sqlite":
                made.fill(Sqlite(f"sqlite:///{tmp_path / 'source.db'}"))
            case "mariadb":
                made.fill(Mysql(request.getfixturevalue("mariadb")))
        other = made.declared.pop("other", None)
        way.prepare(made)
        if other:
            made.declared["other"] = other
        yield made
        if way.prepare is as_somebody:
            drop_role(made)


# Of a connection that is gone SQLAlchemy leaves the cursor to the garbage collector, which psycopg complains of.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("policy", ["delete", "reset"])
@pytest.mark.parametrize("name", WAYS)
def test_no_row_is_taken(name: str, policy: str, stage: Stage) -> None:
    way = WAYS[name]
    other = stage.declared.pop("other", None)
    stage.spoil()
    with stage.app(policy) as app:
        truth = app.run("p")
    assert (truth.verdict, truth.repaired, stage.taken()) == (Verdict.REPAIRED, 2, 0), truth
    stage.spoil()
    if other:
        stage.declared["other"] = other
    files = {path.name for path in stage.folder.iterdir()}
    with ExitStack() as stack:
        broken = way.breaks(stage)
        if hasattr(broken, "__enter__"):
            stack.enter_context(broken)
        try:
            with stage.app(policy, limits=DEFAULT if way.limited else WIDE) as app:
                report = app.run("p")
            code, words = report.exit_code, report.reason + str(report.drift)
        except TrueupError as error:
            code, words = error.exit_code, str(error)
    assert stage.taken() == 0, words
    assert code in way.exit_codes, words
    assert any(part in words for part in way.says), words
    made = {path.name for path in stage.folder.iterdir()} - files
    assert not {name for name in made if not name.startswith(("ledger", "target", "source.db-"))}, "a file was made"


def test_there_are_thirty_ways() -> None:
    assert len(WAYS) >= 30


@pytest.mark.parametrize("policy", ["delete", "reset"])
def test_control_without_the_guard_all_is_taken(policy: str, sqlite_url: str, tmp_path: Path) -> None:
    """The same emptied source, where the guard is switched off: what all of the above must not do is done."""
    stage = Stage(folder=tmp_path).fill(Sqlite(sqlite_url))
    with stage.app(policy) as app:
        app.run("p")
        stage.sql("DELETE FROM src")
    with stage.app(policy, limits=WIDE.model_copy(update={"collapse": 0.0})) as app:
        app.run("p")
    assert stage.taken() == ROWS
