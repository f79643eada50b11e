"""The kind in which two columns are compared, or why they cannot be, and the remedy."""

from __future__ import annotations

from trueup.core.kinds import KEY_KINDS, TIMES, Kind, canonical, elements_meet, meeting
from trueup.core.partition import CUT_TIMES
from trueup.core.projection import Projection
from trueup.core.shape import Column
from trueup.errors import ConfigError

#: Kinds that no text spells in a way that everybody shares.
_NO_TEXT_SPELLS = (Kind.BYTES, Kind.INTERVAL)


def kind_of(place: str, name: str, source: Column, target: Column, one_database: bool, *, key: bool) -> Kind:
    kind = _meeting(source, target, one_database, key=key)
    pair = f"{source.type_name or source.kind} in the source, {target.type_name or target.kind} in the target"
    if kind is None:
        others = "choose another `key`" if key else "leave it out of `columns`"
        raise ConfigError(
            f"{place}: column {name!r} cannot be compared exactly: {pair}. {_why_not(source, target)}"
            f"Cast it in the source query to the target's type or to text (of a file, say so in `types`), or {others}"
        )
    if key and (kind not in KEY_KINDS or Kind.BOOLEAN in (source.kind, target.kind)):
        raise ConfigError(
            f"{place}.key: column {name!r} ({pair}) cannot be a key: it has no order that is the same everywhere. "
            f"Keys are integer, text, uuid, date, timestamp; cast it in a query on both sides"
        )
    return kind


def kind_of_cut(projection: Projection, source: Column | None, target: Column | None) -> Kind | None:
    """The kind in which partitions are told apart."""
    if source is None or target is None:
        return None
    declared, place = projection.partition, f"projections.{projection.name}.partition.column: {source.name!r}"
    pair = f"({source.type_name or source.kind} in the source, {target.type_name or target.kind} in the target)"
    kind = _meeting(source, target, projection.one_database, key=True)
    if declared.by == "column":
        if kind is None or kind not in KEY_KINDS | {Kind.BOOLEAN}:
            raise ConfigError(
                f"{place} {pair} cannot tell partitions apart: its values have no one spelling. Take a column of "
                f"integers, text, UUIDs, booleans, dates or timestamps, or cast it in the query"
            )
        return kind
    times = {_cut_time(column) for column in (source, target)} - {Kind.ANY}
    kind = times.pop() if len(times) == 1 else None
    if kind not in CUT_TIMES:
        raise ConfigError(
            f"{place} {pair} cannot be cut by time: it has to be a date, a timestamp or a timestamp with time zone, "
            f"the same on both sides. Cast it in the query"
        )
    if kind is Kind.DATE and declared.bucket == "1h":
        raise ConfigError(f'{place} {pair} holds days, which have no hours: use bucket = "1d", "1w" or "1mo"')
    return kind


def _cut_time(column: Column) -> Kind:
    """What a column holds, to be cut by time: where the database only has spellings, what they are read as."""
    if column.kind not in (Kind.ANY, Kind.TEXT):
        return column.kind
    declared = column.type_name.upper()
    spelt = column.sample
    if not spelt and "TIME" not in declared and declared != "DATE":
        return column.kind
    if len(spelt) == 10 or (not spelt and declared == "DATE"):
        return Kind.DATE
    meant = canonical(Kind.TIMESTAMP, [spelt])[0] if spelt else None
    if isinstance(meant, str):
        return column.kind
    return Kind.INSTANT if meant is not None and meant.tzinfo else Kind.TIMESTAMP


def _meeting(source: Column, target: Column, one_database: bool, *, key: bool) -> Kind | None:
    """The kind in which two columns are compared here; None if they are not."""
    kinds = {source.kind, target.kind}
    if kinds == {Kind.OPAQUE}:
        return Kind.OPAQUE if one_database and source.type_name == target.type_name else None
    if kinds == {Kind.ARRAY}:
        return Kind.ARRAY if elements_meet(source.element, target.element) else None
    if source.members and target.members and not key:
        return Kind.JSON  # as texts 1 would be "1"
    kind = meeting(source.kind, target.kind)
    if (source.texts or target.texts) and kind in _NO_TEXT_SPELLS:
        return None
    if key and kinds == {Kind.UUID, Kind.BYTES}:
        return None  # a look-up would need the bytes
    if one_database and kinds > {Kind.TEXT} and kind in (Kind.UUID, *TIMES):
        return None  # the database would compare spellings, and two spellings may mean the same
    return kind


def _why_not(source: Column, target: Column) -> str:
    """What a pair lacks, where that is not plain from its names."""
    kinds = {Kind.TEXT if column.texts else column.kind for column in (source, target)}
    if kinds in ({Kind.TIMESTAMP, Kind.INSTANT}, {Kind.DATE, Kind.INSTANT}):
        return "One has a time zone, the other does not say in which it is. "
    if Kind.BOOLEAN in kinds and Kind.TEXT in kinds:
        return "Which words mean true is not known. "
    if Kind.TEXT in kinds and kinds & {Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT}:
        return "'5', '05' and '5.0' are three texts and one number. "
    if Kind.TEXT in kinds and kinds & {*_NO_TEXT_SPELLS, Kind.ARRAY}:
        return f"Every product has spellings of its own for {'bytes' if Kind.BYTES in kinds else 'such values'}. "
    return ""
