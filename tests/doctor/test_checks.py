"""Each check finds what is wrong where something was made wrong on purpose, and nothing where nothing was."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from tests.doctor.worlds import TABLES, World, found
from trueup import Projection, Side, Trueup, Verdict
from trueup.adapters import _postgresql_examiner, _race, connect
from trueup.adapters._postgresql_examiner import PostgresqlExaminer
from trueup.core.findings import Finding, State
from trueup.core.guarantee import Guarantee, Proof
from trueup.core.projection import Database
from trueup.doctor import Diagnosis
from trueup.files import wal_is_safe


@pytest.fixture(autouse=True)
def no_race(monkeypatch: pytest.MonkeyPatch) -> None:
    """The race has tests of its own; here it is over at once."""
    monkeypatch.setattr(_race, "_every_gap", lambda field, way, began: (1, ["so"] if way.__name__ == "naive" else []))


def diagnosed(engine: Trueup) -> Diagnosis:
    with engine:
        (diagnosis,) = engine.doctor("counter").diagnoses
    return diagnosis


def bad(findings: Sequence[Finding]) -> list[str]:
    return [finding.check for finding in findings if finding.state is not State.OK]


def test_nothing_is_wrong_where_nothing_is(world: World) -> None:
    with world.engine(writers="absolute") as engine:
        examination = engine.doctor()
    (diagnosis,) = examination.diagnoses
    lax = world.url.startswith("postgresql") and world.sql("SHOW fsync") == [("off",)]  # the wheel's, on a disk
    assert bad(examination.findings) == (["durability"] if lax else [])
    assert bad(diagnosis.findings) == []
    assert diagnosis.exit_code == 0
    assert diagnosis.promise is not None
    assert diagnosis.promise.guarantee is Guarantee.EXACT
    assert diagnosis.promise.proof is Proof.HELD
    assert world.sql("SELECT post, n FROM counter") == [(1, 5)]


def test_a_projection_that_is_only_compared_needs_to_be_read_only(world: World) -> None:
    diagnosis = diagnosed(world.engine(writers=None))
    assert {finding.check for finding in diagnosis.findings} == {"may read"}
    assert diagnosis.race is None
    assert diagnosis.exit_code == 0


def test_a_view_as_target(world: World) -> None:
    world.sql("CREATE VIEW shown AS SELECT post, n FROM counter")
    diagnosis = diagnosed(world.engine(target={"database": "app", "table": "shown"}))
    assert found(diagnosis.findings, "target").cap is Guarantee.REPORT_ONLY
    assert "only a table can be repaired" in found(diagnosis.findings, "target").seen


def test_a_target_without_a_unique_key(world: World) -> None:
    world.sql("CREATE TABLE loose (post INTEGER NOT NULL, n BIGINT NOT NULL)")
    diagnosis = diagnosed(world.engine(target={"database": "app", "table": "loose"}))
    seen = found(diagnosis.findings, "target").seen
    assert "CREATE UNIQUE INDEX" in seen
    # What it named is made: nobody needs to ask the doctor again to believe it.
    world.sql("CREATE UNIQUE INDEX" + seen.partition("CREATE UNIQUE INDEX")[2].removesuffix(", columns NOT NULL"))
    with world.engine(target={"database": "app", "table": "loose"}) as engine:
        assert engine.explain("counter").promise.guarantee is not Guarantee.REPORT_ONLY


TRIGGER = {
    "postgresql": (
        "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'",
        "CREATE TRIGGER audited AFTER UPDATE ON counter FOR EACH ROW EXECUTE FUNCTION noted()",
    ),
    "mariadb": ("CREATE TRIGGER audited AFTER UPDATE ON counter FOR EACH ROW SET @x = 1",),
    "sqlite": ("CREATE TRIGGER audited AFTER UPDATE ON counter BEGIN SELECT 1; END",),
}
with_schema = pytest.mark.parametrize("url", sorted(TRIGGER), indirect=True)


def scheme(world: World) -> str:
    return world.url.partition(":")[0]


@with_schema
def test_triggers_of_the_target_are_listed(world: World) -> None:
    world.sql(*TRIGGER[scheme(world)])
    diagnosis = diagnosed(world.engine())
    assert found(diagnosis.findings, "triggers").state is State.WARN
    assert "audited" in found(diagnosis.findings, "triggers").seen
    assert diagnosis.exit_code == 1


@with_schema
def test_children_that_go_with_a_row(world: World) -> None:
    world.sql(
        "CREATE TABLE child (id INTEGER PRIMARY KEY, post INTEGER NOT NULL, "
        "FOREIGN KEY (post) REFERENCES counter (post) ON DELETE CASCADE)"
    )
    deletes = diagnosed(world.engine(on_extra="delete"))
    assert found(deletes.findings, "cascades").cap is Guarantee.REPORT_ONLY
    assert "child" in found(deletes.findings, "cascades").seen
    assert deletes.exit_code == 4
    keeps = diagnosed(world.engine(on_extra="report"))
    assert found(keeps.findings, "cascades").state is State.WARN
    assert keeps.exit_code == 1


@with_schema
def test_source_rows_that_go_with_their_parent(url: str, tmp_path: Path) -> None:
    parent = "CREATE TABLE post (id INTEGER NOT NULL PRIMARY KEY)"
    edges = (
        "CREATE TABLE edges (id INTEGER PRIMARY KEY, post INTEGER NOT NULL, "
        "FOREIGN KEY (post) REFERENCES post (id) ON DELETE CASCADE)"
    )
    world = World.made(url, tmp_path, (parent, "INSERT INTO post VALUES (1)", edges, *TABLES[1:]))
    claimed = found(diagnosed(world.engine()).findings, "writers")
    assert claimed.state is State.WARN
    assert "CASCADE" in claimed.seen
    assert "post" in claimed.seen
    assert [each for each in diagnosed(world.engine(writers="absolute")).findings if each.check == "writers"] == []


# --- one product -----------------------------------------------------------------------------------------------------


def test_a_trigger_that_keeps_the_target_bears_the_writers_out(pg: World) -> None:
    body = "BEGIN UPDATE counter SET n = n + 1 WHERE post = new.post; RETURN new; END"
    pg.sql(
        f"CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $${body}$$",
        "CREATE TRIGGER keeps AFTER INSERT ON edges FOR EACH ROW EXECUTE FUNCTION keep()",
    )
    assert found(diagnosed(pg.engine()).findings, "writers").seen == "trigger keeps on edges writes counter"


def test_a_rule_on_the_target(pg: World) -> None:
    pg.sql("CREATE RULE nothing AS ON UPDATE TO counter DO INSTEAD NOTHING")
    diagnosis = diagnosed(pg.engine())
    assert found(diagnosis.findings, "rules").remedy == "DROP RULE nothing ON counter"
    assert diagnosis.exit_code == 4


def test_statistics_that_know_of_no_write_to_the_target(pg: World) -> None:
    pg.sql("CREATE TABLE untouched (post INTEGER PRIMARY KEY, n BIGINT NOT NULL)", "SELECT pg_stat_force_next_flush()")
    diagnosis = diagnosed(pg.engine(target={"database": "app", "table": "untouched"}))
    told = [each for each in diagnosis.findings if each.check == "writers" and each.state is State.WARN]
    assert [each.seen for each in told] == [
        "2 rows of edges were written since statistics began, and none of untouched"
    ]


def test_another_product_behind_the_protocol(pg: World) -> None:
    with pg.engine() as engine:
        assert found(engine.server("app").findings, "server").state is State.OK
    with closing(connect("app", Database.model_validate({"url": pg.url}))) as adapter, adapter.reading() as connection:
        seen: Any = connection.execute(_postgresql_examiner._SETTINGS).one()
    flavoured = SimpleNamespace(
        **dict(seen._mapping) | {"version": "CockroachDB CCL v25.1.0 on linux"}
    )  # no such server is to be had here
    assert found(_postgresql_examiner._server(flavoured), "server").cap is Guarantee.REPORT_ONLY


@contextmanager
def role(world: World, *grants: str) -> Iterator[World]:
    """The world as a role of its own sees it that has these privileges."""
    name = f"trueup_doctor_{uuid4().hex[:10]}"
    world.sql(f"CREATE ROLE {name} LOGIN", *(f"GRANT {grant} TO {name}" for grant in grants))
    try:
        url = sa.make_url(world.url).set(username=name).render_as_string(hide_password=False)
        yield World(url=url, folder=world.folder)
    finally:
        world.sql(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


USAGE = "USAGE ON SCHEMA public"


@pytest.mark.parametrize(
    ("grants", "missing"),
    [
        (("SELECT ON edges, counter",), {"may update", "may insert", "may delete"}),
        (("SELECT ON edges", "SELECT, INSERT, UPDATE ON counter"), {"may delete"}),
        (("SELECT, INSERT, UPDATE, DELETE ON counter",), {"may read"}),
    ],
)
def test_privileges_that_are_missing_are_not_available(pg: World, grants: tuple[str, ...], missing: set[str]) -> None:
    with role(pg, USAGE, *grants) as world:
        diagnosis = diagnosed(world.engine())
    if diagnosis.error is not None:  # what cannot be described is not even looked at
        assert missing == {"may read"}
        assert "permission denied" in str(diagnosis.error)
        return
    lacking = [each for each in diagnosis.findings if each.check in missing]
    assert {each.check for each in lacking} == missing
    assert {each.state for each in lacking} == {State.NOT_AVAILABLE}
    assert all(each.remedy.startswith("GRANT ") for each in lacking)
    assert diagnosis.exit_code == 4


def test_a_target_of_which_single_columns_may_be_read(pg: World) -> None:
    """It is compared like any other; its rows have no version that a repair could demand."""
    columns = "SELECT (post, n), INSERT, UPDATE, DELETE ON counter"
    with role(pg, USAGE, "SELECT ON edges", columns) as world:
        diagnosis = diagnosed(world.engine())
        with world.engine() as engine:
            assert engine.check("counter").verdict is Verdict.DRIFT
    assert "SELECT on the whole table" in found(diagnosis.findings, "target").seen
    assert {each.state for each in diagnosis.findings if each.check == "may read"} == {State.OK}
    assert diagnosis.exit_code == 4


def test_marker_tables_that_may_not_be_written(pg: World) -> None:
    with pg.engine() as engine:
        engine.run("counter")
    every = ("SELECT ON edges, trueup_applied, trueup_fence", "SELECT, INSERT, UPDATE, DELETE ON counter")
    with role(pg, USAGE, *every) as world:
        diagnosis = diagnosed(world.engine())
        without = diagnosed(world.engine(database={"markers": False}))
    states = {each.state for each in diagnosis.findings if each.check == "markers"}
    assert states == {State.NOT_AVAILABLE}
    assert diagnosis.exit_code == 4
    assert found(without.findings, "markers").state is State.WARN


def test_a_write_that_is_refused_for_another_reason(pg: World) -> None:
    pg.sql(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not today''; END'",
        "CREATE TRIGGER closed BEFORE UPDATE ON counter FOR EACH ROW EXECUTE FUNCTION no()",
    )
    probe = found(diagnosed(pg.engine()).findings, "write probe")
    assert probe.state is State.FAIL
    assert "not today" in probe.seen


@pytest.mark.parametrize("table", ["counter", "edges"])
def test_a_table_without_row_locks(maria: World, table: str) -> None:
    maria.sql(f"ALTER TABLE {table} ENGINE = MyISAM")
    diagnosis = diagnosed(maria.engine(writers="absolute"))
    engines = [each for each in diagnosis.findings if each.check == "engine" and each.state is State.FAIL]
    assert [each.seen for each in engines] == [f"{table}: MyISAM"]
    assert engines[0].remedy == f"ALTER TABLE {table} ENGINE = InnoDB"


def test_a_journal_that_a_crash_would_break(tmp_path: Path) -> None:
    world = World.made(f"sqlite:///{tmp_path / 'app.db'}", tmp_path)
    world.sql("PRAGMA journal_mode = WAL")
    with world.engine() as engine:
        reset = found(engine.server("app").findings, "log reset")
    assert reset.state is (State.OK if wal_is_safe(sqlite3.sqlite_version_info) else State.WARN)


def test_a_file_in_utf_16(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        connection.execute("PRAGMA encoding = 'UTF-16le'")
        connection.execute("CREATE TABLE other (id integer)")
    world = World.made(f"sqlite:///{tmp_path / 'app.db'}", tmp_path)
    with world.engine() as engine:
        encoding = found(engine.server("app").findings, "encoding")
    assert (encoding.state, encoding.seen) == (State.WARN, "UTF-16le")
    assert ".dump" in encoding.remedy


def test_a_standby_as_target_and_as_source(postgres_pair: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no standby to be had here: the server's answer is changed, and nothing else."""
    World.made(postgres_pair.source, tmp_path)
    world = World.made(postgres_pair.target, tmp_path)
    ask = PostgresqlExaminer.ask

    def standby(self: PostgresqlExaminer, connection: sa.Connection) -> Any:
        seen: Any = connection.execute(_postgresql_examiner._SETTINGS).one()
        if self.adapter.name != "past":
            return ask(self, connection)
        findings = _postgresql_examiner._server(SimpleNamespace(**dict(seen._mapping) | {"standby": True}))
        return replace(ask(self, connection), findings=tuple(findings), past=True)

    monkeypatch.setattr(PostgresqlExaminer, "ask", standby)

    def promised(source: str, target: str) -> Any:
        with Trueup(
            databases={"app": world.url, "past": postgres_pair.source},
            projections=[copied(source, target)],
            ledger=f"sqlite:///{tmp_path / 'ledger.db'}",
        ) as engine:
            return engine.explain("counter").promise

    assert promised("past", "app").guarantee is Guarantee.CONVERGENT
    refused = promised("app", "past")
    assert refused.guarantee is Guarantee.REPORT_ONLY
    assert "pg_is_in_recovery" in refused.reasons[-1]


def copied(source: str, target: str) -> Projection:
    return Projection(
        name="counter",
        source=Side(database=source, table="counter"),
        target=Side(database=target, table="counter"),
        key="post",
        writers="absolute",
    )


def test_drift_that_moves(world: World) -> None:
    with world.engine() as engine:
        engine.check("counter")
    world.sql("UPDATE counter SET n = 6 WHERE post = 1")  # the source did not change with it
    moved = found(tuple(each for each in diagnosed(world.engine()).findings if each.state is State.WARN), "writers")
    assert "n was off by +3" in moved.seen
    assert "by +4" in moved.seen


def test_drift_that_stays_as_it_is(world: World) -> None:
    with world.engine() as engine:
        engine.check("counter")
    world.sql("INSERT INTO edges VALUES (3, 1)", "UPDATE counter SET n = 6 WHERE post = 1")
    assert bad(diagnosed(world.engine()).findings) == []
