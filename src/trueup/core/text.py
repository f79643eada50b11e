"""Values and keys as text: what a store without types holds, read exactly, and names that keys are spelt in.

A value that cannot be read as its kind stays the text that it is. So it differs from every value of the kind, and is
found and shown as it stands: `007` is no integer, and never taken for 7. (A decimal may be spelt in more than one way.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from functools import lru_cache
from string import Formatter

from trueup.core.kinds import Kind, Value, canonical
from trueup.core.row import Key, fit
from trueup.core.values import plain

#: No longer than Python reads; no database has integers of so many digits.
_INTEGER = re.compile(rb"-?[1-9][0-9]{0,3999}|0")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_INFINITE = re.compile(rb"[+-]?(?:inf|nan)")
_WORDS = {"1": True, "0": False, "true": True, "false": False}
#: Characters that mean something in a glob.
_GLOB = re.compile(r"([\\*?\[\]^-])")

#: Types as they are declared -> what values are read as.
TYPES: Mapping[str, Kind] = {
    str(kind): kind
    for kind in Kind
    if kind not in (Kind.ANY, Kind.ARRAY, Kind.INTERVAL, Kind.OPAQUE, Kind.INCOMPARABLE)
}


def understood(kind: Kind, stored: bytes | None) -> Value:
    """A stored value as one of `kind`; what is not spelt as such stays text, and bytes that are no UTF-8 stay bytes."""
    if stored is None or kind is Kind.BYTES:
        return stored
    match kind:
        case Kind.INTEGER if _INTEGER.fullmatch(stored):
            return int(stored)
        case Kind.FLOAT if _NUMBER.fullmatch(stored) or _INFINITE.fullmatch(stored):
            return float(stored)
    try:
        text = stored.decode()
    except UnicodeDecodeError:
        return stored
    if kind is Kind.BOOLEAN:
        return _WORDS.get(text, text)
    return canonical(kind, [text])[0]


def spelt(kind: Kind, value: Value) -> bytes:
    """A value as it is stored, so that `understood` gives it back; ValueError for one that would come back changed."""
    if isinstance(value, str | bytes):
        stored = value.encode() if isinstance(value, str) else value
        if understood(kind, stored) == value:  # also what is none of its kind: it goes back as it stood
            return stored
    value = fit(kind, value)
    match value:
        case bool():
            text = "1" if value else "0"
        case bytes():
            return value
        case float():
            text = repr(value)
        case Decimal():
            text = f"{value:f}"
        case date() | time():
            text = value.isoformat()
        case _:
            text = str(plain(value))
    stored = text.encode()
    if canonical(kind, [understood(kind, stored)]) != canonical(kind, [value]):
        raise ValueError(f"{text!r} would not be read back as the {kind} that it is")
    return stored


@dataclass(frozen=True, kw_only=True, slots=True)
class Pattern:
    """Names with columns in them: `post:{post_id}:likes`. A column's text ends where the text behind it begins."""

    text: str
    #: Columns in the order in which they occur.
    names: tuple[str, ...]
    #: What stands before each column, and behind the last.
    between: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """ValueError with what is wrong. `{{` and `}}` are braces that are meant."""
        between, names, open_text = list[str](), list[str](), ""
        try:
            pieces = list(Formatter().parse(text))
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}; a brace that is meant is written twice") from None
        for literal, name, form, conversion in pieces:
            open_text += literal
            if name is None:
                continue
            if form or conversion or not name.isidentifier():
                raise ValueError(f"{text!r}: {{{name}}} names no column; a brace that is meant is written twice")
            if names and not open_text:
                raise ValueError(f"{text!r}: nothing stands between {{{names[-1]}}} and {{{name}}}")
            if name in names:
                raise ValueError(f"{text!r} names {name!r} twice")
            between.append(open_text)
            names.append(name)
            open_text = ""
        return cls(text=text, names=tuple(names), between=(*between, open_text))

    @property
    def glob(self) -> str:
        """Matches every name of the pattern, and perhaps others."""
        return "*".join(_GLOB.sub(r"\\\1", piece) for piece in self.between)

    def parts(self, name: str) -> tuple[str, ...] | None:
        """The columns' texts in a name; None if it is none of the pattern."""
        found = _compiled(self.between).fullmatch(name)
        return found.groups() if found else None

    def readings(self, name: str) -> Iterator[tuple[str, ...]]:
        """Every way to cut a name into the columns' texts; `parts` is one of them."""
        if self.names and name.startswith(self.between[0]):
            yield from _cuts(name[len(self.between[0]) :], self.between[1:])

    def name(self, parts: Sequence[str]) -> str | None:
        """The name that has these texts; None if one of them holds what would end it, so that there is none."""
        made = self.between[0] + "".join(a + b for a, b in zip(parts, self.between[1:], strict=True))
        return made if self.parts(made) == tuple(parts) else None


def _cuts(text: str, ends: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Every way to cut a text into parts that end with these."""
    end, *others = ends
    if not others:
        if text.endswith(end) and len(text) > len(end):
            yield (text.removesuffix(end),)
        return
    at = text.find(end, 1)
    while at > 0:
        for rest in _cuts(text[at + len(end) :], others):
            yield (text[:at], *rest)
        at = text.find(end, at + 1)


@lru_cache(maxsize=64)
def _compiled(between: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("(.+?)".join(map(re.escape, between)), re.DOTALL)


def part_of_key(kind: Kind, text: str) -> Value:
    """A part of a name as a part of a key; ValueError if it is no value of its kind, or in a spelling of its own."""
    if kind in (Kind.TEXT, Kind.ANY):
        return text
    value = understood(kind, text.encode())
    if isinstance(value, str) or (kind is not Kind.INTEGER and spelt(kind, value) != text.encode()):
        raise ValueError(f"no {kind}, or in a spelling of its own")
    return value


def namesakes(pattern: Pattern, kinds: Mapping[str, Kind], key: Key) -> Iterator[Key]:
    """Other keys of these columns whose rows would be taken for the row of `key`: their names are spelt alike."""
    texts = dict(zip(kinds, texts_of(list(kinds.values()), key), strict=True))
    name = pattern.name([texts[column] for column in pattern.names])
    for parts in pattern.readings(name or ""):
        with suppress(ValueError):  # no text of its kind
            other = texts | dict(zip(pattern.names, parts, strict=True))
            found = tuple([part_of_key(kind, other[column]) for column, kind in kinds.items()])
            if found != key:
                yield found


def texts_of(kinds: Sequence[Kind], key: Sequence[Value]) -> tuple[str, ...]:
    """A key as the parts of a name."""
    return tuple(spelt(kind, value).decode() for kind, value in zip(kinds, key, strict=True))
