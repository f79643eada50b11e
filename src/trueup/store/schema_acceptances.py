"""The table of the ledger about differences that somebody accepted."""

from __future__ import annotations

import sqlalchemy as sa

from trueup.store.schema import metadata

#: Differences that somebody accepted. They count until `until`, or until they are withdrawn.
accepted = sa.Table(
    "trueup_accepted",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("projection", sa.String(64), nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    #: Compared columns, in the order of the values.
    sa.Column("columns", sa.Text, nullable=False),
    sa.Column("expected", sa.Text),
    sa.Column("observed", sa.Text),
    sa.Column("reason", sa.Text, nullable=False),
    #: Who answers for it.
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("actor_by", sa.String(16), nullable=False),
    sa.Column("host", sa.String(200), nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("until", sa.DateTime(timezone=True), nullable=False),
    sa.Column("withdrawn_at", sa.DateTime(timezone=True)),
    sa.Column("withdrawn_by", sa.String(200), nullable=False),
    sa.Index(None, "projection", "until"),
)
