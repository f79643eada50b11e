"""Tables of the audit log, which are part of the ledger."""

from __future__ import annotations

import sqlalchemy as sa

from trueup.store.schema import metadata

#: The audit log: a line is staged in the transaction of what it tells of, and numbered later. Triggers see to it that
#: nothing else of it changes, and that it is not deleted before it was pruned.
audit = sa.Table(
    "trueup_audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    #: Place in the log; NULL: staged.
    sa.Column("seq", sa.BigInteger),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("act", sa.String(40), nullable=False),
    sa.Column("projection", sa.String(64), nullable=False),
    sa.Column("run", sa.String(40), nullable=False),
    #: Everything that is hashed, but `seq`.
    sa.Column("line", sa.Text, nullable=False),
    sa.Index("uq_trueup_audit_seq", "seq", unique=True),
    sa.Index(
        "ix_trueup_audit_staged", "id", sqlite_where=sa.text("seq IS NULL"), postgresql_where=sa.text("seq IS NULL")
    ),
    sa.Index(None, "run"),
)

#: The log itself, in one row: what it is called, and where it begins.
audit_log = sa.Table(
    "trueup_audit_log",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("origin", sa.String(200), nullable=False),
    #: Lines before this one were pruned.
    sa.Column("first", sa.BigInteger, nullable=False),
)

#: What the log was at a size: its root, and the frontier to go on from.
audit_heads = sa.Table(
    "trueup_audit_heads",
    metadata,
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("root", sa.String(64), nullable=False),
    #: Roots of the perfect subtrees, the largest first, one after the other in hexadecimal.
    sa.Column("frontier", sa.Text, nullable=False),
    #: The head as it is exported.
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
)

#: What opens the commitments of sensitive values. Deleting a row erases the value; the log and its proofs stay.
audit_salts = sa.Table(
    "trueup_audit_salts",
    metadata,
    sa.Column("commitment", sa.String(64), primary_key=True),
    sa.Column("salt", sa.String(32), nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("projection", sa.String(64), nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    #: SHA-256 of `key`, which can be longer than an index takes.
    sa.Column("key_hash", sa.String(64), nullable=False),
    sa.Index(None, "projection", "key_hash"),
)

#: What was too long for a line, by its SHA-256.
audit_aside = sa.Table(
    "trueup_audit_aside",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("content", sa.Text, nullable=False),
)
