"""What a repair depends on in MariaDB and MySQL: settings, and what hangs on a table."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from trueup.adapters import Server
from trueup.adapters import _mysql_values as held
from trueup.adapters._examiner import SqlExaminer
from trueup.adapters._schema_facts import cascades, claimed, mentions, together, triggers_fire
from trueup.core.binding import Binding
from trueup.core.findings import Finding, fact
from trueup.core.guarantee import Guarantee

#: SHOW VARIABLES, as not every server has every one of them.
_ASKED = (
    "version",
    "version_comment",
    "read_only",
    "super_read_only",
    "innodb_read_only",
    "log_bin",
    "binlog_format",
    "wsrep_on",
    "group_replication_group_name",
    "group_replication_single_primary_mode",
    "transaction_isolation",
    "tx_isolation",
    "sql_mode",
    "innodb_flush_log_at_trx_commit",
    "innodb_doublewrite",
    "innodb_snapshot_isolation",
)
_ENGINES = sa.text("""
    SELECT TABLE_NAME AS name, ENGINE AS engine FROM information_schema.TABLES
    WHERE TABLE_SCHEMA = coalesce(:schema, DATABASE()) AND TABLE_NAME = :name""")
_TRIGGERS = sa.text("""
    SELECT TRIGGER_NAME AS name, EVENT_MANIPULATION AS event, ACTION_STATEMENT AS body FROM information_schema.TRIGGERS
    WHERE EVENT_OBJECT_SCHEMA = coalesce(:schema, DATABASE()) AND EVENT_OBJECT_TABLE = :name ORDER BY 1""")
_CHILDREN = sa.text("""
    SELECT CONSTRAINT_NAME AS name, TABLE_NAME AS child FROM information_schema.REFERENTIAL_CONSTRAINTS
    WHERE UNIQUE_CONSTRAINT_SCHEMA = coalesce(:schema, DATABASE()) AND REFERENCED_TABLE_NAME = :name
      AND DELETE_RULE IN ('CASCADE', 'SET NULL', 'SET DEFAULT') ORDER BY 2, 1""")
_PARENTS = sa.text("""
    SELECT CONSTRAINT_NAME AS name, REFERENCED_TABLE_NAME AS parent FROM information_schema.REFERENTIAL_CONSTRAINTS
    WHERE CONSTRAINT_SCHEMA = coalesce(:schema, DATABASE()) AND TABLE_NAME = :name AND DELETE_RULE = 'CASCADE'
    ORDER BY 2, 1""")


class MysqlExaminer(SqlExaminer):
    """Finds out about MariaDB and MySQL."""

    never_wait = "SET SESSION innodb_lock_wait_timeout = 0"
    table_options = MappingProxyType({"mysql_engine": "InnoDB"})

    def ask(self, connection: sa.Connection) -> Server:
        names = ", ".join(f"'{name}'" for name in _ASKED)
        rows = connection.exec_driver_sql(f"SHOW VARIABLES WHERE Variable_name IN ({names})")
        seen = {row[0]: row[1] for row in rows}
        mariadb, version = held.version_of(f"{seen['version']} {seen.get('version_comment', '')}")
        product = "MariaDB" if mariadb else "MySQL"
        flags: Any = connection.connection.dbapi_connection
        findings = [*_server(seen), *_session(seen, found_rows=bool(flags.client_flag & 2))]
        return Server(version=f"{product} {'.'.join(map(str, version))}", findings=tuple(findings))

    def source(self, connection: sa.Connection, binding: Binding) -> list[Finding]:
        target = binding.target.side.table or ""
        found: list[Finding] = []
        for table in self.tables(binding.source):
            found += _engine(connection, table)
            if together(binding):
                found += _claim(connection, table, target)
        return found

    def target(self, connection: sa.Connection, binding: Binding) -> list[Finding]:
        table = binding.target.side.table or ""
        triggers = [f"{row.name} ({row.event})" for row in connection.execute(_TRIGGERS, _named(table))]
        children = [f"{row.child} ({row.name})" for row in connection.execute(_CHILDREN, _named(table))]
        see = f"SHOW TRIGGERS LIKE '{table}'"
        return [*_engine(connection, table), triggers_fire(triggers, see), cascades(children, binding)]


def _server(seen: dict[str, str]) -> list[Finding]:
    """Whether the server is one that a repair may write to, and keeps what it is told."""
    writable = all(seen.get(name, "OFF") == "OFF" for name in ("read_only", "super_read_only", "innodb_read_only"))
    statement = seen.get("log_bin") == "ON" and seen.get("binlog_format") == "STATEMENT"
    group = seen.get("group_replication_group_name", "") != ""
    multi = group and seen.get("group_replication_single_primary_mode") == "OFF"
    durable = seen.get("innodb_flush_log_at_trx_commit", "1") == "1" and seen.get("innodb_doublewrite", "ON") != "OFF"
    flushed = f"innodb_flush_log_at_trx_commit = {seen.get('innodb_flush_log_at_trx_commit')}"
    return [
        fact(
            "read only",
            writable,
            "read_only = 0" if writable else "read_only = 1",
            why="a replica shows a past state, and must not be written",
            remedy="give the primary's URL",
            cap=Guarantee.REPORT_ONLY,
        ),
        fact(
            "binlog format",
            not statement,
            f"binlog_format = {seen.get('binlog_format')}" if seen.get("log_bin") == "ON" else "no binary log",
            why="READ COMMITTED needs row events: InnoDB refuses to write otherwise",
            remedy="SET GLOBAL binlog_format = 'ROW'",
            cap=Guarantee.REPORT_ONLY,
        ),
        fact(
            "cluster",
            seen.get("wsrep_on") != "ON" and not multi,
            "Galera" if seen.get("wsrep_on") == "ON" else "group replication" if group else "one primary",
            why="a row lock of this node does not keep the writers of another one out",
            remedy="check only, or write through one primary",
            cap=Guarantee.REPORT_ONLY,
        ),
        fact(
            "durability",
            durable,
            flushed,
            why="a crash of the server can take back a repair that the ledger calls applied; the next run finds it",
            remedy="SET GLOBAL innodb_flush_log_at_trx_commit = 1; innodb_doublewrite = ON",
        ),
    ]


def _session(seen: dict[str, str], *, found_rows: bool) -> list[Finding]:
    """Whether our sessions have what they were given: a proxy between can take it away."""
    isolation = seen.get("transaction_isolation") or seen.get("tx_isolation") or "?"
    # Reading is one snapshot for one transaction; the session's own level is that of repairs.
    return [
        fact(
            "isolation",
            isolation == "READ-COMMITTED",
            isolation,
            why="a repair would go on with the view of its transaction's first look, and miss what was committed since",
            remedy="connect without a proxy that resets what a session has set",
            cap=Guarantee.REPORT_ONLY,
        ),
        fact(
            "sql_mode",
            "STRICT_ALL_TABLES" in seen.get("sql_mode", ""),
            seen.get("sql_mode", ""),
            why="a value that does not fit would be cut or rounded in silence",
            remedy="connect without a proxy that resets what a session has set",
            cap=Guarantee.REPORT_ONLY,
        ),
        fact(
            "found rows",
            found_rows,
            "counts rows found" if found_rows else "counts rows changed",
            why="setting a row to what it is would count as no row, and the repair would be taken for broken",
            remedy="connect with client_flag FOUND_ROWS",
            cap=Guarantee.REPORT_ONLY,
        ),
    ]


def _engine(connection: sa.Connection, table: str) -> list[Finding]:
    return [
        fact(
            "engine",
            row.engine == "InnoDB" or row.engine is None,
            f"{row.name}: {row.engine or 'a view'}",
            why="it has no row locks, no snapshots and no rollback: what is read of it is not of one moment",
            remedy=f"ALTER TABLE {row.name} ENGINE = InnoDB",
            cap=Guarantee.REPORT_ONLY,
        )
        for row in connection.execute(_ENGINES, _named(table))
    ]


def _claim(connection: sa.Connection, table: str, target: str) -> list[Finding]:
    """Does what the catalog knows fit writers that change source and target in one transaction?"""
    triggers = connection.execute(_TRIGGERS, _named(table)).all()
    keeping = [row.name for row in triggers if mentions(row.body, target)]
    parents = [f"{row.parent} ({row.name})" for row in connection.execute(_PARENTS, _named(table))]
    return claimed(table, target, keeping, parents)  # what cascades fires no trigger here


def _named(table: str) -> dict[str, str | None]:
    schema, _, name = table.rpartition(".")
    return {"schema": schema or None, "name": name}
