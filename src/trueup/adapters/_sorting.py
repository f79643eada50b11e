"""Rows in key order from a store that cannot sort, in bounded memory: sorted runs in a temporary file, merged.

The file has no name, is readable by nobody else, and goes away with the process.
"""

from __future__ import annotations

import heapq
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

from trueup.core.row import Value, decode_row, encode_row
from trueup.errors import DataProblem

#: Rows that are sorted in memory at a time; up to so many, nothing is written anywhere.
RUN_ROWS = 50_000
#: Rows of each run that are in memory while the runs are merged.
BLOCK_ROWS = 200

Row = tuple[Value, ...]


def in_key_order(pages: Iterable[Sequence[Row]], width: int, *, distinct: bool = True) -> Iterator[Row]:
    """The rows of `pages` by their first `width` values; `distinct`: each key once, as it was delivered last.

    Raises DataProblem if keys have no common order.
    """
    run: list[Row] = []
    with tempfile.TemporaryFile(prefix="trueup-sort-") as file:
        runs: list[list[int]] = []
        for page in pages:
            run.extend(page)
            if len(run) >= RUN_ROWS:
                runs.append(_write(file, _sorted(run, width)))
                run = []
        merged = heapq.merge(
            *(_read(file, blocks) for blocks in runs), _sorted(run, width), key=lambda row: row[:width]
        )
        yield from _last_of_each(merged, width) if distinct else merged


def _sorted(run: list[Row], width: int) -> list[Row]:
    try:
        return sorted(run, key=lambda row: row[:width])
    except TypeError as mixed:
        raise DataProblem(f"keys are of different types and have no order: {mixed}") from None


def _write(file: IO[bytes], run: Sequence[Row]) -> list[int]:
    """A run behind what the file has; where its blocks begin."""
    file.seek(0, 2)
    begins = []
    for at in range(0, len(run), BLOCK_ROWS):
        begins.append(file.tell())
        rows = [encode_row(row) for row in run[at : at + BLOCK_ROWS]]
        file.write(json.dumps(rows, separators=(",", ":")).encode() + b"\n")
    return begins


def _read(file: IO[bytes], begins: Sequence[int]) -> Iterator[Row]:
    for begin in begins:
        file.seek(begin)
        for row in json.loads(file.readline()):
            yield decode_row(row) or ()


def _last_of_each(rows: Iterable[Row], width: int) -> Iterator[Row]:
    """Of rows with one key the last: merging keeps the order in which they were delivered."""
    last: Row | None = None
    for row in rows:
        if last is not None and row[:width] != last[:width]:
            yield last
        last = row
    if last is not None:
        yield last
