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
from trueup.by_digest import hashing_of
from trueup.by_partition import retell
from trueup.core.compare import Counts
from trueup.core.plan import Everything, Keys, Range, Segment, halves
from trueup.core.row import Key
from trueup.core.states import Stage
from trueup.errors import StatementTimeout, Transient
from trueup.job import Job
from trueup.narrow import cuts_of, narrow
from trueup.reconcile import READ_PAUSE_S, READ_TRIES
from trueup.side_by_side import Covered, Pair
from trueup.store.records import Narrowed, RunRow, SegmentRow

#: Segments that are cut in two in one run because their statement took too long; each cost as much as is allowed.
SPLITS_MAX = 20

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
    #: Keys that were found to differ, where a row may be found in two segments (in two partitions; as one that may have
    #: changed, and in turn); None where it cannot.
    found: set[Key] | None = None

    def new(self, piece: Covered) -> Covered:
        """What is new in a piece: a row that is found in two segments is one row."""
        if self.found is None:
            return piece
        keys = {suspect.key for suspect in piece.suspects}
        known = keys & self.found
        again = [suspect for suspect in piece.suspects if suspect.key in known]
        self.found.update(keys)
        if not again:
            return piece
        counts = Counts()
        counts += piece.counts
        retell(counts, again, [], self.job.pair.binding)
        kept = [suspect for suspect in piece.suspects if suspect.key not in known]
        return replace(piece, counts=counts, suspects=kept)


def sweep(work: Sweep) -> None:
    """Narrow every open segment. The ledger knows which are: after a broken read it is asked again."""
    clock, tries, splits = work.job.clock, READ_TRIES, 0
    if work.job.pair.binding.movable or work.run.base is not None:
        before = work.job.ledger.suspects(work.run.id)
        work = replace(work, found={key for part in before for key in part.keys})
    while segments := work.job.ledger.open_segments(work.run.id, Stage.NARROW):
        try:
            with _reading_ahead(work, segments) as reads:
                for segment, read in reads:
                    work.border()
                    if not _commit(work, segment, *read()):
                        break
                    tries = READ_TRIES
        except StatementTimeout:
            rest = _open(work, segment)
            if rest != segment:
                continue  # some of it was read in time, and the rest is tried anew
            splits += 1
            if splits > SPLITS_MAX or not _split(work, rest):
                raise
        except Transient:
            tries -= 1
            if not tries or clock.wait(READ_PAUSE_S):
                raise


def _open(work: Sweep, segment: SegmentRow) -> SegmentRow | None:
    """What is still open of a segment; None: nothing."""
    still = work.job.ledger.open_segments(work.run.id, Stage.NARROW)
    return next((row for row in still if row.id == segment.id), None)


def _split(work: Sweep, segment: SegmentRow) -> bool:
    """A segment whose statement took too long becomes several smaller ones; False if it cannot be cut."""
    pair, span = work.job.pair, segment.span
    parts: list[Segment] = []
    if isinstance(span, Keys) and len(span.keys) > 1:
        middle = len(span.keys) // 2
        parts = [replace(span, keys=span.keys[:middle]), replace(span, keys=span.keys[middle:])]
    elif isinstance(span, Range | Everything):
        cuts = [cut for cut in cuts_of(pair) if not isinstance(span, Range) or _within(span, cut)]
        if cuts:
            parts = [*halves(span, cuts[len(cuts) // 2])]
    if not parts:
        return False
    work.job.ledger.split(segment, parts)
    work.seen.planned += len(parts) - 1
    return True


def _within(span: Range, cut: Key) -> bool:
    return (span.lower is None or span.lower < cut) and (span.upper is None or cut < span.upper)


def _commit(work: Sweep, segment: SegmentRow, pieces: Iterable[Covered], read_at: datetime | None) -> bool:
    """Commit each piece; False if the rest of the segment was left because somebody waits for a border."""
    ledger, seen = work.job.ledger, work.seen
    for piece in map(work.new, pieces):
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
    width = readers(work.job.pair)
    if not width or len(segments) == 1:
        yield ((segment, partial(_read_here, work.job.pair, segment)) for segment in segments)
        return
    executor = ThreadPoolExecutor(width, thread_name_prefix="trueup-read")
    try:
        yield _ahead(executor, width, work, segments)
    finally:
        # Statements that run are left to their end, which is near; those that wait are not begun.
        executor.shutdown(wait=True, cancel_futures=True)


def readers(pair: Pair) -> int:
    """Threads that read ahead, so that no database waits while results are committed; 0: rows are streamed in pieces,
    each committed as it comes.
    """
    if pair.binding.one_database:
        return pair.source.capabilities.readers
    return 1 if hashing_of(pair)[0] else 0


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
