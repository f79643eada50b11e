"""How MariaDB and MySQL describe columns and spell values, in Python's terms."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time
from types import MappingProxyType
from typing import Any
from uuid import UUID

from pymysql.constants import FIELD_TYPE, FLAG
from pymysql.converters import conversions

from trueup.adapters import Look
from trueup.core.binding import Binding, Column
from trueup.core.row import Kind, Value, Values, present
from trueup.core.values import as_single

#: Type as the schema names it -> kind. Of `tinyint(1)` only people say that it is a boolean: it holds -128 to 127, and
#: as an integer it compares exactly with a boolean elsewhere.
KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint", "year", "bit"), Kind.INTEGER),
    "decimal": Kind.DECIMAL,
    **dict.fromkeys(("float", "double"), Kind.FLOAT),
    **dict.fromkeys(("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"), Kind.TEXT),
    **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), Kind.BYTES),
    "uuid": Kind.UUID,
    "json": Kind.JSON,
    "date": Kind.DATE,
    "time": Kind.TIME,
    "datetime": Kind.TIMESTAMP,
    "timestamp": Kind.INSTANT,
    **dict.fromkeys(
        ("geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon"),
        Kind.INCOMPARABLE,
    ),
    "geometrycollection": Kind.INCOMPARABLE,
}
#: Type as the protocol numbers it -> as the schema names it, where text and bytes are told apart elsewhere.
TYPE_NAMES: Mapping[int, str] = {
    **dict.fromkeys((FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.LONG, FIELD_TYPE.INT24), "int"),
    FIELD_TYPE.LONGLONG: "bigint",
    FIELD_TYPE.YEAR: "year",
    FIELD_TYPE.BIT: "bit",
    **dict.fromkeys((FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL), "decimal"),
    FIELD_TYPE.FLOAT: "float",
    FIELD_TYPE.DOUBLE: "double",
    FIELD_TYPE.DATE: "date",
    FIELD_TYPE.NEWDATE: "date",
    FIELD_TYPE.TIME: "time",
    FIELD_TYPE.DATETIME: "datetime",
    FIELD_TYPE.TIMESTAMP: "timestamp",
    FIELD_TYPE.JSON: "json",
    FIELD_TYPE.GEOMETRY: "geometry",
}
#: Collations that order text by its bytes, and in which trailing blanks count: an index in one serves binary order.
BINARY_COLLATIONS = ("utf8mb4_nopad_bin", "utf8mb4_0900_bin")
#: Character set -> Python's codec, where both have the same letters. Of others it is not known what they can hold.
_CODECS: Mapping[str, str] = {
    "utf8mb4": "utf-8",
    "latin1": "cp1252",
    "latin2": "iso8859-2",
    "latin5": "iso8859-9",
    "ascii": "ascii",
    "cp1250": "cp1250",
    "cp1251": "cp1251",
    "cp1257": "cp1257",
    "koi8r": "koi8-r",
    "gbk": "gbk",
    "euckr": "euc-kr",
}
#: Control characters in the places that cp1252 leaves empty. The server's latin1 has them: UTF-8 that was once read as
#: latin1 is full of them.
_LATIN1_ONLY = dict.fromkeys((0x81, 0x8D, 0x8F, 0x90, 0x9D))
#: Single-precision floats below this have fewer digits than others.
_LEAST_SINGLE = 2.0**-126
#: Greatest code point of the older UTF-8.
_UTF8MB3_MAX = "\uffff"
_A_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?: \d\d:\d\d:\d\d(?:\.\d{1,6})?)?", re.ASCII)
_A_TIME = re.compile(r"(-?)(\d{2,3}):(\d\d):(\d\d)(?:\.(\d{1,6}))?", re.ASCII)


def text_type(name: str, collation: str) -> str:
    """The name of a text type, with what decides its order."""
    return f"{name} collate {collation}"


def collation_of(column: Column) -> str:
    return column.type_name.rpartition(" collate ")[2] if " collate " in column.type_name else ""


def base_of(column: Column) -> str:
    """`varchar` of `varchar(20) collate utf8mb4_bin`."""
    return re.split(r"[ (]", column.type_name, maxsplit=1)[0]


def holds_text(column: Column, value: str) -> bool:
    """Can the column's character set hold this text? Asking a column for text that it cannot hold is an error."""
    charset = collation_of(column).partition("_")[0]
    if charset in ("utf8", "utf8mb3"):
        return max(value, default="") <= _UTF8MB3_MAX
    codec = _CODECS.get(charset)
    if charset == "latin1":
        value = value.translate(_LATIN1_ONLY)
    try:
        value.encode(codec or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def may_be_asked(column: Column) -> bool:
    """Is it known what text the column can hold? If not, it is asked only after conversion, which no index serves."""
    charset = collation_of(column).partition("_")[0]
    return not charset or charset in ("utf8", "utf8mb3") or charset in _CODECS


def is_a_moment(value: Value) -> bool:
    """A date or time stamp, or the spelling of one that no calendar has (`0000-00-00`)."""
    return isinstance(value, date) or (isinstance(value, str) and _A_MOMENT.fullmatch(value) is not None)


def single(value: Value) -> Value:
    """The shortest number that a single-precision float, given exactly, stands for: what other databases show of it."""
    if not isinstance(value, float):
        return value
    packed = struct.pack("<f", value)
    for digits in (6, 7, 8) if abs(value) >= _LEAST_SINGLE else range(1, 9):
        short = float(f"{value:.{digits}g}")
        if struct.pack("<f", short) == packed:
            return short
    return float(f"{value:.9g}")


# --- from the driver -------------------------------------------------------------------------------------------------


def _date(text: str) -> Value:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return text  # 0000-00-00, 2026-02-00: no day of a calendar


def _moment(text: str) -> Value:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text.rstrip("0").rstrip(".") if "." in text else text


def _time(text: str) -> Value:
    """A time of day; one that is none (negative, 24 hours and more) stays text, in one spelling."""
    found = _A_TIME.fullmatch(text)
    if found is None:
        return text
    sign, hours, minutes, seconds, fraction = found.groups()
    micros = (fraction or "").ljust(6, "0")
    if sign or int(hours) > 23:
        return f"{sign}{hours}:{minutes}:{seconds}" + (f".{micros.rstrip('0')}" if int(micros) else "")
    return time(int(hours), int(minutes), int(seconds), int(micros))


def _escape_moment(value: datetime, _mapping: object = None) -> str:
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return f"'{value.isoformat(' ')}'"


#: PyMySQL's converters, with ours in place of those that lose something.
CONVERSIONS: Mapping[Any, Callable[..., Any]] = MappingProxyType(
    {
        **conversions,
        FIELD_TYPE.DATE: _date,
        FIELD_TYPE.DATETIME: _moment,
        FIELD_TYPE.TIMESTAMP: _moment,
        FIELD_TYPE.TIME: _time,
        datetime: _escape_moment,
    }
)


def version_of(server: str) -> tuple[bool, tuple[int, ...]]:
    """Is it MariaDB, and which version: `5.5.5-10.11.14-MariaDB-log` is MariaDB 10.11.14."""
    mariadb = "mariadb" in server.lower()
    numbers = re.findall(r"(\d+)\.(\d+)\.(\d+)", server.removeprefix("5.5.5-") if mariadb else server)
    return mariadb, tuple(map(int, numbers[0])) if numbers else (0,)


def spell(column: Column, value: Value) -> Value:
    if base_of(column) == "float":  # it is read exactly
        return as_single(value)
    return present(value) if column.kind is Kind.TEXT or isinstance(value, UUID) else value


def type_of_field(field: Any, collation: str) -> str:
    """The type name of a query's column, from the protocol's description of it."""
    if field.type_code in TYPE_NAMES:
        return TYPE_NAMES[field.type_code]
    if collation == "binary":
        return "blob"
    return text_type("enum" if field.flags & (FLAG.ENUM | FLAG.SET) else "text", collation)


def kind_of(type_name: str) -> Kind:
    return KINDS.get(re.split(r"[ (]", type_name, maxsplit=1)[0], Kind.OPAQUE)


# --- comparing -------------------------------------------------------------------------------------------------------

#: Kinds that the database itself compares exactly with one another.
_EXACT = (
    frozenset({Kind.INTEGER, Kind.DECIMAL}),
    frozenset({Kind.DATE, Kind.TIMESTAMP}),
)


def comparable_inside(source: Column, target: Column) -> bool:
    """Does the database compare these two exactly? A float and a decimal, say, it compares as floats."""
    if source.kind is Kind.FLOAT and target.kind is Kind.FLOAT:
        return (base_of(source) == "float") == (base_of(target) == "float")
    if source.kind is target.kind:
        return True
    return any({source.kind, target.kind} <= kinds for kinds in _EXACT)


def can_hold(column: Column, value: Value) -> bool:
    """False if no row of `column` can have `value`, and asking for it is an error or a warning."""
    match column.kind:
        case Kind.TEXT:
            spelt = spell(column, value)  # a UUID or a date, where those of the other side are keys
            return isinstance(spelt, str) and holds_text(column, spelt)
        case Kind.UUID:  # whose type refuses a version of 8 and more beside a variant below 8
            return isinstance(value, UUID) and not (value.bytes[6] & 0x80 and not value.bytes[8] & 0x80)
        case Kind.DATE | Kind.TIMESTAMP | Kind.INSTANT:
            return is_a_moment(value)
        case Kind.INTEGER:
            return isinstance(value, int)
    return True


def shown(look: Look, binding: Binding) -> Look:
    """`look` with single-precision floats as they are read elsewhere: a NULL beside them hides what they are."""
    singles = [base_of(column) == "float" for column in binding.target.values]
    if not any(singles):
        return look

    def clean(row: Values | None) -> Values | None:
        return row and tuple(single(v) if at else v for v, at in zip(row, singles, strict=True))

    suspects = [replace(s, expected=clean(s.expected), observed=clean(s.observed)) for s in look.suspects]
    return replace(look, suspects=suspects)


# --- errors, by number -----------------------------------------------------------------------------------------------

STATEMENT_TIMEOUT = frozenset({1969, 3024})
#: Lock wait, deadlock, a row that changed since the snapshot, NOWAIT.
BUSY = frozenset({1205, 1213, 1020, 3572, 1040, 1203, 1226})
#: Nobody answers at that host or socket.
NOBODY_THERE = frozenset({2002, 2003, 2005})
#: Nobody there, or not for us: name, password, database.
UNREACHABLE = NOBODY_THERE | {1044, 1045, 1049, 1130, 1251, 1698}
#: A table, and a column of it, that the user may not use so.
UNPRIVILEGED = frozenset({1142, 1143})
#: Killed, shut down, gone away, a table that was altered under the snapshot.
_GONE = frozenset({0, 1053, 1152, 1158, 1159, 1160, 1161, 1317, 1412, 1615, 1927, 2006, 2013, 2014, 2055})
#: No room: disk, table space, memory, a temporary file that cannot be written.
_FULL = frozenset({3, 1021, 1026, 1030, 1037, 1038, 1041, 1114})
TRANSIENT = _GONE | _FULL
#: Values: wrong, out of range, refused by a constraint, a partition or a trigger; a statement that is too long; a
#: sub-select that gives two rows; JSON that is none.
DATA = frozenset({1118, 1153, 1242, 1292, 1364, 1365, 1411, 1441, 1526, 1644, 1690, 1761, 1762, 3140, 3141, 3819, 4025})
