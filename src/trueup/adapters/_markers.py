"""What Trueup keeps in a target database: a marker of each unit that committed, and a fence for each projection.

The marker is a unit's proof, left in its own transaction. The fence is held by every unit, and raised to end them all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from trueup.adapters import Marker

_metadata = sa.MetaData()

#: One row for each unit that committed. `closed` rows were put there by recovery, so that the unit never can commit.
applied = sa.Table(
    "trueup_applied",
    _metadata,
    sa.Column("unit", sa.String(64), primary_key=True),
    sa.Column("closed", sa.Boolean, nullable=False),
    sa.Column("images", sa.Text, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.current_timestamp()),
)

#: One row for each projection that writes here. Units hold it shared; raising the token waits for them.
fences = sa.Table(
    "trueup_fence",
    _metadata,
    sa.Column("fence", sa.String(200), primary_key=True),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("stop", sa.Boolean, nullable=False, default=False),
)

#: Tables that Trueup keeps in a target database.
MARKER_TABLES = _metadata


def inserted(connection: sa.Connection, statement: sa.Insert) -> bool:
    """Run an INSERT that may do nothing; did it insert? (SQLAlchemy drops an INSERT's row count unless asked.)"""
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount == 1


def claim(connection: sa.Connection, insert_if_absent: Any, unit: str) -> Marker:
    """Put our own marker where the unit's would be: if there is one already the unit committed; if not, it never can.

    A unit that is still open makes the insert wait until it has ended. No clock is involved.
    """
    row = {"unit": unit, "closed": True, "images": "[]"}
    if inserted(connection, insert_if_absent(applied, row)):
        return Marker(applied=False)
    found = connection.execute(sa.select(applied).where(applied.c.unit == unit)).one()
    from trueup.adapters._outcomes import outcome_from_json
    from trueup.core import lot

    images = json.loads(found.images)
    if isinstance(images, dict):
        return Marker(applied=True, lot=lot.outcome_from_json(images))
    return Marker(applied=not found.closed, outcomes=[outcome_from_json(item) for item in images])


def forget(connection: sa.Connection, units: Sequence[str]) -> None:
    """Delete the markers of these units, where there are any."""
    if sa.inspect(connection).has_table(applied.name):
        connection.execute(applied.delete().where(applied.c.unit.in_(units)))
