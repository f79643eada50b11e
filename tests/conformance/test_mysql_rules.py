"""The rules of a repair in MariaDB and MySQL, one by one: what each is, and the test that holds it.

| rule | test |
|---|---|
| sessions of our own at READ COMMITTED, strict, in UTC | `test_mysql_quirks`: what a session is set to |
| no read view is older than its unit | here |
| lock first, count in the next statement | `live/test_one_mariadb`: a commit before our lock; controls |
| no sub-select in what writes | here; `live/test_one_mariadb`: the control that kills the application |
| SKIP LOCKED, then one row at a time with a bounded wait | `live/test_one_mariadb`: a busy row is passed over |
| no gap lock keeps others from inserting | `live/test_one_mariadb`: a missing row does not keep the application ... |
| rows found are counted, not rows changed | here |
| compared by their bytes | `test_mysql_quirks`: trailing blanks and case are values; markers |
| what the column would change is refused | `test_mysql_quirks`: round, too long |
| InnoDB; row events; one primary; not read-only | `doctor/test_checks`: a table without row locks; here |
| a time is no version | refused with the declaration (`core.writer_columns`) |
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.conformance.conftest import _open
from tests.conformance.worlds import Mysql, Pairing, World
from trueup import Database, Verdict
from trueup.adapters import _mysql_examiner
from trueup.adapters.mysql import MysqlAdapter
from trueup.core.findings import State
from trueup.core.guarantee import Guarantee


@pytest.fixture
def alone(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[World]:
    (tmp_path / "ledger.db").write_bytes(new_ledger.read_bytes())
    yield from _open(Pairing(source="mysql", target="mysql", together=True), request, tmp_path)


@pytest.fixture
def adapter(mariadb: str) -> Iterator[MysqlAdapter]:
    Mysql(mariadb).sql("CREATE TABLE t (id int PRIMARY KEY, v int) ENGINE = InnoDB", "INSERT INTO t VALUES (1, 1)")
    made = MysqlAdapter("a", Database(url=mariadb))
    yield made
    made.close()


def test_no_read_view_is_older_than_its_unit(adapter: MysqlAdapter, mariadb: str) -> None:
    """A connection comes back to the pool with a snapshot that is still open: whoever gets it next sees what is new."""
    with adapter.engine.connect() as connection:
        raw: Any = connection.connection.driver_connection
        raw.query("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        raw.query("START TRANSACTION WITH CONSISTENT SNAPSHOT")
    Mysql(mariadb).sql("UPDATE t SET v = 2")
    with adapter.writing() as connection:
        assert connection.exec_driver_sql("SELECT v FROM t").scalar_one() == 2


def test_rows_found_are_counted_not_rows_changed(adapter: MysqlAdapter) -> None:
    """A row that holds what is written already is one row all the same: 0 would look like a row that is gone."""
    with adapter.writing() as connection:
        assert connection.exec_driver_sql("UPDATE t SET v = 1 WHERE id = 1").rowcount == 1


def test_what_writes_selects_nothing(alone: World) -> None:
    """InnoDB reads a sub-select of a write under locks, and the application dies of it."""
    columns = "id {integer} PRIMARY KEY NOT NULL, v {integer}"
    alone.tables(columns, [(1, 1), (2, 2)], [(1, 9), (3, 3)])
    app = alone.app(on_extra="delete")
    seen: list[str] = []
    for engine in app._adapter(app.projection("p").target.database).engines:
        sa.event.listen(engine, "before_cursor_execute", lambda _c, _cursor, sql, *_: seen.append(sql.upper()))
    assert app.run("p").verdict is Verdict.REPAIRED
    writing = [sql for sql in seen if sql.split()[0] in ("INSERT", "UPDATE", "DELETE", "REPLACE")]
    assert {sql.split()[0] for sql in writing} == {"INSERT", "UPDATE", "DELETE"}
    assert not [sql for sql in writing if "SELECT" in sql or "IGNORE" in sql]


@pytest.mark.parametrize(
    ("settings", "check"),
    [
        ({"read_only": "ON"}, "read only"),
        ({"super_read_only": "ON"}, "read only"),
        ({"log_bin": "ON", "binlog_format": "STATEMENT"}, "binlog format"),
        ({"wsrep_on": "ON"}, "cluster"),
        ({"group_replication_group_name": "g", "group_replication_single_primary_mode": "OFF"}, "cluster"),
    ],
)
def test_servers_that_are_not_written(settings: dict[str, str], check: str) -> None:
    bad = [finding for finding in _mysql_examiner._server(settings) if finding.state is State.FAIL]
    assert [(finding.check, finding.cap) for finding in bad] == [(check, Guarantee.REPORT_ONLY)]
    assert not [finding for finding in _mysql_examiner._server({}) if finding.state is State.FAIL]
