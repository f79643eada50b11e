"""The first stage of a run: every open segment is narrowed, and what was found is committed before the next one counts.

Where the database serves several readers at a time, segments are read ahead on threads of their own, or by the workers
of an engine. Their results are still committed in order and in the calling thread, so a run that ends early leaves the
same ledger either way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from trueup.access import hashing_of
from trueup.adapters import DIFFERENCES_MAX
from trueup.by_digest import asking_ahead
from trueup.by_partition import retell
from trueup.core.again import names_rows
from trueup.core.compare import Counts
from trueup.core.decide import action_for
from trueup.core.plan import Keys, Range, Segment, describe, from_json, to_json
from trueup.core.quarantine import UNREADABLE_MAX, Quarantined, Trouble
from trueup.core.row import Key
from trueup.core.states import Stage
from trueup.discreet import discreet_words
from trueup.errors import DataProblem, DesignProblem, StatementTimeout, Transient
from trueup.in_time import SPLITS_MAX, in_two
from trueup.isolate import isolate
from trueup.job import Job, Reading
from trueup.narrow import narrow
from trueup.side_by_side import Covered, Pair
from trueup.store.records import Narrowed, RunRow, SegmentRow

#: Reads a segment, or waits until it was read.
Read = Callable[[], Reading]


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
    #: Many differences of one kind may be decided together.
    lots: bool = False

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
    tries, splits = work.job.patience.tries(), 0
    if work.job.pair.binding.movable or work.run.base is not None:
        before = work.job.ledger.suspects(work.run.id)
        work = replace(work, found={suspect.key for part in before for suspect in part.suspects})
    while segments := work.job.ledger.open_segments(work.run.id, Stage.NARROW):
        try:
            with _reading_ahead(work, segments) as reads:
                for segment, read in reads:
                    work.border()
                    if not _commit(work, segment, read()):
                        break
                    tries.succeeded()
        except StatementTimeout:
            rest = _open(work, segment)
            if rest != segment:
                continue  # some of it was read in time, and the rest is tried anew
            splits += 1
            if splits > SPLITS_MAX or not _split(work, rest):
                raise
        except Transient as error:
            tries.failed(error)
        except DataProblem as problem:
            rest = _open(work, segment)
            if rest is not None:
                _isolate(work, rest, problem)


def _open(work: Sweep, segment: SegmentRow) -> SegmentRow | None:
    """What is still open of a segment; None: nothing."""
    still = work.job.ledger.open_segments(work.run.id, Stage.NARROW)
    return next((row for row in still if row.id == segment.id), None)


def _split(work: Sweep, segment: SegmentRow) -> bool:
    """A segment whose statement took too long becomes several smaller ones; False if it cannot be cut."""
    parts = in_two(work.job.pair, segment.span)
    if not parts:
        return False
    work.job.ledger.split(segment, parts)
    work.seen.planned += len(parts) - 1
    return True


def _isolate(work: Sweep, segment: SegmentRow, problem: DataProblem) -> None:
    """Cut a segment in which something cannot be read; where it is alone, set it aside and say so."""
    job, seen = work.job, work.seen
    cut = isolate(job.pair, segment.span, _borders(job))
    if cut.parts:
        job.ledger.split(segment, cut.parts)
        seen.planned += len(cut.parts) - 1
        return
    why = discreet_words(job.pair.binding.projection, problem)
    if len(seen.aside) >= UNREADABLE_MAX:
        raise DesignProblem(
            f"{job.name}: more than {UNREADABLE_MAX} rows or segments cannot be read, so this is not about single "
            f"rows. The last: {describe(segment.span)}: {why}"
        ) from problem
    job.ledger.set_aside(segment, why)
    seen.aside.append((segment.span, why))
    if cut.culprit is not None:
        now = job.clock.now()
        row = Quarantined(
            key=cut.culprit,
            trouble=Trouble.UNREADABLE,
            reason=why,
            evidence={"segment": to_json(segment.span)},
            first_seen=now,
            last_seen=now,
            run=work.run.id,
        )
        job.quarantine.put(job.name, [row])


def _borders(job: Job) -> list[Key]:
    """Where earlier runs had to cut: between them lie the rows that cannot be read."""
    found: list[Key] = []
    kinds = job.pair.binding.key_kinds
    for row in job.quarantine.held(job.name).values():
        if row.trouble is Trouble.UNREADABLE:
            span = from_json(row.evidence["segment"])
            found += [row.key] if isinstance(span, Keys) else []
            found += [cut for cut in (span.lower, span.upper) if cut] if isinstance(span, Range) else []
    return [key for key in found if names_rows(kinds, key)]


def _commit(work: Sweep, segment: SegmentRow, reading: Reading) -> bool:
    """Commit each piece; False if the rest of the segment was left because somebody waits for a border."""
    ledger, seen, clock = work.job.ledger, work.seen, work.job.clock
    whole, begun = Counts(), clock.monotonic()
    for piece in map(work.new, reading.pieces):
        room = max(DIFFERENCES_MAX - (seen.counts.differing - seen.in_lots), 0)  # beyond it rows are counted, not kept
        at = reading.at or clock.now()
        policy = work.job.pair.binding.projection
        lots = [(lot, action_for(lot.kind, policy)) for lot in piece.lots]
        ledger.commit_narrowed(
            segment, piece.span, piece.rest, piece.counts, piece.suspects[:room], at, lots, piece.unchanged
        )
        whole += piece.counts
        seen.in_lots += sum(lot.count for lot in piece.lots)
        seen.add(piece.counts, split=piece.rest is not None)
        work.job.progress.narrowed(seen.done, seen.planned, seen.counts)
        if piece.rest is not None:
            segment = replace(segment, span=piece.rest)
            if work.awaited():
                return False  # what waits at the border must not hold a read open; the ledger knows what remains
    took_s = clock.monotonic() - begun if reading.took_s is None else reading.took_s
    work.job.progress.compared(segment.id, whole, took_s)
    return True


@contextmanager
def _reading_ahead(work: Sweep, segments: Sequence[SegmentRow]) -> Iterator[Iterator[tuple[SegmentRow, Read]]]:
    """Each segment with its reading, begun elsewhere as soon as fewer than the useful number are being read."""
    here = iter([(segment, partial(_read_here, work, segment)) for segment in segments])
    if len(segments) == 1:
        yield here
    elif (elsewhere := work.job.elsewhere) is not None:
        with elsewhere.reading(lots=work.lots, look=work.border) as begin:
            yield _ahead(begin, elsewhere.width, segments)
    elif width := work.job.patience.read(partial(readers, work.job.pair)):
        executor = ThreadPoolExecutor(width, thread_name_prefix="trueup-read")
        with asking_ahead(work.job.pair, [segment.span for segment in segments], work.job.clock.now):
            try:
                yield _ahead(partial(_on_thread, executor, work), lambda: width, segments)
            finally:
                # Statements that run are left to their end, which is near; those that wait are not begun.
                executor.shutdown(wait=True, cancel_futures=True)
    else:
        yield here


def readers(pair: Pair) -> int:
    """Threads that read ahead, so that no database waits while results are committed; 0: rows are streamed in pieces,
    each committed as it comes.
    """
    if pair.binding.one_database:
        return min(pair.source.capabilities.readers, pair.source.connections())
    return 1 if hashing_of(pair)[0] else 0


def _ahead(
    begin: Callable[[Segment], Read], width: Callable[[], int], segments: Sequence[SegmentRow]
) -> Iterator[tuple[SegmentRow, Read]]:
    waiting: deque[tuple[SegmentRow, Read]] = deque()
    for segment in segments:
        waiting.append((segment, begin(segment.span)))
        if len(waiting) > width():  # one more than are read: no reader waits while a result is committed
            yield waiting.popleft()
    yield from waiting


def _on_thread(executor: Executor, work: Sweep, segment: Segment) -> Read:
    return executor.submit(_read_whole, work, segment).result


def _read_here(work: Sweep, segment: SegmentRow) -> Reading:
    return Reading(pieces=narrow(work.job.pair, segment.span, first=True, lots=work.lots))


def _read_whole(work: Sweep, segment: Segment) -> Reading:
    clock, pair = work.job.clock, work.job.pair
    began, begun = clock.now(), clock.monotonic()
    pieces = list(narrow(pair, segment, first=True, lots=work.lots))
    asked = pair.learned.ahead.since(segment) if pair.learned.ahead is not None else None
    if asked is not None:
        began = min(began, asked)
    return Reading.of_all(pieces, began=began, ended=clock.now(), took_s=clock.monotonic() - begun)
