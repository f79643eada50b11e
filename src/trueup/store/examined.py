"""What the ledger itself depends on: that it keeps what it was told."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from trueup.core.findings import Finding, State
from trueup.files import file_system, on_network
from trueup.store.engine import translating

PLACE = "trueup.ledger"


def examine_ledger(engine: sa.Engine) -> list[Finding]:
    """Findings about the ledger's database."""
    with translating(engine), engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            return _postgresql(connection)
        journal = str(connection.exec_driver_sql("PRAGMA journal_mode").scalar()).upper()
    path = Path(engine.url.database or "")
    found = [Finding(check="journal", place=PLACE, state=State.OK, seen=f"{journal}, synchronous FULL")]
    kind = file_system(path)
    if on_network(kind):
        found.append(
            Finding(
                check="file system",
                place=PLACE,
                state=State.FAIL,
                seen=kind,
                why="over a network the file's lock does not surely keep a second node out",
                remedy='a local disk, or ledger = "postgresql://..."',
            )
        )
    elif kind:
        found.append(Finding(check="file system", place=PLACE, state=State.OK, seen=kind))
    return found


def _postgresql(connection: sa.Connection) -> list[Finding]:
    lasting = connection.execute(sa.text("SELECT current_setting('synchronous_commit')")).scalar_one()
    if lasting != "off":
        return [Finding(check="synchronous_commit", place=PLACE, state=State.OK, seen=lasting)]
    return [
        Finding(
            check="synchronous_commit",
            place=PLACE,
            state=State.WARN,
            seen=lasting,
            why="a crash of the server can lose the record of a repair that was made",
            remedy="ALTER ROLE ... SET synchronous_commit = on",
        )
    ]
