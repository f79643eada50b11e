"""Which runs may go on side by side: the names that a run holds, each by one run at a time.

Runs over all keys of a projection, and runs over explicit keys, are two *lanes*: one of each goes on at a time, so that
a row from the support desk does not wait for an hour-long run. Each lane has its own fence in the target; rows that
both want are kept apart by lock or compare-and-set, as everybody's are.

What keeps projections apart is held under names of its own, a name for each pair of lanes, so that the lanes of one
projection do not keep each other out.
"""

from __future__ import annotations

from collections.abc import Mapping

from trueup.core.projection import Projection
from trueup.core.query import tables_of

#: Behind a projection's name: its lane of explicit keys. No projection's name has such a character.
KEYS = "#keys"


def lane(projection: Projection, *, keys: bool) -> str:
    """The lane of a run."""
    return projection.name + KEYS if keys and _splits(projection) else projection.name


def lanes(projection: Projection) -> tuple[str, ...]:
    """All lanes: what a run holds that nothing may go on beside."""
    return (projection.name, projection.name + KEYS) if _splits(projection) else (projection.name,)


def _splits(projection: Projection) -> bool:
    """Are two runs at a time safe? Where a difference is subtracted, or a generation begun, it has to be measured while
    no other run can write; and no row is handed over by two at a time.
    """
    return not projection.handlers and projection.on_different != "delta" and projection.target.type != "generations"


def partners(projection: Projection, others: Mapping[str, Projection], dialects: Mapping[str, str]) -> dict[str, str]:
    """Projections that never run at the same time as this one -> why.

    Declared by one of the two; or both write one target; or one reads in its source what the other writes.
    `dialects`: database -> the SQL that its queries are in.
    """
    found: dict[str, str] = {}
    for other in others.values():
        if other.name == projection.name:
            continue
        if other.name in projection.conflicts or projection.name in other.conflicts:
            found[other.name] = "declared"
        elif _writes(projection) & _writes(other):
            found[other.name] = "they write the same target"
        elif _writes(projection) & _reads(other, dialects) or _writes(other) & _reads(projection, dialects):
            found[other.name] = "one reads what the other writes"
    return found


def _writes(projection: Projection) -> set[tuple[str, str]]:
    target = projection.target
    return {(target.database, _plain(target.place))}


def _reads(projection: Projection, dialects: Mapping[str, str]) -> set[tuple[str, str]]:
    source = projection.source
    if source.query is None:
        return {(source.database, _plain(source.place))}
    tables = tables_of(source.query, dialects.get(source.database, ""))
    return {(source.database, _plain(table)) for table in tables}


def _plain(place: str) -> str:
    return place.casefold().removeprefix("public.").removeprefix("main.")


def holds(projection: Projection, *, keys: bool, apart: Mapping[str, Projection], heavy: bool) -> tuple[str, ...]:
    """Everything that a run holds by name, its lane first.

    `apart`: the projections that never run at the same time; `heavy`: no other heavy run beside it on its databases.
    """
    mine = lane(projection, keys=keys)
    names = {"+".join(sorted((mine, theirs))) for other in apart.values() for theirs in lanes(other)}
    if heavy and not keys:
        names |= {f"heavy:{side.database}" for side in (projection.source, projection.target)}
    return (mine, *sorted(names))
