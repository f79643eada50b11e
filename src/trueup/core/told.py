"""Lines of the audit log: what is done is told in bytes that are stored, hashed and exported as they are.

A line is UTF-8 JSON without spaces, its keys sorted, its numbers written as strings, at most `LINE_MAX` bytes. It is
*staged* with what it tells of, in one transaction, and gets its number later: `seq` is then put in front, and nothing
else of it ever changes. Nobody has to write it again to check it, so no two writers of JSON can disagree.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

#: Most bytes of a line, its number included. What is larger is told by its hash, and kept beside the log.
LINE_MAX = 16 * 1024
#: Bytes of `"seq":N,` at the most.
SEQ_ROOM = 32
#: Longest text that stays in a line where something has to leave it.
SHORT = 200
#: A commitment as it stands in a line, inside a text.
COMMITMENT = re.compile(r'\\"hmac\\": \\"([0-9a-f]{64})\\"')

#: A value in a line: no number, whose spelling is the writer's.
Fact = str | bool | None | Sequence[Any] | Mapping[str, Any]
#: One column of rows that are told together, as the ledger has them.
Column = Sequence[str | None]


def moment(at: datetime) -> str:
    """RFC 3339, in UTC, to the microsecond."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def line_of(facts: Mapping[str, Fact], aside: dict[str, str]) -> str:
    """A line without its number. Texts that are too long for it are put into `aside`, by their SHA-256.

    Raises TypeError for a number, which would have to be a string.
    """
    told = dict(facts)
    text = _written(told)
    while len(text) > LINE_MAX - SEQ_ROOM:
        longest = max((name for name in told), key=lambda name: len(_written(told[name])))
        if len(_written(told[longest])) <= SHORT:
            raise ValueError(f"a line of {len(told)} facts does not fit into {LINE_MAX} bytes")
        told[longest] = _put_aside(told[longest], aside)
        text = _written(told)
    return text


def lines_of(facts: Mapping[str, Fact], rows: Mapping[str, Column], aside: dict[str, str]) -> list[str]:
    """Lines that tell of `rows`, as many of them in a line as fit. A column that is the same in all is told once."""
    count = len(next(iter(rows.values())))
    parts = _parts(rows, count, LINE_MAX - SEQ_ROOM - len(_written(facts)) - len(_EMPTY_ROWS), aside)
    return [_written({**facts, "part": f"{at}/{len(parts)}", "rows": part}) for at, part in enumerate(parts, 1)]


#: What a line needs around its rows.
_EMPTY_ROWS = '"part":"1000000/1000000","rows":,'


def _parts(rows: Mapping[str, Column], count: int, room: int, aside: dict[str, str]) -> list[dict[str, Fact]]:
    told = _together(rows, count)
    size = len(_written(told))
    if size <= room:
        return [told]
    if count == 1:
        lean = {name: _lean(column[0], aside) for name, column in rows.items()}
        return [{"count": "1", **lean}]
    each = max(1, count * room * 9 // (size * 10))  # rows are of about one size; a tenth is left for those that are not
    found = []
    for at in range(0, count, min(each, count - 1)):
        part = {name: column[at : at + min(each, count - 1)] for name, column in rows.items()}
        found += _parts(part, len(next(iter(part.values()))), room, aside)
    return found


def _together(rows: Mapping[str, Column], count: int) -> dict[str, Fact]:
    same = {name: len(set(column)) == 1 for name, column in rows.items()}
    return {"count": str(count), **{name: column[0] if same[name] else column for name, column in rows.items()}}


def _lean(value: Fact, aside: dict[str, str]) -> Fact:
    return _put_aside(value, aside) if isinstance(value, str) and len(value) > SHORT else value


def _put_aside(value: Fact, aside: dict[str, str]) -> dict[str, str]:
    content = value if isinstance(value, str) else _written(value)
    digest = sha256(content)
    aside[digest] = content
    return {"bytes": str(len(content)), "sha256": digest}


def rows_of(told: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The columns of a line's `rows` again, each as long as there are rows."""
    count = int(told["count"])
    return {
        name: column if isinstance(column, list) else [column] * count
        for name, column in told.items()
        if name != "count"
    }


def _written(value: Fact) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_refuse)


def _refuse(value: object) -> None:
    raise TypeError(f"a line of the audit log holds no {type(value).__name__}; write it as text")


def checked(facts: Mapping[str, Fact]) -> Mapping[str, Fact]:
    """The facts, if none of them is a number."""
    for name, fact in facts.items():
        if isinstance(fact, Mapping):
            checked(fact)
        elif isinstance(fact, int | float) and not isinstance(fact, bool):
            raise TypeError(f"{name}: numbers are strings in the audit log")
    return facts


def numbered(seq: int, line: str) -> bytes:
    """The line as it is hashed and exported."""
    return f'{{"seq":{seq},{line[1:]}'.encode()


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# --- sensitive values ------------------------------------------------------------------------------------------------


def commitment(salt: bytes, value: str) -> str:
    """What stands in a line for a sensitive value: it can be shown to be this one, and not be guessed.

    `salt`: 16 random bytes of this value's own. Counts and addresses are guessed easily where many share one.
    """
    return hmac.new(salt, value.encode(), "sha256").hexdigest()
