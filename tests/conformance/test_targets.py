"""Targets that do not simply take what they are given."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.conformance.worlds import World
from trueup import ConfigError, Outcome, Trueup, Verdict

COLUMNS = "id {integer} PRIMARY KEY NOT NULL, v {integer}"


SOURCE = [(n, n) for n in range(40)]


def assert_poison(world: World, app: Trueup, *, repaired: int, words: str) -> None:
    """Row 13 cannot be repaired; all others are."""
    report = app.run("p")
    assert (report.verdict, report.exit_code) == (Verdict.DRIFT, 1)
    assert (report.repaired, report.left) == (repaired, 1)
    failed = [o for o in app.outcomes(report.run) if o.outcome is Outcome.FAILED]
    assert [o.key for o in failed] == [(13,)]
    assert words in failed[0].evidence
    (known,) = app.drift("p")
    assert (known.drift.key, words in known.reason) == ((13,), True)
    assert app.check("p").drifted == 1


def test_a_check_constraint_refuses_one_row(world: World) -> None:
    world.source.table("src", COLUMNS, SOURCE)
    world.target.table(
        "dst", COLUMNS.replace("v {integer}", "v {integer} CHECK (v <> 13)"), [(n, n + 100) for n, _ in SOURCE]
    )
    words = {"postgresql": "check", "mysql": "CONSTRAINT"}.get(world.target.engine, "CHECK")
    assert_poison(world, world.app(), repaired=39, words=words)
    assert world.target.rows("dst") == {(n, n + 100 * (n == 13)) for n, _ in SOURCE}


def test_a_check_constraint_refuses_one_missing_row(world: World) -> None:
    world.source.table("src", COLUMNS, SOURCE)
    world.target.table("dst", COLUMNS.replace("v {integer}", "v {integer} CHECK (v <> 13)"))
    assert_poison(world, world.app(), repaired=39, words="CONSTRAINT" if world.target.engine == "mysql" else "13")
    assert world.target.rows("dst") == {*SOURCE} - {(13, 13)}


def test_another_unique_index_is_in_the_way_of_one_missing_row(world: World) -> None:
    """An insert that the database skips is not a repair, and the row in its way is not ours to change."""
    world.source.table("src", COLUMNS, SOURCE)
    world.target.table("dst", COLUMNS.replace("v {integer}", "v {integer} UNIQUE"), [(-1, 13)])
    app = world.app()
    report = app.run("p")
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 39, 2)
    assert world.target.rows("dst") == ({*SOURCE} - {(13, 13)}) | {(-1, 13)}
    (failed,) = [o for o in app.outcomes(report.run) if o.outcome is Outcome.FAILED]
    assert (failed.key, "unique" in failed.evidence) == ((13,), True)


def no_row_triggers(world: World) -> None:
    if world.target.engine == "duckdb":
        pytest.skip("no row triggers")


def test_a_trigger_that_rewrites_one_value(world: World) -> None:
    no_row_triggers(world)
    world.source.table("src", COLUMNS, SOURCE)
    world.target.table("dst", COLUMNS, [(n, n + 100) for n, _ in SOURCE])
    if world.target.engine == "postgresql":
        world.target.sql(
            "CREATE FUNCTION bend() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NEW.v := NEW.v + 1; RETURN NEW; END $$",
            "CREATE TRIGGER bend BEFORE UPDATE ON dst FOR EACH ROW WHEN (NEW.id = 13) EXECUTE FUNCTION bend()",
        )
    elif world.target.engine == "mysql":
        world.target.sql("CREATE TRIGGER bend BEFORE UPDATE ON dst FOR EACH ROW SET NEW.v = NEW.v + (NEW.id = 13)")
    else:
        world.target.sql(
            "CREATE TRIGGER bend AFTER UPDATE ON dst WHEN NEW.id = 13 AND NEW.v = 13 "
            "BEGIN UPDATE dst SET v = 14 WHERE id = 13; END"
        )
    assert_poison(world, world.app(), repaired=39, words="did not keep what was written")
    assert world.target.rows("dst") == {(n, n + 100 * (n == 13)) for n, _ in SOURCE}


def test_a_trigger_that_swallows_the_write(world: World) -> None:
    """The statement succeeds and changes nothing: the run stops rather than believing it."""
    no_row_triggers(world)
    world.source.table("src", COLUMNS, SOURCE)
    world.target.table("dst", COLUMNS, [(n, n + 100 * (n == 13)) for n, _ in SOURCE])
    if world.target.engine == "postgresql":
        world.target.sql(
            "CREATE FUNCTION eat() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
            "CREATE TRIGGER eat BEFORE UPDATE ON dst FOR EACH ROW EXECUTE FUNCTION eat()",
        )
        app = world.app()
        with pytest.raises(Exception, match=r"changed 0 rows.*Does a trigger or a rule"):
            app.run("p")
    else:
        swallow = {"mysql": "BEFORE UPDATE ON dst FOR EACH ROW SET NEW.v = OLD.v"}
        usual = "AFTER UPDATE ON dst BEGIN UPDATE dst SET v = OLD.v WHERE id = OLD.id; END"
        world.target.sql(f"CREATE TRIGGER eat {swallow.get(world.target.engine, usual)}")
        assert_poison(world, world.app(), repaired=0, words="did not keep what was written")
    assert world.target.rows("dst") == {(n, n + 100 * (n == 13)) for n, _ in SOURCE}


def test_a_column_that_is_too_narrow(world: World) -> None:
    """Rounded in silence by the database; noticed, and rolled back."""
    if world.target.engine == "sqlite":
        pytest.skip("no column of this database is narrow")
    rows = [(n, f"{n}.5") for n in range(20)] + [(13, "13.125")]
    world.source.table("src", "id {integer} PRIMARY KEY NOT NULL, v {number}", rows[:13] + rows[14:])
    world.target.table("dst", "id {integer} PRIMARY KEY NOT NULL, v numeric(6,1)", [(n, n) for n in range(20)])
    assert_poison(world, world.app(), repaired=19, words="did not keep what was written")
    alter = "MODIFY v" if world.target.engine == "mysql" else "ALTER v TYPE"
    world.target.sql(f"ALTER TABLE dst {alter} numeric(9,3)")
    app = world.app()
    assert app.run("p").quarantined == 1  # its values are as they were; that the table is another is for people to say
    assert app.quarantine_retry("p").verdict is Verdict.REPAIRED


def test_a_required_column_that_nobody_gives(world: World) -> None:
    world.source.table("src", COLUMNS, SOURCE)
    world.target.table("dst", f"{COLUMNS}, owner {{text}} NOT NULL", [(n, n + 1, "me") for n, _ in SOURCE[:20]])
    app = world.app(columns=["v"])
    assert app.check("p").missing == 20
    with pytest.raises(ConfigError, match="owner must be given"):
        app.run("p")
    report = world.app(columns=["v"], on_missing="report").run("p")
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 20, 20)
    assert world.target.rows("dst") == {(n, n, "me") for n, _ in SOURCE[:20]}


def test_a_required_column_with_a_default(world: World) -> None:
    world.source.table("src", COLUMNS, SOURCE[:2])
    world.target.table("dst", f"{COLUMNS}, owner {{text}} NOT NULL DEFAULT 'nobody'")
    assert world.app(columns=["v"]).run("p").verdict is Verdict.REPAIRED
    assert world.target.rows("dst") == {(0, 0, "nobody"), (1, 1, "nobody")}


@pytest.mark.parametrize("index", ["", "CREATE UNIQUE INDEX one ON dst (id, v)", "CREATE INDEX one ON dst (id)"])
def test_no_repair_without_a_unique_index_on_the_key(world: World, index: str) -> None:
    world.source.table("src", COLUMNS, SOURCE)
    world.target.table("dst", "id {integer} NOT NULL, v {integer} NOT NULL", [(1, 5)])
    if index:
        world.target.sql(index)
    app = world.app()
    assert app.check("p").verdict is Verdict.DRIFT
    with pytest.raises(ConfigError, match="no unique index on exactly its key"):
        app.run("p")
    assert world.target.rows("dst") == {(1, 5)}


def test_a_partial_unique_index_is_none(world: World) -> None:
    if world.target.engine in ("mysql", "duckdb"):
        pytest.skip("no index over some of the rows")
    world.source.table("src", COLUMNS, SOURCE)
    world.target.table("dst", "id {integer} NOT NULL, v {integer}")
    world.target.sql("CREATE UNIQUE INDEX one ON dst (id) WHERE v > 3")
    with pytest.raises(ConfigError, match="no unique index"):
        world.app().run("p")
    world.target.sql("CREATE UNIQUE INDEX two ON dst (id)")
    assert world.app().run("p").verdict is Verdict.REPAIRED


def test_a_generated_column_is_compared_and_never_written(world: World) -> None:
    kept = "VIRTUAL" if world.target.engine == "duckdb" else "STORED"
    world.source.table("src", f"{COLUMNS}, w {{integer}}", [(1, 1, 2), (2, 2, 4)])
    world.target.table("dst", f"{COLUMNS}, w {{integer}} GENERATED ALWAYS AS (v * 2) {kept}")
    world.target.sql("INSERT INTO dst (id, v) VALUES (1, 1), (2, 3)")
    app = world.app()
    assert app.check("p").different_by_column == {"v": 1, "w": 1}
    with pytest.raises(ConfigError, match=r"'w' of table 'dst'.*is generated"):
        app.run("p")
    report = world.app(columns=["v"]).run("p")
    assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 1)
    assert world.app().check("p").verdict is Verdict.IN_SYNC


def test_an_identity_that_is_always_generated(world: World) -> None:
    """No INSERT gives it, and no UPDATE: said before anything is written, where others might have been repaired."""
    if world.target.engine != "postgresql":
        pytest.skip("no such columns")
    world.source.table("src", COLUMNS, SOURCE)
    world.target.sql(
        "CREATE TABLE dst (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v bigint)",
        "INSERT INTO dst OVERRIDING SYSTEM VALUE SELECT n, n / 2 FROM generate_series(0, 20) n",
    )
    with pytest.raises(ConfigError, match=r"on_missing: .*id of its key is generated"):
        world.app().run("p")
    report = world.app(on_missing="report").run("p")
    assert (report.repaired, report.left) == (20, 19)
    world.target.sql("ALTER TABLE dst ALTER id SET GENERATED BY DEFAULT")
    assert world.app().run("p").verdict is Verdict.REPAIRED
    world.target.sql(
        "ALTER TABLE dst ALTER v SET NOT NULL, ALTER v ADD GENERATED ALWAYS AS IDENTITY", "DELETE FROM dst WHERE id = 3"
    )
    with pytest.raises(ConfigError, match=r"'v' of table 'dst'.*is generated"):
        world.app().run("p")


def test_a_unique_constraint_that_is_deferrable(world: World) -> None:
    """PostgreSQL takes no ON CONFLICT for such a table; what it finds at the commit is that row's trouble."""
    if world.target.engine != "postgresql":
        pytest.skip("no such constraints")
    world.source.table("src", COLUMNS, SOURCE)
    world.target.sql(
        "CREATE TABLE dst (id bigint PRIMARY KEY, v bigint UNIQUE DEFERRABLE INITIALLY DEFERRED)",
        "INSERT INTO dst VALUES (0, 0), (1, 2), (2, 1), (-1, 13)",
    )
    app = world.app()
    report = app.run("p")
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 38, 2)
    assert world.target.rows("dst") == ({*SOURCE} - {(13, 13)}) | {(-1, 13)}
    (failed,) = [o for o in app.outcomes(report.run) if o.outcome is Outcome.FAILED]
    assert (failed.key, "dst_v_key" in failed.evidence) == ((13,), True)


def test_partitioned_targets(world: World) -> None:
    if world.target.engine != "postgresql":
        pytest.skip("no partitions")
    world.source.table("src", COLUMNS, SOURCE)
    world.target.sql(
        "CREATE TABLE dst (id bigint PRIMARY KEY, v bigint) PARTITION BY RANGE (id)",
        "CREATE TABLE dst_low PARTITION OF dst FOR VALUES FROM (MINVALUE) TO (20)",
        "CREATE TABLE dst_high PARTITION OF dst FOR VALUES FROM (20) TO (MAXVALUE)",
        "INSERT INTO dst SELECT n, n FROM generate_series(0, 35) n WHERE n <> 30",
        "INSERT INTO dst VALUES (100, 1)",
        "UPDATE dst SET v = 99 WHERE id IN (5, 25)",
    )
    report = world.app(on_extra="delete").run("p")
    assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 8)
    assert world.target.rows("dst") == set(SOURCE)


# --- marker tables -------------------------------------------------------------------------------------------------


def marker_tables(world: World) -> set[str]:
    if world.target.engine == "postgresql":
        query = "SELECT tablename FROM pg_tables WHERE tablename LIKE 'trueup%'"
    elif world.target.engine == "mysql":
        query = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
        return {row[0] for row in world.target.sql(query) if row[0].startswith("trueup")}
    else:
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'trueup%'"
    return {row[0] for row in world.target.sql(query)}


def test_markers_are_kept_where_they_may_be(world: World) -> None:
    world.tables(COLUMNS, SOURCE, SOURCE[:30])
    app = world.app()
    app.check("p")
    assert marker_tables(world) == set()
    assert app.run("p").repaired == 10
    assert marker_tables(world) == {"trueup_applied", "trueup_fence"}
    assert world.target.count("trueup_applied") == 1


def test_markers_are_not_kept_where_they_may_not_be(world: World) -> None:
    world.tables(COLUMNS, SOURCE, SOURCE[:30])
    assert world.app(target_database={"markers": False}).run("p").verdict is Verdict.REPAIRED
    assert marker_tables(world) == set()


def test_a_role_that_may_not_create_tables(world: World) -> None:
    if world.target.engine != "postgresql":
        pytest.skip("no roles")
    world.tables(COLUMNS, SOURCE, [(n, n + 1) for n, _ in SOURCE])
    world.target.sql(
        "DO $$ BEGIN CREATE ROLE trueup_weak LOGIN;"
        " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        "GRANT USAGE ON SCHEMA public TO trueup_weak",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO trueup_weak",
    )
    parts = urlsplit(world.target.url)
    weak = urlunsplit(parts._replace(netloc=f"trueup_weak@{parts.netloc.rpartition('@')[2]}"))
    app = world.app(target_database={"url": weak})
    report = app.run("p")
    assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 40)
    assert marker_tables(world) == set()
    assert world.target.rows("dst") == set(SOURCE)
