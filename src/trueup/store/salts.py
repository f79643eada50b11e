"""What opens the audit log's commitments of sensitive values."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from trueup.store import schema_audit as t
from trueup.store.ledger import Ledger

#: Rows that are read at a time.
BATCH = 1_000


def salts_of(ledger: Ledger) -> Iterator[dict[str, str]]:
    """Commitment, salt and value of all that was not erased."""
    after = ""
    columns = (t.audit_salts.c.commitment, t.audit_salts.c.salt, t.audit_salts.c.value)
    with ledger.reading() as c:
        while True:
            some = sa.select(*columns).where(t.audit_salts.c.commitment > after)
            rows = c.execute(some.order_by(t.audit_salts.c.commitment).limit(BATCH)).all()
            yield from (dict(row._mapping) for row in rows)
            if len(rows) < BATCH:
                return
            after = rows[-1].commitment
