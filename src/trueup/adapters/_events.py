"""When events of the source happened, and what its clock says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from trueup.adapters._dialect import Answered
from trueup.adapters._relations import Relations
from trueup.core.binding import Binding
from trueup.core.kinds import Kind, canonical
from trueup.core.plan import Keys
from trueup.core.quiet import Happened
from trueup.core.row import Key, Value
from trueup.errors import BrokenRead


def happened(answered: Answered, relations: Relations, binding: Binding, keys: Sequence[Key]) -> Happened:
    """The database's clock, then the latest event of each of `keys`."""
    ((told,),) = answered(sa.select(sa.cast(sa.func.current_timestamp(), sa.String(64))))
    (now,) = canonical(Kind.INSTANT, [told])  # sessions are in UTC
    if not isinstance(now, datetime):
        raise BrokenRead(f"{binding.projection.name}: the source's clock says {told!r}, which is no time")
    latest: dict[Key, Value] = {}
    if keys:
        for row in answered(_latest(relations, binding, keys)):
            *parts, at, without = row
            key = tuple(canonical(kind, [part])[0] for kind, part in zip(binding.key_kinds, parts, strict=True))
            latest[key] = None if without else at
    return Happened(now=now.astimezone(UTC), latest=latest)


def _latest(relations: Relations, binding: Binding, keys: Sequence[Key]) -> sa.Select[Any]:
    """Key parts, the greatest time, and how many events have none."""
    events = binding.events
    assert events is not None
    origin, columns = relations.columns(events)
    *parts, time = columns
    grouped = [relations.ordered(column, part) for column, part in zip(events.key, parts, strict=True)]
    within = relations.within(events, parts, Keys(keys=tuple(keys)))
    times = relations.read_as(events.values[0], sa.func.max(time))
    chosen = [*grouped, times, sa.func.count() - sa.func.count(time)]
    labelled = [part.label(f"c{at}") for at, part in enumerate(chosen)]
    return sa.select(*labelled).select_from(origin).where(*within).group_by(*grouped)
