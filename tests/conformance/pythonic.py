"""Another system, as a Python side of the tests: rows `(id, n)` in memory, paged through in no order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trueup.python import Change, End, Part, side

HELD: dict[int, int] = {}
PAGE = 100


def write(change: Change) -> bool:
    id_ = change.key["id"]
    before = None if change.before is None else change.before["n"]
    if HELD.get(id_) != before:
        return False
    if change.after is None:
        del HELD[id_]
    else:
        HELD[id_] = change.after["n"]
    return True


@side(key="id", columns={"id": "integer", "n": "integer"}, writer=write)
def rows(part: Part) -> Iterator[list[Any] | End]:
    ids = [key["id"] for key in part.keys if key["id"] in HELD] if part.keys is not None else sorted(HELD, key=hash)
    ids.reverse()
    for at in range(0, len(ids), PAGE):
        yield [{"id": id_, "n": HELD[id_]} for id_ in ids[at : at + PAGE]]
    yield End(rows=len(ids))
