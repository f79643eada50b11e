"""Digests that are asked for ahead: no database waits for the other, or while rows are looked at closer.

Both databases take the segments in their order, each on a connection of its own. One that is two segments behind the
other gets a second connection until it has caught up, where it allows one; one that is three behind a third. A closer
look takes a connection to each, before digests that have not begun. One statement may go on through many segments; who
goes on so has no second connection.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from trueup.core.digest import Digests
from trueup.core.plan import Range, Segment
from trueup.errors import Transient, TrueupError

#: Segments that are begun before they are wanted, at most: so far one database may be ahead of the other.
AHEAD = 3


@dataclass(eq=False, slots=True)
class Asked:
    """One database, and how far it has come."""

    ask: Callable[[Range], Digests]
    #: Statements that it may be asked at a time, as of now.
    allowed: Callable[[], int]
    #: Who goes on with one statement from segment to segment; None: each has its own.
    following: Following | None = None
    #: Segments that were begun or passed over, and those of them that go on.
    begun: int = 0
    busy: int = 0
    #: By the number of the segment.
    answers: dict[int, Future[Digests]] = field(default_factory=dict)

    @property
    def done(self) -> int:
        return self.begun - self.busy

    def rest(self) -> None:
        if self.following is not None:
            self.following.close()


class Following:
    """Digests of segments that follow each other, by one statement for many of them: it is begun once.

    It is left open between two segments, and so is its transaction, until the database ends it for being idle. After
    one that was not wanted to its end, the next is for fewer segments: to begin it costs something for each of them.
    """

    def __init__(
        self,
        segments: Sequence[Range],
        alone: Callable[[Range], Digests],
        together: Callable[[Sequence[Range]], Generator[Digests]],
        most: int,
    ) -> None:
        self._segments = segments
        self._number = {segment: at for at, segment in enumerate(segments)}
        self._alone = alone
        self._together = together
        self._most = self._many = most
        self._lock = threading.Lock()
        self._going: Generator[Digests] | None = None
        #: The segment that comes next in the statement that goes on, and the first that is not in it.
        self._next = self._end = 0

    def __call__(self, segment: Range) -> Digests:
        """Those of a segment: the next, or another one, with which a statement begins anew."""
        with self._lock:
            at = self._number.get(segment)
            if at is None:
                return self._alone(segment)
            going = self._going if at == self._next else None
            if going is None:
                self._stop()
                self._next, self._end = at, min(at + self._many, len(self._segments))
                going = self._going = self._together(self._segments[at : self._end])
                return self._taken(going)
            try:
                return self._taken(going)
            except Transient:  # a session that was idle for too long is ended
                return self._alone(segment)

    def close(self) -> None:
        """The statement that goes on is not needed any more, for now."""
        with self._lock:
            self._stop()

    def _taken(self, going: Generator[Digests]) -> Digests:
        self._next += 1
        try:
            found = next(going)
        except BaseException:
            self._going = None
            raise
        if self._next == self._end:
            self._many = min(2 * self._many, self._most)
            self._stop()
        return found

    def _stop(self) -> None:
        """Nothing is wanted of it any more: that its session has ended by itself is no matter."""
        going, self._going = self._going, None
        if going is None:
            return
        if self._next < self._end:
            self._many = max(self._many // 4, 1)
        with suppress(TrueupError):
            going.close()


class Ahead:
    """Both databases, on the way through the segments of a run. One thread takes what is found, in order."""

    def __init__(self, segments: Sequence[Range], source: Asked, target: Asked, now: Callable[[], datetime]) -> None:
        self._segments = segments
        self._number = {segment: at for at, segment in enumerate(segments)}
        self._sides = (source, target)
        self._now = now
        self._since: dict[int, datetime] = {}
        #: The segment that is wanted, or was last.
        self._at = 0
        #: The first that was not wanted yet.
        self._next = 0
        self._closer = False
        self._resting = True
        self._changed = threading.Condition()
        self._executor = ThreadPoolExecutor(2 * (AHEAD + 1), thread_name_prefix="trueup-ahead")

    def close(self) -> None:
        """Statements that run are left to their end, which is near."""
        with self._changed:
            self._resting = True
        self._executor.shutdown(wait=True)
        self._rest()

    def expects(self, segment: Range) -> bool:
        """Is it one of these, and was it not wanted before? One that was cut in two is not."""
        return self._number.get(segment, -1) >= self._next

    def digests(self, segment: Range) -> tuple[Digests, Digests]:
        """What the leaves of a segment that is expected amount to, in both databases."""
        with self._changed:
            at = self._come_to(self._number[segment])
            self._next = at + 1
            self._resting = False
            self._begin()
            self._changed.wait_for(lambda: all(at in side.answers for side in self._sides))
            source, target = (side.answers.pop(at) for side in self._sides)
        return source.result(), target.result()

    def pass_over(self, segment: Range) -> None:
        """This one is looked at without digests, and so are others until digests are asked for again."""
        with self._changed:
            if self.expects(segment):
                self._next = self._come_to(self._number[segment] + 1)
            self._resting = True
        self._rest()

    def since(self, segment: Segment) -> datetime | None:
        """When the first of the databases began with this segment, the last that was wanted; None: it did not here."""
        number = self._number.get(segment, -1) if isinstance(segment, Range) else -1
        with self._changed:
            return self._since.get(number)

    @contextmanager
    def closer(self) -> Iterator[None]:
        """Around a closer look, one statement at a time in each database."""
        with self._changed:
            self._closer = True
        try:
            with self._changed:
                self._changed.wait_for(lambda: all(side.busy < max(side.allowed(), 1) for side in self._sides))
            yield
        finally:
            with self._changed:
                self._closer = False
                self._begin()

    def _rest(self) -> None:
        for side in self._sides:
            side.rest()

    def _come_to(self, at: int) -> int:
        """What lies before it is not wanted any more."""
        self._at = at
        for side in self._sides:
            side.begun = max(side.begun, at)
            side.answers = {number: answer for number, answer in side.answers.items() if number >= at}
        self._since = {number: since for number, since in self._since.items() if number >= at}
        return at

    def _begin(self) -> None:
        """Begin what may be begun; the lock is held."""
        for side, other in (self._sides, self._sides[::-1]):
            while self._may_begin(side, other):
                at = side.begun
                side.begun += 1
                side.busy += 1
                self._since.setdefault(at, self._now())
                side.answers[at] = self._executor.submit(side.ask, self._segments[at])
                side.answers[at].add_done_callback(partial(self._ended, side))
        self._changed.notify_all()

    def _may_begin(self, side: Asked, other: Asked) -> bool:
        if self._resting or side.begun >= min(len(self._segments), self._at + AHEAD + 1):
            return False
        # With one connection allowed, a closer look and digests take turns.
        free = max(side.allowed(), 1) - self._closer
        lanes = 1 if side.following is not None else max(other.done - side.done, 1)
        return side.busy < min(free, lanes)

    def _ended(self, side: Asked, _answer: Future[Digests]) -> None:
        with self._changed:
            side.busy -= 1
            self._begin()
