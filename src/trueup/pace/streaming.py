"""Rows of a side, batch by batch, each admitted by itself.

Between two batches nothing is in flight and nothing is locked, but the database keeps the snapshot that they are read
from, and cleans up nothing that is in it. So a stream of a range is closed while its run is paused, and gone on with in
a new snapshot: as if its range had been cut in two there. Each key is still looked at once, and all its rows at one
instant; a row whose key moves across the cut meanwhile may be seen at both of its keys, or at none.

What cannot be cut stays open until its end: rows asked for by key, hash or leaf, rows without a key, a whole side in
one segment, and streams that prove something only at their end (`Stream.parts`). So that a small one keeps nothing open
between two statements, its end is asked for together with its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import replace

from trueup.adapters import BATCH_ROWS, SAME_KEY_MAX, Stream
from trueup.core.plan import Part, Range
from trueup.core.row import Batch
from trueup.errors import TrueupError
from trueup.pace.open_here import OpenHere


class PacedStream:
    """One side's rows in key order, admitted."""

    parts = False  # it parts by itself

    def __init__(
        self,
        read: Callable[[Part], Stream],
        part: Part,
        admitted: Callable[[bool], AbstractContextManager[None]],
        open_here: OpenHere,
    ) -> None:
        """`read`: begins to read a part. `admitted`: around a batch; is it the first of what is begun? `open_here`:
        where it is told that this is open.
        """
        self._read, self._admitted, self._open_here = read, admitted, open_here
        self._part = part
        self._stream: Stream | None = None
        self._batches: Iterator[Batch] | None = None
        #: What is to be read after a pause, with the rows that were read of its first key; None: it is not closed.
        self._rest = part if isinstance(part, Range) else None
        self._kept: Batch | None = None
        self.ended = False

    def __iter__(self) -> Iterator[Batch]:
        self._open_here.add(self)
        try:
            more = True
            while more:
                with self._admitted(self._batches is None):
                    rows, more = self._next()
                if rows is not None and len(rows):
                    yield rows
        finally:
            self._open_here.remove(self)
            self._close()
        self.ended = self._stream is not None and self._stream.ended

    def let_go(self) -> None:
        """Close what is open; the next batch begins anew, with the first key of which not all rows were handed on."""
        if self._rest is not None and self._batches is not None:
            self._part, self._kept = self._rest, None
            with suppress(TrueupError):  # that its session has ended by itself is no matter
                self._close()

    def _next(self) -> tuple[Batch | None, bool]:
        """What can be handed on after the next batch, and whether there may be more."""
        if self._batches is None:
            self._stream = self._read(self._part)
            self._batches = iter(self._stream)
            if not self._stream.parts:
                self._rest = None
        batch = next(self._batches, None)
        if batch is None:
            return self._kept, False
        if self._rest is None and len(batch) < BATCH_ROWS:  # most likely its last
            more = next(self._batches, None)
            return (batch, False) if more is None else (batch + more, True)
        return self._whole_keys(batch), True

    def _whole_keys(self, batch: Batch) -> Batch:
        """Rows of keys that do not go on in the next batch. Its last key may, and is kept; where it has too many rows
        for that, the range is not cut any more.
        """
        if self._rest is None or not len(batch):
            return batch
        rows = batch if self._kept is None else self._kept + batch
        end, last = len(rows), rows.key(len(rows) - 1)
        while end and rows.key(end - 1) == last:
            end -= 1
        if len(rows) - end > SAME_KEY_MAX:
            self._rest = self._kept = None
            return rows
        self._rest, self._kept = replace(self._rest, lower=last), rows.slice(end, len(rows))
        return rows.slice(0, end)

    def _close(self) -> None:
        batches, self._batches = self._batches, None
        close = getattr(batches, "close", None)
        if close is not None:
            close()
