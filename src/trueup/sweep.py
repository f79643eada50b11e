"""The first stage of a run: every open segment is narrowed, and what was found is committed before the next one counts.

Where the database serves several readers at a time, segments are read ahead on threads of their own. Their results are
still committed in order and in the calling thread, so a run that ends early leaves the same ledger either way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from trueup.adapters import DIFFERENCES_MAX
from trueup.core.states import Stage
from trueup.errors import StatementTimeout, Transient
from trueup.job import Job
from trueup.narrow import narrow
from trueup.reconcile import READ_PAUSE_S, READ_TRIES
from trueup.side_by_side import Covered, Pair
from trueup.store.records import Narrowed, RunRow, SegmentRow

#: Reads a segment: its pieces, and when it was read (None: as each piece comes).
Read = Callable[[], tuple[Iterable[Covered], datetime | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """What the stage works with."""

    job: Job
    run: RunRow
    #: How far the run has come; kept up to date.
    seen: Narrowed
    #: Called between two segments; raises where the run is to end there, and waits while it is paused.
    border: Callable[[], None]
    #: Is somebody waiting for the run to reach a border?
    awaited: Callable[[], bool]


def sweep(work: Sweep) -> None:
    """Narrow every open segment. The ledger knows which are: after a broken read it is asked again."""
    clock, tries = work.job.clock, READ_TRIES
    while segments := work.job.ledger.open_segments(work.run.id, Stage.NARROW):
        try:
            with _reading_ahead(work, segments) as reads:
                for segment, read in reads:
                    work.border()
                    if not _commit(work, segment, *read()):
                        break
                    tries = READ_TRIES
        except StatementTimeout:
            raise
        except Transient:
            tries -= 1
            if not tries or clock.wait(READ_PAUSE_S):
                raise


def _commit(work: Sweep, segment: SegmentRow, pieces: Iterable[Covered], read_at: datetime | None) -> bool:
    """Commit each piece; False if the rest of the segment was left because somebody waits for a border."""
    ledger, seen = work.job.ledger, work.seen
    for piece in pieces:
        room = max(DIFFERENCES_MAX - seen.counts.differing, 0)  # beyond it rows are counted, not kept
        at = read_at or work.job.clock.now()
        ledger.commit_narrowed(segment, piece.span, piece.rest, piece.counts, piece.suspects[:room], at)
        seen.add(piece.counts, split=piece.rest is not None)
        work.job.progress.narrowed(seen.done, seen.planned, seen.counts)
        if piece.rest is not None:
            segment = replace(segment, span=piece.rest)
            if work.awaited():
                return False  # what waits at the border must not hold a read open; the ledger knows what remains
    return True


@contextmanager
def _reading_ahead(work: Sweep, segments: Sequence[SegmentRow]) -> Iterator[Iterator[tuple[SegmentRow, Read]]]:
    """Each segment with its reading, begun on a thread as soon as fewer than the useful number are being read."""
    width = min(readers(work.job.pair), len(segments))
    if width <= 1:
        yield ((segment, partial(_read_here, work.job.pair, segment)) for segment in segments)
        return
    executor = ThreadPoolExecutor(width, thread_name_prefix="trueup-read")
    try:
        yield _ahead(executor, width, work, segments)
    finally:
        # Statements that run are left to their end, which is near; those that wait are not begun.
        executor.shutdown(wait=True, cancel_futures=True)


def readers(pair: Pair) -> int:
    """Segments that are worth reading at a time. Of two databases each is read by one statement: both are busy then."""
    return pair.source.capabilities.readers if pair.binding.one_database else 1


def _ahead(
    executor: ThreadPoolExecutor, width: int, work: Sweep, segments: Sequence[SegmentRow]
) -> Iterator[tuple[SegmentRow, Read]]:
    waiting: deque[tuple[SegmentRow, Future[tuple[Iterable[Covered], datetime | None]]]] = deque()
    for segment in segments:
        waiting.append((segment, executor.submit(_read_whole, work, segment)))
        if len(waiting) > width:  # one more than are read: no reader waits while a result is committed
            first, future = waiting.popleft()
            yield first, future.result
    for segment, future in waiting:
        yield segment, future.result


def _read_here(pair: Pair, segment: SegmentRow) -> tuple[Iterable[Covered], None]:
    return narrow(pair, segment.span), None


def _read_whole(work: Sweep, segment: SegmentRow) -> tuple[Iterable[Covered], datetime]:
    at = work.job.clock.now()
    return list(narrow(work.job.pair, segment.span)), at
