"""What both sides look like, written down, and what has changed since: a run is right only for what it was made for."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from trueup.core.binding import Binding, Column, Shape


def written(binding: Binding) -> dict[str, Any]:
    """Both sides as plain JSON; what the rows happen to hold (a sample of a spelling) is not in it."""
    return {"source": side(binding.source.shape), "target": side(binding.target.shape)}


def side(shape: Shape) -> dict[str, Any]:
    """One of them."""
    numbers = {name: column.number for name, column in shape.columns.items() if column.number}
    return {
        "columns": {name: _column(column) for name, column in shape.columns.items()},
        "unique": sorted(sorted(names) for names in shape.unique),
        "triggers": {name: _digest(told) for name, told in shape.triggers.items()},
        "parts": list(shape.parts),
        "is": "table" if shape.table else "view or query",
        **({"identity": shape.identity} if shape.identity else {}),
        **({"numbers": numbers} if numbers else {}),
    }


def _column(column: Column) -> list[str]:
    """Type, and what an INSERT or UPDATE has to know."""
    words = [column.type_name or str(column.kind)]
    words += ["NOT NULL"] if not column.nullable else []
    words += ["generated"] if column.generated else []
    return words


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is different, in words; empty: nothing."""
    found = []
    for role in ("source", "target"):
        one, other = before[role], now[role]
        found += [f"{role}: {words}" for words in _mapped("column", one["columns"], other["columns"])]
        for index in one["unique"]:
            if index not in other["unique"]:
                found.append(f"{role}: the unique index on {', '.join(index)} is gone")
        for index in other["unique"]:
            if index not in one["unique"]:
                found.append(f"{role}: a unique index on {', '.join(index)} is new")
        found += [f"{role}: {words}" for words in _mapped("trigger", one["triggers"], other["triggers"], shown=False)]
        if one["is"] != other["is"]:
            found.append(f"{role}: was a {one['is']}, and is a {other['is']}")
        if one.get("identity") != other.get("identity"):
            found.append(f"{role}: was {one.get('identity')}, and is {other.get('identity')}")
    return found


def other_values(before: Mapping[str, Any], binding: Binding) -> list[str]:
    """What changed that makes other values of the columns that are read, whoever wrote no row meanwhile."""
    now, sides = written(binding), {"source": binding.source, "target": binding.target}
    names = {role: {column.name for column in side.columns} for role, side in sides.items()}
    one, other = ({role: _as_read(of[role], names[role]) for role in sides} for of in (before, now))
    again = [f"{role}: {words}" for role in sides for words in _added_again(before[role], now[role], names[role])]
    return [*changes(one, other), *again]


def _as_read(told: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """What a side was like for who only reads these columns."""
    types = {name: words[:1] for name, words in told["columns"].items() if name in names}
    return {**told, "columns": types, "unique": [], "triggers": {}}


def _added_again(before: Mapping[str, Any], now: Mapping[str, Any], names: Collection[str]) -> Iterator[str]:
    """Columns that were dropped since, and added again, as far as it shows: they have another number, or, where the
    database gives none, are behind one that they were before. A view has its columns in whatever order it likes.
    """
    one, other = before.get("numbers", {}), now.get("numbers", {})
    passed = _passed(before, now) if before["is"] == now["is"] == "table" else ()
    for name in names:
        if name in one and name in other:
            if one[name] != other[name]:
                yield f"column {name!r} was dropped and added again"
        elif name in passed:
            yield f"column {name!r} is behind one that it was before"


def _passed(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    """Columns that are behind one that was behind them."""
    place = {name: at for at, name in enumerate(now["columns"])}
    found, first = set(), len(place)
    for name in reversed([name for name in before["columns"] if name in place]):
        if place[name] > first:
            found.add(name)
        first = min(first, place[name])
    return found


def lost_parts(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[str]:
    """Files that the source was read from before and is not now; new ones are what files are for."""
    if before is None:
        return []
    return sorted(set(before["source"].get("parts", ())) - set(now["source"]["parts"]))


def _mapped(what: str, before: Mapping[str, Any], now: Mapping[str, Any], *, shown: bool = True) -> list[str]:
    found = [f"{what} {name!r} is gone" for name in before if name not in now]
    for name, value in now.items():
        if name not in before:
            found.append(f"{what} {name!r} is new")
        elif before[name] != value:
            found.append(f"{what} {name!r}: {_told(before[name], value)}" if shown else f"{what} {name!r} is another")
    return found


def _told(before: list[str], now: list[str]) -> str:
    return f"{' '.join(before)} -> {' '.join(now)}"
