"""What a repair depends on in PostgreSQL: settings, and what hangs on a table."""

from __future__ import annotations

from typing import Any

import psycopg
import sqlalchemy as sa

from trueup.adapters import Server
from trueup.adapters import _postgresql_sessions as sessions
from trueup.adapters._examiner import SqlExaminer
from trueup.adapters._postgresql_values import regclass
from trueup.adapters._schema_facts import cascades, claimed, mentions, together, triggers_fire
from trueup.core.binding import Binding
from trueup.core.findings import Finding, State, fact
from trueup.core.guarantee import Guarantee

#: Words in `version()`, or extensions, of servers that speak PostgreSQL's protocol and lock in their own way.
FLAVOURS = ("CockroachDB", "Yugabyte", "-YB-", "Redshift", "Greenplum", "Materialize", "Spanner", "citus")

_SETTINGS = sa.text("""
    SELECT version() AS version, pg_is_in_recovery() AS standby,
           current_setting('server_version') AS short,
           current_setting('default_transaction_read_only') AS read_only,
           current_setting('synchronous_commit') AS synchronous_commit,
           current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
           current_setting('row_security') AS row_security,
           coalesce(current_setting('client_connection_check_interval', true), '') AS check_interval,
           coalesce((SELECT string_agg(extname, ' ') FROM pg_extension), '') AS extensions""")
_TRIGGERS = sa.text("""
    SELECT t.tgname AS name, p.proname AS function, p.prosrc AS body, t.tgtype & 8 <> 0 AS on_delete
    FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = to_regclass(:name) AND NOT t.tgisinternal AND t.tgenabled <> 'D' ORDER BY t.tgname""")
_RULES = sa.text("""
    SELECT rulename AS name FROM pg_rewrite
    WHERE ev_class = to_regclass(:name) AND rulename <> '_RETURN' AND ev_enabled <> 'D' ORDER BY 1""")
#: Tables whose rows go, or lose their reference, with a row of this one: `c`ascade, set `n`ull, set `d`efault.
_CHILDREN = sa.text("""
    SELECT conrelid::regclass::text AS child, conname AS name FROM pg_constraint
    WHERE contype = 'f' AND confrelid = to_regclass(:name) AND confdeltype IN ('c', 'n', 'd') ORDER BY 1, 2""")
#: The other way round: this table's rows go with a row of the parent.
_PARENTS = sa.text("""
    SELECT confrelid::regclass::text AS parent, conname AS name FROM pg_constraint
    WHERE contype = 'f' AND conrelid = to_regclass(:name) AND confdeltype = 'c' ORDER BY 1, 2""")
_RELATION = sa.text("""
    SELECT c.relrowsecurity AS on FROM pg_class c WHERE c.oid = to_regclass(:name)""")
#: Rows ever written, as the statistics count them.
_WRITTEN = sa.text("""
    SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) AS written
    FROM pg_stat_user_tables WHERE relid = to_regclass(:name)""")


class PostgresqlExaminer(SqlExaminer):
    """Finds out about PostgreSQL."""

    def refuse_to_wait(self) -> None:
        def set_it(connection: psycopg.Connection[Any], record: Any) -> None:
            sessions.also(connection, record.info, {"lock_timeout": "1ms"})

        sa.event.listen(self.adapter.engine, "connect", set_it)

    def ask(self, connection: sa.Connection) -> Server:
        seen = connection.execute(_SETTINGS).one()
        findings = (*_server(seen), *_session(seen))
        return Server(version=f"PostgreSQL {seen.short}", findings=findings, past=seen.standby)

    def target(self, connection: sa.Connection, binding: Binding) -> list[Finding]:
        table = binding.target.side.table or ""
        name = {"name": regclass(table)}
        relation = connection.execute(_RELATION, name).one()
        children = [f"{row.child} ({row.name})" for row in connection.execute(_CHILDREN, name)]
        triggers = [f"{row.name} ({row.function})" for row in connection.execute(_TRIGGERS, name)]
        rules = list(connection.execute(_RULES, name).scalars())
        policy = fact(
            "row security",
            not relation.on,
            "policies are on" if relation.on else "off",
            why="rows that a policy hides raise an error here instead of looking absent (row_security = off)",
            remedy=f"ALTER ROLE {self.adapter.engine.url.username} BYPASSRLS",
        )
        rewritten = fact(
            "rules",
            not rules,
            ", ".join(rules) or "none",
            why="a rule can turn a write into another one, or into none",
            remedy=f"DROP RULE {rules[0] if rules else ''} ON {table}",
            cap=Guarantee.REPORT_ONLY,
        )
        return [triggers_fire(triggers, f"\\d {table}"), rewritten, cascades(children, binding), policy]

    def source(self, connection: sa.Connection, binding: Binding) -> list[Finding]:
        target = binding.target.side.table or ""
        found: list[Finding] = []
        for table in self.tables(binding.source):
            found += _claim(connection, table, target)
        return found if together(binding) else []


def _server(seen: sa.Row[Any]) -> list[Finding]:
    """Whether the server is one that a repair may write to, and keeps what it is told."""
    flavour = next((word for word in FLAVOURS if word in seen.version or word in seen.extensions.split()), "")
    lasting = {name: getattr(seen, name) for name in ("synchronous_commit", "fsync", "full_page_writes")}
    lax = [name for name, value in lasting.items() if value == "off"]
    return [
        fact(
            "server",
            not flavour,
            flavour or seen.version.partition(" on ")[0],
            why="it speaks PostgreSQL's protocol, but its locks and snapshots were not shown to be PostgreSQL's",
            remedy="use `trueup check`",
            cap=Guarantee.REPORT_ONLY,
        ),
        fact(
            "recovery",
            not seen.standby,
            "standby (pg_is_in_recovery)" if seen.standby else "primary",
            why="a standby shows a past state and cannot be written",
            remedy="give the primary's URL",
            cap=Guarantee.REPORT_ONLY,
        ),
        fact(
            "read only",
            seen.read_only == "off",
            f"default_transaction_read_only = {seen.read_only}",
            why="the server is meant to be read; a repair asks for a transaction that writes",
            remedy="ALTER ROLE ... SET default_transaction_read_only = off",
        ),
        fact(
            "durability",
            not lax,
            ", ".join(f"{name} = {value}" for name, value in lasting.items()),
            why="a crash of the server can take back a repair that the ledger calls applied; the next run finds it",
            remedy="; ".join(f"ALTER SYSTEM SET {name} = on" for name in lax),
        ),
    ]


def _session(seen: sa.Row[Any]) -> list[Finding]:
    """Whether our sessions have what they were given: a pooler between can take it away."""
    return [
        fact(
            "row_security",
            seen.row_security == "off",
            seen.row_security,
            why="a hidden row would look absent, and be inserted or deleted",
            remedy="connect without a pooler that resets what a session has set",
            cap=Guarantee.REPORT_ONLY,
        ),
        fact(
            "client_connection_check_interval",
            seen.check_interval not in ("", "0"),
            seen.check_interval or "not known to this version",
            why="a statement whose client died goes on until it ends; its marker settles what became of it",
            remedy="PostgreSQL 14 or later, on Linux",
        ),
        fact(
            "lock_timeout",
            True,
            "set for each repair; a unit locks rows only, which take no room in the lock table",
            why="",
            remedy="",
        ),
    ]


def _claim(connection: sa.Connection, table: str, target: str) -> list[Finding]:
    """Does what the catalog knows fit writers that change source and target in one transaction?"""
    name = {"name": regclass(table)}
    triggers = connection.execute(_TRIGGERS, name).all()
    keeping = [row.name for row in triggers if mentions(row.body, target)]
    on_delete = any(row.on_delete for row in triggers)
    parents = [] if on_delete else [f"{r.parent} ({r.name})" for r in connection.execute(_PARENTS, name)]
    found = claimed(table, target, keeping, parents)
    written = {at: connection.execute(_WRITTEN, {"name": regclass(at)}).scalar_one() for at in (table, target)}
    if written[table] and not written[target] and not keeping:
        found.append(
            Finding(
                check="writers",
                state=State.WARN,
                seen=f"{written[table]:,} rows of {table} were written since statistics began, and none of {target}",
                why="writers that change both in one transaction would have written both",
                remedy="see who writes the target, and declare `writers` as it is",
            )
        )
    return found
