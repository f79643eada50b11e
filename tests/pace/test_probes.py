"""What databases say of how they are doing; what they do not let us see is not available, and never zero."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from functools import partial

import psycopg
import pytest

from tests.live.harness import Background, until
from tests.own_servers import own_postgresql, standby_of
from tests.servers import ServerMissingError
from trueup.adapters import Probe, connect
from trueup.adapters._postgresql_probe import PostgresqlProbe, _to_archive
from trueup.core.pace.pressure import HELD
from trueup.core.projection import Database
from trueup.errors import Transient


@pytest.mark.usefixtures("unhurried")
def test_postgresql_tells_others_from_us(postgres: str) -> None:
    probe = connect("app", Database(url=postgres)).probe("")
    assert probe is not None
    assert probe.here
    probe.canary()
    with (
        psycopg.connect(postgres, application_name="shop", autocommit=True) as other,
        psycopg.connect(postgres, application_name="trueup", autocommit=True) as ours,
        psycopg.connect(postgres, autocommit=True) as judge,
    ):
        sleeping = [Background(partial(one.execute, "SELECT pg_sleep(30)")) for one in (other, ours)]
        running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)' AND state = 'active'"
        until(lambda: judge.execute(running).fetchone() == (2,), "both to run")
        until(lambda: probe.look().own == 1, "nobody else of ours to be at work on this server")
        looked = probe.look()
        for one, asleep in zip((other, ours), sleeping, strict=True):
            one.cancel_safe()
            with pytest.raises(psycopg.errors.QueryCanceled):
                asleep.join()
        named = "SELECT application_name FROM pg_stat_activity WHERE query LIKE '%%xact_commit%%' AND pid <> %s"
        assert judge.execute(named, (judge.info.backend_pid,)).fetchone() == ("trueup:probe",)
    assert looked.own is not None
    assert looked.own >= 1
    assert looked.active is not None
    assert looked.active >= 1
    assert looked.on_core is not None
    assert looked.on_core < looked.active  # one sleeps, and takes no core
    assert looked.lacking == {}
    assert looked.values["lock waits"] is not None
    assert looked.values["replica lag, s"] is None  # there is none: not 0
    assert looked.values["segments to archive"] is None
    assert looked.transactions is not None
    probe.close()


@pytest.mark.usefixtures("unhurried")
def test_each_transaction_of_others_counts_and_none_of_the_probe(postgres: str) -> None:
    """Each look is a transaction too: two a second were enough for nobody ever to be alone. Who only reads may roll
    each of its own back, and was taken for nobody.
    """
    probe = connect("app", Database(url=postgres)).probe("")
    assert isinstance(probe, PostgresqlProbe)
    probe.look()
    probe._statement = probe._statement.replace("FROM pg_database", "FROM pg_database AS d(oid, name)", 1).replace(
        "WHERE current_setting('track_counts')",
        "WHERE name = current_database() AND current_setting('track_counts')",
        1,
    )

    def ended() -> float:
        """As of now: what a session has done is told within seconds, or at once if it says so."""
        probe.number("SELECT pg_stat_force_next_flush()::text")
        told = probe.look().transactions
        assert told is not None
        return told

    with psycopg.connect(postgres, autocommit=True) as other:
        if other.info.server_version < 150000:
            pytest.skip("sessions tell what they have done when they like")
        before = ended()
        for _ in range(20):
            probe.canary()
            probe.look()
        assert ended() - before < 10  # its own would be 40; a vacuum may come
        for _ in range(30):
            other.execute("SELECT 1")
        other.execute("SELECT pg_stat_force_next_flush()")
        assert 30 <= ended() - before < 45
        other.autocommit = False
        for _ in range(30):  # as a pool does that gets a connection back
            other.execute("SELECT count(*) FROM pg_class")
            other.rollback()
        other.execute("SELECT count(*) FROM pg_class, pg_stat_force_next_flush()")
        other.rollback()
        assert 60 <= ended() - before < 80
    probe.close()


@pytest.mark.usefixtures("unhurried")
def test_a_vacuum_of_our_table_is_seen_and_of_no_other(postgres: str) -> None:
    probe = connect("app", Database(url=postgres)).probe("")
    assert probe is not None
    with psycopg.connect(postgres, autocommit=True) as other, psycopg.connect(postgres, autocommit=True) as judge:
        judge.execute('CREATE TABLE "Ours" AS SELECT generate_series(1, 20000) AS id')
        other.execute("SET vacuum_cost_limit = 1")
        other.execute("SET vacuum_cost_delay = 100")
        slow = Background(partial(other.execute, 'VACUUM "Ours"'))
        vacuum = "SELECT 1 FROM pg_stat_progress_vacuum WHERE relid = to_regclass('\"Ours\"')"
        until(lambda: judge.execute(vacuum).fetchone() is not None, "our vacuum")
        seen = {}
        for tables in (["elsewhere", "pg_class"], ["public.Ours"], ["Ours"]):
            probe.tables = tables
            seen[tables[0]] = probe.look().values["vacuums of our tables"]
        other.cancel_safe()
        with pytest.raises(psycopg.errors.QueryCanceled):
            slow.join()
    assert seen == {"elsewhere": 0, "public.Ours": 1, "Ours": 1}
    mark = probe.marks["vacuums of our tables"]
    assert mark.pressure(1) == mark.pressure(3) == HELD  # however long they last
    probe.close()


@pytest.mark.usefixtures("unhurried")
def test_a_vacuum_that_we_may_not_see_is_not_available(postgres: str) -> None:
    """It hides its table from who lacks the privilege, and counted as none of ours: a false 0."""
    with (
        plain_role(postgres) as user,
        psycopg.connect(postgres, autocommit=True) as other,
        psycopg.connect(postgres, autocommit=True) as judge,
    ):
        probe = connect("app", Database(url=user)).probe("")
        assert probe is not None
        probe.tables = ["ours"]
        judge.execute("CREATE TABLE ours AS SELECT generate_series(1, 20000) AS id")
        other.execute("SET vacuum_cost_limit = 1")
        other.execute("SET vacuum_cost_delay = 100")
        assert probe.look().values["vacuums of our tables"] == 0  # none goes on: that much is known
        slow = Background(partial(other.execute, "VACUUM ours"))
        vacuum = "SELECT 1 FROM pg_stat_progress_vacuum WHERE relid = 'ours'::regclass"
        until(lambda: judge.execute(vacuum).fetchone() is not None, "our vacuum")
        looked = probe.look()
        other.cancel_safe()
        with pytest.raises(psycopg.errors.QueryCanceled):
            slow.join()
        probe.close()
    assert looked.values["vacuums of our tables"] is None
    assert "pg_read_all_stats" in looked.lacking["vacuums of our tables"]


@pytest.mark.usefixtures("unhurried")
def test_sessions_that_do_not_say_what_they_do_are_not_idle(postgres: str) -> None:
    probe = connect("app", Database(url=postgres)).probe("")
    assert probe is not None
    assert probe.look().active is not None
    with psycopg.connect(postgres, options="-c track_activities=off"):
        looked = probe.look()
    assert (looked.active, looked.on_core, looked.values["lock waits"]) == (None, None, None)
    assert "track_activities" in looked.lacking["active"]
    probe.close()


@pytest.mark.parametrize(
    ("archived", "written", "segment_bytes", "behind"),
    [
        ("000000010000000000000001", "000000010000000000000005", 2**24, 3),
        ("0000000100000000000000FF", "000000010000000100000002", 2**24, 2),
        ("00000001000000000000003F", "000000010000000100000000", 2**26, 0),  # of 64 MB, there are 64 to a log file
        ("000000010000000000000001", "000000010000000000000001", 2**24, 0),
        ("000000020000000000000001.00000028.backup", "000000020000000000000005", 2**24, 3),
        ("00000002.history", "000000020000000000000005", 2**24, None),  # what is archived first after a failover
        (None, "000000010000000000000005", 2**24, None),
        ("000000010000000000000005", None, 2**24, None),
    ],
)
def test_segments_that_wait_for_the_archive(
    archived: str | None, written: str | None, segment_bytes: int, behind: float | None
) -> None:
    assert _to_archive(archived, written, segment_bytes) == behind


@pytest.mark.usefixtures("unhurried")
def test_replicas_and_standbys_of_postgresql() -> None:
    with contextlib.ExitStack() as stack:
        try:
            primary = stack.enter_context(own_postgresql())
            standby = stack.enter_context(standby_of(primary))
        except ServerMissingError as missing:
            pytest.skip(str(missing))
        probes = {url: connect("app", Database(url=url)).probe("") for url in (primary.url, standby.url)}
        writer = stack.enter_context(psycopg.connect(primary.url, autocommit=True))
        replayer = stack.enter_context(psycopg.connect(standby.url, autocommit=True))

        def looked(url: str, signal: str) -> float | None:
            probe = probes[url]
            assert probe is not None
            return probe.look().values[signal]

        writer.execute("CREATE TABLE t AS SELECT generate_series(1, 1000) AS id")
        until(lambda: looked(standby.url, "behind the primary, s") == 0, "the standby to have replayed all of it")
        assert looked(primary.url, "behind the primary, s") is None
        until(lambda: looked(primary.url, "replica lag, MB") == 0, "the primary to see that")
        replayer.execute("SELECT pg_wal_replay_pause()")
        writer.execute("INSERT INTO t SELECT generate_series(1, 100000)")
        until(lambda: (looked(standby.url, "behind the primary, s") or 0) > 1, "the standby to fall behind")
        until(lambda: (looked(primary.url, "replica lag, MB") or 0) > 1, "the primary to see that")
        with plain_role(primary.url) as user:
            hidden = connect("app", Database(url=user)).probe("")
            assert hidden is not None
            seen = hidden.look()
            hidden.close()
        assert (seen.values["replica lag, MB"], seen.values["replica lag, s"]) == (None, None)
        assert "pg_read_all_stats" in seen.lacking["replica lag, MB"]
        replayer.execute("SELECT pg_wal_replay_resume()")
        until(lambda: looked(standby.url, "behind the primary, s") == 0, "the standby to catch up")
        for probe in probes.values():
            assert probe is not None
            probe.close()


@pytest.mark.usefixtures("unhurried")
def test_checkpoints_that_the_log_asks_for_are_counted_and_those_of_people_are_not() -> None:
    """Whoever drops a database asks for a checkpoint: a few of them were an emergency."""
    signal, asked = "checkpoints for the log, a minute", list[int]()
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(own_postgresql())
        except ServerMissingError as missing:
            pytest.skip(str(missing))
        people = stack.enter_context(psycopg.connect(server.url, autocommit=True))
        probe = connect("app", Database(url=server.url)).probe("")
        assert probe is not None
        stack.callback(probe.close)

        def look(*statements: str) -> float:
            for statement in statements:
                people.execute(statement.encode())
            value = probe.look().values[signal]
            assert value is not None
            asked.append(probe._counted[-1][1])  # type: ignore[attr-defined]
            return value

        assert look() == 0
        seen = [look("CREATE DATABASE d", "DROP DATABASE d", "CHECKPOINT") for _ in range(3)]
        until(lambda: look() >= 0 and asked[-1] >= asked[0] + 6, "the server to have counted them")
        assert max(*seen, look()) < PostgresqlProbe.marks[signal].idle
        people.execute("ALTER SYSTEM SET max_wal_size = '32MB'")
        people.execute("SELECT pg_reload_conf()")
        megabytes = "SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000)) FROM generate_series(1, 4)"
        until(lambda: look(megabytes) >= 2, "the log to have asked for two")


@pytest.mark.usefixtures("unhurried")
def test_without_the_privilege_others_are_not_available(postgres: str) -> None:
    with plain_role(postgres) as user, psycopg.connect(postgres):
        probe = connect("app", Database(url=user)).probe("")
        assert probe is not None
        looked = probe.look()
        assert (looked.active, looked.values["lock waits"]) == (None, None)
        assert "pg_read_all_stats" in looked.lacking["active"]
        probe.close()


@contextlib.contextmanager
def plain_role(url: str) -> Iterator[str]:
    """The URL of somebody with no privileges. Roles are of a whole server, and other tests use it as well."""
    name = f"trueup_test_plain_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN")
        try:
            yield url.replace("//postgres@", f"//{name}@")
        finally:
            admin.execute(f"DROP ROLE {name}")


def test_a_probe_that_cannot_look_says_so_and_comes_back(postgres: str) -> None:
    probe = connect("app", Database(url=postgres)).probe("SELECT pg_sleep(5)")
    assert probe is not None
    with pytest.raises(Transient, match="cannot be looked at"):
        probe.canary()  # limited to half a second
    until(lambda: looks(probe), "it to look again")
    probe.close()
    gone = connect("app", Database(url=postgres + "_not_there")).probe("")
    assert gone is not None
    with pytest.raises(Transient):
        gone.canary()


def looks(probe: Probe) -> bool:
    """Whether a reading came within its limit."""
    with contextlib.suppress(Transient):
        probe.look()
        return True
    return False


@pytest.mark.usefixtures("unhurried")
def test_a_canary_goes_on_where_the_server_keeps_no_statements(postgres: str) -> None:
    """A pooler gives each transaction another connection of the server, which knows nothing of what was prepared."""
    probe = connect("app", Database(url=postgres)).probe("SELECT 1 AS reading")
    assert isinstance(probe, PostgresqlProbe)
    probe.canary()
    known = "SELECT count(*) FROM pg_prepared_statements WHERE name = 'trueup_canary'"
    assert probe.number(known) == 1
    probe._ask("DEALLOCATE trueup_canary")
    for _ in range(2):
        probe.canary()
        probe.look()
    assert probe.number(known) == 0
    probe.close()
    several = connect("app", Database(url=postgres)).probe("SET work_mem = '1MB'; SELECT 1")
    wrong = connect("app", Database(url=postgres)).probe("SELECT nothing")
    assert several is not None
    assert wrong is not None
    several.canary()  # of these, none can be prepared
    several.close()
    with pytest.raises(Transient, match="nothing"):
        wrong.canary()
    wrong.close()
