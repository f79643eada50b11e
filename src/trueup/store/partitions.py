"""What the runs of a projection saw in each partition."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import sqlalchemy as sa

from trueup.core.compare import Counts
from trueup.core.partition import Slice
from trueup.core.plan import partition_of
from trueup.core.row import Key
from trueup.core.states import Stage
from trueup.store import schema as t
from trueup.store.ledger import Ledger
from trueup.store.records import segment_row


@dataclass(kw_only=True, slots=True)
class Seen:
    """One partition as a run found it."""

    counts: Counts = field(default_factory=Counts)
    #: Rows that differed at the first look.
    keys: set[Key] = field(default_factory=set)


def partitions_of(ledger: Ledger, run: str) -> dict[Slice, Seen]:
    """What a run saw, by partition, in the order of its segments; empty if its rows are not cut."""
    mine = (t.segments.c.run == run) & (t.segments.c.stage == Stage.NARROW) & (t.segments.c.state == "done")
    statement = sa.select(t.segments).where(mine).order_by(t.segments.c.id)
    found: dict[Slice, Seen] = {}
    with ledger.reading() as c:
        for row in c.execute(statement):
            segment = segment_row(row)
            partition = partition_of(segment.span)
            if partition is not None:
                seen = found.setdefault(partition, Seen())
                seen.counts += Counts(**json.loads(row.counts))
                seen.keys |= {suspect.key for suspect in segment.suspects}
    return found
