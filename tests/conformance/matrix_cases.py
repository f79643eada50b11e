"""The cases of the conformance matrix, as data: what the pitfalls of comparing are, and what the right answers are.

`test_matrix.py` runs Trueup on all of them; `bench/conformance.py` runs peers too, and writes docs/CONFORMANCE.md. What
is right is also found by an oracle in plain Python (`matrix.py`): a slip in this list cannot make a tool right.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from tests.conformance.matrix_types import Case, keys, values

SAME, DIFFERS = True, False
_TWO_TEXTS = {"id": "bigint", "a": "text", "b": "text"}
_COUNTER = {"id": "bigint", "v": "bigint"}
_UUID = "6f1c2d3e-0000-4000-8000-00000000abcd"
#: Of versions 1, 4 and 7, in an order that is another where a database orders them by parts or from behind.
_UUIDS = [
    "00000001-0000-1000-8000-0000000000ff",
    "0000000f-ff00-4000-bfff-000000000000",
    "01890a5d-ac96-774b-bcce-b302099a8057",
    "7fffffff-0000-1fff-8000-ffffffffffff",
    "80000000-ffff-1000-8000-000000000000",
    "ffffffff-0000-4000-8000-000000000001",
]
#: Text that something somewhere takes for something else.
_ODD = [
    "",
    " ",
    "0",
    "00",
    "a,b",
    "a|b",
    "a\tb",
    "a\nb",
    "'",
    '"',
    "\\",
    "%",
    "_",
    ":x",
    "$1",
    "null",
    "NULL",
    "NA",
    "👍",
]
_LONG = "x" * 9000

CHECKSUMS = [
    Case(
        name="two counters off by one",
        about="checksum: CRC32 with XOR cancels",
        columns=_COUNTER,
        source=[(1, 100), (2, 102), (3, 300)],
        target=[(1, 101), (2, 103), (3, 300)],
        differ={"1": "different", "2": "different"},
    ),
    Case(
        name="values of two rows swapped",
        about="checksum: XOR cancels",
        columns=_COUNTER,
        source=[(1, 100), (2, 200)],
        target=[(1, 200), (2, 100)],
        differ={"1": "different", "2": "different"},
    ),
    Case(
        name="one row twice, another twice",
        about="checksum: XOR of a pair is nothing",
        columns=_COUNTER,
        unique=False,
        source=[(1, 5), (1, 5), (2, 7)],
        target=[(2, 7), (3, 9), (3, 9)],
        differ={"1": "missing", "3": "extra"},
        refusal_is_right=True,
    ),
    Case(
        name="'a|b', 'c' and 'a', 'b|c'",
        about="ambiguous separator",
        columns=_TWO_TEXTS,
        source=[(1, "a|b", "c"), (2, "x", "y")],
        target=[(1, "a", "b|c"), (2, "x", "y")],
        differ={"1": "different"},
    ),
    Case(
        name="'ab', '' and 'a', 'b'",
        about="no separator",
        columns=_TWO_TEXTS,
        source=[(1, "ab", ""), (2, "x", "y")],
        target=[(1, "a", "b"), (2, "x", "y")],
        differ={"1": "different"},
    ),
]
NULLS = [
    values("NULL sentinel", "NULL and '<null>'", "text", [(None, "<null>", DIFFERS), ("<null>", "<null>", SAME)]),
    values("NULL sentinel", "NULL and 'NULL'", "text", [(None, "NULL", DIFFERS), (None, None, SAME)]),
    values("NULL sentinel", "NULL and 'NA'", "text", [("NA", None, DIFFERS), ("NA", "NA", SAME)]),
    values("NULL and empty", "NULL and ''", "text", [(None, "", DIFFERS), ("", None, DIFFERS), ("", "", SAME)]),
    values("NULL and zero", "NULL and 0", "bigint", [(None, 0, DIFFERS), (0, None, DIFFERS), (None, None, SAME)]),
    Case(
        name="NULL in another column",
        about="NULL dropped by concatenation",
        columns=_TWO_TEXTS,
        source=[(1, None, "a"), (2, "x", None)],
        target=[(1, "a", None), (2, "x", None)],
        differ={"1": "different"},
    ),
    Case(
        name="a key that is NULL, one side only",
        about="NULL keys",
        columns=_COUNTER,
        unique=False,
        source=[(1, 1), (None, 2)],
        target=[(1, 1)],
        differ={"NULL": "missing"},
        refusal_is_right=True,
    ),
    Case(
        name="keys that are NULL on both sides, values differ",
        about="NULL keys",
        columns=_COUNTER,
        unique=False,
        source=[(1, 1), (None, 2)],
        target=[(1, 1), (None, 3)],
        differ={"NULL": "different"},
        refusal_is_right=True,
    ),
]
KEYS = [
    Case(
        name="a row twice, once in the target",
        about="duplicate keys",
        columns=_COUNTER,
        unique=False,
        source=[(1, 5), (1, 5), (2, 7)],
        target=[(1, 5), (2, 7)],
        differ={"1": "different"},
        refusal_is_right=True,
    ),
    Case(
        name="keys beyond the reference's ends",
        about="range ends",
        columns=_COUNTER,
        source=[(1, 1), (2, 2), (3, 3)],
        target=[(-(2**62), 0), (1, 1), (2, 2), (3, 3), (2**62, 0)],
        differ={str(-(2**62)): "extra", str(2**62): "extra"},
    ),
    Case(
        name="19 digits, the last one differs",
        about="long integers",
        columns=_COUNTER,
        source=[(2**63 - 1, 1), (2**63 - 3, 1), (1, 2**63 - 1)],
        target=[(2**63 - 2, 1), (2**63 - 3, 1), (1, 2**63 - 2)],
        differ={str(2**63 - 1): "missing", str(2**63 - 2): "extra", "1": "different"},
    ),
    # Of a JSON file without an object the columns are not known.
    Case(name="both empty", about="empty tables", columns=_COUNTER, not_in=("json",)),
    Case(
        name="an empty source",
        about="empty tables",
        columns=_COUNTER,
        not_in=("json",),
        target=[(1, 1), (2, 2)],
        differ={"1": "extra", "2": "extra"},
    ),
    Case(
        name="an empty target",
        about="empty tables",
        columns=_COUNTER,
        source=[(1, 1), (2, 2)],
        differ={"1": "missing", "2": "missing"},
    ),
    Case(
        name="integer, text and date as one key",
        about="composite keys",
        columns={"a": "bigint", "b": "text key", "c": "date", "v": "bigint"},
        key=("a", "b", "c"),
        source=[
            (1, "x", "2026-01-01", 1),
            (1, "x", "2026-01-02", 2),
            (1, "X", "2026-01-01", 3),
            (2, "", "2026-01-01", 4),
        ],
        target=[
            (1, "x", "2026-01-01", 1),
            (1, "x", "2026-01-02", 9),
            (1, "X", "2026-01-01", 3),
            (3, "", "2026-01-01", 4),
        ],
        differ={"1|x|2026-01-02": "different", "2||2026-01-01": "missing", "3||2026-01-01": "extra"},
    ),
    *(
        case
        for kind, of in (("binary order", "text key"), ("a language's order", "text key, language"))
        for case in (
            keys("text keys", f"case, {kind}", of, ["a", "B"], ["A"], ["b"]),
            keys("text keys", f"accents, {kind}", of, ["e", "z"], ["é"], ["ź"]),
            keys("text keys", f"trailing blanks, {kind}", of, ["a", "b"], ["a "], ["b  "]),
            keys("text keys", f"HTML entity, {kind}", of, ["O", "x"], ["O'Neil"], ["O&#39;Neil"]),
            keys("text keys", f"non-Latin, {kind}", of, ["日本", "Ж", "a"], ["東京"], ["ж"]),
            keys("text keys", f"signs, {kind}", of, ["-", "_", "~", ".", "A1", "a-1", "zz"], ["a.1"], ["~~"]),
            keys("text keys", f"order, {kind}", of, ["a", "B", "ä", "Z", "z", "_x", "-1", "10", "9"], ["b"], ["Y"]),
            keys("text keys", f"any content, {kind}", of, _ODD, ["\\\\", "👍🏽"], ["\\n", "a\n"]),
        )
    ),
    keys("uuid keys", "uuid as key", "uuid", _UUIDS, [_UUID], [_UUID[:-1] + "e"]),
    keys(
        "moments as keys",
        "timestamp as key",
        "timestamp",
        ["1969-12-31 23:59:59.999999", "2026-03-29 02:30:00", "2026-03-29 03:30:00", "9999-12-31 23:59:59"],
        ["2026-03-29 02:30:00.000001"],
        ["2026-03-29 02:30:00.000002"],
    ),
    keys(
        "moments as keys",
        "instant as key",
        "instant",
        ["2026-10-24 23:30:00+00:00", "2026-10-25 00:30:00+00:00", "2026-10-25 01:30:00+00:00"],
        ["2026-10-25 00:30:00.000001+00:00"],
        ["2026-10-25 00:30:00.000002+00:00"],
    ),
    keys("moments as keys", "date as key", "date", ["1582-10-15", "1970-01-01", "9999-12-31"], ["2024-02-29"], []),
    Case(
        name="uuid and timestamp as one key",
        about="composite keys",
        columns={"a": "uuid", "b": "timestamp", "v": "bigint"},
        key=("a", "b"),
        source=[(key, f"2026-03-0{n} 12:00:00", n) for key in _UUIDS for n in (1, 2)],
        target=[
            *((key, f"2026-03-0{n} 12:00:00", n) for key in _UUIDS[1:] for n in (1, 2)),
            (_UUIDS[0], "2026-03-01 12:00:00", 9),
            (_UUIDS[0], "2026-03-03 12:00:00", 2),
        ],
        differ={
            f"{_UUIDS[0]}|2026-03-01 12:00:00": "different",
            f"{_UUIDS[0]}|2026-03-02 12:00:00": "missing",
            f"{_UUIDS[0]}|2026-03-03 12:00:00": "extra",
        },
    ),
    Case(
        name="a composite key with NULL parts",
        about="NULL keys",
        columns={"a": "bigint", "b": "text key", "v": "bigint"},
        key=("a", "b"),
        unique=False,
        source=[(1, "x", 1), (1, None, 2), (None, "x", 3), (None, None, 4), (3, None, 5)],
        target=[(1, "x", 1), (1, None, 2), (None, "x", 9), (2, None, 4), (3, "", 5)],
        differ={"NULL|x": "different", "NULL|NULL": "missing", "2|NULL": "extra", "3|NULL": "missing", "3|": "extra"},
        refusal_is_right=True,
    ),
    keys("text keys", "letters and digits only", "text key", ["0", "9", "A", "Z", "a", "z"], ["zzz"], ["00"]),
]
NUMBERS = [
    values("numbers", "numeric without scale", "numeric", [("100.10", "100.49", DIFFERS), ("1.10", "1.1", SAME)]),
    values(
        "numbers", "numeric, 1e-20 and 0", "numeric, wide", [("0.00000000000000000001", "0", DIFFERS), ("1", "1", SAME)]
    ),
    values(
        "numbers",
        "scale 2 and no scale",
        "numeric(12,2)",
        [("100.10", "100.1000", SAME), ("100.10", "100.49", DIFFERS), ("100.10", "100.104", DIFFERS)],
        target="numeric",
    ),
    values(
        "numbers",
        "scale 2 and scale 4",
        "numeric(12,2)",
        [("100.10", "100.1000", SAME), ("100.10", "100.1049", DIFFERS), ("-0.50", "0.5000", DIFFERS)],
        target="numeric(14,4)",
    ),
    values(
        "numbers", "numeric, 30 digits", "numeric", [("1" * 30, "1" * 29 + "2", DIFFERS), ("1" * 30, "1" * 30, SAME)]
    ),
    values("numbers", "numeric NaN", "numeric", [("NaN", "NaN", SAME), ("NaN", "0", DIFFERS), ("NaN", None, DIFFERS)]),
    values(
        "numbers",
        "integer and numeric",
        "bigint",
        [(5, "5.00", SAME), (5, "5.01", DIFFERS), (0, None, DIFFERS)],
        target="numeric(12,2)",
    ),
    values(
        "floats",
        "integer and float",
        "bigint",
        [(5, 5.0, SAME), (5, 5.5, DIFFERS), (2**53 + 1, float(2**53), DIFFERS)],
        target="float64",
    ),
    values("floats", "last bit", "float64", [(0.1, 0.1, SAME), (0.1 + 0.2, 0.3, DIFFERS), (1 / 3, 1 / 3, SAME)]),
    values(
        "floats",
        "single and double",
        "float32",
        [(0.5, 0.5, SAME), (16777217, 16777217.0, DIFFERS), (-2.25, -2.25, SAME)],
        target="float64",
        refusal_is_right=True,
    ),
    values("floats", "NaN", "float64, special", [("NaN", "NaN", SAME), ("NaN", "0", DIFFERS), ("1", "NaN", DIFFERS)]),
    values(
        "floats",
        "infinities",
        "float64, special",
        [("Infinity", "Infinity", SAME), ("Infinity", "-Infinity", DIFFERS), ("1e308", "Infinity", DIFFERS)],
    ),
    values("floats", "-0.0", "float64", [(-0.0, 0.0, SAME), (-0.0, -0.0, SAME), (0.0, 1.0, DIFFERS)]),
    values("floats", "1e300", "float64", [(1e300, 1e300, SAME), (1e300, 1.0000000000000001e299, DIFFERS)]),
    values("floats", "1e-300", "float64", [(1e-300, 1e-300, SAME), (1e-300, 0.0, DIFFERS)]),
    values("booleans", "boolean", "boolean", [(True, True, SAME), (True, False, DIFFERS), (None, False, DIFFERS)]),
    values(
        "booleans",
        "boolean and 0 or 1",
        "boolean",
        [(True, 1, SAME), (False, 0, SAME), (True, 0, DIFFERS), (True, 2, DIFFERS), (False, None, DIFFERS)],
        target="integer",
    ),
]
TEXTS = [
    values("text", "case and accents", "text", [("a", "A", DIFFERS), ("e", "é", DIFFERS), ("é", "é", SAME)]),
    values("text", "blanks at the end", "text", [("a", "a ", DIFFERS), ("", " ", DIFFERS), ("a ", "a ", SAME)]),
    values("text", "NFC and NFD", "text", [("\u00e9", "e\u0301", DIFFERS), ("\u00e9", "\u00e9", SAME)]),
    values("text", "HTML entities", "text", [("O'Neil", "O&#39;Neil", DIFFERS), ("&", "&amp;", DIFFERS)]),
    values("text", "line ends and backslashes", "text", [("a\nb", "a\r\nb", DIFFERS), ("\\n", "\n", DIFFERS)]),
    values(
        "text", "9,000 letters, the last differs", "text", [(_LONG, _LONG[:-1] + "y", DIFFERS), (_LONG, _LONG, SAME)]
    ),
    values("text", "beyond the basic plane", "text", [("👍", "👍🏽", DIFFERS), ("👍🏽", "👍🏽", SAME)]),
    values("text", "'1' and '01'", "text", [("1", "01", DIFFERS), ("1", "1.0", DIFFERS), ("1", "1", SAME)]),
    values(
        "bytes",
        "bytes",
        "bytes",
        [(b"\0\xff", b"\0\xfe", DIFFERS), (b"a", b"A", DIFFERS), (b"", None, DIFFERS), (b"\0", b"\0", SAME)],
    ),
    values("uuid", "uuid", "uuid", [(_UUID, _UUID, SAME), (_UUID, _UUID[:-1] + "e", DIFFERS), (None, _UUID, DIFFERS)]),
    values(
        "uuid",
        "uuid and text",
        "uuid",
        [(_UUID, _UUID.upper(), SAME), (_UUID, _UUID[:-1] + "e", DIFFERS)],
        target="uuid as text",
        refusal_is_right=True,
    ),
    values(
        "uuid",
        "uuid and bytes",
        "uuid",
        [(_UUID, bytes.fromhex(_UUID.replace("-", "")), SAME), (_UUID, bytes(16), DIFFERS)],
        target="uuid as bytes",
        refusal_is_right=True,
    ),
    values("enums", "enum", "enum", [("ok", "ok", SAME), ("ok", "sad", DIFFERS), ("ok", None, DIFFERS)]),
    values(
        "enums",
        "enum and text",
        "enum",
        [("ok", "ok", SAME), ("ok", "OK", DIFFERS), ("sad", "happy", DIFFERS)],
        target="text",
        refusal_is_right=True,
    ),
]
TIMES = [
    values(
        "time",
        "timestamp, the last microsecond",
        "timestamp",
        [
            ("2026-03-01 12:00:00.123456", "2026-03-01 12:00:00.123457", DIFFERS),
            ("2026-03-01 12:00:00.1", "2026-03-01 12:00:00.100000", SAME),
            ("2026-03-01 12:00:00", "2026-03-01 12:00:00.000001", DIFFERS),
        ],
    ),
    values(
        "time",
        "instant, the last microsecond",
        "instant",
        [
            ("2026-03-01 12:00:00.123456+00:00", "2026-03-01 12:00:00.123457+00:00", DIFFERS),
            ("2026-03-01 12:00:00+00:00", "2026-03-01 12:00:00+00:00", SAME),
        ],
    ),
    values(
        "time",
        "the hour that comes twice",
        "instant",
        [
            ("2026-10-25 00:30:00+00:00", "2026-10-25 01:30:00+00:00", DIFFERS),
            ("2026-10-25 00:30:00+00:00", "2026-10-25 00:30:00+00:00", SAME),
            ("2026-10-25 01:30:00+00:00", "2026-10-25 01:30:00+00:00", SAME),
        ],
    ),
    values(
        "time",
        "the hour that does not come",
        "timestamp",
        [
            ("2026-03-29 02:30:00", "2026-03-29 03:30:00", DIFFERS),
            ("2026-03-29 02:30:00", "2026-03-29 02:30:00", SAME),
        ],
    ),
    values(
        "time",
        "with a zone and without",
        "instant",
        [("2026-03-01 12:00:00+00:00", "2026-03-01 12:00:00", SAME)],
        target="timestamp",
        refusal_is_right=True,
    ),
    values(
        "time",
        "date",
        "date",
        [("2026-02-28", "2026-03-01", DIFFERS), ("1582-10-15", "1582-10-15", SAME), ("9999-12-31", "9999-12-31", SAME)],
    ),
    values(
        "time",
        "timestamp and text",
        "timestamp",
        [
            ("2026-03-01 12:00:00", "2026-03-01T12:00:00.000", SAME),
            ("2026-03-01 12:00:00.123456", "2026-03-01 12:00:00.1234567", DIFFERS),
        ],
        target="timestamp as text",
        refusal_is_right=True,
    ),
    values(
        "time of day",
        "time of day",
        "time",
        [
            ("12:00:00.123456", "12:00:00.123457", DIFFERS),
            ("12:00:00.1", "12:00:00.100000", SAME),
            ("23:59:59.999999", "23:59:59.999998", DIFFERS),
            ("00:00:00", "00:00:00", SAME),
            ("00:00:00", None, DIFFERS),
        ],
    ),
    values(
        "time of day",
        "time of day and text",
        "time",
        [("12:00:00.1", "12:00:00.100000", SAME), ("12:00:00.123456", "12:00:00.1234567", DIFFERS)],
        target="time as text",
        refusal_is_right=True,
    ),
    values(
        "time",
        "infinite dates and dates before Christ",
        "date, special",
        [("infinity", "9999-12-31", DIFFERS), ("infinity", "infinity", SAME), ("0044-03-15 BC", "0044-03-15", DIFFERS)],
        refusal_is_right=True,
    ),
    values(
        "time",
        "interval",
        "interval",
        [
            ("1 month", "30 days", DIFFERS),
            ("1 day", "24 hours", DIFFERS),
            ("1 year -2 months", "10 months", SAME),
            ("90 seconds", "1 minute 30 seconds", SAME),
            ("3 days 04:05:06.5", "3 days 04:05:06.500001", DIFFERS),
        ],
    ),
    values(
        "time",
        "interval, parts below zero",
        "interval",
        [
            ("-0.5 seconds", "0.5 seconds", DIFFERS),
            ("3 days -04:05:06.5", "3 days -04:05:06.500001", DIFFERS),
            ("-1 month 1 day -1 second", "-1 month 1 day -1 second", SAME),
        ],
        not_in=("file",),
    ),
]
NESTED = [
    values(
        "json",
        "JSON by meaning",
        "json",
        [
            ('{"a": 1, "b": [1, 2]}', '{"b":[1,2],"a":1}', SAME),
            ('{"a": {"b": 1, "c": [ ]}}', '{"a": {"c":[], "b": 1.0}}', SAME),
            ('{"a": [1, 2]}', '{"a": [2, 1]}', DIFFERS),
            ('{"a": null}', "{}", DIFFERS),
            ('{"a": "1"}', '{"a": 1}', DIFFERS),
            ('"1"', "1", DIFFERS),
            ("{}", "[]", DIFFERS),
            ("1", "true", DIFFERS),
            ('"\\u00e9"', '"é"', SAME),
            ('"é"', '"e\u0301"', DIFFERS),
            ('{"a": 1}', None, DIFFERS),
        ],
    ),
    values("json", "JSON null and NULL", "json", [("null", None, DIFFERS), ("null", "null", SAME)], not_in=("json",)),
    values(
        "json",
        "JSON, long and odd numbers",
        "json, long numbers",
        [
            ("9007199254740993", "9007199254740992", DIFFERS),
            ("12345678901234567890.123456789", "12345678901234567890.123456788", DIFFERS),
            ("0.1", "0.10000000000000001", DIFFERS),
            ("1", "1.0", SAME),
            ("1.0", "1.00", SAME),
            ("1e2", "100", SAME),
            ("-0", "0", SAME),
        ],
    ),
    values(
        "json",
        "JSON with a key twice",
        "json, as spelt",
        [('{"a":1,"a":2}', '{"a":2}', DIFFERS), ('{"a":1,"a":2}', '{ "a": 1, "a":2}', SAME)],
        not_in=("json",),
    ),
    values(
        "json",
        "JSON and text",
        "json",
        [('{"a": 1, "b": 2}', '{"b":2.0,"a":1}', SAME), ("[1]", "[2]", DIFFERS), ("[1]", None, DIFFERS)],
        target="json as text",
    ),
    values(
        "arrays",
        "array",
        "integers",
        [([1, 2], [2, 1], DIFFERS), ([1, None], [1], DIFFERS), ([], None, DIFFERS), ([], [], SAME)],
    ),
    values(
        "arrays",
        "array of arrays",
        "integers in lists",
        [([[1, 2], [3, 4]], [[1, 2], [3, 4]], SAME), ([[1, 2]], [[1], [2]], DIFFERS), ([[1]], [], DIFFERS)],
    ),
    values(
        "arrays",
        "array of text",
        "texts",
        [
            (["a", "b,c"], ["a", "b", "c"], DIFFERS),
            (["NULL"], [None], DIFFERS),
            ([""], [], DIFFERS),
            (["A"], ["a"], DIFFERS),
            (["it's", '"', "\\"], ["it's", '"', "\\"], SAME),
        ],
    ),
    values(
        "arrays",
        "array of integers and of numbers",
        "integers",
        [([1, None], [Decimal("1.00"), None], SAME), ([1], [Decimal("1.01")], DIFFERS)],
        target="numbers",
    ),
    values(
        "structs",
        "struct",
        "struct",
        [
            ({"a": "x", "b": 1}, {"a": "x", "b": 1}, SAME),
            ({"a": "x", "b": 1}, {"a": "x", "b": 2}, DIFFERS),
            ({"a": "NULL", "b": 1}, {"a": None, "b": 1}, DIFFERS),
            ({"a": "x', 'b': 1", "b": None}, {"a": "x", "b": 1}, DIFFERS),
        ],
        refusal_is_right=True,
    ),
]
CASES: Sequence[Case] = [*CHECKSUMS, *NULLS, *KEYS, *NUMBERS, *TEXTS, *TIMES, *NESTED]
