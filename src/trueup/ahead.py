"""What is asked ahead of segments: no database waits for the other, or while rows are looked at closer.

Both databases take the segments in their order, each on a connection of its own. One that is two segments behind the
other gets a second connection until it has caught up, where it allows one; one that is three behind a third. A closer
look takes a connection to each, before what has not begun. One statement may go on through many segments; who goes on
so has no second connection. Digests are asked for, or the hashes of all rows; what was begun of the other then was in
vain.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Generic, TypeVar

from trueup.core.digest import Digests, Prints
from trueup.core.plan import Range, Segment
from trueup.errors import StatementTimeout, Transient, TrueupError

Answer = TypeVar("Answer")

#: Segments that are begun before they are wanted, at most: so far one database may be ahead of the other.
AHEAD = 3


@dataclass(frozen=True, eq=False, slots=True)
class Question(Generic[Answer]):
    """What both databases are asked of a segment."""

    source: Callable[[Range], Answer]
    target: Callable[[Range], Answer]
    #: Segments that are begun before they are wanted, at most.
    ahead: int = AHEAD

    def rest(self) -> None:
        """It is not asked any more, for now."""
        for ask in (self.source, self.target):
            if isinstance(ask, Following):
                ask.close()


@dataclass(eq=False, slots=True)
class _Side:
    """One database, and how far it has come."""

    #: Statements that it may be asked at a time, as of now.
    allowed: Callable[[], int]
    #: Segments that were begun or passed over, and the statements that go on.
    begun: int = 0
    busy: int = 0
    #: By the number of the segment.
    answers: dict[int, Future[Any]] = field(default_factory=dict)

    @property
    def done(self) -> int:
        return self.begun - self.busy


class Following(Generic[Answer]):
    """Answers for segments that follow each other, by one statement for many of them: it is begun once.

    It is left open between two segments, and so is its transaction, until the database ends it for being idle. After
    one that was not wanted to its end, the next is for fewer segments: to begin it costs something for each of them.
    """

    def __init__(
        self,
        segments: Sequence[Range],
        alone: Callable[[Range], Answer],
        together: Callable[[Sequence[Range]], Generator[Answer]],
        most: int,
    ) -> None:
        self._segments = segments
        self._number = {segment: at for at, segment in enumerate(segments)}
        self._alone = alone
        self._together = together
        self._most = self._many = most
        self._lock = threading.Lock()
        self._going: Generator[Answer] | None = None
        #: The segment that comes next in the statement that goes on, and the first that is not in it.
        self._next = self._end = 0

    def __call__(self, segment: Range) -> Answer:
        """That of a segment: the next, or another one, with which a statement begins anew."""
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
            except StatementTimeout:  # alone it would take as long again: the segment is cut in two
                raise
            except Transient:  # a session that was idle for too long is ended
                return self._alone(segment)

    def close(self) -> None:
        """The statement that goes on is not needed any more, for now."""
        with self._lock:
            self._stop()

    def _taken(self, going: Generator[Answer]) -> Answer:
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

    def __init__(
        self,
        segments: Sequence[Range],
        digests: Question[Digests],
        prints: Question[Prints],
        allowed: tuple[Callable[[], int], Callable[[], int]],
        now: Callable[[], datetime],
        *,
        learn: bool = False,
    ) -> None:
        """`allowed`: statements that source and target may be asked at a time, as of now. `learn`: nothing is begun
        before it is wanted until a segment with rows was answered, which tells what is to be asked of the others.
        """
        self._segments = segments
        self._number = {segment: at for at, segment in enumerate(segments)}
        self._digests = digests
        self._prints = prints
        #: What is asked of the segments from here on; None: nothing yet, or nothing any more.
        self._question: Question[Any] | None = None
        self._source, self._target = (_Side(each) for each in allowed)
        self._now = now
        #: The segment that tells what to ask of those after it.
        self._teaches = 0 if learn else -1
        self._since: dict[int, datetime] = {}
        #: The segment that is wanted, or was last.
        self._at = 0
        #: The first that was not wanted yet.
        self._next = 0
        self._closer = False
        self._changed = threading.Condition()
        self._executor = ThreadPoolExecutor(2 * (AHEAD + 1), thread_name_prefix="trueup-ahead")

    def close(self) -> None:
        """Statements that run are left to their end, which is near."""
        with self._changed:
            self._question = None
        with ExitStack() as then:  # also where who waits is interrupted
            for question in (self._prints, self._digests):
                then.callback(question.rest)
            self._executor.shutdown(wait=True)

    def expects(self, segment: Range) -> bool:
        """Is it one of these, and was it not wanted before? One that was cut in two is not."""
        return self._number.get(segment, -1) >= self._next

    def digests(self, segment: Range) -> tuple[Digests, Digests]:
        """What the leaves of a segment that is expected amount to, in both databases."""
        return self._answers(self._digests, segment)

    def prints(self, segment: Range) -> tuple[Prints, Prints]:
        """The hashes of all rows of a segment that is expected, in both databases."""
        return self._answers(self._prints, segment)

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

    @property
    def _sides(self) -> tuple[_Side, _Side]:
        return self._source, self._target

    def _answers(self, question: Question[Answer], segment: Range) -> tuple[Answer, Answer]:
        with self._changed:
            before, self._question = self._question, question
            at = self._number[segment]
            self._at, self._next = at, at + 1
            self._forget(at, all_of=before is not question)
            self._begin()
        if before is not None and before is not question:
            before.rest()
        with self._changed:
            self._changed.wait_for(lambda: all(at in side.answers for side in self._sides))
            source, target = (side.answers.pop(at) for side in self._sides)
        answers = source.result(), target.result()
        if at == self._teaches and not any(answers):  # beyond the ends of all keys there is hardly a row
            self._teaches += 1
        return answers

    def _forget(self, at: int, *, all_of: bool) -> None:
        """What lies before this segment is not wanted any more; `all_of`: nor is what was begun of it and others."""
        for side in self._sides:
            side.begun = at if all_of else max(side.begun, at)
            kept = {} if all_of else side.answers
            side.answers = {number: answer for number, answer in kept.items() if number >= at}
        self._since = {} if all_of else {number: since for number, since in self._since.items() if number >= at}

    def _begin(self) -> None:
        """Begin what may be begun; the lock is held."""
        if self._question is not None:
            self._begin_on(self._source, self._target, self._question, self._question.source)
            self._begin_on(self._target, self._source, self._question, self._question.target)
        self._changed.notify_all()

    def _begin_on(self, side: _Side, other: _Side, question: Question[Answer], ask: Callable[[Range], Answer]) -> None:
        """What cannot be begun is an answer too: where the end of one statement begins the next, only who waits for
        that answer can hear of it.
        """
        ahead = 0 if self._at <= self._teaches else question.ahead
        end = min(len(self._segments), self._at + ahead + 1)
        while side.begun < end:
            at = side.begun
            try:
                if side.busy >= self._lanes(side, other, ask):
                    return
                self._since.setdefault(at, self._now())
                answer = self._executor.submit(ask, self._segments[at])
            except Exception as error:
                answer = Future()
                answer.set_exception(error)
            side.begun += 1
            side.busy += 1
            side.answers[at] = answer
            answer.add_done_callback(partial(self._ended, side, question))

    def _lanes(self, side: _Side, other: _Side, ask: Callable[[Range], Any]) -> int:
        """Statements at a time; with one connection allowed, a closer look and what is asked ahead take turns."""
        free = max(side.allowed(), 1) - self._closer
        return min(free, 1 if isinstance(ask, Following) else max(other.done - side.done, 1))

    def _ended(self, side: _Side, question: Question[Any], _answer: Future[Any]) -> None:
        with self._changed:
            side.busy -= 1
            self._begin()
            unwanted = question is not self._question
        if unwanted:  # it may have begun a statement after the question was given up
            question.rest()
