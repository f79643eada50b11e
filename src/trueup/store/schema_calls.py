"""Tables of the ledger about corrections that are handed over instead of written."""

from __future__ import annotations

import sqlalchemy as sa

from trueup.store.schema import metadata

#: One correction that was handed over: written down before the first try, and settled when the row was seen right.
calls = sa.Table(
    "trueup_calls",
    metadata,
    #: The idempotency key, the same for each try.
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("projection", sa.String(64), nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    #: SHA-256 of what the source said and the target held: a correction of something else is another one.
    sa.Column("pair", sa.String(64), nullable=False),
    #: What is called, or where it is emitted to.
    sa.Column("handler", sa.Text, nullable=False),
    #: Run and unit of the last try.
    sa.Column("run", sa.String(40), nullable=False),
    sa.Column("unit", sa.String(40), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
    #: When the last try was answered; NULL: it was not, or its answer is lost.
    sa.Column("answered_at", sa.DateTime(timezone=True)),
    #: What the answer was.
    sa.Column("said", sa.Text, nullable=False),
    sa.Column("settled_at", sa.DateTime(timezone=True)),
    #: Why it is settled: `shown`, `replaced` or `given_up`; "": it is not.
    sa.Column("settled", sa.String(16), nullable=False),
    sa.Index(None, "projection", "settled"),
    sa.Index(None, "unit"),
)
