"""What a mapping says of fields, and how values stand in documents: read from `_source`, as they were sent, and never
from what an analyser made of them.

A value that is not of its field's kind (a list, an object, a number in a text) stays what it is, and so differs.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from trueup.adapters._opensearch_http import spelled
from trueup.core.kinds import Kind, Value
from trueup.core.row import fit
from trueup.core.text import spelt, understood
from trueup.core.values import Json

#: Type in a mapping -> kind. Every other is compared as the JSON that stands in the document.
_KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("keyword", "constant_keyword", "wildcard", "text", "match_only_text", "ip"), Kind.TEXT),
    **dict.fromkeys(("long", "integer", "short", "byte", "unsigned_long"), Kind.INTEGER),
    **dict.fromkeys(("double", "float", "half_float"), Kind.FLOAT),
    "scaled_float": Kind.DECIMAL,
    "boolean": Kind.BOOLEAN,
    "binary": Kind.BYTES,
}
#: Types that hold nothing of their own.
_NO_VALUE = frozenset({"alias", "token_count", "murmur3", "percolator"})
_DAYS = frozenset({"yyyy-MM-dd", "date", "strict_date", "uuuu-MM-dd"})
_MOMENTS = frozenset({"strict_date_optional_time", "date_optional_time", "strict_date_time", "date_time"})
#: Of which a year by itself is one.
_WITH_YEARS = frozenset({"strict_date_optional_time", "date_optional_time"})
_COUNTS = {"epoch_millis": timedelta(milliseconds=1), "epoch_second": timedelta(seconds=1)}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: A text that is taken for a number, and never for a day without hyphens.
_DIGITS = re.compile(r"-?[0-9]{1,18}", re.ASCII)
#: More digits than a moment has here.
_FINER = re.compile(r"[.,]\d{7}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """A field, by its mapping or as it is declared."""

    #: Dotted, where it is in an object.
    path: str
    kind: Kind
    #: Its type in the mapping; empty where it has none.
    type: str = ""
    #: What a number in a date counts; None where it is none.
    counts: timedelta | None = None
    #: Is a number of four digits in a date a year?
    years: bool = False
    #: A text that spells values of a declared kind.
    declared: bool = False

    def value(self, raw: Any) -> Value:
        """What stands in a document, as a value of this kind or as what it is."""
        if raw is None:
            return None
        if self.kind is Kind.JSON or isinstance(raw, list | dict) or self._alien(raw):
            return Json(spelled(raw))
        if isinstance(raw, str):
            return self._text(raw)
        if self.kind is Kind.FLOAT:
            number = float(raw)
            return raw if isinstance(raw, int) and number != raw else number
        if self.kind is Kind.INSTANT and self.counts is not None:
            return self._moment(raw)
        return raw

    def _alien(self, raw: Any) -> bool:
        """Python takes True for 1."""
        return isinstance(raw, bool) and self.kind is not Kind.BOOLEAN

    def _text(self, raw: str) -> Value:
        if self.kind in (Kind.INSTANT, Kind.TIMESTAMP) and _FINER.search(raw):
            return Json(spelled(raw))
        if self.kind is Kind.INSTANT and not self.declared and _DIGITS.fullmatch(raw):
            return Json(spelled(raw)) if self.counts is None else self._moment(int(raw))
        if self.declared:
            return understood(self.kind, raw.encode("utf-8", "surrogatepass"))
        if self.kind is Kind.BYTES:
            try:
                return base64.b64decode(raw, validate=True)
            except (binascii.Error, ValueError):
                return raw
        return raw

    def _moment(self, raw: int | Decimal) -> Value:
        assert self.counts is not None
        if self.years and 1000 <= raw <= 9999:
            return Json(spelled(raw))
        try:
            return _EPOCH + self.counts * int(raw) if raw == int(raw) else raw
        except (OverflowError, ArithmeticError):
            return raw

    def stored(self, value: Value) -> Any:
        """How a value is sent; ValueError for one that would be stored as another."""
        if value is None:
            return None
        if self.declared:
            return spelt(self.kind, value).decode()
        value = fit(self.kind, value)
        match value:
            case Json():
                return _document(value.text)
            case str() if self.kind is Kind.JSON:
                return _document(value)
            case datetime() if self.counts is not None and self.type == "counted":
                count, rest = divmod(value.astimezone(UTC) - _EPOCH, self.counts)
                if rest:
                    raise ValueError(f"{value.isoformat()} is finer than the field's format")
                return count
            case datetime() | date():
                return value.isoformat()
            case bytes():
                return base64.b64encode(value).decode()
        spelled(value)  # a float that is no number
        return value


def _document(text: str) -> Any:
    """What JSON says; ValueError for `null`, which a document cannot tell from a field that is missing."""
    document = json.loads(text, parse_float=Decimal)
    if document is None:
        raise ValueError("a JSON null reads like a field that is missing; give NULL in the source")
    return document


def fields_of(properties: Mapping[str, Any], within: str = "") -> Iterator[Field]:
    """The fields of a mapping, those of objects too."""
    for name, told in properties.items():
        path = f"{within}{name}"
        type_ = str(told.get("type", "object"))
        if type_ in _NO_VALUE:
            continue
        yield _field(path, type_, str(told.get("format", "strict_date_optional_time||epoch_millis")))
        if type_ == "object":
            yield from fields_of(told.get("properties", {}), f"{path}.")


def _field(path: str, type_: str, format_: str) -> Field:
    if type_ == "date":
        formats = format_.split("||")  # tried in this order
        known = set(formats)
        counting = next((name for name in formats if name in _COUNTS), None)
        counts = None if counting is None else _COUNTS[counting]
        years = counting is not None and bool(_WITH_YEARS & set(formats[: formats.index(counting)]))
        if known <= _DAYS:
            return Field(path=path, kind=Kind.DATE, type=type_)
        if known <= {*_MOMENTS, *_COUNTS}:
            counted = "counted" if known <= set(_COUNTS) else type_
            return Field(path=path, kind=Kind.INSTANT, type=counted, counts=counts, years=years)
        return Field(path=path, kind=Kind.OPAQUE, type=f"date in the format {format_}")
    if type_ == "date_nanos":
        return Field(path=path, kind=Kind.OPAQUE, type=type_)
    return Field(path=path, kind=_KINDS.get(type_, Kind.JSON), type=type_)


def as_declared(field: Field | None, path: str, kind: Kind) -> Field:
    """A field of which another type is declared than its mapping has, or that has no mapping."""
    if field is None:
        return Field(path=path, kind=kind, declared=kind not in (Kind.JSON, Kind.TEXT))
    spells = field.kind is not kind and kind is not Kind.JSON
    return replace(field, kind=kind, declared=spells, counts=None)


def found(document: Mapping[str, Any], path: str) -> Any:
    """What stands at a path, in objects or under names with dots; None where nothing does. Of a list of objects the
    list is the answer.
    """
    if path in document:
        return document[path]
    for head, rest in _cuts(path):
        inner = document.get(head)
        if isinstance(inner, dict):
            value = found(inner, rest)
            if value is not None:
                return value
        elif isinstance(inner, list) and inner:
            return inner
    return None


def put(document: dict[str, Any], path: str, value: Any) -> None:
    """Give a path a value, where it stands already or else in objects; None takes it away.

    Raises ValueError if the path goes through something that is no object.
    """
    cuts = list(_cuts(path))
    through = next(((head, rest) for head, rest in cuts if document.get(head) is not None), None)
    if path in document or not cuts or (through is None and value is None):
        if value is None:
            document.pop(path, None)
        else:
            document[path] = value
        return
    head, rest = through or cuts[0]
    inner = document[head] if through else document.setdefault(head, {})
    if inner is None:
        inner = document[head] = {}
    if not isinstance(inner, dict):
        raise ValueError(f"{path} goes through {head!r}, which holds no object")
    put(inner, rest, value)


def _cuts(path: str) -> Iterator[tuple[str, str]]:
    """Each way to cut a path at a dot, the first dot first."""
    at = path.find(".")
    while at >= 0:
        yield path[:at], path[at + 1 :]
        at = path.find(".", at + 1)
