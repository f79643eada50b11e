"""Keys as people give them: names and texts -> key parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import product
from typing import Any

from trueup.core.binding import Binding, near
from trueup.core.projection import Projection
from trueup.core.row import Key, Kind, Value, canonical, fit, parse_value, possible
from trueup.errors import UsageError


def named_rightly(projection: Projection, key: Mapping[str, Any]) -> None:
    """Raise UsageError unless `key` names each part of the projection's key, and nothing else."""
    names = projection.key
    for name in key:
        if name not in names:
            raise UsageError(f"{projection.name}: {name!r} is not part of the key; {near(name, names)}")
    lacking = [name for name in names if name not in key]
    if lacking:
        raise UsageError(f"{projection.name}: the key lacks {', '.join(lacking)}")


def spellings(binding: Binding, key: Mapping[str, Any]) -> list[Key]:
    """A key as given; where no column says what kind it is, digits are looked for as a number and as text.

    Raises UsageError.
    """
    named_rightly(binding.projection, key)
    names = binding.projection.key
    parts: list[tuple[Value, ...]] = []
    for name, kind in zip(names, binding.key_kinds, strict=True):
        value = key[name]
        try:
            meant = parse_value(kind, value) if isinstance(value, str) else _typed(kind, value)
        except ValueError as error:
            raise UsageError(f"{binding.projection.name}: key {name!r}: {error}") from None
        parts.append((meant, value) if kind is Kind.ANY and isinstance(value, str) else (meant,))
    return list(product(*parts))


def _typed(kind: Kind, value: Value) -> Value:
    """A key part as a program gives it; ValueError where a database would look for another, or for none at all."""
    meant = fit(kind, canonical(kind, [value])[0])
    if not possible(kind, kind, meant):
        raise ValueError(f"{value!r} is not of kind {kind}")
    return meant


def looked_up(binding: Binding, key: Mapping[str, Any]) -> list[Key]:
    """A key as rows are looked up by it. Raises UsageError where it names none: NULL is equal to nothing."""
    found = spellings(binding, key)
    for name, part in zip(binding.projection.key, found[0], strict=True):
        if part is None:
            raise UsageError(
                f"{binding.projection.name}: key {name!r}: NULL names no row; without a key, rows with it are read"
            )
    return found


def sound_keys(binding: Binding, keys: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of `keys` that can be keys: one that cannot must not cost the others."""
    sound = []
    for key in keys:
        with suppress(UsageError):
            looked_up(binding, key)
            sound.append(key)
    return sound
