"""Output of an example without what differs from one run to the next, to be compared with `expected.txt`."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import groupby

#: What moves -> what stands for it.
MOVING = (
    (r"\b([rp])-[0-9a-f]{10}\b", r"\1-ID"),
    (r"sha256 [0-9a-f]+", "sha256 HASH"),
    (r"asked for by \S+", "asked for by SOMEBODY"),
    (r"approved by \S+ \(\w+\) on \S+", "approved by SOMEBODY"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?", "MOMENT"),
    (r"\b\d+\.\d s\b", "T s"),
    (r"\b[\d,]+ (source rows|target rows)", r"N \1"),
    (r"\b\d+ writes", "N writes"),
    (r"(; )?\b\d+ (resolved by themselves|in flight)", ""),
    (r"rows in flight are in .*", ""),
)
#: How a row of a table begins.
ROWS = ("different ", "missing ", "extra ")


def plain(output: str, keys: Collection[str]) -> list[str]:
    """Lines to be compared: numbers in the cells of a table are masked, but in `keys`; columns have any width."""

    def masked(cell: re.Match[str]) -> str:
        return cell[0] if cell[1] in keys else f"{cell[1]}=N"

    for moving, still in MOVING:
        output = re.sub(moving, still, output)
    output = re.sub(r"\b(\w+)=-?\d[\d,.]*", masked, output)
    lines = [re.sub(r"\s+", " ", line).strip(" ─") for line in output.splitlines() if line.strip(" ─\t")]
    # Rows come in the order in which the database gives them.
    return [line for rows, part in groupby(lines, _is_row) for line in (sorted(part) if rows else part)]


def _is_row(line: str) -> bool:
    return line.startswith(ROWS)
