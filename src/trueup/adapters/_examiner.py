"""Finding out about a SQL database: what every one of them can be asked in the same words.

Privileges are not looked up, they are tried: a statement that touches no row is refused where a privilege is missing,
and so is every write on a server that only reads. What is tried is rolled back.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa

from trueup.adapters import Server
from trueup.adapters._race import race
from trueup.core.binding import Binding, BoundSide
from trueup.core.findings import Finding, Race, State
from trueup.core.guarantee import Guarantee, Proof, Protocol
from trueup.core.plan import Everything
from trueup.core.query import tables_of
from trueup.errors import Busy, TrueupError

if TYPE_CHECKING:
    from trueup.adapters._sql import SqlAdapter

#: Holds for no row; statements under it are still checked for every privilege they need.
NEVER = sa.literal_column("1") == sa.literal_column("0")

#: Protocols that the live race can be run for.
RACED = frozenset({Protocol.LOCK, Protocol.COMPARE_AND_SET, Protocol.EXCLUSIVE, Protocol.ISSUED_VERSION})


class SqlExaminer:
    """Finds out about one database; what only this product knows, a subclass asks."""

    #: Statement after which a session is refused a lock that it would have to wait for; for the race probe.
    never_wait: ClassVar[str] = ""
    #: SQLAlchemy's options of a table that repairs are safe in, where that is not the default.
    table_options: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def __init__(self, adapter: SqlAdapter) -> None:
        self.adapter = adapter

    def server(self) -> Server:
        with self.adapter.reading() as connection:
            return self.ask(connection)

    def race(self, protocol: Protocol, *, one_database: bool, now: datetime) -> Race:
        if protocol not in RACED:
            told = (f"there is no race probe for {protocol.replace('_', ' ')} yet",)
            return Race(protocol=protocol, one_database=one_database, proof=Proof.INCONCLUSIVE, told=told)
        return race(self.adapter, protocol, one_database=one_database, now=now)

    def sides(self, binding: Binding, roles: Sequence[str]) -> list[Finding]:
        return [
            replace(finding, place=f"projections.{binding.projection.name}.{role}")
            for role in roles
            for finding in self._side(binding, role)
        ]

    def refuse_to_wait(self) -> None:
        """From now on the adapter's new sessions are refused what they would have to wait for."""

        def set_it(connection: Any, _record: object) -> None:
            connection.cursor().execute(self.never_wait)
            connection.commit()

        sa.event.listen(self.adapter.engine, "connect", set_it)

    # --- what a concrete examiner gives --------------------------------------------------------------------------

    def ask(self, connection: sa.Connection) -> Server:
        """Version and settings; one statement."""
        version = ".".join(map(str, connection.dialect.server_version_info or ()))
        return Server(version=f"{connection.dialect.name} {version}".strip())

    def table_names(self, connection: sa.Connection) -> list[str]:
        """Tables where a table is made that no schema is given for."""
        return sa.inspect(connection).get_table_names()

    def source(self, connection: sa.Connection, binding: Binding) -> list[Finding]:  # noqa: ARG002 - the default
        """Schema of the source, where it is in the target's database."""
        return []

    def target(self, connection: sa.Connection, binding: Binding) -> list[Finding]:  # noqa: ARG002 - the default
        """Schema of the table that is repaired."""
        return []

    def tables(self, side: BoundSide) -> list[str]:
        """The table of a side, or those that its query reads."""
        return [side.side.table] if side.side.table else tables_of(side.side.query or "", side.shape.dialect)

    def grant(self, privilege: str, table: str) -> str:
        """The statement that grants a privilege on a table."""
        return f"GRANT {privilege} ON {table} TO {self.adapter.engine.url.username or '<user>'}"

    # --- one side ------------------------------------------------------------------------------------------------

    def _side(self, binding: Binding, role: str) -> list[Finding]:
        side: BoundSide = getattr(binding, role)
        found = [self._may_read(side)]
        if binding.projection.writers is None:
            return found  # it is only compared
        if role == "source" and binding.one_database:
            found += self._catalog(self.source, binding)
        if role == "target" and side.shape.table:
            found += self._catalog(self.target, binding)
            found += self._may_write(binding)
            found += self._markers()
        return found

    def _catalog(self, ask: Callable[[sa.Connection, Binding], list[Finding]], binding: Binding) -> list[Finding]:
        try:
            with self.adapter.reading() as connection:
                return ask(connection, binding)
        except TrueupError as error:
            why = "what its catalog would have told is not known"
            return [Finding(check="catalog", state=State.NOT_AVAILABLE, seen=str(error), why=why)]

    # --- privileges, tried ---------------------------------------------------------------------------------------

    def _may_read(self, side: BoundSide) -> Finding:
        what = side.side.table or "the query"
        rows = self.adapter.relations.rows(side, Everything(), tokens=False, order=False).where(NEVER)
        return self._tried(
            Finding(
                check="may read",
                state=State.NOT_AVAILABLE,
                seen=f"{what} can be read",
                why="it cannot be compared",
                remedy=self.grant("SELECT", side.side.table or "<its tables>"),
                cap=Guarantee.REPORT_ONLY,
            ),
            partial(_execute, rows),
            writing=False,
        )

    def _may_write(self, binding: Binding) -> list[Finding]:
        table = self.adapter.relations.table(binding.target)
        columns = [table.c[column.name] for column in binding.target.columns]
        last, projection = columns[-1], binding.projection
        tries: dict[str, tuple[str, sa.Executable]] = {
            "UPDATE": ("rows are locked and set", table.update().where(NEVER).values({last: last}))
        }
        if projection.on_missing == "insert":
            nobody = sa.select(*columns).where(NEVER)
            insert = table.insert().from_select([column.name for column in columns], nobody)
            tries["INSERT"] = ('missing rows are inserted; on_missing = "report" would leave them', insert)
        if projection.on_missing == "insert" or projection.extra_policy == "delete":
            why = "a row whose source is gone, or went while it was inserted, is deleted"
            tries["DELETE"] = (why, table.delete().where(NEVER))
        found = []
        for privilege, (why, statement) in tries.items():
            finding = Finding(
                check=f"may {privilege.lower()}",
                state=State.NOT_AVAILABLE,
                seen=f"{privilege} is allowed",
                why=why,
                remedy=self.grant(privilege, binding.target.side.table or ""),
                cap=Guarantee.REPORT_ONLY,
            )
            found.append(self._tried(finding, partial(_execute, statement)))
        if all(finding.state is State.OK for finding in found):
            found.append(self._touch(binding, table))
        return found

    def _touch(self, binding: Binding, table: sa.TableClause) -> Finding:
        """One free row is locked as a repair locks it, set to what it is, and all is rolled back."""
        keys = [table.c[column.name] for column in binding.target.key]
        last = table.c[binding.target.columns[-1].name]

        def touch(connection: sa.Connection) -> None:
            free = self.adapter.locking(sa.select(*keys).limit(1), wait=False)
            row = connection.execute(free).first()
            if row is not None:
                same = [key == value for key, value in zip(keys, row, strict=True)]
                connection.execute(table.update().where(*same).values({last: last}))

        return self._tried(
            Finding(
                check="write probe",
                state=State.FAIL,
                seen="a row could be locked and set to what it is; rolled back",
                why="a repair would be refused in the same way",
                remedy="find what refuses it: a trigger, a policy, a server that only reads",
                cap=Guarantee.REPORT_ONLY,
            ),
            touch,
        )

    def _markers(self) -> list[Finding]:
        """May the marker tables be kept here?"""
        tables = self.adapter.marker_tables.tables
        if not self.adapter.database.markers:
            why = "what a crash left open can only be called `converged`, never `applied`"
            remedy = f"take it out of databases.{self.adapter.name}"
            return [Finding(check="markers", state=State.WARN, seen="markers = false", why=why, remedy=remedy)]
        with self.adapter.reading() as connection:
            there = [name for name in tables if sa.inspect(connection).has_table(name)]
        if len(there) == len(tables):
            return [self._tried(self._unusable(name), self._write_none(table)) for name, table in tables.items()]
        name = f"trueup_may_create_{uuid.uuid4().hex[:8]}"
        scratch = sa.Table(name, sa.MetaData(), sa.Column("k", sa.Integer, primary_key=True))

        def make(connection: sa.Connection) -> None:
            scratch.create(connection)
            scratch.drop(connection)

        unmade = Finding(
            check="markers",
            state=State.NOT_AVAILABLE,
            seen="the marker tables are not there yet, and can be made",
            why="without them what a crash left open can only be called `converged`, never `applied`",
            remedy=f"make {' and '.join(tables)} beforehand, or set markers = false in databases.{self.adapter.name}",
        )
        return [self._tried(unmade, make)]

    def _unusable(self, marker: str) -> Finding:
        return Finding(
            check="markers",
            state=State.NOT_AVAILABLE,
            seen=f"{marker} is there and can be written",
            why="each repair leaves a marker and holds its fence",
            remedy=f"{self.grant('SELECT, INSERT, UPDATE', marker)}; or markers = false",
            cap=Guarantee.REPORT_ONLY,
        )

    @staticmethod
    def _write_none(table: sa.Table) -> Callable[[sa.Connection], None]:
        def write(connection: sa.Connection) -> None:
            last = list(table.c)[-1]
            connection.execute(table.insert().from_select(list(table.c), sa.select(*table.c).where(NEVER)))
            connection.execute(table.update().where(NEVER).values({last: last}))

        return write

    def _tried(self, bad: Finding, attempt: Callable[[sa.Connection], object], *, writing: bool = True) -> Finding:
        """`bad`, as it is if the attempt is refused; what it says is seen holds if it is not. Nothing of it stays."""
        good = Finding(check=bad.check, state=State.OK, seen=bad.seen)
        try:
            with self.adapter.as_application() if writing else self.adapter.reading() as connection:
                attempt(connection)
                connection.rollback()
        except Busy:
            return replace(good, seen="in use by others just now; not tried")
        except TrueupError as error:
            return replace(bad, seen=str(error))
        return good


def _execute(statement: sa.Executable, connection: sa.Connection) -> None:
    connection.execute(statement)
